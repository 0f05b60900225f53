"""Measurement operators: y = operator.A(x) + b."""

from invsmooth.operators.base import LinearOperator, Operator, as_operator, operator_norm
from invsmooth.operators.block_gaussian import BlockGaussian
from invsmooth.operators.blur import Blur
from invsmooth.operators.deepinv import DeepInv
from invsmooth.operators.dense import Dense
from invsmooth.operators.fourier import Fourier
from invsmooth.operators.identity import Identity
from invsmooth.operators.inpainting import Inpainting
from invsmooth.operators.super_resolution import SuperResolution

__all__ = [
    "BlockGaussian",
    "Blur",
    "DeepInv",
    "Dense",
    "Fourier",
    "Identity",
    "Inpainting",
    "LinearOperator",
    "Operator",
    "SuperResolution",
    "as_operator",
    "operator_norm",
]
