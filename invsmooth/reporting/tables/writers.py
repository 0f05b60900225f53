"""A :class:`Table` as Markdown, as LaTeX for booktabs, and as a CSV with a line for each number."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pandas as pd

from invsmooth.core.console import printable
from invsmooth.reporting.tables.grid import Block, Entry, Markdown, Table

MATH = {"σ_tr": r"\sigma_{\mathrm{tr}}", "ε_tr": r"\varepsilon_{\mathrm{tr}}", "S_tr": r"S_{\mathrm{tr}}",
        "σ_b": r"\sigma_b", "T_itr": r"T_{\mathrm{itr}}", "T_step": r"T_{\mathrm{step}}", "m/n": "m/n",
        "Aᵀy": r"A^{\top}y", "‖ξ‖₂": r"\|\xi\|_2", "σ": r"\sigma", "ε": r"\varepsilon", "ξ": r"\xi", "δ": r"\delta",
        "β": r"\beta", "±": r"\pm", "×": r"\times", "≤": r"\leq", "≥": r"\geq", "−": "-", "→": r"\to", "Δ": r"\Delta",
        "ℓ2": r"\ell_2", "⌈": r"\lceil ", "⌉": r"\rceil "}  # fmt: skip
"""Signs that LaTeX needs in mathematics, longest first."""
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "…": r"\ldots{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
WHOLE = ("images", "images_with_value", "runs", "networks", "rows", "n_samples")  # numbers of the CSV
POWER = "10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)"
SIGNS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
# A symbol of letters is one only as a word of its own: BSDS_train has none.
SYMBOLS = [rf"\b{re.escape(sign)}\b" if sign[0].isalpha() else re.escape(sign) for sign in MATH if len(sign) > 1]
SINGLE = f"[{''.join(sign for sign in MATH if len(sign) == 1)}]"
TOKEN = re.compile("|".join([POWER, *SYMBOLS, SINGLE, "."]), re.DOTALL)
# In Markdown. _ within a word and [ without a link are text.
MARKUP = re.compile(r"[\\`*<|~]|(?<![^\W_])_|_(?![^\W_])|\[(?=.*\]\()|&(?=#?\w+;)")
NEXT_TO = re.compile(r"(?<!\\)\$\$")  # one sign of mathematics after another; \$$ is a dollar before one


def text_of(cell: str | Entry) -> str:
    return cell.text if isinstance(cell, Entry) else cell


def markdown(table: Table) -> str:
    """Title, notes, and a Markdown table for each block."""
    lines = [f"# {table.title}", "", *(line for note in table.notes for line in (note, ""))]
    for number, block in enumerate(table.blocks):
        header = [", ".join(filter(None, pair)) for pair in headings(block)]
        lines += [f"**{letter(number, table)}{escape_markdown(block.title)}**", ""] if block.title else []
        lines += [row(header), "|" + " --- |" * len(header)]
        lines += [*(row([text_of(cell) for cell in line]) for line in block.lines), ""]
    return "\n".join(lines)


def headings(block: Block) -> list[tuple[str, str]]:
    """The heading above each column, and its own."""
    above = [heading for heading, width in block.spans for _ in range(width)] or [""] * len(block.header)
    return list(zip(above, block.header, strict=True))


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell if isinstance(cell, Markdown) else escape_markdown(cell) for cell in cells) + " |"


def escape_markdown(text: str) -> str:
    """Text for Markdown: signs that would be markup, or end a cell, escaped."""
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def one_line(text: str) -> str:
    """Without new lines and other characters that control a terminal or stop LaTeX."""
    return printable("".join(" " if c.isspace() else c for c in text), len(text))


def letter(number: int, table: Table) -> str:
    return f"({chr(ord('a') + number)}) " if 1 < len(table.blocks) <= 26 else ""


def latex(table: Table) -> str:
    r"""A table environment for ``\input``; needs the package booktabs alone."""
    lines = ["% Needs \\usepackage{booktabs}.", r"\begin{table}", r"\centering"]
    lines += [r"\footnotesize\setlength{\tabcolsep}{4pt}"]
    for number, block in enumerate(table.blocks):
        title = f"{letter(number, table)}{escape(block.title)}"
        lines += [*latex_block(block), r"\par\smallskip", title, r"\par\medskip"]
    # Without Markdown's emphasis and code marks.
    caption = escape(re.sub(r"[`*]", "", " ".join([f"{table.title}.", *table.notes])))
    return "\n".join([*lines, rf"\caption{{{caption}}}", rf"\label{{tab:{table.name}}}", r"\end{table}", ""])


def latex_block(block: Block) -> list[str]:
    """The tabular environment."""
    labels = [not any(isinstance(line[k], Entry) for line in block.lines) for k in range(len(block.header))]
    pairs = [(escape(above), guarded(name)) for above, name in headings(block)]
    spanned = any(above for above, _ in pairs)
    columns = pd.MultiIndex.from_tuples(pairs) if spanned else pd.Index([name for _, name in pairs])
    frame = pd.DataFrame([[guarded(text_of(cell)) for cell in line] for line in block.lines], columns=columns)
    formats = "".join("l" if label else "r" for label in labels)
    lines = frame.style.hide(axis="index").to_latex(column_format=formats, hrules=True, multicol_align="c").splitlines()
    return [*lines[:3], rules([above for above, _ in pairs]), *lines[3:]] if spanned else lines


def guarded(text: str) -> str:
    """A line that starts with [ or * would be taken for the argument of the \\\\ or the rule before it."""
    escaped = escape(text)
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def rules(above: Sequence[str]) -> str:
    """A rule below each heading."""
    found, start = "", 1
    for heading, columns in itertools.groupby(above):
        end = start + len(list(columns))
        found += rf"\cmidrule(lr){{{start}-{end - 1}}}" if heading else ""
        start = end
    return found


def escape(text: str) -> str:
    """Text for LaTeX: signs of mathematics as such, special characters escaped."""
    return NEXT_TO.sub(" ", TOKEN.sub(latex_token, one_line(text)))


def latex_token(match: re.Match[str]) -> str:
    token = match.group()
    if match.group(1):
        return f"$10^{{{match.group(1).translate(SIGNS)}}}$"
    return f"${MATH[token]}$" if token in MATH else ESCAPES.get(token, token)


def numbers(table: Table) -> pd.DataFrame:
    """One line for each number of the table: its place, text, and source; no value if not run."""
    found = []
    for number, block in enumerate(table.blocks):
        for line in block.lines:
            label = ", ".join(cell for cell in line if isinstance(cell, str))
            for (heading, name), cell in zip(headings(block), line, strict=True):
                if isinstance(cell, Entry):
                    place = {"block": number + 1, "title": block.title, "line": label}
                    column = {"column": f"{heading} {name}".strip(), "shown": cell.text}
                    found.append(place | column | dict(cell.source or {}))
    frame = pd.DataFrame(found)
    return frame.astype({name: "Int64" for name in WHOLE if name in frame})
