"""The paper's Tables 1, 2 and 4, and that of certified PSNR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.reporting.averages import SETTING, Averages, best_sigma, grouped, known, lookup, soundness, title
from invsmooth.reporting.columns import PAPER, columns, meaning, psnr_columns
from invsmooth.reporting.methods import algorithm, in_order, not_run
from invsmooth.reporting.notes import confidence_notes
from invsmooth.reporting.tables.grid import MISSING, Block, Entry, Table, common_power, entry, grey, in_powers

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
OF_DISCREPANCY = (
    "Draw of rank K: the PSNR of the one draw whose error is the certified discrepancy. It is the PSNR of a picture and "
    "bounds nothing.",
    "The certificate is the discrepancy's, taken at the attacked measurement.",
    PICKED,
)
PER_BLOCK = 2  # radii side by side, so that a table fits the page


def method_lines(averages: Averages, lines: pd.DataFrame) -> list[str]:
    """Methods of a block in order, then the algorithms that other blocks have."""
    declared = averages.declared
    return in_order(lines, declared) + not_run(lines["algo"], averages.table["algo"], declared)


def trained_label(averages: Averages, method: str, lines: pd.DataFrame) -> str:
    """A method with the smoothing noise of its training, which Table 1 is about."""
    own = lines[lines["method"] == method]
    if own.empty or "σ_tr" in method or not algorithm(averages.declared, own["algo"].iloc[0]).smooths:
        return method
    algo, _, rest = method.partition(" (")
    return f"{algo} (σ_tr = {grey(own['sigma_tr'].iloc[0])}{f', {rest}' if rest else ')'}"


def radii(lines: pd.DataFrame) -> list[float]:
    return sorted(eps for eps in lines["eps"].unique() if eps > 0)


def notes(name: str, *own: str) -> tuple[str, ...]:
    return (*own, UNITS, MARKS, TRACE.format(name))


def confidence(averages: Averages, *certifiers: str) -> list[str]:
    """The notes on the confidence of certifiers, in all blocks of a table."""
    return confidence_notes(averages.rows[averages.rows["certifier"].isin(certifiers)], averages.declared)


def block_title(setting: Mapping[str, Any], lines: pd.DataFrame, of: str) -> str:
    return f"{title(setting)}: {soundness(lines, of)}"


def tradeoff_table(averages: Averages) -> Table:
    """Table 1."""
    blocks: list[Block] = []
    for setting, lines in ((s, b) for s, b in averages.blocks(BLOCK) if b["sigma"].notna().any()):
        paper = f": ranks K {PAPER_LABEL}" if lines["units"].eq(Units.paper).any() else ""
        shown = {"psnr_median": "median", "psnr_certified": "draw of rank K"}
        labels = {m: trained_label(averages, m, lines) for m in method_lines(averages, lines)}
        blocks += by_eps(averages, lines, PAPER, "psnr_median", shown, labels, [title(setting) + paper, "trained by"])
    own = (
        "Clean: PSNR of the reconstruction without attack. Attacked: of the attacked one without smoothing (the paper's "
        "σ = 0). Median: of the smoothed draw of rank ⌈S/2⌉. Median and draw of rank K stand at the σ with the best median "
        "for all methods together, among those with a certificate (without any: among all)."
    )
    heading = "Table 1: trade-off over the smoothing noise of training, σ_tr"
    return Table("table1", heading, notes("table1", own, *OF_DISCREPANCY), blocks)


def certified_psnr_table(averages: Averages) -> Table:
    """The counterpart of Table 1 for the certified PSNR to the clean image."""
    blocks: list[Block] = []
    certified = psnr_columns(averages.declared, averages.table["certifier"])
    for setting, every in averages.blocks(BLOCK):
        for certifier, quantity in certified.items():
            lines = every[every["certifier"] == certifier]
            if len(lines):
                shown, labels = {quantity: "certified"}, {m: m for m in method_lines(averages, lines)}
                headings = [f"{certifier}: {block_title(setting, lines, 'PSNR')}", "algorithm"]
                blocks += by_eps(averages, lines, certifier, quantity, shown, labels, headings)
    known = columns(averages.declared)
    which = "; ".join(f"{certifier}: {meaning(known[quantity])}" for certifier, quantity in certified.items())
    own = (
        "Attacked: PSNR of the attacked reconstruction without smoothing. Certified: no attack of norm ε can push the "
        f"smoothed reconstruction below ({which}), at the σ best for all methods together; σ –: the reconstruction without "
        "smoothing."
    )
    said = notes("certified_psnr", own, PICKED, *confidence(averages, *certified))
    return Table("certified_psnr", "Certified PSNR", said, blocks)


def by_eps(
    averages: Averages, lines: pd.DataFrame, certifier: str, best_by: str, shown: Mapping[str, str],
    labels: Mapping[str, str], headings: Sequence[str],
) -> Iterator[Block]:  # fmt: skip
    """Blocks of at most PER_BLOCK eps side by side, a line for each method: clean, and for each eps
    attacked and some quantities of a certifier at the best sigma. At least one: clean is shown
    without any attack.

    ``lines``: of one setting; ``best_by``: the quantity that picks the sigma; ``shown``: quantities
    -> headings; ``labels``: of methods; ``headings``: of the blocks, and of their first column."""
    eps_of_all, width = radii(lines), 1 + len(shown)
    clean, attacked = lookup(lines, ["method"]), lookup(lines, ["method", "eps"])
    at = lookup(lines[lines["certifier"] == certifier], ["method", "eps", "sigma"])
    # An attack on the smoothed estimator is another at each sigma.
    on_smoothed = lines["attack_target"].isin(["mean", "median"]).any()
    for start in range(0, max(1, len(eps_of_all)), PER_BLOCK):
        some = eps_of_all[start : start + PER_BLOCK]
        best = {eps: best_sigma(lines[lines["eps"] == eps], certifier, best_by) for eps in some}
        found: list[list[str | Entry]] = []
        for method, label in labels.items():
            line: list[str | Entry] = [label, entry(averages, clean.get((method,)), "psnr_clean")]
            for eps in some:
                smoothed = at.get((method, eps, known(best[eps])))
                unsmoothed = (smoothed if on_smoothed else None) or attacked.get((method, eps))
                line.append(entry(averages, unsmoothed, "psnr_attacked"))
                line += [entry(averages, smoothed, quantity) for quantity in shown]
            found.append(line)
        header = [headings[1], "clean", *("attacked", *shown.values()) * len(some)]
        spans = [("", 1), ("ε = 0", 1), *((f"ε = {eps:g}, σ = {grey(best[eps])}", width) for eps in some)]
        yield Block(headings[0], header, found, spans)


def median_table(averages: Averages) -> Table:
    """Table 2."""
    attacked = [(s, b[(b["eps"] > 0) & (b["certifier"] == PAPER)]) for s, b in averages.blocks(BLOCK)]
    blocks = []
    for setting, lines in ((s, b) for s, b in attacked if len(b)):
        shown: list[list[str | Entry]] = []
        power = common_power(lines.get("discrepancy_median", pd.Series(dtype=float)))
        by_place = dict(grouped(lines[lines["sigma"] > 0], ["method", "eps"]))
        for eps in radii(lines):
            for method in method_lines(averages, lines):
                own = by_place.get((method, eps))
                cell: dict[str, Any] | None = None
                if own is not None:
                    candidates = own[own["bound_n"] > 0] if (own["bound_n"] > 0).any() else own
                    cell = lookup(candidates.sort_values("psnr_median", ascending=False), ["method"])[method,]
                sigma = MISSING if cell is None else grey(cell["sigma"])
                quantities = ("psnr_median", "discrepancy_median", "psnr_certified", "bound")
                shown.append([method, f"{eps:g}", sigma, *(entry(averages, cell, q, power) for q in quantities)])
        header = ["algorithm", "ε", "σ", *("PSNR", in_powers("discrepancy", power)) * 2]
        spans = [("", 3), ("smoothed median", 2), ("draw of rank K", 1), ("certificate", 1)]
        blocks.append(Block(block_title(setting, lines, "discrepancy"), header, shown, spans))
    said = (
        "Smoothed median (rank ⌈S/2⌉) against the draw of rank K, whose discrepancy is certified, each at the σ > 0 with "
        "the best PSNR of the median for its line among those with a certificate (without any: among all)."
    )
    explained = notes("table2", said, *OF_DISCREPANCY, *confidence(averages, PAPER))
    return Table("table2", "Table 2: smoothed median and certificate", explained, blocks)


def samples_table(averages: Averages) -> Table:
    """Table 4."""
    blocks = []
    for setting, lines in averages.blocks([*SETTING, "eps"]):
        lines = lines[(lines["certifier"] == PAPER) & (lines["sigma"] > 0)]
        if lines.empty or (setting["eps"] == 0 and radii(averages.table)):
            continue
        sizes = sorted(lines["n_samples"].dropna().unique())
        sigma = best_sigma(lines[lines["n_samples"] == sizes[-1]], PAPER)
        own = lines[lines["sigma"] == sigma]
        at, power = lookup(own, ["method", "n_samples"]), common_power(own["bound"])
        shown: list[list[str | Entry]] = []
        for method in method_lines(averages, lines):
            cells = [(at.get((method, size)), q) for size in sizes for q in ("bound", "psnr_certified")]
            shown.append([method, *(entry(averages, cell, q, power, spread=True) for cell, q in cells)])
        seconds = own.groupby("n_samples")["seconds"].mean().dropna()
        taken = {size: f" (t = {seconds[size]:.2f} s)" if size in seconds else "" for size in sizes}
        spans = [("", 1), *((f"S = {size:g}{taken[size]}", 2) for size in sizes)]
        header = ["algorithm", *(in_powers("certified discrepancy", power), "PSNR, rank K") * len(sizes)]
        blocks.append(Block(block_title({**setting, "sigma": sigma}, own, "discrepancy"), header, shown, spans))
    said = (
        "Certified discrepancy and PSNR of the draw of rank K (± standard deviation over the images) for each number of "
        "draws S, at the σ with the best smoothed median for all methods together at the largest S, among those with a "
        "certificate (without any: among all); t: seconds for each image."
    )
    explained = notes("table4", said, *OF_DISCREPANCY, *confidence(averages, PAPER))
    return Table("table4", "Table 4: number of draws S", explained, blocks)
