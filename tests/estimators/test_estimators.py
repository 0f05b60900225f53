from __future__ import annotations

import pytest
import torch

from invsmooth.estimators import DPDNN, ISTANetPP, MatchedFilter, Ridge, frozen, unfolded
from invsmooth.estimators.frozen import architecture
from invsmooth.operators import BlockGaussian, Identity


def n_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes() -> None:
    assert n_parameters(ISTANetPP()) == 760_220
    assert n_parameters(ISTANetPP(6, 16)) == 59_890
    assert n_parameters(DPDNN(share_down=True)) == 1_289_805
    assert n_parameters(DPDNN(2, 16, share_down=True)) == 81_301


@pytest.mark.parametrize("size", [(33, 33), (40, 40), (17, 50), (5, 3)])
@pytest.mark.parametrize("operator", [Identity(), BlockGaussian(0.3, block=8)], ids=["identity", "block"])
def test_any_image_size_and_operator(size: tuple[int, int], operator) -> None:
    x = torch.rand(2, 1, *size)
    for estimator in (DPDNN(2, 4), ISTANetPP(2, 4), MatchedFilter(), Ridge()):
        assert estimator(operator.A(x), operator).shape == x.shape


@pytest.mark.parametrize("operator", [Identity(), BlockGaussian(0.3, block=8)], ids=["identity", "block"])
def test_colour(operator) -> None:
    """The channels are seen together: each one moves all three. One channel is the default."""
    for make in (lambda c: DPDNN(2, 4, eta=0.8, image_channels=c), lambda c: ISTANetPP(2, 4, image_channels=c)):
        torch.manual_seed(0)
        estimator, x = make(3), torch.rand(2, 3, 20, 17)
        x_hat = estimator(operator.A(x), operator)
        assert x_hat.shape == x.shape
        other = x.clone()
        other[:, 0] = 1 - other[:, 0]
        moved = (estimator(operator.A(other), operator) - x_hat).abs().amax((0, 2, 3))
        assert float(moved.detach().min()) > 1e-4
        assert make(1).state_dict().keys() == estimator.state_dict().keys()
    with pytest.raises(ValueError, match="image_channels=0"):
        DPDNN(image_channels=0)
    with pytest.raises(ValueError, match="image_channels=0"):
        ISTANetPP(image_channels=0)


@pytest.mark.parametrize("make", [lambda: DPDNN(2, 4, 2, eta=0.8), lambda: ISTANetPP(3, 4)])
def test_gradients_of_large_images_are_the_same_and_take_less_memory(make, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    estimator, operator, x = make(), BlockGaussian(0.3, block=8), torch.rand(1, 1, 64, 64)

    def gradient() -> tuple[torch.Tensor, int]:
        kept = list[int]()
        start = x.clone().requires_grad_()

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = estimator(operator.A(start), operator).square().sum()
        return torch.autograd.grad(value, start)[0], sum(kept)

    whole, much = gradient()
    monkeypatch.setattr(unfolded, "LARGE", 64 * 64 - 1)
    again, little = gradient()
    assert torch.equal(whole, again)
    assert little < much / 4


def test_images_of_a_batch_do_not_mix() -> None:
    x, operator = torch.rand(3, 1, 20, 20), BlockGaussian(0.3, block=8)
    for estimator in (DPDNN(2, 4), ISTANetPP(2, 4), Ridge()):
        together = estimator(operator.A(x), operator)
        torch.testing.assert_close(together[1:2], estimator(operator.A(x[1:2]), operator), atol=1e-5, rtol=1e-4)


def test_dpdnn_is_its_formula_with_the_gradient_step() -> None:
    """With eta = delta = 0 a step is the denoiser; with eta + delta = 1 it does not see the denoiser at all."""
    operator, x = BlockGaussian(0.4, block=8), torch.rand(1, 1, 16, 16)
    y = operator.A(x)
    x0 = operator.A_adjoint(y)
    only_denoiser = DPDNN(1, 4, delta=0, eta=0)
    torch.testing.assert_close(only_denoiser(y, operator), only_denoiser.denoise(x0))
    gradient_descent = DPDNN(3, 4, delta=0.25, eta=0.75)
    expected = x0
    for _ in range(3):
        expected = expected - 0.25 * operator.A_adjoint(operator.A(expected) - y)
    torch.testing.assert_close(gradient_descent(y, operator), expected)


@pytest.mark.parametrize(("eta", "learns"), [(0.9, False), (0.8, True)])
def test_dpdnn_as_published_gives_the_denoiser_no_gradient_at_first(eta: float, learns: bool) -> None:
    net, x = DPDNN(2, 4, eta=eta), torch.rand(1, 1, 16, 16)
    (net(x, Identity()) - 1).square().mean().backward()
    assert (net.denoiser.tail.weight.grad.abs().max() > 1e-6) == learns


def test_istanetpp_is_conditioned_on_the_ratio() -> None:
    net, x = ISTANetPP(2, 4), torch.rand(1, 1, 16, 16)
    operator = BlockGaussian(0.3, block=8)
    told_otherwise = BlockGaussian(0.3, block=8)
    told_otherwise.ratio = 0.5
    y = operator.A(x)
    assert not torch.allclose(net(y, operator), net(y, told_otherwise))


@pytest.mark.parametrize("orthonormal", [True, False])
def test_ridge_solves_the_normal_equations(orthonormal: bool) -> None:
    """Against a dense solve of (A^T A + alpha I) x_hat = A^T y."""
    matrix = None if orthonormal else torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    operator, alpha = BlockGaussian(5 / 16, block=4, matrix=matrix), 0.3
    dense = operator.A(torch.eye(64).view(64, 1, 8, 8)).flatten(1).T
    y = operator.A(torch.rand(1, 1, 8, 8))
    expected = torch.linalg.solve(dense.T @ dense + alpha * torch.eye(64), dense.T @ y.flatten())
    torch.testing.assert_close(Ridge(alpha)(y, operator).flatten(), expected, atol=2e-5, rtol=1e-4)


def test_ridge_leaves_a_measurement_of_zeros_alone() -> None:
    operator = BlockGaussian(0.5, block=4)
    y = operator.A(torch.stack([torch.zeros(1, 8, 8), torch.rand(1, 8, 8)]))
    x_hat = Ridge(0.1)(y, operator)
    assert x_hat.isfinite().all()
    assert x_hat[0].abs().max() == 0


def test_frozen_restores_every_module_and_parameter() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    net[1].eval()
    net[0].bias.requires_grad_(False)

    def fail_inside() -> None:
        with frozen(net):
            assert not net.training
            assert not any(p.requires_grad for p in net.parameters())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert (net[0].weight.requires_grad, net[0].bias.requires_grad) == (True, False)


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="n_phases=0"):
        ISTANetPP(0)
    with pytest.raises(ValueError, match="levels=0"):
        DPDNN(levels=0)
    with pytest.raises(ValueError, match="alpha=0"):
        Ridge(0)


class Net(torch.nn.Module):
    """Attributes of all kinds."""

    def __init__(
        self, sizes: tuple[int, ...] = (3, 5), scale: float = 1.0, act: object = torch.tanh, kernel: float = 1.0
    ) -> None:
        super().__init__()
        self.sizes, self._scale, self.act = list(sizes), scale, act
        self.register_buffer("kernel", torch.full((3,), kernel), persistent=False)
        self.inner = torch.nn.Conv2d(1, 1, 3, padding=1)


@pytest.mark.parametrize(
    "change", [{"sizes": (3, 7)}, {"scale": 2.0}, {"act": torch.relu}, {"kernel": 2.0}, {"act": lambda x: x}]
)
def test_architecture_tells_networks_with_the_same_weights_apart(change: dict) -> None:
    assert architecture(Net()) == architecture(Net())
    assert architecture(Net().eval()) == architecture(Net().train())
    assert architecture(Net()) != architecture(Net(**change))
    wider = Net()
    wider.inner.padding = (2, 2)
    assert architecture(wider) != architecture(Net())


def test_what_cannot_be_told_is_never_taken_for_the_same() -> None:
    assert architecture(Net(act=lambda x: x)) != architecture(Net(act=lambda x: x))
