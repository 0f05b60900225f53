"""The results of a run folder, in the form that loggers take. It names no logger."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from invsmooth.core.units import Units
from invsmooth.loggers.charts import Chart, charts, on_base, setting_label
from invsmooth.loggers.gallery import Picture, galleries
from invsmooth.records.rows import Declared, read_rows
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.columns import certifier
from invsmooth.reporting.notes import unit_note

log = logging.getLogger(__name__)

SUMMARY_LIMIT = 500  # numbers of a summary; the rows have all


@dataclass(frozen=True)
class Evaluation:
    """The results of a run folder.

    Attributes:
        summary: averages over the images by name; PSNR in dB.
        galleries: pictures of each image and measurement setting.
        checkpoint: best weights; None if the run trained none.
        note: goes with every certified value; "" for sound certificates."""

    rows: pd.DataFrame
    summary: dict[str, float]
    charts: list[Chart]
    galleries: dict[str, list[Picture]]
    figures: dict[str, Path]
    checkpoint: Path | None
    results: Path
    report: Path | None
    note: str


def gather(folder: Path) -> Evaluation:
    """Read the run folder after evaluation and report."""
    rows, declared = read_rows([folder])
    checkpoint, report = folder / "checkpoints" / "best.ckpt", folder / "report"
    return Evaluation(
        rows=rows[declared.schema.names],
        summary=best_validation(folder / "metrics.csv") | summary(rows, declared),
        charts=charts(rows, declared), galleries=galleries(rows, declared),
        figures={path.stem: path for path in sorted(report.glob("*.png"))},
        checkpoint=checkpoint if checkpoint.is_file() else None, report=report if report.is_dir() else None,
        results=folder / "results.parquet", note=unit_note(rows),
    )  # fmt: skip


def best_validation(metrics: Path) -> dict[str, float]:
    """The best validation PSNR of the training curve; {} without validation."""
    if not metrics.is_file():
        return {}
    found = pd.read_csv(metrics).get("val/psnr", pd.Series(dtype=float)).dropna()
    return {"best/val_psnr": float(found.max())} if len(found) else {}


def summary(rows: pd.DataFrame, declared: Declared) -> dict[str, float]:
    """Means over the images, by names like ``eval/ratio0.1_b0/psnr_attacked/eps0.1``. Certified
    ones are there only if every image has a certificate; unsound ones ``_as_published``."""
    found: dict[str, float] = {}
    for _, line in Averages(rows, declared).table.iterrows():
        smoothing = "" if pd.isna(line["sigma"]) else f"_sigma{line['sigma']:g}"
        start, cell = f"eval/{setting_label(line)}", f"eps{line['eps']:g}{smoothing}"
        attack = f"eps{line['eps']:g}" if on_base(line["attack_target"]) else cell
        own, published = certifier(declared, line["certifier"]), "_as_published" * (line["units"] == Units.paper)
        values = {f"psnr_{kind}": line[f"psnr_{kind}"] for kind in ("measured", "clean")}
        values |= {f"psnr_{kind}/{attack}": line[f"psnr_{kind}"] for kind in ("attacked", "noise")}
        values[f"psnr_smoothed/{own.name}/{cell}"] = line["psnr_median"]
        certified = {"certified_share": line["certified"] / line["images"]}
        if line["certified"] == line["images"]:
            columns = ["bound", *(c.name for c in own.columns if c.certified and c.heading)]
            certified |= {column: line[column] for column in columns}
            # The PSNR of a picture, which bounds nothing.
            certified |= {"psnr_rank_k": line["psnr_certified"]} if own.ranked else {}
        values |= {f"{name}{published}/{own.name}/{cell}": value for name, value in certified.items()}
        found |= {f"{start}/{name}": float(value) for name, value in values.items() if pd.notna(value)}
    if len(found) > SUMMARY_LIMIT:
        log.warning("the logger's summary takes %d of %d numbers; the rows hold all", SUMMARY_LIMIT, len(found))
    return dict(list(found.items())[:SUMMARY_LIMIT])
