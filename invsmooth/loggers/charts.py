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
SETTING = ["ratio", "sigma_b"]
POINT = [*SETTING, "measure", "label", "x", "y"]


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


def charts(rows: pd.DataFrame, declared: Declared) -> list[Chart]:
    """PSNR and MSE over eps and over sigma, for each setting: curves of two points or more."""
    averages, note, found = Averages(rows, declared), unit_note(rows), []
    points = {"eps": over_eps(averages), "sigma": over_sigma(averages)}
    for _, setting in averages.table.drop_duplicates(SETTING).sort_values(SETTING).iterrows():
        label = setting_label(setting)
        for axis, every in points.items():
            own = every[(every["ratio"] == setting["ratio"]) & (every["sigma_b"] == setting["sigma_b"])]
            for measure, named in MEASURES.items():
                lines = [line for line in lines_of(own[own["measure"] == measure]) if len(line.xs) > 1]
                if lines:
                    title = f"{named} over {axis} ({label})" + (f"; {note}" if note else "")
                    found.append(Chart(f"curves/{label}/{measure}_over_{axis}", title, AXES[axis], lines))
    return found


def over_eps(averages: Averages) -> pd.DataFrame:
    """The POINTs of the report's curves, and the smoothed PSNR; nan unless every image has one."""
    table, points = averages.table, curve_points(averages)
    several = table["sigma"].nunique() > 1
    labels = []
    for point, smooths in zip(points.itertuples(), points["sigma"].notna(), strict=True):
        # Without smoothing sigma makes no difference, unless the smoothed network is attacked.
        plain = point.kind == "unsmoothed"
        at_sigma = several and smooths and not (plain and on_base(point.attack_target))
        labels.append(("" if plain else f"{point.kind} ") + f"{point.curve}{f', sigma = {point.sigma:g}' * at_sigma}")
    certifiers = {c.name: smoothed_label(c) for c in averages.certifiers()}
    cells = zip(table["certifier"], table["sigma"], strict=True)
    smoothed = [certifiers[name] + f", sigma = {sigma:g}" * (several and pd.notna(sigma)) for name, sigma in cells]
    curves = points.assign(label=labels, x=points["eps"], y=points["value"])
    medians = table.assign(measure="psnr", label=smoothed, x=table["eps"], y=table["psnr_median"])
    return pd.concat([curves[POINT], medians[POINT]])


def over_sigma(averages: Averages) -> pd.DataFrame:
    """The POINTs of certified values, a curve for each eps, and of the smoothed PSNR. What has no
    sigma is constant over it, and has none."""
    found = []
    for certifier in averages.certifiers():
        own = averages.table[averages.table["certifier"] == certifier.name].assign(x=averages.table["sigma"])
        at_eps = [f", eps = {e:g}" for e in own["eps"]]
        labels = [smoothed_label(certifier) + at * (certifier.at == "attacked") for at in at_eps]
        found.append(own.assign(measure="psnr", label=labels, y=own["psnr_median"]))
        whole = own["certified"] == own["images"]
        for measure, column in certifier.curves.items():
            labels = [f"certified {certifier.name}{at}" for at in at_eps]
            found.append(own.assign(measure=measure, label=labels, y=own[column].where(whole)))
    return pd.concat([f[POINT] for f in found])


def lines_of(points: pd.DataFrame) -> Iterator[Line]:
    points = points.dropna(subset=["x", "y"]).sort_values("x", kind="stable")
    for label, line in points.drop_duplicates(["label", "x"]).groupby("label", sort=False):
        yield Line(str(label), [float(v) for v in line["x"]], [float(v) for v in line["y"]])


def setting_label(row: Any) -> str:
    return f"ratio{row['ratio']:g}_b{row['sigma_b']:g}"


def smoothed_label(certifier: CertifierDeclaration) -> str:
    return f"{certifier.shown}, {'attacked' if certifier.at == 'attacked' else 'no attack'}"


def on_base(attack_target: Any) -> bool:
    """Whether the attack is on the network without smoothing, and so the same at every sigma."""
    return bool(pd.isna(attack_target) or attack_target == "base")
