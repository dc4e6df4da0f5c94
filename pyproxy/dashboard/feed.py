"""What the listeners of `/api/v1/stream` share: one snapshot per tick, made while anyone listens.

    with feed.listen(last_event_id) as listener:
        write(listener.opening())
        while (frames := await listener.next()) is not None:
            write(frames)

A listener that is slow misses ticks, never events; nothing is kept for it. Ticks that are expensive
come less often: they take a fiftieth of the processor's time.
[WHATWG HTML, "Server-sent events"]
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from pyproxy.dashboard.board import board
from pyproxy.dashboard.sampling import Sample
from pyproxy.dashboard.view import EventRow, Reading, View

log: Final = logging.getLogger("pyproxy.dashboard")

RETRY_MS: Final = 2000
"""How long a browser waits before it comes back after a broken stream."""

HISTORY: Final = 600
"""Samples that are remembered for whoever comes next."""

SPARING: Final = 50
"""A pause lasts so many times as long as the snapshot before it has kept the processor busy."""

LONGEST_PAUSE: Final = 5.0
"""But no longer than this, in seconds: a page that hears nothing takes the stream for dead."""

CONTINUITY: Final = 5
"""A reading older than so many ticks says nothing about the rate of now."""


STREAM: Final = "/api/v1/stream"

Prepare = Callable[[str], Coroutine[None, None, View]]
"""Awaited for the view to read for a path, where what is shown has to be fetched: for this one
answer. It must come back soon, whatever happens."""


class Feed:
    """Makes the snapshots. Nothing is computed, and no task runs, while nobody listens."""

    def __init__(self, view: View, interval: float, prepare: Prepare | None = None) -> None:
        self._view: Final = view
        self._prepare: Final = prepare
        self._interval: Final = interval
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        # Done when the next snapshot is made: its frames, or None if it failed.
        self._next: asyncio.Future[bytes | None]
        # The latest snapshot, and when it was made.
        self.snapshot = b""
        self._made = float("-inf")
        self._reading: Reading | None = None
        self.events: Sequence[EventRow] = ()
        # Which process this is: ids of events mean nothing to another one.
        self.run = ""
        self.history: Final[deque[Sample]] = deque(maxlen=HISTORY)

    @contextmanager
    def listen(self, last_event_id: str = "", view: View | None = None) -> Iterator["Listener"]:
        """Take part; the first one starts the ticks, the last one ends them.

        What is shown until the first tick is in `view`, if it had to be fetched.
        """
        if time.monotonic() - self._made >= self._interval:
            self._compose(view or self._view)
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            self._task = loop.create_task(self._tick())
        self._listeners += 1
        try:
            yield Listener(self, last_event_id)
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._task.cancel()
                self._task = None

    async def wait(self) -> bytes | None:
        """Return the frames of the next snapshot, or None if it cannot be made."""
        # Shielded: who stops waiting must not cancel it for the others.
        return await asyncio.shield(self._next)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            made: bytes | None = None
            used = 0.0
            try:
                view = self._view if self._prepare is None else await self._prepare(STREAM)
                # What this thread has used: on a busy machine others take their turns meanwhile.
                began = time.thread_time()
                self._compose(view)
                made = self.snapshot
                used = time.thread_time() - began
            except Exception:
                # The top of a task; whoever listens is sent away and may come back.
                log.exception("a snapshot for /api/v1/stream failed")
            waited, self._next = self._next, loop.create_future()
            waited.set_result(made)
            pause = max(self._interval, min(SPARING * used, LONGEST_PAUSE))

    def _compose(self, view: View) -> None:
        """Look at everything once, and write it down for all."""
        now = time.monotonic()
        seconds = now - self._made
        before = self._reading if seconds < CONTINUITY * self._interval else None
        summary, reading = view.proxy(), view.reading()
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        shown = board(view, summary, moment, reading, before, seconds)
        self.events = list(view.events())
        self.run = summary["started_at"]
        self.snapshot = (frame("board", shown) + frame("summary", summary)).encode()
        self.history.append(shown["sample"])
        self._made, self._reading = now, reading


class Listener:
    """One subscriber: the latest snapshot at every tick, and each event once."""

    def __init__(self, feed: Feed, last_event_id: str = "") -> None:
        self._feed: Final = feed
        run, _, number = last_event_id.rpartition("/")
        # The id of the last event sent; a browser that comes back tells us where it was.
        # No number of ours has more digits, and too many are refused by int().
        ours = run == feed.run and number.isdecimal() and len(number) < 20
        self._seen = int(number) if ours else 0

    def opening(self) -> bytes:
        """Return what is sent first, at once."""
        feed = self._feed
        past = frame("history", {"samples": list(feed.history)})
        return f"retry: {RETRY_MS}\n\n{past}".encode() + self._events() + feed.snapshot

    async def next(self) -> bytes | None:
        """Wait for the next tick and return its frames; None when there will be none."""
        snapshot = await self._feed.wait()
        return None if snapshot is None else self._events() + snapshot

    def _events(self) -> bytes:
        events = self._feed.events
        if not events or events[-1]["id"] <= self._seen:
            return b""
        missed = [event for event in events if event["id"] > self._seen]
        self._seen = events[-1]["id"]
        run = self._feed.run
        return "".join(f"id: {run}/{e['id']}\n" + frame("event", e) for e in missed).encode()


def frame(name: str, value: Mapping[str, object]) -> str:
    """Return one event of the stream."""
    # JSON has no raw line ends, so the value is always one data line.
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
