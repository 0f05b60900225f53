"""How certain it is that several certificates hold together, from their rows: the union bound. Numbers only, no torch.

A statement is what holds or fails as one, with a failure probability of at most 1 - ``confidence_each``, over its draws:

- one certificate: one row;
- all radii of one measurement from one DKW band, of ``radius`` (its ``certified_eps`` says it all), or of ``mean``: one
  statement, however many rows.

Statements fail together in any way; so all of some statements hold with probability at least 1 minus the sum of their
failure probabilities. A statement that several runs have in common counts once. What was found to have no certificate only
after looking at the draws counts: it could have failed. What can have none (K > S, sigma = 0) does not.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from invsmooth.certificates.center_smoothing import center_index
from invsmooth.certificates.order_statistics import order_statistic_index, shifted_quantile

AXES = {
    "eps": ["eps"],
    "sigma": ["sigma"],
    "images": ["task", "dataset", "operator", "ratio", "sigma_b", "image"],
    "networks": ["estimator", "estimator_sha256"],  # those without weights share a hash
}
"""The columns of each axis that certificates may be read together over. An image in two settings counts as two. All else,
as the seed and the number of draws, is no axis: rows that differ in it alone are read together."""

PLACE = [column for columns in AXES.values() for column in columns]

IDENTITY = [*(c for c in PLACE if c != "eps"), "certifier", "n_samples", "quantile", "seed", "confidence_each",
            "psnr_median", "ball_radius", "certified_eps"]  # fmt: skip
"""What statements differ in, whichever radius they are at. The last three depend on the draws."""

IMPOSSIBLE = ("no certificate: eps/sigma", "no certificate: without noise", "no certificate: center smoothing always")
"""How the reasons begin that do not depend on any draw (:func:`invsmooth.certificates.why_impossible`)."""

SLACK = 1e-9
"""Rounding of sums of failure probabilities."""


def statements(rows: pd.DataFrame) -> pd.DataFrame:
    """The sound rows with a statement, with the columns ``statement`` (its number) and ``failure`` (its probability)."""
    known = rows["sound"].eq(True) & rows["confidence"].notna() & rows["confidence_each"].notna()
    impossible = rows["reason"].fillna("").str.startswith(IMPOSSIBLE) & rows["certified_eps"].isna()
    found = rows[known & ~(rows["bound"].isna() & impossible)]
    whole = holds_at_all_radii(found)
    key = found[IDENTITY].assign(
        whole=whole, eps=found["eps"].mask(whole), bound=pd.to_numeric(found["bound"]).mask(whole)
    )
    # Where nothing was certified too little is known to tell that two runs say the same.
    nothing = found["psnr_median"].isna() | (found["certifier"].eq("radius") & found["certified_eps"].isna())
    key["run_id"] = found["run_id"].where(nothing)
    return found.assign(
        statement=key.groupby(list(key.columns), dropna=False, sort=False).ngroup(),
        failure=1 - found["confidence_each"],
    )


def holds_at_all_radii(rows: pd.DataFrame) -> pd.Series:
    """Whether a row is part of a statement about all radii."""
    # A radius that is decided radius by radius (anytime) has neither.
    radius = rows["certifier"].eq("radius") & (rows["k_index"].notna() | rows["certified_eps"].notna())
    return rows["certifier"].eq("mean") | radius | from_a_band(rows)


RANK = ["certifier", "n_samples", "quantile", "eps_over_sigma", "confidence_each", "k_index"]


def from_a_band(rows: pd.DataFrame) -> pd.Series:
    """Whether a row is of a run and certifier of which some rank K is that of a DKW band, and not that of the exact rule."""
    ranked = rows["k_index"].notna() & rows["certifier"].isin(["error", "center"])
    ranked &= rows["simultaneous"].fillna("").str.contains("eps")
    kinds = rows.loc[ranked, RANK].drop_duplicates()
    bands = kinds.assign(band=[is_band(*kind) for kind in kinds.itertuples(index=False)])
    found = rows[RANK].merge(bands, on=RANK, how="left")["band"]
    band = pd.Series(found.eq(True).to_numpy() & ranked.to_numpy(), index=rows.index)
    # A run is of one kind: also where center abstained, or both rules give the same rank.
    return band.groupby([rows["run_id"], rows["certifier"]]).transform("any")


def is_band(certifier: str, n_samples: int, quantile: float, ratio: float, confidence: float, k: int) -> bool:
    def rank(dkw: bool) -> int | None:
        if certifier == "center":
            return center_index(n_samples, ratio, confidence, dkw=dkw)
        return order_statistic_index(n_samples, shifted_quantile(quantile, ratio, 1), confidence, dkw=dkw)

    return confidence >= 0.5 and rank(True) == k and rank(False) != k


def failure(found: pd.DataFrame) -> float:
    """The failure probability of all statements together: at most their sum."""
    return float(found.drop_duplicates("statement")["failure"].sum())


def paid(found: pd.DataFrame, confidence: float) -> list[str]:
    """The axes over which statements hold together with ``confidence``, whatever the values of the other axes: those with
    several values over all of which, with the axes before, the failure probabilities sum up to at most 1 - confidence.
    First come the axes that the runs paid for within themselves."""
    together: list[str] = []
    claimed = set(", ".join(found["simultaneous"].dropna().unique()).split(", "))
    for axis in sorted(AXES, key=lambda axis: axis not in claimed):
        columns = AXES[axis]
        fixed = [c for other, cs in AXES.items() if other not in (*together, axis) for c in cs]
        key = found.groupby(fixed, dropna=False, sort=False).ngroup() if fixed else pd.Series(0, index=found.index)
        groups = found.assign(group=key)
        # Only values that some statements share are read together over the axis.
        several = groups.drop_duplicates(["group", *columns]).groupby("group").size().max() > 1
        sums = groups.drop_duplicates(["group", "statement"]).groupby("group")["failure"].sum()
        if several and sums.max() <= (1 - confidence) + SLACK:
            together.append(axis)
    return together


def counts(found: pd.DataFrame) -> dict[str, int]:
    """How many values each axis has, of those with several."""
    sizes: dict[str, Any] = {axis: len(found.drop_duplicates(columns)) for axis, columns in AXES.items()}
    return {axis: n for axis, n in sizes.items() if n > 1}
