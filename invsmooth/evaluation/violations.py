"""Certificates that an attack refutes, with the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from invsmooth.checks.truth import TruthCheck
from invsmooth.core.units import to_grey_levels
from invsmooth.evaluation.attacked import AttackedImages
from invsmooth.evaluation.certified import Certified
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import setting_name


@dataclass(frozen=True)
class Violation:
    """A certificate of one image that an attack refutes.

    Attributes:
        row: the key of its row.
        evidence: all to repeat the check, as ``torch.load(weights_only=True)`` reads it.
    """

    row: Mapping[str, Any]
    message: str
    evidence: Mapping[str, Any]

    def save(self, folder: Path, number: int) -> Path:
        """Write the evidence to a run's folder."""
        # With the setting in the name: each of several processes has its own numbers.
        name = setting_name(self.row["image"], self.row["ratio"], self.row["sigma_b"])
        path = folder / "violations" / f"{number}_{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(self.evidence), path)
        return path


def violations_of(
    measured: Measured, attacked: AttackedImages, certified: Certified, eps: float, truth: TruthCheck | None
) -> Iterator[Violation]:
    """The images of the batch whose certificate at one radius is refuted."""
    if truth is None:
        return
    for i in truth.violated.nonzero().flatten().tolist():
        setting, one = measured.setting, slice(i, i + 1)
        row = {
            "image": measured.names[i], "eps": eps, "sigma": to_grey_levels(certified.sigma),
            "sigma_b": to_grey_levels(setting.sigma_b), "ratio": setting.ratio, "certifier": certified.certifier.name,
        }  # fmt: skip
        values = {k: float(getattr(truth, k)[i]) for k in ("certified", "estimate", "lower", "upper")}
        lower, upper = values["lower"], values["upper"]
        message = (
            f"{', '.join(f'{k} = {v}' for k, v in row.items())}: certified {values['certified']:.4g}, but under the "
            f"attack found the truth is at least {lower:.4g} ({truth.confidence:.4g} confidence interval {lower:.4g} … "
            f"{upper:.4g} from {truth.n_samples} fresh draws)"
        )
        evidence = row | values | {
            "x": measured.x[one], "b": measured.b[one], "xi": attacked.found.xi[one], **truth.evidence_of(i),
            "operator": type(setting.operator).__name__,
            # Not its state dict, which leaves out matrices that a seed determines.
            "operator_buffers": dict(setting.operator.named_buffers()),
            "confidence": truth.confidence, "n_samples": truth.n_samples, "seed": truth.seed,
        }  # fmt: skip
        yield Violation(row, message, evidence)
