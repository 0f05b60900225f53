"""A certifier and an algorithm of another package: reports know them by their declarations alone."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from invsmooth.core.declarations import AlgorithmDeclaration, CertifierDeclaration, Column
from invsmooth.records.rows import Declared, read_rows, write_rows
from invsmooth.reporting import report
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.figures.certificate import certificate_figure
from invsmooth.reporting.figures.methods import curve_figure, curve_panels
from invsmooth.reporting.figures.truth import truth_figure
from invsmooth.reporting.page.html import write_page
from invsmooth.reporting.styles import method_styles
from tests.reporting.browser import browser, chromium
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, keep_pictures, row
from tests.reporting.test_html_page import embedded

SPREAD = CertifierDeclaration(
    "spread", "variance over the draws", order=15, colour="#123456", marker="*", shown="least spread draw",
    column="spread_psnr", axis="spread, dB", short="spread {:.1f} dB",
    curves={"mse": "bound", "psnr": "spread_psnr"}, truth_in=("mse",),
    columns=(
        Column("spread_psnr", "dB", "PSNR over all draws, at least", certified=True,
               heading="PSNR of the spread", digits=".1f"),
        Column("spread_median", "MSE", "an estimate", heading="median spread", digits=".2e"),
    ),
)  # fmt: skip
BALL_TOLERANCE = DECLARED | Declared(
    {"spread": SPREAD}, {"noisy": AlgorithmDeclaration("noisy", order=1, smooths=True)}
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rows of discrepancy and spread, of ord and noisy. spread has no certificate at eps = 0.3."""
    found = []
    for algo in ("ord", "noisy"):
        for eps in (0.1, 0.2, 0.3):
            for sigma in (12.0, 25.0):
                for image in ("one", "two"):
                    common: dict[str, Any] = {"run_id": algo, "algo": algo, "image": image, "eps": eps, "sigma": sigma}
                    own = {"certifier": "spread", "k_index": None, "bound": 5e-4, "truth": 1e-4, "psnr_median": 24.5,
                           "psnr_certified": math.nan, "spread_psnr": 21.25, "spread_median": 2e-4}  # fmt: skip
                    none = NONE | {"spread_psnr": math.nan} if eps == 0.3 else {}
                    found += [row(**common | {"discrepancy_median": 1e-3}), row(**common | own | none)]
    folder = tmp_path / "run"
    folder.mkdir()
    write_rows(folder / "results.parquet", found, BALL_TOLERANCE)
    return folder


@pytest.fixture
def averages(folder: Path) -> Averages:
    rows, declared = read_rows([folder])
    return Averages(rows, declared)


def test_the_report_has_it_with_its_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([folder], folder.parent / "out")
    terminal = capsys.readouterr().out
    assert re.search(r"spread .*24\.50 \(spread 21\.2 dB\)", terminal)
    assert re.search(r"spread .*24\.50 \(none\)", terminal)
    text = (folder.parent / "out" / "table.md").read_text(encoding="utf-8")
    assert "spread: variance over the draws" in text
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    lines = [dict(zip(table[0], cells, strict=True)) for cells in table[2:]]
    shown = {(line["certifier"], line["ε"]): (line["PSNR of the spread"], line["median spread"]) for line in lines}
    assert shown["spread", "0.1"] == ("21.2", "2.00e-04")
    assert shown["spread", "0.3"] == ("none", "2.00e-04")
    assert shown["discrepancy", "0.1"] == ("–", "–")
    # In the order of the declarations, not of the alphabet.
    assert list(dict.fromkeys(line["certifier"] for line in lines)) == ["discrepancy", "spread"]
    psnr = (folder.parent / "out" / "tables" / "certified_psnr.md").read_text(encoding="utf-8")
    assert "spread: cs on set" in psnr
    assert "(spread: PSNR over all draws, at least)" in psnr
    # Table 1 gives the noise of the training of every algorithm that smooths.
    assert "| noisy (σ_tr = –) |" in (folder.parent / "out" / "tables" / "table1.md").read_text(encoding="utf-8")
    assert (folder.parent / "out" / "truth.png").exists()


def test_the_figures_have_it_with_its_style(averages: Averages) -> None:
    figure = certificate_figure(averages)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert " ".join(labels[2].split()) == "spread: spread, dB"
    clean = next(axes for axes in figure.axes if axes.get_ylabel().startswith("PSNR smoothed, no attack"))
    assert clean.get_legend_handles_labels()[1] == ["least spread draw"]
    assert {(line.get_color(), line.get_marker()) for line in clean.lines if line.get_marker() != "|"} >= {
        ("#123456", "*")
    }
    truth = truth_figure(averages)
    legends = [axes.get_legend() for axes in truth.axes if axes.get_legend()]
    words = [" ".join(text.get_text().split()) for legend in legends for text in legend.get_texts()]
    assert "spread: variance over the draws" in words
    assert "spread: PSNR of the spread" in words
    curves = curve_figure(curve_panels(averages), {"ord", "noisy"}, averages.declared)
    assert "PSNR of the spread, dB (spread)" in [" ".join(axes.get_ylabel().split()) for axes in curves.axes]


def test_an_algorithm_has_a_style_of_its_own_and_its_place(averages: Averages) -> None:
    names = [*averages.declared.algorithms, "unknown"]
    styles = method_styles([(name, name) for name in names], averages.declared)
    assert len({style["marker"] for style in styles.values()}) == len(names)
    assert list(dict.fromkeys(averages.table["method"])) == ["ord", "noisy"]


def test_the_page_has_it(folder: Path) -> None:
    rows, declared = read_rows([folder])
    data = embedded(write_page(rows, declared, folder), "rows")
    own = next(c for c in data["certifiers"] if c["name"] == "spread")
    assert [c["name"] for c in data["certifiers"]] == ["discrepancy", "spread"]
    assert (own["at"], own["shown"], own["ranked"]) == ("y(x)", "least spread draw", False)
    assert [(p["column"], p["log"]) for p in own["panels"]] == [("spread_psnr", False), ("bound", True)]
    assert data["labels"]["spread_psnr"] == ["PSNR of the spread (dB)", "PSNR over all draws, at least", ".1f"]
    assert data["algorithms"] == ["ord", "noisy"]
    assert "spread_psnr" in [column["name"] for column in data["columns"]]


def test_the_page_names_no_certifier_and_no_algorithm(folder: Path) -> None:
    """In its scripts: the data that a page carries is all that it knows."""
    from invsmooth.reporting.page.html import ASSETS, SCRIPTS

    scripts = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS if "uplot" not in name)
    words = {"certified", "fit"}  # ordinary words, too: a kind of curve, a zoom
    names = [*DECLARED.certifiers, *({*DECLARED.algorithms} - words), "certified_psnr", "certified_eps"]
    assert [name for name in names if re.search(rf"""["'`]{name}["'`]|\b{name}\s*:""", scripts)] == []


@pytest.mark.skipif(chromium() is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_the_page_shows_it(folder: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    keep_pictures(folder, 0.1, 25.0)
    rows, declared = read_rows([folder])
    path = write_page(rows, declared, folder)
    with browser() as found:
        tab = found.new_page(viewport={"width": 1300, "height": 900})
        wrong: list[str] = []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(f"file://{path}#certifier=spread&eps=0.1&sigma=25")
        tab.wait_for_selector("[data-ready]")
        titles = tab.eval_on_selector_all("#over-eps h4", "all => all.map(e => e.textContent)")
        assert titles[1:] == ["Smoothed: least spread draw of y(x)", "Certified: PSNR over all draws, at least",
                              "Certified: variance over the draws"]  # fmt: skip
        assert "variance over the draws" in tab.inner_text("#certified-what")
        heads = tab.eval_on_selector_all("#rows-table thead th", "all => all.map(e => e.dataset.name)")
        assert {"spread_psnr", "spread_median"} <= set(heads)
        cells = tab.eval_on_selector_all("#rows-table tbody tr:first-child td", "all => all.map(e => e.textContent)")
        assert cells[heads.index("spread_psnr")] in ("21.2", "21.3")
        assert tab.eval_on_selector_all("#legend button", "all => all.map(e => e.textContent)") == ["ord", "noisy"]
        assert wrong == []


def test_declarations_are_all_that_is_read(folder: Path) -> None:
    """The page's data is JSON; nothing of the package that a part comes from is imported."""
    rows, declared = read_rows([folder])
    assert declared.certifiers["spread"] == SPREAD
    assert json.loads(json.dumps(embedded(write_page(rows, declared, folder), "rows")))
