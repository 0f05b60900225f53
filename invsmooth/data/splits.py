"""Which image files train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invsmooth.cache.parts import is_ours
from invsmooth.core.errors import DataError
from invsmooth.core.own_error import said
from invsmooth.core.rng import stream_key
from invsmooth.data.files import Files, as_image_files
from invsmooth.data.sets import DataSet

HOLDOUT = "holdout"  # data.val=holdout: validate on images that are kept from training


def find_splits(
    train: DataSet | None, val: DataSet | None, test: DataSet, holdout: float, calibration: int = 0
) -> dict[str, Files]:
    """The files of each split.

    Args:
        train: None for an evaluation without training.
        val: None: the training set's own, or else a fraction of its training images.
        holdout: fraction of the training images that is kept from training if validation, or test, has none of its own.
        calibration: number of images to test on that calibrate instead (:mod:`invsmooth.certificates.floor`).
    Raises: DataError: images are not available, or too few to be split."""
    splits = {"test": files_of(test, "test")} if train is None else training_splits(train, val, test, holdout)
    if calibration:
        splits["calibration"], splits["test"] = drawn(splits["test"], calibration)
    return splits


def training_splits(train: DataSet, val: DataSet | None, test: DataSet, holdout: float) -> dict[str, Files]:
    """ "train", "val" and "test"; see :func:`find_splits`."""
    trained, tested = files_of(train, "train"), files_of(test, "test")
    if trained == tested:  # of those held out every other one validates, and the rest are tested on
        if len(tested) < 3:
            few = f"has {len(tested)} images; at least 3 are needed to train, validate and test on different ones. Give more"
            if (root := getattr(test, "root", None)) is None:
                raise DataError(f"{type(test).__name__}.files gives the same for train and test: it {few}")
            raise DataError(f"{Path(root).absolute()} {few}, or sub-folders train, val and test")
        kept, held = hold_out(tested, max(holdout, 2 / len(tested)))
        names = list(held)
        splits = {"train": kept, "val": {n: held[n] for n in names[1::2]}, "test": {n: held[n] for n in names[0::2]}}
    else:
        splits = {"train": trained, "test": tested}
        if val is None and getattr(train, "has_own_val", False):
            splits["val"] = files_of(train, "val")
        elif val is None:
            splits["train"], splits["val"] = hold_out(trained, holdout)
    if val is not None:
        splits["val"] = files_of(val, "val")
    return splits


def drawn(files: Files, n: int) -> tuple[Files, Files]:
    """Draw ``n`` of the images, and the rest. Pseudo-random by their names, so that drawn images and the rest are
    exchangeable whatever order a set has. The same in every run.
    Raises: DataError: none are left."""
    if n >= len(files):
        raise DataError(
            f"data.calibration={n} of {len(files)} images leave none to test on; lower it, or give more images"
        )
    chosen = set(sorted(files, key=lambda name: stream_key(0, "calibration", name))[:n])
    return {n: f for n, f in files.items() if n in chosen}, {n: f for n, f in files.items() if n not in chosen}


def files_of(data: DataSet, split: str) -> Files:
    """The images of a data set, whose class may be anybody's. Raises: DataError: it fails, or gives something else than a
    dictionary; one is no image file, path or array."""
    try:
        found: Any = data.files(split)
    except Exception as error:
        if is_ours(type(data)) or isinstance(error, DataError):
            raise
        raise DataError(f"{data.name}: {type(data).__name__}.files({split!r}) fails: {said(error, data)}") from error
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        wrong = "with names that are no texts" if isinstance(found, Mapping) else ""
        gave = f"a {type(found).__name__} {wrong}".strip()
        raise DataError(
            f"{data.name}: {type(data).__name__}.files({split!r}) gave {gave}; a dictionary is needed: name -> image"
        )
    return as_image_files(found, data.name)


def hold_out(files: Files, fraction: float) -> tuple[Files, Files]:
    """Split off ``fraction`` of the images, at least one, evenly spread over their names.
    Raises: DataError: none are left, or there are none."""
    if len(files) < 2:
        few = f"{len(files)} images to train on are too few"
        raise DataError(f"{few} to keep one of them for validation (data.val=holdout)")
    names, n_held = list(files), max(1, round(fraction * len(files)))
    held = {names[(2 * i + 1) * len(names) // (2 * n_held)] for i in range(n_held)}
    return {n: f for n, f in files.items() if n not in held}, {n: f for n, f in files.items() if n in held}
