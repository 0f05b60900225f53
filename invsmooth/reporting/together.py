"""How certain it is that several certificates hold together, from their rows: the union bound.

A statement holds or fails as one, with a failure probability of at most 1 - ``confidence_each``,
over its draws. It is one certificate (one row), or the certificates of all eps where the certifier
says that they are one statement (``joint_over_eps``).

Statements may depend on each other in any way, so all of some statements hold with probability at
least 1 minus the sum of their failure probabilities. A statement that several runs have in common
counts once. A cell without a certificate counts if that depends on the draws: it could have failed.
A cell that can have none (``impossible``) does not."""

from __future__ import annotations

import pandas as pd

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.records.rows import Declared
from invsmooth.reporting.columns import certifiers

AXES = {
    "eps": ["eps"],
    "sigma": ["sigma"],
    "images": ["task", "dataset", "operator", "ratio", "sigma_b", "image"],
    "networks": ["estimator", "estimator_sha256"],  # those without weights share a hash
}
"""The columns of each axis that certificates may be read together over. An image in two settings
counts as two. All else, as the seed and the number of draws, is no axis: rows that differ in it
alone are read together."""
PLACES = {axis: f"place on {axis}" for axis in AXES}
"""The column with the number of a row's values on an axis, -1 where none is known: quicker to group by than these."""
IDENTITY = [*(place for axis, place in PLACES.items() if axis != "eps"), "certifier", "n_samples", "quantile", "seed",
            "confidence_each", "psnr_median"]  # fmt: skip
"""Columns in which statements differ, whichever eps they are at. psnr_median: of the draws."""
SLACK = 1e-9  # rounding of sums of failure probabilities


def statements(rows: pd.DataFrame, declared: Declared) -> pd.DataFrame:
    """The sound rows with a statement, with columns ``statement`` (its number), ``failure`` and PLACES."""
    known = rows["sound"].eq(True) & rows["confidence"].notna() & rows["confidence_each"].notna()
    nothing = rows["bound"].isna()
    for certifier in certifiers(declared, rows["certifier"]):
        nothing &= rows["certifier"].ne(certifier.name) | rows[certifier.column].isna()
    found = rows[known & ~(rows["impossible"].eq(True) & nothing)]
    found = found.assign(**{PLACES[axis]: numbered(found[columns]) for axis, columns in AXES.items()})
    whole = found["joint_over_eps"].eq(True)
    bounds = pd.to_numeric(found["bound"]).mask(whole)
    key = found[IDENTITY].assign(eps=found["eps"].mask(whole), bound=bounds, whole=whole)
    unknown = found["psnr_median"].isna()
    for certifier in certifiers(declared, found["certifier"]):
        own = found["certifier"] == certifier.name
        for column in of_the_draws(certifier, found[own & whole]):
            key[column] = pd.to_numeric(found[column]).where(own)
        if not certifier.per_eps:
            unknown |= own & found[certifier.column].isna()
    # Without a certificate too little is known to tell whether two runs make the same statement.
    key["run_id"] = found["run_id"].where(unknown)
    numbers = key.groupby(list(key.columns), dropna=False, sort=False).ngroup()
    return found.assign(statement=numbers, failure=1 - found["confidence_each"])


def numbered(values: pd.DataFrame) -> pd.Series:
    """The number of each line among the different ones; -1 if nothing of it is known."""
    return values.groupby(list(values), dropna=False, sort=False).ngroup().where(values.notna().any(axis=1), -1)


def of_the_draws(certifier: CertifierDeclaration, joint: pd.DataFrame) -> list[str]:
    """A certifier's number columns that depend on the draws and, in its joint rows, not on eps."""
    own = [c.name for c in certifier.columns if not c.certified and c.kind in ("real", "whole")]
    own += [] if certifier.per_eps else [certifier.column]
    groups = joint[own].apply(pd.to_numeric).groupby([joint[c] for c in (*IDENTITY, "run_id")], dropna=False)
    least, most = groups.min(), groups.max()
    return [c for c in dict.fromkeys(own) if (least[c].eq(most[c]) | least[c].isna()).all()]


def failure(found: pd.DataFrame) -> float:
    """The failure probability of all statements together: at most their sum."""
    return float(found.drop_duplicates("statement")["failure"].sum())


def paid(found: pd.DataFrame, confidence: float) -> list[str]:
    """The axes over which statements hold together with ``confidence``, whatever the values of the
    other axes: those with several values over all of which, with the axes before, the failure
    probabilities sum up to at most 1 - confidence. First come the axes that the runs paid for
    within themselves."""
    together: list[str] = []
    claimed = set(", ".join(found["simultaneous"].dropna().unique()).split(", "))
    for axis in sorted(AXES, key=lambda axis: axis not in claimed):
        fixed = [place for other, place in PLACES.items() if other not in (*together, axis)]
        key = found.groupby(fixed, dropna=False, sort=False).ngroup() if fixed else pd.Series(0, index=found.index)
        groups = found[["statement", "failure", PLACES[axis]]].assign(group=key)
        # Only values that some statements share are read together over the axis.
        several = groups.drop_duplicates(["group", PLACES[axis]]).groupby("group").size().max() > 1
        sums = groups.drop_duplicates(["group", "statement"]).groupby("group")["failure"].sum()
        if several and sums.max() <= (1 - confidence) + SLACK:
            together.append(axis)
    return together


def counts(found: pd.DataFrame) -> dict[str, int]:
    """How many values each axis has, of those with several."""
    sizes = {axis: int(found.loc[found[place] >= 0, place].nunique()) for axis, place in PLACES.items()}
    return {axis: n for axis, n in sizes.items() if n > 1}
