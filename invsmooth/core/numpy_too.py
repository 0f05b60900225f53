"""NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def numpy_too(*names: str) -> Callable[[Function], Function]:
    """A decorator: the arguments called ``names``, tensors, may be arrays. Are some, then all tensors of the result are
    arrays. Within the function, and for estimator and operator, everything is a tensor."""

    def decorated(function: Function) -> Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def with_arrays(*args: Any, **kwargs: Any) -> Any:
            if not any(isinstance(value, np.ndarray) for value in (*args, *kwargs.values())):
                return function(*args, **kwargs)
            given = signature.bind(*args, **kwargs)
            arrays = [name for name in names if isinstance(given.arguments.get(name), np.ndarray)]
            given.arguments |= {name: as_tensor(given.arguments[name], given.arguments) for name in arrays}
            found = function(*given.args, **given.kwargs)
            return as_arrays(found) if arrays else found

        return with_arrays  # type: ignore[return-value]

    return decorated


def as_tensor(array: np.ndarray, arguments: Mapping[str, Any]) -> Tensor:
    """Floats in the type and on the device of the weights of the argument ``estimator``, if it has any.
    Raises: ValueError: a masked array: what is behind the mask would count."""
    import torch  # not above: records are read without it

    if isinstance(array, np.ma.MaskedArray):
        raise ValueError("a masked array is not taken, as its mask would be lost; give array.filled(VALUE)")
    array = np.ascontiguousarray(array)
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    weights = getattr(arguments.get("estimator"), "parameters", None)
    weight = None if weights is None else next(weights(), None)
    return tensor if weight is None or not tensor.is_floating_point() else tensor.to(weight)


def as_arrays(found: Any) -> Any:
    """A tensor as an array; a result with its tensors as arrays."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        values = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
        return dataclasses.replace(found, **{k: as_arrays(v) for k, v in values.items() if hasattr(v, "detach")})
    return found.detach().cpu().numpy() if hasattr(found, "detach") else found
