"""A real proxy's log, read by the parsers that people have for RDS Proxy's (LG-01 to LG-07).

One proxy writes text, another JSON; the same things happen at both. Every line is parsed by the
grammar that was observed, every template that was seen is met word for word (L-01 to L-13, L-16).
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.support.messages import Bind, Execute, Parse, Query, Sync
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import LoginFailed, Wire

pytestmark = pytest.mark.integration

# LG-02, as a public parser of RDS Proxy's log group has it.
LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \[(?P<level>INFO|WARN)\] "
    r"\[proxyEndpoint=(?P<endpoint>[^\]]+)\] "
    r"(?:\[clientConnection=(?P<client>\d{1,10})\] )?"
    r"(?:\[dbConnection=(?P<server>\d{1,10})\] )?"
    r"(?P<message>.+)"
)
# LG-07: what re:Post's CloudWatch Logs Insights query filters by.
INSIGHTS = "The client session was pinned to the database connection"

PINNED = (
    r"The client session was pinned to the database connection \[dbConnection=\d+\] for the "
    r"remainder of the session\. The proxy can't reuse this connection until the session ends\. "
    r"Reason: "
)
SETTINGS = (
    r"SQL changed session settings that the proxy doesn't track\. Consider moving session "
    r"configuration to the proxy's initialization query\. Digest: "
)
ADDRESS = r"(?:\d{1,3}\.){3}\d{1,3}:\d{1,5}"
CLOSED = r"The client connection closed\. Reason: "

# Level, whole message, and which connections the line names.
TEMPLATES = {
    "L-01 L-02": ("WARN", PINNED + SETTINGS + r'"set search_path to \$1, \$2"\.', "client"),
    "L-01 L-03": (
        "WARN",
        PINNED + r"The connection ran a SQL query which exceeded the 16384 byte limit\.",
        "client",
    ),
    "L-01 L-04b": (
        "WARN",
        (
            PINNED
            + r"Running a prepared statement\. "
            + SETTINGS
            + r'"set work_mem = \$1"\. \[pyproxy\]'
        ),
        "client",
    ),
    "L-05": (
        "INFO",
        r"If this prepared statement runs, the client session will be pinned to the database "
        r"connection \[dbConnection=\d+\]\. Reason: " + SETTINGS + r'"set work_mem = \$1"\.',
        "client",
    ),
    "L-06": (
        "INFO",
        r"The database connection was released to the connection pool upon session reset\.",
        "both",
    ),
    "L-07": (
        "INFO",
        (
            r"The database connection closed\. Reason: The client connection that borrowed this "
            r"database connection from the connection pool was closed in the middle of a request\."
        ),
        "both",
    ),
    "L-08": (
        "INFO",
        CLOSED + r"The TCP channel was closed by either the client or the proxy\.",
        "client",
    ),
    "L-09": ("INFO", CLOSED + r"The client requested that the connection close\.", "client"),
    "L-10": ("INFO", rf"A new client connected from {ADDRESS}\.", "client"),
    "L-11": (
        "INFO",
        (
            rf"A TCP connection was established from the proxy at {ADDRESS} to the database at "
            rf"{ADDRESS}\."
        ),
        "server",
    ),
    "L-12": (
        "WARN",
        (
            r'Proxy authentication with PostgreSQL native password authentication failed for user "app"'
            r" with TLS off\. Reason: .+"
        ),
        "client",
    ),
    "L-13": (
        "WARN",
        (
            r'Proxy authentication with IAM authentication failed for user "md5" with TLS on\. Reason: '
            r"The proxy couldn't authenticate using IAM\. The authentication token is empty\."
        ),
        "client",
    ),
    # What the database itself says, passed on in a line of ours.
    "L-16": (
        "WARN",
        (
            r'\[pyproxy\] no connection to target db-a: no pg_hba\.conf entry for host "127\.0\.0\.1", '
            r'user "trusted", database "closed", .+'
        ),
        "none",
    ),
}


class Entry(NamedTuple):
    level: str
    message: str
    names: str
    """Which connections it names: client, server, both, none."""

    ours: bool


def names(client: object, server: object) -> str:
    return {
        (True, True): "both", (True, False): "client", (False, True): "server",
    }.get((client is not None, server is not None), "none")  # fmt: skip


def read_text(log: str) -> Iterator[Entry]:
    for line in log.splitlines():
        found = LINE.fullmatch(line)
        assert found, f"no parser of RDS Proxy's log reads this: {line}"
        for number in (found["client"], found["server"]):
            assert number is None or int(number) < 2**32, "an unsigned 32-bit number"
        ours = found["message"].startswith("[pyproxy] ")
        yield Entry(found["level"], found["message"], names(found["client"], found["server"]), ours)


def read_json(log: str) -> Iterator[Entry]:
    for line in log.splitlines():
        value = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value["timestamp"])
        assert value["proxyEndpoint"] == "default"
        ours = value.get("source") == "pyproxy"
        message = f"[pyproxy] {value['message']}" if ours else value["message"]
        connections = names(value.get("clientConnection"), value.get("dbConnection"))
        yield Entry(value["level"], message, connections, ours)


Read = Callable[[str], Iterator[Entry]]


@pytest.fixture(scope="module", params=["text", "json"])
def written(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[tuple[Proxy, Read]]:
    """A proxy at which everything has happened that RDS Proxy writes a line about."""
    hba = postgres.cluster.data / "pg_hba.conf"
    before = hba.read_text()
    postgres.make_database("closed")
    hba.write_text(_without_closed(before))
    with postgres.admin("postgres") as admin:
        admin.query("SELECT pg_reload_conf()")
    auth = [{"secret_arn": "app"}, {"secret_arn": "trusted"},
            {"secret_arn": "md5", "iam_auth": "REQUIRED"}]  # fmt: skip
    keys = [{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}]
    try:
        with (
            temporary_folder() as folder,
            start_proxy(
                folder,
                postgres,
                log_format=request.param,
                proxy={"debug_logging": True, "auth": auth},
                iam={"access_keys": keys},
            ) as proxy,
        ):
            everything_happens(proxy)
            yield proxy, read_text if request.param == "text" else read_json
    finally:
        hba.write_text(before)
        with postgres.admin("postgres") as admin:
            admin.query("SELECT pg_reload_conf()")
            admin.query("DROP DATABASE closed WITH (FORCE)")


def _without_closed(hba: str) -> str:
    """Every rule for other databases than `closed`."""
    return hba.replace("host all ", "host app,postgres ")


def everything_happens(proxy: Proxy) -> None:
    with proxy.wire() as client:
        client.query("SET search_path TO app, public")
        client.terminate()
    with proxy.wire() as client:
        client.query(f"SELECT '{'x' * 17_000}'")
        client.vanish()
    with proxy.wire() as client:
        client.ask(Parse("s", "SET work_mem = '8MB'"), Sync())
        client.ask(Bind("", "s"), Execute(), Sync())
    with proxy.wire() as client:
        client.send(Query("SELECT pg_sleep(30)"))
        time.sleep(0.2)
    with pytest.raises(LoginFailed):
        Wire(proxy.host, proxy.port).login("app", "wrong", "app")
    secure = Wire(proxy.host, proxy.port)
    secure.start_tls(ssl.create_default_context(cafile=str(proxy.certificate_authority)))
    with pytest.raises(LoginFailed):
        secure.login("md5", "", "app")
    with pytest.raises(LoginFailed):
        Wire(proxy.host, proxy.port).login("trusted", PASSWORD, "closed")
    proxy.wait_for_log("closed in the middle of a request")


def test_every_line_is_read_by_parsers_of_rds_proxys_log(written: tuple[Proxy, Read]) -> None:
    """LG-02."""
    proxy, read = written
    entries = list(read(proxy.log))
    assert len(entries) > 20
    assert {entry.level for entry in entries} == {"INFO", "WARN"}


@pytest.mark.parametrize("line", TEMPLATES)
def test_a_line_is_awss_word_for_word(written: tuple[Proxy, Read], line: str) -> None:
    proxy, read = written
    level, template, connections = TEMPLATES[line]
    pattern = re.compile(template)
    deadline = time.monotonic() + 10
    while not (found := [entry for entry in read(proxy.log) if pattern.fullmatch(entry.message)]):
        assert time.monotonic() < deadline, f"{line} is not in:\n{proxy.log}"
        time.sleep(0.05)
    assert {(entry.level, entry.names) for entry in found} == {(level, connections)}


def test_what_is_not_awss_says_so(written: tuple[Proxy, Read]) -> None:
    """LG-06: a line of no known template carries our mark; one that has it, none of theirs."""
    proxy, read = written
    known = [re.compile(template) for name, (_, template, _) in TEMPLATES.items() if name != "L-16"]
    for entry in read(proxy.log):
        assert entry.ours != any(pattern.fullmatch(entry.message) for pattern in known), entry


def test_the_query_of_re_post_finds_every_pin(written: tuple[Proxy, Read]) -> None:
    """LG-07."""
    proxy, read = written
    assert sum(INSIGHTS in entry.message for entry in read(proxy.log)) == 3


def test_the_parse_line_of_2020_is_there_in_the_legacy_preset(postgres: Postgres) -> None:
    """L-04, PS-01."""
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, compatibility={"preset": "legacy_2023"}) as proxy,
        proxy.wire() as client,
    ):
        client.ask(Parse("", "SELECT 1"), Sync())
        line = proxy.wait_for_log(INSIGHTS)
        assert line.endswith(" Reason: A parse message was detected.")


def test_without_enhanced_logging_only_pins_and_failed_logins_are_awss(postgres: Postgres) -> None:
    """LG-03."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        with proxy.wire() as client:
            client.query("SET work_mem = '8MB'")
        with pytest.raises(LoginFailed):
            Wire(proxy.host, proxy.port).login("app", "wrong", "app")
        proxy.wait_for_log("authentication failed")
        proxy.await_rest()
        entries = [entry for entry in read_text(proxy.log) if not entry.ours]
        assert [entry.level for entry in entries] == ["WARN", "WARN"]
