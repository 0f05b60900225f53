"""What is refused before anything is certified or attacked, and that what passes has a bound above the truth."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ncx2
from torch import Tensor, nn

from invsmooth.attacks import Target, apgd, noise, pgd
from invsmooth.certificates import certify, certify_threshold, pixel_intervals
from invsmooth.core.errors import NotFiniteError, PremiseError
from invsmooth.estimators import DPDNN, MatchedFilter, as_estimator
from invsmooth.estimators.frozen import frozen, modules_of
from invsmooth.estimators.premises import Checked, checked
from invsmooth.metrics import coarse_mse
from invsmooth.operators import BlockGaussian, Identity

X = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
FEW: dict[str, Any] = {"sigma": 0.1, "eps": 0.1, "n_samples": 300}


def same(y: Tensor, operator: object) -> Tensor:
    return y


class Offset(Identity):
    def A(self, x: Tensor) -> Tensor:
        return x + 0.3


class Square(Identity):
    def A(self, x: Tensor) -> Tensor:
        return x**2


class Clipped(Identity):
    def A(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)


class Rounded(Identity):
    def A(self, x: Tensor) -> Tensor:
        return (x * 255).round() / 255


class OtherMask(Identity):
    """Another mask at each call, the same for all images of a batch: additive within each."""

    calls = 0

    def A(self, x: Tensor) -> Tensor:
        self.calls += 1
        mask = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(self.calls)) > 0.5
        return x * mask


class LessTheMean(Identity):
    """Linear, but the images of a batch depend on each other."""

    def A(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Coarse(Identity):
    def A(self, x: Tensor) -> Tensor:
        return x.half()


class Broken(Identity):
    def A(self, x: Tensor) -> Tensor:
        raise RuntimeError("no GPU here")


def batch_norm() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3, padding=1))


class Holder:
    """An object whose method is the estimator."""

    def __init__(self, net: nn.Module) -> None:
        self.parts = {"nets": [net]}

    def reconstruct(self, y: Tensor, operator: object) -> Tensor:
        return self.parts["nets"][0](y)

    def __call__(self, y: Tensor, operator: object) -> Tensor:
        return self.reconstruct(y, operator)


GLOBAL_NET = batch_norm()


def calls_a_global(y: Tensor, operator: object) -> Tensor:
    return GLOBAL_NET(y)


WRAPPERS: dict[str, Callable[[nn.Module], Callable[[Tensor, object], Tensor]]] = {
    "closure": lambda net: lambda y, o: net(y),
    "default": lambda net: lambda y, o, used=net: used(y),
    "partial": lambda net: functools.partial(lambda used, y, o: used(y), net),
    "object": Holder,
    "method": lambda net: Holder(net).reconstruct,
    "nested": lambda net: functools.partial(lambda inner, y, o: inner(y, o), lambda y, o: net(y)),
    "generator in a function": lambda net: lambda y, o: torch.cat([net(part) for part in y.split(2)]),
}


class Coupled(nn.Module):
    """One of the ways in which an image can depend on its batch, or on chance."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0

    def forward(self, y: Tensor, operator: object) -> Tensor:
        self.calls += 1
        match self.how:
            case "mean":
                return y - y.mean(0, keepdim=True)
            case "largest":
                return y / y.amax()
            case "neighbour":
                return y + 0.1 * y.roll(1, 0)
            case "first only":
                return torch.cat([y[:1] * 2, y[1:]])
            case "random":
                return y + 0.01 * torch.randn_like(y)
            case "dropout":
                return nn.functional.dropout(y, 0.5, training=True)
            case _:  # another network at each call
                return y * self.calls


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.complex64]
)
def test_types_of_images_and_measurements(dtype: torch.dtype) -> None:
    other = (10 * X).to(dtype)
    for call in (
        lambda: certify(same, Identity(), other, **FEW),
        lambda: certify(same, Identity(), X, certifier="error", x=other, **FEW),
        lambda: pgd(same, Identity(), other, eps=0.1, n_iter=2),
        lambda: pgd(same, Identity(), X, other, eps=0.1, n_iter=2),
        lambda: pixel_intervals(same, Identity(), other, **FEW),
        lambda: certify_threshold(same, Identity(), other, threshold=0.1, sigma=0.1, eps=0.1, max_samples=50),
    ):
        with pytest.raises(PremiseError, match="give float32 or float64"):
            call()


def test_numpy_arrays_are_taken_as_numbers() -> None:
    one = certify(same, Identity(), X, sigma=np.float32(0.1), eps=np.float32(0.05), n_samples=300)
    assert one.bound.shape == (1,)
    for several in (np.array([0.05, 0.1]), torch.tensor([0.05, 0.1]), (0.05, 0.1)):
        found = certify(same, Identity(), X, sigma=0.1, eps=several, n_samples=300)  # type: ignore[arg-type]
        assert found.bound.shape == (1, 2)
        torch.testing.assert_close(found.bound[:, 0], one.bound)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite(value: float) -> None:
    bad = X.clone()
    bad[0, 0, 3, 3] = value
    for call in (
        lambda: certify(same, Identity(), bad, **FEW),
        lambda: certify(same, Identity(), X, certifier="error", x=bad, **FEW),
        lambda: certify(lambda y, o: torch.where(y == X, value, y), Identity(), X, **FEW),
        lambda: pgd(same, Identity(), bad, eps=0.1, n_iter=2),
        lambda: pgd(same, Identity(), X, bad, eps=0.1, n_iter=2),
    ):
        with pytest.raises(NotFiniteError, match="not finite"):
            call()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda y, o: (y > 0.5).long(), "answers in torch.int64"),
        (lambda y, o: y > 0.5, "answers in torch.bool"),
        (lambda y, o: torch.fft.ifft2(y), "answers in torch.complex64"),
        (lambda y, o: (y, None), "answers with a tuple"),
        (lambda y, o: y.numpy(), "answers with a ndarray"),
        (lambda y, o: y[:1], "not with an image for each"),
        (lambda y, o: y.mean(), "not with an image for each"),
        (lambda y, o: y if len(y) < 4 else y[..., :7], "then"),
    ],
)
def test_what_an_estimator_answers(answer: Callable[..., Any], message: str) -> None:
    y = torch.rand(2, 1, 8, 8)
    with pytest.raises(PremiseError, match=message):
        # A chunk of another size than the first call
        certify(answer, Identity(), y, chunk_size=3, **FEW)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (lambda y: y, r"takes \(y\), but is called with \(y, operator\).*as_estimator"),
        (nn.Identity(), r"takes \(input.*as_estimator"),
        (MatchedFilter, "no module or function"),
        ("net", "no module or function"),
    ],
)
def test_what_an_estimator_takes(estimator: Any, message: str) -> None:
    for call in (
        lambda: certify(estimator, Identity(), X, **FEW),
        lambda: pgd(estimator, Identity(), X, eps=0.1, n_iter=2),
    ):
        with pytest.raises(PremiseError, match=message):
            call()


def test_shapes_that_do_not_belong_together() -> None:
    colour = torch.rand(1, 3, 24, 32)
    with pytest.raises(PremiseError, match="do not belong together"):
        certify(lambda y, o: 5 * (y[:, :1] - y[:, 1:2]), Identity(), colour, **FEW)
    with pytest.raises(
        PremiseError, match=r"operator\.A of 4 images of shape \(8, 2, 2\), which the estimator answers with"
    ):
        certify(lambda y, o: y, BlockGaussian(0.5, block=4), BlockGaussian(0.5, block=4).A(X), **FEW)
    for x in (X[0], X[..., :4], torch.rand(2, 1, 8, 8), torch.rand(1, 3, 8, 8)):
        with pytest.raises(PremiseError, match="x has shape"):
            certify(same, Identity(), X, certifier="error", x=x, **FEW)
    # Before the operator sees it: a convolution of integers would end in an error of torch's.
    with pytest.raises(PremiseError, match="x has type"):
        pgd(MatchedFilter(), BlockGaussian(0.5, block=4), (255 * X).to(torch.uint8), eps=0.1, n_iter=2)
    with pytest.raises(PremiseError, match="b has shape"):
        pgd(same, Identity(), X, torch.zeros(1, 1, 8, 1), eps=0.1, n_iter=2)
    with pytest.raises(PremiseError, match="at least one image"):
        certify(same, Identity(), X[:0], **FEW)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Offset(), "not linear: A.0. is not 0"),
        (Square(), "not linear"),
        (Clipped(), "not linear"),
        (Rounded(), "not linear"),
        (OtherMask(), "two calls of A differ"),
        (LessTheMean(), "not linear|differ"),
        (Coarse(), "answers torch.float32 images in torch.float16"),
        (Broken(), "no GPU here"),
    ],
)
def test_operators(operator: Identity, message: str) -> None:
    with pytest.raises(PremiseError, match=message):
        certify(same, operator, X, **FEW)
    if not isinstance(operator, Broken | Coarse):
        with pytest.raises(PremiseError, match=message):
            pgd(same, operator, X, eps=0.1, n_iter=2)


@pytest.mark.parametrize("no_operator", [None, Identity, np.eye(3)])
def test_what_is_no_operator(no_operator: Any) -> None:
    for run in (lambda: certify(same, no_operator, X, **FEW), lambda: pgd(same, no_operator, X, eps=0.1, n_iter=1)):
        with pytest.raises(PremiseError, match="an object with the methods A"):
            run()


def test_an_operator_that_changes_its_image() -> None:
    class InPlace(Identity):
        def A(self, x: Tensor) -> Tensor:
            return x.mul_(0.5)

    with pytest.raises(PremiseError, match="changes the image that it is given"):
        certify(same, InPlace(), X, **FEW)


@pytest.mark.parametrize("how", ["mean", "largest", "neighbour", "first only", "random", "dropout", "another"])
@pytest.mark.parametrize("n_images", [1, 3])
def test_random_and_coupled_networks(how: str, n_images: int) -> None:
    y = torch.rand(n_images, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    attacks: tuple[Callable[..., Any], ...] = (pgd, apgd, noise)
    calls: list[Callable[[], Any]] = [
        lambda: certify(Coupled(how), Identity(), y, **FEW),
        lambda: certify(Coupled(how), Identity(), y, certifier="mean", chunk_size=1, **FEW),
        lambda: pixel_intervals(Coupled(how), Identity(), y, **FEW),
        lambda: certify_threshold(Coupled(how), Identity(), y, threshold=0.1, sigma=0.1, eps=0.1, max_samples=50),
        *(functools.partial(a, Coupled(how), Identity(), y, eps=0.1, n_iter=2) for a in attacks),
    ]
    for call in calls:
        with pytest.raises(PremiseError, match="random, or its images depend on others"):
            call()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_training_mode_behind_a_wrapper(wrapper: str) -> None:
    """Refused where it matters; where it does not, the mode is put back."""
    net = batch_norm().train()
    wrapped = WRAPPERS[wrapper](net)
    assert modules_of(wrapped) == [net]
    for call in (
        lambda: certify(wrapped, Identity(), X, **FEW),
        lambda: pgd(wrapped, Identity(), X, eps=0.1, n_iter=2),
    ):
        with pytest.raises(PremiseError, match=r"BatchNorm2d.*in training mode"):
            call()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.eval()
    found = certify(wrapped, Identity(), X, **FEW)
    alone = certify(as_estimator(net), Identity(), X, **FEW)
    torch.testing.assert_close(found.bound, alone.bound)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    harmless = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()).train()
    with frozen(WRAPPERS[wrapper](harmless)):
        assert not harmless.training
        assert not harmless[0].weight.requires_grad
    assert harmless.training
    assert certify(WRAPPERS[wrapper](harmless), Identity(), X, **FEW).bound.isfinite().all()


def test_training_mode_behind_a_global() -> None:
    GLOBAL_NET.train()
    with pytest.raises(PremiseError, match="in training mode"):
        certify(calls_a_global, Identity(), X, **FEW)


def test_a_module_is_put_into_eval_mode() -> None:
    net = as_estimator(batch_norm().train())
    assert certify(net, Identity(), torch.rand(2, 1, 8, 8), **FEW).bound.isfinite().all()
    assert net.training


def test_noise_levels() -> None:
    with pytest.warns(UserWarning, match="if grey levels are meant, give sigma=0.09804"):
        certify(same, Identity(), X, sigma=25, eps=[5.0], n_samples=300)
    for sigma in (1.0, 0.1, 1e-3):  # no warning: the test suite makes errors of them
        certify(same, Identity(), X, sigma=sigma, eps=sigma, n_samples=300)
    for call in (
        lambda: certify(same, Identity(), X, sigma=1e-8, eps=1e-8, n_samples=300),
        lambda: certify(same, Identity(), 1e6 * X, sigma=0.1, eps=0.1, n_samples=300),
        lambda: pixel_intervals(same, Identity(), X, sigma=1e-8, eps=1e-8, n_samples=300),
        lambda: certify_threshold(same, Identity(), X, threshold=0.1, sigma=1e-8, eps=1e-8, max_samples=50),
        lambda: pgd(same, Identity(), X, eps=0.1, n_iter=2, target=Target("mean", 1e-8, 4)),
    ):
        with pytest.raises(PremiseError, match="too near to the spacing"):
            call()
    fine = certify(same, Identity(), X.double(), sigma=1e-8, eps=1e-8, n_samples=300)
    assert float(fine.bound) == pytest.approx(1e-16, rel=0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coarse_answers(dtype: torch.dtype) -> None:
    """Errors are computed and kept in float32, and hold for the numbers before their rounding."""
    slope = 1e-4
    exact = certify(lambda y, o: 0.5 + slope * y, Identity(), X, **FEW)
    for certifier in ("discrepancy", "error"):
        found = certify(lambda y, o: (0.5 + slope * y).to(dtype), Identity(), X, certifier=certifier, x=X, **FEW)
        assert found.bound.dtype == found.draws.dtype == found.shown.dtype == torch.float32
        assert float(found.bound) > 0
    found = certify(lambda y, o: (0.5 + slope * y).to(dtype), Identity(), X, **FEW)
    assert float(found.bound) >= float(exact.bound)
    decided = certify_threshold(
        lambda y, o: (0.5 + slope * y).to(dtype), Identity(), X, threshold=float(exact.bound) / 2, sigma=0.1, eps=0.0,
        max_samples=50,
    )  # fmt: skip
    assert decided.below[0] is not True
    attack = pgd(lambda y, o: (2 * y).to(dtype), Identity(), X, eps=0.1, n_iter=2)
    assert attack.loss.dtype == torch.float32


def test_the_checks_cost_two_evaluations_a_batch() -> None:
    seen: list[int] = []

    def counting(y: Tensor, operator: object) -> Tensor:
        seen.append(len(y))
        return 0.9 * y

    y = torch.rand(4, 1, 8, 8)
    known = checked(counting, Identity(), y)
    assert seen == [4, 2]  # the reconstructions, which are used, and two images more
    assert known.reconstruction(y) is known.x_hat
    seen.clear()
    # Once for all that is done with these measurements.
    assert checked(known, known.operator, y) is known
    certify(known, known.operator, y, chunk_size=5, **FEW | {"n_samples": 10})
    pgd(known, known.operator, y, eps=0.1, n_iter=3)
    assert sum(seen) == 4 * (10 + 3 + 1)
    assert checked(known, Identity(), y) is not known  # another operator


def test_what_was_checked_is_still_looked_at() -> None:
    operator = Identity()
    known = checked(same, operator, X)
    for y, message in ((X.half(), "give float32"), (X * math.nan, "not finite"), (X[..., :4], "was checked with")):
        with pytest.raises(PremiseError, match=message):
            checked(known, operator, y)
    with pytest.raises(PremiseError, match="x has shape"):
        checked(known, operator, X, X[..., :4])
    assert isinstance(known, Checked)


def test_a_gradient_that_is_zero_everywhere_is_said() -> None:
    """A staircase, and an image that is reconstructed without any error: no attack starts, which is no robustness."""
    x = torch.cat([X, X])
    b = torch.cat([torch.zeros_like(X), 0.1 * torch.ones_like(X)])
    for attack in (pgd, apgd):
        with pytest.warns(UserWarning, match="gradient is zero"):
            found = attack(lambda y, o: (y * 255).round() / 255 + 0 * y, Identity(), x, eps=0.2, n_iter=5)
        assert found.zero_gradient.tolist() == [True, True]
        with pytest.warns(UserWarning, match=r"positions \[0\]"):
            found = attack(same, Identity(), x, b, eps=0.2, n_iter=5)
        assert found.zero_gradient.tolist() == [True, False]
        assert not attack(same, Identity(), x, b, eps=0, n_iter=5).zero_gradient.any()  # none was taken
    assert not noise(same, Identity(), x, eps=0.2, n_iter=5).zero_gradient.any()


TYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.uint8,
    torch.int64,
    torch.bool,
    torch.complex64,
]
LIKELY = [torch.float32] * 4 + TYPES


class Gain(Identity):
    def A(self, x: Tensor) -> Tensor:
        return 2 * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return 2 * y


class Growing(Identity):
    """Another operator at each call, on images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def A(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.calls * x


OPERATORS: dict[str, tuple[Callable[[], Identity], float]] = {
    "identity": (Identity, 1.0), "gain": (Gain, 2.0), "offset": (Offset, 1.0), "square": (Square, 1.0),
    "growing": (Growing, 1.0), "rounded": (Rounded, 1.0),
}  # fmt: skip


def times_random(x_hat: Tensor) -> Tensor:
    """In the type of ``x_hat``: integers that became floats would be a network of its own, with another truth."""
    return (x_hat * float(1 + 0.1 * torch.randn(()))).to(x_hat.dtype)


WRAPS: dict[str, Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = {
    "none": lambda f: f,
    "lambda": lambda f: lambda y, o: f(y, o),
    "partial": lambda f: functools.partial(lambda inner, y, o: inner(y, o), f),
    "module": as_estimator,
    "mean of the batch": lambda f: lambda y, o: f(y, o) - 0.5 * f(y, o).mean(0, keepdim=True),
    "shuffled batch": lambda f: lambda y, o: f(y, o).flip(0),
    "random": lambda f: lambda y, o: times_random(f(y, o)),
    "no batch": lambda f: lambda y, o: f(y, o)[0],
}


@settings(max_examples=300, deadline=None)
@given(
    gain=st.sampled_from([0.01, 0.5, 1.0, 3.0]),
    side=st.integers(1, 6),
    n_images=st.integers(1, 3),
    types=st.tuples(st.sampled_from(LIKELY), st.sampled_from(LIKELY), st.sampled_from(LIKELY)),
    shape=st.sampled_from(["fits"] * 5 + ["one image", "no channel", "transposed"]),
    operator=st.sampled_from(["identity"] * 4 + list(OPERATORS)),
    wrap=st.sampled_from(["none"] * 3 + list(WRAPS)),
    certifier=st.sampled_from(["discrepancy", "error"]),
    ratio=st.sampled_from([0.0, 0.5, 1.0]),
    sigma=st.sampled_from([0.02, 0.1]),
)
def test_an_error_or_a_bound_above_the_truth(
    gain: float, side: int, n_images: int, types: tuple[torch.dtype, ...], shape: str, operator: str, wrap: str,
    certifier: str, ratio: float, sigma: float,
) -> None:  # fmt: skip
    """f(Az) = gain · z. The MSE of f(A(z' + delta)) to r is gain² sigma²/n times a non-central chi-square variable; its
    median is largest where z' goes away from r. The truth is that of real numbers, whatever types are in use."""
    make, factor = OPERATORS[operator]
    a, z = make(), torch.rand(n_images, 1, side, side + 1, generator=torch.Generator().manual_seed(side))
    as_y, as_x, as_answer = types
    y = (factor * z).to(as_y)
    x = {"fits": z, "one image": z[0], "no channel": z[:, 0], "transposed": z.transpose(2, 3)}[shape].to(as_x)
    n = z[0].numel()

    def linear(measured: Tensor, operator: object) -> Tensor:
        return (gain / factor * measured).to(as_answer)

    try:
        found = certify(WRAPS[wrap](linear), a, y, sigma=sigma, eps=ratio * sigma, n_samples=300, confidence=1 - 1e-5,
                        certifier=certifier, x=x)  # fmt: skip
    except (PremiseError, RuntimeError):  # torch itself has no mean of integers
        return
    assert operator in ("identity", "gain")
    for i in range(n_images):
        at = y[i].double() / factor
        reference = gain * at if certifier == "discrepancy" else x[i].double()
        away = float((gain * at - reference).norm()) / (gain * sigma)
        truth = (gain * sigma) ** 2 / n * ncx2.ppf(0.5, n, (away + ratio) ** 2 + 1e-300)
        assert float(found.bound[i]) >= truth * (1 - 1e-5), (types, wrap)


def test_the_rounding_of_two_images() -> None:
    """Values of 0.5 and 0.25, each known to 5 %, are at most 0.525 - 0.2375 apart."""
    found = coarse_mse(torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.25), rounding=0.1)
    assert float(found) == pytest.approx((0.525 - 0.2375) ** 2)


def test_a_gradient_in_one_pixel_is_one() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 0, 0] = 1
    found = pgd(lambda y, o: mask * y, Identity(), X, 0.1 + torch.zeros_like(X), eps=0.2, n_iter=3)
    assert not found.zero_gradient.any()


class Faint(Identity):
    def A(self, x: Tensor) -> Tensor:
        return 1e-3 * x


def test_the_noise_is_compared_as_it_is_in_the_measurement() -> None:
    """sigma = 0.01 is 1e-5 in y, whose numbers are about 1."""
    with pytest.raises(PremiseError, match="too near to the spacing"):
        certify(same, Faint(), Faint().A(X) + 1, sigma=0.01, eps=0.01, n_samples=300)
    assert certify(same, Faint(), Faint().A(X), sigma=0.01, eps=0.01, n_samples=300).bound.isfinite().all()


def test_types_and_shapes_that_a_network_does_not_take_are_explained() -> None:
    network = DPDNN(1, 4, 1)
    with pytest.raises(PremiseError, match=r"weights are torch.float32, and y is torch.float64: give y.to"):
        certify(network, Identity(), torch.rand(1, 1, 8, 8, dtype=torch.float64), **FEW)
    with pytest.raises(PremiseError, match=r"measurements of a batch of images \(B, C, H, W\) are needed"):
        certify(network, Identity(), torch.rand(1, 2, 8, 8), **FEW)
    with pytest.raises(PremiseError, match=r"x has shape \(1, 8, 8\); give a batch"):
        pgd(network, Identity(), torch.rand(1, 8, 8), eps=0.1, n_iter=1)
