"""Certify every attacked test image at every sigma, in Lightning's test loop, and write the result rows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from invsmooth.algorithms.backbone import ReconstructionModule
from invsmooth.attacks import AttackResult
from invsmooth.callbacks.sandwich_check import SandwichCheck
from invsmooth.callbacks.save_pictures import save_pictures
from invsmooth.certificates import Certificate, certify, why_none
from invsmooth.estimators.frozen import state_sha256
from invsmooth.measurement import Measured
from invsmooth.metrics import mse_to_psnr, psnr, ssim
from invsmooth.rows import write_rows
from invsmooth.units import PAPER_LABEL, Units, certified_radius, eps_over_sigma, to_unit_scale

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CertifyPlan:
    """What to certify. sigma in grey levels, eps as an l2 norm on the [0, 1] pixel scale."""

    certifiers: Sequence[str]
    eps: Sequence[float]
    sigma: Sequence[float]
    n_samples: int
    confidence: float
    quantile: float
    units: Units
    chunk_size: int | None
    seed: int

    def impossible(self) -> list[str]:
        """Why there is no certificate, for each cell (eps, sigma) where there is none. Known before any network runs."""
        reasons = {
            (e, s): why_none(eps_over_sigma(e, s, self.units), self.n_samples, self.confidence, self.quantile)
            for s in self.sigma
            for e in self.eps
        }
        return [f"eps = {e:g}, sigma = {s:g}: {reason}" for (e, s), reason in reasons.items() if reason]


class CertifySweep(L.Callback):
    """Certifies the smoothed reconstruction of every test image at every (eps, sigma).

    ``discrepancy`` is taken at the attacked measurement y_{x+xi*}, as in the paper (the clean one at eps = 0). ``error``,
    the certified PSNR, is taken at the clean measurement y_x, so that it covers every attack on x; one set of draws
    serves all its radii.

    The rows are written to ``folder/results.parquet`` after every image, so that what is done is safe.

    Args:
        plan: what to certify.
        columns: the columns that are the same in all rows (run_id, algo, task, dataset, operator).
        folder: of the run.
        n_pictures: for the first so many images of each setting, the pictures of every cell are kept for the report.
        check: tries to refute every certified PSNR with the attack that was found.
    """

    def __init__(
        self, plan: CertifyPlan, columns: Mapping[str, Any], folder: Path, n_pictures: int,
        check: SandwichCheck,
    ) -> None:  # fmt: skip
        self.check = check
        self.plan, self.columns, self.folder, self.n_pictures = plan, dict(columns), folder, n_pictures
        self.rows: list[dict[str, Any]] = []
        self.sha256 = ""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ReconstructionModule)
        self.rows, self.sha256 = [], state_sha256(pl_module.estimator)
        if self.plan.units is Units.paper:
            log.warning("certificate.units=paper: every certified value below is %s", PAPER_LABEL)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(pl_module, ReconstructionModule)
        measured: Measured = outputs["measured"]
        x, operator = measured.x, measured.setting.operator
        keep_pictures = batch_idx < self.n_pictures
        with torch.no_grad():
            clean = quality("clean", outputs["x_hat"], x)
            clean["psnr_measured"] = psnr(operator.A_adjoint(measured.y), x).tolist()
            errors = {}
            if "error" in self.plan.certifiers:
                errors = {
                    s: self.certify("error", pl_module, measured, measured.y, self.plan.eps, s) for s in self.plan.sigma
                }
            for j, eps in enumerate(self.plan.eps):
                attack = None
                for sigma in self.plan.sigma:
                    if attack is not outputs["attacks"][eps, sigma]:  # one attack may serve several sigma
                        attack = outputs["attacks"][eps, sigma]
                        y = operator.A(x + attack.xi) + measured.b
                        attacked = pl_module.estimator(y, operator)
                        known = clean | quality("attacked", attacked, x)
                    found = {"error": (errors[sigma][0].at(j), errors[sigma][1] / len(self.plan.eps))} if errors else {}
                    if errors and self.plan.units is Units.matched:
                        self.check.error(pl_module.estimator, measured, attack.xi, eps, sigma, found["error"][0].bound)
                    if "discrepancy" in self.plan.certifiers:
                        certificate, seconds = self.certify("discrepancy", pl_module, measured, y, [eps], sigma)
                        found["discrepancy"] = (certificate.at(0), seconds)
                    for certifier, (certificate, seconds) in found.items():
                        cell = {"eps": eps, "sigma": sigma, "certifier": certifier, "seconds": seconds}
                        self.rows += self.rows_of(cell, measured, known, attack, certificate)
                        if keep_pictures and certifier == self.plan.certifiers[0]:
                            save_pictures(self.folder, measured, eps, sigma, outputs["x_hat"], attacked, certificate)
                log.info("%s (%s): certified at eps = %g", ", ".join(measured.names), measured.setting, eps)
        write_rows(self.folder / "results.parquet", self.rows)
        self.check.conclude()

    def certify(
        self,
        certifier: str,
        module: ReconstructionModule,
        measured: Measured,
        y: Tensor,
        eps: Sequence[float],
        sigma: float,
    ) -> tuple[Certificate, float]:
        """A certificate over the radii ``eps`` and its seconds for each image. The draws are common over eps and sigma."""
        plan, started = self.plan, time.perf_counter()
        certificate = certify(
            module.estimator, measured.setting.operator, y, sigma=to_unit_scale(sigma),
            eps=[certified_radius(e, plan.units) for e in eps], n_samples=plan.n_samples, confidence=plan.confidence,
            q=plan.quantile, certifier=certifier, x=measured.x, seed=plan.seed, chunk_size=plan.chunk_size,
            image_keys=measured.names,
        )  # fmt: skip
        return certificate, (time.perf_counter() - started) / len(measured.names)

    def rows_of(
        self,
        cell: Mapping[str, Any],
        measured: Measured,
        known: Quality,
        attack: AttackResult,
        certificate: Certificate,
    ) -> Iterator[dict[str, Any]]:
        """The row of each image of the batch; ``known`` is the quality that does not depend on the certificate."""
        plan, x = self.plan, measured.x
        values = known | quality("median", certificate.reconstruction_median, x)
        values |= quality("certified", certificate.reconstruction_certified, x)
        norms = attack.xi.flatten(1).norm(dim=1).tolist()
        compares = cell["certifier"] == "discrepancy"
        for i, name in enumerate(measured.names):
            bound, median = certificate.bound[i], float(certificate.median[i])
            yield {
                **self.columns,
                **cell,
                **{k: v[i] for k, v in values.items()},
                "image": name,
                "sigma_b": measured.setting.sigma_b,
                "ratio": measured.setting.ratio,
                "eps_over_sigma": eps_over_sigma(cell["eps"], cell["sigma"], plan.units),
                "n_samples": plan.n_samples,
                "confidence": plan.confidence,
                "quantile": plan.quantile,
                "k_index": certificate.k_index[i],
                "units": plan.units.value,
                "sound": certificate.sound and plan.units is Units.matched,
                "reason": certificate.reason[i],
                "discrepancy_median": median if compares else math.nan,
                "discrepancy_certified": float(bound) if compares else math.nan,
                "certified_psnr": math.nan if compares else float(mse_to_psnr(bound)),
                "attack_norm": norms[i],
                "attack_grad_evals": attack.grad_evals,
                "network_evals": certificate.network_evals,
                "seed": plan.seed,
                "estimator_sha256": self.sha256,
            }


Quality = dict[str, list[float]]


def quality(what: str, x_hat: Tensor, x: Tensor) -> Quality:
    """PSNR and SSIM of each image as columns of the rows."""
    return {f"psnr_{what}": psnr(x_hat, x).tolist(), f"ssim_{what}": ssim(x_hat, x).tolist()}
