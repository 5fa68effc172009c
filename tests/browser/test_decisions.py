"""Two people in two browsers decide about a correction; the journal has every step, and ``verify`` agrees."""

from __future__ import annotations

import re
from contextlib import closing

from playwright.sync_api import expect

from ledger import Ledger
from tests.support.commands import run
from tools.testkit.facts import fill
from tools.testkit.page_desk import MAIN
from tools.testkit.page_process import path_of

GHOST = 50000000405


def ghost_of(url):
    """The version at which the ghost was opened."""
    with closing(Ledger.open(url)) as ledger:
        (version,) = [one.version for one in ledger.account(MAIN).portfolio.breaks if one.kind.value == "ghost"]
    return version


def two_persons(url):
    """The account's policy asks for a second person from now on."""
    ran = run("policy", str(MAIN), "--approvals", "2", "--operator", "cleo", "--reason", "two pairs of eyes", journal=url)
    assert ran.code == 0, ran.text


def propose(ann, version, *, urgent=False):
    ann.go(path_of(MAIN, f"/breaks/{version}")).ready("breaks")
    ann.page.locator(f'details[data-key="d-propose-{version}"] > summary').click()
    form = ann.page.get_by_role("form", name="Propose a correction")
    form.locator("[name=reason]").fill("closed by phone")
    if urgent:
        form.locator("[name=urgent]").check()
    return form


def trade(url, position_id, **fields):
    """Another process records a fill."""
    with closing(Ledger.open(url)) as ledger:
        account = ledger.account(MAIN)
        now = account.portfolio.newest_known_msc + 1000
        account.record(fill(77_000_000_000 + position_id, position_id=position_id, time_msc=now, **fields))


def held(url):
    with closing(Ledger.open(url)) as ledger:
        return set(ledger.account(MAIN).portfolio.positions)
