from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invsmooth.certificates.second_moment import SecondMoment


def vectors(n: int, count: int, decay: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, generator=generator, dtype=torch.float64) * decay ** torch.arange(n)


def upper_bound(v: torch.Tensor, n_rows: int, chunk: int = 7) -> float:
    second = SecondMoment(v.shape[1], len(v), n_rows)
    for part in v.split(chunk):
        second.add(part.clone())
    assert second.trace == pytest.approx(float(v.square().sum()))
    assert len(second.rows) <= 2 * n_rows
    return second.largest_eigenvalue()


def exact(v: torch.Tensor) -> float:
    return float(np.linalg.norm(v.numpy(), ord=2) ** 2)


@given(st.integers(2, 60), st.integers(1, 150), st.integers(2, 20), st.floats(0.7, 1), st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_never_below_the_largest_eigenvalue(n: int, count: int, n_rows: int, decay: float, chunk: int) -> None:
    v = vectors(n, count, decay)
    found, truth = upper_bound(v, n_rows, chunk), exact(v)
    assert found >= truth
    # Frequent Directions: off by at most the trace over the rows kept.
    assert found <= truth * (1 + 1e-6) + float(v.square().sum()) / n_rows


def test_exact_while_the_rows_last_and_where_there_are_as_many_as_dimensions() -> None:
    v = vectors(50, 40, 1.0)
    assert upper_bound(v, 20) == pytest.approx(exact(v), rel=1e-5)
    assert upper_bound(vectors(12, 300, 1.0), 12) == pytest.approx(exact(vectors(12, 300, 1.0)), rel=1e-5)
    assert upper_bound(vectors(50, 300, 1.0), 20) > 1.01 * exact(vectors(50, 300, 1.0))


def test_order_and_chunks_do_not_matter_while_the_rows_last() -> None:
    v = vectors(50, 40, 0.9)
    shuffled = v[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert upper_bound(shuffled, 20, chunk=40) == pytest.approx(upper_bound(v, 20, chunk=1), rel=1e-9)


def test_close_where_the_spectrum_decays() -> None:
    v = vectors(200, 2000, 0.9)
    assert upper_bound(v, 40) == pytest.approx(exact(v), rel=1e-3)


def test_memory_bounds_the_rows() -> None:
    assert SecondMoment(256 * 256, 10_000).rows.shape == (2048, 65536)
    assert SecondMoment(1024 * 1024, 10_000).rows.shape == (128, 2**20)
    assert SecondMoment(10**6, 5).rows.shape == (5, 10**6)


def test_vectors_of_length_zero() -> None:
    assert upper_bound(torch.zeros(30, 5, dtype=torch.float64), 5) == 0
