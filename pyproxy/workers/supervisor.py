"""The process that holds the workers together: an App that has no clients of its own.

It has the pid that users know, the signals, HTTP, the monitor, and the budgets. What it decides
goes to all workers; what it shows is all of them as one proxy.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Iterable
from typing import Final

from pyproxy.app import App, Login
from pyproxy.config import Config, EndpointConfig
from pyproxy.listener import Listener, Reservation
from pyproxy.postgres.cancel import send_cancel, worker_of
from pyproxy.targets.failover import Decision
from pyproxy.targets.target import Target
from pyproxy.workers.budget import Budget
from pyproxy.workers.crew import Member
from pyproxy.workers.messages import (
    BEAT,
    Cancel,
    Cancelled,
    Drain,
    Drained,
    Gave,
    Happened,
    Learnt,
    Lease,
    Message,
    Pulse,
    Ready,
    Reload,
    Rows,
    Steer,
    Stop,
    Suspect,
    Want,
    Welcome,
)
from pyproxy.workers.tally import Tally
from pyproxy.workers.view import LISTS, CrewView

# A worker that has lived so long is replaced at once; before that each try waits twice as long as
# the one before. In seconds.
STEADY: Final = 5.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
# How long an answer of a worker is waited for when somebody looks, in seconds.
LOOK_TIMEOUT: Final = 2.0
# A worker that lets so many of its beats pass in silence is frozen.
SILENCE: Final = 10
# How long the places of a dead worker stay taken after its queries were cancelled, in seconds.
GRACE: Final = 0.5
# How many of them are cancelled at a time.
_CANCELS: Final = 8
# How long the workers may take to drain beyond drain_timeout, and to stop, in seconds.
_EXTRA: Final = 2.0
_STOP_TIMEOUT: Final = 8.0


class Supervisor(App):
    """A proxy of several processes."""

    def __init__(self, config: Config, *, log_as_json: bool = False) -> None:
        super().__init__(config)
        self.tally: Final = Tally(self)
        self.crew: Final[dict[int, Member]] = {}
        self._log_as_json: Final = log_as_json
        self._budgets: Final = {target.id: Budget() for target in self.targets}
        self._steered: Steer | None = None
        self._closing = False
        self._numbers = itertools.count(1)
        # Cancel requests on their way: who has sent it, under which number, to whom.
        self._cancels: dict[int, tuple[Member, int, int]] = {}

    # -- as App, and what is different ---------------------------------------------------------

    def _make_view(self) -> CrewView:
        self._crew_view = CrewView(self)
        return self._crew_view

    def _make_listener(self, config: EndpointConfig, login: Login) -> Listener:
        return Reservation(config.host, config.port, login, self._complain)

    def _steer(self, decision: Decision, epoch: int) -> None:
        super()._steer(decision, epoch)
        self._steered = Steer(decision, epoch)
        self._tell_all(self._steered)

    async def _open_house(self) -> None:
        """Start the workers, and HTTP when they listen."""
        loop = asyncio.get_running_loop()
        at_work = [loop.create_future() for _ in range(self.config.workers)]
        for number, ready in enumerate(at_work, 1):
            self._spawn(self._keep(number, ready))
        await asyncio.gather(*at_work)
        self._spawn(self._listen_to_crew())
        await self._start_http(self._fetch)

    def apply(self, config: Config) -> None:
        """Take over a new configuration, and have the workers do so."""
        super().apply(config)
        for target in self.targets:
            self._measure(target)
        self._tell_all(Reload(self._for_workers()))

    async def drain(self) -> None:
        """Have every worker drain."""
        self._closing = True
        self.listening = False
        grace = self.config.proxy.drain_timeout
        self._say("INFO", f"Draining: transactions in flight have {grace:g} s to finish.")
        self._tell_all(Drain())
        await _all((member.done.wait() for member in self.crew.values()), grace + _EXTRA)

    async def stop(self) -> None:
        """Stop the workers, then the rest."""
        self._closing = True
        self._tell_all(Stop())
        members = list(self.crew.values())
        await _all((member.process.wait() for member in members), _STOP_TIMEOUT)
        for member in members:
            if member.process.returncode is None:
                member.kill()
        await super().stop()

    # -- the crew ------------------------------------------------------------------------------

    def at_work(self) -> bool:
        """Is there a worker that accepts clients?"""
        return any(member.ready for member in self.crew.values())

    async def _keep(self, number: int, ready: asyncio.Future[None]) -> None:
        """Have a worker of this number, for good; `ready` is done when the first one listens."""
        pause = 0.0
        while True:
            began = self.now()
            how = await self._employ(number, ready)
            if self._closing:
                return
            if not ready.done():
                ready.set_exception(OSError(f"worker {number} did not start: {how}"))
                return
            steady = self.now() - began >= STEADY
            pause = 0.0 if steady else min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            when = f"in {pause:g} s" if pause else "at once"
            message = f"Worker {number} has ended ({how}). It is replaced {when}."
            self.log.note("WARN", message)
            self.view.happened("worker-ended", "failure", message)
            await asyncio.sleep(pause)

    async def _employ(self, number: int, ready: asyncio.Future[None]) -> str:
        """One worker, from its first word to its last; returns how it ended."""
        try:
            member = await Member.hire(number)
        except OSError as error:
            return f"no process: {error.strerror}"
        if self._closing:
            # It has missed that the proxy ends.
            member.kill()
            return await member.bury()
        self._welcome(member)
        try:
            while (message := await member.channel.receive()) is not None:
                self._heard(member, message)
                if member.ready and not ready.done():
                    ready.set_result(None)
        except Exception:
            # What else it says can't be relied on: another one begins anew.
            self.log.failure(None)
            member.kill()
        member.ready = False
        how = await member.bury()
        self._mourn(member)
        return how

    def _welcome(self, member: Member) -> None:
        """Tell a new worker how things are, and from now on whatever all are told.

        Nothing waits in here, so it misses nothing: what was said while it was hired is in this.
        """
        number = member.number
        config = self._for_workers()
        member.send(Welcome(number, config, self._log_as_json, self._monitors()))
        if self._steered is not None:
            member.send(self._steered)
        self.crew[number] = member
        for budget in self._budgets.values():
            budget.joined(number)

    async def _listen_to_crew(self) -> None:
        """End a worker that does nothing any more, so that it is replaced.

        Beats are counted, not seconds: who stops the whole proxy for a while stops the count.
        """
        while True:
            await asyncio.sleep(BEAT)
            for member in self.crew.values():
                if not member.ready:
                    continue
                member.silence += 1
                if member.silence == SILENCE:
                    self.log.note("WARN", f"Worker {member.number} is frozen. It is ended.")
                    member.kill()

    def _mourn(self, member: Member) -> None:
        """It is gone: with its clients; its servers are going."""
        del self.crew[member.number]
        self.tally.died(member.number)
        for number, (sender, theirs, owner) in list(self._cancels.items()):
            if owner == member.number:
                del self._cancels[number]
                sender.send(Cancelled(theirs))
        for target in self.targets:
            places = self._budgets[target.id].died(member.number)
            if places and not self._closing:
                self._spawn(self._let_go(target, places, member.keys.get(target.id, set())))

    async def _let_go(self, target: Target, places: int, keys: set[tuple[int, bytes]]) -> None:
        """Free the places of a dead worker, once the database has let go of its servers.

        The kernel has closed its sockets, but PostgreSQL notices only when the query that runs
        there has ended: so it is cancelled.
        """
        turns = asyncio.Semaphore(_CANCELS)

        async def cancel(key: tuple[int, bytes]) -> None:
            async with turns:
                await send_cancel(target, key, self._target_tls(target))

        try:
            await asyncio.gather(*map(cancel, keys), return_exceptions=True)
            await asyncio.sleep(GRACE)
        finally:
            self._budgets[target.id].restored(places)
            self._settle(target.id)

    def _for_workers(self) -> Config:
        """The configuration with the ports that the kernel gave."""
        endpoints = tuple(
            dataclasses.replace(endpoint, port=self.listeners[name].port)
            if (name := endpoint.db_proxy_endpoint_name) in self.listeners
            else endpoint
            for endpoint in self.config.endpoints
        )
        return dataclasses.replace(self.config, endpoints=endpoints)

    def _tell_all(self, message: Message) -> None:
        for member in self.crew.values():
            member.send(message)

    # -- what workers say ----------------------------------------------------------------------

    def _heard(self, member: Member, message: Message) -> None:
        member.silence = 0
        match message:
            case Want():
                self._budgets[message.target].want(member.number, *message[1:])
                self._settle(message.target)
            case Gave(target, places):
                self._budgets[target].gave(member.number, places)
                self._settle(target)
            case Learnt():
                self._learnt(member, message)
            case Suspect(target):
                self._on_trouble(self._target(target))
            case Happened(event, category, text):
                self.view.happened(event, category, text)
            case Rows():
                member.showed(message)
            case Pulse():
                for name, seen in message.targets.items():
                    member.keys[name] = set(seen.keys)
                self.tally.took(member.number, message)
                member.showed(message)
            case Cancel() | Cancelled():
                self._forward(member, message)
            case Ready():
                member.ready = True
            case Drained():
                member.done.set()
            case _:
                raise AssertionError(f"a worker does not say {type(message).__name__}")

    def _learnt(self, member: Member, message: Learnt) -> None:
        """What a target allows, and whether it answers: the last one who tried is right."""
        target = self._target(message.target)
        if not message.trouble:
            # Who was not let in knows what was allowed when it was last.
            target.limits = message.limits or target.limits
        target.troubled(message.trouble, message.reason)
        if message.key is not None:
            member.keys.setdefault(target.id, set()).add(message.key)
        self._measure(target)

    def _forward(self, member: Member, message: Cancel | Cancelled) -> None:
        """A request goes to the worker that its key names; the answer goes back."""
        if isinstance(message, Cancelled):
            sender, number, _ = self._cancels.pop(message.number, (member, 0, 0))
            if number:
                sender.send(Cancelled(number))
            return
        owner = self.crew.get(worker_of(message.process_id))
        if owner is None or owner is member:
            member.send(Cancelled(message.number))
            return
        number = next(self._numbers)
        self._cancels[number] = member, message.number, owner.number
        owner.send(message._replace(number=number))

    # -- the budget ----------------------------------------------------------------------------

    def _measure(self, target: Target) -> None:
        """How many places there are."""
        if target.limits is not None:
            percent = self.config.target_group.connection_pool_config.max_connections_percent
            self._budgets[target.id].total = target.limits.allowed(percent)
            self._settle(target.id)

    def _settle(self, target: str) -> None:
        for number, order in self._budgets[target].settle():
            self.crew[number].send(Lease(target, order))

    def _target(self, name: str) -> Target:
        return next(target for target in self.targets if target.id == name)

    # -- looking -------------------------------------------------------------------------------

    async def _fetch(self, path: str) -> CrewView:
        """Ask every worker for what a path shows; one that is silent is left out."""
        lists, limit = LISTS.get(path, (None, 0))
        if lists is None:
            return self._crew_view
        number = next(self._numbers)
        members = [member for member in self.crew.values() if member.ready]
        answers = [member.look(number, lists, limit) for member in members]
        if answers:
            await asyncio.wait(answers, timeout=LOOK_TIMEOUT)
        for member in members:
            member.forget(number)
        told = [answer.result() for answer in answers if answer.done()]
        return self._crew_view.showing(
            {name: [row for rows in told for row in rows.get(name, ())] for name in lists}
        )


async def _all(waits: Iterable[object], seconds: float) -> None:
    """Wait for all of them, no longer than `seconds`."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
