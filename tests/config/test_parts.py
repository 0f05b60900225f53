"""Parts: classes named in a config, their parameters checked against signature and type hints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf
from pydantic import Field
from torch import Tensor, nn

from invsmooth.cache import content_key
from invsmooth.cache.parts import identity
from invsmooth.config.parts import CONF, build, free_parameters, load_class, packaged, parameter_errors
from invsmooth.core.errors import ConfigError
from invsmooth.core.parameters import Count

HERE = "tests.config.test_parts"


class Kind(Enum):
    first = "a"


@dataclass(frozen=True)
class Part:
    n_iter: Count = 20
    step: Annotated[float, Field(gt=0, le=1, description="a number in (0, 1]")] | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    mse: Annotated[float, Field(gt=0, description="a number > 0 (MSE)")] = 1.0
    fast: bool = False
    sizes: tuple[int, ...] = ()
    kind: Kind = Kind.first


class Mask:
    def __init__(self, every: int, ratio: float = 1.0, weights: Tensor | Path | str | None = None) -> None:
        self.every, self.ratio, self.weights = every, ratio, weights
        if every > 100:
            raise ValueError("every is too large")

    def A(self, x: Any) -> Any:
        return x

    def A_adjoint(self, y: Any) -> Any:
        return y


class NoSuper(nn.Module):
    def __init__(self, layers: bool = False) -> None:
        self.layers = layers if not layers else nn.Linear(2, 2)


class Raising:
    def __init__(self) -> None:
        raise KeyError("a bug")


class Loose:
    def __init__(self, **anything: Any) -> None:
        self.anything = anything


NOT_A_CLASS = 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_iter": 0}, "attack.n_iter=0 is not allowed; allowed: a whole number >= 1 and <= 10^9"),
        ({"n_iter": True}, "attack.n_iter=true is not allowed; allowed: a whole number >= 1 and <= 10^9"),
        ({"n_iter": "3"}, "attack.n_iter=3 is not allowed; allowed: a whole number >= 1 and <= 10^9"),
        ({"n_iter": 2.5}, "attack.n_iter=2.5 is not allowed; allowed: a whole number >= 1 and <= 10^9"),
        ({"n_iter": None}, "attack.n_iter has no value; allowed: a whole number >= 1 and <= 10^9"),
        ({"n_iter": "???"}, "attack.n_iter has no value; allowed: a whole number >= 1 and <= 10^9"),
        ({"step": 2}, "attack.step=2 is not allowed; allowed: a number in (0, 1], or null"),
        ({"step": float("nan")}, "attack.step=nan is not allowed; allowed: a number in (0, 1], or null"),
        ({"schedule": "linear"}, "attack.schedule=linear is not allowed; allowed: constant, cosine"),
        ({"mse": 0}, "attack.mse=0 is not allowed; allowed: a number > 0 (MSE)"),
        ({"fast": 1}, "attack.fast=1 is not allowed; allowed: true, false"),
        ({"sizes": [1, "a"]}, "attack.sizes=[1, 'a'] is not allowed; allowed: a list, each a whole number"),
        ({"n_itr": 3}, f"attack.n_itr is no parameter of {HERE}.Part; it takes n_iter, step, schedule, mse, fast, sizes, "
                       "kind; did you mean attack.n_iter? (for a class of your own start from attack=custom)"),
    ],
)  # fmt: skip
def test_values_are_checked_against_the_type_hints(given: dict[str, Any], message: str) -> None:
    assert list(parameter_errors(Part, given, "attack")) == [message]


def test_allowed_values_raise_nothing() -> None:
    given = {"n_iter": 3, "step": 1, "schedule": "cosine", "mse": 2, "fast": True, "sizes": [1, 2], "kind": "a"}
    assert list(parameter_errors(Part, given, "attack")) == []
    assert list(parameter_errors(Loose, {"a": 1, "b": "c"}, "attack")) == []


def test_parameters_that_the_program_provides() -> None:
    assert list(parameter_errors(Mask, {"every": 2}, "operator", ["ratio"])) == []
    (unknown, missing) = parameter_errors(Mask, {"ratio": 1}, "operator", ["ratio"])
    assert unknown.startswith(f"operator.ratio is no parameter of {HERE}.Mask; it takes every, weights")
    assert missing == "operator.every has no value; allowed: a whole number"


def test_build_converts_and_provides() -> None:
    node = OmegaConf.create({"name": "p", "_target_": f"{HERE}.Part", "sizes": [1, 2], "kind": "a", "step": 1})
    part = build("attack", node, ["name"], ratio=0.5)
    assert part == Part(sizes=(1, 2), step=1.0)
    assert isinstance(part.step, float)
    node = OmegaConf.create({"_target_": f"{HERE}.Mask", "every": "${n}", "weights": "a.npy"})
    mask = build("operator", OmegaConf.create({"n": 3, "operator": node}).operator, [], ratio=0.5, seed=1)
    assert (mask.every, mask.ratio, mask.weights) == (3, 0.5, Path("a.npy"))


def test_null_is_the_default_of_the_class_where_it_has_one() -> None:
    node = OmegaConf.create({"_target_": f"{HERE}.Part", "n_iter": None, "step": None, "not_of_this_class": None})
    assert build("attack", node, []) == Part()
    with pytest.raises(ConfigError, match=r"every has no value"):
        build("operator", OmegaConf.create({"_target_": f"{HERE}.Mask", "every": None}), [])


def test_free_parameters_are_plain() -> None:
    cfg = OmegaConf.create({"a": {"name": "x", "_target_": "y", "list": [1, "${b}"], "none": "???", "far": "${c}"},
                            "b": 2, "c": "???"})  # fmt: skip
    found = free_parameters(cfg.a, ["name"])
    assert found == {"list": [1, 2], "none": "???", "far": "???"}
    assert type(found["list"]) is list


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "attack._target_ has no value; give the dotted path of a class"),
        ({"_target_": "???"}, "attack._target_ has no value"),
        ({"_target_": "no.such.Net"}, "attack._target_=no.such.Net cannot be imported: No module named 'no'"),
        ({"_target_": f"{HERE}.Nothing"}, "cannot be imported: .* has no attribute 'Nothing'"),
        ({"_target_": f"{HERE}.NOT_A_CLASS"}, "NOT_A_CLASS is a int; give the dotted path of a class"),
        ({"_target_": f"{HERE}.Mask"}, "attack.every has no value; allowed: a whole number"),
        ({"_target_": f"{HERE}.Mask", "every": 101}, "attack: every is too large"),
        ({"_target_": f"{HERE}.NoSuper"}, r"NoSuper.__init__ does not call super\(\).__init__\(\), as its first line"),
        (
            {"_target_": f"{HERE}.NoSuper", "layers": True},
            r"NoSuper cannot be made: AttributeError: cannot assign module",
        ),
        ({"_target_": f"{HERE}.Raising"}, r"Raising cannot be made: KeyError: 'a bug' \(.*test_parts.py, line "),
        ({"_target_": f"{HERE}.Mask", "every": 0.5, "evry": 1}, "attack.every=0.5 .*\nattack.evry is no parameter"),
    ],
)
def test_what_cannot_be_built_is_one_message(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("attack", OmegaConf.create(node), [])


def test_packaged_options_are_found_in_the_files() -> None:
    found = packaged("estimator")
    assert found["dpdnn"] == "invsmooth.estimators.DPDNN"
    named = {p.stem for p in (CONF / "estimator").glob("*.yaml") if "_target_: invsmooth." in p.read_text()}
    assert set(found) == named
    for target in found.values():
        load_class(target, "estimator")


def test_identity_of_a_part() -> None:
    keys = {content_key(identity(p)) for p in (Mask(1), Mask(2), Mask(1, 0.5), Part(), Part(n_iter=3))}
    assert len(keys) == 5
    assert content_key(identity(Mask(1))) in keys
    found = identity(Mask(3))
    assert (found["class"], found["parameters"]["every"]) == (f"{HERE}.Mask", 3)
    assert HERE in found["code"]


def test_a_part_that_does_not_store_a_parameter_is_refused() -> None:
    class Careless:
        def __init__(self, every: int, more: Sequence[int] = ()) -> None:
            self.every = every

    with pytest.raises(ConfigError, match=r"does not store its parameter more; add self\.more = more"):
        identity(Careless(1))


def test_our_own_parts_need_no_code() -> None:
    from invsmooth.operators import Identity

    assert identity(Identity()) == {"class": "invsmooth.operators.identity.Identity", "parameters": {}}
