"""How a server asks for proof: the eleven messages behind the tag 'R'.

`decode_authentication` reads the code that tells them apart; `backend` hands these names on. The
classes' own `decode` reads a body with its code and refuses another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Self, TypeAlias

from protocol.postgres.errors import ProtocolError
from protocol.postgres.fields import UINT32, Reader, message, string

AUTHENTICATION: Final = 0x52  # 'R'

# PostgreSQL manual, "Message Formats"; libpq/pqcomm.h has them as AUTH_REQ_...
OK: Final = 0
KERBEROS_V5: Final = 2
CLEARTEXT_PASSWORD: Final = 3
MD5_PASSWORD: Final = 5
GSS: Final = 7
GSS_CONTINUE: Final = 8
SSPI: Final = 9
SASL: Final = 10
SASL_CONTINUE: Final = 11
SASL_FINAL: Final = 12

MD5_SALT_BYTES: Final = 4


class AuthenticationOk(NamedTuple):
    """The client is who it says it is."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(OK)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        _open(cls.__name__, body, OK).end()
        return cls()


class AuthenticationKerberosV5(NamedTuple):
    """Kerberos V5, which no PostgreSQL since 9.3 asks for."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(KERBEROS_V5)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        _open(cls.__name__, body, KERBEROS_V5).end()
        return cls()


class AuthenticationCleartextPassword(NamedTuple):
    """The password itself, please."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(CLEARTEXT_PASSWORD)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        _open(cls.__name__, body, CLEARTEXT_PASSWORD).end()
        return cls()


class AuthenticationMD5Password(NamedTuple):
    """An MD5 digest of the password, please, with this salt of four bytes (see `md5`)."""

    salt: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        if len(self.salt) != MD5_SALT_BYTES:
            raise ValueError("an MD5 salt has four bytes")
        return _message(MD5_PASSWORD, self.salt)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = _open(cls.__name__, body, MD5_PASSWORD)
        salt = reader.take(MD5_SALT_BYTES, "salt")
        reader.end()
        return cls(salt)


class AuthenticationGSS(NamedTuple):
    """GSSAPI begins."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(GSS)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        _open(cls.__name__, body, GSS).end()
        return cls()


class AuthenticationGSSContinue(NamedTuple):
    """A token of GSSAPI or SSPI."""

    data: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(GSS_CONTINUE, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(_open(cls.__name__, body, GSS_CONTINUE).rest())


class AuthenticationSSPI(NamedTuple):
    """SSPI begins."""

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(SSPI)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        _open(cls.__name__, body, SSPI).end()
        return cls()


class AuthenticationSASL(NamedTuple):
    """SASL begins: choose one of these mechanisms, listed in the server's order of preference."""

    mechanisms: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the whole message. Raises ValueError for a name that is empty or not ASCII."""
        if "" in self.mechanisms:
            raise ValueError("a SASL mechanism must have a name")
        names = [string(name.encode("ascii")) for name in self.mechanisms]
        return _message(SASL, b"".join(names) + b"\0")

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        reader = _open(cls.__name__, body, SASL)
        mechanisms: list[str] = []
        while name := reader.ascii("mechanisms"):
            mechanisms.append(name)
        reader.end()
        return cls(tuple(mechanisms))


class AuthenticationSASLContinue(NamedTuple):
    """A challenge: for SCRAM the server-first message."""

    data: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(SASL_CONTINUE, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(_open(cls.__name__, body, SASL_CONTINUE).rest())


class AuthenticationSASLFinal(NamedTuple):
    """The last word of a SASL exchange: for SCRAM the server's own proof."""

    data: bytes

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(SASL_FINAL, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(_open(cls.__name__, body, SASL_FINAL).rest())


class AuthenticationOther(NamedTuple):
    """A request that the manual does not know; all we can do is to name it."""

    code: int
    data: bytes = b""

    def encode(self) -> bytes:
        """Return the whole message."""
        return _message(self.code, self.data)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body with any code."""
        reader = Reader(cls.__name__, body)
        return cls(reader.uint32("code"), reader.rest())


Authentication: TypeAlias = (
    AuthenticationOk | AuthenticationKerberosV5 | AuthenticationCleartextPassword
    | AuthenticationMD5Password | AuthenticationGSS | AuthenticationGSSContinue
    | AuthenticationSSPI | AuthenticationSASL | AuthenticationSASLContinue
    | AuthenticationSASLFinal | AuthenticationOther
)  # fmt: skip

_DECODERS: Final[dict[int, Callable[[bytes], Authentication]]] = {
    OK: AuthenticationOk.decode,
    KERBEROS_V5: AuthenticationKerberosV5.decode,
    CLEARTEXT_PASSWORD: AuthenticationCleartextPassword.decode,
    MD5_PASSWORD: AuthenticationMD5Password.decode,
    GSS: AuthenticationGSS.decode,
    GSS_CONTINUE: AuthenticationGSSContinue.decode,
    SSPI: AuthenticationSSPI.decode,
    SASL: AuthenticationSASL.decode,
    SASL_CONTINUE: AuthenticationSASLContinue.decode,
    SASL_FINAL: AuthenticationSASLFinal.decode,
}


def decode_authentication(body: bytes) -> Authentication:
    """Read whichever request this is; an unknown code becomes AuthenticationOther."""
    code = Reader("Authentication", body).uint32("code")
    return _DECODERS.get(code, AuthenticationOther.decode)(body)


def _message(code: int, rest: bytes = b"") -> bytes:
    return message(AUTHENTICATION, UINT32.pack(code) + rest)


def _open(name: str, body: bytes, code: int) -> Reader:
    """A reader behind the code, which must be this one."""
    reader = Reader(name, body)
    found = reader.uint32("code")
    if found != code:
        raise ProtocolError(f"{name}.code: {found} is not {code}")
    return reader
