"""The fastest way to run a network here: the memory format of its weights, and whether gradients of
attacks are taken in bfloat16. Chosen by a short measurement, once for each network, size and machine.

Both formats hold the same numbers: results are the same up to rounding. The choices are kept in a
file of the user (:func:`choices_file`), so that runs on one machine agree. ``INVSMOOTH_FAST=0`` in
the environment switches all of this off."""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.cache import content_key
from invsmooth.core.files import write_text
from invsmooth.core.memory import switched_off
from invsmooth.core.restored import Restored
from invsmooth.estimators.bf16 import InBFloat16
from invsmooth.estimators.frozen import frozen, modules_of
from invsmooth.estimators.premises import Checked
from invsmooth.operators.base import Operator

log = logging.getLogger(__name__)

QUICK = 0.01
"""Seconds: if a pass takes less, the usual path is taken, and nothing is written."""
IMAGES = {"cpu": 2, "cuda": 16}
"""In the batch that is timed. At least two: with one, or one channel, both formats look the same."""
MARGIN = 1.1
"""How much faster than the usual path the other one has to be: noise of the clock must not decide. The
usual one is channels-last on a CPU, and on a GPU in bfloat16, but not on a GPU in float32."""
SAME = {torch.float32: 1e-4, torch.float64: 1e-9}  # relative l2 distance of the two formats' answers
SIMILAR = 0.98
"""Cosine of a bfloat16 gradient to that in float32, from which on attacks are as strong with it."""

Estimator = Callable[[Tensor, Operator], Tensor]
known: dict[str, bool] = {}  # the choices, by key


def choices_file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "invsmooth" / "fastest.json"


def once(key: str, choose: Callable[[], tuple[bool, bool]]) -> bool:
    """What ``choose`` gives first: asked once for each key, in this process or one before. Second it says
    whether later processes are told."""
    if key not in known:
        with suppress(OSError, ValueError, AttributeError):  # damaged: written anew
            told = json.loads(choices_file().read_text()).items()
            known.update({k: v for k, v in told if isinstance(v, bool) and k not in known})
    if key not in known:
        known[key], tell = choose()
        log.debug("fastest path: %s: %s", key, known[key])
        with suppress(OSError):  # without a home it is measured again by the next process
            if tell:
                choices_file().parent.mkdir(parents=True, exist_ok=True)
                write_text(choices_file(), json.dumps(known, indent=1))
    return known[key]


def networks_in(estimator: Any) -> list[nn.Module]:
    """Its modules, without the operator's that it was checked with."""
    return modules_of(estimator.estimator if isinstance(estimator, Checked) else estimator)


def key_of(what: str, estimator: Any, y: Tensor) -> str:
    """Names the network (classes and shapes of its weights, not their values), the size of one measurement
    and the machine."""
    roots = networks_in(estimator)
    layers = [
        (type(m).__name__, [list(p.shape) for p in m.parameters(recurse=False)]) for r in roots for m in r.modules()
    ]
    device = torch.cuda.get_device_name(y.device) if y.device.type == "cuda" else f"{platform.node()} {cpu_name()}"
    tf32 = torch.backends.cudnn.allow_tf32
    more = [str(y.dtype), coarse(estimator), tf32, device, torch.get_num_threads(), str(torch.__version__)]
    names = "+".join(type(r).__name__ for r in roots)
    return f"{what} {names} {tuple(y.shape[1:])} {content_key([layers, more])}"


@functools.cache
def cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def kernels(estimator: Any) -> list[nn.Parameter]:
    """The weights of 2-d convolutions: those that a memory format means something for."""
    found = {}
    for root in networks_in(estimator):
        for module in root.modules():
            weight = module._parameters.get("weight")
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and weight is not None and not weight.is_meta:
                found[id(weight)] = weight
    return list(found.values())


FORMAT = Restored[nn.Parameter](lambda weight: weight.data, lambda weight, data: setattr(weight, "data", data))


def channels_last(weights: list[nn.Parameter]) -> AbstractContextManager[None]:
    """The weights in channels-last format within the block; afterwards they are what they were."""
    return FORMAT.within(weights, lambda weight: weight.data.contiguous(memory_format=torch.channels_last))


@contextmanager
def fastest(estimator: Estimator, operator: Operator, y: Tensor) -> Iterator[None]:
    """Within the block the estimator computes in the faster memory format. Its weights must not be
    changed there. Only the main thread does so: others may compute with the same weights at that moment.

    Args:
        y: measurements, shape (B, …), as the estimator will get them, of any number of images.
    """
    usable = not switched_off() and threading.current_thread() is threading.main_thread()
    weights = kernels(estimator) if usable else []
    if not weights or all(w.is_contiguous(memory_format=torch.channels_last) for w in weights):
        yield
        return
    if once(key_of("channels_last", estimator, y), lambda: is_faster(estimator, operator, y, weights)):
        with channels_last(weights):
            yield
    else:
        yield


@torch.no_grad()
def is_faster(estimator: Estimator, operator: Operator, y: Tensor, weights: list[nn.Parameter]) -> tuple[bool, bool]:
    """Whether to run it in channels-last format, and whether that was measured. It is not where it fails, as ``view`` does
    on an activation in this format."""
    y = y[:1].repeat(IMAGES.get(y.device.type, 2), *[1] * (y.ndim - 1))
    margin = MARGIN if y.device.type == "cpu" or coarse(estimator) else 1 / MARGIN

    def run() -> tuple[Tensor, float]:
        synchronise(y)
        started = time.perf_counter()
        x_hat = estimator(y, operator)
        synchronise(y)
        return x_hat, time.perf_counter() - started

    with frozen(estimator):
        plain, before = run()
        try:
            with channels_last(weights):
                other, after = run()
        except RuntimeError as error:
            log.debug("not in channels-last format: %s", error)
            return False, True
        tolerance = (3e-2 if coarse(estimator) else SAME.get(plain.dtype, 1e-2)) * float(plain.norm())
        if not float((other - plain).norm()) <= tolerance:
            return False, True
        if min(before, after) < QUICK:
            return margin > 1, False
        before = run()[1]  # the first run of each also paid for what is set up once
        with channels_last(weights):
            after = run()[1]
    return after < margin * before, True


def coarse(estimator: Any) -> bool:
    """Whether it computes in bfloat16 at the moment, or always."""
    always = getattr(estimator, "rounding", 0.0) > 0 or any(isinstance(m, InBFloat16) for m in networks_in(estimator))
    return always or bool(getattr(estimator, "coarse", False))


def bf16_pays(estimator: Estimator, gradient: Callable[[bool], Tensor], y: Tensor) -> bool:
    """Whether an attack takes its gradients in bfloat16: they are faster here, and point the same way.

    Args:
        gradient: of the attacked loss, in bfloat16 or not, shape (B, C, H, W)."""
    if switched_off() or not networks_in(estimator):
        return False

    def choose() -> tuple[bool, bool]:
        def run(in_bf16: bool) -> tuple[Tensor, float]:
            synchronise(y)
            started = time.perf_counter()
            found = gradient(in_bf16).flatten(1)
            synchronise(y)
            return found, time.perf_counter() - started

        fine, before = run(False)
        if before < QUICK or not bool(fine.isfinite().all()):
            return False, False
        try:
            rough, after = run(True)
        except (RuntimeError, ValueError, ArithmeticError) as error:  # not every layer has a bfloat16 version
            log.debug("no gradients in bfloat16: %s", error)
            return False, True
        similar = torch.nn.functional.cosine_similarity(rough, fine, dim=1)
        if not bool((similar >= SIMILAR).all()) or after > 4 * before:
            return False, True
        return min(after, run(True)[1]) * MARGIN < min(before, run(False)[1]), True

    return once(key_of(f"bf16, {len(y)} images", estimator, y), choose)


def synchronise(y: Tensor) -> None:
    if y.device.type == "cuda":
        torch.cuda.synchronize(y.device)
