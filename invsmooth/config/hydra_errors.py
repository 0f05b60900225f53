"""What Hydra and OmegaConf say of a mistyped key, option or value, in one short message: the key, the nearest names that
there are, and what to write instead."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invsmooth.config.parts import did_you_mean
from invsmooth.core.console import printable
from invsmooth.core.errors import ConfigError

TYPES = {
    "Float": "a number",
    "Integer": "a whole number",
    "Boolean": "true or false",
    "bool": "true or false",
    "string": "a text",
}
NOISE = (
    "full_key:",
    "object_type=",
    "reference_type=",
    "See https://",
    "To append to your ",
    "Config search path:",
    "provider=",
)
COMMANDS = ("train", "evaluate", "audit", "report")  # that read a config of their own name
ONE_OPTION = "algo|attack|certify|data|data/test|estimator|launcher|logger|operator|task|trainer"
"""Groups of the config. Of a list of options Hydra would compose all, one over the other."""


def check_options(arguments: Sequence[str]) -> None:
    """Raises: ConfigError: an option that Hydra does not have, ``--multrun``, or one without its value; bytes that are no
    UTF-8, which no config file can hold; a list of options for one group, null, or keys."""
    if wrong := [a for a in arguments if re.search("[\ud800-\udfff]", a)]:
        raise ConfigError(
            f"the argument {short(printable(wrong[0]))} has bytes that are no UTF-8; rename the file or folder, or make a "
            "link with another name to it (ln -s)"
        )
    for found in filter(None, (re.fullmatch(rf"({ONE_OPTION})=\[(.*,.*)\]", a) for a in arguments)):
        group, options = found[1], found[2].replace(" ", "")
        raise ConfigError(f"{found[0]}: {group} has one option; for a run of each: --multirun {group}={options}")
    without = rf"({ONE_OPTION}|hydra|hydra/\w+)=(?:null|\{{.*\}})|~({ONE_OPTION})(?:=.*)?"
    for found in filter(None, (re.fullmatch(without, a) for a in arguments)):
        group = found[1] or found[2]
        raise ConfigError(f"{found[0]} is not allowed: {group} has always an option; choose one: {group}=OPTION")
    if wrong := [a for a in arguments if re.match(r"\+*hydra\.sweeper\.params=", a)]:
        raise ConfigError(
            f"{short(wrong[0])} is for config files; on the command line give the values themselves: --multirun KEY=A,B"
        )
    if any(a.startswith("--experimental-rerun") for a in arguments):
        raise ConfigError(
            "--experimental-rerun is not supported: it would run code of its file; run.json has the command"
        )
    check_config_name(arguments)
    parser = get_args_parser()

    def refuse(text: str) -> NoReturn:
        found = re.search(r"(?:unrecognized arguments: |ambiguous option: )(\S+)", text)
        known = [o for o in parser._option_string_actions if o.startswith("--")]
        hint = did_you_mean(found[1].split("=")[0], known) if found else ""
        if found and "=" in found[1] and not found[1].startswith("-"):
            hint = "; options such as --multirun stand before all key=value, or after them"
        raise ConfigError(
            f"the command line cannot be read: {text}{hint}; --help shows the keys, --hydra-help the options"
        )

    parser.error = refuse  # type: ignore[method-assign, assignment]
    if not {"--version", "--help", "-h"} & set(arguments):
        given = parser.parse_args(list(arguments))
        if given.package and not given.cfg:
            raise ConfigError(f"--package={given.package} is a part of what --cfg shows: give --cfg job as well")


def check_config_name(arguments: Sequence[str]) -> None:
    """Raises: ConfigError: ``--config-name`` is that of another command, whose keys this one would not use."""
    mine = Path(sys.argv[0]).stem.removeprefix("invsmooth-")
    told = re.search(r"(?:^|\n)(?:--config-name|-cn)(?:=|\n)(.+)", "\n".join(arguments))
    name = told[1].removesuffix(".yaml") if told else mine
    if mine in COMMANDS and name in COMMANDS and name != mine:
        raise ConfigError(f"--config-name={name} is the config of another command: python -m invsmooth.{name}")


def reworded(error: BaseException) -> str:
    """The message of an error of Hydra or OmegaConf."""
    text, cause = str(error).strip(), str(error.__cause__ or "").strip()
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, text)
    if isinstance(error, MissingConfigException) and (group := re.search(r"Available options in '([^']+)'", text)):
        option = re.search(rf"Could not find '{re.escape(group[1])}/([^']*)'", text)
        return no_option(group[1], option[1] if option else "", error.options or (), text)
    for pattern, said in (
        (r"In '(?:[^']*/)?([^/']+)/([^/']+)': (?s:.*)Key '\1' not in '\w+'", lambda m: no_package(f"{m[1]}/{m[2]}.yaml")),
        (r"In '([^']+)': (?s:.*)Key '(_\w+)' not in '\w+'", lambda m: f"{m[1]}.yaml: there is no @package {m[2]}"),
        (r"(\S+) appears more than once in the final defaults list", lambda m: twice(m[1])),
        (r"Could not override '([^'@/]+)'", lambda m: no_key(m[1], config_of(error))),
        (r"Could not delete from config. '([^'@/]+)' does not exist", lambda m: no_key(m[1], config_of(error))),
        (r"Error merging override ([^=]+)=((?s:.*))", lambda m: no_value(m[1].lstrip("+"), m[2], cause)),
        (r"Multiple values for ([^.]+)\.", lambda m: f"{m[1]} is there already: write {m[1]}=OPTION, without the +"),
        (r"An item is already at '([^']+)'", lambda m: f"{m[1]} is there already: write {m[1]}=VALUE, without the +"),
        (r"Ambiguous value for argument '((?s:.+?)=(?s:.+))'\n1\.", lambda m: several(m[1])),
    ):  # fmt: skip
        if match := re.search(pattern, text):
            return said(match)
    return plain(text if cause in text else f"{text}\n{cause}")  # the point is often in the cause


def plain(text: str) -> str:
    """Without the lines that say where Hydra looked; the key in front."""
    if missing := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"{missing[1]} has no value; give one, on the command line or in the file of the option"
    lines = [line.strip() for line in text.splitlines()]
    key = next((line.removeprefix("full_key:").strip() for line in lines if line.startswith("full_key:")), "")
    kept = [line for line in lines if line and not line.startswith(NOISE)]
    said = re.sub(r"\w+ raised while resolving interpolation: ", "", "\n".join(kept))
    said = said.replace("Recursive interpolation detected", "it refers to itself (${…}); give a value")
    said = re.sub("Interpolation key '(.+)' not found", r"it refers to ${\1}, which is no key of the config", said)
    said = re.sub("Key '[^']+' is not in struct", "it is missing; give a value", said)
    return f"{key}: {said}" if key and key not in said else said


def short(text: object) -> str:
    return str(text) if len(str(text)) <= 200 else f"{str(text)[:200]}…"


def unreadable(override: str, text: str) -> str:
    if "missing EQUAL" in text:
        return (
            f"the argument {short(override)} has no '=': write key=value, without spaces around the =; what has spaces "
            "stands in quotes: 'data.root=my images'"
        )
    return (
        f"the argument {short(override)} cannot be read: {short(text.splitlines()[0])}; close all brackets and quotes, and "
        "put a value with special characters in two pairs of quotes: 'key=\"value\"'"
    )


def no_package(file: str) -> str:
    return f"{file}: its first line has to be '# @package _global_', so that its keys are those of the whole config"


def twice(group: str) -> str:
    return f"{group} is in the defaults twice; in the defaults of a file of yours write: override /{group}: OPTION"


def no_option(group: str, option: str, options: Sequence[str], text: str) -> str:
    place = re.match(r"In '([^']+)'", text)
    # An option that the command does not name is in a file.
    where = f"{place[1]}.yaml: " if place and option and option not in " ".join(sys.argv[1:]) else ""
    hint = did_you_mean(option, options, f"{group}=")
    return f"{where}{group}={short(option)} is not allowed{hint}; allowed: {', '.join(options)}"


def config_of(error: BaseException) -> DictConfig | None:
    """The config that an override did not fit; Hydra's message does not say what is in it."""
    found = (frame.f_locals.get("cfg") for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((config for config in found if isinstance(config, DictConfig)), None)


def no_key(key: str, config: DictConfig | None) -> str:
    node, above = config, ""
    for part in key.split("."):
        if not isinstance(node, DictConfig):
            hint = did_you_mean(key, ONE_OPTION.split("|"))
            return f"{key} is no key of the config" + (
                f": {above.rstrip('.')} has no keys of its own" if above else hint
            )
        known = [str(k) for k in node if above or str(k) != "hydra"]
        if part not in node:
            part_of_ours = "_target_" in node and not above.startswith("hydra.")
            custom = f"; for a class of your own start from {above.rstrip('.')}=custom" if part_of_ours else ""
            hint = did_you_mean(part, known, above)
            return f"{key} is no key of the config{hint}; known are {', '.join(f'{above}{k}' for k in known)}{custom}"
        node, above = OmegaConf.select(node, part, throw_on_missing=False), f"{above}{part}."
    return f"{key} is no key of the config"


def no_value(key: str, value: str, cause: str) -> str:
    said = plain(cause).splitlines()[0] if cause else "it does not fit"
    kind = re.search(r"(?:could not be converted to|to|is not a valid) (Float|Integer|Boolean|string|bool)\b", said)
    if kind:
        return f"{key}={short(value)} is not allowed; allowed: {TYPES[kind[1]]}"
    if "Cannot merge DictConfig with ListConfig" in said:
        return f"{key}={short(value)} is not allowed: {key} has no keys; allowed: one value, or a list [A,B]"
    return f"{key} has no value" if "is not Optional" in said else f"{key}={short(value)} is not allowed: {short(said)}"


def several(argument: str) -> str:
    key, _, values = argument.partition("=")
    if key == "runs":  # of a report, which has no --multirun
        return f"{short(argument)} has several values: a list of runs is 'runs=[{short(values)}]'"
    return (
        f"{short(argument)} has several values: add --multirun to run each; a list is {key}=[{short(values)}]; a text "
        f"with commas has two pairs of quotes: '{key}=\"{short(values)}\"'"
    )


def ours(error: BaseException) -> bool:
    """Whether it is a mistake in our code (or in a user's class) that runs while a config is read: neither Hydra's, nor
    OmegaConf's, nor one that our code says in a message of its own."""
    root = error
    said = (HydraException, OmegaConfBaseException)
    while isinstance(root, said) and (below := root.__cause__ or root.__context__) is not None:
        root = below
    frames = [frame for frame, _ in traceback.walk_tb(root.__traceback__)]
    if isinstance(root, (*said, ConfigError, OSError)) or not frames:
        return False
    if isinstance(error, InstantiationException) and isinstance(root, ValueError):  # parameters that do not go together
        return False
    return str(frames[-1].f_globals.get("__name__", "")).startswith("invsmooth.")
