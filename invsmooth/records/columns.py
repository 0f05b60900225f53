"""The meaning and unit of every column of the result rows."""

from __future__ import annotations

from invsmooth.core.declarations import Column

EPS, GREY, PIXELS = "ℓ2, [0, 1]", "grey levels", "pixels in [0, 1]"
SSIM = ".3f"
BASE = (
    Column("run_id", "", "which run the row is from", "text", heading="run"),
    Column("algo", "", "how the network was trained", "text", heading="algorithm"),
    Column("task", "", "measurement problem", "text", heading="task"),
    Column("scale", "", "sizes of network and training: paper or small; –: not known", "text", heading="scale"),
    Column("dataset", "", "the test images; (colour): with three channels", "text", heading="data set"),
    Column("image", "", "its name in the data set; click on it to compare its pictures, where they were kept", "text",
           heading="image"),
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
    Column("certifier", "", "kind of certificate: what is certified, and how", "text", heading="certifier"),
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
    Column("seconds", "s", "for this certificate", heading="seconds"),
    Column("seed", "", "of the random numbers", "whole", heading="seed"),
)  # fmt: skip
"""The columns that tables and the page name."""

FURTHER = (
    Column("estimator", "", "class of the network", "text"),
    Column("impossible", "", "no draws could give a certificate here", "flag"),
    Column("confidence_each", "", "probability, over the draws, that this one certificate holds"),
    Column("joint_over_eps", "", "the certificates of all ε of this image, σ and certifier are one statement", "flag"),
    Column("truth_lower", "MSE", "lower confidence limit of truth, in its unit"),
    Column("truth_upper", "MSE", "upper confidence limit of truth, in its unit"),
    Column("attack_zero_gradient", "", "the gradient was zero wherever the attack took it: psnr_attacked is no sign of "
           "robustness", "flag"),
    Column("attack_grad_evals", "gradients", "of the attack, for each image", "whole"),
    Column("attack_precision", "", "of the gradients that ξ was searched with: fp32 or bf16", "text"),
    Column("network_evals", "forward passes", "of the certificate, for each image", "whole"),
    Column("precision", "", "of the network that is attacked and certified: fp32 or bf16", "text"),
    Column("estimator_sha256", "", "hash of the weights of the network", "text"),
)  # fmt: skip
"""The other columns that every row has."""
