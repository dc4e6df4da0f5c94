"""One target as the monitor sees it: its last answer, its misses, its health in AWS's words."""

from __future__ import annotations

import asyncio

from pyproxy.targets.failover import Decision, Health, Observation
from pyproxy.targets.probe import (
    INVALID_REPLICATION_STATE,
    PROMOTED,
    Probe,
    ProbeError,
    Sighting,
)
from pyproxy.targets.target import READ_ONLY, READ_WRITE, UNKNOWN, Limits, Target, TargetHealth


class Watch:
    """What is known of one target."""

    def __init__(self, target: Target, probe: Probe) -> None:
        self.target = target
        self.probe = probe
        # Set to be looked at before its time.
        self.wake = asyncio.Event()
        # The last answer, though it may be dead by now.
        self.sighting: Sighting | None = None
        self.looked = self.heard = self.untold = float("-inf")
        # It is of an earlier run of the proxy.
        self.remembered = False
        # Probes missed in a row, and when the first of them was sent.
        self.failures = 0
        self.failing_since = 0.0
        self._threshold = 1
        # It answers, but not the question.
        self._blind = False
        self._reason = ""
        self._description = ""

    def remember(self, system: str, timeline: int, position: int) -> None:
        """It was the writer when the proxy ended; what it said last stays known."""
        self.remembered = True
        self.sighting = Sighting(
            in_recovery=False,
            refuses_writes=False,
            timeline=timeline,
            position=position,
            lag=0.0,
            system=system,
            max_connections=0,
            reserved=0,
            promotable=False,
            silence=None,
            replayed=position,
            untold=False,
        )

    # -- what a probe brought ------------------------------------------------------------------

    def seen(self, sighting: Sighting, began: float, now: float) -> None:
        """The target has answered a probe that began at `began`."""
        if self.sighting is not None and _goes_on(self.sighting, sighting):
            # The timeline that it receives is not shown while it connects anew.
            sighting = sighting._replace(timeline=max(sighting.timeline, self.sighting.timeline))
        self.looked = began
        self.sighting = sighting
        self.remembered = False
        self.failures = 0
        self.failing_since = 0.0
        self._blind = False
        self._reason = self._description = ""
        if sighting.silence is not None:
            self.heard = now - sighting.silence
        if sighting.untold:
            self.untold = now
        self.target.lag = sighting.lag
        self.target.timeline = sighting.timeline
        self.target.position = sighting.position
        self.target.limits = Limits(
            sighting.max_connections,
            sighting.reserved,
            sighting.in_recovery,
            sighting.refuses_writes,
        )

    def missed(self, error: ProbeError, began: float, threshold: int) -> None:
        """A probe that began at `began` saw nothing."""
        self._reason, self._description = error.reason, str(error)
        if error.alive:
            self.failures, self.failing_since, self._blind = 0, 0.0, True
            return
        if not self.failures:
            self.failing_since = began
        self.failures += 1
        self._threshold = threshold

    # -- what that means -----------------------------------------------------------------------

    @property
    def timeline(self) -> int:
        """Of the database, as far as is known."""
        return 0 if self.sighting is None else self.sighting.timeline

    @property
    def system(self) -> str:
        """The system identifier of the database, as far as is known."""
        return "" if self.sighting is None else self.sighting.system

    def observe(self) -> Observation:
        """For the decision."""
        target, sighting = self.target.id, self.sighting
        health = self._health()
        if sighting is None or (self._blind and not self.failures):
            return Observation(
                target, health, UNKNOWN, timeline=0, failing_since=self.failing_since
            )
        return Observation(
            target,
            health,
            READ_ONLY if sighting.in_recovery else READ_WRITE,
            sighting.refuses_writes,
            sighting.timeline,
            sighting.position,
            sighting.replayed,
            sighting.system,
            sighting.promotable,
            self.failing_since,
            self.heard,
            streaming=sighting.silence is not None,
            looked=self.looked,
            remembered=self.remembered,
            untold=self.untold,
        )

    def _health(self) -> Health:
        if self.failures:
            return Health.SUSPECT if self.failures < self._threshold else Health.DOWN
        answered = self._blind or (self.sighting is not None and not self.remembered)
        # Neither an answer nor a miss: the first probe is on its way.
        return Health.UP if answered else Health.SUSPECT

    def describe(
        self, seen: Observation, decision: Decision, promoting: str | None
    ) -> tuple[str, str, str] | None:
        """Enter its health in AWS's words; level, event and message when it has changed."""
        target = self.target
        before, target.health = target.health, self._in_aws_words(seen, decision, promoting)
        health = target.health
        if before is None or (before.state, before.role) == (health.state, health.role):
            return None
        if health.state == "AVAILABLE":
            return "INFO", "target-available", f"Target {target.id} is available, {health.role}."
        why = f"{health.reason}: {health.description}"
        return "WARN", "target-unavailable", f"Target {target.id} is unavailable. {why}."

    def _in_aws_words(
        self, seen: Observation, decision: Decision, promoting: str | None
    ) -> TargetHealth:
        name = self.target.id
        if seen.health is not Health.UP or seen.role == UNKNOWN:
            return TargetHealth("UNAVAILABLE", UNKNOWN, self._reason, self._description)
        if name == promoting:
            return TargetHealth("UNAVAILABLE", READ_ONLY, PROMOTED, "it is being promoted")
        if name == decision.writer:
            return TargetHealth("AVAILABLE", READ_WRITE)
        if name in decision.readers:
            return TargetHealth("AVAILABLE", READ_ONLY)
        if name in decision.stranded:
            why = (
                f"it does not follow the writer and is left behind in timeline {seen.timeline}: "
                "its primary_conninfo has to lead to the writer, or it has to be made anew"
            )
            return TargetHealth("UNAVAILABLE", READ_ONLY, INVALID_REPLICATION_STATE, why)
        why = "it is no standby of the writer"
        if seen.refuses_writes:
            why = "it is set to be read-only"
        return TargetHealth("UNAVAILABLE", UNKNOWN, INVALID_REPLICATION_STATE, why)


def _goes_on(before: Sighting, now: Sighting) -> bool:
    """Is it the same standby, which has not begun anew from an older backup?"""
    return (
        before.in_recovery
        and now.in_recovery
        and before.system == now.system
        and before.replayed <= now.replayed
    )
