"""What a page of very many rows carries, and that the work grows with the rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from invsmooth.records.rows import count_rows
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.page.carried import carried
from invsmooth.reporting.page.html import write_page
from invsmooth.reporting.tables.overview import print_short
from tests.reporting.declared import DECLARED
from tests.reporting.made import row, stored
from tests.reporting.test_html_page import embedded, frame


def many(tmp_path: Path, images: dict[str, int], per_image: int = 6) -> pd.DataFrame:
    """So many images of each data set, each with rows of two runs."""
    first = stored(tmp_path, row())
    cells = [(d, f"{k}", r) for d, n in images.items() for k in range(n) for r in range(per_image)]
    rows = first.loc[[0] * len(cells)].reset_index(drop=True)
    datasets, names, numbers = zip(*cells, strict=True)
    return rows.assign(
        dataset=datasets, image=names, run_id=[f"run {n % 2}" for n in numbers], sigma=[25.0 + n // 2 for n in numbers]
    )


def test_whole_images_are_carried_in_turn_of_every_data_set(tmp_path: Path) -> None:
    rows = many(tmp_path, {"a": 5, "b": 2})
    assert carried(rows, len(rows)) is rows
    part = carried(rows, 26)  # four images of six rows
    assert len(part) == 24
    assert list(part.index) == sorted(part.index)
    kept = part[["dataset", "image"]].drop_duplicates().to_numpy().tolist()
    assert sorted(kept) == [["a", "0"], ["a", "1"], ["b", "0"], ["b", "1"]]
    # One image has more than all that may be carried: a run of it, and then what fits.
    assert list(carried(rows, 4)["run_id"].unique()) == ["run 0"]
    assert len(carried(rows, 4)) == 3
    assert len(carried(rows, 2)) == 2


def test_the_page_says_what_it_lacks_and_links_to_it(tmp_path: Path) -> None:
    rows = many(tmp_path, {"a": 5, "b": 2})
    page = write_page(rows, DECLARED, tmp_path, most_rows=26)
    data = embedded(page, "rows")
    assert data["left_out"] == {"rows": 42, "images": 7, "shown_images": 4, "file": "rows.parquet"}
    assert data["count"] == len(frame(page)) == 24
    assert {"name": "rows.parquet", "href": "rows.parquet"} in data["files"]
    whole = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(whole) == DECLARED.schema.names
    assert list(whole["image"]) == list(rows["image"])
    # The curves of the first figure are of all rows.
    assert sorted((one["place"]["dataset"], one["images"]) for one in data["overview"]) == [("a", 5), ("b", 2)]
    all_of_them = write_page(rows, DECLARED, tmp_path)
    assert embedded(all_of_them, "rows")["left_out"] is None


def test_the_page_stays_small(tmp_path: Path) -> None:
    """However many rows there are, and however different."""
    sizes = []
    for n in (50, 100, 200):
        rows = many(tmp_path, {"a": n}).assign(psnr_clean=lambda r: np.arange(len(r)) / 7)
        sizes.append(write_page(rows, DECLARED, tmp_path, most_rows=300).stat().st_size)
    assert sizes[2] < sizes[0] + 2000


def test_the_number_of_group_operations_does_not_depend_on_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No loop over rows or images, which would be quadratic with a selection in it: rows, averages and page."""
    selected = pd.DataFrame.__getitem__
    counts = []
    for n in (20, 40, 80):
        rows, calls = many(tmp_path, {"a": n}), []

        def counted(self: pd.DataFrame, key: object, calls: list[int] = calls) -> object:
            calls.append(1)
            return selected(self, key)

        with monkeypatch.context() as patched:
            patched.setattr(pd.DataFrame, "__getitem__", counted)
            write_page(rows, DECLARED, tmp_path, averages=Averages(rows, DECLARED), most_rows=60)
        counts.append(len(calls))
    assert counts[2] <= counts[0] * 1.2


def test_the_terminal_shows_the_first_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    averages = Averages(many(tmp_path, {"a": 1, "b": 1, "c": 1}), DECLARED)
    print_short(averages)
    assert "lines; table.md has all" not in capsys.readouterr().out
    monkeypatch.setattr("invsmooth.reporting.tables.overview.MOST_SHORT", 2)
    print_short(averages)
    assert "The first 2 of 3 lines; table.md has all." in capsys.readouterr().out


def test_rows_are_counted_without_reading_them(tmp_path: Path) -> None:
    stored(tmp_path / "a", row(), row(eps=0.2))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.parquet").write_bytes(b"damaged")
    assert count_rows([tmp_path / "a", tmp_path / "b", tmp_path / "none"]) == 2
