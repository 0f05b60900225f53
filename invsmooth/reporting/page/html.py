"""One self-contained index.html with rows and pictures: no network, no build step."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from invsmooth.core.files import write_text
from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.notes import notes
from invsmooth.reporting.page.carried import MOST_ROWS, carried, write_whole
from invsmooth.reporting.page.data import page_data
from invsmooth.reporting.page.pictures import MAX_BYTES, page_pictures

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("uplot.min.js", "labels.js", "elements.js", "data.js", "choose.js", "averages.js", "plot.js", "overview.js",
           "curves.js", "filter.js", "table.js", "gallery.js", "compare.js", "print.js", "main.js")  # fmt: skip
"""In the order in which the page runs them."""
STYLES = ("uplot.min.css", "page.css")
COMPRESS_FROM = 1_000_000  # characters of JSON above which the rows are embedded compressed


def write_page(
    rows: pd.DataFrame, declared: Declared, out: Path, files: Sequence[Path] = (), *,
    averages: Averages | None = None, said: Sequence[str] | None = None, max_bytes: int = MAX_BYTES,
    most_rows: int = MOST_ROWS,
) -> Path:  # fmt: skip
    """Write ``out``/index.html, all or nothing, with all ``rows``. ``files``: others of the report,
    below ``out``, to link to. ``averages``, ``said``: those and the notes of the rows, if they are at
    hand. ``max_bytes``: of pictures; the page says how many it lacks. ``most_rows``: if there are more, the page carries
    those of some images, says so, and links to all of them in ``out``/rows.parquet."""
    rows = rows.reset_index(drop=True)
    part = carried(rows, most_rows)
    if len(part) < len(rows):
        files = [*files, write_whole(rows, out)]
    links = [path.relative_to(out).as_posix() for path in files]
    averages = averages or Averages(rows, declared)
    said = notes(rows, declared) if said is None else said
    scripts = [read(name) for name in SCRIPTS]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    parts = {
        # The page can load nothing, and no script runs but its own.
        "policy": f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:",
        "styles": "\n".join(read(name) for name in STYLES),
        "rows": embedded("rows", page_data(rows, averages, said, links, part.index)),
        "pictures": embedded("pictures", page_pictures(part.reset_index(drop=True), max_bytes), compress_from=None),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # One pass: what is put in is not searched again.
    write_text(out / "index.html", re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read("page.html")))
    return out / "index.html"


def embedded(name: str, value: Any, compress_from: int | None = COMPRESS_FROM) -> str:
    """A value as a script element that is data: JSON, or JSON compressed by gzip in base64."""
    text, kind = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")), "application/json"
    if compress_from is not None and len(text) > compress_from:
        kind = "application/gzip"
        text = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    # "</script" and "<!--" would end or change the element; inside JSON, "<" stands in strings only.
    text = text.replace("<", "\\u003c")
    return f'<script type="{kind}" id="{name}">{text}</script>'


def read(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
