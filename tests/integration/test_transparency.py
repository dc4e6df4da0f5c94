"""Every client sees what it would see on a connection of its own.

Seeded random scripts of many clients over few servers, compared message by message with dedicated
connections. PYPROXY_SCRIPTS=20000 plays more, PYPROXY_SEED=n begins elsewhere; a difference comes
with the smallest script that still shows it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import start_proxy
from tests.support.scripts import make_script
from tests.support.transparency import Route, Theater, connect_to, create_schema

SCRIPTS = int(os.environ.get("PYPROXY_SCRIPTS", "2000"))
FIRST = int(os.environ.get("PYPROXY_SEED", "0"))
CHUNKS = 16


@pytest.fixture(scope="module")
def theater(postgres: Postgres) -> Iterator[Theater]:
    """Two databases with one schema: one for direct connections, one behind a proxy."""
    for name in ("direct", "proxied"):
        postgres.make_database(name)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        proxy = stack.enter_context(start_proxy(Path(folder), postgres))
        admins = []
        for name in ("direct", "proxied"):
            admin = stack.enter_context(postgres.admin(name))
            create_schema(admin)
            admin.query("GRANT ALL ON ALL TABLES IN SCHEMA public, other TO app")
            admins.append(admin)
        direct = Route(
            connect_to((postgres.host, postgres.port), "app", PASSWORD, "direct"), keep=True
        )
        proxied = Route(
            connect_to((proxy.host, proxy.port), "app", PASSWORD, "proxied"), keep=False
        )
        stack.callback(direct.close)
        yield Theater(direct, proxied, (admins[0], admins[1]))


# A busy machine plays two scripts a second.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_scripts_hear_the_same_through_the_proxy(theater: Theater, chunk: int) -> None:
    """The main promise (DESIGN: invisible)."""
    for seed in range(FIRST + chunk, FIRST + SCRIPTS, CHUNKS):
        script = make_script(seed)
        difference = theater.differs(script)
        if difference:
            smallest, again = theater.shrink(script)
            pytest.fail(f"seed {seed}: {difference}\n\nsmallest:\n{smallest}\n{again}")
