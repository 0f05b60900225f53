"""Text of unknown origin on a terminal: what a file says must not move the cursor, or look like a line of ours."""

from __future__ import annotations

MOST = 1000
"""Characters of one value or message that are shown."""


def printable(text: object, most: int = MOST) -> str:
    """``text`` on one line, whatever it holds. Control characters and line ends, escape sequences, marks that turn or
    hide text (bidirectional and other format characters) and lone surrogates are shown as Python writes them: \\x1b,
    \\n, \\u202e.

    Args:
        most: characters to show; what is longer is cut, and how long it is is said.
    """
    whole = str(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole[:most])
    return shown if len(whole) <= most else f"{shown}… ({len(whole)} characters)"
