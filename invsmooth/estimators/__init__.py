"""Reconstruction networks and estimators: estimator(y, operator) -> x_hat."""

from invsmooth.estimators.adapters import as_estimator
from invsmooth.estimators.checkpoint import load_checkpoint
from invsmooth.estimators.dpdnn import DPDNN
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.istanetpp import ISTANetPP
from invsmooth.estimators.linear import MatchedFilter, Ridge
from invsmooth.estimators.lipnet import LipNet
from invsmooth.estimators.null_space import NullSpace

__all__ = [
    "DPDNN",
    "Estimator",
    "ISTANetPP",
    "LipNet",
    "MatchedFilter",
    "NullSpace",
    "Ridge",
    "as_estimator",
    "frozen",
    "load_checkpoint",
]
