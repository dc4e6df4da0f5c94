"""The servers of all targets, and whose of them the clients of a role borrow.

The monitor decides who has which role (`targets.failover`); the fleet carries it out. A client is
at home at one target's servers. When a role moves, idle clients are sent to its new home without
noticing, waiting ones go on waiting there with their time, and what is under way at a target that
lost its role by force is ended with one error.

A READ_WRITE client is never sent to a standby. While no target has ever taken writes, or the last
one that did has become a reader, such clients are at home in the lobby, which lends nothing. They
wait there, unless the writer is known to be elsewhere (E-PG-22).

A READ_ONLY session is sent to readers that show nothing older than what it may have seen (FO-04).
Until there is one it waits in the reading room, which lends nothing. Who comes anew goes to any
reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from pyproxy import errors
from pyproxy.targets.failover import Decision
from pyproxy.targets.target import READ_ONLY, READ_WRITE, Target

if TYPE_CHECKING:
    from pyproxy.postgres.endpoint import Endpoint
    from pyproxy.postgres.login import FirstServer
    from pyproxy.postgres.servers import Servers
    from pyproxy.postgres.session import Session


class Fleet:
    """All servers, by target; in the order of the configuration."""

    def __init__(self, servers: Iterable[Servers], lobby: Servers, reading_room: Servers) -> None:
        self.servers: Final = tuple(servers)
        self.lobby: Final = lobby
        self.reading_room: Final = reading_room
        lobby.hold()
        reading_room.hold()
        self.endpoints: list[Endpoint] = []
        # Where READ_WRITE clients are at home: at the writer or the last one that there was, else
        # in the lobby.
        self.writer = lobby
        # Those whose role is READ_ONLY now.
        self._readers: list[Servers] = []
        # Those of them to which sessions of lost readers may go.
        self._caught_up: list[Servers] = []

    def __iter__(self) -> Iterator[Servers]:
        return iter(self.servers)

    def of(self, target: Target) -> Servers:
        """The servers of a target."""
        return next(servers for servers in self.servers if servers.target is target)

    def at(self, target: Target) -> list[Servers]:
        """Where clients may wait for a target: its servers, and the rooms that lend nothing."""
        return [s for s in self.everywhere() if s.target is target]

    def everywhere(self) -> tuple[Servers, ...]:
        """Where clients may be at home."""
        return (*self.servers, self.lobby, self.reading_room)

    def home(self, role: str) -> Servers:
        """Whose servers a new client of an endpoint with this role borrows."""
        return self.writer if role == READ_WRITE else self._reader()

    def wait_for_roles(self) -> None:
        """Lend nothing before the first decision."""
        for servers in self.servers:
            servers.hold()

    def go_unwatched(self) -> None:
        """Nobody decides: the only target writes, as far as each of its servers shows that."""
        self.writer = self.servers[0]
        self.writer.take_role(READ_WRITE, self.writer.epoch)
        self.writer.resume()

    # -- carrying out --------------------------------------------------------------------------

    def steer(self, decision: Decision, epoch: int) -> None:
        """Give every target its role, and send the clients where the roles are now.

        Nothing waits in here: between a decision and its act nobody borrows anything.
        """
        serving = []
        self._readers.clear()
        for servers in self.servers:
            name = servers.target.id
            if name == decision.writer:
                self.writer = servers
                servers.take_role(READ_WRITE, epoch)
                serving.append(servers)
            elif name in decision.readers:
                servers.take_role(READ_ONLY, servers.epoch if servers.role == READ_ONLY else epoch)
                self._readers.append(servers)
                if servers is self.writer:
                    self.writer = self.lobby
            elif name in decision.fenced:
                servers.fence(f"target {name} has lost its role")
            else:
                servers.hold()
                if name in decision.stranded:
                    servers.part_with_keepers("its target does not follow the writer")
        self._caught_up = [s for s in self._readers if s.target.id in decision.caught_up]
        self._send_home()
        no_writer = errors.no_writer() if decision.writerless else None
        no_reader = errors.no_reader() if decision.readerless else None
        for servers in self.everywhere():
            mine = servers in (self.writer, self.lobby)
            servers.pools.refuse(no_writer if mine else no_reader)
        for servers in (*serving, *self._readers):
            servers.resume()

    def _send_home(self) -> None:
        """Move whoever is at home where its role is not any more, the longest wait first."""
        for endpoint in self.endpoints:
            clients: list[tuple[Session | FirstServer, bool]] = [
                *((session, False) for session in endpoint.sessions),
                *((visitor, True) for visitor in endpoint.visitors),
            ]
            for client, is_new in sorted(clients, key=_waiting_since):
                home = self._next_home(client.home, endpoint.role, is_new=is_new)
                if home is not client.home:
                    client.move(home)

    def _next_home(self, home: Servers, role: str, *, is_new: bool) -> Servers:
        if role == READ_WRITE:
            return self.writer
        if home in self._readers:
            return home
        if is_new:
            return self._reader()
        if self._caught_up:
            return min(self._caught_up, key=_load)
        # A suspect reader may be well. One that was dead may show less than it did, for a while.
        return home if home.role == READ_ONLY else self.reading_room

    # -- readers -------------------------------------------------------------------------------

    def _reader(self) -> Servers:
        """The reader with the least clients for its size (C-17).

        When none serves (FO-04): one that may, once it is back.
        """
        others = [servers for servers in self.servers if servers is not self.writer]
        return min(self._readers or others or self.servers, key=_load)


def _load(servers: Servers) -> float:
    """Clients at home there, per connection that its database allows."""
    limits = servers.target.limits
    clients = sum(pool.clients for pool in servers.pools)
    return clients / (limits.max_connections if limits is not None else 1)


def _waiting_since(client: tuple[Session | FirstServer, bool]) -> float:
    return client[0].waiting_since
