"""The memory of a batch is bounded without a chunk size."""

from __future__ import annotations

import pytest
import torch

from invsmooth.training.backbone import PIXELS_AT_A_TIME, draws_that_fit


@pytest.mark.parametrize(
    ("patches", "side", "n_samples", "expected"),
    [(64, 33, 15, 7), (32, 40, 15, 10), (64, 33, 2, 2), (1, 33, 15, 15), (10_000, 33, 15, 1)],
)
def test_draws_that_fit(patches: int, side: int, n_samples: int, expected: int) -> None:
    x = torch.empty(patches, 1, side, side)
    found = draws_that_fit(x, n_samples)
    assert found == expected
    assert found == 1 or found * x.numel() <= PIXELS_AT_A_TIME["cpu"]
