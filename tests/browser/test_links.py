"""A link reproduces the moment that was sent, and says so if it does not: another history, other fold rules."""

from __future__ import annotations

import re
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from ledger import Ledger
from tools.testkit.facts import fill
from tools.testkit.page_desk import MAIN
from tools.testkit.page_process import path_of


def copied(person):
    """The link that "copy link" gives."""
    person.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=person.process.origin)
    person.page.keyboard.press("c")
    expect(person.page.locator('[data-banner="copied"]')).to_be_visible()
    return person.page.evaluate("navigator.clipboard.readText()")


def figures(person):
    return {one.get_attribute("data-figure"): one.text_content() for one in person.page.locator("[data-figure]").all()}


def test_a_link_of_a_moment_shows_it_although_late_deals_arrived_meanwhile(visit, own_desk):
    ann = visit(own_desk, path=path_of(MAIN)).ready("account")
    for _ in range(4):
        ann.page.keyboard.press("[")
    ann.page.wait_for_url("**known_at=**")
    ann.page.reload()  # what is copied next is of the address, and not of a step before it
    ann.ready("account", state="past")
    link = copied(ann)
    query = {name: value for name, (value,) in parse_qs(urlsplit(link).query).items()}
    assert {"until", "known_at", "v", "h", "f"} <= query.keys()
    assert re.fullmatch("[0-9a-f]{16}", query["h"])
    before = figures(ann)
    with closing(Ledger.open(own_desk.journal)) as ledger:
        account = ledger.account(MAIN)
        account.record(
            fill(77_000_000_001, profit="-4.20", position_id=5, time_msc=account.portfolio.newest_known_msc - 3_600_000)
        )
    ben = visit(own_desk, "ben").ready()
    ben.page.goto(link)
    ben.ready("account", state="past")
    expect(ben.page.locator('[data-banner="view"]')).to_have_text("This is the moment that was sent.")
    after = figures(ben)
    del before["events"], after["events"]  # "of 57" by now
    assert after == before


def test_a_link_of_now_writes_when_that_was(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    query = parse_qs(urlsplit(copied(ann)).query)
    assert {"known_at", "v", "h", "f"} <= query.keys()


def test_another_history_and_other_fold_rules_are_named(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    link = copied(ann)
    other = re.sub(r"([?&]h=)[0-9a-f]{16}", r"\g<1>0123456789abcdef", link)
    ann.page.goto(other)
    ann.ready("account")
    banner = ann.page.locator('[data-banner="view"]')
    expect(banner).to_contain_text("another history than the link")
    expect(banner).to_have_class(re.compile("bad"))
    ann.page.goto(re.sub(r"([?&]f=)[0-9a-f]{8}", r"\g<1>01234567", link))
    ann.ready("account")
    expect(banner).to_contain_text("fold rules have changed")
    expect(banner).to_have_class(re.compile("warn"))


def test_a_link_of_a_view_keeps_what_was_chosen_there(visit, desk):
    ann = visit(desk, path="/breaks?kind=ghost").ready("breaks")
    expect(ann.page.locator("main tbody tr")).to_have_count(1)
    assert copied(ann) == f"{desk.origin}/breaks?kind=ghost"
    ann.go(path_of(MAIN, "/log?kind=BreakOpened")).ready("log")
    expect(ann.page.locator("main table").last.locator("tbody tr")).to_have_count(2)
