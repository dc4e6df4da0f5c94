"""The System V segment of a killed PostgreSQL.

Each holds one of 56 bytes, to see by it whether another uses its data. One that is killed leaves
it to the next start with the same data; where that is removed nobody comes, and after some
thousands the kernel has no more (SHMMNI): no PostgreSQL starts on this machine then. Without its
segment a killed one starts as it does after a power cut.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from typing import Final

# postmaster.pid's seventh line is the segment's key and id (miscadmin.h, LOCK_FILE_LINE_SHMEM_KEY).
_LINE: Final = 6
_IPC_RMID: Final = 0


def remove_segment(data: Path) -> None:
    """Remove what the PostgreSQL of this folder has left; it must be dead.

    One that has stopped by itself has left neither a segment nor the file that names it.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        identity = int(lines[_LINE].split()[1])
        ctypes.CDLL(None).shmctl(identity, _IPC_RMID, None)
