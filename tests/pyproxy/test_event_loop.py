"""How malloc is told to treat the buffers of TLS connections."""

import ctypes
import sys
from pathlib import Path

import pytest

from pyproxy.event_loop import map_large_buffers

BUFFER = 256 * 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_buffers_are_mapped_though_some_were_freed() -> None:
    """Without it the first one freed moves all that follow to the heap."""
    map_large_buffers()
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(libc.malloc(BUFFER))
    address = libc.malloc(BUFFER)
    try:
        assert not in_heap(address)
    finally:
        libc.free(address)


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    map_large_buffers()


def in_heap(address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= address < end:
            return line.endswith("[heap]")
    raise AssertionError("it is nowhere")
