"""The noise that a GPU makes is that of the CPU. Its bits are equal; the numbers are equal to rounding."""

from __future__ import annotations

import random
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from invsmooth.certificates.draws import Draws
from invsmooth.core import rng
from invsmooth.core.philox import high_product, key_tensor, random_words, tensor_words, triton_words
from invsmooth.core.rng import DRAWS_PER_BLOCK, box_muller, normal_streams, smoothing_noise, standard_normal, stream_key
from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity
from tests.conftest import on_cpu

SAME = {"rtol": 0.0, "atol": 4e-6}  # the logarithm, sine and cosine of a GPU differ in the last bits
KEYS = [0, 1, 2**63, 2**64 - 1, 2**64, 2**127, 2**128 - 1, *(random.Random(k).getrandbits(128) for k in range(20))]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 1023, 4096, 5001])
def test_words_are_those_of_numpy(device: str, count: int) -> None:
    found = random_words(key_tensor(KEYS, device), count).cpu().numpy().view(np.uint64)
    assert found.shape == (len(KEYS), count)
    for key, words in zip(KEYS, found, strict=True):
        assert (words == np.random.Philox(key=key).random_raw(count)).all()


def test_high_product(device: str) -> None:
    """Of numbers at which carries and signs go wrong first."""
    edges = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2**32, 2**64 - 1]
    values = torch.from_numpy(np.array(edges, dtype=np.uint64).view(np.int64)).to(device)
    for factor in edges:
        found = high_product(values, factor).cpu().numpy().view(np.uint64)
        assert [int(v) for v in found] == [(a * factor) >> 64 for a in edges]


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
def test_the_kernel_is_used_and_makes_the_same_words() -> None:
    words = triton_words()
    assert words is not None
    keys = key_tensor(KEYS, "cuda")
    for count in (1, 4, 1023, 1024, 1025, 100_003):
        assert torch.equal(words(keys, count), tensor_words(keys, count))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 1, 7), (101, 103)])
def test_standard_normal(device: str, shape: tuple[int, ...]) -> None:
    found = standard_normal(shape, 3, "test", device=device)
    assert (found.dtype, found.device.type) == (torch.float32, device)
    torch.testing.assert_close(found.cpu(), standard_normal(shape, 3, "test"), **SAME)


def test_streams_made_together(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, too; the same as one by one."""
    names = [("stream", k) for k in range(7)]
    keys = [stream_key(1, *name) for name in names]
    whole = normal_streams(keys, 301, device)
    torch.testing.assert_close(whole.cpu(), torch.stack([standard_normal((301,), 1, *n) for n in names]), **SAME)
    monkeypatch.setitem(rng.NUMBERS_AT_ONCE, device, 700)
    assert torch.equal(normal_streams(keys, 301, device), whole)


def test_box_muller_is_accurate(device: str) -> None:
    """Against float64, also at both ends of the radius."""
    bits = np.random.Philox(key=5).random_raw(5000).view(np.int32).copy()
    bits[:4] = 0, -(2**31), 2**31 - 1, -1
    found = box_muller(torch.from_numpy(bits).to(device)).double().cpu().numpy()
    # What is rounded before the logarithm and the cosine is rounded alike everywhere.
    single = bits.astype(np.float32)
    single[:5000] = (bits[:5000] & 0x7FFFFFFF).astype(np.float32) * np.float32(2.0**-31) + np.float32(2.0**-32)
    single[5000:] *= np.float32(np.pi * 2.0**-31)
    radius, angle = np.sqrt(-2 * np.log(single[:5000].astype(float))), single[5000:].astype(float)
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    assert np.abs(found - expected).max() < 4e-6
    assert np.isfinite(found).all()


def test_smoothing_noise(device: str) -> None:
    whole = smoothing_noise((1, 9, 7), 0, 50, 5, "image", device=device)
    assert whole.device.type == device
    torch.testing.assert_close(whole.cpu(), smoothing_noise((1, 9, 7), 0, 50, 5, "image"), **SAME)
    for first, last in ((0, 1), (13, 31), (7, 9), (DRAWS_PER_BLOCK, 2 * DRAWS_PER_BLOCK), (49, 50)):
        assert torch.equal(smoothing_noise((1, 9, 7), first, last, 5, "image", device=device), whole[first:last])


def test_draws_do_not_depend_on_the_chunks(device: str) -> None:
    """Each is y + sigma n, for the noise n of the CPU."""
    y = torch.rand(2, 1, 6, 5, generator=torch.Generator().manual_seed(0)).to(device)
    expected = torch.stack([smoothing_noise((1, 6, 5), 0, 20, 4, key) for key in ("a", "b")])
    for chunk_size in (1, 3, 20):
        draws = Draws(MatchedFilter(), Identity(), y, 0.5, y.shape[1:], 4, ["a", "b"], chunk_size)
        made = torch.cat([x_hat for _, x_hat in draws.chunks(0, 20)], 1)
        assert made.device == y.device
        torch.testing.assert_close((made.cpu() - y.cpu()[:, None]) / 0.5, expected, rtol=0, atol=1e-5)
        k = torch.tensor([[3, 17], [0, 8]])
        torch.testing.assert_close(draws.pick(k), torch.stack([made[i, row] for i, row in enumerate(k)]))


def test_results_of_devices_have_names_of_their_own() -> None:
    """What is cached of draws on a CPU is not taken for draws on a GPU."""
    y = torch.rand(1, 1, 4, 4)
    draws = Draws(MatchedFilter(), Identity(), y, 0.5, y.shape[1:], 4, ["a"])
    assert draws.content(8)["device"] == "cpu"
    meta = Draws(MatchedFilter(), Identity(), y.to("meta"), 0.5, y.shape[1:], 4, ["a"], 1)
    assert meta.content(8)["device"] == "meta"


@pytest.mark.parametrize(
    ("marks", "hidden"),
    [("", True), ("not slow", True), ("not gpu", True), ("gpu", False), ("gpu and not slow", False)],
)
def test_only_the_tests_for_a_gpu_see_one(marks: str, hidden: bool) -> None:
    assert on_cpu(marks) is hidden
