"""The page under all circumstances: dark, small, by keyboard, with a thousand clients, cut off."""

from __future__ import annotations

import contextlib
import resource
import socket

import pytest

from tests.browser.conftest import PHONE, Crowd, Opener
from tests.support.postgres import PASSWORD, Postgres, temporary_folder
from tests.support.proxy import start_proxy
from tests.support.wire import Silence, Wire

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect

expect.set_options(timeout=20_000)

# Text on plain ground: [text, contrast] of what is below WCAG 2.2's 4.5, or 3 where it is large.
FAINT = r"""
() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba("white");
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect();
    if (!own || element.closest("svg, .unseen, :disabled, noscript") || !box.width) continue;
    const style = getComputedStyle(element);
    const [one, two] = [light(rgba(style.color)), light(ground(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.push([element.textContent.slice(0, 40), contrast]);
  }
  return found;
}
"""


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def populate(crowd: Crowd) -> None:
    crowd.client("orm-admin", "SET search_path TO app")
    crowd.client("billing", "BEGIN")
    for number in range(4):
        crowd.client(f"checkout-{number}", "SELECT 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible(crowd: Crowd, open_page: Opener, scheme: str) -> None:
    """WCAG 2.2, "Contrast (Minimum)"."""
    populate(crowd)
    page = open_page(crowd.proxy, color_scheme=scheme)
    expect(page.locator(".slot.pinned")).to_have_count(1)
    for section in ("#ledger", "#clients"):
        page.locator(section).scroll_into_view_if_needed()
    expect(page.locator("#clients-list tbody tr")).to_have_count(6)
    assert page.evaluate(FAINT) == []


def test_the_theme_follows_the_system_until_it_is_chosen(crowd: Crowd, open_page: Opener) -> None:
    page = open_page(crowd.proxy, color_scheme="dark")
    dark = background(page)
    page.emulate_media(color_scheme="light")
    light = background(page)
    assert light != dark
    page.click("#theme")
    expect(page.locator("#theme-name")).to_have_text("light")
    page.click("#theme")
    expect(page.locator("#theme-name")).to_have_text("dark")
    assert background(page) == dark
    page.reload()
    expect(page.locator("#theme-name")).to_have_text("dark")
    assert background(page) == dark


def test_nothing_moves_for_those_who_asked_for_it(crowd: Crowd, open_page: Opener) -> None:
    page = open_page(crowd.proxy, reduced_motion="reduce")
    moving = "all => all.filter(one => getComputedStyle(one).transitionDuration !== '0s').length"
    assert page.locator("body *").evaluate_all(moving) == 0


def test_all_of_it_by_keyboard(crowd: Crowd, open_page: Opener) -> None:
    populate(crowd)
    page = open_page(crowd.proxy)
    expect(page.locator(".slot.pinned")).to_have_count(1)
    press = page.keyboard.press

    press("Tab")
    expect(page.get_by_text("Skip to the connections")).to_be_focused()
    press("?")
    expect(page.locator("#help")).to_be_visible()
    press("Escape")
    expect(page.locator("#help")).to_be_hidden()

    press("1")
    expect(page.locator("#connections")).to_be_focused()
    press("Tab")
    slots = page.locator(".slot")
    expect(slots.first).to_be_focused()
    press("ArrowRight")
    expect(slots.nth(1)).to_be_focused()
    press("Home")
    press("Enter")
    expect(page.locator("#detail")).to_contain_text("Database connection")
    press("Escape")
    expect(slots.first).to_be_focused()

    press("/")
    expect(page.locator("#ledger-search")).to_be_focused()
    page.keyboard.type("p1")
    expect(page.locator("#ledger-search")).to_have_value("p1")
    press("Shift+Tab")
    page.locator("#ledger").focus()
    press("p")
    expect(page.locator("#status-text")).to_have_text("paused")
    press("p")
    press("t")
    expect(page.locator("#theme-name")).to_have_text("light")


def test_who_goes_on_at_once_is_not_called_back(crowd: Crowd, open_page: Opener) -> None:
    """A dialog tells of its end later, when its user may be somewhere else already."""
    populate(crowd)
    page = open_page(crowd.proxy)
    page.locator(".slot.pinned").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    focused = page.evaluate(
        """async () => {
          const detail = document.getElementById("detail");
          const closed = new Promise((told) => detail.addEventListener("close", told));
          detail.close();
          document.getElementById("ledger-search").focus();
          await closed;
          return document.activeElement.id;
        }"""
    )
    assert focused == "ledger-search"


def test_the_focus_stays_while_everything_moves(crowd: Crowd, open_page: Opener) -> None:
    populate(crowd)
    page = open_page(crowd.proxy)
    slot = page.locator(".slot.pinned")
    slot.focus()
    page.wait_for_timeout(2500)
    expect(slot).to_be_focused()


def test_it_is_usable_on_a_phone(crowd: Crowd, open_page: Opener) -> None:
    populate(crowd)
    page = open_page(crowd.proxy, **PHONE, has_touch=True, is_mobile=True)
    expect(page.locator(".slot.pinned")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    # WCAG 2.2, "Target Size (Minimum)": 24 by 24 pixels.
    small = "all => all.filter(one => one.offsetWidth && Math.min(one.offsetWidth, one.offsetHeight) < 24).length"
    assert page.locator("button, select, input, summary").evaluate_all(small) == 0
    page.locator(".slot.pinned").tap()
    dialog = page.locator("#detail")
    expect(dialog).to_contain_text("PIN-PG-01")
    box = dialog.bounding_box()
    assert box is not None
    assert box["width"] <= PHONE["width"]


def test_a_thousand_clients_are_one_picture(crowd: Crowd, open_page: Opener) -> None:
    """Aggregates, not a thousand rows: the size of the page does not follow the crowd's."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192) if most > 0 else 8192, most))
    crowd.client("orm-admin", "SET search_path TO app")
    for number in range(999):
        crowd.client(f"lambda-{number % 40}", user="md5")
    page = open_page(crowd.proxy)
    expect(page.locator("#headline")).to_contain_text("1,000 clients share")
    expect(page.locator("#clients-total")).to_have_text("1,000 clients")
    expect(page.locator(".application")).to_have_count(31)
    expect(page.locator(".application", has_text="(others)")).to_be_visible()
    page.locator("#clients").scroll_into_view_if_needed()
    expect(page.locator("#clients-list tbody tr")).to_have_count(25)
    assert page.locator("*").count() < 2500
    status, body = crowd.proxy.get("/api/v1/clients?limit=2000")
    assert (status, body.count('"id"')) == (200, 1000)


def test_the_page_comes_back_with_the_proxy(postgres: Postgres, open_page: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {"http": {"port": port}}
    with temporary_folder() as folder:
        with start_proxy(folder, postgres, **settings) as proxy:
            page = open_page(proxy)
            with contextlib.closing(proxy.wire(application_name="before")):
                expect(page.locator(".application")).to_have_count(1)
        expect(page.locator("#status-text")).to_have_text("reconnecting")
        expect(page.locator("#trouble")).to_contain_text("The proxy does not answer.")
        with start_proxy(folder, postgres, **settings) as proxy:
            expect(page.locator("#status.live")).to_be_visible()
            expect(page.locator("#trouble")).to_be_hidden()
            with contextlib.closing(proxy.wire(application_name="after")):
                expect(page.locator(".application")).to_contain_text("after")


def test_a_database_that_is_away_is_said(postgres: Postgres, open_page: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = listener.getsockname()[1]
    targets = {"targets": [{"id": "db-a", "port": nowhere}]}
    with (
        temporary_folder() as folder,
        start_proxy(folder, postgres, target_group=targets) as proxy,
        contextlib.closing(Wire(proxy.host, proxy.port, timeout=1)) as wire,
    ):
        # Its welcome needs a database: it is waiting for one.
        with pytest.raises(Silence):
            wire.login("app", PASSWORD, "app")
        page = open_page(proxy, live=False)
        expect(page.locator("#status.unready")).to_be_visible()
        expect(page.locator("#trouble")).to_contain_text("Clients cannot be served: no target")
        # It is there, and waits, though it has no name yet.
        expect(page.locator("#headline")).to_contain_text("1 client waits")
        expect(page.locator("#waiting")).to_have_text("In line1 client logging in")
        expect(page.locator(".tile", has_text="Waiting")).to_contain_text("logging in")
        assert page.locator("#crowd").get_attribute("data-empty") == "No client has logged in yet."
