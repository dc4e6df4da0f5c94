"""What the metrics read of a running proxy; `metrics.readings` has the rules for it.

Gauges are taken when somebody asks, so the hot path owes them nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol.postgres.conversation import IDLE
from pyproxy.metrics.counters import ClientCounters, ProxyCounters, TargetCounters
from pyproxy.metrics.gauges import TargetGauges
from pyproxy.postgres.server import ServerConnection
from pyproxy.targets.target import Target

if TYPE_CHECKING:
    from pyproxy.app import App


class ProxyReadings:
    """The metrics' source: gauges are taken here, now; counters are where they are counted."""

    def __init__(self, app: App) -> None:
        self._app = app

    @property
    def own(self) -> ProxyCounters:
        """The counters that belong to no endpoint and no target."""
        counters = self._app.counters
        counters.statements_held = sum(
            len(session.naming.names)
            for endpoint in self._app.endpoints.values()
            for session in endpoint.sessions
            if session.naming is not None
        )
        return counters

    @property
    def proxy_name(self) -> str:
        """ProxyName."""
        return self._app.config.proxy.db_proxy_name

    @property
    def target_group(self) -> str:
        """TargetGroup: RDS Proxy has one."""
        return "default"

    @property
    def count_extended_queries(self) -> bool:
        """M-31."""
        return self._app.config.compatibility.extended_query_metrics

    def endpoints(self) -> Sequence[tuple[str, str, ClientCounters]]:
        """Name, target role and counters of each endpoint."""
        roles = {e.db_proxy_endpoint_name: e.target_role for e in self._app.config.endpoints}
        return [
            (name, roles.get(name, "READ_WRITE"), endpoint.counters)
            for name, endpoint in self._app.endpoints.items()
        ]

    def targets(self) -> Sequence[tuple[str, str, TargetCounters, TargetGauges]]:
        """Id, role, counters and gauges of each target."""
        return [(t.id, t.role, t.counters, self.gauges(t)) for t in self._app.targets]

    def gauges(self, target: Target) -> TargetGauges:
        """One pass over the target's servers."""
        group = self._app.fleet.of(target)
        servers = group.all
        lent = [server for server in servers if server.session is not None]
        percent = self._app.config.target_group.connection_pool_config.max_connections_percent
        return TargetGauges(
            connections=len(servers) + sum(pool.opening for pool in group.pools),
            with_tls=sum(server.tls for server in servers),
            borrowed=len(lent),
            in_transaction=sum(in_transaction(server) for server in lent),
            pinned=sum(pinned(server) for server in lent),
            max_allowed=target.limits.allowed(percent) if target.limits is not None else 0,
            available=target.available,
            asked=target.in_aws_words.state != "REGISTERING",
            waiting=sum(
                len(pool.waiting)
                for servers in self._app.fleet.at(target)
                for pool in servers.pools
            ),
        )


def in_transaction(server: ServerConnection) -> bool:
    """In a transaction, as far as the last answer told; a pinned one counts too (M-15)."""
    return server.conversation.status != IDLE


def pinned(server: ServerConnection) -> bool:
    """Lent to a client that keeps it."""
    return server.session is not None and server.session.pin is not None
