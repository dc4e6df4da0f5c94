"""One test's pins: which fail it, when, and how often."""

import pytest

from pyproxy.pytest_plugin.baseline import Baseline
from pyproxy.pytest_plugin.pins import Pin
from pyproxy.pytest_plugin.summary import Collected
from pyproxy.pytest_plugin.watch import ANY, AssertNoPins, Pinned, Watch

LISTEN = Pin("PIN-PG-06", 'SQL listened. Digest: "listen a". [pyproxy]', "listen a", "LISTEN a", 3)
SET = Pin(
    "PIN-PG-01", "SQL changed session settings.", "set a to $1", "SET a TO 1", 1, "psql", "psql"
)
RESET = Pin(
    "PIN-PG-10",
    "SQL changed session settings.",
    "select pg_advisory_unlock_all(); close all; unlisten *; reset all;",
    "RESET ALL",
)


def watch(pins: list[Pin], **allowed: str) -> Watch:
    rules = {rule.replace("_", "-"): why for rule, why in allowed.items()}
    return Watch(lambda: pins, rules, Baseline([("PIN-PG-01", "set a to $1")]), strict=True)


def test_pins_before_the_test_are_not_its() -> None:
    pins = [LISTEN]
    watch(pins).check()


def test_each_pin_is_complained_of_once() -> None:
    pins: list[Pin] = []
    watched = watch(pins)
    pins += [LISTEN, LISTEN]
    with pytest.raises(Pinned, match=r"^pinned by PIN-PG-06: LISTEN a \(and 1 more\)") as told:
        watched.check()
    assert "times      2" in str(told.value)
    assert 'allow_pins("PIN-PG-06", reason="…")' in str(told.value)
    watched.check()


def test_known_and_allowed_pins_do_not_fail() -> None:
    pins: list[Pin] = []
    watched = watch(pins, PIN_PG_06="it listens")
    pins += [LISTEN, SET]
    watched.check()
    assert [(pin["verdict"], pin["why"]) for pin in watched.history()] == [
        ("allowed", "it listens"),
        ("known", ""),
    ]


def test_nothing_fails_while_the_baseline_is_written() -> None:
    """Not even what asks by itself: the next run knows it."""
    pins: list[Pin] = []
    watched = Watch(lambda: pins, {}, Baseline(), strict=True, lenient=True)
    pins += [LISTEN]
    watched.check()
    AssertNoPins(watched)()
    with AssertNoPins(watched):
        pins += [SET]
    assert [pin["verdict"] for pin in watched.history()] == ["new", "new"]


def test_a_mark_without_a_rule_allows_all() -> None:
    pins: list[Pin] = []
    watched = Watch(lambda: pins, {ANY: "a migration"}, Baseline(), strict=True)
    pins += [LISTEN, SET]
    watched.check()


def test_reports_tell_each_pin_once() -> None:
    pins: list[Pin] = []
    watched = watch(pins)
    pins.append(LISTEN)
    assert [pin["rule"] for pin in watched.tell()] == ["PIN-PG-06"]
    pins.append(RESET)
    assert [(pin["rule"], pin["driver"]) for pin in watched.tell()] == [("PIN-PG-10", "asyncpg")]
    assert len(watched.history()) == 2


def test_a_block_answers_for_itself_only() -> None:
    pins: list[Pin] = []
    assert_no_pins = AssertNoPins(watch(pins))
    pins.append(LISTEN)
    with assert_no_pins:
        pass
    with pytest.raises(Pinned, match="PIN-PG-10"), assert_no_pins:
        pins.append(RESET)
    with pytest.raises(ZeroDivisionError), assert_no_pins:
        raise ZeroDivisionError(pins.append(LISTEN))
    with pytest.raises(Pinned):
        assert_no_pins()
    with assert_no_pins():
        pass


def test_a_drivers_habit_is_told_with_its_own_remedy() -> None:
    words = RESET.words()
    assert "driver     asyncpg: its pool resets a connection that is given back" in words
    assert "docs/how-to/stop-pinning/asyncpg.md" in words
    assert "driver     psql" in SET.words()


def test_lines_that_are_no_pins_are_none() -> None:
    assert Pin.of_line({"level": "INFO", "message": "A new client connected."}) is None


def test_the_summary_has_new_pins_first_and_names_a_few_tests() -> None:
    collected = Collected()
    for number in range(5):
        collected.add(f"test_{number}", [SET.told("known", ""), LISTEN.told("new", "")])
    collected.add(
        "test_9", [LISTEN.told("allowed", "it listens"), LISTEN.told("allowed", "it listens")]
    )
    lines = list(collected.lines(60))
    assert lines[0] == "pins: 12, of which new: 5; tests that pinned: 6"
    assert [line for line in lines if line.startswith("PIN")] == [
        "PIN-PG-06  new, 5 x  LISTEN",
        "PIN-PG-01  known, 5 x  SET of a setting",
        "PIN-PG-06  allowed, 2 x  LISTEN",
    ]
    assert lines.count("  reason  it listens") == 1
    assert "  test    … and 2 more" in lines
    assert "  test    test_9, 2 x" in lines
    assert "  driver  psql" in lines
    assert not list(Collected().lines(60))
