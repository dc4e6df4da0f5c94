"""What the proxy remembers of its writer: the file, and what is no such file."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyproxy.config import Config, ProxyConfig, TargetConfig, TargetGroupConfig
from pyproxy.targets import memory as room
from pyproxy.targets.memory import POSITION_INTERVAL, Memory, WriterMemory, open_memory

TARGETS = (TargetConfig("a", port=5432), TargetConfig("b", port=5433))
MEMORY = Memory("b", 2, "7512", 0x1_0300_2F10, ("a",), "a", 1700.5)


class House:
    """A memory, what it has told, and its clock."""

    def __init__(self, folder: Path, targets: tuple[TargetConfig, ...] = TARGETS) -> None:
        self.path = folder / "failover" / "pyproxy.json"
        self.told: list[tuple[str, str, str]] = []
        self.now = 0.0
        self.memory = WriterMemory(
            self.path, targets, lambda *told: self.told.append(told), lambda: self.now
        )

    async def keep(self, memory: Memory) -> None:
        self.memory.keep(memory)
        await self.memory.settle()

    @property
    def position(self) -> str:
        row: dict[str, str] = json.loads(self.path.read_text())
        return row["position"]


async def kept(folder: Path, memory: Memory = MEMORY) -> Path:
    house = House(folder)
    await house.keep(memory)
    assert house.told == []
    return house.path


async def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    assert await House(tmp_path).memory.recall() is None
    path = await kept(tmp_path)
    house = House(tmp_path)
    assert await house.memory.recall() == MEMORY
    [(level, event, text)] = house.told
    assert (level, event) == ("INFO", "writer-remembered")
    assert text == (
        f"Remembered from {path}: b was the writer, timeline 2, WAL 1/3002F10; "
        "not to be used before a standby: a."
    )


async def test_nobody_else_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = await kept(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_file_half_written_by_another_run_is_no_hindrance(tmp_path: Path) -> None:
    path = await kept(tmp_path)
    path.with_name(f"{path.name}.{os.getpid()}.new").write_text("{")
    house = House(tmp_path)
    assert await house.memory.recall() == MEMORY
    await house.keep(MEMORY._replace(timeline=3))
    again = await House(tmp_path).memory.recall()
    assert again is not None and again.timeline == 3


async def test_the_position_alone_is_written_now_and_then_the_rest_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.keep(MEMORY._replace(position=1))
    await house.keep(MEMORY._replace(position=2))
    assert house.position == "0/1"
    house.now = POSITION_INTERVAL
    await house.keep(MEMORY._replace(position=3))
    assert house.position == "0/3"
    await house.keep(MEMORY._replace(position=4, timeline=3))
    assert house.position == "0/4"
    # At the end the last one.
    await house.keep(MEMORY._replace(position=5, timeline=3))
    await house.memory.close()
    assert house.position == "0/5"


async def test_nothing_is_written_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(tmp_path)
    house = House(tmp_path)
    recalled = await house.memory.recall()
    assert recalled is not None

    def never(*_: object) -> None:
        raise AssertionError("written")

    monkeypatch.setattr(room, "replace_file", never)
    for _ in range(100):
        house.now += POSITION_INTERVAL
        await house.keep(recalled)
    await house.memory.close()


async def test_what_changes_while_it_is_written_is_written_too(tmp_path: Path) -> None:
    house = House(tmp_path)
    for timeline in range(1, 20):
        house.memory.keep(MEMORY._replace(timeline=timeline))
        await asyncio.sleep(0)
    await house.memory.settle()
    again = await House(tmp_path).memory.recall()
    assert again is not None and again.timeline == 19


GOOD = {
    "version": 1,
    "writer": "b",
    "address": "127.0.0.1:5433",
    "system": "7512",
    "timeline": 2,
    "position": "0/1",
    "deposed": ["a"],
    "promoting": None,
    "promoting_at": 0.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"writer": 7},
        {"writer": ""},
        {"system": None},
        {"timeline": "2"},
        {"timeline": 0},
        {"position": 1},
        {"position": "-1/2"},
        {"position": "0/1/2"},
        {"position": "123456789/0"},
        {"deposed": "a"},
        {"deposed": [1]},
        {"deposed": ["b"]},
        {"promoting": 3},
        {"promoting_at": "now"},
        {"promoting_at": float("nan")},
    ],
    ids=str,
)
async def test_a_value_that_is_none_of_ours_is_told_and_ignored(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    await expect_ignored(tmp_path, json.dumps(GOOD | changes).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b" " * 70_000, b"\0" * 300],
    ids=["empty", "half", "list", "null", "no UTF-8", "deep", "long", "zeros"],
)
async def test_a_damaged_file_is_told_and_ignored(tmp_path: Path, data: bytes) -> None:
    await expect_ignored(tmp_path, data)


async def expect_ignored(folder: Path, data: bytes) -> None:
    house = House(folder)
    house.path.parent.mkdir()
    house.path.write_bytes(data)
    assert await house.memory.recall() is None
    [(level, event, text)] = house.told
    assert (level, event) == ("WARN", "memory-unreadable")
    assert f"in {house.path} can't be read and is ignored: " in text
    # It does not stay so.
    await house.keep(MEMORY)
    assert await House(folder).memory.recall() == MEMORY


async def test_every_key_is_needed(tmp_path: Path) -> None:
    for number, key in enumerate(GOOD):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = await kept(folder)
        path.write_text(json.dumps({k: v for k, v in GOOD.items() if k != key}))
        house = House(folder)
        assert await house.memory.recall() is None, key


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (TARGETS[:1], "there is no such target here now (it was at 127.0.0.1:5433)"),
        (
            (TARGETS[0], TargetConfig("b", port=6000)),
            "it was at 127.0.0.1:5433 and is at 127.0.0.1:6000 now",
        ),
    ],
)
async def test_what_is_about_other_databases_is_told_and_ignored(
    tmp_path: Path, targets: tuple[TargetConfig, ...], told: str
) -> None:
    await kept(tmp_path)
    house = House(tmp_path, targets)
    assert await house.memory.recall() is None
    [(level, event, text)] = house.told
    assert (level, event) == ("INFO", "memory-foreign")
    assert told in text


async def test_a_deposed_target_that_is_configured_no_more_is_forgotten(tmp_path: Path) -> None:
    await kept(tmp_path)
    house = House(tmp_path, TARGETS[1:])
    assert await house.memory.recall() == MEMORY._replace(deposed=())


async def test_a_folder_that_can_not_be_written_to_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "failover").write_text("a file where the folder should be")
    house = House(tmp_path)
    for timeline in (2, 3, 4):
        await house.keep(MEMORY._replace(timeline=timeline))
    await house.memory.close()
    [(level, event, text)] = house.told
    assert (level, event) == ("WARN", "memory-not-kept")
    assert str(house.path.parent) in text and "state_dir" in text


def test_each_proxy_has_its_own_and_a_single_target_none(tmp_path: Path) -> None:
    def of(name: str, *targets: TargetConfig, state: Path | str = tmp_path) -> Path | None:
        config = Config(
            proxy=ProxyConfig(db_proxy_name=name),
            target_group=TargetGroupConfig(targets=targets),
            state_dir=str(state),
        )
        memory = open_memory(config, lambda *_: None, lambda: 0.0)
        return memory and memory.path

    assert of("demo", *TARGETS) == tmp_path / "failover" / "demo.json"
    assert of("../../etc/x", *TARGETS) == tmp_path / "failover" / "..%2F..%2Fetc%2Fx.json"
    assert of("demo", *TARGETS[:1]) is None
    assert of("demo", *TARGETS, state="") is None
