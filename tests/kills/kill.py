"""Kill a command once, start it again, and compare."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tests.kills.commands import Command, Result, difference
from tests.kills.whole import half_written

LONGEST = 300.0  # seconds of a command


@dataclass(frozen=True)
class Undisturbed:
    """What a command ends with; when it wrote its first file, and when it ended, in seconds after its start."""

    result: Result
    begun: float
    ended: float


@dataclass(frozen=True)
class Kill:
    """What came of it. ``wrong`` is empty if all was as it has to be."""

    moment: float
    ended: bool  # before the moment
    wrong: list[str]


def undisturbed(command: Command, folder: Path) -> Undisturbed:
    folder.mkdir()
    command.prepare(folder)
    start, begun = time.monotonic(), None
    running = command.start(folder)
    while (code := running.wait(0.01)) is None:
        if begun is None and any(folder.iterdir()):
            begun = time.monotonic() - start
        if time.monotonic() - start > LONGEST:
            running.kill(alone=False)
    ended = time.monotonic() - start
    assert code == 0, said(folder)
    return Undisturbed(command.result(folder), begun or 0.0, ended)


def kill(command: Command, whole: Undisturbed, folder: Path, draw: random.Random) -> Kill:
    """Kill ``command`` at a moment of its work; the folder is removed if all is well."""
    folder.mkdir()
    command.prepare(folder)
    moment, alone = draw.uniform(0.9 * whole.begun, whole.ended), draw.random() < 0.5
    running = command.start(folder)
    ended = running.wait(moment) is not None
    running.kill(alone)
    wrong = list(half_written(folder))
    again = command.start(folder)
    code = again.wait(LONGEST)
    if code != 0:
        again.kill(alone=False)
        wrong.append(f"started again it ended with {code}: {said(folder)}")
    else:
        try:
            differs = difference(command.result(folder), whole.result)
        except OSError as error:
            differs = f"a file is missing: {error}"
        wrong += [differs] if differs else []
    wrong += list(half_written(folder))
    if not wrong:
        shutil.rmtree(folder)
    return Kill(moment, ended, wrong)


def said(folder: Path) -> str:
    log = folder.with_name(f"{folder.name}.log")
    return log.read_text(encoding="utf-8")[-3000:] if log.is_file() else ""
