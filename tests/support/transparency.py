"""The same script on dedicated connections and through a proxy, compared message by message.

    theater = Theater(direct, proxied)        # two ways to the same schema
    difference = theater.differs(script)      # None, or a text to read
    theater.shrink(script)                    # the smallest script that still differs

The clients of a script speak at the same time, in an order drawn from its seed: some wait for a
server while others are in the middle of a transaction. None waits for another's lock, so what
each one hears is decided by its own words alone.
"""

from __future__ import annotations

import contextlib
import random
import re
import select
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tests.support import script_texts as texts
from tests.support.expectation import Expectation
from tests.support.messages import Query, Sync
from tests.support.scripts import Client, Script, Step
from tests.support.wire import ClosedByPeer, Reply, Silence, Wire

# How long a step may take, waiting for a server included, in seconds.
STEP_PATIENCE: Final = 8.0
# Objects that a script made have numbers that depend on what was made before.
FIRST_OWN_OID: Final = 16384

_LOST: Final = "during COPY from stdin"
IN_FAILED_TRANSACTION: Final = "25P02"

Login = Callable[[dict[str, str]], Wire]
Transcript = list[list[str]]


class Route:
    """A way to a database: logs in, and keeps connections where that is fair."""

    def __init__(self, login: Login, *, keep: bool) -> None:
        self._login = login
        self._keep = keep
        self._kept: dict[tuple[tuple[str, str], ...], list[Wire]] = defaultdict(list)

    def connect(self, startup: dict[str, str]) -> Wire:
        """A connection in the state after login."""
        kept = self._kept[tuple(sorted(startup.items()))]
        return kept.pop() if kept else self._login(startup)

    def leave(self, wire: Wire, client: Client) -> None:
        """The client is through."""
        # A session that once had a temporary table never forgets where it was: that changes how
        # names are looked up (namespace.c), so it is no fresh one any more.
        fresh = "temp" not in str(client.steps).lower()
        if self._keep and fresh and not wire.closed_by_peer and self._refresh(wire):
            self._kept[tuple(sorted(client.startup.items()))].append(wire)
        elif client.polite:
            wire.terminate()
        else:
            wire.close()

    @staticmethod
    def _refresh(wire: Wire) -> bool:
        """Bring it back to the state after login; False when it is of no use any more."""
        wire.sock.setblocking(True)
        try:
            wire.ask(Sync(), Query("ROLLBACK"), Query("DISCARD ALL"), ready=3)
        except (OSError, ClosedByPeer, Silence):
            return False
        return True

    def close(self) -> None:
        """Leave all."""
        for wire in (w for kept in self._kept.values() for w in kept):
            wire.terminate()


class Player:
    """One client on its connection: sends steps, writes down what it hears."""

    def __init__(self, client: Client, wire: Wire) -> None:
        self.client = client
        self.wire = wire
        # The welcome's parameters are the first thing heard; their order means nothing.
        self.heard: Transcript = [sorted(f"S {k}={v}" for k, v in wire.parameters.items())]
        self.notifications: list[str] = []
        self.since = 0.0
        self._steps = iter(self._all_steps())
        self._expecting = Expectation()
        self._oids: dict[int, int] = {}
        self._unsent = b""
        self.over = False
        wire.sock.setblocking(False)

    def _all_steps(self) -> Iterator[Step]:
        yield from self.client.steps
        if self.client.polite:
            # Whatever is still to come must come before this is answered.
            yield Step((Sync(), Query("ROLLBACK"), Query("SELECT 'end'")))

    @property
    def ready(self) -> bool:
        """May it say the next thing?"""
        return not self.over and not self._unsent and self._expecting.done

    @property
    def unsent(self) -> bool:
        """Does it wait for the socket to take more?"""
        return bool(self._unsent)

    def speak(self) -> None:
        """Send the next step."""
        step = next(self._steps, None)
        if step is None:
            self.over = True
            if self.client.parting:
                self._hang_up()
            return
        self.heard.append([])
        self._expecting.sent(step.messages)
        self._unsent = b"".join(m.encode() for m in step.messages)
        self.since = time.monotonic()
        self.push()

    def push(self) -> None:
        """Send what the socket takes."""
        # A long text is cut into some hundreds of pieces, not into its bytes.
        cut = max(self.client.cut, len(self._unsent) // 300) if self.client.cut else None
        try:
            sent = self.wire.sock.send(self._unsent[:cut])
        except BlockingIOError:
            return
        except OSError:
            self._end("the connection broke")
            return
        self._unsent = self._unsent[sent:]

    def _hang_up(self) -> None:
        """Say the last words and wait for nothing."""
        with contextlib.suppress(OSError):
            self.wire.sock.send(b"".join(m.encode() for m in self.client.parting))
        self.wire.closed_by_peer = True

    def listen(self) -> None:
        """Take what has come."""
        self.wire.receive(0.0)
        while (reply := self.wire.take()) is not None:
            self._expecting.received(reply.tag)
            if reply.tag == "A":
                self.notifications.append(normal(reply, self._oids))
            else:
                self.heard[-1].append(normal(reply, self._oids))
        if self.wire.closed_by_peer:
            self._end("the connection was closed")

    def give_up(self) -> None:
        """No answer came in time."""
        self._end("SILENCE")

    def _end(self, why: str) -> None:
        self.heard[-1].append(why)
        self.wire.closed_by_peer = True
        self._unsent = b""
        self.over = True


def play(script: Script, route: Route) -> list[Player]:
    """All clients of a script speak; returns them with what they heard."""
    rng = random.Random(script.seed)
    players = [Player(c, route.connect(c.startup)) for c in script.clients]
    on_stage = list(players)
    while on_stage:
        speakers = [p for p in on_stage if p.ready]
        if speakers:
            speaker = rng.choice(speakers)
            speaker.speak()
            # Sometimes the others hold their tongue until it has its answer.
            patience = 0.003 if rng.random() < 0.5 else 0.0
        else:
            patience = 0.2
        _hear(on_stage, patience)
        for player in on_stage:
            late = time.monotonic() - player.since > STEP_PATIENCE
            if late and not player.over and not player.ready:
                player.give_up()
            if player.over:
                route.leave(player.wire, player.client)
        on_stage = [p for p in on_stage if not p.over]
    return players


def _hear(players: Sequence[Player], patience: float) -> None:
    listening = {p.wire.fileno(): p for p in players if not p.over}
    poll = select.poll()
    for number, player in listening.items():
        poll.register(number, select.POLLIN | (select.POLLOUT if player.unsent else 0))
    for number, event in poll.poll(patience * 1000):
        player = listening[number]
        if event & select.POLLOUT:
            player.push()
        if event & ~select.POLLOUT and not player.over:
            player.listen()


def normal(reply: Reply, oids: dict[int, int]) -> str:
    """A reply as text, without what differs honestly between two connections."""
    if reply.tag == "T":
        return "T " + ", ".join(_columns(reply.body, oids))
    if reply.tag == "t":
        types = struct.unpack_from(f"!{(len(reply.body) - 2) // 4}I", reply.body, 2)
        return f"t {[_own(oid, oids) for oid in types]}"
    if reply.tag == "A":
        return f"A {reply.body[4:]!r}"
    if reply.tag in "EN":
        fields = reply.fields
        if fields.get("M", "").startswith("invalid frontend message type"):
            # Ours is no line of PostgreSQL's source.
            for place in "FLR":
                fields.pop(place, None)
        fields["M"] = re.sub(r"\b(PID|process|pg_temp_|OID) ?\d+", r"\1 #", fields.get("M", ""))
        if fields.get("C") == IN_FAILED_TRANSACTION:
            # Which message was refused: a Parse sent ahead of a Bind may have been the first.
            for place in "FLR":
                fields.pop(place, None)
        return f"{reply.tag} {fields}"
    return f"{reply.tag} {reply.body!r}"


def _own(oid: int, oids: dict[int, int]) -> int:
    return oid if oid < FIRST_OWN_OID else oids.setdefault(oid, FIRST_OWN_OID + len(oids))


def _columns(body: bytes, oids: dict[int, int]) -> Iterator[str]:
    at = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        end = body.index(0, at)
        table, column, kind, size, modifier, form = struct.unpack_from("!IhIhih", body, end + 1)
        name = body[at:end].decode(errors="replace")
        yield f"{name}:{_own(table, oids)}.{column}:{_own(kind, oids)}:{size}:{modifier}:{form}"
        at = end + 19


class Theater:
    """The two routes, the schema on both, and the verdict."""

    def __init__(self, direct: Route, proxied: Route, admins: tuple[Wire, Wire]) -> None:
        self._direct = direct
        self._proxied = proxied
        self._admins = admins

    def differs(self, script: Script) -> str | None:
        """What went otherwise through the proxy, or None."""
        for admin in self._admins:
            reset(admin)
        direct = play(script, self._direct)
        silent = [p for p in direct if p.heard[-1] and p.heard[-1][-1] == "SILENCE"]
        if silent:
            raise InvalidScript(script, silent[0])
        proxied = play(script, self._proxied)
        for one, other in zip(direct, proxied, strict=True):
            difference = _compare(one, other)
            if difference:
                return difference
        return self._compare_states(script)

    def _compare_states(self, script: Script) -> str | None:
        states = []
        for admin in self._admins:
            left = await_rest(admin)
            if left:
                return f"a client that is gone still holds {left} at {admin.sock.getpeername()}"
            asked = " UNION ALL ".join(
                texts.OWN_STATE.replace("{k}", str(c.number)) for c in script.clients
            )
            states.append(admin.query(f"{asked} ORDER BY 1"))
        if states[0] == states[1]:
            return None
        return f"the tables differ afterwards:\n  direct {states[0]}\n  proxy  {states[1]}"

    def shrink(self, script: Script, seconds: float = 40.0) -> tuple[Script, str]:
        """A smaller script that still differs, and how: parts are removed one by one."""
        deadline = time.monotonic() + seconds
        difference = "not seen again"
        smaller = True
        while smaller and time.monotonic() < deadline:
            smaller = False
            for candidate in _smaller(script):
                if time.monotonic() > deadline:
                    break
                with contextlib.suppress(InvalidScript):
                    found = self.differs(candidate) or self.differs(candidate)
                    if found:
                        script, difference, smaller = candidate, found, True
                        break
        return script, difference


class InvalidScript(Exception):
    """The direct connection fell silent: the fault of the script, or of our expectation."""

    def __init__(self, script: Script, player: Player) -> None:
        super().__init__(f"client {player.client.number} heard {player.heard[-1]}\n{script}")


def _compare(direct: Player, proxied: Player) -> str | None:
    number = direct.client.number
    steps = ["the login", *(str(s.messages) for s in direct.client.steps), "the end"]
    failed = False
    for index, (one, other) in enumerate(zip(direct.heard, proxied.heard, strict=False)):
        if any(_LOST in line for line in (*one, *other)):
            # A message in the middle of COPY data ends the connection, sooner or later.
            return None
        if one != other and _refused_in_failed_transaction(one, other, failed):
            return None
        failed = _failed(one, failed)
        if one != other:
            at = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)),
            )
            return "\n".join(
                [
                    f"client {number}, after step {index}: {_short(steps[index])}",
                    *(f"  both    {_short(line)}" for line in one[max(0, at - 3) : at]),
                    *(f"  direct  {_short(line)}" for line in one[at : at + 6]),
                    *(f"  proxy   {_short(line)}" for line in other[at : at + 6]),
                ]
            )
    if len(direct.heard) != len(proxied.heard):
        return f"client {number}: one way was cut short"
    if direct.notifications != proxied.notifications:
        return (
            f"client {number} was notified of {proxied.notifications}, not {direct.notifications}"
        )
    return None


def _refused_in_failed_transaction(one: list[str], other: list[str], failed: bool) -> bool:
    """Is the first difference the honest one?

    What was prepared on another server can't be prepared here in a failed transaction, so a
    mistake that the client makes with it is not found before that is.
    """
    for index, (direct, proxied) in enumerate(zip(one, other, strict=False)):
        if direct != proxied:
            return _failed(one[:index], failed) and IN_FAILED_TRANSACTION in proxied
    return False


def _failed(heard: list[str], failed: bool) -> bool:
    """Is the transaction a failed one after this?"""
    for line in heard:
        if line.startswith("Z "):
            failed = line == "Z b'E'"
    return failed


def _short(line: str) -> str:
    return line if len(line) < 700 else f"{line[:600]} … {line[-60:]}"


def _smaller(script: Script) -> Iterator[Script]:
    """Scripts with one part less: a client, a step, a message."""
    clients = script.clients
    for i, client in enumerate(clients):
        rest = clients[:i] + clients[i + 1 :]
        if rest:
            yield script._replace(clients=rest)
        for plain in (
            client._replace(startup={}),
            client._replace(cut=0),
            client._replace(parting=()),
        ):
            if plain != client:
                yield script._replace(clients=(*clients[:i], plain, *clients[i + 1 :]))
    for i, client in enumerate(clients):
        for steps in _fewer_steps(client.steps):
            smaller = client._replace(steps=steps)
            yield script._replace(clients=(*clients[:i], smaller, *clients[i + 1 :]))


def _fewer_steps(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    if len(steps) > 3:
        yield steps[len(steps) // 2 :]
        yield steps[: len(steps) // 2]
    for i in range(len(steps)):
        yield steps[:i] + steps[i + 1 :]
    for i, step in enumerate(steps):
        for j in range(len(step.messages) if len(step.messages) > 1 else 0):
            fewer = Step(step.messages[:j] + step.messages[j + 1 :])
            yield (*steps[:i], fewer, *steps[i + 1 :])


# -- the schema ------------------------------------------------------------------------------------


def create_schema(admin: Wire) -> None:
    """All that scripts expect to find."""
    admin.query(texts.SCHEMA)
    for k in range(texts.CLIENTS):
        admin.query(texts.OWN_SCHEMA.replace("{k}", str(k)))
    body = "".join(texts.OWN_RESET.replace("{k}", str(k)) for k in range(texts.CLIENTS))
    admin.query(
        "SET client_min_messages = error; "
        f"CREATE FUNCTION reset_all() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
    )


def reset(admin: Wire) -> None:
    """Every table as it was in the beginning."""
    admin.query("SELECT reset_all()")


def await_rest(admin: Wire, seconds: float = 5.0) -> list[tuple[str | None, ...]]:
    """Wait until no client of the last script holds anything: transactions, locks of its own.

    One that hung up must not leave them behind for long; returns what it has left all the same.
    """
    deadline = time.monotonic() + seconds
    while (left := admin.query(_LEFT)) and time.monotonic() < deadline:
        time.sleep(0.002)
    return left


_LEFT: Final = """
SELECT a.pid, a.state, a.query FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type =
    'client backend' AND (a.state <> 'idle' OR EXISTS (SELECT FROM pg_locks l
    WHERE l.pid = a.pid AND l.locktype = 'advisory'))
"""


def connect_to(address: tuple[str, int], user: str, password: str, database: str) -> Login:
    """A way to log in there."""

    def login(startup: dict[str, str]) -> Wire:
        return Wire(*address).login(user, password, database, **startup)

    return login


__all__ = ["Route", "Theater", "connect_to", "create_schema", "play"]
