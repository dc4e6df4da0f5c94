// What the page knows. Views read it; only the stream writes it.

const KEPT_SAMPLES = 600;
const KEPT_EVENTS = 100;
const WINDOWS = [60_000, 120_000, 300_000]; // ms that the charts show: more once there is more

export const store = {
  summary: null,
  board: null,
  samples: [],
  events: [],
  // Which process the events are of.
  run: "",
  connection: "connecting",
  paused: false,
};

const at = (sample) => Date.parse(sample.time);

function keep(samples) {
  store.samples = samples.slice(-KEPT_SAMPLES);
}

// What the proxy remembers goes behind what we remember; after a restart that is all there is.
export function takeHistory(samples) {
  if (samples.length === 0) return;
  const first = at(samples[0]);
  keep([...store.samples.filter((sample) => at(sample) < first), ...samples]);
}

export function takeBoard(board) {
  store.board = board;
  const last = store.samples.at(-1);
  if (!last || at(last) < at(board.sample)) keep([...store.samples, board.sample]);
}

export function takeSummary(summary) {
  const before = store.summary;
  store.summary = summary;
  // Another version of the proxy has another page.
  if (before && before.version !== summary.version) location.reload();
}

export function takeEvent(event, run) {
  if (run !== store.run) {
    store.run = run;
    store.events = [];
  }
  if (store.events.some((known) => known.id === event.id)) return;
  store.events = [event, ...store.events].slice(0, KEPT_EVENTS);
}

// The samples of the window, each with its distance from now in ms, and how long the window is.
export function recent() {
  const last = store.samples.at(-1);
  if (!last) return { seen: [], span: WINDOWS[0] };
  const now = at(last);
  const aged = store.samples.map((sample) => ({ sample, ago: now - at(sample) }));
  const longest = aged.find(({ ago }) => ago <= WINDOWS.at(-1)).ago;
  const span = WINDOWS.find((window) => longest <= window);
  return { seen: aged.filter(({ ago }) => ago >= 0 && ago <= span), span };
}
