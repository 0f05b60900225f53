"""The benchmarks import, and the short ones run at a tiny size."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch

from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity
from tests.benchmarks import certify, counterexample, overview, report, scale, table

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if not path.stem.startswith("test_"))


@pytest.mark.parametrize("name", NAMES)
def test_it_imports_and_says_how_to_run_it(name: str) -> None:
    if name == "screenshot":
        pytest.importorskip("playwright")
    module = import_module(f"tests.benchmarks.{name}")
    assert callable(getattr(module, "main", getattr(module, "screenshot", getattr(module, "time_overhead", None))))
    assert module.__doc__ is not None
    assert "``make" in module.__doc__ or "``python -m" in module.__doc__


def test_the_variants_of_certify_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certify, "SIDE", 8)
    for run in certify.variants(MatchedFilter(), Identity()).values():
        run()


def test_lipschitz_is_compared_with_a_reconstruction(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certify, "MEMORY_SIDE", 16)
    certify.time_lipschitz(1)
    assert "certificate / reconstruction" in capsys.readouterr().out


def test_scale_fits_exponents_and_counts_the_memory_of_children() -> None:
    assert scale.exponent({n: 3.0 * n**1.5 for n in (2, 5, 9)}) == pytest.approx(1.5)
    assert scale.about("│ a job │ 5 │ 1.2 s │\n│ 500 jobs │ 1,000 │ 12.5 h │\n") == "12.5 h"
    hold = "x = bytearray(2**26); print('held', flush=True); input()"
    call = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", call], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == "held\n"
        assert 64 < scale.memory_of(run.pid) < 200
        run.communicate("\n")
    assert scale.memory_of(run.pid) == 0


def test_report_times_every_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """But for the report itself, which tests/reporting runs."""
    whole = create_autospec(report.report)
    monkeypatch.setattr(report, "report", whole)
    report.main(6)
    assert "the whole report, figures included" in capsys.readouterr().out
    (folders, _), options = whole.call_args
    assert (len(folders), options) == (6, {"parallel": True})


def test_figures_are_drawn() -> None:
    assert len(counterexample.draw().axes) == 2
    images = {str(k): torch.zeros(1, 1, 4, 4) for k in range(5)}
    assert len(overview.figure_of(images, {"a curve": ("s-", "black", [1.0] * len(overview.EPS))}).axes) == 6


def test_a_part_renews_its_rows_of_the_table() -> None:
    rows = [table.Row("a", 1.0, "s"), table.Row("b", 2.0, "s", "<= 1")]
    whole = table.markdown(rows, "a machine")
    renewed = table.markdown([table.Row("b", 0.5, "s", "<= 1")], "a machine", f"\n{whole}\n")
    assert renewed == whole.replace("| b | 2 s | <= 1 | no |", "| b | 0.5 s | <= 1 | yes |")
    assert "| a |" not in table.markdown(rows[1:], "another machine", whole)
