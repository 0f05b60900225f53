"""``make bench-scale``: time and memory over jobs, images and rows, a plan of 10⁶ cells, files of the cache.

``python -m tests.benchmarks.scale [--only NAME,…] [--quick]`` prints the table of "Scale" in docs/performance.md. The
network is trivial, so that what is measured is everything else. Exponents are of CPU seconds, without the start.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.benchmarks.table import ROOT, machine, marginal
from tests.reporting.sweep_made import write_many

PER_JOB = 2000  # cells: 10 images, 10 eps, 10 sigma, 2 certifiers
TEN = {"attack.eps": [round(0.01 * k, 2) for k in range(1, 11)], "certify.sigma": list(range(5, 55, 5))}
FOUR = {"attack.eps": [0.01, 0.02], "certify.sigma": [25, 50]}
SLOW = """if True:
    import runpy, sys, time

    def slow(event, arguments):
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(sys.argv[1]):
            time.sleep(float(sys.argv[2]))

    sys.addaudithook(slow)
    _, _, _, *sys.argv = sys.argv
    runpy.run_module("invsmooth.evaluate", run_name="__main__")
"""  # the slow file system: open, rename, remove and mkdir below a folder wait


@dataclass(frozen=True)
class Taken:
    seconds: float
    cpu: float  # seconds, of the process and its children
    mebibytes: float  # most memory of both together
    out: str


def measured(arguments: Sequence[str]) -> Taken:
    """Of a Python process and its children."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    before, started, peak = os.times(), time.perf_counter(), [0.0]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=out, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
        )
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                peak[0] = max(peak[0], memory_of(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        ended.set()
        watcher.join()
        seconds, after = time.perf_counter() - started, os.times()
        out.seek(0)
        text = out.read()
    if code:
        raise subprocess.CalledProcessError(code, process.args, text[-2000:])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(seconds, cpu, peak[0], text)


def memory_of(root: int) -> float:
    """MiB that a process and its descendants have in memory. What they share counts once for each."""
    parents, pages = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(folder.name)], pages[int(folder.name)] = int(fields[1]), int(fields[21])

    def is_below(pid: int) -> bool:
        return pid == root or (pid in parents and is_below(parents[pid]))

    return sum(n for pid, n in pages.items() if is_below(pid)) * os.sysconf("SC_PAGE_SIZE") / 2**20


def exponent(values: Mapping[int, float]) -> float:
    """The slope of the line by least squares through the logarithms."""
    sizes, found = np.log(list(values)), np.log(list(values.values()))
    return float(np.polyfit(sizes, found, 1)[0])


def shown(taken: Mapping[int, Taken]) -> str:
    cpu, peak = (", ".join(f"{n}: {f(t):.0f}" for n, t in taken.items())
                 for f in (lambda t: t.cpu, lambda t: t.mebibytes))  # fmt: skip
    return f"CPU s: {cpu}; MiB: {peak}"


def row(what: str, taken: Mapping[int, Taken]) -> str:
    slope = exponent(marginal({n: t.cpu for n, t in taken.items()}))
    return f"| {what} | {slope:.2f} | {shown(taken)} |"


def images(folder: Path, n: int, side: int = 32) -> Path:
    path = folder / f"images-{n}"
    path.mkdir(exist_ok=True)
    for k in range(n):
        pixels = np.random.default_rng(k).integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{k}.png")
    return path


def command(folder: Path, n_images: int, grid: Mapping[str, Sequence[float]], *more: str) -> list[str]:
    return [
        "task=denoise", "estimator=identity", "data=folder", f"data.root={images(folder, n_images)}", "data.crop=null",
        "report=false", "attack.n_iter=2", "attack.check_samples=4", "certify.n_samples=60",
        "certify.certifiers=[error,discrepancy]", "certify.pictures=0", "trainer=cpu", "trainer.num_threads=1",
        "trainer.progress_bar=false", *(f"{k}={json.dumps(v)}".replace(" ", "") for k, v in grid.items()), *more,
    ]  # fmt: skip


def evaluate(folder: Path, *arguments: str) -> Taken:
    kind = "sweep" if "--multirun" in arguments else "run"
    return measured(["-m", "invsmooth.evaluate", *arguments, f"hydra.{kind}.dir={folder / kind}"])


def in_new_folders(sizes: Sequence[int], run: Callable[[Path, int], Taken]) -> dict[int, Taken]:
    found = {}
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found[n] = run(Path(folder), n)
    return found


def jobs(quick: bool) -> Iterator[str]:
    """Jobs of one image and four cells of each certifier."""
    for launcher in ("basic", "joblib"):

        def sweep(folder: Path, n: int, launcher: str = launcher) -> Taken:
            own = command(folder, 1, FOUR, f"seed=range(0,{n})", f"cache={folder / 'cache'}", f"launcher={launcher}")
            return evaluate(folder, "--multirun", *own)

        yield row(f"jobs, `launcher={launcher}`", in_new_folders((1, 2) if quick else (4, 8, 16), sweep))


def images_of_a_run(quick: bool) -> Iterator[str]:
    """Of 8 cells; and with all of them in the cache."""

    def run(folder: Path, n: int) -> Taken:
        return evaluate(folder, *command(folder, n, FOUR, f"cache={folder / 'cache'}"))

    def again(folder: Path, n: int) -> Taken:
        run(folder, n)
        shutil.rmtree(folder / "run")
        return run(folder, n)

    yield row("images of a run", in_new_folders((2, 4) if quick else (20, 40, 80), run))
    yield row("images of a run, all cached", in_new_folders((2, 4) if quick else (20, 40, 80), again))


REPORT = """if True:
    import sys
    from pathlib import Path
    from invsmooth.records.rows import read_rows
    from invsmooth.reporting.artefacts import tables
    from invsmooth.reporting.averages import Averages
    from invsmooth.reporting.methods import read_runs, with_methods
    rows, declared = read_rows(sorted(p.parent for p in Path(sys.argv[1]).glob("*/results.parquet")))
    runs = read_runs(rows)
    averages = Averages(with_methods(rows, runs), declared)
    print(len(rows), len(list(tables(averages, runs))))
"""


def rows_of_a_report(quick: bool) -> Iterator[str]:
    """Runs with more and more images: rows, averages and tables."""
    n_runs = 10

    def report(folder: Path, n: int) -> Taken:
        per_image = 3 * 3 * 3
        for path in write_many(folder, n_runs, images=1):
            table = pq.read_table(path / "results.parquet")
            copies = math.ceil(n / n_runs / per_image)
            names = pa.array([f"image {k}" for k in range(copies) for _ in range(per_image)], pa.string())
            whole = pa.concat_tables([table] * copies)
            column = whole.column_names.index("image")
            pq.write_table(whole.set_column(column, "image", names), path / "results.parquet")
        return measured(["-c", REPORT, str(folder)])

    yield row("rows of a report", in_new_folders((1000, 2000) if quick else (10_000, 100_000, 1_000_000), report))


def plan(quick: bool) -> Iterator[str]:
    """The plans of 10⁶ cells, and of 1 % of them."""
    with tempfile.TemporaryDirectory() as name:
        folder, most = Path(name), 2 if quick else 500
        own = command(folder, 10, FOUR if quick else TEN, f"cache={folder / 'cache'}", f"launcher={launcher()}")
        for n in (max(1, most // 100), most):
            found = evaluate(folder, "--multirun", *own, f"seed=range(0,{n})", "sweep=plan")
            yield (
                f"| plan of {n} jobs, {n * PER_JOB:,} cells, `launcher={launcher()}` | | {found.seconds:.0f} s, "
                f"{found.cpu:.0f} CPU s, {found.mebibytes:.0f} MiB; about: {about(found.out)} |"
            )


def run_of_one_percent(quick: bool) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder, n = Path(name), 1 if quick else 5
        own = command(folder, 10, FOUR if quick else TEN, f"cache={folder / 'cache'}", f"launcher={launcher()}")
        found = evaluate(folder, "--multirun", *own, f"seed=range(0,{n})")
        each = [json.loads(p.read_text())["seconds"] for p in (folder / "sweep").glob("*/run.json")]
        yield (
            f"| run of {n} of these jobs, `launcher={launcher()}` | | {found.seconds:.0f} s, {found.cpu:.0f} CPU s, "
            f"{found.mebibytes:.0f} MiB; the jobs together {sum(each):.0f} s |"
        )
        files = Counter(p.relative_to(folder).parts[0] for p in folder.rglob("*") if p.is_file())
        size = sum(p.stat().st_size for p in (folder / "cache").rglob("*") if p.is_file()) / 2**20
        yield f"| its files | | cache: {files['cache']} ({size:.0f} MiB), run folders: {files['sweep']} |"


def launcher() -> str:
    """Ray's in its own environment, which has no joblib."""
    return "ray" if find_spec("ray") else "joblib"


def about(out: str) -> str:
    """The last column of the last line of a plan."""
    return re.findall(r"│\s*([\d.,]+ (?:s|min|h))\s*│", out)[-1]


def files(quick: bool) -> Iterator[str]:
    """File operations in the cache for one image; and their time where each takes two milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = command(folder, 1, FOUR if quick else TEN, f"cache={folder / 'cache'}")
        for state in ("new", "cached"):
            traced = folder / "trace"
            tool = shutil.which("strace")
            if tool is None:
                yield "| file operations | | strace is not installed |"
                return
            subprocess.run(
                [tool, "-f", "-e", "trace=file,flock,fsync,fdatasync", "-o", traced, sys.executable, "-m",
                 "invsmooth.evaluate", *own, f"hydra.run.dir={folder / 'run'}"],
                check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            calls = Counter(
                re.findall(rf'^\d+ +(\w+)\([^"\n]*"{re.escape(str(folder / "cache"))}', traced.read_text(), re.M)
            )
            kept = sum(p.is_file() for p in (folder / "cache").rglob("*"))
            told = ", ".join(f"{call} {n}" for call, n in calls.most_common())
            yield f"| file operations, one image, {state} | | {kept} files; {calls.total()} operations: {told} |"
        for delay in (0.0, 0.002):
            shutil.rmtree(folder / "cache")
            arguments = ["-c", SLOW, str(folder / "cache"), str(delay), "invsmooth.evaluate", *own]
            taken = measured([*arguments, f"hydra.run.dir={folder / 'run'}"])
            yield f"| one image, new, where each of these waits {1000 * delay:g} ms | | {taken.seconds:.1f} s |"


PARTS: dict[str, Callable[[bool], Iterator[str]]] = {
    "jobs": jobs, "images": images_of_a_run, "rows": rows_of_a_report, "plan": plan, "run": run_of_one_percent,
    "files": files,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    options = parser.parse_args()
    print(f"`make bench-scale`, {date.today()}: {machine()}, load {os.getloadavg()[0]:.1f}.\n")
    print("| | exponent | |\n| --- | --- | --- |", flush=True)
    for name in options.only.split(","):
        for line in PARTS[name](options.quick):
            print(line, flush=True)


if __name__ == "__main__":
    main()
