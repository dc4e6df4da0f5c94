// The database connections: one slot each, and in it who holds it.

import { byId, h, reconcile, setAttribute, setText } from "./dom.js";
import { count, duration } from "./format.js";
import { openDetail } from "./detail.js";
import { mark, ROLES, serverState, STATES, targetState } from "./states.js";
import { opened } from "./summary.js";

const ROOMY = 40; // more slots than this are drawn small

const PARTS = [
  ["pinned", "pinned"],
  ["transaction", "in_transaction"],
  ["borrowed", "borrowed"],
  ["idle", "idle"],
  ["changing", "changing"],
];

function about(server, held) {
  if (server.pin !== null) return held === undefined ? server.pin : `${server.pin}, ${duration(held)}`;
  if (server.state === "IDLE") return `for ${duration(server.state_age)}`;
  if (server.state !== "BORROWED") return server.state.toLowerCase();
  return server.in_transaction ? "in transaction" : "running";
}

function makeSlot({ server: { id } }) {
  const sign = h("span", { class: "sign" });
  const who = h("span", { class: "who" });
  const what = h("span", { class: "what" });
  const slot = h("button", { type: "button", "data-id": id, tabindex: -1 }, sign, who, what);
  slot.addEventListener("click", () => openDetail(id));
  slot.update = ({ server, held }) => {
    const state = serverState(server);
    if (slot.state !== state) {
      slot.state = state;
      sign.replaceChildren(mark(state));
      setAttribute(slot, "class", `slot ${state}`);
    }
    setText(who, server.client === null ? STATES[state].label : server.application_name || "(no name)");
    setText(what, about(server, held));
    const holder = server.client === null ? "" : `, held by ${server.application_name || `client ${server.client}`}`;
    setAttribute(slot, "aria-label", `connection ${server.process_id}, ${STATES[state].label}${holder}, ${about(server, held)}`);
    setAttribute(slot, "title", `process ${server.process_id} on ${server.target}, ${server.pool}`);
  };
  return slot;
}

function makeTarget() {
  const name = h("b");
  const role = h("span", { class: "role" });
  const address = h("span", { class: "note" });
  const slots = h("div", { class: "slots", role: "group" });
  const target = h("div", { class: "target-rack" }, h("p", {}, name, role, address), slots);
  target.update = ({ row, servers, held }) => {
    setText(name, row.id);
    setText(role, ROLES[targetState(row)] ?? row.role);
    setAttribute(role, "class", `role ${targetState(row)}`);
    setText(address, `${row.host}:${row.port}`);
    setAttribute(slots, "aria-label", `Connections to ${row.id}; arrow keys move between them`);
    slots.classList.toggle("empty", servers.length === 0);
    slots.dataset.empty = row.available ? "No connection is open." : `No connection: ${row.reason}.`;
    reconcile(slots, servers.map((server) => ({ server, held: held.get(server.client) })), ({ server }) => server.id, makeSlot);
    if (!slots.querySelector('[tabindex="0"]')) slots.firstElementChild?.setAttribute("tabindex", "0");
  };
  return target;
}

function drawBudget(sample) {
  const box = byId("budget");
  if (!box.bar) {
    box.bar = h("div", { class: "meter", role: "img" });
    box.append(box.bar);
    for (const [state] of PARTS) box.bar.append(h("span", { class: state }));
  }
  const whole = Math.max(sample.max_connections, opened(sample), 1);
  PARTS.forEach(([, key], index) => {
    box.bar.children[index].style.width = `${(100 * sample[key]) / whole}%`;
  });
  setAttribute(box.bar, "aria-label", PARTS.filter(([, key]) => sample[key])
    .map(([state, key]) => `${sample[key]} ${STATES[state].label}`).join(", ") || "no connection");
}

export function drawRack({ board }) {
  const { sample, servers, targets } = board;
  const hidden = opened(sample) - servers.length - sample.changing;
  const budget = sample.max_connections ? ` of ${count(sample.max_connections)} allowed` : "";
  setText(byId("servers-total"), `${count(opened(sample))}${budget}${hidden > 0 ? `; ${count(hidden)} not shown` : ""}`);
  drawBudget(sample);
  const rack = byId("rack");
  rack.classList.toggle("small", servers.length > ROOMY);
  const held = new Map(board.pinned.map((pin) => [pin.client, pin.held_seconds]));
  const groups = targets.map((row) => ({ row, held, servers: servers.filter((server) => server.target === row.id) }));
  reconcile(rack, groups, ({ row }) => row.id, makeTarget);
}

// One slot is in the order of Tab; from there the arrow keys go on, up and down by what is seen.
function neighbour(slots, from, key) {
  const index = slots.indexOf(from);
  if (key === "ArrowRight") return slots[index + 1];
  if (key === "ArrowLeft") return slots[index - 1];
  if (key === "Home") return slots[0];
  if (key === "End") return slots.at(-1);
  const here = from.getBoundingClientRect();
  const side = key === "ArrowDown" ? 1 : -1;
  return slots
    .map((slot) => ({ slot, place: slot.getBoundingClientRect() }))
    .filter(({ place }) => side * (place.top - here.top) > 4)
    .sort((one, two) => side * (one.place.top - two.place.top) || Math.abs(one.place.left - here.left) - Math.abs(two.place.left - here.left))[0]?.slot;
}

export function startRack() {
  const rack = byId("rack");
  rack.addEventListener("keydown", (press) => {
    if (!press.target.matches(".slot") || !/^(Arrow|Home|End)/.test(press.key)) return;
    press.preventDefault();
    const next = neighbour([...rack.querySelectorAll(".slot")], press.target, press.key);
    next?.focus();
  });
  rack.addEventListener("focusin", ({ target }) => {
    if (!target.matches(".slot")) return;
    for (const slot of target.parentElement.children) slot.tabIndex = slot === target ? 0 : -1;
  });
}

