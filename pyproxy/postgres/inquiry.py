"""What is asked of a database by a connection made for that, beside the pools, as a probe is.

- Does it take no writes any more? The servers at hand cannot say (`doubts`).
- Does it answer again? The pools try for the clients in line. When those have gone nobody would,
  and whoever asks whether the proxy is ready before sending it clients (an orchestrator) would wait
  for ever. With a monitor that is the monitor's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from protocol.postgres.errors import ProtocolError
from protocol.postgres.sqlstate import GOING, PASSING
from pyproxy.logs import EventLog
from pyproxy.metrics.counters import TargetCounters
from pyproxy.postgres.connect import Connected, Refused
from pyproxy.targets.probe import AUTH_FAILURE
from pyproxy.targets.target import Target

if TYPE_CHECKING:
    from pyproxy.pooling.pool import Pool
    from pyproxy.postgres.server import ServerConnection

# How long such a connection may take, in seconds: a client's answer may wait for what it shows.
_PATIENCE: Final = 5.0
# Between two looks whether it answers again, in seconds; and where it refused a password, for each
# such look is a line in the database's log.
_PAUSE: Final = 2.0
_LONG_PAUSE: Final = 5.0


class Inquiry:
    """Questions to one database.

    `connect` logs in as the servers of a pool do; `require_role` raises OSError where the database
    does not have the role that is asked of it; `shuts_out` is whether a refusal is everybody's.
    """

    def __init__(
        self,
        target: Target,
        connect: Callable[[Pool[ServerConnection], TargetCounters], Awaitable[Connected]],
        require_role: Callable[[Connected], None],
        shuts_out: Callable[[Refused, Pool[ServerConnection]], bool],
        log: EventLog,
    ) -> None:
        self._target: Final = target
        self._connect: Final = connect
        self._require_role: Final = require_role
        self._shuts_out: Final = shuts_out
        self._log: Final = log

    async def takes_no_writes(self, pool: Pool[ServerConnection]) -> bool | None:
        """Has it turned read-only, or become a standby? None: it cannot be asked."""
        try:
            connected = await self._visit(pool)
        except (OSError, TimeoutError, ProtocolError):
            return None
        except Refused as refused:
            # Full, or the password has just been changed: no sign of anything.
            return None if refused.sqlstate in GOING else False
        except Exception:
            self._log.failure(None)
            return False
        connected.stream.transport.close()
        limits = connected.limits
        return limits.in_recovery or limits.refuses_writes

    async def until_it_answers(self, pool: Pool[ServerConnection]) -> None:
        """Look now and then, as long as the target is in trouble and nobody in line."""
        target = self._target
        while target.trouble:
            await asyncio.sleep(_LONG_PAUSE if target.reason == AUTH_FAILURE else _PAUSE)
            if target.trouble and not (pool.waiting or pool.opening) and await self._answers(pool):
                target.trouble = ""
                self._log.note("INFO", f"Target {target.id} answers again.")

    async def _answers(self, pool: Pool[ServerConnection]) -> bool:
        try:
            connected = await self._visit(pool)
            self._require_role(connected)
        except (OSError, TimeoutError, ProtocolError):
            return False
        except Refused as refused:
            # One that refuses this user lets others in, if there are others.
            return refused.sqlstate not in PASSING and not self._shuts_out(refused, pool)
        except Exception:
            self._log.failure(None)
            return False
        connected.stream.transport.close()
        return True

    async def _visit(self, pool: Pool[ServerConnection]) -> Connected:
        async with asyncio.timeout(_PATIENCE):
            # It is no request for a connection to be lent: it is counted nowhere (M-10, M-11).
            return await self._connect(pool, TargetCounters())
