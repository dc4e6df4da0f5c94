"""`run.py` fills an environment of its own, never somebody else's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.proxy import ROOT


@pytest.fixture
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("there", [True, False], ids=["linked", "linked-to-nothing"])
def test_a_linked_environment_is_refused_before_it_is_emptied(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """`python -m venv --clear` follows the link, and so does the installation."""
    theirs, link = tmp_path / "theirs", tmp_path / ".venv"
    if there:
        theirs.mkdir()
    link.symlink_to(theirs)
    monkeypatch.setattr(run, "VENV", link)
    for name in ("make_environment", "fill_environment"):
        monkeypatch.setattr(run, name, lambda *_: pytest.fail("it was touched"))
    with pytest.raises(run.Trouble, match=rf"\.venv is a link to {theirs}.*remove the link"):
        run.prepare("dev")
    assert link.is_symlink()
    assert theirs.exists() is there
