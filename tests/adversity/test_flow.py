"""Who can't take more holds back the other side, instead of filling the proxy's memory."""

from __future__ import annotations

import time

import pytest

from tests.support.fake_server import READY, FakeServer, Peer, error, honest
from tests.support.messages import Bind, CopyData, CopyDone, Execute, Parse, Query, Sync, message
from tests.support.postgres import Postgres, temporary_folder
from tests.support.proxy import start_proxy
from tests.support.wire import Wire, tags_of

pytestmark = pytest.mark.adversity

MEGABYTE = 1 << 20


def test_a_slow_reader_of_a_gigabyte_costs_no_memory(postgres: Postgres) -> None:
    """The database waits until the client has read."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:
        with proxy.wire() as warm:
            warm.value("SELECT 1")
        before = proxy.memory()
        wire = Wire(proxy.host, proxy.port, receive_buffer=64 * 1024)
        with wire.login("app", "secret", "app"):
            wire.send(Query("SELECT repeat('x', 1048576) FROM generate_series(1, 1024)"))
            highest = before
            for _ in range(15):
                wire.receive(time.monotonic() + 1)
                time.sleep(0.05)
                highest = max(highest, proxy.memory())
            with proxy.wire() as other:
                assert other.value("SELECT 'unharmed'") == "unharmed"
            wire.vanish()
        assert highest - before < 24 * MEGABYTE


def test_a_row_larger_than_any_buffer_passes(postgres: Postgres) -> None:
    """Both ways, in bounded memory."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy, proxy.wire() as wire:
        before = proxy.memory()
        size = 100 * MEGABYTE
        rows = wire.query(f"SELECT length(repeat('x', {size}))")
        assert rows == [(str(size),)]
        (reply,) = (r for r in wire.ask(Query(f"SELECT repeat('x', {size})")) if r.tag == "D")
        assert len(reply.body) == size + 6
        replies = wire.ask(
            Parse("", "SELECT length($1::text)"), Bind("", "", (b"y" * size,)), Execute(), Sync()
        )
        assert [r.values for r in replies if r.tag == "D"] == [[b"%d" % size]]
        assert proxy.memory() - before < 40 * MEGABYTE


def test_a_statement_larger_than_any_buffer_passes_and_pins(postgres: Postgres) -> None:
    """PIN-ALL-01."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy, proxy.wire() as wire:
        text = "SELECT length('" + "x" * (3 * MEGABYTE) + "')"
        assert wire.value(text) == str(3 * MEGABYTE)
        replies = wire.ask(Parse("", text), Bind(), Execute(), Sync())
        assert tags_of(replies) == "12DCZ"
        replies = wire.ask(Parse("named", text), Bind("", "named"), Execute(), Sync())
        assert tags_of(replies) == "12DCZ"
        proxy.wait_for_log("exceeded the 16384 byte limit")
        assert [row["rule"] for row in proxy.api("pins")["pins"]] == ["PIN-ALL-01"]


def test_an_unnamed_statement_too_long_to_hold_stays(postgres: Postgres) -> None:
    """Neither a discarded Parse nor a setting of the proxy's own takes it away."""
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres) as proxy,
        proxy.wire(application_name="flow") as wire,
    ):
        text = "SELECT length('" + "x" * MEGABYTE + "')"
        call = Bind(), Execute(), Sync()
        assert tags_of(wire.ask(Parse("", text), *call)) == "12DCZ"
        assert tags_of(wire.ask(Bind("", "nobody"), Parse("", "SELECT 1"), Sync())) == "EZ"
        assert tags_of(wire.ask(*call)) == "2DCZ"
        reset = Parse("reset", "RESET application_name"), Bind("", "reset"), Execute(), Sync()
        assert tags_of(wire.ask(*reset)) == "12CZ"
        assert tags_of(wire.ask(*call)) == "2DCZ"


def test_a_database_that_takes_nothing_holds_back_copy(postgres: Postgres) -> None:
    """COPY into a table that somebody has locked: the writer is stopped, not stored."""
    with temporary_folder() as folder, start_proxy(folder, postgres) as proxy:  # noqa: SIM117
        with postgres.wire() as locker, proxy.wire() as writer:
            locker.query("DROP TABLE IF EXISTS a_flow; CREATE TABLE a_flow (t text)")
            locker.query(
                "CREATE OR REPLACE FUNCTION a_wait() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$;"
                "CREATE TRIGGER a_wait BEFORE INSERT ON a_flow FOR EACH ROW EXECUTE FUNCTION a_wait()"
            )
            locker.query("BEGIN; SELECT pg_advisory_xact_lock(4711)")
            writer.send(Query("COPY a_flow FROM STDIN"))
            writer.read_until("G")
            before = proxy.memory()
            chunk = CopyData(b"x" * 65_000 + b"\n").encode()
            writer.sock.setblocking(False)
            sent, rest, deadline = 0, b"", time.monotonic() + 5
            while time.monotonic() < deadline and sent < 200 * MEGABYTE:
                rest = rest or chunk
                try:
                    done = writer.sock.send(rest)
                except BlockingIOError:
                    time.sleep(0.02)
                    continue
                sent += done
                rest = rest[done:]
            assert sent < 64 * MEGABYTE
            assert proxy.memory() - before < 24 * MEGABYTE
            locker.query("COMMIT")
            writer.sock.setblocking(True)
            writer.send(rest, CopyDone())
            assert tags_of(writer.read_ready()) == "CZ"


def test_a_writer_that_goes_on_after_its_copy_has_failed_is_read_on() -> None:
    """Lesson 12: its server is lent on while that still swallows what it ignores."""

    def answer(peer: Peer, tag: bytes, body: bytes) -> None:
        if body.startswith(b"COPY"):
            peer.say(message(b"G", b"\0\0\0"))
            time.sleep(0.5)
            peer.say(error("ERROR", "22P02", "no number"), READY)
            time.sleep(0.5)
        else:
            honest(peer, tag, body)

    with FakeServer(answer) as database, temporary_folder() as folder:  # noqa: SIM117
        with start_proxy(folder, database) as proxy, proxy.wire() as wire:
            late = CopyData(b"x" * 60_000).encode() * 400
            wire.send(Query("COPY"), late, CopyDone(), Query("still"))
            assert tags_of(wire.read_ready(2)) == "GEZTDCZ"
