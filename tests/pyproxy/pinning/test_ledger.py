"""The ledger counts every pin once, in bounded memory."""

from __future__ import annotations

import pytest

from pyproxy.pinning.ledger import OTHERS, Ledger, driver_of, remedy


def pin(
    ledger: Ledger, session: int, digest: str = "set x = $1", application: str = "", now: float = 0
) -> None:
    ledger.pinned(
        session,
        rule="PIN-PG-01",
        reason="R.",
        statement="SET x = 1",
        digest=digest,
        index=1,
        user="app",
        database="app",
        application_name=application,
        now=now,
    )


def test_pins_are_counted_by_rule_digest_and_application() -> None:
    ledger = Ledger()
    pin(ledger, 1)
    pin(ledger, 2)
    pin(ledger, 3, application="psql")
    assert [(g.application, g.count, g.held, g.driver) for g in ledger.groups()] == [
        ("", 2, 2, ""),
        ("psql", 1, 1, "psql"),
    ]


def test_time_held_is_of_those_that_ended_and_those_that_go_on() -> None:
    ledger = Ledger()
    pin(ledger, 1, now=10)
    pin(ledger, 2, now=20)
    ledger.ended(1, 15)
    (group,) = ledger.groups()
    assert (group.held, ledger.seconds(group, 30)) == (1, 15)
    ledger.ended(2, 30)
    assert ledger.seconds(group, 99) == 15
    assert not list(ledger.held())


def test_an_end_without_a_pin_is_nothing() -> None:
    Ledger().ended(1, 0)


def test_a_flood_of_statements_does_not_fill_the_memory() -> None:
    ledger = Ledger(limit=10)
    pin(ledger, 0, digest="kept")
    for number in range(1, 500):
        pin(ledger, number, digest=f"set x{number} = $1")
        ledger.ended(number, 1)
    groups = ledger.groups()
    assert len(groups) <= 11
    assert sum(group.count for group in groups) == 500
    assert any(group.digest == "kept" and group.held for group in groups)
    assert any(group.digest == OTHERS for group in groups)


def test_those_that_hold_a_server_are_never_forgotten() -> None:
    ledger = Ledger(limit=2)
    for number in range(5):
        pin(ledger, number, digest=str(number))
    assert len(list(ledger.held())) == 5
    assert len(ledger.groups()) == 5


@pytest.mark.parametrize(
    ("name", "driver"), [("psql", "psql"), ("PostgreSQL JDBC Driver", "JDBC"), ("my app", "")]
)
def test_drivers_are_known_by_their_name(name: str, driver: str) -> None:
    assert driver_of(name) == driver


def test_every_pin_has_a_remedy() -> None:
    assert "init query" in remedy("PIN-PG-01")
