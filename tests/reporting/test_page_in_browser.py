"""index.html in a headless browser: what it shows is compared with the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting.page.html import write_page
from tests.reporting import lipschitz_rows
from tests.reporting.browser import browser, chromium
from tests.reporting.declared import DECLARED
from tests.reporting.lipschitz_rows import mixed, only_plain
from tests.reporting.made import NONE, keep_pictures, read, row, stored
from tests.reporting.page_runs import make_runs
from tests.reporting.test_html_page import NASTY
from tests.reporting.test_report import all_certifiers

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra has it)")
pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium, chromium-browser or google-chrome on PATH")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """The rows of five runs, and their page."""
    folder = tmp_path_factory.mktemp("page")
    rows = read(make_runs(folder / "runs", size=16))
    return rows, write_page(rows, DECLARED, folder)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def tab(chrome: Any) -> Iterator[Any]:
    """A tab in which nothing may go wrong and nothing may be fetched."""
    page, wrong = chrome.new_page(viewport={"width": 1300, "height": 900}), []
    page.set_default_timeout(5000)
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
    yield page
    page.close()
    assert wrong == []


def show(tab: Any, page: Path, **choice: Any) -> None:
    """Open the page at a choice, as a link that someone shared."""
    tab.goto(f"file://{page}#" + "&".join(f"{k}={v}" for k, v in choice.items()))
    tab.wait_for_selector("[data-ready]")


def drawn(tab: Any, over: str, panel: int) -> list[list[float | None]]:
    """x, and the curves of a panel, as they are plotted."""
    code = "([over, k]) => document.querySelectorAll(`#over-${over} .plot`)[k].plot.data.map((c) => [...c])"
    found: list[list[float | None]] = tab.evaluate(code, [over, panel])
    return found


def column(tab: Any, name: str) -> list[str]:
    """A column of the table, as it is shown."""
    names = tab.eval_on_selector_all("#rows-table thead th", "all => all.map(e => e.dataset.name)")
    path = f"#rows-table tbody td:nth-child({names.index(name) + 1})"
    found: list[str] = tab.eval_on_selector_all(path, "all => all.map(e => e.textContent)")
    return found


def wait_for_count(tab: Any, text: str) -> None:
    tab.wait_for_function("text => document.getElementById('table-count').textContent.startsWith(text)", arg=text)


def test_curves_are_the_means_of_the_rows_chosen(tab: Any, made: tuple[pd.DataFrame, Path]) -> None:
    rows, page = made
    show(tab, page, certifier="discrepancy")
    for sigma, eps in ((25.0, 0.1), (50.0, 0.2)):
        tab.select_option("#choose-sigma", f"{sigma:g}")
        tab.select_option("#choose-eps", f"{eps:g}")
        mine = rows[rows["certifier"] == "discrepancy"]
        for over, fixed in (("eps", mine[mine["sigma"] == sigma]), ("sigma", mine[mine["eps"] == eps])):
            means = fixed.groupby(["algo", over])["psnr_median"].mean()
            xs, *curves = drawn(tab, over, 1)
            for algo, curve in zip(("ord", "jcb", "adv", "smt_adv", "smt_grad"), curves, strict=True):
                assert xs == list(means[algo].index)
                assert curve == pytest.approx(list(means[algo]), rel=1e-5)
    assert re.search(r"sigma=50.*eps=0\.2", tab.url)


def test_what_is_not_certified_interrupts_a_curve_and_is_said(tab: Any, made: tuple[pd.DataFrame, Path]) -> None:
    rows, page = made
    show(tab, page, certifier="discrepancy", sigma=25, eps=0.2)
    mine = rows[(rows["certifier"] == "discrepancy") & (rows["sigma"] == 25)]
    whole = mine.groupby(["algo", "eps"])["bound"].agg(lambda bounds: bounds.mean(skipna=False))
    _, *curves = drawn(tab, "eps", 2)
    for algo, curve in zip(("ord", "jcb", "adv", "smt_adv", "smt_grad"), curves, strict=True):
        assert [v is None for v in curve] == list(whole[algo].isna())
    said = tab.inner_text("#over-eps .certified figcaption")
    assert "ε = 0.5, 2 (ord, jcb, adv, smt_adv); ε = 0.2, 0.5, 2 (smt_grad)" in said
    # Under the pointer, and from the keyboard.
    plot = tab.locator("#over-eps .certified .plot")
    plot.focus()
    for _ in range(3):
        plot.press("ArrowRight")
    tip = tab.inner_text("#over-eps .certified .tip")
    assert "ε = 0.2" in tip
    assert "smt_grad: none (1 of 3 without), 3 images" in tip


def test_each_certifier_has_its_panels(tab: Any, made: tuple[pd.DataFrame, Path]) -> None:
    rows, page = made
    show(tab, page, certifier="mean", sigma=50)
    titles = tab.eval_on_selector_all("#over-eps h4", "all => all.map(e => e.textContent)")
    assert titles[2:] == [
        "Certified: PSNR of the mean estimator under every attack",
        "Certified: smoothed mean, MSE by which it can move",
    ]
    mine = rows[(rows["certifier"] == "mean") & (rows["sigma"] == 50) & (rows["algo"] == "ord")]
    assert drawn(tab, "eps", 2)[1] == pytest.approx(list(mine.groupby("eps")["certified_psnr_mean"].mean()), rel=1e-5)
    assert "mean: smoothed mean, MSE by which it can move, certified for every attack" in tab.inner_text(
        "#certified-what"
    )
    assert tab.locator("#unsound").is_hidden()


def test_table_sorts_filters_and_pages_as_pandas_does(tab: Any, made: tuple[pd.DataFrame, Path]) -> None:
    rows, page = made
    show(tab, page, certifier="discrepancy", all=1)
    mine = rows[rows["certifier"] == "discrepancy"].reset_index(drop=True)
    assert len(column(tab, "image")) == 50
    tab.click("#table-pages >> text=Last")
    assert column(tab, "algo") == list(mine["algo"][200:])
    tab.click("#rows-table th[data-name=bound] button")
    tab.click("#rows-table th[data-name=bound] button")
    in_order = mine.sort_values("bound", ascending=False, kind="stable")
    assert [float(text) for text in column(tab, "bound")] == pytest.approx(list(in_order["bound"][:50]), rel=5e-3)
    assert tab.get_attribute("#rows-table th[data-name=bound]", "aria-sort") == "descending"
    tab.fill("[data-filter=sigma]", ">= 25")
    tab.fill("[data-filter=eps]", "0.1..0.5")
    tab.fill("#search", "chelsea smt_")
    kept = in_order[(in_order["sigma"] >= 25) & in_order["eps"].between(0.1, 0.5) & (in_order["image"] == "chelsea")]
    kept = kept[kept["algo"].str.startswith("smt_")]
    wait_for_count(tab, f"{len(kept)} of 225")
    assert column(tab, "algo") == list(kept["algo"])
    assert column(tab, "bound").count("none") == kept["bound"].isna().sum() > 0
    with tab.expect_download() as download:
        tab.click("#export")
    exported = pd.read_csv(download.value.path())
    assert list(exported["psnr_median"]) == pytest.approx(list(kept["psnr_median"]), rel=1e-6)
    tab.fill("[data-filter=bound]", "none")
    wait_for_count(tab, f"{kept['bound'].isna().sum()} of 225")


def test_pictures_are_compared_with_a_divider(tab: Any, made: tuple[pd.DataFrame, Path]) -> None:
    rows, page = made
    show(tab, page, certifier="discrepancy", sigma=25, eps=0.1)
    assert tab.locator(".thumb").count() == 15
    tab.click(".thumb >> nth=1")
    assert tab.inner_text("#compare-title") == "coins, ord"
    clip = "() => getComputedStyle(document.querySelector('#compare img.right')).clipPath"
    before = tab.evaluate(clip)
    tab.focus("#split")
    for _ in range(10):
        tab.keyboard.press("ArrowRight")
    moved = tab.evaluate(clip)
    box = tab.locator("#compare .frame").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    tab.mouse.up()
    dragged = tab.evaluate(clip)
    assert [re.search(r"([\d.]+)%\)", c)[1] for c in (before, moved)] == ["50", "55"]
    assert float(re.search(r"([\d.]+)%\)", dragged)[1]) == pytest.approx(25, abs=1)
    tab.select_option("#side-left", "median")
    one = rows[
        (rows["image"] == "coins") & (rows["algo"] == "ord") & (rows["eps"] == 0.1) & (rows["sigma"] == 25)
    ].iloc[0]
    assert tab.inner_text(".side.left .quality") == f"{one['psnr_median']:.2f} dB, SSIM {one['ssim_median']:.3f}"
    tab.select_option("#side-right", "intervals")
    assert "Each: each pixel on its own." in tab.inner_text("#compare .intervals")
    tab.click("#next")
    assert tab.inner_text("#compare-title") == "chelsea, ord"
    assert "picture=" in tab.url
    tab.keyboard.press("Escape")
    assert tab.locator("#compare").is_hidden()


def test_published_certificates_are_labelled(tab: Any, tmp_path: Path) -> None:
    both = ((e, u) for e in (0.1, 0.2) for u in ("paper", "matched"))
    rows = stored(tmp_path, *(row(run_id=u, eps=e, units=u, sound=u != "paper") for e, u in both))
    show(tab, write_page(rows, DECLARED, tmp_path))
    assert tab.locator("#unsound").is_hidden()  # matched is what one sees first
    tab.select_option("#choose-units", "paper")
    for place in ("#unsound", "#over-eps .certified figcaption", "[aria-labelledby=rows-title] .unsound"):
        assert PAPER_LABEL in tab.inner_text(place)
    assert tab.inner_text("#certified-what").startswith("What would be certified if it were sound")


def test_certifiers_without_any_value_are_drawn(tab: Any, tmp_path: Path) -> None:
    """All certifiers at one eps and sigma; center abstained everywhere."""
    rows = stored(tmp_path, *all_certifiers())
    show(tab, write_page(rows, DECLARED, tmp_path))
    panels = {"discrepancy": 6, "error": 6, "mean": 8, "center": 6, "radius": 5}
    for certifier, n in panels.items():
        tab.select_option("#choose-certifier", certifier)
        assert tab.locator("#over-eps .panel, #over-sigma .panel").count() == n
        assert column(tab, "image") == ["one"]
    tab.select_option("#choose-certifier", "center")
    assert column(tab, "bound") == ["none"]
    assert "not certified for every image at ε = 0.1 (ord)" in tab.inner_text("#over-eps .certified figcaption")


def test_names_that_look_like_html_are_harmless(tab: Any, tmp_path: Path) -> None:
    rows = stored(
        tmp_path, row(image=NASTY, run_id=NASTY, algo=NASTY), row(run_id="b", image="<img src=x onerror='hacked=1'>")
    )
    keep_pictures(tmp_path, 0.1, 25.0)
    show(tab, write_page(rows, DECLARED, tmp_path))
    tab.locator("#over-eps .plot").first.focus()
    tab.keyboard.press("ArrowRight")
    assert sorted(column(tab, "image")) == sorted(rows["image"])
    assert NASTY in tab.inner_text("#legend")
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("table img").count() == 0


def choice(tab: Any, name: str) -> str:
    found: str = tab.input_value(f"#choose-{name}")
    return found


def test_the_page_opens_on_what_has_the_most_certificates(tab: Any, made: tuple[pd.DataFrame, Path]) -> None:
    """mean has one everywhere; the others end at an ε/σ."""
    rows, page = made
    show(tab, page)
    counts = rows[rows["bound"].notna() & (rows["eps"] > 0)].groupby("certifier").size()
    assert choice(tab, "certifier") == counts.idxmax() == "mean"
    assert choice(tab, "eps") == "2"


def test_of_a_setting_the_largest_eps_with_a_certificate_is_shown(tab: Any, tmp_path: Path) -> None:
    """Of the settings the one with certificates, of σ the one with most, of ε the largest that has one."""
    cells = [(e, s, r) for e in (0.0, 0.1, 0.2, 3.0) for s in (12.0, 25.0, 50.0) for r in (0.1, 0.3)]
    rows = [
        row(eps=e, sigma=s, ratio=r, **({} if r == 0.3 and e <= (0.2 if s == 50 else 0.1) else NONE))
        for e, s, r in cells
    ]
    page = write_page(stored(tmp_path, *rows), DECLARED, tmp_path)
    show(tab, page)
    assert [choice(tab, name) for name in ("ratio", "sigma", "eps")] == ["0.3", "50", "0.2"]
    tab.select_option("#choose-ratio", "0.1")
    assert [choice(tab, name) for name in ("ratio", "sigma", "eps")] == ["0.1", "25", "3"]


def test_certificates_without_smoothing(tab: Any, tmp_path: Path) -> None:
    folders = [lipschitz_rows.write(tmp_path / str(k), rows) for k, rows in enumerate((mixed(), only_plain()))]
    page = write_page(lipschitz_rows.read(*folders), lipschitz_rows.DECLARED, tmp_path)
    show(tab, page)
    # The best of all certificates, at the largest ε.
    assert [choice(tab, name) for name in ("certifier", "eps")] == ["best", "5"]
    xs, *curves = tab.evaluate("() => document.querySelector('#overview .plot').plot.data.map((c) => [...c])")
    assert xs == [0.1, 1, 5, 15]
    # A curve for each method and kind, which ends where no certificate is.
    first = "() => [...document.querySelector('#numbers table').tBodies[0].rows].map((r) => r.cells[0].textContent)"
    found = dict(zip(tab.evaluate(first), curves, strict=True))
    assert found["ord, certified"] == [30.5, 29, 25, None]
    assert found["ord, smoothed"] == [26, None, None, None]
    assert found["adv, attacked"] == [None, 27, None, 20]
    assert found["adv, clean"] == [30] * 4
    assert "picked afterwards" in tab.inner_text("#overview")
    assert tab.eval_on_selector_all("#legend button", "all => all.map(e => e.textContent)") == ["ord", "adv"]
    tab.locator("#overview .plot").focus()
    tab.keyboard.press("ArrowRight")
    assert "ord, smoothed: 26.00, 2 images, error, σ = 25" in tab.inner_text("#overview .tip")
    # Its own view has no curve over σ, and draws bounds below 1e-6.
    tab.select_option("#choose-certifier", "lipschitz")
    assert tab.locator("#choose-sigma").count() == 0
    assert tab.locator("#over-sigma .panel").count() == 0
    assert tab.inner_text("#eps-title") == "Over ε, without smoothing"
    xs, ord_, _ = drawn(tab, "eps", 3)
    assert xs == [0, 0.1, 1, 5, 15]
    assert ord_[1:4] == pytest.approx([(e / 256) ** 2 for e in (0.1, 1, 5)], rel=1e-5)
    assert ord_[0] is ord_[4] is None  # 0, which has no logarithm, and not run
