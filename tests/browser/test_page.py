"""What the live page shows of a real proxy, and how it is used."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import Crowd, Opener
from tests.support.messages import Query

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect

expect.set_options(timeout=20_000)


def tile(page: Page, title: str) -> str:
    return (
        page.locator(".tile", has=page.get_by_role("heading", name=title)).locator("b").inner_text()
    )


def busy(crowd: Crowd) -> None:
    """Two pinned, one in a transaction, one free; nobody waits."""
    crowd.client("orm-admin", "SELECT 'warm'", "SET my.password TO 'hunter2'")
    crowd.client("batch", "SELECT pg_advisory_lock(7)")
    crowd.client("billing", "BEGIN")
    crowd.client("checkout", "SELECT 1")


def test_an_empty_proxy_says_so(crowd: Crowd, open_page: Opener) -> None:
    page = open_page(crowd.proxy)
    expect(page.locator("#headline")).to_have_text("No client is connected.")
    assert tile(page, "Clients") == "0"
    expect(page.locator("#pinned-list")).to_have_attribute(
        "data-empty", re.compile("No session is")
    )
    for section, text in (("#ledger", "No session has been pinned."), ("#clients", "No client is")):
        page.locator(section).scroll_into_view_if_needed()
        expect(page.locator(f"{section}-list")).to_have_attribute("data-empty", re.compile(text))


def test_every_state_is_told_by_shape_letter_and_words(crowd: Crowd, open_page: Opener) -> None:
    busy(crowd)
    page = open_page(crowd.proxy)
    expect(page.locator(".slot")).to_have_count(4)
    expect(page.locator(".slot.pinned")).to_have_count(2)
    for state, letter, words in (
        ("pinned", "P", "pinned, held by orm-admin, PIN-PG-01"),
        ("transaction", "T", "in transaction, held by billing"),
        ("idle", "I", "idle, for "),
    ):
        slot = page.locator(f".slot.{state}").first
        expect(slot.locator(".mark text")).to_have_text(letter)
        expect(slot).to_have_attribute("aria-label", re.compile(words))
    shapes = page.locator("#legend .mark").evaluate_all(
        "marks => marks.map(mark => [...mark.children].map(part => part.outerHTML).join())"
    )
    assert len(shapes) == len(set(shapes)) == 6
    expect(page.locator("#headline")).to_have_text(
        "4 clients share 4 database connections; 2 of them pinned; nobody waits."
    )
    assert (tile(page, "Pinned"), tile(page, "Multiplexing")) == ("2", "1.0 : 1")
    crowds = page.locator(".application canvas")
    expect(crowds).to_have_count(4)
    labels = crowds.evaluate_all("all => all.map(one => one.getAttribute('aria-label')).sort()")
    assert labels == [
        "batch: 1 pinned",
        "billing: 1 in transaction",
        "checkout: 1 idle",
        "orm-admin: 1 pinned",
    ]


def test_who_waits_is_named(crowd: Crowd, open_page: Opener) -> None:
    for number in range(4):
        crowd.client(f"holder-{number}", "BEGIN")
    waiting = [crowd.waiting(f"patient-{number}") for number in range(6)]
    page = open_page(crowd.proxy)
    expect(page.locator("#headline")).to_contain_text("6 clients wait, the longest for")
    expect(page.locator("#waiting .chip")).to_have_count(4)
    expect(page.locator("#waiting")).to_contain_text("patient-0")
    expect(page.locator("#waiting")).to_contain_text("and 2 more")
    expect(page.locator(".tile.warn")).to_have_text(re.compile("Waiting"))
    for wire in waiting:
        wire.vanish()
    expect(page.locator("#headline")).to_contain_text("nobody waits")


def test_a_pin_shows_statement_rule_reason_cost_and_remedy(crowd: Crowd, open_page: Opener) -> None:
    """L-02's text is AWS's own; the values of a statement are nobody's business."""
    busy(crowd)
    page = open_page(crowd.proxy)
    card = page.locator(".card.pin", has_text="orm-admin")
    expect(card.locator(".rule b")).to_have_text("PIN-PG-01")
    expect(card.locator("code.statement")).to_have_text("set my.password to $1")
    expect(card.locator(".reason")).to_contain_text("SQL changed session settings that the proxy")
    expect(card.locator(".cost")).to_contain_text(
        re.compile(r"held for \d.*idle.*nobody had to wait")
    )
    expect(card.locator(".cost")).to_contain_text("25 % of the connections")
    expect(card.locator(".remedy")).to_contain_text("ALTER ROLE app SET")
    card.locator(".holder").click()
    detail = page.locator("#detail")
    expect(detail).to_be_visible()
    expect(detail).to_contain_text("its statement number 2")
    expect(detail).to_contain_text("127.0.0.1:")
    page.locator("#ledger").scroll_into_view_if_needed()
    assert "hunter2" not in page.content()


def test_a_connection_that_goes_is_taken_away(crowd: Crowd, open_page: Opener) -> None:
    wire = crowd.client("brief", "SET work_mem TO '1MB'")
    page = open_page(crowd.proxy)
    expect(page.locator(".slot.pinned")).to_have_count(1)
    wire.terminate()
    expect(page.locator(".slot.pinned")).to_have_count(0)
    expect(page.locator(".application")).to_have_count(0)
    expect(page.locator("#pinned-list .card")).to_have_count(0)


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\"'`${alert(3)}&lt;b&gt;",
    "\u202eevil\u2066 name\u0301",
    "w" * 63,
]


def test_hostile_names_stay_text(crowd: Crowd, open_page: Opener) -> None:
    """A client chooses its application_name, and the text of its statements."""
    for name in HOSTILE[:3]:
        crowd.client(name, 'LISTEN "<svg/onload=alert(4)>"')
    for name in HOSTILE[3:]:
        crowd.client(name)
    page = open_page(crowd.proxy)
    page.on("dialog", lambda dialog: dialog.dismiss())
    expect(page.locator(".application")).to_have_count(5)
    shown = page.locator(".application .name").all_text_contents()
    assert sorted(shown) == sorted(HOSTILE)
    page.locator(".slot.pinned").first.click()
    expect(page.locator("#detail")).to_contain_text("<svg/onload=alert(4)>")
    page.keyboard.press("Escape")
    page.locator("#ledger").scroll_into_view_if_needed()
    expect(page.locator(".entry")).to_have_count(3)
    page.locator("#clients").scroll_into_view_if_needed()
    expect(page.locator("#clients-list tbody tr")).to_have_count(5)
    assert page.locator("img:not([src^='/static/']), script:not([src]), svg[onload]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_ledger_is_filtered_and_keeps_what_is_open(crowd: Crowd, open_page: Opener) -> None:
    busy(crowd)
    page = open_page(crowd.proxy)
    page.locator("#ledger").scroll_into_view_if_needed()
    entries = page.locator(".entry")
    expect(entries).to_have_count(2)
    entries.filter(has_text="my.password").locator("summary").click()
    page.select_option("#ledger-rule", "PIN-PG-01")
    expect(entries).to_have_count(1)
    expect(entries.locator(".remedy")).to_be_visible()
    page.select_option("#ledger-rule", "")
    page.select_option("#ledger-application", "batch")
    expect(entries).to_have_count(1)
    expect(entries).to_contain_text("pg_advisory_lock")
    page.select_option("#ledger-application", "*")
    page.fill("#ledger-search", "ADVISORY")
    expect(entries).to_have_count(1)
    page.fill("#ledger-search", "no such statement")
    expect(page.locator("#ledger-list")).to_have_attribute("data-empty", "No pin is like that.")
    expect(entries).to_have_count(0)


def test_clients_are_paged_and_found(crowd: Crowd, open_page: Opener) -> None:
    for number in range(30):
        crowd.client(f"job {number:02}", user="md5")
    page = open_page(crowd.proxy)
    page.locator("#clients").scroll_into_view_if_needed()
    rows = page.locator("#clients-list tbody tr")
    expect(rows).to_have_count(25)
    expect(page.locator("#clients-back")).to_be_disabled()
    shown = rows.all_inner_texts()
    page.click("#clients-on")
    expect(rows).to_have_count(5)
    shown += rows.all_inner_texts()
    # Which of two that came at once is first is nobody's promise; that each is shown is.
    assert {text[at : at + 6] for text in shown if (at := text.find("job ")) >= 0} == {
        f"job {number:02}" for number in range(30)
    }
    expect(page.locator("#clients-on")).to_be_disabled()
    page.fill("#clients-search", "job 07")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("idle")
    page.select_option("#clients-state", "WAITING")
    expect(page.locator("#clients-list")).to_have_attribute("data-empty", "No client is like that.")


def test_a_window_that_grows_moves_everything_with_it(crowd: Crowd, open_page: Opener) -> None:
    """Once there is more than a minute to show, charts and lanes show two."""
    crowd.client("checkout", "SELECT 1")
    page = open_page(crowd.proxy)
    lane = page.locator(".lane rect").first
    expect(lane).to_have_attribute("class", "READ_WRITE")
    expect(page.locator(".axis").first).to_contain_text("60 s ago")
    page.evaluate(
        """async () => {
            const { store } = await import("/static/store.js");
            const first = store.samples[0];
            const time = new Date(Date.parse(first.time) - 80_000).toISOString();
            store.samples.unshift({ ...first, time });
        }"""
    )
    expect(page.locator(".axis").first).to_contain_text("2 min ago")
    lefts = page.locator(".lane rect").evaluate_all(
        "all => all.map(one => parseFloat(one.getAttribute('x')))"
    )
    older, newer = lefts
    assert 0 <= older < 40
    assert 90 < newer <= 100


def test_a_pause_holds_the_picture(crowd: Crowd, open_page: Opener) -> None:
    page = open_page(crowd.proxy)
    page.click("#pause")
    expect(page.locator("#status-text")).to_have_text("paused")
    crowd.client("late")
    page.wait_for_timeout(2500)
    expect(page.locator(".application")).to_have_count(0)
    page.click("#pause")
    expect(page.locator(".application")).to_have_count(1)


def test_charts_show_now_and_any_moment_before(crowd: Crowd, open_page: Opener) -> None:
    wire = crowd.client("checkout")
    page = open_page(crowd.proxy)
    expect(page.locator(".chart")).to_have_count(4)
    for _ in range(30):
        wire.ask(Query("SELECT 1"))
    queries = page.locator(".chart", has_text="Queries per second")
    expect(queries.locator(".plot")).to_have_attribute(
        "aria-label", re.compile("now: queries [1-9]")
    )
    plot = page.locator(".chart .plot").first
    plot.focus()
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-label", re.compile(r"at \d\d:\d\d:\d\d: pinned 0"))
    assert page.locator(".chart .line.plain").first.get_attribute("d")
