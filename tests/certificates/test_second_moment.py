"""The bound of the largest eigenvalue against dense eigenvalues."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ortho_group

from invsmooth.certificates import second_moment
from invsmooth.certificates.second_moment import (
    ROUNDING,
    TOLERANCE,
    above,
    lanczos_bound,
    largest_eigenvalue,
    least_overlap,
)


def vectors(n: int, count: int, decay: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, generator=generator, dtype=torch.float64) * decay ** torch.arange(n)


def upper_bound(v: torch.Tensor, block: int = 7) -> float:
    return largest_eigenvalue(lambda: iter(v.split(block)), len(v), v.shape[1], starts())


def starts(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def exact(v: torch.Tensor) -> float:
    return float(np.linalg.norm(v.numpy(), ord=2) ** 2)


@given(st.integers(1, 60), st.integers(1, 100), st.floats(0.7, 1), st.integers(1, 40), st.booleans())
@settings(max_examples=80, deadline=None)
def test_never_below_the_largest_eigenvalue(n: int, count: int, decay: float, block: int, iterate: bool) -> None:
    v = vectors(n, count, decay)
    with pytest.MonkeyPatch.context() as patch:
        if iterate:
            patch.setattr(second_moment, "SMALL", 1)
        found, truth = upper_bound(v, block), exact(v)
    assert found >= truth
    loose = 1.1 * TOLERANCE if iterate and n > 1 and count > 1 else 1e-12 + ROUNDING * float(v.square().sum()) / truth
    assert found <= truth * (1 + loose)


@pytest.mark.parametrize(("n", "count"), [(12, 3000), (3000, 30), (1100, 1500)])
def test_as_many_passes_as_it_needs(n: int, count: int) -> None:
    """One where the matrix is small, two at most where the vectors are few, some tens else."""
    v, passes = vectors(n, count, 1.0), 0

    def blocks() -> Iterator[torch.Tensor]:
        nonlocal passes
        passes += 1
        return iter(v.split(100))

    assert largest_eigenvalue(blocks, count, n, starts()) == pytest.approx(exact(v), rel=1.1 * TOLERANCE)
    assert passes == 1 if min(n, count) <= 1024 else 10 < passes < 60


@pytest.mark.parametrize("passes", [1, 2, 5])
def test_stopped_early_it_is_loose_and_no_less_a_bound(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_moment, "MOST_PASSES", passes)
    v = vectors(400, 300, 0.999)
    found = lanczos_bound(lambda q: v.T @ (v @ q), 400, starts())
    assert 1.01 * exact(v) < found < 10_000 * exact(v)


@pytest.mark.parametrize("gap", [0.0, 1e-6, 0.01, 0.5])
def test_a_leading_eigenvector_that_the_starts_hardly_see(gap: float) -> None:
    """The bound covers an eigenvalue whose vector has just the overlap that is taken for granted: of 40 random matrices
    with the spectrum 1 + gap, 1, 0.99, … and a start with an overlap of 1e-6, none is bounded below 1 + gap. The largest
    Ritz value, stopped so early, misses it by more than TOLERANCE."""
    n, overlap, missed = 60, 1e-6, 0
    generator = torch.Generator().manual_seed(1)
    for seed in range(40):
        spectrum = torch.cat([torch.tensor([1 + gap]), 1 - 0.01 * torch.arange(n - 1)]).double()
        axes = torch.from_numpy(ortho_group(n, seed=seed).rvs())
        matrix = axes @ torch.diag(spectrum) @ axes.T
        start = torch.randn(n, generator=generator, dtype=torch.float64)
        start -= (start @ axes[:, 0]) * axes[:, 0]
        start = start / start.norm() * (1 - overlap**2) ** 0.5 + overlap * axes[:, 0]
        for steps in (3, 8, 20):
            ritz, betas = lanczos(matrix, start, steps)
            missed += ritz.max() * (1 + TOLERANCE) < 1 + gap
            below = (1 + gap) * (1 - 1e-9)
            assert below <= ritz.max() or not above(below, ritz[None], betas[None], overlap)
    assert missed > 40


def lanczos(matrix: torch.Tensor, start: torch.Tensor, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values and off-diagonals, with a basis that is orthogonal."""
    basis = [start / start.norm()]
    for _ in range(steps):
        v = matrix @ basis[-1]
        for _ in range(2):
            for q in basis:
                v = v - (q @ v) * q
        basis.append(v / v.norm())
    rows = torch.stack(basis)
    projected = (rows @ matrix @ rows.T).numpy()
    return np.linalg.eigvalsh(projected[:steps, :steps]), np.diag(projected, 1)


@pytest.mark.parametrize(("n", "columns", "failure"), [(50, 1, 0.05), (50, 8, 0.05), (2, 2, 0.2)])
def test_the_overlap_fails_as_often_as_it_may(n: int, columns: int, failure: float) -> None:
    """Of the largest overlap of some starts with a fixed vector."""
    repeats = 20_000
    q = torch.from_numpy(starts().standard_normal((repeats, columns, n)))
    largest = (q[..., 0].abs() / q.norm(dim=2)).amax(1)
    below = int((largest < least_overlap(n, columns, failure)).sum())
    assert binom.ppf(1e-5, repeats, failure) <= below <= binom.isf(1e-5, repeats, failure)


def test_the_bound_fails_no_more_often_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a failure probability of 0.5, one start and two passes the bound is below the eigenvalue in a share of at most
    0.5, and in some cases: those where the start hardly sees the eigenvector."""
    monkeypatch.setattr(second_moment, "STARTS", 1)
    monkeypatch.setattr(second_moment, "MOST_PASSES", 2)
    monkeypatch.setattr(second_moment, "EIGENVALUE_FAILURE", 0.5)
    spectrum = torch.linspace(0, 0.5, 40, dtype=torch.float64)[:, None]
    spectrum[0] = 1
    found = [lanczos_bound(lambda q: spectrum * q, 40, starts(seed)) for seed in range(200)]
    assert 0 < sum(f < 1 for f in found) <= binom.isf(1e-5, 200, 0.5)


def test_order_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_moment, "SMALL", 1)
    v = vectors(50, 40, 0.9)
    shuffled = v[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert upper_bound(shuffled, block=40) == pytest.approx(upper_bound(v, block=1), rel=1e-9)


@pytest.mark.parametrize("small", [1024, 1])
def test_vectors_of_length_zero(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_moment, "SMALL", small)
    assert upper_bound(torch.zeros(30, 5, dtype=torch.float64)) == 0
