"""Clients that begin to log in and don't go on: they cost little, and keep nobody out."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.messages import SSL_REQUEST, startup
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire

pytestmark = pytest.mark.adversity

CROWD = 1500
MEGABYTE = 1 << 20

# How far each of them goes.
BEGINNINGS = (
    b"",
    b"\0",
    SSL_REQUEST[:7],
    SSL_REQUEST,
    startup({"user": "app", "database": "app"})[:-1],
    startup({"user": "app", "database": "app"}),
    startup({"user": "nobody", "database": "app"}),
    b"\0\0\x27\x10\0\3\0\0" + b"u" * 9000,
)


@contextlib.contextmanager
def soft_limit(files: int) -> Iterator[None]:
    """What children of this process start with."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def proxy_with_few_files(postgres: Postgres) -> Iterator[Proxy]:
    """Started as most services are: with a soft limit that a crowd would exhaust."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CROWD:
        pytest.skip(f"this machine allows {hard} open files only")
    with contextlib.ExitStack() as stack:
        with soft_limit(1024):
            folder = stack.enter_context(temporary_folder())
            proxy = stack.enter_context(start_proxy(folder, postgres))
        yield proxy


def test_a_crowd_of_half_open_logins_keeps_nobody_out(proxy_with_few_files: Proxy) -> None:
    """Invariant 10: others log in and work beside it, in bounded memory."""
    proxy = proxy_with_few_files
    with proxy.wire() as witness:
        before = proxy.memory()
        with contextlib.ExitStack() as crowd:
            for number in range(CROWD):
                sock = crowd.enter_context(socket.create_connection((proxy.host, proxy.port)))
                sock.sendall(BEGINNINGS[number % len(BEGINNINGS)])
            assert witness.value("SELECT 'well'") == "well"
            with proxy.wire() as late:
                assert late.value("SELECT 'late'") == "late"
            # Some 40 kB each, most of it the reading buffer of those who were told to go on.
            assert proxy.memory() - before < 96 * MEGABYTE
        deadline = time.monotonic() + 20
        while proxy.metric("pyproxy_client_connections_in_setup"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        proxy.await_metric("pyproxy_client_connections", 1)
        assert witness.value("SELECT 'still'") == "still"


def test_a_login_byte_by_byte_is_a_login(proxy: Proxy) -> None:
    """Lesson 28: slow is not wrong."""
    with Wire(proxy.host, proxy.port) as client:
        data = startup({"user": "app", "database": "app"})
        client.send_in_pieces(data, list(range(1, len(data))))
        assert client.read().tag == "R"
    with Wire(proxy.host, proxy.port) as client:
        client.login("app", PASSWORD, "app")
        assert client.value("SELECT 1") == "1"
