"""What index.html carries, read out of the file without a browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from invsmooth.core.units import PAPER_LABEL
from invsmooth.records.pictures import KINDS
from invsmooth.reporting import report
from invsmooth.reporting.page.html import ASSETS, SCRIPTS, STYLES, write_page
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, keep_pictures, read, row, stored
from tests.reporting.page_runs import make_runs

NASTY = "<script>window.hacked = 1</script><!-- & \"quoted\" 'b' {{rows}}"


def embedded(page: Path, name: str) -> Any:
    """The value that the page carries."""
    found = re.search(rf'<script type="application/(\w+)" id="{name}">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    text = gzip.decompress(base64.b64decode(found[2])).decode() if found[1] == "gzip" else found[2]
    return json.loads(text)


def frame(page: Path) -> pd.DataFrame:
    """The rows that the page carries."""
    infinite = {"inf": math.inf, "-inf": -math.inf}
    found = {}
    for column in embedded(page, "rows")["columns"]:
        values = [column["values"][code] for code in column["codes"]] if "codes" in column else column["values"]
        found[column["name"]] = [infinite.get(v, v) for v in values] if column["kind"] == "number" else values
    return pd.DataFrame(found)


@pytest.mark.parametrize("compress_from", [0, 10**9])
def test_rows_come_back_out_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress_from: int) -> None:
    monkeypatch.setattr("invsmooth.reporting.page.html.embedded.__defaults__", (compress_from,))
    rows = read(make_runs(tmp_path / "runs", size=8, algos=("ord", "adv"), sigmas=(25.0,)))
    rows.loc[3, "eps_over_sigma"] = math.inf
    found = frame(write_page(rows, DECLARED, tmp_path))
    assert list(found) == [c for c in rows if c != "folder"] == DECLARED.schema.names
    assert len(found) == len(rows)
    for name in found:
        for mine, its in zip(rows[name], found[name], strict=True):
            if pd.isna(mine):
                assert its is None or math.isnan(its)
            else:
                assert its == (pytest.approx(mine, rel=1e-6) if isinstance(mine, float) else mine), name


def test_pictures_come_back_and_those_that_are_the_same_are_there_once(tmp_path: Path) -> None:
    rows = read(make_runs(tmp_path / "runs", size=16, algos=("ord",), radii=(0.1, 2.0), sigmas=(25.0,)))
    pictures = embedded(write_page(rows, DECLARED, tmp_path), "pictures")
    assert (len(pictures["cells"]), pictures["left_out"]) == (6, 0)
    cell = next(
        c for c in pictures["cells"] if rows.loc[c["row"], "image"] == "coins" and rows.loc[c["row"], "eps"] == 0.1
    )
    assert rows.loc[cell["row"], "certifier"] == "discrepancy"  # of the run's first certifier
    decoded = {k: Image.open(io.BytesIO(base64.b64decode(pictures["pngs"][n]))) for k, n in cell["kinds"].items()}
    with np.load(tmp_path / "runs" / "0_ord" / "pictures" / "coins_ratio0.3_b0_eps0.1_sigma25.npz") as kept:
        for kind in KINDS:
            np.testing.assert_array_equal(np.asarray(decoded[kind]), kept[kind])
        width = kept["upper"] - kept["lower"]
    assert cell["intervals"] == {
        "label": "each pixel on its own", "missing": 0, "max": pytest.approx(width.max(), abs=1e-6),
        "median": pytest.approx(np.median(width), abs=1e-6),
    }  # fmt: skip
    np.testing.assert_allclose(np.asarray(decoded["intervals"]) / 254 * width.max(), width, atol=width.max() / 500)
    clean = {c["kinds"]["clean"] for c in pictures["cells"]}
    assert len(clean) == 3
    # Beyond every certificate: no draw of rank K, and a transparent picture of the intervals.
    none = next(c for c in pictures["cells"] if rows.loc[c["row"], "eps"] == 2.0)
    assert "certified" not in none["kinds"]
    assert (none["intervals"]["missing"], none["intervals"]["median"]) == (256, None)


def test_pictures_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    rows = read(make_runs(tmp_path / "runs", size=16, algos=("ord", "adv"), radii=(0.1, 0.2), sigmas=(25.0,)))
    whole = write_page(rows, DECLARED, tmp_path).stat().st_size
    pictures = embedded(write_page(rows, DECLARED, tmp_path, max_bytes=10_000), "pictures")
    assert sum(map(len, pictures["pngs"])) <= 10_000
    assert len(pictures["cells"]) + pictures["left_out"] == 12
    assert (tmp_path / "index.html").stat().st_size < whole
    # Of both runs' first image, before any second one.
    assert {rows.loc[c["row"], "image"] for c in pictures["cells"][:4]} == {"camera"}
    assert {rows.loc[c["row"], "algo"] for c in pictures["cells"][:4]} == {"ord", "adv"}


def test_text_from_the_rows_stays_text(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(image=NASTY, run_id="</script>"), row(image="two", reason=NASTY))
    page = write_page(rows, DECLARED, tmp_path, [tmp_path / '"><img src=x>.md'])
    text = page.read_text()
    assert "<script>window" not in text
    assert text.count("</script>") == len(SCRIPTS) + 2
    assert list(frame(page)["image"]) == [NASTY, "two"]
    assert embedded(page, "rows")["files"][0]["href"] == "%22%3E%3Cimg%20src%3Dx%3E.md"


def test_nothing_is_loaded(tmp_path: Path) -> None:
    page = write_page(stored(tmp_path, row()), DECLARED, tmp_path).read_text()
    assert re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", page.split("<style>")[0]) == ["data:,"]
    assert "@import" not in page
    assert "url(" not in page
    own = [(ASSETS / name).read_text() for name in (*SCRIPTS, *STYLES, "page.html") if "uplot" not in name]
    assert [text for text in own if re.search(r"https?:|fetch\(|XMLHttp|import\(|innerHTML|eval\(", text)] == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy[1].split(";")[1]


def test_page_without_pictures_is_small_and_made_again_the_same(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(), row(sigma=12.0, **NONE))
    first = write_page(rows, DECLARED, tmp_path).read_bytes()
    assert len(first) < 150_000
    assert write_page(rows, DECLARED, tmp_path).read_bytes() == first
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    many = rows.loc[[0] * 10_000].assign(image=[f"image {k}" for k in range(10_000)], psnr_clean=np.arange(10_000) / 7)
    assert write_page(many, DECLARED, tmp_path).stat().st_size < len(first) + 60 * len(many)


def test_report_writes_the_page_with_runs_notes_and_links(tmp_path: Path) -> None:
    stored(tmp_path / "run", row(), row(units="paper", sound=False, eps=0.2))
    keep_pictures(tmp_path / "run", 0.1, 25.0)
    git = {"commit": "abc", "changed": True}
    (tmp_path / "run" / "run.json").write_text(
        json.dumps({"seed": 3, "status": "finished", "git": git, "versions": {}})
    )
    written = report([tmp_path / "run"], tmp_path / "out")
    assert written[-1] == tmp_path / "out" / "index.html"
    data = embedded(written[-1], "rows")
    # index.md lists what lies in folders below.
    beside = [path.name for path in written[:-1] if path.parent == tmp_path / "out"]
    assert [file["name"] for file in data["files"]] == beside
    assert data["runs"] == [
        {"run_id": "a", "folder": "run", "status": "finished", "seed": 3, "invsmooth": None, "torch": None,
         "commit": "abc", "changed": True}
    ]  # fmt: skip
    assert data["paper_label"] == PAPER_LABEL
    assert "With probability at least 0.99" in data["notes"][0]
    assert str(tmp_path) not in written[-1].read_text()  # where it was made is nobody's business
