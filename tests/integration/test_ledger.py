"""The ledger of a running proxy: who holds which server why, at which cost to whom."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest

from tests.support.messages import Bind, Execute, Parse, Query, Sync
from tests.support.postgres import Postgres
from tests.support.proxy import ROOT, Proxy, proxy_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def narrow(postgres: Postgres) -> Iterator[Proxy]:
    """One database connection for everybody."""
    with proxy_of(1, postgres) as proxy:
        yield proxy


def test_a_pin_is_told_with_its_statement_its_cost_and_who_waited(narrow: Proxy) -> None:
    with narrow.wire(application_name="greedy") as holder, narrow.wire() as other:
        holder.query("SELECT 1")
        holder.ask(Parse("s", "SELECT 2"), Bind("", "s"), Execute(), Sync())
        holder.query("SET work_mem = '8MB'; SELECT 3")
        wait_until(lambda: narrow.api("pins")["sessions"][0]["idle_seconds"] > 1, 15)
        before = narrow.api("pins")["sessions"][0]
        holder.query("BEGIN")
        other.send(Query("SELECT 4"))
        wait_until(lambda: narrow.api("pins")["sessions"][0]["waited"] == 1, 15)
        wait_until(
            lambda: (
                narrow.api("pins")["sessions"][0]["held_seconds"] > before["held_seconds"] + 1.5
            ),
            15,
        )
        (now,) = narrow.api("pins")["sessions"]
        assert now["held"] is True
        # In a transaction the server is held for something.
        assert now["held_seconds"] - now["idle_seconds"] > 1
        assert (now["number"], now["statement"]) == (3, "SET work_mem = '8MB'")
        assert now["digest"] == "set work_mem = $1; select $2"
        assert (now["application_name"], now["user"], now["endpoint"]) == (
            "greedy", "app", "default",
        )  # fmt: skip
        (client,) = [c for c in narrow.api("clients")["clients"] if c["pin"]]
        assert (client["id"], client["server"]) == (now["client"], now["server"])
        holder.terminate()
        other.read_ready()
    (over,) = narrow.api("pins")["sessions"]
    (group,) = narrow.api("pins")["pins"]
    assert over["held"] is False
    assert (group["count"], group["held"], group["waited"]) == (1, 0, 1)
    assert group["held_seconds"] == over["held_seconds"] >= now["held_seconds"]
    assert group["idle_seconds"] == over["idle_seconds"]


def test_pyproxy_pins_shows_it(narrow: Proxy) -> None:
    with narrow.wire(application_name="greedy") as holder:
        holder.query("LISTEN jobs")
        command = [sys.executable, "-m", "pyproxy", "pins"]
        url = ["--url", f"http://{narrow.host}:{narrow.http_port}"]
        shown = subprocess.run(
            [*command, *url], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        told = json.loads(subprocess.check_output([*command, *url, "--json"], cwd=ROOT))
    assert "PIN-PG-06      1     1  listen jobs" in shown
    assert "(greedy), statement 1: LISTEN jobs" in shown
    assert told["sessions"][0]["driver"] == ""
    assert told["pins"][0]["rule"] == "PIN-PG-06"


async def test_real_drivers_are_guessed_by_what_they_send(proxy: Proxy) -> None:
    """The reset query of asyncpg and the DEALLOCATE ALL of psycopg give them away."""
    connection = await asyncpg.connect(proxy.dsn())
    try:
        await connection.fetchval("SELECT 1")
        await connection.reset()

        def drivers() -> set[str]:
            return {row["driver"] for row in proxy.api("pins")["sessions"] if row["held"]}

        # A client of the test before may still be on its way out.
        await asyncio.to_thread(wait_until, lambda: drivers() == {"asyncpg"})
    finally:
        await connection.close()
    with psycopg.connect(proxy.dsn(), autocommit=True) as other:
        other.execute("DEALLOCATE ALL")
        assert "psycopg 3" in drivers()
