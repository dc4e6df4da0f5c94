"""The application's database is the proxied one; its schema is made past the proxy."""

from collections.abc import Iterator

import psycopg
import pytest
from shop import orders
from sqlalchemy import Engine, create_engine


@pytest.fixture(scope="session")
def engine(pyproxy_dsn: str, pyproxy_direct_dsn: str) -> Iterator[Engine]:
    with psycopg.connect(pyproxy_direct_dsn) as connection:
        connection.execute(orders.SCHEMA)
    engine = create_engine(pyproxy_dsn.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()
