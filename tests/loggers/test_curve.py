"""metrics.csv is replaced whole at each save."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from invsmooth.records.curve import Curve


def test_lines_and_columns_may_come_later(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "a", flush_every=1)
    curve.log_metrics({"loss": 1.0}, 0)
    curve.log_metrics({"loss": 2.0, "psnr": 30.0}, 1)
    curve.log_metrics({"loss": 3.0}, 2)
    found = pd.read_csv(tmp_path / "a" / "metrics.csv")
    assert [*found["loss"]] == [1.0, 2.0, 3.0]
    assert [*found["step"]] == [0, 1, 2]
    assert found["psnr"].isna().tolist() == [True, False, True]


def test_a_save_that_breaks_off_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = Curve(tmp_path, flush_every=1)
    curve.log_metrics({"loss": 1.0}, 0)
    before = (tmp_path / "metrics.csv").read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        curve.log_metrics({"loss": 2.0, "psnr": 30.0}, 1)
    assert (tmp_path / "metrics.csv").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]
