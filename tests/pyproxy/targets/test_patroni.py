"""Patroni's answers: who leads, by which target; tests/integration has a real one."""

from __future__ import annotations

import asyncio
import json

import pytest

from pyproxy.config import TargetConfig
from pyproxy.targets import patroni
from pyproxy.targets.patroni import Member, Patroni, members_of, name_of
from pyproxy.targets.target import Target

TARGETS = [Target(TargetConfig("db-a", port=5432)), Target(TargetConfig("db-b", port=5433))]


def test_members_are_read_from_the_answer() -> None:
    rows = [{"name": "n1", "role": "leader", "host": "h", "port": 1, "lag": 0}, {"name": "n2"}]
    assert members_of(json.dumps({"members": rows}).encode()) == [
        Member("n1", "leader", "h", 1),
        Member("n2", "", "", 0),
    ]


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"members": 1}', b"<html>", b"[" * 100_000]
)
def test_anything_else_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        members_of(answer)


@pytest.mark.parametrize("port", ["[1]", '{"a": 1}', '"five"', "Infinity", "NaN"])
def test_a_port_that_is_none_is_refused_with_its_member(port: str) -> None:
    with pytest.raises(ValueError, match=r"member 'db-a' has the port .*Patroni's REST API\?"):
        members_of(b'{"members": [{"name": "db-a", "port": %s}]}' % port.encode())


def test_a_member_is_known_by_name_or_by_address() -> None:
    assert name_of(Member("db-b", "leader", "elsewhere", 1), TARGETS) == "db-b"
    assert name_of(Member("pg2", "leader", "127.0.0.1", 5433), TARGETS) == "db-b"
    assert name_of(Member("pg9", "leader", "127.0.0.1", 9), TARGETS) == "pg9"


async def test_the_next_url_is_asked_and_silence_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    leaders: list[str | None] = []
    answers: dict[str, list[Member]] = {"two": [Member("db-b", "replica", "", 0)]}

    def fetch(url: str, timeout: float) -> list[Member]:
        if url not in answers:
            raise ConnectionRefusedError("refused")
        return answers[url]

    monkeypatch.setattr(patroni, "fetch", fetch)
    asks = Patroni(
        ["one", "two"],
        TARGETS,
        tell_leader=leaders.append,
        interval=lambda: 1.0,
        timeout=1.0,
        tell=lambda level, event, message: told.append(event),
        failed=lambda: pytest.fail("nothing has failed"),
    )
    # Before there was one, a lock that is free is nobody's.
    await asks.ask()
    answers["two"] = [Member("db-b", "leader", "", 0)]
    await asks.ask()
    # While the lock is free the last leader stays the word.
    answers["two"] = [Member("db-b", "replica", "", 0)]
    await asks.ask()
    answers.clear()
    await asks.ask()
    await asks.ask()
    answers["one"] = [Member("db-a", "master", "", 0)]
    await asks.ask()
    assert leaders == ["", "db-b", "db-b", None, None, "db-a"]
    assert told == ["patroni-leader", "patroni-silent", "patroni-answers", "patroni-leader"]


async def test_it_asks_on_whatever_comes_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision that the word of a leader leads to may fail: the next word is heard."""
    heard: list[str | None] = []
    failures: list[None] = []
    twice = asyncio.Event()

    def tell_leader(leader: str | None) -> None:
        heard.append(leader)
        if len(heard) == 2:
            twice.set()
        raise RuntimeError("no decision")

    monkeypatch.setattr(patroni, "fetch", lambda url, timeout: [Member("db-b", "leader", "", 0)])
    asks = Patroni(
        ["one"],
        TARGETS,
        tell_leader=tell_leader,
        interval=lambda: 0.0,
        timeout=1.0,
        tell=lambda level, event, message: None,
        failed=lambda: failures.append(None),
    )
    task = asyncio.create_task(asks.run())
    async with asyncio.timeout(10):
        await twice.wait()
    task.cancel()
    assert heard[:2] == ["db-b", "db-b"]
    assert failures
