"""A client that goes on behind its copy data, whose COPY has failed for what is in the data.

PostgreSQL throws away copy messages and nothing else: a Parse or Close behind them, which would
have ended the COPY had the data been right, is answered, and its name means what it says. In the
extended protocol that goes for what follows the next Sync. A Sync itself is answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.messages import (
    Bind,
    Close,
    CopyData,
    CopyFail,
    Describe,
    Execute,
    Flush,
    Parse,
    Query,
    Sendable,
    Sync,
)
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.wire import Wire

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(60)]

COPIES = {
    "simple": (Query("COPY t_bad FROM STDIN"),),
    "extended": (Parse("", "COPY t_bad FROM STDIN"), Bind(), Execute(), Flush()),
}
DATA = (CopyData(b"x\n"), CopyData(b"2\n"))
INTRUDERS = {
    "an unnamed Parse": (Parse("", "SELECT 7"),),
    "an unnamed Parse and more": (Parse("", "SELECT 7"), Bind(), Execute()),
    "a Parse for a later segment": (Parse("new", "SELECT 7"), Sync(), Bind("", "new"), Execute()),
    "a Parse": (Parse("new", "SELECT 7"), Bind("", "new"), Execute()),
    "a Close": (Close("S", "old"),),
    "a Close and a Parse": (Close("S", "old"), Parse("old", "SELECT 8")),
    "a Query": (Query("SELECT 9"),),
    "a Sync": (Sync(),),
    "a Sync and a Query": (Sync(), Query("SELECT 9")),
    "a Sync and a Parse": (Sync(), Parse("new", "SELECT 7"), Sync(), Bind("", "new"), Execute()),
    "DEALLOCATE ALL": (Query("DEALLOCATE ALL"),),
}
# What the names mean afterwards.
AFTERWARDS: tuple[tuple[Sendable, ...], ...] = (
    (Bind(), Execute()),
    (Bind("", "old"), Execute()),
    (Parse("old", "SELECT 11"),),
    (Bind("", "old"), Execute()),
    (Parse("new", "SELECT 12"),),
)


@pytest.fixture(scope="module")
def table(postgres: Postgres) -> Iterator[None]:
    with postgres.admin() as admin:
        admin.query("CREATE TABLE t_bad (n int); GRANT ALL ON t_bad TO app")
        yield
        admin.query("DROP TABLE t_bad")


def hear(wire: Wire, copy: str, intruder: str, cut: int) -> list[str]:
    """All the answers; what is sent behind the first `cut` bytes comes a moment later."""
    wire.ask(Parse("old", "SELECT 10"), Sync())
    messages = (*COPIES[copy], *DATA, *INTRUDERS[intruder], Sync(), Describe("P", "end"), Sync())
    data = b"".join(message.encode() for message in messages)
    wire.send(data[:cut])
    time.sleep(0.003)
    wire.send(data[cut:])
    heard = wire.read_until("E")
    while '"end"' not in str(heard[-1]):
        heard += wire.read_until("E")
    heard += wire.read_ready()
    for asked in AFTERWARDS:
        wire.send(*asked, Sync())
        heard += wire.read_until("ZG")
        if heard[-1].tag == "G":
            # The unnamed statement is still the COPY.
            wire.send(CopyFail("no"), Sync())
            heard += wire.read_ready()
    return [str(reply) for reply in heard]


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_names_mean_what_they_mean_on_a_connection_of_ones_own(
    postgres: Postgres, proxy: Proxy, table: None, copy: str, intruder: str
) -> None:
    """PS-03, lessons 12, 29; at some splits."""
    del table
    with postgres.wire() as direct:
        expected = hear(direct, copy, intruder, 0)
    for cut in (0, 45, 70, 95):
        with proxy.wire() as client:
            assert hear(client, copy, intruder, cut) == expected, cut
    proxy.await_rest()
