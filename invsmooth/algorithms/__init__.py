"""Training algorithms: one mixin each, over a shared reconstruction backbone."""

from invsmooth.algorithms.backbone import ReconstructionModule
from invsmooth.algorithms.ord import OrdTraining

__all__ = ["OrdTraining", "ReconstructionModule"]
