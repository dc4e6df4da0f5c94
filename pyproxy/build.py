"""Which build this is: the hot modules interpreted, or compiled by mypyc (`hatch_build.py`)."""

from __future__ import annotations

from typing import Final

from pyproxy.postgres import relay

PLAIN: Final = "plain"
COMPILED: Final = "compiled"

BUILD: Final = PLAIN if relay.__file__.endswith(".py") else COMPILED
