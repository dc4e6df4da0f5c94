"""Many clients at once in one process: SCRAM, one query, and then idle."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Generator

from tests.bench.peers import DATABASE, HOST, USER, Peer
from tests.support.postgres import PASSWORD

Message = tuple[int, bytes]


def message(tag: bytes, body: bytes) -> bytes:
    """One message."""
    return tag + struct.pack("!I", len(body) + 4) + body


@functools.cache
def salted(salt: str, iterations: int) -> bytes:
    """Once for all clients: they are not what is measured."""
    return hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt), iterations)


def startup() -> bytes:
    """The first packet."""
    body = struct.pack("!I", 196_608) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    return message(b"", body)


def conversation(sql: str) -> Generator[bytes, Message, None]:
    """Log in and run one query: takes messages, yields what to answer; ends when it is served."""
    first = f"n=,r={base64.b64encode(os.urandom(18)).decode()}"
    challenge = ""
    ready = 0
    answer = startup()
    while True:
        tag, body = yield answer
        answer = b""
        if tag == ord("E"):
            raise ConnectionError(body.replace(b"\0", b" ").decode(errors="replace"))
        if tag == ord("Z"):
            ready += 1
            if ready == 2:
                return
            answer = message(b"Q", sql.encode() + b"\0")
        elif tag == ord("R"):
            (kind,) = struct.unpack_from("!I", body)
            if kind == 10:
                begin = f"n,,{first}".encode()
                header = b"SCRAM-SHA-256\0" + struct.pack("!I", len(begin))
                answer = message(b"p", header + begin)
            elif kind == 11:
                challenge = body[4:].decode()
                answer = message(b"p", proof(first, challenge))


def proof(first: str, challenge: str) -> bytes:
    """The client's final SCRAM message (RFC 5802)."""
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    key = hmac.digest(salted(fields["s"], int(fields["i"])), b"Client Key", "sha256")
    final = f"c=biws,r={fields['r']}"
    signature = hmac.digest(
        hashlib.sha256(key).digest(), f"{first},{challenge},{final}".encode(), "sha256"
    )
    told = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return f"{final},p={base64.b64encode(told).decode()}".encode()


class Client:
    """One connection, on a socket that may block or not."""

    def __init__(self, peer: Peer, sql: str) -> None:
        self.sock = socket.socket()
        self._address = (HOST, peer.port)
        self._talk = conversation(sql)
        self._data = b""

    def connect_at_once(self) -> None:
        """Begin to connect, and return."""
        self.sock.setblocking(False)
        self.sock.connect_ex(self._address)

    def greet(self) -> None:
        """It is connected."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.sock.sendall(next(self._talk))

    def receive(self) -> bool:
        """Take what has arrived and answer it; is it served?"""
        received = self.sock.recv(1 << 16)
        if not received:
            raise ConnectionError("closed by the peer")
        self._data += received
        while len(self._data) >= 5:
            tag, length = struct.unpack_from("!BI", self._data)
            if len(self._data) <= length:
                break
            body, self._data = self._data[5 : length + 1], self._data[length + 1 :]
            try:
                answer = self._talk.send((tag, body))
            except StopIteration:
                return True
            if answer:
                self.sock.sendall(answer)
        return False

    def serve(self, context: ssl.SSLContext | None = None) -> Client:
        """All of it, blocking."""
        self.sock.settimeout(30)
        self.sock.connect(self._address)
        if context is not None:
            self.sock.sendall(struct.pack("!II", 8, 80_877_103))
            assert self.sock.recv(1) == b"S"
            self.sock = context.wrap_socket(self.sock)
        self.greet()
        while not self.receive():
            pass
        return self


def storm(peer: Peer, count: int) -> tuple[float, list[str]]:
    """`count` clients connect at once and stay until the last is served: seconds, and errors."""
    selector = selectors.DefaultSelector()
    clients = [Client(peer, "SELECT 1") for _ in range(count)]
    errors: list[str] = []
    began = time.perf_counter()
    for client in clients:
        client.connect_at_once()
        selector.register(client.sock, selectors.EVENT_WRITE, client)
    while selector.get_map() and time.perf_counter() - began < 60:
        for key, events in selector.select(1):
            client = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    client.greet()
                    selector.modify(client.sock, selectors.EVENT_READ, client)
                elif client.receive():
                    selector.unregister(client.sock)
            except OSError as error:
                errors.append(str(error))
                selector.unregister(client.sock)
    seconds = time.perf_counter() - began
    errors += ["not served"] * len(selector.get_map())
    for client in clients:
        client.sock.close()
    selector.close()
    return seconds, errors
