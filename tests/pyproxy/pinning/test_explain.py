"""`pyproxy explain` answers with words and an exit code."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from pyproxy.pinning import explain


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    return parser.parse_args(arguments)


def test_what_pins_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SET search_path TO app")) == 1
    told = capsys.readouterr().out
    assert told.startswith("pins\n")
    for part in ("PIN-PG-01", "SQL changed session settings", "ALTER ROLE", "AWS's wording"):
        assert part in told


def test_our_own_words_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    explain.run(parsed("LISTEN c"))
    assert "PyProxy's wording" in capsys.readouterr().out


def test_what_does_not_pin_says_what_is_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("SELECT f()")) == 0
    assert "NOPIN-PG-02" in capsys.readouterr().out


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("LISTEN c"))
    assert explain.run(parsed("-")) == 1


def test_switches_of_a_configuration_count(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "{proxy: {auth: [{secret_arn: a}]}, target_group: {targets: [{id: a}]},"
        " compatibility: {set_local: no_pin}}"
    )
    assert explain.run(parsed("--config", str(file), "SET LOCAL x = 1")) == 0


def test_a_bad_configuration_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.run(parsed("--config", str(tmp_path / "none"), "SELECT 1")) == 2
    assert "pyproxy explain" in capsys.readouterr().err
