"""Exercise: an application that RDS Proxy can't help, and how one finds out before."""

from __future__ import annotations

import asyncio
import time

from pyproxy.assessment.advice import Verdict, advise
from pyproxy.assessment.judgement import judge
from pyproxy.assessment.recording import Observed, Recording, SessionSeen
from pyproxy.config import CompatibilityConfig
from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import CONNECTIONS_SAVED, Exercise, Grade, shown
from pyproxy.lab.exercises.room import Room

STATEMENTS = ("LISTEN jobs", "CREATE TEMP TABLE batch (n int)", "INSERT INTO batch VALUES (1)")


async def run(room: Room, short: bool) -> list[Grade]:
    """Workers that listen and keep temporary tables."""
    clients = 8 if short else 30
    recording = Recording("the exercise")
    async with room.stage(max_connections_percent=60) as stage:
        room.say(f"{clients} workers that LISTEN and keep a temporary table:")
        recording.sessions = await asyncio.gather(
            *(_worker(stage.proxied, number) for number in range(clients))
        )
        servers, pinned = stage.most_servers, stage.most_pinned
        room.say(f"  {servers} database connections, {pinned} of them pinned")
    switches = CompatibilityConfig()
    advice = advise(judge(recording, switches), switches)
    room.say(f"The audit of what they did: {advice.verdict.value}.")
    for line in (*advice.because, *advice.instead):
        room.say(f"  {line}")
    few = 1 - servers / clients
    return [
        shown("sessions pinned", f"{pinned} of {clients}", "all", pinned == clients),
        shown(
            "database connections saved",
            f"{few:.0%}",
            f"< {CONNECTIONS_SAVED:.0%}",
            few < CONNECTIONS_SAVED,
        ),
        Grade(
            "the audit's verdict",
            advice.verdict.value,
            Verdict.DO_NOT_USE.value,
            advice.verdict is Verdict.DO_NOT_USE,
        ),
    ]


async def _worker(address: Address, number: int) -> SessionSeen:
    session = SessionSeen(f"{number}", application="worker")
    session.seen(time.monotonic())
    client = await Client.connect(address, application_name="worker")
    for sql in STATEMENTS:
        began = time.monotonic()
        await client.query(sql)
        session.statements.append(Observed(sql, 1, time.monotonic() - began, began))
    await asyncio.sleep(1.0)
    client.close()
    session.seen(time.monotonic())
    return session


EXERCISE = Exercise(
    "when-not-to-use-it",
    "workers that LISTEN and keep temporary tables: the proxy saves nothing, the audit says so",
    "State in the session needs a session of its own: connect directly, or change the code.",
    run,
)
