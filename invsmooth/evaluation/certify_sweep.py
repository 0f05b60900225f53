"""Certify every test image at every sigma and radius, in Lightning's test loop, and write the result rows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from invsmooth.attacks import AttackResult
from invsmooth.cache import Remember, not_kept
from invsmooth.certificates import Certificate
from invsmooth.certificates.certificate import CenterCertificate, DecidedCertificate, MeanCertificate, RadiusCertificate
from invsmooth.checks.truth import TruthCheck
from invsmooth.core.shards import ALL, Shard
from invsmooth.core.units import PAPER_LABEL, Units, eps_over_sigma, labelled_radius
from invsmooth.estimators.frozen import state_sha256
from invsmooth.estimators.premises import Checked
from invsmooth.evaluation.certificate_files import CertificateFiles
from invsmooth.evaluation.pixel_intervals import intervals_of_first
from invsmooth.evaluation.result_cache import CachedResult, ResultCache, restore
from invsmooth.evaluation.save_pictures import save_pictures
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.evaluation.truth_check import TruthChecker
from invsmooth.metrics import mse_to_psnr, psnr, ssim
from invsmooth.operators.measurement import Measured
from invsmooth.records.rows import AT_ATTACKED, write_rows
from invsmooth.training.backbone import ReconstructionModule

log = logging.getLogger(__name__)


class CertifySweep(L.Callback):
    """Certifies the smoothed reconstruction of every test image at every (eps, sigma).

    ``discrepancy`` is taken at the attacked measurement y_{x+xi*}, as in the paper (the clean one at eps = 0). The other
    certifiers are taken at the clean measurement y_x, so that they cover every attack on x; one set of draws serves all
    their radii. Every certificate is compared with the attack that was found (:class:`TruthChecker`).

    The rows are written to ``folder/results.parquet`` after every image, so that what is done is safe.

    Args:
        plan: what to certify.
        columns: the columns that are the same in all rows (run_id, algo, task, dataset, operator, …).
        folder: of the run.
        n_pictures: for the first so many images of each setting, the pictures of every cell are kept for the report.
        check: tries to refute every certificate with the attack that was found.
        files: writes the certificate files; None for none.
        recall: keeps the cells for other runs, and knows those that were computed before; None for neither.
        share: of the images, if several processes evaluate together; each then writes a file with its rows.
    """

    def __init__(
        self, plan: CertifyPlan, columns: Mapping[str, Any], folder: Path, n_pictures: int, check: TruthChecker,
        files: CertificateFiles | None = None, recall: ResultCache | None = None, share: Shard = ALL,
    ) -> None:  # fmt: skip
        self.plan, self.columns, self.folder, self.n_pictures = plan, dict(columns), folder, n_pictures
        self.check, self.files, self.recall, self.share = check, files, recall, share
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
        if "recalled" in outputs:
            self.take_over(outputs["recalled"])
            return
        measured, n_before = outputs["measured"], len(self.rows)
        number = self.share.number(batch_idx)
        files = self.certify(outputs, pictured=number < self.n_pictures)
        write_rows(self.folder / self.share.file("results.parquet"), self.rows)
        if self.files:
            files += self.files.write(measured, self.sha256)
        self.check.conclude()
        if self.recall:
            self.recall.keep(measured, number, self.rows[n_before:], self.folder, files)

    def take_over(self, known: CachedResult) -> None:
        """Rows and files that another run computed."""
        self.rows += [row | self.columns for row in known.rows]
        restore(self.folder, self.files.adopt(known.files) if self.files else known.files)
        write_rows(self.folder / self.share.file("results.parquet"), self.rows)

    def certify(self, outputs: Mapping[str, Any], pictured: bool) -> list[Path]:
        """Add the rows of every cell of a batch. Returns the files of pictures that were written."""
        measured, x_hat, estimator = outputs["measured"], outputs["x_hat"], outputs["estimator"]
        pictures = []
        with torch.no_grad():
            at_clean = self.certify_clean(estimator, measured)
            clean = quality("clean", x_hat, measured.x)
            clean["psnr_measured"] = psnr(measured.setting.operator.A_adjoint(measured.y), measured.x).tolist()
            for j, eps in enumerate(self.plan.eps):
                attack = None
                for sigma in self.plan.sigma:
                    if attack is not outputs["attacks"][eps, sigma]:  # one attack may serve several sigma
                        attack = outputs["attacks"][eps, sigma]
                        y = measured.setting.operator.A(measured.x + attack.xi) + measured.b
                        attacked = estimator(y, measured.setting.operator)
                        known = clean | quality("attacked", attacked, measured.x)
                        y_noise = measured.setting.operator.A(measured.x + outputs["noise"][eps]) + measured.b
                        random = estimator(y_noise, measured.setting.operator)
                        known["psnr_noise"] = psnr(random, measured.x).tolist()
                    found = {name: (c.at(j), seconds) for name, (c, seconds) in at_clean[sigma].items()}
                    if AT_ATTACKED in self.plan.certifiers:
                        started = time.perf_counter()
                        one = self.plan.certify(
                            [AT_ATTACKED], estimator, measured, y, [eps], sigma, self.remember(measured)
                        )
                        found[AT_ATTACKED] = (one[AT_ATTACKED].at(0), time.perf_counter() - started)
                        if self.files:
                            self.files.add(AT_ATTACKED, one[AT_ATTACKED], measured, y, sigma, [eps])
                    for name in self.plan.certifiers:
                        certificate, seconds = found[name]
                        truth = None  # what was not certified for this eps, as published, cannot be refuted
                        if self.plan.units is Units.matched:
                            truth = self.check(estimator, measured, attack.xi, eps, sigma, name, certificate, attacked)
                        cell = {"eps": eps, "sigma": sigma, "certifier": name, "seconds": seconds / len(measured.names)}
                        self.rows += self.rows_of(cell, measured, known, attack, certificate, truth)
                        if pictured and name == self.plan.certifiers[0]:
                            bands = intervals_of_first(self.plan, estimator, measured, y, eps, sigma)
                            pictures.append(
                                save_pictures(self.folder, measured, eps, sigma, x_hat, attacked, certificate, bands)
                            )
                log.info("%s (%s): certified at eps = %g", ", ".join(measured.names), measured.setting, eps)
        return pictures

    def remember(self, measured: Measured) -> Remember:
        return self.recall.of(measured) if self.recall else not_kept

    def certify_clean(
        self, estimator: Checked, measured: Measured
    ) -> dict[float, dict[str, tuple[Certificate, float]]]:
        """For each sigma the certificates at the clean measurement with the radius axis, and the seconds for each radius."""
        plan, found = self.plan, {}
        for sigma in plan.sigma:
            started = time.perf_counter()
            wanted = [c for c in plan.certifiers if c != AT_ATTACKED and not (c == "radius" and plan.anytime)]
            certificates = {}
            if wanted:
                certificates = plan.certify(
                    wanted, estimator, measured, measured.y, plan.eps, sigma, self.remember(measured)
                )
            if "radius" in plan.certifiers and plan.anytime:
                certificates["radius"] = plan.decide(estimator, measured, sigma)
            each = (time.perf_counter() - started) / max(1, len(certificates) * len(plan.eps))
            found[sigma] = {name: (certificate, each) for name, certificate in certificates.items()}
            if self.files:
                for name, certificate in certificates.items():
                    self.files.add(name, certificate, measured, measured.y, sigma, plan.eps)
        return found

    def rows_of(
        self,
        cell: Mapping[str, Any],
        measured: Measured,
        known: Quality,
        attack: AttackResult,
        certificate: Certificate,
        truth: TruthCheck | None,
    ) -> Iterator[dict[str, Any]]:
        """The row of each image of the batch; ``known`` is the quality that does not depend on the certificate."""
        plan, x = self.plan, measured.x
        values = known | quality("median", certificate.reconstruction_median, x)
        values |= quality("certified", certificate.reconstruction_certified, x)
        if isinstance(certificate, MeanCertificate | CenterCertificate):  # no draw has a rank K
            values |= {k: [math.nan] * len(x) for k in ("psnr_certified", "ssim_certified")}
        norms = attack.xi.flatten(1).norm(dim=1).tolist()
        for i, name in enumerate(measured.names):
            yield {
                **self.columns,
                **cell,
                **{k: v[i] for k, v in values.items()},
                **own_columns(cell["certifier"], certificate, i, plan.units),
                **truth_columns(truth, i),
                "image": name,
                "sigma_b": measured.setting.sigma_b,
                "ratio": measured.setting.ratio,
                "eps_over_sigma": eps_over_sigma(cell["eps"], cell["sigma"], plan.units),
                "n_samples": certificate.n_drawn[i] if isinstance(certificate, DecidedCertificate) else plan.n_samples,
                "confidence": plan.confidence,
                "confidence_each": plan.confidence_each(cell["certifier"]),
                "simultaneous": plan.simultaneous,
                "quantile": plan.quantile,
                "k_index": certificate.k_index[i],
                "units": plan.units.value,
                "sound": certificate.sound and plan.units is Units.matched,
                "reason": certificate.reason[i],
                "bound": float(certificate.bound[i]),
                "attack_norm": norms[i],
                "attack_zero_gradient": bool(attack.zero_gradient[i]),
                "attack_grad_evals": attack.grad_evals,
                "network_evals": certificate.network_evals,
                "seed": plan.seed,
                "estimator_sha256": self.sha256,
            }


def own_columns(certifier: str, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
    """The columns that only some certifiers fill, for image i."""
    bound, none = float(certificate.bound[i]), math.nan
    found: dict[str, Any] = {
        "discrepancy_median": float(certificate.median[i]) if certifier == "discrepancy" else none,
        "discrepancy_certified": bound if certifier == "discrepancy" else none,
        "certified_psnr": to_psnr(certificate.bound[i]) if certifier == "error" else none,
        "certified_psnr_mean": none, "certified_eps": none, "ball_radius": none, "clipped": None, "abstained": False,
        "bound_chi_square": none, "bound_total_variation": none, "bound_trace": none,
    }  # fmt: skip
    match certificate:
        case MeanCertificate():
            found |= {
                "certified_psnr_mean": to_psnr(certificate.certified_error[i]),
                "ball_radius": float(certificate.radius[i]),
                "clipped": int(certificate.clipped[i]),
                "bound_chi_square": float(certificate.chi_square[i]),
                "bound_total_variation": float(certificate.total_variation[i]),
                "bound_trace": float(certificate.trace[i]),
            }
        case CenterCertificate():
            found["abstained"] = bool(certificate.abstained[i])
        case RadiusCertificate():
            found["certified_eps"] = labelled_radius(float(certificate.certified_eps[i]), units)
    return found


def truth_columns(truth: TruthCheck | None, i: int) -> dict[str, float]:
    values = {"truth": "estimate", "truth_lower": "lower", "truth_upper": "upper"}
    return {name: math.nan if truth is None else float(getattr(truth, field)[i]) for name, field in values.items()}


def to_psnr(value: Tensor) -> float:
    return float(mse_to_psnr(value))


Quality = dict[str, list[float]]


def quality(what: str, x_hat: Tensor, x: Tensor) -> Quality:
    """PSNR and SSIM of each image as columns of the rows."""
    return {f"psnr_{what}": psnr(x_hat, x).tolist(), f"ssim_{what}": ssim(x_hat, x).tolist()}
