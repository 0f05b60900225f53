"""Result rows to curves over eps and over sigma, for loggers that draw themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.curves import curve_points
from invsmooth.reporting.notes import unit_note

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


def charts(rows: pd.DataFrame, declared: Declared) -> list[Chart]:
    """For each measurement setting PSNR and MSE over eps, and over sigma; only where there are at least two points."""
    note, found = unit_note(rows), []
    for _, group in rows.groupby(["ratio", "sigma_b"], sort=True):
        setting = setting_label(group.iloc[0])
        averages = Averages(group, declared)
        for axis, points in (("eps", over_eps(averages)), ("sigma", over_sigma(averages))):
            for measure, named in MEASURES.items():
                lines = [line for line in lines_of(points[points["measure"] == measure]) if len(line.xs) > 1]
                if lines:
                    title = f"{named} over {axis} ({setting})" + (f"; {note}" if note else "")
                    found.append(Chart(f"curves/{setting}/{measure}_over_{axis}", title, AXES[axis], lines))
    return found


def over_eps(averages: Averages) -> pd.DataFrame:
    """Columns measure, label, x, y: certificates, truths and the unsmoothed network of the report's figure, and the smoothed
    PSNR. ``curve_points`` has nan where not every image has a value."""
    several = averages.table["sigma"].nunique() > 1
    points = curve_points(averages)
    # Without smoothing sigma makes no difference, unless the attack is on the smoothed network.
    plain = points["kind"].eq("unsmoothed") & points["attack_target"].fillna("base").eq("base")
    points["label"] = points["kind"].where(~points["kind"].eq("unsmoothed"), "") + " " + points["curve"]
    points["label"] += [
        f", sigma = {s:g}" if several and not p else "" for s, p in zip(points["sigma"], plain, strict=True)
    ]
    found = points.assign(x=points["eps"], y=points["value"])
    smoothed = averages.table
    label = smoothed["certifier"].map({c.name: smoothed_label(c) for c in averages.certifiers()})
    label += [f", sigma = {s:g}" if several else "" for s in smoothed["sigma"]]
    smoothed = smoothed.assign(measure="psnr", label=label, x=smoothed["eps"], y=smoothed["psnr_median"])
    return pd.concat([found, smoothed])[["measure", "label", "x", "y"]].drop_duplicates(["measure", "label", "x"])


def over_sigma(averages: Averages) -> pd.DataFrame:
    """Columns measure, label, x, y: what each certifier certifies, a curve for each eps, and the smoothed PSNR."""
    table, certifiers = averages.table, averages.certifiers()
    whole = table["certified"] == table["images"]
    at_eps = pd.Series([f", eps = {e:g}" for e in table["eps"]], index=table.index)
    attacked = table["certifier"].isin([c.name for c in certifiers if c.at == "attacked"])
    label = table["certifier"].map({c.name: smoothed_label(c) for c in certifiers}) + at_eps.where(attacked, "")
    parts = [table.assign(measure="psnr", label=label, y=table["psnr_median"])]
    for certifier in certifiers:
        for measure, column in certifier.curves.items():
            label = "certified " + table["certifier"] + at_eps
            certified = table.assign(measure=measure, label=label, y=table[column].where(whole))
            parts.append(certified[table["certifier"] == certifier.name])
    found = pd.concat(parts, ignore_index=True)
    return found.assign(x=found["sigma"])[["measure", "label", "x", "y"]]


def smoothed_label(certifier: CertifierDeclaration) -> str:
    """The label of ``psnr_median``."""
    return f"{certifier.shown}, {'attacked' if certifier.at == 'attacked' else 'no attack'}"


def lines_of(points: pd.DataFrame) -> Iterator[Line]:
    points = points.dropna(subset=["y"]).sort_values("x", kind="stable")
    for label, line in points.drop_duplicates(["label", "x"]).groupby("label", sort=False):
        yield Line(str(label).strip(), [float(v) for v in line["x"]], [float(v) for v in line["y"]])
