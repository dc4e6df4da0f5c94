"""The main form of every rule on a real proxy: simple and extended, in a transaction and out of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Self

import pytest

from pyproxy.pinning.rule import RUNNING
from pyproxy.pinning.rules import RULES
from tests.conformance.pinning.cases import STAYS
from tests.support.messages import (
    Bind,
    Close,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    Query,
    Sync,
)
from tests.support.postgres import Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire, errors_of, tags_of

pytestmark = pytest.mark.integration

# One statement for each rule. It may fail: the text decides (PIN-PG-30).
PINS = {
    "PIN-ALL-01": "SELECT '" + "x" * 16_384 + "'",
    "PIN-PG-01": "SET work_mem = '8MB'",
    "PIN-PG-02": "PREPARE s AS SELECT 1",
    "PIN-PG-03": "CREATE TEMP TABLE pinned (a int)",
    "PIN-PG-04": "DECLARE c CURSOR FOR SELECT 1",
    "PIN-PG-04b": "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "PIN-PG-05": "DISCARD PLANS",
    "PIN-PG-06": "LISTEN c",
    "PIN-PG-07": "LOAD 'plpgsql'",
    "PIN-PG-08": "SELECT nextval('pin_q')",
    "PIN-PG-09": "SELECT pg_advisory_lock(7)",
    "PIN-PG-10": "SELECT set_config('work_mem', '8MB', false)",
    "PIN-PG-11": "SET LOCAL work_mem = '8MB'",
    "PIN-PG-13": "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "PIN-PG-14": "SET TRANSACTION READ WRITE",
    "PIN-PG-15": "SET ROLE app",
    "PIN-PG-16": "SET TIME ZONE 'UTC'",
    "PIN-PG-21": "SELECT 1 AS a INTO TEMP pinned",
    "PIN-PG-22": "SELECT pg_advisory_unlock_all()",
    "PIN-PG-28": "CREATE TABLE pg_temp.pinned (a int)",
}
# Those that need a switch, with it turned.
BY_SWITCH = {
    "PIN-PG-12": "SELECT set_config('work_mem', '8MB', true)",
    "PIN-PG-14b": "BEGIN READ WRITE",
    "PIN-PG-17": "NOTIFY c",
    "PIN-PG-18": "UNLISTEN *",
    "PIN-PG-19": "SELECT lastval() FROM pin_t",
}
# Of those whose first example would leave something behind, another one.
HARMLESS = {
    "NOPIN-PG-05": "ALTER ROLE app SET statement_timeout TO DEFAULT",
    "OWN-NOPIN-02": "ALTER TABLE pin_t OWNER TO app",
}
EXTENDED = [False, True]
_NAMES = (f"case {number}" for number in itertools.count())


class Case:
    """A client of its own, and what the proxy says about it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.name = next(_NAMES)
        self.wire: Wire = proxy.wire(application_name=self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.terminate()

    def row(self) -> dict[str, Any]:
        rows = [
            r for r in self.proxy.api("clients")["clients"] if r["application_name"] == self.name
        ]
        (row,) = rows
        return dict(row)

    @property
    def pin(self) -> str | None:
        """The rule that has pinned it."""
        pin = self.row()["pin"]
        return None if pin is None else str(pin)

    def lines(self, part: str) -> list[str]:
        """Its lines in the log that contain something."""
        mark = f"[clientConnection={self.row()['id']}]"
        return [line for line in self.proxy.log.splitlines() if mark in line and part in line]

    def run(self, text: str, *, extended: bool) -> None:
        if extended:
            replies = self.wire.ask(Parse("", text), Bind(), Execute(), Sync())
        else:
            self.wire.send(Query(text))
            replies = self.wire.read_until("ZG")
        if replies[-1].tag == "G":
            self.wire.send(CopyFail("enough"))
            self.wire.read_ready()


@pytest.fixture(scope="module")
def objects(postgres: Postgres) -> Iterator[None]:
    """What the statements are about."""
    with postgres.wire() as wire:
        wire.query("CREATE SEQUENCE pin_q; CREATE TABLE pin_t (a int)")
    yield
    with postgres.wire() as wire:
        wire.query("DROP SEQUENCE pin_q; DROP TABLE pin_t")


@pytest.fixture(scope="module")
def turned(postgres: Postgres) -> Iterator[Proxy]:
    """A proxy with every switch turned to the other side."""
    switches = {
        rule.switch: "no_pin" if rule.default == "pin" else "pin"
        for rule in RULES.values()
        if rule.switch not in ("", "preset")
    }
    # Named statements are looked at one by one.
    switches["named_parse"] = "no_pin"
    with (
        temporary_folder() as folder,
        start_proxy(
            folder, postgres, compatibility=switches, proxy={"debug_logging": True}
        ) as proxy,
    ):
        yield proxy


def check(case: Case, rule: str, text: str, *, extended: bool, inside: bool) -> None:
    if inside:
        case.wire.ask(Query("BEGIN"))
    case.run(text, extended=extended)
    assert case.pin == rule
    (line,) = case.lines("The client session was pinned")
    reason = RULES[rule].reason.partition("{digest}")[0]
    # PS-07: of a long text, in the same words.
    running = RUNNING if extended and rule != "PIN-ALL-01" else ""
    assert f"Reason: {running}{reason}" in line
    case.wire.ask(Query("ROLLBACK"))
    # PIN-PG-32, C-09: nothing unpins.
    assert case.pin == rule


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("extended", EXTENDED, ids=["simple", "extended"])
@pytest.mark.parametrize("rule", PINS)
def test_it_pins(proxy: Proxy, rule: str, extended: bool) -> None:
    for inside in (False, True):
        with Case(proxy) as case:
            check(case, rule, PINS[rule], extended=extended, inside=inside)


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("extended", EXTENDED, ids=["simple", "extended"])
@pytest.mark.parametrize("rule", BY_SWITCH)
def test_it_pins_by_its_switch(turned: Proxy, proxy: Proxy, rule: str, extended: bool) -> None:
    with Case(turned) as case:
        check(case, rule, BY_SWITCH[rule], extended=extended, inside=False)
    with Case(proxy) as case:
        case.run(BY_SWITCH[rule], extended=extended)
        assert case.pin is None


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("rule", [rule for rule in PINS if RULES[rule].switch])
def test_it_stays_by_its_switch(turned: Proxy, rule: str) -> None:
    with Case(turned) as case:
        for extended in EXTENDED:
            case.wire.ask(Query("BEGIN"))
            case.run(PINS[rule], extended=extended)
            case.wire.ask(Query("ROLLBACK"))
            assert case.pin is None


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("rule", [rule for rule in STAYS if rule != "literals"])
def test_it_stays(proxy: Proxy, rule: str) -> None:
    text = HARMLESS.get(rule, STAYS[rule][0])
    with Case(proxy) as case:
        for extended, inside in itertools.product(EXTENDED, EXTENDED):
            if inside:
                case.wire.ask(Query("BEGIN"))
            case.run(text, extended=extended)
            case.wire.ask(Query("ROLLBACK"))
            assert case.pin is None


def test_a_function_call_message_pins(proxy: Proxy, turned: Proxy) -> None:
    """PIN-PG-33, and its switch."""
    for front, rule in ((proxy, "PIN-PG-33"), (turned, None)):
        with Case(front) as case:
            oid = int(case.wire.value("SELECT 'pg_backend_pid'::regproc::oid::int") or "")
            assert tags_of(case.wire.ask(FunctionCall(oid))) == "VZ"
            assert case.pin == rule


@pytest.mark.parametrize("compatibility", [{"preset": "legacy_2023"}, {"named_parse": "pin"}])
def test_a_parse_pins_by_its_switch(postgres: Postgres, compatibility: dict[str, str]) -> None:
    """PS-01, PS-04."""
    legacy = "preset" in compatibility
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, compatibility=compatibility) as proxy,
    ):
        with Case(proxy) as case:
            case.run("SELECT 1", extended=True)
            assert case.pin == ("PS-01" if legacy else None)
        with Case(proxy) as case:
            case.wire.ask(Parse("s", "SELECT 1"), Sync())
            assert case.pin == ("PS-01" if legacy else "PS-04")
            assert case.lines("A parse message was detected.")


def test_parse_announces_and_execute_pins(turned: Proxy) -> None:
    """PS-06, L-05: an INFO line, so only with debug_logging (LG-03)."""
    with Case(turned) as case:
        assert not errors_of(case.wire.ask(Parse("s", "LISTEN c"), Describe("S", "s"), Sync()))
        assert case.pin is None
        (line,) = case.lines("If this prepared statement runs, the client session will be pinned")
        assert "[INFO]" in line and RULES["PIN-PG-06"].reason[:20] in line
        # Bind takes the verdict with it, and does not pin either; nor does Close.
        assert not errors_of(case.wire.ask(Bind("", "s"), Describe("P"), Sync()))
        assert not errors_of(case.wire.ask(Bind("", "s"), Close("P"), Sync()))
        assert case.pin is None
        assert not errors_of(case.wire.ask(Bind("", "s"), Execute(), Sync()))
        assert case.pin == "PIN-PG-06"
        (line,) = case.lines("The client session was pinned")
        assert "[WARN]" in line and "Reason: Running a prepared statement" in line


def test_a_portal_of_a_pinning_statement_pins_when_it_runs(proxy: Proxy) -> None:
    """PS-06, PS-08: it outlives the Bind, within its transaction."""
    with Case(proxy) as case:
        case.wire.ask(Query("BEGIN"))
        case.wire.ask(Parse("", "SELECT pg_advisory_lock(8)"), Bind("p"), Sync())
        case.wire.ask(Parse("", "SELECT 1"), Bind(), Execute(), Sync())
        assert case.pin is None
        case.wire.ask(Execute("p"), Sync())
        assert case.pin == "PIN-PG-09"


def test_a_flush_pins_as_a_sync_does(proxy: Proxy) -> None:
    """PS-08: the pin does not wait for the end of the pipeline."""
    with Case(proxy) as case:
        case.wire.send(Parse("", "LISTEN c"), Bind(), Execute(), Flush())
        case.wire.read_until("C")
        assert case.pin == "PIN-PG-06"
        case.wire.ask(Sync())


def test_values_never_count_towards_the_limit(proxy: Proxy) -> None:
    """PIN-PG-35, PS-07: the text of a Parse does."""
    with Case(proxy) as case:
        value = b"x" * 20_000
        case.wire.ask(Parse("", "SELECT length($1)"), Bind("", "", (value,)), Execute(), Sync())
        assert case.pin is None
        text = f"SELECT length('{'x' * 17_000}')"
        case.wire.ask(Parse("s", text), Sync())
        assert case.pin is None
        case.wire.ask(Bind("", "s"), Execute(), Sync())
        assert case.pin == "PIN-ALL-01"


def test_the_limit_is_in_bytes_and_for_each_statement(proxy: Proxy) -> None:
    """PIN-PG-31."""
    with Case(proxy) as case:
        case.wire.query(f"SELECT '{'x' * 9_000}'; SELECT '{'y' * 9_000}'")
        case.wire.query("SELECT '" + "x" * 16_375 + "'")
        assert case.pin is None
        case.wire.query("SELECT '" + "ä" * 8_188 + "'")
        assert case.pin == "PIN-ALL-01"


def test_failing_and_needless_statements_pin(proxy: Proxy) -> None:
    """PIN-PG-29, PIN-PG-30."""
    for text in ("SET nosuch = 1", "SET work_mem = DEFAULT"):
        with Case(proxy) as case:
            case.run(text, extended=False)
            assert case.pin == "PIN-PG-01"


def test_the_databases_own_syntax_error_reaches_the_client(proxy: Proxy) -> None:
    """Text that cannot be parsed is judged conservatively, and goes its way."""
    with Case(proxy) as case:
        assert errors_of(case.wire.ask(Query("SELEC 1")))[0][0] == "42601"
        assert errors_of(case.wire.ask(Query("SELECT 'abc")))[0][0] == "42601"
        assert case.pin is None
        assert errors_of(case.wire.ask(Query("SELECT 'abc; SET x = 1")))[0][0] == "42601"
        assert case.pin == "PIN-PG-01"
