"""Sockets at the addresses of a host name, all with the same port."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable
from typing import Any, Final

from pyproxy.addresses import join

# As getaddrinfo gives them.
Found = tuple[int, int, int, str, Any]

# An address that the name has and this machine has not: ::1 where IPv6 is turned off.
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
# How often a port that was free at the first address may be taken at another one.
_TRIES: Final = 5


async def bind(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Bound, not yet listening; "" is all addresses, port 0 a free one.

    Raises OSError, which names the place. With `shared` other processes of ours may bind it, too.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return _bind(list(dict.fromkeys(found)), port, shared=shared)
    except OSError as error:
        place = join(host or "*", port)
        raise OSError(error.errno, f"cannot listen on {place}: {error.strerror}") from None


def _bind(found: list[Found], port: int, *, shared: bool) -> list[socket.socket]:
    for tries in range(_TRIES):
        try:
            return _bind_all(found, port, shared=shared)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or tries == _TRIES - 1:
                raise
    raise AssertionError("the last try has returned or raised")


def _bind_all(found: list[Found], port: int, *, shared: bool) -> list[socket.socket]:
    """All that are of this machine, or none."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for place in found:
        try:
            sockets.append(_bind_one(place, port, shared=shared, alone=len(found) == 1))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                close(sockets)
                raise
            missing = error
        else:
            port = sockets[-1].getsockname()[1]
    if not sockets and missing is not None:
        raise missing
    return sockets


def _bind_one(place: Found, port: int, *, shared: bool, alone: bool) -> socket.socket:
    family, kind, proto, _, (host, _, *rest) = place
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and not alone:
            # Else :: is the addresses of IPv4 as well, and would find their port taken.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port, *rest))
    except OSError:
        sock.close()
        raise
    return sock


def close(sockets: Iterable[socket.socket]) -> None:
    """Close them all."""
    for sock in sockets:
        sock.close()
