"""A PostgreSQL that was killed leaves nothing to the kernel either."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from pyproxy.lab.segments import remove_segment
from tests.support.postgres import own_postgres

LIBC = ctypes.CDLL(None)
IPC_PRIVATE = IPC_RMID = 0


def is_there(segment: int) -> bool:
    """Was it there? It is not any more."""
    return LIBC.shmctl(segment, IPC_RMID, None) == 0


def pid_file(data: Path, *words: object) -> None:
    (data / "postmaster.pid").write_text("1\ndata\n0\n5432\n\n*\n" + " ".join(map(str, words)))


def test_the_segment_that_the_file_names_is_removed(tmp_path: Path) -> None:
    mine, other = (LIBC.shmget(IPC_PRIVATE, 56, 0o600) for _ in range(2))
    pid_file(tmp_path, 5432, mine)
    remove_segment(tmp_path)
    assert is_there(other)
    assert not is_there(mine)


@pytest.mark.parametrize("words", ["", "5432", "5432 none", "5432 2147483647"])
def test_a_file_that_names_none_removes_nothing(tmp_path: Path, words: str) -> None:
    segment = LIBC.shmget(IPC_PRIVATE, 56, 0o600)
    remove_segment(tmp_path)
    pid_file(tmp_path, words)
    remove_segment(tmp_path)
    assert is_there(segment)


@pytest.mark.integration
def test_a_killed_postgresql_leaves_none_and_starts_again() -> None:
    with own_postgres() as postgres:
        cluster = postgres.cluster
        line = (cluster.data / "postmaster.pid").read_text().splitlines()[6]
        cluster.kill()
        assert not is_there(int(line.split()[1]))
        cluster.start()
        with postgres.wire() as client:
            assert client.value("SELECT 1") == "1"
