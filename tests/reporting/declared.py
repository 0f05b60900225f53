"""Declarations of certifiers and algorithms for rows made by hand."""

from __future__ import annotations

from invsmooth.core.declarations import AlgorithmDeclaration, CertifierDeclaration, Column
from invsmooth.records.rows import Declared

PSNR = Column("certified_psnr", "dB", "PSNR of a fraction q of the smoothed draws, at least", certified=True,
              heading="certified PSNR", digits=".2f")  # fmt: skip

CERTIFIERS = (
    CertifierDeclaration(
        "discrepancy", "MSE of the smoothed draws to what was reconstructed", order=10, colour="#0072B2", at="attacked",
        ranked=True, axis="MSE to what was reconstructed", truth_in=("mse",),
        columns=(
            Column("discrepancy_median", "MSE", "of the draws; an estimate", heading="discrepancy median", digits=".2e"),
            Column("discrepancy_certified", "MSE", "of the draws", certified=True),
        ),
    ),
    CertifierDeclaration(
        "error", "MSE of the smoothed draws to the clean image", order=20, colour="#CC79A7", marker="D", ranked=True,
        column="certified_psnr", axis="certified PSNR, dB", short="≥ {:.2f} dB", curves={"psnr": "certified_psnr"},
        truth_in=("psnr",), columns=(PSNR,),
    ),
    CertifierDeclaration(
        "radius", "MSE threshold, which holds up to the certified ε", order=30, colour="#E69F00", marker="v", ranked=True,
        column="certified_eps", axis="certified ε", short="ε ≤ {:.2g}", per_eps=False, curves={},
        columns=(Column("certified_eps", "ℓ2, [0, 1]", "largest ε at which the threshold is certified", certified=True,
                        heading="certified ε"),),
    ),
    CertifierDeclaration(
        "mean", "MSE that the smoothed mean can move", order=40, colour="#D55E00", marker="s", shown="smoothed mean",
        axis="MSE that the smoothed mean can move", truth_in=("mse",),
        curves={"mse": "bound", "psnr": "certified_psnr_mean"},
        columns=(
            Column("certified_psnr_mean", "dB", "PSNR of the smoothed mean, at least", certified=True,
                   heading="certified PSNR of the mean", digits=".2f"),
            Column("bound_chi_square", "MSE", "simpler bound", certified=True),
            Column("ball_radius", "l2, [0, 1] pixels", "R of the ball that draws are clipped to"),
            Column("clipped", "", "draws that were clipped", "whole"),
        ),
    ),
    CertifierDeclaration(
        "center", "MSE that the centre can move", order=50, colour="#009E73", marker="^", shown="centre",
        axis="MSE that the centre can move",
    ),
)  # fmt: skip

ALGORITHMS = (
    AlgorithmDeclaration("ord", 0),
    AlgorithmDeclaration("jcb", 1),
    AlgorithmDeclaration("adv", 2),
    AlgorithmDeclaration("smt_adv", 3, smooths=True),
    AlgorithmDeclaration("smt_grad", 4, smooths=True),
)

DECLARED = Declared({c.name: c for c in CERTIFIERS}, {a.name: a for a in ALGORITHMS})
