// How a pin is told: the statement, the rule, AWS's reason, what it costs, what to do.

import { h } from "./dom.js";
import { count, duration, plural, share } from "./format.js";
import { mark } from "./states.js";

export const ruleLine = (pin, ...more) =>
  h("p", { class: "rule" }, mark("pinned"), h("b", {}, pin.rule), ...more);

export const statement = (pin) => h("code", { class: "statement" }, pin.digest);

// The digest is in the reason's own words too; once is enough.
export function reason(pin) {
  const text = pin.reason.replace(` Digest: "${pin.digest}".`, "");
  return h("p", { class: "reason" }, h("span", { class: "label" }, "Why"), text);
}

export const remedy = (pin) =>
  h("p", { class: "remedy" }, h("span", { class: "label" }, "Instead"), pin.remedy);

export function cost({ held_seconds, idle_seconds, waited }) {
  const parts = [`held for ${duration(held_seconds)}`];
  if (idle_seconds !== undefined && held_seconds > 0) parts.push(`${share(idle_seconds, held_seconds)} of it idle`);
  if (waited !== undefined) parts.push(waited ? `others had to wait ${plural(waited, "time")} meanwhile` : "nobody had to wait");
  return parts.join(", ");
}

export const costLine = (pin, ...more) =>
  h("p", { class: "cost" }, h("span", { class: "label" }, "Cost"), h("span", {}, cost(pin), ...more));

export const sessions = (number) => `${count(number)} ${number === 1 ? "session" : "sessions"}`;
