"""Hostile bytes at the port: nothing escapes, nobody else notices, memory stays bounded.

PYPROXY_FUZZ=20000 attacks longer, PYPROXY_SEED=n begins elsewhere.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.support.messages import (
    Bind,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    Parse,
    Query,
    Sync,
    message,
)
from tests.support.postgres import Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire

ATTACKS = int(os.environ.get("PYPROXY_FUZZ", "600"))
SEED = int(os.environ.get("PYPROXY_SEED", "0"))


@pytest.fixture(scope="module")
def target(postgres: Postgres) -> Iterator[Proxy]:
    with (
        temporary_folder() as folder,
        start_proxy(
            folder, postgres, extensions=["cancel_requests", "direct_tls", "startup_parameters"]
        ) as proxy,
    ):
        yield proxy


@pytest.fixture
def witness(target: Proxy) -> Iterator[Wire]:
    """Another client, in the middle of a transaction of its own."""
    with target.wire(application_name="witness") as wire:
        wire.query("BEGIN; CREATE TEMP TABLE IF NOT EXISTS seen (n int) ON COMMIT DROP")
        yield wire
        wire.query("ROLLBACK")


def check(witness: Wire, number: int) -> None:
    witness.query(f"INSERT INTO seen VALUES ({number})")
    assert witness.value("SELECT max(n) FROM seen") == str(number)


FIRST_PACKETS = [
    struct.pack("!II", 8, 80877103),
    struct.pack("!II", 8, 80877104),
    struct.pack("!IIII", 16, 80877102, 1, 2),
    b"\x00\x00\x00\x29\x00\x03\x00\x00user\0app\0database\0app\0\0" + b"x" * 14,
    b"\x00\x00\x00\x1f\x00\x03\x00\x00user\0app\0database\0\xff\0\0",
    b"\x00\x00\x00\x20\x00\x03\x00\x00user\0app\0options\0-c a=b\0\0",
    b"\x00\x00\x00\x18\x00\x02\x00\x00user\0app\0x\0y\0\0\0",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"",
]


def mangled(rng: random.Random, data: bytes) -> bytes:
    """Flipped, cut, doubled or followed by noise."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    if rng.random() < 0.2:
        del changed[rng.randrange(len(changed) + 1) :]
    if rng.random() < 0.2:
        changed += rng.randbytes(rng.randrange(40))
    return bytes(changed)


def test_before_login(target: Proxy, witness: Wire) -> None:
    """First packets, whole, cut and mangled."""
    rng = random.Random(SEED)
    for number in range(ATTACKS):
        with socket.create_connection((target.host, target.port)) as sock:
            for _ in range(rng.randint(1, 3)):
                try:
                    sock.sendall(mangled(rng, rng.choice(FIRST_PACKETS)))
                    if rng.random() < 0.3:
                        sock.settimeout(0.01)
                        sock.recv(100)
                except OSError:
                    break
        if number % 20 == 0:
            check(witness, number)
    assert "Traceback" not in target.log


def some_message(rng: random.Random) -> bytes:
    name = rng.choice(("", "", "s", "p", "pyproxy_1", "\u00fc"))
    sql = rng.choice(
        ("SELECT 1", "SELEC", "", "BEGIN", "COMMIT", "SELECT $1::int", "SET work_mem = '1MB'",
         "COPY seen FROM STDIN", "SELECT '", "DISCARD ALL", "EXECUTE s", "SELECT pg_sleep(0.01)",
         "DEALLOCATE ALL", "PREPARE s AS SELECT 1", "/*", "SELECT 1; SELECT 1/0", "LISTEN x")
    )  # fmt: skip
    return rng.choice(
        (
            Query(sql), Parse(name, sql, (23,) * rng.randrange(3)), Bind(name, name, (b"1",)),
            Bind(name, name), Execute(name, rng.choice((0, 1, -5))), Describe("S", name),
            Describe(rng.choice("PX"), name), Close("S", name), Close("P", name), Sync(), Sync(),
            Flush(), CopyData(b"1\n"), CopyDone(), CopyFail("x"), FunctionCall(1598, ()),
        )
    ).encode()  # fmt: skip


def test_after_login(target: Proxy, witness: Wire) -> None:
    """Any messages in any order, some of them mangled, and then the line goes dead."""
    rng = random.Random(SEED)
    for number in range(ATTACKS):
        wire = target.wire()
        honest = rng.random() < 0.5
        for _ in range(rng.randint(1, 12)):
            data = some_message(rng)
            if not honest and rng.random() < 0.4:
                data = mangled(rng, data)
            if rng.random() < 0.05:
                data = message(bytes([rng.randrange(256)]), rng.randbytes(rng.randrange(9)))
            try:
                wire.sock.sendall(data)
            except OSError:
                break
        wire.read_quiet(rng.choice((0, 0, 0.005)))
        rng.choice((wire.close, wire.vanish, wire.terminate))()
        wire.close()
        if number % 20 == 0:
            check(witness, number)
    assert "Traceback" not in target.log
    with target.wire() as after:
        assert after.value("SHOW work_mem") == "4MB"


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"S", b"P", b"s", b"S\0", b"\0\0", b"a\0b", b"\0\0\0"]
)
@pytest.mark.parametrize("tag", "QPBDECF")
def test_bodies_that_are_too_short(
    postgres: Postgres, target: Proxy, tag: str, body: bytes
) -> None:
    """Their errors are PostgreSQL's own, and cost nobody the connection."""
    heard = []
    for place in (postgres, target):
        with place.wire() as wire:
            data = message(tag.encode(), body)
            wire.send_in_pieces(data + Sync().encode(), [len(data)])
            replies = wire.read_ready(2 if tag in "QF" else 1)
            heard.append(
                [r.fields["C"] + r.fields["M"] if r.tag == "E" else r.tag for r in replies]
            )
            assert wire.value("SELECT 1") == "1"
    assert heard[0] == heard[1]
    assert "Traceback" not in target.log


def test_memory_stays_bounded(target: Proxy, witness: Wire) -> None:
    """Half-open logins, and messages that promise a gigabyte."""
    before = target.memory()
    crowd = []
    for number in range(150):
        sock = socket.create_connection((target.host, target.port))
        sock.sendall(b"\x00\x00\x27\x10\x00\x03\x00\x00" + b"u" * (number * 60))
        crowd.append(sock)
    promising = [target.wire() for _ in range(20)]
    for wire in promising:
        wire.send(b"Q" + struct.pack("!I", 1_000_000_000) + b"SELECT '" + b"x" * 9_000)
    check(witness, 1)
    assert target.memory() - before < 48 << 20
    for sock in crowd:
        sock.close()
    for wire in promising:
        wire.close()
    time.sleep(0.2)
    check(witness, 2)


def test_nothing_is_left_over(target: Proxy) -> None:
    """No client, no login, no borrowed server remains of all that."""
    target.await_rest(20)
    assert target.metric("pyproxy_client_connections") == 0
    assert target.metric("pyproxy_client_connections_in_setup") == 0
    assert target.api("clients")["clients"] == []
