"""Mistyped keys, options and arguments: one short message; a bug of ours stays a bug, with its stack trace."""

from __future__ import annotations

import sys

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError

from invsmooth.config import cli, schema
from invsmooth.config.hydra_errors import check_options
from invsmooth.config.parts import CONF
from invsmooth.core.errors import ConfigError


def error_of(*overrides: str, command: str = "train") -> Exception:
    schema.register()
    with (
        initialize_config_module("invsmooth.conf", version_base="1.3"),
        pytest.raises(Exception) as found,  # noqa: PT011
    ):
        OmegaConf.to_container(compose(command, list(overrides)), resolve=True)
    return found.value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("alog=ord", "alog is no key of the config; did you mean algo?; known are scale, task, "),
        ("train.foo=1", "train.foo is no key of the config; did you mean trainer?; known are scale, "),
        ("attack.epz=1", "attack.epz is no key of the config; did you mean attack.eps?; known are attack.name, "),
        ("seed.x=1", "seed.x=1 is not allowed; allowed: a whole number"),
        ("~foo", "foo is no key of the config; known are scale, "),
        ("algo=ordd", "algo=ordd is not allowed; did you mean algo=ord?; allowed: adv, adv_small, certified, "),
        ("data/test=set1", "data/test=set1 is not allowed; did you mean data/test=set12?; allowed: bsd68, "),
        ("experiment=a/b", "experiment=a/b is not allowed; allowed: quickstart, robustness"),
        ("algo", "the argument algo has no '=': write key=value"),
        (
            "attack.eps=[0.1",
            "the argument attack.eps=[0.1 cannot be read: no viable alternative at input '[0.1'; close",
        ),
        ("seed=abc", "seed=abc is not allowed; allowed: a whole number"),
        ("report=abc", "report=abc is not allowed; allowed: true or false"),
        ("+seed=1", "seed is there already: write seed=VALUE, without the +"),
        ("+experiment=quickstart", "experiment is there already: write experiment=OPTION, without the +"),
        ("seed=${bogus}", "seed: it refers to ${bogus}, which is no key of the config"),
        ("seed=${seed}", "seed: it refers to itself (${…}); give a value"),
        ("data.root=${data.root}", "data.test.root: it refers to itself"),
        ("attack.eps={a:1}", "attack.eps={a:1} is not allowed: attack.eps has no keys; allowed: one value, or a list"),
        ("seed=${by_algo:1,2}", "seed: by_algo of 1 and 2: give a value, and others by name, {NAME: VALUE}"),
        ("seed=${by_task:1,2}", "seed: by_task of 1 and 2: give a value, and others by name, {NAME: VALUE}"),
        ("seed=${on_patch:a,b,c}", "seed: on_patch of a, b and c: give three numbers, the second not 0"),
    ],
)
def test_one_short_message(override: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", override])
    known = cli.mistake(error_of(override))
    assert known is not None
    assert cli.message(known).startswith(said)
    assert len(cli.message(known).splitlines()) == 1


def test_several_options_of_one_group() -> None:
    with pytest.raises(ConfigError, match=r"algo has one option; for a run of each: --multirun algo=ord,adv$"):
        check_options(["algo=[ord, adv]", "seed=1"])
    check_options(["--multirun", "attack.eps=[0,1]", "algo=ord,adv", "operator.ratio=[0.1,0.3]"])


def test_several_values_without_multirun() -> None:
    known = cli.mistake(error_of("algo=ord,adv"))
    assert known is not None
    assert "add --multirun to run each" in cli.message(known)


def test_the_other_commands() -> None:
    known = cli.mistake(error_of("ou=x", command="report"))
    assert known is not None
    assert cli.message(known) == "ou is no key of the config; did you mean out?; known are runs, out, table, eps, cards"


@pytest.mark.parametrize(
    ("option", "said"),
    [("--multrun", "did you mean --multirun?"), ("--cfg", "expected one argument"), ("--cfg=x", "invalid choice: 'x'")],
)
def test_options(option: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="the command line cannot be read") as error:
        check_options(["seed=1", option])
    assert said in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "argument",
    ["task=null", "attack=null", "algo={a:1}", "data/test=null", "hydra/launcher=null", "~task", "~algo=ord"],
)
def test_a_group_without_an_option(argument: str) -> None:
    group = argument.split("=")[0].lstrip("~")
    with pytest.raises(ConfigError, match=f"is not allowed: {group} has always an option; choose one: {group}=OPTION"):
        check_options(["seed=1", argument])
    check_options(["experiment=null", "ckpt=null", "~experiment"])


@pytest.mark.parametrize("option", [["--experimental-rerun", "job.pickle"], ["--experimental-rerun=job.pickle"]])
def test_no_code_of_a_file_is_run(option: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^--experimental-rerun is not supported: it would run code of its file"):
        check_options(option)


def test_a_key_that_is_taken_away_is_missing() -> None:
    said = cli.message(
        ConfigAttributeError("Key 'sigma_b' is not in struct\n    full_key: operator.sigma_b\n    object_type=dict")
    )
    assert said == "operator.sigma_b: it is missing; give a value"


def test_parameters_of_the_sweeper_are_for_files() -> None:
    with pytest.raises(ConfigError, match=r"is for config files; on the command line give .* --multirun KEY=A,B"):
        check_options(['hydra.sweeper.params={seed: "0,1"}'])


def test_the_options_of_a_group_are_those_of_its_folder() -> None:
    """A schema is none: task=glob(*) would run it."""
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        for group in ("task", "trainer", "logger", "algo"):
            assert loader.get_group_options(group) == sorted(p.stem for p in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("option", [["--config-name=train"], ["--config-name", "train.yaml"], ["-cn", "train"]])
@pytest.mark.parametrize("command", ["invsmooth/evaluate.py", "bin/invsmooth-evaluate"])
def test_the_config_of_another_command(command: str, option: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [command, *option])
    with pytest.raises(
        ConfigError, match=r"^--config-name=train is the config of another command: python -m invsmooth.train$"
    ):
        check_options(["seed=1", *option])
    check_options(["--config-name=evaluate"])
    check_options(["--config-dir=mine", "--config-name=mine"])


class Broken:
    """Replaced below."""


@pytest.mark.parametrize("module", ["invsmooth.config.resolvers", "somebody.resolvers"])
def test_a_bug_in_a_resolver_of_ours_is_no_mistake_of_the_user(module: str) -> None:
    OmegaConf.register_new_resolver("broken", in_module(module), replace=True)
    error = error_of("seed=${broken:}")
    assert (cli.mistake(error) is None) == module.startswith("invsmooth.")


def in_module(module: str) -> object:
    space: dict[str, object] = {"__name__": module}
    exec("def broken(*_, **__):\n    raise AttributeError('a bug')", space)
    return space["broken"]


@pytest.mark.parametrize(
    ("module", "kind", "bug"),
    [("invsmooth.x", "TypeError", True), ("invsmooth.x", "ValueError", False), ("my_lab.x", "TypeError", False)],
)
def test_a_bug_in_a_target_of_ours(module: str, kind: str, bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    space: dict[str, object] = {"__name__": module}
    exec(f"class Broken:\n    def __init__(self):\n        raise {kind}('in the target')", space)
    monkeypatch.setattr(sys.modules[__name__], "Broken", space["Broken"])
    with pytest.raises(InstantiationException) as error:
        instantiate({"_target_": f"{__name__}.Broken"})
    assert (cli.mistake(error.value) is None) == bug


def test_a_bug_while_a_config_is_read_is_no_mistake_of_the_user() -> None:
    """An error that is not OmegaConf's, with a frame of Hydra's reader around it."""
    for module, bug in (("invsmooth.config.x", True), ("hydra.x", False)):
        inner: dict[str, object] = {"__name__": module}
        exec("def f():\n    raise TypeError('a bug')", inner)
        outer: dict[str, object] = {"__name__": "hydra._internal.config_loader_impl", "f": inner["f"]}
        exec("def g():\n    f()", outer)
        with pytest.raises(TypeError) as error:
            outer["g"]()  # type: ignore[operator]
        assert (cli.mistake(error.value) is None) == bug


def test_the_place_of_an_option() -> None:
    with pytest.raises(ConfigError, match="options such as --multirun stand before all key=value, or after them"):
        check_options(["task=cs", "--multirun", "seed=0,1"])
