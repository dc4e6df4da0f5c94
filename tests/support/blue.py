"""A primary that turns read-only and back, and the proxy before it.

    with blue.read_only():
        client.send(Query("INSERT ..."))       # meets it before any probe does
        blue.await_demoted()

The database's own `default_transaction_read_only` is switched. Many tests share one proxy: what
each asks of the log and of the events is about its own time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.pair import MONITOR
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.wire import Wire

# Ten times as often while it is read-only, so this is what a test waits for; see `_between_probes`.
PROBE_INTERVAL = 4.0
_AGE = f"""
SELECT extract(epoch FROM clock_timestamp() - max(query_start)) FROM pg_stat_activity
WHERE usename = '{MONITOR}'
"""


def turn_read_only(postgres: Postgres, admin: Wire) -> None:
    """Returns when every connection to it knows as soon as it is asked anything."""
    admin.query("ALTER SYSTEM SET default_transaction_read_only = on")
    admin.query("SELECT pg_reload_conf()")
    # Who comes after the postmaster has read it has it so; the others were told before.
    wait_until(lambda: _value_of_a_newcomer(postgres) == "on")


def _value_of_a_newcomer(postgres: Postgres) -> str | None:
    with postgres.admin("postgres") as newcomer:
        return newcomer.value("SHOW default_transaction_read_only")


class Blue:
    """The database and the proxy, for one test."""

    def __init__(self, postgres: Postgres, proxy: Proxy, probe_interval: float = 0.0) -> None:
        """`probe_interval` is the proxy's, unless it is longer than a test."""
        self.postgres = postgres
        self.proxy = proxy
        self._probe_interval = probe_interval
        self._log_before = len(proxy.log)

    @property
    def log(self) -> str:
        """What the proxy has said during this test."""
        return self.proxy.log[self._log_before :]

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """In here it takes no writes, and the first to meet that is a client."""
        with self.postgres.admin("postgres") as admin:
            admin.query("SET default_transaction_read_only = off")
            if self._probe_interval:
                self._between_probes(admin)
            turn_read_only(self.postgres, admin)
            try:
                yield
            finally:
                admin.query("ALTER SYSTEM RESET default_transaction_read_only")
                admin.query("SELECT pg_reload_conf()")

    def await_demoted(self) -> None:
        """Wait until the proxy knows."""
        self.proxy.wait_for_log("DEMOTED: db-a takes no writes any more", since=self._log_before)

    def kept(self) -> list[int]:
        """The rows that are there."""
        with self.postgres.admin() as admin:
            return [int(n or 0) for (n,) in admin.query("SELECT n FROM t_blue ORDER BY n")]

    def _between_probes(self, admin: Wire) -> None:
        """Wait until no probe is due for long.

        One that somebody's trouble has called for would have been sent a twentieth of the interval
        after the one before.
        """
        earliest, latest = self._probe_interval / 10, self._probe_interval / 2
        wait_until(lambda: earliest < float(admin.value(_AGE) or latest) < latest)
