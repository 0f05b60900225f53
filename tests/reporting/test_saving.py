"""Figures that other processes draw are those that this one draws."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from invsmooth.reporting import report, saving, write
from invsmooth.reporting.saving import Make, Saver, save
from tests.reporting.sweep_made import write_many


def figure() -> Figure:
    made = Figure(layout="constrained")
    axes = made.subplots()
    axes.plot([1, 2, 5], [3, 1, 4], label="a curve")
    axes.set_yscale("log")
    axes.secondary_xaxis("top", functions=(partial(np.multiply, 3.0), partial(np.multiply, 1 / 3.0)))
    made.legend(loc="outside lower center")
    return made


@pytest.mark.slow
def test_the_files_are_the_same(tmp_path: Path) -> None:
    alone = save(figure(), tmp_path / "alone")
    with Saver(2) as saver:
        written = saver.save(figure, tmp_path / "beside")
    assert [path.name for path in written] == ["beside.png", "beside.pdf"]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in alone]
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(FileNotFoundError), Saver(2) as saver:
        saver.save(figure, tmp_path / "nowhere" / "figure")


@pytest.mark.slow
def test_every_figure_can_go_to_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Packing(Saver):
        def save(self, make: Make, path: Path) -> list[Path]:
            seen.append(path.name)
            packed = pickle.dumps(make)
            assert len(packed) < 2_000_000
            assert isinstance(pickle.loads(packed)(), Figure)
            return []

    monkeypatch.setattr(write, "Saver", Packing)
    report(write_many(tmp_path, 6), tmp_path / "report")
    assert {"certificate", "psnr_over_eps", "truth", "figure1", "psnr"} <= set(seen)


@pytest.mark.slow
def test_this_process_helps_when_the_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helped = []

    def saved(figure: Figure, path: Path) -> list[Path]:
        helped.append(path.name)
        return save(figure, path)

    monkeypatch.setattr(saving, "save", saved)
    names = [f"figure {k}" for k in range(6)]
    with Saver(2) as saver:
        written = [file for name in names for file in saver.save(figure, tmp_path / name)]
    assert helped  # the last first, while the other process starts
    assert helped == names[: -len(helped) - 1 : -1]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_few_figures_are_drawn_here() -> None:
    assert saving.processes_for(saving.MANY_ROWS - 1) == 1
    assert 1 <= saving.processes_for(saving.MANY_ROWS) <= 4
