"""``python -m tests.benchmarks.fast_training OUT.json TASK ALGO CKPT IMAGES [OVERRIDES]``: what fast presets lose.

TASK is ``denoise`` or ``cs``, ALGO ``adv`` or ``smt_adv``, CKPT an ordinarily trained network of the small task,
IMAGES a folder of test images. From its weights, ALGO trains for ``trainer.max_steps`` (120) batches of 8 patches
twice: with plain cosine steps (10 gradients; of 4 draws), and with the small preset. Printed and saved after each
training: PSNR of central crops, clean and after 20 plain cosine steps (eps of the task on 256×256, scaled to the
crop), for the network and, after smt_adv, for the mean of 4 draws; the mean difference of the two trainings over the
crops, with a 95 % bootstrap interval; seconds for each batch, also relative to ``ord``, by the clock and of the
processor.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from invsmooth.attacks import PGD, Target
from invsmooth.config import schema
from invsmooth.config.cli import quieten_lightning
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import standard_normal
from invsmooth.data import image_files, read_image
from invsmooth.data.decode import centre_crop
from invsmooth.estimators.frozen import frozen
from invsmooth.pipeline.build import build_data, build_estimator, build_module
from invsmooth.training.stop_after import StopAfterBatches
from tests.benchmarks.training import Clock

SLOW = ["algo.n_iter=10", "algo.step_size=null", "algo.schedule=cosine"]
VARIANTS = {
    "adv": {"ord": ["algo=ord"], "slow": ["algo=adv", *SLOW], "small": ["algo=adv_small"]},
    "smt_adv": {
        "ord": ["algo=ord"], "slow": ["algo=smt_adv", *SLOW, "algo.n_samples=4"], "small": ["algo=smt_adv_small"],
    },
}  # fmt: skip
SIDE, LIMIT = 48, 20


def train(task: str, ckpt: str, overrides: list[str]) -> tuple[nn.Module, Any, tuple[float, float], Any]:
    """The network, its operator, seconds for each batch (by the clock, of the processor), and the config."""
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose("train", [
            f"task={task}_small", f"ckpt={ckpt}", "trainer.max_steps=120", "task.batch_size=8", "task.learning_rate=5e-4",
            "task.schedule=constant", *(["operator.train_ratio=[0.1]"] if task == "cs" else []), *overrides,
        ])  # fmt: skip
    L.seed_everything(0, verbose=False)
    module, clock, steps = build_module(cfg, build_estimator(cfg, trains=True)), Clock(), cfg.trainer.max_steps
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
        enable_model_summary=False, max_epochs=100, callbacks=[clock, StopAfterBatches(steps)],
    )  # fmt: skip
    data, started = build_data(cfg, 1, trains=True), time.process_time()
    trainer.fit(module, datamodule=data)
    seconds = statistics.median(clock.seconds), (time.process_time() - started) / steps
    return module.estimator.eval(), module.train_operators[0], seconds, cfg


def robustness(net: nn.Module, operator: Any, cfg: Any, folder: str, smoothed: bool) -> dict[str, list[float]]:
    """PSNR of each crop: clean, attacked, and the same of the mean of smoothed reconstructions."""
    files = list(image_files(folder).items())[:LIMIT]
    # Two crops of an image where there are few.
    x = torch.cat(
        [torch.stack([centre_crop(part, SIDE) for part in halves(read_image(f.path), len(files))]) for _, f in files]
    )
    eps, sigma_b = cfg.task.eps * SIDE / cfg.task.eps_size, cfg.operator.train_sigma_b / 255
    y = operator.A(x)
    b = sigma_b * torch.stack([standard_normal(y.shape[1:], 0, "b", k) for k in range(len(x))]).to(y)
    targets = {"base": Target()} | ({"mean": Target("mean", 10 / 255, 4, "fixed")} if smoothed else {})
    found = {}
    with frozen(net):
        for name, target in targets.items():
            losses: dict[str, list[Tensor]] = {"clean": [], "attacked": []}
            for part, noise in zip(x.split(4), b.split(4), strict=True):
                objective = target.objective(net, operator, part, noise)
                with torch.no_grad():
                    losses["clean"].append(objective.value(torch.zeros_like(part)))
                search = (
                    PGD(n_iter=20, schedule="cosine") if name == "base" else PGD(n_iter=5, schedule="cosine", history=4)
                )
                losses["attacked"].append(search.search(objective, part, eps=eps).loss)
            found |= {f"{k}, {name}": (-10 * torch.cat(v).log10()).tolist() for k, v in losses.items()}
    return found


def halves(image: Tensor, n_images: int) -> list[Tensor]:
    return [image] if n_images >= LIMIT else list(image.tensor_split(2, dim=2))


def bootstrap(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the 95 % interval of 10 000 resamplings of the images."""
    picked = np.random.default_rng(0).integers(len(differences), size=(10_000, len(differences)))
    low, high = np.quantile(differences[picked].mean(1), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def main(out: str, task: str, algo: str, ckpt: str, images: str, *overrides: str) -> None:
    keep_memory()
    quieten_lightning()
    schema.register()
    written: dict[str, Any] = {}
    for name, variant in VARIANTS[algo].items():
        given = [*variant, *overrides]
        net, operator, seconds, cfg = train(task, ckpt, [*given, "trainer.max_steps=10"] if name == "ord" else given)
        psnr = robustness(net, operator, cfg, images, algo == "smt_adv")
        written[name] = {"seconds_per_batch": seconds, "psnr": psnr}
        means = ", ".join(f"{k} {statistics.mean(v):.2f}" for k, v in psnr.items())
        ratios = [s / o for s, o in zip(seconds, written["ord"]["seconds_per_batch"], strict=True)]
        times = f"{seconds[0]:.3f} s a batch, {ratios[0]:.1f} x ord ({ratios[1]:.1f} x of the processor)"
        print(f"{task} {algo} {name}: {times}; PSNR {means}", flush=True)
        for key, values in psnr.items() if name == "small" else ():
            mean, low, high = bootstrap(np.array(values) - np.array(written["slow"]["psnr"][key]))
            print(f"  {key}: {mean:+.3f} dB [{low:+.3f}, {high:+.3f}] over {len(values)} crops", flush=True)
            written[name].setdefault("minus_slow", {})[key] = [mean, low, high]
        Path(out).write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
