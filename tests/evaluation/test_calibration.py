"""The calibration of a network: where its images come from, what is saved with it, and which rows get a floor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from invsmooth.cache import Results, Store, not_kept
from invsmooth.certificates.floor import calibrated
from invsmooth.config import schema
from invsmooth.config.validate import calibration_conflicts
from invsmooth.core.errors import CheckpointError, DataError, NotFiniteError
from invsmooth.data import find_splits, in_memory
from invsmooth.data.datamodule import ImageDataModule, NamedImages, PatchSettings
from invsmooth.data.splits import drawn
from invsmooth.estimators import ISTANetPP
from invsmooth.estimators.frozen import state_sha256
from invsmooth.evaluation.calibration import (
    Calibration,
    floors_of,
    measured_groups,
    read_calibration,
    save_with,
)
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.measurement import Setting, measure
from invsmooth.pipeline.floors import calibrate, saved
from tests.training.toys import Gain, module

CPU = torch.device("cpu")
SETTINGS = [Setting(Identity(), 1.0, 15 / 255), Setting(BlockGaussian(0.5, block=4), 0.5, 0.0)]
ROW = {"lipschitz": 1.5, "inexactness": 0.25, "eps": 2.0, "ratio": 1.0, "sigma_b": 15.0, "image": "new"}


class Set:
    """Images by their numbers."""

    name = "twenty"

    def __init__(self, first: int = 0, n: int = 20) -> None:
        self.numbers = range(first, first + n)

    def files(self, split: str) -> dict[str, np.ndarray]:
        return {str(k): np.random.default_rng(k).random((12, 16 - 4 * (k % 2))) for k in self.numbers}


def images(n: int = 6) -> list[NamedImages]:
    """Of two sizes in turn."""
    sizes = [(12, 16), (12, 12)]
    return [NamedImages([str(k)], torch.rand(1, 1, *sizes[k % 2], generator=torch.Generator().manual_seed(k)))
            for k in range(n)]  # fmt: skip


def calibration(**changes: Any) -> Calibration:
    groups = measured_groups(Gain(0.5), SETTINGS, images(), CPU, lambda measured: not_kept)
    return dataclasses.replace(Calibration("twenty", ("a" * 64,), "b" * 64, groups), **changes)


def test_error_norms_are_those_of_float64_by_setting_and_size() -> None:
    """With each image's own noise, as test images have it."""
    found = calibration().groups
    assert [(g.operator, g.sigma_b, g.height, g.width) for g in found] == [
        (s.operator.sha256(), b, 12, w) for s, b in zip(SETTINGS, (15.0, 0.0), strict=True) for w in (16, 12)
    ]
    setting = SETTINGS[0]
    for group, batches in zip(found[:2], (images()[0::2], images()[1::2]), strict=True):
        measured = [measure(setting, batch.names, batch.x) for batch in batches]
        expected = [np.linalg.norm(0.5 * m.y.numpy().astype(float) - m.x.numpy().astype(float)) for m in measured]
        np.testing.assert_allclose(group.errors, expected, rtol=1e-12)
        assert float(measured[0].b.std()) == pytest.approx(15 / 255, rel=0.2)
    matrix = BlockGaussian(0.5, block=4).double()
    x = images()[0].x.double()
    exact = float((0.5 * matrix.A_adjoint(matrix.A(x)) - x).norm())
    assert found[2].errors[0] == pytest.approx(exact, rel=1e-5)


def test_error_norms_are_cached(tmp_path: Path) -> None:
    results = Results(Store(tmp_path), {}, CPU)
    found = [measured_groups(Gain(0.5), SETTINGS, images(), CPU, lambda measured: results) for _ in range(2)]
    assert found[0] == found[1]
    assert results.counts == {"calibration computed": 12, "calibration cached": 12}


def test_a_reconstruction_that_is_not_finite_is_named() -> None:
    with pytest.raises(NotFiniteError, match=r"data\.calibration: the reconstruction of 0 is not finite"):
        measured_groups(Gain(math.inf), SETTINGS, images(), CPU, lambda measured: not_kept)


def test_floor_of_a_row() -> None:
    """20 log10(√n / (q + L eps + 2 rho)), from the errors of this size and setting alone."""
    found = floors_of(calibration(), SETTINGS, 0.7, {})
    q = calibrated(calibration().groups[1].errors, 0.3)
    assert q == max(calibration().groups[1].errors)  # rank 3 of 3
    expected = 20 * math.log10(12 / (q + 1.5 * 2 + 0.5))
    assert found.of(ROW, 12, 12) == {"psnr_floor": pytest.approx(expected, rel=1e-12), "floor_confidence": 0.7}


def test_no_floor_where_nothing_calibrates() -> None:
    found = floors_of(calibration(), SETTINGS, 0.7, {"seen": "a" * 64, "new": "c" * 64})
    assert found.of(ROW, 12, 12)
    changes: list[dict[str, Any]] = [
        {"image": "seen"}, {"lipschitz": math.nan}, {"lipschitz": None}, {"sigma_b": 10.0}, {"ratio": 0.25},
    ]  # fmt: skip
    assert not any(found.of(ROW | change, 12, 12) for change in changes)
    assert not found.of({k: v for k, v in ROW.items() if k != "lipschitz"}, 12, 12)
    assert not found.of(ROW, 16, 12)  # another size
    assert not floors_of(calibration(), SETTINGS, 0.8, {}).of(ROW, 12, 12)  # three images are too few
    other = [Setting(BlockGaussian(0.5, block=4, seed=1), 0.5, 0.0)]
    assert floors_of(calibration(), other, 0.7, {}).errors == {}


@pytest.mark.parametrize("calibrates", [0, 3])
def test_calibration_images_are_in_no_other_split(calibrates: int) -> None:
    for train, test in ((None, Set()), (Set(), Set()), (Set(first=15), Set())):
        found = find_splits(train, None, test, 0.4, calibrates)
        assert ("calibration" in found) == bool(calibrates)
        assert not {*found["test"]} & {*found.get("calibration", ())}
        data = ImageDataModule(
            name="twenty", load={k: partial(in_memory, {n: f.pixels for n, f in v.items()}) for k, v in found.items()},
            patches=PatchSettings(8, 4, 20, augment=True, seed=3), crop=12, val_crop=None, n_settings=1, num_workers=0,
        )  # fmt: skip
        data.setup("test" if train is None else "fit")
        pictures = [p for loaded in data.images.values() for p in loaded.sha256]
        assert len(pictures) == len(set(pictures))
        assert len(data.images.get("calibration", ())) == calibrates


def test_calibration_images_are_drawn_at_random_and_nested() -> None:
    """Every 2nd image, or the first ones, could be of another kind than the rest."""
    files = Set(n=200).files("test")
    chosen, rest = drawn(files, 60)  # type: ignore[arg-type]
    assert [*sorted([*chosen, *rest], key=int)] == list(files)
    assert set(drawn(files, 20)[0]) < set(chosen)  # type: ignore[arg-type]
    numbers = np.array(sorted(map(int, chosen)))
    assert abs(numbers.mean() - 99.5) < 3 * 200 / math.sqrt(12 * 60)
    assert 15 < np.sum(numbers % 2) < 45
    with pytest.raises(DataError, match=r"data\.calibration=20 of 20 images leave none to test on"):
        drawn(Set().files("test"), 20)  # type: ignore[arg-type]


def test_too_few_calibration_images_are_refused_before_any_work() -> None:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose("train")

    def conflicts(n: int, confidence: float) -> list[str]:
        cfg.data.calibration, cfg.certify.floor_confidence = n, confidence
        return [*calibration_conflicts(cfg)]

    assert (cfg.data.calibration, cfg.certify.floor_confidence) == (0, 0.9)
    assert not conflicts(0, 0.9)
    assert not conflicts(9, 0.9)
    (message,) = conflicts(8, 0.9)
    assert message == "data.calibration=8 is too few for certify.floor_confidence=0.9: give 0, or at least 9"
    (message,) = conflicts(98, 0.99)
    assert message.endswith("at least 99")
    assert not conflicts(99, 0.99)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.ckpt"
    trained = module()
    state = {f"estimator.{k}": v for k, v in trained.estimator.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": trained.setup_.description, "epoch": 3}, path)
    return path


def test_is_saved_with_the_network(checkpoint: Path, tmp_path: Path) -> None:
    assert read_calibration(checkpoint) is None
    before = torch.load(checkpoint, weights_only=True)
    copy = tmp_path / "new" / "best.ckpt"
    assert save_with(calibration(), checkpoint, copy)
    assert read_calibration(copy) == calibration()
    assert read_calibration(checkpoint) is None
    content = torch.load(copy, weights_only=True)
    assert content["epoch"] == 3
    assert content["state_dict"].keys() == before["state_dict"].keys()
    assert save_with(calibration(dataset="other"), copy, copy)
    assert read_calibration(copy).dataset == "other"


def test_a_file_of_other_weights_alone_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "published.pth"
    torch.save(ISTANetPP(1, 2).state_dict(), path)
    content = path.read_bytes()
    assert not save_with(calibration(), path, path)
    assert path.read_bytes() == content


def with_error(value: Any) -> Callable[[dict], object]:
    return lambda saved: saved["groups"][0].update(errors=(value,))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (with_error(-1.0), "errors.0"), (with_error(math.nan), "errors.0"), (with_error("x"), "errors.0"),
        (lambda saved: saved.update(dataset=3), "dataset"), (lambda saved: saved.pop("groups"), "groups"),
        (lambda saved: saved["groups"][0].update(height=0), "height"),
    ],
)  # fmt: skip
def test_a_changed_calibration_is_refused(checkpoint: Path, change: Callable[[dict], object], where: str) -> None:
    wrong = dataclasses.asdict(calibration())
    change(wrong)
    torch.save(torch.load(checkpoint, weights_only=True) | {"calibration": wrong}, checkpoint)
    with pytest.raises(CheckpointError, match=f"its calibration was changed: .*{where}"):
        read_calibration(checkpoint)


def test_a_saved_calibration_serves_its_own_weights_and_images_alone(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, data = Gain(0.5), ImageDataModule(
        name="twenty", load={}, patches=PatchSettings(8, 4, 20, augment=True, seed=3), crop=None, val_crop=None,
        n_settings=1, num_workers=0,
    )  # fmt: skip
    caplog.set_level("INFO")
    own = calibration(estimator_sha256=state_sha256(net))
    assert saved(str(checkpoint), net, data) is None
    save_with(own, checkpoint, checkpoint)
    assert saved(str(checkpoint), net, data) == own
    assert saved(str(checkpoint), Gain(0.6), data) is None
    assert "was calibrated with other weights" in caplog.text
    data.name = "set11"
    assert saved(str(checkpoint), net, data) is None
    assert "calibrated on images of twenty, and these are of set11" in caplog.text
    data.images = {}
    assert calibrate(net, SETTINGS, data, None, CPU) is None  # type: ignore[arg-type]
