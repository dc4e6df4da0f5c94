"""Programs: psql, pgbench in its three modes, pg_dump, node-postgres."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pyproxy.lab import binaries
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import Proxy

pytestmark = pytest.mark.integration


def run(name: str, *arguments: str, stdin: str = "", timeout: float = 60) -> str:
    """A PostgreSQL program's output; skips where it isn't there."""
    program = binaries.find() / name
    if not program.exists():
        pytest.skip(f"there is no {name} beside postgres")
    done = subprocess.run(
        [program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PGPASSWORD": PASSWORD, "PSQLRC": "/dev/null", "LC_ALL": "C"},
    )
    return done.stdout + done.stderr


SCRIPT = r"""
\set ON_ERROR_STOP off
\pset pager off
DROP TABLE p_table;
CREATE TABLE p_table (id int PRIMARY KEY, name text);
TRUNCATE p_table;
INSERT INTO p_table SELECT i, 'row ' || i FROM generate_series(1, 5) i;
SELECT * FROM p_table ORDER BY id;
\d p_table
\copy p_table TO STDOUT
\copy p_table FROM STDIN
6	six
\.
BEGIN; DELETE FROM p_table; SELECT count(*) FROM p_table; ROLLBACK;
SELECT 1/0;
SELECT count(*) FROM p_table;
\set FETCH_COUNT 2
SELECT id FROM p_table ORDER BY id;
SELECT 1 AS a \gx
SELECT $1 AS given \bind 'bound' \g
SELECT 'a' \; SELECT 'b';
\crosstabview
SET work_mem = '3MB';
SHOW work_mem;
"""


def test_psql_prints_the_same(postgres: Postgres, proxy: Proxy) -> None:
    run("psql", "-X", postgres.dsn(), "-c", "CREATE TABLE IF NOT EXISTS p_table ()")
    direct = run("psql", "-X", "-a", postgres.dsn(), stdin=SCRIPT)
    proxied = run("psql", "-X", "-a", proxy.dsn(sslmode="disable"), stdin=SCRIPT)
    assert "division by zero" in direct
    assert proxied == direct


def test_pg_dump_writes_the_same(postgres: Postgres, proxy: Proxy) -> None:
    """It sets a dozen settings, opens a cursor and locks every table."""
    run("psql", "-X", postgres.dsn(), stdin=SCRIPT)
    dumps = [
        re.sub(
            r"^\\(un)?restrict .*", "", run("pg_dump", "--table=p_table", url), flags=re.MULTILINE
        )
        for url in (postgres.dsn(), proxy.dsn())
    ]
    assert "COPY public.p_table" in dumps[0]
    assert dumps[1] == dumps[0]


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_moves_money_without_losing_any(
    postgres: Postgres, proxy: Proxy, mode: str
) -> None:
    """Many clients on four servers; the sums of TPC-B must agree afterwards."""
    postgres.make_database("bench")
    run("pgbench", "-i", "-q", "-s", "1", postgres.dsn(database="bench"))
    url = proxy.dsn(database="bench", sslmode="disable")
    # A thread each: pgbench prepares by blocking calls, and a thread that waits for a server would
    # keep others from ending their transactions.
    told = run("pgbench", "-M", mode, "-c", "12", "-j", "12", "-t", "40", "-n", url)
    assert "number of transactions actually processed: 480/480" in told, told
    with postgres.wire(database="bench") as wire:
        sums = wire.query(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts),"
            " (SELECT sum(tbalance) FROM pgbench_tellers),"
            " (SELECT sum(bbalance) FROM pgbench_branches),"
            " (SELECT sum(delta) FROM pgbench_history)"
        )
    assert len(set(sums[0])) == 1


NODE = """
const { Pool, Client } = require('pg');
(async () => {
  const pool = new Pool({ connectionString: process.argv[2], max: 6 });
  const out = [];
  await Promise.all([...Array(12).keys()].map(async n => {
    const plain = await pool.query('SELECT $1::int + 1 AS n', [n]);
    const named = await pool.query({ name: 'twice', text: 'SELECT $1::int * 2 AS n', values: [n] });
    out.push([n, plain.rows[0].n, named.rows[0].n]);
  }));
  try { await pool.query('SELECT 1/0'); } catch (e) { out.push(e.code); }
  const client = await pool.connect();
  await client.query('BEGIN');
  out.push((await client.query('SELECT 1 AS x, $1::text AS y', ['z'])).rows);
  await client.query('ROLLBACK');
  client.release();
  await pool.end();
  console.log(JSON.stringify(out.sort()));
})().catch(e => { console.error(e); process.exit(1); });
"""


@pytest.fixture(scope="session")
def node_postgres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with node-postgres; skips where Node or the registry isn't there."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no Node.js")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text("{}")
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "pg@8"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        pytest.skip(f"npm can't install pg: {done.stderr[-200:]}")
    (folder / "scenario.js").write_text(NODE)
    return folder


def test_node_postgres_sees_the_same(postgres: Postgres, proxy: Proxy, node_postgres: Path) -> None:
    answers = []
    for url in (postgres.dsn(), proxy.dsn()):
        done = subprocess.run(
            ["node", "scenario.js", url],
            cwd=node_postgres,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    assert len(answers[0]) == 14
    assert answers[1] == answers[0]
