"""The monitor: when it looks, what it makes of what it sees, whom it tells."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from pyproxy.config import FailoverConfig, TargetConfig
from pyproxy.targets.failover import PROMOTION_TIMEOUT, Decision, State
from pyproxy.targets.memory import Memory, WriterMemory
from pyproxy.targets.monitor import Monitor
from pyproxy.targets.probe import AUTH_FAILURE, UNREACHABLE, ProbeError, Sighting
from pyproxy.targets.target import Target

SETTINGS = FailoverConfig(probe_interval=0.1, probe_timeout=0.2)


def sighting(**changes: object) -> Sighting:
    seen = Sighting(False, False, 1, 1000, 0.0, "7", 100, 3, True, None, 1000, False)
    return seen._replace(**changes)  # type: ignore[arg-type]


class FakeProbe:
    """Sees what it is told to see: a Sighting, an error, or nothing for ever."""

    def __init__(self, sees: Sighting | ProbeError | None) -> None:
        self.sees = sees
        self.looks = 0
        self.promoted = 0
        self.slots = 0
        # Called when a promotion is asked for.
        self.on_promote: Callable[[], None] = lambda: None

    async def look(self) -> Sighting:
        self.looks += 1
        if self.sees is None:
            await asyncio.Event().wait()
        if isinstance(self.sees, ProbeError):
            raise self.sees
        assert self.sees is not None
        return self.sees

    async def promote(self) -> None:
        self.promoted += 1
        self.on_promote()
        self.sees = sighting(timeline=2)

    async def make_slot(self) -> str:
        self.slots += 1
        return "slot_1"

    def close(self) -> None:
        pass


class House:
    """A monitor of two targets, and what it did."""

    def __init__(
        self, settings: FailoverConfig = SETTINGS, *, state_dir: Path | None = None
    ) -> None:
        self.probes = {
            "a": FakeProbe(sighting()),
            "b": FakeProbe(sighting(in_recovery=True)),
        }
        self.targets = {name: Target(TargetConfig(name)) for name in self.probes}
        self.steered: list[tuple[Decision, int]] = []
        self.told: list[str] = []
        self.bugs = 0
        clock = asyncio.get_running_loop().time
        self.memory: WriterMemory | None = None
        if state_dir is not None:
            self.memory = WriterMemory(
                state_dir / "writer.json",
                [target.config for target in self.targets.values()],
                lambda level, event, message: self.told.append(event),
                clock,
            )
        self.monitor = Monitor(
            self.targets.values(),
            lambda target: self.probes[target.id],
            settings,
            steer=lambda decision, epoch: self.steered.append((decision, epoch)),
            tell=lambda level, event, message: self.told.append(event),
            failed=self._failed,
            clock=clock,
            memory=self.memory,
        )

    def _failed(self) -> None:
        self.bugs += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - a condition of any kind
                await asyncio.sleep(0.005)


GONE = ProbeError(UNREACHABLE, "connection refused", alive=False)


async def test_the_first_look_gives_the_roles() -> None:
    house = House()
    await house.monitor.start()
    decision, epoch = house.steered[-1]
    assert (decision.writer, decision.readers, epoch) == ("a", ("b",), 1)
    assert house.targets["a"].in_aws_words.role == "READ_WRITE"
    assert house.targets["b"].in_aws_words == ("AVAILABLE", "READ_ONLY", "", "")
    await house.monitor.stop()


async def test_a_dead_writer_is_replaced_and_the_slot_made() -> None:
    """dependencies.md 1.2: without the slot the old primary would wait for ever."""
    house = House()
    await house.monitor.start()
    house.probes["a"].sees = GONE
    house.monitor.suspect(house.targets["a"])
    await house.until(lambda: house.monitor.writer == "b")
    assert house.probes["b"].promoted == 1
    assert house.monitor.epoch == 2
    await house.until(lambda: house.probes["b"].slots == 1)
    # How often it looks while the standby is being promoted is a matter of time.
    states = [state for state, _ in groupby(decision.state for decision, _ in house.steered)]
    assert states == [State.HEALTHY, State.SUSPECT, State.PROMOTING, State.HEALTHY]
    assert "a" in house.steered[-1][0].fenced
    assert house.targets["a"].in_aws_words.reason == UNREACHABLE
    await house.monitor.stop()


async def test_a_trouble_is_looked_at_at_once_and_alone_changes_nothing() -> None:
    """Lessons 38: a broken connection is a reason to look, no more."""
    # The next look by itself would be a quarter of a minute away.
    house = House(FailoverConfig(probe_interval=15.0))
    await house.monitor.start()
    looks = house.probes["a"].looks
    house.monitor.suspect(house.targets["a"])
    async with asyncio.timeout(5):
        await house.until(lambda: house.probes["a"].looks > looks)
    assert len(house.steered) == 1 and not house.told
    await house.monitor.stop()


async def test_one_that_says_nothing_is_missed_too() -> None:
    """A frozen database accepts the connection and never answers."""
    house = House()
    await house.monitor.start()
    house.probes["a"].sees = None
    await house.until(lambda: house.monitor.writer == "b")
    assert house.targets["a"].in_aws_words.description == "no answer within 0.2 s"
    await house.monitor.stop()


async def test_a_probe_that_may_not_log_in_costs_nobody_the_role() -> None:
    house = House()
    await house.monitor.start()
    house.probes["a"].sees = ProbeError(AUTH_FAILURE, "password refused", alive=True)
    await house.until(lambda: house.monitor.decision.state is State.BLIND)
    assert house.monitor.decision.writer == "a"
    assert house.monitor.epoch == 1
    assert house.targets["a"].in_aws_words[:3] == ("UNAVAILABLE", "UNKNOWN", AUTH_FAILURE)
    await house.monitor.stop()


async def test_the_word_of_an_orchestrator_goes_before_what_is_seen() -> None:
    house = House(FailoverConfig(probe_interval=0.1, patroni=("http://x",)))
    await house.monitor.start()
    house.monitor.set_leader("b")
    assert house.monitor.decision.state is State.DEMOTED
    house.probes["b"].sees = sighting(timeline=2)
    await house.until(lambda: house.monitor.writer == "b")
    assert house.probes["b"].promoted == 0
    await house.monitor.stop()


async def test_where_the_writer_is_elsewhere_it_is_told_and_steered_until_there_is_one() -> None:
    """FO-07, FO-01: not while one of them may be about to be promoted."""
    house = House()
    fed = sighting(in_recovery=True, silence=0.0)
    for probe in house.probes.values():
        probe.sees = fed
    await house.monitor.start()
    await house.until(lambda: house.probes["a"].looks > 5)
    assert not house.monitor.decision.writerless
    house.probes["b"].sees = fed._replace(position=2000)
    await house.until(lambda: house.steered[-1][0].writerless)
    assert house.told.count("writer-unproven") == 2
    house.probes["b"].sees = sighting(timeline=2)
    await house.until(lambda: house.monitor.writer == "b")
    assert not house.steered[-1][0].writerless
    await house.monitor.stop()


async def test_a_bug_in_a_probe_does_not_stop_the_watch() -> None:
    house = House()
    await house.monitor.start()

    async def broken() -> Sighting:
        raise ZeroDivisionError

    good, house.probes["b"].look = house.probes["b"].look, broken  # type: ignore[method-assign]
    await house.until(lambda: house.bugs > 1)
    house.probes["b"].look = good  # type: ignore[method-assign]
    looks = house.probes["b"].looks
    await house.until(lambda: house.probes["b"].looks > looks)
    await house.monitor.stop()


async def test_a_decision_that_could_not_be_carried_out_is_carried_out_later() -> None:
    """Invariant 10: what fails in one session must not keep the writer's role from all others."""
    house = House()
    await house.monitor.start()
    steer, bugs = house.monitor._steer, [ZeroDivisionError]

    def stumble(decision: Decision, epoch: int) -> None:
        if decision.writer == "b" and bugs:
            raise bugs.pop()
        steer(decision, epoch)

    house.monitor._steer = stumble
    house.probes["a"].sees = GONE
    await house.until(lambda: house.steered[-1][0].writer == "b")
    assert house.bugs == 1
    assert house.steered[-1][1] == 2
    await house.monitor.stop()


@pytest.mark.parametrize("degraded", [False, True], ids=["well", "degraded"])
async def test_probes_are_ten_times_as_frequent_while_anything_is_degraded(degraded: bool) -> None:
    house = House()
    if degraded:
        house.probes["b"].sees = GONE
    await house.monitor.start()
    assert house.monitor.interval() == pytest.approx(0.01 if degraded else 0.1)
    await house.monitor.stop()


# -- what is remembered --------------------------------------------------------------------------


async def test_that_a_promotion_was_asked_for_is_on_the_disk_before_it_is(tmp_path: Path) -> None:
    house = House(state_dir=tmp_path)
    await house.monitor.start()
    known: list[dict[str, object]] = []
    file = tmp_path / "writer.json"
    house.probes["b"].on_promote = lambda: known.append(json.loads(file.read_text()))
    house.probes["a"].sees = GONE
    await house.until(lambda: house.monitor.writer == "b")
    assert [(m["writer"], m["deposed"], m["promoting"]) for m in known] == [("a", ["a"], "b")]
    await house.monitor.stop()
    after = json.loads(file.read_text())
    assert (after["writer"], after["timeline"], after["promoting"]) == ("b", 2, None)


async def test_the_first_writer_of_a_run_begins_an_epoch_though_it_was_one_before(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        house = House(state_dir=tmp_path)
        await house.monitor.start()
        assert house.monitor.epoch == 1
        assert house.steered[-1][0].writer == "a"
        await house.monitor.stop()
    assert "writer-remembered" in house.told
    assert "failover" not in house.told


async def test_a_remembered_writer_gets_all_its_probes_before_it_is_replaced(
    tmp_path: Path,
) -> None:
    house = House(state_dir=tmp_path)
    await house.monitor.start()
    await house.monitor.stop()
    house = House(state_dir=tmp_path)
    house.probes["a"].sees = GONE
    await house.monitor.start()
    assert house.monitor.decision.state is State.SUSPECT
    asked: list[int] = []
    house.probes["b"].on_promote = lambda: asked.append(house.probes["a"].looks)
    await house.until(lambda: house.monitor.writer == "b")
    assert asked[0] >= SETTINGS.failure_threshold
    await house.monitor.stop()


async def interrupted(folder: Path, age: float) -> House:
    """A run that begins `age` seconds after one that has ended while it promoted."""
    house = House(state_dir=folder)
    assert house.memory is not None
    house.memory.keep(Memory("a", 1, "7", 1000, ("a",), "b", time.time() - age))
    await house.memory.settle()
    house = House(state_dir=folder)
    house.probes["a"].sees = GONE
    await house.monitor.start()
    return house


async def test_a_promotion_under_way_is_waited_for_by_the_next_run(tmp_path: Path) -> None:
    house = await interrupted(tmp_path, age=5.0)
    await house.until(lambda: house.probes["a"].looks > 10)
    assert house.monitor.decision.state is State.PROMOTING
    assert house.probes["b"].promoted == 0
    house.probes["b"].sees = sighting(timeline=2)
    await house.until(lambda: house.monitor.writer == "b")
    await house.monitor.stop()


async def test_a_promotion_that_was_under_way_for_too_long_is_asked_for_again(
    tmp_path: Path,
) -> None:
    """PROMOTION_TIMEOUT counts from when it was asked for, by the clock on the wall."""
    house = await interrupted(tmp_path, age=PROMOTION_TIMEOUT + 1)
    await house.until(lambda: house.monitor.writer == "b")
    assert house.probes["b"].promoted == 1
    await house.monitor.stop()


async def test_a_promotion_that_comes_to_nothing_gives_the_role_back(tmp_path: Path) -> None:
    house = House(state_dir=tmp_path)
    await house.monitor.start()

    def refuse() -> None:
        raise ProbeError(UNREACHABLE, "permission denied", alive=True)

    house.probes["b"].on_promote = refuse
    house.probes["a"].sees = GONE
    await house.until(lambda: "promotion-failed" in house.told)
    house.probes["a"].sees = sighting()
    await house.until(lambda: house.monitor.decision.writer == "a")
    assert house.monitor.decision.deposed == ()
    await house.monitor.stop()
    assert json.loads((tmp_path / "writer.json").read_text())["promoting"] is None
