"""TLS of a running proxy: each endpoint's certificate, each target's demands; made and reloaded.

encryption = Encryption(config)      # raises CertificateError
encryption.clients["default"]        # ClientTls; absent where there is none
encryption.targets["db-a"]           # ssl.SSLContext or None
encryption.notes                     # what the operator should know: ("INFO", "Clients verify ...")
encryption.look_after(tell, failed)  # once a day: a development certificate ends, too
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyproxy.auth import development_ca
from pyproxy.auth.certificates import CertificateError, ClientTls, database_context
from pyproxy.auth.development_ca import Files
from pyproxy.config import Config, EndpointConfig, TargetConfig

# How often it is looked whether a certificate of ours ends soon: it has a month then. In seconds.
RENEWAL: Final = 24 * 3600.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Encryption:
    """Certificates and contexts of one proxy."""

    def __init__(self, config: Config, clock: Callable[[], datetime] = _utc_now) -> None:
        """Raises CertificateError when what is configured can't be used."""
        self._config: Final = config
        self._clock: Final = clock
        self.notes: Final[list[tuple[str, str]]] = []
        self.targets: Final[dict[str, ssl.SSLContext | None]] = {
            target.id: _demands(target) for target in config.target_group.targets
        }
        # Whoever has asked for a target's once, as the monitor has, keeps these.
        self._first: Final = dict(self.targets)
        self.clients: Final[dict[str, ClientTls]] = {}
        # Endpoints whose certificate is by an authority of our own, for they have none.
        self._developed: Final = [e for e in config.endpoints if not e.tls.certificate]
        for endpoint in config.endpoints:
            if endpoint.tls.certificate:
                self.clients[endpoint.db_proxy_endpoint_name] = ClientTls(
                    Path(endpoint.tls.certificate), Path(endpoint.tls.private_key)
                )
        if self._developed:
            self._begin()

    def reload(self) -> list[str]:
        """Read all files again; open connections keep theirs. Returns what went wrong."""
        troubles = self.renew()
        for endpoint in self._config.endpoints:
            if endpoint not in self._developed:
                troubles += self._read_again(endpoint)
        for target in self._config.target_group.targets:
            if target.root_certificate:
                troubles += self._read_root_again(target)
        return troubles

    def renew(self) -> list[str]:
        """Make the development certificate anew where it ends soon. Returns what went wrong.

        Another process with the same `state_dir` may have done so: what is there is read.
        """
        if not self._developed:
            return []
        try:
            self._show(self._develop())
        except CertificateError as error:
            return [f"The development certificate is not made anew: {error}"]
        return [trouble for e in self._developed for trouble in self._read_again(e)]

    async def look_after(
        self, tell: Callable[[str, str], None], failed: Callable[[], None]
    ) -> None:
        """Renew now and then, for good; `failed` is called while an exception is handled."""
        while True:
            await asyncio.sleep(RENEWAL)
            try:
                # Making one takes a while.
                for trouble in await asyncio.to_thread(self.renew):
                    tell("WARN", trouble)
            except Exception:
                failed()

    def _begin(self) -> None:
        try:
            files = self._develop()
            self._show(files)
        except CertificateError as error:
            if self._config.proxy.require_tls:
                raise
            # Clients in clear are welcome, so a missing certificate is no reason not to start.
            self.notes.append(("WARN", f"Clients get no TLS: {error}"))
            return
        self.notes.append(("INFO", f"Clients verify the proxy with sslrootcert={files.authority}"))

    def _develop(self) -> Files:
        names = [name for e in self._developed for name in (e.host, e.public_host) if name]
        return development_ca.ensure(Path(self._config.state_dir), names, now=self._clock())

    def _show(self, files: Files) -> None:
        """Have the endpoints show it that show none yet."""
        for endpoint in self._developed:
            if endpoint.db_proxy_endpoint_name not in self.clients:
                self.clients[endpoint.db_proxy_endpoint_name] = ClientTls(
                    files.certificate, files.private_key
                )

    def _read_again(self, endpoint: EndpointConfig) -> list[str]:
        name = endpoint.db_proxy_endpoint_name
        try:
            self.clients[name].reload()
        except CertificateError as error:
            return [f"Endpoint {name} keeps its certificate: {error}"]
        return []

    def _read_root_again(self, target: TargetConfig) -> list[str]:
        try:
            context = _demands(target)
        except CertificateError as error:
            return [f"Target {target.id} keeps its root certificate: {error}"]
        self.targets[target.id] = context
        first = self._first[target.id]
        if first is not None and context is not None:
            for authority in context.get_ca_certs(binary_form=True):
                first.load_verify_locations(cadata=authority)
        return []


def _demands(target: TargetConfig) -> ssl.SSLContext | None:
    root = Path(target.root_certificate) if target.root_certificate else None
    return database_context(target.tls, root)
