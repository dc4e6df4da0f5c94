"""Hostile bytes in logins, from both sides: clients that mangle what they prove, databases that do.

PYPROXY_FUZZ=20000 attacks longer, PYPROXY_SEED=n begins elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from protocol.postgres.errors import ProtocolError
from pyproxy.config import TargetConfig
from pyproxy.pooling.pool import PoolKey
from pyproxy.postgres.connect import Proof, Refused, connect
from pyproxy.targets.target import Target
from tests.support.messages import message, startup, text
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.scram_client import Scram, md5_response
from tests.support.wire import ClosedByPeer, Silence, Wire

ATTACKS = int(os.environ.get("PYPROXY_FUZZ", "400"))
SEED = int(os.environ.get("PYPROXY_SEED", "0"))


def mangled(rng: random.Random, data: bytes) -> bytes:
    """Flipped, cut, doubled, stretched; or as it was."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 3))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.choice((0, 44, 61, 255, rng.randrange(256)))
    if rng.random() < 0.2:
        del changed[rng.randrange(len(changed) + 1) :]
    if rng.random() < 0.15:
        changed += rng.randbytes(rng.randrange(200))
    if rng.random() < 0.1:
        changed *= 2
    if rng.random() < 0.03:
        changed += b"x" * 100_000
    return bytes(changed)


# -- hostile clients -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def target(postgres: Postgres) -> Iterator[Proxy]:
    access_key = {"access_key_id": "AKID", "secret_access_key": "x"}
    users = [
        {"secret_arn": "app"},
        {"secret_arn": "md5", "client_password_auth_type": "POSTGRES_MD5"},
        {"secret_arn": "clear", "iam_auth": "REQUIRED"},
    ]
    with (
        temporary_folder() as folder,
        start_proxy(
            folder,
            postgres,
            proxy={"auth": users},
            iam={"access_keys": [access_key]},
            extensions=["channel_binding", "direct_tls"],
        ) as proxy,
    ):
        yield proxy


def answer(challenge: bytes, scram: Scram, user: str) -> bytes:
    """What an honest client would say, as the body of its message."""
    (code,) = struct.unpack_from("!I", challenge)
    if code == 3:
        return text("localhost:6432/?Action=connect&DBUser=clear&X-Amz-Signature=" + "0" * 64)
    if code == 5:
        return text(md5_response(user, "wrong", challenge[4:]))
    if code == 10:
        first = scram.first()
        return text("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first
    # The nonce as it came back: ours may have been mangled on its way there.
    nonce = challenge[4:].split(b",")[0].removeprefix(b"r=")
    return b"c=biws,r=" + nonce + b",p=" + b"A" * 43 + b"="


def attack(wire: Wire, rng: random.Random, user: str) -> str:
    """Log in with mangled proofs; how it ended."""
    scram = Scram("wrong")
    wire.sock.sendall(startup({"user": user, "database": "app"}))
    while True:
        try:
            reply = wire.read()
        except (ClosedByPeer, Silence) as end:
            return type(end).__name__
        if reply.tag != "R":
            return reply.tag
        said = mangled(rng, answer(reply.body, scram, user))
        tag = b"p" if rng.random() < 0.95 else rng.randbytes(1)
        data = message(tag, said)
        if rng.random() < 0.05:
            # A length that is a lie.
            data = data[:1] + struct.pack("!i", rng.choice((-1, 0, 3, 5, 1 << 30))) + data[5:]
        with contextlib.suppress(OSError):
            if rng.random() < 0.2:
                wire.send_in_pieces(data, [rng.randrange(1, min(len(data), 40))])
            else:
                wire.sock.sendall(data)
        if rng.random() < 0.1:
            wire.vanish()
            return "gone"


def test_mangled_proofs(target: Proxy) -> None:
    """Every way to log in; nobody gets in, everybody who waits is told once, nothing is left."""
    rng = random.Random(SEED)
    context = ssl.create_default_context(cafile=str(target.certificate_authority))
    before = target.memory()
    for number in range(ATTACKS):
        user = rng.choice(("app", "md5", "clear", "clear", "nobody"))
        with Wire(target.host, target.port, timeout=0.1) as wire:
            if user == "clear" or rng.random() < 0.1:
                wire.start_tls(context)
            ended = attack(wire, rng, user)
        # Silence is for a message that promises more than it has.
        assert ended in ("E", "ClosedByPeer", "Silence", "gone"), ended
        if number % 50 == 0:
            with target.wire() as honest:
                assert honest.value("SELECT 1") == "1"
    assert "Traceback" not in target.log
    assert target.memory() - before < 32 << 20
    with target.wire() as honest:
        assert honest.value("SELECT 1") == "1"


# -- hostile databases -----------------------------------------------------------------------------


def _row(*values: bytes) -> bytes:
    parts = b"".join(struct.pack("!i", len(value)) + value for value in values)
    return message(b"D", struct.pack("!H", len(values)) + parts)


_OK: Final = message(b"R", bytes(4))
_READY: Final = message(b"Z", b"I")
_SAID: Final = (
    _OK,
    _READY,
    message(b"R", struct.pack("!I", 3)),
    message(b"R", struct.pack("!I", 5) + b"salt"),
    message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"),
    message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256-PLUS\0\0"),
    message(b"R", struct.pack("!I", 11) + b"r=abc,s=c2FsdA==,i=4096"),
    message(b"R", struct.pack("!I", 11) + b"r=abc,s=c2FsdA==,i=2000000000"),
    message(b"R", struct.pack("!I", 12) + b"v=AAAA"),
    message(b"R", struct.pack("!I", 7)),
    message(b"S", b"client_encoding\0UTF8\0"),
    message(b"K", struct.pack("!II", 1, 2)),
    message(b"N", b"SNOTICE\0\0"),
    message(b"E", b"SFATAL\0C28P01\0Mno\0\0"),
    message(b"E", b"Mwithout a code\0\0"),
    message(b"E", b"\0"),
    message(b"v", struct.pack("!II", 0, 0)),
    message(b"T", b"\0\0"),
    _row(b"100", b"3", b"0", b"f", b"f"),
    _row(b"many", b"3", b"0", b"f", b"f"),
    _row(b"100"),
    message(b"C", b"SELECT 1\0"),
    message(b"1"),
)
_HONEST: Final = (
    _OK + message(b"S", b"a\0b\0") + message(b"K", bytes(8)) + _READY,
    _row(b"100", b"3", b"0", b"f", b"f") + message(b"C", b"SELECT 1\0") + _READY,
)


def script(rng: random.Random) -> list[bytes]:
    """What it answers to each thing it hears."""
    if rng.random() < 0.5:
        return [mangled(rng, said) for said in _HONEST]
    return [
        mangled(rng, b"".join(rng.choice(_SAID) for _ in range(rng.randint(1, 6))))
        for _ in range(rng.randint(1, 6))
    ]


@contextlib.asynccontextmanager
async def hostile(rng: random.Random) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Closed when it is cancelled, too: before Python 3.12 nobody waits for it to end.
        with contextlib.suppress(OSError), contextlib.closing(writer):
            for said in script(rng):
                # A client that waits for the rest of something is not waited for.
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(1 << 16), 0.03):
                        break
                writer.write(said)
            await writer.drain()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.both_loops
async def test_a_hostile_database(postgres: Postgres) -> None:
    """CVE-2026-6664 to 6666 of PgBouncer: only errors that the pools know, and always an end."""
    rng = random.Random(SEED)
    outcomes: dict[str, int] = {}
    async with hostile(rng) as port:
        target = Target(TargetConfig(id="db", port=port, tls="disable"))
        for _ in range(ATTACKS):
            try:
                async with asyncio.timeout(5):
                    connected = await connect(
                        target,
                        PoolKey("app", "app"),
                        Proof(PASSWORD),
                        context=None,
                        init_query="SELECT 1" if rng.random() < 0.2 else "",
                    )
                connected.stream.transport.abort()
                outcome = "connected"
            except (Refused, OSError, ProtocolError, TimeoutError) as problem:
                outcome = type(problem).__name__
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert {"connected", "ProtocolError", "Refused", "ConnectionResetError"} <= outcomes.keys()


async def test_a_database_that_never_stops_talking() -> None:
    """Memory stays bounded, whatever it goes on about."""
    flood = message(b"S", b"name\0" + b"v" * 1000 + b"\0")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            await reader.read(1 << 16)
            writer.write(_OK)
            number = 0
            while not writer.is_closing():
                number += 1
                writer.write(flood.replace(b"name", b"%04d" % (number % 10_000)))
                await writer.drain()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        target = Target(TargetConfig(id="db", port=port, tls="disable"))
        with pytest.raises(ProtocolError, match="settings without end"):
            await asyncio.wait_for(
                connect(
                    target, PoolKey("app", "app"), Proof(PASSWORD), context=None, init_query=""
                ),
                30,
            )
