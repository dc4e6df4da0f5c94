"""Exercise: the password changes while clients work, and nobody is dropped."""

from __future__ import annotations

import asyncio
import json
import secrets

from pyproxy.lab.client import Address, Client, attempt
from pyproxy.lab.exercises.exercise import Exercise, Grade, none_of
from pyproxy.lab.exercises.room import USER, Room


async def run(room: Room, short: bool) -> list[Grade]:
    """Working clients, a new password, new clients with the old one and the new one."""
    clients = 5 if short else 20
    async with room.stage() as stage:
        stop = asyncio.Event()
        work = [asyncio.create_task(_work(stage.proxied, stop)) for _ in range(clients)]
        await asyncio.sleep(0.3)
        password = secrets.token_urlsafe(12)
        room.say(f"{clients} clients work; ALTER ROLE, then the secret:")
        await stage.as_admin(f"ALTER ROLE {USER} PASSWORD '{password}'")
        stage.secrets_file.write_text(json.dumps({"lab": {"username": USER, "password": password}}))
        new = stage.proxied._replace(password=password)
        outcome = await _until_in(new)
        room.say(f"  a new client with the new password: {outcome}")
        old = await attempt(stage.proxied)
        room.say(f"  a new client with the old password: {old}")
        await asyncio.sleep(0.5)
        stop.set()
        done = await asyncio.gather(*work, return_exceptions=True)
    # The room's database goes on with the password that it had.
    await stage.as_admin(f"ALTER ROLE {USER} PASSWORD '{stage.direct.password}'")
    failed = [result for result in done if isinstance(result, BaseException)]
    queries = sum(result for result in done if isinstance(result, int))
    return [
        none_of(f"errors in {queries} queries of those who work", len(failed)),
        Grade("a new client with the new password", outcome, "logged in", outcome == "logged in"),
        Grade("a new client with the old one", old, "28P01 (E-PG-07)", old.startswith("28P01")),
    ]


async def _work(address: Address, stop: asyncio.Event) -> int:
    client = await Client.connect(address, application_name="worker")
    count = 0
    while not stop.is_set():
        await client.query("SELECT pg_sleep(0.005)")
        count += 1
        await asyncio.sleep(0.02)
    client.close()
    return count


async def _until_in(address: Address) -> str:
    """The proxy looks for a new secret now and then (AU-13)."""
    outcome = ""
    for _ in range(100):
        outcome = await attempt(address)
        if outcome == "logged in":
            break
        await asyncio.sleep(0.1)
    return outcome


EXERCISE = Exercise(
    "rotation",
    "the database password and the secret change under load, and nobody is dropped",
    "Open connections outlive a rotation; only logins look at the secret.",
    run,
)
