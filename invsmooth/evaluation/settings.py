"""The settings of an evaluation, and what follows from them before any draw."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from invsmooth.attacks import Search, Target
from invsmooth.attacks.targets import BASE
from invsmooth.cache.parts import identity
from invsmooth.certificates.certifier import Certifier, Smoothing
from invsmooth.certificates.confidence import bonferroni, union
from invsmooth.core.units import Units, certified_radius, eps_over_sigma, to_grey_levels
from invsmooth.operators.measurement import Measured


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is computed for every test image, in every cell (eps, sigma), [0, 1] pixel scale."""

    eps: Sequence[float]  # l2 norms of the attack over one whole image, and radii of the certificates
    sigma: Sequence[float]  # standard deviations of the smoothing noise, for certifiers that smooth
    attack: Search
    certifiers: Sequence[Certifier]  # in the order of the rows; the first one's pictures are kept
    n_samples: int  # with confidence, quantile and chunk_size: see Smoothing
    target: Target = BASE  # whose error is maximised, at the sigma of each cell
    attack_precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the gradients: see invsmooth.attacks.attack
    precision: Literal["fp32", "bf16"] = "fp32"  # of the network that is attacked and certified
    check_samples: int = 32  # fresh draws of the truth check of each certificate; 0: no check
    confidence: float = 0.99
    quantile: float = 0.5
    chunk_size: int | None = None
    over_eps: str = "none"  # the confidence is that of all eps together: none, bonferroni, dkw
    over_sigma: str = "none"  # none, bonferroni
    over_images: str = "none"  # none, bonferroni
    n_images: int = 1  # in all measurement settings together
    pixel_intervals: str = "none"  # none, pointwise or bonferroni (over the pixels)
    pictures: int = 0  # how many images of each setting get pictures
    files: bool = True
    units: Units = Units.matched  # whether eps and sigma are compared in one unit, or as the paper publishes them
    seed: int = 0

    @property
    def cells(self) -> list[tuple[float, float | None]]:
        return [(eps, sigma) for eps in self.eps for sigma in self.levels]

    @property
    def levels(self) -> list[float | None]:
        """sigma of the cells. First, if there are any, None: that of certifiers that do not smooth."""
        smooth = {self.has_sigma(c) for c in self.certifiers}
        return [*([None] if False in smooth else []), *(self.sigma if True in smooth else [])]

    def has_sigma(self, certifier: Certifier) -> bool:
        """Whether the rows of a certifier have a sigma: it smooths, or combines one that does."""
        return certifier.smooths or any(c.smooths for c in self.parts_of(certifier))

    def parts_of(self, certifier: Certifier) -> list[Certifier]:
        """Those that a certifier combines."""
        return [c for c in self.certifiers if certifier.combines(c)]

    def certifiers_in(self, sigma: float | None) -> list[Certifier]:
        """Those of the cells of one of :attr:`levels`."""
        return [c for c in self.certifiers if self.has_sigma(c) == (sigma is not None)]

    def target_of(self, eps: float, sigma: float | None) -> Target:
        """The target of a cell. Cells of one eps with the same target share the attack. Where nothing is
        smoothed it is the estimator itself, whatever the other cells attack."""
        if self.target.kind == "base" or eps == 0 or sigma is None:
            return BASE
        return dataclasses.replace(self.target, sigma=sigma)

    def attack_target(self, sigma: float | None) -> str:
        """What the rows say of the target."""
        return BASE.kind if sigma is None else self.target.kind

    @property
    def attacks(self) -> list[tuple[float, Target]]:
        return list(dict.fromkeys((eps, self.target_of(eps, sigma)) for eps, sigma in self.cells))

    def attack_content(self, measured: Measured, eps: float, target: Target) -> dict[str, Any]:
        """What determines an attack beside estimator and operator."""
        return {"search": identity(self.attack), "precision": self.attack_precision, "seed": self.seed, "eps": eps,
                "target": target,
                "x": measured.x, "b": measured.b, "y": measured.y, "names": list(measured.names)}  # fmt: skip

    @property
    def confidence_over_eps(self) -> float:
        """Of the certificates of one image at one sigma, over the radii as ``over_eps`` says."""
        n_sigma = len(self.sigma) if self.over_sigma == "bonferroni" else 1
        return bonferroni(self.confidence, n_sigma * (self.n_images if self.over_images == "bonferroni" else 1))

    @property
    def confidence_alone(self) -> float:
        """Of a certificate at one radius alone. For all radii together, Bonferroni pays."""
        return bonferroni(self.confidence_over_eps, 1 if self.over_eps == "none" else len(self.eps))

    @property
    def simultaneous(self) -> str:
        """The axes over which all certificates hold together."""
        over = {"eps": self.over_eps, "sigma": self.over_sigma, "images": self.over_images}
        return ", ".join(name for name, how in over.items() if how != "none")

    def radii(self, eps: Sequence[float]) -> list[float]:
        """The l2 radii that certificates labelled ``eps`` really cover."""
        return [certified_radius(e, self.units) for e in eps]

    def smoothing(self, sigma: float | None) -> Smoothing:
        """Of all certificates of one image at one sigma together."""
        return Smoothing(
            sigma=math.nan if sigma is None else sigma, n_samples=self.n_samples, confidence=self.confidence_over_eps,
            q=self.quantile, simultaneous=self.over_eps, seed=self.seed, chunk_size=self.chunk_size,
        )  # fmt: skip

    def each(self, certifier: Certifier, sigma: float | None) -> Smoothing:
        """Of a single certificate."""
        if certifier.declared.at == "cell":
            each = [self.each(part, sigma).confidence for part in self.parts_of(certifier)]
            return dataclasses.replace(self.smoothing(sigma), confidence=union(each), simultaneous="none")
        return certifier.each(self.smoothing(sigma), len(self.eps))

    def confidence_of(self, certifier: Certifier) -> float:
        """Of all certificates of one certifier over the axes that are paid for (:attr:`simultaneous`)."""
        if certifier.declared.at == "cell":
            return union([self.confidence_of(part) for part in self.parts_of(certifier)])
        return self.confidence if certifier.smooths else 1.0

    def certifiers_at(self, at: str, sigma: float | None) -> list[Certifier]:
        return [c for c in self.certifiers_in(sigma) if c.declared.at == at]

    def is_checked(self, certifier: Certifier) -> bool:
        """Whether it gets a truth check: not as published, and not if another check covers it."""
        covered = certifier.covered_by in [c.name for c in self.certifiers]
        return self.check_samples > 0 and self.units is Units.matched and not covered

    def why_impossible(self, certifier: Certifier, eps: float, sigma: float | None) -> str:
        """Why no draws give a certificate in this cell; ``""`` if they can."""
        if certifier.declared.at == "cell":
            reasons = [self.why_impossible(part, eps, sigma) for part in self.parts_of(certifier)]
            return reasons[0] if all(reasons) else ""
        if sigma is None or not certifier.smooths:
            return certifier.why_impossible(math.nan, self.each(certifier, sigma))
        ratio = eps_over_sigma(eps, to_grey_levels(sigma), self.units)
        return certifier.why_impossible(ratio, self.each(certifier, sigma))

    def impossible(self) -> Iterator[str]:
        """One line for each reason why a cell has no certificate."""
        for sigma, eps in itertools.product(self.levels, self.eps):
            found: dict[str, list[str]] = {}
            at = f"eps = {eps:g}" + ("" if sigma is None else f", sigma = {to_grey_levels(sigma):g}")
            for certifier in self.certifiers_in(sigma):
                found.setdefault(self.why_impossible(certifier, eps, sigma), []).append(certifier.name)
            for reason, names in found.items():
                if reason:
                    yield f"{', '.join(names)} at {at}: {reason}"

    def content(self) -> dict[str, Any]:
        """All settings that determine the rows and files of an image."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "pictures"}
        return found | {
            "n_images": self.n_images if self.over_images != "none" else None,
            "attack": identity(self.attack), "certifiers": [identity(c) for c in self.certifiers],
        }  # fmt: skip

    def experiment(self) -> dict[str, Any]:
        """:meth:`content` without what runs of one experiment may differ in, such as the axes of
        the rows. If the confidence is shared out over these, their lengths belong to it."""
        axes = () if self.simultaneous else ("eps", "sigma", "n_images")
        return {k: v for k, v in self.content().items() if k not in ("certifiers", "pixel_intervals", "files", *axes)}
