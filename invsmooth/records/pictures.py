"""Names and contents of the picture files of an evaluation cell."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 100  # bytes of an image's name in the name of a file
KINDS = ("clean", "measured", "reconstructed", "attacked", "median", "certified")


def picture_file(
    folder: Path, image: str, ratio: float, sigma_b: float, eps: float, sigma: float | None, earlier: bool = False
) -> Path:
    """An .npz file with an 8-bit array for each of KINDS (certified, the draw of rank K, may be
    missing): (H, W), or (H, W, 3) of colour images. sigma_b and sigma in grey levels; None or
    nan: the cell is of certifiers that do not smooth.

    With ``certify.pixel_intervals`` also ``lower`` and ``upper``, the ends of each pixel's interval
    (float32, [0, 1] pixel scale, not clipped; nan for none), ``pixel_intervals``, the value of that
    key, and ``label``: quantile, confidence, and the label of ``certificate.units=paper``.

    earlier: the name that it had before names of files differed without regard to case."""
    smoothed = "" if sigma is None or math.isnan(sigma) else f"_sigma{sigma:g}"
    return folder / "pictures" / f"{setting_name(image, ratio, sigma_b, earlier)}_eps{eps:g}{smoothed}.npz"


def as_picture(image: Tensor) -> Tensor:
    """An image (C, H, W) as (H, W), with three channels as (H, W, 3)."""
    return image.movedim(0, -1) if len(image) == 3 else image[0]


def setting_name(image: str, ratio: float, sigma_b: float, earlier: bool = False) -> str:
    """Of an image in a measurement setting: a safe file name of less than 150 bytes. Different images have different
    ones, also on a file system that takes A.png for a.png, or é for e with an accent. earlier: see :func:`picture_file`."""
    safe = re.sub(r"[^\w.-]+", "_", image)
    digest = hashlib.sha256(image.encode("utf-8", "backslashreplace")).hexdigest()
    if len(safe.encode()) > LONGEST:  # file systems take 255 bytes; the rest is for what follows
        safe = f"{safe.encode()[:LONGEST].decode(errors='ignore')}-{digest[:16]}"
    elif safe != image or (safe != folded(safe) and not earlier):  # a/b and a_b are two images
        safe += f"-{digest[:8]}"
    return f"{safe}_ratio{ratio:g}_b{sigma_b:g}"


def folded(name: str) -> str:
    """The same for all names that some file system takes for one: case and Unicode normalisation are taken away."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFD", name).upper().casefold())
