"""Reconstruction networks and estimators: estimator(y, operator) -> x_hat."""

from invsmooth.estimators.adapters import Denoiser, as_estimator
from invsmooth.estimators.bm3d import BM3D
from invsmooth.estimators.checkpoint import load_checkpoint
from invsmooth.estimators.crr import CRR
from invsmooth.estimators.deepinv import DeepInvModel, to_deepinv
from invsmooth.estimators.dpdnn import DPDNN
from invsmooth.estimators.equilibrium import Equilibrium
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.istanetpp import ISTANetPP
from invsmooth.estimators.linear import IdentityEstimator, MatchedFilter, Ridge
from invsmooth.estimators.lipnet import LipNet
from invsmooth.estimators.lmmse import LMMSE
from invsmooth.estimators.null_space import NullSpace
from invsmooth.estimators.tv import TV
from invsmooth.estimators.wavelet import WaveletShrinkage
from invsmooth.estimators.wiener import Wiener

__all__ = [
    "BM3D",
    "CRR",
    "DPDNN",
    "LMMSE",
    "TV",
    "DeepInvModel",
    "Denoiser",
    "Equilibrium",
    "Estimator",
    "ISTANetPP",
    "IdentityEstimator",
    "LipNet",
    "MatchedFilter",
    "NullSpace",
    "Ridge",
    "WaveletShrinkage",
    "Wiener",
    "as_estimator",
    "frozen",
    "load_checkpoint",
    "to_deepinv",
]  # fmt: skip
