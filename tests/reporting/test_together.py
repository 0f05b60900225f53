"""What is certain of rows that are read together, by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from invsmooth.certificates import Center, why_impossible
from invsmooth.certificates.order_statistics import order_statistic_index, shifted_quantile
from invsmooth.certificates.radius import why_not_decided_below
from invsmooth.reporting.notes import SIGMA_PICKED, choice_note, confidence_notes
from invsmooth.reporting.together import failure, paid, statements
from tests.reporting.made import NONE, row, stored

bounds = (1e-3 * k for k in range(1, 10**6))
"""No two draws give the same."""


def one(**values: Any) -> dict[str, Any]:
    """A row with draws of its own."""
    bound = next(bounds)
    return row(**{"bound": bound, "psnr_median": 20 + bound, "quantile": 0.5, "seed": 0} | values)


def total(folder: Path, *rows: dict[str, Any]) -> float:
    return failure(statements(stored(folder, *rows)))


EACH = {"confidence": 0.9, "confidence_each": 0.9}


def test_runs_of_one_sigma_each_did_not_pay_for_all_sigma(tmp_path: Path) -> None:
    """over_sigma=bonferroni of a run that has one sigma pays for one sigma."""
    alone = EACH | {"simultaneous": "sigma"}
    rows = stored(tmp_path, one(**alone, sigma=12.0), one(**alone, run_id="b"))
    assert confidence_notes(rows) == [
        "With probability at least 0.9 a certificate holds, each on its own. Not paid for: reading them together over 2 σ.",
        "All 2 statements together hold with probability at least 0.8 (union bound).",
    ]
    assert choice_note(rows) == SIGMA_PICKED
    # Of one run they hold together, in the words of the run that paid.
    shared = {"confidence": 0.9, "confidence_each": 0.95, "simultaneous": "sigma"}
    rows = stored(tmp_path / "paid", one(**shared, sigma=12.0), one(**shared))
    assert confidence_notes(rows) == [
        "With probability at least 0.9 the certificates of one image hold together over all σ (each with 0.95).",
        "All 2 statements together hold with probability at least 0.9 (union bound).",
    ]
    assert choice_note(rows) == ""
    # A third sigma of another run is one more than was paid for.
    rows = stored(tmp_path / "joined", one(**shared, sigma=12.0), one(**shared), one(**shared, run_id="b", sigma=50.0))
    assert "Not paid for: reading them together over 3 σ." in confidence_notes(rows)[0]
    assert confidence_notes(rows)[-1] == "All 3 statements together hold with probability at least 0.85 (union bound)."
    assert choice_note(rows) == SIGMA_PICKED


def test_several_networks_are_not_paid_for(tmp_path: Path) -> None:
    """Of each network all sigma hold together; of both networks nobody paid for."""
    shared = {"confidence": 0.9, "confidence_each": 0.95, "simultaneous": "sigma"}
    own = [
        {"estimator_sha256": n, "run_id": n, "sigma": s, "image": i} for n in "ab" for s in (12.0, 25.0) for i in "xyz"
    ]
    notes = confidence_notes(stored(tmp_path, *(one(**shared, **o) for o in own)))
    assert notes[0].startswith(
        "With probability at least 0.9 the certificates of one network and image hold together over all σ (each with "
        "0.95). Not paid for: reading them together over 3 images and 2 networks. Of 3 images at most 0.3 are expected "
        "to have one that fails; "
    )
    assert notes[1] == "All 12 statements together hold with probability at least 0.4 (union bound)."


def test_everything_paid_for(tmp_path: Path) -> None:
    """2 sigma, 3 images, 2 eps: 0.9 of all together, and two certifiers of that 0.8."""
    shared = {"confidence": 0.9, "confidence_each": 1 - 0.1 / 12, "simultaneous": "eps, sigma, images"}
    own = [{"sigma": s, "image": i, "eps": e} for s in (12.0, 25.0) for i in "xyz" for e in (0.1, 0.2)]
    rows = [one(**shared, **o) for o in own]
    said = "With probability at least 0.9 the certificates hold together over all ε, σ and images (each with 0.991667)."
    assert confidence_notes(stored(tmp_path, *rows)) == [
        said, "All 12 statements together hold with probability at least 0.9 (union bound).",
    ]  # fmt: skip
    both = [*rows, *(one(certifier="error", **shared, **o) for o in own)]
    assert confidence_notes(stored(tmp_path / "both", *both)) == [
        said, "All 24 statements together hold with probability at least 0.8 (union bound).",
    ]  # fmt: skip


def test_the_union_bound_may_say_nothing_and_is_never_rounded_up(tmp_path: Path) -> None:
    rows = [one(image=str(i), **EACH) for i in range(10)]
    assert confidence_notes(stored(tmp_path, *rows))[-1] == (
        "All 10 statements together: nothing is known (union bound: the failure probabilities sum to 1)."
    )
    rows = [one(image=str(i), confidence=0.99, confidence_each=0.99999 if i else 0.99) for i in range(5)]
    assert "at least 0.9899 (" in confidence_notes(stored(tmp_path / "more", *rows))[-1]


def test_equal_statements_of_several_runs_count_once(tmp_path: Path) -> None:
    same = one(**EACH)
    assert total(tmp_path, same, same | {"run_id": "b"}) == pytest.approx(0.1)
    assert total(tmp_path / "other", same, one(**EACH, run_id="b")) == pytest.approx(0.2)
    for k, other in enumerate(({"seed": 1}, {"bound": 0.5}, {"confidence_each": 0.9 + 1e-12}, {"n_samples": 60},
                               {"estimator_sha256": "b"}, {"quantile": 0.9})):  # fmt: skip
        assert total(tmp_path / str(k), same, same | {"run_id": "b"} | other) == pytest.approx(0.2), other


def at_all_radii(certifier: str, **values: Any) -> Iterator[dict[str, Any]]:
    for eps in (0.1, 0.2, 0.3):
        yield row(**EACH, certifier=certifier, quantile=0.5, seed=0, eps=eps, bound=eps / 100) | values


def test_what_holds_at_all_radii_counts_once(tmp_path: Path) -> None:
    """The mean; a radius and its certified eps. Not those of one rank each, nor a radius that is decided each."""
    none = {"k_index": None}
    assert total(tmp_path / "mean", *at_all_radii("mean", ball_radius=1.5, **none)) == pytest.approx(0.1)
    assert total(tmp_path / "radius", *at_all_radii("radius", certified_eps=0.25)) == pytest.approx(0.1)
    assert total(tmp_path / "anytime", *at_all_radii("radius", **none)) == pytest.approx(0.3)
    assert total(tmp_path / "error", *at_all_radii("error")) == pytest.approx(0.3)
    # Another threshold is about another radius, and another run about another ball.
    two = [r for k in (1, 2) for r in at_all_radii("radius", certified_eps=0.1 * k, run_id=str(k), bound=k / 100)]
    assert total(tmp_path / "thresholds", *two) == pytest.approx(0.2)
    two = [r for k in (1, 2) for r in at_all_radii("mean", ball_radius=0.1 * k, run_id=str(k), **none)]
    assert total(tmp_path / "balls", *two) == pytest.approx(0.2)
    assert paid(statements(stored(tmp_path / "all", *at_all_radii("mean", **none))), 0.9) == ["eps"]


@pytest.mark.parametrize("certifier", ["error", "discrepancy"])
@pytest.mark.parametrize("dkw", [True, False])
def test_a_band_is_known_by_its_ranks_but_for_rows_at_measurements_of_their_own(
    tmp_path: Path, certifier: str, dkw: bool
) -> None:
    rows = []
    for eps, ratio in ((0.1, 0.1), (0.2, 0.2)):
        k = order_statistic_index(100, shifted_quantile(0.5, ratio, 1), 0.9, dkw=dkw)
        rows.append(
            one(certifier=certifier, simultaneous="eps", eps=eps, eps_over_sigma=ratio, k_index=k, n_samples=100,
                psnr_median=21.0, **EACH)
        )  # fmt: skip
    band = dkw and certifier == "error"
    assert total(tmp_path, *rows) == pytest.approx(0.1 if band else 0.2)
    said = confidence_notes(stored(tmp_path, *rows))[0]
    assert ("of one image hold together over all ε." in said) == band
    assert ("Not paid for" in said) == (not band)


def test_what_can_have_no_certificate_is_no_statement_but_what_the_draws_refused_is(tmp_path: Path) -> None:
    impossible = NONE | {"reason": why_impossible("error", 9.0, 50, 0.9)}
    assert total(tmp_path / "a", one(**EACH), one(**EACH | impossible, certifier="error")) == pytest.approx(0.1)
    assert total(tmp_path / "b", one(**EACH | impossible, certifier="radius", certified_eps=0.1)) == pytest.approx(0.1)
    none = {"reason": why_impossible("mean", math.inf, 50, 0.9)}
    assert total(tmp_path / "c", one(**EACH | NONE | none, certifier="mean")) == 0
    none = {"reason": why_impossible(Center(n_pred=9), 0.1, 50, 0.9)}
    assert total(tmp_path / "d", one(**EACH | NONE | none, certifier="center")) == 0
    for k, below in enumerate((None, False)):
        refused = NONE | {"reason": why_not_decided_below(below, 40, 0.1), "certifier": "radius"}
        assert total(tmp_path / str(k), one(**EACH), one(**EACH | refused)) == pytest.approx(0.2)
    # Of two runs that abstained too little is known to tell that they say the same.
    abstained = (
        EACH | NONE | {"reason": "abstained: …", "abstained": True, "certifier": "center", "psnr_median": math.nan}
    )
    assert total(tmp_path / "e", one(**abstained), one(**abstained, run_id="b")) == pytest.approx(0.2)


def test_what_is_not_sound_is_no_statement(tmp_path: Path) -> None:
    paper = stored(tmp_path, one(units="paper", sound=False), one(units="paper", sound=False, sigma=12.0))
    assert len(statements(paper)) == 0
    assert confidence_notes(paper) == []
    assert choice_note(paper) == ""
    unknown = stored(tmp_path / "unknown", one(confidence=math.nan, confidence_each=math.nan))
    assert isinstance(statements(unknown), pd.DataFrame)
    assert confidence_notes(unknown) == []


def test_a_rank_of_neither_rule_is_no_band(tmp_path: Path) -> None:
    """What cannot be told counts for each row."""
    own = {"certifier": "error", "simultaneous": "eps", "n_samples": 100, "k_index": 90, "psnr_median": 21.0}
    rows = [one(**EACH, **own, eps=e, eps_over_sigma=e) for e in (0.1, 0.2)]
    assert total(tmp_path, *rows) == pytest.approx(0.2)


def test_an_axis_is_paid_for_only_if_it_is_for_every_image(tmp_path: Path) -> None:
    own = [row(image=i, sigma=s, confidence_each=c, simultaneous="sigma")
           for i, c in (("a", 0.995), ("b", 0.99)) for s in (12.0, 25.0)]  # fmt: skip
    found = statements(stored(tmp_path, *own))
    assert paid(found[found["image"] == "a"], 0.99) == ["sigma"]
    assert paid(found, 0.99) == []
