// The stream of snapshots: opened while the page can be seen, and opened again whenever it breaks.

const SILENCE = 10_000; // ms without a snapshot after which the stream is dead, whatever it says
const AGAIN = 2_000; // ms until the next attempt

export function listen({ history, event, board, summary, state }) {
  let source = null;
  let heard = 0;
  let retry = null;

  const on = (name, take) => source.addEventListener(name, (message) => {
    heard = Date.now();
    take(JSON.parse(message.data), message.lastEventId);
  });

  function open() {
    close();
    if (document.hidden) return;
    heard = Date.now();
    source = new EventSource("/api/v1/stream");
    on("history", (data) => history(data.samples));
    on("event", (data, id) => event(data, id.slice(0, id.lastIndexOf("/"))));
    on("board", board);
    on("summary", (data) => { summary(data); state("live"); });
    source.addEventListener("error", () => {
      state("lost");
      // Browsers come back by themselves after most errors, but not after all of them.
      if (source?.readyState === EventSource.CLOSED) later();
    });
  }

  function close() {
    clearTimeout(retry);
    source?.close();
    source = null;
  }

  function later() {
    close();
    retry = setTimeout(open, AGAIN);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  setInterval(() => {
    if (source && Date.now() - heard > SILENCE) {
      state("lost");
      open();
    }
  }, 1000);
  open();
}
