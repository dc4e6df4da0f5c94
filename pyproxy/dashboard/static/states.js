// What a client or a connection does, told four ways: a shape, a letter, a pattern and a colour.
// The colours are those of Okabe and Ito, which colour-blind people tell apart too.

import { h, svg } from "./dom.js";

export const STATES = {
  idle: { letter: "I", label: "idle", says: "free for whoever comes next; a client: between transactions" },
  waiting: { letter: "W", label: "waiting", says: "a client in line for a connection" },
  borrowed: { letter: "B", label: "borrowed", says: "lent for a query" },
  transaction: { letter: "T", label: "in transaction", says: "lent until COMMIT or ROLLBACK" },
  pinned: { letter: "P", label: "pinned", says: "kept by one client until it disconnects" },
  changing: { letter: "C", label: "changing", says: "being opened, reset or closed" },
};

const SHAPES = {
  idle: () => [svg("circle", { cx: 10, cy: 10, r: 8.5, class: "outline" })],
  waiting: () => [svg("path", { d: "M10 .8 19.6 18.4H.4Z", class: "solid" })],
  borrowed: () => [svg("circle", { cx: 10, cy: 10, r: 9.3, class: "solid" })],
  transaction: () => ["solid", "stripes"].map((kind) =>
    svg("rect", { x: 1, y: 1, width: 18, height: 18, rx: 3, class: kind })),
  pinned: () => ["solid", "cross"].map((kind) =>
    svg("path", { d: "M10 0 20 10 10 20 0 10Z", class: kind })),
  changing: () => [svg("circle", { cx: 10, cy: 10, r: 8.5, class: "outline dashed" })],
};

export function mark(state) {
  const { letter } = STATES[state];
  return svg("svg", { class: `mark ${state}`, viewBox: "0 0 20 20", "aria-hidden": "true" },
    ...SHAPES[state](),
    svg("text", { x: 10, y: state === "waiting" ? 16.4 : 14, "text-anchor": "middle" }, letter));
}

export const serverState = (server) => {
  if (server.pin !== null) return "pinned";
  if (server.state === "IDLE") return "idle";
  if (server.state !== "BORROWED") return "changing";
  return server.in_transaction ? "transaction" : "borrowed";
};

export const clientState = (client) => {
  if (client.pin !== null) return "pinned";
  if (client.state === "WAITING") return "waiting";
  if (client.server === null) return "idle";
  return client.in_transaction ? "transaction" : "borrowed";
};

// A target's role, or why it has none.
export const ROLES = {
  READ_WRITE: "read/write",
  READ_ONLY: "read only",
  UNKNOWN: "role unknown",
  REGISTERING: "registering",
  UNAVAILABLE: "unavailable",
};

export const targetState = (target) => (target.available ? target.role : target.state);

export function drawLegend(list) {
  list.append(...Object.entries(STATES).map(([state, { label, says }]) =>
    h("li", {}, mark(state), h("span", {}, h("b", {}, label), ` ${says}`))));
}

// The same shapes on a canvas, for a thousand of them.
export const PAINT = {
  idle: (pen, x, y, r) => { pen.arc(x, y, r - 0.6, 0, 7); pen.stroke(); },
  waiting: (pen, x, y, r) => { pen.moveTo(x, y - r); pen.lineTo(x + r, y + r * 0.85); pen.lineTo(x - r, y + r * 0.85); pen.fill(); },
  borrowed: (pen, x, y, r) => { pen.arc(x, y, r, 0, 7); pen.fill(); },
  transaction: (pen, x, y, r) => { pen.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8); pen.fill(); },
  pinned: (pen, x, y, r) => { const d = r * 1.2; pen.moveTo(x, y - d); pen.lineTo(x + d, y); pen.lineTo(x, y + d); pen.lineTo(x - d, y); pen.fill(); },
};
