"""The command lines as a user runs them: in a temporary folder, in processes of their own, at tiny sizes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from invsmooth.records.rows import SCHEMA, read_rows
from tests.processes import forked

TINY = [
    "trainer.progress_bar=false",
    "data.crop=40",
    "attack.n_iter=2",
    "certify.n_samples=40",
    "trainer.num_threads=1",
]
CS = [
    "task=cs",
    "scale=paper",  # its learning rate, which three steps survive
    "estimator.n_phases=2",
    "estimator.channels=4",
    "trainer.max_steps=3",
    "task.batch_size=4",
    "data.limit=2",
]
GRID = ["attack.eps=[0,0.1,2]", "certify.sigma=[12,25]"]
REPOSITORY = Path(__file__).parents[2]


def run(
    folder: Path, module: str, *arguments: str, code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    done = forked(module, *arguments, cwd=folder, env=os.environ | environment, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def run_python(folder: Path, module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a new Python, which takes longer to start."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", f"invsmooth.{module}", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_folder(done: subprocess.CompletedProcess[str]) -> Path:
    return Path(done.stdout.rsplit("run folder: ", 1)[1].split("\n")[0].split(" (")[0])


def comparable(folder: Path) -> pd.DataFrame:
    """The rows but for what differs between two runs of the same thing."""
    return pd.read_parquet(folder / "results.parquet").drop(columns=["run_id", "seconds"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    return run_folder(run(folder, "train", *TINY, *CS, *GRID, "operator.seed=4"))


def test_train_ends_in_a_run_folder_that_explains_itself(trained: Path) -> None:
    assert trained.parents[1].name == "outputs"
    names = {p.relative_to(trained).as_posix() for p in trained.rglob("*") if p.is_file()}
    assert {
        "results.parquet", "run.json", "config.yaml", "metrics.csv", "train.log", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", "report/table.md", "report/certificate.png", "report/certificate.pdf", "report/visual.png",
    } <= names  # fmt: skip
    assert not [n for n in names if ".tmp" in n]
    record = json.loads((trained / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["versions"]["torch"] == torch.__version__
    assert "task=cs" in record["command"]


def test_rows(trained: Path) -> None:
    rows = pd.read_parquet(trained / "results.parquet")
    declared = read_rows([trained])[1]
    assert list(rows.columns) == declared.schema.names
    assert list(rows.columns)[: len(SCHEMA)] == SCHEMA.names
    # Of all our certifiers and algorithms, whichever this run chose.
    assert set(declared.certifiers) == {"discrepancy", "error", "radius", "mean", "center", "lipschitz", "best"}
    assert set(declared.algorithms) >= {"ord", "adv", "jcb", "smt_adv", "smt_grad"}
    assert len(rows) == 2 * 3 * 2  # images × eps × sigma
    assert not rows.duplicated(["image", "eps", "sigma"]).any()
    assert set(rows["image"]) == {"chelsea", "astronaut"}
    assert rows["sound"].all()
    ratio = rows["eps"] / (rows["sigma"] / 255)
    np.testing.assert_allclose(rows["eps_over_sigma"], ratio)
    # S = 40 certifies ratios up to 1.23 (matched units).
    exists = ratio < 1.23
    assert (rows["k_index"].notna() == exists).all()
    assert (rows["discrepancy_certified"].notna() == exists).all()
    assert ((rows["reason"] == "") == exists).all()
    assert (rows["impossible"] == ~exists).all()
    assert (rows.loc[exists, "discrepancy_certified"] >= rows.loc[exists, "discrepancy_median"]).all()
    np.testing.assert_allclose(rows["attack_norm"], rows["eps"], rtol=1e-5)
    assert (rows.loc[rows["eps"] == 2, "psnr_attacked"] < rows.loc[rows["eps"] == 2, "psnr_clean"]).all()
    at_zero = rows[rows["eps"] == 0]
    np.testing.assert_allclose(at_zero["psnr_attacked"], at_zero["psnr_clean"])


def test_evaluate_takes_task_and_matrix_from_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    """The same network, images and seed give the same rows; task=cs and operator.seed=4 are not repeated."""
    checkpoint = trained / "checkpoints" / "best.ckpt"
    done = run(tmp_path, "evaluate", f"ckpt={checkpoint}", *TINY, *GRID, "data.limit=2", "report=false")
    pd.testing.assert_frame_equal(comparable(run_folder(done)), comparable(trained))


def test_same_seed_same_rows_and_another_seed_others(trained: Path, tmp_path: Path) -> None:
    arguments = [*TINY, *CS, *GRID, "operator.seed=4", "report=false"]
    again = run_folder(run(tmp_path, "train", *arguments, "certify.chunk_size=7"))
    # A chunk size changes the order of float additions, nothing else.
    pd.testing.assert_frame_equal(comparable(again), comparable(trained), rtol=1e-4)
    assert comparable(again)["estimator_sha256"].equals(comparable(trained)["estimator_sha256"])
    other = run_folder(run(tmp_path, "train", *arguments, "seed=1"))
    assert not comparable(other)["estimator_sha256"].equals(comparable(trained)["estimator_sha256"])


def test_paper_units_never_lose_their_label(trained: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    paper = ["certificate.units=paper", "attack.eps=[5]", "certify.sigma=[19]", "certify.n_samples=50", "data.limit=1"]
    done = run(tmp_path, "evaluate", f"ckpt={checkpoint}", *TINY, *paper)
    row = pd.read_parquet(run_folder(done) / "results.parquet").iloc[0]
    assert (row["k_index"], row["sound"], row["units"]) == (39, False, "paper")  # SPEC: (50, 5/19) -> 39
    assert row["eps_over_sigma"] == 5 / 19
    label = "as published; not a certificate"
    assert label in done.stdout
    assert label in (run_folder(done) / "report" / "table.md").read_text()
    assert label in (run_folder(done) / "evaluate.log").read_text()


def test_report_of_several_runs(trained: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "report", f"runs={trained.parents[1]}/*", "out=both")
    assert (tmp_path / "both" / "table.md").read_text().count("| cs | ord |") == 6
    assert "report of the rows in 1 folders" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"both"}


def test_evaluate_an_untrained_baseline_on_a_folder(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "my images").mkdir()
    for k in range(2):
        noise = np.random.default_rng(k).integers(0, 255, (40, 44), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "my images" / f"ü {k}.png")
    done = run(
        tmp_path, "evaluate", "task=denoise", "estimator=ridge", "data=folder", "data.root='my images'", "logger=none",
        "operator.sigma_b=[0,5]", *TINY, "attack.eps=[0,0.02,0.05]", "certify.sigma=12",
        "certify.certifiers=[discrepancy,error]", "report=false",
    )  # fmt: skip
    rows = pd.read_parquet(run_folder(done) / "results.parquet")
    assert len(rows) == 2 * 2 * 3 * 2  # images × sigma_b × eps × certifiers
    error = rows["certifier"] == "error"
    assert rows.loc[error, "certified_psnr"].notna().all()
    assert rows.loc[~error, "discrepancy_certified"].notna().all()
    index = ["image", "sigma_b", "eps"]
    certified = rows[error].set_index(index)["certified_psnr"]
    # The certified PSNR covers every attack on x, the one that was found among them, and falls with its radius.
    assert (certified <= rows[~error].set_index(index)["psnr_median"]).all()
    assert (certified.unstack("eps").diff(axis=1).iloc[:, 1:] <= 0).all(axis=None)
    verified = run(tmp_path, "verify", "outputs", "--rerun")
    assert verified.stdout.count("redrawn: confirmed") == 2 * 2  # images × sigma_b


def test_certificate_files_of_a_run_are_verified(trained: Path, tmp_path: Path) -> None:
    """Redrawn with the checkpoint beside them, where the run folder was copied to; not with a number changed."""
    shutil.copytree(trained, tmp_path / "copy")
    done = run(tmp_path, "verify", "copy", "--rerun")
    assert "2 files, 2 hold up with 12 certificates, 0 do not" in done.stdout
    (path,) = (tmp_path / "copy" / "certificates").glob("chelsea*.json")
    record = json.loads(path.read_text())
    bounds = {(c["sigma"], r["eps"]): (r["bound"], r["k_index"]) for c in record["certificates"] for r in c["radii"]}
    rows = pd.read_parquet(trained / "results.parquet").set_index(["sigma", "eps"]).query("image == 'chelsea'")
    for cell, (bound, k) in bounds.items():
        row = rows.loc[cell]
        assert (row["bound"], row["k_index"]) == (bound, k) or (bound == "nan" and pd.isna(row["k_index"]))
    path.write_text(path.read_text().replace('"k_index": 2', '"k_index": 1', 1))
    done = run(tmp_path, "verify", str(path), code=2)
    assert "sha256: recorded" in done.stdout
    assert ".k_index: recorded 1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_attack_on_the_smoothed_estimator(trained: Path, tmp_path: Path) -> None:
    """At each sigma another attack, under which every certified PSNR holds."""
    checkpoint = trained / "checkpoints" / "best.ckpt"
    done = run(
        tmp_path, "evaluate", f"ckpt={checkpoint}", *TINY, "data.limit=1", "attack=apgd", "attack.target=mean",
        "attack.n_samples=3", "attack.n_iter=4", "attack.eps=[0,0.1]", "certify.sigma=[12,25]", "certify.certifiers=error",
        "certify.files=false", "report=false",
    )  # fmt: skip
    rows = pd.read_parquet(run_folder(done) / "results.parquet")
    assert set(rows["attack"]) == {"apgd"}
    assert set(rows["attack_target"]) == {"mean"}
    assert rows[rows["eps"] == 0.1]["psnr_attacked"].nunique() == 2
    assert set(rows[rows["eps"] == 0.1]["attack_grad_evals"]) == {12}
    assert not (run_folder(done) / "violations").exists()
    assert not (run_folder(done) / "certificates").exists()


def test_all_certifiers_on_the_command_line(trained: Path, tmp_path: Path) -> None:
    """Impossible cells are told before any work; every certificate was compared with the attack found."""
    arguments = [*TINY, "certify=all", "certify.n_samples=60", "attack.eps=[0,0.1,0.4]", "certify.sigma=[25]",
                 "certify.over_eps=bonferroni", "data.limit=1", "report=false"]  # fmt: skip
    done = run(tmp_path, "evaluate", f"ckpt={trained / 'checkpoints' / 'best.ckpt'}", *arguments)
    told = done.stdout.index("discrepancy, error, radius at eps = 0.4, sigma = 25: no certificate: eps/sigma = 4.08")
    assert told < done.stdout.index("3 attacks in")
    rows = pd.read_parquet(run_folder(done) / "results.parquet")
    assert len(rows) == 3 * 4
    assert set(rows["simultaneous"]) == {"eps"}
    exists = rows["bound"].notna()
    assert (
        exists == ((rows["certifier"] == "mean") | (rows["eps"] < 0.4)) & ~rows["reason"].str.startswith("no c")
    ).all()
    checked = rows[rows["truth"].notna()]
    assert set(checked["certifier"]) == {"discrepancy", "error", "mean"}
    assert (checked["truth_lower"] <= checked["bound"]).all()
    # The mean moves least, by far.
    bounds = rows[rows["eps"] == 0.1].set_index("certifier")["bound"]
    assert bounds["mean"] < bounds["error"]


def test_multirun_gathers_its_jobs(tmp_path: Path) -> None:
    done = run(
        tmp_path, "train", "--multirun", "seed=0,1", *TINY, *CS, "attack.eps=0", "certify.sigma=12", "data.limit=1"
    )
    sweep = run_folder(done)
    assert len(pd.read_parquet(sweep / "results.parquet")) == 2
    assert (sweep / "report" / "certificate.png").is_file()
    jobs = [p for p in sweep.iterdir() if (p / "run.json").is_file()]
    assert len(jobs) == 2


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("train", ["attack.eps=-1"], "attack.eps=-1 is not allowed; allowed: numbers >= 0"),
        ("train", ["algo=best"], "ord"),
        ("train", ["attack.epz=1"], "epz"),
        ("train", ["attack=noise", "attack.restarts=3"], "attack.restarts=3 has no effect with attack=noise"),
        ("train", ["estimator=ridge"], "has nothing to train"),
        ("train", ["algo=smt_grad", "algo.t_step=0"], "algo.t_step=0 is not allowed; allowed: a whole number >= 1"),
        ("evaluate", ["ckpt=none.ckpt"], "ckpt=none.ckpt: there is no such file"),
        ("evaluate", [], "ckpt has no value"),
        ("report", ["runs=none/*"], "no results.parquet"),
        ("verify", ["none.json"], "none.json: no certificate file there"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    tmp_path: Path, module: str, arguments: list[str], message: str
) -> None:
    done = run(tmp_path, module, *arguments, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("module", ["train", "evaluate", "report", "verify"])
def test_help_explains_the_config(module: str, tmp_path: Path) -> None:
    done = run_python(tmp_path, module, "--help")
    assert f"python -m invsmooth.{module}" in done.stdout
    if module in ("train", "evaluate"):
        for option in ("cs_small", "istanetpp", "pgd_paper", "bundled", "quickstart", "wandb"):
            assert option in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_processes_learn_as_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """DDP over gloo. The patches are the same, and compressed sensing has no measurement noise: the curves agree but for
    rounding. The evaluation counts every image once, in one run folder."""
    common = [
        *TINY, "task=cs_small", "estimator.n_phases=2", "estimator.channels=8", "trainer.max_steps=60", "task.n_patches=960",
        "trainer.max_epochs=2", "data.limit=2", "attack.eps=[0,0.1]", "certify.sigma=12", "report=false",
    ]  # fmt: skip
    single = run_folder(run(tmp_path / "a", "train", *common, "task.batch_size=16"))
    double = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "task.batch_size=8"]
    both = run_folder(run_python(tmp_path / "b", "train", *common, *double))
    curves = [pd.read_csv(f / "metrics.csv") for f in (single, both)]
    losses, quality = ([c[column].dropna().to_numpy() for c in curves] for column in ("train/loss", "val/psnr"))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2)
    np.testing.assert_allclose(quality[0], quality[1], atol=0.05)
    assert (
        len(pd.read_parquet(both / "results.parquet")) == len(pd.read_parquet(single / "results.parquet")) == 2 * 2 * 2
    )
    assert len(list((tmp_path / "b" / "outputs").glob("*/*/run.json"))) == 1
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["outputs"]


@pytest.mark.slow
def test_average_of_the_weights_is_what_is_evaluated(tmp_path: Path) -> None:
    """With a decay so near 1 that the average hardly leaves the first weights, the trained network is hardly trained."""
    arguments = [*TINY, *CS, "estimator.channels=8", "trainer.max_steps=40", "task.learning_rate=3e-3", "attack.eps=0",
                 "certify.sigma=12", "data.limit=1", "report=false"]  # fmt: skip
    plain = run_folder(run(tmp_path, "train", *arguments))
    averaged = run_folder(run(tmp_path, "train", *arguments, "trainer.ema_decay=0.9999"))
    quality = [pd.read_parquet(f / "results.parquet")["psnr_clean"].iloc[0] for f in (plain, averaged)]
    assert quality[0] > quality[1] + 0.2
