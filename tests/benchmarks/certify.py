"""``make bench``: what certifying S draws costs against the bare batched forward passes of the same S inputs, side by side,
and the peak memory over S.

Every variant makes 64 draws and the reference. Prints ratios of medians; a benchmark, not a test.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from invsmooth.certificates import certify
from invsmooth.config.cli import keep_memory
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import DPDNN, Estimator, ISTANetPP, MatchedFilter
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.base import Operator
from tests.certificates.together import certify_all

N_SAMPLES, CHUNK, SIDE = 64, 8, 165
EPS = [0.002 * k for k in range(20)]
MEMORY_SIDE, MEMORY_SAMPLES = 256, (50, 250, 500, 2500, 5000, 10_000)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def variants(estimator: Estimator, operator: Operator) -> dict[str, Callable[[], object]]:
    x = torch.rand(1, 1, SIDE, SIDE)
    y = operator.A(x)
    batch = y.expand(CHUNK, *y.shape[1:]).contiguous()
    common = {"sigma": 0.1, "n_samples": N_SAMPLES, "chunk_size": CHUNK}

    def bare() -> None:
        for _ in range(N_SAMPLES // CHUNK):
            estimator(batch, operator)

    def several(*certifiers: str, eps: Sequence[float] = EPS, **fewer: int) -> Callable[[], object]:
        options = common | fewer
        return lambda: certify_all(
            estimator, operator, y, certifiers=certifiers, eps=eps, x=x, threshold=0.01, **options
        )

    of_mean = {"n_samples": N_SAMPLES - 8, "n_centre": 8}
    of_center = {"n_samples": N_SAMPLES // 2, "n_centre": 8, "n_pred": N_SAMPLES // 4}

    return {
        "bare": bare,
        "the noise of these draws alone": lambda: smoothing_noise((1, SIDE, SIDE), 0, N_SAMPLES, 0, "benchmark"),
        "as many numbers of torch.randn": lambda: torch.randn(N_SAMPLES, 1, SIDE, SIDE),
        "1 radius": lambda: certify(estimator, operator, y, eps=EPS[0], **common),
        "20 radii": lambda: certify(estimator, operator, y, eps=EPS, **common),
        "20 radii, discrepancy, error and radius": several("discrepancy", "error", "radius"),
        "20 radii, mean, S_0 = 8, S = 56": several("mean", **of_mean),
        "20 radii, all but center, S_0 = 8, S = 56": several("discrepancy", "error", "radius", "mean", **of_mean),
        "1 radius, center, n_pred = 16, S = 32": several("center", eps=EPS[:1], **of_center),
        "20 radii, all, n_pred = 16, S_0 = 8, S = 32": several(
            "discrepancy", "error", "radius", "mean", "center", **of_center
        ),
    }


@torch.no_grad()
def time_overhead() -> None:
    print(f"{torch.get_num_threads()} threads, S = {N_SAMPLES}, chunks of {CHUNK}, medians of alternating rounds")
    cases = {
        f"ISTA-Net++ 6×16, {SIDE}×{SIDE}, 5 rounds": (ISTANetPP(6, 16), BlockGaussian(0.1), 5),
        f"DPDNN 2×16, {SIDE}×{SIDE}, 5 rounds": (DPDNN(2, 16), Identity(), 5),
        f"ISTA-Net++ 20×32 (as published), {SIDE}×{SIDE}, 2 rounds": (ISTANetPP(), BlockGaussian(0.1), 2),
    }
    for name, (estimator, operator, rounds) in cases.items():
        estimator.eval()
        runs = variants(estimator, operator)
        times: dict[str, list[float]] = {k: [] for k in runs}
        for _ in range(1 + rounds):
            for k, run in runs.items():
                times[k].append(seconds(run))
        medians = {k: statistics.median(v[1:]) for k, v in times.items()}
        print(f"{name}: bare forward passes {medians['bare']:.2f} s")
        for k in list(runs)[1:]:
            print(f"  {k}: {medians[k] / medians['bare']:.4f} ×")


@torch.no_grad()
def time_many() -> None:
    """More draws than a dense matrix takes, from a temporary file."""
    estimator, y = DPDNN(2, 16).eval(), torch.rand(1, 1, MEMORY_SIDE, MEMORY_SIDE)
    batch = y.expand(CHUNK, -1, -1, -1).contiguous()
    n_centre, n_samples = 96, 1104
    options = {"sigma": 0.1, "eps": EPS, "n_samples": n_samples, "n_centre": n_centre, "certifier": "mean"}
    bare = seconds(lambda: [estimator(batch, Identity()) for _ in range((n_centre + n_samples) // CHUNK)])
    taken = seconds(lambda: certify(estimator, Identity(), y, **options))
    print(f"DPDNN 2×16, {MEMORY_SIDE}×{MEMORY_SIDE}, once: {n_centre + n_samples} bare forward passes {bare:.1f} s")
    print(f"  20 radii, mean, S_0 = {n_centre}, S = {n_samples}: {taken / bare:.3f} ×")


def peak_memory(certifier: str, n_samples: int) -> None:
    """Print this process's peak memory in MiB (Linux) after a certificate of one image with a trivial estimator, and the
    seconds that it took."""
    y = torch.rand(1, 1, MEMORY_SIDE, MEMORY_SIDE)
    options = {"sigma": 0.1, "eps": EPS, "n_samples": n_samples, "certifier": certifier}
    taken = seconds(lambda: certify(MatchedFilter(), Identity(), y, **options))
    # Not ru_maxrss, which starts at the size of the process that started this one.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak) / 1024, taken)


def memory_over_samples() -> None:
    print(f"peak memory of the process, one {MEMORY_SIDE}×{MEMORY_SIDE} image, a trivial network, S = {MEMORY_SAMPLES}")
    for certifier in ("discrepancy", "mean"):
        found = []
        for n_samples in MEMORY_SAMPLES:
            command = [sys.executable, "-m", "tests.benchmarks.certify", certifier, str(n_samples)]
            peak, taken = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            found.append(f"{float(peak):.0f} MiB ({float(taken):.1f} s)")
        print(f"  {certifier}: {', '.join(found)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak_memory(sys.argv[1], int(sys.argv[2]))
    else:
        keep_memory()
        time_overhead()
        time_many()
        memory_over_samples()
