"""The log's lines, against the ones that RDS Proxy writes."""

import io
import json
from collections.abc import Callable, Iterator

import pytest

from pyproxy import logs

NOW = 1693988893.685  # 2023-09-06T08:28:13.685Z, the moment of a line seen in the wild
PREFIX = "2023-09-06T08:28:13.685Z "


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(stream, clock=lambda: NOW)
    yield stream
    logs.configure(None)


def log(*, debug: bool = True) -> logs.EventLog:
    return logs.EventLog("default", debug)


LINES: list[tuple[str, Callable[[logs.EventLog], None], str]] = [
    (
        "L-01",
        lambda log: log.pinned(51706963, 7, "The connection ran a SQL query."),
        (
            "[WARN] [proxyEndpoint=default] [clientConnection=51706963] The client session was pinned "
            "to the database connection [dbConnection=7] for the remainder of the session. The proxy "
            "can't reuse this connection until the session ends. Reason: The connection ran a SQL "
            "query."
        ),
    ),
    (
        "L-05",
        lambda log: log.announced(1, 7, "R."),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] If this prepared statement runs, the "
            "client session will be pinned to the database connection [dbConnection=7]. Reason: R."
        ),
    ),
    (
        "L-06",
        lambda log: log.released_upon_reset(1, 7),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] [dbConnection=7] The database "
            "connection was released to the connection pool upon session reset."
        ),
    ),
    (
        "L-07",
        lambda log: log.closed_mid_request(1, 7),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] [dbConnection=7] The database "
            "connection closed. Reason: The client connection that borrowed this database connection "
            "from the connection pool was closed in the middle of a request."
        ),
    ),
    (
        "L-08",
        lambda log: log.client_channel_closed(1),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] The client connection closed. Reason: "
            "The TCP channel was closed by either the client or the proxy."
        ),
    ),
    (
        "L-09",
        lambda log: log.client_requested_close(1),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] The client connection closed. Reason: "
            "The client requested that the connection close."
        ),
    ),
    (
        "L-10",
        lambda log: log.client_connected(1, "10.0.0.1", 5000),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] A new client connected from "
            "10.0.0.1:5000."
        ),
    ),
    (
        "L-11",
        lambda log: log.server_connected(None, 7, ("10.0.0.1", 1), ("::1", 5432, 0, 0)),
        (
            "[INFO] [proxyEndpoint=default] [dbConnection=7] A TCP connection was established from the "
            "proxy at 10.0.0.1:1 to the database at [::1]:5432."
        ),
    ),
    (
        "L-11, a Unix socket",
        lambda log: log.server_connected(None, 7, "", "/run/postgresql/.s.PGSQL.5432"),
        (
            "[INFO] [proxyEndpoint=default] [dbConnection=7] [pyproxy] Connected to the database at "
            "/run/postgresql/.s.PGSQL.5432."
        ),
    ),
    (
        "L-13",
        lambda log: log.authentication_failed(
            1, "app", "IAM authentication", tls=True, reason="The authentication token is empty."
        ),
        (
            "[WARN] [proxyEndpoint=default] [clientConnection=1] Proxy authentication with IAM "
            'authentication failed for user "app" with TLS on. Reason: The authentication token is '
            "empty."
        ),
    ),
    (
        "L-14",
        lambda log: log.credentials_unavailable(
            'The IAM role "arn:aws:iam::1:role/r" is not authorized to read the AWS Secrets Manager '
            'secret with the ARN "arn:aws:secretsmanager:s"'
        ),
        (
            "[WARN] [proxyEndpoint=default] Credentials couldn't be retrieved. The IAM role "
            '"arn:aws:iam::1:role/r" is not authorized to read the AWS Secrets Manager secret with '
            'the ARN "arn:aws:secretsmanager:s"'
        ),
    ),
    (
        "ours",
        lambda log: log.client_closed_by_proxy(1, "it was idle"),
        (
            "[INFO] [proxyEndpoint=default] [clientConnection=1] [pyproxy] The client connection "
            "closed. Reason: It was idle."
        ),
    ),
]


@pytest.mark.parametrize(("write", "line"), [row[1:] for row in LINES], ids=[r[0] for r in LINES])
def test_lines_read_as_on_aws(
    stream: io.StringIO, write: Callable[[logs.EventLog], None], line: str
) -> None:
    """LG-02 and L-01 to L-14, character by character."""
    write(log())
    assert stream.getvalue() == PREFIX + line + "\n"


def test_without_debug_only_pins_and_failed_logins_are_written(stream: io.StringIO) -> None:
    """LG-03."""
    quiet = log(debug=False)
    for _, write, _ in LINES:
        write(quiet)
    levels = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert levels == ["[WARN]", "[WARN]"]


def test_debug_can_be_switched_on_while_running(stream: io.StringIO) -> None:
    switched = log(debug=False)
    switched.debug = True
    switched.client_requested_close(1)
    assert "requested" in stream.getvalue()


def test_enhanced_logging_turns_itself_off_after_a_day() -> None:
    """LG-04, S-07: 24 hours after it was turned on, whatever is reloaded meanwhile."""
    enhanced = logs.Enhanced()
    first = enhanced.add(logs.EventLog("default"))
    assert not enhanced.expired(1e9)
    enhanced.switch(True, 100)
    later = enhanced.add(logs.EventLog("reader"))
    assert first.debug
    assert later.debug
    enhanced.switch(True, 50_000)
    assert not enhanced.expired(100 + 86_399)
    assert enhanced.expired(100 + 86_400)
    assert not first.debug
    assert not later.debug
    assert not enhanced.expired(1e9)
    enhanced.switch(True, 200_000)
    assert later.debug
    enhanced.switch(False, 200_001)
    assert not later.debug


def test_a_client_cannot_write_lines_of_its_own(stream: io.StringIO) -> None:
    """A user name with a line break stays on its line."""
    log().authentication_failed(
        1, "a\n2023 [WARN] forged\x1b[2J\u2028", "x", tls=False, reason="R."
    )
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert r"a\n2023 [WARN] forged\x1b[2J\x2028" in text


def test_json_carries_the_same_facts(stream: io.StringIO) -> None:
    logs.configure(stream, json=True, clock=lambda: NOW)
    log().pinned(1, 7, "R.", rule="PIN-PG-01")
    log().note("INFO", "two\nlines", None, 7)
    pinned, note = map(json.loads, stream.getvalue().splitlines())
    assert pinned["clientConnection"] == 1
    assert pinned["rule"] == "PIN-PG-01"
    assert pinned["timestamp"] == "2023-09-06T08:28:13.685Z"
    assert note == {
        "timestamp": "2023-09-06T08:28:13.685Z",
        "level": "INFO",
        "proxyEndpoint": "default",
        "message": "two\nlines",
        "dbConnection": 7,
        "source": "pyproxy",
    }


def test_a_bug_is_written_with_its_traceback_on_one_line(stream: io.StringIO) -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        log().failure(5)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "KeyError: 'gone' | Traceback" in text


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    closed = io.StringIO()
    closed.close()
    logs.configure(closed)
    log().note("INFO", "into the void")
    logs.configure(None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("10.0.0.1", 5), ("10.0.0.1", 5)),
        (("::1", 5, 0, 0), ("::1", 5)),
        ("", ("", 0)),
        (None, ("", 0)),
    ],
)
def test_addresses_are_read_as_sockets_give_them(
    address: object, expected: tuple[str, int]
) -> None:
    assert logs.format_address(address) == expected
