// Every client, a page at a time.

import { asking, query } from "./asking.js";
import { byId, h, reconcile, setText } from "./dom.js";
import { duration } from "./format.js";
import { clientState, mark, STATES } from "./states.js";

const PAGE = 25;
const SECONDS = 2;

let offset = 0;

const COLUMNS = [
  ["State", (client) => STATES[clientState(client)].label],
  ["Application", (client) => client.application_name || "(no name)", "name"],
  ["Pool", (client) => client.pool],
  ["From", (client) => client.address, "number"],
  ["TLS", (client) => (client.tls ? "yes" : "no")],
  ["Pinned by", (client) => client.pin ?? "–"],
  ["For", (client) => duration(client.state_age), "number"],
  ["Connected", (client) => duration(client.age), "number"],
  ["Log id", (client) => client.id, "number"],
];

const path = () => `/api/v1/clients?${query({
  limit: PAGE, offset, state: byId("clients-state").value, search: byId("clients-search").value.trim(),
})}`;

function makeRow() {
  const sign = h("span", { class: "sign" });
  const cells = COLUMNS.map(([, , kind]) => h("td", { class: kind }));
  const text = h("span");
  cells[0].append(sign, text);
  const row = h("tr", {}, ...cells);
  row.update = (client) => {
    const state = clientState(client);
    if (row.state !== state) sign.replaceChildren(mark(state));
    row.state = state;
    COLUMNS.forEach(([, tell], index) => setText(index ? cells[index] : text, String(tell(client))));
  };
  return row;
}

function table() {
  const body = h("tbody");
  const head = h("tr", {}, ...COLUMNS.map(([title, , kind]) => h("th", { scope: "col", class: kind === "number" ? "number" : null }, title)));
  byId("clients-list").append(h("table", {}, h("thead", {}, head), body));
  return body;
}

let body = null;

function show(answer, problem) {
  if (!answer) return setText(byId("clients-note"), `no answer: ${problem}`);
  const { clients, truncated } = answer;
  if (clients.length === 0 && offset > 0) {
    offset = 0;
    return ask();
  }
  setText(byId("clients-note"), clients.length ? `${offset + 1} to ${offset + clients.length}${truncated ? " and more" : ""}` : "");
  byId("clients-back").disabled = offset === 0;
  byId("clients-on").disabled = !truncated;
  const list = byId("clients-list");
  list.classList.toggle("empty", clients.length === 0);
  list.dataset.empty = path().match(/state=|search=/) ? "No client is like that." : "No client is connected.";
  return reconcile(body, clients, (client) => client.id, makeRow);
}

let ask = () => {};

export function startClients() {
  body = table();
  ask = asking(byId("clients"), SECONDS, path, show);
  byId("clients-filters").addEventListener("input", () => { offset = 0; ask(); });
  byId("clients-filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clients-back").addEventListener("click", () => { offset = Math.max(0, offset - PAGE); ask(); });
  byId("clients-on").addEventListener("click", () => { offset += PAGE; ask(); });
}

export const drawClients = ({ paused }) => paused || ask();
