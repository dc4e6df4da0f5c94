"""Every command of ours that the documentation shows is one that the command line understands."""

import re
import shlex
from pathlib import Path

import pytest

from pyproxy.cli import build_parser
from tests.support.imports import ROOT

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```(?:sh|console|shell|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OTHERS = ("#", "docker", "kubectl", "psql", "python", "git", "pip")
_OURS = re.compile(r"(?:^|\s)(?:\S*/)?pyproxy (?=[a-z-])")


def commands(page: Path) -> list[str]:
    """The command lines of its blocks that begin with `pyproxy`, without what they are piped to."""
    found = []
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            shown = line.removeprefix("$ ").strip()
            ours = _OURS.search(f" {shown}")
            if ours and not shown.startswith(_OTHERS):
                found.append(f" {shown}"[ours.end() :])
    return found


CASES = [(page, command) for page in PAGES for command in commands(page)]


def words(command: str) -> list[str]:
    """Its arguments, up to a pipe, a redirection or a second command."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    taken = []
    for word in lexer:
        if set(word) <= set("|&;<>()"):
            break
        taken.append(word)
    return taken


@pytest.mark.parametrize(
    ("page", "command"), CASES, ids=[f"{p.relative_to(ROOT)}: {c}" for p, c in CASES]
)
def test_a_command_in_the_documentation_is_understood(page: Path, command: str) -> None:
    try:
        build_parser(words(command)).parse_args(words(command))
    except SystemExit as ended:
        # --help and --version end well.
        assert not ended.code, f"{page.relative_to(ROOT)} shows: pyproxy {command}"


def test_there_are_commands() -> None:
    assert len(CASES) > 12
