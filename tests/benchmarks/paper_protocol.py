"""The paper's protocol as its text and released scripts have it, in our own words: the baseline of the benchmarks.

One image at a time; contiguous float32; the attack backpropagates into the weights, too; every draw is made alone;
each sigma is a run of its own, which attacks again. ``python -m tests.benchmarks.table`` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invsmooth.operators.base import Operator


def attack(net: nn.Module, operator: Operator, x: Tensor, eps: float, n_iter: int, step: float) -> Tensor:
    """n_iter constant normalised steps, projected on the ball after each; the last iterate."""
    xi = torch.zeros_like(x)
    for _ in range(n_iter):
        xi = xi.detach().requires_grad_()
        net.zero_grad()
        ((net(operator.A(x + xi), operator) - x) ** 2).mean().backward()
        assert xi.grad is not None
        xi = xi.detach() + step * xi.grad / xi.grad.norm()
        xi = xi * min(1.0, eps / float(xi.norm()))
    return xi.detach()


def smoothed(
    net: nn.Module, operator: Operator, y: Tensor, shape: Sequence[int], sigma: float, n_samples: int
) -> list[float]:
    """The sorted discrepancies of n_samples draws (Algorithm 3)."""
    with torch.no_grad():
        reference = net(y, operator)
        draws = (net(y + operator.A(sigma * torch.randn(1, *shape)), operator) for _ in range(n_samples))
        return sorted(float(((x_hat - reference) ** 2).mean()) for x_hat in draws)


def panel(
    nets: Sequence[nn.Module], operator: Operator, images: Sequence[Tensor], eps: float, sigmas: Sequence[float],
    n_iter: int, step: float, n_samples: int,
) -> int:  # fmt: skip
    """A panel of Figure 1. Returns the number of network passes; one with a gradient counts as three."""
    for net in nets:
        for _ in sigmas:
            for x in images:
                y = operator.A(x + attack(net, operator, x, eps, n_iter, step))
                smoothed(net, operator, y, x.shape[1:], sigmas[0], n_samples)
    return len(nets) * len(sigmas) * len(images) * (3 * n_iter + n_samples + 1)


def training_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, operator: Operator, x: Tensor, eps: float, n_iter: int,
    step: float, sigma: float, n_samples: int,
) -> None:  # fmt: skip
    """A batch of Algorithm 1, draw after draw. sigma = 0: adversarial training with n_samples = 1."""
    xi = torch.zeros_like(x)
    for _ in range(n_iter):
        xi = xi.detach().requires_grad_()
        net.zero_grad()
        mean = (
            sum(net(operator.A(x + xi + sigma * torch.randn_like(x)), operator) for _ in range(n_samples)) / n_samples
        )
        ((mean - x) ** 2).mean().backward()
        assert xi.grad is not None
        length = xi.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        xi = xi.detach() + step * xi.grad / length
        xi = xi * (eps / xi.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)
    optimizer.zero_grad()
    ((net(operator.A(x + xi), operator) - x) ** 2).mean().backward()
    optimizer.step()


def main() -> None:
    net = torch.nn.Conv2d(1, 1, 1)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, y: Tensor, operator: Operator) -> Tensor:
            return self.net(y)

    from invsmooth.operators import Identity

    print(panel([Plain()], Identity(), [torch.rand(1, 1, 8, 8)], 0.1, [0.1], 2, 0.1, 3), "passes")


if __name__ == "__main__":
    main()
