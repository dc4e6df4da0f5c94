"""PostgreSQL's log in its three formats; the lines are as PostgreSQL 17 writes them."""

import io
import json
from collections.abc import Callable

import pytest

from pyproxy.assessment.log_prefix import KNOWN, guess, pattern
from pyproxy.assessment.postgres_log import read
from pyproxy.assessment.recording import CANCELS, REPLICATION, Recording

STDERR = """\
2026-11-25 10:00:00.000 UTC [7] LOG:  database system is ready to accept connections
2026-11-25 10:00:01.000 UTC [70] app@shop LOG:  connection authorized: user=app database=shop application_name=web
2026-11-25 10:00:01.500 UTC [70] app@shop LOG:  duration: 250.000 ms  statement: SELECT 1,
\t  2
2026-11-25 10:00:02.000 UTC [70] app@shop LOG:  duration: 0.100 ms  parse <unnamed>: SELECT $1
2026-11-25 10:00:02.000 UTC [70] app@shop LOG:  duration: 0.100 ms  bind <unnamed>: SELECT $1
2026-11-25 10:00:02.000 UTC [70] app@shop DETAIL:  Parameters: $1 = '1'
2026-11-25 10:00:02.000 UTC [70] app@shop LOG:  duration: 0.500 ms  execute <unnamed>: SELECT $1
2026-11-25 10:00:03.000 UTC [70] app@shop LOG:  statement: SET work_mem = '1MB'
2026-11-25 10:00:03.001 UTC [70] app@shop LOG:  duration: 1.000 ms
2026-11-25 10:00:04.000 UTC [70] app@shop ERROR:  canceling statement due to user request
2026-11-25 10:00:04.000 UTC [70] app@shop STATEMENT:  SELECT pg_sleep(10)
2026-11-25 10:00:05.000 UTC [70] app@shop LOG:  disconnection: session time: 0:00:04.000 user=app database=shop host=[local]
2026-11-25 10:00:06.000 UTC [71] [unknown]@[unknown] LOG:  replication connection authorized: user=repl
"""


def csv_row(
    message: str,
    *,
    at: str,
    session: str = "1.a",
    application: str = "web",
    severity: str = "LOG",
) -> str:
    cells = [at, "app", "shop", "70", "127.0.0.1:5", session, "1", "SELECT", at, "3/1", "0"]
    cells += [severity, "00000", '"' + message.replace('"', '""') + '"', *[""] * 8, application]
    return ",".join(cells)


CSV = "\n".join(
    [
        csv_row(
            "duration: 250.000 ms  statement: SELECT 1,\n  2", at="2026-11-25 10:00:01.500 UTC"
        ),
        csv_row("duration: 0.1 ms  bind s: SELECT $1", at="2026-11-25 10:00:02.000 UTC"),
        csv_row("duration: 0.5 ms  execute s: SELECT $1", at="2026-11-25 10:00:02.000 UTC"),
        csv_row('statement: SET "work_mem" = 1', at="2026-11-25 10:00:03.000 UTC"),
    ]
)


def json_row(message: str, *, at: str, severity: str = "LOG") -> str:
    return json.dumps(
        {
            "timestamp": at,
            "user": "app",
            "dbname": "shop",
            "pid": 70,
            "session_id": "1.a",
            "error_severity": severity,
            "message": message,
            "application_name": "web",
        }
    )


def text_row(message: str, *, at: str, severity: str = "LOG") -> str:
    return f"{at} [70] app@shop {severity}:  {message}"


JSON_LINES = "\n".join(
    json_row(message, at=f"2026-11-25 10:00:0{second}.500 UTC")
    for second, message in [
        (1, "duration: 250.000 ms  statement: SELECT 1,\n  2"),
        (2, "duration: 0.5 ms  execute s: SELECT $1"),
        (3, "statement: SET work_mem = 1"),
    ]
)


def of_text(text: str, source: str) -> Recording:
    return read(io.StringIO(text), source=source)


def texts(recording: Recording) -> list[str]:
    return [statement.text for statement in recording.all_statements()]


@pytest.mark.parametrize("text", [STDERR, CSV, JSON_LINES], ids=["stderr", "csvlog", "jsonlog"])
def test_each_format_tells_the_same(text: str) -> None:
    recording = of_text(text, source="log")
    assert texts(recording)[:2] == ["SELECT 1,\n  2", "SELECT $1"]
    assert texts(recording)[2].startswith("SET ")
    [session] = recording.sessions
    assert (session.application, session.user, session.database) == ("web", "app", "shop")
    first, second, _ = session.statements
    assert first.seconds == 0.25
    assert (first.prepared, second.prepared) == (False, True)
    assert first.at is not None
    assert second.at is not None
    assert 0.4 < second.at - first.at < 1.3


def test_a_duration_that_was_logged_apart_belongs_to_the_statement_before() -> None:
    assert of_text(STDERR, source="log").sessions[0].statements[2].seconds == 0.001


def test_a_session_lasts_from_its_connection_to_its_end() -> None:
    assert of_text(STDERR, source="log").sessions[0].seconds == 4.0


def test_what_rds_proxy_lacks_is_counted() -> None:
    assert of_text(STDERR, source="log").features == {CANCELS: 1, REPLICATION: 1}


ROWS = pytest.mark.parametrize("row", [text_row, csv_row, json_row])


@ROWS
def test_only_the_servers_own_word_is_a_statement(row: Callable[..., str]) -> None:
    """A function may RAISE whatever it likes; who may write LOG there could forge the log."""
    severities = ["LOG", "ERROR", "FATAL", "WARNING", "NOTICE", "INFO", "DEBUG1", "DETAIL"]
    lines = [
        row(f"statement: SELECT '{severity}'", at="2026-11-25 10:00:01.500 UTC", severity=severity)
        for severity in severities
    ]
    assert texts(of_text("\n".join(lines), source="log")) == ["SELECT 'LOG'"]


@ROWS
def test_a_cancelled_statement_is_an_error(row: Callable[..., str]) -> None:
    lines = [
        row("canceling statement due to user request", at="2026-11-25 10:00:01.500 UTC", severity=s)
        for s in ("ERROR", "LOG", "NOTICE")
    ]
    assert of_text("\n".join(lines), source="log").features == {CANCELS: 1}


def test_a_log_of_warnings_is_a_log() -> None:
    line = text_row("there is no transaction", at="2026-11-25 10:00:01.500 UTC", severity="WARNING")
    assert texts(of_text(line, source="log")) == []


def test_a_process_id_that_is_used_again_is_another_session() -> None:
    again = STDERR.replace("10:00:0", "11:00:0")
    sessions = of_text(STDERR + again, source="log").sessions
    assert [session.seconds for session in sessions] == [4.0, 4.0]


def test_lines_that_are_none_are_counted_not_lost_silently() -> None:
    assert of_text("rubbish\n" + STDERR, source="log").skipped == 1


def test_a_file_that_is_no_log_is_an_error_that_says_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="--log-line-prefix"):
        of_text("hello\nworld\n", source="log")
    with pytest.raises(ValueError, match="--log-line-prefix"):
        of_text("", source="log")


def test_without_durations_the_reader_is_told() -> None:
    assert (
        "log_min_duration_statement"
        in of_text(
            CSV.replace("duration: 250.000 ms  ", "")
            .replace("duration: 0.1 ms  ", "")
            .replace("duration: 0.5 ms  ", ""),
            source="log",
        ).notes[0]
    )


def test_a_statement_longer_than_the_csv_module_takes_is_read() -> None:
    text = "SELECT '" + "x" * 200_000 + "'"
    row = csv_row(f"statement: {text}", at="2026-11-25 10:00:01.500 UTC")
    assert texts(of_text(row, source="log")) == [text]


SAMPLES = {
    "%t:%r:%u@%d:[%p]:": "2026-11-25 10:00:00 UTC:10.0.0.1(5432):app@shop:[70]:LOG:  statement: x",
    "%m [%p] %q%u@%d ": "2026-11-25 10:00:00.123 UTC [70] app@shop LOG:  statement: x",
    "%m [%p] %q%u@%d/%a ": "2026-11-25 10:00:00.123 UTC [70] app@shop/web LOG:  statement: x",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ": "2026-11-25 10:00:00 UTC [70]: [3-1] user=app,db=shop,app=web,client=::1 LOG:  statement: x",
    "%t [%p]: user=%u,db=%d,app=%a,client=%h ": "2026-11-25 10:00:00 UTC [70]: user=app,db=shop,app=web,client=::1 LOG:  statement: x",
    "%m [%p] ": "2026-11-25 10:00:00.123 UTC [70] LOG:  statement: x",
}


@pytest.mark.parametrize("prefix", SAMPLES)
def test_a_known_prefix_is_guessed(prefix: str) -> None:
    found = guess([SAMPLES[prefix]]).match(SAMPLES[prefix])
    assert found is not None
    expected = pattern(prefix).match(SAMPLES[prefix])
    assert expected is not None
    told = {name: value for name, value in found.groupdict().items() if value}
    assert told == expected.groupdict()


def test_every_known_prefix_has_its_sample() -> None:
    assert set(KNOWN) < set(SAMPLES)


def test_an_escape_may_be_padded_and_a_percent_doubled() -> None:
    found = pattern("%% %-8p %c ").match("% 70       68.1f LOG:  statement: x")
    assert found is not None
    assert (found["pid"], found["session"], found["message"]) == ("70", "68.1f", "statement: x")


def test_an_unknown_escape_is_an_error() -> None:
    with pytest.raises(ValueError, match="%y"):
        pattern("%y ")
