"""The declarations of certifiers and algorithms, for rows made by hand."""

from __future__ import annotations

from invsmooth.core.declarations import AlgorithmDeclaration, CertifierDeclaration, Column
from invsmooth.records.rows import Declared

CERTIFIERS = (
    CertifierDeclaration(
        "discrepancy", "smoothed draws: MSE to what was reconstructed", order=10, colour="#0072B2", at="attacked",
        ranked=True, axis="discrepancy: MSE to what\nwas reconstructed (dotted: median)", truth_in=("mse",),
        columns=(
            Column("discrepancy_median", "MSE", "Of the draw of rank ceil(S/2) to the reconstruction: an estimate.",
                   heading="discrepancy median", digits=".2e"),
            Column("discrepancy_certified", "MSE", "The bound of discrepancy.", certified=True),
        ),
    ),
    CertifierDeclaration(
        "error", "smoothed draws: MSE to the clean image", order=20, colour="#CC79A7", marker="D", ranked=True,
        column="certified_psnr", axis="error: certified PSNR, dB", short="≥ {:.2f} dB", curves={"psnr": "certified_psnr"},
        truth_in=("psnr",),
        columns=(
            Column("certified_psnr", "dB", "PSNR that a fraction q of the smoothed draws has under every attack.",
                   certified=True, heading="certified PSNR", digits=".2f"),
        ),
    ),
    CertifierDeclaration(
        "radius", "the threshold, up to the certified ε", order=30, colour="#E69F00", marker="v", ranked=True,
        column="certified_eps", axis="radius: certified ε", short="ε ≤ {:.2g}", per_eps=False, curves={},
        columns=(
            Column("certified_eps", "l2, [0, 1] pixels", "Largest eps at which the threshold is certified.",
                   certified=True, heading="certified ε"),
        ),
    ),
    CertifierDeclaration(
        "mean", "smoothed mean: MSE by which it can move", order=40, colour="#D55E00", marker="s", shown="smoothed mean",
        axis="mean: MSE that the\nsmoothed mean can move", truth_in=("mse",),
        curves={"mse": "bound", "psnr": "certified_psnr_mean"},
        columns=(
            Column("certified_psnr_mean", "dB", "PSNR of the mean estimator under every attack.", certified=True,
                   heading="certified PSNR of the mean", digits=".2f"),
            Column("ball_radius", "l2, [0, 1] pixels", "R, radius of the ball that the draws are clipped to."),
            Column("clipped", "", "How many draws were clipped.", kind="whole"),
            Column("bound_chi_square", "MSE", "The bound by the chi-square divergence.", certified=True),
        ),
    ),
    CertifierDeclaration(
        "center", "centre: MSE by which it can move", order=50, colour="#009E73", marker="^", shown="centre",
        axis="center: MSE that\nthe centre can move",
        columns=(Column("abstained", "", "The draws did not show that a small ball holds half of them.", kind="flag"),),
    ),
)  # fmt: skip

ALGORITHMS = (
    AlgorithmDeclaration("ord", order=0),
    AlgorithmDeclaration("jcb", order=1),
    AlgorithmDeclaration("adv", order=2),
    AlgorithmDeclaration("smt_adv", order=3, smooths=True),
    AlgorithmDeclaration("smt_grad", order=4, smooths=True),
)

DECLARED = Declared({c.name: c for c in CERTIFIERS}, {a.name: a for a in ALGORITHMS})
