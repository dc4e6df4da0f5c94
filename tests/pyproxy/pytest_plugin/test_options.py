"""Every option of the plugin is on its page, and nothing else is."""

import re
from typing import Any

from pyproxy import pytest_plugin
from tests.support.imports import ROOT

PAGE = ROOT / "docs" / "how-to" / "fail-tests-on-new-pins.md"


class Recorder:
    """pytest's parser, as far as it is used."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def getgroup(self, name: str, description: str) -> "Recorder":
        return self

    def addoption(self, name: str, **how: Any) -> None:
        self.names.add(name)

    def addini(self, name: str, *what: Any, **how: Any) -> None:
        self.names.add(name)


def test_the_page_has_every_option() -> None:
    recorder = Recorder()
    pytest_plugin.pytest_addoption(recorder)  # type: ignore[arg-type]
    table = PAGE.read_text(encoding="utf-8").partition("## Settings")[2].partition("\n##")[0]
    shown = set(re.findall(r"--pyproxy-[a-z-]+|pyproxy_[a-z_]+", table))
    assert {name for name in shown if not name.startswith("pyproxy_pin_")} == recorder.names
