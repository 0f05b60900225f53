"""Where the weights are that ``ckpt=``, ``resume=`` and :func:`invsmooth.load_checkpoint` are given."""

from __future__ import annotations

import os
from pathlib import Path

BEST = Path("checkpoints") / "best.ckpt"
LAST = Path("checkpoints") / "last.ckpt"


def root() -> str:
    """Where ``outputs`` is: INVSMOOTH_ROOT, or the current folder if it is not set, or empty. A ~ at its start, which a file
    of settings does not replace, is the home folder."""
    return os.path.expanduser(os.environ.get("INVSMOOTH_ROOT") or ".")


def checkpoint_file(given: str | Path, name: Path = BEST) -> Path:
    """A path as it is; for a run folder, the best weights in it, or the checkpoint ``name``. What does not exist, such
    as ``study/cs_ord``, may name a run folder in ``outputs``."""
    path = Path(given)
    folder = path if os.path.lexists(path) else Path(root(), "outputs", path)
    return folder / name if os.path.isfile(folder / name) else path
