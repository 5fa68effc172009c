"""Two people in two browsers decide about a correction; the journal has every step, and ``verify`` agrees."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from playwright.sync_api import expect

from ledger import Ledger
from tests.gateway.terminals import Terminal
from tests.support.commands import run
from tools.testkit.facts import fill
from tools.testkit.page_desk import MAIN, copy_of
from tools.testkit.page_process import path_of


def break_of(url, kind):
    """The open break of a kind: its version, and the position that it is about."""
    with closing(Ledger.open(url)) as ledger:
        (found,) = [one for one in ledger.account(MAIN).portfolio.breaks if one.kind.value == kind]
    return found


def two_persons(url):
    """The account's policy asks for a second person from now on."""
    words = ("--approvals", "2", "--operator", "cleo", "--reason", "two pairs of eyes", "--yes")
    ran = run("policy", "set", "--account", str(MAIN), *words, journal=url)
    assert ran.code == 0, ran.text


def propose(ann, version, *, urgent=False):
    """Propose what the form suggests for a break."""
    ann.go(path_of(MAIN, f"/breaks/{version}")).ready("breaks")
    ann.page.locator(f'details[data-key="propose-of-{version}"] > summary').click()
    form = ann.page.get_by_role("form", name="Propose a correction")
    form.locator("[name=reason]").fill("closed by phone")
    if urgent:
        form.locator("[name=urgent]").check()
    form.get_by_role("button", name="Show what it changes").click()
    expect(form.get_by_role("button", name="Propose it")).to_be_enabled()
    form.get_by_role("button", name="Propose it").click()
    proposal = ann.page.locator("[data-proposal]")
    expect(proposal).to_have_count(1)
    return proposal


def decide(person, outcome, reason=None):
    """Decide about the one proposal that is shown."""
    form = person.page.locator(f'[data-proposal] details[data-outcome="{outcome}"]')
    form.locator("summary").click()
    if reason is not None:
        form.locator("[name=reason]").fill(reason)
    form.get_by_role("button").click()


def trade(url, **fields):
    """Record a fill, as an engine does."""
    with closing(Ledger.open(url)) as ledger:
        account = ledger.account(MAIN)
        account.record(fill(77_000_000_001, time_msc=account.portfolio.newest_known_msc + 1000, **fields))


def held(url):
    with closing(Ledger.open(url)) as ledger:
        assert ledger.verify().problems == ()
        return set(ledger.account(MAIN).portfolio.positions)


@pytest.fixture
def url(own_desk):
    two_persons(own_desk.journal)
    return own_desk.journal


def test_what_ann_proposes_ben_approves_although_the_account_traded_meanwhile(visit, own_desk, url):
    ghost = break_of(url, "ghost")
    ann = visit(own_desk, "ann").ready()
    propose(ann, ghost.version)
    expect(ann.main).to_contain_text("Another person has to approve")
    assert ghost.position_id in held(url)
    ben = visit(own_desk, "ben", path_of(MAIN)).ready("account")
    expect(ben.page.locator("[data-proposal]")).to_contain_text(str(ghost.position_id))
    trade(url, symbol="GBPUSD")  # of another position
    expect(ben.part("state")).to_contain_text("77000000001")
    decide(ben, "approved")
    expect(ben.part("state").locator(f'tr[data-id="{ghost.position_id}"]')).to_have_count(0)
    expect(ann.page.locator("[data-proposal]")).to_have_attribute("data-state", "approved")  # without a reload
    assert held(url) & {ghost.position_id, 77_000_000_001} == {77_000_000_001}


def test_a_fill_of_the_same_position_lets_an_approval_lapse_and_shows_what_changed(visit, own_desk, url):
    ghost = break_of(url, "ghost")
    ann = visit(own_desk, "ann").ready()
    propose(ann, ghost.version)
    ben = visit(own_desk, "ben", path_of(MAIN, f"/breaks/{ghost.version}")).ready("breaks")
    proposal = ben.page.locator("[data-proposal]")
    trade(url, position_id=ghost.position_id, symbol=ghost.symbol, volume="0.05")
    decide(ben, "approved")
    expect(proposal).to_have_attribute("data-state", "lapsed")
    expect(proposal).to_contain_text("0.06")
    assert ghost.position_id in held(url)


def test_a_proposal_is_rejected_with_a_reason(visit, own_desk, url):
    ghost = break_of(url, "ghost")
    ann = visit(own_desk, "ann").ready()
    propose(ann, ghost.version)
    ben = visit(own_desk, "ben", path_of(MAIN, f"/breaks/{ghost.version}")).ready("breaks")
    decide(ben, "rejected", "the broker has it")
    proposal = ben.page.locator("[data-proposal]")
    expect(proposal).to_have_attribute("data-state", "rejected")
    expect(proposal).to_contain_text("the broker has it")
    expect(ann.page.locator("[data-proposal]")).to_have_attribute("data-state", "rejected")
    assert ghost.position_id in held(url)


def test_breaking_the_glass_applies_at_once_and_waits_for_a_second_person(visit, own_desk, url):
    ghost = break_of(url, "ghost")
    ann = visit(own_desk, "ann").ready()
    proposal = propose(ann, ghost.version, urgent=True)
    expect(proposal).to_have_attribute("data-state", "unconfirmed")
    assert ghost.position_id not in held(url)
    ben = visit(own_desk, "ben", path="/breaks?kind=approval").ready("breaks")
    expect(ben.page.locator("main tbody tr")).to_have_count(1)
    ben.go(path_of(MAIN)).ready("account")
    decide(ben, "approved")
    ben.go("/breaks?kind=approval").ready("breaks")
    expect(ben.page.locator("main tbody")).to_contain_text("no break is like this")


def test_who_proposed_cannot_approve_and_who_only_reads_can_do_nothing(visit, own_desk, url):
    ghost = break_of(url, "ghost")
    cleo = visit(own_desk, "cleo").ready()  # an admin has every role, and is still one person
    propose(cleo, ghost.version)
    expect(cleo.page.locator('[data-proposal] details[data-outcome="approved"]')).to_have_count(0)
    vic = visit(own_desk, "vic", path_of(MAIN)).ready("account")
    expect(vic.page.locator("[data-proposal]")).to_be_visible()
    expect(vic.page.locator("[data-proposal] details[data-outcome]")).to_have_count(0)
    expect(vic.page.get_by_role("button", name="Propose correction")).to_be_disabled()


def test_where_one_person_is_enough_what_was_shown_is_applied_at_once(visit, own_desk):
    ghost = break_of(own_desk.journal, "ghost")
    ben = visit(own_desk, "ben", path_of(MAIN, f"/breaks/{ghost.version}")).ready("breaks")
    ben.page.locator(f'details[data-key="propose-of-{ghost.version}"] > summary').click()
    form = ben.page.get_by_role("form", name="Propose a correction")
    form.locator("[name=reason]").fill("closed by phone")
    expect(form.get_by_role("button", name="Apply it")).to_have_count(0)
    form.get_by_role("button", name="Show what it changes").click()
    form.get_by_role("button", name="Apply it").click()
    expect(ben.main).to_contain_text("closed: accepted")
    assert ghost.position_id not in held(own_desk.journal)


def test_a_note_takes_a_break_over(visit, own_desk):
    ghost = break_of(own_desk.journal, "ghost")
    ann = visit(own_desk, "ann", path_of(MAIN, f"/breaks/{ghost.version}")).ready("breaks")
    ann.page.locator(f'details[data-key="note-of-{ghost.version}"] > summary').click()
    form = ann.page.get_by_role("form", name="Note")
    form.locator("[name=text]").fill("<b>phoned</b> the broker")
    form.locator("[name=owner]").check()
    form.get_by_role("button").click()
    expect(ann.main).to_contain_text("<b>phoned</b> the broker")
    expect(ann.main).to_contain_text("owner ann")


def test_a_page_that_only_reads_says_so_and_lets_nobody_write(visit, run_page, desk_file, tmp_path):
    process = run_page(copy_of(desk_file, tmp_path / "desk.db"), writes=False)
    cleo = visit(process, "cleo", path_of(MAIN)).ready("account")
    expect(cleo.page.locator("header")).to_contain_text("read-only")
    expect(cleo.page.get_by_role("button", name="Propose correction")).to_be_disabled()


def test_what_the_broker_has_otherwise_is_named_and_no_snapshot_is_no_difference(visit, desk_file, run_page, tmp_path):
    answer = {"status": "SUCCESS", "positions": [], "server": MAIN.server, "login": MAIN.login}
    terminal = Terminal(lambda *_: (json.dumps(answer).encode(),))
    gateway = f'[gateways."{MAIN}"]\nurl = "{terminal.endpoint}"\ntimeout_ms = 2000\n'
    try:
        url = copy_of(desk_file, tmp_path / "desk.db")
        ann = visit(run_page(url, settings=gateway), path=path_of(MAIN)).ready("account")
        banner = ann.page.locator('[data-banner="view"]')
        compared = ann.page.get_by_role("region", name="Compared with the broker")
        ann.page.get_by_role("button", name="Compare now").click()
        expect(banner).to_contain_text("differ in")
        rows = ann.page.locator('[data-part="state"] table').first.locator("tbody tr")
        held = set(rows.evaluate_all("rows => rows.map(one => one.dataset.id)"))
        assert held
        assert held == set(compared.locator('[data-label="position"]').all_inner_texts())
        terminal.stop()
        ann.page.get_by_role("button", name="Compare now").click()
        expect(banner).to_contain_text("no usable snapshot, so whether broker and journal agree is not known")
        expect(compared).to_have_count(0)
    finally:
        terminal.stop()
