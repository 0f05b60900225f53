"""Hook of mkdocs.yml: formulas become MathML, which browsers draw without a script; a page that loads anything from
elsewhere is an error. Runs in .venv-docs, not in the tests' environment."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])</\1>', re.DOTALL)
LOADED = re.compile(r"""<(?:(?:script|img|iframe|source)\b[^>]*\bsrc|link\b[^>]*\bhref)=["']?(?:https?:)?//""")


def on_page_content(content: str, **_: Any) -> str:
    return FORMULA.sub(mathml, content)


def mathml(found: re.Match[str]) -> str:
    inline, displayed = found[2], found[3]
    latex = html.unescape(inline or displayed).replace(r"\lbrace", r"\{").replace(r"\rbrace", r"\}")
    return convert(latex, display="inline" if inline else "block")


def on_post_build(config: Any, **_: Any) -> None:
    for page in Path(config["site_dir"]).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if found := LOADED.search(text):
            raise PluginError(f"{page}: {found[0]} loads from elsewhere; the site has to work without a network")
        if left := re.search(r"arithmatex|\$\\[a-z]+", text):
            raise PluginError(f"{page}: a formula is left as it was: {text[left.start() - 20 : left.end() + 80]}")
