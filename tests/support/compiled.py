"""Proof that all of the compiled build is what runs: `python -m tests.support.compiled`."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import PurePath


def interpreted(path: PurePath) -> bool:
    """Is the module that a file of the wheel was made for imported from something else?"""
    name = ".".join((*path.parent.parts, path.name.partition(".")[0]))
    return not str(importlib.import_module(name).__file__).endswith(str(path))


def main() -> int:
    """0 if every compiled module of the distribution is what an import finds."""
    made = [path for path in metadata.files("pyproxy") or () if path.suffix == ".so"]
    wrong = [str(path) for path in made if interpreted(path)]
    told = f"{len(made)} compiled modules, {len(wrong)} not used {' '.join(wrong)}"
    sys.stdout.write(f"{told.rstrip()}\n")
    return 1 if wrong or not made else 0


if __name__ == "__main__":
    sys.exit(main())
