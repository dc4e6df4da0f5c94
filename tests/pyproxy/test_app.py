"""The composition root's own doings: what turns itself off, and on again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproxy import encryption, logs
from pyproxy.app import App
from pyproxy.config import EndpointConfig, FailoverConfig
from pyproxy.encryption import Encryption
from pyproxy.errors import ProxyError
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.login import FirstServer
from tests.support.auth_entries import FakeStore
from tests.support.nowhere import configuration


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(stream)
    yield stream
    logs.configure(None)


async def test_a_reload_leaves_what_needs_a_restart_as_it_runs_and_says_so_each_time(
    tmp_path: Path, log: io.StringIO
) -> None:
    config = configuration(tmp_path, "db-a", debug_logging=True)
    app = App(config)
    await app.start()
    try:
        moved = dataclasses.replace(config, endpoints=(EndpointConfig("other", port=7000),))
        for times in (1, 2):
            app.apply(moved)
            assert log.getvalue().count("was reloaded: needs a restart: endpoints") == times
            assert app.config.endpoints == config.endpoints
        app.apply(config)
        assert "was reloaded: nothing has changed" in log.getvalue()
    finally:
        await app.stop()


async def test_a_reload_that_changes_something_is_an_event_of_rds(
    tmp_path: Path, log: io.StringIO
) -> None:
    """EV: RDS-EVENT-0204. What waits for a restart has changed nothing yet."""
    config = configuration(tmp_path, "db-a")
    app = App(config)
    await app.start()
    try:
        app.apply(config)
        app.apply(dataclasses.replace(config, endpoints=(EndpointConfig("other", port=7000),)))
        assert not app.view.events()
        proxy = dataclasses.replace(config.proxy, idle_client_timeout=7)
        app.apply(dataclasses.replace(config, proxy=proxy))
        (event,) = app.view.events()
    finally:
        await app.stop()
    assert (event["event"], event["category"]) == ("RDS-EVENT-0204", "configuration change")
    assert event["message"] == "RDS modified DB proxy pyproxy."


async def test_clients_that_come_too_fast_are_one_event_of_rds(
    tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EV: RDS-EVENT-0275, with E-PG-15; a storm is told once, and the next one again."""
    config = configuration(tmp_path, "db-a")
    proxy = dataclasses.replace(config.proxy, connection_rate_limit=1)
    app = App(dataclasses.replace(config, proxy=proxy))
    await app.start()
    times = iter([1000.0, 1000.1, 1000.2, 1060.5, 1060.6])
    monkeypatch.setattr(app._gate, "_clock", lambda: next(times))
    told = []
    try:
        for admitted in (True, False, False, True, False):
            with contextlib.nullcontext() if admitted else pytest.raises(ProxyError):
                app._gate.admit()
            told.append([event["event"] for event in app.view.events()])
    finally:
        await app.stop()
    once = ["RDS-EVENT-0275"]
    assert told == [[], once, once, once, once * 2]


async def test_enhanced_logging_ends_after_its_time_and_a_reload_begins_it_again(
    tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LG-04, S-07: a file that says `debug_logging: true` all along does not keep it on."""
    monkeypatch.setattr(logs, "ENHANCED_FOR", 0.0)
    config = configuration(tmp_path, "db-a", debug_logging=True)
    app = App(config)
    await app.start()
    try:
        endpoint = app.endpoints["default"].log
        async with asyncio.timeout(30):
            while endpoint.debug or app.log.debug:  # noqa: ASYNC110 - a state, nobody tells
                await asyncio.sleep(0.05)
        assert "[pyproxy] Enhanced logging has turned itself off after 24 hours." in log.getvalue()
        assert not app.config.proxy.debug_logging
        monkeypatch.setattr(logs, "ENHANCED_FOR", 3600.0)
        app.apply(config)
        assert endpoint.debug
        assert app.log.debug
        app.apply(
            dataclasses.replace(
                config, proxy=dataclasses.replace(config.proxy, debug_logging=False)
            )
        )
        assert not endpoint.debug
        assert not app.log.debug
    finally:
        await app.stop()


@pytest.mark.parametrize("targets", [("db-a",), ("db-a", "db-b")])
async def test_a_proxy_without_credentials_is_not_ready(
    tmp_path: Path, targets: tuple[str, ...]
) -> None:
    """TH-04: AUTH_FAILURE, in AWS's words; and it is over with the first secret that is read."""
    config = configuration(tmp_path, *targets)
    store = FakeStore({"app": "access denied"})
    app = App(dataclasses.replace(config, failover=FailoverConfig(promote=False)), store)
    await app.start()
    try:
        ready, why = app.view.ready()
        assert not ready
        assert "Proxy does not have any registered credentials" in why
        assert "Not read: access denied." in why
        assert [row["reason"] for row in app.view.targets()] == ["AUTH_FAILURE"] * len(targets)
        store.secrets["app"] = ("app", "secret")
        app.apply(app.config)
        async with asyncio.timeout(30):
            while "credentials" in app.view.ready()[1]:  # noqa: ASYNC110 - a state, nobody tells
                await asyncio.sleep(0.01)
    finally:
        await app.stop()


async def test_a_proxy_that_signs_for_users_needs_no_secret_to_be_ready(tmp_path: Path) -> None:
    """AU-50."""
    config = configuration(tmp_path, "db-a")
    by_role = dataclasses.replace(config.proxy, default_auth_scheme="IAM_AUTH")
    app = App(dataclasses.replace(config, proxy=by_role), FakeStore({}))
    await app.start()
    try:
        assert app.view.ready()[0]
    finally:
        await app.stop()


@pytest.mark.parametrize("room", ["lobby", "reading_room"])
async def test_a_room_that_lends_nothing_forgets_who_has_left(tmp_path: Path, room: str) -> None:
    """What a pool is for is the client's to say: a thousand databases are a thousand pools."""
    app = App(configuration(tmp_path, "db-a", debug_logging=True))
    await app.start()
    try:
        home = getattr(app.fleet, room)
        keys = [PoolKey("app", f"database-{number}") for number in range(1000)]
        visitors = [FirstServer(app.endpoints["default"], home, key) for key in keys]
        assert len(list(home.pools)) == 1000
        for visitor in visitors:
            visitor.arrived.cancel()
        async with asyncio.timeout(30):
            while list(home.pools):  # noqa: ASYNC110 - a state, nobody tells
                await asyncio.sleep(0.05)
    finally:
        await app.stop()


async def test_upkeep_goes_on_without_the_step_that_fails(
    tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(configuration(tmp_path, "db-a", debug_logging=True))
    monkeypatch.setattr(app.ledger, "observe", lambda now: 1 / 0)
    await app.start()
    try:
        home = app.fleet.lobby
        home.pools.pool(PoolKey("app", "app"))
        async with asyncio.timeout(30):
            while list(home.pools):  # noqa: ASYNC110 - a state, nobody tells
                await asyncio.sleep(0.05)
        assert log.getvalue().count("[ERROR]") == 1
    finally:
        await app.stop()


async def test_certificates_are_looked_after_while_it_runs(
    tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in one look, there is another one."""
    answers = ["no room yet", "no room"]

    def renew(_: Encryption) -> list[str]:
        return [answers.pop()]

    monkeypatch.setattr(encryption, "RENEWAL", 0.01)
    monkeypatch.setattr(Encryption, "renew", renew)
    app = App(configuration(tmp_path, "db-a", debug_logging=True))
    await app.start()
    try:
        async with asyncio.timeout(30):
            while log.getvalue().count("An error of the proxy itself") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "[WARN] [proxyEndpoint=default] [pyproxy] no room yet" in log.getvalue()
    finally:
        await app.stop()
