"""Redrawing confirms what was drawn, wherever the files are, and refutes what was not."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.certificates import Mean, draw_buffer
from invsmooth.certificates.percentile import Percentile
from invsmooth.core.units import Units
from invsmooth.estimators import MatchedFilter, Ridge
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.measurement import Setting, measure
from invsmooth.records.certificate_files import rerun as rerunning
from invsmooth.records.certificate_files.arithmetic import expected
from invsmooth.records.certificate_files.checks import findings
from invsmooth.records.certificate_files.format import CertificateFileError, Record, checksum, read_record
from invsmooth.records.certificate_files.parts import certifier_of
from invsmooth.records.certificate_files.rerun import as_lengths, rebuild_estimator, rebuild_operator, rerun
from invsmooth.verify import run
from tests.certificate_files.made import (
    NearlyConstant,
    certified_at,
    evaluation_of,
    make,
    make_nearly_constant,
    save,
    save_weights,
    write,
)

TOGETHER = ("error", "discrepancy", "radius", "mean")


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
def test_an_untouched_file_is_confirmed_at_any_chunk_size(tmp_path: Path, chunk_size: int | None) -> None:
    for path in make(tmp_path, *TOGETHER, "center"):
        record = read_record(path)
        assert len(record["certificates"]) == 4 + 3
        assert rerun(record, path, None, chunk_size) == []


def test_a_network_in_bfloat16_is_redrawn_in_bfloat16(tmp_path: Path) -> None:
    for path in make(tmp_path, *TOGETHER, precision="bf16"):
        record = read_record(path)
        assert record["estimator"]["precision"] == "bf16"
        assert findings(record, path) == []
        assert rerun(record, path, None, None) == []
        assert run([str(path), "--rerun"]) == 0
        other = copy.deepcopy(record)
        del other["estimator"]["precision"]
        other["sha256"] = checksum(other)
        assert findings(other, path) == []
        assert rerun(other, path, None, None), "in float32 the network gives other numbers"


def test_a_float32_file_says_nothing_of_precision_and_no_other_precision_is_known(tmp_path: Path) -> None:
    path = make(tmp_path, "error")[0]
    record = read_record(path)
    assert "precision" not in record["estimator"]
    record["estimator"]["precision"] = "fp16"
    record["sha256"] = checksum(record)
    assert findings(record, path) == ["estimator.precision: 'fp16' is not bf16"]


def test_no_room_for_the_draws_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (path,) = make(tmp_path, "mean")[:1]
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    assert run([str(path), "--rerun"]) == 3
    assert "cannot be redrawn: the draws" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "options",
    [
        {"sigma": 0.0, "n_pred": 20},
        {"quantile": 0.9, "n_samples": 100},
        {"over_eps": "bonferroni", "over_sigma": "bonferroni", "over_images": "bonferroni"},
        {"over_eps": "dkw", "over_images": "bonferroni", "confidence": 0.9},
        {"n_pred": 100},  # abstains
        {"threshold": 0.1, "radius_of": "discrepancy", "n_centre": None},
        {"threshold": 0.001},
        {"n_samples": 1, "n_centre": 2},
        {"units": Units.paper},
        {"confidence": 0.3, "n_pred": 1000},
    ],
    ids=str,
)
def test_files_of_all_settings_hold_up(tmp_path: Path, options: dict[str, Any]) -> None:
    certifiers = (*TOGETHER, "center")
    for path in make(tmp_path / "all", *certifiers, **{"over_eps": "none", "over_images": "none"} | options):
        record = read_record(path)
        assert findings(record, path) == []
        assert rerun(record, path, None, None) == []
    options = {k: v for k, v in options.items() if v != "dkw"}
    for path in make(tmp_path / "anytime", "anytime", **options):
        record = read_record(path)
        assert findings(record, path) == []
        assert rerun(record, path, None, None) == []


def test_a_moved_run_folder_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "run", *TOGETHER)
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert run([str(tmp_path / "elsewhere"), "--rerun", "--chunk-size", "3"]) == 0
    out = capsys.readouterr().out
    assert (
        "a/b ç, 6 certificates (discrepancy, error, mean, radius), 12 bounds, 3 of them none, redrawn: confirmed" in out
    )
    assert "2 files, 2 hold up with 12 certificates, 0 do not" in out
    assert "not checked: that image and measurement are what their names say" in out


def test_other_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(make(tmp_path / "run", "error")[0])
    other = save_weights(tmp_path / "other.ckpt", seed=1)
    same = save_weights(tmp_path / "same.ckpt")
    assert run([path, "--rerun", "--ckpt", str(same)]) == 0
    assert run([path, "--rerun", "--ckpt", str(other)]) == 2
    assert "estimator.sha256: these are other weights than those that were certified" in capsys.readouterr().out
    assert run([path, "--rerun", "--ckpt", str(tmp_path / "none.ckpt")]) == 3
    assert "give the weights with --ckpt PATH" in capsys.readouterr().out
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    assert run([path, "--rerun"]) == 3
    assert run([path]) == 0


def consistent(record: Record, path: Path) -> Record:
    """The record with all that follows from its inputs, and the checksum, made to fit them."""
    n = int(np.prod(record["image"]["shape"]))
    for certificate in record["certificates"]:
        follows = expected(certifier_of(certificate, path, ()), certificate, n, Units(record["units"]))
        for row, again in zip(certificate["radii"], follows.pop("radii"), strict=True):
            row.update(again)
        certificate.update(follows)
    record["sha256"] = checksum(record)
    assert findings(record, path) == []
    return record


def test_consistent_lies_are_refuted(tmp_path: Path) -> None:
    path = make(tmp_path, *TOGETHER)[0]
    record = read_record(path)

    def lie(certifier: str, **changes: object) -> list[str]:
        other = copy.deepcopy(record)
        for certificate in other["certificates"]:
            if certificate["certifier"] == certifier:
                certificate.update(changes)
        return rerun(consistent(other, path), path, None, None)

    assert lie("error") == []
    assert any(": draws: " in line for line in lie("error", seed=2))
    assert any("lambda_hat" in line for line in lie("mean", seed=2))
    draws = [0.9 * d for d in record["certificates"][0]["draws"]]
    lines = lie("error", draws=draws)
    assert f"draws: 30 of 30 differ, the first at rank 1: recorded {draws[0]!r}, redrawn" in lines[-1]
    assert any(": median: recorded" in line for line in lines)
    smaller = {k: 0.9 * record["certificates"][2][k] for k in ("lambda_hat", "trace_hat")}
    assert any("lambda_hat: recorded" in line for line in lie("mean", **smaller))
    # K has to be the one of the true quantile: the draws of a smaller S are others.
    fewer = record["certificates"][0]["draws"][:20]
    assert lie("error", draws=fewer, n_samples=20)


def test_other_measurements_are_refuted(tmp_path: Path) -> None:
    """Those of another image, with their hashes: all is consistent, but the draws are of another measurement."""
    path, other = make(tmp_path, "error")
    record, donor = read_record(path), read_record(other)
    record |= {k: donor[k] for k in ("measurements",)}
    record["image"] |= {k: donor["image"][k] for k in ("sha256", "shape")}
    assert rerun(consistent(record, path), path, None, None)


def test_an_estimator_without_weights_is_made_again(tmp_path: Path) -> None:
    setting = Setting(BlockGaussian(0.5, block=4), 0.5, 0.0)
    estimator = Ridge(0.5)
    measured = measure(setting, ["x"], torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    evaluation = evaluation_of(["error"], [0.01], n_samples=20, confidence=0.7)
    found = certified_at("clean", estimator, measured, evaluation, measured.y, [0.01])
    description = {"_target_": "invsmooth.estimators.Ridge", "alpha": 0.5}
    operator = {"name": "block_gaussian", "block": 4, "seed": 0, "matrix": None}
    (path,) = write(tmp_path, estimator, measured, evaluation, found, operator=operator, description=description)
    record = read_record(path)
    assert record["estimator"]["description"] == description
    assert rerun(record, path, None, None) == []
    record["estimator"]["description"] = description | {"alpha": 0.4}
    save(path, record, seal=True)
    assert run([str(path)]) == 0
    assert run([str(path), "--rerun"]) == 2
    for wrong in ({"_target_": "os.system"}, {"_target_": "no.such.Class"}, {**description, "beta": 1}, "Ridge", {}):
        record["estimator"]["description"] = wrong
        with pytest.raises(CertificateFileError, match=r"estimator\.description"):
            rerun(record, path, None, None)


def test_denoising_whose_image_is_not_kept(tmp_path: Path) -> None:
    """No bound of ``discrepancy`` uses the shape: that of the measurement tells."""
    setting, estimator = Setting(Identity(), 1.0, 15.0), MatchedFilter()
    measured = measure(setting, ["x"], torch.rand(1, 1, 8, 9, generator=torch.Generator().manual_seed(0)))
    evaluation = evaluation_of(["discrepancy"], [0.01], n_samples=20, confidence=0.7)
    found = certified_at("attacked", estimator, measured, evaluation, measured.y, [0.01])
    operator = {"name": "identity", "block": 33, "seed": 0, "matrix": None}
    description = {"_target_": "invsmooth.estimators.MatchedFilter"}
    (path,) = write(tmp_path, estimator, measured, evaluation, found, operator=operator, description=description)
    record = read_record(path)
    assert rerun(record, path, None, None) == []
    record["image"]["shape"] = [1, 9, 8]
    record["sha256"] = checksum(record)
    (line,) = findings(record, path)
    assert "clean.shape: [1, 8, 9] does not belong to image.shape = [1, 9, 8]" in line
    (line,) = rerun(record, path, None, None)  # and so does that of the reconstruction
    assert "image.shape: recorded [1, 9, 8], redrawn [1, 8, 9]" in line


def test_operator_hash_ignores_the_last_bits_of_a_matrix_only(tmp_path: Path) -> None:
    record = read_record(make(tmp_path, "error")[0])
    operator = rebuild_operator(record)
    sha256 = operator.sha256()
    phi = operator.phi.clone()
    operator.phi = torch.where(phi == phi.max(), torch.nextafter(phi, phi + 1), phi)
    assert (operator.phi != phi).any()
    assert operator.sha256() == sha256
    operator.phi = phi * (1 + 1e-4)
    assert operator.sha256() != sha256
    record["operator"]["matrix"] = str(tmp_path / "phi.npy")
    with pytest.raises(CertificateFileError, match="no such file"):
        rebuild_operator(record)
    np.save(tmp_path / "phi.npy", phi[:, 0].flatten(1).numpy())
    assert rebuild_operator(record).sha256() == sha256


class Coupled(torch.nn.Module):
    """A network whose images depend on the others of their batch."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, y: torch.Tensor, operator: Any) -> torch.Tensor:
        x_hat = self.net(y, operator)
        return x_hat - 0.1 * x_hat.mean(0, keepdim=True)


@pytest.mark.parametrize("kind", ["error", "anytime"])
def test_a_network_that_couples_its_batch_is_found_without_a_flag(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, kind)[0]
    record = read_record(path)
    coupled = Coupled(rebuild_estimator(record, path, None, ()))
    monkeypatch.setattr(rerunning, "rebuild_estimator", lambda *arguments, **options: coupled)
    with pytest.raises(CertificateFileError, match="cannot be redrawn: the estimator is random, or its images depend"):
        rerun(record, path, None, None)


NEAR = ("tests.certificate_files.made",)


@pytest.mark.parametrize("gain", [1e-7, 1e-5])
def test_a_network_that_hardly_varies_is_confirmed_at_any_chunk_size(
    tmp_path: Path, gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its draws differ by rounding alone, which chunks decide; relative tolerances alone would refute it."""
    path = make_nearly_constant(tmp_path, gain, "discrepancy", "mean", "center")
    record = read_record(path)
    for chunk_size in (None, 1, 7):
        assert rerun(record, path, None, chunk_size, trust=NEAR) == []
    monkeypatch.setattr(rerunning, "OF_THE_IMAGE", 0.0)
    assert rerun(record, path, None, 1, trust=NEAR)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_small_errors_are_compared_relatively_too(tmp_path: Path, factor: float) -> None:
    """A bound that is off by a factor is refuted, also where all errors are about 1e-12."""
    path = make_nearly_constant(tmp_path, 1e-5, "discrepancy", "mean")
    record = read_record(path)
    percentile, mean = record["certificates"]
    assert 1e-13 < percentile["median"] < 1e-11
    draws = {"draws": [factor * d for d in percentile["draws"]]}
    lines = rerun(consistent_with(record, path, percentile, draws), path, None, None, trust=NEAR)
    assert any("draws: 40 of 40 differ" in line for line in lines)
    lengths = {k: factor * mean[k] for k in ("lambda_hat", "trace_hat")}
    lengths |= {k: factor**0.5 * mean[k] for k in ("radius", "mean_offset")}
    lines = rerun(consistent_with(record, path, mean, lengths), path, None, None, trust=NEAR)
    assert any("radius: recorded" in line for line in lines)


def consistent_with(record: Record, path: Path, certificate: Record, changes: Record) -> Record:
    other = copy.deepcopy(record)
    other["certificates"][record["certificates"].index(certificate)].update(changes)
    return consistent(other, path)


def test_lengths_are_compared_by_their_kind() -> None:
    same = as_lengths(torch.full((1, 1, 10, 10), 0.5), Percentile.scales | Mean.scales)  # of length 5
    assert same("radius", 1.0, 1.00009)
    assert not same("radius", 1.0, 1.0002)
    assert same("lambda_hat", 1.0, 1.00018)
    assert not same("lambda_hat", 1.0, 1.0003)
    assert same("draws[3]", 0.0, 0.9 * (0.25e-6) ** 2)
    assert not same("draws[3]", 0.0, 1.1 * (0.25e-6) ** 2)
    assert same("trace_hat", 0.0, 0.9 * 2.5e-6**2)
    assert not same("trace_hat", 0.0, 1.1 * 2.5e-6**2)
    assert same("mean_offset", 0.0, 2.4e-6)
    assert not same("mean_offset", 0.0, 2.6e-6)
    assert same("share_in_ball", 0.5, 0.50004)
    assert not same("share_in_ball", 0.0, 1e-9)


@pytest.mark.parametrize(
    ("kind", "change"),
    [("mean", {"n_samples": 2**62}), ("mean", {"n_centre": 2**62}), ("center", {"n_pred": 200_000})],
)
def test_more_draws_than_are_plausible_are_not_made(tmp_path: Path, kind: str, change: Record, capsys) -> None:
    path = make(tmp_path, kind)[0]
    record = read_record(path)
    record["certificates"][0].update(change)
    with pytest.raises(
        CertificateFileError, match=r"draws, and --rerun makes at most 100000; allow more with --max-draws"
    ):
        rerun(record, path, None, None)
    honest = make(tmp_path / "honest", kind)[0]
    assert run([str(honest), "--rerun", "--max-draws", "20"]) == 3
    assert "--rerun makes at most 20" in capsys.readouterr().out


def test_anytime_draws_no_more_than_was_recorded(tmp_path: Path) -> None:
    """Whatever number of draws was allowed."""
    path = make(tmp_path, "anytime")[0]
    record = read_record(path)
    rows = record["certificates"][0]["radii"]
    assert all(r["decision"] is not None or r["n_drawn"] == 0 for r in rows[:1])
    record["certificates"][0]["radii"] = rows[:1]
    record["certificates"][0]["n_samples"] = 2**62
    assert rerun(record, path, None, None) == []
    # A lie about a threshold at the median, which no number of draws decides: as many as were recorded are made.
    record["certificates"][0]["threshold"] = read_record(make(tmp_path / "e", "error")[0])["certificates"][0]["median"]
    record["certificates"][0]["radii"][0].update(n_drawn=6, decision=True)
    assert any("decision: recorded True, redrawn None" in line for line in rerun(record, path, None, None))
    record["certificates"][0]["radii"][0]["n_drawn"] = 2**61
    with pytest.raises(CertificateFileError, match="--max-draws"):
        rerun(record, path, None, None)


def test_operators_that_cannot_be_made(tmp_path: Path) -> None:
    record = read_record(make(tmp_path, "error")[0])
    (tmp_path / "bad.mat").write_bytes(b"MATLAB 7.3 MAT-file, x".ljust(124) + b"\x00\x02IM" + bytes(600))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    for change in (
        {"matrix": str(tmp_path / "bad.mat")}, {"matrix": str(tmp_path / "object.npy")}, {"matrix": "a\0.npy"},
        {"block": 10**6, "ratio": 1e-12}, {"block": 200, "ratio": 1.0},
    ):  # fmt: skip
        made_from_a_seed = "block" in change
        message = "entries from block" if made_from_a_seed else "operator: it cannot be made"
        with pytest.raises(CertificateFileError, match=message):
            rebuild_operator(record | {"operator": record["operator"] | change})


def test_networks_that_fail_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_nearly_constant(tmp_path, 1e-5, "discrepancy")
    record = read_record(path)
    for error, text in (
        (KeyError("a"), "cannot be redrawn: KeyError: 'a'"),
        (ValueError("no"), "cannot be redrawn: no"),
    ):

        def fail(*arguments: object, error: Exception = error) -> Tensor:
            raise error

        monkeypatch.setattr(NearlyConstant, "forward", fail)
        with pytest.raises(CertificateFileError) as found:
            rerun(record, path, None, None, trust=NEAR)
        assert str(found.value) == text
