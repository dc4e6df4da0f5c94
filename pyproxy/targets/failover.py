"""Who writes, who reads, who is fenced: the decision of a failover, as one pure function.

    decision = decide(seen, now)

What was observed of every target goes in, one decision comes out; nothing here does anything. The
monitor probes, asks this, and has it carried out. The states, and what each means:

| state | what is seen | writes go to | and |
| --- | --- | --- | --- |
| STARTING | nobody has written yet, nobody can | nobody | clients wait |
| HEALTHY | one writable target, of the newest timeline | it | |
| SPLIT | more than one writable target | the one of the newest timeline | the others are fenced |
| BLIND | the writer lives, the probe may not log in | it | its connections prove the role |
| SUSPECT | the writer missed fewer probes than the threshold | nobody | clients wait |
| DEMOTED | the writer lives and is read-only | nobody | whoever did that promotes another |
| DOWN | the writer is down, others promote | nobody | whoever is in charge promotes |
| ISOLATED | the writer is down for us, a standby hears from it | nobody | it may be writing |
| NO_STANDBY | the writer is down, no standby answers | nobody | clients wait for either |
| UNPROVEN | a standby answers, nothing proves that it is as good | nobody | a person decides |
| BEHIND | the best standby lacks too much of what was written | nobody | a person decides |
| FORBIDDEN | the probe's user may not promote | nobody | a person promotes |
| PROMOTING | the writer is down, a standby is as good | nobody | that is promoted, the old fenced |

A target that has lost the role (deposed) is not used again before it is a standby, nor is one whose
timeline is older than that of the writer. Both are known after a restart, too: see `memory`. An
orchestrator that knows the leader is believed more than what looks writable.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from pyproxy.targets.target import READ_ONLY, READ_WRITE

# How long a promotion may take before another standby may be tried, in seconds.
PROMOTION_TIMEOUT: Final = 30.0
# How long a reader may take to follow a new writer, in seconds. PostgreSQL looks for its primary
# every wal_retrieve_retry_interval, which is 5 s unless set otherwise.
FOLLOW_PATIENCE: Final = 10.0


class Health(Enum):
    """Does a target answer its probes?"""

    UP = "UP"
    SUSPECT = "SUSPECT"
    """It has missed some."""

    DOWN = "DOWN"
    """It has missed failure_threshold of them."""


class State(Enum):
    """How the target group is: the table above."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    SPLIT = "SPLIT"
    BLIND = "BLIND"
    SUSPECT = "SUSPECT"
    DEMOTED = "DEMOTED"
    DOWN = "DOWN"
    ISOLATED = "ISOLATED"
    NO_STANDBY = "NO_STANDBY"
    UNPROVEN = "UNPROVEN"
    BEHIND = "BEHIND"
    FORBIDDEN = "FORBIDDEN"
    PROMOTING = "PROMOTING"


class Observation(NamedTuple):
    """What is known of one target; what a dead one said last stays known."""

    id: str
    health: Health = Health.UP
    role: str = READ_WRITE
    """READ_WRITE: it is a primary. READ_ONLY: it is a standby. UNKNOWN: the probe may not look."""

    refuses_writes: bool = False
    """It is a primary, but set to be read-only."""

    timeline: int = 1
    position: int = 0
    """Bytes of WAL that it has written, or received and flushed."""

    replayed: int = 0
    """Bytes of WAL that a standby has replayed: what its clients see."""

    system: str = ""
    """PostgreSQL's system identifier: the same for all that stem from one initdb."""

    promotable: bool = True
    """May the probe's user promote it?"""

    failing_since: float = 0.0
    """When the first of the probes missed in a row was sent."""

    heard: float = float("-inf")
    """When the standby last got a word from its primary."""

    streaming: bool = False
    """Has the standby a connection to its primary?"""

    looked: float = float("-inf")
    """When the probe was sent that brought all this."""

    remembered: bool = False
    """This is what an earlier run of the proxy saw; in this one it has not answered."""

    untold: float = float("-inf")
    """When it may last have been getting WAL of a newer timeline than the probe can see."""


class Observations(NamedTuple):
    """All targets, in the order of the configuration, and what was decided before."""

    targets: tuple[Observation, ...]
    writer: str | None = None
    """Who was the writer last, whether or not it lives."""

    timeline: int = 0
    """The timeline in which it has been the writer."""

    system: str = ""
    """The system identifier of what it wrote to; empty until known."""

    deposed: tuple[str, ...] = ()
    """Who has lost the role of the writer, and was not a standby since."""

    leader: str | None = None
    """Who writes by the word of an orchestrator; empty: nobody; None: there is none to ask."""

    promoting: str | None = None
    """Who was asked last to take over; None once somebody has."""

    promoting_since: float = 0.0
    may_promote: bool = True
    maximum_lag: int = 1 << 20
    """Bytes of WAL that a standby may lack and still be promoted."""

    since: float = float("inf")
    """When the writer was given the role; long ago if it had that before the proxy's start."""

    stranded: tuple[str, ...] = ()
    """Who did not follow the writer."""


class Decision(NamedTuple):
    """What is to be done."""

    state: State
    writer: str | None
    """Who gets the writes now; None: nobody, they wait."""

    readers: tuple[str, ...] = ()
    caught_up: tuple[str, ...] = ()
    """The readers that may have sessions of a reader that is lost (FO-04): see `reading`."""

    fenced: tuple[str, ...] = ()
    """Whose connections are ended, and not used."""

    deposed: tuple[str, ...] = ()
    """Who is not to be the writer again before it was a standby; the next decision is told."""

    stranded: tuple[str, ...] = ()
    """The standbys that do not follow the last writer; the next decision is told (FO-04)."""

    promote: str | None = None
    """Who is to become the writer."""

    readerless: bool = False
    """No target is a reader or could become one by recovering (FO-04)."""

    writerless: bool = False
    """All are standbys of a primary elsewhere (FO-07): see `elsewhere`."""

    why: str = ""


def decide(seen: Observations, now: float) -> Decision:
    """What to do about what is seen; `now` is of the clock of the observations."""
    if _another_cluster(seen):
        seen = seen._replace(
            writer=None, timeline=0, system="", deposed=(), promoting=None, stranded=()
        )
    writable = [t for t in seen.targets if _writable(t, seen)]
    chosen = _choose(writable, seen, now)
    old = next((t for t in seen.targets if t.id == seen.writer), None)
    if chosen is not None:
        others = [t.id for t in writable if t is not chosen]
        state, why = State.HEALTHY, ""
        if others:
            state = State.SPLIT
            why = f"{', '.join(others)} can be written to as well: an old primary, not used"
        # Whoever had the role, or could be mistaken for who has it.
        deposed = (*others, *([old.id] if old is not None else []))
        return _complete(Decision(state, chosen.id, deposed=deposed, why=why), seen, now)
    if old is None:
        return _complete(_at_the_start(seen), seen, now)
    return _complete(_without_writer(seen, old, now), seen, now)


def _writable(target: Observation, seen: Observations) -> bool:
    return _primary(target) and not target.refuses_writes and not _foreign(target, seen)


def _primary(target: Observation) -> bool:
    return target.health is Health.UP and target.role == READ_WRITE


def _standby(target: Observation) -> bool:
    return target.health is Health.UP and target.role == READ_ONLY


def _foreign(target: Observation, seen: Observations) -> bool:
    """Is it of another initdb than the writer, or than the first that tells?"""
    return bool(target.system) and target.system != _ours(seen)


def _ours(seen: Observations) -> str:
    systems = {t.id: t.system for t in seen.targets if t.system}
    return seen.system or systems.get(seen.writer or "") or next(iter(systems.values()), "")


def _another_cluster(seen: Observations) -> bool:
    """Were all databases made anew? Then nothing that is known of the former ones counts."""
    return bool(seen.system) and all(
        t.health is Health.UP and t.system not in ("", seen.system) for t in seen.targets
    )


def _choose(writable: list[Observation], seen: Observations, now: float) -> Observation | None:
    """The writer: of the newest timeline, and no other than the leader if there is one to ask."""
    fit = [t for t in writable if t.timeline >= seen.timeline and not _barred(t, seen, now)]
    if seen.leader is not None:
        fit = [t for t in fit if t.id == seen.leader]
    # The first of the best: among equals the one that it is already, then the configuration's.
    return max(fit, key=lambda t: (t.timeline, t.id == seen.writer), default=None)


def _barred(target: Observation, seen: Observations, now: float) -> bool:
    """Is it an old primary, whose writes would be lost or are not to be had?"""
    if target.id not in seen.deposed or target.id == seen.leader:
        return False
    # A newer timeline than the last writer's: it has been a standby while nobody looked.
    return target.timeline <= seen.timeline and not _came_to_nothing(target, seen, now)


def _came_to_nothing(target: Observation, seen: Observations, now: float) -> bool:
    """Was another asked to take over from it, and is that one still a standby?"""
    return (
        target.id == seen.writer
        and not _still_promoting(seen, now)
        and any(t.id == seen.promoting and _standby(t) for t in seen.targets)
    )


def _at_the_start(seen: Observations) -> Decision:
    """Nobody is seen writable, and nobody was."""
    # The leader, or as configured: the first one is the writer.
    first = next((t for t in seen.targets if seen.leader in (None, t.id)), None)
    if first and first.health is Health.UP and first.role not in (READ_WRITE, READ_ONLY):
        return Decision(State.BLIND, first.id, why=f"the probe may not look at {first.id}")
    standbys = [t for t in seen.targets if _standby(t)]
    others = [t for t in seen.targets if not _standby(t)]
    if not standbys or any(t.health is not Health.DOWN for t in others):
        return Decision(State.STARTING, None)
    return Decision(State.UNPROVEN, None, why=_nobody_known(standbys, others, seen))


def _nobody_known(
    standbys: list[Observation], others: list[Observation], seen: Observations
) -> str:
    names = _names(standbys)
    silent = f", {_names(others)} not to be reached" if others else ""
    cure = (
        f"start the primary, or promote {' or '.join(t.id for t in standbys)} by pg_promote() "
        "if it has all that it should"
        if seen.may_promote
        else "whoever is in charge promotes"
    )
    return (
        f"{names} a standby{silent}, and who wrote last is not known, "
        f"so nobody can tell what a standby lacks: {cure}"
    )


def _names(targets: list[Observation]) -> str:
    """`b is`, `b and c are each`."""
    names = " and ".join(t.id for t in targets)
    return f"{names} is" if len(targets) == 1 else f"{names} are each"


def _without_writer(seen: Observations, old: Observation, now: float) -> Decision:
    """The last writer is not seen writable, or may not be it again, and nobody else is."""
    if _still_promoting(seen, now):
        return _promoting(seen, old)
    if old.health is Health.SUSPECT:
        return Decision(State.SUSPECT, None, why=f"{old.id} does not answer")
    if old.health is Health.UP:
        if old.role == READ_ONLY or old.refuses_writes or seen.leader not in (None, old.id):
            why = _also(f"{old.id} takes no writes any more", _passed_over(seen))
            return Decision(State.DEMOTED, None, why=why)
        if old.id not in seen.deposed:
            if old.role != READ_WRITE:
                return Decision(State.BLIND, old.id, why=f"the probe may not look at {old.id}")
            return Decision(State.DOWN, None, why=_passed_over(seen))
    if not seen.may_promote:
        why = _also(f"{old.id} is down; whoever is in charge promotes", _passed_over(seen))
        return Decision(State.DOWN, None, why=why)
    return _promotion(seen, old, now)


def _passed_over(seen: Observations) -> str:
    """Who can be written to, and why it gets no writes."""
    reasons = []
    for target in seen.targets:
        if not _primary(target):
            continue
        if _foreign(target, seen):
            reasons.append(_stranger(target, seen))
        elif target.timeline < seen.timeline or target.id in seen.deposed:
            reasons.append(
                f"{target.id} can be written to, but is an old primary (timeline "
                f"{target.timeline}, {seen.writer} was the last to write, in {seen.timeline})"
            )
    return "; ".join(reasons)


def _stranger(target: Observation, seen: Observations) -> str:
    return f"{target.id} is of another cluster (system {target.system}, not {_ours(seen)})"


def _also(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _promoting(seen: Observations, old: Observation) -> Decision:
    why = f"{seen.promoting} is being promoted"
    return Decision(State.PROMOTING, None, deposed=(old.id,), why=why)


def _still_promoting(seen: Observations, now: float) -> bool:
    target = next((t for t in seen.targets if t.id == seen.promoting), None)
    return (
        target is not None
        and target.health is not Health.DOWN
        and now - seen.promoting_since < PROMOTION_TIMEOUT
    )


def _promotion(seen: Observations, old: Observation, now: float) -> Decision:
    """The writer is down, and the next one is for us to make: whom, if anybody?"""
    standbys = [t for t in seen.targets if t.id != old.id and _standby(t) and not _foreign(t, seen)]
    if not standbys:
        return Decision(State.NO_STANDBY, None, why=_no_standby(seen, old))
    silence = now - old.failing_since
    # In the later half of its silence towards us: it lives, and only our way to it is cut. Of one
    # that we have never seen alive the standby's connection says more than our few probes.
    if old.health is not Health.UP and any(
        now - t.heard < silence / 2 or (old.remembered and t.streaming) for t in standbys
    ):
        return Decision(State.ISOLATED, None, why=f"a standby still hears from {old.id}")
    following = [t for t in standbys if t.id not in seen.stranded or t.timeline >= seen.timeline]
    if old.remembered or not following:
        following, why = _on_its_timeline(standbys, old)
        if not following:
            return Decision(State.UNPROVEN, None, why=why)
    best = max(following, key=lambda t: t.position)
    lacks = old.position - best.position
    if lacks > seen.maximum_lag:
        why = f"{old.id} is down, and {best.id} lacks {lacks} bytes of what it has written"
        return Decision(State.BEHIND, None, why=why)
    if not best.promotable:
        why = f"{old.id} is down, and the monitoring user may not promote {best.id}"
        return Decision(State.FORBIDDEN, None, why=why)
    why = f"{best.id} takes over from {old.id}"
    return Decision(State.PROMOTING, None, deposed=(old.id,), promote=best.id, why=why)


def _no_standby(seen: Observations, old: Observation) -> str:
    if old.health is Health.UP:
        return (
            f"{old.id} can be written to, but {seen.promoting} was asked to take over from it and "
            "was not seen since"
        )
    strangers = [_stranger(t, seen) for t in seen.targets if _standby(t) and _foreign(t, seen)]
    return _also(f"{old.id} is down, and no standby of it answers", *strangers, _passed_over(seen))


def _on_its_timeline(
    standbys: list[Observation], old: Observation
) -> tuple[list[Observation], str]:
    """Those that have followed the writer to the end, as far as that is known; else why not."""
    newest = max(standbys, key=lambda t: t.timeline)
    wrote = f"{old.id} is down and was last seen writing in timeline {old.timeline}, "
    if newest.timeline > old.timeline:
        return [], (
            f"{wrote}but {newest.id} follows timeline {newest.timeline}: somebody has promoted "
            "another since. Start that one, or promote by pg_promote() whichever has all of it"
        )
    if newest.timeline < old.timeline:
        return [], (
            f"{wrote}but {newest.id} is still in timeline {newest.timeline}. Start {old.id}, or "
            f"promote {newest.id} by pg_promote() if what it lacks does not matter"
        )
    return [t for t in standbys if t.timeline == old.timeline], ""


def _complete(decision: Decision, seen: Observations, now: float) -> Decision:
    """Add who reads, who does not follow, who is fenced and who is deposed."""
    writer = decision.writer
    demoted = decision.state is State.DEMOTED
    others = [
        # The last writer is nothing else before another is known, unless it lives on as a standby.
        t
        for t in seen.targets
        if t.id != (writer or seen.writer) or (demoted and _standby(t))
    ]
    ours = [t for t in others if not _foreign(t, seen)]
    stranded = _stranded(ours, decision, seen, now)
    readers = tuple(t.id for t in ours if _standby(t) and t.id not in stranded)
    deposed = _deposed(decision, seen)
    fenced = dict.fromkeys((*decision.fenced, *deposed))
    for target in others:
        if _primary(target) or target.health is Health.DOWN:
            fenced[target.id] = None
    hopeful = [t for t in ours if not _primary(t)]
    return decision._replace(
        readers=readers,
        fenced=tuple(fenced),
        deposed=deposed,
        stranded=stranded,
        readerless=not hopeful and len(seen.targets) > 1,
    )


def _stranded(
    others: list[Observation], decision: Decision, seen: Observations, now: float
) -> tuple[str, ...]:
    """The standbys of an older timeline than the last writer's.

    Who reads there sees what was before the failover, for ever. As long as no other has the role
    nobody is: the standbys of a dead writer have its timeline. What the probe can't see proves
    nothing, and a standby that was left behind stays so in further failovers.
    """
    newest = max((t.timeline for t in seen.targets if t.id == decision.writer), default=0)
    newest = max(newest, seen.timeline)
    return tuple(
        t.id
        for t in others
        if (t.id in seen.stranded and not _primary(t) and t.timeline < newest)
        or (
            _standby(t)
            and t.timeline < seen.timeline
            and now - max(seen.since, t.untold) >= FOLLOW_PATIENCE
        )
    )


def _deposed(decision: Decision, seen: Observations) -> tuple[str, ...]:
    """Those of before and of this decision, less who is the writer or a standby now."""
    names = {*seen.deposed, *decision.deposed} - {decision.writer}
    return tuple(
        t.id for t in seen.targets if t.id in names and not (_standby(t) and not _foreign(t, seen))
    )
