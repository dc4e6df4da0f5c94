"""The composition root: the proxy built from its configuration, started, reloaded, stopped.

    app = App(config)
    await app.start()    # listening when it returns
    await app.drain()
    await app.stop()

`signals` does that for a program.

Nothing else knows all the rooms; nothing here decides anything that a room could decide.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import random
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

from pyproxy import errors
from pyproxy.addresses import endpoint_names, join
from pyproxy.auth.authenticator import Authenticator
from pyproxy.auth.credentials import Credentials
from pyproxy.auth.directory import open_directory
from pyproxy.auth.role import Role
from pyproxy.auth.secret import SecretStore
from pyproxy.auth.secrets import open_store
from pyproxy.config import AuthConfig, Config, ConfigError, EndpointConfig
from pyproxy.dashboard.feed import Prepare
from pyproxy.dashboard.http import HttpServer
from pyproxy.dashboard.routes import Action
from pyproxy.encryption import Encryption
from pyproxy.listener import Listener
from pyproxy.logs import Enhanced, EventLog
from pyproxy.metrics.counters import ProxyCounters
from pyproxy.metrics.exposition import Exposition
from pyproxy.pinning.classifier import Classifier
from pyproxy.pinning.ledger import Ledger
from pyproxy.postgres.cancel import CancelKeys
from pyproxy.postgres.endpoint import Endpoint
from pyproxy.postgres.fleet import Fleet
from pyproxy.postgres.gate import Gate
from pyproxy.postgres.login import login
from pyproxy.postgres.observer import Observer
from pyproxy.postgres.probe import PostgresProbe
from pyproxy.postgres.server_login import ServerSettings
from pyproxy.postgres.servers import Servers
from pyproxy.postgres.session import Session
from pyproxy.postgres.statements import Catalog
from pyproxy.rds_events import MODIFIED, THROTTLED, RdsEvent
from pyproxy.targets.failover import Decision
from pyproxy.targets.memory import open_memory
from pyproxy.targets.monitor import Monitor
from pyproxy.targets.patroni import Patroni
from pyproxy.targets.target import Target
from pyproxy.turn import Turn
from pyproxy.upkeep import Upkeep
from pyproxy.view import ProxyView

# How often it is looked whether transactions have finished, in seconds.
DRAIN_INTERVAL: Final = 0.05

S = TypeVar("S", bound=Servers)

Login = Callable[[socket.socket], Coroutine[None, None, None]]
"""Serves a connection that a listener has accepted."""


class App:
    """A proxy."""

    def __init__(self, config: Config, store: SecretStore | None = None) -> None:
        self.config = config
        self.started_at = time.time()
        self._random = random.SystemRandom()
        self._enhanced = Enhanced()
        self._enhanced.switch(config.proxy.debug_logging, time.monotonic())
        self.log = self._enhanced.add(EventLog("default"))
        self._store = (
            store if store is not None else open_store(config.secrets, region=config.proxy.region)
        )
        self._directory = open_directory(config.iam)
        self.credentials = Credentials(config.proxy.auth, self._store)
        self.targets = [Target(target) for target in config.target_group.targets]
        self.ledger = Ledger()
        self.counters = ProxyCounters()
        self.endpoints: dict[str, Endpoint] = {}
        self.listeners: dict[str, Listener] = {}
        self.view = self._make_view()
        # What a POST may start, by path; the demonstration has some.
        self.actions: dict[str, Action] = {}
        self._observer = Observer(
            config.compatibility, self.counters, self.view.happened, time.monotonic
        )
        self.fleet: Fleet
        self._servers: list[Servers] = []
        # None for a single target without a monitoring secret.
        self.monitor: Monitor | None = None
        # The monitoring user's, where it has a secret of its own.
        self._monitoring: Credentials | None = None
        self._cancel_keys = self._make_cancel_keys()
        self._turn: Turn
        self._http: HttpServer | None = None
        self._gate: Gate
        self._encryption: Encryption
        self._tasks: set[asyncio.Task[None]] = set()
        self.listening = False

    # -- starting ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen on every address; raises OSError when one is taken, and nothing runs then."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self.config
        loop = asyncio.get_running_loop()
        self._turn = Turn(loop.call_soon)
        # Making a key and a certificate takes a while, on the first start.
        self._encryption = await asyncio.to_thread(Encryption, config)
        for level, note in self._encryption.notes:
            self._say(level, note)
        await self._look_for_changes()
        names: dict[str, Callable[[str], frozenset[str]]] = {}
        self._gate = Gate(
            config.proxy,
            frozenset(config.extensions),
            Authenticator(config.proxy, self.credentials, self._directory),
            self._cancel_keys,
            self._encryption.clients,
            names,
            self._open_clients,
            loop.time,
            throttled=lambda: self._happened(THROTTLED),
        )
        self._servers = [self._servers_of(target) for target in self.targets]
        lobby, reading_room = (self._make_servers(self.targets[0], Servers) for _ in range(2))
        self.fleet = Fleet(self._servers, lobby, reading_room)
        await self._watch_targets()
        classifier = Classifier(config.compatibility)
        catalog = Catalog(classifier)
        for endpoint_config in config.endpoints:
            endpoint = self._make_endpoint(endpoint_config, classifier, catalog)
            listener = self._make_listener(endpoint_config, self._login_to(endpoint))
            await listener.start()
            self.listeners[endpoint.name] = listener
            # Only now, for port 0 has become the one that the kernel gave.
            names[endpoint.name] = _names_of(endpoint_config, listener.port)
        await self._open_house()
        self._spawn(Upkeep(self).run())
        self._spawn(self._look_now_and_then())
        self._spawn(self._encryption.look_after(self._say, lambda: self.log.failure(None)))
        self.listening = True
        # What lives now lives long: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        # And a storm of logins is no reason to: what they make is let go of without it.
        gc.set_threshold(50_000, 20, 50)
        if self._http is not None:
            self._say("INFO", self._ready_line(self._http))

    # What is another's to do where several processes are one proxy (`workers`).

    def _say(self, level: str, message: str) -> None:
        """Log what is said once for the whole proxy."""
        self.log.note(level, message)

    def _modified(self) -> None:
        """Its settings are others from now on."""
        self._happened(MODIFIED)

    def _make_view(self) -> ProxyView:
        return ProxyView(self)

    def _make_cancel_keys(self) -> CancelKeys[Session]:
        return CancelKeys()

    def _servers_of(self, target: Target) -> Servers:
        return self._make_servers(target, Servers)

    def _make_listener(self, config: EndpointConfig, login: Login) -> Listener:
        return Listener(config.host, config.port, login, self._complain)

    def _complain(self, trouble: str) -> None:
        self.log.note("WARN", trouble)

    async def _open_house(self) -> None:
        """Everything else is there: HTTP."""
        await self._start_http()

    async def _start_http(self, prepare: Prepare | None = None) -> None:
        self._http = HttpServer(
            self.config.http.host,
            self.config.http.port,
            self.view,
            Exposition(self.view.readings).render,
            actions=self.actions,
            prepare=prepare,
        )
        await self._http.start()

    def _steer(self, decision: Decision, epoch: int) -> None:
        self.fleet.steer(decision, epoch)

    def _make_endpoint(
        self, config: EndpointConfig, classifier: Classifier, catalog: Catalog
    ) -> Endpoint:
        endpoint = Endpoint(
            config.db_proxy_endpoint_name,
            config.target_role,
            self.fleet,
            classifier,
            catalog,
            self.ledger,
            self._enhanced.add(EventLog(config.db_proxy_endpoint_name)),
            turn=self._turn,
            observer=self._observer,
            cancel_keys=self._cancel_keys,
            random_id=self.random_id,
            session_mode=self.config.pool_mode == "session",
        )
        self.endpoints[endpoint.name] = endpoint
        self.fleet.endpoints.append(endpoint)
        return endpoint

    def _make_servers(self, target: Target, kind: type[S]) -> S:
        return kind(
            target,
            self.credentials,
            self._server_settings(),
            self.log,
            turn=self._turn,
            counters=self.counters,
            random_id=self.random_id,
            tls_context=self._target_tls,
            on_trouble=self._on_trouble,
        )

    def _on_trouble(self, target: Target) -> None:
        """A connection of the data path broke: have a look at the target at once."""
        if self.monitor is not None:
            self.monitor.suspect(target)

    async def _watch_targets(self) -> None:
        """Probe the targets from now on; who writes is known when this returns, if anybody does."""
        config = self.config
        if not self._monitors():
            self.fleet.go_unwatched()
            return
        wanted = config.monitoring
        credentials, user = self.credentials, ""
        if wanted.secret:
            entry = AuthConfig(secret_arn=wanted.secret)
            credentials = self._monitoring = Credentials((entry,), self._store)
            user = wanted.user
            await self._look_for_changes()
        self.fleet.wait_for_roles()
        self.monitor = Monitor(
            self.targets,
            lambda target: PostgresProbe(target, credentials, user, self._target_tls(target)),
            config.failover,
            steer=self._steer,
            tell=self._tell,
            failed=lambda: self.log.failure(None),
            clock=asyncio.get_running_loop().time,
            memory=open_memory(config, self._tell, time.monotonic),
        )
        if config.failover.patroni:
            patroni = Patroni(
                config.failover.patroni,
                self.targets,
                tell_leader=self.monitor.set_leader,
                interval=self.monitor.interval,
                timeout=config.failover.probe_timeout,
                tell=self._tell,
                failed=lambda: self.log.failure(None),
            )
            await patroni.ask()
            self._spawn(patroni.run())
        await self.monitor.start()

    def _monitors(self) -> bool:
        return bool(self.config.monitoring.secret) or len(self.targets) > 1

    def _tell(self, level: str, event: str, message: str) -> None:
        """Something that operators want to know, in the log and among the events."""
        self.log.note(level, message)
        self.view.happened(event, "failover", message)

    def _happened(self, event: RdsEvent) -> None:
        words = event.words.format(name=self.config.proxy.db_proxy_name)
        self.view.happened(event.id, event.category, words)

    def _server_settings(self) -> ServerSettings:
        pool = self.config.target_group.connection_pool_config
        return ServerSettings(
            pool.max_connections_percent,
            pool.idle_percent,
            pool.connection_borrow_timeout,
            pool.init_query,
            role=self._role(),
            leak_guard="leak_guard" in self.config.extensions,
        )

    def _role(self) -> Role | None:
        """Who signs for users without a secret (AU-50)."""
        config = self.config
        if config.proxy.default_auth_scheme != "IAM_AUTH":
            return None
        return Role(config.iam.role_credentials, config.proxy.region)

    def _target_tls(self, target: Target) -> ssl.SSLContext | None:
        """How a target's connections are encrypted."""
        return self._encryption.targets[target.id]

    def _open_clients(self) -> int:
        return sum(endpoint.counters.open for endpoint in self.endpoints.values())

    def random_id(self) -> int:
        """An id for a connection: unsigned 32 bits, as in RDS Proxy's log (LG-02)."""
        return self._random.getrandbits(32)

    def _login_to(self, endpoint: Endpoint) -> Login:
        return lambda sock: login(sock, self._gate, endpoint)

    def _ready_line(self, http: HttpServer) -> str:
        addresses = ", ".join(
            f"{name} on {join(listener.host or '*', listener.port)}"
            for name, listener in self.listeners.items()
        )
        return (
            f"PyProxy is ready: {addresses}; targets "
            + ", ".join(join(t.config.host, t.config.port) for t in self.targets)
            + f"; http on {join(http.host, http.port)}"
        )

    # -- reloading -----------------------------------------------------------------------------

    def reload(self, read: Callable[[], Config]) -> None:
        """Take over what `read` returns; a bad configuration is told, and changes nothing."""
        try:
            config = read()
        except (ConfigError, OSError) as error:
            # One problem a line; a line of the log is one line.
            why = "; ".join(str(error).splitlines())
            self.log.note("WARN", f"The configuration was not reloaded: {why}")
            return
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Take over what of a new configuration can be changed while running."""
        changes = self.config.changes_to(config)
        config = self.config = self.config.reloaded(config)
        self._gate.config = config.proxy
        self._gate.extensions = frozenset(config.extensions)
        authenticator = self._gate.authenticator
        authenticator.config = config.proxy
        if "iam" in changes.sections:
            authenticator.keys = self._directory = open_directory(config.iam)
        self.credentials.configure(config.proxy.auth)
        for trouble in self._encryption.reload():
            self._say("WARN", trouble)
        self._spawn(self._look_for_changes())
        for servers in self.fleet.everywhere():
            servers.apply(self._server_settings())
        self._enhanced.switch(config.proxy.debug_logging, time.monotonic())
        self._say("INFO", f"The configuration was reloaded: {changes.summary()}")
        if changes.taken_over:
            self._modified()

    # -- now and then --------------------------------------------------------------------------

    def end_enhanced_logging(self) -> None:
        """Turn it off when its day is over (LG-04)."""
        if self._enhanced.expired(time.monotonic()):
            # S-07: to turn it on again it has to be asked for again; a reload then does.
            proxy = dataclasses.replace(self.config.proxy, debug_logging=False)
            self.config = dataclasses.replace(self.config, proxy=proxy)
            self._say("INFO", "Enhanced logging has turned itself off after 24 hours.")

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.config.secrets.refresh_interval)
            try:
                await self._look_for_changes()
            except Exception:
                self.log.failure(None)

    async def _look_for_changes(self) -> None:
        """New passwords and new access keys; a source that is away changes nothing (AU-11)."""
        for change in await self.credentials.refresh():
            self._say(change.level, change.message)
            if change.as_on_aws:
                self.log.credentials_unavailable(change.as_on_aws)
        by_role = self.config.proxy.default_auth_scheme == "IAM_AUTH"
        for target in self.targets:
            target.nobody = "" if by_role else self.credentials.why_nobody()
        if self._monitoring is not None:
            for change in await self._monitoring.refresh():
                self.log.note(change.level, change.message)
        for told in await self._directory.refresh():
            self._say("WARN", told)

    # -- stopping ------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Accept no more, let transactions finish within `drain_timeout`, part with the rest."""
        self.listening = False
        grace = self.config.proxy.drain_timeout
        self._say("INFO", f"Draining: transactions in flight have {grace:g} s to finish.")
        for listener in self.listeners.values():
            await listener.stop()
        deadline = asyncio.get_running_loop().time() + grace
        while True:
            busy = self._last_requests()
            for session in self._sessions():
                if session.quiet:
                    session.end(errors.shutting_down(), "the proxy is shutting down")
                else:
                    busy += 1
            if not busy or asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(DRAIN_INTERVAL)

    def _last_requests(self) -> int:
        """How many servers run requests of clients who have said goodbye behind them."""
        everywhere = self.fleet.everywhere()
        lent = (server.session for servers in everywhere for server in servers.all)
        return sum(session is not None and session.ended for session in lent)

    async def stop(self) -> None:
        """Stop at once: every client is told, every server connection closed."""
        self.listening = False
        for task in list(self._tasks):
            task.cancel()
        for listener in self.listeners.values():
            await listener.stop()
            await listener.abandon_logins()
        for session in self._sessions():
            session.end(errors.shutting_down(), "the proxy is shutting down")
        if self.monitor is not None:
            await self.monitor.stop()
        await asyncio.gather(*(servers.stop() for servers in self._servers))
        if self._http is not None:
            await self._http.stop()
        self.credentials.close()
        if self._monitoring is not None:
            self._monitoring.close()
        self._say("INFO", "PyProxy has stopped.")

    @property
    def http_port(self) -> int:
        """Where the page is, once it has started."""
        assert self._http is not None
        return self._http.port

    def now(self) -> float:
        """The clock of pools, servers and sessions."""
        return asyncio.get_running_loop().time()

    def _sessions(self) -> list[Session]:
        return [s for endpoint in self.endpoints.values() for s in endpoint.sessions]

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _names_of(config: EndpointConfig, port: int) -> Callable[[str], frozenset[str]]:
    """What clients may call an endpoint, by the address that they have connected to."""
    machine = socket.gethostname()
    return lambda address: endpoint_names(config.host, port, config.public_host, (machine, address))
