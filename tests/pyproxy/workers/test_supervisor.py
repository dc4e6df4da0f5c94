"""The supervisor, with workers that the test plays: what it tells them, and when."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pyproxy.config import (
    Config,
)
from pyproxy.dashboard.board import SERVERS
from pyproxy.dashboard.feed import STREAM
from pyproxy.dashboard.view import Reading
from pyproxy.targets.probe import CONNECTION_FAILED
from pyproxy.targets.target import Limits
from pyproxy.workers.channel import Channel
from pyproxy.workers.messages import (
    Learnt,
    Look,
    Message,
    Pulse,
    Reload,
    Row,
    Rows,
    Steer,
    Welcome,
)
from pyproxy.workers.supervisor import Supervisor
from tests.support.hired import Agency, Hired
from tests.support.nowhere import configuration


@pytest.fixture
def agency(monkeypatch: pytest.MonkeyPatch) -> Agency:
    agency = Agency()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", agency.start)
    return agency


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(config)
    async with asyncio.timeout(30):
        await supervisor.start()
        try:
            yield supervisor
        finally:
            await supervisor.stop()


async def while_one_is_hired(agency: Agency) -> None:
    """The only worker has died, and another one is on its way; let it in with `agency.open`."""
    agency.asked.clear()
    agency.open.clear()
    (await agency.hired.get()).kill()
    await agency.asked.wait()


async def told_at_first(hired: Hired) -> list[Message | None]:
    """All that there is for it once it has been told anything."""
    told = [await hired.told.get()]
    for _ in range(5):
        await asyncio.sleep(0)
        while not hired.told.empty():
            told.append(hired.told.get_nowait())
    return told


async def test_a_reload_while_a_worker_is_hired_reaches_it(agency: Agency, tmp_path: Path) -> None:
    config = configuration(tmp_path, "db-a")
    async with running(config) as supervisor:
        await while_one_is_hired(agency)
        proxy = dataclasses.replace(config.proxy, idle_client_timeout=7)
        supervisor.apply(dataclasses.replace(config, proxy=proxy))
        agency.open.set()
        told = await told_at_first(await agency.hired.get())
    configs = [message.config for message in told if isinstance(message, Welcome | Reload)]
    assert configs[-1].proxy.idle_client_timeout == 7


async def test_a_reload_is_an_event_of_the_supervisors(agency: Agency, tmp_path: Path) -> None:
    """EV: RDS-EVENT-0204."""
    config = dataclasses.replace(configuration(tmp_path, "db-a"), workers=2)
    async with running(config) as supervisor:
        proxy = dataclasses.replace(config.proxy, idle_client_timeout=7)
        supervisor.apply(dataclasses.replace(config, proxy=proxy))
        assert [event["event"] for event in supervisor.view.events()] == ["RDS-EVENT-0204"]


async def test_a_decision_while_a_worker_is_hired_reaches_it(
    agency: Agency, tmp_path: Path
) -> None:
    async with running(configuration(tmp_path, "db-a", "db-b")) as supervisor:
        await while_one_is_hired(agency)
        assert supervisor.monitor is not None
        decision = supervisor.monitor.decision._replace(writer="db-b")
        supervisor._steer(decision, 7)
        agency.open.set()
        told = await told_at_first(await agency.hired.get())
    assert Steer(decision, 7) in told


async def test_a_worker_that_is_hired_while_the_proxy_drains_is_let_go(
    agency: Agency, tmp_path: Path
) -> None:
    """It would accept clients, and nobody would tell it to stop."""
    async with running(configuration(tmp_path, "db-a")) as supervisor:
        await while_one_is_hired(agency)
        await supervisor.drain()
        agency.open.set()
        assert await told_at_first(await agency.hired.get()) == [None]
        assert not supervisor.crew


@pytest.mark.usefixtures("agency")
async def test_who_was_not_let_in_knows_nothing_of_what_is_allowed_now(tmp_path: Path) -> None:
    """A database that was restarted may allow less (C-16), and not every worker has been told."""
    async with running(configuration(tmp_path, "db-a")) as supervisor:
        target, member = supervisor.targets[0], supervisor.crew[1]
        now = Limits(50, 3, in_recovery=False)
        supervisor._heard(member, Learnt("db-a", now, "", ""))
        before = Limits(100, 3, in_recovery=False)
        supervisor._heard(member, Learnt("db-a", before, "it is starting up", CONNECTION_FAILED))
        assert (target.limits, target.trouble) == (now, "it is starting up")
        assert supervisor._budgets["db-a"].total == now.allowed(100)


class Crowd(Agency):
    """A worker with many servers, whom several must have asked before it answers any of them."""

    def __init__(self, servers: int, asking: int) -> None:
        super().__init__()
        self.rows: list[Row] = [{"id": number, "age": 1.0} for number in range(servers)]
        self.asking = asking
        self.looks: list[Look] = []
        self.looked = asyncio.Event()

    def answer(self, channel: Channel, look: Look) -> None:
        self.looks.append(look)
        self.looked.set()
        if len(self.looks) < self.asking:
            return
        for number, lists, limit in self.looks:
            if "servers" in lists:
                channel.send(Rows(number, "servers", self.rows[:limit]))
            channel.send(Pulse({}, {}, {}, Reading(0, 0, 0, 0, 0, 0, ()), number))
        self.looks.clear()


@contextlib.asynccontextmanager
async def asking(supervisor: Supervisor, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """The body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", supervisor.http_port, limit=1 << 22)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        yield reader
    finally:
        writer.close()


async def listing(supervisor: Supervisor, path: str) -> dict[str, Any]:
    async with asking(supervisor, path) as body:
        found: dict[str, Any] = json.loads(await body.read())
    return found


async def test_a_listing_is_whole_though_the_page_looks_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The page fetches only the rows that it shows; who asked for all of them has asked first."""
    crowd = Crowd(servers=700, asking=2)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", crowd.start)
    async with running(configuration(tmp_path, "db-a")) as supervisor:
        servers = asyncio.create_task(listing(supervisor, "/api/v1/servers?limit=10000"))
        await crowd.looked.wait()
        async with asking(supervisor, STREAM) as stream:
            told = await servers
            assert (len(told["servers"]), told["truncated"]) == (700, False)
            await stream.readuntil(b"event: board\n")
            board = json.loads((await stream.readuntil(b"\n")).removeprefix(b"data: "))
            assert len(board["servers"]) == SERVERS
