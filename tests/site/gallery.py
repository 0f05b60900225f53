"""``make gallery``: run the code of docs/gallery, write its figures, and put what it prints into the pages."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

from tests.site.blocks import ROOT, blocks, printed

GALLERY = ROOT / "docs" / "gallery"
PAGES = sorted(page for page in GALLERY.glob("*.md") if page.name != "index.md")
LARGEST = 100_000
"""Bytes of a figure."""


def main() -> None:
    for page in PAGES:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            said = [output for _, output in printed(page, Path(folder))]
            for figure in Path(folder).glob("*.png"):
                size = figure.stat().st_size
                if size > LARGEST:
                    raise SystemExit(f"error: {page.name}: {figure.name} has {size} bytes, more than {LARGEST}")
                shutil.copy(figure, GALLERY)
        page.write_text(with_output(page.read_text(encoding="utf-8"), said), encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {time.process_time() - start:.1f} s of a core")


def with_output(text: str, said: list[str]) -> str:
    """The page with each ``text`` block that follows a Python block replaced by what that printed."""
    found, outputs = blocks(text), iter(said)
    for block, output in reversed([(b, next(outputs)) for b in found if b.language == "python"]):
        after = found[found.index(block) + 1 :][:1]
        if after and after[0].language == "text":
            start, end = after[0].span
            text = text[:start] + re.sub(r" +$", "", output, flags=re.MULTILINE) + text[end:]
    return text


if __name__ == "__main__":
    main()
