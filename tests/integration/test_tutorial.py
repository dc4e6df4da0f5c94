"""The tutorial is done as a reader does it: every command, in its order, in one shell.

Only what a reader sees differ does: the address, the ports, and where this checkout's Python is.
What a page says will be printed has to be printed; `…` in it is anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pyproxy.lab import binaries
from tests.support.ports import free_port
from tests.support.proxy import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGE = ROOT / "docs/tutorial/first-proxy.md"
# A word that no command prints, after each block.
SEEN = "--- the block is done ---"
ENDED = "--- the shell has ended ---"


class Step(NamedTuple):
    """A block of commands, and what the page says they print."""

    commands: str
    expected: str


def steps() -> list[Step]:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = []
    for index, (language, text) in enumerate(blocks):
        if language == "sh":
            after = blocks[index + 1] if index + 1 < len(blocks) else ("", "")
            found.append(Step(text, after[1] if after[0] == "text" else ""))
    return found


class Reader:
    """Somebody with a shell and a demo."""

    def __init__(self, address: str, http_port: int) -> None:
        self._address = address
        self._url = f"http://127.0.0.1:{http_port}"
        self._shell = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PSQLRC": "/dev/null", "LC_ALL": "C.UTF-8", "COLUMNS": "200"},
            start_new_session=True,
        )
        # Said on every way out; a client in the background keeps the output open meanwhile.
        self.does(f"set -eu; trap 'echo {ENDED}' EXIT")

    def does(self, commands: str) -> str:
        """Run what a block says, and return what it has printed."""
        commands = re.sub(r"^URL='.*'$", f"URL='{self._address}'", commands, flags=re.MULTILINE)
        commands = re.sub(
            r"\.venv/bin/pyproxy (pins|failover)", rf"\g<0> --url {self._url}", commands
        )
        python = shlex.quote(sys.executable)
        commands = re.sub(
            r"\.venv/bin/(python|pyproxy)\b",
            lambda found: python if found[1] == "python" else f"{python} -m pyproxy",
            commands,
        )
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{commands}\necho '{SEEN}'\n")
        self._shell.stdin.flush()
        printed = []
        for line in self._shell.stdout:
            if line.strip() == SEEN:
                return "".join(printed)
            if line.strip() == ENDED:
                break
            printed.append(line)
        raise AssertionError(f"the shell ended in\n{commands}\n{''.join(printed)}")

    def leaves(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader whose demo runs in the first terminal."""
    port, http_port = free_port(), free_port()
    demo = [sys.executable, "-m", "pyproxy", "demo", "--port", str(port)]
    log = tmp_path / "demo.log"
    with (
        log.open("w") as words,
        subprocess.Popen(
            [*demo, "--http-port", str(http_port)],
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            cwd=ROOT,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("postgresql://app:"), log.read_text()
            reader = Reader(address, http_port)
            yield reader
            reader.leaves()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert "Traceback" not in log.read_text(), log.read_text()


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    if not (binaries.find() / "psql").exists():
        pytest.skip("there is no psql beside postgres")
    first, *others = steps()
    assert first.commands == "make demo\n"
    assert len(others) > 8
    for step in others:
        printed = reader.does(step.commands)
        rest = printed
        for line in step.expected.splitlines():
            pattern = ".*".join(re.escape(part) for part in line.split("…"))
            found = re.search(rf"^\s*{pattern}\s*$", rest, re.MULTILINE)
            assert found, f"{step.commands}\nprinted\n{printed}\nand not\n{line}"
            rest = rest[found.end() :]
