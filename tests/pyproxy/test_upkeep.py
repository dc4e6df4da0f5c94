"""Upkeep with steps that fail: the others are done all the same, and the log stays readable."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from pyproxy.app import App
from pyproxy.pooling.pools import MAX_LIFE
from pyproxy.upkeep import REPEAT, Upkeep


class Ill:
    """A session that cannot even say how it is."""

    @property
    def busy(self) -> bool:
        raise LookupError


class House:
    """An App of parts that fail, and of others beside them that do not."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failures = 0
        steps = [
            SimpleNamespace(
                pools=SimpleNamespace(expire=self.step(f"expire {name}", fails=name == "a")),
                care=self.step(f"care {name}", fails=name == "a"),
            )
            for name in "ab"
        ]
        idle = SimpleNamespace(
            busy=False,
            touched=False,
            idle_since=-1.0,
            born=-1.0,
            quiet=True,
            end=lambda *_: self.done.append("session ended"),
        )
        self.app = SimpleNamespace(
            fleet=SimpleNamespace(everywhere=lambda: steps),
            ledger=SimpleNamespace(observe=lambda now: 1 / 0),
            end_enhanced_logging=self.step("enhanced", fails=True),
            endpoints={"default": SimpleNamespace(sessions=[Ill(), idle])},
            config=SimpleNamespace(proxy=SimpleNamespace(idle_client_timeout=1)),
            log=SimpleNamespace(failure=self.failed),
        )
        self.upkeep = Upkeep(cast("App", self.app))

    def step(self, name: str, *, fails: bool) -> Callable[[], None]:
        def step() -> None:
            if fails:
                raise RuntimeError(name)
            self.done.append(name)

        return step

    def failed(self, client: int | None) -> None:
        self.failures += 1


def test_a_step_that_fails_stops_no_other_one() -> None:
    house = House()
    house.upkeep.tick(0.0)
    assert house.done == ["expire b", "care b", "session ended"]


def test_each_fault_is_reported_and_again_after_a_while_only() -> None:
    house = House()
    # In `step`, the ledger's, and the session's.
    for now in (0.0, 0.25, 1.25, REPEAT - 0.1):
        house.upkeep.tick(now)
        assert house.failures == 3
    house.upkeep.tick(REPEAT + 1.0)
    assert house.failures == 6


@pytest.mark.parametrize(
    ("age", "busy", "quiet", "ended"),
    [
        (MAX_LIFE, False, True, True),
        (MAX_LIFE - 1, False, True, False),
        # In the middle of a request, or of a transaction.
        (MAX_LIFE, True, False, False),
        (MAX_LIFE, False, False, False),
    ],
)
def test_a_client_that_never_rests_is_closed_after_a_day(
    age: float, busy: bool, quiet: bool, ended: bool
) -> None:
    """S-13: it has asked something between any two looks, as a pool of an application does."""
    house = House()
    told: list[str] = []
    session = SimpleNamespace(
        busy=busy,
        touched=True,
        quiet=quiet,
        idle_since=0.0,
        born=0.0,
        end=lambda error, why: told.append(why),
    )
    house.app.endpoints = {"default": SimpleNamespace(sessions=[session])}
    house.upkeep.tick(age)
    assert bool(told) == ended, told
