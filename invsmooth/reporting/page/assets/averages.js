"use strict";
// Rows to the points of curves: means over the images. No drawing.

// The panels of a certifier: a quantity, its axis, and whether the axis is logarithmic (MSE).
function panelsOf(name) {
  const certifier = CERTIFIERS.get(name);
  return [
    { column: "psnr_attacked", faint: "psnr_clean", title: "Attacked, no smoothing (thin: clean)", axis: "PSNR (dB)" },
    { column: "psnr_median", title: `${certifier.smooths ? "Smoothed" : "Unsmoothed"}: ${certifier.shown} of ${certifier.at}`, axis: "PSNR (dB)" },
    ...certifier.panels.map((panel) => ({ ...panel, certified: true })),
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

function styleOf(data, algo) {
  return STYLES[data.algorithms.indexOf(algo) % STYLES.length];
}

// The algorithms of these rows, in the order of the page data.
function algosOf(data, rows) {
  const there = new Set(rows.map((i) => data.columns.algo[i]));
  return data.algorithms.filter((name) => there.has(name));
}
