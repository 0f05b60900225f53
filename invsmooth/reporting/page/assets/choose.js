"use strict";
// The choosers. Each offers the values that are there given the ones chosen before it. What is chosen stands in the URL's
// hash, so that a link shows the same view.

const CHOOSERS = [
  "task", "dataset", "operator", "ratio", "sigma_b", "certifier", "units", "attacked_by", "n_samples", "quantile",
  "confidence", "simultaneous", "run_id", "sigma", "eps",
];
const ALL = "*"; // of the runs, any number may be looked at together
const PREFERRED = { units: "matched", run_id: ALL };

const state = new Map(); // what the hash says

function readHash() {
  state.clear();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) state.set(name, value);
}

function writeHash() {
  history.replaceState(null, "", "#" + new URLSearchParams([...state]));
}

// Put a value into the state; null takes it out.
function setState(name, value) {
  if (value === null || value === "") state.delete(name);
  else state.set(name, String(value));
  writeHash();
}

// For each chooser its values and the chosen one; the rows of the setting (all eps and sigma), and those of the choice.
function resolve(data) {
  let rows = Array.from({ length: data.count }, (_, i) => i);
  const chosen = {}, offered = {}, certified = {};
  let setting = rows;
  for (const name of CHOOSERS) {
    const values = data.columns[name];
    const found = distinct(values, rows);
    if (name === "certifier") found.sort((a, b) => place(CERTIFIERS, a) - place(CERTIFIERS, b));
    if (name === "run_id" && found.length > 1) found.unshift(ALL);
    if (name === "sigma") setting = rows;
    if (name === "eps") {
      const bound = data.columns.bound;
      certified.eps = new Set(rows.filter((i) => bound[i] !== null).map((i) => values[i]));
    }
    offered[name] = found;
    chosen[name] = pick(name, found, certified[name], certificates(data, rows, values));
    if (chosen[name] !== ALL) rows = rows.filter((i) => values[i] === chosen[name]);
  }
  return { chosen, offered, certified, setting, rows };
}

// The number of a key of a Map, in its order.
function place(map, key) {
  return [...map.keys()].indexOf(key);
}

// How many certificates at ε > 0 the rows of each value have.
function certificates(data, rows, values) {
  const { bound, eps } = data.columns, counts = new Map();
  for (const i of rows) if (bound[i] !== null && eps[i] > 0) counts.set(values[i], (counts.get(values[i]) ?? 0) + 1);
  return counts;
}

// What the state says; else what has the most certificates.
function pick(name, values, certified, counts) {
  const wanted = values.find((value) => String(value) === state.get(name));
  if (wanted !== undefined) return wanted;
  // The largest eps that has a certificate says more than 0 does.
  if (name === "eps") return values.filter((value) => certified.has(value)).pop() ?? values[values.length - 1];
  if (values.includes(PREFERRED[name])) return PREFERRED[name];
  const most = Math.max(...values.map((value) => counts.get(value) ?? 0));
  const best = values.filter((value) => (counts.get(value) ?? 0) === most);
  if (name === "sigma") return best[best.length >> 1]; // neither the easiest nor the hardest
  // Of certifiers the last one, which may be built on the others.
  return name === "certifier" && most > 0 ? best[best.length - 1] : best[0];
}

function drawChoosers(view, onChange) {
  const several = CHOOSERS.filter((name) => view.offered[name].length > 1);
  const focused = document.activeElement && document.activeElement.id;
  byId("choosers").replaceChildren(...several.map((name) => chooser(view, name, onChange)));
  if (focused && focused.startsWith("choose-") && byId(focused)) byId(focused).focus();
  const single = CHOOSERS.filter((name) => !several.includes(name) && shown(view.chosen[name]) !== "–");
  byId("fixed").replaceChildren(
    ...single.map((name) => el("span", { title: explained(name) }, label(name) + " ", el("b", {}, shown(view.chosen[name])))),
  );
}

function chooser(view, name, onChange) {
  const select = el("select", { id: `choose-${name}`, title: explained(name) });
  for (const value of view.offered[name]) {
    let text = value === ALL ? "all together" : shown(value);
    if (name === "eps" && !view.certified.eps.has(value)) text += " (no certificate)";
    select.append(option(String(value), text, value === view.chosen[name]));
  }
  select.addEventListener("change", () => {
    setState(name, select.value);
    setState("picture", null);
    onChange();
  });
  return el("label", {}, el("span", {}, label(name)), select, el("b", { class: "paper" }, select.selectedOptions[0]?.textContent ?? ""));
}
