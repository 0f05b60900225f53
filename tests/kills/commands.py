"""The commands that are killed, what they end with, and how to start them."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from invsmooth.data.published import Published
from invsmooth.records.rows import KEY
from tests.data.server import Server, serving
from tests.processes import SERVER, child

SMALL = (
    "task=cs", "scale=paper", "estimator.n_phases=1", "estimator.channels=4", "data.crop=33", "data.limit=2",
    "operator.ratio=0.1", "operator.train_ratio=[0.1,0.3]", "attack.eps=[0,0.1]", "attack.n_iter=2",
    "attack.check_samples=8", "certify=all", "certify.sigma=25", "certify.n_samples=24", "certify.pictures=1",
    "task.n_patches=24", "task.batch_size=4", "trainer.max_epochs=2", "trainer.progress_bar=false",
    "trainer.num_threads=1", "report=false",
)  # fmt: skip
"""A training and an evaluation of two seconds."""
ROOT = Path(__file__).parents[2]
VARIES = ("train/seconds_per_batch", "train/peak_memory_mb")  # from run to run
Result = Mapping[str, Any]
"""What a command ends with, by name: data frames, or the hashes of files."""


class Running:
    """A command that runs in ``folder``, forked from a process that has imported everything."""

    def __init__(self, module: str, arguments: tuple[str, ...], folder: Path, **more: Any) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "INVSMOOTH_ROOT": "."}
        log = str(folder.with_name(f"{folder.name}.log"))
        self.process = SERVER.Process(target=begin, args=(module, arguments, str(folder), environment, log, more))
        self.process.start()

    def wait(self, seconds: float) -> int | None:
        """The exit code; None: it still runs."""
        self.process.join(max(seconds, 0.0))
        return self.process.exitcode

    def kill(self, alone: bool) -> None:
        self.process.kill()
        self.process.join()


def begin(
    module: str, arguments: tuple[str, ...], folder: str, environment: dict[str, str], log: str, more: dict[str, Any]
) -> None:
    if "published" in more:
        from invsmooth.data.sets import Set12

        Set12.parts = {"test": more["published"]}
    child(module, [*arguments], folder, environment, log, log)


class InNewPython(Running):
    """One whose workers import its main module again; they belong to its session."""

    def __init__(self, module: str, arguments: tuple[str, ...], folder: Path) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "INVSMOOTH_ROOT": "."}
        with folder.with_name(f"{folder.name}.log").open("a") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", f"invsmooth.{module}", *arguments], cwd=folder, env=environment, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self, seconds: float) -> int | None:
        try:
            return self.popen.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return None

    def kill(self, alone: bool) -> None:
        if alone:
            self.popen.kill()
        else:
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Command:
    """One that trains, in a run folder of its own each time."""

    name = "train"
    arguments: tuple[str, ...] = SMALL

    def prepare(self, folder: Path) -> None:
        """What has to be there before it starts."""

    def start(self, folder: Path) -> Running:
        return Running("train", self.arguments, folder)

    def result(self, folder: Path) -> Result:
        run = max((folder / "outputs" / "cs_ord").iterdir())
        return {"rows": rows(run), "curve": curve(run)}


class InOneFolder(Command):
    name = "train in one folder"

    def start(self, folder: Path) -> Running:
        return Running("train", (*self.arguments, "hydra.run.dir=run"), folder)

    def result(self, folder: Path) -> Result:
        return {"rows": rows(folder / "run"), "curve": curve(folder / "run")}


class Sweep(Command):
    name = "sweep"
    arguments = ("--multirun", *SMALL, "algo=ord,jcb", "certify.sigma=12,25")

    def start(self, folder: Path) -> Running:
        return Running("train", self.arguments, folder)

    def result(self, folder: Path) -> Result:
        sweep = max((folder / "outputs" / "sweeps").iterdir())
        curves = {f"curve {job.parent.name}": curve(job.parent) for job in sorted(sweep.glob("*/metrics.csv"))}
        return {"rows": rows(sweep), **curves}


class JoblibSweep(Sweep):
    """Two jobs at once: each worker takes seconds to start."""

    name = "sweep with joblib"

    def start(self, folder: Path) -> Running:
        return InNewPython(
            "train", (*self.arguments, "certify.sigma=25", "launcher=joblib", "hydra.launcher.n_jobs=2"), folder
        )


class Report(Command):
    name = "report"

    def __init__(self) -> None:
        self.runs: list[Path] = []

    def prepare(self, folder: Path) -> None:
        """The runs, once."""
        if not self.runs:
            made = folder.with_name("reported")
            made.mkdir()
            for algo in ("ord", "jcb"):
                done = Running("train", (*SMALL, f"algo={algo}", f"hydra.run.dir={algo}"), made)
                assert done.wait(300) == 0, made.with_name(f"{made.name}.log").read_text()
            self.runs = [made / algo for algo in ("ord", "jcb")]

    def start(self, folder: Path) -> Running:
        runs = f"runs=[{','.join(map(str, self.runs))}]"
        return Running("report", (runs, "out=report"), folder)

    def result(self, folder: Path) -> Result:
        return files_below(folder / "report")


class Fetch(Command):
    name = "fetch"

    def __init__(self, published: Published) -> None:
        self.published = published

    def start(self, folder: Path) -> Running:
        return Running("data", ("prepare", "set12", "--root", "sets"), folder, published=self.published)

    def result(self, folder: Path) -> Result:
        return files_below(folder / "sets")


class FetchArchive(Fetch):
    name = "fetch an archive"


@contextmanager
def commands() -> Iterator[list[Command]]:
    """All, with a server of pictures that sends them slowly."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(Server(pause=0.02)))
        pictures = {f"{k}.png": noise(k) for k in range(4)}
        known = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in pictures.items()}
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in pictures.items():
                archive.writestr(f"Set/{name}", content)
        server.files = {f"/set/{name}": content for name, content in pictures.items()} | {"/Set.zip": packed.getvalue()}
        loose = Published("set12", ("set12",), tuple(pictures), known, "", f"{server.url}/set/")
        zipped = Published("set12", ("set12/Set",), tuple(pictures), {}, "", f"{server.url}/Set.zip")
        started = SERVER.Process(target=int)  # the fork server, which takes seconds to import all
        started.start()
        started.join()
        report = Report()
        yield [
            Command(), Sweep(), report, Fetch(loose),
            InOneFolder(), JoblibSweep(), report, FetchArchive(zipped),
        ]  # fmt: skip


def noise(seed: int) -> bytes:
    """A picture of 300 kB."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (550, 550), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def rows(folder: Path) -> pd.DataFrame:
    """But for the time that they took."""
    found = pd.read_parquet(folder / "results.parquet").drop(columns="seconds")
    return found.sort_values(list(KEY), ignore_index=True)


def curve(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns=[*VARIES])


def files_below(folder: Path) -> dict[str, str]:
    """The hash of each file with a final name."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".tmp", ".lock") and p.name != ".lock"]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)}


def difference(one: Result, other: Result) -> str:
    """What differs, in a line; "" for nothing."""
    if one.keys() != other.keys():
        return f"only one of them has {', '.join(sorted(one.keys() ^ other.keys()))}"
    for name, value in one.items():
        if isinstance(value, pd.DataFrame):
            try:
                pd.testing.assert_frame_equal(value, other[name])
            except AssertionError as error:
                return f"{name}: {' '.join(str(error).split())}"
        elif value != other[name]:
            return f"{name} differs"
    return ""
