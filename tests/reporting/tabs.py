"""One tab of a browser, Chromium's or Firefox's, under the same names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pytest

from tests.reporting.browser import browser, chromium
from tests.reporting.firefox import Marionette, firefox, started

KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Space": " ",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}


class Tab(Protocol):
    def open(self, address: str) -> None: ...
    def run(self, script: str, *arguments: Any) -> Any:
        """What a function with this body returns in the page."""
        ...

    def press(self, key: str) -> None: ...
    def logged(self) -> list[str]:
        """Errors, warnings, violations of the policy and dialogs since the last call."""
        ...

    def pdf(self) -> bytes: ...


class Chromium:
    def __init__(self, page: Any) -> None:
        self.page, self.wrong = page, list[str]()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def open(self, address: str) -> None:
        self.page.goto(address)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.page.evaluate(f"(arguments) => {{ {script} }}", list(arguments))

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def logged(self) -> list[str]:
        self.page.wait_for_timeout(50)  # what is on its way
        found, self.wrong = self.wrong, []
        return found

    def pdf(self) -> bytes:
        found: bytes = self.page.pdf(prefer_css_page_size=True)
        return found


class Firefox:
    def __init__(self, marionette: Marionette) -> None:
        self.marionette = marionette
        self.run, self.logged, self.pdf = marionette.run, marionette.logged, marionette.pdf

    def open(self, address: str) -> None:
        self.marionette.send("WebDriver:Navigate", url="about:blank")  # another hash alone loads nothing
        self.logged()
        self.marionette.send("WebDriver:Navigate", url=address)

    def press(self, key: str) -> None:
        self.marionette.press(KEYS[key])


@contextmanager
def a_tab(name: str) -> Iterator[Tab]:
    """Of ``chromium`` or ``firefox``. Skips the test where the browser is not installed."""
    if name == "firefox":
        if firefox() is None:
            pytest.skip("no firefox-esr or firefox on PATH")
        with started() as marionette:
            yield Firefox(marionette)
        return
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra has it)")
    if chromium() is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    with browser() as found:
        yield Chromium(found.new_page(viewport={"width": 1300, "height": 900}))


def show(tab: Tab, page: Path, hash_: str = "") -> None:
    tab.open(f"file://{quote(str(page))}#{hash_}")
    until(lambda: tab.run("return document.documentElement.dataset.ready === 'yes'"))


def until(holds: Callable[[], Any], seconds: float = 60.0, otherwise: str = "it did not happen") -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)
