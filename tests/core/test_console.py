from __future__ import annotations

import pytest

from invsmooth.config.cli import fail
from invsmooth.core.console import printable
from invsmooth.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a/b ç.json — 5 °", "a/b ç.json — 5 °"),
        ("\x1b]0;x\x07\x1b[31m", r"\x1b]0;x\x07\x1b[31m"),
        ("one\nok     two.json\r", r"one\nok     two.json\r"),
        ("\u202egnp.exe\u200b\u2066", r"\u202egnp.exe\u200b\u2066"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("\x9b2J\u2028\x00", r"\x9b2J\u2028\x00"),
        (5, "5"),
    ],
)
def test_nothing_moves_the_cursor(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut() -> None:
    assert printable("x" * 10**6, most=5) == "xxxxx… (1000000 characters)"
    assert printable("xxxxx", most=5) == "xxxxx"


def test_error_messages_keep_our_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(ConfigError("first\x1b[2J\nsec\rond")) == 2
    assert capsys.readouterr().err == "error: first\\x1b[2J\n  sec\\rond\n"
