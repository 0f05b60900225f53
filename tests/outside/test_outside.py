"""Parts of a package that is not ours (``my_lab``, beside this file) work like ours: one class and one yaml each."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.processes import forked

HERE = Path(__file__).parent
CONFIG = ["--config-dir", str(HERE / "conf")]
ALL_PARTS = ["operator=row_mask", "estimator=tiny", "attack=line_search", "certify=tail", "data=waves"]
SMALL = [
    "task=denoise", "task.patch_size=16", "task.n_patches=32", "task.batch_size=16", "trainer.max_steps=2", "data.limit=1",
    "data.crop=32", "trainer.progress_bar=false",
]  # fmt: skip


def command(root: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours from ``root``, with my_lab importable."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "INVSMOOTH_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    return forked(module, *arguments, cwd=root, env=environment, timeout=500)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    """The folder of a training with parts from outside only."""
    folder = root / "run"
    done = command(root, "train", *CONFIG, *ALL_PARTS, "algo=noisy", *SMALL, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def rows_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results.parquet")


def test_rows_name_every_part(trained: Path) -> None:
    rows = rows_of(trained)
    named = rows[["operator", "algo", "attack", "certifier", "dataset"]].drop_duplicates().iloc[0].to_dict()
    assert named == {
        "operator": "row_mask",
        "algo": "noisy",
        "attack": "line_search",
        "certifier": "tail",
        "dataset": "waves",
    }
    assert rows["estimator"].unique() == ["my_lab.estimator.TinyNet"]
    assert rows["bound"].notna().all()
    assert rows["tail_psnr"].to_list() == pytest.approx((-10 * np.log10(rows["bound"])).to_list())
    assert rows["truth"].notna().to_list() == (rows["eps"] > 0).to_list()  # the truth check is generic, too
    assert (rows["attack_norm"] <= rows["eps"] + 1e-6).all()


def test_report_and_page_show_what_the_certifier_declares(trained: Path) -> None:
    table = (trained / "report" / "table.md").read_text(encoding="utf-8")
    assert "tail PSNR" in table
    assert "| tail |" in table
    assert "tail PSNR" in (trained / "report" / "index.html").read_text(encoding="utf-8")
    assert (trained / "report" / "certificate.png").is_file()


def test_certificate_files_are_verified_under_the_trust_rule(root: Path, trained: Path) -> None:
    record = json.loads(next((trained / "certificates").glob("*.json")).read_text(encoding="utf-8"))
    assert record["certificates"][0]["certifier"] == "tail"
    refused = command(root, "verify", str(trained))
    assert refused.returncode != 0
    assert "my_lab" in refused.stdout + refused.stderr
    assert "--trust" in refused.stdout + refused.stderr
    trusted = command(root, "verify", str(trained), "--trust", "my_lab")
    assert trusted.returncode == 0, trusted.stdout + trusted.stderr
    again = command(root, "verify", str(trained), "--rerun", "--trust", "my_lab")
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_changed_certificate_file_is_found(root: Path, trained: Path, tmp_path: Path) -> None:
    source = next((trained / "certificates").glob("*.json"))
    changed = json.loads(source.read_text(encoding="utf-8"))
    changed["certificates"][0]["radii"][0]["bound"] *= 0.5
    (tmp_path / source.name).write_text(json.dumps(changed), encoding="utf-8")
    (tmp_path / source.with_suffix(".npz").name).write_bytes(source.with_suffix(".npz").read_bytes())
    found = command(root, "verify", str(tmp_path), "--trust", "my_lab")
    assert found.returncode != 0
    assert "bound" in found.stdout + found.stderr


def test_evaluate_needs_no_config_dir(root: Path, trained: Path) -> None:
    folder, ckpt = root / "evaluated", trained / "checkpoints" / "best.ckpt"
    arguments = [f"ckpt={ckpt}", "trust=[my_lab]", "data=bundled", "data.crop=32", "data.limit=1", "attack.eps=[0,0.1]"]
    more = ["attack.n_iter=2", "certify.n_samples=20", "certify.sigma=25", "trainer.progress_bar=false", "report=false"]
    done = command(root, "evaluate", *arguments, *more, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    rows = rows_of(folder)
    assert set(rows["algo"]) == {"noisy"}
    assert set(rows["operator"]) == {"row_mask"}
    assert set(rows["certifier"]) == {"discrepancy"}


def test_untrusted_checkpoint_is_refused(root: Path, trained: Path) -> None:
    refused = command(root, "evaluate", f"ckpt={trained / 'checkpoints' / 'best.ckpt'}", "data.crop=32")
    assert refused.returncode == 2
    assert "trust" in refused.stderr


def test_plan_and_sweep_beside_ours(root: Path, trained: Path) -> None:
    arguments = ["--multirun", *CONFIG, *ALL_PARTS, "algo=noisy,ord", "certify.certifiers=[tail,error]", *SMALL]
    folder = root / "sweep"
    planned = command(root, "train", *arguments, "sweep=plan", f"hydra.sweep.dir={root / 'planned'}")
    assert planned.returncode == 0, planned.stderr
    assert "2 jobs" in planned.stdout
    assert " done " in planned.stdout  # the training of the fixture is used again
    done = command(root, "train", *arguments, f"hydra.sweep.dir={folder}")
    assert done.returncode == 0, done.stderr
    rows = rows_of(folder)
    assert set(zip(rows["algo"], rows["certifier"], strict=True)) == {
        (algo, certifier) for algo in ("noisy", "ord") for certifier in ("tail", "error")
    }
    assert "tail" in (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_custom_options_need_no_yaml(root: Path) -> None:
    folder = root / "custom"
    parts = [
        "operator=custom", "operator._target_=my_lab.operator.RowMask", "+operator.every=3",
        "estimator=custom", "estimator._target_=my_lab.estimator.TinyNet", "+estimator.width=4",
        "algo=custom", "algo._target_=my_lab.algorithm.NoisyTraining", "+algo.sigma=5",
        "attack=custom", "attack._target_=my_lab.attack.LineSearch", "+attack.steps=2", "attack.eps=0.1",
        "certify=custom", "certify._target_=my_lab.certifier.Tail", "+certify.share=0.6", "certify.sigma=25",
        "certify.n_samples=500",
        "data=custom", "data._target_=my_lab.dataset.Waves", "data.val=my_lab.dataset.Waves",
        "data/test=custom", "data.test._target_=my_lab.dataset.Waves",
    ]  # fmt: skip
    done = command(root, "train", *parts, *SMALL, "report=false", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert rows_of(folder)["tail_psnr"].notna().all()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("+operator.evry=3", "operator.evry is no parameter of my_lab.operator.RowMask; it takes every"),
        ("operator.every=often", "operator.every=often is not allowed; allowed: a whole number"),
        ("operator.every=0", "every=0 has to be at least 1"),
        ("operator.ratio=0.5", "operator.ratio=0.5"),
        ("algo.sigma=null", "algo.sigma has no value; allowed: a number"),
        ("attack.steps=2.5", "attack.steps=2.5 is not allowed; allowed: a whole number"),
        ("certify.share=2", "share=2"),
        ("certify._target_=my_lab.certifier.Nothing", "certify._target_=my_lab.certifier.Nothing cannot be imported"),
        ("data.size=big", "data.size=big is not allowed; allowed: a whole number"),
    ],
)
def test_a_mistake_is_one_message(root: Path, argument: str, said: str) -> None:
    refused = command(root, "train", *CONFIG, *ALL_PARTS, "algo=noisy", *SMALL, argument)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_weights_alone_give_the_rows_of_the_checkpoint_that_they_are_from(root: Path, trained: Path) -> None:
    state = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    torch.save({"module." + k.removeprefix("estimator."): v for k, v in state.items()}, root / "weights.pt")
    small = [*CONFIG, "operator=row_mask", "data.limit=1", "data.crop=32", "attack.eps=[0,0.1]", "attack.n_iter=2",
             "certify.n_samples=60", "report=false", "task=denoise", "cache=null"]  # fmt: skip
    folders = [root / "alone", root / "checkpoint", root / "again"]
    kept = folders[0] / "checkpoints" / "best.ckpt"
    for folder, given in zip(folders, (
        ["estimator=custom", "estimator._target_=my_lab.estimator.TinyNet", f"ckpt={root / 'weights.pt'}"],
        [f"ckpt={trained / 'checkpoints' / 'last.ckpt'}", "trust=[my_lab]"], [f"ckpt={kept}", "trust=[my_lab]"],
    ), strict=True):  # fmt: skip
        done = command(root, "evaluate", *small, *given, f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
    rows = [rows_of(folder)[["image", "eps", "psnr_attacked", "bound"]] for folder in folders]
    assert rows[0].equals(rows[1])
    assert rows[0].equals(rows[2])
    verified = command(root, "verify", "--rerun", "--trust", "my_lab", str(folders[0]))
    assert verified.returncode == 0, verified.stdout
