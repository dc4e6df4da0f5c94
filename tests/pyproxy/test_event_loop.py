"""How malloc is told to treat the buffers of TLS connections."""

import ctypes
import subprocess
import sys

import pytest

from pyproxy.event_loop import map_large_buffers
from tests.support.imports import ROOT

# In a process of its own: another's heap may have room for a buffer anyway.
PROGRAM = """
import ctypes
from pathlib import Path
from pyproxy.event_loop import map_large_buffers

map_large_buffers()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(256 * 1024))
address = libc.malloc(256 * 1024)
for line in Path("/proc/self/maps").read_text().splitlines():
    begin, end = (int(part, 16) for part in line.split()[0].split("-"))
    if begin <= address < end:
        print("heap" if line.endswith("[heap]") else "mapped")
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_buffers_are_mapped_though_some_were_freed() -> None:
    """Without it the first one freed moves all that follow to the heap."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "mapped\n", done.stderr


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    map_large_buffers()
