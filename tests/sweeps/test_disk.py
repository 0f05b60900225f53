"""A full disk, a read-only one and damaged files: a clear error or a recomputation, nothing half-written, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.forked import SWEEP, beside, events, printed, rows, start

pytestmark = pytest.mark.slow

SMALL = [*SWEEP, "algo=ord", "certify.sigma=25", "seed=0,1"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small file system of its own; called with mount options it is mounted, or mounted anew."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", "remount"] if folder.is_mount() else []
        done = subprocess.run(["mount", "-t", "tmpfs", *again, "-o", options, "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr.decode().strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True)


def ends_with(root: Path, code: int) -> str:
    """Run the sweep to its end; what it printed."""
    process = start(root, *SMALL)
    process.join(300)
    assert process.exitcode == code, printed(root)[-3000:]
    return printed(root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    ends_with(root, 0)
    return root


def left_behind(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.name.endswith(".tmp")]


def test_full_disk(disk, undisturbed: Path) -> None:
    root = disk("size=900k")
    log = ends_with(root, 2)
    assert "No space left on device" in log
    assert "free some space" in log
    assert left_behind(root) == []
    for path in root.rglob("results.parquet"):  # what there is, is whole
        pd.read_parquet(path)
    disk("size=64m")
    ends_with(root, 0)
    pd.testing.assert_frame_equal(rows(root), rows(undisturbed))


def test_read_only_disk(disk) -> None:
    root = disk("size=64m")
    (root / "outputs").mkdir()
    subprocess.run(["mount", "--bind", root / "outputs", root / "outputs"], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", root / "outputs"], check=True)
    try:
        assert "Read-only file system" in ends_with(root, 2)
    finally:
        subprocess.run(["umount", "-l", root / "outputs"], check=True)


def test_damaged_cache_is_recomputed(undisturbed: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(undisturbed, root)
    shutil.copy(beside(undisturbed, "events"), beside(root, "events"))
    cache = root / "outputs" / "cache"
    files = [next(cache.glob(f"{kind}/*/*")) for kind in ("cells", "attack", "errors")]
    files += [next(cache.glob("trainings/*/checkpoints/best.ckpt"))]
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    for path in cache.glob("cells/*/*"):
        if path not in files:
            path.unlink()
    log = ends_with(root, 0)
    assert log.count("is damaged") == len(files)
    pd.testing.assert_frame_equal(rows(root), rows(undisturbed))
    assert len([key for what, key in events(root) if what == "safe"]) == 6 + 4 + 1  # cells and trainings
