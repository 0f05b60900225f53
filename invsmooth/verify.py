"""``python -m invsmooth.verify FILE...``: recompute the bounds of certificate files; with
``--rerun`` draw them again."""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from invsmooth.core.arguments import Parser, filled, module, whole
from invsmooth.core.console import printable
from invsmooth.core.parameters import MOST
from invsmooth.core.pipes import until_closed
from invsmooth.core.signals import going_on
from invsmooth.records.certificate_files.fields import MOST_DRAWS
from invsmooth.records.certificate_files.format import (
    CertificateFileError,
    Record,
    find_files,
    not_checked,
    read_record,
)

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
CODES = "Exit code 0: all files hold up. 2: some do not. 3: some were not checked; their lines say what to add."
OK, WRONG, SKIPPED = "ok", "WRONG", "NOT CHECKED"
MOST_LINES = 20


def main(arguments: Sequence[str] | None = None) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a letter gets its number
        sys.stdout.reconfigure(errors="backslashreplace")
    with going_on("nothing was written; the same command checks all files again"), until_closed():
        code = run(arguments)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """0: all files hold up; 2: some do not, or cannot be read; 3: none of this, but some were not checked."""
    options = parse(arguments)
    plain = partial(Console, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console = plain()
    try:
        files = find_files(options.files)
    except CertificateFileError as error:
        plain(stderr=True).print(f"error: {printable(error)}")
        return 2
    n, n_certificates = Counter[str](), 0
    for path in files:
        verdict, record, said = examine(path, options)
        n[verdict] += 1
        if verdict == OK:
            assert record is not None
            n_certificates += len(record["certificates"])
            confirmed = ", redrawn: confirmed" if options.rerun else ""
            console.print(f"ok     {printable(path)}: {described(record)}{confirmed}")
            continue
        first = printable(said[0]) if len(said) == 1 else f"{len(said)} findings"
        console.print(f"{verdict}  {printable(path)}: {first}", style="bold red" if verdict == WRONG else "bold yellow")
        for line in said[:MOST_LINES] if len(said) > 1 else ():
            console.print(f"       {printable(line)}")
        if len(said) > MOST_LINES:
            console.print(f"       … and {len(said) - MOST_LINES} more")
    skipped = f", {n[SKIPPED]} not checked" if n[SKIPPED] else ""
    total = f"{len(files)} files, {n[OK]} hold up with {n_certificates} certificates, {n[WRONG]} do not{skipped}"
    console.print(f"\n{total}")
    console.print(f"{CHECKED}\n{REDRAWN if options.rerun else NOT_CHECKED}" if n[OK] else "")
    return 2 if n[WRONG] else 3 if n[SKIPPED] else 0


def examine(path: Path, options: argparse.Namespace) -> tuple[str, Record | None, list[str]]:
    """OK, WRONG or SKIPPED, the file's content, and what is wrong with it, or why it was not checked."""
    from invsmooth.records.certificate_files import checks  # needs scipy.stats, which --help does not wait for

    try:
        record = read_record(path)
        if errors := checks.findings(record, path, options.trust or ()):
            unknown = checks.untrusted(record, path, options.trust or ())
            return WRONG if set(errors) - unknown else SKIPPED, record, errors
    except CertificateFileError as error:
        return SKIPPED if not_checked(error) else WRONG, None, [str(error)]
    except Exception as error:  # the last line of defence: one file must not keep the others from being checked
        return WRONG, None, [f"cannot be checked: {type(error).__name__}: {error}"]
    return drawn_again(record, path, options) if options.rerun else (OK, record, [])


def drawn_again(record: Record, path: Path, options: argparse.Namespace) -> tuple[str, Record | None, list[str]]:
    """As :func:`examine`, of a file without findings."""
    try:
        from invsmooth.records.certificate_files.rerun import rerun

        trust, most = options.trust or (), options.max_draws
        again = rerun(record, path, options.ckpt, options.chunk_size, trust=trust, most_draws=most)
    except CertificateFileError as error:
        alone = "the file alone holds up, but was not drawn again: "
        return (SKIPPED, record, [f"{alone}{error}"]) if not_checked(error) else (WRONG, None, [str(error)])
    except Exception as error:  # the last line of defence, as above
        return WRONG, None, [f"cannot be checked: {type(error).__name__}: {error}"]
    return (WRONG, record, [f"refuted: {line}" for line in again]) if again else (OK, record, [])


def described(record: Record) -> str:
    radii = [r for c in record["certificates"] for r in c["radii"]]
    none = sum(r["bound"] == "nan" for r in radii)
    certifiers = ", ".join(sorted({c["certifier"] for c in record["certificates"]}))
    key, n = printable(record["image"]["key"]), len(record["certificates"])
    text = f"{key}, {n} certificates ({certifiers}), {len(radii)} bounds"
    return text + (f", {none} of them none" if none else "") + (f" ({record['label']})" if record["label"] else "")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m invsmooth.verify",
        description=__doc__,
        epilog=CODES,
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", type=filled, help="certificate files, folders with such, or globs")
    add("--rerun", action="store_true", help="draw all certificates again with the network (needs torch)")
    add("--ckpt", metavar="PATH", help="the weights, where they are not at the recorded path")
    trusted = "a module (and all below it) whose classes the files may name for network, operator and certifiers"
    add("--trust", action="append", type=module, metavar="MODULE", help=f"{trusted}, beside invsmooth and torch.nn")
    most = f"draws of a certificate that --rerun makes at most (default: {MOST_DRAWS})"
    add("--max-draws", type=whole(1, MOST), metavar="N", help=most)
    add("--chunk-size", type=whole(1, MOST), metavar="N", help="draws at a time: bounds the memory of --rerun")
    options = parser.parse_args(arguments)
    if not options.rerun and (options.ckpt or options.chunk_size or options.max_draws):
        parser.error("--ckpt, --max-draws and --chunk-size only mean something with --rerun")
    options.max_draws = options.max_draws or MOST_DRAWS
    return options


if __name__ == "__main__":
    main()
