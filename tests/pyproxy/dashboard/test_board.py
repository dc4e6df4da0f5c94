"""What the live page shows of one moment is bounded."""

from pyproxy.dashboard.board import APPLICATIONS, OTHERS, SERVERS, Board, board
from pyproxy.dashboard.view import ServerRow, TargetRow
from tests.support.fake_view import FakeView, application_row


def look(view: FakeView) -> Board:
    return board(view, view.proxy(), "2026-05-04T12:00:00.000+00:00", view.reading(), None, 0)


def test_a_board_has_everything_once() -> None:
    shown = look(FakeView())
    assert [row["application_name"] for row in shown["applications"]] == ["checkout"]
    assert [row["id"] for row in shown["servers"]] == [529039385]
    assert {row["state"] for row in shown["waiting"]} == {"WAITING"}
    assert shown["pinned"][0]["rule"] == "PIN-PG-01"
    assert (shown["sample"]["clients"], shown["sample"]["pinned"]) == (3, 4)


def test_a_target_that_is_away_is_so_in_the_sample() -> None:
    """So that a page that is opened later still sees the failover."""
    view = FakeView()
    assert look(view)["sample"]["targets"] == {"db-a": "READ_WRITE", "db-b": "READ_ONLY"}
    view.is_ready = False
    assert set(look(view)["sample"]["targets"].values()) == {"UNAVAILABLE"}
    assert look(view)["why"].startswith("no target is available")


def test_the_budget_is_that_of_the_targets_in_use() -> None:
    """A standby without connections would halve the share that is used."""

    class Pair(FakeView):
        def targets(self) -> list[TargetRow]:
            writer, standby = super().targets()
            return [writer | {"servers": 0}, standby | {"servers": 0}]

    assert look(Pair())["sample"]["max_connections"] == 50
    assert look(FakeView())["sample"]["max_connections"] == 100


def test_applications_beyond_the_bound_are_added_up() -> None:
    view = FakeView()
    view.all_applications = [application_row(f"job-{n}", 2) for n in range(APPLICATIONS + 500)]
    rows = look(view)["applications"]
    assert len(rows) == APPLICATIONS + 1
    assert (rows[-1]["application_name"], rows[-1]["clients"]) == (OTHERS, 1000)
    for row in rows:
        states = ("idle", "waiting", "borrowed", "in_transaction", "pinned")
        assert sum(row[state] for state in states) == row["clients"]


def test_ten_thousand_servers_make_a_bounded_board() -> None:
    class Large(FakeView):
        def servers(self) -> list[ServerRow]:
            return list(super().servers()) * 10_000

    assert len(look(Large())["servers"]) == SERVERS
