"""`pyproxy explain` answers with words, JSON or SARIF, and an exit code."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyproxy.pinning import explain
from pyproxy.pinning.rules import RULES
from pyproxy.pinning.script import sendable

SCRIPT = """\
-- A migration, as pg_dump writes it.
\\connect app
CREATE TABLE t (name text); /* SET x = 1 */
COPY t FROM stdin;
it's; SET x = 1
\\.
  SELECT 'ä', set_config('app.tenant',
    '7', false);
SET search_path TO app;
SET search_path TO app;
"""


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a file of SQL, relative to where we are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "up 1.sql").write_text(SCRIPT)
    return "up 1.sql"


def test_what_pins_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SET search_path TO app")) == 1
    told = capsys.readouterr().out
    assert told.startswith("pins\n")
    for part in (
        *("PIN-PG-01", "SQL changed session settings", "ALTER ROLE", "AWS's wording"),
        *("documented: RDS User Guide", 'Digest: "set search_path to $1"'),
    ):
        assert part in told


def test_our_own_words_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    explain.run(parsed("LISTEN c"))
    assert "PyProxy's wording" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_no_secret_is_shown(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Invariant 9: what it prints ends in the logs of a CI."""
    text = "ALTER ROLE a PASSWORD 'hunter2'; SET a.password = 'hunter2"
    assert explain.run(parsed("--format", form, text)) == 1
    assert "hunter2" not in capsys.readouterr().out


def test_a_statement_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    explain.run(parsed("SET a.b = 'x\x1b[2J'"))
    assert r"SET a.b = 'x\x1b[2J'" in capsys.readouterr().out


def test_a_contested_row_names_its_switch(capsys: pytest.CaptureFixture[str]) -> None:
    explain.run(parsed("DECLARE c CURSOR FOR SELECT 1"))
    assert "compatibility: {declare_cursor: no_pin}" in capsys.readouterr().out


def test_what_does_not_pin_says_what_is_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SELECT f()")) == 0
    assert "NOPIN-PG-02" in capsys.readouterr().out


def test_what_does_not_pin_names_the_row_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SELECT pg_advisory_xact_lock(1)")) == 0
    assert "NOPIN-PG-01" in capsys.readouterr().out


def test_a_size_with_its_comments_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """PIN-PG-31: as it is judged on the wire."""
    assert explain.run(parsed(f"/* {'x' * 17_000} */ SELECT 1")) == 1
    assert "PIN-ALL-01" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", " -- nothing\n;;"])
def test_a_text_without_a_statement_does_not_pin(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain.run(parsed(text)) == 0
    assert "does not pin" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("-",), ("--file", "-")])
def test_standard_input_is_read(
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1;\nLISTEN c"))
    assert explain.run(parsed(*arguments)) == 1
    assert "line 2: pins" in capsys.readouterr().out


def test_every_statement_of_a_file_is_judged(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain.run(parsed("--file", script)) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(script)]
    assert lines == [
        "up 1.sql:3: does not pin: CREATE TABLE t (name text)",
        "up 1.sql:4: does not pin: COPY t FROM stdin",
        "up 1.sql:7: pins",
        "up 1.sql:9: pins",
        "up 1.sql:10: pins",
    ]


def test_a_harmless_file_ends_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.sql"
    file.write_text("SELECT 1;")
    assert explain.run(parsed("--file", str(file), str(file))) == 0
    assert "statements: 2, of which pin: 0" in capsys.readouterr().out


def test_json_has_a_record_for_every_statement(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain.run(parsed("--file", script, "--format", "json")) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["pins"] is True
    rows = told["statements"]
    assert [row["rule"] for row in rows] == [
        *("OWN-NOPIN-02", "PIN-PG-23", "PIN-PG-10", "PIN-PG-01", "PIN-PG-01"),
    ]
    assert (rows[2]["line"], rows[2]["column"]) == (7, 3)
    assert (rows[2]["end_line"], rows[2]["end_column"]) == (8, 16)
    assert rows[2]["statement"].startswith("SELECT 'ä'")
    assert rows[3]["reason_is_awss"] is True
    assert rows[3]["remedy"] == RULES["PIN-PG-01"].remedy
    assert "reason" not in rows[0]


def test_json_of_an_ordinary_query_names_no_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SELECT 1", "--format", "json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "pins": False,
        "statements": [
            {
                "file": None,
                "line": 1,
                "column": 1,
                "end_line": 1,
                "end_column": 9,
                "statement": "SELECT 1",
                "pins": False,
                "rule": None,
            }
        ],
    }


def sarif(capsys: pytest.CaptureFixture[str]) -> Any:
    """What was printed, checked against what SARIF 2.1.0 requires of its objects."""
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == "2.1.0"
    assert told["$schema"].endswith("sarif-2.1.0.json")
    (run,) = told["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "PyProxy"
    for rule in driver["rules"]:
        assert rule["id"] in RULES
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"]
        assert rule["help"]["text"] and rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        assert all(isinstance(v, str) for v in result["partialFingerprints"].values())
        for location in result.get("locations", []):
            place = location["physicalLocation"]
            assert " " not in place["artifactLocation"]["uri"]
            region = place["region"]
            assert all(region[key] >= 1 for key in ("startLine", "startColumn", "endColumn"))
            assert region["endLine"] >= region["startLine"]
    return run


def test_sarif_shows_what_pins_at_its_place(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain.run(parsed("--file", script, "--format", "sarif")) == 1
    run = sarif(capsys)
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [place["region"]["startLine"] for place in places] == [7, 9, 10]
    assert {place["artifactLocation"]["uri"] for place in places} == {"up%201.sql"}
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["PIN-PG-10", "PIN-PG-01"]


def test_sarif_recognises_a_finding_that_has_moved(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two that are alike are still two."""

    def fingerprints() -> list[str]:
        explain.run(parsed("--file", script, "--format", "sarif"))
        results = sarif(capsys)["results"]
        return [value for r in results for value in r["partialFingerprints"].values()]

    before = fingerprints()
    Path(script).write_text("SELECT 1;\n\n" + SCRIPT)
    assert fingerprints() == before
    assert len(set(before)) == 3


def test_sarif_of_a_text_has_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("LISTEN c", "--format", "sarif")) == 1
    (result,) = sarif(capsys)["results"]
    assert "locations" not in result


def test_sarif_of_an_absolute_path_is_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.sql"
    file.write_text("LISTEN c")
    explain.run(parsed("--file", str(file), "--format", "sarif"))
    (result,) = sarif(capsys)["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == file.as_uri()


def test_sarif_without_a_pin_is_an_empty_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SELECT 1", "--format", "sarif")) == 0
    assert sarif(capsys)["results"] == []


def test_switches_of_a_configuration_count(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "{proxy: {auth: [{secret_arn: a}]}, target_group: {targets: [{id: a}]},"
        " compatibility: {set_local: no_pin}}"
    )
    assert explain.run(parsed("--config", str(file), "SET LOCAL x = 1")) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--config", "none", "SELECT 1"), "none"),
        (("--file", "none.sql"), "none.sql: No such file"),
        (("SELECT 1", "--file", "none.sql"), "not both"),
    ],
)
def test_wrong_usage_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain.run(parsed(*arguments)) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.startswith("pyproxy explain: ") and said in told.err
    assert told.err.count("\n") == 1


def test_a_file_that_is_not_text_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.sql"
    file.write_bytes(b"\xff\xfe")
    assert explain.run(parsed("--file", str(file))) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_the_command_answers_with_its_exit_code() -> None:
    command = [sys.executable, "-m", "pyproxy", "explain"]
    root = Path(__file__).parents[3]
    for text, code in (("SELECT 1", 0), ("DISCARD ALL", 1)):
        assert subprocess.run([*command, text], cwd=root, capture_output=True).returncode == code
    wrong = subprocess.run([*command, "--format", "xml"], cwd=root, capture_output=True)
    assert wrong.returncode == 2


def test_a_script_keeps_its_lines_and_columns() -> None:
    told = sendable(SCRIPT)
    assert [len(line) for line in told.split("\n")] == [len(line) for line in SCRIPT.split("\n")]
    assert "it's" not in told and "connect" not in told and "set_config" in told
