"""A failover for practice, in the demonstration: breaks the primary while clients of ours look on.

`pyproxy failover` asks for it by a POST; what happens is told as events, so that the command, the
page and the log see the same. Afterwards the old primary is brought back as a standby, and it can
be done again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from pyproxy.app import App
from pyproxy.dashboard.listings import BadRequest, read_arguments
from pyproxy.lab.cluster import Cluster, ClusterError
from pyproxy.lab.onlookers import Onlookers

PATH: Final = "/api/v1/failover"
KILL: Final = "kill"
SWITCHOVER: Final = "switchover"
FINISHED: Final = "rehearsal-finished"

# How long a rehearsal waits for each of its steps, in seconds.
PATIENCE: Final = 30.0

_BREAK: Final[Mapping[str, tuple[str, Callable[[Cluster], None]]]] = {
    KILL: ("is killed, as a power cut does it", Cluster.kill),
    SWITCHOVER: ("is stopped, as for maintenance", Cluster.stop),
}


class Rehearsal:
    """Breaks and mends the databases of a demonstration, one at a time."""

    def __init__(self, app: App, clusters: Mapping[str, Cluster], onlookers: Onlookers) -> None:
        """`clusters` by the id of their target."""
        self._app: Final = app
        self._clusters: Final = clusters
        self._onlookers: Final = onlookers
        self._task: asyncio.Task[None] | None = None

    def act(self, query: str) -> tuple[int, Mapping[str, object]]:
        """Start one: `how=kill` or `how=switchover`; BadRequest for anything else."""
        how = read_arguments(query, ("how",)).get("how", "")
        if how not in _BREAK:
            raise BadRequest(f"how is {how[:50]!r}: it must be one of {', '.join(_BREAK)}")
        if self._task is not None and not self._task.done():
            return 409, {"error": "a rehearsal is under way"}
        writer, standby = self._roles()
        if not writer or not standby:
            return 409, {"error": "there is no writer with a standby behind it: see pyproxy demo"}
        events = self._app.view.events()
        after = max((event["id"] for event in events), default=0)
        self._task = asyncio.get_running_loop().create_task(self._run(how, writer, standby))
        return 202, {"how": how, "writer": writer, "standby": standby, "after": after}

    async def stop(self) -> None:
        """Give up, at the end of the demonstration."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _roles(self) -> tuple[str, str]:
        """The ids of the writer and of the standby that would take over, or ""."""
        roles = {t.role: t.id for t in self._app.targets if t.available}
        return roles.get("READ_WRITE", ""), roles.get("READ_ONLY", "")

    async def _run(self, how: str, writer: str, standby: str) -> None:
        what, breaking = _BREAK[how]
        try:
            async with asyncio.timeout(4 * PATIENCE):
                await self._gather()
                self._tell(f"rehearsal-{how}", f"{writer} {what}.")
                await asyncio.to_thread(breaking, self._clusters[writer])
                await self._until(lambda: self._roles()[0] == standby)
                for line in await self._onlookers.report():
                    self._tell("rehearsal-report", line)
                old, new = self._clusters[writer], self._clusters[standby]
                await asyncio.to_thread(old.rejoin, new)
                await self._until(lambda: self._roles()[1] == writer)
            self._tell(FINISHED, f"{writer} is back, as the standby of {standby}.")
        except (ClusterError, OSError, TimeoutError) as problem:
            why = str(problem) or "it took too long"
            self._tell(FINISHED, f"The rehearsal was not finished: {why}.")
        except Exception:
            self._app.log.failure(None)
            self._tell(FINISHED, "The rehearsal was not finished: see the log.")
        finally:
            await self._onlookers.leave()

    async def _gather(self) -> None:
        """Have the onlookers come, some of whom keep a database connection each."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._onlookers.come()
        except TimeoutError:
            pinned = self._app.view.reading().pinned
            raise TimeoutError(
                f"its clients got no database connections within {PATIENCE:g} s, "
                f"of which {pinned} are pinned: see pyproxy pins"
            ) from None

    async def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("a step took too long")
            await asyncio.sleep(0.02)

    def _tell(self, event: str, message: str) -> None:
        self._app.log.note("INFO", message)
        self._app.view.happened(event, "rehearsal", message)
