"""Certificates that an attack refutes, with the evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache.parts import identity
from invsmooth.checks.truth import TruthCheck
from invsmooth.core.units import to_grey_levels
from invsmooth.evaluation.attacked import AttackedImages
from invsmooth.evaluation.certified import Certified
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import setting_name


@dataclass(frozen=True)
class Violation:
    """A certificate of one image that an attack refutes.

    Attributes:
        row: the key of its row.
        message: what was certified, and the confidence interval of the truth.
        evidence: all that the check can be repeated with, as ``torch.load(weights_only=True)`` reads it.
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
    measured: Measured,
    evaluation: Evaluation,
    attacked: AttackedImages,
    certified: Certified,
    eps: float,
    truth: TruthCheck | None,
) -> Iterator[Violation]:
    """The images of the batch whose certificate at one radius is refuted."""
    for i in [] if truth is None else truth.violated.nonzero().flatten().tolist():
        assert truth is not None
        setting, certifier = measured.setting, certified.certifier
        row = {
            "image": measured.names[i], "eps": eps, "sigma": to_grey_levels(certified.sigma),
            "sigma_b": to_grey_levels(setting.sigma_b), "ratio": setting.ratio, "certifier": certifier.name,
        }  # fmt: skip
        values = {k: float(getattr(truth, k)[i]) for k in ("certified", "estimate", "lower", "upper")}
        interval = f"{values['lower']:.4g} … {values['upper']:.4g}"
        message = (
            f"{', '.join(f'{k} = {v}' for k, v in row.items())}: certified {values['certified']:.4g}, but under the attack "
            f"found the truth is at least {values['lower']:.4g} ({truth.confidence:.4g} confidence interval {interval} from "
            f"{truth.n_samples} fresh draws)"
        )
        one = slice(i, i + 1)
        evidence = row | values | {
            "x": measured.x[one], "b": measured.b[one], "xi": attacked.found.xi[one], "x_hat": attacked.x_hat[one],
            "certificate": of_image(certified.certificate.at(certified.eps.index(eps)), one),
            "parameters": plain(identity(certifier)["parameters"]), "settings": plain(vars(evaluation.each(certifier, certified.sigma))),
            "operator": type(setting.operator).__name__,
            # Not its state dict, which leaves out matrices that a seed determines.
            "operator_buffers": dict(setting.operator.named_buffers()),
            "check_confidence": truth.confidence, "check_samples": truth.n_samples, "check_seed": truth.seed,
        }  # fmt: skip
        yield Violation(row, message, evidence)


def of_image(certificate: Any, one: slice) -> dict[str, Any]:
    """The tensors and numbers of a certificate, those of one image."""
    values = {f.name: getattr(certificate, f.name) for f in dataclasses.fields(certificate)}
    tensors = {k: v[one].clone() for k, v in values.items() if isinstance(v, Tensor)}
    return tensors | plain(values)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that are numbers, texts or None."""
    return {k: v for k, v in values.items() if v is None or type(v) in (bool, int, float, str)}
