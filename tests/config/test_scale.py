"""The paper's sizes, the small ones, and which of them a run takes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig

from invsmooth.config import scale, schema
from invsmooth.config.validate import validate
from invsmooth.core.errors import ConfigError
from invsmooth.pipeline.build import plain
from tests.config.test_config import ALGORITHMS, config

TASKS = ("cs", "denoise")
SMALL_BATCHES = {"ord": 1000, "jcb": 1000, "adv": 500, "smt_adv": 500, "smt_grad": 200}
"""The table of docs/algorithms.md."""
OF_OTHER_OPERATORS = dict.fromkeys(("mask", "kernel", "width", "angle", "padding", "antialias", "center", "side", "physics",
                                     "bound"))  # fmt: skip
PAPER: dict[str, Any] = {
    "cs": {
        "task": {"name": "cs", "patch_size": 33, "n_patches": 10000, "batch_size": 64, "epochs": 100,
                 "learning_rate": 1e-4, "schedule": "constant", "halve_every": 3, "eps": 1.0, "step_size": 0.2,
                 "n_iter": 150, "eps_size": 256},
        "estimator": {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 20, "channels": 32,
                      "image_channels": 1},
        "operator": {"name": "block_gaussian", "ratio": 0.1, "sigma_b": 0, "train_ratio": [0.1, 0.2, 0.3, 0.4, 0.5],
                     "train_sigma_b": 0.0, "noise_seed": 0, "_target_": "invsmooth.operators.BlockGaussian", "block": 33,
                     "seed": 0, "matrix": None, **OF_OTHER_OPERATORS},
        "attack": {"n_iter": 150, "step_size": 0.2 * 33 / 256, "eps": 33 / 256},
    },
    "denoise": {
        "task": {"name": "denoise", "patch_size": 40, "n_patches": 32000, "batch_size": 32, "epochs": 100,
                 "learning_rate": 5e-4, "schedule": "constant", "halve_every": 3, "eps": 5.0, "step_size": 0.4,
                 "n_iter": 100, "eps_size": 256},
        "estimator": {"_target_": "invsmooth.estimators.DPDNN", "n_steps": 6, "channels": 64, "levels": 4, "delta": 0.1,
                      "eta": 0.9, "share_down": False, "image_channels": 1},
        "operator": {"name": "identity", "ratio": 1.0, "sigma_b": 15, "train_ratio": 1.0, "train_sigma_b": 15,
                     "noise_seed": 0, "_target_": "invsmooth.operators.Identity", "block": None, "seed": None,
                     "matrix": None, **OF_OTHER_OPERATORS},
        "attack": {"n_iter": 100, "step_size": 0.4 * 40 / 256, "eps": 5 * 40 / 256},
    },
}  # fmt: skip
EVALUATION = {
    "attack": {"eps": [0, 0.1, 0.25, 1], "n_iter": 20, "schedule": "cosine", "check_samples": 32},
    "certify": {"sigma": [12, 25, 50], "n_samples": 100, "confidence": 0.99}, "data": {"crop": 256, "limit": None},
}  # fmt: skip
"""The same at both scales."""


def attack_of(algo: str, task: str) -> dict[str, Any]:
    """What an algorithm takes of the paper."""
    attack = PAPER[task]["attack"] | {"schedule": "constant", "normalize": True, "init": "zero", "keep": "last",
                                      "warm_start": False, "eps_warmup": 0, "history": 0,
                                      "inner_precision": "fp32"}  # fmt: skip
    smoothing = {"sigma": 10, "n_samples": 15, "chunk_size": None}
    return {
        "ord": {"compute_match": None, "t_step": 6},
        "jcb": {"beta": None, "gamma": 20, "norm": "spectral", "reduce": "max", "n_iter": 1},
        "adv": attack,
        "smt_adv": attack | smoothing | {"smoothing": "mean", "noise": "fresh", "antithetic": False},
        "smt_grad": smoothing | {"t_step": 6, "smoothing": "gradient"},
    }[algo]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_paper_to_the_last_key(task: str, algo: str) -> None:
    found = plain(config(f"task={task}", f"algo={algo}", "scale=paper"))
    assert {k: found[k] for k in ("task", "estimator", "operator")} == {
        k: PAPER[task][k] for k in ("task", "estimator", "operator")
    }
    own = {k: v for k, v in found["algo"].items() if k not in ("name", "_target_")}
    assert own == pytest.approx(attack_of(algo, task))
    assert (found["trainer"]["max_epochs"], found["trainer"]["max_steps"], found["scale"]) == (100, None, "paper")
    for group, values in EVALUATION.items():
        assert values.items() <= found[group].items()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_small_is_the_small_task_and_algorithm_but_for_the_number_of_batches(task: str, algo: str) -> None:
    suffix = "" if algo in ("ord", "jcb") else "_small"
    cfg = config(f"task={task}", f"algo={algo}", "scale=small")
    validate(cfg)
    found, options = plain(cfg), plain(config(f"task={task}_small", f"algo={algo}{suffix}", "scale=small"))
    batches = found["task"]["epochs"] * found["task"]["n_patches"] / found["task"]["batch_size"]
    assert batches == SMALL_BATCHES[algo]
    options["task"]["n_patches"] = found["task"]["n_patches"]
    if task == "cs":
        assert options["operator"].pop("ratio") == [0.1, 0.3]
        assert found["operator"].pop("ratio") == 0.1
    assert found == options
    for group, values in EVALUATION.items():
        assert values.items() <= found[group].items()


@pytest.mark.parametrize("of_run", ["paper", "small"])
def test_the_small_options_are_small_at_every_scale(of_run: str) -> None:
    cs, denoise = (config(f"task={task}_small", "algo=smt_adv_small", f"scale={of_run}") for task in TASKS)
    for cfg, n_patches in ((cs, 16000), (denoise, 8000)):
        task = cfg.task
        assert (task.n_patches, task.epochs, task.learning_rate, task.schedule) == (n_patches, 4, 2e-3, "cosine")
        assert (cfg.algo.n_iter, cfg.algo.step_size, cfg.algo.schedule, cfg.algo.n_samples) == (5, None, "cosine", 2)
    assert (cs.task.batch_size, cs.operator.ratio, cs.operator.train_ratio) == (64, [0.1, 0.3], [0.1, 0.3])
    assert (cs.estimator.n_phases, cs.estimator.channels) == (6, 16)
    assert (denoise.estimator.n_steps, denoise.estimator.channels, denoise.estimator.eta) == (2, 16, 0.8)
    grad = config("task=cs", "algo=smt_grad_small", f"scale={of_run}").algo
    assert (grad.n_samples, grad.sigma, grad.t_step) == (4, 10, 6)


@pytest.mark.parametrize("of_run", ["paper", "small"])
def test_a_value_that_is_given_wins(of_run: str) -> None:
    cfg = config(
        "task=cs", "algo=smt_adv", f"scale={of_run}", "estimator.n_phases=9", "algo.n_iter=3", "algo.n_samples=2",
        "task.step_size=0.5", "task.n_patches=64", "task.epochs=7", "operator.train_ratio=0.2",
    )  # fmt: skip
    validate(cfg)
    assert (cfg.estimator.n_phases, cfg.algo.n_iter, cfg.algo.n_samples) == (9, 3, 2)
    assert (cfg.task.n_patches, cfg.task.epochs, cfg.trainer.max_epochs, cfg.operator.train_ratio) == (64, 7, 7, 0.2)
    assert cfg.algo.step_size == pytest.approx(0.5 * 33 / 256)
    assert config("task=cs", "algo=adv", "task.n_iter=5", f"scale={of_run}").algo.n_iter == 5
    wide = config("task=cs", "estimator=istanetpp_small", "estimator.channels=8", f"scale={of_run}").estimator
    assert (wide.n_phases, wide.channels) == (6, 8)


@pytest.mark.parametrize("gpu", [True, False])
def test_auto_is_the_paper_where_a_gpu_is_used(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    cfg = config("task=cs")
    assert (cfg.scale, cfg.trainer.accelerator) == ("auto", "gpu" if gpu else "cpu")
    assert (scale.scale_of(cfg), cfg.estimator.n_phases) == (("paper", 20) if gpu else ("small", 6))
    auto = config("task=cs", "trainer.accelerator=auto")
    assert auto.estimator.n_phases == cfg.estimator.n_phases
    assert config("task=cs", "trainer=cpu").estimator.n_phases == 6
    assert config("task=cs", "trainer=gpu").estimator.n_phases == 20
    assert config("task=cs", "trainer=cpu", "scale=paper").estimator.n_phases == 20
    assert config("task=cs", "trainer=gpu", "scale=small").estimator.n_phases == 6
    said = scale.explained(cfg, str(scale.scale_of(cfg)))
    if gpu:
        assert said == (
            "scale=auto is paper here: a GPU is used (trainer.accelerator=gpu); for small sizes of network and training: "
            "scale=small"
        )
    else:
        assert said == (
            "scale=auto is small here: no GPU is used (trainer.accelerator=cpu); for the paper's sizes: scale=paper"
        )


def test_an_evaluation_and_an_audit_have_no_scale_of_their_own() -> None:
    """The network's size is the checkpoint's; what else the scale could change is today's."""
    cfg = config("task=cs", root="evaluate")
    assert (cfg.scale, cfg.estimator.n_phases, len(cfg.operator.train_ratio)) == (None, 20, 5)
    assert config("task=cs", root="audit").estimator.n_phases == 20


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^scale=big is not allowed; allowed: auto, paper, small, or null$"):
        validate(config("task=cs", "algo=smt_adv", "scale=big"))


def master(folder: Path, *overrides: str) -> DictConfig:
    """The config of a multirun as a whole, as the callback gets it before the first job."""
    schema.register()
    setup_globals()
    given = [f"hydra.sweep.dir={folder}", *overrides]
    return loader().load_configuration("train", given, RunMode.MULTIRUN)


def loader() -> ConfigLoaderImpl:
    return ConfigLoaderImpl(create_config_search_path("pkg://invsmooth.conf"))


def test_one_sweep_has_one_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided where it begins; its jobs run elsewhere, in other processes."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    sweep = master(tmp_path, "task=cs,denoise")
    scale.begin_sweep(sweep)
    assert sweep.scale == "small"  # for multirun.yaml
    elsewhere = pickle.loads(pickle.dumps(sweep))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    job = loader().load_sweep_config(elsewhere, ["task=cs", "algo=adv"])
    assert (job.trainer.accelerator, scale.scale_of(job), job.estimator.n_phases) == ("gpu", "small", 6)
    assert scale.explained(job, "small").startswith("scale=auto is small here: decided when the sweep began; for")
    other = loader().load_sweep_config(elsewhere, ["task=cs", "scale=paper"])
    assert list(scale.conflicts(other)) == ["scale=paper in a sweep with scale=small: one sweep has one scale"]
    assert list(scale.conflicts(job)) == []


def test_a_sweep_that_is_started_again_keeps_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "multirun.yaml").write_text("scale: paper\nfolder: ${now:%Y}\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for given, expected in (([], "paper"), (["sweep=plan"], "paper"), (["scale=small"], "small")):
        again = master(tmp_path, "seed=0,1", *given)
        scale.begin_sweep(again)
        assert scale.scale_of(loader().load_sweep_config(again, ["seed=0", *given])) == expected


@pytest.mark.parametrize("swept", ["scale=paper,small", "scale=choice(paper,small)", "experiment=quickstart"])
def test_the_scale_is_not_swept(swept: str, tmp_path: Path) -> None:
    sweep = master(tmp_path, swept)
    if swept.startswith("experiment"):  # whose file may name what is swept
        scale.begin_sweep(sweep)
        sweep.hydra.sweeper.params = {"scale": "paper,small"}
    with pytest.raises(ConfigError, match=r"^scale cannot be swept: one sweep has one scale"):
        scale.begin_sweep(sweep)


def test_help_does_not_look_for_a_gpu(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from invsmooth import train
        sys.argv = ["train", "--help"]
        try:
            train.main()
        finally:
            assert "torch" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scale: auto" in done.stdout


def test_rows_of_an_earlier_version_have_no_scale(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from invsmooth.records.rows import read_rows, write_rows
    from tests.reporting.declared import DECLARED
    from tests.reporting.made import row

    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / "results.parquet", [row(run_id=name, scale="small")], DECLARED)
    path = tmp_path / "old" / "results.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["scale"]), path)
    rows, _ = read_rows([tmp_path / "old", tmp_path / "new"])
    assert list(rows.loc[rows["run_id"] == "new", "scale"]) == ["small"]
    assert rows.loc[rows["run_id"] == "old", "scale"].isna().all()
    assert read_rows([tmp_path / "old"])[0]["scale"].isna().all()


@pytest.mark.parametrize("content", ["", "scale: [", "scale: paper\n  x", "- a", "\x00"])
def test_a_damaged_multirun_file_has_no_scale(content: str, tmp_path: Path) -> None:
    """Hydra writes it in place, and may be killed meanwhile."""
    (tmp_path / "multirun.yaml").write_text(content)
    assert scale.kept_in(tmp_path) is None
