"use strict";
// Two pictures of one cell, one over the other, with a divider to move.

const ORDER = ["clean", "measured", "reconstructed", "attacked", "median", "certified", "intervals"];
const compare = { left: "attacked", right: "median", zoom: "fit", split: 50 }; // kept from picture to picture

function openPicture(data, k) {
  setState("picture", k);
  const dialog = byId("compare");
  drawCompare(data, k);
  if (!dialog.open) dialog.showModal();
}

// The kinds a cell has. A certifier of one image has no draw of rank K.
function kindsOf(data, cell) {
  const { ranked } = certifierOf(data, cell);
  return ORDER.filter((kind) => kind in cell.kinds && (ranked || kind !== "certified"));
}

function drawCompare(data, k) {
  const cell = data.pictures.cells[k], kinds = kindsOf(data, cell);
  if (!kinds.includes(compare.left)) compare.left = kinds[0];
  if (!kinds.includes(compare.right)) compare.right = kinds[kinds.length - 1];
  const redraw = (focus) => { drawCompare(data, k); byId(focus).focus(); };
  byId("compare").replaceChildren(
    heading(data, k, cell),
    el("div", { class: "sides" },
      side(data, cell, kinds, "left", redraw),
      el("button", { type: "button", id: "swap", title: "exchange left and right", "aria-label": "exchange left and right",
        onclick: () => { [compare.left, compare.right] = [compare.right, compare.left]; redraw("swap"); } }, "⇄"),
      side(data, cell, kinds, "right", redraw)),
    ...stage(data, cell),
    tools(data, cell, redraw),
  );
  zoom();
}

function heading(data, k, cell) {
  const { algo, image, eps, sigma, certifier, units, bound } = data.columns, i = cell.row;
  const facts = [`ε = ${shown(eps[i])} (ℓ2)`, sigma[i] === null ? "without smoothing" : `σ = ${shown(sigma[i])} (grey levels)`, `${certifier[i]}: ` +
    (bound[i] === null ? "no certificate" : `certified MSE ${shown(bound[i], "bound")}`)];
  return el("div", { class: "heading" },
    el("h2", { id: "compare-title" }, `${image[i]}, ${algo[i]}`),
    el("button", { type: "button", onclick: () => byId("compare").close(), "aria-label": "close" }, "✕"),
    el("p", {}, facts.join(", ")),
    units[i] === "paper" ? el("p", { class: "warning" }, data.paper_label) : null);
}

function side(data, cell, kinds, name, redraw) {
  const id = `side-${name}`;
  const select = el("select", { id, "aria-label": `${name} picture` }, ...kinds.map((kind) => option(kind, kindName(data, cell, kind), kind === compare[name])));
  select.addEventListener("change", () => { compare[name] = select.value; redraw(id); });
  return el("div", { class: `side ${name}` }, select, el("span", { class: "quality" }, quality(data, cell, compare[name]) || " "));
}

// The right picture lies over the left one and is clipped at the divider.
function stage(data, cell) {
  const picture = (name) => el("img", { class: name, src: source(data, cell, compare[name]), alt: kindName(data, cell, compare[name]), draggable: "false" });
  const frame = el("div", { class: "frame" }, picture("left"), picture("right"), el("div", { class: "divider" }));
  const slider = el("input", { type: "range", id: "split", min: 0, max: 100, step: 0.5, value: compare.split, "aria-label": "divider between left and right picture, per cent" });
  const move = () => { compare.split = Number(slider.value); frame.style.setProperty("--split", `${compare.split}%`); };
  slider.addEventListener("input", move);
  const drag = (event) => {
    const box = frame.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  };
  frame.addEventListener("pointerdown", (event) => { frame.setPointerCapture(event.pointerId); drag(event); });
  frame.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  frame.querySelector("img").addEventListener("load", zoom);
  move();
  return [el("div", { class: "scroll stage" }, frame), slider, intervalsLegend(cell)].filter(Boolean);
}

function intervalsLegend(cell) {
  const { intervals } = cell;
  if (!intervals || ![compare.left, compare.right].includes("intervals")) return null;
  const said = intervals.median === null ? "No interval at any pixel" :
    `Median ${intervals.median.toFixed(3)}${intervals.missing ? `; ${intervals.missing} pixels have no interval` : ""}`;
  return el("p", { class: "intervals" }, el("span", {}, "0"), el("span", { class: "cividis", "aria-hidden": "true" }), el("span", {}, intervals.max.toFixed(3)),
    el("span", {}, ` width of the intervals, pixels in [0, 1]. ${said}. Each: ${intervals.label}.`));
}

function tools(data, cell, redraw) {
  const select = el("select", { id: "zoom" }, ...["fit", "1", "2", "4", "8"].map((value) => option(value, value === "fit" ? "fit" : `${value}×`, value === compare.zoom)));
  select.addEventListener("change", () => { compare.zoom = select.value; zoom(); });
  const shownNow = [...byId("gallery").querySelectorAll("[data-picture]")].map((button) => Number(button.dataset.picture));
  const at = shownNow.indexOf(data.pictures.cells.indexOf(cell));
  const go = (step, text, id) => el("button", {
    type: "button", id, disabled: at < 0 || !(at + step in shownNow),
    onclick: () => {
      openPicture(data, shownNow[at + step]);
      byId(byId(id).disabled ? (step > 0 ? "previous" : "next") : id).focus();
    },
  }, text);
  return el("div", { class: "tools" }, el("label", {}, el("span", {}, "zoom "), select), go(-1, "Previous", "previous"), go(1, "Next", "next"));
}

// Whole multiples of the pixels, so that every pixel is as large as any other.
function zoom() {
  const image = document.querySelector("#compare .frame img");
  if (!image || !image.naturalWidth) return;
  const space = Math.min(byId("compare").clientWidth - 48, window.innerHeight * 0.6 * (image.naturalWidth / image.naturalHeight));
  const factor = compare.zoom === "fit" ? Math.max(1, Math.floor(space / image.naturalWidth)) : Number(compare.zoom);
  document.querySelector("#compare .frame").style.width = `${factor * image.naturalWidth}px`;
  byId("split").style.width = `${factor * image.naturalWidth}px`; // as wide as what it divides
}
