"""SCRAM-SHA-256 for both sides: RFC 5802 and RFC 7677, as PostgreSQL speaks them.

The client's side of us, towards databases, and the server's side, towards clients:

    client = ClientExchange(password, mechanisms)           server = ServerExchange(verifier)
    SASLInitialResponse(client.mechanism, client.first()) -> server.first(mechanism, data)
    client.respond(data)                                 <-  AuthenticationSASLContinue
    SASLResponse                                          -> server.final(data)
    client.verify(data)                                  <-  AuthenticationSASLFinal

The exchange itself is scramp's, and nobody else imports scramp. It judges the grammar, the nonces
and the proofs; where it is stricter than PostgreSQL it judges a copy of the message with harmless
values in the places that it does not like, and the real ones are put back behind it:

- libpq sends an empty user name, which scramp takes for malformed. The name inside SCRAM means
  nothing to PostgreSQL; the startup message has it.
- Databases may use fewer than 4096 iterations (`scram_iterations`) and any salt.
- Passwords are prepared by PostgreSQL's rules, not the RFC's (see `saslprep`).
- PBKDF2 is ours, so that its result can be kept for the next connection (`salted`).

Whatever the peer sends, only ScramError comes out; a message is at most MAX_MESSAGE bytes long.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple, ParamSpec, Self, TypeAlias, TypeVar

from scramp import ScramClient, ScramException, ScramMechanism
from scramp.core import ClientStage
from scramp.utils import ServerError

from protocol.postgres.errors import ProtocolError
from protocol.postgres.saslprep import prepare

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"
"""The same, bound to the TLS connection that it runs in."""

ITERATIONS: Final = 4096
"""PostgreSQL's default, and what RDS Proxy uses towards clients (AU-20)."""

MAX_ITERATIONS: Final = 1_000_000
"""What we do for a database that asks: under a second. A hostile one would ask for more."""

MAX_MESSAGE: Final = 1024
"""In bytes, for either side; PostgreSQL's own limit was this until version 18."""

SALT_BYTES: Final = 16

_KEY_BYTES: Final = hashlib.sha256().digest_size
# As many random bytes as PostgreSQL takes (SCRAM_RAW_NONCE_LEN).
_NONCE_BYTES: Final = 18

# What scramp is shown instead of a salt and an iteration count that it might refuse, and of nonces,
# each character of which it looks at again and again: that was a sixth of a login.
_HARMLESS_SALT: Final = bytes(SALT_BYTES)
_HARMLESS_NONCE: Final = "_"

_MECHANISMS: Final = {name: ScramMechanism(name) for name in (PLAIN, PLUS)}

_VERIFIER: Final = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)

# RFC 5802, "Formal Syntax": client-first-message. The flag, the authorization identity, the name,
# the nonce ("printable" is ASCII without the comma), the extensions.
_CLIENT_FIRST: Final = re.compile(
    r"([^,]*),([^,]*),n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+)((?:,.*)?)", re.DOTALL
)

# RFC 5802, "Formal Syntax": server-first-message. The nonce, the salt, the iterations, the rest.
_SERVER_FIRST: Final = re.compile(
    r"(r=[^,]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,9})((?:,.*)?)", re.DOTALL
)

ChannelBinding: TypeAlias = tuple[str, bytes]
"""Its type and its data: ("tls-server-end-point", digest of the server's certificate)."""

Salter: TypeAlias = Callable[[bytes, bytes, int], bytes]
"""What `salted_password` does."""


class ScramError(ProtocolError):
    """A SASL message is malformed, out of turn or out of bounds."""


class AuthenticationFailed(ScramError):
    """The proof is wrong. The text is always the same: it does not tell what was wrong with it."""

    def __init__(self) -> None:
        super().__init__("SCRAM: the proof is wrong")


P = ParamSpec("P")
T = TypeVar("T")


def _only_scram_errors(step: Callable[P, T]) -> Callable[P, T]:
    """Translate what scramp raises in it; its texts name attributes, never their values."""

    @wraps(step)
    def translated(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except ScramException as error:
            if error.server_error is ServerError.INVALID_PROOF:
                raise AuthenticationFailed from None
            raise ScramError(f"SCRAM: {error.args[0]}") from error

    return translated


class Verifier(NamedTuple):
    """What a server knows of a password: enough to check a proof, not to make one."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def from_password(
        cls, password: str | bytes, salt: bytes | None = None, iterations: int = ITERATIONS
    ) -> Self:
        """Derive one; 2 to 6 ms of PBKDF2, so keep it.

        Without a salt a random one is drawn. A proxy that hides which users exist takes the salt
        of `Verifier.mock`, which does not change with the password either.
        """
        salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        salted = salted_password(_prepared(password), salt, iterations)
        _, stored_key, server_key = _keys(salted)
        return cls(iterations, salt, stored_key, server_key)

    @classmethod
    def mock(cls, user: str, secret: bytes) -> Self:
        """One that no password fits, always the same for a user: for users that do not exist.

        PostgreSQL auth-scram.c, mock_scram_secret: an attacker who asks twice must not see the
        salt change. `secret` is ours and stays the same as long as users' salts do.
        """
        salt, stored_key, server_key = (
            hmac.digest(secret, use + user.encode("utf-8", "surrogateescape"), "sha256")
            for use in (b"salt:", b"stored key:", b"server key:")
        )
        return cls(ITERATIONS, salt[:SALT_BYTES], stored_key, server_key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what pg_authid.rolpassword holds. Raises ValueError."""
        match = _VERIFIER.fullmatch(text)
        if match is None:
            raise ValueError("not a SCRAM-SHA-256 verifier")
        parts = match.groups()[1:]
        salt, stored_key, server_key = (b64decode(each, validate=True) for each in parts)
        if len(stored_key) != _KEY_BYTES or len(server_key) != _KEY_BYTES:
            raise ValueError("a SCRAM-SHA-256 verifier has keys of 32 bytes")
        return cls(int(match[1]), salt, stored_key, server_key)

    def __str__(self) -> str:
        """As pg_authid.rolpassword holds it: as secret as a password's hash is."""
        keys = f"{_base64(self.stored_key)}:{_base64(self.server_key)}"
        return f"{PLAIN}${self.iterations}:{_base64(self.salt)}${keys}"

    def __repr__(self) -> str:
        """Without the keys: a repr ends in logs and tracebacks."""
        return f"<Verifier with {self.iterations} iterations>"


class ServerExchange:
    """The server's side of one login; `first`, then `final`.

    With `channel_binding` SCRAM-SHA-256-PLUS is offered too.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        channel_binding: ChannelBinding | None = None,
        nonce: str | None = None,
    ) -> None:
        self._verifier: Final = verifier
        self._channel_binding: Final = channel_binding
        # Our half of the nonce; random unless a published exchange is played again.
        self._nonce: Final = nonce
        # scramp's server, from the first message on.
        self._server: Any = None

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What AuthenticationSASL offers, the better one first, as PostgreSQL does."""
        return (PLAIN,) if self._channel_binding is None else (PLUS, PLAIN)

    @_only_scram_errors
    def first(self, mechanism: str, data: bytes) -> bytes:
        """Answer the client-first-message with the server-first-message."""
        if mechanism not in self.mechanisms:
            raise ScramError("SCRAM: the client chose a mechanism that was not offered")
        flag, identity, bare, nonce, judged = _client_first(_text("client-first-message", data))
        # PostgreSQL auth-scram.c: "The client selected SCRAM-SHA-256 without channel binding, but
        # the SCRAM message includes channel binding data". scramp would change the mechanism.
        if mechanism == PLAIN and flag.startswith("p"):
            raise ScramError(f"SCRAM: channel binding in a message of {PLAIN}")
        server = _MECHANISMS[mechanism].make_server(
            _for_scramp(self._verifier), self._channel_binding, _HARMLESS_NONCE
        )
        server.set_client_first(f"{flag},{identity},{judged}")
        server.client_first_bare = bare
        server.nonce.nonce = nonce + (self._nonce or _nonce())
        server.salt = _base64(self._verifier.salt)
        server.i = self._verifier.iterations
        answer: str = server.get_server_first()
        self._server = server
        return answer.encode("ascii")

    @_only_scram_errors
    def final(self, data: bytes) -> bytes:
        """Check the client-final-message; return the server-final-message, our own proof.

        Raises AuthenticationFailed when the client does not know the password.
        """
        text = _text("client-final-message", data)
        if self._server is None:
            raise ScramError("SCRAM: a client-final-message before the first one")
        self._server.set_client_final(text)
        answer: str = self._server.get_server_final()
        return answer.encode("ascii")


class ClientExchange:
    """The client's side of one login; `first`, `respond`, `verify`.

    `mechanisms` are the server's; SCRAM-SHA-256-PLUS is chosen when it is offered and
    `channel_binding` is given. `respond` takes milliseconds of PBKDF2: run it in a thread, and
    hand in `salted=functools.lru_cache(maxsize=64)(salted_password)`, shared by all connections,
    to pay once for each password and salt.
    """

    @_only_scram_errors
    def __init__(
        self,
        password: str | bytes,
        mechanisms: Sequence[str],
        channel_binding: ChannelBinding | None = None,
        *,
        salted: Salter | None = None,
        nonce: str | None = None,
    ) -> None:
        known = [name for name in mechanisms if name in (PLAIN, PLUS)]
        if not known:
            raise ScramError(f"SCRAM: the server offers neither {PLAIN} nor {PLUS}")
        self._password: Final = _prepared(password)
        self._salted: Final = salted_password if salted is None else salted
        # The name means nothing, and `*` is what the JDBC driver sends. The password is ours.
        self._client = ScramClient(known, "*", "", channel_binding, nonce)
        self.mechanism: Final[str] = self._client.mechanism_name

    @_only_scram_errors
    def first(self) -> bytes:
        """The client-first-message."""
        message: str = self._client.get_client_first()
        return message.encode("ascii")

    @_only_scram_errors
    def respond(self, server_first: bytes) -> bytes:
        """Answer the server-first-message with the client-final-message, our proof."""
        text = _text("server-first-message", server_first)
        salt, iterations, judged = _server_first(text)
        client = self._client
        client.set_server_first(judged)
        client_key, stored_key, server_key = _keys(self._salted(self._password, salt, iterations))
        binding = client.gs2_header.make_cbind_input(client.cb)
        without_proof = f"c={_base64(binding)},r={client.nonce}"
        said = f"{client.client_first_bare},{text},{without_proof}".encode()
        proof = _xor(client_key, hmac.digest(stored_key, said, "sha256"))
        # As if scramp had made the message: it checks the answer.
        client.server_signature = hmac.digest(server_key, said, "sha256")
        client.stage = ClientStage.get_client_final
        return f"{without_proof},p={_base64(proof)}".encode("ascii")

    @_only_scram_errors
    def verify(self, server_final: bytes) -> None:
        """Check the server's proof that it knows the password as well.

        Raises AuthenticationFailed when the server says that ours was wrong, and ScramError when
        its own is: somebody else answers in the database's place.
        """
        text = _text("server-final-message", server_final)
        self._client.set_server_final(text)


def salted_password(password: bytes, salt: bytes, iterations: int) -> bytes:
    """PBKDF2 over a prepared password: the expensive part, without the interpreter's lock."""
    return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)


def _for_scramp(verifier: Verifier) -> Callable[[str], tuple[bytes, bytes, bytes, int]]:
    """How scramp asks for it. Not the exchange's method: each would keep the other."""
    shown = _HARMLESS_SALT, verifier.stored_key, verifier.server_key, ITERATIONS
    return lambda _name: shown


def _text(message: str, data: bytes) -> str:
    """The message as text, if it is one of bearable length."""
    if not 0 < len(data) <= MAX_MESSAGE:
        raise ScramError(f"SCRAM: a {message} of {len(data)} bytes is not 1 to {MAX_MESSAGE}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ScramError(f"SCRAM: the {message} is not UTF-8") from None
    if "\0" in text:
        raise ScramError(f"SCRAM: a NUL in the {message}")
    return text


def _client_first(text: str) -> tuple[str, str, str, str, str]:
    """Binding flag, authorization identity, the bare message, its nonce; and one for scramp."""
    match = _CLIENT_FIRST.fullmatch(text)
    if match is None:
        raise ScramError("SCRAM: the client-first-message is malformed")
    flag, identity, nonce, extensions = match.groups()
    bare = text[len(flag) + len(identity) + 2 :]
    return flag, identity, bare, nonce, f"n=_,r={_HARMLESS_NONCE}{extensions}"


def _server_first(text: str) -> tuple[bytes, int, str]:
    """Salt, iterations, and the message with harmless ones."""
    match = _SERVER_FIRST.fullmatch(text)
    if match is None:
        raise ScramError("SCRAM: the server-first-message is malformed")
    nonce, salt, iterations, rest = match.groups()
    if int(iterations) > MAX_ITERATIONS:
        raise ScramError(
            f"SCRAM: the server asks for {iterations} iterations, {MAX_ITERATIONS} at most"
        )
    try:
        raw_salt = b64decode(salt, validate=True)
    except ValueError:
        raise ScramError("SCRAM: the salt in the server-first-message is not base64") from None
    return raw_salt, int(iterations), f"{nonce},s={_base64(_HARMLESS_SALT)},i={ITERATIONS}{rest}"


def _prepared(password: str | bytes) -> bytes:
    if isinstance(password, str):
        password = password.encode("utf-8", "surrogateescape")
    return prepare(password)


def _keys(salted: bytes) -> tuple[bytes, bytes, bytes]:
    """ClientKey, StoredKey and ServerKey (RFC 5802, "SCRAM Algorithm Overview")."""
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return (
        client_key,
        hashlib.sha256(client_key).digest(),
        hmac.digest(salted, b"Server Key", "sha256"),
    )


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes([left ^ right for left, right in zip(one, other, strict=True)])


def _nonce() -> str:
    """As long as PostgreSQL's: 24 characters."""
    return secrets.token_urlsafe(_NONCE_BYTES)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
