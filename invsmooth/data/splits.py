"""Which image files train, validate and test, from the ``data`` part of a config."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from invsmooth.core.errors import DataError
from invsmooth.data.bundled import bundled_files
from invsmooth.data.decode import image_size
from invsmooth.data.files import ImageFile, image_files
from invsmooth.data.obtain import obtain
from invsmooth.data.published import HOLDOUT, published

log = logging.getLogger(__name__)

Files = dict[str, ImageFile]
"""Image files by the name that the rows show."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageSet:
    """A named set of images; fields as in the config.

    Attributes:
        name: bundled, folder or a published set.
        root: folder or zip archive; None for the default place.
        mirror: address that published sets are fetched from instead of their own.
        classes, count: of imagenet: its classes (None: all), and how many images in all, spread evenly over them.
        crop: of imagenet: images with a shorter side are passed over.
    """

    name: str
    root: str | None = None
    mirror: str | None = None
    classes: list[str] | None = None
    count: int | None = None
    crop: int | None = None

    def files(self, split: str) -> Files:
        """Its images for a split. Raises: DataError: they are not to be had."""
        if self.name == "bundled":
            return bundled_files(split)
        if self.name == "folder":
            folder = Path(str(self.root))
            return image_files(folder / split if has_splits(folder) else folder)
        data = published(self.name, "train" if split == "train" else "test")
        if data is None:
            raise DataError(f"{self.name} has no images to {split} on; docs/data.md says what each set is for")
        files = obtain(data, self.root, self.mirror)
        return select_classes(files, self.classes, self.count, self.crop) if self.name == "imagenet" else files


def find_splits(train: ImageSet | None, val: str, test: ImageSet, holdout: float) -> dict[str, Files]:
    """The files of each split.

    Args:
        train: the images to train on; None where a trained network is evaluated.
        val: those to validate on: the name of a set, or ``"holdout"``.
        test: those to test on.
        holdout: share of the images to train on that is kept from training where validation, or test, has no images of its
            own.
    Raises: DataError: images are not to be had, or too few to be split.
    """
    if train is None:
        return {"test": test.files("test")}
    if train.name == test.name == "folder" and train.root == test.root and not has_splits(Path(str(train.root))):
        splits = split_folder(test.files("test"), holdout, str(test.root))
    else:
        splits = {"train": train.files("train"), "test": test.files("test")}
        if val == HOLDOUT and train.name == "folder" and has_splits(Path(str(train.root))):
            splits["val"] = train.files("val")
        elif val == HOLDOUT:
            splits["train"], splits["val"] = hold_out(splits["train"], holdout)
    if val != HOLDOUT:
        splits["val"] = ImageSet(val, train.root, train.mirror).files("val")
    return splits


def has_splits(folder: Path) -> bool:
    """Whether a folder has sub-folders train, val and test."""
    return all((folder / split).is_dir() for split in SPLITS)


def split_folder(files: Files, holdout: float, where: str) -> dict[str, Files]:
    """One folder's images for all three: of those held out every other one validates and the rest are tested on."""
    if len(files) < 3:
        raise DataError(
            f"{Path(where).absolute()} has {len(files)} images; at least 3 are needed to train, validate and test on "
            "different ones. Give more, or sub-folders train, val and test"
        )
    train, held = hold_out(files, max(holdout, 2 / len(files)))
    names = list(held)
    return {"train": train, "val": {n: held[n] for n in names[1::2]}, "test": {n: held[n] for n in names[0::2]}}


def hold_out(files: Files, share: float) -> tuple[Files, Files]:
    """Keep ``share`` of the images, at least one and evenly spread over their names, apart from the others.

    Raises: DataError: none are left, or there are none.
    """
    if len(files) < 2:
        raise DataError(
            f"{len(files)} images to train on are too few to keep one of them for validation (data.val=holdout)"
        )
    names, n_held = list(files), max(1, round(share * len(files)))
    held = {names[(2 * i + 1) * len(names) // (2 * n_held)] for i in range(n_held)}
    return {n: f for n, f in files.items() if n not in held}, {n: f for n, f in files.items() if n in held}


def select_classes(files: Files, classes: list[str] | None, count: int | None, crop: int | None) -> Files:
    """Of images ``<class>/<name>`` those of ``classes``; of them ``count``, one of each class in turn. Images smaller than
    the crop are passed over.

    Raises: DataError: there is no such class, or fewer than ``count`` images.
    """
    by_class: dict[str, list[str]] = {}
    for name in files:
        by_class.setdefault(name.split("/")[0], []).append(name)
    if unknown := [c for c in classes or () if c not in by_class]:
        raise DataError(f"data.test.classes: there are no images of {', '.join(unknown)}")
    rounds = zip_longest(*(by_class[c] for c in (classes or sorted(by_class))))
    chosen: list[str] = []
    small = 0
    for name in (n for n in chain.from_iterable(rounds) if n is not None):
        if len(chosen) == count:
            break
        if crop is None or min(image_size(files[name])) >= crop:
            chosen.append(name)
        else:
            small += 1
    if small:
        log.info("imagenet: %d images smaller than %d pixels were passed over", small, crop)
    if count is not None and len(chosen) < count:
        raise DataError(f"data.test.count={count}: there are only {len(chosen)} such images")
    return {name: files[name] for name in sorted(chosen)}
