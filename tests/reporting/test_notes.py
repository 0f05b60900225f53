"""What reports say of the confidence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from invsmooth.reporting.notes import SIGMA_PICKED, attack_notes, choice_note, confidence_notes, notes
from tests.reporting.declared import DECLARED
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
            "With probability at least 0.9 a certificate holds, each on its own. Not paid for: reading them together over "
            "2 ε and 20 images. Of 20 certificates of one setting, one for each image, at most 2 are expected to fail; with "
            f"probability 0.99 no more than {failures(20, 0.1)} do.",
        ),
        (
            {"confidence": 0.95, "confidence_each": 0.975, "simultaneous": "eps"},
            "With probability at least 0.95 the certificates of one image hold together over all ε (each with 0.975). Not "
            "paid for: reading them together over 20 images. Of 20 images at most 1 are expected to have one that fails; "
            f"with probability 0.99 no more than {failures(20, 0.05)} do.",
        ),
        (
            {"confidence": 0.95, "confidence_each": 0.9975, "simultaneous": "images"},
            "With probability at least 0.95 the certificates of one ε hold together over all images (each with 0.9975). Not "
            "paid for: reading them together over 2 ε.",
        ),
    ],
)  # fmt: skip
def test_confidence_is_said_in_full(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    rows = stored(tmp_path, *(row(image=i, eps=e, **values) for i in IMAGES for e in (0.1, 0.2)))
    assert confidence_notes(rows, DECLARED)[:-1] == [said]


def test_at_one_sigma_is_said_where_sigma_was_not_paid_for(tmp_path: Path) -> None:
    shared = {"confidence": 0.9, "confidence_each": 0.95, "simultaneous": "eps"}
    own = [{"image": i, "sigma": s, "eps": e} for i in IMAGES for s in (12.0, 25.0) for e in (0.1, 0.2)]
    note, _ = confidence_notes(stored(tmp_path, *(row(**shared, **o) for o in own)), DECLARED)
    assert "the certificates of one image and σ hold together over all ε (each with 0.95)" in note
    assert "Not paid for: reading them together over 2 σ and 20 images. Of 20 images, at one σ, at most 2 are" in note


def test_certifiers_are_told_apart_where_they_differ(tmp_path: Path) -> None:
    rows = [row(), row(certifier="error"), row(certifier="mean", confidence=0.9, confidence_each=0.9)]
    assert [n.split(":")[0] for n in confidence_notes(stored(tmp_path, *rows), DECLARED)][:2] == [
        "discrepancy, error",
        "mean",
    ]
    # Of several confidences the least holds of all.
    several = stored(tmp_path / "two", row(), row(run_id="b", sigma=12.0, confidence=0.9, confidence_each=0.9))
    assert confidence_notes(several, DECLARED)[0].startswith(
        "With probability at least 0.9 a certificate holds, each on its own."
    )
    assert confidence_notes(stored(tmp_path / "none", row(**NONE)), DECLARED) == []
    assert confidence_notes(stored(tmp_path / "paper", row(units="paper", sound=False)), DECLARED) == []


def test_a_sigma_picked_afterwards_is_said_unless_it_was_paid_for(tmp_path: Path) -> None:
    sigmas = {"sigma": 12.0}, {"sigma": 25.0}
    assert choice_note(stored(tmp_path / "several", *(row(**s) for s in sigmas)), DECLARED) == SIGMA_PICKED
    assert choice_note(stored(tmp_path / "one", row()), DECLARED) == ""
    paid = {"simultaneous": "eps, sigma", "confidence_each": 0.995}
    assert choice_note(stored(tmp_path / "paid", *(row(**s, **paid) for s in sigmas)), DECLARED) == ""


def test_attacks_without_a_direction_are_said(tmp_path: Path) -> None:
    """Images, each counted once, whatever the number of radii and certifiers."""
    own = [
        {"image": i, "eps": e, "certifier": c} for i in "abc" for e in (0.0, 0.1, 0.2) for c in ("discrepancy", "error")
    ]
    zero = [o | {"attack_zero_gradient": o["image"] == "b" and o["eps"] > 0} for o in own]
    rows = stored(tmp_path / "some", *(row(**o) for o in zero))
    assert attack_notes(rows)[0].startswith("For 1 of 3 images")
    assert attack_notes(rows)[0] in notes(rows, DECLARED)
    assert attack_notes(stored(tmp_path / "none", *(row(**o, attack_zero_gradient=False) for o in own))) == []


@pytest.mark.parametrize(
    ("images", "said"), [("a", "2 measurements of 1 image."), ("ab", "4 measurements of 2 images.")]
)
def test_an_image_in_two_settings_is_one_image(tmp_path: Path, images: str, said: str) -> None:
    rows = stored(tmp_path, *(row(image=i, ratio=r) for i in images for r in (0.1, 0.3)))
    assert f"Not paid for: reading them together over {said}" in confidence_notes(rows, DECLARED)[0]
