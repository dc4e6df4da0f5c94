"""Files that must last: replaced as a whole, and on the disk when the call returns."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that nobody ever sees half of it, or a secret that others may read.

    After a power cut there is the old one or the new one. Raises OSError.
    """
    # Two proxies may share the folder for a moment, while one takes over from the other.
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    # The name is in the folder, and that is another thing to be written.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
