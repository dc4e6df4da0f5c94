"""What a killed demonstration has left is ended by the next one; what somebody has is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproxy.lab.cluster import ClusterError
from pyproxy.lab.leftovers import LOCK, end_leftovers, end_servers, occupied, temporary_folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def data_of(folder: Path) -> Path:
    data = folder / "a" / "data"
    data.mkdir(parents=True)
    return data


def server(data: Path, *words: str) -> subprocess.Popen[bytes]:
    """Something that runs, and that PostgreSQL's file says it is the server of `data`."""
    waiting = "import sys; print('here', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", waiting, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    # Its words are not to be seen before it runs.
    assert process.stdout is not None
    process.stdout.readline()
    (data / "postmaster.pid").write_text(f"{process.pid}\n{data}\n")
    return process


@pytest.fixture
def left(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a folder whose maker is gone."""
    folder = place / "pyproxy-demo-1"
    data = data_of(folder)
    (folder / LOCK).touch()
    with server(data, "-D", str(data)) as process:
        yield process
        process.kill()


def test_what_nobody_has_any_more_is_ended_and_removed(
    left: subprocess.Popen[bytes], place: Path
) -> None:
    with temporary_folder("pyproxy-demo-") as folder:
        assert left.wait(10) < 0
        assert list(place.iterdir()) == [folder]
    assert not list(place.iterdir())


def test_what_somebody_has_stays(left: subprocess.Popen[bytes], place: Path) -> None:
    with occupied(place / "pyproxy-demo-1"):
        end_leftovers("pyproxy-demo-")
    assert left.poll() is None
    assert (place / "pyproxy-demo-1" / "a" / "data").exists()


def test_a_process_that_has_the_number_by_chance_is_not_ended(place: Path) -> None:
    folder = place / "pyproxy-demo-1"
    data = data_of(folder)
    (folder / LOCK).touch()
    with server(data, "-D", str(place)) as stranger:
        end_leftovers("pyproxy-demo-")
        assert stranger.poll() is None
        stranger.kill()
    assert not folder.exists()


def test_the_next_server_does_not_take_it_for_running(
    left: subprocess.Popen[bytes], place: Path
) -> None:
    """A dead process whose parent has not asked for it yet still has its number."""
    end_servers(place / "pyproxy-demo-1")
    assert not list(place.rglob("postmaster.pid"))
    assert left.wait(10) < 0


@pytest.mark.parametrize("number", ["", "no number", "0", "1", "-1", "99999999"])
def test_a_number_that_is_none_ends_nothing(number: str, place: Path) -> None:
    (data_of(place) / "postmaster.pid").write_text(number)
    end_servers(place)


@pytest.mark.parametrize("other", ["without a lock", "link", "file", "another name"])
def test_what_is_no_folder_of_ours_stays(other: str, place: Path) -> None:
    kept = place / "kept"
    kept.mkdir()
    (kept / LOCK).touch()
    if other == "without a lock":
        (place / "pyproxy-demo-1").mkdir()
    elif other == "link":
        (place / "pyproxy-demo-1").symlink_to(kept)
    elif other == "file":
        (place / "pyproxy-demo-1").touch()
    before = sorted(place.rglob("*"))
    end_leftovers("pyproxy-demo-")
    assert sorted(place.rglob("*")) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_stays(left: subprocess.Popen[bytes], place: Path) -> None:
    os.chown(place / "pyproxy-demo-1", 65534, 65534)
    end_leftovers("pyproxy-demo-")
    assert left.poll() is None


def test_two_cannot_have_one_folder(place: Path) -> None:
    words = "in use by another demonstration"
    with occupied(place), pytest.raises(ClusterError, match=words), occupied(place):
        pass
    with occupied(place):
        pass
