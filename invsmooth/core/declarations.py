"""What a part says of itself to everything downstream. :mod:`invsmooth.records.rows` writes the
declarations into the metadata of ``results.parquet``. Reports read them from there: they need
neither torch nor the package that the part comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """A column of the result rows."""

    name: str
    unit: str  # "MSE", "dB", "l2, [0, 1] pixels", "grey levels", "", …
    meaning: str  # one sentence
    kind: str = "real"  # or "whole", "flag", "text"
    certified: bool = False  # then it is labelled under certificate.units=paper
    heading: str = ""  # in tables and on the page; "": they do not show it
    digits: str = ".4g"  # format of the value in tables


@dataclass(frozen=True)
class CertifierDeclaration:
    """How the results of a certifier are named, drawn and compared."""

    name: str  # in the column certifier
    statement: str  # what the bound bounds, as a clause: "smoothed draws: MSE to the clean image"
    order: int = 100  # position among the certifiers in tables and figures
    colour: str = "#555555"  # colour and marker of its curves (matplotlib)
    marker: str = "o"
    shown: str = "smoothed median"  # what the picture is that it shows (psnr_median)
    # The measurement that it is taken at: "clean" (y_x) or "attacked" (y_{x+xi}). "cell": it combines the others of a cell.
    at: str = "clean"
    smooths: bool = True  # False: it is of the estimator itself, its rows have no sigma
    ranked: bool = False  # the bound is the error of the draw of rank K: psnr_certified is of that draw
    column: str = "bound"  # with its main value
    axis: str = "certified MSE"  # label of that value on an axis
    short: str = "≤ {:.1e}"  # format of that value in the short table
    per_eps: bool = True  # False: the main value is one for all eps
    # Measure ("mse": how far it can move; "psnr": to the clean image) -> column drawn over eps.
    curves: Mapping[str, str] = field(default_factory=lambda: {"mse": "bound"})
    truth_in: tuple[str, ...] = ()  # measures in which the column truth is what the curve bounds
    columns: tuple[Column, ...] = ()  # that it adds to the rows; other certifiers leave them empty


@dataclass(frozen=True)
class AlgorithmDeclaration:
    """How a training algorithm is named and sorted in reports."""

    name: str
    order: int = 100
    smooths: bool = False  # it trains with smoothing noise (algo.sigma)
