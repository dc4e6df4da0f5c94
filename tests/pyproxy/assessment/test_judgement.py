"""What a recording means: pins, shares, scenarios, the verdict."""

import pytest

from pyproxy.assessment.advice import Verdict, advise
from pyproxy.assessment.judgement import drivers, judge
from pyproxy.assessment.recording import CANCELS, Observed, PinSeen, Recording, SessionSeen
from pyproxy.assessment.scenarios import what_if
from pyproxy.assessment.simulation import replayed_peak
from pyproxy.config import CompatibilityConfig
from tests.pyproxy.assessment.recordings import recording, session

AWS = CompatibilityConfig()


def busy(number: int, *, pinning: str = "", every: int = 10) -> list[SessionSeen]:
    """Sessions of 100 s with one short query each, at different times; every tenth pins first."""
    return [
        session(
            *([(float(n), 0.01, pinning)] if pinning and n % every == 0 else []),
            (n + 0.5, 0.01, "SELECT 1"),
            end=100.0,
            application="web",
        )
        for n in range(number)
    ]


def test_the_first_pin_of_a_session_is_the_one_that_counts() -> None:
    """C-09: there is no un-pin, and no second one."""
    seen = session((10, 1, "SET a.b = 1"), (20, 1, "LISTEN x"), end=100)
    assessment = judge(recording(seen), AWS)
    assert {f.rule: (f.pinned, f.seconds) for f in assessment.findings} == {
        "PIN-PG-01": (1, 90.0),
        "PIN-PG-06": (0, 0.0),
    }
    assert assessment.pinned_sessions == 1
    assert assessment.pinned_share == 0.9


def test_the_replay_holds_a_pinned_connection_to_the_end() -> None:
    pinned = session((10, 1, "SET a.b = 1"), end=100)
    others = [session((float(t), 1, "SELECT 1"), end=100) for t in (5, 20, 30)]
    assert replayed_peak(judge(recording(pinned, *others), AWS)) == (4, 2)
    assert replayed_peak(judge(recording(*others), AWS)) == (3, 1)


def test_a_transaction_that_pins_in_its_middle_counts_once() -> None:
    seen = session((0, 1, "BEGIN"), (2, 1, "SET a.b = 1"), (4, 1, "COMMIT"), end=9)
    assert replayed_peak(judge(recording(seen), AWS)) == (1, 1)


def test_a_session_never_needs_two_connections_at_a_time() -> None:
    """Milliseconds of a log, and durations in microseconds: its statements seem to overlap."""
    seen = session((1.0, 0.5, "SELECT 1"), (1.4995, 0.5, "SELECT 2"), end=1.99)
    assert replayed_peak(judge(recording(seen), AWS)) == (1, 1)


def test_an_application_that_multiplexes_well_may_use_it() -> None:
    advice = advise(judge(recording(*busy(50)), AWS), AWS)
    assert advice.verdict is Verdict.USE
    assert advice.clients == 50
    assert advice.demand is not None
    assert advice.demand.connections == 1


def test_settings_at_connect_are_to_be_fixed_first() -> None:
    assessment = judge(recording(*busy(50, pinning="SET search_path TO app", every=1)), AWS)
    advice = advise(assessment, AWS)
    assert advice.verdict is Verdict.USE_AFTER_FIXES
    assert [finding.rule for finding in advice.fixes] == ["PIN-PG-01"]
    assert list(drivers(assessment.findings)) == [("web", 50)]


def test_state_that_no_setting_replaces_speaks_against_it() -> None:
    assessment = judge(recording(*busy(50, pinning="CREATE TEMP TABLE t (a int)", every=1)), AWS)
    advice = advise(assessment, AWS)
    assert advice.verdict is Verdict.DO_NOT_USE
    assert any("Data API" in choice for choice in advice.instead)


def test_transactions_that_never_rest_speak_against_it() -> None:
    seen = [session((0.0, 100.0, "SELECT pg_sleep(100)"), end=100) for _ in range(10)]
    advice = advise(judge(recording(*seen), AWS), AWS)
    assert advice.verdict is Verdict.DO_NOT_USE
    assert any("Shorter transactions" in choice for choice in advice.instead)


def test_more_clients_than_the_database_takes_speak_for_it() -> None:
    """Half of the connections saved is little, but without it half of the clients stay outside."""
    seen = [session((n * 1.0, 5.0, "SELECT 1"), end=10) for n in range(10)]
    assessment = judge(recording(*seen), AWS)
    assert advise(assessment, AWS).verdict is Verdict.DO_NOT_USE
    assert advise(assessment, AWS, max_connections=8).verdict is Verdict.USE


def test_what_only_a_connection_of_its_own_can_do_is_told() -> None:
    given = recording(session((0, 1, "LISTEN x"), end=9))
    given.use(CANCELS)
    lacks = advise(judge(given, AWS), AWS).lacks
    assert len(lacks) == 2
    assert "LIM-PG-01" in lacks[0]
    assert "LIM-PG-10" in lacks[1]


def test_a_ledger_is_counted_not_judged() -> None:
    given = Recording("proxy", clients=40)
    given.pins = [PinSeen("PIN-PG-05", "discard all", "erp", "Npgsql", 30, 900.0)]
    assessment = judge(given, AWS)
    assert assessment.pinned_share == 0.75
    assert assessment.findings[0].seconds == 900.0
    assert list(drivers(assessment.findings)) == [("Npgsql", 30)]
    assert advise(assessment, AWS).verdict is Verdict.USE_AFTER_FIXES


def test_without_sessions_the_verdict_goes_by_statements() -> None:
    given = Recording("file", statements=[Observed("SELECT 1", 99), Observed("SET a.b = 1", 1)])
    advice = advise(judge(given, AWS), AWS)
    assert advice.verdict is Verdict.USE_AFTER_FIXES
    assert "1 of 100 statements pin" in advice.because[0]
    clean = Recording("file", statements=[Observed("SELECT 1", 99)])
    assert advise(judge(clean, AWS), AWS).verdict is Verdict.USE


def test_nothing_seen_is_no_verdict() -> None:
    assert advise(judge(Recording("file"), AWS), AWS).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("vcpus", "cost"), [(0, None), (1, 21.9), (2, 21.9), (8, 87.6)])
def test_the_cost_is_by_vcpu_two_at_least(vcpus: int, cost: float | None) -> None:
    monthly = advise(judge(recording(*busy(5)), AWS), AWS, vcpus=vcpus).monthly_cost
    assert monthly == (None if cost is None else pytest.approx(cost))


def test_scenarios_find_the_second_reason_of_a_session() -> None:
    """Without the SET it is the LISTEN that pins: nothing is saved."""
    both = session((1, 1, "SET a.b = 1"), (2, 1, "LISTEN x"), end=9)
    setting = session((1, 1, "SET a.b = 1"), end=9)
    outcomes = {o.scenario.name: o for o in what_if(recording(both, setting), AWS)}
    assert outcomes["init-query"].fewer_pins == 1
    assert outcomes["init-query"].pinned_sessions == 1
    assert outcomes["init-query"].fewer_connections == 0
    assert outcomes["driver"].fewer_pins == 0


def test_legacy_2023_pins_on_what_was_prepared() -> None:
    """PS-01."""
    seen = session((1, 1, "SELECT 1"), end=9)
    seen.statements = [seen.statements[0]._replace(prepared=True)]
    legacy = CompatibilityConfig(preset="legacy_2023")
    assert judge(recording(seen), legacy).pinned_sessions == 1
    assert judge(recording(seen), AWS).pinned_sessions == 0
