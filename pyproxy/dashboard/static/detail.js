// One connection in full: the database's side, the client's side, and the pin between them.

import { byId, h } from "./dom.js";
import { duration } from "./format.js";
import { costLine, reason, remedy, ruleLine, statement } from "./pin.js";
import { mark, serverState, STATES } from "./states.js";

let shown = null; // the id of the connection
let client = null; // what the API says of its holder
let asked = 0;

const facts = (title, ...pairs) => [h("h3", {}, title), h("dl", {}, ...pairs.flatMap(([name, value]) =>
  [h("dt", {}, name), h("dd", {}, value)]))];

function ofServer(server) {
  return facts("Database connection",
    ["process", server.process_id], ["target", server.target], ["pool", server.pool],
    ["TLS", server.tls ? "yes" : "no"], ["open for", duration(server.age)], ["log id", server.id]);
}

function ofClient(server) {
  if (server.client === null) return [h("h3", {}, "Client"), h("p", { class: "note" }, "Nobody holds it.")];
  const known = client?.id === server.client ? client : null;
  return facts("Client",
    ["application", server.application_name || "(no name)"],
    ...(known ? [["user", known.user], ["database", known.database], ["from", known.address], ["TLS", known.tls ? "yes" : "no"], ["connected for", duration(known.age)]] : []),
    ["log id", server.client]);
}

function ofPin(board, server) {
  const pin = board.pinned.find((one) => one.client === server.client);
  if (server.pin === null) return [];
  if (!pin) return [ruleLine({ rule: server.pin })];
  return [h("div", { class: "pin" }, ruleLine(pin, h("span", { class: "note" }, `its statement number ${pin.number}`)),
    statement(pin), reason(pin), costLine(pin), remedy(pin))];
}

async function askClient(id) {
  asked = id;
  try {
    const answer = await fetch(`/api/v1/clients?id=${encodeURIComponent(id)}`);
    const { clients } = await answer.json();
    if (asked === id) client = clients[0] ?? null;
  } catch {
    client = null; // the proxy is away: the header says so
  }
}

export function openDetail(id) {
  shown = id;
  client = null;
  asked = 0;
  byId("detail").showModal();
  document.dispatchEvent(new Event("pyproxy:redraw"));
}

export function startDetail() {
  // Where the focus goes back to is the browser's business: it does so at once, this comes later.
  byId("detail").addEventListener("close", () => { shown = null; });
}

export function drawDetail({ board }) {
  if (shown === null) return;
  const dialog = byId("detail");
  const server = board.servers.find((one) => one.id === shown);
  const close = dialog.querySelector("form") ?? h("form", { method: "dialog" }, h("button", {}, "Close"));
  if (!server) {
    dialog.replaceChildren(h("h2", { id: "detail-title" }, "This connection is closed"), close);
    return;
  }
  const state = serverState(server);
  if (server.client !== null && asked !== server.client) askClient(server.client);
  dialog.replaceChildren(
    h("h2", { id: "detail-title" }, mark(state), ` Connection ${server.process_id}: ${STATES[state].label}`),
    ...ofPin(board, server),
    h("div", { class: "columns" }, h("div", {}, ...ofServer(server)), h("div", {}, ...ofClient(server))),
    close);
}
