"""The pytest plugin, in a project of a team's own: tests/examples/shop, in a process of its own.

It is loaded as in any environment that PyProxy is installed in: by the entry point.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.imports import ROOT
from tests.support.postgres import Postgres
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

SHOP = ROOT / "tests" / "examples" / "shop"
TRANSACTION_LOCK = "SELECT pg_advisory_xact_lock(:order)"
SESSION_LOCK = "SELECT pg_advisory_lock(:order)"
ALLOWED = '@pytest.mark.allow_pins("PIN-PG-09", reason="the old cashier")\ndef test_an_order_is'

# What a test run says: exit code, and all its output.
Said = tuple[int, str]


class Shop:
    """A copy of the example, to break and mend."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder / "shop"
        shutil.copytree(SHOP, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._site = _installed(folder / "site")
        self._database = database

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def command(self, *arguments: str) -> list[str]:
        given = ["--pyproxy-database", self._database] if self._database else []
        quiet = ["-p", "no:cacheprovider", "--color=no"]
        return [sys.executable, "-m", "pytest", *quiet, *given, *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """None of this run's own: as in a terminal that was just opened."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {"PYTHONPATH": str(self._site)} | more

    def test(self, *arguments: str, **environment: str) -> Said:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
        )
        return done.returncode, done.stdout


def _installed(site: Path) -> Path:
    """A folder on the path that says of PyProxy what pip would have written."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = site / "pyproxy-0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: pyproxy\nVersion: 0\n")
    points = project["entry-points"]["pytest11"].items()
    (told / "entry_points.txt").write_text(
        "[pytest11]\n" + "".join(f"{name} = {module}\n" for name, module in points)
    )
    return site


@pytest.fixture
def shop(tmp_path: Path, postgres: Postgres) -> Shop:
    """The example on the database of this run."""
    return Shop(tmp_path, postgres.dsn())


def test_a_project_begins_to_pin_and_its_tests_fail(tmp_path: Path) -> None:
    """On a PostgreSQL of its own: green, then a session lock (PIN-PG-09), then red with a reason."""
    shop = Shop(tmp_path, "")
    code, said = shop.test()
    assert (code, "3 passed" in said, "pins (pyproxy)" in said) == (0, True, False), said

    shop.change("shop/orders.py", TRANSACTION_LOCK, SESSION_LOCK)
    code, said = shop.test("--junitxml=junit.xml")
    assert code == 1, said
    assert "1 failed, 2 passed" in said
    told = " ".join(said.split())
    for words in (
        "pinned by PIN-PG-09: SELECT pg_advisory_lock($1",
        "PIN-PG-09: session-level advisory locks",
        "SQL took a session-level lock. Digest:",
        "(PyProxy's wording; AWS's is not known; documented",
        "remedy     Lock for the transaction only: ",
        '@pytest.mark.allow_pins("PIN-PG-09", reason="…")',
        "pins: 1, of which new: 1; tests that pinned: 1",
        "test    tests/test_orders.py::test_an_order_is_paid_once",
    ):
        assert " ".join(words.split()) in told, words
    junit = (shop.folder / "junit.xml").read_text()
    assert re.search(r'name="pyproxy_pin_new" value="PIN-PG-09 select pg_advisory_lock\(\$1', junit)


def test_an_allowed_pin_does_not_fail_and_is_told_with_its_reason(shop: Shop) -> None:
    shop.change("shop/orders.py", TRANSACTION_LOCK, SESSION_LOCK)
    shop.change("tests/test_orders.py", "def test_an_order_is", ALLOWED)
    shop.change("tests/test_orders.py", "from shop", "import pytest\nfrom shop")
    code, said = shop.test()
    assert code == 0, said
    assert "PIN-PG-09  allowed, 1 x" in said
    assert "reason  the old cashier" in said


def test_only_pins_that_are_not_in_the_baseline_fail(shop: Shop) -> None:
    shop.change("shop/orders.py", TRANSACTION_LOCK, SESSION_LOCK)
    code, said = shop.test("--pyproxy-baseline=pins.yaml", "--pyproxy-write-baseline")
    assert code == 0, said
    assert "pins.yaml: written, known pins: 1" in said
    assert "rule: PIN-PG-09" in (shop.folder / "pins.yaml").read_text()

    code, said = shop.test("-o", "pyproxy_baseline=pins.yaml")
    assert code == 0, said
    assert "PIN-PG-09  known, 1 x" in said

    shop.change(
        "shop/prices.py",
        "        answer =",
        "        await connection.execute('LISTEN prices')\n        answer =",
    )
    code, said = shop.test("-o", "pyproxy_baseline=pins.yaml")
    assert code == 1, said
    assert "pinned by PIN-PG-06: LISTEN prices" in said
    assert "PIN-PG-06  new, 1 x" in said
    assert "PIN-PG-09  known, 1 x" in said

    shop.change("shop/orders.py", SESSION_LOCK, TRANSACTION_LOCK)
    _, said = shop.test("-o", "pyproxy_baseline=pins.yaml")
    assert re.search(r"pins.yaml: not seen in this run:\s+PIN-PG-09", said)


def test_a_run_that_does_not_come_about_leaves_the_baseline_as_it_is(shop: Shop) -> None:
    known = "- rule: PIN-PG-06\n  digest: listen jobs\n"
    (shop.folder / "pins.yaml").write_text(known)
    shop.change("tests/test_prices.py", "async def", "@pytest.mark.allow_pins()\nasync def")
    shop.change("tests/test_prices.py", "from shop", "import pytest\nfrom shop")
    _, said = shop.test("--pyproxy-baseline=pins.yaml", "--pyproxy-write-baseline")
    assert "pins.yaml: not written: the tests did not all run" in said, said
    assert (shop.folder / "pins.yaml").read_text() == known


def test_a_test_that_fails_tells_what_the_proxy_has_warned_of(shop: Shop) -> None:
    """The client hears of a timeout only (E-PG-16), or that it was refused."""
    (shop.folder / "pyproxy.yaml").write_text(
        "target_group: {connection_pool_config: {connection_borrow_timeout: 1}}\n"
    )
    (shop.folder / "tests" / "test_cases.py").write_text(
        "import psycopg\ndef test_it(pyproxy_dsn): psycopg.connect(pyproxy_dsn)\n"
    )
    nowhere = "--pyproxy-database=postgresql://app:x@127.0.0.1:1/app"
    code, said = shop.test(nowhere, "-o", "pyproxy_config=pyproxy.yaml", "tests/test_cases.py")
    assert code == 1, said
    assert "pyproxy warned" in said
    assert "no connection to target tests: 127.0.0.1:1: Connection refused" in said


def test_workers_of_xdist_have_a_proxy_each_and_one_summary(shop: Shop) -> None:
    shop.change("shop/orders.py", TRANSACTION_LOCK, SESSION_LOCK)
    code, said = shop.test("-n", "2", "--junitxml=junit.xml")
    assert code == 1, said
    assert "1 failed, 2 passed" in said
    assert "pins: 1, of which new: 1; tests that pinned: 1" in said
    assert 'name="pyproxy_pin_new" value="PIN-PG-09' in (shop.folder / "junit.xml").read_text()


def test_the_database_and_the_contested_rules_are_settings(shop: Shop, postgres: Postgres) -> None:
    """PIN-PG-11: SET LOCAL pins, or not, as the configuration says; the init query is the pool's."""
    shop.change("shop/orders.py", TRANSACTION_LOCK, "SET LOCAL lock_timeout = '1s'")
    shop.change("shop/orders.py", '), {"order": order})\n        paid', "))\n        paid")
    # As the last test of the configuration's effect: the setting comes from its init query.
    shop.change(
        "shop/prices.py", "SELECT sum(p)", "SELECT current_setting('work_mem')::int * 0 + sum(p)"
    )
    (shop.folder / "pyproxy.yaml").write_text(
        "compatibility: {set_local: no_pin}\n"
        'target_group: {connection_pool_config: {init_query: "SET work_mem = 4242"}}\n'
    )
    shop.change(
        "shop/prices.py",
        "current_setting('work_mem')::int",
        "CASE current_setting('work_mem') WHEN '4242kB' THEN 1 END",
    )
    shop._database = ""
    code, said = shop.test("--pyproxy-config=pyproxy.yaml", PYPROXY_TEST_DATABASE=postgres.dsn())
    assert code == 0, said
    code, said = shop.test("-o", f"pyproxy_database={postgres.dsn()}", "-k", "paid_once")
    assert code == 1, said
    assert "pinned by PIN-PG-11" in said


def test_unittest_cases_fail_too_also_by_what_their_fixtures_do(shop: Shop) -> None:
    (shop.folder / "tests" / "test_cases.py").write_text(
        "import psycopg, pytest, unittest\n"
        "@pytest.fixture\n"
        "def late(pyproxy_dsn):\n"
        "    yield\n"
        "    with psycopg.connect(pyproxy_dsn) as connection: connection.execute('LISTEN late')\n"
        "@pytest.mark.usefixtures('pyproxy_dsn')\n"
        "class TestCase(unittest.TestCase):\n"
        "    @pytest.fixture(autouse=True)\n"
        "    def place(self, pyproxy_dsn): self.dsn = pyproxy_dsn\n"
        "    def test_it(self):\n"
        "        with psycopg.connect(self.dsn) as connection: connection.execute('LISTEN a')\n"
        "def test_late(late): pass\n"
    )
    code, said = shop.test("tests/test_cases.py")
    assert code == 1, said
    assert "1 failed, 1 passed, 1 error" in said, said
    assert "pinned by PIN-PG-06: LISTEN a" in said
    assert "pinned by PIN-PG-06: LISTEN late" in said


def test_modules_that_read_the_environment_find_the_proxy_there(shop: Shop) -> None:
    (shop.folder / "tests" / "test_environment.py").write_text(
        "import os\n"
        "URL = os.environ['DATABASE_URL']\n"
        "def test_it(pyproxy_dsn): assert URL == pyproxy_dsn\n"
    )
    code, said = shop.test("-o", "pyproxy_export=DATABASE_URL", "-k", "test_it")
    assert code == 0, said


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ('@pytest.mark.allow_pins("PIN-99", reason="x")', [], "there is no rule PIN-99"),
        ('@pytest.mark.allow_pins("PIN-PG-06")', [], "say why"),
        ("", ["--pyproxy-baseline=nowhere.yaml"], "nowhere.yaml: No such file"),
        ("", ["--pyproxy-write-baseline"], "needs to know which"),
        ("", ["--pyproxy-config=nowhere.yaml"], "the proxy did not start: "),
        ("", ["--pyproxy-database=localhost"], "postgresql://user:password@host:port/db"),
    ],
    ids=["rule", "reason", "baseline", "write", "config", "database"],
)
def test_wrong_usage_is_told(shop: Shop, change: str, arguments: list[str], words: str) -> None:
    shop.change("tests/test_prices.py", "async def", f"{change}\nasync def")
    shop.change("tests/test_prices.py", "from shop", "import pytest\nfrom shop")
    code, said = shop.test("tests/test_prices.py", *arguments)
    assert code != 0, said
    assert words in said, said
    assert "INTERNALERROR" not in said


def test_the_proxy_ends_with_a_run_that_is_killed(shop: Shop) -> None:
    """Nobody closes its standard input but the system, and nobody else clears up behind it."""
    folders = shop.folder.parent / "tmp"
    folders.mkdir()
    (shop.folder / "tests" / "test_long.py").write_text(
        "import time\n"
        "def test_it(pyproxy_dsn, pyproxy_server):\n"
        "    print('\\nprocess', pyproxy_server.pid, flush=True)\n"
        "    time.sleep(300)\n"
    )
    run = subprocess.Popen(
        shop.command("-s", "tests/test_long.py"),
        cwd=shop.folder,
        env=shop.environment(TMPDIR=str(folders)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    with run.stdout:
        line = next(line for line in run.stdout if line.startswith("process"))
        pid = int(line.split()[-1])
        assert len(list(folders.iterdir())) == 1
        run.send_signal(signal.SIGKILL)
        run.wait()
        wait_until(lambda: not _alive(pid), 30)
    # The password of the database was in it.
    assert not list(folders.iterdir())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and ") Z " in status.read_text())
