"""Real histories, replayed by a simulated terminal while the engine records only half of them.

Each sync has to bring the ledger to the terminal's books, and the last one to what the broker itself wrote into the export.
"""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from ledger import CashMoved, FillRecorded, Ledger, MarginMode
from ledger.gateway.sandbox.terminal import Terminal
from ledger.importer import ImportOptions, import_files
from ledger.imports import read_statement
from ledger.values import AccountId
from tests.support.machine import Counter, Desk, SharedJournal, agrees, deals_of, look, money_agrees

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")

#: Histories from their first deposit on: file -> mode, for those that do not state it.
HISTORIES = {
    "ftmo_hedge_export3.xlsx": "hedging",
    "fxpro_netting_a.xlsx": "netting",
    "metaquotes_hedge_bg.html": "hedging",
    "metaquotes_netting_reversal.html": "netting",
    "oanda_jpy_hedge_to0728.html": "hedging",
    "b3_netting_tester_ptbr.html": "netting",
}
NAMELESS = AccountId("Tester", 1)
LOOKS = 8


def imported(name, mode):
    """The deals of an export, as its import records them, and how its account is opened."""
    is_named = read_statement(FOLDER / name).login is not None
    options = ImportOptions(mode=mode) if is_named else ImportOptions(mode=mode, account=NAMELESS, currency="BRL")
    with Ledger.open("memory://") as ledger:
        import_files(ledger, [FOLDER / name], options=options)
        (account,) = ledger.accounts()
        deals = [one.event for one in account.events() if isinstance(one.event, (FillRecorded, CashMoved))]
        return account.terms.opened, deals


@pytest.mark.parametrize("extended", [False, True], ids=["base", "extended"])
@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_recorded_by_half_still_comes_to_the_books(name, extended):
    mode = HISTORIES[name]
    opened, deals = imported(name, mode)
    terminal = Terminal.from_history(
        deals, mode=MarginMode(mode), login=opened.login, server=opened.server, currency=opened.currency,
        currency_digits=opened.currency_digits,
    )  # fmt: skip
    counter = Counter(terminal, extended=extended)
    desk = Desk(SharedJournal(), AccountId(opened.server, opened.login), counter)
    desk.account.open(
        currency=opened.currency, mode=mode, clock="UTC", digits=opened.currency_digits, time_msc=terminal.now_msc
    )
    chance = random.Random(f"half of {name}")
    recorded = {deal.deal for deal in deals if isinstance(deal, FillRecorded) and chance.random() < 0.5}
    assert recorded
    known = {deal.deal: deal for deal in deals}
    terminal.play_next()  # the first deposit: an engine reconciles before it trades
    desk.sync(startup=True)
    share = len(deals) // LOOKS
    while terminal.remaining:
        for _ in range(max(1, chance.randint(share // 2, share))):
            for row in terminal.play_next():
                if row["ticket"] in recorded:
                    desk.record([known[row["ticket"]]])
        if chance.random() < 0.3:
            desk.close()
            desk.start()
        result = desk.sync(startup=True)
        assert (result.status, result.held) == ("SUCCESS", ())
        agrees(look(desk.account), terminal.books(), extended=extended, nets=mode == "netting")
        assert desk.sync().appended == 0
    seen = look(desk.account)
    is_as_exported(seen, name, mode)
    assert recorded <= set(deals_of(desk.account))
    if extended:
        money_agrees(seen, terminal.books())
        report = read_statement(FOLDER / name)
        assert Decimal(seen["balance"]) + Decimal(seen["credit"]) == report.deals[-1].balance
        assert sorted(deals_of(desk.account)) == sorted(known)
        assert seen["unexplained"] == []
    assert desk.account.verify().problems == ()


def is_as_exported(seen, name, mode):
    """Check the open positions against the table in the export itself."""
    shown = read_statement(FOLDER / name).open or ()
    key = "symbol" if mode == "netting" else "position_id"
    ours = {one[key]: (one["symbol"], one["side"], Decimal(one["volume"])) for one in seen["positions"]}
    theirs = {row.symbol if MarginMode(mode).nets else row.ticket: (row.symbol, row.side.value, row.volume) for row in shown}
    assert ours == theirs
