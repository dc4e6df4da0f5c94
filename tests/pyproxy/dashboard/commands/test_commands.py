"""The commands that ask a running proxy: output, exit codes, errors of one line."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from pyproxy.assessment.commands import audit
from pyproxy.dashboard.commands import healthcheck, metrics, pins
from pyproxy.dashboard.listings import MAX_LIMIT
from pyproxy.lab import failover_command
from tests.pyproxy.dashboard.conftest import Open
from tests.support.fake_view import FakeView, pin_row, session_row

TABLE = """\
RULE       COUNT  HELD  DIGEST
PIN-PG-01     12     3  set search_path to $1,$2
                        psql, held servers for 6 min, 5 min of it
                        idle; others waited 5 times
                        -> Put it into the init query, or into the
                           startup parameters of the client.
PIN-PG-06     12     3  listen jobs
                        psql, held servers for 6 min, 5 min of it
                        idle; others waited 5 times
                        -> Listen on a connection that bypasses the
                           proxy.

Servers held now, the longest first:
  90 s, 80 s idle  client 4173595554 (psql), statement 3: SET search_path TO app, public
"""


async def run(command: ModuleType, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    code = await asyncio.to_thread(command.run, parser.parse_args(words))
    assert isinstance(code, int)
    return code


@pytest.fixture(autouse=True)
def _narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "68")


async def test_pins_are_a_table_with_remedies(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened() as house:
        assert await run(pins, "--url", house.server.url) == 0
    assert capsys.readouterr().out == TABLE


async def test_a_long_digest_is_cut_and_a_line_end_in_it_is_none(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    view = FakeView()
    view.all_pins = [pin_row("PIN-PG-01", "set x = $1;\n" + "set y = $1; " * 50, "Do not.")]
    view.all_sessions = []
    async with opened(view) as house:
        assert await run(pins, "--url", house.server.url) == 0
    _, line, _, _, remedy = capsys.readouterr().out.splitlines()
    assert line.startswith("PIN-PG-01     12     3  set x = $1; set y = $1;")
    assert line.endswith(" ...")
    assert len(line) <= 68
    assert remedy.strip() == "-> Do not."


async def test_what_a_client_sends_does_not_command_the_terminal(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lesson: log injection."""
    view = FakeView()
    pin = pin_row("PIN-PG-01", "set x = $1", "a remedy")
    pin["application_name"] = "\x1b[31mred"
    session = session_row(held=True)
    session["statement"] = "SET x = '\x1b]0;owned\x07'"
    view.all_pins, view.all_sessions = [pin], [session]
    async with opened(view) as house:
        assert await run(pins, "--url", house.server.url) == 0
    shown = capsys.readouterr().out
    assert "\\x1b[31mred" in shown
    assert "SET x = '\\x1b]0;owned\\x07'" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_nor_does_what_a_log_of_the_database_has_in_it(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "postgresql.log"
    log.write_text("2026-01-01 12:00:00.000 UTC [123] LOG:  statement: SET x = '\x1b[2J'\n")
    parser = argparse.ArgumentParser()
    audit.add_arguments(parser)
    audit.run(parser.parse_args(["--log", str(log), "--format", form]))
    shown = capsys.readouterr().out
    assert "\\x1b[2J" in shown
    assert "\x1b" not in shown


async def test_pins_as_json_are_the_rows(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    async with opened() as house:
        assert await run(pins, "--url", house.server.url, "--json") == 0
    ledger = json.loads(capsys.readouterr().out)
    assert [row["rule"] for row in ledger["pins"]] == ["PIN-PG-01", "PIN-PG-06"]
    assert [row["held"] for row in ledger["sessions"]] == [True, False]


async def test_no_pins_is_said_in_words(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    view = FakeView()
    view.all_pins = []
    view.all_sessions = []
    async with opened(view) as house:
        assert await run(pins, "--url", house.server.url) == 0
        assert capsys.readouterr().out == "No session has been pinned.\n"
        assert await run(pins, "--url", house.server.url, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"pins": [], "sessions": []}


async def test_many_holders_are_cut_short(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    view = FakeView()
    view.all_sessions = [session_row(held=True)] * 13
    async with opened(view) as house:
        assert await run(pins, "--url", house.server.url) == 0
    out = capsys.readouterr().out
    assert out.count("client 4173595554") == 10
    assert out.endswith("... and 3 more: --json has them all.\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (90, "90 s"), (340, "6 min"), (7300, "2 h"), (200_000, "2 d")],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert pins.duration(seconds) == text


@pytest.mark.parametrize(
    ("command", "code"), [(pins, 2), (metrics, 2), (healthcheck, 1)], ids=["pins", "metrics", "hc"]
)
async def test_a_proxy_that_does_not_run_is_an_error_of_one_line(
    command: ModuleType, code: int, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2: it could not be asked. A health check has only yes and no."""
    assert await run(command, "--url", f"http://127.0.0.1:{free_port}") == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "is pyproxy running there?" in captured.err


async def test_a_healthy_proxy_is_ready(opened: Open, capsys: pytest.CaptureFixture[str]) -> None:
    async with opened() as house:
        assert await run(healthcheck, "--url", house.server.url) == 0
    assert capsys.readouterr().out == "ready: db-a is available\n"


async def test_an_unhealthy_proxy_says_why(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    view = FakeView()
    view.is_ready = False
    async with opened(view) as house:
        assert await run(healthcheck, "--url", house.server.url) == 1
    captured = capsys.readouterr()
    assert captured.err == "not ready: no target is available: db-a refuses connections\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    "text",
    [
        "http: {port: PORT}",
        "http: {host: 0.0.0.0, port: PORT}",
        "http: {host: localhost, port: '${HTTP_PORT}'}",
        "http: {port: ${HTTP_PORT}}\nendpoints: {not: a list}\nproxy: ${NOT_SET}",
    ],
    ids=["port", "everywhere", "variable", "wrong elsewhere"],
)
async def test_a_health_check_asks_where_the_configuration_says(
    text: str, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not finished yet changes nothing, neither for the proxy nor for its health."""
    config = tmp_path / "pyproxy.yaml"
    async with opened() as house:
        port = house.server.url.rpartition(":")[2]
        monkeypatch.setenv("HTTP_PORT", port)
        config.write_text(text.replace("port: PORT", f"port: {port}"))
        assert await run(healthcheck, "--config", str(config)) == 0


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:8432"),
        ("http: {host: '::'}", "http://[::1]:8432"),
        ("http: {host: 10.0.0.7, port: 1}", "http://10.0.0.7:1"),
    ],
    ids=["default", "everywhere", "an address"],
)
def test_where_a_proxy_is_asked_about_its_health(text: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "pyproxy.yaml").write_text(text)
    assert healthcheck.configured_url(tmp_path / "pyproxy.yaml") == url


@pytest.mark.parametrize("text", ["[", "[]", "http: {port: many}", "\0", None])
def test_a_health_check_of_a_file_that_says_nothing_asks_the_default(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "pyproxy.yaml"
    if text is not None:
        config.write_text(text)
    assert healthcheck.configured_url(config) == "http://127.0.0.1:8432"
    assert capsys.readouterr().err == (
        f"pyproxy healthcheck: {config} does not tell where, asking http://127.0.0.1:8432\n"
    )


async def test_metrics_are_shown_as_scraped(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened() as house:
        assert await run(metrics, "--url", house.server.url) == 0
    assert "# HELP pyproxy_client_connections CloudWatch ClientConnections: " in (
        capsys.readouterr().out
    )


async def test_metrics_as_json_are_one_document(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened() as house:
        assert await run(metrics, "--url", house.server.url, "--format", "json") == 0
    families = json.loads(capsys.readouterr().out)
    assert "ClientConnections" in {family["cloudwatch"] for family in families}


async def test_metrics_as_emf_are_one_document_a_line(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened() as house:
        words = ("--url", house.server.url, "--format", "emf", "--namespace", "Staging")
        assert await run(metrics, *words) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(documents) == 7, "the proxy, 2 endpoints, 2 targets, 2 roles"
    assert all(d["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Staging" for d in documents)


async def test_metrics_by_interval_go_on_until_the_proxy_ends(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first look only sets the beginning of the first interval."""
    async with opened() as house:
        words = ("--url", house.server.url, "--format", "emf", "--interval", "0.01")
        running = asyncio.create_task(run(metrics, *words))
        written = ""
        async with asyncio.timeout(5):
            while written.count("\n") < 14:
                await asyncio.sleep(0.001)
                written += capsys.readouterr().out
    assert await running == 2
    assert "cannot be reached" in capsys.readouterr().err


async def test_more_pins_than_fit_are_said_to_exist(
    opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    view = FakeView()
    view.all_pins = [
        pin_row("PIN-PG-01", f"set a{n} = $1", "Do not.") for n in range(MAX_LIMIT + 1)
    ]
    view.all_sessions = []
    async with opened(view) as house:
        assert await run(pins, "--url", house.server.url) == 0
    assert capsys.readouterr().out.endswith("... and more: only the first 10000 are shown.\n")


async def test_to_interrupt_is_how_an_interval_ends(
    opened: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        assert seconds == 60
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    async with opened() as house:
        assert await run(metrics, "--url", house.server.url, "--interval", "60") == 0
    assert capsys.readouterr().err == ""


@asynccontextmanager
async def stranger(status: str, body: bytes) -> AsyncIterator[str]:
    """An HTTP server that is no proxy of ours."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("command", "words", "status", "body", "code", "said"),
    [
        (healthcheck, (), "200 OK", b"hello", 1, "is not a pyproxy"),
        (metrics, (), "404 Not Found", b"", 2, "/metrics answered 404: is this pyproxy?"),
        (
            metrics,
            ("--format", "emf"),
            "200 OK",
            b"pyproxy_{}{ 1",
            2,
            "is not in Prometheus' format",
        ),
        (metrics, (), "200 OK", b"<html></html>", 2, "/metrics has no metric of PyProxy: is this"),
        (pins, (), "200 OK", b"<html></html>", 2, "answered 200 without JSON: is this pyproxy?"),
        (pins, (), "200 OK", b"{}", 2, "answered otherwise than pyproxy "),
        (pins, (), "200 OK", b'{"pins": 3, "sessions": []}', 2, "is it one, and of this version?"),
        (pins, (), "200 OK", b'{"pins": [{}], "sessions": []}', 2, "answered otherwise than"),
        (pins, ("--json",), "200 OK", b"{}", 2, "answered otherwise than"),
        (pins, (), "500 No", b'{"error": "a\\nb"}', 2, "answered 500: a b"),
        (pins, (), "500 No", b'{"error": {}}', 2, "answered 500: is this pyproxy?"),
        (failover_command, (), "404 Not Found", b"<html></html>", 1, "answered 404 without JSON"),
        (failover_command, (), "409 No", b'{"error": "not now"}', 1, "answered 409: not now"),
        (failover_command, (), "200 OK", b"<html></html>", 2, "answered 200 without JSON: is this"),
        (failover_command, (), "500 No", b"<html></html>", 2, "answered 500 without JSON: is this"),
        (failover_command, (), "202 OK", b"{}", 2, "answered otherwise than pyproxy "),
        (failover_command, (), "202 OK", b'{"after": 1}', 2, "answered 202: is this pyproxy?"),
        (audit, (), "200 OK", b"{}", 2, "answered otherwise than pyproxy "),
        (audit, (), "200 OK", b'{"pins": [1], "endpoints": []}', 2, "answered otherwise than"),
    ],
)
async def test_another_server_is_told_as_such(
    command: ModuleType,
    words: tuple[str, ...],
    status: str,
    body: bytes,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with stranger(status, body) as url:
        assert await run(command, "--url", url, *words) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
