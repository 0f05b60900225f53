"""index.html in Chromium and in Firefox: hostile names, the keyboard alone, and paper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invsmooth.records.rows import write_rows
from invsmooth.reporting import report
from invsmooth.reporting.page.html import write_page
from tests.reporting.declared import DECLARED
from tests.reporting.made import keep_pictures, read, row
from tests.reporting.page_runs import make_runs
from tests.reporting.sweep_made import write_config
from tests.reporting.tabs import Tab, a_tab, show, until

pytestmark = pytest.mark.slow

DO = "window.hacked=1;document.title='hacked';alert(1)"
HOSTILE = (
    f"<script>{DO}</script>", f'<img src=x onerror="{DO}">', f"</script><script>{DO}</script>", f"javascript:{DO}",
    f'"><svg onload={DO}>', f"' autofocus onfocus='{DO}", "{{scripts}}", "__proto__", "constructor", f"${{{DO}}}",
    f"<!--<script>{DO}",
    "]]><iframe srcdoc='<script>parent.hacked=1</script>'>", "</style><style>*{display:none}", "\u202eevil",
)  # fmt: skip
ROWS = (
    "return [...document.querySelectorAll('#rows-table tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
)
CHOOSE_LAST = """
    const s = document.querySelectorAll('#choosers select')[arguments[0]];
    s.selectedIndex = s.options.length - 1;
    s.dispatchEvent(new Event('change', { bubbles: true }));
"""
ALL = """
    const some = document.querySelectorAll('a[href], button:enabled, input, select, summary, [tabindex="0"]');
    return [...some].filter((e) => e.checkVisibility());
"""  # that can get the focus
FOCUSED = f"""
    const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
    const at = document.elementFromPoint(box.x + Math.min(box.width / 2, 100), box.y + Math.min(box.height / 2, 60));
    const all = (() => {{ {ALL} }})();
    return {{ place: all.indexOf(e), what: e.id || e.textContent.slice(0, 40) || e.className || e.tagName,
             seen: Boolean(at) && (e.contains(at) || at.contains(e)),
             scroller: e.matches('.scroll'), body: e === document.body,
             ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 }};
"""  # of the element that has it


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser_tab(request: pytest.FixtureRequest) -> Iterator[Tab]:
    with a_tab(request.param) as found:
        yield found


@pytest.fixture
def tab(browser_tab: Tab) -> Iterator[Tab]:
    """A tab in which nothing may go wrong."""
    browser_tab.open("about:blank")
    browser_tab.logged()
    yield browser_tab
    assert browser_tab.logged() == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_page(read(make_runs(folder / "runs", size=16)), DECLARED, folder)


def hostile_runs(folder: Path) -> list[Path]:
    """Two runs whose names, config values, rows and records are all hostile."""
    made = []
    for k in range(2):
        run = folder / HOSTILE[k].replace("/", "∕")
        values = {
            "run_id": HOSTILE[2 + k], "algo": "ord", "dataset": HOSTILE[1], "operator": HOSTILE[4], "reason": HOSTILE[0],
            "attack": HOSTILE[5], "attack_target": HOSTILE[11], "estimator_sha256": HOSTILE[6 + k], "k_index": 1,
        }  # fmt: skip
        rows = [row(image=name, eps=e, **values) for name in HOSTILE for e in (0.1, 0.2)]
        run.mkdir(parents=True)
        write_rows(run / "results.parquet", rows, DECLARED)
        write_config(run, "ord", variant=HOSTILE[k], other=HOSTILE[5 + k])
        record = {"status": HOSTILE[0], "seed": HOSTILE[1], "versions": {"invsmooth": HOSTILE[2], "torch": HOSTILE[4]},
                  "git": {"commit": HOSTILE[1], "changed": True}}  # fmt: skip
        (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
        keep_pictures(run, 0.1, 25.0)
        made.append(run)
    return made


def test_the_watch_sees_what_runs(browser_tab: Tab, tmp_path: Path) -> None:
    """Otherwise the test below could not fail: the same text as HTML runs; a policy like the page's stops and reports it."""
    text = f"<!doctype html><meta charset=utf-8>{{}}<title>a</title><p>text{HOSTILE[1].replace(';alert(1)', '')}"
    for name, policy in (("open", ""), ("closed", "default-src 'none'; script-src 'sha256-0'; img-src data:")):
        meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
        (tmp_path / f"{name}.html").write_text(text.format(meta), encoding="utf-8")
        browser_tab.open(f"file://{tmp_path}/{name}.html")
        if policy:
            until(lambda: any("Content" in said and "Security" in said for said in browser_tab.logged()))
            assert browser_tab.run("return window.hacked") is None
        else:
            until(lambda: browser_tab.run("return window.hacked === 1"))
    browser_tab.logged()


def test_hostile_names_and_values_run_nothing(tab: Tab, tmp_path: Path) -> None:
    """With everything opened, chosen, sorted and searched; the same text in the address, too."""
    written = report(hostile_runs(tmp_path / "runs"), tmp_path / "report")
    policy = "return document.querySelector('meta[http-equiv=Content-Security-Policy]').content"
    for address in ("all=1&columns=1", f"q=x&f.image={HOSTILE[1]}&sort={HOSTILE[0]}&hide={HOSTILE[0]}&{HOSTILE[0]}=1"):
        show(tab, written[-1], address)
        assert tab.run(policy).startswith("default-src 'none'; script-src 'sha256-")
        if address.startswith("all"):
            shown = {cell for line in tab.run(ROWS) for cell in line}
            assert {HOSTILE[k] for k in (0, 1, 2, 3, 4, 5)} <= shown
            assert f"variant = {HOSTILE[0]}" in tab.run("return document.getElementById('legend').textContent")
            assert HOSTILE[2] in tab.run("return document.getElementById('runs').textContent")
        tab.run(
            "document.querySelectorAll('summary, #rows-table th button, #legend button, .thumb').forEach((e) => e.click())"
        )
        tab.run("document.getElementById('compare').close()")
        for n in range(tab.run("return document.querySelectorAll('#choosers select').length")):
            tab.run(CHOOSE_LAST, n)
        tab.run(
            "const s = document.getElementById('search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
            HOSTILE[1],
        )
        made = "[onerror], [onload], [onfocus], iframe, svg, #rows-table img"
        assert tab.run("return document.querySelectorAll(arguments[0]).length", made) == 0
        assert tab.run("return [window.hacked ?? 0, document.title, ({}).polluted ?? 0]") == [0, "invsmooth report", 0]


def focused(tab: Tab) -> dict[str, Any]:
    found: dict[str, Any] = tab.run(FOCUSED)
    return found


def test_the_tab_key_reaches_everything_in_order_and_in_sight(tab: Tab, page: Path) -> None:
    show(tab, page, "certifier=discrepancy&eps=0.1&sigma=25")
    n = tab.run(f"return (() => {{ {ALL} }})().length")
    places = []
    for _ in range(n + 10):  # and the parts of the page that scroll
        tab.press("Tab")
        now = focused(tab)
        if now["body"]:
            break
        assert now["ring"], f"no ring around {now['what']}"
        lost = f"{now['what']} has the focus and is covered, or not in the window"
        until(lambda: focused(tab)["seen"], 10, lost)  # Firefox scrolls a little later
        if not now["scroller"]:
            places.append(now["place"])
        if len(places) == n:
            break
    assert places == list(range(n))
    assert n > 60


def test_the_keyboard_sorts_filters_chooses_and_pages(tab: Tab, page: Path) -> None:
    show(tab, page, "certifier=discrepancy&all=1")
    sort = "const h = document.querySelector('th[data-name=psnr_clean]'); return h.getAttribute('aria-sort')"
    tab.run("document.querySelector('th[data-name=psnr_clean] button').focus()")
    for key, state in (("Enter", "ascending"), ("Space", "descending"), ("Enter", None)):
        tab.press(key)
        assert tab.run(sort) == state
        assert tab.run("return document.activeElement.closest('th')?.dataset.name") == "psnr_clean"
    tab.run("document.querySelector('[data-filter=eps]').focus()")
    for key in ("0", ".", "2"):
        tab.run(
            "document.activeElement.value += arguments[0]; document.activeElement.dispatchEvent(new Event('input'))",
            key,
        )
    until(lambda: tab.run("return document.getElementById('table-count').textContent").startswith("45 of 225"))
    tab.run("const e = document.activeElement; e.value = ''; e.dispatchEvent(new Event('input'))")
    until(lambda: tab.run("return document.getElementById('table-count').textContent").startswith("225 of 225"))
    # The buttons are drawn anew, and the focus stays.
    tab.run("[...document.querySelectorAll('#table-pages button')].find((b) => b.textContent === 'Next').focus()")
    for number in (2, 3, 4, 5):
        tab.press("Enter")
        assert f"page {number} of 5" in tab.run("return document.getElementById('table-pages').textContent")
    assert tab.run("return document.activeElement.textContent") == "First"  # there is no next one
    tab.run("document.getElementById('choose-eps').focus()")
    before = tab.run("return document.getElementById('choose-eps').value")
    tab.run("document.getElementById('choose-eps').selectedIndex = 0")
    tab.press("ArrowDown")
    assert tab.run("return document.getElementById('choose-eps').value") != before
    assert tab.run("return document.activeElement.id") == "choose-eps"
    assert "eps=0.1" in tab.run("return location.hash")


def test_the_keyboard_opens_and_closes_the_pictures(tab: Tab, page: Path) -> None:
    show(tab, page, "certifier=discrepancy&eps=0.1&sigma=25")
    tab.run("document.querySelectorAll('.thumb')[13].focus()")
    tab.press("Enter")
    assert tab.run("return document.getElementById('compare').open")
    tab.run("document.getElementById('split').focus()")
    tab.press("ArrowRight")
    assert tab.run("return document.getElementById('split').value") == "50.5"
    tab.run("document.getElementById('next').focus()")
    tab.press("Space")  # the last one, which has no next
    until(lambda: tab.run("return document.activeElement.id") == "previous", 5)
    tab.press("Escape")
    assert not tab.run("return document.getElementById('compare').open")
    assert tab.run("return document.activeElement.className") == "thumb"
    # The page behind is out of reach. (Last, since the focus may go round through the window of the browser.)
    tab.press("Enter")
    seen = set()
    for _ in range(9):
        seen.add(tab.run("return document.activeElement.id"))
        inside = "const e = document.activeElement; return e === document.body || Boolean(e.closest('#compare'))"
        assert tab.run(inside)
        tab.press("Tab")
    assert {"side-left", "swap", "side-right", "split", "zoom", "previous", "next"} <= seen


def printed(pdf: bytes, folder: Path) -> tuple[str, list[str], int]:
    """The text of a PDF file, the words that lie beyond the paper, and the number of sheets with curves."""
    if shutil.which("pdftotext") is None or shutil.which("pdftoppm") is None:
        pytest.skip("no pdftotext and pdftoppm on PATH (Debian: poppler-utils)")

    def run(*command: str) -> str:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    (folder / "a.pdf").write_bytes(pdf)
    beyond, width = list[str](), 0.0
    for line in run("pdftotext", "-bbox", "a.pdf", "-").splitlines():
        if found := re.search(r'<page width="([\d.]+)"', line):
            width = float(found[1])
        if found := re.search(r'<word xMin="([-\d.]+)".*xMax="([\d.]+)".*>(.*)</word>', line):
            beyond += [found[3]] if float(found[1]) < -1 or float(found[2]) > width + 1 else []
    run("pdftoppm", "-r", "45", "-png", "a.pdf", "sheet")
    sheets = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in sorted(folder.glob("sheet*.png"))]
    # Vermillion, of the second method: in the legend a few pixels.
    coloured = [int((np.abs(sheet - (213, 94, 0)).sum(-1) < 90).sum()) for sheet in sheets]
    return run("pdftotext", "-layout", "a.pdf", "-"), beyond, sum(n > 60 for n in coloured)


def test_paper_has_all_tables_and_figures_and_no_controls(tab: Tab, page: Path, tmp_path: Path) -> None:
    show(tab, page, "certifier=discrepancy&eps=0.1&sigma=25&all=1")
    before = tab.run("return document.querySelector('main').innerText")
    text, beyond, with_curves = printed(tab.pdf(), tmp_path)
    squeezed = "".join(unicodedata.normalize("NFKC", text).split()).lower()  # without ligatures
    assert with_curves == 3  # overview, over ε, over σ
    assert beyond == []
    assert text.count("chelsea") >= 225 // 3  # all rows, not a page of them
    for said in (
        "run-smt_grad",
        "With probability at least",
        "Attacked, no smoothing",
        "Certified: smoothed draws",
        "225 of 225 rows",
        "The numbers of these curves",
        "certifier run σ (grey levels)",
        "not certified for every image",
        "smt_adv, smoothed",
    ):
        assert "".join(said.split()).lower() in squeezed, said
    for control in ("Export these rows", "Previous", "Last", "every ε and σ", "all columns", ">= 30", "Click one"):
        assert "".join(control.split()).lower() not in squeezed, control
    # The screen is as it was.
    until(lambda: tab.run("return document.querySelector('main').innerText") == before)
    assert (
        tab.run("return document.documentElement.className + document.querySelectorAll('details[open]').length") == "0"
    )
