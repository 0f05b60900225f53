"""Train, attack and certify robust image reconstruction. The names below are loaded when they are first used."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

NAMES = {
    "invsmooth.attacks": ("apgd", "pgd"),
    "invsmooth.certificates": ("Certificate", "certify"),
    "invsmooth.estimators": (
        "CRR", "DPDNN", "Equilibrium", "ISTANetPP", "LMMSE", "LipNet", "MatchedFilter", "NullSpace", "Ridge", "TV",
        "as_estimator", "load_checkpoint",
    ),
    "invsmooth.metrics": ("psnr", "ssim"),
    "invsmooth.operators": ("BlockGaussian", "Identity"),
}  # fmt: skip
__all__ = ["__version__", *sorted(name for names in NAMES.values() for name in names)]


def __getattr__(name: str) -> Any:
    for module, names in NAMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
