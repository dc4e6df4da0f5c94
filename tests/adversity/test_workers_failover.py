"""A failover with several workers: one process decides, all carry it out."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.messages import Query
from tests.support.pair import Pair

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]


def test_one_promotion_moves_the_clients_of_all_workers(pair: Pair, tmp_path: Path) -> None:
    """FO-01, FO-02: idle ones notice nothing, those in flight get one error, whose ever they are."""
    with pair.proxy(tmp_path, workers=2) as proxy, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(proxy.wire()) for _ in range(12)]
        busy = [stack.enter_context(proxy.wire()) for _ in range(6)]
        numbers = {row["id"] % 64 for row in proxy.api("clients")["clients"]}
        assert numbers == {0, 1}, "18 clients at one of two workers: try again"
        idle[0].query("CREATE TABLE w_kept (n int)")
        for wire in busy:
            wire.send(Query("SELECT pg_sleep(60)"))
        proxy.await_borrowed(len(busy))
        pair.primary.cluster.kill()
        for wire in busy:
            told = [reply.fields for reply in wire.read_to_end() if reply.tag == "E"]
            assert [(f["S"], f["C"]) for f in told] == [("FATAL", "08006")]
        for wire in idle:
            assert wire.value("SELECT pg_is_in_recovery()") == "f"
            wire.query("INSERT INTO w_kept VALUES (1)")
        assert idle[0].value("SELECT count(*) FROM w_kept") == "12"
        proxy.await_writer("db-b")
        line = proxy.wait_for_log("Writes moved to db-b after")
        assert "6 in flight or pinned got an error" in line
        assert "first answer" in line
        assert all(row["epoch"] == 2 for row in proxy.api("servers")["servers"])
        events = [row["event"] for row in proxy.api("events")["events"]]
        assert events.count("writer-promoting") == 1
        assert events.count("failover") == 1


def test_a_worker_that_comes_later_knows_who_writes(pair: Pair, tmp_path: Path) -> None:
    """A replaced worker is told the roles before it lends anything."""
    with pair.proxy(tmp_path, workers=2) as proxy:
        pair.primary.cluster.kill()
        proxy.await_writer("db-b")
        children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        proxy.wait_for_log("has ended .signal 9")
        deadline = time.monotonic() + 20
        while proxy.get("/readyz")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(12):
            with proxy.wire() as wire:
                assert wire.value("SELECT pg_is_in_recovery()") == "f"
