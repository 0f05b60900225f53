"use strict";
// The embedded rows and pictures. data.columns[name][i] is the value of row i; null where there is none.

async function embeddedValue(id) {
  const element = byId(id);
  let text = element.textContent;
  if (element.type === "application/gzip") {
    if (!window.DecompressionStream) throw new Error("this browser is too old to unpack the rows (no DecompressionStream)");
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }
  element.remove(); // what is parsed need not be kept twice
  return JSON.parse(text);
}

async function loadData() {
  const data = await embeddedValue("rows");
  data.kinds = {};
  const columns = {};
  for (const column of data.columns) {
    let values = column.values;
    if (column.kind === "number") values = values.map(numberOf);
    columns[column.name] = column.codes ? column.codes.map((code) => values[code]) : values;
    data.kinds[column.name] = column.kind;
  }
  data.names = data.columns.map((column) => column.name);
  data.columns = columns;
  columns.attacked_by = columns.attack.map((attack, i) => attackName(attack, columns.attack_target[i]));
  data.kinds.attacked_by = "text";
  readLabels(data);
  data.pictures = await embeddedValue("pictures");
  indexPictures(data);
  return data;
}

// JSON has no infinity.
function numberOf(value) {
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : value;
}

function attackName(attack, target) {
  if (!attack) return null;
  return target ? `${attack} on ${target}` : attack;
}

function distinct(values, rows) {
  const found = new Set();
  for (const i of rows) found.add(values[i]);
  return [...found].sort(inOrder);
}

// Numbers by size, texts in alphabetical order (numbers inside them by size), what is missing last.
const collator = new Intl.Collator("en", { numeric: true });
function inOrder(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "string" && typeof b === "string" ? collator.compare(a, b) || (a < b ? -1 : 1) : a < b ? -1 : 1;
}

// data.pictureOfCell(i): the number of the pictures that were kept of row i's cell, whichever certifier the row is of.
const CELL = ["run_id", "image", "ratio", "sigma_b", "eps", "sigma"];
function indexPictures(data) {
  const key = (i) => JSON.stringify(CELL.map((name) => data.columns[name][i]));
  const found = new Map(data.pictures.cells.map((cell, k) => [key(cell.row), k]));
  data.pictureOfCell = (i) => (found.size ? found.get(key(i)) : undefined);
}
