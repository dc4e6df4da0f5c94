"""Processes of our own run our code and the standard library's, whatever the current folder has."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyproxy
from pyproxy import child, logs
from pyproxy.config import Config, TargetGroupConfig
from pyproxy.pytest_plugin.sidecar import Sidecar, SidecarError
from pyproxy.workers.crew import Member
from pyproxy.workers.messages import Welcome


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with files that are called as modules of the standard library are."""
    for name in ("secrets", "json", "asyncio"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not what was meant')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
async def test_a_worker_runs_nothing_of_the_current_folder() -> None:
    said = io.StringIO()
    logs.configure(said)
    try:
        config = Config(target_group=TargetGroupConfig(targets=()))
        member = await Member.hire(1)
        member.send(Welcome(1, config, log_as_json=False, monitored=False))
        async with asyncio.timeout(30):
            assert await member.channel.receive() is None
            await member.bury()
    finally:
        logs.configure(None)
    # It has come as far as the proxy that it should be.
    assert "An error of the proxy itself" in said.getvalue()


@pytest.mark.usefixtures("folder")
def test_the_proxy_of_a_test_run_runs_nothing_of_the_current_folder() -> None:
    with pytest.raises(SidecarError, match="the database has to be given as postgresql://"):
        Sidecar.start("no URL", "")


def test_it_runs_the_code_of_its_parent(folder: Path) -> None:
    """A checkout that is not installed, or that is not the one which is."""
    (folder / "elsewhere").mkdir()
    for name in ("pyproxy", "protocol"):
        (folder / "elsewhere" / name).symlink_to(Path(pyproxy.__file__).parents[1] / name)
    asked = (
        "from pyproxy import child; import subprocess;"
        " subprocess.run(child.command('pyproxy.workers'), env=child.environment())"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=folder / "elsewhere",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    # A worker without a number.
    assert f'{folder / "elsewhere"}/pyproxy/workers/__main__.py", line' in done.stderr
    assert "IndexError" in done.stderr


def test_what_is_installed_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ahead of the standard library, packages that are called like its modules would win."""
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    monkeypatch.setattr(child, "_installed", lambda: False)
    root = str(Path(pyproxy.__file__).parents[1])
    assert child.environment()["PYTHONPATH"] == f"{root}{os.pathsep}/theirs"
    monkeypatch.setattr(child, "_installed", lambda: True)
    assert child.environment()["PYTHONPATH"] == "/theirs"
