"""What was seen and what was announced: where they do not agree."""

from __future__ import annotations

import re

import pytest

from pyproxy.config import CompatibilityConfig
from pyproxy.pinning import audit
from pyproxy.pinning.audit import KINDS, LOOK, RELEASE, Finding, Row, Told

CLEAN: Row = (None, None, None, None, None, None, b"none", b"app")


def look(**columns: bytes) -> Row:
    """An answer to LOOK in which some columns are other than after the login."""
    names = ("prepared", "locks", "channels", "cursors", "objects", "settings", "role", "user")
    return tuple(columns.get(name, CLEAN[names.index(name)]) for name in names)


@pytest.mark.parametrize(
    ("now", "findings"),
    [
        (look(), []),
        (look(prepared=b'["s"]'), [("prepared_statement", "the prepared statement s")]),
        (
            look(locks=b'["0/5/1/ExclusiveLock"]'),
            [("advisory_lock", "the advisory lock 0/5/1/ExclusiveLock")],
        ),
        (look(channels=b'["c"]'), [("listen", "a registration for notifications on c")]),
        (look(cursors=b'["c"]'), [("cursor", "the cursor c")]),
        (
            look(objects=b'["table t", "type t"]'),
            [
                ("temporary_object", "the temporary table t"),
                ("temporary_object", "the temporary type t"),
            ],
        ),
        (
            look(settings=b'{"work_mem": "9216", "app.secret": "hush"}'),
            [("setting", "the setting app.secret"), ("setting", "the setting work_mem")],
        ),
        (look(objects=b'["table \xfc"]'), [("temporary_object", "the temporary table \ufffd")]),
        (
            look(objects=b'["table \x83\\x5c"]'),
            [("temporary_object", "temporary objects whose names cannot be read")],
        ),
        (
            look(locks=b"[]"),
            [("advisory_lock", "advisory locks whose names cannot be read")],
        ),
        (look(role=b"other"), [("role", "the role other")]),
        (look(user=b"other"), [("role", "the role other")]),
    ],
    ids=lambda value: None,
)
def test_a_look_finds_what_was_not_there_after_the_login(
    now: Row, findings: list[tuple[str, str]]
) -> None:
    assert list(audit.of_looks(CLEAN, now)) == findings


def test_what_the_init_query_has_set_is_no_finding_and_what_undid_it_is() -> None:
    """NOPIN-PG-05."""
    known = look(settings=b'{"work_mem": "9216"}')
    assert list(audit.of_looks(known, known)) == []
    assert list(audit.of_looks(known, look())) == [("setting", "the setting work_mem")]


def test_a_setting_that_came_back_to_what_it_was_is_no_finding() -> None:
    before = {"TimeZone": "UTC", "DateStyle": "ISO, MDY", "in_hot_standby": "off"}
    now = {"TimeZone": "UTC", "DateStyle": "German, DMY", "in_hot_standby": "on"}
    found = dict(audit.of_parameters(before, now))
    assert found == {"DateStyle": ("setting", "the setting DateStyle")}


def test_tags_that_tell_are_those_of_commands_that_pin() -> None:
    tags = audit.telling_tags(CompatibilityConfig())
    assert {b"SET", b"LISTEN", b"DISCARD ALL", b"DECLARE CURSOR"} <= tags
    assert not tags & {b"SELECT 1", b"SET CONSTRAINTS", b"PREPARE TRANSACTION", b"LOCK TABLE"}
    assert b"SET" not in audit.telling_tags(CompatibilityConfig(set_local="no_pin"))
    assert b"DECLARE CURSOR" not in audit.telling_tags(CompatibilityConfig(declare_cursor="no_pin"))


def test_every_name_in_the_look_says_where_it_is_from() -> None:
    """CVE-2025-12819 of PgBouncer: a client's search_path must not decide what we run."""
    bare = re.sub(r"'[^']*'", "''", LOOK)
    for name in re.findall(r"(?<![.\w])(\w+)\(", bare):
        # Column aliases and constructs of the grammar; none of them is looked up.
        assert name in {"c", "CAST", "OPERATOR"}, name
    for name in re.findall(r"\b(?:FROM|AS) (\w+)", bare):
        assert name in {"pg_catalog", "c"}, name
    assert not re.search(r"[^(.]\s(?:=|<>|\|\||::)\s", bare)
    assert RELEASE.startswith(LOOK)
    assert len(KINDS) == len(CLEAN)


@pytest.mark.parametrize(
    ("texts", "who"),
    [
        ([], ""),
        ([b"SELECT set_tenant('7')"], 'Statement: "select set_tenant($1)".'),
        ([b"BEGIN", b"SELECT f(1)", b"COMMIT"], 'Statement: "select f($1)".'),
        ([b"BEGIN", b"DO $$ $$", b"COMMIT"], 'Statement: "do $1".'),
        (
            [b"SELECT f(1)", b"SELECT g(1)", b"COMMIT"],
            'One of 2 statements, the last of them: "select g($1)".',
        ),
        # Whether a backslash escapes is not known: what follows may be a value (invariant 9).
        ([rb"SELECT f('a\' hunter2 ')"], 'Statement: "select f($1".'),
        ([b"SELECT f('hunter2"], 'Statement: "select f($1".'),
        (["SELECT É()".encode()], 'Statement: "select É()".'),
        ([b"TABLE innocent"], 'Statement: "table innocent".'),
    ],
)
def test_the_statement_is_named_that_can_have_done_it(texts: list[bytes], who: str) -> None:
    assert audit.culprit(texts) == who


def test_the_message_says_what_rds_proxy_does_and_what_happens_here() -> None:
    finding = Finding("setting", "the setting work_mem")
    assert audit.message(finding, "", guarded=False) == (
        "Session state was left that no pinning rule saw (NOPIN-PG-02): the setting work_mem. RDS "
        "Proxy lends this database connection to other clients with it, and so does PyProxy."
    )
    assert audit.message(finding, "It.", guarded=True).endswith("leak_guard resets it first. It.")


def test_the_same_is_told_once_a_minute_with_how_often_it_was_seen() -> None:
    told, finding = Told(), Finding("setting", "the setting work_mem")
    assert [told.due(finding, "f", now) for now in (0, 1, 59)] == [1, 0, 0]
    assert told.due(finding, "g", 59) == 1
    assert told.due(finding, "f", 61) == 3
    assert told.due(finding, "f", 62) == 0


def test_a_flood_of_findings_does_not_fill_the_memory() -> None:
    told = Told()
    for number in range(5_000):
        assert told.due(Finding("setting", str(number)), "", 0) == 1
    assert told.due(Finding("setting", "4999"), "", 1) == 0
    assert told.due(Finding("setting", "0"), "", 1) == 1
