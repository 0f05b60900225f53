"""Measurement operators: y = operator.A(x) + b."""

from invsmooth.operators.base import LinearOperator, Operator, operator_norm
from invsmooth.operators.block_gaussian import BlockGaussian
from invsmooth.operators.by_name import operator_by_name
from invsmooth.operators.identity import Identity

__all__ = ["BlockGaussian", "Identity", "LinearOperator", "Operator", "operator_by_name", "operator_norm"]
