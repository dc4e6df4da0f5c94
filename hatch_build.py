#!/usr/bin/env python3
"""The compiled build: the hot modules through mypyc, from the same .py files.

    PYPROXY_COMPILE=1 pip wheel .    a wheel for this interpreter and machine instead of any
    python3 run.py compile           the same beside the sources of this checkout

What is compiled behaves as what is interpreted does; the tests run on both. Hatchling finds
`CompiledBuild` by the name of this file, pip its requirements through `dependencies`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
PACKAGES = ("protocol", "pyproxy")
# What a query passes through. What waits for a network gains nothing from being compiled.
MODULES = (
    "protocol/postgres/conversation.py",
    "protocol/postgres/framing.py",
    "pyproxy/metrics/counters.py",
    "pyproxy/pinning/shapes.py",
    "pyproxy/pooling/leased.py",
    "pyproxy/pooling/pool.py",
    "pyproxy/pooling/pools.py",
    "pyproxy/postgres/client_side.py",
    "pyproxy/postgres/endpoint.py",
    "pyproxy/postgres/headers.py",
    "pyproxy/postgres/names.py",
    "pyproxy/postgres/prepared.py",
    "pyproxy/postgres/refused_writes.py",
    "pyproxy/postgres/relay.py",
    "pyproxy/postgres/requests.py",
    "pyproxy/postgres/series.py",
    "pyproxy/postgres/server.py",
    "pyproxy/postgres/session.py",
    "pyproxy/postgres/short_walk.py",
    "pyproxy/postgres/statements.py",
    "pyproxy/postgres/void_answers.py",
    "pyproxy/postgres/watched.py",
    "pyproxy/turn.py",
)
# The others are read for their types only; a package that ships none is Any.
MYPY = ("--python-version=3.11", "--follow-imports=silent", "--ignore-missing-imports")


def wanted() -> bool:
    """Is it the compiled build that is asked for?"""
    return os.environ.get("PYPROXY_COMPILE", "") not in ("", "0")


def compile_modules(folder: Path) -> list[Path]:
    """Compile MODULES into `folder`, laid out as the packages are; returns the files made."""
    # Only the compiled build needs the two.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415

    # In a copy: setuptools would take the project's pyproject.toml for its own.
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        for package in PACKAGES:
            shutil.copytree(ROOT / package, package, ignore=shutil.ignore_patterns("*.so"))
        extensions = mypycify(
            [*MYPY, *MODULES], opt_level="3", debug_level="0", group_name="pyproxy"
        )
        command: Any = Distribution(
            {"name": "pyproxy", "packages": [], "ext_modules": extensions}
        ).get_command_obj("build_ext")
        command.build_lib = str(folder)
        command.ensure_finalized()
        command.run()
    return sorted(path.relative_to(folder) for path in folder.rglob("*.so"))


def compile_in_place() -> None:
    """Put the compiled modules beside their sources, where they are imported first."""
    with tempfile.TemporaryDirectory() as folder:
        for made in compile_modules(Path(folder)):
            shutil.copy(Path(folder, made), ROOT / made)


class CompiledBuild(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to a wheel when PYPROXY_COMPILE is set."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What pip installs for building, when it isolates the build."""
        return ["mypy>=1.19", "setuptools>=75"] if wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is packed."""
        if not wanted():
            return
        self._folder = Path(tempfile.mkdtemp())
        made = compile_modules(self._folder)
        build_data["force_include"].update({str(self._folder / path): str(path) for path in made})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clean up."""
        if wanted():
            shutil.rmtree(self._folder)


if __name__ == "__main__":
    compile_in_place()
