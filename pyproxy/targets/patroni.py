"""Who is the writer by Patroni's word: its REST API is asked in turn, and the monitor told.

Patroni decides by a lock in etcd, Consul or Kubernetes. A target that looks writable and does not
hold the lock (an old primary that was paused) is not to be used, so the word of the leader goes
before what the probes see; a leader that is not seen writable gets no writes either.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPException
from typing import Final, NamedTuple

from pyproxy.targets.target import Target

_LEADERS: Final = ("leader", "standby_leader", "master", "primary")
# An answer describes a handful of members.
_MAX_ANSWER: Final = 1 << 20
_DOUBT: Final = ": is this Patroni's REST API?"

# The environment's http_proxy must not send a question for this network to another one.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Member(NamedTuple):
    """One member of Patroni's cluster."""

    name: str
    role: str
    host: str
    port: int


class Patroni:
    """Asks for the leader, as often as the targets are probed."""

    def __init__(
        self,
        urls: Sequence[str],
        targets: Iterable[Target],
        *,
        tell_leader: Callable[[str | None], None],
        interval: Callable[[], float],
        timeout: float,
        tell: Callable[[str, str, str], None],
        failed: Callable[[], None],
    ) -> None:
        self._urls = list(urls)
        self._targets: Final = tuple(targets)
        self._tell_leader: Final = tell_leader
        self._interval: Final = interval
        self._timeout: Final = timeout
        self._tell: Final = tell
        # Called where an exception of our own is handled.
        self._failed: Final = failed
        # The last leader; it stays so while there is none. Empty: there was none yet.
        self._leader = ""
        self._answers = True

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                await self.ask()
            except Exception:
                # What the word leads to failed; the leader of later must be heard all the same.
                self._failed()
            await asyncio.sleep(self._interval())

    async def ask(self) -> None:
        """Ask once, whoever answers first, and tell the monitor."""
        why = ""
        for url in list(self._urls):
            try:
                members = await asyncio.to_thread(fetch, url, self._timeout)
            except (OSError, HTTPException, ValueError) as problem:
                why = f"{url}: {str(problem) or type(problem).__name__}"
                # The others first from now on.
                self._urls.remove(url)
                self._urls.append(url)
                continue
            self._hear(members)
            return
        if self._answers:
            self._answers = False
            self._tell("WARN", "patroni-silent", f"Patroni does not answer, roles decide. {why}.")
        self._tell_leader(None)

    def _hear(self, members: list[Member]) -> None:
        if not self._answers:
            self._answers = True
            self._tell("INFO", "patroni-answers", "Patroni answers again.")
        leader = next((m for m in members if m.role in _LEADERS), None)
        if leader is not None:
            name = name_of(leader, self._targets)
            if name != self._leader:
                self._tell("INFO", "patroni-leader", f"Patroni's leader is {leader.name}: {name}.")
            self._leader = name
        self._tell_leader(self._leader)


def fetch(url: str, timeout: float) -> list[Member]:
    """The members, by `GET /cluster`. Blocks; raises OSError, HTTPException or ValueError."""
    with _OPENER.open(f"{url.rstrip('/')}/cluster", timeout=timeout) as answer:
        return members_of(answer.read(_MAX_ANSWER))


def members_of(answer: bytes) -> list[Member]:
    """The answer's members; raises ValueError for anything else."""
    try:
        value = json.loads(answer)
    except RecursionError:
        raise ValueError(f"lists without end in the answer{_DOUBT}") from None
    rows = value.get("members") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"no members in the answer{_DOUBT}")  # noqa: TRY004
    return [_member_of(row) for row in rows if isinstance(row, dict)]


def _member_of(row: dict[str, object]) -> Member:
    name, port = str(row.get("name", "")), row.get("port") or 0
    try:
        number = int(port)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"member {name[:50]!r} has the port {str(port)[:50]}{_DOUBT}") from None
    return Member(name, str(row.get("role", "")), str(row.get("host", "")), number)


def name_of(member: Member, targets: Iterable[Target]) -> str:
    """The id of the member's target: by its name, else by its address.

    One that is none of ours keeps its name: then nobody here is the writer.
    """
    known = tuple(targets)
    for target in known:
        if target.id == member.name:
            return target.id
    for target in known:
        if (target.config.host, target.config.port) == (member.host, member.port):
            return target.id
    return member.name
