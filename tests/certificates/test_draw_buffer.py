"""Draws kept in memory and in a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from invsmooth.certificates import certify, draw_buffer
from invsmooth.certificates.draw_buffer import DrawBuffer, folder
from invsmooth.certificates.draws import Draws
from invsmooth.core.errors import ScratchError
from invsmooth.estimators import MatchedFilter
from invsmooth.estimators.premises import EVALUATIONS
from invsmooth.operators import Identity
from tests.certificates.together import certify_all


@pytest.mark.parametrize("kept_bytes", [2**27, 0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_is_what_was_written(kept_bytes: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", kept_bytes)
    x_hat = torch.rand(3, 10, 2, 4, 5).to(dtype)
    kept = DrawBuffer(3, 10, x_hat.shape[2:], x_hat)
    kept.reserve()
    for part in x_hat.double().split([4, 1, 5], dim=1):
        kept.append(part)  # in the type of the measurements, whatever the network gives
    assert (kept.filled, kept.file is None) == (10, kept_bytes > 0)
    assert torch.equal(kept.read(slice(0, 3), 0, 10), x_hat)
    assert torch.equal(kept.read(slice(1, 2), 3, 7), x_hat[1:2, 3:7])


def test_the_file_is_where_tmpdir_says_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert folder() == str(tmp_path)
    before = os.statvfs(tmp_path).f_bavail
    kept = DrawBuffer(1, 64, torch.Size([1, 256, 256]), torch.zeros(1))
    kept.reserve()
    assert kept.file is not None
    assert os.fstat(kept.file.fileno()).st_size == 64 * 256 * 256 * 4
    assert list(tmp_path.iterdir()) == []
    file = kept.file
    del kept
    assert file.closed
    assert abs(os.statvfs(tmp_path).f_bavail - before) < 10**5


def test_without_tmpdir_it_is_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert folder() == "/var/tmp" or not os.access("/var/tmp", os.W_OK)


def test_no_room_is_said_before_any_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    calls = 0

    def counting(y: torch.Tensor, operator: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return y

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ScratchError, match=rf"0.0 GiB, have no room in {tmp_path}: No space left.*Set TMPDIR"):
        certify(counting, Identity(), torch.rand(1, 1, 8, 8), sigma=0.1, eps=0.1, n_samples=100, certifier="mean")
    assert calls == 2  # the reconstruction itself, and the check of the estimator
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    with pytest.raises(ScratchError, match="No such file or directory"):
        certify(counting, Identity(), torch.rand(1, 1, 8, 8), sigma=0.1, eps=0.1, n_samples=100, certifier="mean")


@pytest.mark.parametrize("kept_bytes", [2**27, 0])
def test_all_certifiers_cost_what_the_most_expensive_does(kept_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """center takes 2·n_pred + S draws, mean S_0 + S, the others S: together as many as the largest of them."""
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", kept_bytes)
    calls = 0

    def counting(y: torch.Tensor, operator: object) -> torch.Tensor:
        nonlocal calls
        calls += len(y)
        return 0.9 * y

    x = torch.rand(2, 1, 8, 8)
    options = {"sigma": 0.1, "eps": [0.01 * k for k in range(20)], "n_samples": 60, "n_centre": 30, "n_pred": 2400,
               "confidence": 0.9, "x": x, "threshold": 0.1}  # fmt: skip
    certifiers = ("discrepancy", "error", "radius", "mean", "center")
    found = certify_all(counting, Identity(), x, certifiers=certifiers, **options)
    assert calls == 2 * (1 + 2 * 2400 + 60) + EVALUATIONS
    for certifier in certifiers:
        calls = 0
        alone = certify_all(counting, Identity(), x, certifiers=(certifier,), **options)[certifier]
        torch.testing.assert_close(found[certifier].bound, alone.bound, rtol=1e-4, atol=1e-9, equal_nan=True)
        assert found[certifier].network_evals == alone.network_evals
    assert found["center"].bound.isfinite().any()


def test_what_a_use_is_given_depends_on_its_own_draws_only() -> None:
    """To the last bit, and so its key: on where the chunks below its stop end."""
    draws = Draws(
        MatchedFilter(), Identity(), torch.rand(2, 1, 8, 8), 0.1, torch.Size([1, 8, 8]), 0, [0, 1], chunk_size=16
    )
    one, two, three = draws.sharing(50), draws.sharing(50, 70), draws.sharing(50, 70, 150)
    assert draws.content(50) == one.content(50) == two.content(50) == three.content(50)
    assert two.content(70) == three.content(70) != draws.content(70)
    assert [three.shared.chunk_of(d) for d in (0, 47, 49, 50, 66, 69, 70, 149)] == [
        (0, 16), (32, 48), (48, 50), (50, 66), (66, 70), (66, 70), (70, 86), (134, 150)
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_network_of_another_type(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its draws are the same from memory and from a file."""
    x = torch.rand(1, 1, 8, 8)
    options = {"sigma": 0.1, "eps": [0.05], "n_samples": 60, "n_centre": 30, "x": x}

    def net(y: torch.Tensor, operator: object) -> torch.Tensor:
        return (0.9 * y).to(dtype)

    bounds = []
    for kept_bytes in (2**27, 0):
        monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", kept_bytes)
        bounds.append(certify_all(net, Identity(), x, certifiers=("error", "mean"), **options))
    for certifier in ("error", "mean"):
        torch.testing.assert_close(bounds[0][certifier].bound, bounds[1][certifier].bound)
        expected = certify_all(lambda y, _: 0.9 * y, Identity(), x, certifiers=(certifier,), **options)[certifier]
        torch.testing.assert_close(bounds[0][certifier].bound, expected.bound, rtol=1e-2, atol=0, check_dtype=False)


def test_draws_are_not_changed_by_their_use() -> None:
    y = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    both = certify_all(MatchedFilter(), Identity(), y, certifiers=("mean", "center"), sigma=0.1, eps=[0.01], n_samples=50,
                       n_centre=20, n_pred=2400, confidence=0.9)  # fmt: skip
    alone = certify(MatchedFilter(), Identity(), y, certifier="center", sigma=0.1, eps=[0.01], n_samples=50, n_pred=2400,
                    confidence=0.9)  # fmt: skip
    torch.testing.assert_close(both["center"].bound, alone.bound)
