"""What happens elsewhere appears on the page: appends of other processes, in all tabs, over one stream of the browser."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

from playwright.sync_api import expect

from ledger import Ledger
from tools.testkit.facts import fill
from tools.testkit.page_desk import AT_REST, MAIN
from tools.testkit.page_process import ROOT, path_of

APPEND = """
import sys
from ledger import AccountId, Ledger
from tools.testkit.facts import fill
with Ledger.open(sys.argv[1]) as ledger:
    account = ledger.account(AccountId(sys.argv[2], int(sys.argv[3])))
    account.record(fill(77_000_000_001, time_msc=account.portfolio.newest_known_msc + 1000, price="1.25"))
    print(account.version)
"""


def append_elsewhere(url, account):
    """Record a fill in another process; return the version then."""
    command = [sys.executable, "-c", APPEND, url, account.server, str(account.login)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def test_an_append_of_another_process_is_on_the_page_without_a_reload(visit, own_desk):
    ann = visit(own_desk, path=path_of(MAIN)).ready("account")
    ann.page.evaluate("window.isTheSame = true")
    version = append_elsewhere(own_desk.journal, MAIN)
    expect(ann.page.locator(f'[data-version="{version}"]')).to_be_attached()
    expect(ann.page.locator('[data-part="state"]')).to_contain_text("77000000001")
    assert ann.page.evaluate("window.isTheSame")


def test_eight_tabs_all_get_a_change_over_one_stream(visit, own_desk):
    ann = visit(own_desk, path=path_of(MAIN)).ready("account")
    tabs = [ann, *(ann.tab(path_of(MAIN)) for _ in range(7))]
    for tab in tabs:
        expect(tab.page.locator("html")).to_have_attribute("data-stream", "connected")
    version = append_elsewhere(own_desk.journal, MAIN)
    for tab in tabs:
        expect(tab.page.locator(f'[data-version="{version}"]')).to_be_attached()
    assert own_desk.log().count('"path": "/api/stream"') == 1
    tabs[0].page.close()  # the one that has the stream: another takes over
    version = str(int(version) + 1)
    with closing(Ledger.open(own_desk.journal)) as ledger:
        account = ledger.account(MAIN)
        account.record(fill(77_000_000_002, time_msc=account.portfolio.newest_known_msc + 1000))
    for tab in tabs[1:]:
        expect(tab.page.locator(f'[data-version="{version}"]')).to_be_attached()


def test_a_moment_in_the_past_stays_while_the_account_goes_on(visit, own_desk):
    ann = visit(own_desk, path=path_of(AT_REST)).ready("account")
    now = ann.page.locator('[data-figure="balance"]').text_content()
    for _ in range(4):
        ann.page.keyboard.press("[")
    ann.page.wait_for_url("**until=**")
    ann.page.reload()  # what is read next is of the address, and not of a step before it
    ann.ready("account", state="past")
    then = ann.page.locator('[data-figure="balance"]').text_content()
    assert then != now
    version = append_elsewhere(own_desk.journal, AT_REST)
    expect(ann.page.locator('[data-figure="events"]')).to_contain_text(f"of {version}")
    assert ann.page.locator('[data-figure="balance"]').text_content() == then
    for button in ("Propose correction", "Compare now"):
        expect(ann.page.get_by_role("button", name=button)).to_be_disabled()
    ann.page.keyboard.press("n")
    expect(ann.page.locator('[data-part="state"]')).to_contain_text("77000000001")
