"use strict";
// What things are called, with their units, and what the certifiers certify.

const LABELS = {
  run_id: ["run", "which run the row is from"],
  algo: ["algorithm", "how the network was trained"],
  task: ["task", "measurement problem"],
  dataset: ["data set", "of the images"],
  image: ["image", "click to compare its pictures, where they were kept"],
  operator: ["operator", "measurement operator A"],
  eps: ["ε (ℓ2, [0, 1])", "ℓ2 norm of the attack over one whole image, pixels in [0, 1]"],
  sigma: ["σ (grey levels)", "standard deviation of the smoothing noise, 8-bit grey levels"],
  sigma_b: ["σ_b (grey levels)", "standard deviation of the measurement noise, 8-bit grey levels"],
  ratio: ["m/n", "measurements per pixel"],
  eps_over_sigma: ["ε/σ", "the ratio that the certificate uses"],
  n_samples: ["S", "Monte-Carlo draws"],
  confidence: ["confidence", "probability, over the draws, that the certificate holds"],
  quantile: ["q", "fraction of the draws that the certificate speaks of"],
  k_index: ["rank K", "of the draw that gives the bound, counted from 1"],
  certifier: ["certifier", "what is certified"],
  units: ["units", "matched: ε and σ in the same units; paper: the raw numbers, as published"],
  sound: ["sound", "whether the certificate holds for every ‖ξ‖₂ ≤ ε"],
  reason: ["reason", "why there is no certificate, and what would give one"],
  abstained: ["abstained", "center smoothing returned nothing"],
  attacked_by: ["attack", "attack, and what it attacked"],
  attack: ["attack", "how ξ was found"],
  attack_target: ["attack on", "whose error the attack maximised"],
  attack_norm: ["‖ξ‖₂ ([0, 1])", "of the attack found, pixels in [0, 1]"],
  bound: ["bound (MSE)", "certified MSE, pixels in [0, 1]"],
  truth: ["truth (MSE)", "what the bound bounds, under the attack found; an estimate (of center: 3 times its ball there)"],
  psnr_measured: ["PSNR Aᵀy (dB)", "of Aᵀy"],
  psnr_clean: ["PSNR clean (dB)", "reconstruction without attack or smoothing"],
  psnr_attacked: ["PSNR attacked (dB)", "reconstruction of the attacked measurement, without smoothing"],
  psnr_noise: ["PSNR noise (dB)", "reconstruction under random noise of norm ε"],
  psnr_median: ["PSNR smoothed (dB)", "of the median draw, or of the one image that mean and center show"],
  psnr_certified: ["PSNR draw of rank K (dB)", "of the one draw whose error is the bound: the PSNR of a picture, which bounds nothing"],
  ssim_clean: ["SSIM clean", "reconstruction without attack or smoothing"],
  ssim_attacked: ["SSIM attacked", "reconstruction of the attacked measurement"],
  ssim_median: ["SSIM smoothed", "of the median draw, or of the one image shown"],
  ssim_certified: ["SSIM draw of rank K", "of the one draw whose error is the bound: it bounds nothing"],
  discrepancy_median: ["median discrepancy (MSE)", "of the draws to what was reconstructed; an estimate"],
  discrepancy_certified: ["certified discrepancy (MSE)", "of the draws to what was reconstructed"],
  certified_psnr: ["certified PSNR (dB)", "at least this, for a fraction q of the draws"],
  certified_psnr_mean: ["certified PSNR of the mean (dB)", "of the mean of the smoothed reconstructions, at least"],
  certified_eps: ["certified ε (ℓ2, [0, 1])", "largest ε at which the threshold is certified, in the unit of the row's ε"],
  simultaneous: ["confidence is for", "what its own run paid for together: over all ε, σ or images; –: each certificate on its own"],
  seconds: ["seconds", "for this certificate"],
  seed: ["seed", "of the random numbers"],
};

const CERTIFIED = {
  discrepancy: "discrepancy: for every signal within ε of the observed one, at least a fraction q of the smoothed " +
    "reconstructions is within the bound (an MSE) of the reconstruction just made. Taken at the attacked measurement.",
  error: "error: under every attack of norm at most ε, at least a fraction q of the smoothed reconstructions has at " +
    "least the certified PSNR to the clean image. Taken at the clean measurement.",
  mean: "mean: under every attack of norm at most ε, the mean of the smoothed reconstructions (clipped to a ball fixed " +
    "beforehand) moves by at most the bound (an MSE); with the clean image known that certifies its PSNR. Taken at the clean measurement.",
  center: "center: under every attack of norm at most ε, the reconstruction that center smoothing returns lies within the " +
    "bound (an MSE) of the one returned here, unless it abstains. Taken at the clean measurement.",
  radius: "radius: the largest ε up to which the threshold (an MSE) is certified. Taken at the clean measurement.",
};

const ONE_IMAGE = { mean: "smoothed mean", center: "centre" };

// Okabe and Ito's colours, which the colour-blind tell apart; markers and dashes tell them apart in grey.
const STYLES = {
  ord: { colour: "blue", marker: "circle", dash: [] },
  adv: { colour: "vermillion", marker: "square", dash: [9, 4] },
  jcb: { colour: "green", marker: "up", dash: [2, 3] },
  smt_adv: { colour: "purple", marker: "diamond", dash: [10, 3, 2, 3] },
  smt_grad: { colour: "orange", marker: "down", dash: [5, 3] },
};
const FURTHER = [
  { colour: "sky", marker: "plus", dash: [] },
  { colour: "yellow", marker: "circle", dash: [3, 3] },
  { colour: "text", marker: "square", dash: [1, 3] },
];

function label(name) {
  return LABELS[name] ? LABELS[name][0] : name;
}

// Without its unit, where that stands beside it.
function symbol(name) {
  return { eps: "ε", sigma: "σ" }[name] || label(name);
}

function explained(name) {
  return LABELS[name] ? LABELS[name][1] : "column of results.parquet";
}

function axisLabel(name) {
  return { eps: "ε (ℓ2 norm over one image, pixels in [0, 1])", sigma: "σ (8-bit grey levels)" }[name];
}

// A value as text; what is missing is a dash.
function shown(value, name = "") {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (name.includes("psnr")) return value.toFixed(2);
  if (name.includes("ssim")) return value.toFixed(3);
  if (/^(bound|truth|discrepancy)/.test(name)) return value === 0 ? "0" : value.toExponential(2);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}
