"use strict";
// Rows to the points of curves: means over the images. No drawing.

// The panels of a certifier: a quantity, its axis, and whether the axis is logarithmic (MSE).
function panelsOf(certifier, atAttacked) {
  const at = certifier === atAttacked ? "of y(x+ξ)" : "of y(x)";
  const smoothed = { mean: "mean", center: "centre" }[certifier] || "median draw";
  const bound = (what) => ({ column: "bound", title: `Certified: ${what}`, axis: "MSE (pixels in [0, 1])", log: true, certified: true });
  const inDb = (column, what) => ({ column, title: `Certified: ${what}`, axis: "PSNR (dB)", certified: true });
  const certified = {
    discrepancy: [bound("MSE of the draws to the reconstruction")],
    error: [inDb("certified_psnr", "PSNR of the smoothed draws, at least")],
    mean: [inDb("certified_psnr_mean", "PSNR of the smoothed mean, at least"), bound("MSE that the smoothed mean can move")],
    center: [bound("MSE that the centre can move")],
    radius: [{ column: "certified_eps", title: "Certified: ε up to which the threshold holds", axis: "ε (ℓ2 norm, pixels in [0, 1])", certified: true, over: "sigma" }],
  };
  return [
    { column: "psnr_attacked", faint: "psnr_clean", title: "Attacked, no smoothing (thin: clean)", axis: "PSNR (dB)" },
    { column: "psnr_median", title: `Smoothed: ${smoothed} ${at}`, axis: "PSNR (dB)" },
    ...(certified[certifier] || []),
  ];
}

// Map from algorithm to a Map from the value of `over` to a point. `column` is averaged; a point's mean is null unless
// every one of its rows has a value: an average over the easy images would flatter.
function curvePoints(data, rows, over, column) {
  const { algo, image } = data.columns, x = data.columns[over], values = data.columns[column];
  const network = data.columns.estimator_sha256;
  const curves = new Map();
  for (const i of rows) {
    if (!curves.has(algo[i])) curves.set(algo[i], new Map());
    const points = curves.get(algo[i]);
    if (!points.has(x[i])) points.set(x[i], { values: [], missing: 0, images: new Set(), networks: new Set(), reason: "" });
    const point = points.get(x[i]);
    point.images.add(image[i]);
    point.networks.add(network[i]);
    if (values[i] === null) {
      point.missing += 1;
      point.reason = point.reason || data.columns.reason[i] || "";
    } else point.values.push(values[i]);
  }
  for (const points of curves.values()) for (const point of points.values()) finish(point);
  return curves;
}

function finish(point) {
  const n = point.values.length;
  const mean = point.values.reduce((sum, value) => sum + value, 0) / n;
  const variance = point.values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
  point.rows = n + point.missing;
  point.mean = point.missing ? null : mean;
  point.deviation = point.missing ? null : Math.sqrt(variance);
}

// In words, for hovering and for the table of numbers.
function pointText(point, column) {
  if (!point) return "–";
  if (point.mean !== null) return shown(point.mean, column);
  return point.missing === point.rows ? "none" : `none (${point.missing} of ${point.rows} without)`;
}

function styleOf(algo, algos) {
  if (STYLES[algo]) return STYLES[algo];
  const others = algos.filter((name) => !STYLES[name]);
  return FURTHER[others.indexOf(algo) % FURTHER.length];
}

// The algorithms of the setting: the paper's five in their usual order, then others.
function algosOf(data, rows) {
  const known = Object.keys(STYLES);
  const place = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return distinct(data.columns.algo, rows).sort((a, b) => place(a) - place(b) || inOrder(a, b));
}
