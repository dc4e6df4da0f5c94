"""Exercise: a transaction that waits for something else keeps a connection from everybody."""

from __future__ import annotations

import asyncio
import time

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import Exercise, Grade, none_of, shown
from pyproxy.lab.exercises.room import Room

# What the application does meanwhile: it asks another service.
CALL = 0.1


async def run(room: Room, short: bool) -> list[Grade]:
    """The call inside of the transaction, and before it."""
    clients = 16 if short else 40
    waits = []
    aborted = 0
    for inside in (True, False):
        async with room.stage(max_connections_percent=4) as stage:
            where = "inside of" if inside else "before"
            room.say(f"{clients} clients that call a service {where} their transaction:")
            began = time.perf_counter()
            took = await _crowd(stage.proxied, clients, inside=inside)
            waits.append(sorted(took)[len(took) // 2])
            seconds = time.perf_counter() - began
            room.say(
                f"  median {waits[-1] * 1000:.0f} ms, all done in {seconds:.1f} s"
                f" on {stage.most_servers} connections"
            )
            aborted += sum(t.counters.borrow_requests_aborted for t in stage.app.targets)
    faster = 1 - waits[1] / waits[0]
    return [
        shown(
            "time of a transaction with its call, median",
            f"{waits[0] * 1000:.0f} ms",
            f"> {CALL * 1000 * 2:.0f} ms",
            waits[0] > CALL * 2,
        ),
        Grade("shorter with the call outside", f"{faster:.0%}", ">= 40%", faster >= 0.4),
        none_of("borrow requests aborted", aborted),
    ]


async def _crowd(address: Address, clients: int, *, inside: bool) -> list[float]:
    """Seconds of each turn, the call included."""
    took: list[float] = []

    async def one() -> None:
        client = await Client.connect(address, application_name="orders")
        try:
            for _ in range(3):
                began = time.perf_counter()
                if not inside:
                    await asyncio.sleep(CALL)
                await client.query("BEGIN")
                if inside:
                    await asyncio.sleep(CALL)
                await client.query("SELECT 1")
                await client.query("COMMIT")
                took.append(time.perf_counter() - began)
        finally:
            client.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return took


EXERCISE = Exercise(
    "long-transactions",
    "a call to another service inside a transaction makes everybody wait",
    "A transaction is the unit of sharing: open it late, close it soon, call nobody in between.",
    run,
)
