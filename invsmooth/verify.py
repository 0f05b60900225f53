"""``python -m invsmooth.verify FILE...``: recompute the bounds of certificate files; with
``--rerun`` draw them again."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from invsmooth.core.console import printable
from invsmooth.core.signals import going_on
from invsmooth.records.certificate_files.fields import MOST_DRAWS
from invsmooth.records.certificate_files.format import CertificateFileError, Record, find_files, read_record

CHECKED = """\
checked: the checksum; that all fields are there and agree with each other; the SHA-256 of the measurements (and of the
  clean image where it is kept); from the recorded draws, moments or Lipschitz constant, S, c, q, sigma and eps:
  eps/sigma, the shifted quantile, the rank K, the bounds, medians, certified radii, abstentions and the reasons where
  there is no bound."""
NOT_CHECKED = """\
not checked: that the draws, moments and constants come from this network, operator and seed (--rerun does that); who
  wrote the file."""
REDRAWN = """\
redrawn: network and operator were made again, their SHA-256 are the recorded ones, and with the recorded seed they gave
  the same evidence (as lengths: within 1e-4, plus 5e-7 of the image's own length; constants: within 1e-6) and the same
  ranks K and decisions.
not checked: that image and measurement are what their names say; that the seed was not chosen after looking; who wrote
  the file."""
MOST_LINES = 20


def main(arguments: Sequence[str] | None = None) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a letter gets its number
        sys.stdout.reconfigure(errors="backslashreplace")
    with going_on("nothing was written; the same command checks all files again"):
        sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """0: all files hold up; 2: some do not, or cannot be read."""
    options = parse(arguments)
    plain = partial(Console, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console = plain()
    try:
        files = find_files(options.files)
    except CertificateFileError as error:
        plain(stderr=True).print(f"error: {printable(error)}")
        return 2
    wrong, n_certificates = 0, 0
    for path in files:
        record, errors = examine(path, options)
        wrong += bool(errors)
        if record is not None and not errors:
            n_certificates += len(record["certificates"])
            confirmed = ", redrawn: confirmed" if options.rerun else ""
            console.print(f"ok     {printable(path)}: {described(record)}{confirmed}")
            continue
        said = printable(errors[0]) if len(errors) == 1 else f"{len(errors)} findings"
        console.print(f"WRONG  {printable(path)}: {said}", style="bold red")
        for line in errors[:MOST_LINES] if len(errors) > 1 else ():
            console.print(f"       {printable(line)}")
        if len(errors) > MOST_LINES:
            console.print(f"       … and {len(errors) - MOST_LINES} more")
    right = len(files) - wrong
    console.print(f"\n{len(files)} files, {right} hold up with {n_certificates} certificates, {wrong} do not")
    console.print(f"{CHECKED}\n{REDRAWN if options.rerun else NOT_CHECKED}" if wrong < len(files) else "")
    return 2 if wrong else 0


def examine(path: Path, options: argparse.Namespace) -> tuple[Record | None, list[str]]:
    """The file's content, and what is wrong with it."""
    from invsmooth.records.certificate_files import checks  # needs scipy.stats, which --help does not wait for

    try:
        record = read_record(path)
        errors = checks.findings(record, path, options.trust or ())
        if not errors and options.rerun:
            from invsmooth.records.certificate_files.rerun import rerun

            trust, most = options.trust or (), options.max_draws
            again = rerun(record, path, options.ckpt, options.chunk_size, trust=trust, most_draws=most)
            errors = [f"refuted: {line}" for line in again]
    except CertificateFileError as error:
        return None, [str(error)]
    except Exception as error:  # the last line of defence: one file must not keep the others from being checked
        return None, [f"cannot be checked: {type(error).__name__}: {error}"]
    return record, errors


def described(record: Record) -> str:
    radii = [r for c in record["certificates"] for r in c["radii"]]
    none = sum(r["bound"] == "nan" for r in radii)
    certifiers = ", ".join(sorted({c["certifier"] for c in record["certificates"]}))
    key, n = printable(record["image"]["key"]), len(record["certificates"])
    text = f"{key}, {n} certificates ({certifiers}), {len(radii)} bounds"
    return text + (f", {none} of them none" if none else "") + (f" ({record['label']})" if record["label"] else "")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m invsmooth.verify", description=__doc__, epilog="Exit code 0: all files hold up. 2: some do not."
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="certificate files, folders with such, or globs")
    add("--rerun", action="store_true", help="draw all certificates again with the network (needs torch)")
    add("--ckpt", metavar="PATH", help="the weights, where they are not at the recorded path")
    trusted = "a module (and all below it) whose classes the files may name for network, operator and certifiers"
    add("--trust", action="append", metavar="MODULE", help=f"{trusted}, beside invsmooth and torch.nn")
    most = "draws of a certificate that --rerun makes at most"
    add("--max-draws", type=int, default=MOST_DRAWS, metavar="N", help=most)
    add("--chunk-size", type=int, metavar="N", help="draws at a time: bounds the memory of --rerun")
    options = parser.parse_args(arguments)
    if not options.rerun and (options.ckpt or options.chunk_size):
        parser.error("--ckpt and --chunk-size only mean something with --rerun")
    if options.chunk_size is not None and options.chunk_size < 1:
        parser.error(f"--chunk-size={options.chunk_size} has to be at least 1")
    return options


if __name__ == "__main__":
    main()
