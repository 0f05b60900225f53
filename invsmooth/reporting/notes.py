"""Notes for tables and figures: confidence, published units, attacks without a direction."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from invsmooth.certificates import most_failures
from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.rows import Declared
from invsmooth.reporting.together import AXES, PLACES, counts, failure, paid, statements

LEVEL = 0.99  # probability with which the number of failures stated is not exceeded
SIGMA_PICKED = (
    "The σ shown was picked after looking at the smoothed PSNR. This costs confidence, and nobody paid for it: its "
    "certificate does not have the stated confidence. certify.over_sigma=bonferroni pays, in one run with all σ shown."
)
NAMES = {"networks": "network", "images": "image", "sigma": "σ", "eps": "ε"}
"""Of the axes of :mod:`invsmooth.reporting.together`."""


def unit_note(rows: pd.DataFrame) -> str:
    """The label of certificates as published; "" where there are none."""
    return f"certificates: {PAPER_LABEL}" if (rows["units"] == Units.paper).any() else ""


def notes(rows: pd.DataFrame, declared: Declared) -> list[str]:
    """All notes on these rows."""
    return [*confidence_notes(rows, declared), *attack_notes(rows)]


def attack_notes(rows: pd.DataFrame) -> list[str]:
    """How many attacks had a zero gradient."""
    attacked = rows[rows["eps"] > 0]
    without = attacked[attacked["attack_zero_gradient"].eq(True)]
    n, of = (len(some.drop_duplicates([*AXES["networks"], *AXES["images"]])) for some in (without, attacked))
    said = (
        f"For {n} of {of} images (of a network and setting) the gradient was zero wherever the attack took it: their "
        "attacked PSNR is no sign of robustness (docs/attacks.md)."
    )
    return [said] if n else []


def confidence_notes(rows: pd.DataFrame, declared: Declared) -> list[str]:
    """The confidence for each certifier, and of all together; empty without a sound certificate."""
    found = statements(rows, declared)
    notes: dict[str, list[str]] = {}
    for certifier in sorted(set(found.loc[found["bound"].notna(), "certifier"])):
        notes.setdefault(confidence_note(found[found["certifier"] == certifier]), []).append(certifier)
    said = [f"{', '.join(names)}: {note}" if len(notes) > 1 else note for note, names in notes.items()]
    return [*said, everything(found)] if said and found["statement"].nunique() > 1 else said


def confidence_note(found: pd.DataFrame) -> str:
    """For one certifier: which statements hold together, and how many failures to expect."""
    confidence, each = found["confidence"].min(), found["confidence_each"].min()
    if each == 1:
        return "The certificates do not depend on draws: all of them hold together."
    together, several = paid(found, confidence), counts(found)
    apart = [axis for axis in NAMES if axis in several and axis not in together]
    said = f"With probability at least {confidence:g} "
    if together:
        whose = listed(NAMES[a] for a in NAMES if a in apart or (a == "images" and a not in together))
        over = listed(plural(a) for a in reversed(NAMES) if a in together)
        said += f"the certificates{f' of one {whose}' if whose else ''} hold together over all {over}"
        said += f" (each with {each:.6g})." if each > confidence else "."
    else:
        said += "a certificate holds, each on its own."
    if apart:
        over = listed(
            measurements(found, several[a]) if a == "images" else f"{several[a]} {plural(a)}" for a in reversed(apart)
        )
        said += f" Not paid for: reading them together over {over}."
    setting = [c for c in AXES["images"] if c != "image"]
    once = found.drop_duplicates([PLACES["images"], PLACES["networks"]])
    n = int(once.groupby([*setting, PLACES["networks"]], dropna=False)["image"].nunique().max())
    if "images" in together or n == 1:
        return said
    # The draws of different images are independent; those of one image serve all its certificates.
    at = listed(NAMES[a] for a in ("sigma", "eps") if a in apart)
    what, fails = "certificates of one setting, one for each image,", "fail"
    if together:
        what, fails = f"images, at one {at}," if at else "images", "have one that fails"
    return (
        f"{said} Of {n} {what} at most {n * (1 - confidence):.3g} are expected to {fails}; "
        f"with probability {LEVEL:g} no more than {most_failures(n, float(confidence), LEVEL)} do."
    )


def measurements(found: pd.DataFrame, n: int) -> str:
    """``n`` images, each in one setting, or fewer in several settings."""
    images = len(found[["dataset", "image"]].drop_duplicates())
    return f"{n} images" if n == images else f"{n} measurements of {images} image{'s' * (images > 1)}"


def plural(axis: str) -> str:
    return NAMES[axis] + "s" * (axis in ("images", "networks"))


def listed(words: Iterable[str]) -> str:
    *first, last = ["", *words]
    return f"{', '.join(filter(None, first))} and {last}" if any(first) else last


def everything(found: pd.DataFrame) -> str:
    """The union bound over all statements."""
    n, total = found["statement"].nunique(), failure(found)
    probability = math.floor(1e4 * (1 - total) + 1e-6) / 1e4  # never rounded up
    if probability <= 0:
        return f"All {n} statements together: nothing is known (union bound: the failure probabilities sum to {total:.3g})."
    return f"All {n} statements together hold with probability at least {probability:g} (union bound)."


def choice_note(rows: pd.DataFrame, declared: Declared) -> str:
    """A warning if the best sigma of these rows is picked afterwards and not paid for; else ""."""
    found = statements(rows, declared)
    groups = [own for _, own in found[found["bound"].notna()].groupby("certifier")]
    unpaid = any("sigma" in counts(own) and "sigma" not in paid(own, own["confidence"].min()) for own in groups)
    return SIGMA_PICKED if unpaid else ""
