"""Clients that look on while a failover is rehearsed: idle, writing, in a transaction, pinned.

They come through the proxy as an application does, and write without leaving anything: a
transaction id can only be had where writes are taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import pairwise
from typing import Final, NamedTuple

from protocol.postgres import backend
from protocol.postgres.errors import ProtocolError
from pyproxy.config import TargetConfig
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.connect import Proof, Refused, ask, connect
from pyproxy.stream import LoginStream
from pyproxy.targets.target import Target

EACH: Final = 4
INTERVAL: Final = 0.02
# How long the onlookers are watched once the writer has moved, in seconds.
AFTERWARDS: Final = 1.0
WRITE: Final = "SELECT pg_catalog.pg_current_xact_id()"

_TROUBLE: Final = (OSError, ProtocolError, Refused)


class Address(NamedTuple):
    """Where and as whom they connect."""

    port: int
    user: str
    database: str
    password: str


class Onlookers:
    """Some clients of each kind."""

    def __init__(self, address: Address) -> None:
        self._address: Final = address
        self._idle: list[LoginStream] = []
        # Kind and connection of those that hold something; what each was told in the end.
        self._holding: list[tuple[str, LoginStream]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._writes: list[float] = []
        self._errors: list[str] = []

    async def come(self) -> None:
        """Connect, and begin to write."""
        self._writes, self._errors = [], []
        for _ in range(EACH):
            self._idle.append(await self._connect())
        for kind, sql in (
            ("clients in a transaction", f"BEGIN; {WRITE}"),
            ("pinned clients", "SET work_mem = 4096"),
        ):
            for _ in range(EACH // 2):
                stream = await self._connect()
                await ask(stream, sql, {})
                self._holding.append((kind, stream))
        self._writers = [asyncio.create_task(self._write()) for _ in range(EACH)]
        await asyncio.sleep(5 * INTERVAL)

    async def report(self) -> list[str]:
        """What each met with, in sentences."""
        await asyncio.sleep(AFTERWARDS)
        undisturbed = 0
        for stream in self._idle:
            try:
                await ask(stream, WRITE, {})
                undisturbed += 1
            except _TROUBLE as problem:
                self._errors.append(f"an idle client {await _words(stream, problem)}")
        told = f" and {self._errors[0]}" if self._errors else ""
        fates = Counter([(kind, await _fate(stream)) for kind, stream in self._holding])
        return [
            f"Writes stopped for {self._longest_gap():.2f} s.",
            f"{undisturbed} of {EACH} idle clients noticed nothing.",
            f"{len(self._errors)} of {EACH} writing clients were in flight{told}.",
            *[f"{n} of {EACH // 2} {kind} {fate}." for (kind, fate), n in fates.items()],
        ]

    async def leave(self) -> None:
        """Disconnect."""
        for task in self._writers:
            task.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)
        for stream in (*self._idle, *(stream for _, stream in self._holding)):
            stream.transport.abort()
        self._idle, self._holding, self._writers = [], [], []

    def _longest_gap(self) -> float:
        """The longest time between two writes of whoever."""
        return max((b - a for a, b in pairwise(sorted(self._writes))), default=0.0)

    async def _write(self) -> None:
        """Write again and again; after an error connect again, as an application does."""
        stream = await self._connect()
        try:
            while True:
                try:
                    await ask(stream, WRITE, {})
                    self._writes.append(time.monotonic())
                except _TROUBLE as problem:
                    self._errors.append(await _words(stream, problem))
                    stream = await self._connect()
                await asyncio.sleep(INTERVAL)
        finally:
            stream.transport.abort()

    async def _connect(self) -> LoginStream:
        address = self._address
        target = Target(TargetConfig("the proxy", "127.0.0.1", address.port, "disable"))
        connected = await connect(
            target,
            PoolKey(address.user, address.database),
            Proof(address.password),
            context=None,
            init_query="",
        )
        return connected.stream


async def _words(stream: LoginStream, problem: Exception) -> str:
    """What a client that was writing was told."""
    if isinstance(problem, Refused):
        return f"got {problem.sqlstate}: {problem.message.rstrip('.')}"
    return await _fate(stream)


async def _fate(stream: LoginStream) -> str:
    """What became of a client that held a connection."""
    try:
        async with asyncio.timeout(INTERVAL):
            while True:
                tag, body = await stream.read()
                if tag == backend.ERROR_RESPONSE:
                    error = backend.ErrorResponse.decode(body)
                    words = " ".join(filter(None, (error.message, error.detail)))
                    return f"got {error.sqlstate}: {words.rstrip('.')}"
    except TimeoutError:
        return "noticed nothing"
    except (OSError, ProtocolError) as problem:
        return f"lost its connection: {problem}"
