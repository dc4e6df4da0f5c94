"""The pictures of the documentation, taken anew: `python -m tests.browser.pictures`.

A shop with a pair of databases: short queries, some transactions, a worker that pins; then its
primary dies. Needs playwright and Debian's chromium.
"""

from __future__ import annotations

import contextlib
import random
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.support.messages import Query
from tests.support.pair import make_pair
from tests.support.palette import with_palette
from tests.support.postgres import temporary_folder
from tests.support.proxy import Proxy

FOLDER = Path(__file__).parents[2] / "docs/images"
QUERIES = {
    "checkout": ("SELECT pg_sleep(0.08)",),
    "billing-worker": ("BEGIN", "SELECT pg_sleep(0.9)", "COMMIT"),
    "reports": ("SELECT pg_sleep(0.6)",),
}
CLIENTS = {"checkout": 40, "billing-worker": 9, "reports": 6}
IDLE = 90
WARM_UP = 45_000
MENDED = 20_000


class Shop:
    """Clients that work until it closes."""

    def __init__(self, proxy: Proxy, stack: contextlib.ExitStack) -> None:
        self._proxy = proxy
        self._stack = stack
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        for number in range(IDLE):
            name = "checkout" if number % 3 else "reports"
            self._stack.enter_context(contextlib.closing(self._proxy.wire(application_name=name)))
        for name, count in CLIENTS.items():
            for number in range(count):
                thread = threading.Thread(target=self._work, args=(name, number), daemon=True)
                thread.start()
                self._threads.append(thread)
        for statement in ("SET search_path TO tenant_42, public", "SELECT pg_advisory_lock(4711)"):
            wire = self._proxy.wire(application_name="orm-admin")
            self._stack.enter_context(contextlib.closing(wire))
            wire.ask(Query("SELECT 'warm'"), Query(statement), ready=2)

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(20)

    def _work(self, name: str, number: int) -> None:
        """Work, and come back when the connection breaks, as applications do."""
        chance = random.Random(f"{name}{number}")
        while not self._closed.is_set():
            with contextlib.suppress(Exception), self._proxy.wire(application_name=name) as wire:
                while not self._closed.is_set():
                    for query in QUERIES[name]:
                        wire.query(query)
                    self._closed.wait(chance.random() * 1.6)


def take(page: Page, name: str, selector: str = "") -> None:
    """Take one picture: of a part of the page, or of what fits into the window."""
    page.wait_for_timeout(500)
    shot = page.locator(selector).screenshot() if selector else page.screenshot()
    path = FOLDER / f"{name}.png"
    path.write_bytes(with_palette(shot))


def tour(page: Page, primary_dies: threading.Event) -> None:
    page.wait_for_timeout(WARM_UP)
    page.evaluate("scrollTo(0, 0)")
    take(page, "live-page")
    page.emulate_media(color_scheme="dark")
    take(page, "live-page-dark")
    page.emulate_media(color_scheme="light")
    take(page, "pinned", "#pinned")
    take(page, "over-time", "#trends")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("scrollTo(0, 0)")
    take(page, "live-page-phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    primary_dies.set()
    page.wait_for_timeout(MENDED)
    take(page, "failover", "#targets")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with (
        temporary_folder() as folder,
        make_pair(folder) as pair,
        pair.proxy(folder, max_connections_percent=16) as proxy,
        contextlib.ExitStack() as stack,
        sync_playwright() as playwright,
    ):
        shop = Shop(proxy, stack)
        primary_dies = threading.Event()
        stopper = threading.Thread(
            target=lambda: primary_dies.wait() and pair.primary.cluster.kill(), daemon=True
        )
        stopper.start()
        shop.open()
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://{proxy.host}:{proxy.http_port}/")
        tour(page, primary_dies)
        browser.close()
        shop.close()


if __name__ == "__main__":
    main()
