"""AWS's pinning rules, row by row: what pins, what does not, and in which words.

Each id is a row of the behaviour catalogue; the texts are the documented ones or stand for them.
"""

from __future__ import annotations

import pytest

from pyproxy.pinning.classifier import Classifier, Pin
from pyproxy.pinning.rules import RULES, Compatibility

AWS = Classifier(Compatibility())

PINS: dict[str, list[str]] = {
    "PIN-ALL-01": ["SELECT '" + "x" * 16_376 + "'", "SELECT /* " + "y" * 17_000 + " */ 1"],
    "PIN-PG-01": [
        "SET work_mem = '8MB'",
        "set search_path to app, public",
        "SET SESSION statement_timeout = 5",
        "/* hint */ SET x.y = 1 -- comment",
        "SELECT 1; SET a.b TO DEFAULT",
        "SET XML OPTION DOCUMENT",
    ],
    "PIN-PG-02": [
        "PREPARE s AS SELECT 1",
        "PREPARE transaction AS SELECT 1",
        "EXECUTE s(1, 'x')",
        "DEALLOCATE s",
        "DEALLOCATE PREPARE ALL",
        'DEALLOCATE "S"',
        "EXPLAIN ANALYZE EXECUTE s",
        "CREATE TABLE t AS EXECUTE s",
    ],
    "PIN-PG-03": [
        "CREATE TEMP TABLE t (a int)",
        "CREATE TEMPORARY SEQUENCE q",
        "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
        "CREATE LOCAL TEMPORARY TABLE t AS SELECT 1",
        "CREATE GLOBAL TEMP TABLE t (a int)",
        "CREATE TEMP RECURSIVE VIEW v (n) AS SELECT 1",
    ],
    "PIN-PG-04": ["DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"],
    "PIN-PG-05": ["DISCARD ALL", "DISCARD PLANS", "discard temp"],
    "PIN-PG-06": ["LISTEN channel"],
    "PIN-PG-07": ["LOAD 'auto_explain'"],
    "PIN-PG-08": [
        "SELECT nextval('q')",
        "INSERT INTO t VALUES (setval('q', 1))",
        "WITH a AS (SELECT pg_catalog.nextval('q') n) SELECT * FROM a",
        "SELECT 1 WHERE EXISTS (SELECT NEXTVAL ('q'))",
        "COPY (SELECT nextval('q')) TO STDOUT",
        "SELECT \"nextval\"('q')",
        "EXPLAIN (ANALYZE, COSTS off) SELECT nextval('q')",
        "EXPLAIN ANALYZE VERBOSE SELECT nextval('q')",
        "CREATE TABLE t AS SELECT nextval('q')",
        "CREATE MATERIALIZED VIEW v AS SELECT nextval('q')",
        "((SELECT nextval('q')))",
        "VALUES (nextval('q'))",
        "CALL p(nextval('q'))",
        "MERGE INTO t USING u ON true WHEN MATCHED THEN UPDATE SET a = nextval('q')",
    ],
    "PIN-PG-09": [
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1, 2)",
        "SELECT * FROM pg_try_advisory_lock(1)",
    ],
    "PIN-PG-10": [
        "RESET ALL",
        "RESET work_mem",
        "SELECT set_config('work_mem', '8MB', false)",
        "SELECT set_config('a.b', $1, $2)",
        "SELECT set_config('a.b', 'x', NOT true)",
        "SELECT pg_catalog.set_config(n, v, false) FROM settings",
    ],
    "PIN-PG-11": [
        "SET LOCAL work_mem = '8MB'",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
    ],
    "PIN-PG-13": ["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    "PIN-PG-15": ["SET ROLE admin", "SET SESSION AUTHORIZATION DEFAULT", "SET SESSION ROLE x"],
    "PIN-PG-16": ["SET NAMES 'utf8'", "SET TIME ZONE 'UTC'", "SET SESSION TIME ZONE LOCAL"],
    "PIN-PG-21": [
        "SELECT * INTO TEMP t FROM u",
        "SELECT 1 INTO TEMPORARY TABLE t",
        "WITH a AS (SELECT 1) SELECT * INTO LOCAL TEMP t FROM a",
    ],
    "PIN-PG-22": ["SELECT pg_advisory_unlock_all()", "SELECT pg_advisory_unlock(1)"],
    "PIN-PG-28": [
        "CREATE TABLE pg_temp.t (a int)",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT 1 INTO pg_temp.t",
    ],
}

STAYS: dict[str, list[str]] = {
    "NOPIN-PG-01": [
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    ],
    "NOPIN-PG-02": ["SELECT my_function()", "SELECT app.nextval('q')", "SELECT app.set_config(1)"],
    "NOPIN-PG-05": [
        "ALTER ROLE app SET search_path = x",
        "ALTER DATABASE app SET work_mem = '1MB'",
        "ALTER SYSTEM SET work_mem = '1MB'",
    ],
    "NOPIN-PG-06": ["BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION READ ONLY", "END", "ABORT"],
    "PIN-ALL-01": [
        "SELECT '" + "x" * 16_375 + "'",
        f"SELECT '{'x' * 9000}'; SELECT '{'y' * 9000}'",
    ],
    "PIN-PG-12": [
        "SELECT set_config('a.b', 'x', true)",
        "SELECT set_config('a.b', coalesce($1, 'x'), TRUE::boolean)",
        "SELECT set_config('a.b', 'x', 't')",
    ],
    "PIN-PG-14": ["BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN TRANSACTION READ ONLY"],
    "PIN-PG-17": ["NOTIFY c, 'set x = 1'", "SELECT pg_notify('c', 'x')"],
    "PIN-PG-18": ["UNLISTEN *"],
    "PIN-PG-19": ["SELECT currval('q'), lastval()"],
    "PIN-PG-20": [
        "INSERT INTO t DEFAULT VALUES",
        "CREATE TABLE t (id int DEFAULT nextval('q'))",
        "ALTER TABLE t ALTER id SET DEFAULT nextval('q')",
    ],
    "PIN-PG-23": ["COPY t FROM STDIN", "COPY t TO STDOUT"],
    "PIN-PG-24": ["SAVEPOINT a", "RELEASE a", "ROLLBACK TO a"],
    "PIN-PG-25": ["DO $$ BEGIN PERFORM set_config('a', 'b', false); END $$"],
    "PIN-PG-26": ["CALL p()"],
    "PIN-PG-27": [
        "EXPLAIN SELECT nextval('q')",
        "EXPLAIN (VERBOSE) SELECT pg_advisory_lock(1)",
        "EXPLAIN (ANALYZE false) SELECT nextval('q')",
        "SHOW work_mem",
        "LOCK TABLE t",
        "-- SET x = 1",
        "/* SET x = 1 */",
        "",
        ";;",
    ],
    "literals": [
        "SELECT 'SET x = 1; nextval(1)'",
        "SELECT $$nextval('q')$$, $a$ $$ pg_advisory_lock(1) $a$",
        'SELECT "nextval" FROM "set_config"',
        "SELECT E'\\' nextval(1) \\\\'",
        "SELECT 1 -- nextval('q')",
        "SELECT /* /* nextval('q') */ nextval('q') */ 1",
        "SELECT nextval FROM t WHERE set_config = 1",
        "UPDATE t SET a = 1",
        "INSERT INTO temp SELECT 1",
        "PREPARE TRANSACTION 'x'",
        "COMMENT ON TABLE t IS 'nextval(1)'",
        "CREATE VIEW v AS SELECT nextval('q')",
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT nextval('q'); "
            "SELECT CASE WHEN true THEN 1 END; END"
        ),
        "CREATE RULE r AS ON INSERT TO t DO (SELECT nextval('q'); SELECT 1)",
    ],
}


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
    elsewhere = {"PIN-PG-33", "PS-01", "OWN-PIN-01", "NOPIN-PG-03", "NOPIN-PG-04"}
    assert set(RULES) == set(PINS) | (set(STAYS) - {"literals"}) | elsewhere


SWITCHES = [
    ("set_local", "no_pin", "SET LOCAL x = 1", None),
    ("set_local", "no_pin", "SET TRANSACTION READ ONLY", None),
    ("set_config_local", "pin", "SELECT set_config('a.b', 'x', true)", "PIN-PG-12"),
]


@pytest.mark.parametrize(("switch", "setting", "text", "rule"), SWITCHES)
def test_contested_rows_are_switches(
    switch: str, setting: str, text: str, rule: str | None
) -> None:
    """Q-01: where AWS's documents disagree, both readings are there."""
    classifier = Classifier(Compatibility()._replace(**{switch: setting}))
    pin = pin_of(text, classifier)
    assert (None if pin is None else pin.rule) == rule


def test_parse_pins_only_by_switch() -> None:
    """PS-01 until November 2023, PS-02 since; PS-04 for named ones."""
    assert AWS.parse(named=True) is AWS.parse(named=False) is None
    legacy = Classifier(Compatibility(preset="legacy_2023"))
    named = Classifier(Compatibility(named_parse="pin"))
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
    """L-04b: only the beginning of AWS's text was seen."""
    pin = pin_of("LISTEN c")
    assert pin is not None
    assert pin.when_executed().reason.startswith("Running a prepared statement")


def test_a_function_call_message_pins() -> None:
    """PIN-PG-33."""
    assert AWS.function_call().rule == "PIN-PG-33"


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
]


@pytest.mark.parametrize(("text", "digest"), DIGESTS)
def test_digests_read_as_in_awss_log(text: str, digest: str) -> None:
    """LG-05."""
    pin = pin_of(text)
    assert pin is not None
    assert pin.digest == digest
