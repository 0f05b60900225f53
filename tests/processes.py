"""Commands as a user runs them, each in a process of its own that starts at once: forked from one that has imported torch,
Lightning and ours. That import takes most of a small command's time."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.sweeps.preload"])


def forked(
    module: str, *arguments: str, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """What ``python -m invsmooth.MODULE ARGUMENTS`` prints, and its exit code. Not for processes that start others by
    ``sys.argv`` or import ``__main__`` again (DDP, joblib)."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        process = SERVER.Process(target=child, args=(module, arguments, str(cwd), dict(env), *paths))
        process.start()
        process.join(timeout)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        said = [Path(path).read_text(encoding="utf-8") if Path(path).exists() else "" for path in paths]
    if late:
        raise subprocess.TimeoutExpired([module, *arguments], timeout, *said)
    assert process.exitcode is not None
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, *said)


def child(module: str, arguments: list[str], cwd: str, env: dict[str, str], stdout: str, stderr: str) -> None:
    # Descriptors, so that the output of whatever this process starts is there, too.
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = ["", *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [f"invsmooth/{module}.py", *arguments]
    sys.orig_argv = [sys.executable, "-m", f"invsmooth.{module}", *arguments]  # what a run notes of its command
    try:
        import_module({"data": "invsmooth.data.__main__"}.get(module, f"invsmooth.{module}")).main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
