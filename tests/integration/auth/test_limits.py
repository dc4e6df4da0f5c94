"""How many may come in, and how fast: E-PG-13, E-PG-14, E-PG-15; set by a reload."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.support.bench_of_aws import Bench, aws_bench
from tests.support.postgres import PASSWORD, Postgres
from tests.support.wire import LoginFailed, Wire

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bench(postgres: Postgres, moto: str) -> Iterator[Bench]:
    with aws_bench(postgres, moto) as bench:
        yield bench


def limit(bench: Bench, **limits: int) -> None:
    """Reload with these limits, and no others."""
    proxy = bench.proxy
    config = yaml.safe_load(proxy.config_file.read_text())
    for name in ("max_client_connections", "connection_rate_limit", "iam_connection_rate_limit"):
        config["proxy"].pop(name, None)
    config["proxy"] |= limits
    proxy.config_file.write_text(yaml.safe_dump(config))
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("was reloaded: changed: .*" + next(iter(limits)))


def come(bench: Bench, user: str, password: str, count: int) -> set[tuple[str, str]]:
    """Come in, `count` at once, and stay until the last one has; what the refused are told."""

    def one(_: int) -> Wire | tuple[str, str]:
        try:
            return bench.login(user, password)
        except LoginFailed as failed:
            assert failed.fields["S"] == "FATAL"
            return failed.fields["C"], failed.fields["M"]

    with ThreadPoolExecutor(count) as threads:
        outcomes = list(threads.map(one, range(count)))
    for outcome in outcomes:
        if isinstance(outcome, Wire):
            outcome.close()
    return {outcome for outcome in outcomes if not isinstance(outcome, Wire)}


def test_the_number_of_clients(bench: Bench) -> None:
    limit(bench, max_client_connections=3)
    assert come(bench, "app", PASSWORD, 5) == {
        ("53300", "The maximum number of client connections to the proxy exceeded 3.")
    }


def test_the_rate_of_clients(bench: Bench) -> None:
    limit(bench, connection_rate_limit=1)
    assert come(bench, "app", PASSWORD, 12) == {
        ("53300", "Rate of connection to proxy exceeded 1.")
    }


def test_the_rate_of_tokens(bench: Bench) -> None:
    """Those with a password are not counted."""
    limit(bench, iam_connection_rate_limit=1)
    assert come(bench, "app", PASSWORD, 10) == set()
    assert come(bench, "iam_user", bench.token(), 12) == {
        ("53300", "The IAM authentication failed because of too many competing requests.")
    }
    bench.proxy.wait_for_log("More than 1 clients a second log in by IAM")
