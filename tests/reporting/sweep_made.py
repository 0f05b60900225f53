"""A sweep made by hand: run folders with rows, config.yaml, metrics.csv and pictures, as a training writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from invsmooth.records.pictures import KINDS, picture_file
from invsmooth.records.rows import write_rows
from tests.reporting.declared import DECLARED
from tests.reporting.made import row

LEVEL = {"ord": 0.0, "jcb": 0.2, "adv": 0.3, "smt_adv": 0.5, "smt_grad": 0.7}
"""dB by which a method is better under attack."""

SETTINGS = {
    "denoise": {"task": "denoise", "dataset": "bsd68", "operator": "identity", "ratio": 1.0, "sigma_b": 2.0},
    "cs": {"task": "cs", "dataset": "set11", "operator": "block_gaussian", "ratio": 0.1, "sigma_b": 0.0},
}


def write_config(folder: Path, algo: str, task: str = "cs", **values: Any) -> None:
    """A config.yaml with what reports read; ``values``: algo settings; with two underscores for dots: of other groups."""
    own: dict[str, Any] = {"_target_": "a.Class", "name": algo}
    config: dict[str, Any] = {
        "task": {"name": task, "batch_size": 32, "eps": 5.0}, "algo": own,
        "estimator": {"_target_": "invsmooth.estimators.DPDNN", "channels": 64}, "data": {"name": "div2k"},
        "operator": {"seed": 0}, "trainer": {"accelerator": "cpu", "max_steps": None}, "attack": {"n_iter": 100}, "seed": 0,
        "ckpt": None,
    }  # fmt: skip
    for key, value in values.items():
        group, _, name = key.partition("__")
        if name:
            config[group][name] = value
        elif key in ("seed", "ckpt"):
            config[key] = value
        else:
            own[key] = value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def write_metrics(
    folder: Path, seconds: Sequence[float], evals: float = 1.0, memory: Sequence[float] = (100.0,)
) -> None:
    """metrics.csv as Lightning's CSVLogger writes it: empty where another metric was logged."""
    lines = [
        {"step": 50 * k, "train/seconds_per_batch": s, "train/network_evals": evals} for k, s in enumerate(seconds)
    ]
    lines += [{"step": 50 * k, "train/peak_memory_mb": m} for k, m in enumerate(memory)]
    pd.DataFrame([*lines, {"step": 999, "val/psnr": 30.0}]).to_csv(folder / "metrics.csv", index=False)


def run_rows(
    algo: str, task: str, rng: np.random.Generator, *, images: int, eps: Sequence[float], sigmas: Sequence[float],
    n_samples: int = 50, certifiers: Sequence[str] = ("discrepancy", "error", "mean"), **values: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows whose PSNR falls with eps and has its best at a sigma that grows with eps; no rank beyond eps/sigma of 1.3."""
    rows = []
    for k in range(images):
        offset = rng.normal(0, 1.5)
        clean = 31 + offset - LEVEL.get(algo, 0)
        for e in eps:
            attacked = clean - 3 * e * (1 - 0.2 * LEVEL.get(algo, 0)) + rng.normal(0, 0.2)
            for s in sigmas:
                ratio = e * 255 / s
                median = attacked + 0.6 * e - 0.002 * (s - 12 * (1 + e)) ** 2 + rng.normal(0, 0.1)
                bound = 1e-5 * s * (1 + ratio) * 10 ** rng.normal(0, 0.1) * (1 - 0.3 * LEVEL.get(algo, 0))
                common = SETTINGS[task] | {
                    "run_id": algo, "algo": algo, "image": f"image {k:02d}", "eps": e, "sigma": s, "n_samples": n_samples,
                    "psnr_clean": clean, "psnr_attacked": attacked, "psnr_median": median, "ssim_median": 0.8,
                    "eps_over_sigma": ratio, "network_evals": n_samples + 2, "attack_grad_evals": 20,
                    "seconds": 0.02 * n_samples, "attack": "pgd", "attack_target": "base", "psnr_noise": clean - 0.1 * e,
                }  # fmt: skip
                for certifier in certifiers:
                    own: dict[str, Any] = {"certifier": certifier, "bound": bound, "discrepancy_median": math.nan}
                    if certifier == "discrepancy":
                        own |= {
                            "psnr_certified": median - 0.1,
                            "discrepancy_median": 0.8 * bound,
                            "discrepancy_certified": bound,
                        }
                    if certifier == "error":
                        own |= {"certified_psnr": clean - 2 * ratio - 1, "psnr_median": clean - 0.5}
                    if certifier == "mean":
                        own |= {"certified_psnr_mean": clean - ratio - 0.5, "psnr_median": clean - 0.3, "k_index": None,
                                "joint_over_eps": True}  # fmt: skip
                    if certifier != "mean" and ratio > 1.3:
                        own |= {
                            "bound": math.nan,
                            "psnr_certified": math.nan,
                            "certified_psnr": math.nan,
                            "k_index": None,
                        }
                    rows.append(row(**common | own | values))
    return rows


def write_run(folder: Path, algo: str, task: str, seed: int = 0, pictures: int = 0, **arguments: Any) -> Path:
    """A run folder; ``arguments``: of run_rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, sum(map(ord, algo + task))])
    rows = run_rows(algo, task, rng, seed=seed, **arguments)
    write_rows(folder / "results.parquet", rows, DECLARED)
    for image in sorted({r["image"] for r in rows})[:pictures]:
        for r in (r for r in rows if r["image"] == image and r["certifier"] == "discrepancy"):
            path = picture_file(folder, image, r["ratio"], r["sigma_b"], r["eps"], r["sigma"])
            path.parent.mkdir(exist_ok=True)
            shown = (np.add.outer(np.arange(24), np.arange(24)) * 5 + rng.normal(0, 9, (24, 24))).clip(0, 255)
            np.savez_compressed(path, allow_pickle=False, **dict.fromkeys(KINDS, shown.astype(np.uint8)))
    return folder


def write_many(
    root: Path, n_runs: int, images: int = 11, eps: Sequence[float] = (0.0, 0.1, 0.2),
    sigmas: Sequence[float] = (12.0, 25.0, 40.0),
) -> list[Path]:  # fmt: skip
    """Run folders of both tasks, the five algorithms, five ratios or noise levels, and as many seeds as it takes."""
    folders = []
    for number in range(n_runs):
        seed, place = divmod(number, 2 * len(LEVEL) * 5)
        which, place = divmod(place, 2 * len(LEVEL))
        task, algo = list(SETTINGS)[place % 2], list(LEVEL)[place // 2]
        setting = {"sigma_b": 3.0 * which} if task == "denoise" else {"ratio": (1 + which) / 10}
        folder = root / f"{number:03d}_{task}_{algo}"
        known = {"run_id": folder.name, "estimator_sha256": f"{task}{algo}{seed}", **setting}
        write_run(folder, algo, task, seed=seed, images=images, eps=eps, sigmas=sigmas, **known)
        write_config(folder, algo, task, seed=seed, **({"sigma": 10.0} if algo.startswith("smt") else {}))
        write_metrics(folder, [0.5, 0.6, 0.7])
        folders.append(folder)
    return folders
