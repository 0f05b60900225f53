"""``make load``: 10 000 images, 500 jobs, an image of 100 megapixels, 10⁶ rows and their page in a browser.

``python -m tests.benchmarks.load [--only NAME,…] [--quick] [--write] [--folder FOLDER]``. Each line is measured in a process
of its own, with the most memory of it and its largest child together. ``--write``: the table of "Load" in
docs/performance.md.
``--folder``: where what is read is made and kept; what is there already is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

# What a step does not need is not imported here: it would count.
ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- the table of make load -->", "<!-- end of the table of make load -->"
PAGE = ROOT / "docs/performance.md"
KEPT = ROOT / "outputs/load.json"
SIDE = 10_000  # of the large image
PER_IMAGE = 27  # rows of one image in a run of write_many
PLAIN = ["estimator=identity", "task=denoise", "data=folder", "trainer=cpu", "trainer.num_threads=1", "report=false"]


def files_of(folder: Path, n: int) -> Path:
    path = folder / f"images-{n}"
    if not path.is_dir():
        from tests.benchmarks.scale import images

        images(folder, n)
    return path


def listed(folder: Path, n: int) -> str:
    """Folder to names, files and splits."""
    from invsmooth.data.sets import Folder
    from invsmooth.data.splits import find_splits

    own = Folder(str(files_of(folder, n)))
    splits = find_splits(own, None, own, 0.1)
    return f"{sum(map(len, splits.values()))} files"


def loaded(folder: Path, n: int) -> str:
    """Files to pixels, after all checks of their headers; and a batch of patches."""
    from invsmooth.data import image_files, load
    from invsmooth.data.patches import PatchBatches

    arrays = load(image_files(files_of(folder, n)), folder / "cache")
    return f"a batch of {len(PatchBatches(arrays, 16, 64, True, 0)[0])} patches"


def command(folder: Path, *arguments: str) -> str:
    """A command of its own to its end, in a new folder."""
    with tempfile.TemporaryDirectory() as out:
        kind = "sweep" if "--multirun" in arguments else "run"
        own = [*arguments, f"cache={out}/cache", f"hydra.{kind}.dir={out}/run"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "INVSMOOTH_DATA": f"{folder}/prepared"}
        done = subprocess.run([sys.executable, "-m", *own], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return ""


def evaluation(folder: Path, n: int) -> str:
    """The start: a plan looks at every image, and runs no network on it."""
    return command(
        folder, "invsmooth.evaluate", *PLAIN, f"data.root={files_of(folder, n)}", "data.crop=null", "sweep=plan"
    )


def training(folder: Path, n: int) -> str:
    """The start: one batch; two images are tested on, one validates."""
    own = [
        "task=denoise", "algo=ord", "scale=small", "data=folder", f"data.root={files_of(folder, n)}", "trainer=cpu",
        "data.holdout=0.00001", "data.crop=null", "trainer.num_threads=1", "report=false", "task.patch_size=16",
        "trainer.max_steps=1", "attack.n_iter=1", "certify.n_samples=60", "certify.certifiers=[discrepancy]",
    ]  # fmt: skip
    return command(folder, "invsmooth.train", *own)


def kinds(folder: Path) -> list[Path]:
    """The large image in four files."""
    made = [folder / f"large.{end}" for end in ("png", "tif", "jpg", "16.png")]
    if not all(path.is_file() for path in made):
        import numpy as np
        from PIL import Image

        ramp = np.arange(SIDE, dtype=np.uint16) // 40
        whole = np.add.outer(ramp, ramp).clip(0, 255).astype(np.uint8)
        for path in made[:2]:
            Image.fromarray(whole).save(path)
        Image.fromarray(np.stack([whole, whole.T, 255 - whole], -1)).save(made[2])
        Image.fromarray(whole.astype(np.uint16) * 257).save(made[3])
    return made


def large(folder: Path, which: int) -> str:
    from invsmooth.data.decode import read_pixels
    from invsmooth.data.files import ImageFile

    pixels = read_pixels(ImageFile(kinds(folder)[which]), 3 if which == 2 else 1)
    return f"{pixels.shape} {pixels.dtype}, {pixels.nbytes / 2**20:.0f} MiB"


def cropped(folder: Path, which: int) -> str:
    own = folder / f"one-{which}"
    own.mkdir(exist_ok=True)
    file = kinds(folder)[which]
    if not (own / file.name).exists():
        (own / file.name).symlink_to(file)
    small = ["attack.n_iter=2", "certify.n_samples=60", "certify.pictures=0", "certify.certifiers=[discrepancy]"]
    return command(folder, "invsmooth.evaluate", *PLAIN, f"data.root={own}", "data.crop=256", *small)


def lost(folder: Path, n: int) -> str:
    """A sweep of which every job was cancelled, and what is said of it at the end."""
    from invsmooth.sweeps.outcomes import outcomes, summary, write_lost

    with tempfile.TemporaryDirectory() as out:
        for k in range(n):
            write_lost(Path(out), k, ["algo=ord", f"seed={k}"], RuntimeError("cancelled"))
        return f"{len(list(summary(outcomes(Path(out)))))} lines"


def plan(folder: Path, n: int) -> str:
    own = [*PLAIN, f"data.root={files_of(folder, 10)}", "data.crop=null", f"seed=range(0,{n})", "sweep=plan"]
    return command(folder, "invsmooth.evaluate", "--multirun", *own)


def runs_of(folder: Path, n: int) -> list[Path]:
    root = folder / f"runs-{n}"
    if not root.is_dir():
        from tests.reporting.sweep_made import write_many

        write_many(root, n)
    return sorted(path.parent for path in root.glob("*/results.parquet"))


def rows_of(folder: Path, n: int) -> list[Path]:
    """Ten runs with so many rows together."""
    root = folder / f"rows-{n}"
    if not root.is_dir():
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        from tests.reporting.sweep_made import write_many

        copies = math.ceil(n / 10 / PER_IMAGE)
        names = pa.array([f"image {k:05d}" for k in range(copies) for _ in range(PER_IMAGE)], pa.string())
        for k, path in enumerate(write_many(root, 10, images=1)):
            whole = pa.concat_tables([pq.read_table(path / "results.parquet")] * copies)
            draw = np.random.default_rng(k)
            for name, values in {"image": names, "psnr_clean": pa.array(30 + draw.normal(0, 1, len(whole)))}.items():
                at = whole.column_names.index(name)
                whole = whole.set_column(at, whole.schema.field(at), values)
            pq.write_table(whole, path / "results.parquet")
    return sorted(path.parent for path in root.glob("*/results.parquet"))


def reported(folders: Sequence[Path], out: Path) -> str:
    from invsmooth.reporting import report

    with contextlib.redirect_stdout(io.StringIO()):
        report(folders, out, parallel=True)
    return f"page {(out / 'index.html').stat().st_size / 2**20:.1f} MiB"


def report_of_runs(folder: Path, n: int) -> str:
    return reported(runs_of(folder, n), folder / f"report-runs-{n}")


def report_of_rows(folder: Path, n: int) -> str:
    return reported(rows_of(folder, n), folder / f"report-rows-{n}")


def in_a_browser(name: str) -> Callable[[Path, int], str]:
    """The page of a report of rows."""

    def run(folder: Path, n: int) -> str:
        from tests.reporting.page_times import actions

        page = folder / f"report-rows-{n}" / "index.html"
        if not page.is_file():
            report_of_rows(folder, n)
        return ", ".join(f"{what} {ms:.0f}" for what, ms in actions(name, page).items()) + " ms"

    return run


@dataclass(frozen=True)
class Step:
    what: str
    run: Callable[[Path, int], str]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    grows: bool = True  # so that its time has an exponent over the sizes


ROWS = (10_000, 100_000, 1_000_000)
STEPS = {
    "list": Step("images of a folder: list, name, split", listed, (1000, 3000, 10_000), (10, 20)),
    "load": Step("the same: check, decode, a batch of patches", loaded, (1000, 3000, 10_000), (10, 20)),
    "evaluate": Step("`evaluate` to its plan, images", evaluation, (1000, 3000, 10_000), (10,)),
    "train": Step("`train` with one batch, images", training, (1000, 3000, 10_000), (10,)),
    "large": Step("10 000×10 000: grey PNG, grey TIFF, colour JPEG, grey PNG of 16 bits", large, (0, 1, 2, 3), (0,), False),
    "crop": Step("`evaluate data.crop=256` of these PNG, TIFF", cropped, (0, 1), (0,), False),
    "plan": Step("`sweep=plan`, jobs", plan, (4, 8, 16), (2,)),
    "lost": Step("a sweep whose jobs are all lost, jobs", lost, (125, 250, 500), (4, 8)),
    "runs": Step("`report` with figures and page, runs of 297 rows", report_of_runs, (125, 250, 500), (2,)),
    "rows": Step("`report` with figures and page, rows of 10 runs", report_of_rows, ROWS, (300,)),
    "chromium": Step("the page of these rows in Chromium", in_a_browser("chromium"), ROWS, (300,), False),
    "firefox": Step("the page of these rows in Firefox", in_a_browser("firefox"), ROWS, (300,), False),
}  # fmt: skip
MADE: dict[str, Callable[[Path, int], Any]] = {
    "list": files_of, "load": files_of, "evaluate": files_of, "train": files_of, "plan": lambda f, _: files_of(f, 10),
    "large": lambda f, _: kinds(f), "crop": lambda f, _: kinds(f), "runs": runs_of, "rows": rows_of,
}  # fmt: skip
"""What is read, made beforehand in another process: its time and memory do not count."""


def one(name: str, size: int, folder: Path) -> dict[str, Any]:
    """A step in this process: seconds, CPU seconds with its children, MiB of it and its largest child together."""
    started = time.perf_counter()
    note = STEPS[name].run(folder, size)
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Of this process not ru_maxrss, which begins with that of the process that started it.
    own = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0])
    return {
        "seconds": time.perf_counter() - started, "cpu": sum(u.ru_utime + u.ru_stime for u in both),
        "mebibytes": (own + both[1].ru_maxrss) / 1024, "note": note,
    }  # fmt: skip


def line(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    from tests.benchmarks.scale import exponent
    from tests.benchmarks.table import marginal

    step, taken = STEPS[name], {int(size): values for size, values in found.items()}
    slope = ""
    if step.grows and len(taken) > 2:
        more = marginal({n: t["cpu"] for n, t in taken.items()})
        slope = f"{exponent(more):.2f}" if min(more.values()) > 0 else "none seen"
    each = "; ".join(
        f"{'' if len(taken) == 1 or name in ('large', 'crop') else f'{n:,}: '}{t['seconds']:.1f} s, {t['cpu']:.1f} CPU s, "
        f"{t['mebibytes']:.0f} MiB{', ' * bool(t['note'])}{t['note']}" for n, t in taken.items()
    )  # fmt: skip
    return f"| {step.what} | {slope} | {each} |"


def table(kept: Mapping[str, Any]) -> str:
    lines = [line(name, kept["steps"][name]) for name in STEPS if name in kept["steps"]]
    return "\n".join(["`make load`:", f"{kept['about']}.", "", "| | exponent | |", "| --- | --- | --- |", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(STEPS), help="steps, separated by commas")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("STEP", "SIZE"), help="one measurement, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], int(options.one[1]), options.folder)))
        return
    from tests.benchmarks.table import machine

    before = json.loads(KEPT.read_text())["steps"] if KEPT.is_file() and not options.quick else {}
    kept: dict[str, Any] = {"about": f"{date.today()}, {machine()}, load {os.getloadavg()[2]:.1f}", "steps": before}
    with tempfile.TemporaryDirectory() as own:
        folder = options.folder or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.only.split(","):
            kept["steps"][name] = {}
            for size in STEPS[name].quick if options.quick else STEPS[name].sizes:
                MADE.get(name, lambda *_: None)(folder, size)
                asked = ["--folder", str(folder), "--one", name, str(size)]
                own_process = [sys.executable, "-m", "tests.benchmarks.load", *asked]
                done = subprocess.run(own_process, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
                kept["steps"][name][str(size)] = json.loads(done.stdout.splitlines()[-1])
            print(line(name, kept["steps"][name]), flush=True)
            if not options.quick:
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    if options.write:
        made = f"{BEGIN}\n{table(kept)}\n{END}"
        PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: made, PAGE.read_text("utf-8"), flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main()
