"""The locked requirements: complete, hashed, and the same everywhere."""

import re
import tomllib

import pytest

from tests.support.imports import ROOT

LOCKS = ("build", "ci", "demo", "dev", "image")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
WANTED = {
    "build": PROJECT["dependency-groups"]["build"],
    "ci": PROJECT["dependency-groups"]["ci"],
    "demo": PROJECT["project"]["dependencies"] + EXTRAS["embedded"],
    "dev": PROJECT["project"]["dependencies"] + [name for some in EXTRAS.values() for name in some],
    "image": PROJECT["project"]["dependencies"] + EXTRAS["aws"],
}


def text_of(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")


def entries(lock: str) -> dict[str, tuple[str, int]]:
    """Package -> its version and how many hashes it has."""
    found = {}
    for entry in re.split(r"(?m)^(?=\S)", text_of(lock)):
        if match := re.match(r"([\w.-]+)==(\S+)", entry):
            found[match[1]] = (match[2], entry.count("--hash=sha256:"))
    return found


def name_of(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return match[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_everything_that_is_asked_for(lock: str) -> None:
    missing = {name_of(wanted) for wanted in WANTED[lock]} - set(entries(lock))
    assert not missing, f"run `make lock`: {missing} are not in requirements/{lock}.lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_locked_to_a_version_and_its_hashes(lock: str) -> None:
    for package, (_, hashes) in entries(lock).items():
        assert hashes, f"{package} in requirements/{lock}.lock has no hash"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_download_from(lock: str) -> None:
    """Where packages come from is the machine's business: a mirror serves as well."""
    assert "://" not in text_of(lock)
    assert not re.search(r"(?m)^\s*--(index|extra-index|find-links|trusted)", text_of(lock))


@pytest.mark.parametrize("lock", ["demo", "image"])
def test_what_runs_is_what_was_tested(lock: str) -> None:
    assert entries(lock).items() <= entries("dev").items()
