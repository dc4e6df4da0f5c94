"""The second observer: what changed in a session although no pinning rule saw it.

RDS Proxy goes by the text alone (C-05). What functions, procedures, triggers and views change
inside is not in the text (NOPIN-PG-02), so the session does not pin and the next client of the
connection finds the state there. PyProxy lets it through too, unless `leak_guard` is on, but it
looks, by means that have nothing to do with the text:

- the command tag of every answer: the database's own word for what it ran;
- ParameterStatus: the settings that PostgreSQL reports, whoever changed them;
- with `leak_guard`, `LOOK`: one query on a connection that a session has given back.

Pure: takes what was seen, returns what does not agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from pyproxy.pinning.digest import digest, readable

Row = tuple[bytes | None, ...]

# What a look finds, by the column of LOOK that shows it.
KINDS: Final = (
    "prepared_statement",
    "advisory_lock",
    "listen",
    "cursor",
    "temporary_object",
    "setting",
    "role",
    "role",
)
# Asked on a connection at rest, whose session may have left anything behind: also a search_path or
# a temporary schema that would decide what unqualified names mean. So every function, relation and
# operator says where it is from; types of literals come from the functions that take them.
# application_name is ours to set (ST-05). A protocol-level statement is ours as well: only what SQL
# has prepared can be somebody's.
LOOK: Final = """\
SELECT
 (SELECT pg_catalog.jsonb_agg(p.name ORDER BY p.name)
    FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql),
 (SELECT pg_catalog.jsonb_agg(pg_catalog.concat_ws('/', l.classid, l.objid, l.objsubid, l.mode)
                              ORDER BY l.classid, l.objid, l.objsubid, l.mode)
    FROM pg_catalog.pg_locks l
   WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
     AND l.locktype OPERATOR(pg_catalog.=) 'advisory'),
 (SELECT pg_catalog.jsonb_agg(c.name ORDER BY c.name)
    FROM pg_catalog.pg_listening_channels() AS c(name)),
 (SELECT pg_catalog.jsonb_agg(c.name ORDER BY c.name)
    FROM pg_catalog.pg_cursors c WHERE c.is_holdable),
 (SELECT pg_catalog.jsonb_agg(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
                              ORDER BY d.classid, d.objid)
    FROM pg_catalog.pg_depend d
   WHERE d.refclassid OPERATOR(pg_catalog.=)
         CAST('pg_catalog.pg_namespace' AS pg_catalog.regclass)
     AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()),
 (SELECT pg_catalog.jsonb_object_agg(s.name, s.setting)
    FROM pg_catalog.pg_settings s
   WHERE s.source OPERATOR(pg_catalog.=) 'session'
     AND s.name OPERATOR(pg_catalog.<>) 'application_name'),
 pg_catalog.current_setting('role'),
 CAST(session_user AS pg_catalog.text)"""

# What every release under leak_guard costs. No SQL lists custom settings (`app.tenant`: PostgreSQL
# hides placeholders) or tells what currval() would give; so these are undone without a look.
RELEASE: Final = f"{LOOK};\nRESET ALL;\nDISCARD SEQUENCES"

# Settings that the database changes by itself: they are not the session's.
_THE_DATABASES: Final = frozenset({"in_hot_standby"})
# How often one and the same finding is told, in seconds; it is counted every time.
TELL_AGAIN: Final = 60.0
_REMEMBERED: Final = 1_000

# Command tags that a session which did not pin cannot have caused.
_TAGS: Final = (
    b"SET", b"RESET", b"LISTEN", b"PREPARE", b"DEALLOCATE", b"DEALLOCATE ALL", b"DECLARE CURSOR",
    b"DISCARD ALL", b"DISCARD PLANS", b"DISCARD SEQUENCES", b"DISCARD TEMP", b"LOAD",
)  # fmt: skip


class Switches(Protocol):
    """The part of `compatibility:` that is asked here."""

    @property
    def set_local(self) -> str:
        """`pin` or `no_pin` (PIN-PG-11)."""

    @property
    def declare_cursor(self) -> str:
        """`pin` or `no_pin` (PIN-PG-04)."""


class Finding(NamedTuple):
    """One piece of state that no rule saw."""

    kind: str
    """The label of the metric."""

    what: str
    """In words, without values: what a setting holds may be a secret."""


def telling_tags(switches: Switches) -> frozenset[bytes]:
    """The command tags that pinning must have announced.

    SET LOCAL and SET TRANSACTION have the tag SET, a cursor with and without WITH HOLD the same
    one; where they do not pin these tell nothing.
    """
    silent = {b"SET": switches.set_local, b"DECLARE CURSOR": switches.declare_cursor}
    return frozenset(tag for tag in _TAGS if silent.get(tag, "pin") == "pin")


def of_tag(tag: bytes) -> Finding:
    """The database ran a command that pins, and no rule had seen it: a mistake of our scanner's."""
    name = tag.decode("ascii", "replace")
    return Finding("command_tag", f"a statement that the database calls {name}")


def of_notification() -> Finding:
    """A notification came to a session that has not listened by a statement of its own."""
    return Finding("listen", "a registration for notifications")


def of_parameters(
    before: Mapping[str, str | None], now: Mapping[str, str]
) -> Iterator[tuple[str, Finding]]:
    """Settings that PostgreSQL reports: what they were when they first changed, and are now."""
    for name, value in before.items():
        if name not in _THE_DATABASES and now.get(name) != value:
            yield name, Finding("setting", f"the setting {name}")


def of_looks(before: Row, now: Row) -> Iterator[Finding]:
    """Two answers to LOOK: right after the connection was opened, and now."""
    for kind, old, new in zip(KINDS, before, now, strict=True):
        if old != new:
            for what in _differences(kind, old, new):
                yield Finding(kind, what)


def _differences(kind: str, old: bytes | None, new: bytes | None) -> list[str]:
    if kind == "role":
        return [f"the role {(new or b'').decode('utf-8', 'replace')}"]
    was, now = _read(old), _read(new)
    nameless = [f"{_KIND_NAMES[kind]} whose names cannot be read"]
    if was is None or now is None:
        return nameless
    if kind == "setting":
        before, after = dict(was), dict(now)
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        return [f"the setting {name}" for name in changed] or nameless
    names = sorted({str(name) for name in now} ^ {str(name) for name in was})
    return [_NOUNS[kind].format(name) for name in names] or nameless


def _read(value: bytes | None) -> Any:  # noqa: ANN401 - whatever JSON can be
    """A column of LOOK, or None when it is no JSON: a session may have left an encoding behind."""
    try:
        return json.loads(value.decode("utf-8", "replace")) if value else {}
    except ValueError:
        return None


_KIND_NAMES: Final = {
    "prepared_statement": "prepared statements",
    "advisory_lock": "advisory locks",
    "listen": "registrations for notifications",
    "cursor": "cursors",
    "temporary_object": "temporary objects",
    "setting": "settings",
}
_NOUNS: Final = {
    "prepared_statement": "the prepared statement {}",
    "advisory_lock": "the advisory lock {}",
    "listen": "a registration for notifications on {}",
    "cursor": "the cursor {}",
    "temporary_object": "the temporary {}",
}


def culprit(texts: Sequence[bytes]) -> str:
    """Who did it, in words: the digest of the only statement that can have, or of the last.

    Statements that call nothing are suspected only if there are no others: a trigger may hide much.
    """
    if not texts:
        return ""
    calling = [text for text in texts if b"(" in text or text[:2].lower() == b"do"] or texts
    shown = readable(digest(calling[-1].decode("latin-1"), standard_conforming_strings=None))
    if len(calling) == 1:
        return f'Statement: "{shown}".'
    return f'One of {len(calling)} statements, the last of them: "{shown}".'


def message(finding: Finding, who: str, *, guarded: bool) -> str:
    """What the log and the event say."""
    fate = (
        "would lend this database connection to other clients with it; leak_guard resets it first."
        if guarded
        else "lends this database connection to other clients with it, and so does PyProxy."
    )
    told = f"Session state was left that no pinning rule saw (NOPIN-PG-02): {finding.what}."
    return f"{told} RDS Proxy {fate}" + (f" {who}" if who else "")


class Told:
    """What has been told already: a function that leaks at every call needs no line each."""

    def __init__(self) -> None:
        self._told: dict[tuple[Finding, str], tuple[float, int]] = {}

    def due(self, finding: Finding, who: str, now: float) -> int:
        """How often it was seen since it was told last, this time included; 0: not to be told."""
        key = finding, who
        last, silent = self._told.pop(key, (-TELL_AGAIN, 0))
        due = now - last >= TELL_AGAIN
        # Popped and put back: the order is that of the last sight.
        self._told[key] = (now, 0) if due else (last, silent + 1)
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        return silent + 1 if due else 0
