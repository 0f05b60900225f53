"""``make package``: install wheel and source archive, each into a fresh environment, and use them from an empty folder whose
name has a space, with no git on the path: ``PYTHON tests/packaging/install.py [--constraint FILE] DIST...``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPTS = ("train", "evaluate", "report", "data", "verify", "audit")
PYTHON = """
import pathlib, sys, torch, invsmooth
assert pathlib.Path(invsmooth.__file__).is_relative_to(sys.prefix), invsmooth.__file__
from invsmooth import Identity, Ridge, certify, pgd
x = torch.rand(1, 1, 16, 16)
found = pgd(Ridge(0.1), Identity(), x, eps=0.1, n_iter=2)
bound = certify(Ridge(0.1), Identity(), x + found.xi, sigma=0.1, eps=[0.05], n_samples=60).bound
assert bound.isfinite().all(), bound
print(sys.version.split()[0], torch.__version__, invsmooth.__version__, float(bound))
"""
QUICKSTART = [
    "experiment=quickstart", "task.epochs=1", "trainer.max_steps=2", "trainer.num_threads=1", "trainer.progress_bar=false",
    "data.limit=1", "data.crop=66", "data.val_crop=66", "task.n_patches=16", "task.batch_size=8",
    "attack.eps=[0,0.1]", "attack.n_iter=2", "attack.check_samples=2", "certify.sigma=12", "certify.n_samples=60",
]  # fmt: skip
"""The demo of README with its four jobs, shortened to seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/packaging/install.py")
    parser.add_argument("packages", nargs="+", type=Path, metavar="DIST", help="wheel or source archive")
    parser.add_argument("--constraint", type=Path, help="versions of the dependencies")
    options = parser.parse_args()
    pinned = ["-c", str(options.constraint.resolve())] if options.constraint else []
    for package in options.packages:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="invsmooth package ") as folder:
            try_out(package.resolve(), Path(folder), pinned)
        print(
            f"{package.name} on Python {sys.version.split()[0]}: installed and used in {time.monotonic() - start:.0f} s"
        )


def try_out(package: Path, folder: Path, pinned: list[str]) -> None:
    environment, empty = folder / "venv", folder / "an empty folder"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    scripts = environment / "bin"
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned]
    subprocess.run([*pip, package], check=True, cwd=empty)
    subprocess.run([scripts / "python", "-m", "pip", "check"], check=True, cwd=empty)
    # Nothing of this checkout, and no git.
    variables = {"PATH": str(scripts), "HOME": str(folder), "OMP_NUM_THREADS": "1"}

    def use(program: str, *arguments: str) -> str:
        done = subprocess.run([scripts / program, *arguments], cwd=empty, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(
                f"error: {program} {' '.join(arguments)[:200]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return done.stdout

    print(use("python", "-W", "error::SyntaxWarning", "-c", PYTHON), end="", flush=True)
    for name in SCRIPTS:
        assert use(f"invsmooth-{name}", "--help"), name
    use("invsmooth-train", *QUICKSTART)
    (sweep,) = (empty / "outputs" / "sweeps").iterdir()
    assert (sweep / "report" / "index.html").is_file(), sorted(sweep.iterdir())
    rows = list(sweep.glob("*/results.parquet"))
    assert len(rows) == 4, rows
    print(use("invsmooth-verify", str(sweep)).splitlines()[-1])
    use("invsmooth-report", "runs=outputs/sweeps/*", "out=report")
    assert (empty / "report" / "index.html").is_file()
    assert {path.name for path in empty.iterdir()} == {"outputs", "report"}


if __name__ == "__main__":
    main()
