"""The journal that the page is looked at with has what each part of the page shows."""

from __future__ import annotations

from contextlib import closing

import pytest

from ledger import AccountId, Ledger
from ledger.safety import Danger
from tests.support.commands import run
from tools.testkit import page_desk


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'desk.db'}"
    page_desk.make_desk(url)
    return url


def status_of(journal):
    rows = run("status", "--json", journal=journal).json()
    return {AccountId(row["account"]["server"], row["account"]["login"]): row for row in rows}


def test_its_accounts_are_in_every_state(journal):
    found = {name: row["state"] for name, row in status_of(journal).items()}
    assert found == {
        page_desk.MAIN: "PARTIAL", page_desk.DEGRADED: "DEGRADED", page_desk.AT_REST: "SUCCESS",
        page_desk.NEVER_SYNCED: None, page_desk.NETTING: "SUCCESS",
    }  # fmt: skip
    assert run("status", "--check", "--quiet", journal=journal).code == Danger.STALE


def test_a_ghost_a_drift_and_a_late_deal_are_there_and_texts_that_would_run(journal):
    with closing(Ledger.open(journal)) as ledger:
        account = ledger.account(page_desk.MAIN)
        kinds = sorted(one.kind.value for one in account.portfolio.breaks)
        assert kinds == ["drift", "ghost"]
        assert page_desk.HOSTILE_SYMBOL in {one.symbol for one in account.portfolio.positions.values()}
        assert page_desk.HOSTILE in {getattr(one.event, "comment", None) for one in account.events()}
        assert ledger.verify().problems == ()
    assert len(run("log", "--account", str(page_desk.MAIN), "--late", "--json", journal=journal).out.splitlines()) == 1


def test_what_they_last_did_was_now(journal):
    rows = status_of(journal)
    assert all(0 <= rows[name]["last_seen_age_sec"] < 600 for name in (page_desk.MAIN, page_desk.AT_REST, page_desk.NETTING))
