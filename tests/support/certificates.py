"""Certificates for tests, and somebody in the middle who has one of his own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from pyproxy.auth.development_ca import Files, ensure
from tests.support.messages import SSL_REQUEST


def make_certificates(folder: Path, *names: str) -> Files:
    """An authority and a certificate for these names and for loopback."""
    return ensure(folder, names)


@contextlib.contextmanager
def man_in_the_middle(files: Files, port: int) -> Iterator[int]:
    """Decrypts what goes to `port` and encrypts it anew; gives his own port."""
    listening = socket.create_server(("127.0.0.1", 0))
    inward = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    inward.load_cert_chain(files.certificate, files.private_key)
    outward = ssl.create_default_context()
    outward.check_hostname = False
    outward.verify_mode = ssl.CERT_NONE
    threads: list[threading.Thread] = []

    def serve(plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError, ValueError):
            plain.settimeout(10)
            assert plain.recv(8) == SSL_REQUEST
            plain.sendall(b"S")
            with (
                inward.wrap_socket(plain, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
            ):
                raw.sendall(SSL_REQUEST)
                assert raw.recv(1) == b"S"
                with outward.wrap_socket(raw) as server:
                    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                    back.start()
                    _pump(client, server)
                    back.join(10)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listening.accept()
                threads.append(threading.Thread(target=serve, args=(sock,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in (accepting, *threads):
            thread.join(10)


def _pump(source: ssl.SSLSocket, sink: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError, ValueError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
