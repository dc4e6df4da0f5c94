// Name, state of the stream, pause and theme.

import { byId, setAttribute, setText } from "./dom.js";
import { duration } from "./format.js";
import { store } from "./store.js";

const THEMES = ["auto", "light", "dark"];
const KEY = "pyproxy-theme";

// Storage may be forbidden; the theme then lasts as long as the page.
function remembered() {
  try { return localStorage.getItem(KEY) ?? "auto"; } catch { return "auto"; }
}

function remember(theme) {
  try { localStorage.setItem(KEY, theme); } catch { /* as said above */ }
}

function applyTheme(theme) {
  const known = THEMES.includes(theme) ? theme : "auto";
  document.documentElement.dataset.theme = known;
  setText(byId("theme-name"), known);
}

export function nextTheme() {
  const now = THEMES.indexOf(document.documentElement.dataset.theme);
  const theme = THEMES[(now + 1) % THEMES.length];
  remember(theme);
  applyTheme(theme);
}

export function togglePause() {
  store.paused = !store.paused;
  byId("pause").setAttribute("aria-pressed", String(store.paused));
  setText(byId("pause"), store.paused ? "Go on" : "Pause");
  speak(store.paused ? "Paused" : "Going on");
}

// Said to those who listen instead of looking; rarely, and only once each.
export function speak(text) {
  setText(byId("spoken"), text);
}

export function startHeader(redraw) {
  applyTheme(remembered());
  byId("pause").addEventListener("click", () => { togglePause(); redraw(); });
  byId("theme").addEventListener("click", () => { nextTheme(); redraw(); });
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

function status({ board, connection, paused }) {
  if (connection === "lost") return ["lost", "reconnecting"];
  if (paused) return ["paused", "paused"];
  if (connection === "connecting" || !board) return ["connecting", "connecting"];
  return board.ready ? ["live", "live"] : ["unready", "not ready"];
}

function trouble({ board, connection }) {
  if (connection === "lost") return board ? "The proxy does not answer. What you see is the last it said; the page comes back by itself." : "The proxy does not answer. The page comes back by itself.";
  if (board && !board.ready) return `Clients cannot be served: ${board.why}.`;
  return "";
}

function place(endpoint) {
  const role = endpoint.target_role === "READ_ONLY" ? ", read only" : "";
  return `${endpoint.host || "*"}:${endpoint.port}${role}`;
}

let told = "";

export function drawHeader(seen) {
  const [kind, text] = status(seen);
  setAttribute(byId("status"), "class", `status ${kind}`);
  setText(byId("status-text"), text);
  const wrong = trouble(seen);
  setText(byId("trouble"), wrong);
  byId("trouble").hidden = wrong === "";
  if (kind !== told && told !== "") speak(text);
  told = kind;
  document.body.classList.toggle("stale", kind === "lost");
  if (!seen.summary) return;
  const { summary } = seen;
  document.title = `${summary.db_proxy_name} · PyProxy`;
  setText(byId("name"), summary.db_proxy_name);
  setText(byId("about"), [
    `${summary.engine_family} on ${summary.endpoints.map(place).join(" and ")}`,
    `${summary.pool_mode} pooling`,
    `up ${duration(summary.uptime)}`,
    `PyProxy ${summary.version}`,
  ].join(" · "));
}
