"""Commands that are told to end in the middle of a batch, or of an image, that would take days."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import SERVER, child

SMALL = ["task=cs_small", "estimator.n_phases=2", "estimator.channels=4", "data.limit=1", "data.crop=40",
         "task.batch_size=4", "trainer.progress_bar=false", "trainer.num_threads=1", "report=false"]  # fmt: skip
ENDLESS = [*SMALL, "algo=smt_adv", "algo.n_iter=1000000", "algo.n_samples=2"]
LIMIT = 5.0  # seconds


class Forked:
    """As much of Popen as :class:`Command` needs, for a process that starts at once."""

    def __init__(self, module: str, arguments: tuple[str, ...], folder: Path, log: Path) -> None:
        files = (str(folder), os.environ | {"OMP_NUM_THREADS": "1"}, str(log), str(log))
        self.process = SERVER.Process(target=child, args=(module, arguments, *files))
        self.process.start()

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, timeout: float) -> int | None:
        self.process.join(timeout)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def new_python(module: str, arguments: tuple[str, ...], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    # A shell's background job ignores SIGINT, nohup SIGHUP, and their children do so, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"invsmooth.{module}", *arguments],
            cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])
    return process


class Command:
    """A command that is interrupted once its log says ``wait_for``. In a new Python, or, ``forked``, at once."""

    def __init__(
        self, folder: Path, *arguments: str, wait_for: str, number: int, module: str = "train", forked: bool = False
    ) -> None:
        folder.mkdir(exist_ok=True)
        log = folder / "out.txt"
        log.write_text("")
        process = (Forked if forked else new_python)(module, arguments, folder, log)
        try:
            until = time.monotonic() + 150
            while wait_for not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            time.sleep(1)
            began = time.monotonic()
            process.send_signal(number)
            self.code = process.wait(60)
            self.seconds = time.monotonic() - began
        finally:
            process.kill()
        self.out = log.read_text()
        self.records = [json.loads(p.read_text()) for p in folder.glob("outputs/**/run.json")]


def check(done: Command, code: int, name: str) -> None:
    assert done.code == code, done.out
    assert done.seconds < LIMIT, done.out
    assert [r["status"] for r in done.records] == ["interrupted"]
    assert done.records[0]["error"] == f"Interrupted: {name}"
    assert "Traceback" not in done.out
    assert done.out.count("interrupted by") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_within_a_batch(tmp_path: Path, name: str, code: int) -> None:
    done = Command(tmp_path, *ENDLESS, wait_for="estimate: ", number=getattr(signal, name), forked=name != "SIGINT")
    check(done, code, name)
    assert "Faster: " in done.out
    assert f"interrupted by {name}: no batch was kept; the same command starts the training again" in done.out


@pytest.mark.slow
def test_within_an_attack(tmp_path: Path) -> None:
    arguments = [*SMALL, "trainer.max_steps=2", "task.n_patches=8", "attack.n_iter=10000000", "attack.eps=0.1"]
    done = Command(tmp_path, *arguments, wait_for="best validation PSNR", number=signal.SIGTERM, forked=True)
    check(done, 143, "SIGTERM")
    assert "interrupted by SIGTERM: the same command goes on (0 of 2 images are done)" in done.out


@pytest.mark.slow
def test_within_a_certification(tmp_path: Path) -> None:
    arguments = ["task=denoise", "estimator=tv", "data.limit=1", "data.crop=40", "certify.n_samples=10000000",
                 "attack.eps=0", "certify.sigma=25", "trainer.progress_bar=false", "report=false"]  # fmt: skip
    done = Command(tmp_path, *arguments, wait_for="attacks in", number=signal.SIGTERM, module="evaluate",
                   forked=True)  # fmt: skip
    check(done, 143, "SIGTERM")


@pytest.mark.slow
def test_a_job_of_a_sweep_ends_the_sweep(tmp_path: Path) -> None:
    done = Command(tmp_path, "--multirun", *ENDLESS, "seed=0,1", wait_for="estimate: ", number=signal.SIGTERM,
                   forked=True)  # fmt: skip
    check(done, 143, "SIGTERM")
    assert len(list(tmp_path.glob("outputs/sweeps/*/[01]_*"))) == 1


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """The first one, which the user knows of, ends the other."""
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = Command(tmp_path, *ENDLESS, *two, wait_for="estimate: ", number=signal.SIGTERM)
    check(done, 143, "SIGTERM")
    until = time.monotonic() + 10
    while left := [p for p in Path("/proc").glob("[0-9]*/cwd") if of(p) == tmp_path]:
        assert time.monotonic() < until, left
        time.sleep(0.2)


def of(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:  # another user's, or gone
        return None


@pytest.mark.slow
def test_the_same_command_goes_on(tmp_path: Path) -> None:
    """Of short batches the running one is finished, and all are kept."""
    arguments = [*SMALL, "algo=ord", "task.n_patches=40000", "trainer.max_steps=9000"]
    done = Command(tmp_path, *arguments, wait_for="estimate: ", number=signal.SIGTERM, forked=True)
    check(done, 143, "SIGTERM")
    told = next(line for line in done.out.splitlines() if line.startswith("interrupted by"))
    batch = int(told.removeprefix("interrupted by SIGTERM: the same command goes on from batch "))
    assert batch > 2
    again = Command(tmp_path, *arguments, wait_for="estimate: ", number=signal.SIGTERM, forked=True)
    assert f"an interrupted training goes on after {batch - 1} batches" in again.out
