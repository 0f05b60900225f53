"""A network is evaluated as what it was trained as: names, operator, architecture."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from invsmooth import evaluate, train
from invsmooth.config.validate import validate
from invsmooth.core.errors import ConfigError
from invsmooth.estimators import DPDNN, ISTANetPP, Ridge, load_checkpoint
from invsmooth.operators import BlockGaussian, Identity, LinearOperator
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline.build import build_module
from invsmooth.pipeline.evaluated import check_operators, evaluated_estimator
from invsmooth.pipeline.keys import training_key
from invsmooth.records.origin import Origin, read_origin
from tests.config.test_config import config
from tests.estimators.test_checkpoint import published_dpdnn_state

TINY = [
    "hydra/job_logging=none", "hydra/hydra_logging=none", "data.limit=1", "data.crop=22", "attack.eps=0", "certify.sigma=25",
    "certify.n_samples=10", "report=false", "cache=null", "trainer.progress_bar=false", "attack.check_samples=0",
]  # fmt: skip
MATRIX = "my matrix, m=1.npy"


def command(module: object, folder: Path, *arguments: str) -> None:
    """A command line in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["invsmooth", *TINY, *arguments, "hydra.run.dir=run"])
        try:
            module.main()  # type: ignore[attr-defined]
        finally:
            HydraConfig.instance().cfg = None
            GlobalHydra.instance().clear()


def chosen_here() -> str:
    return "paper" if torch.cuda.is_available() else "small"


def refused(module: object, folder: Path, *arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        command(module, folder, *arguments)
    assert end.value.code == 2


def matrix(seed: int) -> np.ndarray:
    return BlockGaussian(0.3, block=11, seed=seed).phi.reshape(-1, 121).numpy()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training whose matrix comes from a file beside it, under a relative path."""
    folder = tmp_path_factory.mktemp("training")
    np.save(folder / MATRIX, matrix(5))
    command(
        train, folder, "task=cs_small", "task.name=own", "algo.name=mine", "estimator.n_phases=1", "estimator.channels=2",
        "task.patch_size=22", "task.batch_size=2", "trainer.max_steps=1", "operator.block=11", "operator.ratio=0.3",
        "operator.train_ratio=0.3", f"operator.matrix='{MATRIX}'",
    )  # fmt: skip
    return folder


def test_an_evaluation_says_what_was_trained(trained: Path, tmp_path: Path) -> None:
    """With the matrix of the training, and not with another of the same name where the evaluation runs."""
    np.save(tmp_path / MATRIX, matrix(6))
    ckpt = trained / "run" / "checkpoints" / "best.ckpt"
    command(evaluate, tmp_path, f"ckpt={ckpt}")
    first, again = (pd.read_parquet(f / "run" / "results.parquet").iloc[0] for f in (trained, tmp_path))
    for row in (first, again):
        assert (row["task"], row["algo"], row["estimator"]) == ("own", "mine", "invsmooth.estimators.ISTANetPP")
    assert (again["psnr_clean"], again["ratio"], again["bound"]) == (first["psnr_clean"], 0.3, first["bound"])
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert config.estimator == {
        "_target_": "invsmooth.estimators.ISTANetPP",
        "n_phases": 1,
        "channels": 2,
        "image_channels": 1,
    }
    assert (config.task.name, config.algo.name, config.operator.train_ratio) == ("own", "mine", 0.3)
    assert config.operator.matrix == str(trained / MATRIX)
    scales = [first["scale"], again["scale"], config.scale, OmegaConf.load(trained / "run" / "config.yaml").scale]
    assert scales == [chosen_here()] * 4
    for folder in (trained, tmp_path):
        assert json.loads((folder / "run" / "run.json").read_text())["scale"] == chosen_here()
    (file,) = (tmp_path / "run" / "certificates").glob("*.json")
    record = json.loads(file.read_text())
    assert record["estimator"]["checkpoint"] == str(ckpt)
    known = {"name": "block_gaussian", "block": 11, "seed": 0, "matrix": str(trained / MATRIX), "ratio": 0.3}
    assert known.items() <= record["operator"].items()


def test_another_matrix_is_an_error_and_a_copy_is_none(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt = trained / "run" / "checkpoints" / "best.ckpt"
    np.save(tmp_path / "other.npy", matrix(6))
    shutil.copy(trained / MATRIX, tmp_path / "copy.npy")
    refused(evaluate, tmp_path, f"ckpt={ckpt}", "operator.matrix=other.npy")
    said = capsys.readouterr().err
    assert f"error: ckpt={ckpt} was trained with another measurement matrix at ratio 0.3" in said
    assert f"operator.block=11, operator.seed=0, operator.matrix={trained / MATRIX}" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "run.json").exists()
    command(evaluate, tmp_path, f"ckpt={ckpt}", "operator.matrix=copy.npy")
    shutil.rmtree(tmp_path / "run")
    # To train on from the weights with another matrix is allowed.
    more = ["task=cs_small", "task.patch_size=22", "task.batch_size=2", "trainer.max_steps=1", "operator.block=11"]
    ratio = ["operator.ratio=0.3", "operator.train_ratio=0.3", "estimator.n_phases=1", "estimator.channels=2"]
    command(train, tmp_path, f"ckpt={ckpt}", *more, *ratio, "operator.seed=9")
    origin = read_origin(str(tmp_path / "run" / "checkpoints" / "best.ckpt"))
    assert origin is not None
    assert origin.sha256 == {0.3: BlockGaussian(0.3, block=11, seed=9).sha256()}


def test_a_wrong_scale_is_a_mistake_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (["scale=big"], "error: scale=big is not allowed; allowed: auto, paper, small, or null\n"),
        (["scale=null"], "error: scale has no value; allowed: auto, paper, small (null: in an evaluation,"),
        (
            ["hydra.mode=MULTIRUN", "hydra.sweep.dir=sweep", "scale=paper,small"],
            "error: scale cannot be swept: one sweep has one",
        ),
    ):
        refused(train, tmp_path, "task=cs", "algo=smt_adv", *given)
        assert said in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_an_older_checkpoint_does_not_say_its_scale(trained: Path, tmp_path: Path) -> None:
    path = trained / "run" / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    assert content["hyper_parameters"].pop("scale") == chosen_here()
    torch.save(content, tmp_path / "old.ckpt")
    command(evaluate, tmp_path, "ckpt=old.ckpt", "scale=small")  # the sizes of the evaluation
    rows = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert rows["scale"].isna().all()
    content["hyper_parameters"]["scale"] = "${oc.env:HOME}"
    torch.save(content, tmp_path / "odd.ckpt")
    refused(evaluate, tmp_path, "ckpt=odd.ckpt")


def origin(name: str = "block_gaussian", **sha256: LinearOperator) -> Origin:
    hashes = {float(k[1:]) / 10: v.sha256() for k, v in sha256.items()}
    known = {"name": name, "seed": 0, "block": 11, "matrix": None}
    return Origin("a.ckpt", {"task": "cs", "algo": "ord"}, {}, known, hashes, {"_target_": "a.B"})


def settings(*operators: LinearOperator) -> list[Setting]:
    return [Setting(op, op.ratio, 0.0, 0) for op in operators]


def check(trained: Origin, *operators: LinearOperator) -> None:
    check_operators(trained, settings(*operators), operators[0].name)


def test_operators_are_told_apart() -> None:
    low, high, other = (BlockGaussian(r, block=11, seed=s) for r, s in ((0.1, 0), (0.3, 0), (0.3, 1)))
    both = origin(r1=low, r3=high)
    check(both, low, high)
    check(both, BlockGaussian(0.2, block=11))  # a ratio that it was not trained on
    with pytest.raises(ConfigError, match=r"another measurement matrix at ratio 0\.3 .* operator\.seed=0"):
        check(both, low, other)
    with pytest.raises(
        ConfigError, match=r"name=block_gaussian \(task=cs\) and cannot be evaluated with operator\.name=ident"
    ):
        check(both, Identity())
    with pytest.raises(
        ConfigError, match=r"name=identity \(task=cs\) and cannot be evaluated with operator\.name=block"
    ):
        check(origin("identity"), low)


def test_older_checkpoints_do_not_say_which_matrix() -> None:
    check(origin("identity"), Identity())
    with pytest.raises(ConfigError, match=r"ckpt=a\.ckpt comes from an older invsmooth"):
        check(origin(), BlockGaussian(0.1, block=11))


def test_published_networks_are_described_by_their_sizes(tmp_path: Path) -> None:
    own = {"_target_": "invsmooth.estimators.Ridge", "alpha": 0.5}
    cfg, of_config = (OmegaConf.create({"estimator": own, "ckpt": ckpt}) for ckpt in ("dpdnn.pt", None))
    torch.save(published_dpdnn_state(4, 2), tmp_path / "dpdnn.pt")
    described = evaluated_estimator(cfg, load_checkpoint(tmp_path / "dpdnn.pt"), None)
    assert described == {
        "_target_": "invsmooth.estimators.DPDNN", "n_steps": 2, "channels": 4, "levels": 4, "share_down": True
    }  # fmt: skip
    DPDNN(**{k: v for k, v in described.items() if k != "_target_"})
    described = evaluated_estimator(cfg, ISTANetPP(2, 3), None)
    assert described == {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 2, "channels": 3}
    assert evaluated_estimator(of_config, Ridge(0.5), None) == own
    given = dataclasses.replace(origin(), estimator={"_target_": "mine.Net", "width": [1, 2]})
    assert evaluated_estimator(cfg, ISTANetPP(2, 3), given) == {"_target_": "mine.Net", "width": [1, 2]}


def test_a_block_that_is_too_large_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(evaluate, tmp_path, "task=cs", "estimator=ridge", "operator.block=1000000")
    said = capsys.readouterr().err
    assert "error: operator: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("key", ["task.name", "algo.name"])
def test_a_name_is_part_of_a_folder_name(key: str) -> None:
    message = rf"{key}=a/b is not allowed; allowed: a name of 1 to 100 characters, none of them a slash"
    with pytest.raises(ConfigError, match=message):
        validate(config(f"{key}=a/b"))


def test_a_kept_training_is_one_of_the_same_name() -> None:
    """Its checkpoint says the name."""
    images = SimpleNamespace(names=[], sha256="")
    data = SimpleNamespace(images={"train": images, "val": images})
    keys = set()
    for name in ("a", "b"):
        cfg = config("task=denoise_small", f"task.name={name}", "estimator.n_steps=1", "estimator.channels=2")
        module = build_module(cfg, DPDNN(1, 2, 1))
        for p in module.estimator.parameters():
            torch.nn.init.zeros_(p)
        keys.add(training_key(cfg, module, data))  # type: ignore[arg-type]
    assert len(keys) == 2


MINE = """
from invsmooth.operators import LinearOperator
from invsmooth.training import OrdTraining


class Half(LinearOperator):
    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def A(self, x):
        return self.gain * x

    def A_adjoint(self, y):
        return self.gain * y


class Mine(OrdTraining):
    def __init__(self, setup, *, steps: int = 1) -> None:
        super().__init__(setup, compute_match="smt_grad", t_step=steps)
        self.steps = steps
"""


def test_parts_from_elsewhere_are_evaluated_without_their_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Operator, algorithm and task of a package of the user's; the evaluation needs trust, and no --config-dir."""
    (tmp_path / "parts_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {
        "operator/half": "_target_: parts_of_mine.Half\nname: half\ngain: 0.5\nsigma_b: 3\n",
        "algo/mine": "_target_: parts_of_mine.Mine\nname: mine\nsteps: 2\n",
        "task/masked": "defaults:\n  - denoise_small\n  - override /operator@_global_.operator: half\n  - _self_\n"
        "name: masked\n",
    }.items():
        path = tmp_path / "more" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    small = ["estimator.n_steps=1", "estimator.channels=2", "task.batch_size=2", "trainer.max_steps=1"]
    more = f"hydra.searchpath=[file://{tmp_path / 'more'}]"
    command(train, tmp_path, more, "task=masked", "algo=mine", "operator.gain=0.25", *small)
    (tmp_path / "elsewhere").mkdir()
    ckpt = tmp_path / "run" / "checkpoints" / "best.ckpt"
    refused(evaluate, tmp_path / "elsewhere", f"ckpt={ckpt}")
    assert "trust=[parts_of_mine]" in capsys.readouterr().err
    command(evaluate, tmp_path / "elsewhere", f"ckpt={ckpt}", "trust=[parts_of_mine]")
    first, again = (pd.read_parquet(f / "run" / "results.parquet").iloc[0] for f in (tmp_path, tmp_path / "elsewhere"))
    for row in (first, again):
        assert (row["task"], row["algo"], row["operator"], row["sigma_b"]) == ("masked", "mine", "half", 3)
    assert (again["psnr_clean"], again["bound"]) == (first["psnr_clean"], first["bound"])
