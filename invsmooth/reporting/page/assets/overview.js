"use strict";
// PSNR over ε of all methods of the place chosen: clean, attacked, certified. The page data has the points.

const KIND_LINES = {
  clean: { dash: [1, 4], width: 1, marker: null }, attacked: { dash: [7, 4], width: 1.5 },
  certified: { dash: [], width: 2.5 }, smoothed: { dash: [9, 3, 2, 3], width: 1.5 },
};

function overviewOf(data, view) {
  return data.overview.find((one) => Object.entries(one.place).every(([name, value]) => view.chosen[name] === value));
}

function overviewAlgos(data, view) {
  return (overviewOf(data, view)?.curves ?? []).map((curve) => curve.algo);
}

// Returns the numbers as a table; null where there is nothing but clean PSNR.
function drawOverview(data, view) {
  const found = overviewOf(data, view);
  const there = Boolean(found) && found.curves.some((curve) => curve.kind !== "clean");
  byId("overview-title").hidden = byId("overview").hidden = !there;
  byId("overview").replaceChildren();
  if (!there) return null;
  const all = found.curves.flatMap((curve) => curve.xs), hide = hiddenAlgos();
  const xs = distinct(all, all.keys()).filter((x) => x !== null);
  const curves = found.curves.map((curve) => overviewCurve(data, found, curve, xs));
  const panel = { column: "psnr_clean", title: `Means over the same ${plural(found.images, "image")}`, axis: "PSNR (dB)", logX: true };
  const place = el("figure", { class: "panel certified" });
  byId("overview").append(place);
  undraw.push(drawPanel(place, panel, "eps", xs, curves.filter((curve) => !hide.has(curve.method))));
  for (const [kind, text] of Object.entries(found.kinds)) {
    place.append(el("figcaption", {}, swatch({ ...KIND_LINES[kind], colour: "text", marker: null }), text));
  }
  const lines = curves.map((curve) => [curve.algo, ...xs.map((x) => pointText(curve.points.get(x), panel.column))]);
  return plainTable(["algorithm", ...xs.map((x) => `ε = ${shown(x)}`)], lines, "PSNR (dB) over ε: clean, attacked, certified");
}

// As drawPanel takes a curve. The clean PSNR is the same at every ε.
function overviewCurve(data, found, curve, xs) {
  const point = (k) => {
    const made = { images: { size: found.images }, networks: { size: 1 }, missing: 0, note: curve.of[k] };
    made.mean = curve.ys[k];
    return made;
  };
  const points = new Map(curve.kind === "clean" ? xs.map((x) => [x, point(0)]) : curve.xs.map((x, k) => [x, point(k)]));
  const style = { ...styleOf(data, curve.algo), ...KIND_LINES[curve.kind] };
  return { algo: `${curve.algo}, ${curve.kind}`, method: curve.algo, style, points };
}
