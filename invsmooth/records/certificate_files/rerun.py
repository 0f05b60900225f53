"""Draw the certificates of a file again: the same inputs have to give the same numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invsmooth.certificates import Certificate, Certifier, Smoothing, certify_all
from invsmooth.core.errors import CheckpointError, ScratchError
from invsmooth.core.units import Units, certified_radius
from invsmooth.estimators.bf16 import Precision, as_run
from invsmooth.estimators.checkpoint import from_description, load_checkpoint
from invsmooth.estimators.frozen import frozen, state_sha256
from invsmooth.operators import LinearOperator
from invsmooth.operators.block_gaussian import measurements_per_block
from invsmooth.operators.rebuild import check_nested, operator_class, our_operator, rebuilt
from invsmooth.records.certificate_files.arithmetic import differences, settings_of
from invsmooth.records.certificate_files.checks import message, name_of
from invsmooth.records.certificate_files.fields import MOST_DRAWS
from invsmooth.records.certificate_files.format import CertificateFileError, NotChecked, Record, read_arrays
from invsmooth.records.certificate_files.parts import certifier_of
from invsmooth.records.certificate_files.record import certificate_record

RELATIVE = 1e-4
"""How far evidence may be from what was recorded, as a length: machines and chunk sizes decide the
rounding of single precision networks (below 1e-6 for the published ones)."""
RELATIVE_BF16 = 2e-2
"""The same for a network that runs in bfloat16, which keeps eight binary digits."""
IN_FLOAT64 = 1e-6
"""The same of numbers that were computed in float64, where the order of sums changes far less."""
OF_THE_IMAGE = 5e-7
"""… plus this share of the length of the reconstruction, about four units in the last place: single
precision cannot tell less. A bound that is off by a factor of 10 is found down to MSE 1e-12."""
FOLLOWS = ("ratio", "bound", "reason")  # From the rest of a file, beside what the certifier says
MOST_ENTRIES = 2**26  # Of a measurement matrix that is made from a seed: a block of 90 x 90 pixels at ratio 1


def rerun(
    record: Record, path: Path, checkpoint: str | None, chunk_size: int | None, *, trust: Sequence[str] = (),
    most_draws: int = MOST_DRAWS,
) -> list[str]:  # fmt: skip
    """What of a ``record`` without findings is not the same when drawn again, one message each.

    Args:
        checkpoint: the weights, where they are not at the recorded path.
        trust: modules that the user named: :mod:`invsmooth.core.trust`.
    Raises: CertificateFileError: the estimator or the operator of the file cannot be made again, or
    not drawn with."""
    certifiers = [certifier_of(certificate, path, trust) for certificate in record["certificates"]]
    for i, (certifier, certificate) in enumerate(zip(certifiers, record["certificates"], strict=True)):
        if (n_draws := certifier.n_draws(settings_again(certifier, certificate))) > most_draws:
            many = f"{name_of(record, i)}: has {n_draws} draws, and --rerun makes at most {most_draws}"
            raise NotChecked(f"{many}; allow more with --max-draws")
    estimator, operator = rebuild_estimator(record, path, checkpoint, trust), rebuild_operator(record, path, trust)
    arrays = read_arrays(path.with_name(record["measurements"]["file"]))
    found = []
    # What combines others follows from them: that was checked before.
    drawn = [(i, c) for i, c in enumerate(record["certificates"]) if certifiers[i].declared.at != "cell"]
    numbered = sorted(drawn, key=lambda c: repr(group_of(c[1])))
    for _, members in groupby(numbered, key=lambda c: group_of(c[1])):
        group = dict(members)
        own, one = [certifiers[i] for i in group], next(iter(group.values()))
        try:
            redrawn, picture = certify_again(own, one, record, estimator, operator, arrays, chunk_size)
        except (ValueError, ScratchError) as error:  # their messages say it all
            raise CertificateFileError(f"cannot be redrawn: {error}") from error
        except Exception as error:  # whatever a network raises for what it is not made for
            raise CertificateFileError(f"cannot be redrawn: {type(error).__name__}: {error}") from error
        for i, certificate in group.items():
            lines = compare(record, certificate, certifiers[i], redrawn[certifiers[i].name], picture)
            found += [f"{name_of(record, i)}: {line}" for line in lines]
    return found


def settings_again(certifier: Certifier, certificate: Record, chunk_size: int | None = None) -> Smoothing:
    """The settings with which a certificate is drawn again."""
    return replace(settings_of(certificate), n_samples=certifier.n_rerun(certificate), chunk_size=chunk_size)


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
            raise NotChecked("estimator.checkpoint: none was recorded; give the weights with --ckpt PATH")
        # A path within the run folder is relative to the file.
        weights = path.parent / recorded if checkpoint is None else Path(checkpoint)
        try:
            estimator = load_checkpoint(weights, trust=trust)
        except FileNotFoundError as error:
            raise CertificateFileError(f"{error}; give the weights with --ckpt PATH") from error
        except CheckpointError as error:
            raise CertificateFileError(str(error)) from error
    if (found := state_sha256(estimator)) != described["sha256"]:
        other = "estimator.sha256: these are other weights than those that were certified"
        raise CertificateFileError(f"{other}: recorded {described['sha256']}, found {found}")
    return as_run(estimator, precision_of(record))


def precision_of(record: Record) -> Precision:
    return "bf16" if record["estimator"].get("precision") == "bf16" else "fp32"


def rebuild_operator(record: Record, path: Path = Path(), trust: Sequence[str] = ()) -> LinearOperator:
    settings = {k: v for k, v in record["operator"].items() if k != "sha256"}
    try:
        outside = "_target_" in settings
        check_nested(settings.get("parameters"), trust, path)
        kind = operator_class(settings["_target_"], trust, path) if outside else recorded_class(settings)
        operator = rebuilt(kind, settings["parameters"] if outside else settings, ratio=settings["ratio"])
    except CertificateFileError:
        raise
    except Exception as error:  # numpy and scipy raise a different error for each way a matrix file can be broken
        raise CertificateFileError(f"operator: it cannot be made: {error}") from error
    if (found := operator.sha256()) != record["operator"]["sha256"]:
        other = "operator.sha256: this is another operator than the one that was certified"
        raise CertificateFileError(f"{other}: recorded {record['operator']['sha256']}, found {found}")
    return operator


def recorded_class(settings: Record) -> type[LinearOperator]:
    entries = measurements_per_block(settings["ratio"], settings["block"]) * settings["block"] ** 2
    if settings["name"] != "identity" and settings["matrix"] is None and entries > MOST_ENTRIES:
        large = f"a matrix of {entries} entries from block = {settings['block']}"
        raise CertificateFileError(f"operator: it cannot be made: {large}, at most {MOST_ENTRIES} are made here")
    if (kind := our_operator(settings["name"])) is None:
        raise CertificateFileError(f"operator.name: there is no operator {settings['name']}")
    return kind


def group_of(certificate: Record) -> tuple[Any, ...]:
    """Certificates that agree in this come from one call and share their draws."""
    names = ("anytime", "measurement", "sigma", "n_samples", "quantile", "confidence_each", "simultaneous", "seed")
    return (*(certificate.get(k) for k in names), tuple(r["eps"] for r in certificate["radii"]))


def certify_again(
    certifiers: list[Certifier], one: Record, record: Record, estimator: nn.Module, operator: LinearOperator,
    arrays: dict[str, np.ndarray], chunk_size: int | None,
) -> tuple[dict[str, Certificate], Tensor]:  # fmt: skip
    """The certificates of a group, of which ``one`` is a member, and f(y), shape (1, C, H, W)."""
    x, y = (torch.from_numpy(arrays[k])[None] if k in arrays else None for k in ("x", one["measurement"]))
    assert y is not None
    with torch.no_grad():  # the operator crops to the size of the last image it saw
        operator.A(torch.zeros(1, *record["image"]["shape"]))
    eps = [certified_radius(r["eps"], Units(record["units"])) for r in one["radii"]]
    settings, keys = settings_again(certifiers[0], one, chunk_size), [record["image"]["key"]]
    found = certify_all(estimator, operator, y, certifiers, settings, eps=eps, x=x, image_keys=keys)
    with torch.no_grad(), frozen(estimator):
        return found, estimator(y, operator)


def compare(record: Record, certificate: Record, certifier: Certifier, redrawn: Certificate,
            picture: Tensor) -> Iterator[str]:  # fmt: skip
    """The evidence that differs by more than rounding; ranks and decisions have to be equal."""
    if (found_shape := list(picture.shape[1:])) != (shape := record["image"]["shape"]):
        yield message("image.shape", shape, found_shape).replace("recomputed", "redrawn")
        return
    eps, settings = [r["eps"] for r in certificate["radii"]], {"quantile": 0.5, **certificate}
    again = certificate_record(certifier, redrawn, 0, eps=eps, settings=settings, units=Units(record["units"]))
    follows = {*FOLLOWS, *certifier.follows}
    evidence = {k: v for k, v in again.items() if k not in follows}
    evidence["radii"] = [{k: v for k, v in row.items() if k not in follows} for row in again["radii"]]
    # The spread of draws below which they lie on either side of a limit by rounding.
    least = 200 * OF_THE_IMAGE * float(picture.double().norm())
    same = as_lengths(picture, certifier.scales, RELATIVE if precision_of(record) == "fp32" else RELATIVE_BF16)
    narrow = certifier.spread(certificate, picture.numel()) <= least
    found = [
        (field, recorded, new)
        for field, recorded, new in differences(certificate, evidence, same)
        if not certifier.excused(certificate, field.rsplit(".", 1)[-1], recorded, new, narrow=narrow)
    ]
    draws = [d for d in found if d[0].startswith("draws[")]
    yield from (message(*d).replace("recomputed", "redrawn") for d in found if d not in draws)
    if draws:
        rank = int(re.findall(r"\d+", draws[0][0])[0]) + 1
        first = message(f"the first at rank {rank}", *draws[0][1:]).replace("recomputed", "redrawn")
        yield f"draws: {len(draws)} of {len(again['draws'])} differ, {first}"


def as_lengths(
    picture: Tensor, scales: Mapping[str, str], relative: float = RELATIVE
) -> Callable[[str, float, float], bool]:
    """Whether two numbers of a field are the same but for rounding: as lengths over the image, |a -
    b| <= ``relative`` times the larger, plus OF_THE_IMAGE times the length of the reconstruction
    ``picture``, (1, C, H, W). Pure numbers have no second part. ``scales``: of the certifier."""
    length = float(picture.double().norm())
    of_the_image = {"mse": length / math.sqrt(picture.numel()), "length": length, "squared length": length}

    def same(field: str, a: float, b: float) -> bool:
        scale = scales.get(re.sub(r"\[\d+\]", "", field).rsplit(".", 1)[-1], "")
        if scale == "float64":
            return abs(a - b) <= IN_FLOAT64 * max(abs(a), abs(b))
        if scale in ("mse", "squared length"):
            a, b = math.sqrt(max(a, 0)), math.sqrt(max(b, 0))
        return abs(a - b) <= relative * max(abs(a), abs(b)) + OF_THE_IMAGE * of_the_image.get(scale, 0.0)

    return same
