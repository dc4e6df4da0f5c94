"""The monitor's probe of a PostgreSQL target: one connection, one question.

Health checks run in the database `postgres` as the monitoring user (C-15, TH-06). The connection
stays; one that was ended (by an operator, a restart) is made anew within the same look, so that
only a database that lets nobody in is missed.
"""

from __future__ import annotations

import ssl
from typing import Final

from protocol.postgres.errors import ProtocolError
from protocol.postgres.quoting import literal
from protocol.postgres.sqlstate import GOING
from pyproxy.auth.credentials import NO_CREDENTIALS, Credentials
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.connect import Proof, Refused, ask, connect
from pyproxy.stream import LoginStream
from pyproxy.targets.probe import (
    AUTH_FAILURE,
    CONNECTION_FAILED,
    UNREACHABLE,
    ProbeError,
    Sighting,
)
from pyproxy.targets.target import REFUSES_WRITES, Target

DATABASE: Final = "postgres"

# The timeline of a primary is the one it writes to: that of the last checkpoint is late after a
# promotion. That of a standby is the newest of what it has received, replayed and checkpointed.
# What it has received is shown while a WAL receiver is connected, and to who may read all
# statistics; that there is one, to everybody. Of what comes from an archive only the control file
# tells, some minutes later: at the next restart point, or when a changed page has to be written.
# Names are qualified: see LIMITS_QUERY.
_QUESTION: Final = f"""\
SELECT r.recovering,
{REFUSES_WRITES},
 CASE WHEN r.recovering THEN greatest(
  (SELECT c.timeline_id FROM pg_catalog.pg_control_checkpoint() c),
  (SELECT m.min_recovery_end_timeline FROM pg_catalog.pg_control_recovery() m),
  (SELECT w.received_tli FROM pg_catalog.pg_stat_get_wal_receiver() w)) ELSE
  ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
  )::bit(32)::int END,
 pg_catalog.pg_wal_lsn_diff(CASE WHEN r.recovering THEN greatest(
  pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
  ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')::bigint,
 CASE WHEN r.recovering AND pg_catalog.pg_last_wal_receive_lsn() IS DISTINCT FROM
  pg_catalog.pg_last_wal_replay_lsn() THEN greatest(extract(epoch FROM
  pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()), 0) ELSE 0 END,
 (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s),
 pg_catalog.current_setting('max_connections'),
 pg_catalog.current_setting('superuser_reserved_connections')::int
  + coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::int,
 pg_catalog.has_function_privilege('pg_catalog.pg_promote(boolean, integer)', 'EXECUTE'),
 CASE WHEN r.recovering THEN (SELECT extract(epoch FROM pg_catalog.clock_timestamp()
  - w.last_msg_receipt_time) FROM pg_catalog.pg_stat_get_wal_receiver() w) END,
 pg_catalog.pg_wal_lsn_diff(CASE WHEN r.recovering THEN pg_catalog.pg_last_wal_replay_lsn()
  ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')::bigint,
 CASE WHEN r.recovering THEN (SELECT CASE WHEN w.pid IS NULL
  THEN pg_catalog.current_setting('restore_command', true) <> '' ELSE w.received_tli IS NULL END
  FROM pg_catalog.pg_stat_get_wal_receiver() w) END
FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovering) r"""  # noqa: S608 - a constant, too

_PROMOTE: Final = (
    "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_promote(false) END"
)
_SLOT_NAME: Final = """\
SELECT n.name FROM (SELECT pg_catalog.current_setting('primary_slot_name') AS name) n
WHERE n.name <> '' AND NOT EXISTS (
 SELECT FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = n.name)"""


class PostgresProbe:
    """The monitoring connection to one PostgreSQL."""

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        user: str,
        context: ssl.SSLContext | None,
    ) -> None:
        """`user` is the monitoring user; empty: the first that has a secret."""
        self._target: Final = target
        self._credentials: Final = credentials
        self._user: Final = user
        self._context: Final = context
        self._stream: LoginStream | None = None

    async def look(self) -> Sighting:
        """Ask now; by a new connection if the old one has ended."""
        stream = self._stream
        if stream is not None:
            try:
                return _sighting(await _first_row(stream, _QUESTION))
            except (OSError, ProtocolError, Refused):
                self.close()
        stream = await self._connect()
        try:
            sighting = _sighting(await _first_row(stream, _QUESTION))
        except BaseException as problem:
            stream.transport.abort()
            if isinstance(problem, OSError | ProtocolError | Refused):
                raise _explained(problem) from None
            raise
        self._stream = stream
        return sighting

    async def promote(self) -> None:
        """Ask the standby to become a primary."""
        await self._tell(_PROMOTE)

    async def make_slot(self) -> str:
        """Make the slot that this former standby used: the old primary will ask for the same.

        After pg_rewind it has this one's configuration; without the slot it would wait for ever.
        No WAL is kept before it connects.
        """
        rows = await self._tell(_SLOT_NAME)
        if not rows:
            return ""
        name = (rows[0][0] or b"").decode()
        await self._tell(f"SELECT pg_catalog.pg_create_physical_replication_slot({literal(name)})")
        return name

    def close(self) -> None:
        """Drop the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.transport.abort()

    async def _connect(self) -> LoginStream:
        user = self._user or next(iter(self._credentials.users()), "")
        credential = self._credentials.lookup(user)
        why = f"{NO_CREDENTIALS}. {self._credentials.why_missing(user)}"
        while credential is not None:
            secret = credential.secret
            try:
                connected = await connect(
                    self._target,
                    PoolKey(user, DATABASE),
                    Proof(secret.password, secret.salted),
                    context=self._context,
                    init_query="",
                )
            except (OSError, ProtocolError, Refused) as problem:
                error = _explained(problem)
                if error.reason != AUTH_FAILURE:
                    raise error from None
                # The secret may have been rotated (AU-11).
                why = str(error)
                credential = await self._credentials.reread(user, secret)
            else:
                return connected.stream
        raise ProbeError(AUTH_FAILURE, why, alive=True)

    async def _tell(self, sql: str) -> list[tuple[bytes | None, ...]]:
        """A command, by a connection of its own: the other one may be in use."""
        stream = await self._connect()
        try:
            return await ask(stream, sql, {})
        except (OSError, ProtocolError, Refused) as problem:
            raise _explained(problem) from None
        finally:
            stream.transport.abort()


async def _first_row(stream: LoginStream, sql: str) -> tuple[bytes | None, ...]:
    rows = await ask(stream, sql, {})
    if len(rows) != 1:
        raise ProtocolError(f"{len(rows)} rows in answer to a probe")
    return rows[0]


def _sighting(row: tuple[bytes | None, ...]) -> Sighting:
    """The answer to _QUESTION."""
    if len(row) != 12:
        raise ProtocolError(f"{len(row)} columns in answer to a probe")
    text = [(value or b"").decode() for value in row]
    return Sighting(
        in_recovery=text[0] == "t",
        refuses_writes=text[1] == "t",
        timeline=int(text[2] or 0),
        position=int(text[3] or 0),
        lag=float(text[4] or 0),
        system=text[5],
        max_connections=int(text[6]),
        reserved=int(text[7]),
        promotable=text[8] == "t",
        silence=float(text[9]) if text[9] else None,
        replayed=int(text[10] or 0),
        untold=text[11] == "t",
    )


def _explained(problem: Exception) -> ProbeError:
    """What a failed look means for the target's health (TH-02)."""
    if not isinstance(problem, Refused):
        return ProbeError(UNREACHABLE, str(problem) or type(problem).__name__, alive=False)
    if problem.sqlstate in GOING:
        return ProbeError(CONNECTION_FAILED, problem.message, alive=False)
    refused_login = problem.sqlstate.startswith("28")
    reason = AUTH_FAILURE if refused_login else CONNECTION_FAILED
    return ProbeError(reason, problem.message, alive=True)
