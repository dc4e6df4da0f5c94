"""Who was the writer: what the monitor must know again after a restart, in a file of `state_dir`.

    {"version": 1, "writer": "db-b", "address": "127.0.0.1:5433", "system": "7512…", "timeline": 2,
     "position": "0/3002F10", "deposed": ["db-a"], "promoting": null, "promoting_at": 0.0}

Without it a proxy that is started after its primary has died could promote nobody, and one that is
started after a failover could take an old primary that is back for the writer. A file that is
damaged, or is about other databases, is told and ignored. It is written by a thread when something
in it has changed, and never by the data path.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from pyproxy.config import Config, TargetConfig
from pyproxy.durable import replace_file

_VERSION: Final = 1
# A few hundred bytes; more is not ours.
_LONGEST: Final = 1 << 16
# The position alone moves all the time: it is written at most so often, in seconds. A standby may
# lack what was written in this time beyond `maximum_lag_on_failover`, if the proxy dies, too.
POSITION_INTERVAL: Final = 5.0
# How long a promotion waits for the disk, in seconds.
DISK_PATIENCE: Final = 1.0

_LSN: Final = re.compile("([0-9A-F]{1,8})/([0-9A-F]{1,8})")

Tell = Callable[[str, str, str], None]


class Memory(NamedTuple):
    """What is known of the writer."""

    writer: str
    """Its target; whether or not it lives."""

    timeline: int
    system: str
    position: int
    """Bytes of WAL that it had written when it was seen last."""

    deposed: tuple[str, ...] = ()
    """Who has lost the role and was not a standby since: see `failover`."""

    promoting: str | None = None
    """Who was asked to take over."""

    promoting_at: float = 0.0
    """When, in seconds since 1970."""

    def __str__(self) -> str:
        text = f"{self.writer} was the writer, timeline {self.timeline}, WAL {lsn(self.position)}"
        if self.deposed:
            text += f"; not to be used before a standby: {', '.join(self.deposed)}"
        return text


class WriterMemory:
    """The file, and what is to be in it."""

    def __init__(
        self,
        path: Path,
        targets: Iterable[TargetConfig],
        tell: Tell,
        clock: Callable[[], float],
    ) -> None:
        self.path: Final = path
        self._addresses: Final = {t.id: f"{t.host}:{t.port}" for t in targets}
        self._tell: Final = tell
        self._clock: Final = clock
        # What is in the file, what is to be, and when it was written last.
        self._stored: Memory | None = None
        self._latest: Memory | None = None
        self._written_at = float("-inf")
        self._writing: asyncio.Task[None] | None = None
        self._trouble = ""

    async def recall(self) -> Memory | None:
        """What an earlier run of the proxy knew, if that is about these databases."""
        try:
            data = await asyncio.to_thread(_read, self.path)
            memory = None if data is None else self._parse(data)
        except (OSError, ValueError, RecursionError) as problem:
            self._tell(
                "WARN",
                "memory-unreadable",
                f"What was remembered of the writer in {self.path} can't be read and is ignored: "
                f"{problem}. It is written anew when a writer is seen.",
            )
            return None
        if memory is not None:
            self._stored = self._latest = memory
            self._tell("INFO", "writer-remembered", f"Remembered from {self.path}: {memory}.")
        return memory

    def keep(self, memory: Memory) -> None:
        """Have it written if it differs; what else than the position differs, at once."""
        self._latest = memory
        if memory == self._stored or self._writing is not None:
            return
        known = self._stored is not None and memory == self._stored._replace(
            position=memory.position
        )
        if not known or self._clock() - self._written_at >= POSITION_INTERVAL:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def settle(self) -> None:
        """Wait until what was last told to keep is on the disk, but for the position."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=DISK_PATIENCE)

    async def close(self) -> None:
        """Write what is not written yet."""
        await self.settle()
        if self._latest != self._stored and self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
            await self.settle()

    async def _write(self) -> None:
        """Write the latest; once more when there is a later one by then."""
        try:
            while (memory := self._latest) is not None and memory != self._stored:
                # Also when it fails: not at every probe.
                self._written_at = self._clock()
                # Where it fails the next change is the next try.
                self._stored = memory
                await asyncio.to_thread(self._store, memory)
                self._trouble = ""
        except OSError as problem:
            why = f"{problem.filename or self.path}: {problem.strerror}"
            if why != self._trouble:
                self._trouble = why
                self._tell(
                    "WARN",
                    "memory-not-kept",
                    f"Who is the writer can't be remembered for the next start: {why}. "
                    "Give the proxy a state_dir that it may write to.",
                )
        finally:
            self._writing = None

    def _store(self, memory: Memory) -> None:
        """Blocks; in a thread of its own."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        row = {
            "version": _VERSION,
            **memory._asdict(),
            "address": self._addresses[memory.writer],
            "position": lsn(memory.position),
        }
        replace_file(self.path, (json.dumps(row, indent=1) + "\n").encode(), 0o600)

    def _parse(self, data: bytes) -> Memory | None:
        """None when it is about other databases; raises ValueError when it is nothing of ours."""
        row = json.loads(data)
        if not isinstance(row, dict) or row.get("version") != _VERSION:
            raise ValueError(f"it is not of version {_VERSION}")
        memory = _memory(row)
        address = row.get("address")
        here = self._addresses.get(memory.writer)
        if here == address:
            known = tuple(name for name in memory.deposed if name in self._addresses)
            return memory._replace(deposed=known)
        where = f"there is no such target here now (it was at {address})"
        if here is not None:
            where = f"it was at {address} and is at {here} now"
        self._tell(
            "INFO",
            "memory-foreign",
            f"What is remembered in {self.path} is ignored: {memory.writer} was the writer, and "
            f"{where}. Proxies that share a state_dir need a db_proxy_name each.",
        )
        return None


def open_memory(config: Config, tell: Tell, clock: Callable[[], float]) -> WriterMemory | None:
    """The memory of a proxy; None for one target, where there is nothing to choose."""
    targets = config.target_group.targets
    if not config.state_dir or len(targets) < 2:
        return None
    name = f"{quote(config.proxy.db_proxy_name, safe='')}.json"
    return WriterMemory(Path(config.state_dir) / "failover" / name, targets, tell, clock)


def lsn(position: int) -> str:
    """A position in the WAL as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except FileNotFoundError:
        return None
    if len(data) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST} bytes")
    return data


def _memory(row: dict[str, object]) -> Memory:
    match row:
        case {
            "writer": str(writer),
            "timeline": int(timeline),
            "system": str(system),
            "position": str(position),
            "deposed": list(deposed),
            "promoting": str() | None as promoting,
            "promoting_at": int() | float() as promoting_at,
        } if (
            (found := _LSN.fullmatch(position))
            and writer
            and timeline > 0
            and all(isinstance(name, str) for name in deposed)
            # The last writer is deposed only by the one who was asked to take over.
            and (writer not in deposed or promoting)
            and math.isfinite(promoting_at)
        ):
            return Memory(
                writer,
                timeline,
                system,
                int(found[1], 16) << 32 | int(found[2], 16),
                tuple(deposed),
                promoting,
                float(promoting_at),
            )
    raise ValueError("a key is missing, or is not what it should be")
