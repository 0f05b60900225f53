"""What an evaluation certifies, and what it can know of it beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from invsmooth.cache import Remember, not_kept
from invsmooth.certificates import (
    PERCENTILE_CERTIFIERS,
    Certificate,
    bonferroni,
    certify_all,
    decided_certificate,
    why_impossible,
)
from invsmooth.core.units import Units, certified_radius, eps_over_sigma, to_unit_scale
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.measurement import Measured
from invsmooth.records.rows import AT_ATTACKED


@dataclass(frozen=True)
class CertifyPlan:
    """What to certify. sigma in grey levels, eps as an l2 norm on the [0, 1] pixel scale.

    The fields are those of the config (:class:`invsmooth.config.schema.Certify`), but for:

    Attributes:
        units: whether eps and sigma are taken in one unit, or as published.
        n_images: test images, in all settings together.
    """

    certifiers: Sequence[str]
    eps: Sequence[float]
    sigma: Sequence[float]
    n_samples: int
    confidence: float
    quantile: float
    units: Units
    seed: int
    n_images: int = 1
    over_eps: str = "none"
    over_sigma: str = "none"
    over_images: str = "none"
    threshold: float | None = None
    radius_of: str = "error"
    anytime: bool = False
    n_centre: int | None = None
    n_pred: int | None = None
    chunk_size: int | None = None
    bands: str = "none"

    @property
    def each(self) -> float:
        """Confidence of the certificates of one image at one sigma, over the radii as ``over_eps`` says."""
        n_sigma = len(self.sigma) if self.over_sigma == "bonferroni" else 1
        return bonferroni(self.confidence, n_sigma * (self.n_images if self.over_images == "bonferroni" else 1))

    @property
    def each_alone(self) -> float:
        """Confidence of what is certified at one radius alone. All radii hold together where ``over_eps`` asks for it, in
        whichever way: what no band joins, Bonferroni joins."""
        return self.each if self.over_eps == "none" else bonferroni(self.each, len(self.eps))

    def over_eps_of(self, certifier: str) -> str:
        """How the certificates of a certifier pay for all radii: a value of ``over_eps``.

        The radii of ``mean`` hold together anyway. A DKW band is of the draws at one measurement, and ``discrepancy`` is
        taken at another measurement for each radius: there Bonferroni pays, with the exact rank for each radius.
        """
        if certifier == "mean":
            return "none"
        return "bonferroni" if certifier == AT_ATTACKED and self.over_eps == "dkw" else self.over_eps

    def confidence_each(self, certifier: str) -> float:
        """Confidence of a single certificate."""
        return self.each_alone if self.over_eps_of(certifier) == "bonferroni" else self.each

    @property
    def simultaneous(self) -> str:
        """What the confidence is of, together."""
        over = {"eps": self.over_eps, "sigma": self.over_sigma, "images": self.over_images}
        return ", ".join(name for name, how in over.items() if how != "none")

    @property
    def radius_checked_of(self) -> str | None:
        """What the certificates of ``radius`` are to be refuted as. Beside ``error``, whose bound is below their threshold,
        they are not: its check, with the same draws, says more."""
        return None if self.radius_of == "error" and "error" in self.certifiers else self.radius_of

    def impossible(self) -> list[str]:
        """Why there is no certificate, for each cell where there is none. Known before any network runs."""
        found: dict[tuple[float, float], dict[str, list[str]]] = {}
        for sigma in self.sigma:
            for eps in self.eps:
                for certifier in self.certifiers:
                    reason = self.why_impossible(certifier, eps, sigma)
                    if reason:
                        found.setdefault((eps, sigma), {}).setdefault(reason, []).append(certifier)
        return [
            f"{', '.join(certifiers)} at eps = {eps:g}, sigma = {sigma:g}: {reason}"
            for (eps, sigma), reasons in found.items()
            for reason, certifiers in reasons.items()
        ]

    def why_impossible(self, certifier: str, eps: float, sigma: float) -> str:
        return why_impossible(
            certifier, eps_over_sigma(eps, sigma, self.units), self.n_samples, self.each, self.quantile,
            simultaneous=self.over_eps_of(certifier), n_radii=len(self.eps), n_pred=self.n_pred,
        )  # fmt: skip

    def certify(
        self, certifiers: Sequence[str], estimator: Estimator, measured: Measured, y: Tensor, eps: Sequence[float],
        sigma: float, remember: Remember = not_kept,
    ) -> dict[str, Certificate]:  # fmt: skip
        """Certificates of measurements y of the images ``measured`` at radii ``eps``: at all of the plan's, but for
        ``discrepancy`` (by itself), which may be taken at each measurement of its own. The draws are common over sigma."""
        arguments = self.arguments(certifiers, measured, eps, sigma)
        return certify_all(estimator, measured.setting.operator, y, remember=remember, **arguments)

    def decide(self, estimator: Estimator, measured: Measured, sigma: float) -> Certificate:
        """The certifier ``radius`` with ``anytime``: whether each radius is certified, with as few draws as it takes."""
        assert self.threshold is not None
        return decided_certificate(
            estimator, measured.setting.operator, measured.y, eps=[certified_radius(e, self.units) for e in self.eps],
            threshold=self.threshold, sigma=to_unit_scale(sigma), max_samples=self.n_samples,
            confidence=self.confidence_each("radius"), q=self.quantile, x=measured.x if self.radius_of == "error" else None,
            seed=self.seed, chunk_size=self.chunk_size, image_keys=list(measured.names),
        )  # fmt: skip

    def recorded(self, certifier: str, sigma: float) -> dict[str, Any]:
        """The settings of a certificate, as its file gives them."""
        over = {"eps": (self.over_eps_of(certifier), len(self.eps)), "sigma": (self.over_sigma, len(self.sigma)),
                "images": (self.over_images, self.n_images)}  # fmt: skip
        about: dict[str, Any] = {"quantile": self.quantile} if certifier in PERCENTILE_CERTIFIERS else {}
        if certifier == "radius":
            about |= {"threshold": self.threshold, "radius_of": self.radius_of}
        return {
            "certifier": certifier, "sigma": sigma, "n_samples": self.n_samples, "confidence": self.confidence,
            "shared_over": {name: n for name, (how, n) in over.items() if how == "bonferroni"},
            "confidence_each": self.confidence_each(certifier),
            "simultaneous": "dkw" if over["eps"][0] == "dkw" else "none", "seed": self.seed, **about,
        }  # fmt: skip

    def arguments(
        self, certifiers: Sequence[str], measured: Measured, eps: Sequence[float], sigma: float
    ) -> dict[str, Any]:
        """The keywords of :func:`invsmooth.certificates.certify_all`."""
        # Where radii are certified one at a time, that all hold together is for the confidence to see to.
        alone = list(certifiers) == [AT_ATTACKED]
        return {
            "certifiers": list(certifiers), "sigma": to_unit_scale(sigma),
            "eps": [certified_radius(e, self.units) for e in eps],
            "n_samples": self.n_samples, "confidence": self.each_alone if alone else self.each, "q": self.quantile,
            "x": measured.x, "seed": self.seed, "chunk_size": self.chunk_size, "image_keys": list(measured.names),
            "simultaneous": "none" if alone else self.over_eps, "threshold": self.threshold, "radius_of": self.radius_of,
            "n_centre": self.n_centre, "n_pred": self.n_pred,
        }  # fmt: skip
