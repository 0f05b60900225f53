"""Training algorithms: one mixin each, over a shared reconstruction backbone."""

from invsmooth.algorithms.adv import AdvTraining
from invsmooth.algorithms.backbone import ReconstructionModule, TrainingSetup
from invsmooth.algorithms.jcb import JcbTraining
from invsmooth.algorithms.ord import OrdTraining
from invsmooth.algorithms.smt_adv import SmtAdvTraining
from invsmooth.algorithms.smt_grad import SmtGradTraining

__all__ = [
    "AdvTraining",
    "JcbTraining",
    "OrdTraining",
    "ReconstructionModule",
    "SmtAdvTraining",
    "SmtGradTraining",
    "TrainingSetup",
]
