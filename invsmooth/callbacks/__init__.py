"""Lightning callbacks: attack and certificate sweeps over the test images."""

from invsmooth.callbacks.attack_sweep import AttackPlan, AttackSweep
from invsmooth.callbacks.certificate_files import CertificateFiles
from invsmooth.callbacks.certify_plan import CertifyPlan
from invsmooth.callbacks.certify_sweep import CertifySweep
from invsmooth.callbacks.sandwich_check import SandwichCheck
from invsmooth.callbacks.save_underway import SaveUnderway
from invsmooth.callbacks.stop_after import StopAfterBatches

__all__ = [
    "AttackPlan",
    "AttackSweep",
    "CertificateFiles",
    "CertifyPlan",
    "CertifySweep",
    "SandwichCheck",
    "SaveUnderway",
    "StopAfterBatches",
]
