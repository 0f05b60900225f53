"use strict";
// Filters and order of rows. No drawing.

// What a column's filter keeps: ">= 30", "< 1e-3", "0.1..0.3", "= 25" or "25" (numbers), "none" (no value), else a part of
// the text. Returns a function from value to boolean.
function columnFilter(text, kind) {
  const wanted = text.trim().toLowerCase();
  if (wanted === "none" || wanted === "–") return (value) => value === null || value === "";
  if (kind === "number") {
    const range = /^(\S+?)\s*\.\.\s*(\S+)$/.exec(wanted);
    if (range) return (value) => value !== null && value >= Number(range[1]) && value <= Number(range[2]);
    const found = /^(>=|<=|≥|≤|>|<|=)?\s*(\S+)$/.exec(wanted);
    if (found && !Number.isNaN(Number(found[2]))) return comparison(found[1] || "=", Number(found[2]));
  }
  return (value) => shown(value).toLowerCase().includes(wanted);
}

function comparison(sign, number) {
  const compare = {
    ">": (value) => value > number, "<": (value) => value < number, "=": (value) => value === number,
    ">=": (value) => value >= number, "<=": (value) => value <= number,
  };
  const test = compare[{ "≥": ">=", "≤": "<=" }[sign] || sign];
  return (value) => value !== null && test(value);
}

// The rows that contain every word of `text` in one of `names`, and that the columns' filters keep.
function filtered(data, rows, names, text, filters) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = rows;
  for (const [name, wanted] of filters) {
    const keep = remembered(columnFilter(wanted, data.kinds[name])), values = data.columns[name];
    found = found.filter((i) => keep(values[i]));
  }
  if (!words.length) return found;
  // A word has no space, so it stands in one cell.
  for (const word of words) {
    const tests = names.map((name) => [data.columns[name], remembered((value) => shown(value, name).toLowerCase().includes(word))]);
    found = found.filter((i) => tests.some(([values, has]) => has(values[i])));
  }
  return found;
}

// A test that is made once for each value: columns of very many rows have few.
function remembered(test) {
  const known = new Map();
  return (value) => {
    let found = known.get(value);
    if (found === undefined) known.set(value, found = test(value));
    return found;
  };
}

// In the order of one column; what has no value is last either way, equal rows stay in their order.
function sorted(data, rows, name, descending) {
  if (!name) return rows;
  const values = data.columns[name], ranks = ranksOf(data, name), sign = descending ? -1 : 1;
  const missing = (value) => value === null || value === "";
  const known = rows.filter((i) => !missing(values[i])), rest = rows.filter((i) => missing(values[i]));
  return known.sort((i, j) => sign * (ranks[i] - ranks[j]) || i - j).concat(rest);
}

// The place of each row's value among the values of a column. Texts are compared once for each, which is slow.
function ranksOf(data, name) {
  data.ranks ??= {};
  if (!data.ranks[name]) {
    const values = data.columns[name], places = new Map();
    for (const value of new Set(values)) places.set(value, 0);
    [...places.keys()].sort(inOrder).forEach((value, place) => places.set(value, place));
    data.ranks[name] = Int32Array.from(values, (value) => places.get(value));
  }
  return data.ranks[name];
}

function csv(data, rows, names) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = rows.map((i) => names.map((name) => cell(data.columns[name][i])).join(","));
  return [names.map(cell).join(","), ...lines].join("\r\n") + "\r\n";
}
