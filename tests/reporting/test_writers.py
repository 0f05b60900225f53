"""One table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

import pytest
from matplotlib.mathtext import MathTextParser

from invsmooth.reporting.tables.grid import Block, Entry, Table
from invsmooth.reporting.tables.writers import MATH, escape, latex, markdown, numbers

SOURCE = {"quantity": "bound", "value": 2.5e-4, "images": 3, "folders": "a;b"}
TABLE = Table(
    "table9",
    "Table 9: of σ_tr & more",
    ("Above 50 % of `x_y`, **really**.",),
    [
        Block(
            "a|b, ε = 1", ["by", "clean", "bound, 10⁻⁴"],
            [["smt_adv (σ_tr = 5)", Entry("–"), Entry("2.500 ± 0.100", SOURCE)]],
            [("", 1), ("ε = 0", 1), ("ε = 1", 1)],
        ),
        Block("second", ["by", "n"], [["ord", Entry("[1/2]")]]),
    ],
)  # fmt: skip


def test_markdown() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "# Table 9: of σ_tr & more"
    assert "**(a) a\\|b, ε = 1**" in lines
    assert "| by | ε = 0, clean | ε = 1, bound, 10⁻⁴ |" in lines
    assert "| smt_adv (σ_tr = 5) | – | 2.500 ± 0.100 |" in lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("σ_tr = 5", r"$\sigma_{\mathrm{tr}}$ = 5"), ("4 × 10⁻¹²", r"4 $\times$ $10^{-12}$"), ("smt_adv", r"smt\_adv"),
        ("50 % & #1 {x}", r"50 \% \& \#1 \{x\}"), ("‖ξ‖₂ ≤ ε", r"$\|\xi\|_2$ $\leq$ $\varepsilon$"), ("−1 – 2", "$-$1 -- 2"),
        # A symbol within a word is none.
        ("BSDS_train, T_stepper", r"BSDS\_train, T\_stepper"), ("m/n", "$m/n$"), ("film/nature", "film/nature"),
        (r"a\b~^", r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}"), ("Δσ", r"$\Delta \sigma$"),
    ],
)  # fmt: skip
def test_escapes(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_mathematics_is_sound() -> None:
    """As far as matplotlib knows TeX."""
    for text in MATH.values():
        MathTextParser("agg").parse(f"${text}$")


def test_latex_is_whole_and_needs_booktabs_alone() -> None:
    text = latex(TABLE)
    unescaped = re.sub(r"\\[{}]", "", text)
    depth = 0
    for sign in unescaped:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert re.sub(r"\\\$", "", text).count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular", "tabular"]
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "tabular", "table"]
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [2, 2, 2]
    assert r"\cmidrule(lr){2-2}\cmidrule(lr){3-3}" in text
    assert text.isascii()
    # As many cells in each line as the table has columns; no line starts with [.
    first = text.split(r"\begin{tabular}{lrr}")[1].split(r"\end{tabular}")[0]
    assert {line.count(" & ") for line in first.splitlines() if line.endswith(r"\\")} == {2}
    assert r"ord & {}[1/2] \\" in text
    assert r"\caption{Table 9: of $\sigma_{\mathrm{tr}}$ \& more. Above 50 \% of x\_y, really.}" in text


def test_numbers_are_the_same_in_all_three() -> None:
    def found(text: str) -> list[str]:
        return re.findall(r"\d\.\d{3}", text)

    assert found(markdown(TABLE)) == found(latex(TABLE)) == ["2.500", "0.100"]
    csv = numbers(TABLE)
    assert list(csv["shown"]) == ["–", "2.500 ± 0.100", "[1/2]"]
    assert list(csv["column"]) == ["ε = 0 clean", "ε = 1 bound, 10⁻⁴", "n"]
    assert csv.loc[1, ["quantity", "value", "images", "folders"]].tolist() == ["bound", 2.5e-4, 3, "a;b"]
    assert csv["value"].isna().tolist() == [True, False, True]
