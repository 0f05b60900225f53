"""The declarations, for reports: headings and formats of columns, and the certifiers in order."""

from __future__ import annotations

from collections.abc import Iterable

from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.records.rows import Declared

PAPER = "discrepancy"
"""The certifier that Tables 1, 2 and 4 and Figure 1 of the paper are about."""
BEST_OF = "best_of"
"""The column, of a certifier that takes the best of others, with the one that a row is from."""
EPS, GREY, PIXELS = "ℓ2, [0, 1]", "grey levels", "pixels in [0, 1]"
SSIM = ".3f"
BASE = (
    Column("run_id", "", "which run the row is from", "text", heading="run"),
    Column("algo", "", "how the network was trained", "text", heading="algorithm"),
    Column("task", "", "measurement problem", "text", heading="task"),
    Column("scale", "", "sizes of network and training: paper or small; –: not known", "text", heading="scale"),
    Column("dataset", "", "of the images", "text", heading="data set"),
    Column("image", "", "click to compare its pictures, where they were kept", "text", heading="image"),
    Column("operator", "", "measurement operator A", "text", heading="operator"),
    Column("eps", EPS, f"ℓ2 norm of the attack over one whole image, {PIXELS}", heading="ε"),
    Column("sigma", GREY, "standard deviation of the smoothing noise, 8-bit grey levels; –: without smoothing",
           heading="σ"),
    Column("sigma_b", GREY, "standard deviation of the measurement noise, 8-bit grey levels", heading="σ_b"),
    Column("ratio", "", "measurements per pixel", heading="m/n"),
    Column("n_samples", "", "Monte-Carlo draws", "whole", heading="S"),
    Column("confidence", "", "probability, over the draws, that the certificate holds", heading="confidence"),
    Column("quantile", "", "fraction of the draws that the certificate is about", heading="q"),
    Column("k_index", "", "rank of the draw that gives the bound, counted from 1", "whole", heading="rank K"),
    Column("certifier", "", "what is certified", "text", heading="certifier"),
    Column("units", "", "matched: ε and σ in the same units; paper: the raw numbers, as published", "text", heading="units"),
    Column("sound", "", "whether the certificate holds for every ‖ξ‖₂ ≤ ε", "flag", heading="sound"),
    Column("reason", "", "why there is no certificate, and what would give one", "text", heading="reason"),
    Column("abstained", "", "the certifier had its draws and gave no certificate", "flag", heading="abstained"),
    Column("attacked_by", "", "attack, and what it attacked", "text", heading="attack"),
    Column("attack", "", "how ξ was found", "text", heading="attack"),
    Column("attack_target", "", "whose error the attack maximised", "text", heading="attack on"),
    Column("attack_norm", EPS, f"‖ξ‖₂ of the attack found, {PIXELS}", heading="‖ξ‖₂"),
    Column("psnr_measured", "dB", "of Aᵀy", heading="PSNR Aᵀy", digits=".2f"),
    Column("psnr_clean", "dB", "reconstruction without attack or smoothing", heading="PSNR clean", digits=".2f"),
    Column("psnr_attacked", "dB", "reconstruction of the attacked measurement, without smoothing", heading="PSNR attacked",
           digits=".2f"),
    Column("psnr_noise", "dB", "reconstruction under random noise of norm ε", heading="PSNR noise", digits=".2f"),
    Column("psnr_median", "dB", "of the picture that the certifier shows: the median draw, or its one image",
           heading="PSNR smoothed", digits=".2f"),
    Column("psnr_certified", "dB", "of the one draw whose error is the bound: the PSNR of a picture, which bounds nothing",
           heading="PSNR draw of rank K", digits=".2f"),
    Column("psnr_floor", "dB", "what a user can state without the clean image: no attack of norm ε leaves less, with the "
           "floor's confidence over calibration images", heading="PSNR floor", digits=".2f"),
    Column("floor_confidence", "", "probability, over calibration and new image, that the floor holds",
           heading="floor confidence"),
    Column("bound", "MSE", f"certified MSE, {PIXELS}", certified=True, heading="bound", digits=".2e"),
    Column("truth", "MSE", "what the bound bounds, under the attack found; an estimate from fresh draws",
           heading="truth", digits=".2e"),
    Column("eps_over_sigma", "", "the ratio that the certificate uses", heading="ε/σ"),
    Column("ssim_clean", "", "reconstruction without attack or smoothing", heading="SSIM clean", digits=SSIM),
    Column("ssim_attacked", "", "reconstruction of the attacked measurement", heading="SSIM attacked", digits=SSIM),
    Column("ssim_median", "", "of the picture that the certifier shows", heading="SSIM smoothed", digits=SSIM),
    Column("ssim_certified", "", "of the one draw whose error is the bound: it bounds nothing",
           heading="SSIM draw of rank K", digits=SSIM),
    Column("simultaneous", "", "what its own run paid for together: all ε, σ or images; –: each certificate on its own",
           "text", heading="confidence is for"),
    Column("seconds", "", "for this certificate", heading="seconds"),
    Column("seed", "", "of the random numbers", "whole", heading="seed"),
)  # fmt: skip
"""The columns that every row has, as far as tables and the page name them."""


def columns(declared: Declared) -> dict[str, Column]:
    """All columns with a heading, by name: those of every row, then of the certifiers in order."""
    found = {c.name: c for c in BASE}
    for certifier in certifiers(declared, declared.certifiers):
        found |= {c.name: c for c in certifier.columns if c.heading and c.name not in found}
    return found


def certifiers(declared: Declared, names: Iterable[str]) -> list[CertifierDeclaration]:
    """The declarations of certifiers, in their order."""
    return sorted((certifier(declared, name) for name in set(names)), key=lambda c: (c.order, c.name))


def certifier(declared: Declared, name: str) -> CertifierDeclaration:
    """The declaration of a certifier; the default one if it declared nothing."""
    return declared.certifiers.get(name) or CertifierDeclaration(name, "certified MSE")


def repeats(certifier: CertifierDeclaration) -> bool:
    """Whether its rows repeat the certificates of others, which its column BEST_OF names."""
    return any(column.name == BEST_OF for column in certifier.columns)


def psnr_columns(declared: Declared, names: Iterable[str]) -> dict[str, str]:
    """Of the certifiers that certify a PSNR: their name, and the column with it."""
    return {c.name: c.curves["psnr"] for c in certifiers(declared, names) if "psnr" in c.curves}


def clause(certifier: CertifierDeclaration) -> str:
    """Its statement, as a part of a sentence."""
    return certifier.statement.replace(": ", ", ")


def meaning(column: Column) -> str:
    """Its meaning, as a part of a sentence."""
    return column.meaning.rstrip(".")


def taken_at(certifier: CertifierDeclaration) -> str:
    """The measurement that its draws are of, as a symbol."""
    return "y(x+ξ)" if certifier.at == "attacked" else "y(x)"
