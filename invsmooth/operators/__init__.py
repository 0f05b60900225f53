"""Measurement operators: y = operator.A(x) + b."""

from invsmooth.operators.base import LinearOperator, Operator, as_operator, operator_norm
from invsmooth.operators.block_gaussian import BlockGaussian
from invsmooth.operators.identity import Identity

__all__ = ["BlockGaussian", "Identity", "LinearOperator", "Operator", "as_operator", "operator_norm"]
