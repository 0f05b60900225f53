"""Linear physics of deepinv (https://deepinv.github.io) as operators. deepinv is imported only by what names it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from itertools import chain
from pkgutil import resolve_name
from typing import Any, Self

import torch
from torch import Tensor, nn

from invsmooth.cache.parts import class_path
from invsmooth.core.deepinv_install import INSTALL, if_missing
from invsmooth.core.hashes import array_sha256
from invsmooth.core.parameters import Positive
from invsmooth.lipschitz.constants import in_float64
from invsmooth.operators.base import BUFFER_DIGITS, LinearOperator
from invsmooth.operators.deepinv_norms import (
    MARGIN,
    NotKnown,
    check_adjoint,
    dense_norm,
    known_norm,
    power_iteration,
)

log = logging.getLogger(__name__)

IGNORED = "are ignored"  # how deepinv says that a physics has no such parameter
NOT_LINEAR = "is not linear (no LinearPhysics); attacks and certificates need a linear A"


class DeepInv(LinearOperator):
    """A x = physics.A(x). Noise and sensor model of the physics are not used: b is added outside.

    Images are real. A physics of complex images (MRI) gets them with imaginary part 0, and its adjoint is the real part.
    Complex measurements become pairs of real numbers, shape (…, 2), those of a stacked physics one vector, (B, m).

    Args:
        physics: an object, or ``{"_target_": "deepinv.physics.…", …}``, its class and parameters, among which may be
            further objects in the same form. Lists become tuples.
        seed: of torch's random numbers while it is made, and of its parameter ``rng``.
        bound: an upper bound of ||A|| that you know, where none of :meth:`norm` is proven.
    Raises: ValueError: it cannot be made, is not linear, is quantised or saturated by a sensor model, or ``bound`` is below
        ||A||; in ``A``, an image of another size than that of the physics."""

    name = "deepinv"
    made: Any
    """The physics itself, where ``physics`` describes one."""

    def __init__(self, physics: Any, seed: int = 0, bound: Positive | None = None) -> None:
        super().__init__()
        self.physics, self.seed, self.bound = physics, seed, bound
        self.described = json.dumps(physics, sort_keys=True) if isinstance(physics, Mapping) else attributes(physics)
        self.made = made(physics, seed) if isinstance(physics, Mapping) else physics
        check_linear(self.made)
        self.parts = nn.ModuleList(unregistered(self.made))
        self.of_complex_images = hasattr(self.made, "im_to_kspace")  # deepinv's MRIMixin
        self.image_shape = shape_of(self.made, self.of_complex_images)
        if type(self.made).__name__ == "StackedLinearPhysics":  # each part measures the whole image
            self.image_shape = next(filter(None, (shape_of(part, False) for part in self.parts)), None)
        self._real = True  # whether the last images of a physics of complex ones were real
        self._layout: list[tuple[torch.Size, bool]] | None = None  # of measurements that are no real tensor
        self._stacked, self._dense = False, 0.0
        self.try_zeros()
        if bound is not None and self.image_shape is not None:
            least = power_iteration(self)
            if least > bound * (1 + MARGIN):
                raise ValueError(f"bound={bound:g} is no bound of ||A||, which is at least {least:g}")

    def try_zeros(self) -> None:
        """Measure an empty image, so that A_adjoint knows the layout of the measurements."""
        if self.image_shape is None:
            return
        try:
            with torch.no_grad():
                self.A(self.zeros())
        except Exception as error:  # whatever a physics raises that lacks a part
            name = class_path(type(self.made))
            raise ValueError(f"physics {name} fails on images of shape {self.image_shape}: {error}") from error

    def A(self, x: Tensor) -> Tensor:
        if self.of_complex_images:
            self._real = x.shape[1] == 1
            x = self.lifted(x)
        elif self.image_shape is not None and tuple(x.shape[1:]) != self.image_shape:
            self.refuse(x)
        if self.image_shape is not None and tuple(x.shape[-2:]) != self.image_shape[-2:]:
            self.refuse(x)
        return self.flat(self.made.A(x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        x: Tensor = self.made.A_adjoint(self.native(y))
        return self.real_part(x)

    def refuse(self, x: Tensor) -> None:
        name, wanted = type(self.made).__name__, self.image_shape
        raise ValueError(
            f"physics {name} is for images of shape {wanted}, not {tuple(x.shape[1:])}: set data.crop and task.patch_size"
        )

    def lifted(self, x: Tensor) -> Tensor:
        """Real images as those of the physics."""
        return torch.cat([x, torch.zeros_like(x)], 1) if self.of_complex_images and x.shape[1] == 1 else x

    def real_part(self, x: Tensor) -> Tensor:
        """Images of the physics as ours."""
        return x[:, :1] if self.of_complex_images and self._real else x

    def flat(self, y: Any) -> Tensor:
        """Measurements of the physics as one real tensor; :meth:`native` goes back."""
        if isinstance(y, Tensor) and not y.is_complex():
            self._layout = None
            return y
        self._stacked = not isinstance(y, Tensor)
        parts = list(y) if self._stacked else [y]
        self._layout = [(part.shape[1:], part.is_complex()) for part in parts]
        real = [torch.view_as_real(part) if part.is_complex() else part for part in parts]
        return torch.cat([part.flatten(1) for part in real], 1) if self._stacked else real[0]

    def native(self, y: Tensor) -> Any:
        if self._layout is None:
            return y
        if not self._stacked:
            return torch.view_as_complex(y.contiguous())
        sizes = [math.prod(shape) * (2 if is_complex else 1) for shape, is_complex in self._layout]
        found = []
        for part, (shape, is_complex) in zip(y.split(sizes, 1), self._layout, strict=True):
            whole = part.reshape(len(y), *shape, *([2] if is_complex else []))
            found.append(torch.view_as_complex(whole.contiguous()) if is_complex else whole)
        return resolve_name("deepinv.utils.TensorList")(found)

    def norm(self) -> float:
        """An upper bound of ||A||: ``bound``; in closed form for physics that :func:`known_norm` knows; else for small
        images from the matrix. Raises: NoConstant: none of these, or ``A_adjoint`` is not the adjoint of A."""
        try:
            if self.bound is not None and self.image_shape is not None:
                check_adjoint(in_float64(self))  # a bound of ||A|| says nothing of another map
            return self.quick_norm()
        except NotKnown:
            self._dense = self._dense or dense_norm(in_float64(self))
            return self._dense

    def quick_norm(self) -> float:
        return self.bound if self.bound is not None else known_norm(self.made)

    def scale(self) -> float:
        try:
            return self.quick_norm()
        except NotKnown:
            return 1.0 if self.image_shape is None else power_iteration(self)

    def zeros(self, count: int = 1) -> Tensor:
        assert self.image_shape is not None
        like = next(chain(self.buffers(), self.parameters()), torch.empty(0))
        return torch.zeros(count, *self.image_shape, device=like.device, dtype=self.dtype())

    def dtype(self) -> torch.dtype:
        kinds = {t.dtype for t in chain(self.buffers(), self.parameters()) if t.is_floating_point()}
        return torch.float64 if kinds == {torch.float64} else torch.float32

    def sha256(self) -> str:
        """Of class and parameters of the physics, and of its tensors (BUFFER_DIGITS decimals)."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.described} {self.seed}".encode())
        tensors = chain(self.named_buffers(), self.named_parameters())
        for name, value in sorted(tensors, key=lambda item: item[0]):
            real = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
            array = (real.detach().cpu().double() * 10**BUFFER_DIGITS).round().to(torch.int64).contiguous().numpy()
            digest.update(f"{name} {array_sha256(array)}".encode())
        return digest.hexdigest()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """``.to(…)`` and ``.double()`` also reach what deepinv keeps outside of its buffers."""
        super()._apply(fn, recurse)
        kind = fn(torch.zeros(1)).dtype
        for module in self.modules():
            known = vars(module)
            if isinstance(known.get("dtype"), torch.dtype) and known["dtype"].is_floating_point:
                vars(module)["dtype"] = kind
            if "_auto_grad_adjoint_fn" in known:  # made for the tensors before
                vars(module)["_auto_grad_adjoint_fn"] = None
        return self


class NotLinear(ValueError):
    """A physics of deepinv that is no LinearPhysics."""


def not_linear(kind: type) -> bool:
    found = sys.modules.get("deepinv.physics")
    return found is not None and issubclass(kind, found.Physics) and not issubclass(kind, found.LinearPhysics)


def check_linear(physics: Any) -> None:
    """Raises: ValueError: no linear physics, or a sensor model that changes what is measured."""
    name = class_path(type(physics))
    if not_linear(type(physics)):
        raise NotLinear(f"physics {name} {NOT_LINEAR}")
    if not all(callable(getattr(physics, method, None)) for method in ("A", "A_adjoint")):
        raise ValueError(f"physics {name} has no methods A(x) and A_adjoint(y)")
    sensor, values = getattr(physics, "sensor_model", None), torch.linspace(-3, 3, 1001).reshape(1, 1, 7, 143)
    if callable(sensor) and not torch.equal(sensor(values.clone()), values):
        raise ValueError(f"physics {name} has a sensor model, which is not linear; make it without sensor_model")
    noise = getattr(physics, "noise_model", None)
    if noise is not None and type(noise).__name__ != "ZeroNoise":
        log.info("%s: its noise model (%s) is not used; operator.sigma_b is", name, type(noise).__name__)


def unregistered(physics: Any) -> list[nn.Module]:
    """Modules in lists of a physics (those of a stacked one), which torch does not move with it."""
    modules = list(physics.modules()) if isinstance(physics, nn.Module) else []
    lists = [v for module in modules for v in vars(module).values() if isinstance(v, list | tuple)]
    return [part for some in lists for part in some if isinstance(part, nn.Module)]


def shape_of(physics: Any, of_complex_images: bool) -> tuple[int, int, int] | None:
    """(C, H, W) of the images that a physics is for, C = 1 for real images; None if it does not say."""
    width = getattr(physics, "img_width", None)
    found = next((v for k in ("img_size", "imsize") if (v := getattr(physics, k, None)) is not None), None)
    if isinstance(width, int) and found is None:
        return (1, width, width)
    if found is None or len(found) < 2:
        return None
    height, width = (int(s) for s in found[-2:])
    return (1 if of_complex_images or len(found) < 3 else int(found[-3]), height, width)


def made(description: Mapping[str, Any], seed: int) -> Any:
    """The physics that a config describes.
    Raises: ValueError: its class cannot be imported, or refuses its parameters."""
    target = str(description.get("_target_", "???"))
    if target == "???":
        no_value = "operator.physics._target_ has no value; give a class, as deepinv.physics.Inpainting"
        raise ValueError(f"{no_value}{if_missing()}")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.manual_seed(seed)
        try:
            given, kind = dict(description), resolve_name(target)
            if isinstance(kind, type) and not_linear(kind):
                raise NotLinear(f"physics {target} {NOT_LINEAR}")
            if "rng" in signature(kind).parameters:
                given.setdefault("rng", torch.Generator().manual_seed(seed))
            found = resolved(given)
        except ImportError as error:
            raise ValueError(f"physics {target} cannot be imported: {error}. {INSTALL}") from error
        except NotLinear:
            raise
        except Exception as error:  # whatever a class raises for parameters that it does not take
            raise ValueError(f"physics {target}: {type(error).__name__}: {error}") from error
    for message in dict.fromkeys(str(w.message) for w in said):
        if IGNORED in message:
            raise ValueError(f"physics {target}: {message}")
        log.warning("%s: %s", target, message)
    return found


def resolved(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(resolved(v) for v in value)
    if not isinstance(value, Mapping):
        return value
    values = {k: resolved(v) for k, v in value.items()}
    if "_target_" not in values:
        return values
    target, args = values.pop("_target_"), values.pop("_args_", ())
    return resolve_name(str(target))(*args, **values)


def attributes(physics: Any) -> str:
    """Class and plain attributes of an object and its modules, for its hash."""

    def plain() -> Iterator[str]:
        for name, part in physics.named_modules() if isinstance(physics, nn.Module) else [("", physics)]:
            own = {k: v for k, v in vars(part).items() if isinstance(v, str | int | float | tuple | torch.dtype)}
            yield f"{name}: {class_path(type(part))} {sorted((k, repr(v)) for k, v in own.items() if k != 'training')}"

    return "\n".join(plain())


def is_physics(value: Any) -> bool:
    """Whether an object is a physics of deepinv, without importing it."""
    found = sys.modules.get("deepinv.physics")
    return found is not None and isinstance(value, found.Physics)
