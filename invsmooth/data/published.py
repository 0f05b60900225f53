"""The record of published images: where they come from, and what they consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Published:
    """Images that are published, downloaded and checked together."""

    name: str  # of the data set; the folder that it is downloaded to
    folders: tuple[str, ...]  # below data.root in the layouts that people have, the archive's own among them
    files: tuple[str, ...]  # names of all; empty if they are not known
    checksums: Mapping[str, tuple[str, int]]  # SHA-256 and size in bytes of each file for which they are known
    repository: str  # whose checkout or archive holds the folders; "" if there is none
    url: str  # a zip archive with the files, or the address that a file's name is appended to; "" if there is none
    how: str = ""  # what a person has to do if there is no url

    @property
    def is_archive(self) -> bool:
        return self.url.endswith(".zip")


def recorded(name: str) -> dict[str, tuple[str, int]]:
    """SHA-256 and size of each file of a data set, as recorded from the published copies."""
    lines = (Path(__file__).parent / "checksums" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split(" ", 2) for line in lines if not line.startswith("#")]
    return {file: (sha256, int(size)) for sha256, size, file in entries}


def from_repository(name: str, repository: str, address: str, folder: str) -> Published:
    known, places = recorded(name), (name, folder.rsplit("/", 1)[1], folder)
    return Published(name, places, tuple(known), known, repository, f"{address}/{folder}/")


def div2k(folder: str, first: int, last: int) -> Published:
    places = (f"div2k/{folder}", f"DIV2K/{folder}", folder)
    files = tuple(f"{k:04}.png" for k in range(first, last + 1))
    return Published("div2k", places, files, {}, "", f"http://data.vision.ee.ethz.ch/cvl/DIV2K/{folder}.zip")
