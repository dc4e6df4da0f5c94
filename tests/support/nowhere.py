"""The configuration of a proxy whose databases do not exist: nobody has to log in."""

from __future__ import annotations

from pathlib import Path

from pyproxy.config import (
    AuthConfig,
    Config,
    EndpointConfig,
    HttpConfig,
    ProxyConfig,
    SecretsConfig,
    TargetConfig,
    TargetGroupConfig,
)


def configuration(folder: Path, *targets: str, debug_logging: bool = False) -> Config:
    """One with these targets; what it needs on disk is made in `folder`."""
    secrets = folder / "secrets.yaml"
    secrets.write_text("app: {username: app, password: secret}")
    return Config(
        proxy=ProxyConfig(debug_logging=debug_logging, auth=(AuthConfig(secret_arn="app"),)),
        endpoints=(EndpointConfig(port=0),),
        target_group=TargetGroupConfig(targets=tuple(TargetConfig(id=t, port=1) for t in targets)),
        secrets=SecretsConfig(file=str(secrets)),
        http=HttpConfig(port=0),
        state_dir=str(folder / "state"),
    )
