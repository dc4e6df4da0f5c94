"""A database at the other end of a wire that can be made to swallow everything in silence.

    with far_away(FakeServer) as (database, wire): wire.forget()

A network namespace of its own, joined to ours by a pair of virtual Ethernet devices: for what goes
wrong between two kernels, which no relay between two sockets can show. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.fake_server import FakeServer

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET; Source: setns(2)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


def why_not() -> str:
    """Why there can be none here, or "": for a test to be skipped."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and iproute2"
    name = f"pyproxy-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.decode().strip()}"
    try:
        _ip("link", "add", f"pt{os.getpid()}", "netns", name, "type", "veth")
    except subprocess.CalledProcessError as error:
        return f"no virtual Ethernet: {error.stderr.decode().strip()}"
    finally:
        _ip("netns", "delete", name)
    return ""


class FarWire:
    """The way between us and the namespace."""

    def __init__(self, name: str, ours: str) -> None:
        self._name = name
        self._ours = ours

    def forget(self) -> None:
        """From now on nothing comes back: no acknowledgement, no reset, no error."""
        _ip("-n", self._name, "route", "add", "blackhole", f"{self._ours}/32")

    def heal(self) -> None:
        """It gets through again."""
        _ip("-n", self._name, "route", "delete", "blackhole", f"{self._ours}/32")


@contextlib.contextmanager
def far_away(make: Callable[[], FakeServer]) -> Iterator[tuple[FakeServer, FarWire]]:
    """A database that listens there; `make` is called with `FakeServer.host` being the address."""
    number = os.getpid()
    name, device = f"pyproxy-{number}", f"pv{number}"
    # Of the block for benchmarks between networks (RFC 2544): nobody's.
    ours, theirs = (f"198.18.{number % 250}.{end}" for end in (1, 2))
    _ip("netns", "add", name)
    try:
        _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{ours}/30", "dev", device)
        _ip("link", "set", device, "up")
        _ip("-n", name, "address", "add", f"{theirs}/30", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        with _there(name, theirs, make) as database:
            yield database, FarWire(name, ours)
    finally:
        # The devices go with it.
        _ip("netns", "delete", name)


@contextlib.contextmanager
def _there(name: str, address: str, make: Callable[[], FakeServer]) -> Iterator[FakeServer]:
    """Made by a thread that has gone there; its socket stays there."""
    made: list[FakeServer] = []

    def run() -> None:
        with Path(f"/run/netns/{name}").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        made.append(make())

    usual, FakeServer.host = FakeServer.host, address
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(10)
    finally:
        FakeServer.host = usual
    (database,) = made
    database.host = address
    with database:
        yield database
