"""Every statement class of PostgreSQL's grammar has a verdict, and PostgreSQL says which there are."""

from __future__ import annotations

import subprocess

import pytest

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import Classifier
from pyproxy.pinning.commands import MENTION, RUN
from pyproxy.pinning.rules import RULES
from tests.conformance.pinning import oracle
from tests.conformance.pinning.command_cases import COMMANDS
from tests.support.postgres import Postgres

AWS = Classifier(CompatibilityConfig())
CASES = [(rule, command, text) for rule, of in COMMANDS.items() for command, text in of.items()]


@pytest.mark.integration
def test_every_command_of_postgresql_is_known(postgres: Postgres) -> None:
    r"""Lesson 37. What psql's `\h` lists is made from PostgreSQL's manual: a new release adds to it."""
    psql = postgres.cluster.programs.folder / "psql"
    told = subprocess.run(
        [psql, "-X", postgres.dsn(), "-c", r"\pset pager off", "-c", r"\h"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # helpSQL() in psql's help.c: columns of the longest name and a space, after two spaces.
    width = max(map(len, RUN | MENTION)) + 1
    lines = [line[2:] for line in told.splitlines() if line.startswith("  ")]
    cells = {line[at : at + width].strip() for line in lines for at in range(0, len(line), width)}
    assert cells - {""} == RUN | MENTION


def test_every_command_has_an_example() -> None:
    assert sorted(command for _, command, _ in CASES) == sorted(RUN | MENTION)
    assert not RUN & MENTION


@pytest.mark.parametrize(("rule", "command", "text"), CASES, ids=lambda value: value[:40])
def test_every_command_has_a_verdict(rule: str, command: str, text: str) -> None:
    (judged,) = AWS.statements(text)
    assert judged.rule == rule
    pin = AWS.judge(text.encode()).pin
    assert judged.pins is (pin is not None) is (bool(rule) and RULES[rule].pins)


@pytest.mark.parametrize(("rule", "command", "text"), CASES, ids=lambda value: value[:40])
def test_every_example_is_one_of_postgresql(rule: str, command: str, text: str) -> None:
    """An example that PostgreSQL's grammar refuses would prove nothing."""
    assert len(oracle.statements(text)) == 1
