"""What a demonstration that was killed has left behind, ended and removed by the next one.

SIGKILL leaves no time to stop PostgreSQL. So whoever makes a folder for databases locks a file in
it: the kernel lets go of the lock when the process ends, however it ends, and not before. A folder
whose lock can be had is nobody's any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pyproxy.lab.cluster import ClusterError, signal_all
from pyproxy.lab.segments import remove_segment

LOCK: Final = "in-use"


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder for databases, removed at the end; those that nobody has any more go first."""
    end_leftovers(prefix)
    # It gets its name when it is locked: nobody may take it for left over before.
    nameless = Path(tempfile.mkdtemp(prefix=f".{prefix}"))
    with occupied(nameless):
        folder = nameless.rename(nameless.with_name(nameless.name[1:]))
        # PostgreSQL may run as another user than we do.
        folder.chmod(0o711)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; raises ClusterError where another process does."""
    with (folder / LOCK).open("a") as lock:
        if not _lock(lock.fileno()):
            raise ClusterError(f"{folder} is in use by another demonstration")
        yield


def end_leftovers(prefix: str) -> None:
    """End the databases of killed demonstrations, and remove their folders."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        # What cannot be entered or looked at is another user's.
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            # Without a lock it may be a moment old.
            with (folder / LOCK).open("r+") as lock:
                if _lock(lock.fileno()):
                    end_servers(folder)
                    shutil.rmtree(folder, ignore_errors=True)


def end_servers(folder: Path) -> None:
    """Kill the PostgreSQL servers whose data is in this folder, which nobody else has."""
    for file in folder.glob("*/data/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(file.read_text().split()[0])
            # The number may be another process's by now.
            data = file.parent.resolve()
            if pid > 1 and data in (Path(word).resolve() for word in _command(pid)):
                signal_all(pid, signal.SIGKILL)
                remove_segment(data)
                # For the next one it would run as long as nobody has asked how it ended.
                file.unlink()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command(pid: int) -> list[str]:
    """The words that a process was started with; none if it is not there."""
    with contextlib.suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    if Path("/proc/self").exists():
        return []
    # Where there is no /proc, as on macOS.
    return subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
