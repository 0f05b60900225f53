"""What ``invsmooth.evaluate`` takes over from a checkpoint, and that nothing else in the file changes the run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_app
import pytest
import torch
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from invsmooth import evaluate
from invsmooth.config import parts
from invsmooth.config.checkpoint_defaults import CheckpointDefaults
from invsmooth.config.schema import OPEN
from invsmooth.config.validate import validate
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.operators import Identity
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline import run as pipeline
from invsmooth.records.checkpoints import checkpoint_file
from invsmooth.records.origin import Origin, read_origin

QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
SAVED: dict[str, Any] = {
    "choices": {"task": "cs_small", "algo": "adv"}, "names": {"task": "cs", "algo": "mine"},
    "operator": {"name": "block_gaussian", "seed": 3, "block": 11, "matrix": None, "ratio": 0.3, "train_ratio": 0.3,
                 "sha256": {"0.3": "0" * 64}},
    "estimator": {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 1, "channels": 4}, "seed": 0,
}  # fmt: skip


def check(cfg: DictConfig) -> None:
    """What the run does with its config first."""
    OmegaConf.set_struct(cfg, False)
    validate(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]))


BLOCKS = "invsmooth.operators.BlockGaussian"
MASK = """
from invsmooth.operators import LinearOperator

class Mask(LinearOperator):
    def __init__(self, every: int, ratio: float) -> None:
        super().__init__()
        self.every, self.ratio = every, ratio

    def A(self, x, ratio):
        return x * self.ratio

    def A_adjoint(self, y, ratio):
        return y * self.ratio
"""


def checkpoint(path: Path, **changes: Any) -> Path:
    torch.save({"state_dict": {}, "hyper_parameters": SAVED | changes}, path)
    return path


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where a user would be, with what Hydra keeps for a process put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INVSMOOTH_ROOT", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    yield
    HydraConfig.instance().cfg = None
    GlobalHydra.instance().clear()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[DictConfig, Path]]]:
    """The command line up to where the work begins: configs and run folders of the jobs, or SystemExit."""
    begun: list[tuple[DictConfig, Path]] = []

    def begin(cfg: DictConfig, folder: Path) -> None:
        begun.append((cfg, folder))
        (folder / "run.json").write_text(json.dumps({"status": "finished"}))

    def command(*arguments: str) -> list[tuple[DictConfig, Path]]:
        begun.clear()
        flags = [a for a in arguments if a.startswith("-")]  # Hydra wants them first
        monkeypatch.setattr(sys, "argv", ["evaluate", *flags, *QUIET, *(a for a in arguments if a not in flags)])
        evaluate.main()
        return list(begun)

    monkeypatch.setattr(pipeline, "evaluate_checkpoint", begin)
    return command


def composed(*overrides: str) -> DictConfig:
    """The config of a run, without the command line around it."""
    setup_globals()
    loader = CheckpointDefaults(create_config_search_path("pkg://invsmooth.conf"))
    return loader.load_configuration("evaluate", list(overrides), RunMode.RUN)


def refused(command: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        command()
    said = capsys.readouterr()
    assert end.value.code == 2, said
    assert "Traceback" not in said.out + said.err
    return said.err


def check_taken_over(cfg: DictConfig) -> None:
    assert (cfg.task.name, cfg.algo.name, cfg.algo._target_) == ("cs", "mine", "invsmooth.training.AdvTraining")
    assert (cfg.operator.name, cfg.operator.seed, cfg.operator.block, cfg.operator.matrix) == (
        "block_gaussian", 3, 11, None
    )  # fmt: skip
    assert list(cfg.operator.ratio) == [0.1, 0.3]  # of cs_small: the matrices come from a seed


def test_the_command_line_takes_over(tmp_path: Path, run: Any) -> None:
    checkpoint(tmp_path / "epoch=1-step=2.ckpt")
    ((cfg, folder),) = run(r"ckpt=epoch\=1-step\=2.ckpt")
    check_taken_over(cfg)
    assert folder.parent.name == "evaluate_cs"
    assert hydra_app.ConfigLoaderImpl is not CheckpointDefaults  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("file", "argument"),
    [
        ("best.ckpt", "ckpt=best.ckpt"),
        ("best.ckpt", "++ckpt=best.ckpt"),
        ("a b, c.ckpt", "ckpt='a b, c.ckpt'"),
        ("epoch=1-step=2.ckpt", r"ckpt=epoch\=1-step\=2.ckpt"),
        ("epoch=1-step=2.ckpt", "ckpt='epoch=1-step=2.ckpt'"),
        ("best.ckpt", "ckpt=${oc.env:CK}"),
        ("best.ckpt", "ckpt=${hydra:runtime.cwd}/best.ckpt"),
        ("best.ckpt", "experiment=mine"),
    ],
)
def test_however_the_checkpoint_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, argument: str
) -> None:
    checkpoint(tmp_path / file)
    monkeypatch.setenv("CK", str(tmp_path / file))
    check_taken_over(composed(argument, *experiment(tmp_path, "ckpt: best.ckpt")))


@pytest.mark.parametrize("given", ["outputs/study/net", "study/net"])
def test_a_run_folder_and_its_name_in_outputs(tmp_path: Path, run: Any, given: str) -> None:
    """Of a run folder the best weights."""
    folder = tmp_path / "outputs" / "study" / "net" / "checkpoints"
    folder.mkdir(parents=True)
    file = checkpoint(folder / "best.ckpt")
    cfg = composed(f"ckpt={given}")
    check_taken_over(cfg)
    assert (tmp_path / cfg.ckpt).samefile(file)
    jobs = run("-m", f"ckpt={given},outputs/study/net/checkpoints/best.ckpt")
    assert len({Path(cfg.ckpt).absolute() for cfg, _ in jobs}) == 1
    for cfg, _ in jobs:
        check_taken_over(cfg)


def test_a_folder_that_is_there_is_no_name_in_outputs(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "net" / "checkpoints").mkdir(parents=True)
    checkpoint(tmp_path / "outputs" / "net" / "checkpoints" / "best.ckpt")
    assert checkpoint_file("net") == Path("outputs/net/checkpoints/best.ckpt")
    (tmp_path / "net").mkdir()
    assert checkpoint_file("net") == Path("net")


def experiment(folder: Path, text: str) -> list[str]:
    """Make an experiment file ``mine``; the override that lets Hydra find it."""
    path = folder / "more" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{text}\n")
    return [f"hydra.searchpath=[file://{folder / 'more'}]"]


def test_a_sweep_takes_over_for_each_job(tmp_path: Path, run: Any) -> None:
    checkpoint(tmp_path / "a=1.ckpt")
    operator = SAVED["operator"] | {"name": "identity", "seed": 5}
    checkpoint(tmp_path / "b.ckpt", choices={"task": "denoise_small", "algo": "ord"}, names={}, operator=operator)
    sweep = experiment(tmp_path, r"hydra: {mode: MULTIRUN, sweeper: {params: {ckpt: 'a\=1.ckpt,b.ckpt'}}}")
    # Its ckpt is not that of the second job.
    first = ["experiment=mine", *experiment(tmp_path / "first", "ckpt: a=1.ckpt")]
    for overrides in (["-m", r"ckpt=a\=1.ckpt,b.ckpt", *first], ["experiment=mine", *sweep]):
        jobs = run(*overrides)
        found = [(cfg.task.name, cfg.algo.name, cfg.operator.name, cfg.operator.seed) for cfg, _ in jobs]
        assert found == [("cs", "mine", "block_gaussian", 3), ("denoise", "ord", "identity", None)]  # which has no seed
        assert [f.name for _, f in jobs] == ["0_cs_mine_ckpt-a-1.ckpt", "1_denoise_ord_ckpt-b.ckpt"]


def test_a_bad_checkpoint_in_a_sweep_fails_its_own_job(tmp_path: Path, run: Any, capsys: Any) -> None:
    for name in ("a.ckpt", "c.ckpt"):
        checkpoint(tmp_path / name)
    checkpoint(tmp_path / "b.ckpt", choices=["a"])
    with pytest.raises(SystemExit) as end:
        run("-m", "ckpt=a.ckpt,b.ckpt,c.ckpt")
    assert end.value.code == 2
    said = capsys.readouterr().out
    assert "2 of 3 jobs finished, 1 did not:\n  1_" in said
    assert "error: CheckpointError: ckpt=b.ckpt is no checkpoint of invsmooth.train" in said


def test_what_the_user_says_stays(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "best.ckpt")
    cfg = composed(f"ckpt={path}", "algo=jcb", "task.name=own", "operator.seed=0", "operator.block=7")
    assert (cfg.task.name, cfg.algo.name, cfg.operator.name) == ("own", "jcb", "block_gaussian")
    assert (cfg.operator.seed, cfg.operator.block) == (0, 7)
    cfg = composed(f"ckpt={path}", "algo=adv", "task=cs_small")  # the same as in training
    assert (cfg.task.name, cfg.algo.name) == ("cs", "mine")
    own = experiment(tmp_path, "defaults:\n  - override /task: denoise\noperator:\n  seed: 9")
    cfg = composed(f"ckpt={path}", "experiment=mine", *own)
    assert (cfg.task.name, cfg.operator.name, cfg.operator.seed) == ("denoise", "identity", 9)
    assert cfg.operator.block is None  # nothing of another operator; the evaluation is refused later
    own = experiment(tmp_path / "b", "operator:\n  seed: 9")
    cfg = composed(f"ckpt={path}", "experiment=mine", *own)
    assert (cfg.operator.seed, cfg.operator.block) == (9, 11)


def test_the_matrix_of_a_file_comes_with_its_ratio(tmp_path: Path) -> None:
    matrix = tmp_path / "a b, c=1.npy"
    matrix.touch()
    path = checkpoint(tmp_path / "best.ckpt", operator=SAVED["operator"] | {"matrix": str(matrix), "ratio": [0.3]})
    cfg = composed(f"ckpt={path}")
    assert (cfg.operator.matrix, list(cfg.operator.ratio), cfg.operator.train_ratio) == (str(matrix), [0.3], 0.3)
    cfg = composed(f"ckpt={path}", "operator.ratio=0.2", "operator.matrix=other.npy")
    assert (cfg.operator.matrix, cfg.operator.ratio) == ("other.npy", 0.2)
    matrix.unlink()
    with pytest.raises(ConfigError, match=r"c=1\.npy, which is no file here; give operator\.matrix=PATH") as error:
        composed(f"ckpt={path}")
    assert f"ckpt={path} was trained with the measurement matrix in {matrix}" in str(error.value)
    relative = checkpoint(tmp_path / "r.ckpt", operator=SAVED["operator"] | {"matrix": "best.ckpt"})
    with pytest.raises(ConfigError, match=r"matrix in best\.ckpt, which is no file here"):
        composed(f"ckpt={relative}")


HARMLESS = {
    "+hydra.callbacks.pwn": "{_target_:os.system,_args_:['touch RAN_callback']}",
    "++hydra.job_logging.handlers.pwn": r"{\(\):os.system,command:'touch RAN_logging'}",
    "++hydra.job.env_set": "{GIT_CONFIG_COUNT:'1',GIT_CONFIG_KEY_0:core.fsmonitor}",
    "hydra.run.dir": "elsewhere", "hydra.sweep.dir": "elsewhere", "hydra.mode": "MULTIRUN",
    "certify.confidence": "0.01", "certificate.units": "paper", "logger": "wandb", "seed": "7",
    "estimator._target_": "subprocess.call", "+logger.leak": "${oc.env:SECRET_X}",
}  # fmt: skip
"""Choices beside task and algorithm: as texts of overrides they once ran code and changed settings."""


def test_nothing_else_in_a_checkpoint_changes_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setenv("SECRET_X", "topsecret")
    ((usual, _),) = run(f"ckpt={checkpoint(tmp_path / 'best.ckpt')}")
    path = checkpoint(tmp_path / "best.ckpt", choices=SAVED["choices"] | HARMLESS, certify={"confidence": 0.1})
    ((cfg, folder),) = run(f"ckpt={path}")
    assert OmegaConf.to_yaml(cfg, resolve=True) == OmegaConf.to_yaml(usual, resolve=True)
    assert {p.name for p in tmp_path.iterdir()} == {"best.ckpt", "outputs"}
    assert "topsecret" not in "".join(p.read_text() for p in folder.rglob("*.yaml"))
    check_taken_over(cfg)


def operator(**changes: Any) -> dict[str, Any]:
    return {"operator": SAVED["operator"] | changes}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "interpolated choice": ({"choices": {"task": "${oc.env:SECRET_X}", "algo": "ord"}}, "choices.task is"),
    "choice list": ({"choices": {"task": ["cs"], "algo": "ord"}}, "choices.task is ['cs']"),
    "choices list": ({"choices": ["a"]}, "its choices is ['a'], not a dictionary"),
    "choices none": ({"choices": None}, "its choices is None, not a dictionary"),
    "operator empty": ({"operator": {}}, "its operator.name is None"),
    "operator int": ({"operator": 5}, "its operator is 5, not a dictionary"),
    "matrix env": (operator(matrix="${oc.env:SECRET_X}"), "its operator.matrix is '${oc.env:SECRET_X}', not a plain"),
    "matrix missing": (operator(matrix="???"), "its operator.matrix is '???'"),
    "matrix escape": (operator(matrix="/\x1b[2J.npy"), "its operator.matrix is '/\\x1b[2J.npy'"),
    "seed text": (operator(seed="${oc.env:SECRET_X}"), "its operator.seed is"),
    "block list": (operator(block=["${oc.env:SECRET_X}"]), "its operator.block is"),
    "target env": (operator(_target_="${oc.env:SECRET_X}"), "its operator._target_ is"),
    "ratio": (operator(matrix="/m.npy", ratio="0.3"), "its operator.ratio is '0.3'"),
    "train_ratio": (operator(matrix="/m.npy", train_ratio=[0.3, 50]), "its operator.train_ratio is [0.3, 50]"),
    "hashes": (operator(sha256=["a"]), "its operator.sha256 is ['a']"),
    "hash ratio": (operator(sha256={"x": "a"}), "its operator.sha256 is 'x', not by ratio"),
    "name path": ({"names": {"task": "../../elsewhere"}}, "give one: task.name=NAME"),
    "name env": ({"names": {"algo": "${oc.env:SECRET_X}"}}, "its names.algo is"),
    "name escape": ({"names": {"algo": "\x1b[2J"}}, "its names.algo is '\\x1b[2J'"),
    "estimator env": ({"estimator": {"_target_": "a.B", "w": "${oc.env:SECRET_X}"}}, "its estimator is"),
    "estimator tensor": ({"estimator": {"_target_": "a.B", "w": torch.zeros(2)}}, "its estimator is tensor"),
    "estimator none": ({"estimator": None}, "its estimator is None"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_value_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_X", "topsecret")
    changes, message = REFUSED[kind]
    path = checkpoint(tmp_path / "bad.ckpt", **changes)
    with pytest.raises(CheckpointError, match=re.escape(message)) as error:
        read_origin(str(path))
    assert f"ckpt={path}" in str(error.value)
    assert "topsecret" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": True}, "operator.seed=true is not allowed; allowed: a whole number"),
        ({"block": 3.5}, "operator.block=3.5 is not allowed; allowed: a whole number >= 1"),
        ({"matrix": 5}, "operator.matrix=5 is not allowed"),
    ],
)
def test_a_value_that_the_operator_does_not_take_is_refused_with_the_config(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = checkpoint(tmp_path / "bad.ckpt", operator=SAVED["operator"] | changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(composed(f"ckpt={path}"))


@pytest.mark.parametrize(
    "task", ["cs_small,hydra.run.dir=elsewhere", "../task/cs_small", "base_task", "of_another", None]
)
def test_a_task_that_is_no_option_is_not_taken(task: object, tmp_path: Path, run: Any, capsys: Any) -> None:
    """An evaluation needs its name and operator alone, and these are in the checkpoint; without a name it is refused, and
    nothing is left behind."""
    operator = SAVED["operator"] | {"ratio": [0.3], "sigma_b": 2}
    path = checkpoint(tmp_path / "best.ckpt", choices={"task": task, "algo": "of_another"}, operator=operator)
    cfg = composed(f"ckpt={path}")
    assert (cfg.task.name, cfg.algo.name, cfg.operator.name, cfg.operator.seed) == ("cs", "mine", "block_gaussian", 3)
    assert (cfg.operator._target_, list(cfg.operator.ratio), cfg.operator.sigma_b) == (BLOCKS, [0.3], 2)
    assert not (tmp_path / "elsewhere").exists()
    check(cfg)
    path = checkpoint(tmp_path / "best.ckpt", choices={"task": task, "algo": "ord"}, names={})
    said = refused(lambda: run(f"ckpt={path}"), capsys)
    assert said.startswith(f"error: ckpt={path} ")
    assert "which task it was trained with; give task=NAME" in said
    assert [p.name for p in tmp_path.iterdir()] == ["best.ckpt"]


def test_an_operator_from_elsewhere_is_taken_under_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its parameters, and without its option: --config-dir is not repeated."""
    (tmp_path / "masks_of_mine.py").write_text(MASK)
    monkeypatch.syspath_prepend(tmp_path)
    node = {"name": "mask", "_target_": "masks_of_mine.Mask", "every": 3, "block": None, "ratio": 0.5, "train_ratio": 0.5,
            "sigma_b": 0}  # fmt: skip
    path = checkpoint(tmp_path / "best.ckpt", choices={"task": "masked", "algo": "mine"}, operator=node)
    with pytest.raises(CheckpointError, match=r"trust=\[masks_of_mine\] or operator\._target_=masks_of_mine\.Mask"):
        composed(f"ckpt={path}")
    assert "masks_of_mine" not in sys.modules
    cfg = composed(f"ckpt={path}", "trust=[masks_of_mine]")
    check(cfg)
    assert (cfg.task.name, cfg.operator.name, cfg.operator.every, cfg.operator.ratio) == ("cs", "mask", 3, 0.5)
    operator = parts.build("operator", cfg.operator, OPEN["operator"].keys, ratio=0.5)
    assert (operator.every, operator.ratio) == (3, 0.5)


@pytest.mark.parametrize("target", ["invsmooth.core.devices.os.system", "invsmooth.core.files.write_bytes", "os.system",
                                    "invsmooth.cache.Store", "a b", 5, "torch.nn.Linear"])  # fmt: skip
def test_no_other_class_or_function_is_taken(target: object, tmp_path: Path) -> None:
    operator = SAVED["operator"] | {"_target_": target, "name": "mine"}
    path = checkpoint(tmp_path / "bad.ckpt", choices={"task": "masked", "algo": "mine"}, operator=operator)
    with pytest.raises(CheckpointError):
        composed(f"ckpt={path}", "trust=[masks_of_mine]")


def test_a_name_without_the_algorithm_will_do(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "best.ckpt", choices={"task": "cs_small"})
    cfg = composed(f"ckpt={path}")
    assert (cfg.algo.name, cfg.operator.seed) == ("mine", 3)
    path = checkpoint(tmp_path / "best.ckpt", choices={"task": "cs_small"}, names={})
    with pytest.raises(ConfigError, match=r"does not say which algo it was trained with"):
        composed(f"ckpt={path}")


def nested(depth: int) -> Any:
    return {"_target_": "a.B", "w": nested(depth - 1)} if depth else 1


def test_hyper_parameters_that_are_none(tmp_path: Path) -> None:
    for saved, message in ((5, "its hyper_parameters is 5"), (None, "is None"), ({}, "its operator is None"),
                           (SAVED | {"estimator": nested(60)}, "nested too deeply")):  # fmt: skip
        torch.save({"state_dict": {}, "hyper_parameters": saved}, tmp_path / "bad.ckpt")
        with pytest.raises(CheckpointError, match=message):
            read_origin(str(tmp_path / "bad.ckpt"))


def test_what_is_no_checkpoint_of_ours_is_left_to_who_loads_it(tmp_path: Path, run: Any, capsys: Any) -> None:
    torch.save({"module.weight": torch.zeros(2)}, tmp_path / "published.pkl")
    (tmp_path / "broken.ckpt").write_bytes(b"none")
    assert [read_origin(name) for name in ("published.pkl", "gone.ckpt")] == [None] * 2
    # Before anything that follows from not knowing what it was trained with.
    assert "broken.ckpt cannot be read" in refused(lambda: run("ckpt=broken.ckpt", "operator.ratio=0.3"), capsys)
    cfg = composed("ckpt=published.pkl", "task=cs")
    assert (cfg.task.name, cfg.operator.seed) == ("cs", 0)
    assert "ckpt=['a', 'b'] is not allowed" in refused(lambda: run("ckpt=[a,b]"), capsys)
    assert "NOT_SET" in refused(lambda: run("ckpt=${oc.env:NOT_SET}"), capsys)


def test_the_shown_config_is_that_of_the_run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = checkpoint(tmp_path / "best.ckpt")
    monkeypatch.setattr(sys, "argv", ["evaluate", f"ckpt={path}", "--cfg", "job"])
    evaluate.main()
    shown = OmegaConf.create(capsys.readouterr().out)
    assert (shown.task.name, shown.algo.name, shown.operator.seed) == ("cs", "mine", 3)
    assert [p.name for p in tmp_path.iterdir()] == ["best.ckpt"]


@pytest.mark.parametrize(("trained", "said"), [(10.0, True), (15.0, False), (None, False)])
def test_noise_of_another_level_than_in_training_is_said(
    trained: float | None, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    operator = {} if trained is None else {"train_sigma_b": trained}
    origin = Origin("best.ckpt", {}, {}, operator, {}, {})
    with caplog.at_level("INFO"):
        pipeline.say_noise(origin, [Setting(Identity(), 1.0, 15 / 255), Setting(Identity(), 1.0, 25 / 255)])
    assert ("trained at sigma_b = 10, tested at 15, 25; to test as trained: operator.sigma_b=10" in caplog.text) == said
