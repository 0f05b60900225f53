from __future__ import annotations

import functools

import pytest

from invsmooth.certificates import draws
from invsmooth.core.rng import smoothing_noise


@pytest.fixture
def noise_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For simulations whose certificates have their noise in common: to make it anew for each takes most of the time."""
    monkeypatch.setattr(draws, "smoothing_noise", functools.cache(smoothing_noise))
