"""``python -m tests.benchmarks.published_mean CKPT IMAGES [S]``: the certificate ``mean`` of a published ISTA-Net++.

On cameraman[66:132, 99:165] at ratio 0.1 and sigma = 25/255, S = 3000: beside its simpler forms, the discrepancy from the
same draws, and how far an attack moves the mean. It takes minutes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from invsmooth.attacks.ball import steepest
from invsmooth.certificates import Discrepancy, Mean, MeanCertificate, Smoothing, certify_all
from invsmooth.checks.truth import Attacked, check_mean
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import smoothing_noise
from invsmooth.data import read_image
from invsmooth.estimators import load_checkpoint
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.operators import BlockGaussian

SIGMA, RATIOS = 25 / 255, (0.1, 0.5, 1.0, 2.0, 3.0)
STEPS, N_ATTACK, N_CHECK = 8, 32, 200


def attack_on_mean(net: Estimator, operator: BlockGaussian, x: Tensor, eps: float) -> Tensor:
    """Ascend ||m(x + xi) - m(x)|| through N_ATTACK draws, xi <- eps g/||g||: a power iteration, for m is nearly linear."""
    noise = SIGMA * smoothing_noise(x.shape[1:], 0, N_ATTACK, 7, "attack")
    xi = eps * steepest(torch.randn(x.shape, generator=torch.Generator().manual_seed(7)))
    with frozen(net):
        with torch.no_grad():
            start = net(operator.A(x + noise), operator).mean(0)
        for _ in range(STEPS):
            xi.requires_grad_()
            moved = (net(operator.A(x + xi + noise), operator).mean(0) - start).square().sum()
            (gradient,) = torch.autograd.grad(moved, xi)
            xi = eps * steepest(gradient)
    return xi


def main(checkpoint: str, folder: str, n_samples: int = 3000) -> None:
    keep_memory()
    net, operator = load_checkpoint(checkpoint), BlockGaussian(0.1)
    x = read_image(Path(folder) / "cameraman.tif")[None, :, 66:132, 99:165]
    n, started = x.numel(), time.perf_counter()
    eps = [r * SIGMA for r in RATIOS]
    smoothing = Smoothing(sigma=SIGMA, n_samples=n_samples)
    found = certify_all(net, operator, operator.A(x), [Discrepancy(), Mean(n_centre=500)], smoothing, eps=eps)
    mean, discrepancy = found["mean"], found["discrepancy"]
    assert isinstance(mean, MeanCertificate)
    print(f"S = {n_samples}: R² {float(mean.radius) ** 2:.1f}, trace {float(mean.trace_hat):.1f}, λ̂ "
          f"{float(mean.lambda_hat):.3f}, {time.perf_counter() - started:.0f} s")  # fmt: skip
    print("eps/sigma | attack | mean | over the attack | chi-square | trace | as MSE: mean | discrepancy | ratio")
    for j, (ratio, radius) in enumerate(zip(RATIOS, eps, strict=True)):
        lengths = [float((bound[0, j] * n).sqrt()) for bound in (mean.bound, mean.chi_square, mean.trace)]
        attacked = Attacked(net, operator, x, None, attack_on_mean(net, operator, x, radius), None, N_CHECK)
        shift = check_mean(attacked, smoothing, torch.tensor([lengths[0]]), centre=mean.shown, radius=mean.radius)
        moved, mse = float(shift.estimate), float(mean.bound[0, j])
        certified = float(discrepancy.bound[0, j])
        print(f"{ratio:g} | {moved:.3f} | {lengths[0]:.3f} | {lengths[0] / moved:.2f} | {lengths[1]:.3f} | "
              f"{lengths[2]:.2f} | {mse:.2g} | {certified:.2g} | {certified / mse:.0f}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
