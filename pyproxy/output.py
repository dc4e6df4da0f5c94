"""Standard output and error as a command may find them: closed, full, or of few letters."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def prepare() -> None:
    """See to it that whatever is written to them can be."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by who has called: else the next file would be taken for it.
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - to the end
        elif isinstance(stream, io.TextIOWrapper):
            # A locale may lack letters, and the name of a file may be no text.
            stream.reconfigure(errors="backslashreplace")


def give_up() -> None:
    """What standard output does not take is not tried again when Python ends and complains."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
