"""What has to hold before anything is certified or attacked (SPEC section 6), checked in one place.

The theorems speak of z -> f(Az + b): f is a function of one image at a time, A is linear. :func:`checked` looks whether
estimator, operator, measurements and images are of that kind. A check on a few inputs proves nothing about all others:
it finds mistakes, not intentions (docs/theory.md)."""

from __future__ import annotations

import inspect
import math
import reprlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NotFiniteError, PremiseError
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import standard_normal
from invsmooth.core.units import to_unit_scale
from invsmooth.estimators.frozen import Estimator, frozen, modules_of
from invsmooth.operators.base import Operator

EVALUATIONS = 2  # of the estimator, for each batch, beside f(y), which its user needs anyway
PRECISE = (torch.float32, torch.float64)  # of images and measurements: coarser types would round the noise away
# Relative l2 distance up to which two evaluations of one image are the same: other batch sizes sum in another
# order, and a network may compute in TF32 or bfloat16 inside.
SAME = {torch.float64: 1e-8, torch.float32: 1e-3}
SAME_COARSE = 8  # the same for coarser answers, in spacings of their type
LINEAR = {torch.float64: 1e-9, torch.float32: 1e-5}  # relative l2 distance of A(u + v) and A(u) + A(v)
LINEAR_ON_GPU = 2e-3  # convolutions on a GPU round as TF32 does
UNLIKELY = 10.0  # mean of |x| of images in [0, 1]; that of grey levels is some 100
LEVELS_OF_NOISE = 1000  # the least standard deviation of the noise, in spacings of the measurements' numbers
DEPENDS_ON_MODE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)


class Checked:
    """An estimator that :func:`checked` looked at. Each answer is checked for type and shape, and is at least float32.

    Attributes:
        y, x_hat: the measurements it was looked at with, and their reconstructions.
        unit_noise: standard deviation of A u for u ~ N(0, I).
        rounding: spacing of the numbers that the network answers in, relative; 0 for float32 and wider.
        coarse: whether the network computes in bfloat16 at the moment: see :meth:`in_bf16`."""

    def __init__(self, estimator: Estimator, operator: Operator, y: Tensor) -> None:
        self.estimator, self.operator, self.y = estimator, operator, y
        self.image_shape: torch.Size | None = None
        self.rounding, self.coarse = 0.0, False
        with torch.no_grad(), frozen(estimator):
            self.x_hat = self(y, operator)
        check_finite("the reconstruction of the measurements", self.x_hat)
        self.unit_noise = check_operator(operator, y, self.x_hat.shape[1:])

    def __call__(self, y: Tensor, operator: Operator) -> Tensor:
        x_hat: Any
        if self.coarse:
            with torch.autocast(y.device.type, torch.bfloat16):
                x_hat = self.estimator(y, operator).to(y.dtype)
        else:
            x_hat = self.estimator(y, operator)
        if not isinstance(x_hat, Tensor):
            raise PremiseError(f"the estimator answers with a {type(x_hat).__name__}, not with a tensor of images")
        if not x_hat.is_floating_point():
            raise PremiseError(f"the estimator answers in {x_hat.dtype}; real floating-point numbers are needed")
        shape = tuple(x_hat.shape)
        if x_hat.ndim != 4 or len(x_hat) != len(y):
            answers = f"the estimator answers {len(y)} measurements with shape {shape}"
            raise PremiseError(f"{answers}, not with an image for each: (B, C, H, W)")
        self.image_shape = known = self.image_shape or x_hat.shape[1:]
        if x_hat.shape[1:] != known:
            raise PremiseError(f"the estimator answers with images of shape {tuple(known)}, then {shape[1:]}")
        if x_hat.dtype not in PRECISE:
            self.rounding = max(self.rounding, torch.finfo(x_hat.dtype).eps)
            return x_hat.float()
        return x_hat

    @contextmanager
    def in_bf16(self, on: bool = True) -> Iterator[None]:
        """Within the block the network's convolutions and matrix products are in bfloat16: for directions of a search, not
        for results."""
        before, self.coarse = self.coarse, on
        try:
            yield
        finally:
            self.coarse = before

    def reconstruction(self, y: Tensor) -> Tensor:
        """f(y), shape (B, C, H, W). Not evaluated again where it is known."""
        if y is self.y:
            return self.x_hat
        return check_finite("the reconstruction of the measurements", self(y, self.operator))

    def check_sigma(self, sigma: float, y: Tensor) -> None:
        """Raises PremiseError: noise of this standard deviation vanishes in the rounding of y. Warns where it is above 1."""
        if sigma > 1:
            grey = f"if grey levels are meant, give sigma={to_unit_scale(sigma):.4g}"
            warnings.warn(f"sigma={sigma:g} is a standard deviation on the [0, 1] pixel scale; {grey}", stacklevel=3)
        spacing = torch.finfo(y.dtype).eps * float(y.abs().max())
        if 0 < sigma * self.unit_noise < LEVELS_OF_NOISE * spacing:
            least = LEVELS_OF_NOISE * spacing / self.unit_noise
            raise PremiseError(
                f"sigma={sigma:g} is too near to the spacing of {y.dtype} numbers of the size of y ({spacing:.2g}): the "
                f"noise would be rounded away; give at least sigma={least:.2g}, or y in float64"
            )


def checked(
    estimator: Estimator, operator: Operator, y: Tensor, x: Tensor | None = None, *, alone: bool = True
) -> Checked:
    """The estimator, once it and its arguments are such that a certificate, or an attack, means something.

    An estimator that was checked with this operator before is only looked at for the new tensors. Otherwise it is evaluated
    on y, which its user needs anyway (:meth:`Checked.reconstruction`), and on two images more.

    Args:
        y: measurements, shape (B, …), B >= 1.
        x: clean images, in the shape of the reconstructions, or None.
        alone: False: not whether it is deterministic and treats each image alone, which takes the two images more.
    Raises: PremiseError: a tensor of another type than float32 or float64, with numbers that are not finite, or of the
        wrong shape; an A that is not linear, or another one at each call; an estimator that takes other arguments,
        answers with something else than an image for each measurement, is random, or lets the images of a batch depend
        on each other; one that is no torch module and calls batch norm or dropout in training mode."""
    keep_memory()
    check_tensor("y", y)
    if isinstance(operator, type) or not callable(getattr(operator, "A", None)):
        raise PremiseError(
            f"operator is {reprlib.repr(operator)}; an object with the methods A(x) and A_adjoint(y) is needed"
        )
    if x is not None:
        check_tensor("x", x)
        warn_of_grey_levels("x has", x)
    if isinstance(estimator, Checked) and estimator.operator is operator:
        known = estimator
    else:
        check_signature(estimator)
        check_mode(estimator)
        try:
            known = Checked(estimator, operator, y)
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # an error of the estimator's own
                raise
            raise PremiseError(f"the estimator fails on y: {error}{hint(estimator, y)}") from error
        if alone:
            check_alone(known)
    assert known.image_shape is not None
    if x is not None and x.shape != (len(y), *known.image_shape):
        raise PremiseError(f"x has shape {tuple(x.shape)}, but the reconstructions have {(len(y), *known.image_shape)}")
    if known.y.shape[1:] != y.shape[1:] and known is estimator:
        raise PremiseError(f"y has shape {tuple(y.shape)}; the estimator was checked with {tuple(known.y.shape)}")
    return known


def warn_of_grey_levels(what: str, images: Tensor) -> None:
    """Images of 0 to 255, with eps and sigma for [0, 1], would be attacked and certified at next to nothing."""
    if float(images.abs().mean()) > UNLIKELY:
        low, high = float(images.min()), float(images.max())
        warnings.warn(
            f"{what} values from {low:.4g} to {high:.4g}; images in [0, 1] are expected, and eps and sigma are on that "
            "scale: divide grey levels by 255",
            stacklevel=4,
        )


def hint(estimator: Any, y: Tensor) -> str:
    """What is often the cause."""
    weight = next(estimator.parameters(), y) if isinstance(estimator, nn.Module) else y
    if weight.dtype != y.dtype:
        return f". Its weights are {weight.dtype}, and y is {y.dtype}: give y.to({weight.dtype})"
    if weight.device != y.device:
        return f". Its weights are on {weight.device}, and y on {y.device}: give y.to('{weight.device}')"
    return f". y has shape {tuple(y.shape)}; measurements of a batch of images (B, C, H, W) are needed"


def check_tensor(name: str, value: Any) -> None:
    """Raises PremiseError: no tensor of finite real numbers of full precision, or an empty one."""
    if not isinstance(value, Tensor):
        raise PremiseError(f"{name} is a {type(value).__name__}; give a torch tensor")
    if value.dtype not in PRECISE:
        raise PremiseError(f"{name} has type {value.dtype}; give float32 or float64, pixels in [0, 1]{autocast(value)}")
    if value.ndim < 2 or value.numel() == 0:
        raise PremiseError(f"{name} has shape {tuple(value.shape)}; give a batch of at least one image")
    check_finite(name, value)


def autocast(value: Tensor) -> str:
    """Said where types are wrong."""
    on = torch.is_autocast_enabled(value.device.type)
    return ". torch.autocast is on, which changes types: leave its block for this" if on else ""


def check_is_operator(operator: Any) -> None:
    """Raises PremiseError: no operator: a class, a matrix, None."""
    if isinstance(operator, type) or not callable(getattr(operator, "A", None)):
        found = reprlib.repr(operator)
        raise PremiseError(f"operator is {found}; an object with the methods A(x) and A_adjoint(y) is needed")


def check_finite(name: str, value: Tensor) -> Tensor:
    """``value``, once all its numbers are finite."""
    if not bool(value.isfinite().all()):
        raise NotFiniteError(f"{name} is not finite everywhere (nan or inf); nothing can be said of it")
    return value


def check_signature(estimator: Any) -> None:
    """Raises PremiseError: it cannot be called as ``estimator(y, operator)``."""
    if isinstance(estimator, type) or not callable(estimator):
        raise PremiseError(f"the estimator {estimator!r} is no module or function")
    try:
        signature = inspect.signature(estimator.forward if isinstance(estimator, nn.Module) else estimator)
    except (TypeError, ValueError):  # written in C, or a module that hides it
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise PremiseError(
            f"the estimator takes {signature}, but is called with (y, operator); invsmooth.estimators.as_estimator adapts it"
        ) from None


def check_mode(estimator: Estimator) -> None:
    """Raises PremiseError: a function calls layers in training mode. (A module is put into eval mode for the time.)"""
    if isinstance(estimator, nn.Module):
        return
    for module in modules_of(estimator):
        for name, layer in module.named_modules():
            if layer.training and isinstance(layer, DEPENDS_ON_MODE):
                raise PremiseError(
                    f"the estimator calls a {type(module).__name__} whose layer {name or '.'} ({type(layer).__name__}) is "
                    "in training mode: call eval() on it, or give the module itself"
                )


def check_alone(known: Checked) -> None:
    """Raises PremiseError: an image is reconstructed otherwise beside another one, or a second time."""
    y, x_hat = known.y, known.x_hat
    assert known.image_shape is not None
    # Far from y, so that a network that looks at the whole batch sees another one.
    other = known.operator.A(probe(known.image_shape, "other").to(y))
    with torch.no_grad(), frozen(known.estimator):
        again = known(torch.cat([other, y[:1]]), known.operator)[1]
    coarse = SAME_COARSE * known.rounding
    distance, size = float((again - x_hat[0]).norm()), float(x_hat[0].norm())
    if not distance <= max(SAME[x_hat.dtype], coarse) * size + 1e-6 * math.sqrt(again.numel()):
        raise PremiseError(
            f"the estimator is random, or its images depend on others of their batch: of one measurement it made two "
            f"reconstructions {distance:.3g} apart (l2; their size is {size:.3g}). Batch norm and dropout need eval mode"
        )


def check_operator(operator: Operator, y: Tensor, image_shape: torch.Size) -> float:
    """Standard deviation of A u for u ~ N(0, I).
    Raises: PremiseError: A does not map images to measurements like y, is not linear, or differs at each call."""
    u, v = (probe(image_shape, name).to(y) for name in ("u", "v"))
    images = torch.cat([u, v, u + v, torch.zeros_like(u)])
    try:
        with torch.no_grad():
            together = operator.A(given := images.clone())
            alone = operator.A(u.clone())
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        which = f"images of shape {tuple(image_shape)}, which the estimator answers with"
        raise PremiseError(f"operator.A fails on {which}: {error}") from error
    for measured, count in ((together, 4), (alone, 1)):
        if not isinstance(measured, Tensor) or measured.shape != (count, *y.shape[1:]):
            shape = tuple(measured.shape) if isinstance(measured, Tensor) else type(measured).__name__
            raise PremiseError(
                f"operator.A of {count} images of shape {tuple(image_shape)}, which the estimator answers with, is {shape}, "
                f"but the measurements y have shape {tuple(y.shape)}: estimator, operator and y do not belong together"
            )
    if not torch.equal(given, images):
        raise PremiseError("operator.A changes the image that it is given, in place")
    if together.dtype != y.dtype:
        raise PremiseError(f"operator.A answers {y.dtype} images in {together.dtype}{autocast(y)}")
    au, av, both, zero = together
    size = float(au.norm() + av.norm())
    tolerance = (LINEAR[y.dtype] if y.device.type == "cpu" else LINEAR_ON_GPU) * size
    found = (
        ("A(0) is not 0", zero),
        ("A(u + v) is not A(u) + A(v)", both - au - av),
        ("two calls of A differ", alone[0] - au),
    )
    for what, difference in found:
        if not (distance := float(difference.norm())) <= tolerance:
            numbers = f"l2 distance {distance:.3g}, size {size:.3g}"
            raise PremiseError(f"operator.A is not linear: {what} ({numbers}); add offsets and noise outside, as b")
    return float(au.square().mean().sqrt())


def probe(image_shape: torch.Size, name: str) -> Tensor:
    return standard_normal((1, *image_shape), 0, "premises", name)
