from __future__ import annotations

import builtins
import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wandb

from invsmooth.core.errors import ConfigError
from invsmooth.loggers import close_loggers
from invsmooth.loggers import wandb_run as backend
from invsmooth.pipeline.run import run_loggers
from invsmooth.records.rows import read_rows
from tests.config.test_config import config
from tests.loggers.runs import N_BATCHES, TINY, read, run, run_that_does_little
from tests.loggers.wandb_file import OfflineRun, offline_runs

KEY = "0" * 40


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home folder, no key, a terminal that nobody sits at, and nothing but this machine to connect to."""
    folder = tmp_path_factory.mktemp("home")
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            assert isinstance(address, tuple)
            assert address[0] in ("127.0.0.1", "::1", "localhost"), address
        connect(self, address)  # type: ignore[arg-type]

    def no_answer(*args: object) -> str:
        raise AssertionError("a prompt")

    with pytest.MonkeyPatch.context() as patch, socket.socket() as proxy:
        for name in [n for n in os.environ if n.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("WANDB_SILENT", "false")
        patch.setattr(socket.socket, "connect", only_here)
        patch.setattr(builtins, "input", no_answer)
        patch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        # W&B's own process would go through the proxy to any other machine.
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        yield folder
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "0_cs"
    run(folder, "logger=wandb", "logger.tags=[mine]", "seed=5")
    return folder


@pytest.fixture(scope="module")
def offline(trained: Path) -> OfflineRun:
    (found,) = offline_runs(trained)
    return found


def test_a_run_says_what_it_is(offline: OfflineRun, trained: Path) -> None:
    name = f"{trained.parent.name}/0_cs"
    assert (offline.run.project, offline.run.display_name, offline.run.run_group) == ("invsmooth", name, name)
    assert offline.run.job_type == "train"
    assert set(offline.run.tags) == {"cs", "smt_grad", "bundled", "mine"}
    assert offline.exit_code == 0


def test_config_is_the_resolved_one_with_versions_and_commit(offline: OfflineRun, trained: Path) -> None:
    assert offline.config["seed"] == 5
    assert offline.config["algo"]["t_step"] == 2
    assert offline.config["trainer"]["max_epochs"] == 100  # an interpolation
    assert offline.config["operator"]["name"] == "block_gaussian"  # and not what the checkpoint says of the operator
    assert offline.config["certificate"]["units"] == "matched"
    record = json.loads((trained / "run.json").read_text())
    assert offline.config["run"]["versions"] == record["versions"]
    assert offline.config["run"]["git"] == record["git"]
    assert offline.config["run"]["folder"] == str(trained.resolve())


def test_training_curves_go_by_batches(offline: OfflineRun) -> None:
    """Two optimiser steps for each batch; the validation in the middle of the curve has its x, too."""
    lines = [line for line in offline.history if "train/loss" in line]
    assert [line["train/batch"] for line in lines] == list(range(1, N_BATCHES + 1))
    assert all(math.isfinite(line["train/loss"]) and line["train/lr"] == pytest.approx(1e-4) for line in lines)
    (validation,) = [line for line in offline.history if "val/psnr" in line]
    assert validation["train/batch"] == N_BATCHES
    assert {offline.metrics[names].step_metric for names in ("train/*", "val/*")} == {"train/batch"}
    assert "*" not in offline.metrics


def test_table_is_the_rows(offline: OfflineRun, trained: Path) -> None:
    table, (rows, declared) = offline.table("rows"), read_rows([trained])
    names = declared.schema.names
    assert {"bound", "certified_psnr", "discrepancy_median"} <= set(names)
    assert table["columns"] == names
    assert len(table["data"]) == len(rows) == 3 * 2 * 2  # eps × sigma × certifiers
    for line, (_, row) in zip(table["data"], rows[names].iterrows(), strict=True):
        assert line == [None if pd.isna(value) else value for value in row]


def test_summary(offline: OfflineRun, trained: Path) -> None:
    rows, metrics = read(trained), pd.read_csv(trained / "metrics.csv")
    error = rows[rows["certifier"] == "error"].set_index(["eps", "sigma"])
    start = "eval/ratio0.1_b0"
    assert offline.summary["best/val_psnr"] == metrics["val/psnr"].max()
    assert offline.summary[f"{start}/psnr_clean"] == pytest.approx(rows["psnr_clean"].mean())
    assert offline.summary[f"{start}/psnr_attacked/eps2"] == pytest.approx(error.loc[(2, 25), "psnr_attacked"])
    assert offline.summary[f"{start}/psnr_smoothed/error/eps0_sigma25"] == error.loc[(0, 25), "psnr_median"]
    assert offline.summary[f"{start}/certified_psnr/error/eps0_sigma25"] == error.loc[(0, 25), "certified_psnr"]
    assert offline.summary[f"{start}/certified_share/error/eps2_sigma25"] == 0
    assert f"{start}/certified_psnr/error/eps2_sigma25" not in offline.summary


def test_pictures_have_captions(offline: OfflineRun, trained: Path) -> None:
    (key,) = {key for line in offline.history for key in line if key.startswith("pictures/")}
    media, rows = offline.media(key), read(trained)
    assert media["_type"] == "images/separated"
    assert key == "pictures/chelsea_ratio0.1_b0"
    # Once: clean, measured, reconstructed; for each eps: attacked (eps = 0 looks like any); in each cell: median, certified.
    captions = media["captions"]
    assert captions[0] == "clean x: chelsea"
    assert [c.split(":")[0] for c in captions].count("reconstruction of y(x)") == 1
    assert f"reconstruction of y(x+ξ), ε = 2: {rows[rows['eps'] == 2]['psnr_attacked'].iloc[0]:.2f} dB" in " ".join(
        captions
    )
    assert any(c.startswith("smoothed median of y(x+ξ), ε = 0.05, σ = 25: ") for c in captions)
    assert all((offline.folder / "files" / name).is_file() for name in media["filenames"])
    assert {f"report/{name}" for name in ("certificate", "truth", "visual")} <= {
        k for line in offline.history for k in line
    }


def test_curves(offline: OfflineRun, trained: Path) -> None:
    rows = read(trained)
    for measure in ("psnr", "mse"):
        for axis in ("eps", "sigma"):
            assert f"curves/ratio0.1_b0/{measure}_over_{axis}" in offline.config["_wandb"]["visualize"]
    table = offline.table("curves/ratio0.1_b0/psnr_over_eps_table")
    curve = {x: y for x, label, y in table["data"] if label == "attacked"}
    expected = rows[rows["certifier"] == "error"].groupby("eps")["psnr_attacked"].first()
    assert list(curve) == list(expected.index)
    np.testing.assert_allclose(list(curve.values()), expected)


def test_artifacts_are_the_files_of_the_run_folder(offline: OfflineRun, trained: Path) -> None:
    paths = {kind: {c.path: c.local_path for c in a.manifest.contents} for kind, a in offline.artifacts.items()}
    assert paths["model"] == {"best.ckpt": str(trained / "checkpoints" / "best.ckpt")}
    assert paths["results"] == {"results.parquet": str(trained / "results.parquet")}
    assert paths["report"]["table.md"] == str(trained / "report" / "table.md")
    for contents in paths.values():  # the tables' copies as well
        assert all(Path(p).is_file() and Path(p).is_relative_to(trained) for p in contents.values())


def test_nothing_in_the_home_folder(trained: Path, home: Path) -> None:
    assert [p for p in home.rglob("*") if "matplotlib" not in str(p) and p.is_file()] == []
    assert not [n for n in os.environ if n in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")]


@pytest.mark.parametrize("error", [None, RuntimeError("job 1 fails")])
def test_each_job_of_a_process_has_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    first, second = tmp_path / "s" / "0", tmp_path / "s" / "1"
    if error:
        with pytest.raises(RuntimeError, match="job 1"):
            run_that_does_little(first, monkeypatch, error, "logger=wandb")
    else:
        run_that_does_little(first, monkeypatch, None, "logger=wandb")
    assert wandb.run is None
    run_that_does_little(second, monkeypatch, None, "logger=wandb", "certificate.units=paper", "logger.group=ours")
    (one,), (two,) = offline_runs(first), offline_runs(second)
    assert one.run.run_id != two.run.run_id
    assert (one.exit_code, two.exit_code) == (1 if error else 0, 0)
    assert (one.run.display_name, two.run.display_name) == ("s/0", "s/1")
    assert (one.run.run_group, two.run.run_group) == ("s/0", "ours")
    assert "units=paper" in two.run.tags
    assert "not a certificate" in two.run.notes
    assert two.config["run"]["folder"] == str(second.resolve())


def test_a_stored_training_curve_can_be_replayed(trained: Path, tmp_path: Path) -> None:
    """From metrics.csv, without Lightning: the same curves."""
    loggers = run_loggers(config(*TINY, "logger=wandb"), tmp_path, command="evaluate")
    for _, line in pd.read_csv(trained / "metrics.csv").iterrows():
        for logger in loggers:
            logger.log_metrics(line.dropna().to_dict(), int(line["step"]))
    close_loggers(loggers)
    (again,), (first,) = offline_runs(tmp_path), offline_runs(trained)
    for key in ("train/loss", "val/psnr"):
        curves = [[(line["train/batch"], line[key]) for line in r.history if key in line] for r in (again, first)]
        np.testing.assert_allclose(*curves)
    assert again.metrics["train/*"].step_metric == "train/batch"
    assert again.run.job_type == "evaluate"


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_server_that_does_not_answer_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If online was asked for; else the run is offline."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=r"does not answer within 30 s .*; use logger\.mode=offline"):
        run_loggers(config(*TINY, "logger=wandb", "logger.mode=online"), tmp_path, command="train")
    close_loggers(run_loggers(config(*TINY, "logger=wandb"), tmp_path, command="train"))
    assert time.perf_counter() - started < 10
    assert "W&B offline: the server" in caplog.text
    (found,) = offline_runs(tmp_path)
    assert found.exit_code == 0


def test_online_without_a_key_is_an_error_and_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no API key .*; use logger\.mode=offline"):
        run_loggers(config(*TINY, "logger=wandb", "logger.mode=online"), tmp_path, command="train")


def test_a_wrong_key_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    monkeypatch.setattr("requests.head", lambda *args, **kwargs: None)  # the server answers
    with pytest.raises(ConfigError, match=r"did not start the run: .*API key.*, or use logger\.mode=offline"):
        run_loggers(config(*TINY, "logger=wandb"), tmp_path, command="train")
    assert "WANDB_DATA_DIR" not in os.environ


def test_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_that_does_little(tmp_path / "a" / "0", monkeypatch, None, "logger=wandb", "logger.mode=disabled")
    assert offline_runs(tmp_path / "a" / "0") == []


def test_a_long_table_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(backend, "TABLE_LIMIT", 2)
    rows = pd.DataFrame({"a": [1.0, np.nan, 3.0]})
    assert backend.table(rows).data == [[1.0], [None]]
    assert "the first 2 of 3 rows" in caplog.text
