"""Every link inside the documentation leads somewhere, and generated pages are up to date."""

import re
from pathlib import Path

import pytest

from pyproxy.pinning import reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


def test_every_page_is_found_from_the_map() -> None:
    """A page that nobody links to is a page that nobody reads."""
    linked = {
        (page.parent / link).resolve() for page in PAGES for link in _LINK.findall(page.read_text())
    }
    lost = [page for page in PAGES if page.parent != ROOT and page.resolve() not in linked]
    assert not [page for page in lost if page.name != "index.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nobody_is_sent_to_another_projects_package(page: Path) -> None:
    """PyPI's `pyproxy` is somebody else's: ours is installed from a folder, a copy or a wheel."""
    bare = re.compile(r"\binstall\b[^\n`]*[ '\"]pyproxy(?![\w./-])[^\n`]*")
    assert not bare.findall(page.read_text(encoding="utf-8"))


def test_the_page_of_the_pinning_rules_is_written_from_the_table() -> None:
    page = ROOT / "docs" / "reference" / "pinning-rules.md"
    assert page.read_text() == reference.page(), "python -m pyproxy.pinning.reference"
