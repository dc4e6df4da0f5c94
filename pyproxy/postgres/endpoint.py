"""One endpoint: what its sessions share, and what is noted of them.

An endpoint is where clients come in (`default`, or an additional one with a name and a role).
Its sessions share the servers of their role, the classifier, the catalog of statements, the
counters and the log; what they report here is one line each, so that the walk stays readable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pyproxy.logs import EventLog
from pyproxy.metrics.counters import ClientCounters, Histogram
from pyproxy.pinning.classifier import Classifier, Pin, Verdict
from pyproxy.pinning.ledger import Ledger, PinFacts
from pyproxy.postgres.cancel import CancelKeys
from pyproxy.postgres.observer import Observer
from pyproxy.postgres.statements import Catalog
from pyproxy.turn import Turn

if TYPE_CHECKING:
    from pyproxy.postgres.fleet import Fleet
    from pyproxy.postgres.login import FirstServer
    from pyproxy.postgres.server import ServerConnection
    from pyproxy.postgres.servers import Servers
    from pyproxy.postgres.session import Session


class Endpoint:
    """What the sessions of one endpoint share."""

    def __init__(
        self,
        name: str,
        role: str,
        fleet: Fleet,
        classifier: Classifier,
        catalog: Catalog,
        ledger: Ledger,
        log: EventLog,
        *,
        turn: Turn,
        observer: Observer,
        cancel_keys: CancelKeys[Session],
        random_id: Callable[[], int],
        session_mode: bool,
    ) -> None:
        self.name = name
        # READ_WRITE or READ_ONLY: which targets its clients are sent to.
        self.role: Final = role
        self.fleet: Final = fleet
        self.classifier: Final = classifier
        # What the classifier knows to be clean: most requests are among it.
        self.clean: Final = classifier.clean
        self.catalog = catalog
        self.ledger = ledger
        self.log = log
        self.turn: Final = turn
        self.observer = observer
        self.cancel_keys = cancel_keys
        self.random_id = random_id
        # pool_mode: session. Each session keeps the first server it gets.
        self.session_mode = session_mode
        self.counters: Final = ClientCounters()
        self.sessions: set[Session] = set()
        # Logins that wait for the first server of a pool.
        self.visitors: set[FirstServer] = set()
        self._clock = asyncio.get_running_loop().time

    # -- borrowing -----------------------------------------------------------------------------

    def borrowed_at_once(self, server: ServerConnection) -> None:
        """A server was idle: the wait was nothing, and no clock is asked."""
        server.target_counters.borrow_requests += 1
        self.counters.borrow_latency.counts[0] += 1

    def waited(self, session: Session, server: ServerConnection) -> None:
        """A server was lent after a wait."""
        server.target_counters.borrow_requests += 1
        server.waited = self._clock() - session.waiting_since
        self.counters.borrow_latency.observe(server.waited)

    def borrow_aborted(self, home: Servers) -> None:
        """A wait ended without a server: too long, refused, or the client is gone (M-22)."""
        counters = home.target.counters
        counters.borrow_requests += 1
        counters.borrow_requests_aborted += 1

    # -- queries -------------------------------------------------------------------------------

    def query_received(self, session: Session) -> None:
        """A simple query; a text of several statements counts once (M-24)."""
        counters = self.counters
        counters.queries += 1
        if session.tls:
            counters.queries_tls += 1

    def query_answered(self, server: ServerConnection, seconds: float) -> None:
        """Its ReadyForQuery has gone to the client; M-27 counts the wait for a server, M-23 not."""
        database = server.target_counters.query_response_latency
        if server.waited:
            self._after_wait(server, seconds, self.counters.query_response_latency, database)
        else:
            self.counters.query_response_latency.observe_too(database, seconds)

    def execute_received(self, session: Session) -> None:
        """An Execute: AWS does not count it among the queries (M-31)."""
        counters = self.counters
        counters.extended_queries += 1
        if session.tls:
            counters.extended_queries_tls += 1

    def pipeline_answered(self, server: ServerConnection, seconds: float) -> None:
        """The ReadyForQuery of extended queries has gone to the client; as `query_answered`."""
        database = server.target_counters.extended_response_latency
        if server.waited:
            self._after_wait(server, seconds, self.counters.extended_response_latency, database)
        else:
            self.counters.extended_response_latency.observe_too(database, seconds)

    def _after_wait(
        self, server: ServerConnection, seconds: float, own: Histogram, database: Histogram
    ) -> None:
        own.observe(server.waited + seconds)
        database.observe(seconds)
        server.waited = 0.0

    def repeated(self, session: Session, queries: int, executes: int) -> None:
        """So many are about to be received once more; the client has sent them once."""
        counters = self.counters
        counters.queries -= queries
        counters.extended_queries -= executes
        if session.tls:
            counters.queries_tls -= queries
            counters.extended_queries_tls -= executes

    # -- pinning -------------------------------------------------------------------------------

    def pinned(self, session: Session, server: ServerConnection, pin: Pin) -> None:
        """The session keeps its server from now on (L-01)."""
        server.target_counters.pinned(pin.rule)
        key = session.pool.key
        facts = PinFacts(
            session.id,
            server.id,
            self.name,
            pin.rule,
            pin.reason,
            pin.statement,
            pin.digest,
            # A Parse that pins comes before anything has run.
            max(session.statements_seen, 1),
            key.user,
            key.database,
            session.application_name or "",
            key.startup,
        )
        held = self.ledger.pinned(facts, session, self._clock())
        self.log.pinned(
            session.id,
            server.id,
            pin.reason,
            rule=pin.rule,
            statement=pin.statement,
            digest=pin.digest,
            statement_number=facts.number,
            user=key.user,
            database=key.database,
            application_name=facts.application_name,
            driver=held.driver,
        )

    def announced(self, session: Session, server: ServerConnection, verdict: Verdict) -> None:
        """A statement was parsed that will pin when it runs (L-05)."""
        if verdict.pin is not None and session.pin is None:
            self.log.announced(session.id, server.id, verdict.pin.reason)

    def unpinned(self, session: Session) -> None:
        """A session that kept its server has ended."""
        if session.pin is not None:
            self.ledger.ended(session.id, self._clock())

    # -- coming and going ----------------------------------------------------------------------

    def entered(self, session: Session) -> None:
        """A client has logged in."""
        self.sessions.add(session)
        session.pool.clients += 1

    def left(self, session: Session) -> None:
        """A client has gone, or is being sent away."""
        self.sessions.discard(session)
        session.pool.clients -= 1
        counters = self.counters
        counters.closed += 1
        if session.tls:
            counters.tls -= 1
        else:
            counters.no_tls -= 1
        if session.cancel_key is not None:
            self.cancel_keys.take_back(session.cancel_key)

    def failed(self, session: Session) -> None:
        """An error of the proxy itself; called where it is handled, so the trace is at hand."""
        self.log.failure(session.id)
