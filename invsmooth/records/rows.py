"""Result rows: one for each (image, eps, sigma, sigma_b, ratio, certifier), in a Parquet file (SPEC section 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from invsmooth.core.files import replaced

TEXT, REAL, WHOLE, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()

SCHEMA = pa.schema(
    [
        ("run_id", TEXT), ("algo", TEXT), ("task", TEXT), ("estimator", TEXT), ("dataset", TEXT),
        ("image", TEXT), ("operator", TEXT),
        # eps: l2 norm, [0, 1] pixels. sigma, sigma_b: 8-bit grey levels. eps_over_sigma: the certificate's ratio.
        ("eps", REAL), ("sigma", REAL), ("sigma_b", REAL), ("ratio", REAL), ("eps_over_sigma", REAL),
        ("n_samples", WHOLE), ("confidence", REAL), ("quantile", REAL), ("k_index", WHOLE),
        ("simultaneous", TEXT), ("confidence_each", REAL),
        ("certifier", TEXT), ("units", TEXT), ("sound", FLAG), ("reason", TEXT), ("abstained", FLAG),
        ("bound", REAL), ("bound_chi_square", REAL), ("bound_total_variation", REAL), ("bound_trace", REAL),
        ("truth", REAL), ("truth_lower", REAL), ("truth_upper", REAL),
        ("psnr_measured", REAL), ("psnr_clean", REAL), ("psnr_attacked", REAL), ("psnr_noise", REAL),
        ("psnr_median", REAL), ("psnr_certified", REAL),
        ("ssim_clean", REAL), ("ssim_attacked", REAL), ("ssim_median", REAL), ("ssim_certified", REAL),
        ("discrepancy_median", REAL), ("discrepancy_certified", REAL), ("certified_psnr", REAL),
        ("certified_psnr_mean", REAL), ("certified_eps", REAL), ("ball_radius", REAL), ("clipped", WHOLE),
        ("attack", TEXT), ("attack_target", TEXT),
        ("attack_norm", REAL), ("attack_zero_gradient", FLAG), ("attack_grad_evals", WHOLE),
        ("network_evals", WHOLE), ("seconds", REAL),
        ("seed", WHOLE), ("estimator_sha256", TEXT),
    ]
)  # fmt: skip
"""What SPEC section 8 does not say of them:

- algo, task: their names in training, also in an evaluation of its checkpoint. estimator: the class of the network.
- bound: the certified MSE of the row's certifier (docs/theory.md); where none exists it is nan, k_index is null, and
  ``reason`` says why. bound_…: the simpler forms of ``mean``.
- truth: what the bound bounds, as it is at the attack that was found, estimated from fresh draws, with confidence limits.
  Of ``center`` 3 times the ball that R-hat bounds, of ``radius`` what is to stay below the threshold.
- confidence holds for what ``simultaneous`` names together (eps, sigma, images; "" for each row on its own), among the
  rows of one run and certifier; confidence_each is what one certificate was made with. Rows of several runs read
  together: :mod:`invsmooth.reporting.together`.
- psnr_certified, ssim_certified: of the draw of rank K, whose error is the bound. They are of one picture and bound nothing.
- psnr_measured: of A^T y. psnr_noise: under a random perturbation of norm eps, the control.
- psnr_median, ssim_median of ``mean`` and ``center``: of the one image that they show.
- certified_psnr_mean: of the mean estimator. ball_radius (l2), clipped: R, and how many draws were clipped to it.
- certified_eps: in the unit of the row's eps, also under ``units=paper``.
- attack_target: whose error the attack maximised (base, mean, median).
- attack_zero_gradient: the gradient was zero wherever the attack took it. The attack had no direction: psnr_attacked is then
  no sign of robustness."""


AT_ATTACKED = "discrepancy"
"""The certifier that is taken at the attacked measurement, as in the paper. The others are taken at the clean one: so they
cover every attack on x, and one set of draws serves all radii."""

KEY = ("run_id", "image", "eps", "sigma", "sigma_b", "ratio", "certifier")
"""Columns that tell any two rows apart."""


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` as Parquet, all or nothing.

    Raises: ValueError: a row lacks a column or has one too many.
    """
    for row in rows:
        if set(row) != set(SCHEMA.names):
            raise ValueError(f"row and schema differ in {sorted(set(row) ^ set(SCHEMA.names))}")
    replace_table(path, pa.Table.from_pylist(list(rows), schema=SCHEMA))


def write_table(path: Path, rows: pd.DataFrame) -> None:
    """Write rows that :func:`read_rows` read, all or nothing."""
    replace_table(path, pa.Table.from_pandas(rows[SCHEMA.names], schema=SCHEMA, preserve_index=False))


def replace_table(path: Path, table: pa.Table) -> None:
    """Write to a temporary file beside ``path`` and rename it over ``path``."""
    with replaced(path) as temporary:
        pq.write_table(table, temporary)


def read_rows(folders: Sequence[Path]) -> pd.DataFrame:
    """The rows of several run folders as one data frame, each row once, with its run's folder as column ``folder``.

    Raises: ValueError: a file that lacks columns.
    """
    frames = []
    for folder in sorted(folders):
        frame = pq.read_table(folder / "results.parquet").to_pandas(types_mapper={WHOLE: pd.Int64Dtype()}.get)
        if missing := set(SCHEMA.names) - set(frame.columns):
            raise ValueError(f"{folder / 'results.parquet'} lacks the columns {', '.join(sorted(missing))}")
        frames.append(frame.assign(folder=str(folder)))
    # A sweep's own file repeats the rows of its jobs; those of the jobs, which come after it, lie beside their pictures.
    return pd.concat(frames, ignore_index=True).drop_duplicates(list(KEY), keep="last", ignore_index=True)
