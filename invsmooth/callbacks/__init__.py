"""Lightning callbacks: attack and certificate sweeps over the test images."""

from invsmooth.callbacks.attack_sweep import AttackSweep
from invsmooth.callbacks.certify_sweep import CertifyPlan, CertifySweep
from invsmooth.callbacks.stop_after import StopAfterBatches

__all__ = ["AttackSweep", "CertifyPlan", "CertifySweep", "StopAfterBatches"]
