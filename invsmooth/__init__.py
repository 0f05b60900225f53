"""Train, attack and certify robust image reconstruction. The names below are loaded when they are first used."""

import signal
import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_command = (sys.argv[:1] == ["-m"] and any(a.startswith("invsmooth.") for a in sys.orig_argv)) or (
    sys.argv[:1] and sys.argv[0].rpartition("/")[2].startswith("invsmooth-")
)
if _command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # While a command of ours imports its packages, Ctrl-C ends it without a stack trace. Later: invsmooth.core.signals.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

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
