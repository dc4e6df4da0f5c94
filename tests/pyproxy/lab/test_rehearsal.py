"""A rehearsal that cannot begin."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyproxy.lab import rehearsal
from pyproxy.lab.rehearsal import FINISHED, Rehearsal


async def test_onlookers_who_get_no_connection_are_the_reason_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All are pinned, and nothing was broken."""
    monkeypatch.setattr(rehearsal, "PATIENCE", 0.05)
    told: list[tuple[str, str]] = []

    async def come() -> None:
        await asyncio.sleep(60)

    gone = asyncio.Event()

    async def leave() -> None:
        gone.set()

    app = SimpleNamespace(
        targets=[
            SimpleNamespace(role=role, id=name, available=True)
            for name, role in (("db-a", "READ_WRITE"), ("db-b", "READ_ONLY"))
        ],
        log=SimpleNamespace(note=lambda level, message: None),
        view=SimpleNamespace(
            events=list,
            reading=lambda: SimpleNamespace(pinned=9),
            happened=lambda event, category, message: told.append((event, message)),
        ),
    )
    onlookers = SimpleNamespace(come=come, leave=leave)
    one = Rehearsal(cast("Any", app), {}, cast("Any", onlookers))
    assert one.act("how=kill")[0] == 202
    async with asyncio.timeout(5):
        await gone.wait()
    ((event, message),) = told
    assert event == FINISHED
    assert "was not finished: its clients got no database connections" in message
    assert "of which 9 are pinned: see pyproxy pins" in message
