"""Command lines without Hydra: what an argument may be, and one message for a wrong one."""

from __future__ import annotations

import argparse
import difflib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from invsmooth.core.console import printable

ADDRESS = "https://HOST/ or https://HOST/PATH"


class Parser(argparse.ArgumentParser):
    """Its errors are one message, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        found = re.search(r"(?:unrecognized arguments: |invalid choice: ')([^\s']+)", message)
        known = [o for o in self._option_string_actions if o.startswith("--")]
        known += [str(c) for action in self._actions for c in action.choices or ()]
        near = difflib.get_close_matches(found[1], known, n=1) if found else []
        hint = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"error: {printable(message)}{hint} ({self.prog} --help shows the arguments)\n")


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of a whole number in a range."""

    def number(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,30}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not allowed; allowed: a whole number >= {least} and <= {most}")
        return int(text)

    return number


def module(text: str) -> str:
    """The type of a module's dotted name."""
    if not all(part.isidentifier() for part in text.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a module; allowed: a dotted name, my_lab.parts")
    return text


def filled(text: str) -> str:
    """The type of a text that is not empty, as that of a shell variable without a value is."""
    if not text:
        raise argparse.ArgumentTypeError("it has no value")
    return text


def folder(text: str) -> Path:
    """The type of a folder, which need not be there yet, or a zip archive."""
    path = Path(text)
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("it has no value; give a folder")
    above = next((p for p in (path, *path.absolute().parents) if p.exists()), path)
    if above.exists() and not above.is_dir() and not (above == path and zipfile.is_zipfile(path)):
        raise argparse.ArgumentTypeError(f"{text}: {above} is a file; give a folder, or a zip archive of images")
    return path


def is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port of 99999
        return False


def address(text: str) -> str:
    """The type of a web address; "" is none."""
    if text and not is_address(text):
        raise argparse.ArgumentTypeError(f"it is no web address; allowed: {ADDRESS}")
    return text
