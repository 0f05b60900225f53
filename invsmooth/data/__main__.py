"""``python -m invsmooth.data list|prepare|verify [NAME …]``: list, fetch and prepare, or check the published data sets."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import track
from rich.table import Table

from invsmooth.config.cli import fail
from invsmooth.core.arguments import Parser, address, folder
from invsmooth.core.errors import DataError
from invsmooth.core.pipes import until_closed
from invsmooth.core.redacted_logs import redact_logs
from invsmooth.core.signals import going_on
from invsmooth.data.archives import UNREADABLE
from invsmooth.data.decode import read_pixels
from invsmooth.data.fetch import recorded_checksum
from invsmooth.data.files import ImageFile
from invsmooth.data.locate import find
from invsmooth.data.obtain import absent, default_root, find_or_fetch
from invsmooth.data.published import Published
from invsmooth.data.sets import published_sets

USES = {"train": "training", "test": "validation and test"}


def main() -> None:
    redact_logs()
    with going_on("the same command goes on; what is fetched stays"), until_closed():
        run(parse())


def run(arguments: argparse.Namespace) -> None:
    try:
        names = list(dict.fromkeys(arguments.names)) or list(published_sets())
        arguments.action(names, arguments.root or default_root(), arguments)
    except DataError as error:
        sys.exit(fail(error))


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    what = "List the published data sets, fetch and prepare, or check them."
    parser = Parser(prog="python -m invsmooth.data", description=what)
    actions = parser.add_subparsers(required=True, metavar="list|prepare|verify")
    for name, action, what in (
        ("list", list_sets, "show the data sets and where they are"),
        ("prepare", prepare_sets, "fetch what is missing and prepare it for training and tests"),
        ("verify", verify_sets, "compare every file with its published checksum"),
    ):
        sub = actions.add_parser(name, help=what, description=what)
        sub.add_argument("names", nargs="*", metavar="NAME", type=known, help=", ".join(published_sets()))
        default = f"folder of the data sets (default: INVSMOOTH_DATA, or {default_root()})"
        sub.add_argument("--root", type=folder, help=default)
        mirror_help = "address that replaces the published host"
        sub.add_argument("--mirror", type=address, default=os.environ.get("INVSMOOTH_MIRROR"), help=mirror_help)
        sub.set_defaults(action=action)
    return parser.parse_args(given)


def known(name: str) -> str:
    if name not in published_sets():
        raise argparse.ArgumentTypeError(f"{name} is no published data set; known are {', '.join(published_sets())}")
    return name


def parts(names: list[str]) -> Iterator[tuple[str, Published]]:
    for name in names:
        yield from published_sets()[name].parts.items()


def list_sets(names: list[str], root: Path, arguments: argparse.Namespace) -> None:
    table = Table("data set", "for", "images", "where", title=f"data sets in {root.absolute()}")
    table.add_row("bundled", "training, validation, test", "10", "in the scikit-image package")
    for role, data in parts(names):
        table.add_row(data.name, USES[role], *place(data, root))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def place(data: Published, root: Path) -> tuple[str, str]:
    expected = str(len(data.files) or "")
    try:
        images = find(data, root)
    except DataError as error:
        return expected, f"incomplete: {error}"
    if images is not None:
        return str(len(images)), str(next(iter(images.values())).path.parent)
    how = f"to fetch from {urlsplit(data.url).netloc}" if data.url else f"prepare {data.name} says how to get it"
    return expected, f"not here; {how}"


def prepare_sets(names: list[str], root: Path, arguments: argparse.Namespace) -> None:
    from invsmooth.data.arrays import load  # needs torch, which --help and list do not wait for

    errors = []
    for role, data in parts(names):
        if not data.url and not arguments.names and find(data, root) is None:
            print(f"{data.name}: skipped. {data.how}")
            continue
        try:
            images = load(find_or_fetch(data, root, arguments.mirror), default_root() / "prepared")
            print(f"{data.name}, {USES[role]}: {len(images)} images ready")
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("\n".join(errors))


def verify_sets(names: list[str], root: Path, arguments: argparse.Namespace) -> None:
    wrong: list[str] = []
    checked = 0
    for role, data in parts(names):
        try:
            images = find(data, root)
        except DataError as error:
            wrong.append(str(error))
            continue
        if images is None:
            wrong += [absent(data, root)] if arguments.names else []
            continue
        files = track(images.items(), data.name, transient=True)
        found = [differs(file, data.checksums.get(name)) for name, file in files]
        for archive in sorted({f.path for f in images.values() if f.member is not None}):
            with archive.open("rb") as opened:
                if (first := recorded_checksum(archive)) is not None and sha256(opened) != first:
                    found.append(f"{archive} differs from what was fetched first")
        bad = [f for f in found if f]
        compared = sum(name in data.checksums for name in images)
        how = f"{compared} compared with their checksums" if compared else "all can be decoded"
        print(f"{data.name}, {USES[role]}: {len(images)} images, {how}, {len(bad)} wrong")
        wrong += bad
        checked += 1
    if not checked and not wrong:
        print(f"nothing was checked: no data set is in {root.absolute()}")
    if wrong:
        raise DataError("\n".join(wrong))


def differs(file: ImageFile, known: tuple[str, int] | None) -> str:
    """What is wrong with a file: its checksum, or, if none is known, that it cannot be decoded."""
    try:
        if known is None:
            read_pixels(file)
            return ""
        with file.open() as opened:
            return "" if sha256(opened) == known[0] else f"{file} differs from what was published"
    except (*UNREADABLE, DataError) as error:
        return f"{file} cannot be read: {error}"


def sha256(opened: IO[bytes]) -> str:
    return hashlib.file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
