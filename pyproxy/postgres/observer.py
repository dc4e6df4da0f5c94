"""Blind spots, seen and told: what a session leaves on its server although nothing has pinned it.

The relay shows the observer what `pinning.audit` can tell something from; that happens only when
there is something to show, so the walk owes it nothing else. A finding is counted every time, and
told in the log and as an event once a minute.

Without `leak_guard` a server goes on to the next client as it is: so does RDS Proxy's. With it
every server that comes back is asked what it has (`audit.RELEASE`) before it is lent again; one
that has anything which was not there after its login is reset and proven clean, or closed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from pyproxy.metrics.counters import ProxyCounters
from pyproxy.pinning import audit
from pyproxy.postgres.doubts import Doubt
from pyproxy.targets.target import READ_WRITE

if TYPE_CHECKING:
    from pyproxy.logs import EventLog
    from pyproxy.postgres.server import ServerConnection
    from pyproxy.postgres.session import Session

EVENT: Final = "pinning-blind-spot"
CATEGORY: Final = "pinning"
# Of a long statement the beginning tells which it is.
_REMEMBERED_TEXT: Final = 2_000
# What a database that takes no writes any more reports by itself (`refused_writes`), too.
_READ_ONLY: Final = audit.Finding("setting", "the setting default_transaction_read_only")


class Observer:
    """What all sessions of the proxy share to be observed."""

    def __init__(
        self,
        switches: audit.Switches,
        counters: ProxyCounters,
        happened: Callable[[str, Literal["pinning"], str], None],
        clock: Callable[[], float],
    ) -> None:
        # Tags of commands that pin; one from a session that is not pinned tells something.
        self.tags: Final = audit.telling_tags(switches)
        self._counters = counters
        self._happened = happened
        self._clock = clock
        self._told = audit.Told()

    # -- what the relay sees -------------------------------------------------------------------

    def tag(self, session: Session, server: ServerConnection, tag: bytes) -> None:
        """A command ran that pins, and no rule has seen it."""
        self._tell(session.endpoint.log, session.id, server, audit.of_tag(tag), [server.asked])

    def notified(self, session: Session, server: ServerConnection) -> bool:
        """A notification for a session that has not listened: it is not shown to the client."""
        self._tell(session.endpoint.log, session.id, server, audit.of_notification(), [])
        return True

    def setting(self, session: Session, server: ServerConnection, name: str) -> None:
        """A setting is being reported, and the proxy has not set it. Call it before it is entered.

        Whether it stays is seen at the release: a transaction may undo it.
        """
        if server.suspects is None:
            server.suspects = {}
        # Extended queries have no text of their own by now; what was bound last is the best guess.
        named = session.naming.mentioned if session.naming is not None else None
        by_sync = bool(server.conversation.owed) and not server.conversation.awaits_query
        text = named.definition.partition(b"\0")[0] if by_sync and named else server.asked
        old = server.parameters.get(name)
        server.suspects.setdefault(name, (old, text[:_REMEMBERED_TEXT]))

    # -- the release ---------------------------------------------------------------------------

    def released(self, session: Session, server: ServerConnection) -> None:
        """An unpinned session gives back a server of which there is something to tell."""
        servers = server.home
        if server.known is not None:
            self._look(session, server)
        elif server.conversation.at_rest:
            self._tell_settings(session, server)
            servers.release(server)
        else:
            # What the transaction has set goes with it.
            server.suspects = None
            servers.roll_back(server, session.id, session.endpoint.log)

    def _tell_settings(self, session: Session, server: ServerConnection) -> None:
        suspects, server.suspects = server.suspects or {}, None
        before = {name: old for name, (old, _) in suspects.items()}
        for name, finding in audit.of_parameters(before, server.parameters):
            if name == "application_name":
                server.forget_application_name()
            texts = [suspects[name][1]]
            self._tell(session.endpoint.log, session.id, server, finding, texts)

    def _look(self, session: Session, server: ServerConnection) -> None:
        """Ask the server what it has; lend it again if that is what it had after its login."""
        log, client, servers = session.endpoint.log, session.id, server.home
        trail = session.take_trail()
        known = server.known
        assert known is not None
        before = {name: old for name, (old, _) in (server.suspects or {}).items()}
        server.suspects = {}
        # What an open transaction has set goes with it; else it is told before it is undone.
        settled = server.conversation.at_rest
        changed = [f for _, f in audit.of_parameters(before, server.parameters) if settled]
        if server.cancels:
            servers.retire(server, "a cancel request was on its way when it came back")
            return

        def answered(server: ServerConnection) -> None:
            if len(server.answer) != len(known):
                servers.retire(server, "it gave no sensible answer to a look at it")
                return
            found = dict.fromkeys((*changed, *audit.of_looks(known, server.answer)))
            for finding in found:
                self._tell(log, client, server, finding, trail, guarded=True)
            if found:
                servers.reset(server, client, log)
            else:
                servers.release(server)

        servers.look(server, answered)

    def _tell(
        self,
        log: EventLog,
        client: int,
        server: ServerConnection,
        finding: audit.Finding,
        texts: list[bytes],
        *,
        guarded: bool = False,
    ) -> None:
        say = partial(self._say, log, client, server, finding, texts, guarded=guarded)
        if finding != _READ_ONLY or server.home.role != READ_WRITE:
            say()
            return

        # Perhaps it was the database, and no statement (FO-08).
        def settled() -> None:
            if not doubt.turned:
                say()

        doubt = Doubt(settled)
        server.home.doubts.enter(server.pool, doubt)

    def _say(
        self,
        log: EventLog,
        client: int,
        server: ServerConnection,
        finding: audit.Finding,
        texts: list[bytes],
        *,
        guarded: bool,
    ) -> None:
        self._counters.blind_spot(finding.kind)
        who = audit.culprit([text for text in texts if text])
        times = self._told.due(finding, who, self._clock())
        if times:
            text = audit.message(finding, who, guarded=guarded)
            if times > 1:
                text += f" Seen {times} times since this was told last."
            log.note("WARN", text, client, server.id)
            self._happened(EVENT, CATEGORY, text)
