"""What the page shows where there is nothing good to show: a reason, the last good figures with their time, never zeros."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from ledger import Ledger
from tools.testkit.page_desk import AT_REST, DEGRADED, MAIN, NEVER_SYNCED, copy_of
from tools.testkit.page_process import path_of


def test_an_empty_journal_states_what_fills_it(visit, run_page, tmp_path):
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    Ledger.create(url).close()
    ann = visit(run_page(url)).ready("overview", state="empty")
    for command in ("ledger account open", "ledger import", "ledger sync"):
        expect(ann.main).to_contain_text(command)
    with closing(Ledger.open(url)) as ledger:
        ledger.account(MAIN).open(currency="USD", mode="hedging", clock="UTC")
    expect(ann.page.locator(f'tr[data-id="{MAIN}"]')).to_be_visible()  # without a reload
    ann.ready("overview", state="ready")


def test_an_account_without_a_sync_was_never_compared_with_a_broker(visit, desk):
    ann = visit(desk, path=path_of(NEVER_SYNCED)).ready("account")
    expect(ann.main).to_contain_text("ever compared with a broker")
    expect(ann.page.locator('[data-figure="equity"]')).to_contain_text("?")
    expect(ann.page.locator("[data-safe]")).to_have_attribute("data-safe", "false")


def test_a_degraded_account_shows_why_since_when_and_its_last_good_figures_dimmed(visit, desk):
    ann = visit(desk, path=path_of(DEGRADED)).ready("account")
    expect(ann.main).to_contain_text(re.compile(r"DEGRADED since \d\d"))
    expect(ann.main).to_contain_text("the sandbox does not answer")
    expect(ann.page.locator('[data-figure="balance"]')).to_contain_text("4,998.60")
    colour = "node => getComputedStyle(node).color"
    figure = ann.page.locator('[data-figure="balance"] b')
    dimmed = figure.evaluate(colour)
    ann.go(path_of(AT_REST))
    assert dimmed != figure.evaluate(colour)


def test_a_cold_account_shows_progress_and_then_its_figures(visit, desk):
    ann = visit(desk).ready("overview")
    folding: dict[str, Any] = {"status": 202, "json": {"job": "fold", "done": 1000, "of": 60_000}}
    answers = iter([dict(folding)])

    def cold(route: Route) -> None:  # its history is being folded, until the test says that it is done
        answer = next(answers, None)
        route.fulfill(**answer) if answer else route.continue_()

    ann.page.route(f"**/api/accounts/{MAIN.server}/{MAIN.login}", cold)
    ann.page.route("**/api/jobs/fold", lambda route: route.fulfill(**folding))
    ann.page.goto(desk.origin + path_of(MAIN))
    expect(ann.main).to_have_attribute("data-state", "cold")
    expect(ann.page.locator('[data-banner="cold"]')).to_contain_text("1,000 of 60,000 events")
    expect(ann.page.locator("[data-figure]")).to_have_count(0)  # and never zeros
    folding |= {"status": 200, "json": {}}
    ann.ready("account", state="ready")
    expect(ann.page.locator('[data-banner="cold"]')).to_have_count(0)


def test_a_journal_that_is_away_leaves_the_figures_with_their_time_and_comes_back(visit, own_desk):
    ann = visit(own_desk, path=path_of(MAIN)).ready("account")
    ann.watch.expect(r"status of 503")
    balance = ann.page.locator('[data-figure="balance"]').text_content()
    error = {"code": "JournalBusy", "text": "locked", "retryable": True}
    away = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": error}}
    ann.page.route("**/api/accounts/**", lambda route: route.fulfill(**away))
    ann.page.keyboard.press("[")  # another moment is asked for
    expect(ann.main).to_have_attribute("data-state", "away")
    expect(ann.page.locator('[data-banner="away"]')).to_contain_text(re.compile(r"figures as of \d\d:\d\d:\d\d UTC"))
    expect(ann.page.locator('[data-figure="balance"]')).to_have_text(balance)
    ann.page.unroute("**/api/accounts/**")
    expect(ann.page.locator('[data-banner="away"]')).to_have_count(0)
    expect(ann.main).not_to_have_attribute("data-state", "away")


def test_a_stream_that_is_lost_says_that_figures_may_be_old(visit, own_desk):
    ann = visit(own_desk).ready("overview")
    html = ann.page.locator("html")
    expect(html).to_have_attribute("data-stream", "connected")
    ann.watch.expect(r"Failed to load resource: net::ERR_|status of 401")  # each request in flight ends in an error of its own
    own_desk.kill()
    expect(html).to_have_attribute("data-stream", "lost")
    expect(ann.page.locator('[data-banner="stream"]')).to_contain_text("figures may be old")
    expect(ann.page.locator(f'tr[data-id="{MAIN}"]')).to_be_visible()
    own_desk.start()  # nobody is signed in any more: sign-ins are in its memory
    expect(ann.main).to_have_attribute("data-state", "signed-out")
    ann.page.goto(own_desk.link("ann"))
    ann.ready("overview", state="ready")
    expect(html).to_have_attribute("data-stream", "connected")


@pytest.fixture
def corrupt(desk_file, tmp_path):
    """A journal in which somebody changed one event of the busiest account."""
    url = copy_of(desk_file, tmp_path / "corrupt.db")
    with closing(sqlite3.connect(tmp_path / "corrupt.db")) as connection:
        named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
        for (name,) in connection.execute(named).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        account = "account_id = (SELECT account_id FROM accounts WHERE login = ?)"
        connection.execute(f"UPDATE events SET data = '{{' WHERE version = 1 AND {account}", (MAIN.login,))  # noqa: S608
        connection.execute("DELETE FROM checkpoints")
        connection.execute("DELETE FROM followers")
        connection.commit()
    return url


def test_a_corrupt_account_is_named_and_the_others_work_on(visit, run_page, corrupt):
    ann = visit(run_page(corrupt)).ready("overview")
    ann.watch.expect(r"status of 422")
    ann.go(path_of(MAIN)).ready("account", state="corrupt")
    expect(ann.main).to_contain_text(str(MAIN))
    expect(ann.main).to_contain_text("ledger verify")
    ann.go(path_of(AT_REST)).ready("account", state="ready")
    expect(ann.page.locator('[data-figure="balance"]')).to_contain_text("24,996.50")


def test_an_address_that_names_nothing_says_so(visit, desk):
    ann = visit(desk).ready()
    ann.watch.expect(r"status of 404")
    ann.go("/a/Broker-Live/1").ready("account", state="not-found")
    ann.page.get_by_role("link", name="Overview").first.click()
    ann.ready("overview", state="ready")
