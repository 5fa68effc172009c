"""The Overview shows every account in its state, unsafe ones first, and finds what a person looks for."""

from __future__ import annotations

from playwright.sync_api import expect

from tools.testkit.page_desk import AT_REST, DEGRADED, MAIN, NETTING, NEVER_SYNCED
from tools.testkit.page_process import path_of


def test_unsafe_accounts_come_first_and_each_states_why(visit, desk):
    ann = visit(desk).ready("overview", state="ready")
    rows = ann.page.locator("main tbody tr")
    expect(rows).to_have_count(5)
    names = [row.get_attribute("data-id") for row in rows.all()]
    assert set(names[:3]) == {str(MAIN), str(DEGRADED), str(NEVER_SYNCED)}
    assert set(names[3:]) == {str(AT_REST), str(NETTING)}
    why = {name: row.locator("td").last.inner_text() for name, row in zip(names, rows.all(), strict=True)}
    assert "the sandbox does not answer" in why[str(DEGRADED)]
    assert "nothing was verified yet" in why[str(NEVER_SYNCED)]
    assert why[str(AT_REST)] == ""
    for words in ("5 accounts", "2 safe", "1 degraded", "1 never synced"):
        expect(ann.main).to_contain_text(words.replace(" ", "", 1))


def test_a_filter_is_in_the_address_and_leads_to_the_account(visit, desk):
    ann = visit(desk).ready("overview")
    ann.page.select_option("select[name=server]", "Tokyo-Demo")
    expect(ann.page.locator("main tbody tr")).to_have_count(1)
    assert "server=Tokyo-Demo" in ann.page.url
    ann.page.locator("main tbody a[data-row]").click()
    ann.ready("account")
    assert ann.page.url.startswith(desk.origin + path_of(NETTING))
    ann.page.go_back()
    ann.ready("overview")
    expect(ann.page.locator("main tbody tr")).to_have_count(1)
    ann.page.fill("input[name=q]", "no such account")
    expect(ann.page.locator("main tbody")).to_contain_text("no account is like this")
