"""The frames of `/api/v1/stream`: server-sent events, without any I/O.

`EventStream(view)` is one subscriber; `opening()`, and then `tick()` once a second, give the bytes
to send.
[WHATWG HTML, "Server-sent events"]
"""

import json
from collections.abc import Mapping
from typing import Final

from pyproxy.dashboard.view import View

RETRY_MS: Final = 2000
"""How long a browser waits before it comes back after a broken stream."""


class EventStream:
    """One subscriber: a summary at every tick, and each event once."""

    def __init__(self, view: View, last_event_id: str = "") -> None:
        self._view: Final = view
        # The id of the last event sent; a browser that comes back tells us where it was.
        self._seen = int(last_event_id) if last_event_id.isdecimal() else 0

    def opening(self) -> bytes:
        """Return what is sent first, at once."""
        return f"retry: {RETRY_MS}\n\n".encode() + self.tick()

    def tick(self) -> bytes:
        """Return the frames for now: events not sent yet, then the summary."""
        frames = []
        for event in self._view.events():
            if event["id"] > self._seen:
                self._seen = event["id"]
                frames.append(f"id: {event['id']}\n" + _frame("event", event))
        frames.append(_frame("summary", self._view.proxy()))
        return "".join(frames).encode()


def _frame(name: str, value: Mapping[str, object]) -> str:
    # JSON has no raw line ends, so the value is always one data line.
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
