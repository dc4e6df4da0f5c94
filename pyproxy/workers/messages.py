"""What the supervisor and a worker say to each other: every message once.

They are pickled (`channel`): both ends are one program, started by one user, and the socket between
them has no name that anybody else could connect to.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproxy.config import Config
from pyproxy.dashboard.view import EventCategory, Reading
from pyproxy.metrics.gauges import TargetGauges
from pyproxy.targets.failover import Decision
from pyproxy.targets.target import Limits
from pyproxy.workers.budget import Order

# How often a worker sends a Pulse, whether or not anybody asks, in seconds.
BEAT: Final = 1.0

# -- from the supervisor -------------------------------------------------------------------------


class Welcome(NamedTuple):
    """The first message: who you are."""

    number: int
    """From 1; it stands in cancel keys and in ids."""

    config: Config
    """With the ports that were found for it."""

    log_as_json: bool
    monitored: bool
    """Roles are decided by the supervisor: lend nothing before the first `Steer`."""


class Steer(NamedTuple):
    """Who writes and who reads from now on."""

    decision: Decision
    epoch: int


class Lease(NamedTuple):
    """About the places at a target."""

    target: str
    order: Order


class Reload(NamedTuple):
    """A new configuration, known to be good."""

    config: Config


class Look(NamedTuple):
    """Tell how things are: a `Pulse` after the rows of these lists of `dashboard.view.View`."""

    number: int
    lists: tuple[str, ...]
    limit: int
    """At most so many rows of each."""


class Drain(NamedTuple):
    """Accept no more; answer `Drained` when nothing is under way any more."""


class Stop(NamedTuple):
    """End now."""


# -- from a worker -------------------------------------------------------------------------------


class Ready(NamedTuple):
    """It listens on every endpoint."""


class Want(NamedTuple):
    """Clients wait, and so many places are lacking."""

    target: str
    places: int

    lasting: bool
    """It is more than a moment's wish."""

    pressing: bool
    """Somebody has waited for long."""

    share: int
    """How many places it has, as far as it knows."""

    kept: int
    """So many of them have servers that do not come back: pinned, or as good as that."""


class Gave(NamedTuple):
    """So many places are free for others."""

    target: str
    places: int


class Learnt(NamedTuple):
    """What the last attempt to open a server told of its target."""

    target: str
    limits: Limits | None
    trouble: str
    reason: str
    """Which kind of trouble it is."""
    key: tuple[int, bytes] | None = None
    """The new server's, to cancel what it runs should the worker die."""


class Suspect(NamedTuple):
    """A connection broke: look at the target."""

    target: str


class Happened(NamedTuple):
    """An event."""

    event: str
    category: EventCategory
    message: str


Row = dict[str, object]
Values = dict[str, int | tuple[list[int], float] | dict[str, int]]
"""Counters by name: a number, a histogram's counts and total, or numbers by a label."""


class Rows(NamedTuple):
    """A slice of a list that was asked for."""

    number: int
    name: str
    rows: list[Row]


class TargetPulse(NamedTuple):
    """One target, as a worker has it."""

    counters: Values
    gauges: TargetGauges
    sessions_lost: int
    keys: frozenset[tuple[int, bytes]]
    """Of its servers."""


class Pulse(NamedTuple):
    """All that is counted: at each beat, and at the end of each look."""

    endpoints: dict[str, Values]
    targets: dict[str, TargetPulse]
    own: Values
    reading: Reading
    number: int | None = None
    """Of the look that it ends."""


class Drained(NamedTuple):
    """Nothing is under way any more."""


# -- both ways -----------------------------------------------------------------------------------


class Cancel(NamedTuple):
    """A CancelRequest whose key names another worker; the supervisor passes it on."""

    number: int
    process_id: int
    secret_key: bytes


class Cancelled(NamedTuple):
    """It has arrived, or there was nothing to cancel."""

    number: int


Message = (
    Welcome | Steer | Lease | Reload | Look | Drain | Stop
    | Ready | Want | Gave | Learnt | Suspect | Happened | Rows | Pulse | Drained
    | Cancel | Cancelled
)  # fmt: skip
