"""Objects that a block changes are restored, also where threads share them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch

from invsmooth import BlockGaussian, ISTANetPP, pgd
from invsmooth.core.restored import Restored
from invsmooth.estimators.fastest import channels_last, kernels
from invsmooth.estimators.frozen import frozen


def flags(parts: list[SimpleNamespace]) -> list[int]:
    return [part.flag for part in parts]


def test_the_last_block_that_ends_restores() -> None:
    restored = Restored[SimpleNamespace](lambda part: part.flag, lambda part, flag: setattr(part, "flag", flag))
    parts = [SimpleNamespace(flag=k) for k in range(3)]
    first, second = restored.within(parts[:2], lambda _: 7), restored.within(parts[1:], lambda part: part.flag + 1)
    first.__enter__()
    second.__enter__()
    assert flags(parts) == [7, 8, 3]
    first.__exit__(None, None, None)  # before the second: not nested, as of threads
    assert flags(parts) == [0, 8, 3]
    second.__exit__(None, None, None)
    assert flags(parts) == [0, 1, 2]
    assert not restored.kept
    with pytest.raises(ZeroDivisionError), restored.within(parts, lambda part: 1 // part.flag):
        pass
    assert flags(parts) == [0, 1, 2]


def test_blocks_of_threads_that_share_a_network() -> None:
    net = ISTANetPP(1, 4).train()
    weights = kernels(net)
    together = Barrier(4)

    def block(number: int) -> None:
        for _ in range(50):
            together.wait(30)
            with frozen(net), channels_last(weights):
                assert not net.training
                assert not any(p.requires_grad for p in net.parameters())
                assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(block, range(4)))
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert all(w.is_contiguous() for w in weights)


def test_attacks_in_threads_that_share_a_network() -> None:
    net, operator, x = ISTANetPP(1, 4), BlockGaussian(0.3, 8), torch.rand(2, 1, 16, 16)

    def attack(_: int) -> torch.Tensor:
        return pgd(net, operator, x, eps=0.1, n_iter=3, precision="fp32").xi

    with ThreadPoolExecutor(4) as pool:
        alone = pool.submit(
            attack, 0
        ).result()  # not here: the main thread may take another memory format, and round otherwise
        for xi in pool.map(attack, range(8)):
            torch.testing.assert_close(xi, alone, atol=1e-6, rtol=0)
    assert all(p.requires_grad for p in net.parameters())
