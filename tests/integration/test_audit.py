"""`pyproxy audit` and `pyproxy what-if` on what real databases, drivers and proxies leave behind."""

import asyncio
import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import fmean

import asyncpg
import psycopg
import pytest

from pyproxy.assessment.judgement import judge
from pyproxy.assessment.recording import Observed, Recording, SessionSeen
from pyproxy.assessment.simulation import Workload, replayed_peak, simulate, workload_of
from pyproxy.cli import main
from pyproxy.config import CompatibilityConfig
from tests.support.postgres import Postgres, start_postgres, temporary_folder
from tests.support.proxy import start_proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

FORMATS = {"stderr": ".log", "csvlog": ".csv", "jsonlog": ".json"}


@pytest.fixture(scope="module")
def logging() -> Iterator[Postgres]:
    """A PostgreSQL that logs everything in every format, after some sessions have been there."""
    with temporary_folder() as folder:
        postgres = start_postgres(
            folder,
            logging_collector="on",
            log_destination=",".join(FORMATS),
            log_directory="log",
            log_line_prefix="%m [%p] %q%u@%d/%a ",
            log_min_duration_statement="0",
            log_connections="on",
            log_disconnections="on",
            shared_preload_libraries="pg_stat_statements",
        )
        with closing(postgres.admin()) as admin:
            admin.query("CREATE EXTENSION pg_stat_statements")
        for number in range(4):
            with psycopg.connect(postgres.dsn(application_name="web"), autocommit=True) as web:
                if number == 0:
                    web.execute("SET search_path TO public")
                with web.transaction():
                    web.execute("SELECT %s::int, pg_sleep(0.02)", [number])
                web.execute("SELECT 'two\nlines'")
                time.sleep(0.05)
        with psycopg.connect(postgres.dsn(application_name="worker"), autocommit=True) as worker:
            worker.execute("LISTEN jobs")
        # PostgreSQL's collector writes what it is sent in its own time.
        logs = postgres.cluster.data / "log"
        wait_until(
            lambda: all(ended(next(logs.glob(f"*{kind}"))) == 5 for kind in FORMATS.values())
        )
        yield postgres
        postgres.cluster.kill()


def ended(log: Path) -> int:
    """How many sessions of the application's have ended by what it says."""
    return len(re.findall(r"disconnection: session time: \S+ user=app ", log.read_text()))


def audit(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """What it says, as JSON."""
    main(["audit", "--format", "json", *arguments])
    said = capsys.readouterr()
    assert not said.err
    found: dict[str, object] = json.loads(said.out)
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_a_real_log_is_understood_in_every_format(
    logging: Postgres, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [log] = (logging.cluster.data / "log").glob(f"*{FORMATS[kind]}")
    found = audit(capsys, "--log", str(log))
    rules = {
        (row["rule"], row["digest"], row["sessions"], *row["applications"])
        for row in found["findings"]
    }
    assert ("PIN-PG-01", "set search_path to $1", 1, "web") in rules
    assert ("PIN-PG-06", "listen jobs", 1, "worker") in rules
    assert found["skipped"] == 0
    # The four of the application, the worker, and the two of the superuser's set-up.
    assert found["sessions"] in (5, 6)
    assert found["pinned_sessions"] == 2
    assert found["database_connections"]


def test_pg_stat_statements_of_a_database_and_from_a_file(
    logging: Postgres, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = audit(capsys, "--pg-stat-statements", logging.dsn("postgres"))
    assert {"PIN-PG-01", "PIN-PG-06"} <= {row["rule"] for row in found["findings"]}
    assert found["sessions"] == 0
    copying = "COPY (TABLE pg_stat_statements) TO STDOUT (FORMAT csv, HEADER)"
    with psycopg.connect(logging.dsn("postgres")) as db, db.cursor().copy(copying) as copy:
        (tmp_path / "statements.csv").write_bytes(b"".join(map(bytes, copy)))
    again = audit(capsys, "--pg-stat-statements", str(tmp_path / "statements.csv"))
    assert {"PIN-PG-01", "PIN-PG-06"} <= {row["rule"] for row in again["findings"]}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--pg-stat-statements", "postgresql://app:secret@127.0.0.1:{port}/app"], "no pg_stat"),
        (["--pg-stat-statements", "postgresql://app:wrong@127.0.0.1:{port}/app"], "password"),
        (["--pg-stat-statements", "postgresql://127.0.0.1:{port}/app"], "not a postgresql://user"),
        (["--pg-stat-statements", "/nowhere.csv"], "/nowhere.csv: No such file"),
        (["--log", "/nowhere.log"], "/nowhere.log: No such file"),
        (["--url", "http://127.0.0.1:9"], "is pyproxy running there?"),
        (["--sql", "/nowhere.sql", "--config", "/nowhere.yaml"], "/nowhere"),
    ],
)
def test_what_can_not_be_used_is_told_in_one_line(
    arguments: list[str], why: str, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["audit", *(argument.format(port=postgres.port) for argument in arguments)])
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert why in said.err
    assert "secret@" not in said.err


def test_the_ledger_of_a_running_proxy(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        start_proxy(tmp_path, postgres) as proxy,
        psycopg.connect(proxy.dsn(application_name="erp"), autocommit=True) as client,
    ):
        client.execute("SET statement_timeout = 1000")
        found = audit(capsys, "--url", f"http://127.0.0.1:{proxy.http_port}")
        assert main(["what-if", "--url", f"http://127.0.0.1:{proxy.http_port}"]) == 0
    assert [(r["rule"], r["sessions"], r["applications"]) for r in found["findings"]] == [
        ("PIN-PG-01", 1, ["erp"])
    ]
    assert "| settings move to the init query" in capsys.readouterr().out


def test_a_report_is_a_page_that_loads_nothing_and_believes_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "hostile.sql"
    script.write_text("SET a.b = '<script>alert(1)</script>|`x`'; SELECT 1")
    page = tmp_path / "report.html"
    assert main(["audit", "--sql", str(script), "--format", "html", "--output", str(page)]) == 0
    text = page.read_text()
    assert "<script" not in text
    assert "http" not in text
    assert "&lt;script&gt;" in text
    assert capsys.readouterr().out == ""


# -- the simulation against the truth --------------------------------------------------------------

WORKLOADS = {
    "short and rare": Workload([0.03, 0.05, 0.08], [0.4, 0.6, 0.9], 0.0),
    "long and often": Workload([0.1, 0.2], [0.1, 0.2], 0.0),
    "a quarter pinned": Workload([0.04], [0.5, 0.7], 0.25),
}
CLIENTS = 40


@pytest.mark.parametrize("name", WORKLOADS)
async def test_prediction_and_replay_against_what_a_running_proxy_needs(
    name: str, postgres: Postgres, tmp_path: Path
) -> None:
    """DatabaseConnections of forty clients; the durations are those that the clients saw."""
    workload = WORKLOADS[name]
    sessions = [SessionSeen(f"{number}") for number in range(CLIENTS)]
    clock = asyncio.get_running_loop().time

    async def client(number: int, connection: asyncpg.Connection, stop: float) -> None:
        chance = random.Random(number)
        session = sessions[number]

        async def run(sql: str) -> None:
            began = clock()
            await connection.execute(sql)
            session.seen(clock())
            session.statements.append(Observed(sql, 1, clock() - began, began))

        session.seen(clock())
        if number < CLIENTS * workload.pinned_share:
            await run("SET a.b = '1'")
        while clock() < stop:
            await asyncio.sleep(chance.choice(workload.thinks))
            await run(f"SELECT pg_sleep({chance.choice(workload.services)})")

    with start_proxy(tmp_path, postgres, max_connections_percent=90) as proxy:
        connections = [
            await asyncpg.connect(proxy.dsn(), statement_cache_size=0) for _ in range(CLIENTS)
        ]
        stop = clock() + 3.0
        await asyncio.gather(*(client(n, c, stop) for n, c in enumerate(connections)))
        measured = len(proxy.api("servers")["servers"])
        for connection in connections:
            await connection.close(timeout=5)
    assessment = judge(Recording("clients", sessions=sessions), CompatibilityConfig())
    seen = workload_of(assessment)
    assert seen is not None
    # As it was: a connection is lent a little shorter than its client waits for the answer.
    direct, replayed = replayed_peak(assessment)
    assert direct == CLIENTS
    assert abs(replayed - measured) <= 0.2 * measured + 2, f"{replayed=} {measured=}"
    # Drawn anew: each duration by itself, where a busy machine stalls all at once. So it may be
    # less than what was needed, but never less than what is lent on the average (Little's law).
    predicted = simulate(seen, CLIENTS, transactions=len(seen.services)).connections
    mean = CLIENTS * fmean(seen.services) / (fmean(seen.services) + fmean(seen.thinks))
    assert mean * (1 - workload.pinned_share) <= predicted <= 1.4 * measured + 3, (
        f"{predicted=} {measured=}"
    )
