"""The monitor: when it looks, what it makes of what it sees, whom it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import groupby

import pytest

from pyproxy.config import FailoverConfig, TargetConfig
from pyproxy.targets.failover import Decision, State
from pyproxy.targets.monitor import Monitor
from pyproxy.targets.probe import AUTH_FAILURE, UNREACHABLE, ProbeError, Sighting
from pyproxy.targets.target import Target

SETTINGS = FailoverConfig(probe_interval=0.1, probe_timeout=0.2)


def sighting(**changes: object) -> Sighting:
    seen = Sighting(False, False, 1, 1000, 0.0, "7", 100, 3, True, None)
    return seen._replace(**changes)  # type: ignore[arg-type]


class FakeProbe:
    """Sees what it is told to see: a Sighting, an error, or nothing for ever."""

    def __init__(self, sees: Sighting | ProbeError | None) -> None:
        self.sees = sees
        self.looks = 0
        self.promoted = 0
        self.slots = 0

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
        self.sees = sighting(timeline=2)

    async def make_slot(self) -> str:
        self.slots += 1
        return "slot_1"

    def close(self) -> None:
        pass


class House:
    """A monitor of two targets, and what it did."""

    def __init__(self, settings: FailoverConfig = SETTINGS) -> None:
        self.probes = {
            "a": FakeProbe(sighting()),
            "b": FakeProbe(sighting(in_recovery=True)),
        }
        self.targets = {name: Target(TargetConfig(name)) for name in self.probes}
        self.steered: list[tuple[Decision, int]] = []
        self.told: list[str] = []
        self.bugs = 0
        self.monitor = Monitor(
            self.targets.values(),
            lambda target: self.probes[target.id],
            settings,
            steer=lambda decision, epoch: self.steered.append((decision, epoch)),
            tell=lambda level, event, message: self.told.append(event),
            failed=self._failed,
            clock=asyncio.get_running_loop().time,
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


@pytest.mark.parametrize("degraded", [False, True], ids=["well", "degraded"])
async def test_probes_are_ten_times_as_frequent_while_anything_is_degraded(degraded: bool) -> None:
    house = House()
    if degraded:
        house.probes["b"].sees = GONE
    await house.monitor.start()
    assert house.monitor.interval() == pytest.approx(0.01 if degraded else 0.1)
    await house.monitor.stop()
