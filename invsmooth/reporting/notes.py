"""What is certified, and with which confidence, in words for tables and figures."""

from __future__ import annotations

import pandas as pd

from invsmooth.certificates import most_failures
from invsmooth.units import PAPER_LABEL, Units

LEVEL = 0.99
"""Probability with which the number of failures stated is not exceeded."""

SIGMA_PICKED = (
    "The σ shown was picked afterwards, by the best smoothed PSNR: its certificate has the stated confidence only "
    "with certify.over_sigma=bonferroni, which was not used."
)


def unit_note(rows: pd.DataFrame) -> str:
    """The label of certificates as published; "" where there are none."""
    return f"certificates: {PAPER_LABEL}" if (rows["units"] == Units.paper).any() else ""


def guaranteed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a certificate that holds as it is."""
    return rows[rows["bound"].notna() & rows["sound"].eq(True) & rows["confidence"].notna()]


def confidence_notes(rows: pd.DataFrame) -> list[str]:
    """For each confidence in the rows, of what it is; where there are several, said of which runs and certifiers."""
    certified = guaranteed(rows).fillna({"simultaneous": ""})
    kinds = certified.groupby(["confidence", "simultaneous", "confidence_each"])
    notes = []
    for _, group in kinds:
        own = [sorted(group[c].unique()) for c in ("run_id", "certifier") if set(group[c]) != set(certified[c])]
        notes.append("".join(f"{', '.join(names)}: " for names in own) + confidence_note(group))
    return notes


def confidence_note(rows: pd.DataFrame) -> str:
    """Of what the confidence of these rows is, and how many failures that allows over the images."""
    confidence, each, together = rows.iloc[0][["confidence", "confidence_each", "simultaneous"]]
    axes = [{"eps": "ε", "sigma": "σ", "images": "images"}[name] for name in together.split(", ") if name]
    said = f"With probability at least {confidence:g} "
    if not axes:
        said += "a certificate holds, each on its own."
    else:
        whose = "one certifier" if "images" in axes else "one image and certifier"
        said += f"the certificates of {whose} hold together over all {' and '.join(axes)}"
        said += f" (each with {each:.6g})." if each != confidence else "."
    if "images" in axes:
        return said
    n = int(rows.groupby(["run_id", "ratio", "sigma_b"])["image"].nunique().max())
    # The draws of different images are independent; those of one image serve all its certificates.
    what, fails = (
        ("images", "have one that fails") if axes else ("certificates of one setting, one for each image,", "fail")
    )
    return (
        f"{said} Of {n} {what} at most {n * (1 - confidence):.3g} are expected to {fails}; "
        f"with probability {LEVEL:g} no more than {most_failures(n, float(confidence), LEVEL)} do."
    )


def choice_note(rows: pd.DataFrame) -> str:
    """What picking the best sigma afterwards costs, where it was not paid for; "" elsewhere."""
    unpaid = ~guaranteed(rows)["simultaneous"].fillna("").str.contains("sigma")
    return SIGMA_PICKED if rows["sigma"].nunique() > 1 and unpaid.any() else ""
