"""What a certifier is: the class that ours and anyone's derive from.

One certifier is one class in one file, with one yaml (``conf/certify/NAME.yaml``). The rest of the
program reads here all that it needs, and knows no certifier by name. Importing one needs no torch
(functions import it where they draw): a certificate file is checked without it."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from invsmooth.certificates.confidence import SIMULTANEOUS, bonferroni
from invsmooth.certificates.fields import Range
from invsmooth.certificates.order_statistics import check_quantile, check_sampling
from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.certificate import Certificate
    from invsmooth.certificates.draws import Draws
    from invsmooth.checks.truth import Attacked, TruthCheck
    from invsmooth.estimators.frozen import Estimator
    from invsmooth.operators.base import Operator


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """The settings of certification that all certifiers share.

    Attributes:
        sigma: standard deviation of the smoothing noise per pixel, [0, 1] pixel scale; nan for what
            is not smoothed.
        n_samples: S, draws for each image.
        confidence: c, one-sided. In a certifier's methods: of each one (:meth:`Certifier.each`).
        q: the quantile that percentile certifiers bound.
        simultaneous: over the radii: ``"none"``, ``"bonferroni"`` or ``"dkw"``.
        chunk_size: draws of each image at a time; None chooses it by the size of the images."""

    sigma: float
    n_samples: int
    confidence: float = 0.99
    q: float = 0.5
    simultaneous: str = "none"
    seed: int = 0
    chunk_size: int | None = None

    def distinct(self, n: int) -> int:
        """Different draws among ``n``: without noise all draws are the same one."""
        return n if self.sigma > 0 else 1

    @property
    def n_drawn(self) -> int:
        return self.distinct(self.n_samples)

    @property
    def dkw(self) -> bool:
        return self.simultaneous == "dkw"

    def check(self) -> None:
        """Raises ValueError: a value outside its range."""
        check_sampling(self.n_samples, self.confidence)
        check_quantile(self.q)
        if self.simultaneous not in SIMULTANEOUS:
            raise ValueError(f"simultaneous={self.simultaneous!r} is none of {', '.join(SIMULTANEOUS)}")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"chunk_size={self.chunk_size} has to be at least 1")


@dataclass(frozen=True)
class Use:
    """What a certifier draws (so many, from draw 0), and name and content of the result that is
    cached of it (:mod:`invsmooth.cache`)."""

    kind: str
    content: Mapping[str, Any]
    draws: int


class Certifier(ABC):
    """With its own parameters: ``__init__`` stores its arguments under their names, no more."""

    name: ClassVar[str]
    declared: ClassVar[CertifierDeclaration]

    @property
    def parameters(self) -> dict[str, Any]:
        """What ``__init__`` got, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def smooths(self) -> bool:
        """Whether it takes draws: it does not where it is deterministic, or combines others."""
        return self.declared.smooths and self.declared.at != "cell"

    # Before any network runs.

    @property
    def needs_image(self) -> bool:
        """Whether it cannot do without the clean image."""
        return False

    def check(self, smoothing: Smoothing) -> None:  # noqa: B027 (most certifiers have nothing to check)
        """Raises ValueError: parameters that are out of range, alone or with these settings."""

    @abstractmethod
    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        """Why no draws give a bound at eps/sigma = ``ratio``, and what would; "" where they can."""

    def over_eps(self, how: str, *, apart: bool | None = None) -> str:
        """How it pays for all radii together where ``certify.over_eps`` is ``how``. ``apart``: each
        at a measurement of its own; None: as declared. A DKW band is of one measurement's draws."""
        apart = self.declared.at == "attacked" if apart is None else apart
        return "bonferroni" if how == "dkw" and apart else how

    def each(self, smoothing: Smoothing, n_radii: int, *, apart: bool | None = None) -> Smoothing:
        """The settings of each of ``n_radii`` certificates, once ``simultaneous`` is paid for."""
        how = self.over_eps(smoothing.simultaneous, apart=apart)
        confidence = bonferroni(smoothing.confidence, n_radii) if how == "bonferroni" else smoothing.confidence
        return replace(smoothing, confidence=confidence, simultaneous="dkw" if how == "dkw" else "none")

    def joint_over_eps(self, each: Smoothing) -> bool:
        """Whether the certificates of all radii are one statement: they hold or fail together."""
        return each.dkw

    def stops(self, each: Smoothing) -> tuple[int, ...]:
        """How many draws, counted from draw 0, each of its stages takes, ascending; those are
        kept. () for a certifier that passes over its draws once and keeps none."""
        return (each.n_drawn,)

    rereads: ClassVar[bool] = False
    """Whether its draws have to be kept, be they more than the memory holds."""

    def n_draws(self, each: Smoothing) -> int:
        """Of each image, at most."""
        return each.n_samples

    def references(self, shown: Tensor | None, x: Tensor | None) -> dict[str, Tensor]:
        """Fixed images, shape (B, C, H, W), that :meth:`Draws.errors` compares every draw with,
        once for all certifiers, by name (``"shown"``: f(y), ``"x"``); what is None is left out."""
        return {}

    @abstractmethod
    def uses(self, draws: Draws, x: Tensor | None, each: Smoothing) -> list[Use]:
        """What it would draw and cache: the plan's estimate of its cost."""

    # The certificate.

    @abstractmethod
    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> Certificate:  # fmt: skip
        """Certify every image of the batch at every radius (l2 over one image). ``shown``: f(y),
        shape (B, C, H, W); ``x``: clean images, None where they are not known; ``each``: settings
        of each certificate (:meth:`each`)."""

    def without_draws(self, estimator: Estimator, operator: Operator, y: Tensor, x: Tensor | None,
                      eps: Sequence[float]) -> Certificate:  # fmt: skip
        """In place of :meth:`certify`, of one that does not smooth
        (:class:`invsmooth.certificates.deterministic.Deterministic`)."""
        raise NotImplementedError(f"{type(self).__name__} needs draws")

    def combines(self, other: Certifier) -> bool:
        """Of one that is taken at the ``"cell"``: whether it combines this one."""
        return False

    def combine(self, parts: Sequence[tuple[Certifier, Certificate]]) -> Certificate:
        """In place of :meth:`certify`, of one that is taken at the ``"cell"``: from the certificates of
        those that it combines, at one radius. Returns one with a radius axis of length 1."""
        raise NotImplementedError(f"{type(self).__name__} combines no other certifiers")

    # What comes after it.

    def certified_error(self, certificate: Certificate, i: int) -> float:
        """The certified MSE to the clean image, which the curve ``"psnr"`` is of, for image i of a
        certificate at one radius; nan for none."""
        return float(getattr(certificate, "certified_error", certificate.bound)[i])

    def recorded_error(self, row: Mapping[str, Any]) -> float:
        """:meth:`certified_error` from the record: one of its ``radii``."""
        return float(row.get("certified_error", row["bound"]))

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        """The values of its own columns for image i of a certificate at one radius."""
        return {}

    @property
    def covered_by(self) -> str:
        """Certifier whose truth check is stricter: this one is not checked if that one is; ""."""
        return ""

    truth_evals: ClassVar[int] = 1
    """Network evaluations for each fresh draw of the truth check."""

    def truth_cost(self, n_samples: int) -> int:
        """Network evaluations of a truth check with so many fresh draws."""
        return n_samples * self.truth_evals

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        """Try to refute a certificate at one radius with the attack found, in the unit of the
        bound; None where there is nothing to check."""
        return None

    # Its certificate file. Numbers only, no torch.

    @property
    def records_image(self) -> bool:
        """Whether its record is about the clean image, which is kept beside the file then."""
        return self.needs_image

    ranges: ClassVar[Mapping[str, Range]] = {}
    """Fields of the record -> what may stand in them."""
    follows: ClassVar[tuple[str, ...]] = ()
    """Fields, beside bound and reason, that follow from the evidence: not compared when redrawn."""
    scales: ClassVar[Mapping[str, str]] = {"draws": "mse", "median": "mse"}
    """Fields of the record in which rounding of reconstructions shows -> ``"mse"``, ``"length"`` or
    ``"squared length"`` (l2 norms); ``"float64"``: computed in float64, compared accordingly. Other
    numbers are compared relatively."""

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a record beside the common ones -> kind of value
        (:mod:`invsmooth.certificates.fields`); ``radii`` -> [the own fields of each radius]."""
        raise NotImplementedError(f"{cls.__name__} writes no certificate file; set certify.files=false")

    @property
    def has_file(self) -> bool:
        """Whether a certificate file can have it: :meth:`fields` and :meth:`record` are defined."""
        own = type(self)
        return own.record is not Certifier.record and own.fields.__func__ is not Certifier.fields.__func__  # type: ignore[attr-defined]

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        """Its own fields for image i, with the list ``radii``, without parameters and settings."""
        raise NotImplementedError(f"{type(self).__name__} writes no certificate file; set certify.files=false")

    def quantile(self, q: float) -> float | None:
        """The quantile that eps/sigma shifts, with ``q`` of the settings; None for none. Shifted it
        is the field ``q_bar`` of each radius, which :meth:`fields` has to declare."""
        return None

    def expected(self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int,
                 units: Units) -> dict[str, Any]:  # fmt: skip
        """What has to follow from the recorded evidence, in the shape of the record. ``ratios``:
        eps/sigma of each radius; ``n``: pixels of the image."""
        return {"radii": [{} for _ in ratios]}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        """What cannot be true of the recorded evidence, one message each."""
        yield from ()

    def n_rerun(self, record: Mapping[str, Any]) -> int:
        """S with which the recorded certificate is drawn again."""
        return int(record["n_samples"])

    def spread(self, record: Mapping[str, Any], n: int) -> float:
        """About how far the draws lie apart, l2 norm over the n pixels of the image."""
        return math.sqrt(record.get("median", math.inf) * n)

    def excused(self, record: Mapping[str, Any], field: str, recorded: Any, again: Any, *, narrow: bool) -> bool:
        """Whether a field (its last name) may differ when redrawn: a draw can lie within rounding
        of a limit. ``narrow``: all draws lie within rounding of each other."""
        return False
