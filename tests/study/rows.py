"""The committed rows of the study, with the names of its networks."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import yaml

from invsmooth.records.rows import read_rows

STUDY = Path(__file__).parents[2] / "outputs" / "study"
NETWORKS = ("ord", "ord_matched", "jcb", "adv", "smt_adv", "smt_grad", "smt_grad25", "ord2", "ord10")
"""``ord2``, ``ord10``: ord after a further training at sigma_b = 2, 10, the noise of the test."""
STAGES = ("test", "validation", "certified", "certifiers", "attacked_smoothed", "draws", "proven", "published")
CLAMPED = Path("rows/published/clamped.csv")  # of tests.study.clamped
SETTINGS = {"denoise": "sigma_b", "cs": "ratio"}  # what makes a task harder


def read(stage: str, folder: Path = STUDY / "rows") -> pd.DataFrame:
    """The rows of one stage. ``network``: ``denoise_adv_seed1`` without task and seed; ``eps256``: the norm on
    256×256 pixels that changes each pixel as much; ``setting``: sigma_b or m/n."""
    found = [with_names(run) for run in sorted((folder / stage).iterdir()) if (run / "results.parquet").is_file()]
    return pd.concat(found, ignore_index=True)


def with_names(run: Path) -> pd.DataFrame:
    rows, _ = read_rows([run])
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    task, _, name = run.name.partition("_")
    network, _, seed = name.partition("_seed")
    network = re.sub(r"_\d+$", "", network)  # tv_10, of sigma_b = 10; ord_50, of 50 draws
    side = config["data"]["crop"] or 256
    return rows.assign(
        task=task, network=network, train_seed=int(seed or 0), eps256=(rows["eps"] * 256 / side).round(2),
        setting=rows[SETTINGS[task]],
    )  # fmt: skip


def by_image(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """``column`` for (image, training seed) × networks."""
    return rows.pivot_table(index=["image", "train_seed"], columns="network", values=column, aggfunc="mean")


def unsmoothed(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell without smoothing: what does not depend on sigma, once."""
    first = rows["sigma"].dropna().min()
    return rows[rows["sigma"].isna() | (rows["sigma"] == first)]
