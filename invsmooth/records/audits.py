"""The tables in the folder of an audit: ``audit.parquet`` and ``frontier.parquet``.

audit.parquet has a row for each measurement setting and threat:

- estimator (class), estimator_sha256, task, operator, operator_sha256, ratio, sigma_b (grey levels), dataset, threat
- declared: the constant that the estimator declares, nan for none, and ``reason`` why; claim: ``audit.claim``
- found: what the constant is at least, (||f(u) - f(v)|| - 2 error) / ||u - v|| of the best pair; moved, distance, error:
  its parts; inexactness: rho, the part of the error that the estimator declares
- verdict: :mod:`invsmooth.checks.lipschitz_verdict`
- starts, evaluations (of the estimator), seconds
- psnr: mean over the test images, dB. psnr_worst: the smallest among the ``compared`` images, that the frontier is made
  of, all measured with the same b. frontier: at psnr_worst

frontier.parquet has a row for each measurement setting and PSNR: task, operator, operator_sha256, ratio, sigma_b,
dataset, compared (their number), size (their side, pixels), psnr (dB), constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from invsmooth.core.files import replaced

AUDIT, FRONTIER, PAIRS, PICTURE = "audit.parquet", "frontier.parquet", "pairs.pt", "worst.png"
PROBLEM = ["task", "dataset", "operator", "operator_sha256", "ratio", "sigma_b", "compared", "size"]
"""Columns that say what a frontier is of."""
CURVE = [*PROBLEM, "psnr", "constant"]


def write_audit(folder: Path, rows: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> None:
    for name, table in ((AUDIT, pd.DataFrame(list(rows))), (FRONTIER, pd.DataFrame(list(curves), columns=CURVE))):
        with replaced(folder / name) as temporary:
            table.to_parquet(temporary, index=False)


def read_audits(folders: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The audits and the frontiers of several folders; each frontier once."""
    audits = pd.concat([pd.read_parquet(f / AUDIT) for f in folders], ignore_index=True)
    curves = [c for f in folders if len(c := pd.read_parquet(f / FRONTIER))]
    frontiers = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=CURVE)
    return audits, frontiers.drop_duplicates([*PROBLEM, "psnr"], ignore_index=True)
