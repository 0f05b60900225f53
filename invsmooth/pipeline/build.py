"""From a validated config to objects. Grey levels become [0, 1] pixels here."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from torch import nn

from invsmooth.attacks import Target
from invsmooth.config import parts
from invsmooth.config.certifiers import build_certifiers
from invsmooth.config.hydra_errors import ours
from invsmooth.config.parts import as_list
from invsmooth.config.scale import scale_of
from invsmooth.config.schema import OPEN
from invsmooth.core.deepinv_install import because_missing, if_missing
from invsmooth.core.devices import devices_of_job
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.core.redact import redact
from invsmooth.core.units import Units, to_unit_scale
from invsmooth.data import default_root, find_splits, load
from invsmooth.data.datamodule import ImageDataModule, PatchSettings
from invsmooth.data.splits import HOLDOUT
from invsmooth.estimators import load_checkpoint
from invsmooth.estimators.adapters import SIGMA_NAMES, adapted_to_y
from invsmooth.estimators.checkpoint import check_reloads, check_resumable, is_ours, is_published, read
from invsmooth.estimators.fill import check_fit
from invsmooth.estimators.weights import load_weights, state_in
from invsmooth.evaluation.certificate_files import CertificateFiles
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import BlockGaussian, Identity, LinearOperator, as_operator
from invsmooth.operators.deepinv import NotLinear
from invsmooth.operators.measurement import Setting
from invsmooth.operators.rebuild import our_operator
from invsmooth.pipeline.premises import check_estimator
from invsmooth.records.origin import training_record, with_absolute_paths
from invsmooth.training import ReconstructionModule, TrainingSetup
from invsmooth.training.fit import TrainerSettings
from invsmooth.training.kept_trainings import BEST, LAST


def plain(cfg: DictConfig) -> dict[str, Any]:
    found = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(found, dict)
    return {str(k): v for k, v in found.items()}


def build_operator(node: DictConfig, ratio: float) -> LinearOperator:
    """Raises: ConfigError: it cannot be built, has no methods A and A_adjoint, or is no linear physics of deepinv."""
    try:
        return as_operator(parts.build("operator", node, OPEN["operator"].keys, ratio=ratio))
    except (TypeError, NotLinear) as error:
        raise ConfigError(f"operator._target_={node._target_}: {error}") from error


def build_settings(node: DictConfig) -> list[Setting]:
    """Every combination of ratio and sigma_b that is evaluated."""
    operators = {float(ratio): build_operator(node, ratio) for ratio in as_list(node.ratio)}
    levels = [to_unit_scale(s) for s in as_list(node.sigma_b)]
    return [Setting(op, ratio, sigma_b, node.noise_seed) for ratio, op in operators.items() for sigma_b in levels]


def build_estimator(cfg: DictConfig, trains: bool) -> nn.Module:
    """To train: the network that the config describes, with the weights in ``ckpt`` to start from.
    To evaluate: the network in ``ckpt``, whatever the config says; or that of the config, with the weights in ``ckpt``,
    if the file has weights alone.

    Raises:
        ConfigError: it cannot be built, is no torch module, or could not be loaded again.
        CheckpointError: ``ckpt`` or ``resume`` cannot be used, or does not fit."""
    # Who names the classes of an estimator on the command line may have them imported for a file, too.
    trust = [*cfg.trust, *(target.rpartition(".")[0] for target in targets(plain(cfg.estimator)))]
    weights_alone = has_weights_alone(cfg)
    if cfg.ckpt is not None and not trains and not weights_alone:
        return load_checkpoint(cfg.ckpt, trust=trust)
    try:
        estimator = instantiate(cfg.estimator, _convert_="all")
    except MissingMandatoryValue as error:
        hint = if_missing() if str(cfg.estimator._target_).endswith(".DeepInvModel") else ""
        raise ConfigError(f"{error.full_key} has no value; give a class{hint}") from error
    except InstantiationException as error:
        if hint := because_missing(error):
            raise ConfigError(f"estimator: {', '.join(targets(plain(cfg.estimator)))} cannot be made{hint}") from error
        if ours(error) and None not in cfg.estimator.values():  # a bug, which the user cannot mend
            raise
        raise ConfigError(f"estimator: {error.__cause__ or error}") from error
    if not isinstance(estimator, nn.Module):
        found = f"estimator._target_={cfg.estimator._target_} is a {type(estimator).__name__}"
        raise ConfigError(f"{found}, no torch module")
    estimator = adapted_to_y(estimator)
    check_told(estimator, cfg)
    if trains or weights_alone:
        try:
            check_reloads(describe_estimator(cfg.estimator), estimator, trust)
        except CheckpointError as error:
            raise ConfigError(f"estimator: it could be trained, but not loaded again: {error}") from error
    if trains and cfg.resume is not None:
        check_resumable(Path(cfg.resume), estimator, trust)
    if weights_alone:
        load_weights(estimator, state_in(read(Path(cfg.ckpt)), Path(cfg.ckpt)), Path(cfg.ckpt), cfg.ckpt_prefix)
    elif cfg.ckpt is not None:
        state = load_checkpoint(cfg.ckpt, trust=trust).state_dict()
        try:
            check_fit(estimator.state_dict(), state, Path(cfg.ckpt))
        except CheckpointError as error:
            raise ConfigError(f"ckpt={cfg.ckpt} does not fit the estimator of the config: {error}") from error
        estimator.load_state_dict(state)
    return estimator


def targets(described: Any) -> Iterator[str]:
    """The classes that a config node names, at any depth."""
    if isinstance(described, Mapping):
        yield from (str(v) for k, v in described.items() if k == "_target_")
    if isinstance(described, Mapping | list):
        for value in described.values() if isinstance(described, Mapping) else described:
            yield from targets(value)


def check_told(estimator: nn.Module, cfg: DictConfig) -> None:
    """Raises: ConfigError: the estimator takes a noise level, which nothing tells it."""
    second = [name.lower() for name in inspect.signature(estimator.forward).parameters][1:2]
    if second and second[0] in SIGMA_NAMES:
        target = cfg.estimator._target_
        raise ConfigError(
            f"estimator._target_={target} takes a noise level ({second[0]}): give estimator=denoiser "
            f"estimator.method._target_={target} estimator.sigma=NUMBER, the level that it is told"
        )


def has_weights_alone(cfg: DictConfig) -> bool:
    """Whether ``ckpt`` is a file of weights for the network of the config. Checkpoints of ours and the published ones say
    what network they are for; those for a network of the user's never count as published."""
    if cfg.ckpt is None:
        return False
    content, own = read(Path(cfg.ckpt)), str(cfg.estimator._target_).partition(".")[0] != "invsmooth"
    return not is_ours(content) and (own or not is_published(content))


def has_weights(estimator: nn.Module) -> bool:
    return next(estimator.parameters(), None) is not None


def choices() -> dict[str, str | None]:
    """Group -> chosen option."""
    return dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}


def build_data(cfg: DictConfig, n_settings: int, trains: bool) -> ImageDataModule:
    """Published sets are fetched if need be. A network that is only evaluated gets every image of a
    folder as a test image. Raises: ConfigError: its data are chosen for a training alone."""
    data, task, chosen = cfg.data, cfg.task, choices()
    if not trains and chosen.get("data") == "custom" and chosen.get("data/test") == "bundled":
        raise ConfigError(
            "data=custom chooses the images of a training, which an evaluation does not use; to test on your own: "
            "data/test=custom data.test._target_=package.Class"
        )
    places = {"root": data.root, "mirror": data.mirror}
    test_places = {"root": data.test.root, "mirror": data.mirror, "crop": data.crop}
    test = parts.build("data.test", data.test, OPEN["data.test"].keys, **test_places)
    train = parts.build("data", data, OPEN["data"].keys, **places) if trains else None
    val = None
    if trains and data.val != HOLDOUT:
        val_class = parts.load_class(parts.packaged("data/test").get(data.val, data.val), "data.val")
        val = parts.construct(val_class, {}, "data.val", places)
    found = find_splits(train, val, test, data.holdout, data.calibration)
    limits = {"calibration": None}  # these are counted by data.calibration
    splits = {split: dict(list(files.items())[: limits.get(split, data.limit)]) for split, files in found.items()}
    patches = PatchSettings(task.patch_size, task.batch_size, task.n_patches, data.augment, cfg.seed)
    loads = {k: partial(load, v, default_root() / "prepared", data.channels) for k, v in splits.items()}
    name = data.test.name + (" (colour)" if data.channels == 3 else "")  # of other images than in grey
    return ImageDataModule(
        name=name, load=loads, channels=data.channels, patches=patches, crop=data.crop, val_crop=data.val_crop,
        n_settings=n_settings, num_workers=data.num_workers,
    )  # fmt: skip


def build_module(cfg: DictConfig, estimator: nn.Module) -> ReconstructionModule:
    trained = {float(r): build_operator(cfg.operator, r) for r in as_list(cfg.operator.train_ratio)}
    check_estimator(estimator, trained.values())
    sigma_b = to_unit_scale(cfg.operator.train_sigma_b)
    known = plain(cfg) | {"scale": scale_of(cfg)}
    setup = TrainingSetup(
        estimator=estimator, train_operators=list(trained.values()), train_sigma_b=sigma_b,
        val_settings=[Setting(op, r, sigma_b, cfg.operator.noise_seed) for r, op in trained.items()],
        learning_rate=cfg.task.learning_rate, schedule=cfg.task.schedule, halve_every=cfg.task.halve_every,
        max_batches=cfg.trainer.max_steps, clip=cfg.trainer.gradient_clip_val, seed=cfg.seed,
        description=redact(training_record(known, choices(), {r: op.sha256() for r, op in trained.items()})),
    )  # fmt: skip
    kind, given = parts.load_class(cfg.algo.get("_target_"), "algo"), parts.free_parameters(cfg.algo, OPEN["algo"].keys)
    grey = [k for k in getattr(kind, "grey_levels", ()) if isinstance(given.get(k), int | float)]
    given |= {k: to_unit_scale(given[k]) for k in grey}
    module: ReconstructionModule = parts.construct(kind, given, "algo", {"setup": setup})
    return module


def trainer_settings(node: DictConfig) -> TrainerSettings:
    left_out = ("num_threads", "gradient_clip_val", "devices")
    devices = devices_of_job(node.accelerator, node.devices)
    return TrainerSettings(**{k: v for k, v in plain(node).items() if k not in left_out}, devices=devices)


def build_evaluation(cfg: DictConfig, n_images: int) -> Evaluation:
    """``n_images``: of all measurement settings. Raises ConfigError: a certifier refuses its
    parameters."""
    attack, certify = cfg.attack, cfg.certify
    target = Target(
        attack.target, n_samples=attack.n_samples, draws=attack.draws, q=certify.quantile, n_around=attack.n_around,
        chunk_size=attack.chunk_size,
    )  # fmt: skip
    same = ("n_samples", "confidence", "quantile", "chunk_size", "over_eps", "over_sigma", "over_images",
            "pixel_intervals", "pictures", "files", "precision")  # fmt: skip
    evaluation = Evaluation(
        eps=[float(e) for e in as_list(attack.eps)], sigma=[to_unit_scale(s) for s in as_list(certify.sigma)],
        attack=parts.build("attack", attack, OPEN["attack"].keys), target=target, attack_precision=attack.precision,
        check_samples=attack.check_samples,
        certifiers=build_certifiers(certify), n_images=n_images, units=Units(cfg.certificate.units), seed=cfg.seed,
        **{k: certify[k] for k in same},
    )  # fmt: skip
    names = [c.name for c in evaluation.certifiers]
    if len(set(names)) < len(names):
        raise ConfigError(f"certify.certifiers: two have the same name ({', '.join(names)}); leave one out")
    if evaluation.pixel_intervals != "none" and evaluation.levels == [None]:
        nothing = f"certify={','.join(names)} smooths nothing"
        raise ConfigError(f"certify.pixel_intervals={evaluation.pixel_intervals} has no effect: {nothing}")
    for certifier in evaluation.certifiers:
        if certifier.declared.at == "cell" and not evaluation.parts_of(certifier):
            others = f"certify.certifiers={','.join(names)}: {certifier.name} combines certificates of others"
            signal = "add error, mean, or lipschitz with certify.threat=signal"
            raise ConfigError(f"{others}, for attacks on the signal, and none of these has one; {signal}")
        for sigma in evaluation.levels:
            try:
                certifier.check(evaluation.each(certifier, sigma))
            except ValueError as error:
                raise ConfigError(f"certify: {error}") from error
    return evaluation


def describe_estimator(node: DictConfig) -> dict[str, Any]:
    """Class and parameters."""
    return {"_target_": node._target_, **parts.free_parameters(node, ())}


def describe_operator(node: DictConfig) -> dict[str, Any]:
    """Without its ratio: class and parameters; name and parameters of the two that certificate files had from the start."""
    kind = parts.load_class(node._target_, "operator")
    given = with_absolute_paths(parts.without_unset(kind, parts.free_parameters(node, OPEN["operator"].keys)))
    if kind in (BlockGaussian, Identity) and our_operator(node.name) is kind:
        return {"name": node.name, "block": 33, "seed": 0, "matrix": None} | given
    return {"_target_": node._target_, "parameters": given}


def build_files(
    operator: DictConfig, described: DictConfig, ckpt: str | None, estimator: nn.Module, folder: Path
) -> CertificateFiles:
    """``operator`` and ``described``: nodes of the operator and the estimator."""
    if not has_weights(estimator):
        return CertificateFiles(folder, describe_operator(operator), None, redact(describe_estimator(described)))
    weights = [*(folder / "checkpoints" / name for name in (BEST, LAST)), *([] if ckpt is None else [Path(ckpt)])]
    found = next((p for p in weights if p.is_file()), None if ckpt is None else Path(ckpt))
    return CertificateFiles(folder, describe_operator(operator), found, None)
