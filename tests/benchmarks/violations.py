"""``python -m tests.benchmarks.violations CKPT IMAGES [N]``: try to break certificates of a published network.

With N (10 000) random and attacked perturbations of one 33×33 block of each image. It prints for each certifier the largest
ratio of what was found to what is certified, and how often the certificate is refuted: all 12 draws are above it, which has
probability 2^-12 if the truth just meets it. A median over 12 draws varies by some per cent, so one that is above 1 is taken
again over 256 fresh draws. The published statement with its moving reference is a comparison. It takes an hour.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from invsmooth.attacks import pgd
from invsmooth.attacks.ball import project, steepest
from invsmooth.certificates import Discrepancy, Error, Mean, MeanCertificate, Smoothing, certify_all
from invsmooth.core.memory import keep_memory
from invsmooth.data import image_files, read_image
from invsmooth.estimators import load_checkpoint
from invsmooth.operators import BlockGaussian

SIDE, SIGMA, N_DRAWS, BATCH = 33, 25 / 255, 12, 8
N_AGAIN = 256
RADII = [r * SIGMA for r in (0.5, 1.0, 1.5)]


def perturbations(attacks: list[Tensor], n: int, eps: float, generator: torch.Generator) -> Tensor:
    """n perturbations of norm eps: random ones, the attacks, their negatives, and mixtures of an attack with noise."""
    random = steepest(torch.randn(n, 1, SIDE, SIDE, generator=generator))
    share = torch.rand(n, 1, 1, 1, generator=generator)
    signs = torch.randint(0, 2, (n, 1, 1, 1), generator=generator) * 2 - 1
    attacked = steepest(torch.cat(attacks))[torch.randint(len(attacks), (n,), generator=generator)]
    share[: n // 4], share[n // 4 : n // 2] = 0, 1
    return project(eps * steepest(share * signs * attacked + (1 - share) * random), eps)


@torch.no_grad()
def main(checkpoint: str, folder: str, n_perturbations: int = 10_000) -> None:
    keep_memory()
    net, operator = load_checkpoint(checkpoint), BlockGaussian(0.1)
    generator = torch.Generator().manual_seed(0)
    files = list(image_files(folder).values())
    each = -(-n_perturbations // (len(files) * len(RADII)))
    ratios: dict[str, list[Tensor]] = {k: [] for k in ("discrepancy", "error", "mean", "discrepancy, moving reference")}
    again: dict[str, list[float]] = {"discrepancy": [], "error": []}
    for file in files:
        image = read_image(file.path)
        top, left = (image.shape[1] - SIDE) // 2, (image.shape[2] - SIDE) // 2
        x = image[None, :, top : top + SIDE, left : left + SIDE]
        certifiers, smoothing = [Discrepancy(), Error(), Mean()], Smoothing(sigma=SIGMA, n_samples=300)
        found = certify_all(net, operator, operator.A(x), certifiers, smoothing, eps=RADII, x=x)
        mean, reference = found["mean"], net(operator.A(x), operator)
        assert isinstance(mean, MeanCertificate)
        for j, eps in enumerate(RADII):
            bounds = {k: c.bound[0, j] for k, c in found.items()}
            attacks = [pgd(net, operator, x, eps=eps, n_iter=15, schedule="cosine", init=init, seed=s).xi
                       for init, s in (("zero", 0), ("sphere", 1), ("sphere", 2))]  # fmt: skip
            noise = SIGMA * torch.randn(N_DRAWS, 1, SIDE, SIDE, generator=generator)
            here = clipped(net(operator.A(x + noise), operator), mean).mean(0)
            for xi in perturbations(attacks, each, eps, generator).split(BATCH):
                z = x + xi
                x_hat = net(operator.A((z[:, None] + noise).flatten(0, 1)), operator).unflatten(0, (len(xi), N_DRAWS))
                moving = net(operator.A(z), operator)[:, None]
                shift = clipped(x_hat, mean).mean(1) - here
                for name, fixed in (("discrepancy", reference), ("error", x)):
                    found_ratios = mse(x_hat, fixed) / bounds[name]
                    for i in (found_ratios.median(1).values > 1).nonzero().flatten().tolist():
                        fresh = z[i] + SIGMA * torch.randn(N_AGAIN, 1, SIDE, SIDE, generator=generator)
                        parts = [mse(net(operator.A(p), operator)[None], fixed) for p in fresh.split(64)]
                        again[name].append(float((torch.cat(parts, 1) / bounds[name]).median()))
                    ratios[name].append(found_ratios)
                ratios["mean"].append(shift.square().flatten(1).mean(1, keepdim=True) / bounds["mean"])
                ratios["discrepancy, moving reference"].append(mse(x_hat, moving) / bounds["discrepancy"])
            print(f"{file.path.name}, eps/sigma = {eps / SIGMA:g}", file=sys.stderr, flush=True)
    for name, medians in again.items():
        largest = f"largest ratio {max(medians):.3f}, above 1: {sum(m > 1 for m in medians)}" if medians else "none"
        print(f"{name}: {len(medians)} medians above 1 taken again over {N_AGAIN} draws: {largest}")
    for name, values in ratios.items():
        draws = torch.cat(values)
        median, refuted = draws.median(1).values, int((draws.amin(1) > 1).sum())
        print(
            f"{name}: {len(median)} perturbations, largest ratio {float(median.max()):.3f}, "
            f"above 1: {int((median > 1).sum())}, refuted: {refuted}"
        )


def mse(x_hat: Tensor, reference: Tensor) -> Tensor:
    """MSE of every draw, shape (P, N_DRAWS)."""
    return (x_hat - reference).square().flatten(2).mean(2)


def clipped(x_hat: Tensor, mean: MeanCertificate) -> Tensor:
    """Projected to the ball of radius R around c."""
    offset = x_hat - mean.shown
    distance = offset.square().sum((-3, -2, -1), keepdim=True).sqrt()
    return mean.shown + offset * (mean.radius / distance).clamp_max(1)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
