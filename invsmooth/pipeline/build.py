"""From a validated config to objects: operators, estimator, data, module, certificate plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from invsmooth.attacks import Target
from invsmooth.cache import Store, code_of, content_key, package_key
from invsmooth.cache.content import file_key
from invsmooth.certificates.variance_constrained import check_confidence
from invsmooth.config.validate import as_list
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.core.redact import redact
from invsmooth.core.units import Units
from invsmooth.data import ImageArrays, ImageSet, default_root, find_splits, load
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.data.splits import Files
from invsmooth.estimators import load_checkpoint
from invsmooth.estimators.checkpoint import check_reloads, check_resumable
from invsmooth.estimators.fill import check_fit
from invsmooth.estimators.frozen import architecture, state_sha256
from invsmooth.estimators.probe import Probes, probes
from invsmooth.evaluation.attack_sweep import SEARCHES, AttackPlan
from invsmooth.evaluation.certificate_files import CertificateFiles
from invsmooth.evaluation.result_cache import ResultCache, experiment_key, of_estimator
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.operators import LinearOperator, operator_by_name
from invsmooth.operators.measurement import Setting
from invsmooth.records.certificate_files.record import operator_sha256
from invsmooth.records.origin import GROUPS
from invsmooth.training import ReconstructionModule, TrainingSetup


def build_operator(cfg: DictConfig, ratio: float) -> LinearOperator:
    try:
        return operator_by_name(cfg.name, ratio=ratio, block=cfg.block, seed=cfg.seed, matrix=cfg.matrix)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # the latter two where a block is too large
        raise ConfigError(f"operator: {error}") from error


def build_settings(cfg: DictConfig) -> list[Setting]:
    """Every combination of ratio and sigma_b that is evaluated."""
    operators = {ratio: build_operator(cfg, ratio) for ratio in as_list(cfg.ratio)}
    return [
        Setting(op, float(r), float(s), cfg.noise_seed) for r, op in operators.items() for s in as_list(cfg.sigma_b)
    ]


def build_estimator(cfg: DictConfig, trains: bool) -> nn.Module:
    """The network that the config describes, with the weights in ``ckpt`` to start from, to train; the one in ``ckpt``,
    whatever the config says, to evaluate.

    Raises:
        ConfigError: the estimator cannot be built, is no torch module, or could not be loaded from its checkpoints.
        CheckpointError: ``ckpt`` or ``resume`` cannot be used, or does not fit.
    """
    # Who names the estimator's class on the command line may have it imported for a file, too.
    trust = [*cfg.trust, str(cfg.estimator._target_).rpartition(".")[0]]
    if cfg.ckpt is not None and not trains:
        return load_checkpoint(cfg.ckpt, trust=trust)
    try:
        estimator = instantiate(cfg.estimator, _convert_="all")
    except InstantiationException as error:
        raise ConfigError(f"estimator: {error.__cause__ or error}") from error
    if not isinstance(estimator, nn.Module):
        raise ConfigError(
            f"estimator._target_={cfg.estimator._target_} is a {type(estimator).__name__}, no torch module"
        )
    if trains:
        try:
            check_reloads(describe_estimator(cfg), estimator, trust)
        except CheckpointError as error:
            raise ConfigError(f"estimator: it could be trained, but not loaded again: {error}") from error
    if cfg.resume is not None and trains:
        check_resumable(Path(cfg.resume), estimator, trust)
    if cfg.ckpt is not None:
        state = load_checkpoint(cfg.ckpt, trust=trust).state_dict()
        try:
            check_fit(estimator.state_dict(), state, Path(cfg.ckpt))
        except CheckpointError as error:
            raise ConfigError(f"ckpt={cfg.ckpt} does not fit the estimator of the config: {error}") from error
        estimator.load_state_dict(state)
    return estimator


def build_data(cfg: DictConfig, n_settings: int, trains: bool) -> ImageDataModule:
    """The data module; published sets are fetched if need be. A network that is only evaluated gets every image of a folder
    as a test image."""
    data, task = cfg.data, cfg.task
    classes = None if data.test.classes is None else as_list(data.test.classes)
    test = ImageSet(data.test.name, data.test.root, data.mirror, classes, data.test.count, data.crop)
    train = ImageSet(data.name, data.root, data.mirror) if trains else None
    splits = find_splits(train, data.val, test, data.holdout)
    return ImageDataModule(
        name=data.test.name, load={split: partial(first, files, data.limit) for split, files in splits.items()},
        patch_size=task.patch_size, batch_size=task.batch_size, n_patches=task.n_patches, augment=data.augment,
        crop=data.crop, val_crop=data.val_crop, n_settings=n_settings, num_workers=data.num_workers, seed=cfg.seed,
    )  # fmt: skip


def first(files: Files, limit: int | None) -> ImageArrays:
    """The first ``limit`` images."""
    return load(dict(list(files.items())[:limit]), default_root() / "prepared")


def build_module(cfg: DictConfig, estimator: nn.Module, settings: list[Setting]) -> ReconstructionModule:
    trained = {float(r): build_operator(cfg.operator, r) for r in as_list(cfg.operator.train_ratio)}
    sigma_b = float(cfg.operator.train_sigma_b)
    setup = TrainingSetup(
        estimator=estimator, train_operators=list(trained.values()), train_sigma_b=sigma_b, settings=settings,
        val_settings=[Setting(op, r, sigma_b, cfg.operator.noise_seed) for r, op in trained.items()],
        learning_rate=cfg.task.learning_rate, schedule=cfg.task.schedule, halve_every=cfg.task.halve_every,
        max_batches=cfg.trainer.max_steps,
        clip=cfg.trainer.gradient_clip_val, seed=cfg.seed, description=redact(describe(cfg, trained)),
    )  # fmt: skip
    own = {str(k): v for k, v in cfg.algo.items()}
    name, algorithm = own.pop("name"), get_class(own.pop("_target_"))
    try:
        # Not hydra's instantiate: it would turn the setup, which is a data class, into a dictionary.
        return algorithm(setup, **own)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"algo={name}: {error}") from error


def training_key(cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule) -> str:
    """The key of all that determines the weights that a training ends with."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    task, trainer = (
        {k: v for k, v in plain[group].items() if k not in without}
        for group, without in (("task", ("eps", "step_size", "n_iter", "eps_size")),
                               ("trainer", ("num_threads", "progress_bar")))
    )  # fmt: skip
    images = {split: [data.images[split].names, data.images[split].sha256] for split in ("train", "val")}
    operators = [operator_sha256(op) for op in module.train_operators if isinstance(op, LinearOperator)]
    return content_key({
        "weights": state_sha256(module.estimator), "architecture": architecture(module.estimator), "algo": plain["algo"],
        "task": task, "operators": [operators, plain["operator"]["train_sigma_b"], plain["operator"]["noise_seed"]],
        "images": images, "data": {k: plain["data"][k] for k in ("augment", "val_crop")}, "trainer": trainer,
        "seed": cfg.seed, "algorithm": code_of([type(module).__module__]), "code": package_key(),
        "torch": str(torch.__version__),
    })  # fmt: skip


def describe(cfg: DictConfig, trained: Mapping[float, LinearOperator]) -> dict[str, Any]:
    """Plain values for the checkpoint: what rebuilds the estimator, and what an evaluation takes over
    (:mod:`invsmooth.records.origin`).

    Args:
        trained: the operators that are trained on, by ratio.
    """
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    choices = dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}
    return {
        "estimator": describe_estimator(cfg),
        "operator": plain["operator"] | {
            "matrix": matrix_path(cfg.operator), "sha256": {repr(r): operator_sha256(op) for r, op in trained.items()}
        },
        "choices": {k: choices.get(k) for k in GROUPS},
        "names": {k: plain[k]["name"] for k in GROUPS},
        "seed": cfg.seed,
    }  # fmt: skip


def describe_estimator(cfg: DictConfig) -> dict[str, Any]:
    """Class and parameters of the estimator, from which files have it made again."""
    described = OmegaConf.to_container(cfg.estimator, resolve=True)
    assert isinstance(described, dict)
    return {str(k): v for k, v in described.items()}


def matrix_path(operator: DictConfig) -> str | None:
    """Of the file with the matrix, wherever the program runs next time."""
    return None if operator.matrix is None else str(Path(operator.matrix).resolve())


def build_plan(cfg: DictConfig, n_images: int) -> CertifyPlan:
    """What to certify of ``n_images`` test images, those of every setting counted."""
    own = OmegaConf.to_container(cfg.certify, resolve=True)
    assert isinstance(own, dict)
    plain = {str(k): v for k, v in own.items() if k not in ("certifiers", "sigma", "pictures", "files")}
    plan = CertifyPlan(
        certifiers=as_list(cfg.certify.certifiers), eps=[float(e) for e in as_list(cfg.attack.eps)],
        sigma=[float(s) for s in as_list(cfg.certify.sigma)], units=Units(cfg.certificate.units), seed=cfg.seed,
        n_images=n_images, **plain,
    )  # fmt: skip
    if "mean" in plan.certifiers:
        try:
            check_confidence(plan.each)
        except ValueError as error:
            raise ConfigError(f"certify.confidence={plan.confidence:.12g}: {error}") from error
    return plan


def build_files(cfg: DictConfig, estimator: nn.Module, plan: CertifyPlan, folder: Path) -> CertificateFiles:
    """The certificate files of a run: they name what is needed to make the estimator and the operator again."""
    trained = [folder / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    given = [] if cfg.ckpt is None else [Path(cfg.ckpt)]
    checkpoint = next((p for p in (*trained, *given) if p.is_file()), None)
    operator = {k: cfg.operator[k] for k in ("name", "block", "seed")}
    operator["matrix"] = matrix_path(cfg.operator)
    description = None if has_weights(estimator) else redact(describe_estimator(cfg))
    return CertificateFiles(plan, folder, operator, checkpoint if has_weights(estimator) else None, description)


def build_result_cache(
    cfg: DictConfig, estimator: nn.Module | str, data: ImageDataModule, store: Store, settings: Sequence[Setting]
) -> tuple[ResultCache, str]:
    """What is known of an evaluation from before, and the run_id of its rows."""
    plan, attack, operator = build_plan(cfg, data.n_tested), build_attack(cfg), cfg.operator
    about = of_estimator(estimator, cfg.trainer.accelerator)
    columns = {
        "algo": cfg.algo.name, "task": cfg.task.name, "estimator": cfg.estimator._target_, "dataset": data.name,
        "operator": operator.name,
        "attack": attack.name, "attack_target": attack.target.kind,
    }  # fmt: skip
    options = {"check_samples": cfg.attack.check_samples, "files": cfg.certify.files}
    matrix = None if operator.matrix is None else file_key(operator.matrix)
    experiment = {
        **columns, "check_samples": cfg.attack.check_samples, "images": data.images["test"].sha256,
        "crop": cfg.data.crop, "matrix": [operator.block, operator.seed, matrix], "noise_seed": operator.noise_seed,
    }  # fmt: skip
    key = experiment_key(about, plan, attack, experiment)
    answers: Probes = {}
    if isinstance(estimator, nn.Module) and store.folder is not None:
        answers = probes(estimator, [s.operator for s in settings], data.test_sizes())
    recall = ResultCache(store, about, plan, attack, columns, options, cfg.certify.pictures, answers)
    return recall, f"{cfg.task.name}_{cfg.algo.name}_{key}"


def build_attack(cfg: DictConfig) -> AttackPlan:
    """The attack of each cell (eps, sigma)."""
    attack = cfg.attack
    target = Target(
        attack.target, n_samples=attack.n_samples, draws=attack.draws, q=cfg.certify.quantile, n_around=attack.n_around,
        chunk_size=attack.chunk_size,
    )  # fmt: skip
    return AttackPlan(
        attack.name, eps=[float(e) for e in as_list(attack.eps)], sigma=[float(s) for s in as_list(cfg.certify.sigma)],
        settings={f.name: attack[f.name] for f in dataclasses.fields(SEARCHES[attack.name])}, target=target, seed=cfg.seed,
    )  # fmt: skip


def has_weights(estimator: nn.Module) -> bool:
    return next(estimator.parameters(), None) is not None
