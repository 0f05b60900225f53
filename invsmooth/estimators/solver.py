"""Minimise strongly convex functions, each image of a batch on its own, and differentiate the minimiser.

A solved image leaves the batch at once: what it is does not depend on how long the others take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from invsmooth.core.errors import NotConverged

ROUGH = 1e-5  # float32: an image is solved at this share of ||x|| as well
ROUNDINGS = 4  # float32: of each pixel in a gradient; a smaller gradient cannot be told from rounding
RESIDUAL = {torch.float64: 1e-6, torch.float32: 1e-4}  # relative, of linear systems
Images = Callable[..., Tensor]


def minimise(
    gradient: Callable[[Tensor, Tensor], Tensor], start: Tensor, *, strong: float, smooth: float, tolerance: float,
    max_iter: int, name: str,
) -> Tensor:  # fmt: skip
    """The minimiser of an F that is ``strong``-strongly convex, its gradient ``smooth``-Lipschitz.

    Nesterov's accelerated gradient with restarts where it turns uphill (O'Donoghue and Candès 2015).
    An image x is solved once ||grad F(x)|| <= tolerance · strong. Then ||x - minimiser|| <=
    tolerance, as strong ||x - x*||² <= <grad F(x) - grad F(x*), x - x*>. This is what float64 gives;
    in float32 also ROUGH · ||x||, and what rounding leaves, are enough.

    Args:
        gradient: called with images (b, …) and their positions in the batch (b,).
        start: shape (B, …), without gradients.
        tolerance: l2 distance, per image.
        name: of the estimator, for the message.
    Raises: NotConverged: an image is not solved after ``max_iter`` gradients."""
    rounding = 0.0
    if start.dtype != torch.float64:
        rounding = ROUGH * strong + ROUNDINGS * torch.finfo(start.dtype).eps * smooth
    most = (1 - (strong / smooth) ** 0.5) / (1 + (strong / smooth) ** 0.5)  # momentum that needs no restart
    result, left = start.clone(), torch.arange(len(start), device=start.device)
    x = ahead = start
    t = start.new_ones(len(start))
    size = start.new_full((len(start),), torch.inf)
    for _ in range(max_iter):
        g = gradient(ahead, left)
        size = length(g)
        done = size <= (tolerance * strong + rounding * length(ahead))
        if bool(done.any()):
            result[left[done]] = ahead[done]
            left, x, ahead, t, g, size = (v[~done] for v in (left, x, ahead, t, g, size))
        if not len(left):
            return result
        if not bool(size.isfinite().all()):
            break
        step = ahead - g / smooth
        t = torch.where(dot(g, step - x) > 0, 1.0, t)
        following = (1 + (1 + 4 * t.square()).sqrt()) / 2
        ahead = step + spread(((t - 1) / following).clamp_max(most), step) * (step - x)
        x, t = step, following
    raise NotConverged(
        f"{name} did not converge in {max_iter} iterations: the gradient's norm is {float(size.max()):.3g} where "
        f"{tolerance * strong:.3g} is needed; raise max_iter or tolerance, or check the weights and y"
    )


def conjugate_gradients(system: Images, rhs: Tensor, max_iter: int) -> Tensor:
    """system^{-1} rhs of a symmetric positive definite linear map of images, to a residual of RESIDUAL · ||rhs||,
    each image on its own. Raises: NotConverged: after ``max_iter`` iterations."""
    x, residual, direction = torch.zeros_like(rhs), rhs, rhs
    squared = dot(rhs, rhs)
    target = RESIDUAL[rhs.dtype] ** 2 * squared
    for _ in range(max_iter):
        active = ~(squared <= target)
        if not bool(active.any()):
            return x
        image = system(direction)
        step = torch.where(active, squared / dot(direction, image), 0.0)
        step = spread(step, rhs)
        x, residual = x + step * direction, residual - step * image
        squared, before = torch.where(active, dot(residual, residual), squared), squared
        direction = torch.where(spread(active, rhs), residual + spread(squared / before, rhs) * direction, direction)
    left = float((squared / dot(rhs, rhs)).max()) ** 0.5
    raise NotConverged(f"a derivative did not converge in {max_iter} iterations: relative residual {left:.3g}")


class _Solve(torch.autograd.Function):
    """system^{-1} rhs, linear in rhs, ``parts`` held fixed. The tensors that the system is made of come as arguments:
    within torch.func a closure would hold them at another level."""

    @staticmethod
    def forward(rhs: Tensor, system: Images, max_iter: int, *parts: Tensor) -> Tensor:
        return conjugate_gradients(lambda v: system(v, *parts), rhs, max_iter)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.system, ctx.max_iter, *parts = inputs
        ctx.save_for_backward(*parts)
        ctx.save_for_forward(*parts)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        # The system is symmetric.
        return solve(g, ctx.system, ctx.max_iter, *ctx.saved_tensors), None, None, *[None] * len(ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return solve(tangent, ctx.system, ctx.max_iter, *ctx.saved_tensors)


def solve(rhs: Tensor, system: Images, max_iter: int, *parts: Tensor) -> Tensor:
    """v with system(v, *parts) = rhs, differentiable in ``rhs`` and in ``parts``, any number of times, backward and forward
    (in ``parts`` backward only). ``system``: symmetric positive definite in v."""
    v = _Solve.apply(rhs, system, max_iter, *parts)
    if torch.is_grad_enabled():  # within torch.func no tensor tells whether it needs a gradient outside
        v = corrected(v, system(v.detach(), *parts), system, max_iter, *parts)
    return v


def corrected(x: Tensor, residual: Tensor, hessian: Images, max_iter: int, *parts: Tensor) -> Tensor:
    """``x`` itself, with the derivative of the solution of residual = 0 (implicit function theorem):
    dx = -hessian^{-1} d residual, where ``residual`` was computed at a detached x."""
    return x - _Solve.apply(residual - residual.detach(), hessian, max_iter, *parts)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image, shape (B,)."""
    return (a * b).flatten(1).sum(1)


def length(a: Tensor) -> Tensor:
    """l2 norm of each image, shape (B,)."""
    return a.flatten(1).norm(dim=1)


def spread(numbers: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, …)."""
    return numbers.view(-1, *[1] * (like.ndim - 1))
