"""Every recipe of docs/how-to/stop-pinning/, run as it stands there: before, it pins; after, not.

The pages are the test's data, so neither can drift from the other (section 11.1).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyproxy.lab import binaries
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.recipes import Program, pages, programs

# The first that needs npm's packages waits for them.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ALL = [program for page in pages() for program in programs(page)]
JDBC = Path("/usr/share/java/postgresql.jar")
ODBC = Path("/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so")

_numbers = itertools.count()


@pytest.fixture(scope="module")
def recipes_proxy(postgres: Postgres) -> Iterator[Proxy]:
    """A proxy that tells everything, and has room for a pool per recipe."""
    with temporary_folder() as folder, _start(folder, postgres) as proxy:
        yield proxy


def _start(
    folder: Path, postgres: Postgres, **pool: Any
) -> contextlib.AbstractContextManager[Proxy]:
    return start_proxy(
        folder,
        postgres,
        log_format="json",
        proxy={"debug_logging": True},
        max_connections_percent=50,
        **pool,
    )


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """One that no pool has a connection to yet; and the role as it was."""
    name = f"recipe_{os.getpid()}_{next(_numbers)}"
    postgres.make_database(name)
    yield name
    with contextlib.closing(postgres.admin()) as admin:
        admin.query("ALTER ROLE app RESET ALL")


@pytest.mark.parametrize("program", ALL, ids=lambda program: program.id)
def test_recipe(
    program: Program, postgres: Postgres, database: str, request: pytest.FixtureRequest
) -> None:
    command = COMMANDS[program.language](program, request)
    if program.administrator:
        with contextlib.closing(postgres.admin(database)) as admin:
            admin.query(program.administrator)
    with _proxy(program, postgres, request) as proxy:
        before = len(proxy.log.splitlines())
        done = subprocess.run(
            command,
            env=_environment(proxy, database),
            cwd=request.getfixturevalue("tmp_path"),
            capture_output=True,
            text=True,
            timeout=100,
        )
        lines = [json.loads(line) for line in proxy.log.splitlines()[before:]]
    said = done.stdout + done.stderr
    pins = [line for line in lines if "rule" in line]
    assert {pin["rule"] for pin in pins} == program.rules, (pins, said)
    if program.expected == "refused":
        assert done.returncode != 0
        assert all(reason in said for reason in program.reasons), said
        return
    assert done.returncode == 0, said
    assert any("A new client connected" in line["message"] for line in lines), said
    told = {pin["message"].partition("Reason: ")[2] for pin in pins}
    for reason in program.reasons:
        assert any(_like(reason).fullmatch(one) for one in told), (reason, told)


def _like(reason: str) -> re.Pattern[str]:
    """What a page shows of a reason; … stands for what is different each time."""
    return re.compile(".*".join(map(re.escape, reason.split("…"))))


@contextlib.contextmanager
def _proxy(program: Program, postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    if not program.proxy:
        yield request.getfixturevalue("recipes_proxy")
        return
    pool = yaml.safe_load(program.proxy)["target_group"]["connection_pool_config"]
    with temporary_folder() as folder, _start(folder, postgres, **pool) as proxy:
        yield proxy


def _environment(proxy: Proxy, database: str) -> dict[str, str]:
    """What the pages' programs find their database by."""
    programs = [str(Path(sys.executable).parent), str(binaries.find()), os.environ["PATH"]]
    return os.environ | {
        "PATH": os.pathsep.join(programs),
        "DATABASE_URL": proxy.dsn(database=database),
        "PGHOST": proxy.host,
        "PGPORT": str(proxy.port),
        "PGUSER": "app",
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": database,
    }


# -- languages -------------------------------------------------------------------------------------


def _python(program: Program, request: pytest.FixtureRequest) -> list[str]:
    return [sys.executable, "-c", program.text]


def _node(program: Program, request: pytest.FixtureRequest) -> list[str]:
    file = request.getfixturevalue("npm") / f"{program.id}.js"
    file.write_text(program.text)
    return ["node", str(file)]


def _java(program: Program, request: pytest.FixtureRequest) -> list[str]:
    if not (shutil.which("javac") and JDBC.exists()):
        pytest.skip("there is no JDK, or no pgjdbc (Debian's libpostgresql-jdbc-java)")
    folder = request.getfixturevalue("tmp_path")
    (folder / "Recipe.java").write_text(program.text)
    # It runs for a moment: what makes long runs fast only costs here.
    brief = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return ["java", *brief, "-cp", str(JDBC), str(folder / "Recipe.java")]


def _ruby(program: Program, request: pytest.FixtureRequest) -> list[str]:
    ruby = shutil.which("ruby")
    needed = "\n".join(line for line in program.text.splitlines() if line.startswith("require"))
    if not ruby or subprocess.run([ruby, "-e", needed], capture_output=True).returncode:
        pytest.skip("there is no ruby-pg or ActiveRecord (Debian's ruby-activerecord)")
    return [ruby, "-e", program.text]


def _shell(program: Program, request: pytest.FixtureRequest) -> list[str]:
    for name in ("psql", "pg_dump", "pgbench"):
        if re.search(rf"\b{name}\b", program.text) and not (binaries.find() / name).exists():
            pytest.skip(f"there is no {name} beside postgres")
    if "isql" in program.text and not (ODBC.exists() and shutil.which("isql")):
        pytest.skip("there is no psqlODBC (Debian's odbc-postgresql)")
    return ["bash", "-euo", "pipefail", "-c", program.text]


COMMANDS: dict[str, Callable[[Program, pytest.FixtureRequest], list[str]]] = {
    "python": _python,
    "js": _node,
    "java": _java,
    "ruby": _ruby,
    "sh": _shell,
}
