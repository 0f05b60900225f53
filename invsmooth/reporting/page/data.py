"""Result rows and what is known of their runs, as the JSON value that the page embeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting.averages import PLACE, Averages, grouped
from invsmooth.reporting.columns import certifiers, clause, columns, meaning, taken_at
from invsmooth.reporting.methods import in_order, with_labels
from invsmooth.reporting.page.carried import WHOLE
from invsmooth.reporting.psnr_curves import KINDS, picked_note, psnr_curves, words
from invsmooth.reporting.runs import read_record

DIGITS = 7  # of the numbers embedded; results.parquet has all of them
FEW = 4  # a column is embedded as distinct values and their positions if these are so many times fewer
UNITS = {"MSE": "MSE (pixels in [0, 1])", "dB": "PSNR (dB)"}  # labels of axes


def page_data(
    rows: pd.DataFrame, averages: Averages, said: Sequence[str], links: Sequence[str], part: pd.Index | None = None
) -> dict[str, Any]:
    """Everything that the page shows but the pictures. ``rows`` are numbered from 0; ``averages``: of
    them; ``said``: notes; ``part``: the rows that the page carries, if not all."""
    declared = averages.declared
    known = columns(declared)
    names = [c for c in rows if c not in ("folder", "label", "method")]
    labelled = with_labels(rows)
    shown = labelled.assign(algo=labelled["label"], method=labelled["label"])
    folders = rows[["run_id", "folder"]].drop_duplicates().itertuples(index=False, name=None)
    own = shown if part is None else shown.loc[part]
    return {
        "count": len(own), "digits": DIGITS, "columns": [column(own[name]) for name in names],
        "left_out": left_out(rows, own),
        "labels": {name: [with_unit(c), meaning(c), c.digits] for name, c in known.items()},
        "certifiers": [certifier_data(c, known) for c in certifiers(declared, rows["certifier"])],
        "algorithms": in_order(shown.assign(algo=rows["algo"]), declared),
        "overview": overview(averages, shown),
        "runs": [run(str(name), Path(folder)) for name, folder in folders],
        "notes": list(said), "paper_label": PAPER_LABEL,
        "files": [{"name": link, "href": quote(link)} for link in links],
    }  # fmt: skip


def left_out(rows: pd.DataFrame, part: pd.DataFrame) -> dict[str, Any] | None:
    """How much the page lacks; None: nothing."""
    if len(part) == len(rows):
        return None
    n_images, n_shown = (len(of[["task", "dataset", "image"]].drop_duplicates()) for of in (rows, part))
    return {"rows": len(rows), "images": n_images, "shown_images": n_shown, "file": WHOLE}


def overview(averages: Averages, labelled: pd.DataFrame) -> list[dict[str, Any]]:
    """The curves of :mod:`invsmooth.reporting.psnr_curves`: of each place its columns, what the
    kinds of curves are, and for each curve its label, kind and points."""
    points, note = psnr_curves(averages), picked_note(averages)
    methods = averages.rows["method"]
    labels = dict(zip(methods[::-1], labelled["algo"].to_numpy()[::-1], strict=True))  # the first of each method
    found = []
    for key, own in grouped(points, PLACE):
        curves = []
        for (method, kind), line in grouped(own, ["method", "kind"]):
            picked = zip(line["certifier"], line["sigma"], strict=True)
            of = [f"{name}, σ = {sigma:g}" if sigma == sigma else plain_value(name) for name, sigma in picked]
            xs, ys = ([plain_value(v) for v in line[column]] for column in ("eps", "value"))
            curves.append({"algo": labels[method], "kind": kind, "xs": xs, "ys": ys, "of": of})
        kinds = {kind: words(kind, own, note) for kind in KINDS if kind in set(own["kind"])}
        place = {name: plain_value(value) for name, value in zip(PLACE, key, strict=True)}
        found.append({"place": place, "images": int(own["images"].iloc[0]), "kinds": kinds, "curves": curves})
    return found


def with_unit(column: Column) -> str:
    return f"{column.heading} ({column.unit})" if column.unit else column.heading


def certifier_data(certifier: CertifierDeclaration, known: dict[str, Column]) -> dict[str, Any]:
    """A certifier on the page: its words, and the panels of its certified values."""
    where = f"at the {'attacked' if certifier.at == 'attacked' else 'clean'} measurement"
    mine = [c.name for c in certifier.columns if c.heading]
    panels = []
    if not certifier.per_eps:
        panels.append({"column": certifier.column, "title": f"Certified: {meaning(known[certifier.column])}",
                       "axis": with_unit(known[certifier.column]), "log": False, "over": "sigma"})  # fmt: skip
    for measure in sorted(certifier.curves, reverse=True):
        name = certifier.curves[measure]
        what = meaning(known[name]) if name in mine else clause(certifier)
        panels.append({"column": name, "title": f"Certified: {what}", "axis": UNITS.get(known[name].unit, known[name].unit),
                       "log": measure == "mse", "over": None})  # fmt: skip
    what = f"{certifier.name}: {clause(certifier)}, certified for every attack of norm at most ε {where}."
    return {"name": certifier.name, "what": what, "at": taken_at(certifier), "shown": certifier.shown,
            "ranked": certifier.ranked, "smooths": certifier.smooths, "columns": mine, "panels": panels}  # fmt: skip


def column(values: pd.Series) -> dict[str, Any]:
    """Name, kind (text, number, flag) and values: all, or the distinct ones and their positions."""
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    plain = [plain_value(v) for v in distinct]
    # A column without any value is of the kind that its type says.
    flag = any(isinstance(v, bool) for v in plain) or pd.api.types.is_bool_dtype(values)
    kind = "flag" if flag else "number" if pd.api.types.is_numeric_dtype(values) else "text"
    found = {"name": str(values.name), "kind": kind}
    if len(plain) * FEW <= len(codes):
        return found | {"values": plain, "codes": codes.tolist()}
    return found | {"values": [plain[code] for code in codes]}


def plain_value(value: Any) -> Any:
    """As JSON has it: null for nan, "inf" and "-inf" for what JSON has no number for."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value is pd.NA or value != value:
        return None
    if not isinstance(value, float):
        return value
    return str(value) if math.isinf(value) else float(f"{value:.{DIGITS}g}")


def run(name: str, folder: Path) -> dict[str, Any]:
    """The record of a run (run.json), without paths of the machine."""
    record = read_record(folder)
    own: dict[str, Any] = {key: record.get(key) for key in ("status", "seed")}
    for group, keys in {"versions": ("invsmooth", "torch"), "git": ("commit", "changed")}.items():
        own |= {key: (record.get(group) or {}).get(key) for key in keys}
    return {"run_id": name, "folder": folder.name, **own}
