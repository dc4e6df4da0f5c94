"""A stand-in for a database instance with IAM authentication, in front of a real PostgreSQL.

PostgreSQL cannot check IAM tokens; RDS does it with a PAM module: the token is asked for as a
password in clear, over TLS. So does this: it lets in whoever shows the token that boto3 makes with
the credentials it knows, at the time that stands in the token, and leaves the rest to PostgreSQL,
as the user `trusted`. Users of `by_password` are left to PostgreSQL altogether.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from pyproxy.auth.development_ca import Files
from tests.support.aws_oracle import boto3_token
from tests.support.messages import SSL_REQUEST, message, startup, text

_DATE = re.compile(r"X-Amz-Date=(\d{8}T\d{6}Z)")
# RDS's own words.
REFUSAL = 'PAM authentication failed for user "{}"'


class RdsWithIam:
    """One instance; what it was shown is in `passwords`, by whom in `users`."""

    def __init__(
        self,
        files: Files,
        key: tuple[str, str, str | None],
        postgres_port: int,
        by_password: tuple[str, ...],
    ) -> None:
        self.key = key
        self.passwords: list[str] = []
        self.users: list[str] = []
        self._by_password = by_password
        self._postgres_port = postgres_port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(files.certificate, files.private_key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more; connections end with their clients."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(20)
        with plain, contextlib.suppress(OSError):
            assert _exactly(plain, 8) == SSL_REQUEST
            plain.sendall(b"S")
            with self._context.wrap_socket(plain, server_side=True) as client:
                (size,) = struct.unpack("!I", _exactly(client, 4))
                packet = _exactly(client, size - 4)
                parts = packet[4:].rstrip(b"\0").decode().split("\0")
                parameters = dict(zip(parts[::2], parts[1::2], strict=True))
                self.users.append(parameters["user"])
                if parameters["user"] not in self._by_password:
                    if not self._admits(client, parameters["user"]):
                        return
                    parameters["user"] = "trusted"
                with socket.create_connection(("127.0.0.1", self._postgres_port)) as server:
                    server.sendall(startup(parameters))
                    _pump_both(client, server)

    def _admits(self, client: ssl.SSLSocket, user: str) -> bool:
        client.sendall(message(b"R", struct.pack("!I", 3)))
        tag, size = struct.unpack("!cI", _exactly(client, 5))
        assert tag == b"p"
        token = _exactly(client, size - 4).rstrip(b"\0").decode()
        self.passwords.append(token)
        date = _DATE.search(token)
        if date is not None:
            now = datetime.strptime(date[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            expected = boto3_token(user, host="127.0.0.1", port=self.port, key=self.key, now=now)
            if token == expected and abs((datetime.now(UTC) - now).total_seconds()) < 900:
                return True
        fields = {"S": "FATAL", "V": "FATAL", "C": "28000", "M": REFUSAL.format(user)}
        body = b"".join(name.encode() + text(value) for name, value in fields.items())
        client.sendall(message(b"E", body + b"\0"))
        return False


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data


def _pump_both(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Until one of them closes."""
    client.settimeout(None)
    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
    back.start()
    _pump(client, server)
    back.join(10)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        source.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def rds_with_iam(
    files: Files,
    key: tuple[str, str, str | None],
    postgres_port: int,
    by_password: tuple[str, ...] = (),
) -> Iterator[RdsWithIam]:
    """Run one."""
    instance = RdsWithIam(files, key, postgres_port, by_password)
    try:
        yield instance
    finally:
        instance.close()
