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
import pyarrow as pa
import pyarrow.parquet as pq

from invsmooth.core.files import replaced

AUDIT, FRONTIER, PAIRS, PICTURE = "audit.parquet", "frontier.parquet", "pairs.pt", "worst.png"
PROBLEM = ["task", "dataset", "operator", "operator_sha256", "ratio", "sigma_b", "compared", "size"]
"""Columns that say what a frontier is of."""
CURVE = [*PROBLEM, "psnr", "constant"]
TEXTS_OF_PROBLEM, NUMBERS_OF_PROBLEM = PROBLEM[:4], PROBLEM[4:]
TEXTS = [*TEXTS_OF_PROBLEM, "estimator", "estimator_sha256", "threat", "verdict"]
NUMBERS = [*NUMBERS_OF_PROBLEM, "declared", "claim", "found", "psnr", "psnr_worst", "frontier", "evaluations"]
"""Columns that reports read."""


def write_audit(folder: Path, rows: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]]) -> None:
    for name, table in ((AUDIT, pd.DataFrame(list(rows))), (FRONTIER, pd.DataFrame(list(curves), columns=CURVE))):
        with replaced(folder / name) as temporary:
            table.to_parquet(temporary, index=False)


def read_audits(folders: Sequence[Path], damaged: dict[Path, str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The audits and the frontiers of several folders; each frontier once. ``damaged``: files that cannot be used are noted
    there, with the reason, and their folders left out.
    Raises: ValueError: a file that cannot be used, without ``damaged``."""
    audits, curves = [], []
    for folder in folders:
        path = folder / AUDIT
        try:
            audit = read_table(path, TEXTS, NUMBERS)
            path = folder / FRONTIER
            curve = read_table(path, TEXTS_OF_PROBLEM, [*NUMBERS_OF_PROBLEM, "psnr", "constant"])
        except ValueError as error:
            if damaged is None:
                raise
            damaged[path] = str(error).splitlines()[0]
            continue
        audits.append(audit)
        curves += [curve] if len(curve) else []
    frontiers = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=CURVE)
    found = pd.concat(audits, ignore_index=True) if audits else pd.DataFrame(columns=[*TEXTS, *NUMBERS])
    return found, frontiers.drop_duplicates([*PROBLEM, "psnr"], ignore_index=True)


def read_table(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Raises: ValueError: it cannot be read, or lacks one of these columns or its kind."""
    try:  # without pandas' own notes in the file: damaged ones raise anything
        content = pq.ParquetFile(path).read().replace_schema_metadata()
        content.validate(full=True)  # letters that are none would be found where they are used
        table = content.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if missing := [c for c in (*texts, *numbers) if c not in table]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    wrong = [c for c in texts if not table[c].map(lambda v: isinstance(v, str)).all()]
    wrong += [c for c in numbers if len(table) and not pd.api.types.is_numeric_dtype(table[c])]
    if wrong:
        raise ValueError(f"{path} has columns of other types than invsmooth writes: {', '.join(wrong)}")
    return table
