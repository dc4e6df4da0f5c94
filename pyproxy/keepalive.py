"""Has a connection to a database become a black hole, where nothing arrives and nothing says so?

A firewall that has forgotten one connection answers nothing on it, while the database is well and
its probes are answered: nobody else would ever notice. The kernel asks a connection on which
nothing is under way for a sign of life (`watch`). Where something is, `Hearing` looks whether it is
acknowledged.

The kernel has an option for the latter, too. But TCP_USER_TIMEOUT also ends a connection whose peer
acknowledges that it takes nothing at the moment: a database that waits for a lock in the middle of
a COPY does so for as long as the lock is held.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

# A connection to a database on which nothing arrives is asked for a sign of life after so many
# seconds, and given up after twice as many; so many questions in between.
KEEPALIVE: Final = 15
KEEPALIVE_PROBES: Final = 3

# Of Linux's struct tcp_info (linux/tcp.h): probes of a closed window that are not answered; after
# the eight bytes at its beginning, by the number of 32 bits, segments that are not acknowledged,
# and the milliseconds since the last acknowledgement.
_PROBES: Final = 3
_UNACKED: Final = 4
_LAST_ACK: Final = 12
_INFO: Final = struct.Struct("=8B13I")


def watch(sock: socket.socket) -> None:
    """Have the kernel ask for signs of life."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all of them; each is worth having alone.
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE),
        ("TCP_KEEPINTVL", KEEPALIVE // KEEPALIVE_PROBES),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Hearing:
    """Whether the other side of a connection acknowledges what it is sent. Linux only."""

    __slots__ = ("_since", "_sock")

    def __init__(self, sock: socket.socket | None) -> None:
        told = sys.platform == "linux" and sock is not None and sock.family != socket.AF_UNIX
        self._sock: Final = sock if told else None
        # Since when something is outstanding and nothing was acknowledged; None: it is not so.
        self._since: float | None = None

    def lost(self, now: float) -> bool:
        """Was nothing acknowledged for twice KEEPALIVE? Ask every second or so, by one clock."""
        silence = self._silence()
        if silence is None:
            self._since = None
        elif self._since is None or silence < now - self._since:
            # Of a silence before that it is not known whether anything was outstanding.
            self._since = now
        return self._since is not None and now - self._since >= 2 * KEEPALIVE

    def _silence(self) -> float | None:
        """Seconds since the last acknowledgement; None when there is nothing to acknowledge."""
        if self._sock is None:
            return None
        try:
            data = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        except (OSError, ValueError):
            # It has been closed; uvloop's has no descriptor then.
            return None
        info = _INFO.unpack(data)
        outstanding = info[_PROBES] or info[8 + _UNACKED]
        return info[8 + _LAST_ACK] / 1000 if outstanding else None
