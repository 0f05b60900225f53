"use strict";
// Puts the page together: rows in, everything drawn; drawn again when the choice, the hash or the colour scheme changes.

let drawn = null; // the view that is shown

function drawHeader(data) {
  const all = Array.from({ length: data.count }, (_, i) => i), { columns } = data;
  const images = new Set(all.map((i) => JSON.stringify([columns.dataset[i], columns.image[i]]))).size;
  const versions = new Set(data.runs.map((run) => run.invsmooth).filter(Boolean));
  const commits = new Set(data.runs.filter((run) => run.commit).map((run) => run.commit.slice(0, 10) + (run.changed ? " with changes" : "")));
  const few = (set, one) => (set.size > 3 ? plural(set.size, one) : [...set].join(", "));
  const parts = [plural(data.runs.length, "run"), plural(images, "image"), plural(data.count, "row"),
    `seed ${few(new Set(distinct(columns.seed, all).map((seed) => shown(seed))), "seed")}`];
  if (versions.size) parts.push(`invsmooth ${few(versions, "version")}`);
  if (commits.size) parts.push(`commit ${few(commits, "commit")}`);
  byId("covers").textContent = parts.join(" · ");
  byId("files").replaceChildren(...data.files.map((file) => el("a", { href: file.href }, file.name)));
  const headers = ["run", "folder", "how it ended", "seed", "invsmooth", "torch", "commit", "uncommitted changes"];
  byId("runs").replaceChildren(plainTable(headers, data.runs.map((run) => [
    run.run_id, run.folder, run.status, run.seed, run.invsmooth, run.torch, run.commit, run.changed].map((value) => shown(value)))));
  if (data.left_out) drawPartial(data, data.left_out);
  byId("notes").replaceChildren(...data.notes.map((note) => el("p", {}, note)),
    el("p", { class: "hint" }, `Numbers on this page have ${data.digits} significant digits; results.parquet has all of them.`));
}

// What a page of very many rows lacks.
function drawPartial(data, { rows, images, shown_images: some, file }) {
  byId("partial").hidden = false;
  byId("partial").replaceChildren(
    `This page carries ${data.count.toLocaleString("en")} of ${plural(rows, "row")}, of ${some.toLocaleString("en")} of ${plural(images, "image")}: more would make it slow. ` +
    "The panels over ε and σ, the pictures and the rows below are of these. PSNR over ε, table.md and tables/ are of all. All rows: ",
    el("a", { href: encodeURIComponent(file) }, file));
}

function drawAll(data) {
  const view = resolve(data);
  drawn = view;
  drawChoosers(view, () => drawAll(data));
  // What gets the focus is not to lie under the choosers, which stay at the top.
  document.documentElement.style.scrollPaddingTop = `${byId("choose").offsetHeight + 12}px`;
  const warning = unsoundness(data, view);
  for (const place of document.querySelectorAll(".unsound")) {
    place.hidden = !warning;
    place.textContent = warning;
  }
  const { what } = CERTIFIERS.get(view.chosen.certifier);
  byId("certified-what").textContent = warning ? `What would be certified if it were sound: ${what}` : what;
  drawCurves(data, view);
  drawGallery(data, view);
  drawTable(data, view);
}

// What must be said of certificates that do not hold as they are; "" of the others.
function unsoundness(data, view) {
  if (view.chosen.units === "paper") return `Certified values: ${data.paper_label}.`;
  return view.setting.some((i) => data.columns.sound[i] === false) ? "Certified values: not sound, their rows say." : "";
}

function openFromHash(data) {
  const k = Number(state.get("picture"));
  if (state.has("picture") && data.pictures.cells[k]) openPicture(data, k);
  else if (byId("compare").open) byId("compare").close();
}

async function main() {
  const data = await loadData();
  byId("compare").addEventListener("close", () => setState("picture", null));
  byId("compare").addEventListener("click", (event) => { if (event.target === byId("compare")) byId("compare").close(); });
  const start = () => { readHash(); drawAll(data); openFromHash(data); };
  drawHeader(data);
  document.querySelector("main").hidden = false;
  start();
  window.addEventListener("hashchange", start);
  window.addEventListener("resize", zoom);
  window.addEventListener("beforeprint", () => startPrint(data));
  window.addEventListener("afterprint", () => endPrint(data));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(data));
  document.documentElement.dataset.ready = "yes";
}

main().catch((error) => {
  byId("problem").hidden = false;
  byId("problem").textContent = `The page could not be drawn: ${error.message}`;
  console.error(error);
});
