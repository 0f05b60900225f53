"""From a config to the settings of an evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_module

from invsmooth.config import schema
from invsmooth.core.errors import ConfigError
from invsmooth.core.units import to_grey_levels
from invsmooth.pipeline.build import build_evaluation, build_settings


def config(*overrides: str) -> Any:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return compose("evaluate", list(overrides))


def test_grey_levels_are_pixels_inside_and_come_back_as_they_were_typed() -> None:
    cfg = config("certify.sigma=[12,25.5,0.1]", "operator.sigma_b=[15,7.3]")
    evaluation, settings = build_evaluation(cfg, 1), build_settings(cfg.operator)
    assert max(evaluation.sigma) == 25.5 / 255
    assert [to_grey_levels(s) for s in evaluation.sigma] == [12, 25.5, 0.1]
    assert [to_grey_levels(s.sigma_b) for s in settings] == [15, 7.3]


def test_two_certifiers_of_one_name_are_refused() -> None:
    cfg = config("certify.certifiers=[error,invsmooth.certificates.error.Error]")
    with pytest.raises(ConfigError, match="two have the same name"):
        build_evaluation(cfg, 1)


def test_best_needs_something_to_choose_from() -> None:
    cfg = config("certify=best", "certify.certifiers=[discrepancy,best]")
    with pytest.raises(ConfigError, match="best combines certificates of others, for attacks on the signal, and none"):
        build_evaluation(cfg, 1)
    evaluation = build_evaluation(config("certify=best"), 1)
    assert [c.name for c in evaluation.parts_of(evaluation.certifiers[-1])] == ["error", "mean", "lipschitz"]
    assert evaluation.levels == [None, *evaluation.sigma]


def test_lipschitz_has_its_threat_and_no_levels_of_noise() -> None:
    evaluation = build_evaluation(config("certify=lipschitz", "certify.threat=measurement", "certify.sigma=[12,25]"), 1)
    assert evaluation.certifiers[0].parameters == {"threat": "measurement"}
    assert evaluation.levels == [None]
    with pytest.raises(ConfigError, match="pointwise has no effect: certify=lipschitz smooths"):
        build_evaluation(config("certify=lipschitz", "certify.pixel_intervals=pointwise"), 1)
    with pytest.raises(ConfigError, match="threat=image is not allowed"):
        build_evaluation(config("certify=lipschitz", "certify.threat=image"), 1)
