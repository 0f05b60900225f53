"""Images of 0 to 255 from Python, where [0, 1] is meant: a warning."""

from __future__ import annotations

import warnings

import pytest
import torch

from invsmooth import Ridge, certify, pgd
from invsmooth.operators import Identity

X = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
SETTINGS = {"sigma": 0.1, "eps": 0.01, "n_samples": 20, "confidence": 0.9}


def test_an_attack() -> None:
    with pytest.warns(UserWarning, match=r"x has values from 0 to 255; images in \[0, 1\] are expected"):
        pgd(Ridge(0.1), Identity(), 255 * X, eps=0.1, n_iter=1)


@pytest.mark.parametrize("x", [None, 255 * X])
def test_a_certificate(x: torch.Tensor | None) -> None:
    with pytest.warns(UserWarning, match="divide grey levels by 255"):
        certify(Ridge(0.1), Identity(), 255 * X, x=x, **SETTINGS)


def test_images_in_range_and_a_little_out_of_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (X, 3 * X - 1):
            pgd(Ridge(0.1), Identity(), image, eps=0.1, n_iter=1)
            certify(Ridge(0.1), Identity(), image, x=image, **SETTINGS)
