"""From certificates to what a certificate file says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from invsmooth.certificates import Certificate, Certifier
from invsmooth.certificates.fields import real
from invsmooth.core.hashes import array_sha256
from invsmooth.core.units import Units
from invsmooth.records.certificate_files.arithmetic import settings_of, shifts
from invsmooth.records.certificate_files.fields import SETTINGS
from invsmooth.records.certificate_files.format import Record
from invsmooth.records.certificate_files.parts import described, own_fields


def certificate_record(
    certifier: Certifier, certificate: Certificate, i: int, *, eps: Sequence[float], settings: Mapping[str, Any],
    units: Units,
) -> Record:  # fmt: skip
    """What the file says of image ``i`` of a certificate with the radius axis. ``eps``: as in the
    config, for each radius; ``settings``: the fields SETTINGS, and ``quantile``."""
    each = settings_of(dict(settings))
    record = described(certifier) | {k: settings[k] for k in SETTINGS}
    record["sound"] = certificate.sound and units is Units.matched
    record |= (own := certifier.record(certificate, i, units))
    if "quantile" in own_fields(type(certifier), record):
        record["quantile"] = settings["quantile"]
    rows = shifts(certifier, list(eps), each, units)
    record["radii"] = [
        row | {"bound": real(float(certificate.bound[i, j])), "reason": certificate.reason[i, j]} | own_row
        for j, (row, own_row) in enumerate(zip(rows, own["radii"], strict=True))
    ]
    return record


def to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def array_record(array: np.ndarray) -> Record:
    return {"sha256": array_sha256(array), "shape": list(array.shape)}
