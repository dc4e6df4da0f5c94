"""Exercise: prepared statements by SQL and by protocol."""

from __future__ import annotations

import asyncio
import random

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import Exercise, Grade, pinned, saved, shown
from pyproxy.lab.exercises.room import Room

ROUNDS = 5


async def run(room: Room, short: bool) -> list[Grade]:
    """The same statement prepared in two ways."""
    clients = 10 if short else 30
    async with room.stage(max_connections_percent=60) as stage:
        room.say(f"{clients} clients PREPARE and EXECUTE by SQL:")
        await _crowd(stage.proxied, clients, by_protocol=False)
        before = stage.most_pinned
    async with room.stage(max_connections_percent=60) as stage:
        room.say(f"{clients} clients prepare by protocol, as their drivers do:")
        wrong = await _crowd(stage.proxied, clients, by_protocol=True)
        injected = stage.app.counters.statements_injected
        room.say(f"  statements given to a connection that did not have them yet: {injected}")
        return [
            shown("sessions pinned", f"{before} of {clients}", "all", before == clients),
            pinned(stage.most_pinned, clients),
            saved(clients, stage.most_servers),
            Grade("wrong answers", str(wrong), "0", wrong == 0),
        ]


async def _crowd(address: Address, clients: int, *, by_protocol: bool) -> int:
    """How many answers were wrong."""

    async def one(number: int) -> int:
        chance = random.Random(number)  # noqa: S311 - when, not what
        await asyncio.sleep(chance.random())
        client = await Client.connect(address, application_name="prepared")
        wrong = 0
        try:
            if not by_protocol:
                await client.query("PREPARE double(int) AS SELECT $1 * 2")
            for turn in range(ROUNDS):
                await asyncio.sleep(chance.uniform(0.2, 0.6))
                value = number * ROUNDS + turn
                if by_protocol:
                    rows = await client.prepared("double", "SELECT $1::int * 2", str(value))
                else:
                    rows = await client.query(f"EXECUTE double({value})")
                wrong += rows != [(b"%d" % (value * 2),)]
        finally:
            client.close()
        return wrong

    return sum(await asyncio.gather(*(one(number) for number in range(clients))))


EXERCISE = Exercise(
    "prepared",
    "statements prepared by SQL pin, statements prepared by protocol travel",
    "Let the driver prepare: its messages are understood, given to whichever connection runs them.",
    run,
)
