"""What `pyproxy demo` prints can be pasted where it was started."""

import os
import sys
from pathlib import Path

import pytest

from pyproxy.lab.demo import at_hand, nearest


def test_a_program_on_the_path_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pyproxy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert at_hand("pyproxy", tmp_path) == "pyproxy"
    monkeypatch.setenv("PATH", os.devnull)
    assert at_hand("pyproxy", tmp_path) == str(program)
    assert at_hand("nowhere", tmp_path) == "nowhere"


def test_a_place_is_told_as_one_would_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nearest(tmp_path / ".venv" / "bin" / "python") == ".venv/bin/python"
    assert nearest(Path(sys.executable)) == sys.executable
