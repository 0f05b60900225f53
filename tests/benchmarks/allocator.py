"""``make bench-certify``: the same passes in processes with and without ``invsmooth.core.memory.keep_memory``, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys

CODE = """
import sys, time, torch
from invsmooth.core.memory import keep_memory
from invsmooth.estimators import DPDNN, ISTANetPP
from invsmooth.operators import BlockGaussian, Identity
if sys.argv[1] == "kept":
    keep_memory()
for estimator, operator in ((ISTANetPP(6, 16), BlockGaussian(0.1)), (DPDNN(2, 16), Identity())):
    x = torch.rand(8, 1, 165, 165, requires_grad=True)
    for n in (1, 4):
        started = time.perf_counter()
        for _ in range(n):
            estimator(operator.A(x), operator).square().sum().backward()
    print(time.perf_counter() - started)
"""
ROUNDS = 5


def main() -> None:
    times: dict[str, list[list[float]]] = {"default": [], "kept": []}
    for _ in range(ROUNDS):
        for mode, found in times.items():
            out = subprocess.run([sys.executable, "-c", CODE, mode], check=True, capture_output=True, text=True).stdout
            found.append([float(t) for t in out.split()])
    print(f"forward + gradient, 8 images of 165×165, medians of {ROUNDS} alternating processes")
    for k, name in enumerate(("ISTA-Net++ 6×16", "DPDNN 2×16")):
        default, kept = (statistics.median(t[k] for t in times[mode]) for mode in ("default", "kept"))
        print(
            f"{name}: {default:.2f} s with glibc's defaults, {kept:.2f} s with freed memory kept: {default / kept:.2f} ×"
        )


if __name__ == "__main__":
    main()
