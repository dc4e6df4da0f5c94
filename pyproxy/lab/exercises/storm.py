"""Exercise: hundreds of Lambda-like clients at once, and a database that takes a hundred."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import (
    OVERHEAD_SECONDS,
    Exercise,
    Grade,
    none_of,
    saved,
    shown,
)
from pyproxy.lab.exercises.room import Room
from pyproxy.postgres.connect import Refused

MAX_CONNECTIONS = 100
# SQLSTATE too_many_connections: "remaining connection slots are reserved", "too many clients".
TOO_MANY = "53300"


async def run(room: Room, short: bool) -> list[Grade]:
    """The same storm without the proxy and with it."""
    clients = 150 if short else 500
    async with room.stage(
        settings={"max_connections": str(MAX_CONNECTIONS)}, max_connections_percent=30
    ) as stage:
        room.say(f"{clients} clients, directly to a database of {MAX_CONNECTIONS} connections:")
        direct = await storm(stage.direct, clients)
        room.say(f"  {_told(direct)}")
        room.say(f"{clients} clients, through the proxy:")
        proxied = await storm(stage.proxied, clients)
        room.say(f"  {_told(proxied)}")
        overhead = await _overhead(stage.direct, stage.proxied, 200 if short else 1000)
        servers = stage.most_servers
    refused = direct[TOO_MANY]
    return [
        shown("refused for want of a slot", str(refused), "> 0", refused > 0),
        none_of("refused through the proxy", sum(proxied.values()) - proxied["served"]),
        saved(clients, servers),
        Grade(
            "added to the 99th percentile of a query",
            f"{overhead * 1000:.2f} ms",
            f"< {OVERHEAD_SECONDS * 1000:.0f} ms",
            overhead < OVERHEAD_SECONDS,
        ),
    ]


async def storm(address: Address, clients: int) -> Counter[str]:
    """What becomes of each client: `served`, or the SQLSTATE that it was refused with."""
    return Counter(await asyncio.gather(*(_invocation(address) for _ in range(clients))))


async def _invocation(address: Address) -> str:
    """One Lambda: connect, ask, and stay warm for a while."""
    try:
        client = await Client.connect(address, application_name="lambda")
        try:
            await client.query("SELECT pg_sleep(0.01)")
            await asyncio.sleep(1.0)
            await client.query("SELECT 1")
        finally:
            client.close()
    except Refused as refused:
        return refused.sqlstate
    except OSError as error:
        return type(error).__name__
    return "served"


async def _overhead(direct: Address, proxied: Address, queries: int) -> float:
    """Seconds that the proxy adds to the 99th percentile: the median of five alternating rounds."""
    straight = await Client.connect(direct)
    through = await Client.connect(proxied)
    rounds = [await _p99(through, queries) - await _p99(straight, queries) for _ in range(5)]
    straight.close()
    through.close()
    return statistics.median(rounds)


async def _p99(client: Client, queries: int) -> float:
    times = []
    for _ in range(queries):
        began = time.perf_counter()
        await client.query("SELECT 1")
        times.append(time.perf_counter() - began)
    return sorted(times)[int(queries * 0.99)]


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in outcomes.most_common())


EXERCISE = Exercise(
    "storm",
    f"hundreds of clients at once against a database of {MAX_CONNECTIONS} connections",
    "A connection per client is what fails; a connection per running transaction is enough.",
    run,
)
