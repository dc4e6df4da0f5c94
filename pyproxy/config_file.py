"""The configuration, read from its file.

config = load(Path("pyproxy.yaml"), os.environ)     # Config, or ConfigError with all problems
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from pyproxy.arguments import file
from pyproxy.binder import Place, Problem, bind
from pyproxy.config import CompatibilityConfig, Config, ConfigError, EndpointConfig, TlsConfig
from pyproxy.config_checks import check, check_reload


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option of a command that is about one configuration."""
    parser.add_argument("--config", type=file, required=True, metavar="FILE", help="YAML file")


def add_switches_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option of a command that judges statements."""
    parser.add_argument("--config", type=file, metavar="FILE", help="for its `compatibility:`")


def switches(options: argparse.Namespace) -> CompatibilityConfig:
    """The `compatibility:` to judge by. Raises ConfigError and OSError."""
    if options.config is None:
        return CompatibilityConfig()
    return load(options.config, os.environ).compatibility


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read a file; paths in it are relative to its folder. Raises ConfigError and OSError."""
    return _resolved(_bound(_text(path), str(path), environment)[0], path.parent)


def load_again(path: Path, running: Config, environment: Mapping[str, str] = os.environ) -> Config:
    """Read a file for a running proxy, which keeps what needs a restart. Raises as `load` does."""
    config, places = _bound(_text(path), str(path), environment)
    config = _resolved(config, path.parent)
    problems = list(check_reload(running, config, places))
    if problems:
        raise ConfigError(str(path), problems)
    return config


def parse(text: str, *, name: str, environment: Mapping[str, str], folder: Path = Path()) -> Config:
    """Read a text; `name` stands for the file in errors. Raises ConfigError."""
    return _resolved(_bound(text, name, environment)[0], folder)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        problem = Problem(1, 1, "", f"not UTF-8, from byte {error.start} on")
        raise ConfigError(str(path), [problem]) from None


def _bound(
    text: str, name: str, environment: Mapping[str, str]
) -> tuple[Config, Mapping[str, Place]]:
    bound = bind(text, Config, environment)
    problems = list(bound.problems)
    config: Config | None = bound.value
    if config is not None:
        problems = list(check(config, bound.places))
    if config is None or problems:
        raise ConfigError(name, problems)
    return config, bound.places


def _resolved(config: Config, folder: Path) -> Config:
    """With absolute paths, and the state folder that an empty one stands for."""

    def absolute(path: str) -> str:
        return str((folder / Path(path).expanduser()).absolute()) if path else ""

    def with_tls(endpoint: EndpointConfig) -> EndpointConfig:
        tls = endpoint.tls
        tls = TlsConfig(absolute(tls.certificate), absolute(tls.private_key))
        return dataclasses.replace(endpoint, tls=tls)

    targets = tuple(
        dataclasses.replace(target, root_certificate=absolute(target.root_certificate))
        for target in config.target_group.targets
    )
    return dataclasses.replace(
        config,
        endpoints=tuple(with_tls(endpoint) for endpoint in config.endpoints),
        target_group=dataclasses.replace(config.target_group, targets=targets),
        secrets=dataclasses.replace(config.secrets, file=absolute(config.secrets.file)),
        state_dir=absolute(config.state_dir) or str(default_state_dir(os.environ)),
    )


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """The folder of this user (XDG Base Directory Specification)."""
    base = environment.get("XDG_STATE_HOME") or ""
    return (Path(base) if base else Path.home() / ".local" / "state") / "pyproxy"
