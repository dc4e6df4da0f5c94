"""Where a recording comes from: files, a running proxy, a database's pg_stat_statements."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path
from typing import Final, NamedTuple, cast
from urllib.parse import parse_qs, unquote, urlsplit

from pyproxy.addresses import join
from pyproxy.assessment import postgres_log
from pyproxy.assessment.recording import Observed, PinSeen, Recording
from pyproxy.auth.certificates import database_context
from pyproxy.config import TargetConfig
from pyproxy.dashboard.client import get_json, understanding
from pyproxy.dashboard.listings import MAX_LIMIT
from pyproxy.dashboard.view import PinRow, ProxySummary
from pyproxy.pinning import sql
from pyproxy.pinning.script import sendable
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.connect import Proof, ask, connect
from pyproxy.targets.target import Target

# How long a database may take to let us in, in seconds.
PATIENCE: Final = 15.0
# Without verify-ca, which takes a file.
_MODES: Final = ("disable", "prefer", "require", "verify-full")
_NO_SESSIONS: Final = (
    "{} tells no sessions: what share of them would be pinned, and how many database connections"
    " are needed, takes a PostgreSQL log or a running proxy."
)
_STAT_STATEMENTS: Final = (
    "SELECT s.query, s.calls, s.total_exec_time FROM {schema}.pg_stat_statements s"
    " JOIN pg_catalog.pg_database d ON d.oid = s.dbid"
    " WHERE d.datname = pg_catalog.current_database()"
)
_SCHEMA: Final = (
    "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e"
    " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
    " WHERE e.extname = 'pg_stat_statements'"
)


_HOW_TO_WRITE: Final = "In psql: \\copy (TABLE pg_stat_statements) TO 'statements.csv' CSV HEADER"


class SourceError(Exception):
    """A source that can't be used; says which one, why, and what would be right."""


def of_log(path: Path, prefix: str) -> Recording:
    """A PostgreSQL log. Raises SourceError, OSError."""
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        try:
            return postgres_log.read(lines, source=f"PostgreSQL log {path.name}", prefix=prefix)
        except (ValueError, csv.Error) as error:
            raise SourceError(f"{path}: {error}") from None


def of_sql(path: Path, text: str) -> Recording:
    """A file of SQL, or of psql's: each statement counts once."""
    text = sendable(text)
    recording = Recording(f"SQL file {path.name}")
    for statement in sql.split(text):
        tokens = statement.tokens
        recording.statements.append(Observed(text[tokens[0].start : tokens[-1].end]))
    recording.notes.append(_NO_SESSIONS.format("A file of SQL"))
    return recording


def of_proxy(url: str) -> Recording:
    """The ledger of a running proxy. Raises ApiError."""
    ledger = get_json(url, f"/api/v1/pins?limit={MAX_LIMIT}")
    proxy = cast(ProxySummary, get_json(url, "/api/v1/proxy"))
    recording = Recording(f"the proxy at {url}")
    with understanding(url):
        recording.pins = [
            PinSeen(
                row["rule"],
                row["digest"],
                row["application_name"],
                row["driver"],
                row["count"],
                row["held_seconds"],
            )
            for row in cast(list[PinRow], ledger["pins"])
        ]
        recording.clients = max(
            sum(endpoint["clients"] for endpoint in proxy["endpoints"]), proxy["pins_total"]
        )
    recording.notes.append(
        "A ledger knows the first reason of each pin: what would pin a session after that was"
        " mended is not in it."
    )
    return recording


def of_statements_file(path: Path, text: str) -> Recording:
    """pg_stat_statements as CSV with a header, as psql's copy writes it."""
    recording = Recording(f"pg_stat_statements in {path.name}")
    csv.field_size_limit(1 << 30)
    rows = csv.DictReader(io.StringIO(text))
    names = rows.fieldnames or []
    if "query" not in names or "calls" not in names:
        raise SourceError(f"{path}: it has no columns query and calls. {_HOW_TO_WRITE}")
    time = next((name for name in ("total_exec_time", "total_time") if name in names), "")
    for row in rows:
        try:
            seconds = float(row[time]) / 1000 if time else None
            recording.statements.append(Observed(row["query"], int(row["calls"]), seconds))
        except (TypeError, ValueError):
            recording.skipped += 1
    recording.notes.append(_NO_SESSIONS.format("pg_stat_statements"))
    return recording


class Dsn(NamedTuple):
    """What a URL of a database says."""

    host: str
    port: int
    user: str
    password: str
    database: str
    mode: str
    """Of TLS."""


def _parts(dsn: str) -> Dsn:
    try:
        parts = urlsplit(dsn)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    user = unquote(parts.username or "")
    if parts.scheme not in ("postgresql", "postgres") or not host or not user or port == 0:
        raise SourceError("not a postgresql://user:password@host:port/database URL")
    mode = parse_qs(parts.query).get("sslmode", ["prefer"])[0]
    if mode not in _MODES:
        raise SourceError(f"sslmode is {mode!r}: it must be one of {', '.join(_MODES)}")
    database = unquote(parts.path.lstrip("/")) or user
    return Dsn(host, port or 5432, user, unquote(parts.password or ""), database, mode)


async def of_statements(dsn: str) -> Recording:
    """pg_stat_statements of a database. Raises SourceError, and what `connect` does."""
    host, port, user, password, database, mode = _parts(dsn)
    try:
        async with asyncio.timeout(PATIENCE):
            connected = await connect(
                Target(TargetConfig("audited", host, port, mode)),
                PoolKey(user, database),
                Proof(password),
                context=database_context(mode),
                init_query="",
            )
    except TimeoutError:
        raise SourceError(f"{join(host, port)} did not answer within {PATIENCE:g} s") from None
    stream = connected.stream
    try:
        schemas = await ask(stream, _SCHEMA, connected.parameters)
        if not schemas:
            raise SourceError(
                f"the database {database} has no pg_stat_statements: CREATE EXTENSION"
                " pg_stat_statements, and shared_preload_libraries"
            )
        schema = (schemas[0][0] or b"").decode()
        rows = await ask(stream, _STAT_STATEMENTS.format(schema=schema), connected.parameters)
    finally:
        stream.transport.close()
    recording = Recording(f"pg_stat_statements of {host}/{database}")
    for query, calls, milliseconds in rows:
        text = (query or b"").decode(errors="replace")
        recording.statements.append(
            Observed(text, int(calls or 0), float(milliseconds or 0) / 1000)
        )
    recording.notes.append(_NO_SESSIONS.format("pg_stat_statements"))
    return recording
