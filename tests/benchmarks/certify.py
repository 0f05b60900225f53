"""``make bench``: what certifying S draws costs against the bare batched forward passes of the same S inputs, side by side.

Prints ratios of medians; a benchmark, not a test.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from invsmooth.certificates import certify
from invsmooth.cli import keep_memory
from invsmooth.estimators import DPDNN, ISTANetPP
from invsmooth.operators import BlockGaussian, Identity

N_SAMPLES, ROUNDS, CHUNK = 64, 5, 8


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


@torch.no_grad()
def main() -> None:
    keep_memory()
    print(
        f"{torch.get_num_threads()} threads, S = {N_SAMPLES}, chunks of {CHUNK}, medians of {ROUNDS} alternating rounds"
    )
    cases = {
        "ISTA-Net++ 6×16, 165×165": (ISTANetPP(6, 16), BlockGaussian(0.1)),
        "DPDNN 2×16, 165×165": (DPDNN(2, 16), Identity()),
    }
    for name, (estimator, operator) in cases.items():
        estimator.eval()
        y = operator.A(torch.rand(1, 1, 165, 165))
        batch = y.expand(CHUNK, *y.shape[1:]).contiguous()

        def bare(estimator=estimator, operator=operator, batch=batch) -> None:
            for _ in range(N_SAMPLES // CHUNK):
                estimator(batch, operator)

        def certified(n_radii: int, estimator=estimator, operator=operator, y=y) -> None:
            eps = [0.002 * k for k in range(n_radii)]
            certify(estimator, operator, y, sigma=0.1, eps=eps, n_samples=N_SAMPLES, chunk_size=CHUNK)

        variants = {"bare": bare, "1 radius": lambda c=certified: c(1), "20 radii": lambda c=certified: c(20)}
        times: dict[str, list[float]] = {k: [] for k in variants}
        for _ in range(1 + ROUNDS):
            for k, variant in variants.items():
                times[k].append(seconds(variant))
        medians = {k: statistics.median(v[1:]) for k, v in times.items()}
        ratios = ", ".join(f"{k} {medians[k] / medians['bare']:.3f} ×" for k in list(variants)[1:])
        print(f"{name}: bare forward passes {medians['bare']:.2f} s; certify: {ratios}")


if __name__ == "__main__":
    main()
