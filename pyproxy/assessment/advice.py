"""The verdict: use RDS Proxy, use it after some changes, or use something else; and what it costs.

The limits are the success metrics that a rollout of RDS Proxy is usually held against.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from pyproxy.assessment.judgement import Assessment, Finding, judge
from pyproxy.assessment.recording import CANCELS, REPLICATION
from pyproxy.assessment.scenarios import SCENARIOS
from pyproxy.assessment.simulation import (
    UNBOUNDED,
    Demand,
    replayed_peak,
    simulate,
    workload_of,
)
from pyproxy.config import CompatibilityConfig

# At most this share of sessions pinned, or the pool is no pool.
PINNED_LIMIT: Final = 0.20
# At least so many database connections fewer, or it is not worth its price and its milliseconds.
SAVED_LEAST: Final = 0.60
# On-demand in us-east-1, in dollars per vCPU-hour of the database instance, two at least; Aurora
# Serverless is charged by the ACU. Prices differ by Region: see --price.
PRICE: Final = 0.015
_VCPUS_LEAST: Final = 2
_HOURS_A_MONTH: Final = 730


class Verdict(Enum):
    """What to do."""

    USE = "use RDS Proxy"
    USE_AFTER_FIXES = "use RDS Proxy after these fixes"
    DO_NOT_USE = "don't use RDS Proxy"
    UNKNOWN = "not enough was seen"


class Advice(NamedTuple):
    """The verdict and how it came about."""

    verdict: Verdict
    because: list[str]
    fixes: list[Finding]
    """What to change first: statements that could do without pinning, or elsewhere."""

    instead: list[str]
    """What serves better, where RDS Proxy doesn't."""

    lacks: list[str]
    """What the application uses that RDS Proxy does not do."""

    clients: int | None
    """At the same time; each is a database connection where there is no proxy."""

    demand: Demand | None
    """Of the pool, at `clients`; None where no times are known."""

    monthly_cost: float | None
    """Dollars; None where no vCPUs were stated."""


# What pins for good reasons: no setting makes it go away, the code has to change.
_FIXABLE: Final = frozenset().union(*(s.rules for s in SCENARIOS if s.name != "tracking"))


class _Outlook(NamedTuple):
    """What RDS Proxy would come to, as things are or after the fixes."""

    pinned_share: float
    direct: int | None
    connections: int | None

    def fits(self, max_connections: int) -> bool:
        """Are few sessions pinned, and enough connections saved?"""
        if self.pinned_share > PINNED_LIMIT:
            return False
        if not self.direct or self.connections is None:
            return True
        too_many_without = self.connections <= max_connections < self.direct
        return too_many_without or self.connections <= self.direct * (1 - SAVED_LEAST)

    def words(self) -> str:
        """For the report."""
        text = f"{self.pinned_share:.0%} of the sessions' time pinned (limit: {PINNED_LIMIT:.0%})"
        if self.direct and self.connections is not None:
            saved = 1 - self.connections / self.direct
            text += (
                f"; {self.connections} database connections for {self.direct} clients,"
                f" {saved:.0%} fewer (wanted: {SAVED_LEAST:.0%})"
            )
        return text


def advise(
    assessment: Assessment,
    switches: CompatibilityConfig,
    *,
    clients: int = 0,
    max_connections: int = 0,
    vcpus: int = 0,
    price: float = PRICE,
) -> Advice:
    """The verdict on an assessment, at `clients` at the same time (0: as many as were seen)."""
    direct = clients or replayed_peak(assessment)[0] or assessment.session_count or None
    demand = _demand(assessment, direct, seen=not clients, max_connections=max_connections)
    fixed = judge(assessment.recording, switches, without=_FIXABLE)
    fixed_demand = _demand(fixed, direct, seen=not clients, max_connections=max_connections)
    verdict, because = _verdict(
        assessment, _outlook(assessment, direct, demand), _outlook(fixed, direct, fixed_demand),
        max_connections,
    )  # fmt: skip
    return Advice(
        verdict,
        because,
        [f for f in assessment.findings if f.rule in _FIXABLE or f.rule == "PIN-ALL-01"],
        _instead(assessment, verdict),
        _lacks(assessment),
        direct,
        demand,
        max(vcpus, _VCPUS_LEAST) * price * _HOURS_A_MONTH if vcpus else None,
    )


def _demand(
    assessment: Assessment, clients: int | None, *, seen: bool, max_connections: int
) -> Demand | None:
    workload = workload_of(assessment)
    if workload is None or not clients:
        return None
    demand = simulate(workload, clients, max_connections=max_connections or UNBOUNDED)
    # As it was seen is more certain than drawn anew.
    return demand._replace(connections=replayed_peak(assessment)[1]) if seen else demand


def _outlook(assessment: Assessment, direct: int | None, demand: Demand | None) -> _Outlook | None:
    share = assessment.pinned_share
    if share is None:
        return None
    return _Outlook(share, direct, None if demand is None else demand.connections)


def _verdict(
    assessment: Assessment, now: _Outlook | None, fixed: _Outlook | None, max_connections: int
) -> tuple[Verdict, list[str]]:
    if not assessment.statements and not assessment.recording.pins:
        return Verdict.UNKNOWN, ["No statement was seen."]
    if now is None or fixed is None:
        return _by_statements(assessment)
    because = [f"As it is: {now.words()}."]
    if now.fits(max_connections):
        return Verdict.USE, because
    because.append(f"After the fixes: {fixed.words()}.")
    if fixed.fits(max_connections):
        return Verdict.USE_AFTER_FIXES, because
    return Verdict.DO_NOT_USE, because


def _by_statements(assessment: Assessment) -> tuple[Verdict, list[str]]:
    """No session is known: whether any statement pins is all that can be said."""
    counted = f"{assessment.pinning_statements} of {assessment.statements} statements pin"
    because = [f"{counted}; how many sessions send them, this source does not tell."]
    if not assessment.findings:
        return Verdict.USE, because
    if any(finding.rule not in _FIXABLE for finding in assessment.findings):
        because.append("Some of them can't move to a setting: the code has to change.")
    return Verdict.USE_AFTER_FIXES, because


def _instead(assessment: Assessment, verdict: Verdict) -> list[str]:
    if verdict is not Verdict.DO_NOT_USE:
        return []
    choices = []
    if assessment.own_connection:
        choices.append("A direct connection for those who LISTEN, and the proxy for the others.")
    if assessment.long_transactions:
        choices.append(
            "Shorter transactions, or a reader for the long ones: a pool can't share a connection"
            " that is in a transaction."
        )
    share = assessment.pinned_share
    if share is not None and share > PINNED_LIMIT:
        choices.append(
            "A pooler that replays settings or is told what to ignore (PgBouncer, PgDog, Odyssey),"
            " where the state that pins is settings."
        )
    return [
        *choices,
        "The RDS Data API, where calls are short and few, as from Lambda: it keeps no connection.",
        "A pool in the application, or a larger instance, where few clients stay for long.",
    ]


def _lacks(assessment: Assessment) -> list[str]:
    features = assessment.recording.features
    found = []
    if features.get(CANCELS):
        found.append(
            f"{features[CANCELS]} statements were cancelled by their client: RDS Proxy has no"
            " CancelRequest (LIM-PG-01); use statement_timeout."
        )
    if features.get(REPLICATION):
        found.append(
            f"{features[REPLICATION]} replication connections: RDS Proxy refuses them (LIM-PG-03)."
        )
    if assessment.own_connection:
        found.append("LISTEN works, but pins; its connection is better a direct one (LIM-PG-10).")
    return found
