// The status page: reads the JSON API every two seconds while it can be seen, and draws it.
// Text only ever enters the page as text (textContent), whatever a client calls itself.

const PERIOD = 2000;
const CLIENT_ROWS = 50;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value) made.setAttribute(key, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

async function read(path) {
  const response = await fetch(path, { cache: "no-store" });
  const value = await response.json();
  if (!response.ok && response.status !== 503) throw new Error(value.error ?? response.statusText);
  return value;
}

// A column is its title, the value of a row, and what else is true of it.
function table(columns, rows, nothing) {
  if (rows.length === 0) return element("p", { class: "empty" }, nothing);
  const kind = (column, row) =>
    [column.number ? "number" : "", row && column.warn?.(row) ? "warn" : ""].join(" ").trim();
  const head = columns.map((column) =>
    element("th", { scope: "col", class: kind(column) }, column.title));
  const lines = rows.map((row) => element("tr", {}, ...columns.map((column) =>
    element("td", { class: kind(column, row) }, column.value(row)))));
  return element("table", {}, element("tr", {}, ...head), ...lines);
}

const text = (title, value, warn) => ({ title, value, warn });
const number = (title, value, warn) => ({ title, value, warn, number: true });

function show(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

function tile(title, value, note, warn) {
  return element("div", { class: warn ? "tile warn" : "tile" },
    element("b", {}, value.toLocaleString("en")), element("span", {}, note ? `${title} ${note}` : title));
}

function share(part, whole) {
  return whole > 0 ? `(${Math.round((100 * part) / whole)}%)` : "";
}

function drawProxy(proxy, ready) {
  const endpoints = proxy.endpoints
    .map((e) => `${e.host}:${e.port} ${e.target_role === "READ_ONLY" ? "(read only)" : ""}`.trim())
    .join(", ");
  document.title = `${proxy.db_proxy_name} · PyProxy`;
  show("name", proxy.db_proxy_name);
  show("about", `${proxy.engine_family} on ${endpoints} · ${proxy.pool_mode} pooling · ` +
    `up ${duration(proxy.uptime)} · ${proxy.version}`);
  badge(ready.ready ? "ready" : ready.why, ready.ready);
  show("summary",
    tile("clients", proxy.clients),
    tile("waiting", proxy.clients_waiting, "", proxy.clients_waiting > 0),
    tile("servers", proxy.servers, `of ${proxy.max_connections}`),
    tile("borrowed", proxy.borrowed, share(proxy.borrowed, proxy.servers)),
    tile("in transaction", proxy.in_transaction),
    tile("pinned", proxy.pinned, share(proxy.pinned, proxy.servers), proxy.pinned > 0),
    tile("pins so far", proxy.pins_total));
}

function badge(text, good) {
  const made = document.getElementById("ready");
  made.textContent = text;
  made.className = good ? "badge good" : "badge bad";
}

const TARGETS = [
  text("target", (t) => t.id),
  text("role", (t) => t.role),
  text("address", (t) => `${t.host}:${t.port}`),
  text("state", (t) => (t.available ? "available" : t.reason), (t) => !t.available),
  number("servers", (t) => `${t.servers} / ${t.max_connections}`),
  number("borrowed", (t) => t.borrowed),
  number("in transaction", (t) => t.in_transaction),
  number("pinned", (t) => t.pinned, (t) => t.pinned > 0),
];

const POOLS = [
  text("pool", (p) => p.pool),
  text("target", (p) => p.target),
  number("servers", (p) => p.servers),
  number("idle", (p) => p.idle),
  number("borrowed", (p) => p.borrowed),
  number("pinned", (p) => p.pinned, (p) => p.pinned > 0),
  number("waiting", (p) => p.waiting, (p) => p.waiting > 0),
  number("longest wait", (p) => (p.waiting ? duration(p.longest_wait) : "–")),
];

const CLIENTS = [
  text("client", (c) => c.id),
  text("pool", (c) => c.pool || "–"),
  text("application", (c) => c.application_name || "–"),
  text("from", (c) => c.address),
  text("TLS", (c) => (c.tls ? "yes" : "no")),
  text("state", (c) => `${c.state.toLowerCase()} for ${duration(c.state_age)}`,
    (c) => c.state === "WAITING"),
  text("server", (c) => c.server ?? "–"),
  text("pinned by", (c) => c.pin ?? "–", (c) => c.pin !== null),
  number("age", (c) => duration(c.age)),
];

function drawPin(pin) {
  return element("div", { class: "pin" },
    element("p", {}, element("code", {}, pin.digest)),
    element("p", { class: "facts" }, element("b", {}, pin.rule),
      ` · ${pin.count} ${pin.count === 1 ? "session" : "sessions"}, ${pin.held} still pinned · ` +
      `servers held for ${duration(pin.held_seconds)}`),
    element("p", {}, pin.reason),
    element("p", { class: "remedy" }, pin.remedy));
}

function drawPins({ pins, truncated }) {
  if (pins.length === 0) {
    return [element("p", { class: "empty" }, "No session has been pinned.")];
  }
  const more = truncated ? [element("p", { class: "empty" }, `Only ${pins.length} are shown.`)] : [];
  return [...pins.map(drawPin), ...more];
}

function drawClients({ clients, truncated }) {
  const more = truncated
    ? [element("p", { class: "empty" }, `Only the first ${clients.length} are shown; `,
        element("a", { href: "/api/v1/clients?limit=2000" }, "the API has more"), ".")]
    : [];
  return [table(CLIENTS, clients, "No client is connected."), ...more];
}

async function refresh() {
  const [proxy, ready, targets, pools, pins, clients] = await Promise.all([
    read("/api/v1/proxy"),
    read("/readyz"),
    read("/api/v1/targets"),
    read("/api/v1/pools"),
    read("/api/v1/pins?limit=20"),
    read(`/api/v1/clients?limit=${CLIENT_ROWS}`),
  ]);
  drawProxy(proxy, ready);
  show("targets", table(TARGETS, targets.targets, "There is no target."));
  show("pools", table(POOLS, pools.pools, "No client has needed a server yet."));
  show("pins", ...drawPins(pins));
  show("clients", ...drawClients(clients));
}

async function run() {
  for (;;) {
    if (!document.hidden) {
      try {
        await refresh();
      } catch (problem) {
        badge(`no answer: ${problem.message}`, false);
      }
    }
    await new Promise((wake) => setTimeout(wake, PERIOD));
  }
}

run();
