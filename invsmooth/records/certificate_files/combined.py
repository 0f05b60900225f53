"""What has to follow for a certificate that combines others of its file. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from invsmooth.certificates.best import smallest, why_none
from invsmooth.certificates.certifier import Certifier
from invsmooth.certificates.confidence import union
from invsmooth.certificates.fields import real
from invsmooth.core.units import Units
from invsmooth.records.certificate_files.arithmetic import settings_of, shifts
from invsmooth.records.certificate_files.format import Record


def parts_at(record: Record, certificate: Record, eps: float, certifiers: Callable[[Record], Certifier],
             certifier: Certifier) -> Iterator[tuple[Certifier, Record, Record]]:  # fmt: skip
    """What ``certificate`` combines at one radius: certifiers, certificates, and their entries in ``radii``. They
    are at its sigma, or have none."""
    for other in record["certificates"]:
        if other["sigma"] in (certificate["sigma"], None) and certifier.combines(part := certifiers(other)):
            yield from ((part, other, row) for row in other["radii"] if row["eps"] == eps)


def expected_of_parts(
    record: Record, certificate: Record, certifier: Certifier, certifiers: Callable[[Record], Certifier]
) -> Record:
    """What has to follow for ``certificate`` from the others. ``certifiers``: that of a certificate."""
    units, names, together = Units(record["units"]), certificate["parts"], dict[str, Record]()
    rows = shifts(certifier, [r["eps"] for r in certificate["radii"]], settings_of(certificate), units)
    for row in rows:
        found = list(parts_at(record, certificate, row["eps"], certifiers, certifier))
        found.sort(key=lambda part: names.index(part[0].name) if part[0].name in names else len(names))
        together |= {part.name: other for part, other, _ in found}
        errors = [part.recorded_error(own) for part, _, own in found]
        k = smallest(errors)
        row["bound"] = real(math.nan if k is None else errors[k])
        row["best_of"], row["reason"] = ("", why_none(list(together))) if k is None else (found[k][0].name, "")
    confidence = {k: union([other[k] for other in together.values()]) for k in ("confidence", "confidence_each")}
    return confidence | {
        "parts": list(together), "measurement": "clean", "anytime": False, "radii": rows,
        "sound": all(other["sound"] for other in together.values()),
    }  # fmt: skip
