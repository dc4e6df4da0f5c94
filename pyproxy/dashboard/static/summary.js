// The sentence that tells the situation, and the numbers below it.

import { byId, h, reconcile, setAttribute, setText } from "./dom.js";
import { count, duration, latency, plural, rate, ratio, share } from "./format.js";

export const opened = (sample) =>
  sample.idle + sample.borrowed + sample.in_transaction + sample.pinned + sample.changing;

function headline({ board }) {
  const { sample, waiting } = board;
  const servers = opened(sample);
  if (sample.clients === 0) return "No client is connected.";
  const crowd = sample.clients === 1 ? "1 client has" : `${count(sample.clients)} clients share`;
  const parts = [`${crowd} ${plural(servers, "database connection")}`];
  if (sample.pinned > 0) parts.push(sample.pinned === servers ? (servers === 1 ? "it is pinned" : "all of them pinned") : `${count(sample.pinned)} of them pinned`);
  if (sample.waiting > 0) {
    const longest = waiting[0] ? `, the longest for ${duration(waiting[0].state_age)}` : "";
    parts.push(`${plural(sample.waiting, "client waits", "clients wait")}${longest}`);
  } else parts.push("nobody waits");
  return `${parts.join("; ")}.`;
}

const TILES = [
  ["Clients", ({ sample }) => count(sample.clients), ({ sample }) => `${count(sample.clients - sample.waiting - sample.borrowed - sample.in_transaction - sample.pinned)} idle`],
  ["Waiting", ({ sample }) => count(sample.waiting), ({ board }) => (board.waiting[0] ? `longest ${duration(board.waiting[0].state_age)}` : board.sample.waiting ? "logging in" : "nobody in line"), ({ sample }) => sample.waiting > 0],
  ["Connections", ({ sample }) => count(opened(sample)), ({ sample }) => (sample.max_connections ? `of ${count(sample.max_connections)} allowed` : "budget not known yet")],
  ["Multiplexing", ({ sample }) => ratio(sample.clients, opened(sample)), () => "clients per connection"],
  ["Borrow latency", ({ sample }) => latency(sample.borrow_p99), () => "99 % are faster"],
  ["Queries", ({ sample }) => rate(sample.queries_per_second), () => "per second"],
  ["Pinned", ({ sample }) => count(sample.pinned), ({ sample }) => `${share(sample.pinned, opened(sample))} of connections`, ({ sample }) => sample.pinned > 0],
];

function makeTile([title]) {
  const value = h("b");
  const note = h("span", { class: "note" });
  const tile = h("div", { class: "tile" }, h("h3", {}, title), value, note);
  tile.update = ([, tell, remark, warn, seen]) => {
    setText(value, tell(seen));
    setText(note, remark(seen));
    setAttribute(tile, "class", warn?.(seen) ? "tile warn" : "tile");
  };
  return tile;
}

export function drawSummary(store) {
  const seen = { ...store, sample: store.board.sample };
  setText(byId("headline"), headline(store));
  const tiles = TILES.map(([title, tell, remark, warn]) => [title, tell, remark, warn, seen]);
  reconcile(byId("summary"), tiles, ([title]) => title, makeTile);
}
