"""The data sets (SPEC section 7), one class each. Published sets hold the records of their images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import Field

from invsmooth.core.errors import DataError
from invsmooth.core.parameters import Count
from invsmooth.data.decode import image_size
from invsmooth.data.files import Files, image_files
from invsmooth.data.obtain import obtain
from invsmooth.data.published import Published, div2k, from_repository, recorded

log = logging.getLogger(__name__)
DNCNN = "https://raw.githubusercontent.com/cszn/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a"
ISTANETPP = "https://raw.githubusercontent.com/jianzhangcs/ISTA-Netpp/ce2a1022e522efe2536c26f65f624fd6a6f364c2"
SPLITS = ("train", "val", "test")


class DataSet(Protocol):
    """A set of images. The config gives ``root``, ``mirror`` and ``crop`` to a set whose ``__init__`` has them.
    Two attributes are optional. ``splits``: those it has images for, checked before any work. ``has_own_val``: whether
    ``data.val=holdout`` takes its own validation images instead of a fraction of the training images."""

    name: ClassVar[str]

    def files(self, split: str) -> Mapping[str, Any]:
        """Images for ``"train"``, ``"val"`` or ``"test"`` by name: :class:`ImageFile`, paths, or arrays (H, W), (H, W, 3)
        or (3, H, W) of uint8 or of floats in [0, 1]; ``data.channels`` says what becomes of colour.
        Sets with equal images for train and test are split by ``data.holdout``.
        Raises: DataError: they are not available."""
        ...


class Bundled:
    """The natural photographs inside the scikit-image wheel: data without a download."""

    name: ClassVar[str] = "bundled"
    splits: ClassVar = SPLITS
    # Split by photograph, so that no scene is both trained and tested on.
    photographs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("coffee.png", "rocket.jpg", "motorcycle_left.png", "brick.png", "grass.png", "gravel.png"),
        "val": ("coins.png",),
        "test": ("chelsea.png", "astronaut.png", "camera.png"),
    }

    def files(self, split: str) -> Mapping[str, Any]:
        import skimage

        folder = Path(skimage.__file__).parent / "data"
        return {Path(name).stem: folder / name for name in self.photographs[split]}


class Folder:
    """All images below a folder, or those in its sub-folders train, val and test; or in a zip archive."""

    name: ClassVar[str] = "folder"
    splits: ClassVar = SPLITS

    def __init__(self, root: str) -> None:
        self.root = root

    @property
    def has_own_val(self) -> bool:
        return all((Path(self.root) / split).is_dir() for split in SPLITS)

    def files(self, split: str) -> Files:
        return image_files(Path(self.root) / split if self.has_own_val else self.root)


class PublishedSet:
    """A published data set in ``root``, a folder or zip archive. None: the default folder, to which it is downloaded if
    it is missing, from the published address or a ``mirror`` of its host."""

    name: ClassVar[str]
    parts: ClassVar[Mapping[str, Published]]  # for "train" and for "test"; the latter serve for validation as well
    splits: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        cls.splits = tuple(s for s in SPLITS if ("train" if s == "train" else "test") in cls.parts)

    def __init__(self, root: str | None = None, mirror: str | None = None) -> None:
        self.root, self.mirror = root, mirror

    def files(self, split: str) -> Files:
        if split not in self.splits:
            raise DataError(f"{self.name} has no images to {split} on; docs/data.md says what each set is for")
        return obtain(self.parts["train" if split == "train" else "test"], self.root, self.mirror)


class Train400(PublishedSet):
    name = "train400"
    parts: ClassVar = {"train": from_repository(
        name, "DnCNN", DNCNN, "TrainingCodes/DnCNN_TrainingCodes_v1.0/data/Train400")}  # fmt: skip


class DIV2K(PublishedSet):
    name = "div2k"
    parts: ClassVar = {"train": div2k("DIV2K_train_HR", 1, 800), "test": div2k("DIV2K_valid_HR", 801, 900)}


class BSD68(PublishedSet):
    name = "bsd68"
    parts: ClassVar = {"test": from_repository(name, "DnCNN", DNCNN, "testsets/BSD68")}


class Set12(PublishedSet):
    name = "set12"
    parts: ClassVar = {"test": from_repository(name, "DnCNN", DNCNN, "testsets/Set12")}


class Set11(PublishedSet):
    name = "set11"
    parts: ClassVar = {"test": from_repository(name, "ISTA-Netpp", ISTANETPP, "data/Set11")}


class ImageNet(PublishedSet):
    """ImageNet's validation images, which cannot be downloaded: ``count`` of them (None: all), spread evenly over the
    ``classes`` (folders; None: all). Images with a side shorter than ``crop`` are skipped."""

    name = "imagenet"
    parts: ClassVar = {"test": Published(
        name, (name, "ImageNet", "val", "ILSVRC2012_img_val", "ILSVRC2012/val", "ILSVRC/Data/CLS-LOC/val"), (),
        recorded(name), repository="", url="",
        how="ImageNet cannot be downloaded without an account: register at https://image-net.org, get the validation "
        "images (ILSVRC2012_img_val.tar) and sort them into a folder for each class, imagenet/<class>/<image>.JPEG, "
        "below data.root",
    )}  # fmt: skip

    def __init__(
        self, root: str | None = None, mirror: str | None = None, crop: int | None = None,
        classes: Annotated[list[str], Field(min_length=1, description="a list of classes")] | None = None,
        count: Count | None = None,
    ) -> None:  # fmt: skip
        super().__init__(root, mirror)
        self.crop, self.classes, self.count = crop, classes, count

    def files(self, split: str) -> Files:
        """One image of each class in turn. Raises: DataError: there is no such class, or fewer than ``count`` images."""
        files, by_class = super().files(split), dict[str, list[str]]()
        for name in files:
            by_class.setdefault(name.split("/")[0], []).append(name)
        if unknown := [c for c in self.classes or () if c not in by_class]:
            raise DataError(f"data.test.classes: there are no images of {', '.join(unknown)}")
        rounds = zip_longest(*(by_class[c] for c in (self.classes or sorted(by_class))))
        chosen, small = list[str](), 0
        for name in (n for n in chain.from_iterable(rounds) if n is not None):
            if len(chosen) == self.count:
                break
            if self.crop is None or min(image_size(files[name])) >= self.crop:
                chosen.append(name)
            else:
                small += 1
        if small:
            log.info("imagenet: %d images smaller than %d pixels are skipped", small, self.crop)
        if self.count is not None and len(chosen) < self.count:
            raise DataError(f"data.test.count={self.count}: there are only {len(chosen)} such images")
        return {name: files[name] for name in sorted(chosen)}


@cache
def known_sets() -> dict[str, Any]:
    """The classes of this module by their names, in the order of the file."""
    classes = [c for c in globals().values() if isinstance(c, type)]
    return {vars(c)["name"]: c for c in classes if "name" in vars(c)}


def published_sets() -> dict[str, type[PublishedSet]]:
    return {name: c for name, c in known_sets().items() if issubclass(c, PublishedSet)}
