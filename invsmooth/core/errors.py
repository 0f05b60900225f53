"""The mistakes that are the user's: the command lines answer them with one message and exit code 2."""

from __future__ import annotations


class ConfigError(ValueError):
    """A mistake in the config."""


class DataError(ValueError):
    """Data that is absent or cannot be used; the message says which and what to do."""


class CheckpointError(ValueError):
    """A file that holds no estimator that we know."""


class PremiseError(ValueError):
    """An estimator, operator or tensor for which a certificate or an attack would mean nothing."""


class NotFiniteError(PremiseError, FloatingPointError):
    """Numbers that are nan or inf."""


class ScratchError(OSError):
    """The temporary file of an image's draws has no room."""


class CertificateViolation(RuntimeError):
    """An attack was found under which the truth lies above a certified value: the certificate is wrong, or the chance of
    its failure came up. No mistake of the user's."""


class DivergedError(FloatingPointError):
    """Training came to a loss that is not a number."""
