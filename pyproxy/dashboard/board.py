"""The board: what the live page shows of one moment, bounded whatever the load.

It costs as much as the database connections there are, and a count of the clients; a client is a
row only while it waits or is pinned, and of those the first few are shown.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Final, TypedDict, TypeVar

from pyproxy.dashboard.sampling import Moment, Sample, sample
from pyproxy.dashboard.view import (
    ApplicationRow,
    ClientRow,
    PinnedSessionRow,
    PoolRow,
    ProxySummary,
    Reading,
    ServerRow,
    TargetRow,
    View,
)

SERVERS: Final = 256
APPLICATIONS: Final = 30
POOLS: Final = 30
TARGETS: Final = 20
WAITING: Final = 20
PINNED: Final = 50

OTHERS: Final = "(others)"

T = TypeVar("T")


class Board(TypedDict):
    """One moment. Lists that were cut are as long as their bound; `sample` has the totals."""

    ready: bool
    """Whether clients can be served."""

    why: str
    """Why, or why not."""

    sample: Sample
    applications: list[ApplicationRow]
    """Those with the most clients; the others together under `(others)`."""

    servers: list[ServerRow]
    pools: list[PoolRow]
    targets: list[TargetRow]
    waiting: list[ClientRow]
    pinned: list[PinnedSessionRow]
    """Those that hold their server, the longest first."""


def board(
    view: View,
    summary: ProxySummary,
    time: str,
    reading: Reading,
    before: Reading | None,
    seconds: float,
) -> Board:
    """Look at everything once; `before` is the reading `seconds` ago."""
    ready, why = view.ready()
    targets = _first(TARGETS, view.targets())
    moment = Moment(
        time=time,
        clients=summary["clients"],
        waiting=summary["clients_waiting"],
        max_connections=sum(row["max_connections"] for row in targets if _in_use(row)),
        targets={row["id"]: row["role"] if row["available"] else row["state"] for row in targets},
    )
    return Board(
        ready=ready,
        why=why,
        sample=sample(moment, reading, before, seconds),
        applications=_with_others(view.applications()),
        servers=_first(SERVERS, view.servers()),
        pools=_first(POOLS, view.pools()),
        targets=targets,
        waiting=_first(WAITING, view.waiting()),
        pinned=_first(PINNED, takewhile(lambda pin: pin["held"], view.pinned_sessions())),
    )


def _in_use(target: TargetRow) -> bool:
    """Whether its budget can be used now: a standby that nobody reads from lends nothing."""
    return target["servers"] > 0 or (target["available"] and target["role"] == "READ_WRITE")


def _first(limit: int, rows: Iterable[T]) -> list[T]:
    return list(islice(rows, limit))


def _with_others(rows: Iterable[ApplicationRow]) -> list[ApplicationRow]:
    """The largest groups, and one row for what is left, so that nobody is missing in the sum."""
    groups: Iterator[ApplicationRow] = iter(rows)
    shown = _first(APPLICATIONS, groups)
    others = ApplicationRow(
        application_name=OTHERS,
        pool="",
        clients=0,
        idle=0,
        waiting=0,
        borrowed=0,
        in_transaction=0,
        pinned=0,
    )
    for row in groups:
        others["clients"] += row["clients"]
        others["idle"] += row["idle"]
        others["waiting"] += row["waiting"]
        others["borrowed"] += row["borrowed"]
        others["in_transaction"] += row["in_transaction"]
        others["pinned"] += row["pinned"]
    return [*shown, others] if others["clients"] else shown
