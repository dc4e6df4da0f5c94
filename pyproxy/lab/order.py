"""What is asked of `pyproxy.lab.proxied`, and what it answers.

Apart from it, so that whoever asks needs to import next to nothing else.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

from pyproxy.addresses import join

# What a configuration that is given may say, beside the pool's settings; the rest is made.
KEPT: Final = ("compatibility", "extensions", "pool_mode", "proxy")


class Order(NamedTuple):
    """What is wanted."""

    folder: str
    """An empty folder for everything, removed at a good end; the log is `pyproxy.log` in it."""

    database: str = ""
    """A URL of a PostgreSQL to stand before; "" makes one."""

    config: str = ""
    """A configuration file to take KEPT and the pool's settings from."""


class Place(NamedTuple):
    """What came of it."""

    host: str
    port: int
    user: str
    password: str
    database: str
    direct_dsn: str
    """Past the proxy."""

    admin_dsn: str
    """The superuser of a PostgreSQL made here, past the proxy; "" for one that was given."""


def url(user: str, password: str, host: str, port: int, database: str) -> str:
    """A PostgreSQL URL."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@{join(host, port)}/{quote(database, safe='')}"
