"""What if: the same recording, with some of its statements elsewhere.

Each scenario names the rules whose statements would be gone or would not pin. The recording is
judged again without them, so a second statement that pins the same session is found as well; a
running proxy's ledger knows first reasons only, and there the answer is the best case.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproxy.assessment.judgement import Assessment, judge
from pyproxy.assessment.recording import Recording
from pyproxy.assessment.simulation import replayed_peak, simulate, workload_of
from pyproxy.config import CompatibilityConfig

_SETTINGS: Final = frozenset({"PIN-PG-01", "PIN-PG-10", "PIN-PG-13", "PIN-PG-14b", "PIN-PG-16"})
_LOCAL: Final = frozenset({"PIN-PG-11", "PIN-PG-12", "PIN-PG-14"})
_ROLES: Final = frozenset({"PIN-PG-15"})


class Scenario(NamedTuple):
    """One change, and what it takes away."""

    name: str
    change: str
    rules: frozenset[str]


SCENARIOS: Final = (
    Scenario(
        "init-query",
        "settings move to the init query, or to ALTER ROLE … SET",
        _SETTINGS,
    ),
    Scenario(
        "set-local",
        "settings become SET LOCAL, and SET LOCAL does not pin (compatibility.set_local: no_pin)",
        _SETTINGS | _LOCAL,
    ),
    Scenario(
        "driver",
        "drivers stop to prepare, discard and unlock by SQL",
        frozenset({"PIN-PG-02", "PIN-PG-05", "PIN-PG-22"}),
    ),
    Scenario(
        "roles",
        "each role logs in with a secret of its own instead of SET ROLE",
        _ROLES,
    ),
    Scenario(
        "tracking",
        "a pooler that tracks settings and replays them (not RDS Proxy)",
        _SETTINGS | _LOCAL | _ROLES,
    ),
    Scenario(
        "all-settings",
        "all of the above but tracking",
        _SETTINGS | _LOCAL | _ROLES | {"PIN-PG-02", "PIN-PG-05", "PIN-PG-22"},
    ),
)


class Outcome(NamedTuple):
    """What a scenario saves."""

    scenario: Scenario
    pinned_sessions: int
    fewer_pins: int
    pinned_share: float | None
    connections: int | None
    """Database connections needed, or None where no times are known."""

    fewer_connections: int | None


def what_if(
    recording: Recording, switches: CompatibilityConfig, *, clients: int = 0
) -> list[Outcome]:
    """Every scenario's outcome, the one that saves most pins first."""
    base = judge(recording, switches)
    base_connections = connections_needed(base, clients)
    outcomes = []
    for scenario in SCENARIOS:
        changed = judge(recording, switches, without=scenario.rules)
        connections = connections_needed(changed, clients)
        fewer = None
        if connections is not None and base_connections is not None:
            fewer = base_connections - connections
        outcomes.append(
            Outcome(
                scenario,
                changed.pinned_sessions,
                base.pinned_sessions - changed.pinned_sessions,
                changed.pinned_share,
                connections,
                fewer,
            )
        )
    return sorted(outcomes, key=lambda outcome: -outcome.fewer_pins)


def connections_needed(assessment: Assessment, clients: int) -> int | None:
    """At the stated number of clients, or as it was; None where no times are known."""
    workload = workload_of(assessment)
    if workload is None:
        return None
    if clients:
        return simulate(workload, clients).connections
    return replayed_peak(assessment)[1]
