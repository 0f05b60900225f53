"""Certificates by a Lipschitz constant, against closed forms; and how an attack refutes a wrong constant."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invsmooth.certificates import Certificate, Lipschitz, LipschitzCertificate, Mean, Smoothing, certify, certify_all
from invsmooth.checks.truth import Attacked, TruthCheck
from invsmooth.core.errors import PremiseError
from invsmooth.estimators import IdentityEstimator, ISTANetPP
from invsmooth.operators import BlockGaussian, Identity
from tests.certificates.nets import ASKED, Scaled

EPS = [0.0, 0.1, 1.0, 15.0]
N = 8 * 8
X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
B = 0.1 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
SETTINGS = Smoothing(sigma=math.nan, n_samples=0)


def double(norm: float) -> BlockGaussian:
    """Four measurements of each block of 4 x 4 pixels, orthonormal rows times ``norm``."""
    phi = norm * BlockGaussian(0.25, block=4).phi.flatten(1)
    return BlockGaussian(0.25, block=4, matrix=phi)


def certified(net: Any, operator: Any, y: Tensor, **options: Any) -> LipschitzCertificate:
    found = certify(net, operator, y, **({"certifier": "lipschitz", "eps": EPS} | options))
    assert isinstance(found, LipschitzCertificate)
    return found


@pytest.mark.parametrize("scale", [1.0, 0.5, -2.0])
def test_closed_forms_of_scaled_identities(scale: float) -> None:
    """y = x + b: the bound is (|s| eps)²/n, the error is at most (||s y - x|| + |s| eps)²/n."""
    found = certified(Scaled(scale), Identity(), X + B, x=X)
    moved = abs(scale) * torch.tensor(EPS, dtype=torch.float64)
    torch.testing.assert_close(found.bound, (moved.square() / N).expand(2, -1), rtol=1e-12, atol=0)
    error = (scale * (X + B).double() - X.double()).flatten(1).norm(dim=1)
    torch.testing.assert_close(found.certified_error, (error[:, None] + moved).square() / N, rtol=1e-12, atol=0)
    assert (found.reason == "").all()
    assert found.sound
    assert found.network_evals == 1
    row = Lipschitz().row(found.at(2), 1, None)
    assert row["certified_psnr_lipschitz"] == pytest.approx(-10 * math.log10((error[1] + abs(scale)) ** 2 / N))
    assert (row["lipschitz"], row["inexactness"], row["threat"]) == (abs(scale), 0.0, "signal")


@pytest.mark.parametrize(("threat", "constant"), [("measurement", 3.0 * 0.5), ("signal", 9.0 * 0.5)])
def test_the_threat_decides_whether_the_operator_counts(threat: str, constant: float) -> None:
    """x_hat = 0.5 A^T y with A A^T = 9 I: 0.5 · 3 from y, times 3 from z."""
    operator = double(3.0)
    y = operator.A(X)
    found = certified(Scaled(0.5), operator, y, threat=threat)
    assert found.lipschitz == pytest.approx(constant, rel=1e-6)
    torch.testing.assert_close(found.bound[0], (found.lipschitz * torch.tensor(EPS).double()).square() / N)
    # It is reached by moving along the rows of A, and not exceeded: float64 throughout.
    assert found.certified_error.isnan().all()
    torch.testing.assert_close(found.shown, 0.5 * operator.A_adjoint(y))


@pytest.mark.parametrize(("threat", "reach"), [("measurement", 15.0), ("signal", 45.0)])
def test_inexactness_is_asked_for_around_each_image_at_the_largest_radius(threat: str, reach: float) -> None:
    ASKED.clear()
    operator = double(3.0)
    found = certified(Scaled(0.5, rho=0.25), operator, operator.A(X), threat=threat)
    moved = found.lipschitz * torch.tensor(EPS).double() + 2 * 0.25
    torch.testing.assert_close(found.bound, (moved.square() / N).expand(2, -1))
    assert float(found.bound[0, 0]) == pytest.approx(0.5**2 / N)
    assert [(dtype, n) for dtype, n, _ in ASKED] == [(torch.float64, 1)] * 2
    assert [eps for *_, eps in ASKED] == pytest.approx([reach] * 2, rel=1e-6)


class Cancels(Scaled):
    """y, by way of numbers that single precision rounds to multiples of 64."""

    def forward(self, y: Tensor, operator: Any) -> Tensor:
        return (y + 2.0**29) - 2.0**29


def test_the_estimator_is_evaluated_in_float64() -> None:
    y = (X * 2**20).round() / 2**20
    found = certified(Cancels(), Identity(), y, x=X)
    assert (Cancels()(y, None) - y).abs().max() > 0.1
    assert torch.equal(found.precise, y.double())
    torch.testing.assert_close(found.error, (y.double() - X.double()).flatten(1).norm(dim=1), rtol=1e-12, atol=0)
    assert found.shown.dtype == torch.float32


def test_batches_radii_and_smoothing_settings_do_not_matter() -> None:
    whole = certified(Scaled(0.5), Identity(), X + B, x=X)
    alone = certified(Scaled(0.5), Identity(), (X + B)[1:], x=X[1:], eps=1.0, sigma=0.1, n_samples=3, confidence=0.5)
    assert alone.bound.shape == (1,)
    assert float(alone.bound[0]) == float(whole.bound[1, 2])
    assert float(alone.certified_error[0]) == float(whole.certified_error[1, 2])


def test_it_certifies_where_smoothing_cannot() -> None:
    """At 15 the mean's bound is no smaller than the ball that its draws lie in; the error has no bound."""
    options: dict[str, Any] = {"sigma": 0.1, "n_samples": 60, "eps": 15.0, "x": X}
    assert certify(Scaled(), Identity(), X + B, certifier="error", **options).bound.isnan().all()
    found = certified(Scaled(), Identity(), X + B, **options)
    assert torch.equal(found.bound, torch.full((2,), 225 / N, dtype=torch.float64))


def test_several_certifiers_are_certified_together() -> None:
    smoothing = Smoothing(sigma=0.1, n_samples=40, confidence=0.9)
    found = certify_all(
        Scaled(0.5), Identity(), X + B, [Mean(10), Lipschitz()], smoothing, eps=[0.0, 0.05], x=X, image_keys=["a", "b"]
    )
    assert isinstance(found["lipschitz"], LipschitzCertificate)
    alone = certify(
        Scaled(0.5), Identity(), X + B, certifier=Mean(10), sigma=0.1, n_samples=40, confidence=0.9, eps=[0.0, 0.05], x=X,
        image_keys=["a", "b"],
    )  # fmt: skip
    assert torch.equal(found["mean"].bound, alone.bound)


class Single(Scaled):
    """Computes in single precision whatever it is given."""

    def forward(self, y: Tensor, operator: Any) -> Tensor:
        return super().forward(y.float(), operator).float()


class NoNorm(Identity):
    def norm(self) -> float:
        return super(Identity, self).norm()


class OfTheSignal(Scaled):
    def lipschitz_signal(self, operator: Any) -> float:
        return 0.25


class Function:
    """A callable that is no torch module."""

    def __call__(self, y: Tensor, operator: Any) -> Tensor:
        return y

    def lipschitz(self, operator: Any) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("net", "operator", "said"),
    [
        (ISTANetPP(1, 2), double(1.0), "estimator ISTANetPP has no Lipschitz constant"),
        (lambda y, operator: y, Identity(), "has no Lipschitz constant"),
        (Function(), Identity(), "is no torch module"),
        (Single(), Identity(), "answers in torch.float32"),
        (Scaled(declares=math.inf), Identity(), "the constant is declared as inf"),
        (Scaled(declares=-1.0), Identity(), "the constant is declared as -1.0"),
        (Scaled(rho=math.nan), Identity(), "the inexactness is declared as nan"),
        (Scaled(rho=-1.0), Identity(), "the inexactness is declared as -1.0"),
        (Scaled(), NoNorm(), r"operator NoNorm declares no norm\(\)"),
    ],
)
def test_without_a_proof_there_is_no_bound_but_a_reason(net: Any, operator: Any, said: str) -> None:
    y = operator.A(X)
    found = certified(net, operator, y, x=X)
    assert found.bound.isnan().all()
    assert found.certified_error.isnan().all()
    assert math.isnan(found.lipschitz)
    for reason in found.reason.flatten():
        assert reason.startswith("no certificate: ")
        assert re.search(said, reason)
    torch.testing.assert_close(found.shown, net(y, operator).detach())


def test_a_constant_of_the_signal_needs_no_norm_of_the_operator() -> None:
    assert certified(OfTheSignal(), NoNorm(), X).lipschitz == 0.25
    ASKED.clear()
    certified(OfTheSignal(), NoNorm(), X[:1])
    assert [(torch.float64, 1, math.inf)] == ASKED


def test_errors_of_a_solver_are_not_swallowed() -> None:
    class Fails(Scaled):
        def forward(self, y: Tensor, operator: Any) -> Tensor:
            raise ArithmeticError("not converged: residual 0.5")

    with pytest.raises(ArithmeticError, match=r"residual 0\.5"):
        certified(Fails(), Identity(), X)


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="certifier='error' smooths: give sigma and n_samples"):
        certify(Scaled(), Identity(), X, certifier="error", eps=0.1, x=X)
    with pytest.raises(ValueError, match="threat='image' is none of signal, measurement"):
        certified(Scaled(), Identity(), X, threat="image")
    with pytest.raises(ValueError, match=r"eps=-1\.0 has to be >= 0"):
        certified(Scaled(), Identity(), X, eps=-1.0)
    with pytest.raises(ValueError, match="certifier='best' combines certificates of others"):
        certify(Scaled(), Identity(), X, certifier="best", eps=0.1)
    with pytest.raises(PremiseError, match="x has shape"):
        certified(Scaled(), Identity(), X, x=X[:, :, :4])
    with pytest.raises(PremiseError, match="y is not finite"):
        certified(Scaled(), Identity(), X * math.nan)


# The truth check.


def truth(found: Certificate, net: nn.Module, operator: Any, xi: Tensor, threat: str = "signal") -> TruthCheck:
    attacked = Attacked(net, operator, X, None, xi, None, n_samples=9)
    check = Lipschitz(threat).truth(found, attacked, SETTINGS)
    assert check is not None
    return check


def along(direction: Tensor, length: float) -> Tensor:
    """In single precision, so that the length is not quite that."""
    return length * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


@pytest.mark.parametrize("threat", ["signal", "measurement"])
@pytest.mark.parametrize("eps", [1e-3, 1.0, 15.0])
def test_a_constant_that_is_reached_is_not_refuted_and_any_smaller_one_is(threat: str, eps: float) -> None:
    """Along the rows of A, f^ moves by L ||xi|| exactly; under the threat to y the attack counts as A xi,
    three times as long as xi and so, up to a third of it, within the radius."""
    operator = double(3.0)
    y = operator.A(X)
    xi = along(operator.A_adjoint(torch.randn(y.shape, generator=torch.Generator().manual_seed(3))), eps)
    honest = certified(Scaled(0.5), operator, y, eps=eps, threat=threat)
    check = truth(honest, Scaled(0.5), operator, xi, threat)
    assert not check.violated.any()
    torch.testing.assert_close(check.estimate, honest.bound, rtol=1e-5, atol=0)
    torch.testing.assert_close(check.certified, honest.bound, rtol=1e-5, atol=0)
    assert (check.n_samples, check.network_evals, check.confidence) == (0, 1, 1.0)
    lying = Scaled(0.5, declares=0.5 * (1 - 1e-6))
    assert truth(certified(lying, operator, y, eps=eps, threat=threat), lying, operator, xi, threat).violated.all()


def test_the_attacks_own_length_counts_and_not_the_radius() -> None:
    """The identity that declares 0.5: refuted by any xi, however short, although the bound at eps = 15 is far off."""
    lying = Scaled(1.0, declares=0.5)
    found = certified(lying, Identity(), X, eps=15.0)
    check = truth(found, lying, Identity(), along(X, 0.1))
    assert check.violated.all()
    torch.testing.assert_close(check.certified, torch.full((2,), 0.05**2 / N, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(check.estimate, torch.full((2,), 0.1**2 / N, dtype=torch.float64), rtol=1e-6, atol=0)
    # Twice rho more is allowed.
    for rho, violated in ((0.026, False), (0.024, True)):
        inexact = Scaled(1.0, declares=0.5, rho=rho)
        found = certified(inexact, Identity(), X, eps=15.0)
        assert bool(truth(found, inexact, Identity(), along(X, 0.1)).violated.all()) == violated


def test_the_null_space_counts_under_the_threat_to_the_signal_alone() -> None:
    """An xi that A does not see moves nothing, and nothing is allowed of it where the threat is to y."""
    operator = double(1.0)
    xi = X - operator.A_adjoint(operator.A(X))
    found = certified(Scaled(), operator, operator.A(X), eps=1.0, threat="measurement")
    check = truth(found, Scaled(), operator, along(xi, 1.0), "measurement")
    assert float(check.certified.max()) < 1e-12
    assert not check.violated.any()


def test_no_bound_is_not_refuted() -> None:
    lying = Scaled(1.0, declares=0.5)
    found = certified(lying, Identity(), X, eps=1.0)
    none = replace(found, bound=found.bound * torch.tensor([1.0, math.nan]))
    assert truth(none, lying, Identity(), along(X, 1.0)).violated.tolist() == [True, False]


def test_a_wrapper_does_not_inherit_a_constant() -> None:
    """It may do anything with the output of what it wraps."""

    class Louder(nn.Module):
        def __init__(self, estimator: nn.Module) -> None:
            super().__init__()
            self.estimator = estimator

        def forward(self, y: Tensor, operator: Any) -> Tensor:
            return 3 * self.estimator(y, operator)

    y = torch.rand(1, 1, 12, 12)
    assert bool(certify(IdentityEstimator(), Identity(), y, certifier="lipschitz", eps=1.0).bound.isfinite())
    found = certify(Louder(IdentityEstimator()), Identity(), y, certifier="lipschitz", eps=1.0)
    assert bool(found.bound.isnan().all())
    assert "Louder has no Lipschitz constant" in found.reason[0]
