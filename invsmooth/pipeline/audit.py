"""An audit: config → searches of all measurement settings → tables, pairs, picture."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import nn

from invsmooth.checks.lipschitz_verdict import REFUTED, is_proven, verdict
from invsmooth.config.machine import check_machine
from invsmooth.config.schema import Audit
from invsmooth.config.validate import validate_nodes
from invsmooth.core.files import replaced
from invsmooth.core.units import to_grey_levels
from invsmooth.data.datamodule import WholeImages
from invsmooth.estimators.frozen import state_sha256
from invsmooth.evaluation.audited import Audited, Budget, audit_setting
from invsmooth.lipschitz.constants import THREATS, in_float64
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline import build, premises
from invsmooth.pipeline.evaluated import check_operators, evaluated_estimator
from invsmooth.pipeline.folder_name import check_folder_name
from invsmooth.records import audits
from invsmooth.records.earlier_run import check_earlier_run
from invsmooth.records.origin import read_origin
from invsmooth.records.run_record import recorded
from invsmooth.reporting import report
from invsmooth.reporting.audits import print_audits
from invsmooth.reporting.figures.perturbation import perturbation_figure
from invsmooth.reporting.saving import save

log = logging.getLogger(__name__)


def audit(cfg: DictConfig, folder: Path) -> list[str]:
    """``python -m invsmooth.audit``. Returns: a line for each constant that is refuted.

    Raises: ConfigError, CheckpointError, DataError: before any work. PremiseError: nothing can be searched here."""
    validate_nodes(cfg, Audit)
    check_machine(cfg)
    check_folder_name(folder)
    if cfg.trainer.num_threads is not None:
        torch.set_num_threads(cfg.trainer.num_threads)
    settings, estimator = build.build_settings(cfg.operator), build.build_estimator(cfg, trains=False)
    if cfg.ckpt is not None:
        origin = read_origin(cfg.ckpt)
        if origin is not None:
            check_operators(origin, settings, cfg.operator.name)
        cfg.estimator = evaluated_estimator(cfg, estimator, origin)
    elif build.has_weights(estimator):
        log.info("no ckpt: the weights are those that the estimator was built with")
    premises.check_estimator(estimator, [s.operator for s in settings])
    premises.check_channels(estimator, cfg.data.channels)
    data = build.build_data(cfg, len(settings), trains=False)
    data.setup("test")
    kept = WholeImages(data.images["test"], cfg.data.crop)
    images = [kept[i] for i in range(len(kept))]
    check_earlier_run(build.plain(cfg), folder, "audit")
    with recorded(build.plain(cfg), folder, "audit"):
        audited, rows, curves = list[Audited](), list[dict[str, Any]](), list[dict[str, Any]]()
        for setting in settings:
            found, quality, lines = audit_setting(in_float64(estimator), setting, images, budget(cfg))
            about = problem(cfg, setting, str(data.name))
            rows += [about | quality | row(cfg, estimator, setting, one) for one in found]
            curves += [about | line for line in lines]
            audited += found
        write(folder, rows, curves, audited)
        print_audits(pd.DataFrame(rows))
        if cfg.report:
            report([folder], folder / "report")
    print(f"\nrun folder: {folder.resolve()}")
    return [line for line in map(said, rows) if line]


def budget(cfg: DictConfig) -> Budget:
    own = cfg.audit
    threats = THREATS if own.threat == "both" else (str(own.threat),)
    return Budget(threats, own.n_images, own.n_restarts, own.n_iter, own.n_steps, cfg.seed)


def problem(cfg: DictConfig, setting: Setting, dataset: str) -> dict[str, Any]:
    return {
        "task": cfg.task.name, "dataset": dataset, "operator": cfg.operator.name,
        "operator_sha256": setting.operator.sha256(), "ratio": float(setting.ratio),
        "sigma_b": to_grey_levels(setting.sigma_b),
    }  # fmt: skip


def row(cfg: DictConfig, estimator: nn.Module, setting: Setting, found: Audited) -> dict[str, Any]:
    """A line of audit.parquet (:mod:`invsmooth.records.audits`) but for the columns of the setting."""
    claim, best = cfg.audit.claim, found.search.best
    proven = is_proven(estimator, setting.operator)
    return {
        "estimator": cfg.estimator._target_, "estimator_sha256": state_sha256(estimator), "threat": found.threat,
        "declared": math.nan if found.declared is None else found.declared, "reason": found.reason,
        "claim": math.nan if claim is None else float(claim), "found": best.lower_bound,
        "moved": best.moved, "distance": best.distance, "error": best.error, "inexactness": found.rho,
        "verdict": verdict(best.lower_bound, found.declared, claim, proven),
        "starts": len(found.search.lower_bounds), "evaluations": found.search.evaluations, "seconds": found.seconds,
        "seed": cfg.seed,
    }  # fmt: skip


def said(found: Mapping[str, Any]) -> str:
    """What is refuted, in a sentence; "" if nothing is."""
    if found["verdict"] != REFUTED:
        return ""
    tested = min(v for v in (found["declared"], found["claim"]) if v == v)
    where = f"{found['operator']}, m/n = {found['ratio']:g}, threat {found['threat']}"
    pair = f"pair number {found['number']} of {audits.PAIRS}"
    return f"refuted ({where}): the constant {tested:.6g}; {pair} has {found['found']:.6g}"


def write(
    folder: Path, rows: Sequence[dict[str, Any]], curves: Sequence[Mapping[str, Any]], found: Sequence[Audited]
) -> None:
    for number, line in enumerate(rows):
        line["number"] = number
    audits.write_audit(folder, rows, curves)
    with replaced(folder / audits.PAIRS) as temporary:
        torch.save([one.evidence for one in found], temporary)
    titles = [f"m/n = {line['ratio']:g}, {line['threat']}: {line['found']:.4g}, {line['verdict']}" for line in rows]
    save(perturbation_figure([(t, one.pictures) for t, one in zip(titles, found, strict=True)]), folder / "worst")
    for sentence in filter(None, map(said, rows)):
        log.error(sentence)
