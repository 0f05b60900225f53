"""The keys of cached trainings and evaluations, and the names of experiments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from invsmooth.cache import Store, code_of, content_key, package_key
from invsmooth.cache.content import file_key
from invsmooth.certificates.certifier import Certifier
from invsmooth.config import parts
from invsmooth.config.scale import scale_of
from invsmooth.config.schema import OPEN
from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.errors import ConfigError
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import architecture, state_sha256
from invsmooth.estimators.probe import Probes, probes
from invsmooth.evaluation.result_cache import ResultCache, of_estimator
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline.build import plain, targets
from invsmooth.records.rows import Declared
from invsmooth.training import ReconstructionModule


def part_key(group: str, node: DictConfig) -> dict[str, Any]:
    """What determines a part: class, free parameters, content of files, code that is not ours."""
    free = parts.free_parameters(node, OPEN[group].keys)
    content = {k: file_key(v) if isinstance(v, str) and Path(v).is_file() else v for k, v in free.items()}
    modules = [target.rpartition(".")[0] for target in (str(node._target_), *targets(free))]
    return {"class": node._target_, "parameters": content, "code": code_of(modules), "name": node.name}


def training_key(cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule) -> str:
    """The key of all that determines the weights that a training ends with."""
    task, trainer = plain(cfg.task), plain(cfg.trainer)
    attack = ("eps", "step_size", "n_iter", "eps_size")  # these reach the training as parameters of the algorithm
    images = {split: [data.images[split].names, data.images[split].sha256] for split in ("train", "val")}
    operators = [op.sha256() for op in module.train_operators if isinstance(op, LinearOperator)]
    operator = part_key("operator", cfg.operator)
    return content_key({
        "weights": state_sha256(module.estimator), "architecture": architecture(module.estimator),
        "algo": part_key("algo", cfg.algo), "task": {k: v for k, v in task.items() if k not in attack},
        "operators": [operators, operator, cfg.operator.train_sigma_b, cfg.operator.noise_seed],
        "images": images, "data": [cfg.data.augment, cfg.data.val_crop],
        "trainer": {k: v for k, v in trainer.items() if k not in ("num_threads", "progress_bar")},
        # In the checkpoint, as the names are: it says what the rows of the run say.
        "scale": scale_of(cfg),
        "seed": cfg.seed, "algorithm": code_of([type(module).__module__]), "code": package_key(),
        "torch": str(torch.__version__),
    })  # fmt: skip


def build_cache(
    cfg: DictConfig, evaluation: Evaluation, estimator: nn.Module | str, data: ImageDataModule, store: Store,
    settings: Sequence[Setting], scale: str | None,
) -> ResultCache:  # fmt: skip
    """``estimator``: of one that is not trained yet, the key of its training. ``scale``: of the training."""
    about = of_estimator(estimator, cfg.trainer.accelerator)
    columns = {
        "algo": cfg.algo.name, "task": cfg.task.name, "estimator": cfg.estimator._target_, "dataset": data.name,
        "operator": cfg.operator.name, "attack": cfg.attack.name, "scale": scale,
    }  # fmt: skip
    key = content_key({
        "estimator": about, "evaluation": evaluation.experiment(), "columns": columns,
        "certifiers": parts.free_parameters(cfg.certify, OPEN["certify"].keys),
        "operator": part_key("operator", cfg.operator), "noise_seed": cfg.operator.noise_seed,
        "images": data.images["test"].sha256, "crop": cfg.data.crop,
    })[:10]  # fmt: skip
    answers: Probes = {}
    if isinstance(estimator, nn.Module) and store.folder is not None:
        answers = probes(estimator, [s.operator for s in settings], data.test_sizes(), data.channels)
    run = columns | {"run_id": f"{cfg.task.name}_{cfg.algo.name}_{key}"}
    return ResultCache(store, about, evaluation, run, declared(cfg.algo, evaluation.certifiers), answers)


def declared(algo: DictConfig, certifiers: Sequence[Certifier]) -> Declared:
    """By our parts and those of the config. (An evaluation needs no algorithm.)"""
    packaged: list[Any] = [parts.load_class(target, "certify") for target in parts.packaged("certify").values()]
    algorithms: dict[str, AlgorithmDeclaration] = {}
    for name, target in [*parts.packaged("algo").items(), (algo.name, algo._target_)]:
        with suppress(ConfigError, AttributeError):
            kind: Any = parts.load_class(target, "algo")
            algorithms[name] = kind.declared
    return Declared({c.name: c.declared for c in [*packaged, *certifiers]}, algorithms)
