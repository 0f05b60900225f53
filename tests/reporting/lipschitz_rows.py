"""Rows of certificates without smoothing, and of the best of all, made by hand with declarations of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.records.rows import Declared, read_rows, write_rows
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.methods import read_runs, with_methods
from tests.reporting import declared
from tests.reporting.made import NONE, row

LIPSCHITZ = CertifierDeclaration(
    "lipschitz", "reconstruction: MSE by which it can move", order=60, shown="reconstruction", smooths=False,
    curves={"mse": "bound", "psnr": "certified_psnr_lipschitz"}, truth_in=("mse",),
    columns=(
        Column("certified_psnr_lipschitz", "dB", "PSNR under every attack.", certified=True, digits=".2f",
               heading="certified PSNR without smoothing"),
        Column("lipschitz", "", "L.", heading="L"), Column("threat", "", "What is attacked.", kind="text"),
    ),
)  # fmt: skip
BEST = CertifierDeclaration(
    "best", "the best of all", order=70, curves={"psnr": "certified_psnr_best"},
    columns=(
        Column("certified_psnr_best", "dB", "The best PSNR.", certified=True, heading="best certified PSNR", digits=".2f"),
        Column("best_of", "", "The certifier that it is from.", kind="text", heading="best of"),
    ),
)  # fmt: skip
DECLARED = Declared(declared.DECLARED.certifiers | {c.name: c for c in (LIPSCHITZ, BEST)}, declared.DECLARED.algorithms)
BASE = {"task": "denoise", "dataset": "bsd68", "operator": "identity", "ratio": 1.0, "sigma_b": 15.0}
PLAIN = {"sigma": None, "n_samples": None, "k_index": None, "eps_over_sigma": math.nan, "psnr_certified": math.nan,
         "network_evals": 1, "discrepancy_median": math.nan, "discrepancy_certified": math.nan, "confidence": 1.0,
         "confidence_each": 1.0, "seconds": 0.5, "quantile": None}  # fmt: skip


def made(**values: Any) -> dict[str, Any]:
    """A row; what nothing declares is left out."""
    every = row(**BASE) | {"attack": "pgd", "attack_target": "base"} | values
    return {name: every.get(name) for name in DECLARED.schema.names}


def plain(eps: float, psnr: float, **values: Any) -> dict[str, Any]:
    """Without smoothing, certified to ``psnr`` dB."""
    own = {"certifier": "lipschitz", "eps": eps, "certified_psnr_lipschitz": psnr, "lipschitz": 1.0, "threat": "signal",
           "bound": (eps / 256) ** 2, "psnr_median": values.get("psnr_clean", 30.0)}  # fmt: skip
    return made(**PLAIN | own | values)


def smoothed(eps: float, sigma: float, psnr: float | None, **values: Any) -> dict[str, Any]:
    """Of the certifier error, certified to ``psnr`` dB; None: no certificate."""
    own = {"certifier": "error", "eps": eps, "sigma": sigma, "certified_psnr": psnr, "network_evals": 52}
    return made(**own | (NONE if psnr is None else {}) | values)


def best(eps: float, sigma: float | None, psnr: float, of: str, **values: Any) -> dict[str, Any]:
    own = {"certifier": "best", "eps": eps, "sigma": sigma, "certified_psnr_best": psnr, "best_of": of}
    return made(**(PLAIN if sigma is None else {}) | own | values)


def mixed(algo: str = "ord", images: Sequence[str] = ("one", "two"), **values: Any) -> list[dict[str, Any]]:
    """Certified by smoothing at eps = 0.1 alone, without it up to 5; the second image 2 dB better."""
    rows = []
    for place, image in enumerate(images):
        more = 2.0 * place
        for eps, attacked, without in ((0.0, 30.0, 30.0), (0.1, 29.0, 29.5), (1.0, 25.0, 28.0), (5.0, 18.0, 24.0)):
            common = {"image": image, "algo": algo, "run_id": algo, "psnr_clean": 30 + more, **values,
                      "psnr_attacked": attacked + more, "estimator_sha256": algo}  # fmt: skip
            for sigma in (12.0, 25.0):
                certified = {0.0: 27.0, 0.1: 24.0 + sigma / 25}.get(eps)
                psnr = None if certified is None else certified + more
                rows.append(smoothed(eps, sigma, psnr, **common))
                rows.append(best(eps, sigma, without + more, "lipschitz", **common))
            rows.append(plain(eps, without + more, **common))
    return rows


def only_plain(algo: str = "adv", images: Sequence[str] = ("one", "two"), less: float = 1.0) -> list[dict[str, Any]]:
    """A network that was never smoothed."""
    found = []
    for place, image in enumerate(images):
        for eps, attacked, without in ((0.0, 30.0, 30.0), (1.0, 27.0, 28.5), (15.0, 20.0, 19.0)):
            more = 2.0 * place - less
            common = {"image": image, "algo": algo, "run_id": algo, "psnr_clean": 30 + more, "estimator_sha256": algo,
                      "psnr_attacked": attacked + more}  # fmt: skip
            found.append(plain(eps, without + more, **common))
            found.append(best(eps, None, without + more, "lipschitz", **common))
    return found


def write(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "results.parquet", rows, DECLARED)
    return folder


def read(*folders: Path) -> pd.DataFrame:
    rows, _ = read_rows(folders)
    return with_methods(rows, read_runs(rows))


def averages(folder: Path, *runs: Sequence[dict[str, Any]]) -> Averages:
    return Averages(read(*(write(folder / str(k), rows) for k, rows in enumerate(runs))), DECLARED)
