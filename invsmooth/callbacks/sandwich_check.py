"""Try to refute the certificates of an evaluation with the attacks that it found, and keep the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invsmooth.attacks.sandwich import Sandwich, check_error
from invsmooth.errors import CertificateViolation
from invsmooth.estimators.frozen import Estimator
from invsmooth.measurement import Measured
from invsmooth.units import to_unit_scale


class SandwichCheck:
    """attack <= truth <= certificate, in every cell that has both (:mod:`invsmooth.attacks.sandwich`).

    A violation is kept until :meth:`conclude`, so that the rows that show it can be written first.

    Args:
        folder: of the run; evidence goes to ``folder/violations``.
        n_samples: fresh draws for each image and cell; 0 for no check.
        q: the certified quantile.
        seed: of the evaluation.
        chunk_size: draws at a time.
    """

    def __init__(self, folder: Path, n_samples: int, q: float, seed: int, chunk_size: int | None) -> None:
        self.folder, self.n_samples, self.q, self.seed, self.chunk_size = folder, n_samples, q, seed, chunk_size
        self.violations: list[str] = []

    def error(
        self, estimator: Estimator, measured: Measured, xi: Tensor, eps: float, sigma: float, bound: Tensor
    ) -> Sandwich | None:
        """Check certified errors (B,) of a cell under the attack xi. sigma in grey levels.

        Without an attack (eps = 0) or any bound there is nothing to check: None.
        """
        if self.n_samples == 0 or eps == 0 or bool(bound.isnan().all()):
            return None
        found = check_error(
            estimator, measured.setting.operator, measured.x, measured.b, xi, certified=bound, sigma=to_unit_scale(sigma),
            n_samples=self.n_samples, q=self.q, seed=self.seed, image_keys=measured.names, chunk_size=self.chunk_size,
        )  # fmt: skip
        for i in found.violated.nonzero().flatten().tolist():
            self.keep("error", measured, xi, eps, sigma, found, i)
        return found

    def keep(
        self, certifier: str, measured: Measured, xi: Tensor, eps: float, sigma: float, found: Sandwich, i: int
    ) -> None:
        """Save all that reproduces the violation at image i; note which row it is."""
        setting, name = measured.setting, measured.names[i]
        row = {
            "image": name, "eps": eps, "sigma": sigma, "sigma_b": setting.sigma_b, "ratio": setting.ratio,
            "certifier": certifier,
        }  # fmt: skip
        values = {k: float(getattr(found, k)[i]) for k in ("certified", "estimate", "lower", "upper")}
        evidence: dict[str, Any] = {
            **row, **values,
            "x": measured.x[i : i + 1], "b": measured.b[i : i + 1], "xi": xi[i : i + 1],
            "operator": type(setting.operator).__name__,
            # Not its state dict, which leaves out matrices that a seed determines.
            "operator_buffers": dict(setting.operator.named_buffers()),
            "quantile": self.q, "confidence": found.confidence, "n_samples": found.n_samples, "seed": found.seed,
        }  # fmt: skip
        number = len(self.violations)
        path = self.folder / "violations" / f"{number}_{Path(name).name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(evidence, path)
        self.violations.append(
            f"{', '.join(f'{k} = {v}' for k, v in row.items())}: certified {values['certified']:.4g}, but under the attack "
            f"found the truth is at least {values['lower']:.4g} ({found.confidence:.4g} confidence interval "
            f"{values['lower']:.4g} … {values['upper']:.4g} from {found.n_samples} fresh draws); evidence: {path}"
        )

    def conclude(self) -> None:
        """Raises CertificateViolation: certificates were refuted."""
        if self.violations:
            raise CertificateViolation("\n".join(["certificate refuted by an attack:", *self.violations]))
