"""The monitor: probes every target, has it decided who writes, and has that carried out.

    targets ── probe ──▶ Watch ──▶ Observations ── decide ──▶ Decision ── steer ──▶ the fleet
    data path ─ suspect ─▶ probe at once                          ├── promote ──▶ a standby
                                                                  └── keep ─────▶ the memory

One task per target, one connection of its own each. A probe that is refused or takes longer than
`probe_timeout` is a miss; misses in a row make a target suspect, then down. What breaks in the data
path is no miss, only a reason to look at once: one killed connection is no dead database.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Final

from pyproxy.config import FailoverConfig
from pyproxy.targets import elsewhere
from pyproxy.targets.failover import (
    PROMOTION_TIMEOUT,
    Decision,
    Observations,
    State,
    decide,
)
from pyproxy.targets.memory import Memory, WriterMemory
from pyproxy.targets.outage import Outage
from pyproxy.targets.probe import UNREACHABLE, Probe, ProbeError
from pyproxy.targets.reading import Reading, caught_up, follow
from pyproxy.targets.target import Target
from pyproxy.targets.watch import Watch

# While anything is degraded, probes are so many times as frequent.
DEGRADED_FACTOR: Final = 10
PROMOTING_FACTOR: Final = 50
# How much later than its deadline a probe may be found late before that says that it was our own
# process that stood still, in seconds.
OWN_DELAY: Final = 0.25
# How often it is looked whether a new writer has answered, in seconds, and for how long.
ANSWER_INTERVAL: Final = 0.01
ANSWER_PATIENCE: Final = 10.0

_WELL: Final = (State.HEALTHY, State.SPLIT, State.BLIND)
# A person has to do something.
_STUCK: Final = (State.DEMOTED, State.DOWN, State.NO_STANDBY, State.UNPROVEN)

Steer = Callable[[Decision, int], None]
Tell = Callable[[str, str, str], None]
"""Level, event, message."""


class Monitor:
    """Watches the targets of one group."""

    def __init__(
        self,
        targets: Iterable[Target],
        make_probe: Callable[[Target], Probe],
        settings: FailoverConfig,
        *,
        steer: Steer,
        tell: Tell,
        failed: Callable[[], None],
        clock: Callable[[], float],
        memory: WriterMemory | None = None,
    ) -> None:
        self.settings: Final = settings
        self.watches: Final = [Watch(target, make_probe(target)) for target in targets]
        self._steer = steer
        self._tell = tell
        # Called where an exception of our own is handled.
        self._failed = failed
        self._clock = clock
        # The failover epoch: how often the role of the writer has been given.
        self.epoch = 0
        self.decision = Decision(State.STARTING, None)
        # Who has the role, or had it last, and in which timeline of the database.
        self.writer: str | None = None
        self._timeline = 0
        # When it was given that; before the first time nobody can have failed to follow.
        self._since = float("inf")
        self._system = ""
        self._memory: Final = memory
        # The file by which an earlier run of the proxy has told who the writer is.
        self._remembered_in: Path | None = None
        # What an orchestrator says; None when there is none to ask.
        self.leader: str | None = None
        # Who was asked to take over; None once somebody has.
        self._promoting: str | None = None
        self._promoting_since = 0.0
        # The same in seconds since 1970, for the memory.
        self._promoting_at = 0.0
        # Where the sessions of lost readers may go on.
        self._reading = Reading()
        # What comes from a primary that is no target.
        self._feed = elsewhere.Feed()
        self._outage: Outage | None = None
        # Sessions ended for want of their server, up to the last look at which all was well: those
        # since then belong to what that look did not see yet.
        self._lost_when_well = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Look at every target once, then go on for good."""
        if self._memory is not None:
            self._recall(await self._memory.recall())
        await asyncio.gather(*(self._look(watch) for watch in self.watches))
        self._decide()
        for watch in self.watches:
            self._spawn(self._go_on(watch))

    async def stop(self) -> None:
        """Look no more."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for watch in self.watches:
            watch.probe.close()
        if self._memory is not None:
            await self._memory.close()

    def suspect(self, target: Target) -> None:
        """Something broke in the data path: look at the target at once."""
        for watch in self.watches:
            if watch.target is target:
                watch.wake.set()

    def look_everywhere(self) -> None:
        """Look at all targets at once."""
        for watch in self.watches:
            watch.wake.set()

    def set_leader(self, leader: str | None) -> None:
        """An orchestrator says who is the writer; None: it can't be asked."""
        if leader != self.leader:
            self.leader = leader
            if self._tasks:
                self._decide()
                self.look_everywhere()

    def interval(self) -> float:
        """Seconds to the next probe."""
        wide = self.settings.probe_interval
        if self.decision.state is State.PROMOTING:
            # Everybody waits for this one moment.
            return wide / PROMOTING_FACTOR
        return wide / DEGRADED_FACTOR if self.degraded else wide

    @property
    def degraded(self) -> bool:
        """Is anything not as it should be?"""
        return self.decision.state not in _WELL or any(watch.failures for watch in self.watches)

    # -- looking -------------------------------------------------------------------------------

    async def _go_on(self, watch: Watch) -> None:
        while True:
            # However many connections break, looks keep a distance.
            gap = min(self.settings.probe_interval / DEGRADED_FACTOR, self.interval()) / 2
            await asyncio.sleep(gap)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self.interval() - gap, gap)):
                    await watch.wake.wait()
            watch.wake.clear()
            try:
                await self._look(watch)
                self._decide()
            except Exception:
                # A monitor that stands still is a failover that never comes.
                self._failed()

    async def _look(self, watch: Watch) -> None:
        """One probe; whatever comes of it is noted, nothing raised."""
        began = self._clock()
        limit = self.settings.probe_timeout
        try:
            async with asyncio.timeout(limit):
                sighting = await watch.probe.look()
        except ProbeError as error:
            watch.missed(error, began, self.settings.failure_threshold)
        except TimeoutError:
            watch.probe.close()
            if self._clock() - began < limit + OWN_DELAY:
                silent = ProbeError(UNREACHABLE, f"no answer within {limit:g} s", alive=False)
                watch.missed(silent, began, self.settings.failure_threshold)
        else:
            watch.seen(sighting, began, self._clock())

    # -- deciding ------------------------------------------------------------------------------

    def _decide(self) -> None:
        now = self._clock()
        seen = Observations(
            tuple(watch.observe() for watch in self.watches),
            self.writer,
            self._timeline,
            self._system,
            self.decision.deposed,
            self.leader,
            self._promoting,
            self._promoting_since,
            may_promote=self.settings.promote and not self.settings.patroni,
            maximum_lag=self.settings.maximum_lag_on_failover,
            since=self._since,
            stranded=self.decision.stranded,
        )
        before, decision = self.decision, decide(seen, now)
        reading = follow(self._reading, decision, seen, now)
        if reading.shown is None and self._reading.shown is not None:
            self.look_everywhere()
        self._reading = reading
        self._feed = elsewhere.follow(self._feed, decision, seen, now)
        if self._feed.proven:
            decision = decision._replace(writerless=True, why=elsewhere.WHY)
        self.decision = decision._replace(caught_up=caught_up(reading, decision, seen))
        self._describe(seen)
        try:
            self._carry_out(before, now)
        except Exception:
            # It is not done, so the next look finds it still to be done.
            self.decision = before
            raise
        self._keep()

    def _carry_out(self, before: Decision, now: float) -> None:
        decision = self.decision
        epoch = self.epoch
        if decision.writer is not None:
            watch = self._watch(decision.writer)
            given = (decision.writer, watch.timeline, watch.system)
            self._promoting = None
            if not self.epoch or given != (self.writer, self._timeline, self._system):
                # At the start: it may have had the role for long.
                self._since = now if self.epoch else float("-inf")
                self.epoch += 1
                self._note_cluster(watch)
                self.writer, self._timeline, self._system = given
        moved = decision[1:-1] != before[1:-1] or epoch != self.epoch
        if moved or decision.state is not before.state:
            self._note_outage(before, now)
        if moved:
            self._steer(decision, self.epoch)
        if decision.state is not before.state:
            self._note_state(before)
            self.look_everywhere()
        elif decision.state in _STUCK and decision.why != before.why:
            self._note_state(before)
        if decision.state in _WELL:
            self._lost_when_well = self._lost()
        if decision.promote is not None:
            self._promoting, self._promoting_since = decision.promote, now
            self._promoting_at = time.time()
            self._spawn(self._promote(self._watch(decision.promote)))

    async def _promote(self, watch: Watch) -> None:
        name, slot = watch.target.id, ""
        try:
            async with asyncio.timeout(PROMOTION_TIMEOUT):
                if self._memory is not None:
                    # There is no way back from here, also for the next run of the proxy.
                    await self._memory.settle()
                await watch.probe.promote()
                watch.wake.set()
                while self._promoting == name:  # noqa: ASYNC110 - told by a probe
                    await asyncio.sleep(ANSWER_INTERVAL)
                if self.writer == name:
                    slot = await watch.probe.make_slot()
        except ProbeError as error:
            self._tell("WARN", "promotion-failed", f"{name}: {error}")
            # The next decision may be for another one, or for this one again.
            self._promoting_since = self._clock() - PROMOTION_TIMEOUT + 1.0
            return
        except TimeoutError:
            pass
        if self.writer != name:
            self._tell("WARN", "promotion-failed", f"{name} is still no primary.")
        elif slot:
            message = f"Slot {slot} on {name} waits for the old primary."
            self._tell("INFO", "slot-created", message)

    # -- remembering ---------------------------------------------------------------------------

    def _recall(self, memory: Memory | None) -> None:
        """Go on where an earlier run of the proxy has ended."""
        if memory is None or self._memory is None:
            return
        self._remembered_in = self._memory.path
        self.writer, self._timeline, self._system = memory[:3]
        self.decision = self.decision._replace(deposed=memory.deposed)
        self._promoting, self._promoting_at = memory.promoting, memory.promoting_at
        # The clock on the wall may have been set since.
        self._promoting_since = self._clock() - max(time.time() - memory.promoting_at, 0.0)
        self._watch(memory.writer).remember(memory.system, memory.timeline, memory.position)

    def _keep(self) -> None:
        """Have that remembered which the next run of the proxy must know."""
        if self._memory is None or self.writer is None or not self._system:
            # A writer that nobody may look at tells nothing that could be compared later.
            return
        sighting = self._watch(self.writer).sighting
        assert sighting is not None
        self._memory.keep(
            Memory(
                self.writer,
                self._timeline,
                self._system,
                sighting.position,
                self.decision.deposed,
                self._promoting,
                self._promoting_at if self._promoting else 0.0,
            )
        )

    # -- telling -------------------------------------------------------------------------------

    def _describe(self, seen: Observations) -> None:
        """Write the health of each target in AWS's words, and tell when it changes (TH-01)."""
        promoting = self._promoting if self.decision.state is State.PROMOTING else None
        for watch, observation in zip(self.watches, seen.targets, strict=True):
            told = watch.describe(observation, self.decision, promoting)
            if told is not None:
                self._tell(*told)

    def _note_state(self, before: Decision) -> None:
        decision = self.decision
        if decision.state is State.HEALTHY:
            return
        level = "INFO" if decision.state in (State.STARTING, State.SUSPECT) else "WARN"
        why = decision.why or "no target takes writes yet"
        if self._remembered_in and not self.epoch and decision.state in _STUCK:
            why += (
                f". That {self.writer} was the writer is remembered in {self._remembered_in}: if "
                "that is over, stop the proxy, remove the file and start again"
            )
        event = f"writer-{decision.state.value.lower().replace('_', '-')}"
        if decision.state is not State.STARTING or before.state is not State.STARTING:
            self._tell(level, event, f"{decision.state.value}: {why}.")

    def _note_cluster(self, watch: Watch) -> None:
        """Tell when the databases are no more those that were known."""
        if self._system and watch.system not in ("", self._system):
            message = (
                f"The databases are of another cluster (system {watch.system}) than those known "
                f"before (system {self._system}): what was known of these is forgotten."
            )
            self._tell("WARN", "cluster-replaced", message)

    def _note_outage(self, before: Decision, now: float) -> None:
        """Keep the timeline of a failover."""
        decision, outage = self.decision, self._outage
        if outage is None or outage.successor:
            # At the start: who had the role when the proxy was stopped.
            writer = before.writer if self.epoch else self.writer
            if decision.writer == writer or writer is None:
                return
            first = self._watch(writer).failing_since or now
            outage = self._outage = Outage(writer, first, self._lost_when_well)
        if decision.state not in (State.SUSPECT, *_WELL):
            outage.step("detected", now)
        if outage.writer in decision.fenced:
            outage.step("fenced", now)
        if decision.promote is not None:
            outage.step("promotion asked", now)
        if decision.writer is not None:
            outage.step("writable", now)
            outage.successor = decision.writer
            target = self._watch(decision.writer).target
            outage.answers_before = _answers(target)
            self._spawn(self._await_answer(outage, target))

    async def _await_answer(self, outage: Outage, target: Target) -> None:
        """Tell the whole timeline once the new writer has answered a client."""
        deadline = self._clock() + ANSWER_PATIENCE
        while self._clock() < deadline:
            if _answers(target) > outage.answers_before:
                outage.step("first answer", self._clock())
                break
            await asyncio.sleep(ANSWER_INTERVAL)
        if self._outage is outage:
            self._tell("WARN", "failover", outage.summary(self._lost()))

    def _lost(self) -> int:
        return sum(watch.target.sessions_lost for watch in self.watches)

    def _watch(self, name: str) -> Watch:
        return next(watch for watch in self.watches if watch.target.id == name)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _answers(target: Target) -> int:
    """How many requests of clients it has answered."""
    counters = target.counters
    return counters.query_response_latency.count + counters.extended_response_latency.count
