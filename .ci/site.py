# ruff: noqa: INP001 - a file of mkdocs', no module
"""The documentation as a site: it has no files of the repository, so links to them become names."""

import posixpath
import re
from types import SimpleNamespace

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: SimpleNamespace, **_: object) -> str:
    """Called by mkdocs for every page, before it is read."""
    folder = posixpath.dirname(page.file.src_uri)

    def name(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        file = target.removeprefix("../")
        return link[0] if file == target else f"{link[1]} (`{file}`)"

    return _LINK.sub(name, markdown)
