"""The Python of docs/report.md, on a report that it can be run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from invsmooth.reporting import artefacts
from invsmooth.reporting.artefacts import write_artefacts
from tests.reporting.sweep_made import write_config, write_metrics, write_run
from tests.reporting.test_artefacts import completed
from tests.site.blocks import ROOT, printed


def test_the_number_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for seed in (0, 1):
        folder = tmp_path / f"run{seed}"
        write_run(
            folder, "ord", "denoise", seed=seed, images=3, eps=(0.0, 0.1), sigmas=(12.0,), n_samples=50,
            run_id=folder.name, estimator_sha256=folder.name,
        )  # fmt: skip
        write_config(folder, "ord", "denoise", seed=seed)
        write_metrics(folder, [0.5])
        folders.append(folder)
    monkeypatch.setattr(artefacts, "figures", lambda *_: iter(()))
    (tmp_path / "report").mkdir()
    write_artefacts(*completed(folders), [], tmp_path / "report")
    ((_, said),) = printed(ROOT / "docs" / "report.md", tmp_path)
    again, value = map(float, said.split())
    assert again == pytest.approx(value, rel=1e-12)
