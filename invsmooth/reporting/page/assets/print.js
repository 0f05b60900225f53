"use strict";
// Paper has one width, is white, and shows what is open only. A page that is printed is drawn anew for that.

const PRINTED = 2000; // rows of the table
let closed = null; // what was closed before; null: nothing is printed

function startPrint(data) {
  if (closed) return;
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((details) => { details.open = true; });
  document.documentElement.classList.add("printing");
  table.screen = table.page;
  table.page = 0;
  drawCurves(data, drawn);
  // uPlot draws a little later, when Firefox has already taken the page.
  for (const box of document.querySelectorAll(".plot")) box.plot.batch(() => {});
  drawBody(data);
}

function endPrint(data) {
  if (!closed) return;
  document.documentElement.classList.remove("printing");
  closed.forEach((details) => { details.open = false; });
  closed = null;
  table.page = table.screen;
  drawCurves(data, drawn);
  drawBody(data);
}
