"""PSNR over eps of all methods: clean, attacked, certified. No drawing.

All curves of a place (PLACE) are means over the same images: those that all its methods have. A
curve has a point only where each of these has a value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.reporting.averages import PLACE, Averages, grouped
from invsmooth.reporting.columns import certifier as declaration
from invsmooth.reporting.columns import psnr_columns, repeats
from invsmooth.reporting.methods import THREAT
from invsmooth.reporting.styles import listed
from invsmooth.reporting.together import PLACES, SLACK, statements

CLEAN, ATTACKED, CERTIFIED, SMOOTHED = KINDS = ("clean", "attacked", "certified", "smoothed")
"""smoothed: certified by smoothing; certified: without it."""
WORDS = {
    CLEAN: "clean, ε = 0", ATTACKED: "attacked: the strongest attack found for each image",
    CERTIFIED: "certified without smoothing (Lipschitz constant)", SMOOTHED: "certified by smoothing",
}  # fmt: skip
POINT = [*PLACE, "method", "kind", "eps", "value", "certifier", "sigma", "images"]


def psnr_curves(averages: Averages) -> pd.DataFrame:
    """The POINTs in dB; eps is nan for the clean PSNR, which has none. ``certifier``, ``sigma``:
    with which a PSNR is certified, at each eps those with the largest mean. ``images``: how many
    the mean is over."""
    found = [of_place(averages, lines) for _, lines in grouped(averages.table, PLACE)]
    return pd.concat(found, ignore_index=True)


def has_psnr(points: pd.DataFrame) -> bool:
    """Whether there is more than clean PSNR."""
    return not set(points["kind"]) <= {CLEAN}


def of_place(averages: Averages, lines: pd.DataFrame) -> pd.DataFrame:
    values = averages.per_image[averages.per_image.index.get_level_values("cell").isin(lines.index)]
    values = values.reset_index("image").join(lines[["method"]], on="cell")
    common = common_images(values)
    found = [best(certified(averages, lines, values, common, smoothed)) for smoothed in (False, True)]
    for kind, column, some in ((CLEAN, "psnr_clean", lines), (ATTACKED, "psnr_attacked", lines[lines["eps"] > 0])):
        own = values.join(some[["eps"]], on="cell", how="inner")
        keys = ["method", "eps"] if kind == ATTACKED else ["method"]
        # The smallest over attacks and settings; the clean PSNR is the same in all of them.
        least = own.groupby([*keys, "image"])[column].min().unstack("image").reindex(columns=common)
        means = least.mean(axis=1, skipna=False).rename("value").reset_index()
        found.append(means.assign(kind=kind))
    every = pd.concat([f for f in found if len(f)], ignore_index=True)
    place = {column: lines[column].iloc[0] for column in PLACE}
    every = every.reindex(columns=POINT).assign(**place, images=len(common))
    return every[np.isfinite(every["value"].astype("float64"))]


def common_images(values: pd.DataFrame) -> list[Any]:
    """The images that all methods have; those of the methods with the most where none is common."""
    of = {method: set(own["image"]) for method, own in values.groupby("method")}
    common = set.intersection(*of.values())
    return sorted(common or max(of.values(), key=len))


def certified(
    averages: Averages, lines: pd.DataFrame, values: pd.DataFrame, common: list[Any], smoothed: bool
) -> pd.DataFrame:
    """A line for each sound certified PSNR at eps > 0 that every image has, with smoothing or without."""
    chosen = lines[candidates(averages, lines) & lines["sigma"].notna().eq(smoothed) & (lines["eps"] > 0)]
    found = []
    for name, column in psnr_columns(averages.declared, chosen["certifier"]).items():
        own = values.join(
            chosen.loc[chosen["certifier"] == name, ["eps", "sigma", "certifier"]], on="cell", how="inner"
        )
        wide = own.set_index("image", append=True)[column].unstack("image").reindex(columns=common)
        means = wide.mean(axis=1, skipna=False).replace([np.inf, -np.inf], np.nan).rename("value")
        found.append(chosen.join(means, how="inner"))
    kind = SMOOTHED if smoothed else CERTIFIED
    every = pd.concat(found) if found else chosen.assign(value=np.nan)
    return every.dropna(subset=["value"]).assign(kind=kind)


def best(points: pd.DataFrame) -> pd.DataFrame:
    """Of each method and eps the largest value."""
    ordered = points.sort_values("value", ascending=False, kind="stable")
    return ordered.drop_duplicates(["method", "eps"]).sort_values(["method", "eps"])


def candidates(averages: Averages, lines: pd.DataFrame) -> pd.Series:
    """Which lines (or rows) have a certified PSNR of their own, against attacks on the signal."""
    names = psnr_columns(averages.declared, lines["certifier"])
    own = [name for name in names if not repeats(declaration(averages.declared, name))]
    threat = lines["protocol"].str.contains(f"{THREAT} = ", regex=False)
    return lines["certifier"].isin(own) & lines["sound"].eq(True) & ~threat


def words(kind: str, points: pd.DataFrame, note: str) -> str:
    """What the curves of a kind are. ``note``: :func:`picked_note`."""
    own = points[points["kind"] == kind]
    if kind != SMOOTHED:
        return WORDS[kind]
    of = [f"{name} (σ = {listed(mine['sigma'].unique())})" for name, mine in own.groupby("certifier")]
    picked = f"at each ε the σ and certifier with the largest mean, here {', '.join(of)}" if note else ", ".join(of)
    return f"{WORDS[kind]}: {picked}. {note}".strip()


def picked_note(averages: Averages) -> str:
    """With which probability a certificate by smoothing holds that is picked afterwards, the best of
    those of an image at one eps; "" where there is one only."""
    rows = averages.rows[averages.rows["sigma"].notna() & (averages.rows["eps"] > 0)]
    found = statements(rows[candidates(averages, rows)], averages.declared)
    cell = [PLACES[axis] for axis in ("images", "networks", "eps")]
    groups = found.drop_duplicates([*cell, "statement"]).groupby(cell)
    n = int(groups.size().max()) if len(found) else 0
    if n < 2:
        return ""
    together = 1 - float(groups["failure"].sum().max())
    confidence = float(found["confidence"].min())
    said = f"The best of up to {n} certificates of an image is picked afterwards"
    if together >= confidence - SLACK:
        return f"{said}; they hold together with probability at least {confidence:g}."
    holds = (
        f"with probability at least {math.floor(1e4 * together + 1e-6) / 1e4:g}"
        if together > 0
        else "without any guarantee"
    )
    return f"{said}. Nobody paid for that: the one picked holds {holds} (union bound), not {confidence:g}."
