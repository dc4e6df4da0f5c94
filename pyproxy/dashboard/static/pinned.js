// The sessions that are pinned now: those of the same statement together, the longest first.

import { byId, h, reconcile, setText } from "./dom.js";
import { openDetail } from "./detail.js";
import { count, duration, share } from "./format.js";
import { costLine, reason, remedy, ruleLine, sessions, statement } from "./pin.js";
import { opened } from "./summary.js";

const CARDS = 6;
const NAMED = 5;

function grouped(pins) {
  const groups = new Map();
  for (const pin of pins) {
    const key = JSON.stringify([pin.rule, pin.digest, pin.application_name]);
    groups.set(key, [...(groups.get(key) ?? []), pin]);
  }
  return [...groups].map(([key, members]) => ({ key, members }));
}

const sum = (members, key) => members.reduce((total, pin) => total + (pin[key] ?? 0), 0);

// Who waited while several were pinned waited for each of them: added up it would count twice.
const most = (members, key) => Math.max(...members.map((pin) => pin[key] ?? 0));

function makeHolder({ server }) {
  const text = h("span");
  const button = h("button", { type: "button", class: "holder" }, text);
  button.addEventListener("click", () => openDetail(server));
  button.update = (pin) => setText(text, `client ${pin.client} · ${duration(pin.held_seconds)}`);
  return h("li", {}, button);
}

function makeCard({ members: [pin] }) {
  const number = h("span", { class: "number" });
  const price = h("div");
  const holders = h("ul", { class: "holders" });
  const more = h("li", { class: "note" });
  const card = h("article", { class: "card pin" },
    ruleLine(pin, h("span", { class: "name" }, pin.application_name || "(no name)"), pin.driver ? h("span", { class: "note" }, pin.driver) : null, number),
    statement(pin), reason(pin), price, remedy(pin), holders, more);
  card.update = ({ members, open }) => {
    setText(number, sessions(members.length));
    price.replaceChildren(costLine(
      { held_seconds: sum(members, "held_seconds"), idle_seconds: sum(members, "idle_seconds"), waited: most(members, "waited") },
      ` · ${share(members.length, open)} of the connections`));
    reconcile(holders, members.slice(0, NAMED), (one) => one.client, (one) => {
      const item = makeHolder(one);
      item.update = item.firstElementChild.update;
      return item;
    });
    setText(more, members.length > NAMED ? `and ${count(members.length - NAMED)} more` : "");
  };
  return card;
}

export function drawPinned({ board }) {
  const { pinned, sample } = board;
  const groups = grouped(pinned);
  const shown = groups.slice(0, CARDS);
  const told = shown.reduce((total, { members }) => total + members.length, 0);
  const rest = sample.pinned - told;
  setText(byId("pinned-note"), rest > 0 ? `${sessions(told)} shown, ${count(rest)} more in the ledger` : sample.pinned ? sessions(sample.pinned) : "");
  const list = byId("pinned-list");
  list.classList.toggle("empty", groups.length === 0);
  list.dataset.empty = "No session is pinned: every connection is free to be shared.";
  const open = opened(sample);
  reconcile(list, shown.map((group) => ({ ...group, open })), ({ key }) => key, makeCard);
}
