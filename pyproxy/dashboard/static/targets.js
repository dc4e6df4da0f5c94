// The targets: what each is, what it carries, and what it was over the last minutes; then the events.

import { byId, h, reconcile, setAttribute, setText, svg } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { ROLES, targetState } from "./states.js";
import { recent } from "./store.js";

const SHOWN = 20; // events
const SIGNS = { failure: "▲", failover: "◆", other: "●" };
const KNOWN = ["id", "host", "port", "role", "available", "state", "reason", "description", "servers", "borrowed", "in_transaction", "pinned", "max_connections"];

// Neighbouring samples of the same role are one piece of the lane.
function lane(id, seen) {
  const pieces = [];
  for (const { sample, ago } of seen) {
    const role = sample.targets?.[id];
    const last = pieces.at(-1);
    if (last && last.role === role && last.to - ago < 4000) last.to = ago;
    else if (role) pieces.push({ role, from: last && last.to - ago < 4000 ? last.to : ago, to: ago });
  }
  return pieces;
}

function drawLane(picture, id) {
  const { seen, span } = recent();
  const pieces = lane(id, seen);
  const percent = (ago) => (100 * (span - ago)) / span;
  const places = pieces.map(({ role, from, to }, index) =>
    ({ role, index, x: percent(from), width: Math.max(percent(to) - percent(from), 0.4) }));
  reconcile(picture, places, ({ index }) => index, makePiece);
  return pieces;
}

function makePiece() {
  const piece = svg("rect", { y: 0, height: 12 });
  piece.update = ({ role, x, width }) => {
    setAttribute(piece, "class", role);
    setAttribute(piece, "x", `${x}%`);
    setAttribute(piece, "width", `${width}%`);
  };
  return piece;
}

const worded = (key) => key.replaceAll("_", " ");

const told = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : String(value));

function makeTarget() {
  const name = h("b");
  const role = h("span", { class: "role" });
  const address = h("span", { class: "note" });
  const reason = h("p", { class: "reason" });
  const picture = svg("svg", { class: "lane", height: 12, width: "100%", role: "img" });
  const numbers = h("dl", { class: "numbers" });
  const card = h("article", { class: "card target" }, h("p", { class: "rule" }, name, role, address), reason, picture, numbers);
  card.update = (row) => {
    const state = targetState(row);
    setText(name, row.id);
    setText(role, ROLES[state] ?? state);
    setAttribute(role, "class", `role ${state}`);
    setText(address, `${row.host}:${row.port}`);
    const trouble = row.available ? "" : [row.reason, row.description].filter(Boolean).join(": ");
    setText(reason, trouble);
    reason.hidden = trouble === "";
    const pieces = drawLane(picture, row.id);
    setAttribute(picture, "aria-label", pieces.map((piece) => `${ROLES[piece.role] ?? piece.role} from ${duration(piece.from / 1000)} to ${duration(piece.to / 1000)} ago`).join("; ") || "nothing is known yet");
    const pairs = [
      ["connections", row.max_connections ? `${count(row.servers)} of ${count(row.max_connections)}` : count(row.servers)],
      ["borrowed", count(row.borrowed)], ["in transaction", count(row.in_transaction)], ["pinned", count(row.pinned)],
      // Whatever else the proxy tells of a target.
      ...Object.entries(row).filter(([key, value]) => !KNOWN.includes(key) && value !== null && value !== "").map(([key, value]) => [worded(key), told(value)]),
    ];
    reconcile(numbers, pairs, ([key]) => key, ([key]) => {
      const value = h("dd", { class: "number" });
      const pair = h("div", {}, h("dt", {}, key), value);
      pair.update = ([, text]) => setText(value, text);
      return pair;
    });
  };
  return card;
}

function makeEvent(event) {
  const sort = SIGNS[event.category] ? event.category : "other";
  return h("li", { class: sort },
    h("time", { datetime: event.time, class: "number" }, clock(event.time)),
    h("span", { class: "sort" }, `${SIGNS[sort]} `, event.category),
    h("span", { class: "words" }, event.message),
    h("code", {}, event.event));
}

export function drawTargets({ board, events, run }) {
  reconcile(byId("target-list"), board.targets, (row) => row.id, makeTarget);
  const box = byId("event-list");
  if (!box.list) {
    box.list = h("ol", { class: "events", "aria-label": "Events, the latest first" });
    box.append(box.list);
  }
  box.list.classList.toggle("empty", events.length === 0);
  box.list.dataset.empty = "Nothing has happened since the start.";
  reconcile(box.list, events.slice(0, SHOWN), (event) => `${run}/${event.id}`, makeEvent);
}
