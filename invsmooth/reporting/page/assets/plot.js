"use strict";
// One panel: curves drawn by uPlot, our markers on them, and what stands under the pointer.

const MARKER = 4.5; // half the size of a marker, CSS pixels

// `curves`: for each algorithm shown its style, points and, where the panel has one, its thin curve.
function drawPanel(place, panel, over, xs, curves) {
  const tip = el("div", { class: "tip", hidden: true });
  const box = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": panelSummary(panel, over, xs, curves) });
  place.append(el("h4", {}, panel.title), box, tip);
  const series = [{}], columns = [xs];
  for (const curve of curves) {
    columns.push(drawable(curve.points, xs, panel.log));
    series.push(line(curve, curve.style.width ?? 2));
    if (!curve.faint) continue;
    columns.push(drawable(curve.faint, xs, panel.log));
    series.push(line({ style: { colour: curve.style.colour, dash: [1, 3] } }, 1));
  }
  const options = {
    width: Math.max(260, box.clientWidth), height: 260, series, legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: false, ...(panel.logX ? { distr: 3, range: decades } : { range: paddedRange }) }, y: panel.log ? { distr: 3, range: decades } : { range: roundRange } },
    axes: [{ ...axis(axisLabel(over)), size: 34, ...(panel.logX ? RADII_TICKS : {}) }, { ...axis(panel.axis), size: panel.log ? 62 : 54, ...(panel.log ? LOG_TICKS : {}) }],
    hooks: {
      draw: [(plot) => drawMarkers(plot, panel, xs, curves)],
      setCursor: [(plot) => showTip(plot, tip, panel, over, xs, curves)],
    },
  };
  const plot = new uPlot(options, columns, box);
  box.plot = plot;
  box.addEventListener("keydown", (event) => moveCursor(event, plot, xs));
  box.addEventListener("blur", () => plot.setCursor({ left: -10, top: -10 }));
  const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(260, box.clientWidth), height: 260 }));
  observer.observe(box);
  return () => { observer.disconnect(); plot.destroy(); };
}

function line(curve, width) {
  return {
    stroke: colour(curve.style.colour), width, dash: curve.style.dash, spanGaps: false, points: { show: false },
  };
}

// null interrupts a curve (no certificate); undefined, where nothing was evaluated, does not.
function drawable(points, xs, log) {
  return xs.map((x) => {
    const point = points.get(x);
    if (!point) return undefined;
    return point.mean === null || !Number.isFinite(point.mean) || (log && point.mean <= 0) ? null : point.mean;
  });
}

function axis(text) {
  return {
    label: text, labelSize: 22, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif",
    stroke: colour("text"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 },
  };
}

// 1, 2, …, 9 in each decade. uPlot's own add up rounding errors, and below 1e-6 they never end.
function logSplits(plot, number, low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (let digit = 1; digit < 10; digit += 1) found.push(Number(`${digit}e${power}`));
  }
  return found.filter((value) => value >= low && value <= high);
}

const LOG_TICKS = {
  splits: logSplits,
  filter: (plot, splits) => splits.map((value) => (isDecade(value) || fewDecades(plot) && /^[25]/.test(value.toExponential(0)) ? value : null)),
  values: (plot, splits) => splits.map((value) => (value === null ? "" : value.toExponential(0).replace("-", "−"))),
};
const RADII_TICKS = {
  splits: logSplits,
  filter: (plot, splits) => splits.map((value) => (/^[125]/.test(value.toExponential(0)) ? value : null)),
  values: (plot, splits) => splits.map((value) => (value === null ? "" : String(Number(value.toPrecision(2))))),
};
const isDecade = (value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
const fewDecades = (plot) => plot.scales.y.max / plot.scales.y.min < 200;

function paddedRange(plot, low, high) {
  if (low === null) return [0, 1];
  const pad = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - pad, high + pad];
}

function roundRange(plot, low, high) {
  if (low === null) return [0, 1];
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.02 || 1;
  return [low - pad, high + pad];
}

function decades(plot, low, high) {
  if (low === null) return [1e-4, 1e-1];
  return [low / 1.6, high * 1.6];
}

function drawMarkers(plot, panel, xs, curves) {
  const { ctx } = plot, ratio = uPlot.pxRatio, size = MARKER * ratio;
  const bottom = plot.bbox.top + plot.bbox.height;
  ctx.save();
  curves.forEach((curve, k) => {
    ctx.strokeStyle = ctx.fillStyle = colour(curve.style.colour);
    ctx.lineWidth = 1.6 * ratio;
    for (const x of xs) {
      const point = curve.points.get(x);
      if (!point || !curve.style.marker) continue;
      const left = plot.valToPos(x, "x", true);
      // What has no value, or is 0 on a logarithmic axis, stands at the lower edge, one line for each algorithm.
      const edge = bottom - (curves.length - k - 0.4) * 2.2 * size;
      if (point.mean === null) cross(ctx, left, edge, size * 0.9);
      else if (panel.log && point.mean <= 0) marker(ctx, "down", left, bottom - size, size);
      else marker(ctx, curve.style.marker, left, plot.valToPos(point.mean, "y", true), size);
    }
  });
  ctx.restore();
}

function cross(ctx, x, y, r) {
  ctx.beginPath();
  ctx.moveTo(x - r, y - r); ctx.lineTo(x + r, y + r); ctx.moveTo(x + r, y - r); ctx.lineTo(x - r, y + r);
  ctx.stroke();
}

const CORNERS = {
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  up: [[0, -1.1], [1.05, 0.8], [-1.05, 0.8]],
  down: [[0, 1.1], [1.05, -0.8], [-1.05, -0.8]],
  diamond: [[0, -1.25], [1, 0], [0, 1.25], [-1, 0]],
  plus: [[-0.3, -1], [0.3, -1], [0.3, -0.3], [1, -0.3], [1, 0.3], [0.3, 0.3], [0.3, 1], [-0.3, 1], [-0.3, 0.3], [-1, 0.3], [-1, -0.3], [-0.3, -0.3]],
};

function marker(ctx, shape, x, y, r) {
  ctx.beginPath();
  if (shape === "circle") ctx.arc(x, y, r * 0.95, 0, 2 * Math.PI);
  else CORNERS[shape].forEach(([dx, dy], k) => (k ? ctx.lineTo(x + dx * r, y + dy * r) : ctx.moveTo(x + dx * r, y + dy * r)));
  ctx.closePath();
  ctx.fill();
}

function showTip(plot, tip, panel, over, xs, curves) {
  const at = plot.cursor.idx;
  tip.hidden = plot.cursor.left < 0 || at === null || at === undefined;
  if (tip.hidden) return;
  const lines = curves.filter((curve) => curve.points.has(xs[at])).map((curve) => tipLine(curve, xs[at], panel));
  tip.replaceChildren(el("b", {}, `${symbol(over)} = ${shown(xs[at])}`), ...lines);
  const left = plot.valToPos(xs[at], "x") + plot.over.offsetLeft;
  tip.style.left = `${Math.max(0, Math.min(left + 12, tip.parentElement.clientWidth - tip.offsetWidth))}px`;
}

function tipLine(curve, x, panel) {
  const point = curve.points.get(x);
  let text = pointText(point, panel.column);
  if (point.mean !== null && point.images.size > 1 && point.deviation !== undefined) text += ` ± ${shown(point.deviation, panel.column)}`;
  text += `, ${plural(point.images.size, "image")}`;
  if (point.networks.size > 1) text += `, ${plural(point.networks.size, "network")}`;
  if (point.note) text += `, ${point.note}`;
  if (curve.faint && curve.faint.get(x)) text += `; clean ${pointText(curve.faint.get(x), panel.faint)}`;
  return el("span", {}, swatch(curve.style), `${curve.algo}: ${text}`);
}

// The arrow keys go from point to point.
function moveCursor(event, plot, xs) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const now = plot.cursor.left < 0 ? (step > 0 ? -1 : xs.length) : plot.cursor.idx;
  const next = Math.max(0, Math.min(xs.length - 1, now + step));
  plot.setCursor({ left: plot.valToPos(xs[next], "x"), top: 20 });
}

function panelSummary(panel, over, xs, curves) {
  return `${panel.title}; ${panel.axis} over ${symbol(over)}, ${plural(xs.length, "value")}, for ` +
    `${curves.map((curve) => curve.algo).join(", ")}. Arrow keys read the points.`;
}
