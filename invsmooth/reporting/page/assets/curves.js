"use strict";
// The panels over ε and over σ, their legend, what has no certificate, and the numbers as a table.

let undraw = []; // of the panels drawn now

function drawCurves(data, view) {
  const { eps, sigma } = data.columns, { chosen, setting } = view;
  const algos = algosOf(data, setting);
  undraw.forEach((remove) => remove());
  undraw = [];
  const numbers = [drawOverview(data, view)].filter(Boolean);
  const fixed = { eps: setting.filter((i) => sigma[i] === chosen.sigma), sigma: setting.filter((i) => eps[i] === chosen.eps) };
  byId("eps-title").textContent = chosen.sigma === null ? "Over ε, without smoothing" : `Over ε, at σ = ${shown(chosen.sigma)} (grey levels)`;
  byId("sigma-title").textContent = `Over σ, at ε = ${shown(chosen.eps)} (ℓ2 norm over one image, pixels in [0, 1])`;
  // What was certified without smoothing has no curve over σ.
  fixed.sigma = fixed.sigma.filter((i) => sigma[i] !== null);
  byId("sigma-title").hidden = fixed.sigma.length === 0;
  for (const over of ["eps", "sigma"]) {
    byId(`over-${over}`).replaceChildren();
    if (fixed[over].length === 0) continue;
    for (const panel of panelsOf(chosen.certifier)) {
      if (panel.over && panel.over !== over) continue;
      numbers.push(drawOne(data, view, fixed[over], over, panel, algos));
    }
  }
  drawLegend(data, view, data.algorithms.filter((algo) => algos.includes(algo) || overviewAlgos(data, view).includes(algo)));
  drawNotes(data, view, fixed);
  byId("numbers").querySelector(".scroll").replaceChildren(...numbers);
}

function hiddenAlgos() {
  return new Set((state.get("hide") || "").split(",").filter(Boolean));
}

function drawOne(data, view, rows, over, panel, algos) {
  const points = curvePoints(data, rows, over, panel.column);
  const faint = panel.faint ? curvePoints(data, rows, over, panel.faint) : new Map();
  const xs = distinct(data.columns[over], rows), hide = hiddenAlgos();
  const curves = algos.filter((algo) => points.has(algo) && !hide.has(algo)).map((algo) => ({
    algo, style: styleOf(data, algo), points: points.get(algo), faint: faint.get(algo),
  }));
  const place = el("figure", { class: panel.certified ? "panel certified" : "panel" });
  byId(`over-${over}`).append(place);
  undraw.push(drawPanel(place, panel, over, xs, curves));
  const without = withoutCertificate(curves, over, xs);
  if (panel.certified && unsoundness(data, view)) place.append(el("figcaption", {}, unsoundness(data, view)));
  if (panel.certified && without) place.append(el("figcaption", {}, "× ", without));
  const lines = algos.filter((algo) => points.has(algo)).map((algo) => [
    algo, ...xs.map((x) => pointText(points.get(algo).get(x), panel.column)),
  ]);
  return plainTable(["algorithm", ...xs.map((x) => `${symbol(over)} = ${shown(x)}`)], lines, `${panel.title}: ${panel.axis} over ${symbol(over)}`);
}

function withoutCertificate(curves, over, xs) {
  const by = new Map();
  for (const curve of curves) {
    const none = xs.filter((x) => curve.points.get(x) && curve.points.get(x).mean === null).map((x) => shown(x));
    if (none.length) by.set(none.join(", "), [...(by.get(none.join(", ")) || []), curve.algo]);
  }
  const said = [...by].map(([where, algos]) => `${symbol(over)} = ${where} (${algos.length === curves.length && curves.length > 1 ? "all" : algos.join(", ")})`);
  return said.length ? `not certified for every image at ${said.join("; ")}` : "";
}

function drawLegend(data, view, algos) {
  const hide = hiddenAlgos();
  byId("legend").replaceChildren(...algos.map((algo) => el("button", {
    type: "button", "aria-pressed": String(!hide.has(algo)), title: "show or hide this curve",
    onclick: () => {
      hide[hide.has(algo) ? "delete" : "add"](algo);
      setState("hide", [...hide].join(","));
      drawCurves(data, view);
      [...byId("legend").children].find((button) => button.dataset.algo === algo)?.focus();
    },
    "data-algo": algo,
  }, swatch(styleOf(data, algo)), algo)), el("span", { class: "hint" }, "× no certificate (hover: for how many images)"));
}

// A piece of a curve, as it is drawn.
function swatch(style) {
  const canvas = el("canvas", { width: 68, height: 24, class: "swatch", "aria-hidden": "true" }), ctx = canvas.getContext("2d");
  ctx.strokeStyle = ctx.fillStyle = colour(style.colour);
  ctx.lineWidth = 4;
  ctx.setLineDash(style.dash.map((length) => 2 * length));
  ctx.beginPath(); ctx.moveTo(2, 12); ctx.lineTo(66, 12); ctx.stroke();
  if (style.marker) marker(ctx, style.marker, 34, 12, 2 * MARKER);
  return canvas;
}

// What the averages are over, and where one curve mixes several networks.
function drawNotes(data, view, fixed) {
  const { image, algo, estimator_sha256: network } = data.columns;
  const images = new Set(view.setting.map((i) => image[i])).size;
  const mixed = algosOf(data, view.setting).filter(
    (name) => new Set(view.setting.filter((i) => algo[i] === name).map((i) => network[i])).size > 1,
  );
  let said = `Means over ${plural(images, "image")}. A point stands only where every image has a value.`;
  if (mixed.length) said += ` ${mixed.join(", ")}: several networks are averaged; choose a run to tell them apart.`;
  byId("curve-notes").textContent = said;
}
