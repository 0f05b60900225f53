"""The bookkeeping of hundreds of jobs reads each file once."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from invsmooth.sweeps import outcomes as module
from invsmooth.sweeps.outcomes import OVERRIDES, outcomes, summary, write_lost


def test_every_job_of_a_sweep_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a job array is cancelled. Each lost job looks whether another one was the same."""
    read, load = [], OmegaConf.load
    monkeypatch.setattr(module.OmegaConf, "load", lambda path: read.append(path) or load(path))
    n = 30
    for k in range(n):
        write_lost(tmp_path, k, [f"seed={k}"], RuntimeError("cancelled"))
    write_lost(tmp_path, n, ["seed=3"], RuntimeError("the same job again, under another number"))
    ended = outcomes(tmp_path)
    assert [o.overrides for o in ended] == [f"seed={k}" for k in range(n)]
    assert len(list(summary(ended))) == 1 + 3 * n
    assert len(read) == n


def test_overrides_that_changed_are_read_again(tmp_path: Path) -> None:
    write_lost(tmp_path, 0, ["seed=1"], RuntimeError("cancelled"))
    assert outcomes(tmp_path)[0].overrides == "seed=1"
    path = tmp_path / "0_lost" / OVERRIDES
    path.write_text("- seed=2\n")
    assert outcomes(tmp_path)[0].overrides == "seed=2"
