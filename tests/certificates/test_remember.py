"""Certificates from draws that were remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from invsmooth.cache import Results, Store
from invsmooth.certificates import draw_buffer
from invsmooth.estimators import DPDNN
from invsmooth.operators import Identity
from tests.certificates.together import certify_all

SIGMA = 25 / 255
EPS = [0.0, 0.05, 0.1]


class Counting:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net, self.images = DPDNN(1, 4).eval(), 0

    def __call__(self, y: torch.Tensor, operator: object) -> torch.Tensor:
        self.images += len(y)
        return self.net(y, operator)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(Store(tmp_path), {}, torch.device("cpu"))


@pytest.mark.parametrize("kept_bytes", [2**27, 0])
@pytest.mark.parametrize("certifiers", [("error",), ("error", "mean"), ("discrepancy", "radius", "mean", "center")])
def test_recalled_draws_give_the_same_certificates(results, monkeypatch, certifiers, kept_bytes: int) -> None:
    """To the last bit, the costs that the rows state included; only what is shown is made again."""
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", kept_bytes)
    estimator, operator = Counting(), Identity()
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))

    def certify(eps: list[float], **options):
        arguments = {"certifiers": certifiers, "sigma": SIGMA, "n_samples": 50, "n_pred": 40, "confidence": 0.9, "x": x,
                     "threshold": 0.01, "chunk_size": 7, "image_keys": ["a"]} | options  # fmt: skip
        estimator.images = 0
        return certify_all(estimator, operator, x, eps=eps, **arguments), estimator.images

    plain, n_plain = certify(EPS)
    first, n_first = certify(EPS, remember=results)
    again, n_again = certify(EPS, remember=results)
    assert n_first == n_plain
    # The reference, and the chunks (or, without memory, the draws) of the median and the ranks.
    assert n_again <= 1 + len(certifiers) * 4 * 7
    for found in (first, again):
        for name, certificate in plain.items():
            for field, value in vars(certificate).items():
                other = getattr(found[name], field)
                if isinstance(value, torch.Tensor):
                    assert torch.equal(other.nan_to_num(-1), value.nan_to_num(-1)), (name, field)
                else:
                    assert str(other) == str(value), (name, field)
    # Other radii, confidences and quantiles follow from the same draws.
    _, n_other = certify([0.02], remember=results, confidence=0.95, q=0.4)
    assert n_other <= 1 + len(certifiers) * 3 * 7
    # Another sigma or seed does not.
    for options in ({"sigma": 2 * SIGMA}, {"seed": 1}, {"image_keys": ["b"]}):
        assert certify(EPS, remember=results, **options)[1] == n_plain


def test_errors_and_moments_serve_any_number_of_predictions(results: Results) -> None:
    """n_pred of center depends on the confidence, and says how many draws are shared: a sweep over the confidence makes the
    errors and the moments once all the same."""
    x = torch.rand(1, 1, 16, 16)
    for n_pred in (40, 50):
        certify_all(Counting(), Identity(), x, certifiers=("error", "mean", "center"), sigma=SIGMA, eps=EPS, n_samples=50,
                    n_pred=n_pred, x=x, remember=results)  # fmt: skip
    assert dict(results.counts) == {
        "errors computed": 1, "errors cached": 1, "moments computed": 1, "moments cached": 1, "centre computed": 2,
    }  # fmt: skip


def test_as_many_draws_otherwise_shared_out_are_others(results: Results) -> None:
    estimator, x = Counting(), torch.rand(1, 1, 16, 16)
    for n_centre, n_samples in ((20, 30), (30, 20)):
        estimator.images = 0
        certify_all(estimator, Identity(), x, certifiers=("mean",), sigma=SIGMA, eps=EPS, n_samples=n_samples,
                    n_centre=n_centre, remember=results)  # fmt: skip
        assert estimator.images >= 50
