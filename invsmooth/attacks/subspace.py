"""Maximise a quadratic model of the loss in the subspace of the points that an attack has seen.

Near a perturbation the reconstruction is nearly linear, so the loss is nearly ||r + J xi||^2 / n,
and its gradients at k points tell its curvature in the k - 1 directions between them. Its maximiser
in their span is the solution of a small trust-region problem, as in the generalised Lanczos method
(Gould et al. 1999, SIAM J. Optim. 9, 504). It costs no gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DEPENDENT = 1e-5  # a point whose distance to the span of the others is below this part of eps adds no direction
CUTOFF = 1e-3  # singular values of the differences below this part of the largest carry no curvature
BISECTIONS = 60


def best_in_span(points: Sequence[Tensor], gradients: Sequence[Tensor], eps: float) -> tuple[Tensor, Tensor]:
    """The maximiser over the ball in the span of the points, and the gradient there, by the model.

    Args:
        points, gradients: k >= 2 of each, shape (B, …), the latest last; each image on its own.
            The model is exact at the latest point.
        eps: radius of the l2 ball, > 0.
    Returns: s with ||s|| <= eps and the gradient, both in the shape and dtype of a point."""
    with torch.autocast(points[-1].device.type, enabled=False):  # rounded products would hide the curvature
        # Latest first: a start at zero is then the column that depends on the others.
        x = torch.stack([p.flatten(1) for p in reversed(points)], 2)  # (B, n, k)
        g = torch.stack([p.flatten(1) for p in reversed(gradients)], 2).to(x)
        basis, r = torch.linalg.qr(x)
        found = r.diagonal(dim1=1, dim2=2).abs() > DEPENDENT * eps
        basis = basis * found[:, None, :]
        slopes = g[:, :, 1:] - g[:, :, :1]
        # Small matrices: in double precision, and not on a GPU. The decompositions fail on what is not finite; the
        # attack finds it in the loss.
        small = (basis.mT @ x, basis.mT @ g[:, :, :1], basis.mT @ slopes)
        z, h, seen = (a.cpu().double().nan_to_num(0.0, 0.0, 0.0) for a in small)
        here, steps = z[:, :, :1], z[:, :, 1:] - z[:, :, :1]
        inverse = torch.linalg.pinv(steps, rtol=CUTOFF)  # (B, k - 1, k)
        curvature = seen @ inverse
        curvature = (curvature + curvature.mT) / 2
        best = maximiser(curvature, h - curvature @ here, eps)
        combination = (inverse @ (best - here)).to(x)
        s, gradient = basis @ best.to(x), g[:, :, :1] + slopes @ combination
    return s.view_as(points[-1]), gradient.view_as(points[-1])


def maximiser(curvature: Tensor, linear: Tensor, eps: float) -> Tensor:
    """Maximiser of <h, z> + <z, H z> / 2 over the sphere ||z|| = eps: (lambda I - H)^{-1} h with
    lambda above the eigenvalues of H, by bisection (More & Sorensen 1983).

    Args:
        curvature: H (B, k, k), symmetric.
        linear: h (B, k, 1). Where it is zero along the top eigenvector, z may be inside the ball.
    Returns: z, shape (B, k, 1)."""
    values, vectors = torch.linalg.eigh(curvature)
    c = (vectors.mT @ linear).squeeze(2)
    gaps = values[:, -1:].clamp_min(0) - values  # lambda - eigenvalues, at the least lambda
    low, high = torch.zeros_like(gaps[:, :1]), c.norm(dim=1, keepdim=True) / eps
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        outside = divided(c, gaps + middle).norm(dim=1, keepdim=True) > eps
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    return vectors @ divided(c, gaps + high)[:, :, None]


def divided(c: Tensor, gaps: Tensor) -> Tensor:
    return c / gaps.clamp_min(torch.finfo(gaps.dtype).tiny)
