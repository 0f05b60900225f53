"""What a part says of itself to everything downstream: rows, plan, tables, figures, page, loggers. Plain values, no torch.

A certifier declares itself to :mod:`invsmooth.records.rows`, which writes the declaration into the metadata of
``results.parquet``. Reports read it from there: they need neither torch nor the package that the part comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """A column of the result rows.

    Attributes:
        name: in the rows.
        unit: ``"MSE"``, ``"dB"``, ``"l2, [0, 1] pixels"``, ``"grey levels"``, ``""``, …
        meaning: one sentence.
        kind: ``"real"``, ``"whole"``, ``"flag"`` or ``"text"``.
        certified: the value is certified. It is then labelled under ``certificate.units=paper``.
        heading: in tables and on the page; ``""`` for a column that they do not show.
        digits: format of the value in tables.
    """

    name: str
    unit: str
    meaning: str
    kind: str = "real"
    certified: bool = False
    heading: str = ""
    digits: str = ".4g"


@dataclass(frozen=True)
class CertifierDeclaration:
    """How the results of a certifier are named, drawn and compared.

    Attributes:
        name: in the column ``certifier``.
        statement: what the bound bounds, as a clause: ``"smoothed draws: MSE to the clean image"``.
        order: position among the certifiers in tables and figures.
        colour, marker: of its curves (matplotlib).
        shown: what the picture is that it shows (``psnr_median``): ``"smoothed median"``, ``"smoothed mean"``, …
        at: the measurement that it is taken at, ``"clean"`` (y_x) or ``"attacked"`` (y_{x+xi}).
        ranked: the bound is the error of the draw of rank K, so that ``psnr_certified`` is of that draw.
        column: the column with its main value.
        axis: label of that value on an axis.
        short: format of that value in the short table: ``"≥ {:.2f} dB"``.
        per_eps: False: the main value is one for all eps.
        curves: measure (``"mse"``: how far it can move; ``"psnr"``: to the clean image) -> column drawn over eps.
        truth_in: measures in which the column ``truth`` is what the curve bounds.
        columns: the columns that it adds to the rows. Other certifiers leave them empty.
    """

    name: str
    statement: str
    order: int = 100
    colour: str = "#555555"
    marker: str = "o"
    shown: str = "smoothed median"
    at: str = "clean"
    ranked: bool = False
    column: str = "bound"
    axis: str = "certified MSE"
    short: str = "≤ {:.1e}"
    per_eps: bool = True
    curves: Mapping[str, str] = field(default_factory=lambda: {"mse": "bound"})
    truth_in: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class AlgorithmDeclaration:
    """How a training algorithm is named and sorted in reports.

    Attributes:
        order: position among the algorithms.
        smooths: it trains with smoothing noise (``algo.sigma``).
    """

    name: str
    order: int = 100
    smooths: bool = False
