"use strict";
// The table of rows: sort by a click on a header, filter, page by page, export.

const PAGE = 50; // rows drawn at once
const BEFORE = ["image", "algo", "eps", "sigma", "psnr_measured", "psnr_clean", "psnr_attacked", "psnr_median", "psnr_floor", "bound", "truth"];
const AFTER = ["ssim_clean", "ssim_attacked", "ssim_median", "k_index", "reason"];

// The columns that are shown at first: those of all certifiers, with those that the certifiers declare in between.
function usual(data) {
  return [...new Set([...BEFORE, ...data.certifiers.flatMap((certifier) => certifier.columns), ...AFTER])];
}

const table = { page: 0, rows: [], names: [] };

function columnFilters() {
  return [...state].filter(([key]) => key.startsWith("f.")).map(([key, value]) => [key.slice(2), value]);
}

// Called when the choice changes: tools, header with filters, and body.
function drawTable(data, view) {
  const everything = state.has("all");
  const rows = everything ? view.setting : view.rows;
  const has = (name) => rows.some((i) => data.columns[name][i] !== null && data.columns[name][i] !== "");
  table.names = state.has("columns") ? data.names : usual(data).filter((name) => name === "bound" || (data.kinds[name] && has(name)));
  table.all = rows;
  table.page = 0;
  drawTools(data, view);
  drawHead(data);
  drawBody(data);
}

function drawTools(data, view) {
  const redraw = () => drawTable(data, view);
  const search = el("input", { type: "search", id: "search", placeholder: "words in any column", value: state.get("q") || "" });
  search.addEventListener("input", debounced(() => { setState("q", search.value); table.page = 0; drawBody(data); }));
  byId("table-tools").replaceChildren(
    el("label", {}, el("span", {}, "Filter"), search),
    check("all", `every ε and σ of the setting (${plural(view.setting.length, "row")})`, redraw),
    check("columns", "all columns", redraw),
    el("button", { type: "button", id: "export", onclick: () => exportCsv(data) }, "Export these rows as CSV"),
    el("span", { id: "table-count", role: "status" }), el("span", { id: "table-paper", class: "paper" }),
  );
}

function check(key, text, redraw) {
  const box = el("input", { type: "checkbox", id: `check-${key}`, checked: state.has(key) });
  box.addEventListener("change", () => { setState(key, box.checked ? "1" : null); redraw(); byId(`check-${key}`).focus(); });
  return el("label", { class: "check" }, box, el("span", {}, text));
}

function debounced(run) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(run, 120); };
}

function drawHead(data) {
  const titles = table.names.map((name) => el("th", { scope: "col", "data-name": name, title: explained(name) },
    el("button", { type: "button", onclick: () => sortBy(data, name) }, label(name), el("span", { class: "arrow", "aria-hidden": "true" }))));
  const filters = table.names.map((name) => el("td", {}, filterInput(data, name)));
  byId("rows-table").tHead.replaceChildren(el("tr", {}, ...titles), el("tr", { class: "filters" }, ...filters));
  byId("rows-table").tHead.addEventListener("focusin", wholeInSight);
}

// Browsers let what has the focus stand half beyond the edge.
function wholeInSight(event) {
  if (event.target.matches(":focus-visible")) event.target.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function filterInput(data, name) {
  const hint = data.kinds[name] === "number" ? ">= 30" : "part";
  const input = el("input", {
    type: "text", "data-filter": name, "aria-label": `filter ${label(name)}`, placeholder: hint, value: state.get(`f.${name}`) || "",
    title: data.kinds[name] === "number" ? "25, >= 30, < 1e-3, 0.1..0.3, none" : "a part of the text, or none",
  });
  input.addEventListener("input", debounced(() => { setState(`f.${name}`, input.value); table.page = 0; drawBody(data); }));
  return input;
}

// Upwards, downwards, as they came.
function sortBy(data, name) {
  const now = state.get("sort"), down = state.has("down");
  setState("sort", now === name && down ? null : name);
  setState("down", now === name && !down ? "1" : null);
  table.page = 0;
  drawBody(data);
}

function drawBody(data) {
  const name = data.kinds[state.get("sort")] ? state.get("sort") : null, down = state.has("down");
  const filters = columnFilters().filter(([column]) => table.names.includes(column));
  table.rows = sorted(data, filtered(data, table.all, table.names, state.get("q") || "", filters), name, down);
  for (const head of byId("rows-table").tHead.rows[0].cells) {
    const mine = head.dataset.name === name;
    if (mine) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    head.querySelector(".arrow").textContent = mine ? (down ? " ▼" : " ▲") : "";
  }
  const size = closed ? PRINTED : PAGE, last = Math.max(0, Math.ceil(table.rows.length / size) - 1);
  table.page = Math.min(table.page, last);
  const page = table.rows.slice(table.page * size, (table.page + 1) * size);
  byId("rows-table").tBodies[0].replaceChildren(...page.map((i) => tableRow(data, i)));
  byId("table-count").textContent = `${table.rows.length.toLocaleString("en")} of ${plural(table.all.length, "row")}`;
  byId("table-paper").textContent = onPaper(page.length, filters);
  drawPages(data, last);
}

// What the fields of the page say that paper does not have.
function onPaper(n, filters) {
  const kept = [...(state.get("q") ? [`rows with the words ${state.get("q")}`] : []), ...filters.map(([name, text]) => `${label(name)}: ${text}`)];
  const sort = state.get("sort") ? [`sorted by ${label(state.get("sort"))}${state.has("down") ? ", downwards" : ""}`] : [];
  const part = n < table.rows.length ? [`the first ${plural(n, "row")} only`] : [];
  return [...kept, ...sort, ...part].join("; ");
}

function tableRow(data, i) {
  const cells = table.names.map((name) => {
    const value = data.columns[name][i], number = data.kinds[name] === "number";
    if (name === "image" && data.pictureOfCell(i) !== undefined) {
      return el("td", {}, el("button", { type: "button", class: "link", onclick: () => openPicture(data, data.pictureOfCell(i)) }, value));
    }
    const text = name === "bound" && value === null ? "none" : shown(value, name);
    return el("td", { class: number ? "number" : name === "reason" ? "long" : null, title: name === "reason" ? value : null }, text);
  });
  return el("tr", { "data-row": i }, ...cells);
}

function drawPages(data, last) {
  // The buttons are new ones: the focus goes to the same one, or to the first that can be used.
  const go = (page, text) => () => {
    table.page = page;
    drawBody(data);
    const all = [...byId("table-pages").querySelectorAll("button:enabled")];
    (all.find((one) => one.textContent === text) || all[0])?.focus();
  };
  const button = (text, page, off) => el("button", { type: "button", onclick: go(page, text), disabled: off }, text);
  byId("table-pages").hidden = last === 0;
  byId("table-pages").replaceChildren(
    button("First", 0, table.page === 0), button("Previous", table.page - 1, table.page === 0),
    el("span", {}, ` page ${table.page + 1} of ${last + 1} `),
    button("Next", table.page + 1, table.page === last), button("Last", last, table.page === last),
  );
}

function exportCsv(data) {
  const blob = new Blob([csv(data, table.rows, data.names)], { type: "text/csv" });
  const link = el("a", { href: URL.createObjectURL(blob), download: "rows.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
