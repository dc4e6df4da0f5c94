"""What a proxy for tests is made from: a URL, and somebody's configuration."""

from pathlib import Path

import pytest

from pyproxy.config import ConfigError
from pyproxy.lab.order import Order, url
from pyproxy.lab.proxied import configuration, upstream


def test_a_url_is_taken_apart_and_put_together() -> None:
    text = url("a@b", "p:/?#", "::1", 5433, "d b")
    assert text == "postgresql://a%40b:p%3A%2F%3F%23@[::1]:5433/d%20b"
    database = upstream(f"{text}?sslmode=require")
    assert database[:5] == ("::1", 5433, "a@b", "p:/?#", "d b")
    assert database.tls == "require"
    assert database.dsn() == text


def test_what_a_url_leaves_out_is_as_with_libpq() -> None:
    database = upstream("postgres://me@db")
    assert (database.port, database.database, database.tls) == (5432, "me", "prefer")
    # A database that asks for no password: the proxy's clients still need one.
    assert database.password


@pytest.mark.parametrize("text", ["", "host=a user=b", "mysql://a:b@c/d", "postgresql://db/x"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user:password@host"):
        upstream(text)


def test_a_configuration_gives_the_pool_and_the_rules_but_no_place(tmp_path: Path) -> None:
    file = tmp_path / "pyproxy.yaml"
    file.write_text(
        """\
proxy: {require_tls: true, auth: [{secret_arn: production}]}
endpoints: [{port: 6432}]
target_group:
  connection_pool_config: {init_query: "SET work_mem = '8MB'"}
  targets: [{id: production, host: db.example.com}]
compatibility: {set_local: no_pin}
"""
    )
    database = upstream("postgresql://a:b@127.0.0.1:1/c")
    config = configuration(Order(str(tmp_path), "", str(file)), database)
    assert config.proxy.require_tls
    assert config.compatibility.set_local == "no_pin"
    pool = config.target_group.connection_pool_config
    assert (pool.init_query, pool.connection_borrow_timeout) == ("SET work_mem = '8MB'", 20)
    assert [target.host for target in config.target_group.targets] == ["127.0.0.1"]
    assert [endpoint.port for endpoint in config.endpoints] == [0]
    assert [entry.secret_arn for entry in config.proxy.auth] == ["tests"]


def test_a_wrong_configuration_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "pyproxy.yaml"
    file.write_text("target_group: {}\n\ncompatibility:\n  set_local: perhaps\n")
    with pytest.raises(ConfigError, match=r"pyproxy.yaml:4:14: compatibility.set_local: "):
        configuration(Order(str(tmp_path), "", str(file)), upstream("postgresql://a:b@h/c"))
