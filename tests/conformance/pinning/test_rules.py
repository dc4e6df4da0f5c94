"""AWS's pinning rules, row by row: what pins, what does not, and in which words.

Each id is a row of the behaviour catalogue; the texts are the documented ones or stand for them.
"""

from __future__ import annotations

import dataclasses

import pytest

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import Classifier, Pin
from pyproxy.pinning.rules import RULES
from tests.conformance.pinning.cases import PINS, STAYS

AWS = Classifier(CompatibilityConfig())


def pin_of(text: str, classifier: Classifier = AWS) -> Pin | None:
    return classifier.judge(text.encode()).pin


@pytest.mark.parametrize(
    ("rule", "text"),
    [(rule, text) for rule, texts in PINS.items() for text in texts],
    ids=lambda value: value[:50],
)
def test_it_pins(rule: str, text: str) -> None:
    pin = pin_of(text)
    assert pin is not None
    assert pin.rule == rule
    assert RULES[rule].pins


@pytest.mark.parametrize(
    ("rule", "text"),
    [(rule, text) for rule, texts in STAYS.items() for text in texts],
    ids=lambda value: value[:50],
)
def test_it_does_not_pin(rule: str, text: str) -> None:
    assert pin_of(text) is None


def test_every_rule_has_an_example() -> None:
    """A row that nothing proves is a row that may be wrong."""
    elsewhere = {"PIN-PG-33", "PS-01", "PS-04", "OWN-PIN-01", "NOPIN-PG-03", "NOPIN-PG-04"}
    assert set(RULES) == set(PINS) | (set(STAYS) - {"literals"}) | elsewhere


SWITCHES = [
    (rule.switch, rule.default, text, rule.id)
    for rule in RULES.values()
    if rule.switch
    for text in [*PINS.get(rule.id, ()), *STAYS.get(rule.id, ())]
]


@pytest.mark.parametrize(("switch", "default", "text", "rule"), SWITCHES)
def test_contested_rows_are_switches(switch: str, default: str, text: str, rule: str) -> None:
    """Q-01 and section 1.3: where AWS is silent or disagrees, both readings are there."""
    assert getattr(CompatibilityConfig(), switch) == default
    pins = pin_of(text, Classifier(CompatibilityConfig(**{switch: "pin"})))
    assert pins is not None
    assert pins.rule == rule
    assert pin_of(text, Classifier(CompatibilityConfig(**{switch: "no_pin"}))) is None


def test_every_switch_belongs_to_a_row() -> None:
    """A switch that no rule asks about would do nothing."""
    switches = {field.name for field in dataclasses.fields(CompatibilityConfig)}
    assert {rule.switch for rule in RULES.values()} - {""} == switches - {"extended_query_metrics"}


def test_parse_pins_only_by_switch() -> None:
    """PS-01 until November 2023, PS-02 since; PS-04 for named ones."""
    assert AWS.parse(named=True) is AWS.parse(named=False) is None
    legacy = Classifier(CompatibilityConfig(preset="legacy_2023"))
    named = Classifier(CompatibilityConfig(named_parse="pin"))
    for pin in (legacy.parse(named=True), legacy.parse(named=False), named.parse(named=True)):
        assert pin is not None
        assert pin.reason == "A parse message was detected."
    assert named.parse(named=False) is None


def test_settings_pin_in_awss_words() -> None:
    """L-02 and LG-05, as they were seen in logs."""
    pin = pin_of("SET search_path = a; SET NAMES 'x';")
    assert pin is not None
    assert pin.reason == (
        "SQL changed session settings that the proxy doesn't track. Consider moving session "
        "configuration to the proxy's initialization query. "
        'Digest: "set search_path = $1; set names $2;".'
    )


def test_of_several_statements_the_one_in_awss_words_is_told() -> None:
    """PIN-PG-22: asyncpg's reset query was seen with L-02; RESET ALL alone is enough for that."""
    pin = pin_of("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;")
    assert pin is not None
    assert (pin.rule, pin.statement) == ("PIN-PG-10", "RESET ALL")
    assert pin.reason == (
        "SQL changed session settings that the proxy doesn't track. Consider moving session "
        "configuration to the proxy's initialization query. Digest: "
        '"select pg_advisory_unlock_all(); close all; unlisten *; reset all;".'
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("LISTEN a; DISCARD ALL", "PIN-PG-06"),
        ("SET x = 1; RESET ALL", "PIN-PG-01"),
        ("LISTEN a; SELECT '" + "x" * 17_000 + "'; SET x = 1", "PIN-ALL-01"),
    ],
    ids=["ours", "awss", "size"],
)
def test_of_several_statements_of_one_kind_the_first_is_told(text: str, rule: str) -> None:
    """PIN-PG-31."""
    pin = pin_of(text)
    assert pin is not None
    assert pin.rule == rule


def test_a_long_statement_pins_in_awss_words() -> None:
    """L-03."""
    pin = pin_of("SELECT '" + "x" * 17_000 + "'")
    assert pin is not None
    assert pin.reason == "The connection ran a SQL query which exceeded the 16384 byte limit."


def test_other_wordings_are_marked_as_ours() -> None:
    """Q-03: a reader must be able to tell AWS's words from ours."""
    pin = pin_of("LISTEN c")
    assert pin is not None
    assert pin.reason.endswith("[pyproxy]")
    assert RULES[pin.rule].ours


def test_running_a_prepared_statement_says_so() -> None:
    """L-04b, LG-06: only the beginning of AWS's text was seen, so the rest is marked as ours."""
    for text in ("LISTEN c", "SET work_mem = 1"):
        pin = pin_of(text)
        assert pin is not None
        told = pin.when_executed().reason
        assert told.startswith("Running a prepared statement. SQL ")
        assert told.endswith('". [pyproxy]')
        assert told.count("[pyproxy]") == 1


def test_a_long_prepared_statement_pins_in_the_same_words() -> None:
    """PS-07: the reason's text is that of L-03."""
    pin = pin_of("SELECT '" + "x" * 17_000 + "'")
    assert pin is not None
    assert pin.when_executed() == pin
    oversized = AWS.oversized(b"SELECT 1").pin
    assert oversized is not None
    assert oversized.when_executed() == oversized


def test_a_function_call_message_pins() -> None:
    """PIN-PG-33."""
    pin = AWS.function_call()
    assert pin is not None
    assert pin.rule == "PIN-PG-33"
    assert Classifier(CompatibilityConfig(function_call="no_pin")).function_call() is None


def test_an_oversized_text_pins_by_its_head() -> None:
    pin = AWS.oversized(b"SELECT 1").pin
    assert pin is not None
    assert pin.rule == "PIN-ALL-01"


def test_startup_settings_pin_with_their_names() -> None:
    assert "geqo" in Pin.of_startup("geqo").reason


def test_only_load_is_beyond_reset() -> None:
    """A library stays loaded whatever DISCARD ALL does."""
    load, listen = pin_of("LOAD 'x'"), pin_of("LISTEN c")
    assert load is not None
    assert listen is not None
    assert load.destroys
    assert not listen.destroys


@pytest.mark.parametrize(
    "text", ["LOAD 'x'; SET a = 1", "SET a = 1; LOAD 'x'", "LISTEN c; LOAD 'x'"]
)
def test_load_is_beyond_reset_beside_others(text: str) -> None:
    """Invariant 2: whichever statement the reason speaks of."""
    pin = pin_of(text)
    assert pin is not None
    assert pin.destroys


DIGESTS = [
    ('set search_path to "a", b,c', "set search_path to $1, $2,$3"),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "set session characteristics as transaction isolation level $1 uncommitted",
    ),
    (
        "select pg_advisory_unlock_all();  CLOSE ALL;\nUNLISTEN *; RESET ALL;",
        "select pg_advisory_unlock_all(); close all; unlisten *; reset all;",
    ),
    ("SET application_name = 'x'", "set application_name = $1"),
    ("SET client_encoding TO 'UTF8'", "set client_encoding to $1"),
    ("LISTEN a /* comment */", "listen a"),
    ("SELECT nextval('q'), 1.5, $1", "select nextval($1), $2, $3"),
    ("LISTEN ÄÉ", "listen ÄÉ"),
]


@pytest.mark.parametrize(("text", "digest"), DIGESTS)
def test_digests_read_as_in_awss_log(text: str, digest: str) -> None:
    """LG-05."""
    pin = pin_of(text)
    assert pin is not None
    assert pin.digest == digest


UNENDED = [
    "'hunter2",
    "E'hunter2",
    "U&'hunter2",
    "$a$hunter2",
    "$$hunter2",
    "/* hunter2",
    '"hunter2',
]


@pytest.mark.parametrize("value", UNENDED)
def test_what_never_ends_is_a_value(value: str) -> None:
    """LG-05, invariant 9: a literal whose quote is missing is not shown either."""
    pin = pin_of(f"SET app.password = {value}")
    assert pin is not None
    assert pin.digest == pin.statement == "set app.password = $1"


def test_a_digest_depends_on_what_a_backslash_does() -> None:
    """LG-05, invariant 9: what one reading takes for a name is a value in the other."""
    text = rb"SELECT set_config('app.password', 'a\' hunter2 \'', false)"
    pin = AWS.judge(text, standard_conforming_strings=False).pin
    assert pin is not None
    assert pin.digest == pin.statement == "select set_config($1, $2, false)"


def test_of_an_oversized_text_no_value_is_shown() -> None:
    """LG-05, invariant 9: neither the cut literal, nor what a backslash may have made one."""
    for text in (b"SELECT 'hunter2", rb"SELECT 'a\' hunter2 '"):
        pin = AWS.oversized(text).pin
        assert pin is not None
        assert pin.digest == pin.statement == "select $1"
