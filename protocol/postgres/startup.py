"""The untagged first packets: startup, the TLS and GSSAPI requests, cancel.

They have a length but no tag; what follows the length is read here:

    match parse_first_packet(body): ...

PostgreSQL manual, "Message Flow: Start-up"; the limits are those of its
backend/tcop/backend_startup.c (ProcessStartupPacket).
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self, TypeAlias

from protocol.postgres.errors import ProtocolError
from protocol.postgres.fields import UINT32, Reader, string
from protocol.postgres.framing import LENGTH_BYTES

MAX_STARTUP: Final = 10_000
"""The longest body in bytes: PostgreSQL's MAX_STARTUP_PACKET_LENGTH."""

MIN_SECRET_KEY: Final = 4
MAX_SECRET_KEY: Final = 256
"""A cancel key has four bytes in protocol 3.0, and 4 to 256 in 3.2."""

_VERSION: Final = Struct("!HH")

# Major version 1234 does not exist: its minors are the requests that are no startup.
_REQUEST: Final = 1234
_CANCEL: Final = 5678
_SSL: Final = 5679
_GSSENC: Final = 5680

_PROTOCOL_3: Final = 3


class StartupMessage(NamedTuple):
    """Who a client says it is, and the settings it starts with.

    Text is UTF-8 with "surrogateescape", so bytes in any encoding survive the way through us.
    Another major version has another layout: then `parameters` is empty.
    """

    major: int
    minor: int
    parameters: dict[str, str]

    def encode(self) -> bytes:
        """Return the whole packet. Raises ValueError at a NUL or an empty parameter name."""
        if "" in self.parameters:
            raise ValueError("a startup parameter must have a name")
        texts = [text for pair in self.parameters.items() for text in pair]
        body = b"".join([string(text.encode("utf-8", "surrogateescape")) for text in texts])
        return _packet(self.major, self.minor, body + b"\0")

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a startup packet; of a name given twice the last value counts, as in PostgreSQL."""
        reader = Reader(cls.__name__, body)
        major, minor = _VERSION.unpack(reader.take(4, "version"))
        parameters: dict[str, str] = {}
        if major == _PROTOCOL_3:
            while name := _text(reader, "parameter name"):
                parameters[name] = _text(reader, f"value of {name!r}")
            reader.end()
        return cls(major, minor, parameters)


class SSLRequest(NamedTuple):
    """A client asks for TLS; the answer is a single byte, S or N."""

    def encode(self) -> bytes:
        """Return the whole packet."""
        return _packet(_REQUEST, _SSL)


class GSSENCRequest(NamedTuple):
    """A client asks for GSSAPI encryption; the answer is a single byte, G or N."""

    def encode(self) -> bytes:
        """Return the whole packet."""
        return _packet(_REQUEST, _GSSENC)


class CancelRequest(NamedTuple):
    """A client asks, on a connection of its own, to cancel what another one is running."""

    process_id: int
    secret_key: bytes

    def encode(self) -> bytes:
        """Return the whole packet."""
        return _packet(_REQUEST, _CANCEL, UINT32.pack(self.process_id) + self.secret_key)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a cancel request, its code included."""
        reader = Reader(cls.__name__, body)
        reader.take(4, "code")
        process_id, secret_key = reader.uint32("process_id"), reader.rest()
        if not MIN_SECRET_KEY <= len(secret_key) <= MAX_SECRET_KEY:
            reader.refuse("secret_key", f"{len(secret_key)} bytes are not 4 to 256")
        return cls(process_id, secret_key)


FirstPacket: TypeAlias = StartupMessage | SSLRequest | GSSENCRequest | CancelRequest


def parse_first_packet(body: bytes) -> FirstPacket:
    """Read a first packet; `body` is what follows its length.

    An unknown version or request comes back as a StartupMessage with that version, for the
    caller to refuse in its own words.
    """
    if len(body) > MAX_STARTUP:
        raise ProtocolError(f"first packet: {len(body)} bytes are more than {MAX_STARTUP}")
    reader = Reader("first packet", body)
    match _VERSION.unpack(reader.take(4, "version")):
        case (1234, 5678):
            return CancelRequest.decode(body)
        case (1234, 5679):
            reader.end()
            return SSLRequest()
        case (1234, 5680):
            reader.end()
            return GSSENCRequest()
    return StartupMessage.decode(body)


def _packet(major: int, minor: int, rest: bytes = b"") -> bytes:
    """Length, version or request code, and the rest."""
    body = _VERSION.pack(major, minor) + rest
    return UINT32.pack(LENGTH_BYTES + len(body)) + body


def _text(reader: Reader, field: str) -> str:
    return reader.string(field).decode("utf-8", "surrogateescape")
