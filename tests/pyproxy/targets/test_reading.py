"""FO-04: where the sessions of a lost reader go on, so that none reads back in time."""

from __future__ import annotations

from typing import Any

from pyproxy.targets.failover import Decision, Observation, Observations, State
from pyproxy.targets.reading import Reading, caught_up, follow
from tests.support.observations import DOWN, NOW, SUSPECT, blind, primary, seen, standby

BOTH = Reading(("b", "c"))


class Watch:
    """One decision after the other, at NOW, NOW + 1 and so on."""

    def __init__(self, reading: Reading = BOTH) -> None:
        self.reading = reading
        self.now = NOW

    def sees(
        self, *targets: Observation, writer: str | None = "a", readers: str = "bc", **more: Any
    ) -> str:
        """What is seen and decided; returns who may have the sessions of the lost."""
        decision = Decision(State.HEALTHY, writer, tuple(readers))
        given: Observations = seen(*targets, **more)
        self.reading = follow(self.reading, decision, given, self.now)
        self.now += 1
        return "".join(caught_up(self.reading, decision, given))


def a(position: int, looked: float = NOW, **more: Any) -> Observation:
    return primary(position=position, looked=looked, **more)


def reader(name: str, replayed: int, **more: Any) -> Observation:
    return standby(name, replayed=replayed, **more)


def test_as_long_as_none_is_lost_all_are_welcome() -> None:
    watch = Watch(Reading())
    assert watch.sees(a(900), reader("b", 800), reader("c", 0)) == "bc"


def test_after_a_loss_it_counts_what_the_writer_had_written_by_a_later_look() -> None:
    watch = Watch()
    gone = reader("b", 500, health=DOWN)
    assert watch.sees(a(900), gone, reader("c", 899), readers="c") == ""
    # That look began before the loss: the lost one may have shown more.
    assert watch.sees(a(900, NOW), gone, reader("c", 950), readers="c") == ""
    assert watch.sees(a(1000, NOW + 1), gone, reader("c", 950), readers="c") == ""
    assert watch.sees(a(9000, NOW + 2), gone, reader("c", 999), readers="c") == ""
    # What is written since nobody has seen there.
    assert watch.sees(a(9000, NOW + 3), gone, reader("c", 1000), readers="c") == "c"


def test_of_several_only_those_that_show_as_much() -> None:
    watch = Watch(Reading(("b", "c", "d")))
    gone = reader("b", 500, health=DOWN)
    watch.sees(a(900), gone, reader("c", 900), reader("d", 800), readers="cd")
    assert watch.sees(a(900, NOW + 1), gone, reader("c", 900), reader("d", 800), readers="cd") == (
        "c"
    )


def test_a_suspect_reader_is_not_lost_but_what_runs_there_still_reads() -> None:
    watch = Watch()
    suspect = reader("b", 500, health=SUSPECT)
    assert watch.sees(a(900), suspect, reader("c", 900), readers="c") == ""
    assert watch.reading.shown == 0
    # It was nothing.
    assert watch.sees(a(900), reader("b", 500), reader("c", 100)) == "bc"
    # It was something: from now on nothing is read there.
    watch.sees(a(900), suspect, reader("c", 900), readers="c")
    gone = reader("b", 500, health=DOWN)
    assert watch.sees(a(900, NOW + 2), gone, reader("c", 900), readers="c") == ""
    assert watch.sees(a(990, NOW + 4), gone, reader("c", 990), readers="c") == "c"


def test_one_that_was_lost_and_is_back_may_show_less_than_before() -> None:
    watch = Watch()
    watch.sees(a(900), reader("b", 500, health=DOWN), reader("c", 0), readers="c")
    assert watch.sees(a(900, NOW + 1), reader("b", 500), reader("c", 0)) == ""
    assert watch.sees(a(900, NOW + 2), reader("b", 900), reader("c", 0)) == "b"


def test_a_promoted_reader_is_lost_and_the_writer_at_once() -> None:
    watch = Watch()
    old, new = a(950, health=DOWN), primary("b", timeline=2, position=910, looked=NOW)
    assert watch.sees(old, new, reader("c", 910), writer="b", readers="c") == ""
    new = new._replace(looked=NOW + 1, position=920)
    more = {"writer": "b", "timeline": 2}
    given = Observations((old, new, reader("c", 910)), **more)
    decision = Decision(State.HEALTHY, "b", ("c",))
    watch.reading = follow(watch.reading, decision, given, watch.now)
    assert watch.reading.shown == 920
    assert caught_up(watch.reading, decision, given) == ()
    given = Observations((old, new, reader("c", 920)), **more)
    assert caught_up(watch.reading, decision, given) == ("c",)


def test_what_the_old_writer_had_beyond_the_new_timeline_is_nowhere_to_be_had() -> None:
    """Without this a reader of the new timeline would be waited for until it is that far."""
    watch = Watch(Reading(("c",), shown=950))
    new = primary("b", timeline=2, position=910, looked=NOW)
    old = a(950, health=DOWN)
    assert watch.sees(old, new, reader("c", 910), writer="b", readers="c") == ""
    assert watch.reading.shown is None
    given = Observations(
        (old, new._replace(looked=NOW + 2), reader("c", 910)), writer="b", timeline=2
    )
    decision = Decision(State.HEALTHY, "b", ("c",))
    watch.reading = follow(watch.reading, decision, given, NOW + 3)
    assert caught_up(watch.reading, decision, given) == ("c",)


def test_without_a_writer_that_can_be_looked_at_nobody_knows() -> None:
    watch = Watch()
    gone = reader("b", 500, health=DOWN)
    dead = a(900, NOW + 9, health=DOWN)
    assert watch.sees(dead, gone, reader("c", 900), writer=None, readers="c") == ""
    assert watch.sees(dead, gone, reader("c", 900), writer=None, readers="c") == ""
    unseen = blind("a")._replace(looked=NOW + 9)
    assert watch.sees(unseen, gone, reader("c", 900), readers="c") == ""
    assert watch.sees(a(900, NOW + 9), gone, reader("c", 900), readers="c") == "c"
