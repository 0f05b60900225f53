"""``make bench-certify``: seconds of a certificate, relative to plain forward passes of as many inputs; the memory over S.

Every variant makes 64 draws and the reference. It prints ratios of medians.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from invsmooth.certificates import (
    Center,
    Certifier,
    Discrepancy,
    Error,
    Mean,
    Radius,
    Smoothing,
    certify,
    certify_all,
)
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import DPDNN, Estimator, ISTANetPP, LipNet, MatchedFilter
from invsmooth.lipschitz.constants import in_float64
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.base import Operator

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
    percentile = Discrepancy(), Error(), Radius(threshold=0.01)

    def plain() -> None:
        for _ in range(N_SAMPLES // CHUNK):
            estimator(batch, operator)

    def certified(n_samples: int, *certifiers: Certifier, radii: int = len(EPS)) -> Callable[[], object]:
        smoothing = Smoothing(sigma=0.1, n_samples=n_samples, chunk_size=CHUNK)
        return lambda: certify_all(estimator, operator, y, certifiers, smoothing, eps=EPS[:radii], x=x)

    mean, center = Mean(n_centre=8), Center(n_pred=N_SAMPLES // 4)
    return {
        "plain": plain,
        "the noise of these draws alone": lambda: smoothing_noise((1, SIDE, SIDE), 0, N_SAMPLES, 0, "benchmark"),
        "as many numbers of torch.randn": lambda: torch.randn(N_SAMPLES, 1, SIDE, SIDE),
        "1 radius": certified(N_SAMPLES, Discrepancy(), radii=1),
        "20 radii": certified(N_SAMPLES, Discrepancy()),
        "20 radii, discrepancy, error and radius": certified(N_SAMPLES, *percentile),
        "20 radii, mean, S_0 = 8, S = 56": certified(N_SAMPLES - 8, mean),
        "20 radii, all but center, S_0 = 8, S = 56": certified(N_SAMPLES - 8, *percentile, mean),
        "1 radius, center, n_pred = 16, S = 32": certified(N_SAMPLES // 2, center, radii=1),
        "20 radii, all, n_pred = 16, S_0 = 8, S = 32": certified(N_SAMPLES // 2, *percentile, mean, center),
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
        print(f"{name}: plain forward passes {medians['plain']:.2f} s")
        for k in list(runs)[1:]:
            print(f"  {k}: {medians[k] / medians['plain']:.4f} ×")


@torch.no_grad()
def time_many() -> None:
    """More draws than fit into a dense matrix: the draw buffer is a temporary file."""
    estimator, y = DPDNN(2, 16).eval(), torch.rand(1, 1, MEMORY_SIDE, MEMORY_SIDE)
    batch = y.expand(CHUNK, -1, -1, -1).contiguous()
    n_centre, n_samples = 96, 1104
    plain = seconds(lambda: [estimator(batch, Identity()) for _ in range((n_centre + n_samples) // CHUNK)])
    mean = Mean(n_centre=n_centre)
    taken = seconds(lambda: certify(estimator, Identity(), y, sigma=0.1, eps=EPS, n_samples=n_samples, certifier=mean))
    print(f"DPDNN 2×16, {MEMORY_SIDE}×{MEMORY_SIDE}, once: {n_centre + n_samples} plain forward passes {plain:.1f} s")
    print(f"  20 radii, mean, S_0 = {n_centre}, S = {n_samples}: {taken / plain:.3f} ×")


@torch.no_grad()
def time_lipschitz(rounds: int = 7) -> None:
    """A certificate by a Lipschitz constant against the reconstruction alone, both in float64."""
    y, operator = torch.rand(1, 1, MEMORY_SIDE, MEMORY_SIDE), Identity()
    estimator = LipNet().eval()
    precise, y64 = in_float64(estimator), y.double()
    ratios = []
    for _ in range(rounds):
        plain = seconds(lambda: precise(y64, operator))
        ratios.append(seconds(lambda: certify(estimator, operator, y, certifier="lipschitz", eps=EPS, x=y)) / plain)
    print(f"LipNet, {MEMORY_SIDE}×{MEMORY_SIDE}: certificate / reconstruction {statistics.median(ratios):.3f} ×")


def peak_memory(certifier: str, n_samples: int) -> None:
    """Print this process's peak memory in MiB (Linux) after one certificate with a trivial estimator, and its seconds."""
    y = torch.rand(1, 1, MEMORY_SIDE, MEMORY_SIDE)
    taken = seconds(
        lambda: certify(MatchedFilter(), Identity(), y, sigma=0.1, eps=EPS, n_samples=n_samples, certifier=certifier)
    )
    # Not ru_maxrss: it starts at the size of the parent process.
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
        time_lipschitz()
        memory_over_samples()
