"""The structure of a table. Markdown, LaTeX and CSV are written from it, with the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from invsmooth.reporting.averages import KEYS, Averages

MISSING = "–"  # not run, or not on record
NONE = "none"  # run, but no certificate exists


class Markdown(str):
    """Text with markup of ours."""


@dataclass(frozen=True)
class Entry:
    """One number as shown. ``source``: what the CSV says of it (quantity, value, std, …, and the
    keys of its rows); None where nothing was run."""

    text: str
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Block:
    """Lines of one setting, labels as text. ``title``: the setting; whether certified values hold.
    ``spans``: headings above the header, and over how many columns each goes; () for none."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str | Entry]]
    spans: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Table:
    """``name``: of its files. ``notes``: what its numbers are, with their units."""

    name: str
    title: str
    notes: Sequence[str]
    blocks: Sequence[Block]

    def has_numbers(self) -> bool:
        cells = [cell for block in self.blocks for line in block.lines for cell in line]
        return any(isinstance(c, Entry) and c.source is not None and not math.isnan(c.source["value"]) for c in cells)


def entry(
    averages: Averages, cell: Mapping[str, Any] | None, quantity: str, power: int = 0, *, spread: bool = False
) -> Entry:
    """A quantity of a line of ``averages``; "–" without such a line. If only some images have a
    value, it says how many: [k/n]. ``power``: of ten, in which values other than PSNR are shown.
    ``spread``: with the standard deviation over the images."""
    if cell is None or quantity not in cell:
        return Entry(MISSING)
    value, std, certified = cell[quantity], cell[f"{quantity}_std"], quantity in averages.certified
    source = {
        "quantity": quantity, "value": value, "std": std, "images": cell["images"],
        "images_with_value": cell[f"{quantity}_n"], "runs": cell["runs"], "networks": cell["networks"],
        "rows": cell["rows"], "sound": cell["sound"] if certified else None,
        **{key: cell[key] for key in KEYS if key != "label"}, "folders": cell["folders"],
    }  # fmt: skip
    if pd.isna(value):
        return Entry(NONE if certified or quantity == "psnr_certified" else MISSING, source)
    digits, scale = (2, 1.0) if quantity in averages.decibels else (3, 10.0**power)
    text = f"{value / scale:.{digits}f}" + (f" ± {std / scale:.{digits}f}" if spread else "")
    share = f" [{cell[f'{quantity}_n']}/{cell['images']}]" if cell[f"{quantity}_n"] < cell["images"] else ""
    return Entry(text + share, source)


def common_power(values: pd.Series) -> int:
    """The power of ten of the smallest value, for a column; 0 where there is none."""
    smallest = values[values > 0].min()
    return 0 if pd.isna(smallest) else math.floor(math.log10(smallest))


def in_powers(name: str, power: int) -> str:
    return f"{name}, {power_of_ten(power)}" if power else name


def power_of_ten(power: int) -> str:
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def grey(sigma: float) -> str:
    return MISSING if math.isnan(sigma) else f"{sigma:g}"
