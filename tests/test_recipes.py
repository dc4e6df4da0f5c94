"""The pages of recipes are whole, and what is known of drivers is what the pages show."""

import re
from pathlib import Path

import pytest

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning.classifier import Classifier
from pyproxy.pinning.digest import digest
from pyproxy.pinning.drivers import guess
from pyproxy.pinning.habits import HABITS, Habit, recognise
from pyproxy.pinning.rules import RULES
from tests.support.recipes import FOLDER, pages, programs

_DIGEST = re.compile(r'Digest: "(.*)"\.')


def digests(page: str) -> list[str]:
    return [
        found[1]
        for program in programs(FOLDER / f"{page}.md")
        for reason in program.reasons
        if (found := _DIGEST.search(reason))
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_a_page_shows_what_pins_and_what_does_not(page: Path) -> None:
    kinds = {program.expected for program in programs(page)}
    assert "stays" in kinds
    assert kinds <= {"pins", "stays", "refused"}
    for program in programs(page):
        assert bool(program.rules) == (program.expected == "pins")
        assert all(RULES[rule].pins for rule in program.rules)
        # What a reader of the log, or of the error, will look for.
        assert bool(program.reasons) == (program.expected != "stays"), program.id


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_what_a_page_shows_meets_the_rule_that_it_names(page: Path) -> None:
    """The programs are run with a database; a rule's id that has changed is noticed here."""
    classifier = Classifier(CompatibilityConfig())
    for program in programs(page):
        for reason in program.reasons:
            if program.rules and (shown := _DIGEST.search(reason)):
                # A name that changes each time is shown as …
                pin = classifier.judge(shown[1].replace("…", "x").encode()).pin
                assert pin is not None, shown[1]
                assert pin.rule in program.rules, shown[1]


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.digest.pattern)
def test_a_habit_is_shown_on_its_page(habit: Habit) -> None:
    # A name that changes each time is shown as …
    shown = [text for text in digests(habit.page) if habit.digest.match(text.replace("…", "1_1"))]
    assert shown, f"docs/how-to/stop-pinning/{habit.page}.md shows no such digest"


def test_whose_it_is_has_one_answer() -> None:
    """In lower case it is what pgx sends, and no setting of psycopg stops that."""
    assert recognise("deallocate all", "deallocate all") is None
    psycopg = recognise("deallocate all", "DEALLOCATE ALL")
    assert psycopg is not None
    assert psycopg.page == "psycopg"
    rails = "SET client_min_messages TO warning"
    sequelize = f"{rails};SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE"
    for sql, driver in ((rails, "Rails"), (sequelize, "Sequelize")):
        habit = recognise(digest(sql), sql)
        assert habit is not None
        assert habit.driver == driver == guess("", {}, digest(sql), sql)


def test_nobodys_statement_is_nobodys_habit() -> None:
    assert recognise("set search_path to $1") is None


def test_a_digest_that_is_anybodys_is_told_apart_by_its_text() -> None:
    anybodys = "select set_config($1, $2, false)"
    assert recognise(anybodys, "SELECT set_config('app.tenant', '7', false)") is None
    django = recognise(anybodys, "SELECT set_config('TimeZone', 'UTC', false)")
    assert django is not None
    assert django.page == "django"
