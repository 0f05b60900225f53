"""Error norms of calibration images, saved with the network, and the floor of the PSNR that they give new images."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from invsmooth.cache import Like, Remember
from invsmooth.certificates.floor import calibrated, psnr_floor
from invsmooth.core.errors import CheckpointError, NotFiniteError
from invsmooth.core.files import replaced
from invsmooth.core.parameters import Count, NotNegative
from invsmooth.core.units import to_grey_levels
from invsmooth.data.datamodule import NamedImages
from invsmooth.estimators.checkpoint import read
from invsmooth.lipschitz.constants import in_float64
from invsmooth.operators.measurement import Measured, Setting, measure

log = logging.getLogger(__name__)

KEY = "calibration"  # of the checkpoint
Text = Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True)
class Group:
    """Calibration images of one size in one measurement setting."""

    operator: Text  # SHA-256 of it
    sigma_b: NotNegative  # grey levels
    height: Count
    width: Count
    errors: tuple[NotNegative, ...]  # ||f(y) - x|| of each image, f in float64


@dataclass(frozen=True)
class Calibration:
    """What was measured of a network on calibration images."""

    dataset: Text
    images: tuple[Text, ...]  # SHA-256 of each picture
    estimator_sha256: Text  # of the weights
    groups: tuple[Group, ...]


@torch.no_grad()
def measured_groups(
    estimator: nn.Module, settings: Sequence[Setting], images: Iterable[NamedImages], device: torch.device,
    remember: Callable[[Measured], Remember],
) -> tuple[Group, ...]:  # fmt: skip
    """The error norms of the images in every setting, by size. The noise b of each image is drawn as that of test images.
    ``remember``: caches those of some measured images. Raises: NotFiniteError: see :func:`error_norms`."""
    found: dict[tuple[str, float, int, int], list[float]] = {}
    f = in_float64(estimator).to(device)
    for setting in settings:
        operator, sha256 = in_float64(setting.operator.to(device)), setting.operator.sha256()
        for batch in images:
            measured = measure(setting, batch.names, batch.x.to(device))
            of, expected = {"x": measured.x, "y": measured.y}, {"errors": Like((len(batch.names),), torch.float64)}
            kept = remember(measured)(KEY, of, partial(error_norms, f, operator, measured), expected)
            height, width = measured.x.shape[-2:]
            found.setdefault((sha256, to_grey_levels(setting.sigma_b), height, width), []).extend(
                kept["errors"].tolist()
            )
    return tuple(Group(*key, tuple(errors)) for key, errors in found.items())


def error_norms(f: nn.Module, operator: nn.Module, measured: Measured) -> dict[str, Tensor]:
    """||f(y) - x|| of each image, f and A in float64. Raises: NotFiniteError: one is not finite; the message names it."""
    errors = (f(measured.y.double(), operator) - measured.x.double()).flatten(1).norm(dim=1)
    if wrong := [name for name, error in zip(measured.names, errors.tolist(), strict=True) if not math.isfinite(error)]:
        raise NotFiniteError(
            f"data.calibration: the reconstruction of {', '.join(wrong)} is not finite ({measured.setting})"
        )
    return {"errors": errors}


def save_with(calibration: Calibration, source: Path, target: Path) -> bool:
    """Write a checkpoint of ``invsmooth.train`` with the calibration to ``target``, which may be ``source``.
    Returns: False for another file, which has no place for it: nothing is written."""
    content = dict(read(source))
    if "hyper_parameters" not in content:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced(target) as temporary:
        torch.save(content | {KEY: dataclasses.asdict(calibration)}, temporary)
    return True


def read_calibration(path: Path) -> Calibration | None:
    """That in a checkpoint; None if it has none. Raises: CheckpointError: it is not what :func:`save_with` writes."""
    saved = read(path).get(KEY)
    if saved is None:
        return None
    try:
        return TypeAdapter(Calibration).validate_python(saved)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(
            f"ckpt={path}: its calibration was changed: {where}: {error.errors()[0]['msg']}"
        ) from error


@dataclass(frozen=True)
class Floors:
    """Adds the columns ``psnr_floor`` and ``floor_confidence`` to rows that have a Lipschitz constant."""

    confidence: float
    errors: Mapping[tuple[float, float, int, int], float]  # of ratio, sigma_b (grey levels), height and width: q
    calibrating: frozenset[str] = frozenset()  # names of test images that are no new ones

    def of(self, row: Mapping[str, Any], height: int, width: int) -> dict[str, float]:
        """The columns of a row; {} without a floor: the row has no constant, or nothing calibrates its setting and size, or
        its image calibrated."""
        constant, error = row.get("lipschitz"), self.errors.get((row["ratio"], row["sigma_b"], height, width))
        if constant is None or math.isnan(constant) or error is None or row["image"] in self.calibrating:
            return {}
        floor = psnr_floor(error, constant, row["eps"], row["inexactness"], height * width)
        return {"psnr_floor": floor, "floor_confidence": self.confidence}


def floors_of(
    calibration: Calibration, settings: Sequence[Setting], confidence: float, pictures: Mapping[str, str]
) -> Floors:
    """``pictures``: name -> SHA-256 of each test image."""
    errors = {}
    for setting in settings:
        sha256, sigma_b = setting.operator.sha256(), to_grey_levels(setting.sigma_b)
        for group in (g for g in calibration.groups if (g.operator, g.sigma_b) == (sha256, sigma_b)):
            size, n = (group.height, group.width), len(group.errors)
            found = calibrated(group.errors, 1 - confidence)
            told = "too few for a floor" if found is None else f"error norm {found:.4g}"
            log.info("%d calibration images of %d×%d (%s) at confidence %g: %s", n, *size, setting, confidence, told)
            if found is not None:
                errors[setting.ratio, sigma_b, *size] = found
    known = set(calibration.images)
    return Floors(confidence, errors, frozenset(name for name, sha256 in pictures.items() if sha256 in known))
