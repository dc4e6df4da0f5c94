"""What the recipes need beside Python: npm's packages, pgjdbc, ruby-pg, psqlODBC."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("pg@8", "postgres@3", "knex@3", "sequelize@6", "typeorm@0.3", "reflect-metadata@0.2")


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages; skips where Node or the registry isn't there."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no Node.js")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Of all workers: the first one that needs it makes it.
        folder = folder.parent
    folder /= "npm"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            _install(folder)
            (folder / "installed").touch()
    return folder


def _install(folder: Path) -> None:
    (folder / "package.json").write_text("{}")
    try:
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not get its packages within 180 s")
    if done.returncode:
        pytest.skip(f"npm can't install: {done.stderr[-200:]}")
