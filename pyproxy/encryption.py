"""TLS of a running proxy: each endpoint's certificate, each target's demands; made and reloaded.

encryption = Encryption(config)      # raises CertificateError
encryption.clients["default"]        # ClientTls; absent where there is none
encryption.targets["db-a"]           # ssl.SSLContext or None
encryption.notes                     # what the operator should know: ("INFO", "Clients verify ...")
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from pyproxy.auth import development_ca
from pyproxy.auth.certificates import CertificateError, ClientTls, database_context
from pyproxy.config import Config, EndpointConfig


class Encryption:
    """Certificates and contexts of one proxy."""

    def __init__(self, config: Config) -> None:
        """Raises CertificateError when what is configured can't be used."""
        self.notes: Final[list[tuple[str, str]]] = []
        self.targets: Final[dict[str, ssl.SSLContext | None]] = {
            target.id: database_context(
                target.tls, Path(target.root_certificate) if target.root_certificate else None
            )
            for target in config.target_group.targets
        }
        self.clients: Final[dict[str, ClientTls]] = {}
        own = [e for e in config.endpoints if not e.tls.certificate]
        for endpoint in config.endpoints:
            if endpoint.tls.certificate:
                self.clients[endpoint.db_proxy_endpoint_name] = ClientTls(
                    Path(endpoint.tls.certificate), Path(endpoint.tls.private_key)
                )
        if own:
            self._develop(config, own)

    def reload(self) -> list[str]:
        """Read the certificates again; open connections keep theirs. Returns what went wrong."""
        troubles = []
        for name, tls in self.clients.items():
            try:
                tls.reload()
            except CertificateError as error:
                troubles.append(f"Endpoint {name} keeps its certificate: {error}")
        return troubles

    def _develop(self, config: Config, endpoints: list[EndpointConfig]) -> None:
        """Certificates by an authority of our own, for endpoints that have none."""
        names = [name for e in endpoints for name in (e.host, e.public_host) if name]
        try:
            files = development_ca.ensure(Path(config.state_dir), names)
            for endpoint in endpoints:
                self.clients[endpoint.db_proxy_endpoint_name] = ClientTls(
                    files.certificate, files.private_key
                )
        except CertificateError as error:
            if config.proxy.require_tls:
                raise
            # Clients in clear are welcome, so a missing certificate is no reason not to start.
            self.notes.append(("WARN", f"Clients get no TLS: {error}"))
            return
        self.notes.append(("INFO", f"Clients verify the proxy with sslrootcert={files.authority}"))
