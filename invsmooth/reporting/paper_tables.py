"""The paper's Tables 1, 2 and 4, and that of certified PSNR, from cells. Each number is one line of the CSV beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.rows import AT_ATTACKED
from invsmooth.reporting.cells import SETTING, Cells, best_sigma, grouped, lookup, soundness, title
from invsmooth.reporting.grid import MISSING, Block, Entry, Table, common_power, entry, grey, in_powers
from invsmooth.reporting.methods import SMOOTHED, in_order, not_run
from invsmooth.reporting.notes import confidence_notes

BLOCK = [*SETTING, "n_samples"]

UNITS = (
    "ε: l2 norm of the attack over one whole image, pixels in [0, 1]. σ, σ_b, σ_tr: 8-bit grey levels. PSNR in dB, "
    "discrepancy: MSE. Every statistic is computed for each image; shown are means over the images, seeds averaged for each "
    "image first, and standard deviations over the images (±)."
)
MARKS = (
    f"{MISSING}: not run, or not on record. none: run, but no certificate exists at this ε/σ and S (the rows say why). "
    "[k/n]: only k of n images have a certificate, and the mean is over these."
)
TRACE = "Rows of each number, with its images, runs and deviation: `{}.csv`."
PICKED = (
    "The best σ is picked on the test images, as in the paper. A certificate at it has the stated confidence only if all σ "
    "shown were paid for: by certify.over_sigma=bonferroni, in one run with all of them."
)
RANK = (
    "Draw of rank K: the PSNR of the one draw whose error is the certified discrepancy. It is the PSNR of a picture and "
    "bounds nothing."
)
AT = "The certificate is the discrepancy's, taken at the attacked measurement."

PER_BLOCK = 2
"""Radii side by side, so that a table fits the page."""


def method_lines(lines: pd.DataFrame, anywhere: Iterable[str]) -> list[tuple[str, str]]:
    """Methods of a block in order, as (method, label), and the algorithms that other blocks have."""
    absent = not_run(lines["algo"], anywhere)
    return [(m, m) for m in in_order(lines)] + [(algo, algo) for algo in absent]


def trained_label(method: str, lines: pd.DataFrame) -> str:
    """A method with the smoothing noise of its training, which Table 1 is about."""
    own = lines[lines["method"] == method]
    if own.empty or "σ_tr" in method or own["algo"].iloc[0] not in SMOOTHED:
        return method
    algo, _, rest = method.partition(" (")
    return f"{algo} (σ_tr = {grey(own['sigma_tr'].iloc[0])}{f', {rest}' if rest else ')'}"


def radii(lines: pd.DataFrame) -> list[float]:
    """The attacks, but for none."""
    return sorted(eps for eps in lines["eps"].unique() if eps > 0)


def notes(name: str, *own: str) -> tuple[str, ...]:
    return (*own, UNITS, MARKS, TRACE.format(name))


def confidence(cells: Cells, *certifiers: str) -> list[str]:
    """Of what certifiers say in all blocks of a table."""
    return confidence_notes(cells.rows[cells.rows["certifier"].isin(certifiers)])


def block_title(setting: Mapping[str, Any], lines: pd.DataFrame, of: str) -> str:
    return f"{title(setting)}: {soundness(lines, of)}"


def tradeoff_table(cells: Cells) -> Table:
    """Table 1."""
    blocks = [
        tradeoff_block(setting, lines, some, set(cells.table["algo"]))
        for setting, lines in cells.blocks(BLOCK)
        for some in chunks(radii(lines))
    ]
    own = (
        "Clean: PSNR of the reconstruction without attack. Attacked: of the attacked one without smoothing (the paper's "
        "σ = 0). Median: of the smoothed draw of rank ⌈S/2⌉. Median and draw of rank K stand at the σ with the best median "
        "for all methods together, among those with a certificate (without any: among all).",
        RANK,
        AT,
        PICKED,
    )
    name = "table1"
    return Table(name, "Table 1: trade-off over the smoothing noise of training, σ_tr", notes(name, *own), blocks)


def chunks(values: Sequence[float]) -> Iterator[Sequence[float]]:
    """At least one, so that the clean column is shown without any attack."""
    for start in range(0, max(1, len(values)), PER_BLOCK):
        yield values[start : start + PER_BLOCK]


def tradeoff_block(setting: dict[str, Any], lines: pd.DataFrame, some: Sequence[float], anywhere: set[str]) -> Block:
    best = {eps: best_sigma(lines[lines["eps"] == eps], AT_ATTACKED) for eps in some}
    clean = lookup(lines, ["method"])
    attacked = lookup(lines, ["method", "eps"])
    at = lookup(lines[lines["certifier"] == AT_ATTACKED], ["method", "eps", "sigma"])
    shown: list[list[str | Entry]] = []
    for method, label in method_lines(lines, anywhere):
        line: list[str | Entry] = [trained_label(label, lines), entry(clean.get((method,)), "psnr_clean")]
        for eps in some:
            smoothed = at.get((method, eps, best[eps]))
            # An attack on the smoothed estimator is another at each sigma.
            unsmoothed = (smoothed if setting["attack_target"] in ("mean", "median") else None) or attacked.get(
                (method, eps)
            )
            line += [
                entry(unsmoothed, "psnr_attacked"),
                *(entry(smoothed, q) for q in ("psnr_median", "psnr_certified")),
            ]
        shown.append(line)
    header = ["trained by", "clean", *("attacked", "median", "draw of rank K") * len(some)]
    spans = [("", 1), ("ε = 0", 1), *((f"ε = {eps:g}, σ = {grey(best[eps])}", 3) for eps in some)]
    paper = f": ranks K {PAPER_LABEL}" if lines["units"].eq(Units.paper).any() else ""
    return Block(title(setting) + paper, header, shown, spans)


def median_table(cells: Cells) -> Table:
    """Table 2."""
    attacked = [(s, b[(b["eps"] > 0) & (b["certifier"] == AT_ATTACKED)]) for s, b in cells.blocks(BLOCK)]
    blocks = [median_block(setting, lines, set(cells.table["algo"])) for setting, lines in attacked if len(lines)]
    own = (
        "Smoothed median (rank ⌈S/2⌉) against the draw of rank K, whose discrepancy is certified, each at the σ > 0 with "
        "the best PSNR of the median for its line among those with a certificate (without any: among all).",
        RANK,
        AT,
        PICKED,
        *confidence(cells, AT_ATTACKED),
    )
    return Table("table2", "Table 2: smoothed median and certificate", notes("table2", *own), blocks)


def median_block(setting: dict[str, Any], lines: pd.DataFrame, anywhere: set[str]) -> Block:
    shown: list[list[str | Entry]] = []
    power = common_power(lines["discrepancy_median"])
    by_place = dict(grouped(lines[lines["sigma"] > 0], ["method", "eps"]))
    for eps in radii(lines):
        for method, label in method_lines(lines, anywhere):
            own = by_place.get((method, eps))
            cell: dict[str, Any] | None = None
            if own is not None:
                candidates = own[own["bound_n"] > 0] if (own["bound_n"] > 0).any() else own
                cell = lookup(candidates.sort_values("psnr_median", ascending=False), ["method"])[method,]
            sigma = MISSING if cell is None else grey(cell["sigma"])
            quantities = ("psnr_median", "discrepancy_median", "psnr_certified", "bound")
            shown.append([label, f"{eps:g}", sigma, *(entry(cell, q, power) for q in quantities)])
    header = ["algorithm", "ε", "σ", *("PSNR", in_powers("discrepancy", power)) * 2]
    spans = [("", 3), ("smoothed median", 2), ("draw of rank K", 1), ("certificate", 1)]
    return Block(block_title(setting, lines, "discrepancy"), header, shown, spans)


def samples_table(cells: Cells) -> Table:
    """Table 4."""
    blocks = []
    for setting, lines in cells.blocks([*SETTING, "eps"]):
        own = lines[(lines["certifier"] == AT_ATTACKED) & (lines["sigma"] > 0)]
        if len(own) and (setting["eps"] > 0 or not radii(cells.table)):
            blocks.append(samples_block(setting, own, set(cells.table["algo"])))
    own_notes = (
        "Certified discrepancy and PSNR of the draw of rank K (± standard deviation over the images) for each number of "
        "draws S, at the σ with the best smoothed median for all methods together at the largest S, among those with a "
        "certificate (without any: among all); t: seconds for each image.",
        RANK,
        AT,
        PICKED,
        *confidence(cells, AT_ATTACKED),
    )
    return Table("table4", "Table 4: number of draws S", notes("table4", *own_notes), blocks)


def samples_block(setting: dict[str, Any], lines: pd.DataFrame, anywhere: set[str]) -> Block:
    sizes = sorted(lines["n_samples"].dropna().unique())
    sigma = best_sigma(lines[lines["n_samples"] == sizes[-1]], AT_ATTACKED)
    own = lines[lines["sigma"] == sigma]
    at, power = lookup(own, ["method", "n_samples"]), common_power(own["bound"])
    shown: list[list[str | Entry]] = [
        [label, *(entry(at.get((m, s)), q, power, spread=True) for s in sizes for q in ("bound", "psnr_certified"))]
        for m, label in method_lines(lines, anywhere)
    ]
    seconds = own.groupby("n_samples")["seconds"].mean()
    spans = [("", 1)]
    for size in sizes:
        taken = seconds.get(size, math.nan)
        spans.append((f"S = {size:g}" + ("" if pd.isna(taken) else f" (t = {taken:.2f} s)"), 2))
    header = ["algorithm", *(in_powers("certified discrepancy", power), "PSNR, rank K") * len(sizes)]
    return Block(block_title({**setting, "sigma": sigma}, own, "discrepancy"), header, shown, spans)


CERTIFIED_PSNR = {"error": "certified_psnr", "mean": "certified_psnr_mean"}
"""The certifiers that certify a PSNR, and their column."""


def certified_psnr_table(cells: Cells) -> Table:
    """The counterpart of Table 1 for what is certified of the clean image."""
    blocks = [
        certified_psnr_block(setting, lines, certifier, some, set(cells.table["algo"]))
        for setting, lines in cells.blocks(BLOCK)
        for certifier in CERTIFIED_PSNR
        if (lines["certifier"] == certifier).any()
        for some in chunks(radii(lines))
    ]
    own = (
        "Attacked: PSNR of the attacked reconstruction without smoothing. Certified: that no attack of norm ε can push the "
        "smoothed reconstruction below (error: a fraction q of the smoothed draws; mean: the smoothed mean, its draws "
        "clipped to a ball), at the σ best for all methods together. Both certificates are taken at the clean measurement.",
        PICKED,
        *confidence(cells, *CERTIFIED_PSNR),
    )
    name = "certified_psnr"
    return Table(name, "Certified PSNR", notes(name, *own), blocks)


def certified_psnr_block(
    setting: dict[str, Any], lines: pd.DataFrame, certifier: str, some: Sequence[float], anywhere: set[str]
) -> Block:
    quantity, mine = CERTIFIED_PSNR[certifier], lines[lines["certifier"] == certifier]
    best = {eps: best_sigma(mine[mine["eps"] == eps], certifier, quantity) for eps in some}
    clean, attacked = lookup(mine, ["method"]), lookup(mine, ["method", "eps"])
    at = lookup(mine, ["method", "eps", "sigma"])
    shown: list[list[str | Entry]] = []
    for method, label in method_lines(mine, anywhere):
        line: list[str | Entry] = [label, entry(clean.get((method,)), "psnr_clean")]
        for eps in some:
            line.append(entry(attacked.get((method, eps)), "psnr_attacked"))
            line.append(entry(at.get((method, eps, best[eps])), quantity))
        shown.append(line)
    spans = [("", 1), ("ε = 0", 1), *((f"ε = {eps:g}, σ = {grey(best[eps])}", 2) for eps in some)]
    header = ["algorithm", "clean", *("attacked", "certified") * len(some)]
    return Block(f"{certifier}: {block_title(setting, mine, 'PSNR')}", header, shown, spans)
