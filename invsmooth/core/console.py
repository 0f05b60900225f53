"""Text of unknown origin on a terminal: it must not move the cursor or pass for a line of ours."""

from __future__ import annotations


def printable(text: object, most: int = 1000) -> str:
    """``text`` on one line, cut after ``most`` characters. Control, format (bidirectional) and
    other characters that do not print are shown as Python writes them: \\x1b, \\n, \\u202e."""
    whole = str(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole[:most])
    return shown if len(whole) <= most else f"{shown}… ({len(whole)} characters)"
