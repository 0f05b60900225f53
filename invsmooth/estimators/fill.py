"""Weights of a file for the network that it names. Neither is trusted: they are compared before memory is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from invsmooth.core.errors import CheckpointError
from invsmooth.core.trust import ALWAYS, covered, refused

Make = Callable[[], nn.Module]

SPARE = 100  # weights allowed beyond twice the number in the file, so that a message can name the missing ones
MOST_NAMED = 3  # weights that a message names


def filled(make: Make, state: Mapping[str, Any], path: Path, trust: Sequence[str] = ()) -> nn.Module:
    """The module that ``make`` gives, with the weights ``state``, in eval mode. It is first built on
    torch's meta device, which takes no memory, and really only if names, shapes and kinds of the
    weights are those of the file."""
    check_tensors(state, path)
    with at_most(2 * len(state) + SPARE, path):
        outline = outlined(make, trust)
    check_fit(outline.state_dict(), state, path)
    stored = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() // t.element_size() for t in state.values()}
    needed = {id(t): t.numel() for t in (*outline.parameters(), *outline.state_dict(keep_vars=True).values())}
    if sum(needed.values()) > sum(stored.values()):
        raise refused(path, "has weights that are larger than what it holds (the same numbers, repeated)")
    with torch.random.fork_rng(devices=[]):
        estimator = make()
    estimator.load_state_dict(state)
    parameters = dict(estimator.named_parameters())
    for name, value in estimator.state_dict().items():
        # A mask among the buffers may hold an infinity.
        good = value.isfinite() if name in parameters else ~value.isnan()
        if not bool(good.all()):
            raise refused(path, f"has weights that are not finite: {name}")
    return estimator.eval()


def outlined(make: Make, trust: Sequence[str] = ()) -> nn.Module:
    """The module that ``make`` gives, without numbers; with them if a class of the user's cannot be built without."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"), WithoutMemory():
                return make()
        except CheckpointError:
            if all(covered(t, ALWAYS) for t in trust):
                raise
        return make()


class WithoutMemory(TorchFunctionMode):
    """Tensors that are asked for on another device are made on the meta device as well."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        elsewhere = {"device": "meta"} if kwargs and kwargs.get("device") is not None else {}
        return func(*args, **(kwargs or {}) | elsewhere)


@contextmanager
def at_most(n_parameters: int, path: Path) -> Iterator[None]:
    """Stop building modules with more parameters: a number in a file must not cause millions of layers."""
    n_made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal n_made
        n_made += parameter is not None
        if n_made > n_parameters:
            raise refused(path, f"names an estimator of more than {n_parameters} weights, and does not have as many")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def check_tensors(state: Mapping[str, Any], path: Path) -> None:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise refused(path, f"has a {type(value).__name__} among its weights: {name}")
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
            raise refused(path, f"has weights that are no dense tensor with numbers: {name}")


def check_fit(wanted: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> None:
    wrong = [f"{k} is missing" for k in wanted.keys() - state.keys()]
    wrong += [f"{k} is unknown" for k in state.keys() - wanted.keys()]
    for name in wanted.keys() & state.keys():
        ours, found = wanted[name], state[name]
        if not (isinstance(ours, Tensor) and isinstance(found, Tensor)) or is_lazy(ours) or is_lazy(found):
            wrong.append(f"{name} is no tensor, or has no shape yet")
        elif ours.shape != found.shape:
            wrong.append(f"{name} has shape {tuple(found.shape)} in place of {tuple(ours.shape)}")
        elif found.dtype != ours.dtype and not (found.is_floating_point() and ours.is_floating_point()):
            wrong.append(f"{name} is {found.dtype} in place of {ours.dtype}")
    if wrong:
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise refused(path, f"has weights that do not fit: {'; '.join(sorted(wrong)[:MOST_NAMED])}{more}")
