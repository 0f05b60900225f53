"""The best of several certificates, against maxima and sums by hand."""

from __future__ import annotations

import math

import pytest
import torch

from invsmooth.certificates import Best, Center, Discrepancy, Error, Lipschitz, Mean, Smoothing, certify_all
from invsmooth.certificates.best import smallest
from invsmooth.certificates.by_name import packaged
from invsmooth.certificates.confidence import union
from invsmooth.core.units import Units
from invsmooth.operators import Identity
from tests.certificates.nets import Scaled

X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
EPS = [0.0, 0.05, 3.0]
PARTS = [Error(), Mean(10), Lipschitz()]


def certificates(scale: float) -> dict:
    smoothing = Smoothing(sigma=0.1, n_samples=40, confidence=0.9)
    return certify_all(Scaled(scale), Identity(), X + 0.1, PARTS, smoothing, eps=EPS, x=X)


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
@pytest.mark.parametrize("j", range(len(EPS)))
def test_it_is_the_smallest_certified_error_to_the_clean_image(scale: float, j: int) -> None:
    found = {name: c.at(j) for name, c in certificates(scale).items()}
    best = Best().combine([(part, found[part.name]) for part in PARTS])
    assert best.bound.shape == (3, 1)
    for i in range(3):
        psnr = {
            "error": PARTS[0].row(found["error"], i, Units.matched)["certified_psnr"],
            "mean": PARTS[1].row(found["mean"], i, Units.matched)["certified_psnr_mean"],
            "lipschitz": PARTS[2].row(found["lipschitz"], i, Units.matched)["certified_psnr_lipschitz"],
        }
        row = Best().row(best.at(0), i, Units.matched)
        known = {name: value for name, value in psnr.items() if not math.isnan(value)}
        assert row["best_of"] == max(known, key=lambda name: known[name])
        assert row["certified_psnr_best"] == pytest.approx(max(known.values()), rel=1e-6)
        assert 10 ** (-row["certified_psnr_best"] / 10) == pytest.approx(float(best.bound[i, 0]))
        assert torch.equal(best.shown[i], found[row["best_of"]].reconstruction_median[i])
    assert best.sound
    assert best.network_evals == 0
    assert best.n_drawn_for(0, 40) == 40


def test_it_is_not_always_the_same_one() -> None:
    chosen = set()
    for scale in (0.2, 1.0, 6.0):
        for j in range(len(EPS)):
            found = {name: c.at(j) for name, c in certificates(scale).items()}
            chosen |= set(Best().combine([(part, found[part.name]) for part in PARTS]).best_of[:, 0])
    assert chosen == {"mean", "lipschitz"}


def test_where_none_has_one_there_is_none() -> None:
    found = {name: c.at(2) for name, c in certificates(1.0).items()}
    best = Best().combine([(PARTS[0], found["error"])])
    assert best.bound.isnan().all()
    assert best.reason[0, 0] == "no certificate: none of error gives one"
    assert Best().row(best.at(0), 0, Units.matched)["best_of"] == ""
    assert smallest([math.nan, 2.0, 1.0, 1.0]) == 2
    assert smallest([math.nan]) is None


def test_it_combines_what_certifies_a_psnr() -> None:
    assert [c.name for c in (Error(), Mean(), Lipschitz(), Best(), Discrepancy(), Center()) if Best().combines(c)] == [
        "error", "mean", "lipschitz",
    ]  # fmt: skip


def test_the_certified_error_is_what_the_curve_shows() -> None:
    """Of every certifier of ours with a curve of the PSNR."""
    found = {name: c.at(1) for name, c in certificates(1.0).items()}
    for kind in packaged().values():
        if kind.declared.at != "cell" and (column := kind.declared.curves.get("psnr")):
            part = next(p for p in PARTS if p.name == kind.name)
            psnr = part.row(found[part.name], 0, Units.matched)[column]
            assert part.certified_error(found[part.name], 0) == pytest.approx(10 ** (-psnr / 10), rel=1e-5)


def test_union_bound() -> None:
    assert union([0.99, 1.0, 0.97]) == pytest.approx(0.96)
    assert union([1.0]) == 1.0
    assert union([0.4, 0.3]) == 0.0
