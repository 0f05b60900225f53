"""A hash of a network's output for one fixed input. It distinguishes networks with equal weights and code, such as one with
a hook, or one that reads numbers from a file."""

from __future__ import annotations

import functools
import hashlib
import logging
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from invsmooth.estimators.frozen import frozen
from invsmooth.operators.base import LinearOperator

log = logging.getLogger(__name__)

SIDE = 64  # pixels; a network that takes no crop is asked about the whole image
Probes = dict[tuple[LinearOperator, tuple[int, int]], str]


def probes(estimator: nn.Module, operators: Iterable[LinearOperator], sizes: Iterable[tuple[int, int]],
           channels: int = 1) -> Probes:  # fmt: skip
    """A hash for each operator and image size (height, width), of the answer at the image's corner of SIDE × SIDE pixels.
    A network that cannot answer gets a hash that no other process has, with a warning: nothing is taken over for it.
    Operators and network are on one device. On a CPU one thread computes, so that the answer does not depend on how many
    there are."""

    @functools.cache
    def answer(operator: LinearOperator, size: tuple[int, int]) -> str:
        try:
            return probe(estimator, operator, (channels, *size))
        except Exception as error:  # whatever is wrong, the evaluation will say if it meets it
            log.debug("no answer at %s: %s", size, error)
            return ""

    found, wanted = {}, sorted(set(sizes))
    with one_thread(), isolate_rng(include_cuda=False), torch.compiler.set_stance("force_eager"), frozen(estimator):
        for operator in dict.fromkeys(operators):
            for size in wanted:
                corner = min(size[0], SIDE), min(size[1], SIDE)
                found[operator, size] = answer(operator, corner) or answer(operator, size) or secrets.token_hex()
                if not answer(operator, corner) and not answer(operator, size):
                    log.warning("the network has no answer to a fixed %d×%d input: no results are reused", *size)
    return found


@torch.no_grad()
def probe(estimator: nn.Module, operator: LinearOperator, shape: tuple[int, int, int]) -> str:
    """Hash of the network's answer to the measurement of a fixed image of random pixels."""
    parameter = next(estimator.parameters(), torch.empty(0))
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(parameter.device)
    x_hat = estimator(operator.A(x), operator).detach().cpu().contiguous()
    kind = f"{x_hat.dtype} {tuple(x_hat.shape)}".encode()
    # As bytes, because numpy has no bfloat16.
    return hashlib.sha256(kind + x_hat.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


@contextmanager
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
