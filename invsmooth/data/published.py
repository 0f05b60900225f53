"""The published data sets: who made them, where they come from, and what they are made of (SPEC section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CHECKSUMS = Path(__file__).parent / "checksums"
DNCNN = "https://raw.githubusercontent.com/cszn/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a"
ISTANETPP = "https://raw.githubusercontent.com/jianzhangcs/ISTA-Netpp/ce2a1022e522efe2536c26f65f624fd6a6f364c2"
DIV2K = "http://data.vision.ee.ethz.ch/cvl/DIV2K"


@dataclass(frozen=True)
class Published:
    """Images that are published, fetched and checked together.

    Attributes:
        name: of the data set; the folder that it is fetched to.
        folders: where they lie below ``data.root`` in the layouts that people have, the archive's own among them.
        files: names of all its files; empty where they are not known.
        checksums: SHA-256 and size in bytes of each file for which they are known.
        repository: the repository whose checkout or archive holds the folders; "" where there is none.
        url: a zip archive that holds the files, or the address that a file's name is appended to; "" if there is none.
        how: what a person has to do where there is no url.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    checksums: Mapping[str, tuple[str, int]]
    repository: str
    url: str
    how: str = ""

    @property
    def is_archive(self) -> bool:
        return self.url.endswith(".zip")

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return self.url.rsplit("/", 1)[1]

    @property
    def n_bytes(self) -> int | None:
        """Size of all files, where it is known."""
        return sum(size for _, size in self.checksums.values()) or None


@cache
def checksums(name: str) -> dict[str, tuple[str, int]]:
    """SHA-256 and size of each file of a data set, as recorded from the published copies."""
    lines = (CHECKSUMS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split(" ", 2) for line in lines if not line.startswith("#")]
    return {file: (sha256, int(size)) for sha256, size, file in entries}


@cache
def published(name: str, role: str) -> Published | None:
    """The images of a published data set for a role, ``"train"`` or ``"test"`` (which serve for validation as well); None
    where the set has none for it."""
    match name, role:
        case "train400", "train":
            return from_repository(name, "DnCNN", DNCNN, "TrainingCodes/DnCNN_TrainingCodes_v1.0/data/Train400")
        case "bsd68", "test":
            return from_repository(name, "DnCNN", DNCNN, "testsets/BSD68")
        case "set12", "test":
            return from_repository(name, "DnCNN", DNCNN, "testsets/Set12")
        case "set11", "test":
            return from_repository(name, "ISTA-Netpp", ISTANETPP, "data/Set11")
        case "div2k", "train":
            return div2k("DIV2K_train_HR", 1, 800)
        case "div2k", "test":
            return div2k("DIV2K_valid_HR", 801, 900)
        case "imagenet", "test":
            how = (
                "ImageNet cannot be downloaded without an account: register at https://image-net.org, get the validation "
                "images (ILSVRC2012_img_val.tar) and sort them into a folder for each class, imagenet/<class>/<image>.JPEG, "
                "below data.root"
            )
            places = (name, "ImageNet", "val", "ILSVRC2012_img_val", "ILSVRC2012/val", "ILSVRC/Data/CLS-LOC/val")
            return Published(name, places, (), checksums(name), "", "", how)
    return None


def from_repository(name: str, repository: str, address: str, folder: str) -> Published:
    known = checksums(name)
    places = (name, folder.rsplit("/", 1)[1], folder)
    return Published(name, places, tuple(known), known, repository, f"{address}/{folder}/")


def div2k(folder: str, first: int, last: int) -> Published:
    places = (f"div2k/{folder}", f"DIV2K/{folder}", folder)
    files = tuple(f"{k:04}.png" for k in range(first, last + 1))
    return Published("div2k", places, files, {}, "", f"{DIV2K}/{folder}.zip")


PUBLISHED = ("train400", "div2k", "bsd68", "set12", "set11", "imagenet")
"""Names of the published data sets."""
TRAIN_SETS = ("bundled", "train400", "div2k", "folder")
"""What ``data.name`` can be."""
TEST_SETS = ("bundled", "bsd68", "set12", "set11", "div2k", "imagenet", "folder")
"""What ``data.test.name`` can be."""
HOLDOUT = "holdout"
"""``data.val=holdout``: validate on images that are kept from training."""
VAL_SETS = (HOLDOUT, *(name for name in TEST_SETS if name != "folder"))
"""What ``data.val`` can be."""
