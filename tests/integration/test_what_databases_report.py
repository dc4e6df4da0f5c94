"""What clients are told of their database at login, however it has changed, and how long it is."""

from __future__ import annotations

import pytest

from tests.support.postgres import Postgres, own_postgres
from tests.support.proxy import Proxy, proxy_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("setting", ["application_name", "search_path"])
def test_long_values_are_whole_or_cut_as_the_database_cuts_them(
    postgres: Postgres, proxy: Proxy, setting: str
) -> None:
    """Lesson 15: PgBouncer left out what is longer than 128 bytes, and said nothing."""
    value = ", ".join(f"schema_{number}" for number in range(700))
    assert len(value) > 8_000
    with postgres.wire(**{setting: value}) as direct, proxy.wire(**{setting: value}) as client:
        assert client.value(f"SHOW {setting}") == direct.value(f"SHOW {setting}")
        assert client.parameters.get(setting) == direct.parameters.get(setting)


def test_a_database_that_has_come_back_as_another_one_is_told_as_it_is() -> None:
    """Lesson 33, C-21: what it has reported before its restart counts no more."""
    with own_postgres() as postgres, proxy_of(2, postgres) as proxy:
        with proxy.wire() as before:
            assert before.parameters["DateStyle"] == "ISO, MDY"
            before.query("SELECT 1")
        with postgres.admin() as admin:
            admin.query("ALTER SYSTEM SET datestyle = 'German'")
        postgres.cluster.stop()
        postgres.cluster.start()
        with proxy.wire() as after:
            assert after.parameters["DateStyle"] == "German, DMY"
            assert after.value("SHOW datestyle") == "German, DMY"
