"""Result rows to curves over eps and over sigma, for loggers that draw themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from invsmooth.records.rows import AT_ATTACKED
from invsmooth.reporting.curves import CERTIFIED, curve_points
from invsmooth.reporting.notes import unit_note
from invsmooth.reporting.tables import averages

AXES = {"eps": "eps (l2 norm over one image, pixels in [0, 1])", "sigma": "sigma (grey levels)"}
MEASURES = {"psnr": "PSNR, dB", "mse": "MSE"}


@dataclass(frozen=True)
class Line:
    label: str
    xs: list[float]
    ys: list[float]


@dataclass(frozen=True)
class Chart:
    """Curves with one x-axis. ``name`` is unique in the run and safe as a key."""

    name: str
    title: str
    x_label: str
    lines: list[Line]


def setting_label(row: Any) -> str:
    """The measurement setting in names of metrics."""
    return f"ratio{row['ratio']:g}_b{row['sigma_b']:g}"


def charts(rows: pd.DataFrame) -> list[Chart]:
    """For each measurement setting PSNR and MSE over eps, and over sigma; only where there are at
    least two points."""
    note, found = unit_note(rows), []
    for _, group in rows.groupby(["ratio", "sigma_b"], sort=True):
        setting = setting_label(group.iloc[0])
        for axis, points in (("eps", over_eps(group)), ("sigma", over_sigma(group))):
            for measure, named in MEASURES.items():
                lines = [line for line in lines_of(points[points["measure"] == measure]) if len(line.xs) > 1]
                if lines:
                    title = f"{named} over {axis} ({setting})" + (f"; {note}" if note else "")
                    found.append(Chart(f"curves/{setting}/{measure}_over_{axis}", title, AXES[axis], lines))
    return found


def over_eps(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns measure, label, x, y: certificates, truths and the unsmoothed network of the report's
    figure, and the smoothed PSNR. ``curve_points`` has nan where not every image has a value."""
    several = rows["sigma"].nunique() > 1
    points = curve_points(rows)
    # Without smoothing sigma makes no difference, unless the attack is on the smoothed network.
    plain = points["kind"].eq("unsmoothed") & points["attack_target"].fillna("base").eq("base")
    points["label"] = points["kind"].where(~points["kind"].eq("unsmoothed"), "") + " " + points["curve"]
    points["label"] += [
        f", sigma = {s:g}" if several and not p else "" for s, p in zip(points["sigma"], plain, strict=True)
    ]
    found = points.assign(x=points["eps"], y=points["value"])
    smoothed = averages(rows)
    label = smoothed["certifier"].map(smoothed_label)
    label += [f", sigma = {s:g}" if several else "" for s in smoothed["sigma"]]
    smoothed = smoothed.assign(measure="psnr", label=label, x=smoothed["eps"], y=smoothed["psnr_median"])
    return pd.concat([found, smoothed])[["measure", "label", "x", "y"]].drop_duplicates(["measure", "label", "x"])


def over_sigma(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns measure, label, x, y: what each certifier certifies, a curve for each eps, and the
    smoothed PSNR."""
    table = averages(rows)
    whole = table["certified"] == table["images"]
    at_eps = pd.Series([f", eps = {e:g}" for e in table["eps"]], index=table.index)
    label = table["certifier"].map(smoothed_label) + at_eps.where(table["certifier"] == AT_ATTACKED, "")
    parts = [table.assign(measure="psnr", label=label, y=table["psnr_median"])]
    for measure, columns in CERTIFIED.items():
        for certifier, column in columns.items():
            label = "certified " + table["certifier"] + at_eps
            certified = table.assign(measure=measure, label=label, y=table[column].where(whole))
            parts.append(certified[table["certifier"] == certifier])
    found = pd.concat(parts, ignore_index=True)
    return found.assign(x=found["sigma"])[["measure", "label", "x", "y"]]


def smoothed_label(certifier: str) -> str:
    """What ``psnr_median`` is of (SPEC section 8)."""
    one = {"mean": "smoothed mean", "center": "centre"}.get(certifier, "smoothed median")
    return f"{one}, attacked" if certifier == AT_ATTACKED else f"{one}, no attack"


def lines_of(points: pd.DataFrame) -> Iterator[Line]:
    points = points.dropna(subset=["y"]).sort_values("x", kind="stable")
    for label, line in points.drop_duplicates(["label", "x"]).groupby("label", sort=False):
        yield Line(str(label).strip(), [float(v) for v in line["x"]], [float(v) for v in line["y"]])
