"""``python -m tests.kills``: KILLS (50) random kills, by KILLS_SEED (0); a line for each, exit code 1 on any difference."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.kills.commands import commands
from tests.kills.kill import Undisturbed, kill, undisturbed


def main() -> int:
    seed, count = int(os.environ.get("KILLS_SEED", "0")), int(os.environ.get("KILLS", "50"))
    draw, began, failed, late = random.Random(seed), time.monotonic(), 0, 0
    with commands() as known, tempfile.TemporaryDirectory(prefix="kills") as name:
        folder, found = Path(name), dict[str, Undisturbed]()
        for number in range(count):
            command = known[number % len(known)]
            if command.name not in found:
                found[command.name] = undisturbed(command, folder / f"undisturbed-{number}")
            whole = found[command.name]
            done = kill(command, whole, folder / f"kill-{number}", draw)
            outcome = "; ".join(done.wrong) or "the same"
            when = f"{'ended before' if done.ended else 'killed after'} {done.moment:5.2f} of {whole.ended:5.2f} s"
            print(f"{number + 1:3} {command.name:20} {when}: {outcome}", flush=True)
            failed += bool(done.wrong)
            late += done.ended
    took = time.monotonic() - began
    print(f"seed {seed}: {count} kills, {late} of them too late, {failed} with a difference, {took:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
