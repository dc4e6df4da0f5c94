// The live page: one stream in, one drawing per frame out.

import { drawCharts } from "./charts.js";
import { drawClients, startClients } from "./clients.js";
import { drawCrowd } from "./crowd.js";
import { drawDetail, startDetail } from "./detail.js";
import { drawHeader, startHeader } from "./header.js";
import { startKeys } from "./keys.js";
import { drawLedger, startLedger } from "./ledger.js";
import { drawPinned } from "./pinned.js";
import { drawRack, startRack } from "./rack.js";
import { drawLegend } from "./states.js";
import { byId } from "./dom.js";
import { store, takeBoard, takeEvent, takeHistory, takeSummary } from "./store.js";
import { listen } from "./stream.js";
import { drawSummary } from "./summary.js";
import { drawTargets } from "./targets.js";

let asked = false;

function draw() {
  asked = false;
  drawHeader(store);
  if (!store.board || !store.summary) return;
  drawSummary(store);
  drawCrowd(store);
  drawRack(store);
  drawPinned(store);
  drawCharts(store);
  drawTargets(store);
  drawDetail(store);
  drawLedger(store);
  drawClients(store);
}

// However many frames come, the page is drawn once per frame of the screen.
function redraw() {
  if (!asked) requestAnimationFrame(draw);
  asked = true;
}

const unlessPaused = (take) => (...data) => {
  if (store.paused) return;
  take(...data);
  redraw();
};

function start() {
  document.addEventListener("pyproxy:redraw", redraw);
  drawLegend(byId("legend"));
  startHeader(redraw);
  startRack();
  startDetail();
  startLedger();
  startClients();
  startKeys(redraw);
  listen({
    history: unlessPaused(takeHistory),
    event: unlessPaused(takeEvent),
    board: unlessPaused(takeBoard),
    summary: unlessPaused(takeSummary),
    state: (connection) => { store.connection = connection; redraw(); },
  });
  redraw();
}

start();
