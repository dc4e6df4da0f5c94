"""PostgreSQL's log, in any of its three formats, as a recording.

What it takes: `log_statement = all` (or `mod`, `ddl`) shows statements, `log_duration` or
`log_min_duration_statement = 0` how long they took, `log_connections` and `log_disconnections` when
sessions began and ended. With less the report says less, and says so.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Final, NamedTuple

from pyproxy.assessment.log_prefix import guess, pattern
from pyproxy.assessment.recording import CANCELS, REPLICATION, Observed, Recording, SessionSeen

# Places of csvlog's columns (PostgreSQL manual, "Using CSV-Format Log Output"); versions have 22
# (9.0) to 26 (14 and newer), always in this order.
_CSV: Final = {
    "time": 0, "user": 1, "database": 2, "pid": 3, "session": 5,
    "severity": 11, "message": 13, "application": 22,
}  # fmt: skip
_CSV_LEAST: Final = 22
# In no log_line_prefix that we know a comma follows the time.
_CSV_LINE: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: \S+)?,")
_JSON: Final = {
    "time": "timestamp", "user": "user", "database": "dbname", "pid": "pid",
    "session": "session_id", "severity": "error_severity", "message": "message",
    "application": "application_name",
}  # fmt: skip
# How many lines are looked at to guess the prefix.
_SAMPLE: Final = 500

_STATEMENT: Final = re.compile(
    r"(?:duration: (?P<ms>[\d.]+) ms(?:  |$))?"
    r"(?:(?P<kind>statement|execute fetch from|execute|parse|bind)(?: [^:]*)?: (?P<text>.*))?$",
    re.DOTALL,
)
_AUTHORIZED: Final = re.compile(
    r"(?P<replication>replication )?connection authorized: user=(?P<user>\S+)"
    r"(?: database=(?P<database>\S+))?(?: application_name=(?P<application>.+?))?(?: SSL .*)?$"
)
_DISCONNECTION: Final = "disconnection: "
_CANCELLED: Final = "canceling statement due to user request"


class Entry(NamedTuple):
    """One entry of the log."""

    at: float
    session: str
    user: str
    database: str
    application: str
    severity: str
    message: str


def read(lines: Iterable[str], *, source: str, prefix: str = "") -> Recording:
    """The recording of a log; `prefix` is its log_line_prefix, guessed when empty.

    Raises ValueError when nothing in it looks like PostgreSQL's log.
    """
    iterator = iter(lines)
    head = list(islice(iterator, _SAMPLE))
    first = next((line for line in head if line.strip()), "")
    everything = chain(head, iterator)
    recording = Recording(source)
    if first.startswith("{"):
        entries = _json_entries(everything, recording)
    elif _CSV_LINE.match(first):
        entries = _csv_entries(everything, recording)
    else:
        line = pattern(prefix) if prefix else guess(head)
        entries = _text_entries(everything, line, recording)
    reader = _Reader(recording)
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007 - the last number is the answer
        reader.take(entry)
    if not count:
        raise ValueError(
            "no line of it is of PostgreSQL's log; csvlog, jsonlog and stderr are understood, the"
            " last one with --log-line-prefix as in postgresql.conf"
        )
    reader.end()
    return recording


class _Reader:
    """Entries to sessions."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._sessions: dict[str, SessionSeen] = {}

    def take(self, entry: Entry) -> None:
        """One entry; they come in the order of the log.

        What is read is the server's own word: a message that a function raises may look like it.
        """
        if entry.severity == "LOG":
            self._log(entry)
        elif entry.severity == "ERROR" and entry.message.startswith(_CANCELLED):
            self._recording.use(CANCELS)

    def _log(self, entry: Entry) -> None:
        message = entry.message
        authorized = _AUTHORIZED.match(message)
        if authorized is not None:
            if authorized["replication"]:
                self._recording.use(REPLICATION)
                return
            # A process id may be used again: this is another session.
            self._sessions.pop(entry.session, None)
            session = self._session(entry)
            session.user = session.user or authorized["user"]
            session.database = session.database or authorized["database"] or ""
            session.application = session.application or authorized["application"] or ""
        elif message.startswith(_DISCONNECTION):
            gone = self._sessions.pop(entry.session, None)
            if gone is not None:
                gone.seen(entry.at)
        else:
            found = _STATEMENT.match(message)
            if found is not None and (found["text"] is not None or found["ms"] is not None):
                self._statement(self._session(entry), entry.at, found)

    def _session(self, entry: Entry) -> SessionSeen:
        session = self._sessions.get(entry.session)
        if session is None:
            session = self._sessions[entry.session] = SessionSeen(entry.session)
            self._recording.sessions.append(session)
        session.application = entry.application or session.application
        session.user = entry.user or session.user
        session.database = entry.database or session.database
        session.seen(entry.at)
        return session

    def _statement(self, session: SessionSeen, at: float, found: re.Match[str]) -> None:
        seconds = None if found["ms"] is None else float(found["ms"]) / 1000
        text, kind = found["text"], found["kind"]
        if kind in ("parse", "bind"):
            # Their Execute follows, and is the one that counts.
            return
        if text is None:
            # The duration of the statement before, logged apart (log_duration).
            if session.statements and session.statements[-1].seconds is None:
                session.statements[-1] = session.statements[-1]._replace(seconds=seconds)
            return
        began = at - (seconds or 0.0)
        session.seen(began)
        session.statements.append(
            Observed(text, 1, seconds, began, session.application, prepared=kind != "statement")
        )

    def end(self) -> None:
        """The log is over."""
        self._recording.sessions = [s for s in self._recording.sessions if s.statements]
        if not any(s.seconds is not None for s in self._recording.all_statements()):
            self._recording.notes.append(
                "The log has no durations (log_min_duration_statement = 0 or log_duration = on):"
                " transactions are taken to last from their first statement to their last."
            )


# -- the formats -----------------------------------------------------------------------------------


def _text_entries(
    lines: Iterable[str], line: re.Pattern[str], recording: Recording
) -> Iterator[Entry]:
    for whole in _joined(lines):
        found = line.match(whole)
        if found is None:
            recording.skipped += 1
            continue
        fields = {name: value or "" for name, value in found.groupdict().items()}
        at = float(fields["epoch"]) if fields.get("epoch") else _time(fields.get("time", ""))
        session = fields.get("session") or fields.get("pid") or ""
        yield Entry(
            at,
            session,
            _known(fields.get("user", "")),
            _known(fields.get("database", "")),
            _known(fields.get("application", "")),
            fields["severity"],
            fields["message"].rstrip("\n"),
        )


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Lines with those that continue them: PostgreSQL begins these with a tab."""
    whole = ""
    for text in lines:
        if whole and text.startswith("\t"):
            whole += text[1:]
            continue
        if whole:
            yield whole
        whole = text
    if whole:
        yield whole


def _csv_entries(lines: Iterable[str], recording: Recording) -> Iterator[Entry]:
    # A statement may be longer than the 128 kB that the module takes by default.
    csv.field_size_limit(1 << 30)
    for row in csv.reader(lines):
        entry = _csv_entry(row)
        if entry is None:
            recording.skipped += bool(row)
        else:
            yield entry


def _csv_entry(row: list[str]) -> Entry | None:
    if len(row) < _CSV_LEAST:
        return None
    fields = {name: row[place] if place < len(row) else "" for name, place in _CSV.items()}
    return _entry(fields)


def _json_entries(lines: Iterable[str], recording: Recording) -> Iterator[Entry]:
    for line in lines:
        try:
            row = json.loads(line)
            entry = _entry({name: str(row.get(key, "")) for name, key in _JSON.items()})
        except (ValueError, AttributeError):
            entry = None
        if entry is None:
            recording.skipped += bool(line.strip())
        else:
            yield entry


def _entry(fields: dict[str, str]) -> Entry | None:
    try:
        at = _time(fields["time"])
    except ValueError:
        return None
    return Entry(
        at,
        fields["session"] or fields["pid"],
        fields["user"],
        fields["database"],
        fields["application"],
        fields["severity"],
        fields["message"],
    )


def _time(text: str) -> float:
    """Seconds; the zone does not matter, all times of a log are in the same. Raises ValueError."""
    if not text:
        return 0.0
    day_and_time = " ".join(text.split(" ")[:2])
    return datetime.fromisoformat(day_and_time).replace(tzinfo=UTC).timestamp()


def _known(value: str) -> str:
    return "" if value == "[unknown]" else value
