"""Training algorithms: one mixin each, over a shared reconstruction backbone."""

from invsmooth.training.adv import AdvTraining
from invsmooth.training.backbone import ReconstructionModule, TrainingSetup
from invsmooth.training.certified import CertifiedTraining
from invsmooth.training.fit_only import FitTraining
from invsmooth.training.jcb import JcbTraining
from invsmooth.training.ord import OrdTraining
from invsmooth.training.smt_adv import SmtAdvTraining
from invsmooth.training.smt_grad import SmtGradTraining

__all__ = [
    "AdvTraining", "CertifiedTraining", "FitTraining", "JcbTraining", "OrdTraining", "ReconstructionModule",
    "SmtAdvTraining", "SmtGradTraining", "TrainingSetup",
]  # fmt: skip
