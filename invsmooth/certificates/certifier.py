"""What a certifier is: the class that ours and anyone's derive from.

One certifier is one class in one file, with one yaml (``conf/certify/NAME.yaml``). All that the rest of the program needs
to know of it is here: rows, plan, reports, certificate files and the truth check read it and know no certifier by name.
Importing a certifier needs no torch (functions import it where they draw): a certificate file is checked without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.certificate import Certificate
    from invsmooth.certificates.draws import Draws
    from invsmooth.checks.truth import Attacked, TruthCheck


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """The settings of certification that all certifiers share. Everything on the [0, 1] pixel scale.

    Attributes:
        sigma: standard deviation of the smoothing noise per pixel.
        n_samples: S, draws for each image.
        confidence: c, one-sided, of each certificate (what it is shared out over is already paid).
        q: the quantile that percentile certifiers bound.
        simultaneous: over the radii: ``"none"``, ``"bonferroni"`` or ``"dkw"``.
        seed: of the draws.
        chunk_size: draws of each image at a time; None chooses it by the size of the images.
    """

    sigma: float
    n_samples: int
    confidence: float = 0.99
    q: float = 0.5
    simultaneous: str = "none"
    seed: int = 0
    chunk_size: int | None = None


@dataclass(frozen=True)
class Use:
    """Draws that a certifier takes, and the result that is cached of them.

    Attributes:
        kind, content: name and content of the cached result (:mod:`invsmooth.cache`).
        draws: how many, counted from draw 0.
    """

    kind: str
    content: Mapping[str, Any]
    draws: int


class Certifier(ABC):
    """A certifier with its own parameters. ``__init__`` stores its arguments under their names and does nothing else."""

    name: ClassVar[str]
    declared: ClassVar[CertifierDeclaration]

    # Before any network runs.

    @property
    def needs_image(self) -> bool:
        """Whether it compares with the clean image."""
        return False

    def check(self, smoothing: Smoothing) -> None:  # noqa: B027 (most certifiers have nothing to check)
        """Raises ValueError: parameters of this certifier that are out of range, alone or with these settings."""

    @abstractmethod
    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        """Why no draws give a bound at eps/sigma = ``ratio``, and what would; ``""`` where they can."""

    def over_eps(self, how: str) -> str:
        """How it pays for all radii together where ``certify.over_eps`` is ``how``."""
        return how

    def joint_over_eps(self, smoothing: Smoothing) -> bool:
        """Whether the certificates of all radii are one statement: they hold or fail together."""
        return smoothing.simultaneous == "dkw"

    def stops(self, smoothing: Smoothing) -> tuple[int, ...]:
        """How many draws each of its stages takes, counted from draw 0, ascending."""
        return (smoothing.n_samples,)

    @abstractmethod
    def uses(self, draws: Draws, x: Tensor | None, smoothing: Smoothing) -> list[Use]:
        """What it would draw and cache: the plan's estimate of its cost."""

    # The certificate.

    @abstractmethod
    def certify(
        self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float], smoothing: Smoothing
    ) -> Certificate:
        """Certify every image of the batch at every radius.

        Args:
            draws: the smoothed reconstructions.
            shown: f(y), shape (B, C, H, W).
            x: clean images; None where they are not known.
            eps: l2 radii over one whole image.
        """

    # What comes after it.

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        """The values of its own columns for image i of a certificate at one radius."""
        return {}

    def truth(self, certificate: Certificate, attacked: Attacked, smoothing: Smoothing) -> TruthCheck | None:
        """Try to refute a certificate at one radius with the attack that was found; None where there is nothing to check."""
        return None

    # Its certificate file. Numbers only, no torch.

    fields: ClassVar[Mapping[str, Any]] = {}
    """Fields of its record beside the common ones -> kind of value."""

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        """Its own fields for image i, the list ``radii`` among them."""
        raise NotImplementedError(f"{type(self).__name__} writes no certificate file; set certify.files=false")

    def expected(self, record: Mapping[str, Any], n: int, units: Units) -> dict[str, Any]:
        """What has to follow from the recorded evidence. ``n``: pixels of the image."""
        return {}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        """What cannot be true of the recorded evidence, one message each."""
        yield from ()
