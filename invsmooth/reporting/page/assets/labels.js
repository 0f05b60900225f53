"use strict";
// Names, units and formats of columns, and styles of curves. The page data has the names and the order.

let LABELS = {}; // column -> [heading with unit, meaning, format]
let CERTIFIERS = new Map(); // name -> what the page says of it

function readLabels(data) {
  LABELS = data.labels;
  CERTIFIERS = new Map(data.certifiers.map((certifier) => [certifier.name, certifier]));
}

// Okabe and Ito's colours, which the colour-blind tell apart; markers and dashes tell them apart in grey.
// One for each method, in their order.
const STYLES = [
  { colour: "blue", marker: "circle", dash: [] },
  { colour: "vermillion", marker: "square", dash: [9, 4] },
  { colour: "green", marker: "up", dash: [2, 3] },
  { colour: "purple", marker: "diamond", dash: [10, 3, 2, 3] },
  { colour: "orange", marker: "down", dash: [5, 3] },
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
  const format = /\.(\d+)([ef])/.exec(LABELS[name]?.[2] ?? "");
  if (format?.[2] === "f") return value.toFixed(Number(format[1]));
  if (format) return value === 0 ? "0" : value.toExponential(Number(format[1]));
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}
