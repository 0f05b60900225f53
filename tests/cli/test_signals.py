"""Commands that write no run folder, and sweeps with several processes, that are told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from invsmooth.config import cli
from invsmooth.core.signals import SIGNALS, Interrupted
from invsmooth.sweeps import launchers
from invsmooth.sweeps.launchers import jobs_end_too
from tests.cli.test_interruption import ENDLESS, of
from tests.processes import SERVER, child

ROOT = Path(__file__).parents[2]
WORK = {
    "report": ("invsmooth.reporting", "report", ["runs=run", "out=out"], "the same command writes all again"),
    "verify": ("invsmooth.verify", "examine", ["run"], "the same command checks all files again"),
    "data": ("invsmooth.data.__main__", "find_or_fetch", ["prepare", "set12", "--root", "."], "the same command goes on"),
}  # fmt: skip
"""Where the work of a command begins, its arguments, and what it says when it is interrupted."""


def begin(command: str, folder: str, log: str) -> None:
    module, name, arguments, _ = WORK[command]

    def endless(*_: object, **__: object) -> None:
        print("begun", flush=True)  # noqa: T201
        time.sleep(100)

    setattr(import_module(module), name, endless)
    child(command, [*arguments], folder, os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, log, log)


@pytest.mark.slow
@pytest.mark.parametrize("command", [*WORK])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_commands_say_how_to_go_on(command: str, name: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "run" / "certificates").mkdir(parents=True)
    (tmp_path / "run" / "certificates" / "a.json").write_text("{}")
    (tmp_path / "run" / "results.parquet").write_text("")
    log = tmp_path / "log"
    process = SERVER.Process(target=begin, args=(command, str(tmp_path), str(log)))
    process.start()
    until = time.monotonic() + 60
    while not (log.exists() and "begun" in log.read_text()):
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, getattr(signal, name))
    process.join(10)
    assert process.exitcode == code, log.read_text()
    assert f"interrupted by {name}: " in log.read_text()
    assert WORK[command][3] in log.read_text()
    assert "Traceback" not in log.read_text()


def processes_in(folder: Path) -> list[Path]:
    """Those that compute; the trackers of multiprocessing go a little later."""
    found = [p.parent for p in Path("/proc").glob("[0-9]*/cwd") if of(p) == folder]
    return [p for p in found if b"tracker" not in (p / "cmdline").read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "name"), [("joblib", "SIGINT"), ("joblib", "SIGKILL"), ("slurm_local", "SIGINT")])
def test_the_jobs_of_a_sweep_end_with_it(launcher: str, name: str, tmp_path: Path) -> None:
    """The signal goes to the command alone. Killed, it cannot say so: the workers see that it is gone."""
    pytest.importorskip("submitit" if launcher == "slurm_local" else "joblib")
    arguments = ["--multirun", *ENDLESS, "seed=0,1", f"launcher={launcher}", "hydra.sweep.dir=out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "invsmooth.train", *arguments], cwd=tmp_path, env=environment, stdout=log,
            stderr=log, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    try:
        until = time.monotonic() + 200
        while sum("estimate: " in p.read_text() for p in tmp_path.glob("out/*/train.log")) < 2:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.2)
        process.send_signal(getattr(signal, name))
        assert process.wait(20) == (130 if name == "SIGINT" else -signal.SIGKILL)
        until = time.monotonic() + 10
        while left := processes_in(tmp_path):
            assert time.monotonic() < until, left
            time.sleep(0.2)
    finally:
        process.kill()
        for left_over in processes_in(tmp_path):
            os.kill(int(left_over.name), signal.SIGKILL)
    ended = [json.loads(p.read_text())["status"] for p in tmp_path.glob("out/*/run.json")]
    assert ended == ["interrupted"] * 2
    if name == "SIGINT":
        assert "interrupted by SIGINT: the same command goes on" in (tmp_path / "log").read_text()


def test_a_job_that_could_not_say_so_is_noted_as_interrupted(tmp_path: Path) -> None:
    for number, status in enumerate(("running", "finished")):
        (tmp_path / f"{number}_job" / ".hydra").mkdir(parents=True)
        (tmp_path / f"{number}_job" / ".hydra" / "overrides.yaml").write_text("- seed=0")
        (tmp_path / f"{number}_job" / "run.json").write_text(json.dumps({"status": status}))
    cancelled: list[bool] = []
    with pytest.raises(Interrupted), jobs_end_too(tmp_path, lambda: cancelled.append(True)):
        raise Interrupted(128 + signal.SIGINT)
    assert cancelled
    records = [json.loads((tmp_path / f"{n}_job" / "run.json").read_text()) for n in (0, 1)]
    assert records == [{"status": "interrupted", "error": "Interrupted: SIGINT"}, {"status": "finished"}]


@pytest.mark.parametrize(("came", "cancelled"), [(signal.SIGINT, 1), (signal.SIGHUP, 0)])
def test_slurm_jobs_are_cancelled_by_ctrl_c_alone(came: int, cancelled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    launcher = SimpleNamespace(wrapped=SimpleNamespace(_EXECUTOR="slurm"))
    monkeypatch.setattr(SIGNALS, "pending", came)
    launchers.Submitit.cancel(launcher, [SimpleNamespace(cancel=lambda check: calls.append(check))])  # type: ignore[arg-type]
    assert calls == [False] * cancelled


@pytest.mark.parametrize("command", ["train", "report", "verify", "data"])
def test_interrupted_while_it_imports(command: str, tmp_path: Path) -> None:
    """A package that takes long to import stands for all."""
    for name in ("hydra", "rich"):
        (tmp_path / f"{name}.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", f"invsmooth.{command}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT  # of which a shell makes 130
    assert said == ""


def swallow(log: str) -> None:
    """A command in which a library makes an error of its own of the interruption."""

    def app() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except BaseException:
            raise ValueError("'NoneType' object has no attribute '_invalidate_flags_cache'") from None

    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["invsmooth/train.py"]
    cli.run(app)


def test_an_error_that_an_interruption_causes_is_the_interruption(tmp_path: Path) -> None:
    process = SERVER.Process(target=swallow, args=(str(tmp_path / "log"),))
    process.start()
    process.join(60)
    assert process.exitcode == 130
    assert "interrupted by SIGINT" in (tmp_path / "log").read_text()
    assert "NoneType" not in (tmp_path / "log").read_text()


def test_a_program_that_imports_the_package_keeps_its_handler() -> None:
    code = "import signal, invsmooth; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
