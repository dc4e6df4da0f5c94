"""Exercise: an ORM that SETs at connect. Find it, move it to the role, see the pool work again."""

from __future__ import annotations

import asyncio
import random

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import Exercise, Grade, pinned, saved, shown
from pyproxy.lab.exercises.room import USER, Room
from pyproxy.pinning.ledger import remedy

AT_CONNECT = "SET statement_timeout = '30s'"


async def run(room: Room, short: bool) -> list[Grade]:
    """Forty clients with the SET, then without it."""
    clients = 12 if short else 40
    async with room.stage(max_connections_percent=60) as stage:
        room.say(f"{clients} clients, each of which says at connect: {AT_CONNECT}")
        await application(stage.proxied, clients, AT_CONNECT)
        before = stage.most_pinned
        for row in list(stage.app.view.pins())[:1]:
            room.say(f"  the ledger: {row['rule']}, {row['count']} sessions: {row['digest']}")
            room.say(f"  its remedy: {remedy(row['rule'])}")
    cure = f"ALTER ROLE {USER} SET statement_timeout = '30s'"
    async with room.stage(max_connections_percent=60) as stage:
        room.say(f"Once, as the administrator: {cure}")
        await stage.as_admin(cure)
        room.say(f"{clients} clients that say nothing at connect:")
        values = await application(stage.proxied, clients)
        return [
            shown("sessions pinned", f"{before} of {clients}", "all", before == clients),
            pinned(stage.most_pinned, clients),
            saved(clients, stage.most_servers),
            Grade("statement_timeout that they see", ", ".join(values), "30s", values == {"30s"}),
        ]


async def application(address: Address, clients: int, at_connect: str = "") -> set[str]:
    """Clients that work now and then; returns the statement_timeout that they see."""

    async def one(number: int) -> str:
        chance = random.Random(number)  # noqa: S311 - when, not what
        await asyncio.sleep(chance.random())
        client = await Client.connect(address, application_name="orm")
        try:
            if at_connect:
                await client.query(at_connect)
            for _ in range(4):
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                await client.query("SELECT pg_sleep(0.002)")
            return await client.value("SHOW statement_timeout")
        finally:
            client.close()

    return set(await asyncio.gather(*(one(number) for number in range(clients))))


EXERCISE = Exercise(
    "pinning",
    "an ORM that SETs at connect: find it, fix it, see the ratio recover",
    "What every session sets is the role's business: ALTER ROLE … SET, or the init query.",
    run,
)
