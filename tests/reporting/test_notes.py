"""What reports say of the confidence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from invsmooth.reporting.notes import SIGMA_PICKED, choice_note, confidence_notes
from tests.reporting.made import NONE, row, stored

IMAGES = [f"image {k}" for k in range(20)]


def failures(n: int, p: float, level: float = 0.99) -> int:
    """The smallest k with P[Bin(n, p) <= k] >= level."""
    total, k = 0.0, -1
    while total < level:
        k += 1
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
    return k


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"confidence": 0.9, "confidence_each": 0.9},
            "With probability at least 0.9 a certificate holds, each on its own. Of 20 certificates of one setting, one for "
            f"each image, at most 2 are expected to fail; with probability 0.99 no more than {failures(20, 0.1)} do.",
        ),
        (
            {"confidence": 0.95, "confidence_each": 0.9875, "simultaneous": "eps, sigma"},
            "With probability at least 0.95 the certificates of one image and certifier hold together over all ε and σ "
            "(each with 0.9875). Of 20 images at most 1 are expected to have one that fails; with probability 0.99 "
            f"no more than {failures(20, 0.05)} do.",
        ),
        (
            {"confidence": 0.95, "confidence_each": 0.9975, "simultaneous": "images"},
            "With probability at least 0.95 the certificates of one certifier hold together over all images "
            "(each with 0.9975).",
        ),
    ],
)  # fmt: skip
def test_confidence_is_said_in_full(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    rows = stored(tmp_path, *(row(image=i, eps=e, **values) for i in IMAGES for e in (0.1, 0.2)))
    assert confidence_notes(rows) == [said]


def test_runs_of_several_confidences_are_told_apart_and_what_is_not_guaranteed_is_not_said(tmp_path: Path) -> None:
    notes = confidence_notes(stored(tmp_path, row(), row(run_id="b", confidence=0.9, confidence_each=0.9)))
    assert [n.split(":")[0] for n in notes] == ["b", "a"]
    # mean holds at all radii anyway: in one run its confidence is of other things.
    both = (
        {"confidence": 0.9, "simultaneous": "eps, sigma", "confidence_each": 0.95},
        {"certifier": "mean", "simultaneous": "sigma"},
    )
    notes = confidence_notes(stored(tmp_path / "one run", *(row(**of) for of in both)))
    assert [n.split(":")[0] for n in notes] == ["discrepancy", "mean"]
    assert confidence_notes(stored(tmp_path / "none", row(**NONE))) == []
    assert confidence_notes(stored(tmp_path / "paper", row(units="paper", sound=False))) == []


def test_a_sigma_picked_afterwards_is_said_unless_it_was_paid_for(tmp_path: Path) -> None:
    sigmas = {"sigma": 12.0}, {"sigma": 25.0}
    assert choice_note(stored(tmp_path / "several", *(row(**s) for s in sigmas))) == SIGMA_PICKED
    assert choice_note(stored(tmp_path / "one", row())) == ""
    paid = {"simultaneous": "eps, sigma"}
    assert choice_note(stored(tmp_path / "paid", *(row(**s, **paid) for s in sigmas))) == ""
