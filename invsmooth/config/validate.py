"""Check a config before any work: one message that names the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from invsmooth.attacks import APGD, PGD, Noise
from invsmooth.certificates import CERTIFIERS
from invsmooth.certificates.confidence import SIMULTANEOUS
from invsmooth.config.schema import Attack, Run
from invsmooth.core.devices import NO_DISTRIBUTED_JOBS, in_sweep, starts_processes
from invsmooth.core.errors import ConfigError
from invsmooth.data.files import is_zip
from invsmooth.data.published import TEST_SETS, TRAIN_SETS, VAL_SETS
from invsmooth.records.origin import A_NAME, is_name

ATTACKS = {search.name: [f.name for f in dataclasses.fields(search)] for search in (PGD, APGD, Noise)}
SCHEDULES, INITS, KEEPS = ("constant", "cosine"), ("zero", "sphere"), ("best", "last")
TARGETS, DRAWS = ("base", "mean", "median"), ("fresh", "fixed")
Rule = tuple[str, Callable[[Any], bool], str]


def as_list(value: Any) -> list[Any]:
    """A config value that may be one value or a list, as a list."""
    return list(value) if isinstance(value, list | tuple | ListConfig) else [value]


def validate(cfg: DictConfig) -> None:
    """Check the whole config of a train or evaluate run.

    Raises: ConfigError: with every mistake that was found.
    """
    errors = [*unknown_keys(cfg, Run), *broken_rules(cfg), *conflicts(cfg), *estimator_errors(cfg.estimator)]
    if errors:
        raise ConfigError("\n".join(errors))


def is_number(v: Any) -> bool:
    return isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)


def not_negative(v: Any) -> bool:
    return is_number(v) and v >= 0


def positive(v: Any) -> bool:
    return is_number(v) and v > 0


def count(v: Any) -> bool:
    return isinstance(v, int) and not isinstance(v, bool) and v >= 1


def open_unit(v: Any) -> bool:
    return is_number(v) and 0 < v < 1


def half_open_unit(v: Any) -> bool:
    return is_number(v) and 0 < v <= 1


def one_of(*names: str | None) -> Callable[[Any], bool]:
    return lambda v: v in names


def optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: v is None or check(v)


def each(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """One value or a list of at least one, all different: a value given twice would be computed twice."""

    def check_all(value: Any) -> bool:
        values = as_list(value)
        return len(values) > 0 and all(check(v) for v in values) and len(set(values)) == len(values)

    return check_all


RADII = "numbers >= 0 (l2 norm over one whole image, pixels in [0, 1]), no two equal"
GREY = "numbers >= 0 (standard deviation in 8-bit grey levels), no two equal"
RATIOS = "numbers in (0, 1], no two equal; write 0.5 for 50 %"
SEVERAL = "one of or a list of "
RULES: list[Rule] = [
    ("attack.eps", each(not_negative), RADII),
    ("attack.n_iter", count, "a whole number >= 1"),
    ("attack.step_size", optional(positive), "a number > 0, or null"),
    ("attack.schedule", one_of(*SCHEDULES), ", ".join(SCHEDULES)),
    ("attack.init", one_of(*INITS), ", ".join(INITS)),
    ("attack.keep", one_of(*KEEPS), ", ".join(KEEPS)),
    ("attack.restarts", count, "a whole number >= 1"),
    ("attack.name", one_of(*ATTACKS), ", ".join(ATTACKS)),
    ("attack.target", one_of(*TARGETS), ", ".join(TARGETS)),
    ("attack.n_samples", count, "a whole number >= 1"),
    ("attack.draws", one_of(*DRAWS), ", ".join(DRAWS)),
    ("attack.n_around", optional(count), "a whole number >= 1, or null for all"),
    ("attack.chunk_size", optional(count), "a whole number >= 1, or null"),
    ("attack.check_samples", lambda v: v == 0 or count(v), "a whole number >= 0"),
    ("certify.sigma", each(not_negative), GREY),
    ("certify.n_samples", count, "a whole number >= 1"),
    ("certify.confidence", open_unit, "a number in (0, 1); write 0.99 for 99 %"),
    ("certify.quantile", open_unit, "a number in (0, 1)"),
    ("certify.chunk_size", optional(count), "a whole number >= 1, or null"),
    ("certify.over_eps", one_of(*SIMULTANEOUS), ", ".join(SIMULTANEOUS)),
    ("certify.over_sigma", one_of("none", "bonferroni"), "none, bonferroni"),
    ("certify.over_images", one_of("none", "bonferroni"), "none, bonferroni"),
    ("certify.threshold", optional(positive), "a number > 0 (MSE), or null"),
    ("certify.radius_of", one_of("error", "discrepancy"), "error, discrepancy"),
    ("certify.n_centre", optional(lambda v: count(v) and v >= 2), "a whole number >= 2, or null"),
    ("certify.n_pred", optional(count), "a whole number >= 1, or null"),
    ("certify.bands", one_of("none", "pointwise", "bonferroni"), "none, pointwise, bonferroni"),
    ("certify.pictures", lambda v: v == 0 or count(v), "a whole number >= 0"),
    ("certify.certifiers", each(one_of(*CERTIFIERS)), SEVERAL + ", ".join(CERTIFIERS)),
    ("operator.ratio", each(half_open_unit), RATIOS),
    ("operator.train_ratio", each(half_open_unit), RATIOS),
    ("operator.sigma_b", each(not_negative), GREY),
    ("operator.train_sigma_b", not_negative, "a number >= 0 (8-bit grey levels)"),
    ("operator.block", count, "a whole number >= 1"),
    ("task.name", is_name, A_NAME),
    ("algo.name", is_name, A_NAME),
    ("task.patch_size", count, "a whole number >= 1"),
    ("task.n_patches", count, "a whole number >= 1"),
    ("task.batch_size", count, "a whole number >= 1"),
    ("task.epochs", count, "a whole number >= 1"),
    ("task.learning_rate", positive, "a number > 0"),
    ("task.schedule", one_of("constant", "halve", "cosine"), "constant, halve, cosine"),
    ("task.halve_every", count, "a whole number >= 1"),
    ("data.name", one_of(*TRAIN_SETS), ", ".join(TRAIN_SETS)),
    ("data.val", one_of(*VAL_SETS), ", ".join(VAL_SETS)),
    ("data.test.name", one_of(*TEST_SETS), ", ".join(TEST_SETS)),
    ("data.test.count", optional(count), "a whole number >= 1, or null for all images"),
    ("data.test.classes", optional(each(lambda v: isinstance(v, str))), "a list of classes, or null for all"),
    ("data.val_crop", optional(count), "a whole number >= 1, or null for whole images"),
    ("data.limit", optional(count), "a whole number >= 1, or null for all images"),
    ("data.crop", optional(count), "a whole number >= 1, or null for whole images"),
    ("data.holdout", open_unit, "a number in (0, 1)"),
    ("data.num_workers", lambda v: v == 0 or count(v), "a whole number >= 0"),
    ("trainer.max_epochs", count, "a whole number >= 1"),
    ("trainer.max_steps", optional(count), "a whole number >= 1 (batches), or null"),
    ("trainer.gradient_clip_val", optional(positive), "a number > 0, or null"),
    ("trainer.num_threads", optional(count), "a whole number >= 1, or null"),
    ("trainer.ema_decay", optional(open_unit), "a number in (0, 1), or null"),
    ("task.eps", not_negative, "a number >= 0 (l2 norm over an image of task.eps_size², pixels in [0, 1])"),
    ("task.step_size", positive, "a number > 0"),
    ("task.n_iter", count, "a whole number >= 1"),
    ("task.eps_size", count, "a whole number >= 1 (pixels)"),
    ("sweep", one_of("run", "plan"), "run, plan"),
    (
        "trust",
        lambda v: all(p.isidentifier() for t in v for p in t.split(".")),
        "a list of modules: trust=[my_package]",
    ),
    ("cache", optional(lambda v: isinstance(v, str) and v != ""), "a folder, or null to keep nothing"),
    ("logger.name", one_of("none", "csv", "wandb", "tensorboard", "mlflow"), "none, csv, wandb, tensorboard, mlflow"),
]
LOGGER_RULES: list[Rule] = [
    ("logger.mode", one_of(None, "online", "offline", "disabled"), "online, offline, disabled, or null"),
    ("logger.init_timeout", positive, "a number > 0 (seconds)"),
    ("logger.finish_timeout", positive, "a number > 0 (seconds)"),
    ("logger.tags", lambda v: all(0 < len(t) <= 64 for t in v), "texts of 1 to 64 characters"),
]
"""Of keys that only some loggers have."""


def broken_rules(cfg: DictConfig) -> Iterator[str]:
    """The keys whose value is out of range."""
    of_this_logger = [rule for rule in LOGGER_RULES if rule[0].removeprefix("logger.") in cfg.logger]
    for key, check, allowed in [*RULES, *of_this_logger]:
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        if OmegaConf.is_missing(*parent_and_name(cfg, key)):
            yield f"{key} has no value; allowed: {allowed}"
        elif not check(value):
            yield f"{key}={value} is not allowed; allowed: {allowed}"


def parent_and_name(cfg: DictConfig, key: str) -> tuple[DictConfig, str]:
    parent, _, name = key.rpartition(".")
    return OmegaConf.select(cfg, parent) if parent else cfg, name


def unknown_keys(cfg: DictConfig, schema: type, prefix: str = "") -> Iterator[str]:
    """Keys that no schema has: Hydra's ``+key=value`` lets them in."""
    fields = {f.name: f for f in dataclasses.fields(schema)}
    for key in map(str, cfg):
        name = f"{prefix}{key}"
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known are {', '.join(fields)}"
            yield f"{name} is no key of the config{hint}"
        elif isinstance(node := cfg._get_node(key), DictConfig) and dataclasses.is_dataclass(
            kind := OmegaConf.get_type(node)
        ):
            yield from unknown_keys(node, kind, prefix=f"{name}.")


def conflicts(cfg: DictConfig) -> Iterator[str]:
    """What single keys do not show."""
    operator = cfg.operator
    if operator.name == "identity":
        for key in ("ratio", "train_ratio"):
            if as_list(operator[key]) != [1]:
                yield f"operator.{key}={operator[key]} is not allowed: denoising measures every pixel, the ratio is 1"
    if operator.matrix is not None:
        if not Path(operator.matrix).is_file():
            yield f"operator.matrix={operator.matrix}: there is no such file (a .npy or .mat file is expected)"
        if len({*as_list(operator.ratio), *as_list(operator.train_ratio)}) > 1:
            yield "operator.matrix is a matrix for one ratio: set operator.ratio and operator.train_ratio to just that one"
    yield from attack_conflicts(cfg.attack)
    if "radius" in as_list(cfg.certify.certifiers) and cfg.certify.threshold is None:
        yield "certify.threshold=null: the certifier radius needs the MSE that it is about, e.g. certify.threshold=0.001"
    if cfg.certify.anytime and (as_list(cfg.certify.certifiers) != ["radius"] or cfg.certify.over_eps == "dkw"):
        yield (
            "certify.anytime=true goes with certify=radius alone, and not with certify.over_eps=dkw: the other certifiers "
            "take all draws anyway"
        )
    for key in ("ckpt", "resume"):
        if cfg[key] is not None and not Path(cfg[key]).is_file():
            yield f"{key}={cfg[key]}: there is no such file; give the path of a checkpoint"
    yield from data_conflicts(cfg.data)
    if cfg.trainer.compile and cfg.algo.name == "jcb":
        yield "trainer.compile=true is not allowed with algo=jcb: torch.compile has no forward-mode derivative"
    yield from trainer_conflicts(cfg.trainer)


def data_conflicts(data: DictConfig) -> Iterator[str]:
    for key, node in (("data.root", data), ("data.test.root", data.test)):
        root = None if OmegaConf.is_missing(data, "root") or OmegaConf.is_missing(node, "root") else node.root
        if not root and node.name == "folder":
            yield f"{key} has no value: set it to a folder of images, or use data=bundled"
            return
        if root and not (Path(root).is_dir() or is_zip(Path(root))):
            yield f"{key}={root}: there is no such folder or zip archive; give one with images, or use data=bundled"
            return
    for key in ("classes", "count"):
        if data.test[key] is not None and data.test.name != "imagenet":
            yield f"data.test.{key}={data.test[key]} is not allowed with data/test={data.test.name}: only imagenet has it"


def attack_conflicts(attack: DictConfig) -> Iterator[str]:
    """Settings that the attack has no use for: to ignore them would be to report an attack that was not made."""
    if not attack.normalize and attack.step_size is None:
        yield "attack.step_size=null is not allowed with attack.normalize=false: the literal step has no natural length"
    defaults = {f.name: f.default for f in dataclasses.fields(Attack)}
    if attack.name in ATTACKS:
        taken = [k for k in ATTACKS["pgd"] if k in ATTACKS[attack.name]]
        for key in ATTACKS["pgd"]:
            if key not in taken and attack[key] != defaults[key]:
                yield f"attack.{key}={attack[key]} has no effect with attack={attack.name}, which takes {', '.join(taken)}"


def trainer_conflicts(trainer: DictConfig) -> Iterator[str]:
    import torch

    if trainer.accelerator not in ("cpu", "gpu", "auto"):
        yield f"trainer.accelerator={trainer.accelerator} is not allowed; allowed: cpu, gpu, auto"
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        yield "trainer.accelerator=gpu: torch sees no GPU on this machine; use trainer=cpu"
    if in_sweep() and starts_processes(trainer.strategy, trainer.devices):
        yield NO_DISTRIBUTED_JOBS


def estimator_errors(node: Mapping[str, Any]) -> Iterator[str]:
    """Whether the estimator's class exists and takes the parameters it is given."""
    target = node.get("_target_") if not OmegaConf.is_missing(node, "_target_") else None
    if not target:
        yield "estimator._target_ has no value; give the dotted path of a torch module class"
        return
    try:
        factory = get_object(target)
    except (HydraException, ImportError, ValueError) as error:
        yield f"estimator._target_={target} cannot be imported: {error}"
        return
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in node:
        if key != "_target_" and key not in parameters:
            yield (
                f"estimator.{key} is no parameter of {target}; it takes {', '.join(parameters) or 'none'} "
                "(for a class of your own start from estimator=custom)"
            )
