"""Debian's or another Chromium without a window, through Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLAGS = ["--disable-dev-shm-usage", "--disable-gpu"]


def chromium() -> str | None:
    """The browser's path; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser that runs as root, too (without its own sandbox: it opens our own pages only)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False, args=FLAGS)
        try:
            yield found
        finally:
            found.close()
