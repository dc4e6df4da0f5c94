"""How another process of ours is started: the same Python, the same code.

`python -m` looks for modules in the current folder first, and whoever starts us stands in a folder
of their own: a `secrets.py` there would be run in the place of the standard library's. `-P` (Python
3.11) leaves it out.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from typing import Final

# Of the packages `pyproxy` and `protocol`.
_ROOT: Final = Path(__file__).absolute().parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module of ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Our own; a checkout is on the path of its children, too.

    What is installed is found without, and must not be put ahead of the standard library: beside
    it are packages of others.
    """
    path = os.environ.get("PYTHONPATH", "")
    if _installed():
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), path)))}


def _installed() -> bool:
    places = (*site.getsitepackages(), site.getusersitepackages())
    return _ROOT.resolve() in (Path(place).resolve() for place in places)
