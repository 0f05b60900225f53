"""``make bench-commands``: minutes of ``python -m invsmooth.train algo=A task=T scale=small``, start to report.

Five algorithms, both tasks, each from nothing (a cache of its own). *load* is that of the machine in the last 15 minutes.
Each result is saved when it is there (outputs/bench/commands.json); a second call makes what is missing.
``--only cs_ord,…``: these alone, again. ``--write`` renews the table in docs/performance.md."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

from tests.benchmarks.table import PAGE, machine
from tests.benchmarks.training import ALGORITHMS

BEGIN, END = "<!-- the table of make bench-commands -->", "<!-- end of the table of make bench-commands -->"
ASKED = 30  # minutes
OUT = Path("outputs/bench")
NAMES = [f"{task}_{algo}" for task, algo in product(("denoise", "cs"), ALGORITHMS)]


def measure(name: str, threads: int) -> dict[str, Any]:
    task, _, algo = name.partition("_")
    folder = OUT / "commands" / name
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        sys.executable, "-m", "invsmooth.train", f"algo={algo}", f"task={task}", "scale=small", f"cache={folder}/cache",
        f"hydra.run.dir={folder}/run", f"trainer.num_threads={threads}",
    ]  # fmt: skip
    folder.mkdir(parents=True)
    clock, started = time.perf_counter(), time.time()
    with (folder / "log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    minutes = (time.perf_counter() - clock) / 60
    trained = ((folder / "run/checkpoints/last.ckpt").stat().st_mtime - started) / 60
    found = {"minutes": minutes, "training": trained, "threads": threads, "load": os.getloadavg()[2]}
    return found | {"date": str(date.today()), "machine": machine()}


def table(found: dict[str, Any]) -> str:
    abouts = sorted({f"{f['date']}, {f['machine']}" for f in found.values()})
    lines = ["`make bench-commands`:", *(f"{about}." for about in abouts), ""]
    lines += ["| command | minutes | of them training | threads | load |", "| --- | --- | --- | --- | --- |"]
    for name in filter(found.__contains__, NAMES):
        task, _, algo = name.partition("_")
        f = found[name]
        lines.append(
            f"| `algo={algo} task={task}` | {f['minutes']:.1f} | {f['training']:.1f} | {f['threads']} | {f['load']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    kept = OUT / "commands.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in options.only.split(",") if options.only else [n for n in NAMES if n not in found]:
        found[name] = measure(name, options.threads)
        print(f"{name}: {found[name]['minutes']:.1f} minutes (asked: {ASKED})", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1))
    if options.write:
        made = f"{BEGIN}\n{table(found)}\n{END}"
        PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: made, PAGE.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
