"""A byte stream cut into whole messages.

Login, the set-up of server connections and the tests read with a `Framer`:

    framer = Framer(limit=10_000)
    for tag, body in framer.feed(data):
        message = backend.decode(tag, body)

The relay, where every microsecond is paid per query, walks the headers itself (`read_header`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from protocol.postgres.errors import ProtocolError

HEADER: Final = Struct("!BI")
"""Tag, then the length of what follows the tag: the length's own four bytes and the body."""

LENGTH_BYTES: Final = 4
"""The length counts itself, but not the tag."""


def read_header(data: bytes, pos: int) -> tuple[int, int]:
    """The header at a place: tag and length. Raises an Exception if it is not all there."""
    return (
        data[pos],
        data[pos + 1] << 24 | data[pos + 2] << 16 | data[pos + 3] << 8 | data[pos + 4],
    )


# Compiled, those are a few instructions; the interpreter does better with a function in C.
if __file__.endswith(".py"):
    read_header = HEADER.unpack_from  # type: ignore[assignment]


class Framer:
    """Cuts what arrives into (tag, body), and holds the message that is not yet whole.

    `limit` bounds a body in bytes, and so the memory that a peer can make us hold. A length is
    judged as soon as its header is there, before the body is waited for.
    """

    __slots__ = ("_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        # What arrived after the last whole message.
        self._held = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what arrived; return the messages that it completes.

        Raises ProtocolError at an impossible or too large length. Messages cut from the same
        data are lost with it, as is the connection: nobody answers a peer out of step.
        """
        held = self._held
        held += data
        messages: list[tuple[int, bytes]] = []
        start, available = 0, len(held)
        while available - start >= HEADER.size:
            tag, length = HEADER.unpack_from(held, start)
            end = start + 1 + length
            self._check(tag, length)
            if end > available:
                break
            messages.append((tag, bytes(held[start + HEADER.size : end])))
            start = end
        del held[:start]
        return messages

    @property
    def rest(self) -> bytes:
        """Hand over what follows the last whole message, and forget it.

        For the moment when somebody else goes on reading the stream.
        """
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _check(self, tag: int, length: int) -> None:
        if length < LENGTH_BYTES:
            raise ProtocolError(f"message {_shown(tag)}: length {length} is less than 4")
        if length - LENGTH_BYTES > self._limit:
            raise ProtocolError(
                f"message {_shown(tag)}: a body of {length - LENGTH_BYTES} bytes"
                f" is longer than the limit of {self._limit}"
            )


def _shown(tag: int) -> str:
    """The tag as the manual writes it, or in hexadecimal when it is not printable."""
    letter = chr(tag)
    return f"'{letter}'" if letter.isascii() and letter.isprintable() else f"0x{tag:02X}"
