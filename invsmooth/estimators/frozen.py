"""Evaluate an estimator without changing it, and describe what it computes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.cache import code_of, content_key
from invsmooth.core.restored import Restored
from invsmooth.operators.base import Operator

# estimator(y, operator) -> x_hat: any callable, usually a torch module (deepinv's convention).
Estimator = Callable[[Tensor, Operator], Tensor]
DEEPEST = 5  # wrappers around a module that are looked through
# Attributes that torch keeps for itself, whether it trains among them.
INTERNAL = frozenset({*vars(nn.Module()), "_compiled_call_impl"})
TRAINING = Restored[nn.Module](lambda module: module.training, lambda module, flag: setattr(module, "training", flag))
NEEDS_GRADIENT = Restored[nn.Parameter](lambda weight: weight.requires_grad, nn.Parameter.requires_grad_)


@contextmanager
def frozen(estimator: Estimator) -> Iterator[None]:
    """Within the block the estimator's modules are in eval mode and its weights need no gradients. Both are restored,
    module by module; where threads share modules, by the last block that ends. Modules that a function calls are
    included if they can be found (:func:`modules_of`)."""
    roots = modules_of(estimator)
    modules = [module for root in roots for module in root.modules()]
    weights = [weight for root in roots for weight in root.parameters()]
    with TRAINING.within(modules, lambda _: False), NEEDS_GRADIENT.within(weights, lambda _: False):
        for root in roots:
            root.eval()  # a class of anybody's may do more then
        yield


def modules_of(estimator: Any) -> list[nn.Module]:
    """The torch modules that a callable uses: itself, or what its closure, the globals that it names, its defaults, its
    attributes (also of its bound object, or of a partial) hold, and what these do in turn."""
    found, seen = list[nn.Module](), set[int]()

    def look(value: Any, depth: int) -> None:
        if id(value) in seen or depth > DEEPEST or isinstance(value, type | ModuleType | str | bytes | Tensor):
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.append(value)
        else:
            for part in parts_of(value):
                look(part, depth + 1)

    look(estimator, 0)
    return found


def parts_of(value: Any) -> Iterator[Any]:
    """What an object holds or, of a function, refers to."""
    if isinstance(value, FunctionType):
        names = [c.co_names for c in (value.__code__, *value.__code__.co_consts) if isinstance(c, CodeType)]
        yield from (value.__globals__[n] for some in names for n in some if n in value.__globals__)
        yield from (cell.cell_contents for cell in value.__closure__ or () if cell != CellType())
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value
    else:
        yield from getattr(value, "__dict__", {}).values()
        yield vars(type(value)).get("__call__")


def state_sha256(estimator: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(estimator.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def architecture(estimator: nn.Module) -> dict[str, Any]:
    """What determines an estimator beside its weights: class, attributes and buffers of each module (some buffers are not
    saved), and the code of all modules with its imports."""
    modules, roots, more = {}, set(), set()
    for name, module in estimator.named_modules():
        attributes = {k: v for k, v in vars(module).items() if k not in INTERNAL}
        own = {k: described(v) for k, v in attributes.items()}
        buffers = {k: described(v) for k, v in module.named_buffers(recurse=False)}
        modules[name] = [f"{type(module).__module__}.{type(module).__qualname__}", own, buffers]
        roots.add(type(module).__module__)
        more |= {kind.__module__ for v in attributes.values() for kind in (v, type(v)) if hasattr(kind, "__module__")}
    roots = {name for name in roots if not name.startswith("torch.")}
    return {"modules": modules, "source": code_of(roots, (name for name in more if isinstance(name, str)))}


def described(value: Any) -> str:
    """A stable text key; unique if the value cannot be hashed."""
    try:
        return content_key(value)
    except TypeError:
        name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '<')}"
        return repr(value) if "<" in name else name
