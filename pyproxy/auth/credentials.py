"""The proxy's directory of database users, made from its secrets (AU-05).

Each entry of `proxy.auth` names a secret; the user name stands in the secret. `Credentials` reads
them all, finds a user's by name, and reads again: by a timer (`refresh`), and when a database has
refused a password (`reread`), which is how a rotation heals (AU-13).

    credentials = Credentials(config.proxy.auth, store)
    for change in await credentials.refresh():      # at the start, then every refresh_interval
        log.note(change.level, change.message)
    credential = credentials.lookup(user)           # None: see why_missing(user)

When a source doesn't answer, what it said last stays good (AU-11: others keep working).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final, NamedTuple

from pyproxy.auth.secret import Secret, SecretError, SecretStore
from pyproxy.config import AuthConfig

# How long a store may take to answer, in seconds.
FETCH_TIMEOUT: Final = 10.0
# A secret is read again for a failed login at most this often, in seconds: a client with a wrong
# password must not become a flood at the source.
REREAD_INTERVAL: Final = 1.0
# TH-04, in AWS's words.
NO_CREDENTIALS: Final = "Proxy does not have any registered credentials"
# Threads of our own: a source that hangs must not take those that resolve names and do SCRAM.
_THREADS: Final = 4


class Credential(NamedTuple):
    """How one database user logs in, to the proxy and from it."""

    secret: Secret
    iam_auth: str
    """DISABLED: the client shows the secret's password; REQUIRED: an IAM token (AU-02)."""

    client_password_auth_type: str
    arn: str


class Change(NamedTuple):
    """Something an operator wants to know about a secret."""

    level: str
    message: str
    arn: str
    as_on_aws: str = ""
    """Why a secret could not be had, in RDS Proxy's words where they are known (L-14)."""


class Credentials:
    """All users that have a secret."""

    def __init__(
        self,
        entries: Sequence[AuthConfig],
        store: SecretStore,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.store: Final = store
        self._clock: Final = clock
        self._entries: tuple[AuthConfig, ...] = tuple(entries)
        # The last good value of each secret, by ARN.
        self._secrets: dict[str, Secret] = {}
        # What is wrong with a secret that could not be read the last time, by ARN.
        self._troubles: dict[str, str] = {}
        # Everybody who may log in; more than one credential is an error of the user's (AU-15).
        self._by_user: dict[str, list[Credential]] = {}
        # Reads under way: whoever needs the same secret waits for the same read.
        self._flights: dict[str, asyncio.Future[Secret]] = {}
        # What the next refresh has to tell.
        self._changes: list[Change] = []
        # When a failed login last caused a read, by ARN.
        self._reread_at: dict[str, float] = {}
        self._threads: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="secrets")

    def lookup(self, user: str) -> Credential | None:
        """The user's credential, or None if there is none or more than one.

        User names are compared as they are, with their case (AU-39).
        """
        found = self._by_user.get(user, ())
        return found[0] if len(found) == 1 else None

    def knows(self, user: str) -> bool:
        """Has the user a secret, or even more than one?"""
        return user in self._by_user

    def users(self) -> tuple[str, ...]:
        """All user names that have a credential, in the order of the configuration."""
        return tuple(user for user, found in self._by_user.items() if len(found) == 1)

    def why_missing(self, user: str) -> str:
        """Why lookup() gave None, for the operator."""
        if len(self._by_user.get(user, ())) > 1:
            # L-15, in RDS Proxy's words.
            return (
                f'Credentials couldn\'t be retrieved. The database user "{user}" was found in'
                " multiple DB proxy authentication entries"
            )
        return f'No secret in proxy.auth has the user name "{user}".{self._unread()}'

    def why_nobody(self) -> str:
        """Why no user at all has a credential (TH-04); empty if one has."""
        return "" if self.users() else f"{NO_CREDENTIALS}.{self._unread()}"

    def _unread(self) -> str:
        unread = [text for arn, text in self._troubles.items() if arn not in self._secrets]
        return "".join(f" Not read: {text}." for text in unread)

    def configure(self, entries: Sequence[AuthConfig]) -> None:
        """Take other entries (a reload); secrets that were already read stay read."""
        self._entries = tuple(entries)
        known = {entry.secret_arn for entry in entries}
        for arn in self._secrets.keys() - known:
            del self._secrets[arn]
        for arn in self._troubles.keys() - known:
            del self._troubles[arn]
        self._rebuild()

    async def refresh(self) -> list[Change]:
        """Read every secret; returns what has changed since the last time. Never raises."""
        places = {entry.secret_arn: place for place, entry in enumerate(self._entries)}
        await asyncio.gather(*(self._update(arn) for arn in places))
        changes, self._changes = self._changes, []
        return sorted(changes, key=lambda change: places.get(change.arn, -1))

    async def reread(self, user: str, refused: Secret | None = None) -> Credential | None:
        """Read the user's secret again after a database refused its password.

        `refused` is the secret that was tried; without it, the one that lookup() gives now.
        Returns the credential if it is another one by now and the login is worth another try,
        else None: a source is asked at most once in REREAD_INTERVAL for that.
        """
        before = self.lookup(user)
        if before is None:
            return None
        tried = before.secret if refused is None else refused
        if before.secret != tried:
            return before
        if self._may_reread(before.arn):
            await self._update(before.arn)
        after = self.lookup(user)
        return None if after is None or after.secret == tried else after

    def close(self) -> None:
        """Let the threads go; a read under way is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _may_reread(self, arn: str) -> bool:
        if arn in self._flights:
            return True
        now = self._clock()
        if now - self._reread_at.get(arn, -REREAD_INTERVAL) < REREAD_INTERVAL:
            return False
        self._reread_at[arn] = now
        return True

    async def _update(self, arn: str) -> None:
        """Read one secret; what comes of it is taken in where it lands, also if that is late."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                await asyncio.shield(self._flight(arn))
        except SecretError:
            return
        except TimeoutError:
            self._failed(arn, f"secret {arn!r}: no answer within {FETCH_TIMEOUT:g} s")

    def _flight(self, arn: str) -> asyncio.Future[Secret]:
        flight = self._flights.get(arn)
        if flight is None:
            loop = asyncio.get_running_loop()
            flight = loop.run_in_executor(self._threads, self._read, arn)
            self._flights[arn] = flight
            flight.add_done_callback(lambda done: self._landed(arn, done))
        return flight

    def _read(self, arn: str) -> Secret:
        """In a thread."""
        secret = self.store.fetch(arn)
        if self._secrets.get(arn) != secret:
            # SCRAM's PBKDF2 for clients, here and not in the loop when the first of them comes.
            secret.derive()
        return secret

    def _landed(self, arn: str, flight: asyncio.Future[Secret]) -> None:
        del self._flights[arn]
        if flight.cancelled():
            return
        # Looked at here, lest asyncio complains of an error that nobody waited for.
        error = flight.exception()
        if not any(entry.secret_arn == arn for entry in self._entries):
            # A reload has removed it meanwhile.
            return
        if error is None:
            self._arrived(arn, flight.result())
        elif isinstance(error, SecretError):
            self._failed(arn, str(error), error.as_on_aws)

    def _arrived(self, arn: str, secret: Secret) -> None:
        recovered = self._troubles.pop(arn, None) is not None
        before = self._secrets.get(arn)
        if before != secret:
            self._secrets[arn] = secret
            self._rebuild()
            self._changes.append(Change("INFO", _difference(arn, before, secret), arn))
        elif recovered:
            self._changes.append(Change("INFO", f"Secret {arn} can be read again.", arn))

    def _failed(self, arn: str, why: str, as_on_aws: str = "") -> None:
        if self._troubles.get(arn) == why:
            return
        self._troubles[arn] = why
        stays = " The last known value stays in use." if arn in self._secrets else ""
        message = f"Credentials couldn't be retrieved. {why}.{stays}"
        self._changes.append(Change("WARN", message, arn, as_on_aws))

    def _rebuild(self) -> None:
        self._by_user = _by_user(self._entries, self._secrets)


def _by_user(
    entries: Iterable[AuthConfig], secrets: dict[str, Secret]
) -> dict[str, list[Credential]]:
    users: dict[str, list[Credential]] = {}
    for entry in entries:
        secret = secrets.get(entry.secret_arn)
        if secret is not None:
            credential = Credential(
                secret, entry.iam_auth, entry.client_password_auth_type, entry.secret_arn
            )
            users.setdefault(secret.username, []).append(credential)
    return users


def _difference(arn: str, before: Secret | None, after: Secret) -> str:
    if before is None:
        return f'Secret {arn} was read for the database user "{after.username}".'
    if before.username != after.username:
        # AU-12: the alternating-users rotation strategy breaks clients in just this way.
        return (
            f'Secret {arn} changed its user from "{before.username}" to "{after.username}";'
            f' "{before.username}" can no longer log in.'
        )
    return f'Secret {arn} has a new password for the database user "{after.username}".'
