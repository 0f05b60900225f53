"""Measurement operators: A, its adjoint, a hash, and the norm by power iteration."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from invsmooth.cache.content import content_key
from invsmooth.cache.parts import class_path, is_ours, parameters
from invsmooth.core.errors import NoConstant
from invsmooth.core.hashes import array_sha256
from invsmooth.core.rng import standard_normal

# Decimals of an operator's buffers that enter its hash: a matrix made from a seed is the same on every
# machine but for its last bits, which the linear algebra library decides.
BUFFER_DIGITS = 6


@runtime_checkable
class Operator(Protocol):
    """The two methods an operator needs. The names are deepinv's, so its linear physics can be passed as they are."""

    def A(self, x: Tensor) -> Tensor: ...

    def A_adjoint(self, y: Tensor) -> Tensor: ...


class LinearOperator(nn.Module):
    """A noiseless linear measurement operator, y = A x (noise b is added outside: y = operator.A(x) + b).
    Matrices are buffers, so ``operator.to(device)`` moves them."""

    name: ClassVar[str]  # of our own operators: what configs and files call them
    ratio: float = 1.0  # compression ratio m/n: what a network that is conditioned on the ratio gets
    _step: float | None = None  # see step()
    hashed: ClassVar[tuple[str, ...]] = ()  # parameters that change A, and that its buffers do not show

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has to define A(x)")

    @abstractmethod
    def A_adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has to define A_adjoint(y)")

    def forward(self, x: Tensor) -> Tensor:
        return self.A(x)

    def norm(self) -> float:
        """A proven upper bound of ||A||, l2 to l2. Raises: NoConstant: none is known."""
        raise NoConstant(f"operator {type(self).__name__} declares no norm() (an upper bound of ||A||)")

    def step(self) -> float:
        """1/||A||², the longest step of a gradient descent on ||A x - y||²/2 that never overshoots; networks weigh A^T y and
        A^T (A x - y) with it. 1 where ||A|| is 1 to a percent, and where no bound of it is known."""
        if self._step is None:
            norm = self.scale()
            self._step = 1.0 if abs(norm - 1) <= 0.01 or norm == 0 else norm**-2
        return self._step

    def scale(self) -> float:
        """About ||A||, for :meth:`step`, which proves nothing: its bound; 1 where none is known."""
        try:
            return self.norm()
        except NoConstant:
            return 1.0

    def sha256(self) -> str:
        """SHA-256 of class, ratio, buffers (BUFFER_DIGITS decimals) and the parameters in ``hashed``; of an operator
        from elsewhere also of its class path and all parameters."""
        return hash_of(self, self.ratio)


def hash_of(operator: Any, ratio: float) -> str:
    """See :meth:`LinearOperator.sha256`; for any object."""
    digest = hashlib.sha256(f"{type(operator).__name__} {ratio!r}".encode())
    for name, buffer in sorted(operator.named_buffers()) if isinstance(operator, nn.Module) else ():
        array = (buffer.detach().cpu().double() * 10**BUFFER_DIGITS).round().to(torch.int64).contiguous().numpy()
        digest.update(f"{name} {array_sha256(array)}".encode())
    for name in getattr(operator, "hashed", ()):
        digest.update(f"{name}={getattr(operator, name)!r}".encode())
    if not is_ours(type(operator)):
        digest.update(content_key([class_path(type(operator)), parameters(operator)]).encode())
    return digest.hexdigest()


def step_of(operator: Operator) -> float:
    """:meth:`LinearOperator.step`; 1 for any other object."""
    return operator.step() if isinstance(operator, LinearOperator) else 1.0


def as_operator(operator: Operator) -> LinearOperator:
    """A :class:`LinearOperator` from any object with the methods A and A_adjoint. Raises: TypeError: it lacks one.
    ValueError: a physics of deepinv that is not linear."""
    if isinstance(operator, LinearOperator):
        return operator
    from invsmooth.operators.deepinv import DeepInv, is_physics  # which imports this module

    if is_physics(operator):
        return DeepInv(operator)
    if not isinstance(operator, Operator):
        raise TypeError(f"{type(operator).__name__} is no operator: it needs the methods A(x) and A_adjoint(y)")
    return Wrapped(operator)


class Wrapped(LinearOperator):
    """See :func:`as_operator`."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.operator = operator
        self.ratio = float(getattr(operator, "ratio", 1.0))

    def A(self, x: Tensor) -> Tensor:
        return self.operator.A(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.operator.A_adjoint(y)

    def norm(self) -> float:
        declared = getattr(self.operator, "norm", None)
        return float(declared()) if callable(declared) else super().norm()

    def sha256(self) -> str:
        return hash_of(self.operator, self.ratio)


@torch.no_grad()
def operator_norm(operator: Operator, image_shape: tuple[int, int], n_iter: int = 50) -> float:
    """Spectral norm ||A|| on images of ``image_shape`` (H, W), by power iteration on A^T A. A lower bound that tightens
    with ``n_iter``; exact at once where A has orthonormal rows or is the identity."""
    v = standard_normal((1, 1, *image_shape), 0, "operator norm")
    value = 0.0
    for _ in range(n_iter):
        w = operator.A_adjoint(operator.A(v / v.norm()))
        value, v = float(w.norm()), w
        if value == 0:
            return 0.0
    return value**0.5
