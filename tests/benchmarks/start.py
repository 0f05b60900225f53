"""``python -m tests.benchmarks.start``: seconds that the commands and imports take, and until a first training step.

Medians of 5 processes each, wall clock and CPU. ``--out FILE.json`` writes them to a file, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMANDS = ("train", "evaluate", "report", "verify", "audit", "data")
IMPORTS = ("invsmooth", "invsmooth.certificates")
FIRST_STEP = "first training step of the quickstart"
# One of the quickstart's tasks, which ends at its first step: what comes before is the same in a whole quickstart.
QUICKSTART = ("experiment=quickstart", "hydra.sweeper.params.task=cs_small", "cache=null", "report=false")
STOP = """if True:
    import json, os, sys, time
    import invsmooth.train

    def first_step(self, *_):
        times = os.times()
        print(json.dumps([time.time(), times.user + times.system]), flush=True)
        os._exit(0)

    class Finder:
        '''Puts the end of this process into ordinary training when that is imported, and imports nothing before.'''

        def find_spec(self, name, path=None, target=None):
            if name != "invsmooth.training.fit":
                return None
            sys.meta_path.remove(self)
            from invsmooth.training.ord import Ord
            Ord.accumulate_gradients = first_step
            return None

    sys.meta_path.insert(0, Finder())
    invsmooth.train.main()
"""


def in_process(arguments: Sequence[str], **options: Any) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a Python process."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, **options)
    seconds, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


def help_of(command: str) -> tuple[float, float]:
    return in_process(["-m", f"invsmooth.{command}", "--help"])


def import_of(module: str) -> tuple[float, float]:
    return in_process(["-c", f"import {module}"])


def first_step() -> tuple[float, float]:
    """Seconds from the start of a process to the moment before its first gradient."""
    with tempfile.TemporaryDirectory() as folder:
        environment, started = os.environ | {"INVSMOOTH_ROOT": folder}, time.time()
        said = subprocess.run(
            [sys.executable, "-c", STOP, *QUICKSTART], env=environment, stdout=subprocess.PIPE, check=True, text=True
        ).stdout  # fmt: skip
    ended, used = json.loads(said.strip().splitlines()[-1])
    return ended - started, used


def measure(n_runs: int = 5, commands: Sequence[str] = COMMANDS) -> dict[str, dict[str, float]]:
    """What is timed -> the median seconds by the clock and of the CPU."""
    tasks = {f"{command} --help": (help_of, command) for command in commands}
    tasks |= {f"import {module}": (import_of, module) for module in IMPORTS}
    runs = {name: [run(of) for _ in range(n_runs)] for name, (run, of) in tasks.items()}
    runs[FIRST_STEP] = [first_step() for _ in range(n_runs)]
    return {
        name: {"seconds": round(statistics.median(s for s, _ in times), 3),
               "cpu_seconds": round(statistics.median(c for _, c in times), 3)}
        for name, times in runs.items()
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--runs", type=int, default=5, help="of which the median is taken")
    options = parser.parse_args(arguments)
    found = measure(options.runs)
    print("| what | s | CPU s |\n| --- | --- | --- |")
    for name, times in found.items():
        print(f"| {name} | {times['seconds']:.2f} | {times['cpu_seconds']:.2f} |")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
