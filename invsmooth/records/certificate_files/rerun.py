"""Draw the certificates of a file again: the same network, operator, measurement and seed have to give the same numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invsmooth.certificates import Certificate, certify_all, decided_certificate
from invsmooth.core.errors import CheckpointError, ScratchError
from invsmooth.core.units import Units, certified_radius, to_unit_scale
from invsmooth.estimators.checkpoint import from_description, load_checkpoint
from invsmooth.estimators.frozen import frozen, state_sha256
from invsmooth.operators import LinearOperator, operator_by_name
from invsmooth.operators.block_gaussian import measurements_per_block
from invsmooth.records.certificate_files.arithmetic import differences
from invsmooth.records.certificate_files.checks import message, name_of
from invsmooth.records.certificate_files.fields import ABOUT_THRESHOLD, COMMON, MEAN_BOUNDS, MOST_DRAWS
from invsmooth.records.certificate_files.format import CertificateFileError, Record, read_arrays
from invsmooth.records.certificate_files.record import certificate_record, operator_sha256

RELATIVE = 1e-4
"""How far evidence may be from what was recorded, as a length. Machines and chunk sizes decide the rounding of single
precision networks; for the published ones it is below 1e-6."""
OF_THE_IMAGE = 5e-7
"""… plus this share of the length of the reconstruction: single precision cannot tell reconstructions apart that differ by
less. About four units in the last place. A bound that is off by a factor of 10 is found down to an MSE of 1e-12."""
SQUARED_ERRORS, SQUARED_LENGTHS = ("draws", "median"), ("lambda_hat", "trace_hat")
LENGTHS = ("radius", "mean_offset", "centre_error", "mean_error")
FOLLOWS = ("ratio", "bound", "reason", "certified_eps", *MEAN_BOUNDS)
"""What follows from the rest of a file. A file without findings has the values that follow from its own evidence."""
MOST_ENTRIES = 2**26
"""Of a measurement matrix that is made from a seed: a block of 90 x 90 pixels at ratio 1."""


def rerun(
    record: Record, path: Path, checkpoint: str | None, chunk_size: int | None, *, trust: Sequence[str] = (),
    most_draws: int = MOST_DRAWS,
) -> list[str]:  # fmt: skip
    """What is not the same when drawn again, one message each; empty if all is. ``record``: one without findings.

    Args:
        checkpoint: the weights, where they are not at the recorded path.
        trust: modules that the user named: :mod:`invsmooth.core.trust`.
    Raises: CertificateFileError: the estimator or the operator of the file cannot be made again, or not drawn with.
    """
    for i, certificate in enumerate(record["certificates"]):
        if (n_draws := draws_of(certificate)) > most_draws:
            raise CertificateFileError(
                f"{name_of(record, i)}: has {n_draws} draws, and --rerun makes at most {most_draws}; allow more with "
                "--max-draws"
            )
    estimator, operator = rebuild_estimator(record, path, checkpoint, trust), rebuild_operator(record)
    arrays = read_arrays(path.with_name(record["measurements"]["file"]))
    found = []
    numbered = sorted(enumerate(record["certificates"]), key=lambda c: repr(group_of(c[1])))
    for _, members in groupby(numbered, key=lambda c: group_of(c[1])):
        group = dict(members)
        try:
            redrawn, picture = certify_again(list(group.values()), record, estimator, operator, arrays, chunk_size)
        except (ValueError, ScratchError) as error:  # their messages say it all
            raise CertificateFileError(f"cannot be redrawn: {error}") from error
        except Exception as error:  # whatever a network raises for what it is not made for
            raise CertificateFileError(f"cannot be redrawn: {type(error).__name__}: {error}") from error
        for i, certificate in group.items():
            found += [f"{name_of(record, i)}: {line}" for line in compare(record, certificate, redrawn, picture)]
    return found


def draws_of(certificate: Record) -> int:
    """Draws that it takes to make a certificate again; ``anytime`` stops where the recorded decisions were made."""
    if certificate["anytime"]:
        return max(r["n_drawn"] for r in certificate["radii"])
    return certificate["n_samples"] + certificate.get("n_centre", 0) + 2 * certificate.get("n_pred", 0)


def rebuild_estimator(record: Record, path: Path, checkpoint: str | None, trust: Sequence[str]) -> nn.Module:
    described = record["estimator"]
    if checkpoint is None and described["description"] is not None:
        try:
            estimator = from_description(described["description"], path, trust=trust)
        except CheckpointError as error:
            raise CertificateFileError(f"estimator.description: the estimator cannot be made: {error}") from error
    else:
        recorded = described["checkpoint"]
        if checkpoint is None and recorded is None:
            raise CertificateFileError("estimator.checkpoint: none was recorded; give the weights with --ckpt PATH")
        # A path within the run folder is relative to the file.
        weights = path.parent / recorded if checkpoint is None else Path(checkpoint)
        try:
            estimator = load_checkpoint(weights, trust=trust)
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
    entries = measurements_per_block(settings["ratio"], settings["block"]) * settings["block"] ** 2
    if settings["name"] != "identity" and settings["matrix"] is None and entries > MOST_ENTRIES:
        raise CertificateFileError(
            f"operator: it cannot be made: a matrix of {entries} entries from block = {settings['block']}, at most "
            f"{MOST_ENTRIES} are made here"
        )
    try:
        operator = operator_by_name(**settings)
    except Exception as error:  # numpy and scipy raise a different error for each way a matrix file can be broken
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
) -> tuple[dict[str, Certificate], Tensor]:  # fmt: skip
    """The certificates of a group, and the reconstruction f(y), shape (1, C, H, W)."""
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
            estimator, operator, y, threshold=one["threshold"], max_samples=max(1, draws_of(one)), x=reference, **common
        )
        found: dict[str, Certificate] = {"radius": decided}
    else:
        found = certify_all(
            estimator, operator, y, certifiers=[c["certifier"] for c in group], n_samples=one["n_samples"], x=x,
            simultaneous=one["simultaneous"], threshold=own.get("threshold"),
            radius_of=own.get("radius_of", "discrepancy"), n_centre=own.get("n_centre"), n_pred=own.get("n_pred"), **common,
        )  # fmt: skip
    with torch.no_grad(), frozen(estimator):
        return found, estimator(y, operator)


def compare(
    record: Record, certificate: Record, redrawn: dict[str, Certificate], picture: Tensor
) -> Iterator[str]:  # fmt: skip
    """The evidence that differs by more than rounding; ranks and decisions have to be equal."""
    found_shape = list(picture.shape[1:])
    if found_shape != record["image"]["shape"]:
        yield message("image.shape", record["image"]["shape"], found_shape).replace("recomputed", "redrawn")
        return
    settings = {k: certificate[k] for k in (*COMMON, *ABOUT_THRESHOLD) if k in certificate}
    eps, units = [r["eps"] for r in certificate["radii"]], Units(record["units"])
    again = certificate_record(settings, eps, redrawn[certificate["certifier"]], 0, units)
    evidence = {k: v for k, v in again.items() if k not in FOLLOWS}
    evidence["radii"] = [{k: v for k, v in row.items() if k not in FOLLOWS} for row in again["radii"]]
    if narrow(certificate, picture):
        evidence = {k: v for k, v in evidence.items() if k not in COUNTS}
        if certificate["certifier"] == "center":  # there are no ranks where it abstains
            evidence["radii"] = [{k: v for k, v in row.items() if k != "k_index"} for row in evidence["radii"]]
    found = [d for d in differences(certificate, evidence, as_lengths(picture)) if not by_one_draw(certificate, *d)]
    draws = [d for d in found if d[0].startswith("draws[")]
    yield from (message(*d).replace("recomputed", "redrawn") for d in found if d not in draws)
    if draws:
        rank = int(re.findall(r"\d+", draws[0][0])[0]) + 1
        first = message(f"the first at rank {rank}", *draws[0][1:]).replace("recomputed", "redrawn")
        yield f"draws: {len(draws)} of {len(again['draws'])} differ, {first}"


def as_lengths(picture: Tensor) -> Callable[[str, float, float], bool]:
    """Whether two numbers of a field are the same but for rounding: as lengths over the image, |a - b| <= RELATIVE times
    the larger, plus OF_THE_IMAGE times the length of the reconstruction ``picture``, (1, C, H, W). Pure numbers have no
    second part.
    """
    length = float(picture.double().norm())
    root_mean_square = length / math.sqrt(picture.numel())

    def same(field: str, a: float, b: float) -> bool:
        name = re.sub(r"\[\d+\]", "", field).rsplit(".", 1)[-1]
        if name in SQUARED_ERRORS + SQUARED_LENGTHS:
            a, b = math.sqrt(max(a, 0)), math.sqrt(max(b, 0))
        scale = root_mean_square if name in SQUARED_ERRORS else length if name in SQUARED_LENGTHS + LENGTHS else 0.0
        return abs(a - b) <= RELATIVE * max(abs(a), abs(b)) + OF_THE_IMAGE * scale

    return same


COUNTS = ("clipped", "share_in_ball", "abstained")
"""What follows from how many draws lie beyond a limit."""
NARROW = 200
"""Times OF_THE_IMAGE: draws that spread by less lie on either side of a limit by rounding."""


def narrow(certificate: Record, picture: Tensor) -> bool:
    """Whether the draws of ``mean`` or ``center`` are so close together that a count of them means nothing."""
    spread = certificate.get("radius", math.sqrt(certificate.get("median", math.inf) * picture.numel()))
    return spread <= NARROW * OF_THE_IMAGE * float(picture.double().norm())


def by_one_draw(certificate: Record, field: str, recorded: Any, again: Any) -> bool:
    """Whether a count of draws beyond some limit differs by just one: a draw can lie within rounding of the limit."""
    name = field.rsplit(".", 1)[-1]
    if name == "share_in_ball":
        return abs(recorded - again) * certificate["n_pred"] < 1.5
    return name in ("clipped", "n_below") and abs(recorded - again) <= 1
