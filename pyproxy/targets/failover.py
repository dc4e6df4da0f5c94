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
| BEHIND | the best standby lacks too much of what was written | nobody | a person decides |
| FORBIDDEN | the probe's user may not promote | nobody | a person promotes |
| PROMOTING | the writer is down, a standby is as good | nobody | that is promoted, the old fenced |

A target that has lost the role is not used again before it is a standby: its timeline is older than
that of the writer. An orchestrator that knows the leader is believed more than what looks writable.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from pyproxy.targets.target import READ_ONLY, READ_WRITE

# How long a promotion may take before another standby may be tried, in seconds.
PROMOTION_TIMEOUT: Final = 30.0


class Health(Enum):
    """Does a target answer its probes?"""

    UP = "UP"
    SUSPECT = "SUSPECT"
    """It has missed some."""

    DOWN = "DOWN"
    """It has missed failure_threshold of them, or was never seen."""


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

    system: str = ""
    """PostgreSQL's system identifier: the same for all that stem from one initdb."""

    promotable: bool = True
    """May the probe's user promote it?"""

    failing_since: float = 0.0
    """When the first of the probes missed in a row was sent."""

    heard: float = float("-inf")
    """When the standby last got a word from its primary."""


class Observations(NamedTuple):
    """All targets, in the order of the configuration, and what was decided before."""

    targets: tuple[Observation, ...]
    writer: str | None = None
    """Who was the writer last, whether or not it lives."""

    timeline: int = 0
    """The timeline in which it has been the writer."""

    leader: str | None = None
    """Who is the writer by the word of an orchestrator; None when there is none to ask."""

    promoting: str | None = None
    promoting_since: float = 0.0
    may_promote: bool = True
    maximum_lag: int = 1 << 20
    """Bytes of WAL that a standby may lack and still be promoted."""


class Decision(NamedTuple):
    """What is to be done."""

    state: State
    writer: str | None
    """Who gets the writes now; None: nobody, they wait."""

    readers: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    """Whose connections are ended, and not used."""

    promote: str | None = None
    """Who is to become the writer."""

    readerless: bool = False
    """No target is a reader or could become one by recovering (FO-04)."""

    why: str = ""


def decide(seen: Observations, now: float) -> Decision:
    """What to do about what is seen; `now` is of the clock of the observations."""
    writable = [t for t in seen.targets if _writable(t, seen)]
    chosen = _choose(writable, seen, now)
    old = next((t for t in seen.targets if t.id == seen.writer), None)
    if chosen is not None:
        others = [t.id for t in writable if t is not chosen]
        state, why = State.HEALTHY, ""
        if others:
            state = State.SPLIT
            why = f"{', '.join(others)} can be written to as well: an old primary, not used"
        return _complete(Decision(state, chosen.id, why=why), seen, lost=_lost(old, chosen.id))
    if old is None:
        return _complete(_at_the_start(seen), seen)
    return _complete(_without_writer(seen, old, now), seen)


def _writable(target: Observation, seen: Observations) -> bool:
    return _primary(target) and not target.refuses_writes and not _foreign(target, seen)


def _primary(target: Observation) -> bool:
    return target.health is Health.UP and target.role == READ_WRITE


def _standby(target: Observation) -> bool:
    return target.health is Health.UP and target.role == READ_ONLY


def _foreign(target: Observation, seen: Observations) -> bool:
    """Is it of another initdb than the writer, or than the first that tells?"""
    systems = {t.id: t.system for t in seen.targets if t.system}
    ours = systems.get(seen.writer or "") or next(iter(systems.values()), "")
    return bool(target.system) and target.system != ours


def _choose(writable: list[Observation], seen: Observations, now: float) -> Observation | None:
    """The writer: of the newest timeline, and no other than the leader if there is one to ask."""
    fit = [t for t in writable if t.timeline >= seen.timeline]
    if _still_promoting(seen, now):
        # There is no way back: it may be writable for a moment, and is an old primary then.
        fit = [t for t in fit if t.id != seen.writer]
    if seen.leader is not None:
        fit = [t for t in fit if t.id == seen.leader]
    # The first of the best: among equals the one that it is already, then the configuration's.
    return max(fit, key=lambda t: (t.timeline, t.id == seen.writer), default=None)


def _lost(old: Observation | None, new: str) -> str | None:
    return None if old is None or old.id == new else old.id


def _at_the_start(seen: Observations) -> Decision:
    """Nobody is seen writable, and nobody was."""
    first = seen.targets[0]
    if first.health is Health.UP and first.role not in (READ_WRITE, READ_ONLY):
        # As configured: the first one is the writer.
        return Decision(State.BLIND, first.id, why=f"the probe may not look at {first.id}")
    return Decision(State.STARTING, None)


def _without_writer(seen: Observations, old: Observation, now: float) -> Decision:
    """The last writer is not seen writable, and nobody else is."""
    if old.health is Health.UP:
        if _still_promoting(seen, now):
            return _promoting(seen, old)
        if old.role == READ_ONLY or old.refuses_writes or seen.leader not in (None, old.id):
            return Decision(State.DEMOTED, None, why=f"{old.id} takes no writes any more")
        if old.role != READ_WRITE:
            return Decision(State.BLIND, old.id, why=f"the probe may not look at {old.id}")
        return Decision(State.DOWN, None, why=f"{old.id} is an old primary: its timeline is over")
    if old.health is Health.SUSPECT:
        return Decision(State.SUSPECT, None, why=f"{old.id} does not answer")
    if _still_promoting(seen, now):
        return _promoting(seen, old)
    if not seen.may_promote:
        return Decision(State.DOWN, None, why=f"{old.id} is down; whoever is in charge promotes")
    return _promotion(seen, old, now)


def _promoting(seen: Observations, old: Observation) -> Decision:
    why = f"{seen.promoting} is being promoted"
    return Decision(State.PROMOTING, None, fenced=(old.id,), why=why)


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
        return Decision(State.NO_STANDBY, None, why=f"{old.id} is down, and no standby answers")
    silence = now - old.failing_since
    # In the later half of its silence towards us: it lives, and only our way to it is cut.
    if any(now - t.heard < silence / 2 for t in standbys):
        return Decision(State.ISOLATED, None, why=f"a standby still hears from {old.id}")
    best = max(standbys, key=lambda t: t.position)
    lacks = old.position - best.position
    if lacks > seen.maximum_lag:
        why = f"{old.id} is down, and {best.id} lacks {lacks} bytes of what it has written"
        return Decision(State.BEHIND, None, why=why)
    if not best.promotable:
        why = f"{old.id} is down, and the monitoring user may not promote {best.id}"
        return Decision(State.FORBIDDEN, None, why=why)
    why = f"{best.id} takes over from {old.id}"
    return Decision(State.PROMOTING, None, fenced=(old.id,), promote=best.id, why=why)


def _complete(decision: Decision, seen: Observations, lost: str | None = None) -> Decision:
    """Add who reads and who is fenced."""
    writer = decision.writer
    demoted = decision.state is State.DEMOTED
    others = [
        # The last writer is nothing else before another is known, unless it lives on as a standby.
        t
        for t in seen.targets
        if t.id != (writer or seen.writer) or (demoted and _standby(t))
    ]
    ours = [t for t in others if not _foreign(t, seen)]
    readers = tuple(t.id for t in ours if _standby(t))
    fenced = dict.fromkeys(decision.fenced)
    if lost is not None and lost not in readers:
        fenced[lost] = None
    for target in others:
        if _primary(target) or target.health is Health.DOWN:
            fenced[target.id] = None
    hopeful = [t for t in ours if not _primary(t)]
    return decision._replace(
        readers=readers, fenced=tuple(fenced), readerless=not hopeful and len(seen.targets) > 1
    )
