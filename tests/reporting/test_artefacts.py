"""The whole report: which files, from how many runs, and that every number can be traced to its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from invsmooth.core.units import PAPER_LABEL
from invsmooth.records.rows import KEY
from invsmooth.reporting import artefacts, report
from invsmooth.reporting.artefacts import tables, write_artefacts
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.methods import read_runs, with_methods
from tests.reporting.declared import DECLARED
from tests.reporting.made import read, row, stored
from tests.reporting.sweep_made import write_config, write_many, write_metrics, write_run


def completed(folders: list[Path]) -> tuple[Averages, dict[str, Any]]:
    rows = read(folders)
    runs = read_runs(rows)
    return Averages(with_methods(rows, runs), DECLARED), runs


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """ord with two seeds, smt_adv with two σ_tr, one of them at two S; with certificates of discrepancy, error, mean."""
    root = tmp_path_factory.mktemp("runs")
    made = [("ord", 0, None, 50), ("ord", 1, None, 50), ("smt_adv", 0, 10.0, 50), ("smt_adv", 0, 5.0, 50),
            ("smt_adv", 0, 5.0, 500)]  # fmt: skip
    found = []
    for number, (algo, seed, sigma, n_samples) in enumerate(made):
        folder = root / f"{number}_{algo}"
        known = {"run_id": folder.name, "estimator_sha256": folder.name}
        write_run(
            folder, algo, "denoise", seed=seed + number, images=6, eps=(0.0, 0.1, 0.2), sigmas=(12.0, 25.0),
            n_samples=n_samples, **known,
        )  # fmt: skip
        write_config(folder, algo, "denoise", seed=seed, **({"sigma": sigma} if sigma else {}))
        write_metrics(folder, [0.5])
        found.append(folder)
    return found


@pytest.fixture(scope="module")
def written(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:  # figures have their own tests
        patch.setattr(artefacts, "figures", lambda *_: iter(()))
        write_artefacts(*completed(folders), [], out)
    return out


TRACED = ("table1", "table2", "table4", "certified_psnr")


@pytest.mark.parametrize("name", TRACED)
def test_every_number_follows_again_from_the_rows_that_its_line_names(written: Path, name: str) -> None:
    lines = pd.read_csv(written / "tables" / f"{name}.csv", keep_default_na=False, na_values=[""])
    known = lines[lines["quantity"].notna()]
    assert len(known) > 10
    keys = [
        "task",
        "dataset",
        "operator",
        "ratio",
        "sigma_b",
        "units",
        "certifier",
        "eps",
        "sigma",
        "n_samples",
        "algo",
    ]
    for _, line in known.iterrows():
        rows = pd.concat([pd.read_parquet(Path(f) / "results.parquet") for f in line["folders"].split(";")])
        rows = rows[(rows[keys] == line[keys]).all(axis=1)]
        means = rows.groupby("image")[line["quantity"]].mean()
        assert (len(rows), rows["image"].nunique()) == (line["rows"], line["images"])
        if np.isnan(line["value"]):
            assert means.isna().all()
            assert line["shown"] == "none"
        else:
            assert line["value"] == pytest.approx(means.mean())
            assert line["std"] == pytest.approx(means.std(ddof=0))


def test_markdown_and_latex_have_the_numbers_of_the_csv(written: Path) -> None:
    for name in (*TRACED, "table3", "significance", "compute", "evaluation"):
        shown = pd.read_csv(written / "tables" / f"{name}.csv", keep_default_na=False, dtype=str)["shown"]
        markdown, latex = ((written / "tables" / f"{name}.{kind}").read_text() for kind in ("md", "tex"))
        numbers = {text.split(" ")[0] for text in shown if text[0].isdigit()}
        assert all(f"| {number} " in markdown for number in numbers)
        assert all(f"& {number} " in latex for number in numbers)


def test_the_index_names_what_there_is_and_what_is_missing(written: Path) -> None:
    index = (written / "index.md").read_text()
    for name in TRACED:
        assert f"[csv](tables/{name}.csv)" in index
    assert "- Figure 2: visual comparison, PSNR / SSIM below each picture: the runs kept no pictures" in index
    runs = pd.read_csv(written / "tables" / "runs.csv")
    assert list(runs["method"]) == [
        "ord", "ord", "smt_adv (σ_tr = 10)", "smt_adv (σ_tr = 5)", "smt_adv (σ_tr = 5)",
    ]  # fmt: skip
    assert runs["settings_on_record"].all()
    assert set(runs["seconds_per_batch"]) == {0.5}


def test_a_single_run_without_anything_beside_its_rows(tmp_path: Path) -> None:
    stored(tmp_path, row(units="paper", sound=False))
    out = tmp_path / "out"
    names = {p.relative_to(out).as_posix() for p in report([tmp_path], out)}
    figures = ("certificate", "psnr_over_eps", "figures/figure1")
    assert names == {
        "table.md", "index.md", "index.html", "tables/runs.csv", *(f"{f}.{k}" for f in figures for k in ("png", "pdf")),
        *(f"tables/{n}.{k}" for n in ("table1", "table2", "table4") for k in ("md", "tex", "csv")),
    }  # fmt: skip
    for name in ("table1", "table2", "table4"):
        assert PAPER_LABEL in (out / "tables" / f"{name}.md").read_text()
    missing = (out / "index.md").read_text().partition("## Not written")[2]
    assert "Table 3: seconds per training batch: no run has its numbers" in missing


def test_nothing_of_an_earlier_report_is_left(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "figures", lambda *_: iter(()))
    write_artefacts(*completed(folders), [], tmp_path)
    (tmp_path / "figures" / "figure1_2.png").touch()
    (tmp_path / "figures" / "mine.png").touch()
    written = write_artefacts(*completed(folders[:1]), [], tmp_path)
    assert not (tmp_path / "tables" / "significance.csv").exists()
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {*written, tmp_path / "figures" / "mine.png"}
    assert {table.name for table in tables(*completed(folders))} == set(artefacts.TABLES)


@pytest.mark.slow
def test_hundreds_of_runs_are_aggregated_image_by_image(tmp_path: Path) -> None:
    """The numbers; how long it takes is for tests/benchmarks/report.py to say."""
    cells, runs = completed(write_many(tmp_path, 500, images=2, eps=(0.1,), sigmas=(25.0, 40.0)))
    rows = cells.rows
    assert (len(runs), rows["method"].nunique()) == (500, 5)
    assert not rows.duplicated(list(KEY)).any()
    assert set(cells.table["runs"]) == {10}  # 500 runs: 2 tasks, 5 settings, 5 algorithms, 10 seeds
    chosen = {"task": "cs", "ratio": 0.3, "algo": "smt_grad", "certifier": "discrepancy", "eps": 0.1, "sigma": 40.0}

    def of(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame[list(chosen)] == pd.Series(chosen)).all(axis=1)]

    (cell,) = of(cells.table).to_dict("records")
    images = [own["psnr_median"].to_numpy() for _, own in of(rows).groupby("image")]
    assert [len(values) for values in images] == [10, 10]
    assert cell["psnr_median"] == pytest.approx(np.mean([values.mean() for values in images]))
    assert {t.name for t in tables(cells, runs) if t.has_numbers()} == {
        "table1", "table2", "table3", "table4", "certified_psnr", "significance", "compute", "evaluation",
    }  # fmt: skip
