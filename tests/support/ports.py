"""Ports for programs that are told theirs and take it a while later."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

_LEAST = 10_000


def free_port() -> int:
    """One of loopback that nobody has, and that the kernel gives to no connection meanwhile."""
    while True:
        port = _LEAST + secrets.randbelow(_first_of_the_kernel() - _LEAST)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


def _first_of_the_kernel() -> int:
    """Where the ports begin that connections are made from."""
    first = 32_768
    with contextlib.suppress(OSError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    # Where it uses nearly all of them, there is nothing to be gained.
    return first if first > 2 * _LEAST else 60_000
