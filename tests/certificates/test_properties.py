"""What holds for every network, setting and certifier: growth in eps, more draws, and what the result does not depend on."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2, norm
from torch import Tensor

from invsmooth.certificates import Certificate, certify, draw_buffer, draws
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity
from tests.certificates.nets import ReluNet
from tests.certificates.together import certify_all, certify_any

SIGMA = 0.1
ALL = ("discrepancy", "error", "radius", "mean", "center")
SEEDS = st.integers(0, 10**6)
RADII = st.lists(st.floats(0, 0.15), min_size=2, max_size=5).map(sorted)


def certificates(
    net_seed: int, eps: list[float], n_images: int = 2, only: int | None = None, **options: object
) -> dict[str, Certificate]:
    """Of all certifiers; of one of the images alone."""
    torch.manual_seed(net_seed)
    net = ReluNet(4, gain=2.0)
    y = torch.rand(n_images, 1, 2, 2)
    y = y if only is None else y[only : only + 1]
    arguments = {"sigma": SIGMA, "n_samples": 60, "n_centre": 20, "n_pred": 1700, "confidence": 0.5, "threshold": 0.05}
    return certify_all(net, Identity(), y, certifiers=ALL, eps=eps, x=y + 0.05, **arguments | options)


def assert_same(found: dict[str, Certificate], others: dict[str, Certificate]) -> None:
    for certifier in ALL:
        ours, theirs = found[certifier], others[certifier]
        torch.testing.assert_close(ours.bound, theirs.bound, rtol=1e-4, atol=1e-9, equal_nan=True)
        assert ours.k_index.tolist() == theirs.k_index.tolist()


@given(SEEDS, RADII)
@example(0, [0.0, 1e-298])
@settings(max_examples=25, deadline=None)
def test_bounds_grow_in_eps(seed: int, eps: list[float]) -> None:
    for certifier, found in certificates(seed, eps).items():
        if certifier == "radius":  # certified up to certified_eps and not beyond
            certified_eps = found.certified_eps[:, None].nan_to_num(-1)  # type: ignore[attr-defined]
            assert torch.equal(found.bound.isfinite(), torch.tensor(eps).double()[None] <= certified_eps)
            continue
        bounds = found.bound.nan_to_num(torch.inf)  # none is above all others
        assert (bounds[:, 1:] >= bounds[:, :-1] * (1 - 1e-9)).all()


@given(SEEDS, st.integers(1, 100), st.sampled_from([0, 2**27]), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_chunks_memory_and_batches_do_not_matter(seed: int, chunk_size: int, kept_bytes: int, n_images: int) -> None:
    eps, last = [0.0, 0.05, 0.1], n_images - 1
    whole = certificates(seed, eps, n_images)
    assert any(bool(found.bound.isfinite().any()) for found in whole.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(draw_buffer.KEPT_BYTES, "cpu", kept_bytes)
        assert_same(whole, certificates(seed, eps, n_images, chunk_size=chunk_size))
    alone = certificates(seed, eps, n_images, only=last, image_keys=[last])
    for certifier, found in whole.items():
        torch.testing.assert_close(alone[certifier].bound[0], found.bound[last], rtol=1e-4, atol=1e-9, equal_nan=True)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_order_of_the_draws_does_not_matter(seed: int) -> None:
    """Each certifier's samples in another order: S draws; S_0 and S; n_pred, n_pred and S."""
    eps = [0.0, 0.05, 0.1]
    torch.manual_seed(seed)
    net, y = ReluNet(4, gain=2.0), torch.rand(1, 1, 2, 2)
    options = {
        "sigma": SIGMA,
        "eps": eps,
        "n_samples": 60,
        "n_centre": 20,
        "n_pred": 60,
        "confidence": 0.5,
        "x": y + 0.05,
    }
    samples = {"discrepancy": [60], "error": [60], "mean": [20, 60], "center": [1700, 1700, 60]}
    for certifier, sizes in samples.items():
        order: list[int] = []
        for size in sizes:
            part = list(range(len(order), len(order) + size))
            Random(seed).shuffle(part)
            order += part

        def shuffled(
            shape: torch.Size, start: int, stop: int, *key: int, device: torch.device, order: list[int] = order
        ) -> Tensor:
            return smoothing_noise(shape, 0, len(order), *key, device=device)[order[start:stop]]

        plain = certify_any(net, Identity(), y, certifier=certifier, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(draws, "smoothing_noise", shuffled)
            other = certify_any(net, Identity(), y, certifier=certifier, **options)
        torch.testing.assert_close(other.bound, plain.bound, rtol=1e-4, atol=1e-9, equal_nan=True)


@given(SEEDS, st.sampled_from(["discrepancy", "error", "mean"]), st.floats(0.3, 0.6), st.floats(0, 0.1))
@settings(max_examples=8, deadline=None)
def test_more_draws_bring_the_bound_closer_on_average(seed: int, certifier: str, q: float, eps: float) -> None:
    """Over the draws, for one signal and network."""
    torch.manual_seed(seed)
    net, y = ReluNet(4, gain=2.0), torch.rand(1, 1, 2, 2).expand(200, -1, -1, -1)
    few, many = (
        certify_any(net, Identity(), y, sigma=SIGMA, eps=eps, n_samples=n, certifier=certifier, q=q, x=y, n_centre=50,
                confidence=0.9).bound.mean()
        for n in (60, 600)
    )  # fmt: skip
    assert many <= few


def test_coverage_of_the_certified_radius() -> None:
    """f(y) = y, four pixels: the theorem holds at every eps with Phi(Phi^-1(q) + eps/sigma) <= P[MSE <= threshold], known in
    closed form. A larger one is certified in a share of at most 1 - c."""
    repeats, confidence, q = 2000, 0.8, 0.4
    threshold = SIGMA**2 / 4 * chi2.ppf(0.7, 4)
    truth = SIGMA * (norm.ppf(0.7) - norm.ppf(q))
    found = certify(MatchedFilter(), Identity(), torch.zeros(repeats, 1, 2, 2), sigma=SIGMA, eps=0.0, n_samples=80, q=q,
                    confidence=confidence, certifier="radius", radius_of="discrepancy", threshold=threshold)  # fmt: skip
    too_large = int((found.certified_eps > truth).sum())  # type: ignore[attr-defined]
    assert 0 < too_large <= binom.isf(1e-6, repeats, 1 - confidence)
