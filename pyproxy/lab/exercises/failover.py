"""Exercise: the primary dies. Idle clients notice nothing, writes stop for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import pairwise

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import RECOVERY_SECONDS, Exercise, Grade, none_of, shown
from pyproxy.lab.exercises.room import Room
from pyproxy.postgres.connect import Refused


async def run(room: Room, short: bool) -> list[Grade]:
    """Idle clients, writing clients, and kill -9."""
    idle_count, writers = (5, 3) if short else (40, 10)
    async with room.stage(standby=True) as stage:
        idle = [
            await Client.connect(stage.proxied, application_name="idle") for _ in range(idle_count)
        ]
        await idle[0].query("CREATE TABLE written (at timestamptz DEFAULT now())")
        stop = asyncio.Event()
        log = _Log()
        work = [asyncio.create_task(_write(stage.proxied, stop, log)) for _ in range(writers)]
        await asyncio.sleep(1.0)
        room.say("kill -9 of the primary, now:")
        broke = time.monotonic()
        await asyncio.to_thread(stage.primary.kill)
        await log.written_after(broke)
        outage = log.longest_gap(since=broke - 1)
        room.say(f"  writes stopped for {outage:.2f} s; {log.errors} got an error")
        for event in list(stage.app.view.events())[-6:]:
            room.say(f"  {event['time'][11:23]}  {event['message']}")
        stop.set()
        await asyncio.gather(*work)
        hurt = 0
        for client in idle:
            try:
                await client.query("SELECT 1")
                client.close()
            except (Refused, OSError):
                hurt += 1
    return [
        shown("writes before it", str(log.before(broke)), "> 0", log.before(broke) > 0),
        Grade(
            "writes stopped for",
            f"{outage:.2f} s",
            f"< {RECOVERY_SECONDS:.0f} s",
            outage < RECOVERY_SECONDS,
        ),
        none_of("idle clients that noticed", hurt),
        Grade("errors of writers", str(log.errors), f"<= {writers}", log.errors <= writers),
    ]


class _Log:
    """When writes were acknowledged."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors = 0
        self._written = asyncio.Event()

    def write(self) -> None:
        """One was acknowledged, now."""
        self.times.append(time.monotonic())
        self._written.set()

    async def written_after(self, moment: float) -> None:
        """Wait for the first one after `moment`, for as long as anybody would."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_SECONDS * 2):
                while not self.times or self.times[-1] <= moment:
                    self._written.clear()
                    await self._written.wait()

    def before(self, moment: float) -> int:
        return sum(at < moment for at in self.times)

    def longest_gap(self, since: float) -> float:
        times = [at for at in self.times if at >= since]
        return max((b - a for a, b in pairwise(times)), default=float("inf"))


async def _write(address: Address, stop: asyncio.Event, log: _Log) -> None:
    """One insert after the other; after an error with a new connection, as applications do."""
    client: Client | None = None
    while not stop.is_set():
        try:
            client = client or await Client.connect(address, application_name="writer")
            await client.query("INSERT INTO written DEFAULT VALUES")
            log.write()
        except (Refused, OSError):
            log.errors += 1
            client = None
        await asyncio.sleep(0.02)
    if client is not None:
        client.close()


EXERCISE = Exercise(
    "failover",
    "the primary is killed: who notices, and for how long do writes stop",
    "Clients keep their connection to the proxy; only what was in flight gets an error, once.",
    run,
)
