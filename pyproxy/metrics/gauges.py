"""The gauges: what is true of one target at this moment.

Whoever owns the pools takes the reading when asked (`exposition.MetricsSource.targets`); no
gauge is kept up to date for nobody.
"""

from typing import NamedTuple


class TargetGauges(NamedTuple):
    """One target's server connections, counted now."""

    connections: int
    """Open server connections, those in setup included (M-12)."""

    with_tls: int
    """Open server connections over TLS (M-19)."""

    borrowed: int
    """Lent to a client: idle-in-hand, in transaction and pinned ones together (M-14, M-32)."""

    in_transaction: int
    """Lent and inside a transaction, failed ones included (M-15)."""

    pinned: int
    """Lent for the rest of the session (M-16)."""

    max_allowed: int
    """The budget: `max_connections_percent` of the target's own limit after its reserve (M-20)."""

    available: bool
    """Whether the target takes connections in its role now (M-01)."""

    asked: bool = True
    """Whether its availability is known at all: it was asked, or tried."""

    waiting: int = 0
    """Clients parked until a connection of this target is free; they have borrowed nothing yet."""
