"""A real browser before a real proxy: Debian's chromium, driven by playwright.

Both are there in CI; where one of them is missing these tests are skipped.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.messages import Query
from tests.support.postgres import Postgres, temporary_folder
from tests.support.proxy import Proxy, start_proxy
from tests.support.wire import Wire

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# How long the page may take to show something, in milliseconds: others use this machine too.
PATIENCE = 20_000
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs a database; the hook sees those of other folders too."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: while it is there its driver's loop runs, and no asynchronous test can."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        # Without the sandbox, which root cannot have; it only ever sees our own page.
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class Crowd:
    """Clients of one proxy, closed at the end."""

    def __init__(self, proxy: Proxy, stack: contextlib.ExitStack) -> None:
        self.proxy = proxy
        self._stack = stack

    def client(self, name: str, *queries: str, user: str = "app") -> Wire:
        """A client that has run the queries and stays."""
        wire = self._stack.enter_context(
            contextlib.closing(self.proxy.wire(user, application_name=name))
        )
        for query in queries:
            wire.ask(Query(query))
        return wire

    def waiting(self, name: str) -> Wire:
        """A client in line for a server."""
        wire = self.client(name)
        wire.send(Query("SELECT 1"))
        return wire


@pytest.fixture
def crowd(postgres: Postgres) -> Iterator[Crowd]:
    """A proxy with four database connections, and nobody there yet."""
    with (
        temporary_folder() as folder,
        start_proxy(
            folder, postgres, max_connections_percent=4, connection_borrow_timeout=100
        ) as proxy,
        contextlib.ExitStack() as stack,
    ):
        yield Crowd(proxy, stack)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Open the page of a proxy; a script's error or a breach of the policy fails the test."""
    opener = Opener(browser)
    yield opener
    opener.close()


class Opener:
    """Opens pages, and listens for what must not happen in them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._stack = contextlib.ExitStack()
        self.complaints: list[str] = []

    def __call__(
        self,
        proxy: Proxy,
        *,
        live: bool = True,
        width: int = 1440,
        height: int = 900,
        **context: object,
    ) -> Page:
        made = self._browser.new_context(viewport={"width": width, "height": height}, **context)
        self._stack.callback(made.close)
        page = made.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("console", self._heard)
        page.goto(f"http://{proxy.host}:{proxy.http_port}/")
        if live:
            page.wait_for_selector("#status.live")
        return page

    def _heard(self, message: object) -> None:
        text = getattr(message, "text", "")
        # A proxy that is away is what some tests are about.
        if getattr(message, "type", "") == "error" and "net::ERR" not in text:
            self.complaints.append(text)

    def close(self) -> None:
        self._stack.close()
        assert not self.complaints, "\n".join(self.complaints)
