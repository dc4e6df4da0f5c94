// Small charts of the last minutes: fixed axes, so that nothing jumps, and the numbers beside them.

import { byId, h, setAttribute, setText, svg } from "./dom.js";
import { clock, count, duration, latency, rate, ratio } from "./format.js";
import { opened } from "./summary.js";
import { recent } from "./store.js";

const WIDTH = 300;
const HEIGHT = 96;
const GAP = 4000; // ms between samples that are not joined
const FLOOR = 0.0001; // seconds at the foot of the latency's scale

const CHARTS = [
  {
    title: "Database connections",
    stacked: true,
    series: [
      { state: "pinned", label: "pinned", value: (s) => s.pinned },
      { state: "transaction", label: "in transaction", value: (s) => s.in_transaction },
      { state: "borrowed", label: "borrowed", value: (s) => s.borrowed },
      { state: "idle", label: "idle", value: (s) => s.idle },
    ],
    limit: { label: "allowed", value: (s) => s.max_connections },
    format: count,
  },
  { title: "Clients per connection", series: [{ label: "clients", value: (s) => (opened(s) ? s.clients / opened(s) : null) }], format: (v) => ratio(v, 1) },
  {
    title: "Borrow latency",
    log: true,
    series: [{ label: "99 %", value: (s) => s.borrow_p99 }, { label: "50 %", dashed: true, value: (s) => s.borrow_p50 }],
    format: latency,
  },
  { title: "Queries per second", series: [{ label: "queries", filled: true, value: (s) => s.queries_per_second }], format: rate },
];

// 1, 2 or 5 times a power of ten: a scale that changes rarely.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? power * 10;
}

function scaleOf(chart, top) {
  if (!chart.log) return (value) => HEIGHT - (HEIGHT * value) / top;
  const span = Math.log10(top / FLOOR);
  return (value) => HEIGHT - (HEIGHT * Math.log10(Math.max(value, FLOOR) / FLOOR)) / span;
}

// Runs of neighbouring points: a gap in time, or a missing value, ends one.
function runs(points) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (point.high === null) { last = null; continue; }
    if (!last || last.ago - point.ago > GAP) found.push([]);
    found.at(-1).push(point);
    last = point;
  }
  return found;
}

const to = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

const line = (points, x, y) => runs(points).map((run) =>
  `M${run.map(({ ago, high }) => to(x(ago), y(high))).join("L")}`).join("");

const area = (points, x, y) => runs(points).map((run) => [
  `M${run.map(({ ago, high }) => to(x(ago), y(high))).join("L")}`,
  `L${run.toReversed().map(({ ago, low }) => to(x(ago), y(low))).join("L")}Z`,
].join("")).join("");

function pointsOf(chart, seen) {
  const floor = new Array(seen.length).fill(0);
  return chart.series.map(({ value }) => seen.map(({ sample, ago }, index) => {
    const high = value(sample);
    if (!chart.stacked) return { ago, low: 0, high };
    const low = floor[index];
    floor[index] += high;
    return { ago, low, high: floor[index] };
  }));
}

function topOf(chart, seen, points) {
  if (chart.log) return Math.max(...points.flat().map(({ high }) => 10 ** Math.ceil(Math.log10(Math.max(high ?? 0, 1)))));
  const values = [...points.flat().map(({ high }) => high ?? 0), ...(chart.limit ? seen.map(({ sample }) => chart.limit.value(sample)) : [])];
  return nice(Math.max(1, ...values));
}

function makeChart(chart) {
  const paths = chart.series.map(({ state = "plain", dashed, filled }) => ({
    fill: chart.stacked || filled ? svg("path", { class: `area ${state}` }) : null,
    hatch: state === "pinned" || state === "transaction" ? svg("path", { class: state === "pinned" ? "cross" : "stripes" }) : null,
    line: svg("path", { class: `line ${state}${dashed ? " dashed" : ""}` }),
  }));
  const limit = svg("path", { class: "limit" });
  const cursor = svg("path", { class: "cursor" });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${WIDTH}M0 0H${WIDTH}M0 ${HEIGHT}H${WIDTH}` }),
    ...paths.flatMap(({ fill, hatch, line: edge }) => [fill, hatch, edge]), limit, cursor);
  const plot = h("div", { class: "plot", tabindex: 0, role: "img" }, picture);
  const when = h("span", { class: "note" });
  const since = h("span");
  const values = [...chart.series, ...(chart.limit ? [{ ...chart.limit, state: "limit" }] : [])].map(({ state = "plain", dashed, label, value }) => {
    const number = h("b", { class: "number" });
    return { label, value, number, element: h("li", {}, h("i", { class: `swatch ${state}${dashed ? " dashed" : ""}` }), label, number) };
  });
  const figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("h3", {}, chart.title), when),
    plot,
    h("p", { class: "axis" }, since, h("span", {}, "now")),
    h("ul", { class: "values" }, ...values.map(({ element }) => element)));
  return { figure, paths, limit, cursor, plot, when, since, values, chosen: null };
}

const across = (span) => (ago) => (WIDTH * (span - ago)) / span;

function drawChart(chart, parts, { seen, span }) {
  const x = across(span);
  const points = pointsOf(chart, seen);
  const top = topOf(chart, seen, points);
  const y = scaleOf(chart, top);
  parts.paths.forEach(({ fill, hatch, line: edge }, index) => {
    if (fill) setAttribute(fill, "d", area(points[index], x, y));
    if (hatch) setAttribute(hatch, "d", area(points[index], x, y));
    setAttribute(edge, "d", line(points[index], x, y));
  });
  if (chart.limit) setAttribute(parts.limit, "d", line(seen.map(({ sample, ago }) => ({ ago, high: chart.limit.value(sample) || null })), x, y));
  parts.scale = `${chart.log ? latency(FLOOR) : 0} – ${chart.format(top)}`;
  setText(parts.since, `${duration(span / 1000)} ago`);
  tell(chart, parts, { seen, span });
}

// The values below the chart are those of the cursor, or of now.
function tell(chart, parts, { seen, span }) {
  const chosen = parts.chosen === null ? null : seen.at(Math.max(-seen.length, parts.chosen));
  const { sample, ago } = chosen ?? seen.at(-1);
  setAttribute(parts.cursor, "d", chosen ? `M${across(span)(ago).toFixed(1)} 0V${HEIGHT}` : "");
  setText(parts.when, chosen ? `at ${clock(sample.time)}` : parts.scale);
  const words = parts.values.map(({ label, value, number }) => {
    const text = chart.format(value(sample));
    setText(number, text);
    return `${label} ${text}`;
  });
  setAttribute(parts.plot, "aria-label", `${chart.title}${chosen ? ` at ${clock(sample.time)}` : " now"}: ${words.join(", ")}`);
}

function listenTo(chart, parts) {
  const choose = (index) => {
    const window = recent();
    if (window.seen.length === 0) return;
    parts.chosen = index;
    tell(chart, parts, window);
  };
  parts.plot.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = parts.plot.getBoundingClientRect();
    const { seen, span } = recent();
    const ago = span * (1 - (clientX - left) / width);
    const nearest = seen.reduce((best, point, index) =>
      (Math.abs(point.ago - ago) < Math.abs(seen[best].ago - ago) ? index : best), 0);
    choose(nearest - seen.length);
  });
  for (const end of ["pointerleave", "blur"]) parts.plot.addEventListener(end, () => choose(null));
  parts.plot.addEventListener("keydown", (press) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[press.key];
    if (!step) return;
    press.preventDefault();
    const next = (parts.chosen ?? 0) + step;
    choose(next >= 0 ? null : Math.max(next, -recent().seen.length));
  });
}

let drawn = null;

export function drawCharts() {
  const window = recent();
  if (window.seen.length === 0) return;
  if (!drawn) {
    drawn = CHARTS.map((chart) => ({ chart, parts: makeChart(chart) }));
    for (const { chart, parts } of drawn) listenTo(chart, parts);
    byId("charts").append(...drawn.map(({ parts }) => parts.figure));
  }
  for (const { chart, parts } of drawn) drawChart(chart, parts, window);
}
