"""What the random scripts say: the schema they find, and tables of texts to choose from.

`{k}` is the number of the client: each has its own tables, sequence, channel and lock numbers, so
that no client ever waits for another's lock and the order among clients changes no result.
Nothing here asks for what differs honestly between two connections (process ids, clocks), nor
changes a session's state in a way that no proxy can see from the text (NOPIN-PG-02).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CLIENTS = 6

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'fine', 'happy');
CREATE TABLE shared (id int PRIMARY KEY, name text, amount numeric(12, 2), born date,
    at timestamptz, tags text[], data jsonb, mood mood);
INSERT INTO shared SELECT i, 'name ' || i, i * 1.25, date '2020-01-01' + i,
    timestamptz '2020-01-01 00:00:00+00' + i * interval '1 hour', ARRAY['a' || i, NULL, 'ü'],
    jsonb_build_object('i', i), (ENUM_RANGE(NULL::mood))[1 + i % 3]
    FROM generate_series(1, 60) i;
CREATE FUNCTION shout(what text, times int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..times LOOP RAISE NOTICE '% %', what, i USING HINT = 'be quiet'; END LOOP;
RETURN times; END $$;
CREATE FUNCTION refuse(what text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'refused: %', what USING ERRCODE = 'P0042', DETAIL = 'why', HINT = 'how';
END $$;
CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$ BEGIN COMMIT; ROLLBACK; END $$;
CREATE TABLE veiled AS SELECT 1 AS id, 'seen' AS name;
CREATE SCHEMA other; CREATE TABLE other.shared (id int PRIMARY KEY, elsewhere text);
INSERT INTO other.shared VALUES (1, 'from other');
"""

# Once for each client.
OWN_SCHEMA = """
CREATE TABLE t{k} (id int PRIMARY KEY, name text, n int CHECK (n >= 0));
CREATE TABLE u{k} (id int PRIMARY KEY, code int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE SEQUENCE q{k};
"""

OWN_RESET = """
DELETE FROM t{k}; INSERT INTO t{k} SELECT i, 'row ' || i, i * 10 FROM generate_series(1, 8) i;
DELETE FROM u{k}; INSERT INTO u{k} VALUES (1, 1), (2, 2);
PERFORM setval('q{k}', 1, false);
DROP TABLE IF EXISTS made{k};
"""

OWN_STATE = (
    "SELECT 't{k}', md5(string_agg(t::text, ',' ORDER BY id)) FROM t{k} t UNION ALL "
    "SELECT 'u{k}', md5(string_agg(u::text, ',' ORDER BY id)) FROM u{k} u UNION ALL "
    "SELECT 'q{k}', last_value::text FROM q{k}"
)

# Simple queries that leave no state behind them and succeed, mostly.
QUERIES = (
    "SELECT 1",
    "SELECT 1 AS one, 'two' AS two, NULL AS three, 4.5::float8 AS four, true AS five",
    "SELECT * FROM shared ORDER BY id LIMIT 3",
    "SELECT id, name FROM shared WHERE id > 40 ORDER BY id",
    "SELECT count(*), sum(amount) FROM shared",
    "SELECT * FROM t{k} ORDER BY id",
    "SELECT * FROM u{k} ORDER BY id",
    "SELECT",
    "SELECT mood, array_agg(id ORDER BY id) FROM shared GROUP BY mood ORDER BY mood",
    "VALUES (1, 'a'), (2, 'b')",
    "TABLE t{k} ORDER BY 1",
    "SELECT 'ä', E'\\t\\\\', $$dollar ' quoted$$, U&'\\0061'",
    "SELECT t.*, u.code FROM t{k} t LEFT JOIN u{k} u USING (id) ORDER BY id",
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 30) TABLE r",
    "INSERT INTO t{k} VALUES ({i}, 'new', 5)",
    "INSERT INTO t{k} VALUES ({i}, 'new', 5) ON CONFLICT (id) DO UPDATE SET n = t{k}.n + 1",
    "INSERT INTO t{k} VALUES ({i}, 'back', 6) RETURNING *, name || '!'",
    "UPDATE t{k} SET n = n + 1 WHERE id <= {i}",
    "DELETE FROM t{k} WHERE id = {i} RETURNING name",
    (
        "MERGE INTO t{k} USING (VALUES ({i}, 'merged')) v(i, name) ON id = i "
        "WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT VALUES (i, v.name, 0)"
    ),
    "EXPLAIN (COSTS OFF) VALUES (1), (2)",
    "SHOW server_version",
    "SHOW search_path",
    "SHOW application_name",
    "SHOW timezone",
    "SHOW datestyle",
    "SELECT timestamptz '2024-05-06 07:08:09+02', date '2024-05-06', 1::float8 / 3",
    "SELECT current_setting('work_mem')",
    "SELECT current_user, session_user",
    "SELECT shout('hear', 2)",
    "SELECT pg_advisory_xact_lock({k}, 7)",
    "DO $$ BEGIN RAISE NOTICE 'done by {k}'; RAISE WARNING 'beware'; END $$",
    "CREATE TABLE made{k} (id int, what text)",
    "CREATE TABLE IF NOT EXISTS made{k} (id int, what text)",
    "DROP TABLE IF EXISTS made{k}",
    "SELECT * FROM made{k}",
    "SELECT * FROM veiled",
    "CALL twice()",
    "NOTIFY c{k}, 'hello'",
    "LOCK TABLE t{k} IN SHARE MODE",
    "ANALYZE t{k}",
    "COMMENT ON TABLE t{k} IS 'mine'",
    "SELECT id FROM t{k} ORDER BY id FOR UPDATE",
    "SELECT repeat('x', 3000) FROM generate_series(1, 40)",
    "SELECT i, md5(i::text) FROM generate_series(1, 400) i",
)

EMPTY = ("", ";", "  ", "-- nothing\n", "/* nothing */", ";;")

ERRORS = (
    "SELEC 1",
    "SELECT 1 +",
    "SELECT 1/0",
    "SELECT * FROM nowhere",
    "SELECT nothing FROM shared",
    "SELECT 'x'::int",
    "INSERT INTO t{k} VALUES (1, 'dup', 1)",
    "INSERT INTO t{k} VALUES (99, 'neg', -1)",
    "SELECT refuse('politely')",
    "SELECT id, 10 / (id - 4) FROM shared ORDER BY id",
    "EXECUTE nobody(1)",
    "ROLLBACK TO nowhere",
    "SELECT 'unfinished",
    "SELECT $1",
    "INSERT INTO shared VALUES (1)",
    "COPY nowhere TO STDOUT",
    "SELECT shared.id FROM shared WHERE mood = 'angry'",
    # No UTF-8, and what is none only when it is understood.
    "SELECT '\udcff'",
    "SELECT 'ü', E'\\xff'",
)

COMMENTS = (
    "/* leading */ SELECT 1 -- trailing",
    "-- first line\nSELECT 2",
    "/* nested /* deeper */ out */ SELECT 'it''s' /* in; between */",
    "SELECT 1; -- SET nothing",
    "SELECT '/* no comment */', '-- nor this'",
)

# Several statements in one text: one implicit transaction, several results, one ReadyForQuery.
SEVERAL = (
    "SELECT 1; SELECT 2; SELECT 3",
    "SELECT 1;; SELECT 2;",
    "INSERT INTO t{k} VALUES ({i}, 'a', 1); SELECT count(*) FROM t{k}; SELECT 1/0; SELECT 'never'",
    "UPDATE t{k} SET n = 1; UPDATE t{k} SET n = -1 WHERE id = 2",
    "BEGIN; INSERT INTO t{k} VALUES ({i}, 'b', 2); COMMIT; SELECT count(*) FROM t{k}",
    "BEGIN; INSERT INTO t{k} VALUES ({i}, 'b', 2); ROLLBACK; SELECT count(*) FROM t{k}",
    "SELECT 1; BEGIN; SELECT 2",
    "BEGIN; SELECT 1/0; COMMIT",
    "COMMIT; SELECT 1; BEGIN",
    "SELECT 1; COMMIT AND CHAIN",
    "SAVEPOINT s; SELECT 1",
    "SELECT shout('x', 1); SELECT 1; DO $$ BEGIN RAISE NOTICE 'y'; END $$",
    "BEGIN; SAVEPOINT s; INSERT INTO t{k} VALUES ({i}, 'c', 3); ROLLBACK TO s; COMMIT; TABLE t{k} ORDER BY 1",
    "INSERT INTO t{k} VALUES ({i}, 'd', 4); BEGIN; SELECT 1/0",
    "SELECT 1; ROLLBACK; SELECT 2",
    "CALL twice(); SELECT 1",
    "SELECT 1; VACUUM t{k}",
    "COPY (SELECT 1) TO STDOUT; COPY (SELECT 2) TO STDOUT",
    "SELECT 1; COPY (SELECT 1/0) TO STDOUT; SELECT 2",
)

TRANSACTION = (
    "BEGIN",
    "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "BEGIN READ ONLY",
    "COMMIT",
    "END",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND NO CHAIN",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "RELEASE a",
    "ROLLBACK TO a",
    "ROLLBACK TO SAVEPOINT b",
    "INSERT INTO u{k} VALUES ({i}, {j})",
    "UPDATE u{k} SET code = code + 1",
    "UPDATE t{k} SET name = 'tx' WHERE id = {i} RETURNING *",
    "SELECT * FROM u{k} ORDER BY id",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SELECT 1/0",
    "PREPARE TRANSACTION 'p{k}'",
)

# Texts that change the session and so pin it (section 1.1 of the behaviour notes).
SETTINGS = (
    "SET search_path TO other, public",
    "SET search_path = public",
    "SET timezone TO 'Europe/Berlin'",
    "SET TIME ZONE 3",
    "SET datestyle TO german",
    "SET application_name TO 'set by {k}'",
    "SET work_mem = '1MB'",
    "SET nosuch.thing = 'x'",
    "SET nosuch = 1",
    "SET LOCAL work_mem = '2MB'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET client_encoding TO 'LATIN1'",
    "SET standard_conforming_strings TO off",
    "SET standard_conforming_strings TO on",
    "SET intervalstyle TO iso_8601",
    "SET bytea_output TO escape",
    "SET extra_float_digits = -5",
    "SET default_transaction_read_only TO on",
    "RESET work_mem",
    "RESET search_path",
    "RESET ALL",
    "SELECT set_config('work_mem', '3MB', false)",
    "SELECT set_config('timezone', 'Asia/Tokyo', true)",
    "SELECT set_config('app.tenant', '{k}', false)",
    "SELECT nullif(current_setting('app.tenant', true), ''), current_setting('work_mem')",
    "BEGIN; SET work_mem = '5MB'; ROLLBACK",
    "BEGIN; SET LOCAL timezone TO 'UTC'; SHOW timezone; COMMIT; SHOW timezone",
    "SELECT 1; SET work_mem = '7MB'; SELECT 2",
    "SET work_mem = '8MB'; SELECT 1/0",
    "SET timezone TO 'Asia/Tokyo'; SET timezone TO 'UTC'; SET datestyle TO iso; SELECT 1",
    "BEGIN; SAVEPOINT s; SET work_mem = '9MB'; ROLLBACK TO s; SHOW work_mem; COMMIT",
    "SET application_name TO DEFAULT",
    "SELECT * FROM shared ORDER BY id LIMIT 1",
    "SELECT interval '1 day 2 hours', '\\x00ff'::bytea, 1::float8 / 3",
)

SESSION = (
    "PREPARE own AS SELECT $1::int + 1",
    "PREPARE own(text) AS SELECT upper($1)",
    "PREPARE s1 AS SELECT 'prepared by SQL'",
    "EXECUTE own(41)",
    "EXECUTE s1",
    "EXECUTE s2(7)",
    "DEALLOCATE own",
    "DEALLOCATE s1",
    "DEALLOCATE PREPARE s2",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "DISCARD TEMP",
    "CREATE TEMP TABLE scratch (id int, note text)",
    # No prepared statement reads it: whether one sees what veils its table depends on whether the
    # backend ever had temporary tables before (plancache.c compares search paths).
    "CREATE TEMP TABLE veiled AS SELECT 7 AS id, 'shadow' AS name",
    "SELECT * FROM veiled",
    "CREATE TEMPORARY VIEW glance AS SELECT count(*) FROM shared",
    "SELECT * FROM glance",
    "INSERT INTO scratch VALUES ({i}, 'kept') RETURNING *",
    "SELECT * FROM scratch ORDER BY id",
    "DROP TABLE IF EXISTS scratch",
    "SELECT nextval('q{k}')",
    "SELECT nextval('q{k}'), currval('q{k}'), lastval()",
    "SELECT setval('q{k}', {i})",
    "SELECT pg_advisory_lock({k}, 1)",
    "SELECT pg_try_advisory_lock({k}, 2)",
    "SELECT pg_advisory_unlock({k}, 1)",
    "SELECT pg_advisory_unlock({k}, 3)",
    (
        "SELECT objid FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE locktype = 'advisory' AND datname = current_database() AND classid = {k} ORDER BY 1"
    ),
    "LISTEN c{k}",
    "UNLISTEN c{k}",
    "UNLISTEN *",
    "NOTIFY c{k}",
    "NOTIFY c{k}, 'to myself'",
    "SELECT pg_notify('c{k}', 'by function')",
    "SELECT * FROM pg_listening_channels()",
    "BEGIN; DECLARE cur CURSOR FOR SELECT id FROM shared ORDER BY id",
    "DECLARE held CURSOR WITH HOLD FOR SELECT id, name FROM shared ORDER BY id",
    "FETCH 3 FROM cur",
    "FETCH BACKWARD 2 FROM cur",
    "FETCH 4 FROM held",
    "MOVE 10 IN held",
    "CLOSE held",
    "CLOSE ALL",
    "COMMIT",
    "ROLLBACK",
    "PREPARE own AS SELECT 6; EXECUTE own; DEALLOCATE own",
    "PREPARE s3 AS SELECT 's3 by SQL'; EXECUTE s3",
    "DEALLOCATE ALL; PREPARE s1 AS SELECT 'again'; EXECUTE s1",
    "BEGIN; DEALLOCATE ALL; ROLLBACK",
    "BEGIN; PREPARE own AS SELECT 7; ROLLBACK; EXECUTE own",
    "DISCARD ALL; SELECT 1",
    "SELECT 1; DISCARD PLANS; DISCARD SEQUENCES",
    "EXECUTE s1; EXECUTE s2(8); EXECUTE s3",
    "EXPLAIN (COSTS OFF) EXECUTE s1",
    "CREATE TEMP TABLE copied AS EXECUTE s1",
    "SELECT name, from_sql FROM pg_prepared_statements WHERE from_sql ORDER BY 1",
    "SELECT name, statement FROM pg_cursors WHERE name <> '' ORDER BY 1",
    "UNLISTEN *; LISTEN c{k}; NOTIFY c{k}, 'third'",
    "BEGIN; NOTIFY c{k}, 'never'; ROLLBACK",
    "BEGIN; NOTIFY c{k}, 'late'; SELECT 1; COMMIT",
)


class Prepared(NamedTuple):
    """A text with parameters, and some sets of values for it."""

    sql: str
    types: tuple[int, ...]
    bindings: tuple[tuple[tuple[bytes | None, ...], tuple[int, ...]], ...]


def int4(number: int) -> bytes:
    """An integer in binary format."""
    return struct.pack("!i", number)


NONE = ((), ())

PREPARED = (
    Prepared("SELECT 1", (), (NONE,)),
    Prepared("SELECT id, name FROM shared WHERE id < 12 ORDER BY id", (), (NONE,)),
    Prepared("SELECT i, 'row ' || i FROM generate_series(1, 25) i", (), (NONE,)),
    Prepared("SELECT $1::int4 + 1", (), (((b"4",), ()), ((int4(5),), (1,)), ((None,), (0,)))),
    Prepared("SELECT $1 + 1", (23,), (((b"41",), ()), ((int4(6),), (1,)), ((b"x",), ()))),
    Prepared("SELECT $1, $2::text", (25, 0), (((b"a", b"b"), ()), ((b"\xc3\xbc", None), (1,)))),
    Prepared(
        "SELECT * FROM shared WHERE id = $1",
        (),
        (((b"3",), ()), ((int4(4),), (1,)), ((b"nan",), ()), ((b"1", b"2"), ()), ((b"\0",), (1,))),
    ),
    Prepared("SELECT name FROM shared WHERE mood = $1 ORDER BY id LIMIT 5", (), (((b"sad",), ()),)),
    Prepared("SELECT $1::bytea, $2::jsonb", (), (((b"\0\xff", b'{"a": 1}'), (1, 0)),)),
    Prepared(
        "INSERT INTO t{k} VALUES ($1, $2, $3)",
        (23, 25, 23),
        (((b"{i}", b"bound", b"7"), ()), ((b"1", b"dup", b"1"), ()), ((b"{i}", None, b"-1"), ())),
    ),
    Prepared(
        "INSERT INTO t{k} VALUES ($1, $2, 0) RETURNING *", (), (((b"{i}", b"returned"), (0,)),)
    ),
    Prepared("UPDATE t{k} SET n = n + $1 WHERE id <= $2", (), (((b"1", b"{i}"), ()),)),
    Prepared("DELETE FROM t{k} WHERE id = $1", (), (((b"{i}",), ()),)),
    Prepared("SELECT * FROM t{k} ORDER BY id", (), (NONE,)),
    Prepared("SELECT length($1::text), repeat('y', $2::int4)", (), (((b"z", b"9000"), ()),)),
    Prepared("SELECT 10 / $1::int4", (), (((b"5",), ()), ((b"0",), ()))),
    Prepared("SELECT shout($1, $2)", (), (((b"bound", b"2"), ()),)),
    Prepared("", (), (NONE,)),
    Prepared("BEGIN", (), (NONE,)),
    Prepared("COMMIT", (), (NONE,)),
    Prepared("ROLLBACK", (), (NONE,)),
    Prepared("SAVEPOINT a", (), (NONE,)),
    Prepared("ROLLBACK TO a", (), (NONE,)),
    Prepared("RELEASE a", (), (NONE,)),
    Prepared("COMMIT AND CHAIN", (), (NONE,)),
    Prepared("SHOW datestyle", (), (NONE,)),
    Prepared("NOTIFY c{k}, 'bound'", (), (NONE,)),
    Prepared("CALL twice()", (), (NONE,)),
    Prepared("VACUUM t{k}", (), (NONE,)),
    Prepared("COPY (SELECT 1) TO STDOUT", (), (NONE,)),
    Prepared("SELECT 1 AS " + "long" * 30, (), (NONE,)),
    Prepared(
        "INSERT INTO t{k} SELECT i, 'many', i FROM generate_series(40, 49) i RETURNING id",
        (),
        (NONE,),
    ),
    Prepared("SELECT 10 / (5 - i) FROM generate_series(1, 9) i", (), (NONE,)),
    Prepared("-- nothing", (), (NONE,)),
    Prepared("SELECT broken FROM", (), (NONE,)),
    Prepared("SELECT * FROM missing WHERE id = $1", (), (((b"1",), ()),)),
    Prepared("SELECT 1; SELECT 2", (), (NONE,)),
    Prepared("SELECT $1::nosuchtype", (), (((b"1",), ()),)),
    Prepared("SELECT $2::int4", (), (((b"1", b"2"), ()),)),
    Prepared("SELECT current_setting('application_name')", (), (NONE,)),
    Prepared("CREATE TABLE made{k} (id int, what text)", (), (NONE,)),
    Prepared("EXPLAIN (COSTS OFF) SELECT 7", (), (NONE,)),
)

# Announced at Parse, pinned at Execute (PS-06).
PREPARED_SESSION = (
    Prepared("SET work_mem = '4MB'", (), (NONE,)),
    Prepared("SELECT set_config($1, $2, false)", (), (((b"work_mem", b"6MB"), ()),)),
    Prepared("SHOW work_mem", (), (NONE,)),
    Prepared("DEALLOCATE ALL", (), (NONE,)),
    Prepared("DEALLOCATE s1", (), (NONE,)),
    Prepared("DISCARD ALL", (), (NONE,)),
    Prepared("EXECUTE s2(3)", (), (NONE,)),
    Prepared("PREPARE own AS SELECT 5", (), (NONE,)),
    Prepared("CREATE TEMP TABLE scratch (id int, note text)", (), (NONE,)),
    Prepared("SELECT nextval('q{k}')", (), (NONE,)),
    Prepared("LISTEN c{k}", (), (NONE,)),
    Prepared("SELECT pg_advisory_lock({k}, 1)", (), (NONE,)),
    Prepared("DECLARE held CURSOR WITH HOLD FOR SELECT id FROM shared ORDER BY id", (), (NONE,)),
    Prepared("FETCH 2 FROM held", (), (NONE,)),
    Prepared("CLOSE held", (), (NONE,)),
    Prepared("RESET ALL", (), (NONE,)),
    Prepared("SET timezone = 'Asia/Tokyo'", (), (NONE,)),
    Prepared("SET LOCAL work_mem = '2MB'", (), (NONE,)),
    Prepared("PREPARE s2 AS SELECT $1::int + 100", (), (NONE,)),
    Prepared("EXECUTE s1", (), (NONE,)),
    Prepared("UNLISTEN *", (), (NONE,)),
    Prepared("DISCARD TEMP", (), (NONE,)),
)
