"""Random values for every key of the config, and whether a run that has them is refused with a message or can begin.

``make fuzz`` draws 2,000, ``FUZZ_SEED=7 make fuzz`` others."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import traceback
from collections.abc import Iterator
from typing import Any

from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from invsmooth import verify
from invsmooth.config import cli, schema
from invsmooth.config.hydra_errors import check_options
from invsmooth.config.schema import Audit
from invsmooth.config.validate import validate, validate_nodes
from invsmooth.core.errors import ConfigError
from invsmooth.core.units import to_unit_scale
from invsmooth.data import __main__ as data

BASES: tuple[tuple[str, ...], ...] = (
    ("train", "task=cs_small"),
    ("train", "task=denoise_small", "algo=adv", "certify=radius", "attack=apgd"),
    ("train", "task=inpainting", "algo=jcb", "certify=all", "attack=noise"),
    ("train", "task=deblurring", "algo=smt_grad", "certify=center", "logger=wandb"),
    ("train", "task=mri", "algo=smt_adv", "certify=mean", "data=train400", "logger=tensorboard"),
    ("train", "task=super_resolution", "certify=error", "trainer=cpu", "data=folder", "data.root=/"),
    ("train", "task=denoise_certified_small", "certify=lipschitz"),
    ("train", "task=cs_certified_small", "certify=best", "scale=paper"),
    ("evaluate", "estimator=ridge", "task=cs_small"),
    ("evaluate", "estimator=tv", "operator=dense"),
    ("evaluate", "estimator=wavelet", "operator=fourier"),
    ("audit", "estimator=lipnet_small"),
    ("report", "runs=nowhere"),
)
"""Command and options; each key of them is drawn."""
TINY = (
    "task=cs_small", "estimator.n_phases=1", "estimator.channels=2", "task.batch_size=2", "task.n_patches=2",
    "task.epochs=1", "trainer.max_steps=1", "data.limit=1", "data.crop=33", "attack.n_iter=1", "attack.eps=[0]",
    "certify.n_samples=8", "certify.sigma=25", "report=false", "cache=null", "trainer.progress_bar=false",
    "trainer.num_threads=1",
)  # fmt: skip
"""A run of a second, of the first base."""
VALUES = (
    "null", "''", "' '", "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "1e-300", "1e300", "0", "-0.0",
    "-1", "1", "2", "0.5", "1.5", "1e3", "100000000000000000000", "-100000000000000000000",
    "9223372036854775808", "2147483648", "true", "false", "on", "abc", "os.system", "torch.nn.Identity", "é",
    "日本語", "'\\t'", "'a\\x00b'", "'$(touch made)'", "'../../made'", "[]", "[1]", "[1,1]", "[[1]]", "[null]",
    "[nan]", "[true]", "['a','']", "{}", "{a:1}", "[{a:1}]", "{_target_:os.system}",
    "{_target_:builtins.print}", "'???'", "${bogus}", "${oc.env:NOT_SET}", "${oc.env:HOME}",
    "${hydra:runtime.cwd}",
    "${by_scale:1}", "${by_algo:1,2}", "${on_patch:a,b,c}",
    "${seed}", "${task}", "${now:%Y}", "${oc.create:{a:1}}", "${bogus:1}", "/dev/null",
    "/etc/passwd", "/", ".", "1_000", "0x10", "1e", "--1", "'" + "x" * 5000 + "'",
    "[" + ",".join(map(str, range(3000))) + "]", "[" * 40 + "]" * 40, "1" * 400, "0." + "0" * 400 + "1",
)  # fmt: skip
"""What somebody may write, or a script that fails."""


ARGUMENTS = {
    "verify": ("nowhere", "--rerun", "--ckpt", "--trust", "--max-draws", "--chunk-size", "--max", "-x", "--", "*.json"),
    "data": ("list", "verify", "prepare", "set11", "--root", "--mirror", "--roto", "list set11", "-", "--"),
    "train": (
        "--multirun",
        "-m",
        "--cfg",
        "job",
        "--config-name",
        "--config-dir",
        "--info",
        "--package",
        "--run",
        "--",
    ),
}
"""Words of the command lines that :class:`argparse.ArgumentParser` reads."""


def leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """All keys, those of groups, too."""
    for key in node:
        name = f"{prefix}{key}"
        yield name
        if (
            isinstance(child := node._get_node(key), DictConfig)
            and not child._is_none()
            and not child._is_interpolation()
        ):
            yield from leaves(child, f"{name}.")


def mutated(key: str, value: str, draw: random.Random) -> str:
    """Mostly a value for a key; now and then another form of an override, or a key that there is not."""
    form = draw.random()
    if form < 0.04:
        return f"+{key}={value}"
    if form < 0.08:
        return f"++{key}x={value}"
    if form < 0.11:
        return f"~{key}"
    if form < 0.13:
        return f"+{key}.deeper={value}"
    return f"{key}={value}"


class Fuzz:
    """The configs of :data:`BASES`, and overrides for them; the same for one seed, however many."""

    def __init__(self, seed: int) -> None:
        schema.register()
        GlobalHydra.instance().clear()
        with initialize_config_module("invsmooth.conf", version_base="1.3"):
            self.bases = [(base, compose(base[0], list(base[1:]))) for base in BASES]
        self.keys = [list(leaves(config)) for _, config in self.bases]
        self.draw = random.Random(seed)

    def case(self) -> tuple[int, list[str]]:
        """The number of a base, and one to three overrides for it."""
        number = self.draw.randrange(len(self.bases))
        return number, [self.override(number) for _ in range(self.draw.choice((1, 1, 1, 2, 3)))]

    def override(self, number: int) -> str:
        key = self.draw.choice(self.keys[number])
        value = self.draw.choice(VALUES)
        if self.draw.random() < 0.3:  # near to what is there
            with contextlib.suppress(Exception):
                there = OmegaConf.select(self.bases[number][1], key)
                value = (
                    str(there * self.draw.choice((-1, 0.5, 2, 10**6))) if isinstance(there, int | float) else str(there)
                )
        return mutated(key, value, self.draw)

    def argument(self) -> tuple[str, list[str]]:
        """A command without Hydra, or the options of a Hydra command, and arguments for it."""
        command, words = self.draw.choice(tuple(ARGUMENTS.items()))
        drawn = [self.draw.choice((*words, *VALUES)) for _ in range(self.draw.choice((0, 1, 2, 3)))]
        return command, [f"{word}={self.draw.choice(VALUES)}" if self.draw.random() < 0.3 else word for word in drawn]

    def examine(self, number: int, overrides: list[str]) -> tuple[str, str]:
        """Whether it is "refused" or "allowed", and the message; "trace" and the stack trace for a mistake of ours."""
        base, config = self.bases[number]
        config = copy.deepcopy(config)
        try:
            ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(overrides), config)
            check(base[0], config)
        except Exception as error:
            known = cli.mistake(error)
            if known is None:
                return "trace", traceback.format_exc()
            said = cli.message(known)
            return ("refused", said) if said.strip() else ("trace", f"no message: {error!r}")
        return "allowed", ""


def examine_arguments(command: str, arguments: list[str]) -> tuple[str, str]:
    """As :meth:`Fuzz.examine`, up to where the work begins."""
    said = io.StringIO()
    parse = {"verify": verify.parse, "data": data.parse, "train": check_options}[command]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parse(arguments)
    except ConfigError as error:
        return "refused", str(error)
    except SystemExit as stop:  # 0: --help, --version
        one = len(said.getvalue().splitlines()) == 1 and said.getvalue().startswith("error: ")
        return ("refused" if stop.code == 0 or (stop.code == 2 and one) else "trace"), said.getvalue()
    except Exception:
        return "trace", traceback.format_exc()
    return "allowed", ""


def check(command: str, config: DictConfig) -> None:
    """All that a run checks before it looks at images."""
    from invsmooth import report
    from invsmooth.pipeline import build

    if command == "report":
        report.check(config)
        patterns = list(config.runs) if OmegaConf.is_list(config.runs) else [config.runs]
        with contextlib.suppress(ConfigError):  # few patterns match a run; a whole disk is not searched
            report.find_runs([p for p in patterns if p != "/"])
        return
    validate_nodes(config, Audit) if command == "audit" else validate(config)
    build.plain(config)
    build.trainer_settings(config.trainer)
    to_unit_scale(config.operator.train_sigma_b)
    if command != "audit":
        build.build_evaluation(config, 3)


def commands(seed: int, count: int) -> Iterator[list[str]]:
    """Overrides for :data:`TINY` that the checks allow, and that ask for little work."""
    fuzz = Fuzz(seed)
    while count:
        override = fuzz.override(0)
        value = override.partition("=")[2]
        if value.isdigit() and int(value) > 100:
            continue
        if override.startswith(("~", "cache", "hydra", "logger")):
            continue
        if fuzz.examine(0, [*TINY[1:], override])[0] == "allowed":
            count -= 1
            yield [*TINY, override]
