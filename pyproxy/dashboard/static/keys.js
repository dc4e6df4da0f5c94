// Shortcuts, for hands that stay on the keyboard. None of them works while one types.

import { byId } from "./dom.js";
import { nextTheme, togglePause } from "./header.js";

const SECTIONS = ["connections", "pinned", "trends", "targets", "ledger", "clients"];

const ACTIONS = {
  p: togglePause,
  t: nextTheme,
  "?": () => byId("help").showModal(),
  "/": () => byId("ledger-search").focus(),
};

function go(id) {
  const section = byId(id);
  section.focus({ preventScroll: true });
  section.scrollIntoView({ block: "start" });
}

export function startKeys(redraw) {
  document.addEventListener("keydown", (press) => {
    if (press.ctrlKey || press.metaKey || press.altKey) return;
    if (press.target.closest("input, select, textarea, dialog")) return;
    const section = SECTIONS[Number(press.key) - 1];
    const action = section ? () => go(section) : ACTIONS[press.key];
    if (!action) return;
    press.preventDefault();
    action();
    redraw();
  });
  // A click beside a dialog closes it, as Escape does.
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (press) => { if (press.target === dialog) dialog.close(); });
  }
}
