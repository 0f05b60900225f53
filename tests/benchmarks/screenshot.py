"""``python -m tests.benchmarks.screenshot RUNS OUT``: the page of the runs that a glob matches, as docs/images/page.png.

RUNS may be ``synthetic``: made-up runs of the five algorithms. Needs Playwright and Chromium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from invsmooth.records.rows import read_rows
from invsmooth.report import find_runs
from invsmooth.reporting.page.html import write_page
from tests.reporting.browser import browser
from tests.reporting.page_runs import make_runs

WIDTH, HEIGHT = 1280, 1000


def screenshot(pattern: str, out: Path) -> None:
    """The page's upper part beside a comparison of pictures, where there are some."""
    with tempfile.TemporaryDirectory() as name, browser() as chrome:
        folder = Path(name)
        runs = make_runs(folder / "runs", size=160) if pattern == "synthetic" else find_runs([pattern])
        path = write_page(*read_rows(runs), folder)
        tab = chrome.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(f"file://{path}")
        tab.wait_for_selector("[data-ready]")
        tab.wait_for_timeout(300)
        shots = [folder / "page.png"]
        tab.screenshot(path=shots[0])
        if tab.locator(".thumb").count():
            tab.locator(".thumb").first.click()
            tab.locator("#compare img.right").wait_for()
            tab.evaluate("document.getElementById('compare').style.borderRadius = 0")
            shots.append(folder / "compare.png")
            tab.locator("#compare").screenshot(path=shots[1])
        save(shots, out)


def save(shots: list[Path], out: Path) -> None:
    """Side by side on white."""
    pictures = [Image.open(shot).convert("RGB") for shot in shots]
    gap = 24
    size = (sum(p.width for p in pictures) + gap * (len(pictures) - 1), max(p.height for p in pictures))
    whole = Image.new("RGB", size, "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, (size[1] - picture.height) // 2))
        left += picture.width + gap
    whole.save(out, optimize=True)
    print(f"{out.resolve()}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    screenshot(sys.argv[1], Path(sys.argv[2]))
