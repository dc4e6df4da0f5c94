"""A failover as the live page tells it: who wrote when, who waited, what happened."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.browser.conftest import Opener
from tests.support.pair import Pair

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import expect

pytestmark = [pytest.mark.adversity, pytest.mark.timeout(180)]


def test_a_failover_is_seen_as_it_happens(pair: Pair, tmp_path: Path, open_page: Opener) -> None:
    """TH-01: the states of the targets; EV: what is told of it."""
    expect.set_options(timeout=60_000)
    with (
        pair.proxy(tmp_path, max_connections_percent=4) as proxy,
        contextlib.closing(proxy.wire(application_name="checkout")) as client,
        contextlib.closing(proxy.wire(application_name="orm", user="app")) as pinned,
    ):
        pinned.query("SET work_mem = '4MB'")
        page = open_page(proxy)
        first, second = page.locator(".card.target").all()
        expect(first.locator(".role")).to_have_text("read/write")
        expect(second.locator(".role")).to_have_text("read only")
        expect(page.locator(".slot.pinned")).to_have_count(1)

        pair.primary.cluster.kill()
        expect(first.locator(".role")).to_have_text("unavailable")
        expect(first.locator(".reason")).to_contain_text("UNREACHABLE")
        expect(second.locator(".role")).to_have_text("read/write")
        client.query("SELECT 1")
        expect(page.locator(".events .failover").first).to_contain_text(
            re.compile(r"Writes moved to db-b after [\d.]+ s without db-a")
        )
        expect(page.locator(".slot.pinned")).to_have_count(0)
        lane = first.locator(".lane")
        expect(lane).to_have_attribute("aria-label", re.compile("read/write from .*; unavailable"))
        expect(page.locator("#status.live")).to_be_visible()

        # Who opens the page only now sees the same.
        page.reload()
        expect(lane).to_have_attribute("aria-label", re.compile("read/write from .*; unavailable"))
        expect(page.locator(".events")).to_contain_text("PROMOTING: db-b takes over from db-a")
