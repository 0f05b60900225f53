"""How long a click on index.html takes in a browser."""

from __future__ import annotations

import time
from pathlib import Path

from tests.reporting.tabs import a_tab, show, until

ACTIONS = {
    "sort": "document.querySelector('th[data-name=psnr_clean] button').click()",
    "sort by text": "document.querySelector('th[data-name=image] button').click()",
    "every ε and σ": "document.getElementById('check-all').click()",
    "sort all": "document.querySelector('th[data-name=psnr_clean] button').click()",
    "choose": "const s = document.querySelector('#choosers select:last-of-type'); s.selectedIndex = 1;"
              "s.dispatchEvent(new Event('change', { bubbles: true }))",
}  # fmt: skip
FILTER = {"filter": ("[data-filter=psnr_clean]", ">= 30"), "search": ("#search", "image 00001")}
COUNT = "return document.getElementById('table-count').textContent"
CHANGE = "const f = document.querySelector(arguments[0]); f.value = arguments[1]; f.dispatchEvent(new Event('input'))"


def actions(browser: str, page: Path) -> dict[str, float]:
    """Milliseconds of each action, until it is drawn."""
    with a_tab(browser) as tab:
        started = time.perf_counter()
        show(tab, page)
        took = {"open": 1000 * (time.perf_counter() - started)}
        for what, code in ACTIONS.items():
            timed = f"const t = performance.now(); (() => {{ {code} }})(); document.body.offsetHeight;"
            took[what] = tab.run(f"{timed} return performance.now() - t")
        for what, (field, text) in FILTER.items():
            before, started = tab.run(COUNT), time.perf_counter()
            tab.run(CHANGE, field, text)
            until(lambda before=before: tab.run(COUNT) != before)
            took[what] = 1000 * (time.perf_counter() - started)
    return took
