"""Firefox without a window, by Marionette: the protocol that it speaks itself, JSON over a socket.

Playwright needs a Firefox of its own, and geckodriver is in neither Debian nor PyPI."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTS = 60.0  # seconds, at most
PREFERENCES = {
    "marionette.port": 0, "remote.prefs.recommended": True, "accessibility.tabfocus": 7,
    "layout.css.prefers-color-scheme.content-override": 1, "network.captive-portal-service.enabled": False,
}  # fmt: skip
LOGGED = """
    const seen = Services.console.getMessageArray().filter((m) => m instanceof Ci.nsIScriptError);
    return seen.filter((m) => /^(file|data):/.test(m.sourceName)).map((m) => m.errorMessage);
"""  # errors, warnings and violations of the policy, of our page


def firefox() -> str | None:
    """The browser's path; None where there is none."""
    return next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)


class Marionette:
    """A browser with one tab."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.number = 0
        self.read()  # its greeting
        self.send("WebDriver:NewSession", capabilities={"alwaysMatch": {"unhandledPromptBehavior": "ignore"}})

    def read(self) -> Any:
        size = b""
        while not size.endswith(b":"):
            size += self.socket.recv(1)
        content = b""
        while len(content) < int(size[:-1]):
            content += self.socket.recv(int(size[:-1]) - len(content))
        return json.loads(content)

    def send(self, name: str, **parameters: Any) -> Any:
        """The result of a command. Raises: RuntimeError: it failed."""
        self.number += 1
        content = json.dumps([0, self.number, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(content), content))
        _, _, error, result = self.read()
        if error:
            raise RuntimeError(f"{name}: {error['error']}: {error['message']}")
        return result["value"] if isinstance(result, dict) and set(result) == {"value"} else result

    def run(self, script: str, *arguments: Any) -> Any:
        return self.send("WebDriver:ExecuteScript", script=script, args=list(arguments), sandbox=None, newSandbox=False)

    def press(self, key: str) -> None:
        """A key, by its character."""
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self.send("WebDriver:PerformActions", actions=[{"type": "key", "id": "keys", "actions": keys}])

    def logged(self) -> list[str]:
        """What the console has of the page since the last call."""
        self.send("Marionette:SetContext", value="chrome")
        try:
            found: list[str] = self.run(LOGGED)
            self.run("Services.console.reset()")
        finally:
            self.send("Marionette:SetContext", value="content")
        return found

    def pdf(self) -> bytes:
        return base64.b64decode(self.send("WebDriver:Print", background=False, orientation="landscape"))


@contextmanager
def started() -> Iterator[Marionette]:
    """A Firefox with a new profile, which ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
        (Path(folder) / "user.js").write_text("".join(lines))
        own = ["--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", folder]
        process = subprocess.Popen(
            [str(firefox()), *own, "--width=1300", "--height=900"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            marionette = Marionette(port_of(Path(folder)))
            with marionette.socket:
                yield marionette
        finally:
            process.terminate()
            process.wait(30)


def port_of(profile: Path) -> int:
    """Where it listens, which it writes when it is ready. Raises: TimeoutError: it does not start."""
    until = time.monotonic() + STARTS
    while time.monotonic() < until:
        file = profile / "MarionetteActivePort"
        if file.is_file() and file.read_text().strip():
            return int(file.read_text())
        time.sleep(0.1)
    raise TimeoutError(f"Firefox did not start within {STARTS:g} s")
