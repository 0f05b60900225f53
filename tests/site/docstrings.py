"""Extension of griffe, which reads the docstrings for the API pages: they are plain prose, and become Markdown here.

``Args:``, ``Attributes:``, ``Returns:`` and ``Raises:`` become headings with a list, Sphinx roles become code."""

from __future__ import annotations

import inspect
import re
from typing import Any

from griffe import Extension

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Source|Example):[ \n]*")
ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*(?: \(a \w+\))?): ?(.*)")
ROLE = re.compile(r":(?:func|class|mod|meth|attr|data):`~?(?:[\w.]*\.)?(\w+)`")


class PlainDocstrings(Extension):
    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    lines: list[str] = []
    section, base = "", 0
    for line in inspect.cleandoc(ROLE.sub(r"``\1``", docstring)).splitlines():
        indent, text = len(line) - len(line.lstrip()), escaped(line.strip())
        found = SECTION.match(text)
        if found and (indent == 0 or not section):
            section, base, rest = found[1], -1, text[found.end() :]
            lines += ["", f"**{section}**", ""]
            if rest:
                lines.append(entry(rest, section))
            continue
        if section and text and indent == 0:  # prose after a section
            section = ""
            lines.append("")
        if not section:
            lines.append(" " * indent + text if text else "")
            continue
        if text and base < 0:
            base = indent
        is_entry = section in ("Args", "Attributes", "Raises") and indent == base and ENTRY.fullmatch(text)
        lines.append(entry(text, section) if is_entry else f"    {text}" if text else "")
    return "\n".join(lines)


def entry(text: str, section: str) -> str:
    found = ENTRY.fullmatch(text) if section in ("Args", "Attributes", "Raises") else None
    return f"- `{found[1]}`: {found[2]}" if found else f"- {text}"


def escaped(text: str) -> str:
    """``<`` and ``*`` are signs of less and times, not of Markdown, outside code."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    return "".join(part if k % 2 else part.replace("<", "&lt;").replace("*", "\\*") for k, part in enumerate(parts))
