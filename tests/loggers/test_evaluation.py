"""What is given to every logger, whatever it is."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger

from invsmooth import loggers as backends
from invsmooth.config import schema
from invsmooth.config.validate import validate
from invsmooth.core.errors import ConfigError
from invsmooth.loggers import close_loggers, evaluation, gallery, log_evaluation
from invsmooth.loggers.charts import charts
from invsmooth.loggers.description import describe
from invsmooth.loggers.evaluation import gather, summary
from invsmooth.loggers.gallery import galleries
from invsmooth.pipeline.run import run_loggers
from tests.config.test_config import config
from tests.loggers.runs import plain
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, keep_pictures, row, stored

TASK = ("task=cs",)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["logger=wandb", "logger.mode=onlin"],
            "logger.mode=onlin is not allowed; allowed: online, offline, disabled, or null",
        ),
        (["logger=wandb", "logger.init_timeout=0"], "logger.init_timeout=0"),
        (["logger=wandb", "logger.tags=['']"], "logger.tags"),
        (["logger=wandb", "+logger.projct=a"], "logger.projct is no key of the config; did you mean logger.project"),
        (["logger=csv", "+logger.mode=offline"], "logger.mode is no key of the config"),
    ],
)
def test_mistakes_in_the_config(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(config(*TASK, *overrides))
    assert message in str(caught.value)


def test_a_logger_whose_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'x'")

    monkeypatch.setattr(backends, "import_module", missing)
    with pytest.raises(ConfigError, match=r"logger=mlflow needs a package .*: pip install -e '\.\[mlflow\]'"):
        run_loggers(config(*TASK, "logger=mlflow"), tmp_path, command="train")


@pytest.fixture
def sweep() -> Iterator[Any]:
    """The config of a job of a Hydra multirun."""
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        overrides = [*TASK, "logger=wandb", "hydra.mode=MULTIRUN", "hydra.sweep.dir=/x/my sweep"]
        cfg = compose("train", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    yield config(*TASK, "logger=wandb")
    HydraConfig.instance().cfg = None


def test_jobs_of_a_sweep_are_one_group(sweep: Any, tmp_path: Path) -> None:
    assert describe(plain(sweep), tmp_path / "0_cs", "train").group == "my sweep"


def test_a_logger_that_fails_does_not_fail_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Logger):
        name, version = "broken", 0

        def log_metrics(self, *args: Any, **kwargs: Any) -> None: ...

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        def log_evaluation(self, found: Any) -> None:
            raise OSError("no space")

        def close(self, failed: bool) -> None:
            raise OSError("no server")

    stored(tmp_path, row())
    log_evaluation([Broken()], tmp_path)
    close_loggers([Broken()])
    assert [r.message.split(",")[0] for r in caplog.records if r.levelno == logging.ERROR] == [
        "Broken did not take the evaluation",
        "Broken was not closed properly",
    ]


def test_summary_gives_no_mean_over_some_images_as_certified(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(), row(image="two", **NONE), row(eps=0.0), row(eps=0.0, image="two", bound=4e-3))
    found = summary(rows, DECLARED)
    start = "eval/ratio0.1_b0"
    assert found[f"{start}/psnr_clean"] == 30
    assert found[f"{start}/bound/discrepancy/eps0_sigma25"] == pytest.approx(3e-3)
    assert found[f"{start}/certified_share/discrepancy/eps0.1_sigma25"] == 0.5
    assert f"{start}/bound/discrepancy/eps0.1_sigma25" not in found
    assert all(math.isfinite(v) for v in found.values())


def test_published_certificates_keep_their_label(tmp_path: Path) -> None:
    rows = stored(tmp_path, *(row(units="paper", sound=False, eps=eps) for eps in (0.1, 0.2)))
    keep_pictures(tmp_path, 0.1, 25)
    assert "eval/ratio0.1_b0/bound_as_published/discrepancy/eps0.1_sigma25" in summary(rows, DECLARED)
    assert all("as_published" in name for name in summary(rows, DECLARED) if "bound" in name or "certified" in name)
    assert all("not a certificate" in chart.title for chart in charts(rows, DECLARED))
    (shown,) = galleries(rows, DECLARED).values()
    assert ["not a certificate" in p.caption for p in shown if p.kind == "rank_k"] == [True]
    assert "not a certificate" in gather(tmp_path).note


def test_an_attack_on_the_smoothed_network_is_named_with_its_sigma(tmp_path: Path) -> None:
    cells = [
        row(attack_target="mean", eps=e, sigma=s, psnr_attacked=20 + e - s) for e in (0.1, 0.2) for s in (1.0, 2.0)
    ]
    rows = stored(tmp_path, *cells)
    assert summary(rows, DECLARED)["eval/ratio0.1_b0/psnr_attacked/eps0.2_sigma2"] == pytest.approx(18.2)
    lines = {
        line.label for chart in charts(rows, DECLARED) for line in chart.lines if chart.name.endswith("psnr_over_eps")
    }
    assert {"attacked, sigma = 1", "attacked, sigma = 2"} <= lines


def test_curves_have_a_line_for_each_thing_and_no_hole(tmp_path: Path) -> None:
    cells = [row(eps=e, sigma=s, psnr_attacked=28 - e, bound=e * s + 1) for e in (0.0, 1.0, 2.0) for s in (6.0, 12.0)]
    cells[-1] |= NONE
    found = {chart.name.rsplit("/", 1)[1]: chart for chart in charts(stored(tmp_path, *cells), DECLARED)}
    assert set(found) == {"psnr_over_eps", "mse_over_eps", "psnr_over_sigma", "mse_over_sigma"}
    over_eps = {line.label: line for line in found["mse_over_eps"].lines}
    assert over_eps["certified discrepancy, sigma = 6"].ys == [1, 7, 13]
    assert over_eps["certified discrepancy, sigma = 12"].xs == [0, 1]  # there is none at eps = 2
    attacked = next(line for line in found["psnr_over_eps"].lines if line.label == "attacked")
    assert (attacked.xs, attacked.ys) == ([0, 1, 2], [28, 27, 26])
    over_sigma = {line.label: line for line in found["mse_over_sigma"].lines}
    assert over_sigma["certified discrepancy, eps = 1"].ys == [7, 13]
    assert "certified discrepancy, eps = 2" not in over_sigma  # one point is no curve


def test_one_point_is_no_curve(tmp_path: Path) -> None:
    assert charts(stored(tmp_path, row()), DECLARED) == []


def test_pictures_are_limited_and_spread_over_the_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from invsmooth.records.pictures import picture_file

    radii = [0.0, 0.1, 0.2, 0.3, 0.4]
    rows = stored(tmp_path, *(row(eps=e, image=i) for i in ("one", "two") for e in radii))
    for image in ("one", "two"):
        for k, eps in enumerate(radii):
            path = picture_file(tmp_path, image, 0.1, 0.0, eps, 25.0)
            path.parent.mkdir(exist_ok=True)
            same, own = np.zeros((4, 4), np.uint8), np.full((4, 4), k, np.uint8)
            np.savez_compressed(path, clean=same, attacked=own, median=own)
    monkeypatch.setattr(gallery, "GALLERIES", 1)
    monkeypatch.setattr(gallery, "CELLS", 3)
    (shown,) = galleries(rows, DECLARED).values()
    assert [p.kind for p in shown] == ["clean", *["attacked", "median"] * 3]
    assert [p.caption.split("ε = ")[1].split(":")[0] for p in shown if p.kind == "attacked"] == ["0", "0.2", "0.4"]
    assert "pictures of 1 of 2" in caplog.text


def test_a_long_summary_is_cut_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(evaluation, "SUMMARY_LIMIT", 3)
    assert len(summary(stored(tmp_path, row()), DECLARED)) == 3
    assert "takes 3 of" in caplog.text
