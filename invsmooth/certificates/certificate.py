"""What a certifier returns. Certifiers with further results derive a class of their own from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from invsmooth.core.files import replaced

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """What a certificate was made with. Without draws sigma is None and n_samples 0."""

    certifier: str
    eps: tuple[float, ...]
    sigma: float | None
    n_samples: int
    confidence: float
    q: float
    simultaneous: str
    seed: int
    parameters: tuple[tuple[str, Any], ...] = ()  # of the certifier: its threat, threshold, …

    def __str__(self) -> str:
        drawn = (
            ""
            if self.sigma is None
            else f", sigma = {self.sigma:g}, S = {self.n_samples}, confidence {self.confidence:g}"
        )
        own = "".join(f", {name}={value}" for name, value in self.parameters)
        return f"{self.certifier}{own} at eps = {', '.join(f'{e:g}' for e in self.eps)}{drawn}"


@dataclass(frozen=True, repr=False)
class Certificate:
    """Certificates of a batch of images over a grid of radii.

    The fields in RADIUS_AXIS are indexed ``[image]`` where eps was given as a number, and ``[image,
    radius]`` where it was a sequence. The others are per image. MSE on the [0, 1] pixel scale.

    Attributes:
        bound: certified MSE, nan where none exists. What it bounds: see the certifier.
        k_index: rank K, 1-based, among the S ascending draws of the one that gives the bound; None
            where none does. Object array.
        median: MSE of the median draw (rank ceil(S/2)) to the reference: an estimate.
        reconstruction_median, reconstruction_certified: of that draw (paper, Algorithm 3) and of
            rank K, nan where none exists, shape (…, C, H, W); or the one image that is shown.
        reason: why there is no bound, and what would give one; "" where there is one. Object array.
        sound: whether the bound holds for all ||xi||_2 <= eps as given.
        network_evals, shown: for each image that this certifier takes alone; the one deployed.
        draws: MSE of the S draws to the reference in ascending order, shape (B, S): what ranks are
            taken of; S = 0 where the bound is none of them.
        settings: what it was made with; None within an evaluation, where the rows have it.

    Of measurements that were NumPy arrays all tensors are arrays."""

    RADIUS_AXIS: ClassVar[tuple[str, ...]] = (
        "bound", "k_index", "median", "reconstruction_median", "reconstruction_certified", "reason",
    )  # fmt: skip

    bound: Tensor
    k_index: np.ndarray
    median: Tensor
    reconstruction_median: Tensor
    reconstruction_certified: Tensor
    reason: np.ndarray
    sound: bool
    network_evals: int
    shown: Tensor
    draws: Tensor
    settings: Settings | None = field(default=None, kw_only=True)

    def at(self, radius: int) -> Self:
        """The certificate at one radius of the grid, by its position; indexed by image alone."""
        own = self.settings and replace(self.settings, eps=(self.settings.eps[radius],))
        return replace(self, settings=own, **{name: getattr(self, name)[:, radius] for name in self.RADIUS_AXIS})

    def __repr__(self) -> str:
        found = self.bound.reshape(len(self.bound), -1)
        several = "" if len(found) == 1 else f", first of {len(found)} images"
        bounds = ", ".join("none" if b != b else f"{b:.3g}" for b in found[0].tolist())
        reasons = [str(reason) for reason in np.ravel(self.reason)]
        why = f" ({reasons[0]})" if all(reasons) else ""  # where there is no bound at all
        return f"<{type(self).__name__}: {self.settings or 'of an evaluation'}; bound (MSE{several}) = {bounds}{why}>"

    def to_frame(self) -> pd.DataFrame:
        """A line for each image and radius: image (its position), eps, what the certificate has for each radius as numbers
        (bound, median, …), bound_psnr (the bound in decibels), reason, sound, and the other settings.
        Raises: ValueError: it is of an evaluation, whose rows have all that."""
        import pandas as pd

        if self.settings is None:
            raise ValueError("a certificate of an evaluation has no settings; read the run's results.parquet")
        n_images, eps = len(self.bound), self.settings.eps
        grid = {name: value for name in self.RADIUS_AXIS if (value := self.on_grid(name)) is not None}
        columns = {"image": np.repeat(np.arange(n_images), len(eps)), "eps": np.tile(eps, n_images), **grid}
        with np.errstate(divide="ignore"):
            columns["bound_psnr"] = -10 * np.log10(columns["bound"])
        others = {k: v for k, v in asdict(self.settings).items() if k not in ("eps", "parameters")}
        others |= {k: v for k, v in self.settings.parameters if k not in columns}
        return pd.DataFrame(columns | {"sound": self.sound} | others)

    def on_grid(self, name: str) -> np.ndarray | None:
        """A field with a number or text for each image and radius, in that order; None for images."""
        value = getattr(self, name)
        found: np.ndarray = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
        if found.dtype != object:
            found = found.astype(float)
        return found.reshape(-1) if found.size == math.prod(self.bound.shape) else None

    def save(self, path: str | Path) -> Path:
        """Write :meth:`to_frame` to a .csv or .parquet file, all or nothing. Raises: ValueError: another suffix."""
        path, frame = Path(path), self.to_frame()
        if path.suffix not in (".csv", ".parquet"):
            raise ValueError(f"{path}: the name has to end in .csv or .parquet")
        with replaced(path) as temporary:
            if path.suffix == ".csv":
                frame.to_csv(temporary, index=False)
            else:
                frame.to_parquet(temporary, index=False)
        return path

    def plot(self) -> Figure:
        """The bound over eps, a line for each image: a matplotlib figure, which a notebook shows."""
        from invsmooth.core.figures import ShownFigure

        figure = ShownFigure(layout="constrained")
        axes: Any = figure.subplots()
        for image, lines in self.to_frame().groupby("image"):
            axes.plot(lines["eps"], lines["bound"], marker="o", label=f"image {image}")
        axes.set(xlabel="ε, l2 norm over one image", ylabel="certified MSE, pixels in [0, 1]", title=str(self.settings))
        if len(self.bound) > 1:
            axes.legend()
        return figure

    def n_drawn_for(self, i: int, n_samples: int) -> int:
        """Draws behind the certificate of image i at one radius, of ``n_samples`` allowed."""
        return n_samples


def object_rows(row: Sequence[object], n_rows: int) -> np.ndarray:
    """An object array of shape (n_rows, len(row)) whose rows all are ``row``."""
    array = np.empty((n_rows, len(row)), dtype=object)
    array[:] = row
    return array
