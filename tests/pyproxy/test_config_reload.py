"""A reload of the configuration: what changes at once, what waits for a restart, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pyproxy.config import Config, ConfigError, EndpointConfig, TargetConfig
from pyproxy.config_file import load, load_again, parse

SMALLEST = "{proxy: {auth: [{secret_arn: app}]}, target_group: {targets: [{id: a}]}"


def read(text: str) -> Config:
    return parse(text, name="p.yaml", environment={})


def test_changes_are_told_apart() -> None:
    old = read(SMALLEST + "}")
    proxy = dataclasses.replace(old.proxy, debug_logging=True)
    new = dataclasses.replace(old, proxy=proxy, pool_mode="session")
    changes = old.changes_to(new)
    assert changes.need_restart == ("pool_mode",)
    assert changes.summary() == "changed: proxy.debug_logging; needs a restart: pool_mode"
    assert old.changes_to(old).summary() == "nothing has changed"


def test_what_needs_a_restart_is_as_it_was_after_a_reload() -> None:
    """Else a later reload would say that nothing has changed, and a new worker listen elsewhere."""
    old = read(SMALLEST + "}")
    later: dict[str, Any] = {
        "endpoints": (EndpointConfig("other", port=7000),),
        "secrets": dataclasses.replace(old.secrets, file="/else.yaml"),
        "http": dataclasses.replace(old.http, port=1),
        "state_dir": "/else",
        "pool_mode": "session",
        "compatibility": dataclasses.replace(old.compatibility, notify="pin"),
        "workers": 3,
        "failover": dataclasses.replace(old.failover, promote=False),
        "monitoring": dataclasses.replace(old.monitoring, user="else"),
    }
    pool = dataclasses.replace(old.target_group.connection_pool_config, init_query="SELECT 1")
    group = dataclasses.replace(old.target_group, connection_pool_config=pool)
    at_once: dict[str, Any] = {"extensions": ("leak_guard",), "target_group": group}
    new = dataclasses.replace(old, **later, **at_once)
    elsewhere = dataclasses.replace(group, targets=(TargetConfig("x", port=9),))
    new = dataclasses.replace(new, target_group=elsewhere)
    running = old.reloaded(new)
    assert running == dataclasses.replace(old, **at_once)
    changes = running.changes_to(new)
    assert changes.paths == changes.need_restart
    assert {path.partition(".")[0] for path in changes.paths} == {*later, "target_group"}
    assert (
        old.changes_to(new)
        .summary()
        .startswith(
            "changed: target_group.connection_pool_config.init_query, extensions; needs a restart: "
        )
    )


RELOADS = [
    (
        ", workers: 2}",
        (
            "proxy:\n  auth: [{secret_arn: app}]\n  max_client_connections: 1\n"
            "target_group: {targets: [{id: a, tls: disable}]}\n"
        ),
        (
            "p.yaml:3:27: proxy.max_client_connections: it needs workers: 1, for it is counted in "
            "one process; until a restart the proxy keeps its workers"
        ),
    ),
    (
        "}",
        (
            "proxy: {default_auth_scheme: IAM_AUTH}\niam: {endpoint_url: 'http://moto'}\n"
            "target_group:\n  targets: [{id: a, tls: require}]"
        ),
        (
            "p.yaml:4:26: target_group.targets[0].tls: with IAM_AUTH the proxy sends tokens to the "
            "database; they need TLS; until a restart the proxy keeps its target_group.targets"
        ),
    ),
]


@pytest.mark.parametrize(("running", "text", "told"), RELOADS, ids=["workers", "targets"])
def test_a_reload_makes_no_combination_that_a_start_refuses(
    running: str, text: str, told: str, tmp_path: Path
) -> None:
    """The file is right by itself, but not with what needs a restart."""
    file = tmp_path / "p.yaml"
    file.write_text(SMALLEST.replace("{id: a}", "{id: a, tls: disable}") + running)
    old = load(file, {})
    file.write_text(text)
    load(file, {})
    with pytest.raises(ConfigError) as caught:
        load_again(file, old, {})
    assert str(caught.value).removeprefix(f"{tmp_path}/") == told


def test_what_a_running_proxy_keeps_is_no_problem_of_the_file(tmp_path: Path) -> None:
    """`failover` is kept as a whole: its keys are not looked at beside those of the file."""
    old = read(SMALLEST + ", failover: {patroni: ['http://a:8008']}}")
    file = tmp_path / "p.yaml"
    file.write_text(SMALLEST + ", failover: {promote: true}}")
    assert load_again(file, old, {}) == load(file, {})
