"""All ten pairs of algorithm and task learn on real patches; the trainer's switches leave the meaning alone."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from invsmooth.config import schema
from invsmooth.config.validate import data_conflicts
from invsmooth.metrics import psnr
from invsmooth.pipeline.build import build_data, build_estimator, build_module, build_settings
from invsmooth.training.stop_after import StopAfterBatches

SIZES = {
    "cs": ["estimator.n_phases=2", "estimator.channels=8", "task.batch_size=4", "operator.train_ratio=[0.3]",
           "operator.ratio=0.3"],
    "denoise": ["estimator.n_steps=2", "estimator.channels=8", "estimator.levels=2", "task.batch_size=2"],
}  # fmt: skip
ALGORITHMS = {
    "ord": [], "jcb": [], "adv_small": ["algo.n_iter=3"], "smt_adv_small": ["algo.n_iter=2", "algo.n_samples=2"],
    "smt_grad_small": ["algo.n_samples=2", "algo.t_step=3"],
}  # fmt: skip


def train(
    task: str, algo: str, folder: Path, n_batches: int, *overrides: str, **options: object
) -> tuple[float, float]:
    """PSNR of A^T y and of the trained network on a photograph that was not trained on."""
    given = [f"task={task}_small", f"algo={algo}", *SIZES[task], *ALGORITHMS[algo], f"trainer.max_steps={n_batches}"]
    cfg = composed(*given, *overrides)
    L.seed_everything(0, verbose=False)
    settings = build_settings(cfg.operator)
    module = build_module(cfg, build_estimator(cfg, trains=True))
    if cfg.trainer.channels_last:
        module.estimator.to(memory_format=torch.channels_last)
    # The default compiler needs half a minute for the C++ of a graph: it is for one algorithm, and not for the evaluation.
    compiler = "inductor" if algo == "ord" else "aot_eager"
    if cfg.trainer.compile:
        module.estimator.compile(backend=compiler)
    data = build_data(cfg, 1, trains=True)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, limit_val_batches=0,
        callbacks=[StopAfterBatches(n_batches)], **options,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    x, operator = data.images["val"].image(0)[None, :, :132, :132], settings[0].operator
    y = operator.A(x)
    y = y + cfg.operator.train_sigma_b / 255 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.compiler.set_stance("force_eager" if compiler == "inductor" else "default"):
        return float(psnr(operator.A_adjoint(y), x)), float(psnr(module.estimator(y, operator), x))


@pytest.mark.slow
@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize(("task", "rate", "gain"), [("cs", 3e-3, 9.0), ("denoise", 2e-3, 1.5)])
def test_every_pair_learns_within_40_batches(tmp_path: Path, task: str, rate: float, gain: float, algo: str) -> None:
    """Five batches of ``ord`` on ``cs`` gain 6 dB."""
    n_batches = {"smt_grad_small": 20}.get(algo, 40)
    start, reached = train(task, algo, tmp_path, n_batches, f"task.learning_rate={rate}")
    assert reached > start + gain


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What 15 batches of each algorithm reach without any switch."""
    return {algo: train("cs", algo, tmp_path_factory.mktemp("plain"), 15, ONE_PHASE)[1] for algo in SWITCHED}


SWITCHED = ["ord", "jcb", "smt_adv_small"]
ONE_PHASE = "estimator.n_phases=1"  # compiled in half the time of two


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # torch.compile's own
@pytest.mark.parametrize("algo", SWITCHED)
@pytest.mark.parametrize(
    ("overrides", "options"),
    [(["trainer.channels_last=true"], {}), ([], {"precision": "bf16-mixed"}), (["trainer.compile=true"], {})],
    ids=["channels-last", "bf16", "compile"],
)
def test_switches_leave_the_meaning_alone(
    tmp_path: Path, plain: dict[str, float], algo: str, overrides: list[str], options: dict
) -> None:
    if algo == "jcb" and overrides == ["trainer.compile=true"]:
        return  # refused by the config: torch.compile has no forward-mode derivative
    _, switched = train("cs", algo, tmp_path, 15, ONE_PHASE, *overrides, **options)
    assert switched == pytest.approx(plain[algo], abs=0.5 if options else 0.05)


def composed(*overrides: str) -> DictConfig:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return compose("train", [*overrides])


@pytest.mark.parametrize("algo", ["smt_adv", "smt_grad"])
def test_grey_levels_of_the_config_become_the_unit_scale(algo: str) -> None:
    cfg = composed("task=denoise_small", *SIZES["denoise"], f"algo={algo}", "algo.sigma=51")
    module = build_module(cfg, build_estimator(cfg, trains=True))
    assert module.sigma == pytest.approx(0.2)
    assert module.setup_.train_sigma_b == pytest.approx(cfg.operator.train_sigma_b / 255)
    assert module.setup_.val_settings[0].sigma_b == module.setup_.train_sigma_b


def test_images_to_validate_on_may_come_from_a_class_of_anybody() -> None:
    cfg = composed("task=denoise_small", "data.val=tests.data.test_splits.Squares")
    assert not [*data_conflicts(cfg.data)]
    images = build_data(cfg, 1, trains=True).load["val"]()
    assert images.names == ("0", "1", "2", "3", "4")
    for val, message in (("nothing", "data.val=nothing is not allowed; allowed: holdout"), ("no.Set", "cannot be imported"),
                         ("invsmooth.data.sets.Train400", "it has no images to val on")):  # fmt: skip
        cfg.data.val = val
        assert message in "\n".join(data_conflicts(cfg.data))
