"""A failover drill: a crowd of clients of every kind, a primary that is broken, and what each saw.

crowd = Crowd(dsn)
await crowd.gather_up()
crowd.write()                 # the writers start, and go on through what happens now
...break the primary...
await crowd.finish()          # every client has said what it met with; see `verdicts`
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg

IDLE, WRITING, IN_TRANSACTION, PINNED = 40, 40, 10, 10
TABLE = "f_drill"

Connection = psycopg.AsyncConnection[tuple[object, ...]]


@dataclass
class Verdict:
    """What one client met with."""

    kind: str
    errors: list[str] = field(default_factory=list)
    """SQLSTATE and text of each error, in order."""

    acknowledged: list[tuple[int, float]] = field(default_factory=list)
    """Rows whose commit was confirmed, and when."""


class Crowd:
    """A hundred clients."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._idle: list[tuple[Verdict, Connection]] = []
        self._open: list[tuple[Verdict, Connection]] = []
        self._pinned: list[tuple[Verdict, Connection]] = []
        self._writers: list[asyncio.Task[Verdict]] = []
        self._stop = asyncio.Event()
        self._number = 0
        self.verdicts: list[Verdict] = []

    async def gather_up(self) -> None:
        """Everybody connects and does what makes it what it is."""
        for _ in range(IDLE):
            self._idle.append((Verdict("idle"), await self._connect()))
        for _ in range(IN_TRANSACTION):
            connection = await self._connect()
            await connection.execute("BEGIN")
            await connection.execute(f"INSERT INTO {TABLE} VALUES ({self._next()})")
            self._open.append((Verdict("in transaction"), connection))
        for _ in range(PINNED):
            connection = await self._connect()
            await connection.execute("SET work_mem = '4MB'")
            self._pinned.append((Verdict("pinned"), connection))

    def write(self) -> None:
        """The writers begin."""
        self._writers = [asyncio.create_task(self._writer()) for _ in range(WRITING)]

    async def finish(self) -> None:
        """Everybody tries once more, and the writers stop."""
        for verdict, connection in (*self._open, *self._pinned):
            await self._try(verdict, connection, "SELECT 1")
            # The error was the end of it.
            assert connection.closed, verdict
        for verdict, connection in self._idle:
            await self._try(verdict, connection, "SELECT pg_is_in_recovery()")
            await self._try(verdict, connection, f"INSERT INTO {TABLE} VALUES ({self._next()})")
        self._stop.set()
        written = await asyncio.gather(*self._writers)
        known = [verdict for verdict, _ in (*self._idle, *self._open, *self._pinned)]
        self.verdicts = [*known, *written]

    async def close(self) -> None:
        """Everybody leaves."""
        for task in self._writers:
            task.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)
        for _, connection in (*self._idle, *self._open, *self._pinned):
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    def of(self, kind: str) -> list[Verdict]:
        """What those of one kind met with."""
        return [verdict for verdict in self.verdicts if verdict.kind == kind]

    def acknowledged(self, since: float = 0.0) -> set[int]:
        """Rows that were confirmed, `since` a moment of time.monotonic()."""
        return {row for v in self.verdicts for row, at in v.acknowledged if at >= since}

    # -- one client ----------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        return await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)

    async def _writer(self) -> Verdict:
        """Writes row after row; after an error it connects again, as an application does."""
        verdict = Verdict("writing")
        connection = await self._connect()
        try:
            while not self._stop.is_set():
                row = self._next()
                done = await self._try(
                    verdict, connection, f"INSERT INTO {TABLE} VALUES ({row})", row
                )
                if not done:
                    # Whoever is told that the connection is lost finds it closed.
                    assert connection.closed, verdict
                    connection = await self._connect()
                await asyncio.sleep(0.02)
        finally:
            await connection.close()
        return verdict

    async def _try(
        self, verdict: Verdict, connection: Connection, sql: str, row: int | None = None
    ) -> bool:
        try:
            cursor = await connection.execute(sql)
        except psycopg.Error as error:
            verdict.errors.append(f"{error.sqlstate} {error}")
            return False
        if sql.startswith("SELECT pg_is_in_recovery"):
            assert await cursor.fetchone() == (False,)
        if row is not None:
            verdict.acknowledged.append((row, time.monotonic()))
        return True

    def _next(self) -> int:
        self._number += 1
        return self._number


def errors_in(verdicts: Iterable[Verdict]) -> list[str]:
    """All errors."""
    return [error for verdict in verdicts for error in verdict.errors]
