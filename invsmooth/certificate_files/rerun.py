"""Draw the certificates of a file again: the same network, operator, measurement and seed have to give the same numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invsmooth.certificate_files.arithmetic import differences
from invsmooth.certificate_files.checks import message, name_of
from invsmooth.certificate_files.fields import ABOUT_THRESHOLD, COMMON
from invsmooth.certificate_files.format import CertificateFileError, Record, read_arrays
from invsmooth.certificate_files.record import certificate_record, operator_sha256
from invsmooth.certificates import Certificate, certify_all, decided_certificate
from invsmooth.errors import CheckpointError, ScratchError
from invsmooth.estimators.checkpoint import from_description, load_checkpoint
from invsmooth.estimators.frozen import state_sha256
from invsmooth.operators import LinearOperator, operator_by_name
from invsmooth.units import Units, certified_radius, to_unit_scale

RTOL, ATOL = 1e-4, 1e-10
"""Rounding of single precision networks, which machines and chunk sizes decide; an MSE below ATOL is nothing else."""


def rerun(record: Record, path: Path, checkpoint: str | None, chunk_size: int | None) -> list[str]:
    """What is not the same when drawn again, one message each; empty if all is. ``record``: one without findings.

    Raises: CertificateFileError: the estimator or the operator of the file cannot be made again.
    """
    estimator, operator = rebuild_estimator(record, path, checkpoint), rebuild_operator(record)
    arrays = read_arrays(path.with_name(record["measurements"]["file"]))
    found = []
    numbered = sorted(enumerate(record["certificates"]), key=lambda c: repr(group_of(c[1])))
    for _, members in groupby(numbered, key=lambda c: group_of(c[1])):
        group = dict(members)
        try:
            redrawn = certify_again(list(group.values()), record, estimator, operator, arrays, chunk_size)
        except (TypeError, ValueError, RuntimeError, FloatingPointError, ScratchError) as error:  # it does not fit
            raise CertificateFileError(f"cannot be redrawn: {error}") from error
        for i, certificate in group.items():
            found += [f"{name_of(record, i)}: {line}" for line in compare(record, certificate, redrawn)]
    return found


def rebuild_estimator(record: Record, path: Path, checkpoint: str | None) -> nn.Module:
    described = record["estimator"]
    if checkpoint is None and described["description"] is not None:
        try:
            estimator = from_description(described["description"], path).eval()
        except (CheckpointError, TypeError, ValueError) as error:
            raise CertificateFileError(f"estimator.description: the estimator cannot be made: {error}") from error
    else:
        recorded = described["checkpoint"]
        if checkpoint is None and recorded is None:
            raise CertificateFileError("estimator.checkpoint: none was recorded; give the weights with --ckpt PATH")
        # A path within the run folder is relative to the file.
        weights = path.parent / recorded if checkpoint is None else Path(checkpoint)
        try:
            estimator = load_checkpoint(weights)
        except FileNotFoundError as error:
            raise CertificateFileError(f"{error}; give the weights with --ckpt PATH") from error
        except CheckpointError as error:
            raise CertificateFileError(str(error)) from error
    if (found := state_sha256(estimator)) != described["sha256"]:
        raise CertificateFileError(
            "estimator.sha256: these are other weights than those that were certified: "
            f"recorded {described['sha256']}, found {found}"
        )
    return estimator


def rebuild_operator(record: Record) -> LinearOperator:
    settings = {k: v for k, v in record["operator"].items() if k != "sha256"}
    try:
        operator = operator_by_name(**settings)
    except (ValueError, FileNotFoundError) as error:
        raise CertificateFileError(f"operator: it cannot be made: {error}") from error
    if (found := operator_sha256(operator)) != record["operator"]["sha256"]:
        raise CertificateFileError(
            "operator.sha256: this is another operator than the one that was certified: "
            f"recorded {record['operator']['sha256']}, found {found}"
        )
    return operator


def group_of(certificate: Record) -> tuple[Any, ...]:
    """Certificates that agree in this come from one call and share their draws."""
    names = ("anytime", "measurement", "sigma", "n_samples", "quantile", "confidence_each", "simultaneous", "seed")
    return (*(certificate.get(k) for k in names), tuple(r["eps"] for r in certificate["radii"]))


def certify_again(
    group: list[Record], record: Record, estimator: nn.Module, operator: LinearOperator, arrays: dict[str, np.ndarray],
    chunk_size: int | None,
) -> dict[str, Certificate]:  # fmt: skip
    one, own = group[0], {k: v for c in group for k, v in c.items()}
    units = Units(record["units"])

    def batch(name: str) -> Tensor | None:
        return torch.from_numpy(arrays[name])[None] if name in arrays else None

    y, x = batch(one["measurement"]), batch("x")
    assert y is not None
    with torch.no_grad():  # the operator crops to the size of the last image it saw
        operator.A(torch.zeros(1, *record["image"]["shape"]))
    common: dict[str, Any] = {
        "sigma": to_unit_scale(one["sigma"]), "eps": [certified_radius(r["eps"], units) for r in one["radii"]],
        "confidence": one["confidence_each"], "q": one.get("quantile", 0.5), "seed": one["seed"], "chunk_size": chunk_size,
        "image_keys": [record["image"]["key"]],
    }  # fmt: skip
    if one["anytime"]:
        reference = x if one["radius_of"] == "error" else None
        decided = decided_certificate(
            estimator, operator, y, threshold=one["threshold"], max_samples=one["n_samples"], x=reference, **common
        )
        return {"radius": decided}
    return certify_all(
        estimator, operator, y, certifiers=[c["certifier"] for c in group], n_samples=one["n_samples"], x=x,
        simultaneous=one["simultaneous"], threshold=own.get("threshold"), radius_of=own.get("radius_of", "discrepancy"),
        n_centre=own.get("n_centre"), n_pred=own.get("n_pred"), **common,
    )  # fmt: skip


def compare(record: Record, certificate: Record, redrawn: dict[str, Certificate]) -> Iterator[str]:
    """The numbers that differ by more than rounding; ranks and decisions have to be equal."""
    found_shape = list(redrawn[certificate["certifier"]].shown.shape[1:])
    if found_shape != record["image"]["shape"]:
        yield message("image.shape", record["image"]["shape"], found_shape).replace("recomputed", "redrawn")
        return
    settings = {k: certificate[k] for k in (*COMMON, *ABOUT_THRESHOLD) if k in certificate}
    eps, units = [r["eps"] for r in certificate["radii"]], Units(record["units"])
    again = certificate_record(settings, eps, redrawn[certificate["certifier"]], 0, units)
    for row in again["radii"]:  # says in words, with rounded numbers, what follows from the others
        row.pop("reason")
    found = [d for d in differences(certificate, again, rtol=RTOL, atol=ATOL) if not by_one_draw(certificate, *d)]
    draws = [d for d in found if d[0].startswith("draws[")]
    yield from (message(*d).replace("recomputed", "redrawn") for d in found if d not in draws)
    if draws:
        rank = int(re.findall(r"\d+", draws[0][0])[0]) + 1
        first = message(f"the first at rank {rank}", *draws[0][1:]).replace("recomputed", "redrawn")
        yield f"draws: {len(draws)} of {len(again['draws'])} differ, {first}"


def by_one_draw(certificate: Record, field: str, recorded: Any, again: Any) -> bool:
    """Whether a count of draws beyond some limit differs by just one: a draw can lie within rounding of the limit."""
    name = field.rsplit(".", 1)[-1]
    if name == "share_in_ball":
        return abs(recorded - again) * certificate["n_pred"] < 1.5
    return name in ("clipped", "n_below") and abs(recorded - again) <= 1
