"""Errors. The commands answer user errors with one message and exit code 2."""

from __future__ import annotations


class ConfigError(ValueError):
    """A mistake in the config."""


class FolderTaken(ConfigError):
    """A run folder that has the rows of another run or job."""


class DataError(ValueError):
    """Data that is missing or cannot be used."""


class CheckpointError(ValueError):
    """A file that holds no estimator of a known format."""


class NotTrusted(CheckpointError):
    """A class that only a file names, of a module that the user does not."""


class PremiseError(ValueError):
    """An estimator, operator or tensor that breaks an assumption of certificates or attacks."""


class NoConstant(PremiseError):
    """No Lipschitz constant is proven; the message says why."""


class NotFiniteError(PremiseError, FloatingPointError):
    """Values that are nan or inf."""


class NotConverged(PremiseError, FloatingPointError):
    """A solver ends above its tolerance; the message names what is left."""


class ScratchError(OSError):
    """No disk space for the temporary file of an image's draws."""


class CertificateViolation(RuntimeError):
    """Under an attack the truth exceeds a certified value: a wrong one, or the allowed failure."""


class DivergedError(FloatingPointError):
    """The training loss became nan or inf."""
