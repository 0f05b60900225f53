"use strict";
// The pictures of the choice as thumbnails, for each algorithm.

const FIRST = 60; // thumbnails drawn before one asks for all

const KIND_COLUMNS = { measured: "measured", reconstructed: "clean", attacked: "attacked", median: "median", certified: "certified" };

function source(data, cell, kind) {
  return "data:image/png;base64," + data.pictures.pngs[cell.kinds[kind]];
}

// The name of a picture of a cell. The pictures belong to the certifier of the cell's row.
function kindName(data, cell, kind) {
  const { shown, at } = certifierOf(data, cell);
  return {
    clean: "clean x", measured: "measured Aᵀy", reconstructed: "reconstruction of y(x)",
    attacked: "reconstruction of y(x+ξ)", median: `${shown} of ${at}`,
    certified: `draw of rank K of ${at}`, intervals: "width of the pixel intervals",
  }[kind];
}

function certifierOf(data, cell) {
  return CERTIFIERS.get(data.columns.certifier[cell.row]);
}

// PSNR and SSIM from the row; "" where the row has none.
function quality(data, cell, kind) {
  const column = KIND_COLUMNS[kind];
  if (!column) return "";
  const psnr = data.columns[`psnr_${column}`][cell.row], ssim = (data.columns[`ssim_${column}`] || [])[cell.row];
  const said = [];
  if (psnr !== null && psnr !== undefined) said.push(`${shown(psnr, "psnr_clean")} dB`);
  if (ssim !== null && ssim !== undefined) said.push(`SSIM ${shown(ssim, "ssim_clean")}`);
  return said.join(", ");
}

// Numbers of the pictures whose cell has a row in the choice, in the order of the algorithms.
function picturesOf(data, view) {
  const found = new Set();
  for (const algo of algosOf(data, view.rows)) {
    for (const i of view.rows) {
      const k = data.columns.algo[i] === algo ? data.pictureOfCell(i) : undefined;
      if (k !== undefined) found.add(k);
    }
  }
  return [...found];
}

function drawGallery(data, view) {
  const found = picturesOf(data, view);
  const where = `ε = ${shown(view.chosen.eps)}${view.chosen.sigma === null ? "" : `, σ = ${shown(view.chosen.sigma)}`}`;
  const said = [found.length ? `${plural(found.length, "set")} of pictures kept at ${where}.` : `No pictures kept at ${where}.`];
  const others = new Set(found.map((k) => data.columns.certifier[data.pictures.cells[k].row]).filter((c) => c !== view.chosen.certifier));
  if (others.size) said.push(`Runs keep the pictures of their first certifier: ${[...others].join(", ")}.`);
  const { left_out: out, cells, max_bytes: most } = data.pictures;
  if (out) said.push(`Left out of this page: ${out} of ${plural(out + cells.length, "set")} of pictures, beyond ${Math.round(most / 2 ** 20)} MiB; they are in the run folders.`);
  byId("pictures-note").replaceChildren(said.join(" "), el("span", { class: "screen" }, found.length ? " Click one to compare." : ""));
  fillGallery(data, found, FIRST);
}

function fillGallery(data, found, most) {
  byId("gallery").replaceChildren(...found.slice(0, most).map((k) => thumbnail(data, k)));
  if (found.length > most) {
    byId("gallery").append(el("button", { type: "button", onclick: () => fillGallery(data, found, Infinity) }, `Show all ${found.length}`));
    byId("gallery").lastChild.addEventListener("click", () => byId("gallery").children[most]?.focus());
  }
}

function thumbnail(data, k) {
  const cell = data.pictures.cells[k], { algo, image } = data.columns;
  const kind = ["median", "reconstructed", "clean"].find((name) => name in cell.kinds);
  return el("button", { type: "button", class: "thumb", "data-picture": k, onclick: () => openPicture(data, k) },
    el("img", { src: source(data, cell, kind), alt: "" }),
    el("b", {}, algo[cell.row]), el("span", {}, image[cell.row]), el("span", { class: "hint" }, quality(data, cell, kind)));
}
