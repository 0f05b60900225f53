"""Random streams: of the right distribution, each its own, and the same in whatever way they are asked for."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import stats

from invsmooth.core.rng import (
    DRAWS_PER_BLOCK,
    NUMBERS_AT_ONCE,
    generator_for,
    smoothing_noise,
    standard_normal,
    stream_key,
)


def test_standard_normal() -> None:
    """Distribution, moments, tails, and no dependence between neighbours or between the two numbers of a pair."""
    x = standard_normal((2_000_000,), 3, "test").double().numpy()
    n, half = len(x), len(x) // 2
    assert stats.kstest(x, "norm").pvalue > 1e-4
    assert abs(x.mean()) * n**0.5 < 4
    assert abs(x.var() - 1) * (n / 2) ** 0.5 < 4
    assert abs(stats.skew(x)) * (n / 6) ** 0.5 < 4
    assert abs(stats.kurtosis(x)) * (n / 24) ** 0.5 < 4
    for limit in (2.0, 3.0, 4.0):
        beyond = [(x > limit).sum(), (x < -limit).sum()]
        low, high = stats.binom.interval(1 - 1e-6, n, stats.norm.sf(limit))
        assert low <= min(beyond) <= max(beyond) <= high
    for a, b in ((x[:half], x[half:]), (x[:-1], x[1:]), (x[:half] ** 2, x[half:] ** 2)):
        assert abs(np.corrcoef(a, b)[0, 1]) * len(a) ** 0.5 < 4
    # The same pixel of many streams.
    across = np.array([float(standard_normal((1,), 3, "pixel", j)) for j in range(3000)])
    assert stats.kstest(across, "norm").pvalue > 1e-4


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 1, 7)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x = standard_normal(shape, 0, "shape")
    assert x.shape == shape
    assert x.dtype == torch.float32
    assert bool(x.isfinite().all())


def test_a_stream_for_each_seed_and_key() -> None:
    """Also of seeds and keys that agree in their low 32 or 64 bits, or look alike."""
    named = [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (0, "a", 1),
        (0, "a", "1"),
        (0, "a1"),
        (0, "a', 'b"),
        (0, "a", "b"),
        (-1, "a"),
    ]
    named += [(seed, "a") for bits in (32, 33, 63, 64, 127) for seed in (2**bits, 2**bits + 1)]
    keys = [stream_key(*name) for name in named]
    assert len(set(keys)) == len(named)
    assert all(k.bit_length() > 64 for k in keys)  # about one in 2^64 is not
    for a, b in itertools.combinations(named, 2):
        assert not torch.equal(standard_normal((4,), *a), standard_normal((4,), *b)), (a, b)


def test_blocks_that_shared_a_stream() -> None:
    """With 32 bits of a seed, draws 3096 … 3103 of seed 8673 and this image were draws 4672 … 4679."""
    for image in ("chelsea", 0):
        first, second = (smoothing_noise((1, 3, 3), k, k + 8, 8673, image) for k in (3096, 4672))
        assert not (first == second).any()
    firsts = [float(smoothing_noise((1,), k, k + 1, 8673, "chelsea")) for k in range(0, 40_000, DRAWS_PER_BLOCK)]
    assert len(set(firsts)) > 0.999 * len(firsts)  # single precision: some numbers are equal by chance


def test_numpy_numbers_are_the_same_seeds() -> None:
    assert stream_key(5, "a", 3) == stream_key(np.int64(5), "a", np.int32(3))  # type: ignore[arg-type]
    assert generator_for(5).integers(2**60) == generator_for(5).integers(2**60) != generator_for(6).integers(2**60)


def test_names_with_any_character() -> None:
    assert stream_key(0, "\ud800") != stream_key(0, "\ud801")  # file names that are no UTF-8 have such characters


def test_same_numbers_with_any_number_of_threads() -> None:
    shape, threads = (3, 1, 101, 103), torch.get_num_threads()
    whole = smoothing_noise(shape[1:], 0, 3, 1, "x")
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert torch.equal(smoothing_noise(shape[1:], 0, 3, 1, "x"), whole)
    finally:
        torch.set_num_threads(threads)
    with ThreadPoolExecutor(3) as workers:
        found = list(workers.map(lambda k: smoothing_noise(shape[1:], k, k + 1, 1, "x"), range(3)))
    assert torch.equal(torch.cat(found), whole)


@pytest.mark.parametrize("shape", [(), (1, 3, 3), (3, 17, 13), (1, 65, 66)])
@pytest.mark.parametrize("at_once", [1, 700, NUMBERS_AT_ONCE["cpu"]])
def test_streams_made_together_are_those_made_alone(
    shape: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NUMBERS_AT_ONCE, "cpu", at_once)
    alone = [standard_normal((DRAWS_PER_BLOCK, *shape), 1, "delta", "x", j) for j in range(8)]
    assert torch.equal(smoothing_noise(shape, 3, 61, 1, "x"), torch.cat(alone)[3:61])
