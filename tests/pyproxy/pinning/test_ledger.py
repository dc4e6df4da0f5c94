"""The ledger counts every pin once, tells what it costs, and stays small."""

from __future__ import annotations

from pyproxy.pinning.ledger import OTHERS, Ledger, PinFacts, remedy


class Session:
    """Holds a server, busy or not."""

    def __init__(self) -> None:
        self.quiet = True
        self.waits = 0


FACTS = PinFacts(
    session=1,
    server=2,
    endpoint="default",
    rule="PIN-PG-01",
    reason="R.",
    statement="SET x = 1",
    digest="set x = $1",
    number=3,
    user="app",
    database="shop",
    application_name="",
)


def pin(ledger: Ledger, session: int, now: float = 0, **facts: str) -> Session:
    holder = Session()
    ledger.pinned(FACTS._replace(session=session, **facts), holder, now)
    return holder


def test_pins_are_counted_by_rule_digest_and_application() -> None:
    ledger = Ledger()
    pin(ledger, 1)
    pin(ledger, 2)
    pin(ledger, 3, application_name="psql")
    assert [(g.application, g.count, g.held, g.driver) for g in ledger.groups()] == [
        ("", 2, 2, ""),
        ("psql", 1, 1, "psql"),
    ]


def test_every_pin_is_there_one_by_one_those_that_hold_a_server_first() -> None:
    ledger = Ledger()
    for session in (1, 2, 3):
        pin(ledger, session, session)
    ledger.ended(1, 9)
    ledger.ended(2, 10)
    pins = list(ledger.pins())
    assert [held.facts.session for held in pins] == [3, 2, 1]
    assert [held.ended for held in pins] == [None, 10, 9]


def test_time_held_is_of_those_that_ended_and_those_that_go_on() -> None:
    ledger = Ledger()
    pin(ledger, 1, 10)
    pin(ledger, 2, 20)
    ledger.ended(1, 15)
    ledger.observe(30)
    (group,) = ledger.groups()
    assert (group.held, group.seconds) == (1, 15)
    ledger.ended(2, 40)
    ledger.observe(99)
    assert (group.held, group.seconds) == (0, 25)


def test_idle_is_when_nothing_was_under_way() -> None:
    """Sampled: what lies between two looks is what it is at the second."""
    ledger = Ledger()
    session = pin(ledger, 1)
    ledger.observe(4)
    session.quiet = False
    ledger.observe(7)
    session.quiet = True
    ledger.ended(1, 9)
    (held,) = ledger.pins()
    (group,) = ledger.groups()
    assert (held.seconds, held.idle) == (group.seconds, group.idle) == (9, 6)


def test_who_waited_is_counted_from_the_pin_to_its_end() -> None:
    ledger = Ledger()
    one = Session()
    one.waits = 100
    ledger.pinned(FACTS, one, 0)
    one.waits = 103
    ledger.observe(1)
    ledger.observe(2)
    (held,) = ledger.pins()
    assert held.waited == 3
    one.waits = 104
    ledger.ended(1, 3)
    one.waits = 200
    ledger.observe(4)
    assert (held.waited, ledger.groups()[0].waited) == (4, 4)


def test_an_end_without_a_pin_is_nothing() -> None:
    Ledger().ended(1, 0)


def test_a_flood_of_statements_does_not_fill_the_memory() -> None:
    ledger = Ledger(limit=10, history=20)
    pin(ledger, 0, digest="kept")
    for number in range(1, 500):
        pin(ledger, number, digest=f"set x{number} = $1", application_name="y" * 10_000)
        ledger.ended(number, 1)
    groups = ledger.groups()
    assert len(groups) <= 11
    assert sum(group.count for group in groups) == 500
    assert any(group.digest == "kept" and group.held for group in groups)
    assert any(group.digest == OTHERS and group.seconds > 400 for group in groups)
    assert len(list(ledger.pins())) == 21
    assert max(len(group.application) for group in groups) == 63


def test_those_that_hold_a_server_are_never_forgotten() -> None:
    ledger = Ledger(limit=2, history=2)
    for number in range(5):
        pin(ledger, number, digest=str(number))
    assert len(list(ledger.pins())) == 5
    assert len(ledger.groups()) == 5


def test_every_pin_has_a_remedy() -> None:
    assert "init query" in remedy("PIN-PG-01")
