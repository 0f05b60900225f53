"""Weights from elsewhere: the tensors of a file, by name, for a network that the user names. No code in a file runs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from invsmooth.core.console import printable
from invsmooth.core.trust import refused
from invsmooth.estimators.fill import check_fit, check_tensors

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"
# Where training codes keep the weights within a file. The first one that is there counts: BasicSR writes the average
# of the weights (params_ema) beside the last ones (params), and evaluates the average.
UNDER = ("state_dict", "params_ema", "params", "model_state_dict", "model", "net", "network", "weights")
# What wrappers put before every name: DataParallel, Lightning modules, torch.compile.
PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.")
ADAPTED = "method."  # of the weights in a network that invsmooth.as_estimator adapts
MOST_NAMED = 10  # weights that a message lists


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise refused(path, f"cannot be read as a safetensors file: {error}") from error


def state_in(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The weights in a file: all of ``content``, or what it has under one of ``UNDER``.
    Raises: CheckpointError: it has none."""
    places = [k for k in UNDER if isinstance(content.get(k), Mapping) and content[k]]
    if any(isinstance(v, Tensor) for v in content.values()):
        found: Mapping[Any, Any] = content
    elif places:
        found = content[places[0]]
        if len(places) > 1:
            log.info("%s: the weights under %s are used, not %s", printable(path), places[0], ", ".join(places[1:]))
    else:
        raise refused(
            path, f"has no weights: no tensors by name, and no dictionary of them under {', '.join(UNDER)}; "
            f"it has: {listed(content)}",
        )  # fmt: skip
    if not all(isinstance(k, str) for k in found):
        raise refused(
            path, f"is no state dict: its key {next(k for k in found if not isinstance(k, str))!r} is no text"
        )
    check_tensors(found, path)
    return dict(found)


def load_weights(estimator: nn.Module, state: Mapping[str, Tensor], path: Path, prefix: str | None = None) -> None:
    """Give ``estimator`` the weights ``state``: each has to be there, and none may be left over. A prefix of ``PREFIXES``
    before all names is dropped.

    Args:
        prefix: use the weights whose name starts with it, without it, and leave out the others.
    Raises: CheckpointError: names, shapes or kinds differ, or weights are not finite. It lists what is missing and what is
        too much, and says which prefix would fit."""
    wanted = estimator.state_dict()
    own = ADAPTED if all(k.startswith(ADAPTED) for k in wanted) else ""
    names = {k.removeprefix(own) for k in wanted}
    if prefix is None:
        state = without_prefixes(state, names)
    else:
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if names != state.keys():
        raise refused(path, do_not_fit(names, state, type(getattr(estimator, "method", estimator)).__name__))
    check_fit({k.removeprefix(own): v for k, v in wanted.items()}, state, path)
    parameters = {k.removeprefix(own) for k, _ in estimator.named_parameters()}
    for name, value in state.items():
        # A mask among the buffers may hold an infinity.
        if bool(~value.isfinite().all() if name in parameters else value.isnan().any()):
            raise refused(path, f"has weights that are not finite: {name}")
    estimator.load_state_dict({own + k: v for k, v in state.items()})


def without_prefixes(state: Mapping[str, Tensor], names: AbstractSet[str]) -> Mapping[str, Tensor]:
    """``state`` without the known prefixes that all of its names have, as far as ``names`` do not have them."""
    while state and state.keys() != names:
        shared = (p for p in PREFIXES if all(k.startswith(p) and k != p for k in state))
        found = next(shared, None)
        if found is None or all(name.startswith(found) for name in names):
            break
        state = {k.removeprefix(found): v for k, v in state.items()}
    return state


def do_not_fit(names: AbstractSet[str], state: Mapping[str, Tensor], network: str) -> str:
    missing, extra = sorted(names - state.keys()), sorted(state.keys() - names)
    said = [
        f"{len(found)} {what}: {listed(found)}" for what, found in (("missing", missing), ("too many", extra)) if found
    ]
    text = f"has weights that do not fit {network}: {'; '.join(said)}"
    found = fitting_prefix(names, state)
    if found is not None:
        return f"{text}. Those with the prefix {found!r} fit: give ckpt_prefix={found}"
    return f"{text}. If they are of another network, name it: estimator=custom estimator._target_=package.Class"


def fitting_prefix(names: AbstractSet[str], state: Mapping[str, Tensor]) -> str | None:
    """The prefix with which all ``names`` are in ``state``, if there is one."""
    first = max(names, key=len, default="")
    prefixes = sorted(k.removesuffix(first) for k in state if first and k.endswith(f".{first}"))
    return next((p for p in prefixes if all(p + name in state for name in names)), None)


def listed(names: Collection[Any]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(str, list(names)[:MOST_NAMED])) + more or "nothing"
