"""From certificates, estimators and operators to what a certificate file says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invsmooth.certificates import Certificate, MeanCertificate, RadiusCertificate, shifted_quantile
from invsmooth.certificates.certificate import CenterCertificate, DecidedCertificate
from invsmooth.core.units import Units, certified_radius, labelled_radius, to_unit_scale
from invsmooth.operators import LinearOperator
from invsmooth.records.certificate_files.arithmetic import quantile_of, ratio_at
from invsmooth.records.certificate_files.fields import MEAN_BOUNDS, MEAN_LENGTHS
from invsmooth.records.certificate_files.format import Record, array_sha256, real

BUFFER_DIGITS = 6
"""Decimals of an operator's buffers that enter its hash: a matrix made from a seed is the same on every machine but for its
last bits, which the linear algebra library decides."""


def certificate_record(
    settings: Mapping[str, Any], eps: Sequence[float], found: Certificate, i: int, units: Units
) -> Record:
    """What the file says of the certificate of image ``i``, with the radius axis.

    Args:
        settings: the other fields of COMMON, and those of ABOUT_THRESHOLD that the certifier has.
        eps: as in the config, for each radius.
    """
    record = {
        **settings,
        "anytime": isinstance(found, DecidedCertificate),
        "sound": found.sound and units is Units.matched,
    }
    record |= image_fields(found, i, units)
    record["radii"] = [
        {"eps": e, "ratio": real(ratio_at(e, record["sigma"], units))}
        | {"bound": real(float(found.bound[i, j])), "reason": found.reason[i, j]}
        | radius_fields(found, i, j)
        | quantile_field(record, e, units)
        for j, e in enumerate(eps)
    ]
    return record


def image_fields(found: Certificate, i: int, units: Units) -> Record:
    """Those that do not depend on the radius."""
    if isinstance(found, DecidedCertificate):
        return {}
    fields: Record = {"median": float(found.median[i, 0])}
    if isinstance(found, MeanCertificate):
        lengths = {k: real(float(getattr(found, k)[i])) for k in MEAN_LENGTHS}
        return fields | lengths | {"clipped": int(found.clipped[i]), "n_centre": found.n_centre}
    fields["draws"] = found.draws[i].tolist()
    if isinstance(found, RadiusCertificate):
        fields["certified_eps"] = real(labelled_radius(float(found.certified_eps[i]), units))
    if isinstance(found, CenterCertificate):
        fields |= {"abstained": bool(found.abstained[i]), "share_in_ball": float(found.share_in_ball[i])}
        fields["n_pred"] = found.n_pred
    return fields


def radius_fields(found: Certificate, i: int, j: int) -> Record:
    if isinstance(found, MeanCertificate):
        return {k: real(float(getattr(found, k)[i, j])) for k in MEAN_BOUNDS}
    if isinstance(found, DecidedCertificate):
        below = found.below[i, j]
        decision = None if below is None else bool(below)
        return {"n_drawn": int(found.n_drawn[i, j]), "n_below": int(found.n_below[i, j]), "decision": decision}
    k = found.k_index[i, j]
    return {"k_index": None if k is None else int(k)}


def quantile_field(record: Mapping[str, Any], eps: float, units: Units) -> Record:
    if record["certifier"] == "mean":
        return {}
    sigma = to_unit_scale(record["sigma"])
    return {"q_bar": shifted_quantile(quantile_of(record), certified_radius(eps, units), sigma)}


def to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def array_record(array: np.ndarray) -> Record:
    return {"sha256": array_sha256(array), "shape": list(array.shape)}


def operator_sha256(operator: LinearOperator) -> str:
    """SHA-256 of an operator's class, ratio and buffers (BUFFER_DIGITS decimals)."""
    digest = hashlib.sha256(f"{type(operator).__name__} {operator.ratio!r}".encode())
    for name, buffer in sorted(operator.named_buffers()):
        rounded = (buffer.detach().cpu().double() * 10**BUFFER_DIGITS).round().to(torch.int64)
        digest.update(f"{name} {array_sha256(to_numpy(rounded))}".encode())
    return digest.hexdigest()
