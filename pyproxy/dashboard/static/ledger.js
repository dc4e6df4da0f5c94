// The ledger: what has pinned sessions since the start, filtered by rule, application and statement.

import { asking, query } from "./asking.js";
import { byId, h, reconcile, setText } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { costLine, reason, remedy, sessions, statement } from "./pin.js";
import { mark } from "./states.js";

const LIMIT = 50;
const SECONDS = 3;
const KNOWN = ["rule", "reason", "digest", "application_name", "driver", "count", "held", "held_seconds", "idle_seconds", "waited", "remedy"];

const value = (id) => byId(id).value;

function path() {
  const application = value("ledger-application");
  const filters = query({ limit: LIMIT, rule: value("ledger-rule"), search: value("ledger-search").trim() });
  // An application without a name is asked for by an empty one.
  const name = application === "*" ? "" : `&${new URLSearchParams({ application_name: application })}`;
  return `/api/v1/pins?${filters}${name}`;
}

const told = (pin) => Object.entries(pin).filter(([key, one]) => !KNOWN.includes(key) && one !== null && one !== "");

function makeRow(pin) {
  const number = h("span", { class: "number sessions" });
  const held = h("span", { class: "number held" });
  const time = h("span", { class: "number time" });
  const price = h("div");
  const more = told(pin);
  const row = h("details", { class: "entry" },
    h("summary", {},
      mark("pinned"), h("b", { class: "id" }, pin.rule), h("code", { class: "digest" }, pin.digest),
      h("span", { class: "name" }, pin.application_name || "(no name)"), number, held, time),
    h("div", { class: "inside pin" }, statement(pin), reason(pin), price, remedy(pin),
      pin.driver ? h("p", {}, h("span", { class: "label" }, "Driver"), pin.driver) : null,
      ...more.map(([key, one]) => h("p", {}, h("span", { class: "label" }, key.replaceAll("_", " ")), one))));
  row.update = (now) => {
    setText(number, sessions(now.count));
    setText(held, now.held ? `${count(now.held)} pinned now` : "none now");
    setText(time, duration(now.held_seconds));
    price.replaceChildren(costLine(now));
  };
  return row;
}

function offer(select, values, name) {
  const known = new Set([...select.options].map((option) => option.value));
  for (const one of values) {
    if (!known.has(one)) select.append(h("option", { value: one }, name(one)));
    known.add(one);
  }
}

function show(answer, problem) {
  const list = byId("ledger-list");
  if (!answer) return setText(byId("ledger-note"), `no answer: ${problem}`);
  const { pins, truncated } = answer;
  offer(byId("ledger-rule"), pins.map((pin) => pin.rule), (rule) => rule);
  offer(byId("ledger-application"), pins.map((pin) => pin.application_name), (name) => name || "(no name)");
  setText(byId("ledger-note"), truncated ? `the first ${LIMIT}; filter to see others` : pins.length ? plural(pins.length, "statement") : "");
  list.classList.toggle("empty", pins.length === 0);
  list.dataset.empty = path().includes("rule=") || path().includes("search=") || path().includes("application_name=")
    ? "No pin is like that." : "No session has been pinned.";
  return reconcile(list, pins, (pin) => JSON.stringify([pin.rule, pin.digest, pin.application_name]), makeRow);
}

let ask = () => {};

export function startLedger() {
  ask = asking(byId("ledger"), SECONDS, path, show);
  byId("ledger-filters").addEventListener("input", () => ask());
  byId("ledger-filters").addEventListener("submit", (event) => event.preventDefault());
}

export const drawLedger = ({ paused }) => paused || ask();
