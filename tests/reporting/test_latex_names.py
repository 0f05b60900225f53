"""Names of any kind in LaTeX: the text is read back by a small reader of TeX, which refuses what LaTeX would not print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from invsmooth.reporting import report
from invsmooth.reporting.tables.grid import Block, Entry, Table
from invsmooth.reporting.tables.writers import ESCAPES, MATH, escape, latex, markdown, one_line
from tests.reporting.made import row, stored
from tests.reporting.test_names import NAMES

HOSTILE = (
    *NAMES, r"$\frac{1}{2}$", r"_^&%_{}#~\\", r"\input{/etc/passwd}", r"\end{tabular}", "new\nline\n\npage\f", "esc\x1b[31m",
    "\u202eright\u200f", "**bold** [link](url) `code`", "bad\udcff", "[1cm]", "*", "* [2em]", "$σ$", "σ$", "$$",
    "$σσ$$ε", "\\$", "\\\\", "%", "10⁻³$10⁴", "a & b", "nul\0", "~",
)  # fmt: skip
SIGNS = {v: k for k, v in ESCAPES.items()}
LETTERS = {v.strip(): k for k, v in MATH.items()}
POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TOKEN = re.compile(
    "|".join(
        [r"(?P<math>(?<!\\)\$[^$]+\$)",
         f"(?P<sign>{'|'.join(re.escape(s) for s in sorted(SIGNS, key=len, reverse=True))})",
         r"(?P<guard>\{\})", r"(?P<plain>[^\\{}$&#^_~%\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e])"]
    )
)  # fmt: skip


def printed(tex: str) -> str:
    """The text that LaTeX prints. Raises AssertionError: it would not print, or do something else."""
    found, at = "", 0
    while at < len(tex):
        match = TOKEN.match(tex, at)
        assert match, f"{tex[at : at + 20]!r} in {tex!r}"
        kind, token, at = match.lastgroup, match.group(), match.end()
        if kind == "math":
            found += mathematics(token[1:-1])
        elif kind != "guard":
            found += SIGNS.get(token, token)
    return found


def mathematics(tex: str) -> str:
    found = ""
    while tex := tex.strip():
        if power := re.match(r"10\^\{([-\d]+)\}", tex):
            found, tex = found + "10" + power.group(1).translate(POWERS), tex[power.end() :]
            continue
        known = max((one for one in LETTERS if tex.startswith(one)), key=len, default="")
        assert known, tex
        found, tex = found + LETTERS[known], tex[len(known) :]
    return found


def as_shown(text: str) -> str:
    """What has to be printed: what does not print by its number, and no lines."""
    return "".join(" " if c.isspace() else c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_what_is_printed_is_the_name(name: str) -> None:
    for text in (name, f"σ_tr {name} 10⁻³", f"ε{name}ε"):
        assert printed(escape(text)) == as_shown(text)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_table_of_it_is_whole(name: str) -> None:
    block = Block(
        name, [name, "ord", name], [[name, Entry("1.0"), Entry(name)], [name, "b", Entry("2")]], [("", 1), (name, 2)]
    )
    tex = latex(Table("t", name, (name,), [block, block]))
    assert tex.count(r"\begin{") == tex.count(r"\end{") == 3 or "end{tabular}" in name
    # Every cell is a cell, and the text in it is the name.
    lines = [line for line in tex.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 2 * 4  # two lines of headings, two of cells
    for line in lines:
        line = re.sub(r"\\multicolumn\{\d\}\{c\}\{(.*)\} \\\\$", r"\1 \\\\", line)
        cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
        assert [printed(cell) for cell in cells if cell]
        assert not cells[0].lstrip().startswith(("[", "*"))
    first = re.split(r"(?<!\\) & ", lines[2].removesuffix(r" \\"))
    assert [printed(cell) for cell in first] == [as_shown(name), "1.0", as_shown(name)]


def test_a_table_in_markdown_keeps_its_lines() -> None:
    for name in HOSTILE:
        text = markdown(Table("t", "title", (), [Block("", ["a", "b"], [[name, Entry("1")]])]))
        lines = text.splitlines()
        assert len(lines) == 5
        assert len(re.findall(r"(?<!\\)\|", lines[-1].replace("\\\\", ""))) == 3
        assert "\x1b" not in text


def test_a_table_in_markdown_shows_names_as_they_are() -> None:
    """As a reader of GitHub's Markdown shows it: no emphasis, code, links or HTML."""
    names = [*HOSTILE, "*a* _b_ __c__", "`x`", "<i>", "&lt;", "~~d~~", "[e](f)", "![g](h.png)", "i_j", "k|l", "\\*"]
    for name in (one_line(n).strip() for n in names):
        text = markdown(Table("t", "title", (), [Block(name, ["a", "b"], [[name, Entry("1")]])]))
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
        title, *_, cell, _ = [t for t in tokens if t.type == "inline" and t.content != "title"]
        shown = ["".join(part.content for part in t.children or ()) for t in (title, cell)]
        assert shown == [re.sub(" +", " ", name)] * 2 or shown == [name] * 2
        assert not {p.type for p in cell.children or ()} - {"text", "text_special"}


def test_tables_of_a_report_with_such_names(tmp_path: Path) -> None:
    name = "$\\frac{1}{2}$ _^&%#{}~\\ <b>|\n\x1b[31m\u202e**x**"
    folder = tmp_path / "a b & $x$"
    stored(folder, *(row(image=name, task=name, algo=name, dataset=name, eps=eps) for eps in (0.0, 0.1)))
    report([folder], tmp_path / "report")
    written = list((tmp_path / "report").rglob("*.tex"))
    assert written
    whole = "".join(path.read_text(encoding="utf-8") for path in written)
    assert r"\textbackslash{}frac\{1\}\{2\}\$" in whole
    for path in written:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "frac" in line and line.endswith(r" \\"):
                for cell in re.split(r"(?<!\\) & ", line.removesuffix(r" \\")):
                    printed(cell)
            assert line.isprintable()
