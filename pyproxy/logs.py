"""RDS Proxy's log: its lines, word for word, so that a parser written for production works here.

    2026-01-31T12:00:00.123Z [WARN] [proxyEndpoint=default] [clientConnection=51706963] The client…

One method of `EventLog` per line that AWS documents or that was seen (L-01 … L-14; L-15 and L-16
are what the others are filled with); what PyProxy says beyond them goes through `note` and carries
`[pyproxy]`. Lines about connections coming and going are written only with enhanced logging, as on
AWS (LG-03), and cost one comparison without it; `Enhanced` turns it off again after a day (LG-04).

`configure` says where to and in which form; JSON carries the same facts as fields. Writing never
raises into the data path, nor waits (`log_writer`): a log that cannot be written is given up, line
by line.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TextIO

from pyproxy.addresses import join
from pyproxy.log_writer import LogWriter, blocking

Address = tuple[str, int]

# A line is one line, whatever a client calls itself (lesson: log injection).
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

CLOSED_BY_CHANNEL: Final = (
    "The client connection closed. Reason: The TCP channel was closed by either the client or the "
    "proxy."
)
CLOSED_BY_REQUEST: Final = (
    "The client connection closed. Reason: The client requested that the connection close."
)
CLOSED_MID_REQUEST: Final = (
    "The database connection closed. Reason: The client connection that borrowed this database "
    "connection from the connection pool was closed in the middle of a request."
)
RELEASED_UPON_RESET: Final = (
    "The database connection was released to the connection pool upon session reset."
)


# S-07, LG-04: enhanced logging turns itself off so many seconds after it was turned on.
ENHANCED_FOR: Final = 24 * 3600.0


class Line(NamedTuple):
    """One line's facts."""

    level: str
    endpoint: str
    message: str
    client: int | None
    server: int | None
    # Not one of AWS's lines.
    ours: bool = False
    # Facts that only JSON has room for.
    fields: Mapping[str, object] = {}


class _Output:
    """Where lines go; one for the process, set by `configure`."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        # In its place, where writing may block.
        self.writer: LogWriter | None = None
        self.format: Callable[[float, Line], str] = as_text
        self.clock: Callable[[], float] = time.time

    def write(self, line: Line) -> None:
        self.put(self.format(self.clock(), line) if self.stream is not None else "")

    def put(self, text: str) -> None:
        if self.writer is not None:
            self.writer.put(text)
        elif self.stream is not None:
            # A disk that is full, or a file that is closed, must not stop the proxy.
            with contextlib.suppress(OSError, ValueError):
                self.stream.write(text)
                self.stream.flush()

    def turn_to(self, stream: TextIO | None) -> None:
        if self.writer is not None:
            self.writer.close()
        self.stream, self.writer = stream, None
        handle = blocking(stream)
        if stream is not None and handle is not None:
            self.writer = LogWriter(handle, stream.encoding, self._lost)

    def _lost(self, count: int) -> str:
        were = "line of the log was" if count == 1 else "lines of the log were"
        words = f"{count} {were} lost: nobody read it."
        return self.format(self.clock(), Line("WARN", "default", words, None, None, ours=True))


def configure(
    stream: TextIO | None, *, json: bool = False, clock: Callable[[], float] = time.time
) -> None:
    """Send every line from now on to `stream` (None: nowhere), as text or as JSON objects."""
    _OUTPUT.turn_to(stream)
    _OUTPUT.format = as_json if json else as_text
    _OUTPUT.clock = clock


def pass_on(line: str) -> None:
    """Write a line that another process of ours has made, whole."""
    _OUTPUT.put(line)


class EventLog:
    """The log of one endpoint. Ids are the random u32 of connections (LG-02)."""

    def __init__(self, endpoint: str, debug: bool = False) -> None:
        self.endpoint = endpoint
        # Enhanced logging; may be switched while running.
        self.debug = debug

    # -- lines about connections: only with debug (LG-03) ----------------------------------------

    def client_connected(self, client: int, host: str, port: int) -> None:
        """L-10."""
        if self.debug:
            address = join(host, port)
            self._write("INFO", f"A new client connected from {address}.", client, None)

    def client_requested_close(self, client: int) -> None:
        """L-09."""
        if self.debug:
            self._write("INFO", CLOSED_BY_REQUEST, client, None)

    def client_channel_closed(self, client: int) -> None:
        """L-08."""
        if self.debug:
            self._write("INFO", CLOSED_BY_CHANNEL, client, None)

    def client_closed_by_proxy(self, client: int, why: str) -> None:
        """L-08's form with our reason: AWS documents none for these (Q-04)."""
        if self.debug:
            self.note("INFO", f"The client connection closed. Reason: {_sentence(why)}", client)

    def server_connected(
        self, client: int | None, server: int, from_address: object, to_address: object
    ) -> None:
        """L-11; the addresses as sockets give them. AWS has no line for a Unix socket's path."""
        if self.debug and isinstance(to_address, str):
            self.note("INFO", f"Connected to the database at {to_address}.", client, server)
        elif self.debug:
            self._write(
                "INFO",
                "A TCP connection was established from the proxy at "
                f"{join(*format_address(from_address))} to the database at "
                f"{join(*format_address(to_address))}.",
                client,
                server,
            )

    def released_upon_reset(self, client: int, server: int) -> None:
        """L-06."""
        if self.debug:
            self._write("INFO", RELEASED_UPON_RESET, client, server)

    def closed_mid_request(self, client: int, server: int) -> None:
        """L-07."""
        if self.debug:
            self._write("INFO", CLOSED_MID_REQUEST, client, server)

    def announced(self, client: int, server: int, reason: str) -> None:
        """L-05: a Parse of what would pin."""
        if self.debug:
            self._write(
                "INFO",
                "If this prepared statement runs, the client session will be pinned to the "
                f"database connection [dbConnection={server}]. Reason: {reason}",
                client,
                None,
            )

    def credentials_unavailable(self, why: str) -> None:
        """L-14: Secrets Manager does not let us; seen only with enhanced logging."""
        if self.debug:
            self._write("WARN", f"Credentials couldn't be retrieved. {why}", None, None)

    # -- lines that are always written -----------------------------------------------------------

    def pinned(self, client: int, server: int, reason: str, **facts: object) -> None:
        """L-01; `facts` are added to JSON only."""
        self._write(
            "WARN",
            f"The client session was pinned to the database connection [dbConnection={server}] for "
            "the remainder of the session. The proxy can't reuse this connection until the session "
            f"ends. Reason: {reason}",
            client,
            None,
            facts,
        )

    def authentication_failed(
        self, client: int, user: str, method: str, *, tls: bool, reason: str
    ) -> None:
        """L-12, L-13: the client got less."""
        self._write(
            "WARN",
            f'Proxy authentication with {method} failed for user "{user}" with TLS '
            f"{'on' if tls else 'off'}. Reason: {reason}",
            client,
            None,
            {"user": user, "tls": tls},
        )

    # -- our own ---------------------------------------------------------------------------------

    def note(
        self, level: str, message: str, client: int | None = None, server: int | None = None
    ) -> None:
        """A line that AWS doesn't write: marked `[pyproxy]`."""
        _OUTPUT.write(Line(level, self.endpoint, message, client, server, ours=True))

    def failure(self, client: int | None) -> None:
        """The exception being handled: a bug of the proxy, with where it happened."""
        trace = traceback.format_exc()
        last = trace.rstrip().rpartition("\n")[2]
        message = f"An error of the proxy itself, please report it: {last} | {trace}"
        _OUTPUT.write(Line("ERROR", self.endpoint, message, client, None, ours=True))

    def _write(
        self,
        level: str,
        message: str,
        client: int | None,
        server: int | None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        _OUTPUT.write(Line(level, self.endpoint, message, client, server, fields=fields or {}))


class Enhanced:
    """The enhanced logging of all endpoints: `proxy.debug_logging`, for a day at most (LG-04)."""

    def __init__(self) -> None:
        self._logs: list[EventLog] = []
        # When it turns itself off; None while it is off.
        self._until: float | None = None

    def add(self, log: EventLog) -> EventLog:
        """One more log to switch; returns it."""
        log.debug = self._until is not None
        self._logs.append(log)
        return log

    def switch(self, on: bool, now: float) -> None:
        """As the configuration says; what is on already stays on no longer for that."""
        if on == (self._until is not None):
            return
        self._until = now + ENHANCED_FOR if on else None
        for log in self._logs:
            log.debug = on

    def expired(self, now: float) -> bool:
        """Turn it off when its time is over; was that now?"""
        if self._until is None or now < self._until:
            return False
        self.switch(False, now)
        return True


def format_address(address: object) -> Address:
    """Host and port of a socket's address; ("", 0) where there is none, as for a Unix socket."""
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    return "", 0


def _sentence(why: str) -> str:
    return why[:1].upper() + why[1:] + ("" if why.endswith(".") else ".")


def _timestamp(now: float) -> str:
    """UTC, ISO 8601 with milliseconds."""
    seconds, milliseconds = divmod(round(now * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def as_text(now: float, line: Line) -> str:
    """LG-02: one line, whatever is in it."""
    parts = [_timestamp(now), f"[{line.level}]", f"[proxyEndpoint={line.endpoint}]"]
    if line.client is not None:
        parts.append(f"[clientConnection={line.client}]")
    if line.server is not None:
        parts.append(f"[dbConnection={line.server}]")
    if line.ours:
        parts.append("[pyproxy]")
    parts.append(line.message)
    return printable(" ".join(parts)) + "\n"


def as_json(now: float, line: Line) -> str:
    """The same facts as one JSON object on one line."""
    record: dict[str, object] = {
        "timestamp": _timestamp(now),
        "level": line.level,
        "proxyEndpoint": line.endpoint,
        "message": line.message,
    }
    if line.client is not None:
        record["clientConnection"] = line.client
    if line.server is not None:
        record["dbConnection"] = line.server
    if line.ours:
        record["source"] = "pyproxy"
    return json.dumps(record | dict(line.fields)) + "\n"


def printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{ord(character):02x}")


_OUTPUT: Final = _Output()
