"""A TCP relay that can drop everything, as a cut network does: nothing is closed, nothing arrives."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

_CHUNK = 1 << 16


class Relay:
    """Listens on `port` and passes on to another port of loopback."""

    def __init__(self, to: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self._to = to
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._dropping = threading.Event()
        self._stop = threading.Event()
        # Each socket and the one at the other end.
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """From now on nothing gets through, in either direction; connections are accepted still."""
        self._dropping.set()

    def heal(self) -> None:
        """Let through again what arrives from now on, and what lies in the sockets."""
        self._dropping.clear()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(5)
        for sock in [self._listener, *self._peers]:
            sock.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._dropping.is_set():
                self._stop.wait(0.01)
                continue
            ready, _, _ = select.select([self._listener, *self._peers], [], [], 0.02)
            if self._dropping.is_set():
                continue
            for sock in ready:
                if sock is self._listener:
                    self._accept()
                elif sock in self._peers:
                    self._pass_on(sock)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[near], self._peers[far] = far, near

    def _pass_on(self, sock: socket.socket) -> None:
        peer = self._peers[sock]
        data = b""
        with contextlib.suppress(OSError):
            data = sock.recv(_CHUNK)
            if data:
                peer.sendall(data)
                return
        for end in (sock, peer):
            self._peers.pop(end, None)
            end.close()


@contextlib.contextmanager
def relay_to(port: int) -> Iterator[Relay]:
    """A relay for one test."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()
