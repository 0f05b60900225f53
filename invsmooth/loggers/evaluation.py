"""What an evaluation found, read from the run folder, in the form that loggers take. No logger is
named here."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from invsmooth.core.units import Units
from invsmooth.loggers.charts import Chart, charts, setting_label
from invsmooth.loggers.gallery import Picture, galleries, on_base
from invsmooth.records.rows import SCHEMA, read_rows
from invsmooth.reporting.notes import unit_note
from invsmooth.reporting.tables import CERTIFIED, RANKED, averages

log = logging.getLogger(__name__)

SUMMARY_LIMIT = 500
"""Numbers that a summary holds; the rows hold all."""


@dataclass(frozen=True)
class Evaluation:
    """The results of a run folder.

    Attributes:
        rows: as in results.parquet.
        summary: averages over the images by name; PSNR in dB.
        charts: curves over eps and over sigma.
        galleries: pictures of each image and measurement setting.
        figures: the report's, by name.
        checkpoint: best weights; None if the run trained none.
        results: results.parquet.
        report: the folder of tables and figures; None without a report.
        note: what has to be said wherever a certified value is shown; "" for sound certificates.
    """

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
    rows = read_rows([folder])
    checkpoint, report = folder / "checkpoints" / "best.ckpt", folder / "report"
    return Evaluation(
        rows=rows[SCHEMA.names],
        summary=best_validation(folder / "metrics.csv") | summary(rows),
        charts=charts(rows),
        galleries=galleries(rows),
        figures={path.stem: path for path in sorted(report.glob("*.png"))},
        checkpoint=checkpoint if checkpoint.is_file() else None,
        results=folder / "results.parquet",
        report=report if report.is_dir() else None,
        note=unit_note(rows),
    )


def best_validation(metrics: Path) -> dict[str, float]:
    """The best validation PSNR of the training curve; nothing where there was no validation."""
    if not metrics.is_file():
        return {}
    found = pd.read_csv(metrics).get("val/psnr", pd.Series(dtype=float)).dropna()
    return {"best/val_psnr": float(found.max())} if len(found) else {}


def summary(rows: pd.DataFrame) -> dict[str, float]:
    """Means over the images, by names like ``eval/ratio0.1_b0/psnr_attacked/eps0.1``.

    What is certified is there only where every image has a certificate, beside the share of images
    that have one; its name ends in ``_as_published`` for certificates that are not sound.
    """
    found: dict[str, float] = {}
    for _, line in averages(rows).iterrows():
        start, cell = f"eval/{setting_label(line)}", f"eps{line['eps']:g}_sigma{line['sigma']:g}"
        attack = f"eps{line['eps']:g}" if on_base(line) else cell
        certifier, published = line["certifier"], "_as_published" * (line["units"] == Units.paper)
        values = {f"{start}/psnr_{kind}": line[f"psnr_{kind}"] for kind in ("measured", "clean")}
        values |= {f"{start}/psnr_{kind}/{attack}": line[f"psnr_{kind}"] for kind in ("attacked", "noise")}
        values[f"{start}/psnr_smoothed/{certifier}/{cell}"] = line["psnr_median"]
        values[f"{start}/certified_share{published}/{certifier}/{cell}"] = line["certified"] / line["images"]
        if line["certified"] == line["images"]:
            values |= {
                f"{start}/{column}{published}/{certifier}/{cell}": line[column]
                for column, certifiers in CERTIFIED.items()
                if certifier in certifiers
            }
            if certifier in RANKED["psnr_certified"]:  # a picture's PSNR, which bounds nothing
                values[f"{start}/psnr_rank_k{published}/{certifier}/{cell}"] = line["psnr_certified"]
        found |= {k: float(v) for k, v in values.items() if pd.notna(v)}
    if len(found) > SUMMARY_LIMIT:
        log.warning("the logger's summary takes %d of %d numbers; the rows hold all", SUMMARY_LIMIT, len(found))
    return dict(list(found.items())[:SUMMARY_LIMIT])
