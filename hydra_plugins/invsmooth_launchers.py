"""Our launchers (invsmooth.sweeps.launchers). Hydra takes only classes of hydra_plugins."""

from __future__ import annotations

from invsmooth.sweeps import launchers


class Joblib(launchers.Joblib):
    plugin = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"


class SlurmLocal(launchers.Submitit):
    plugin = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"


class Slurm(launchers.Submitit):
    plugin = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"


class Ray(launchers.Ray):
    plugin = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
