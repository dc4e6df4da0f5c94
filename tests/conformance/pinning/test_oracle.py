"""Two readers of SQL, who were never told the same thing: our scanner and PostgreSQL's grammar.

Over all our examples always; over PostgreSQL's own regression suite where it can be fetched.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning import sql
from pyproxy.pinning.classifier import Classifier
from tests.conformance.pinning import oracle
from tests.conformance.pinning.cases import PINS, STAYS
from tests.conformance.pinning.command_cases import COMMANDS
from tests.support import regression_suite

AWS = Classifier(CompatibilityConfig())
# Workers share the files; each part is a few seconds.
PARTS = 16

# Where the two disagree, and why neither is wrong: a part of the statement, and the reason.
EXPLAINED = {
    "copy (select t into temp": "PostgreSQL parses INTO here, and refuses it when it looks closer",
}
# What we write that PostgreSQL 17's grammar refuses, so that the oracle has nothing to say.
REFUSED = {
    "SELECT 1into temp t": "valid until PostgreSQL 14",
    "FROBNICATE nextval('q')": "no statement at all",
}


def agree(text: str) -> str:
    """Compare the two about one statement; returns what is wrong, or ""."""
    (tree, start, end), *more = oracle.statements(text)
    if more:
        return f"the grammar sees {1 + len(more)} statements"
    allowed = oracle.rules(tree)
    if end - start > 16_384 + 1_000:
        allowed |= {"PIN-ALL-01"}
    pin = AWS.judge(text.encode()).pin
    found = "" if pin is None else pin.rule
    if found in allowed or (not found and not allowed):
        return ""
    if any(part in text for part in EXPLAINED):
        return ""
    return f"scanner: {found or 'stays'}, grammar: {sorted(allowed) or 'stays'}"


# Where a function can be, and what can be written there.
PLACES = [
    "SELECT {}",
    "SELECT ALL a, -({})::int8 AS b",
    "SELECT DISTINCT ON ({}) a FROM t",
    "SELECT * FROM {} AS f(a)",
    "SELECT * FROM t, LATERAL {} AS f",
    "SELECT * FROM ROWS FROM ({}, f(1)) WITH ORDINALITY",
    "SELECT * FROM t TABLESAMPLE bernoulli ({})",
    "SELECT * FROM a JOIN b ON a.x = {}",
    "SELECT 1 WHERE {} IS NOT NULL",
    "SELECT 1 GROUP BY {} HAVING {} > 1",
    "SELECT sum(a) FILTER (WHERE {} > 1) OVER (PARTITION BY {}) FROM t",
    "SELECT a FROM t WINDOW w AS (ORDER BY {})",
    "SELECT a FROM t ORDER BY {} DESC NULLS LAST LIMIT {} OFFSET {}",
    "SELECT a FROM t FETCH FIRST ({}) ROWS ONLY",
    "SELECT CASE WHEN a THEN 1 ELSE {} END",
    "SELECT ARRAY[{}], ROW({}), (ARRAY[1])[{}]",
    "SELECT a BETWEEN {} AND 3, a IN (1, {}), coalesce(a, {}), (({}))",
    "SELECT 1 UNION ALL SELECT {}",
    "SELECT 1 EXCEPT (SELECT {} INTERSECT SELECT 2)",
    "SELECT (SELECT {}), EXISTS (SELECT {}), ARRAY(SELECT {})",
    "WITH x AS MATERIALIZED (SELECT {}) TABLE x",
    "WITH RECURSIVE x(n) AS (VALUES (1) UNION SELECT {}) SELECT * FROM x",
    "WITH x AS (INSERT INTO t VALUES ({}) RETURNING *) SELECT * FROM x",
    "VALUES (1, 2), (3, {})",
    "INSERT INTO t (a) VALUES (DEFAULT), ({})",
    "INSERT INTO t SELECT {} FROM u ON CONFLICT (a) WHERE b > 1 DO NOTHING",
    "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = {} WHERE t.a > 1",
    "INSERT INTO t DEFAULT VALUES RETURNING {}",
    "UPDATE ONLY t SET (a, b) = (1, {}) FROM u WHERE u.a = t.a",
    "UPDATE t SET a[{}] = 1 WHERE CURRENT OF c",
    "DELETE FROM t USING u WHERE t.a = {} RETURNING *",
    "MERGE INTO t USING (SELECT {}) u ON true WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "MERGE INTO t USING u ON true WHEN MATCHED AND {} > 1 THEN UPDATE SET a = 1",
    "COPY (SELECT {}) TO STDOUT WITH (FORMAT csv)",
    "COPY t FROM STDIN WHERE a > {}",
    "CALL p(1, {})",
    "CREATE TABLE u AS SELECT {}",
    "CREATE UNLOGGED TABLE IF NOT EXISTS u (a) WITH (fillfactor = 70) AS SELECT {} WITH DATA",
    "CREATE TABLE u AS SELECT {} WITH NO DATA",
    "CREATE MATERIALIZED VIEW m AS SELECT {}",
    "CREATE MATERIALIZED VIEW m AS SELECT {} WITH NO DATA",
    "EXPLAIN SELECT {}",
    "EXPLAIN (ANALYZE, VERBOSE, FORMAT json) SELECT {}",
    "EXPLAIN (COSTS, ANALYZE off) SELECT {}",
    "EXPLAIN ANALYZE VERBOSE UPDATE t SET a = {}",
    "EXPLAIN ANALYZE CREATE TABLE u AS SELECT {}",
    "EXPLAIN ANALYZE DECLARE c CURSOR WITH HOLD FOR SELECT {}",
    "DECLARE c CURSOR FOR SELECT {}",
    "PREPARE s AS SELECT {}",
    "EXECUTE s({})",
    "ALTER TABLE t ALTER COLUMN a TYPE int USING {}::int, ADD b int",
    "ALTER TABLE t ALTER a SET DEFAULT {}",
    "CREATE TABLE u (a int DEFAULT {}, b int GENERATED ALWAYS AS (a) STORED)",
    "CREATE VIEW v AS SELECT {}",
    "CREATE TEMP VIEW v AS SELECT {}",
    "CREATE FUNCTION f() RETURNS int RETURN {}",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN {} END; END",
    "CREATE RULE r AS ON UPDATE TO t DO INSTEAD (SELECT {}; DELETE FROM u)",
    "CREATE TRIGGER g AFTER UPDATE ON t FOR EACH ROW WHEN ({} > 1) EXECUTE FUNCTION f()",
    "CREATE INDEX i ON t (({}))",
    "CREATE POLICY p ON t WITH CHECK ({} > 1)",
    "COMMENT ON FUNCTION nextval(regclass) IS '{}'",
    "DO '{}'",
]
CALLED = [
    "nextval($$q$$)",
    "pg_catalog . setval ($$q$$, 1, true)",
    '"pg_advisory_lock"(1)',
    "pg_try_advisory_lock_shared(1, 2)",
    "pg_advisory_unlock_all()",
    "set_config($$a.b$$, CAST(1 AS text), is_local)",
    "set_config($$a.b$$, $$c$$, true)",
    "pg_advisory_xact_lock(1)",
    "app.nextval($$q$$)",
    "my_function(1)",
]
OURS = sorted(
    {text for texts in [*PINS.values(), *STAYS.values()] for text in texts if len(text) < 1_000}
    | {text for texts in COMMANDS.values() for text in texts.values()}
)


def disagreements(text: str) -> list[str]:
    """What is wrong about the statements of a text."""
    raw = text.encode()
    each = (raw[start:end].decode() for _tree, start, end in oracle.statements(text))
    return [why for statement in each if (why := agree(statement))]


@pytest.mark.parametrize("text", OURS, ids=lambda text: text[:50])
def test_our_examples_are_read_as_postgresql_reads_them(text: str) -> None:
    if text in REFUSED:
        with pytest.raises(oracle.Refused):
            oracle.statements(text)
        return
    assert not disagreements(text)


@pytest.mark.parametrize("place", PLACES, ids=lambda text: text[:50])
def test_functions_are_found_wherever_postgresql_calls_them(place: str) -> None:
    for called in CALLED:
        assert not disagreements(place.replace("{}", called)), called


def test_our_examples_are_many() -> None:
    assert len(OURS) + len(PLACES) * len(CALLED) > 900


@pytest.fixture(scope="module")
def suite() -> Path:
    """PostgreSQL's regression suite; the tests are skipped where it cannot be had."""
    try:
        return regression_suite.folder()
    except regression_suite.CannotFetch as error:
        pytest.skip(f"PostgreSQL's regression suite: {error}")


def valid_statements(file: Path) -> list[str]:
    """The statements of a file that PostgreSQL 17's grammar accepts, cut by our scanner."""
    found: list[str] = []
    raw = regression_suite.text_for_server(file).encode().decode("latin-1")
    for statement in sql.split(raw):
        text = raw[statement.start : statement.end].encode("latin-1").decode()
        try:
            oracle.statements(text)
        except oracle.Refused:
            continue
        found.append(text)
    return found


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(PARTS))
def test_postgresqls_own_statements_are_read_as_postgresql_reads_them(
    part: int, suite: Path
) -> None:
    """No real miss over 40,000 statements; and put together they are cut where PostgreSQL does."""
    files = sorted(suite.glob("*.sql"))
    assert len(files) > 200
    count = 0
    wrong: list[str] = []
    for file in files[part::PARTS]:
        texts = valid_statements(file)
        count += len(texts)
        wrong += [f"{file.name}: {text!r}: {why}" for text in texts if (why := agree(text))]
        together = "\n;".join(texts)
        assert len(list(sql.split(together))) == len(oracle.statements(together)), file.name
    assert not wrong, "\n".join(wrong)
    assert count > 1_000, "that is not the suite"
