"""Which image files train, validate and test."""

from __future__ import annotations

from pathlib import Path

from invsmooth.core.errors import DataError
from invsmooth.data.files import Files, as_image_files
from invsmooth.data.sets import DataSet

HOLDOUT = "holdout"  # data.val=holdout: validate on images that are kept from training


def find_splits(train: DataSet | None, val: DataSet | None, test: DataSet, holdout: float) -> dict[str, Files]:
    """The files of each split.

    Args:
        train: None for an evaluation without training.
        val: None: the training set's own, or else a fraction of its training images.
        holdout: fraction of the training images that is kept from training if validation, or test, has none of its own.
    Raises: DataError: images are not available, or too few to be split."""
    if train is None:
        return {"test": files_of(test, "test")}
    trained, tested = files_of(train, "train"), files_of(test, "test")
    if trained == tested:  # of those held out every other one validates, and the rest are tested on
        if len(tested) < 3:
            raise DataError(
                f"{Path(str(getattr(test, 'root', test.name))).absolute()} has {len(tested)} images; at least 3 are needed "
                "to train, validate and test on different ones. Give more, or sub-folders train, val and test"
            )
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


def files_of(data: DataSet, split: str) -> Files:
    """The images of a data set, whose class may be anybody's. Raises: DataError: one is no image file, path or array."""
    return as_image_files(data.files(split), data.name)


def hold_out(files: Files, fraction: float) -> tuple[Files, Files]:
    """Split off ``fraction`` of the images, at least one, evenly spread over their names.
    Raises: DataError: none are left, or there are none."""
    if len(files) < 2:
        few = f"{len(files)} images to train on are too few"
        raise DataError(f"{few} to keep one of them for validation (data.val=holdout)")
    names, n_held = list(files), max(1, round(fraction * len(files)))
    held = {names[(2 * i + 1) * len(names) // (2 * n_held)] for i in range(n_held)}
    return {n: f for n, f in files.items() if n not in held}, {n: f for n, f in files.items() if n in held}
