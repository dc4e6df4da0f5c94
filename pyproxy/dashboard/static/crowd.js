// All clients, one dot each, by application: a crowd on the left, few connections on the right.

import { byId, h, reconcile, setAttribute, setText } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { mark, PAINT, STATES } from "./states.js";

const DOTS = 1500; // on the whole page; beyond, a dot stands for more than one client
// Pixels from dot to dot, by how many there are: few are large.
const PITCHES = [[120, 18], [400, 14], [Infinity, 11]];
const IN_LINE = 4; // clients that are named

// A client's states, the rare ones first; with the key of the row that counts them.
const ORDER = [
  ["pinned", "pinned"],
  ["transaction", "in_transaction"],
  ["borrowed", "borrowed"],
  ["waiting", "waiting"],
  ["idle", "idle"],
];

const named = (name) => name || "(no name)";

const keyOf = (row) => JSON.stringify([row.application_name, row.pool]);

function summaryOf(row) {
  return ORDER.filter(([, key]) => row[key] > 0)
    .map(([state, key]) => `${count(row[key])} ${STATES[state].label}`).join(", ");
}

// Resolved by the browser, in the theme of the moment: a canvas knows no variables.
const colourOf = (state) => getComputedStyle(document.querySelector(`#legend .${state}`)).color;

function paint(canvas, row, each, pitch) {
  const dots = ORDER.flatMap(([state, key]) => Array(Math.ceil(row[key] / each)).fill(state));
  const width = canvas.parentElement.clientWidth;
  const across = Math.max(1, Math.floor(width / pitch));
  const height = Math.ceil(dots.length / across) * pitch;
  const colours = new Map(ORDER.map(([state]) => [state, colourOf(state)]));
  const picture = JSON.stringify([width, each, ORDER.map(([, key]) => row[key]), pitch, colours.get("pinned"), devicePixelRatio]);
  if (canvas.picture === picture) return;
  canvas.picture = picture;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.lineWidth = pitch > 12 ? 1.6 : 1.2;
  dots.forEach((state, index) => {
    pen.fillStyle = pen.strokeStyle = colours.get(state);
    pen.beginPath();
    PAINT[state](pen, (index % across + 0.5) * pitch, (Math.floor(index / across) + 0.5) * pitch, pitch * 0.36);
  });
}

function makeApplication() {
  const name = h("b", { class: "name" });
  const pool = h("span", { class: "pool" });
  const total = h("span", { class: "number" });
  const canvas = h("canvas", { role: "img" });
  const group = h("div", { class: "application" }, h("p", {}, name, pool, total), h("div", {}, canvas));
  group.update = ({ row, each, pitch }) => {
    setText(name, named(row.application_name));
    setText(pool, row.pool);
    setText(total, count(row.clients));
    setAttribute(canvas, "aria-label", `${named(row.application_name)}: ${summaryOf(row)}`);
    setAttribute(group, "title", summaryOf(row));
    // It has a width only once it is in the page.
    requestAnimationFrame(() => paint(canvas, row, each, pitch));
  };
  return group;
}

function drawWaiting(box, { sample, waiting }) {
  box.classList.toggle("line", sample.waiting > 0);
  if (sample.waiting === 0) return box.replaceChildren();
  const more = sample.waiting - Math.min(waiting.length, IN_LINE);
  box.replaceChildren(
    h("b", {}, "In line"),
    ...waiting.slice(0, IN_LINE).map((client) =>
      h("span", { class: "chip" }, mark("waiting"), h("span", { class: "name" }, named(client.application_name)), h("span", { class: "number" }, duration(client.state_age)))),
    // Who waits for the first connection of a pool is not logged in yet, and has no name.
    more > 0 ? h("span", { class: "note" }, waiting.length ? `and ${count(more)} more` : `${plural(more, "client")} logging in`) : "");
}

// The order of appearance: an application keeps its place while its numbers change.
let places = [];

export function drawCrowd({ board }) {
  const rows = new Map(board.applications.map((row) => [keyOf(row), row]));
  places = [...places.filter((key) => rows.has(key)), ...[...rows.keys()].filter((key) => !places.includes(key))];
  const total = board.applications.reduce((sum, row) => sum + row.clients, 0);
  const each = total > DOTS ? 10 ** Math.ceil(Math.log10(total / DOTS)) : 1;
  setText(byId("clients-total"), each > 1 ? `${plural(total, "client")}, a dot for every ${each}` : plural(total, "client"));
  const [, pitch] = PITCHES.find(([most]) => total <= most);
  drawWaiting(byId("waiting"), board);
  const crowd = byId("crowd");
  crowd.classList.toggle("empty", total === 0);
  if (total === 0) crowd.dataset.empty = board.sample.clients ? "No client has logged in yet." : "No client is connected.";
  reconcile(crowd, places.map((key) => ({ key, row: rows.get(key), each, pitch })), ({ key }) => key, makeApplication);
}
