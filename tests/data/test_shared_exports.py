"""The real exports, against what the broker itself computed. They stay outside of the repository; without them: skipped."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ledger.errors import MalformedExport
from ledger.imports import attribute, read_statement
from ledger.values import Entry, MarginMode

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")

HEDGING, NETTING = MarginMode.HEDGING, MarginMode.NETTING

#: file -> mode as the file states it, currency, deals, (money, in, out, in/out), last Balance, open positions
REPORTS = {
    "ftmo_hedge_export1.xlsx": (HEDGING, "USD", 433, (1, 214, 218, 0), "200374.61", 0),
    "ftmo_hedge_export2.xlsx": (HEDGING, "USD", 685, (1, 344, 340, 0), "200213.46", 9),
    "ftmo_hedge_export3.xlsx": (HEDGING, "USD", 762, (1, 380, 381, 0), "200772.80", 6),
    "fxpro_netting_a.xlsx": (NETTING, "USD", 89, (1, 47, 41, 0), "100432.49", 0),
    "fxpro_netting_b.xlsx": (NETTING, "USD", 89, (1, 47, 41, 0), "100432.49", 0),
    "icmarkets_hedge_edited.xlsx": (HEDGING, "EUR", 859, (16, 413, 430, 0), "41125.21", 0),
    "b3_netting_tester_ptbr.html": (None, "BRL", 38, (1, 11, 26, 0), "10202.00", 0),
    "metaquotes_hedge_bg.html": (HEDGING, "USD", 38, (1, 19, 18, 0), "99996.70", 1),
    "metaquotes_netting_reversal.html": (None, "USD", 7, (1, 3, 2, 1), "99966.95", 1),
    "oanda_jpy_hedge_to0728.html": (HEDGING, "JPY", 45, (1, 24, 20, 0), "3000065", 4),
    "oanda_jpy_hedge_from0728.html": (HEDGING, "JPY", 36, (0, 18, 18, 0), "3000691", 0),
    "oanda_jpy_hedge_from0729.html": (HEDGING, "JPY", 22, (0, 12, 10, 0), "3000264", 2),
}
DUMP = "deals_dump_hedge.csv"
MID_HISTORY = {"icmarkets_hedge_edited.xlsx", "oanda_jpy_hedge_from0728.html", "oanda_jpy_hedge_from0729.html"}


def statement(name):
    return read_statement(FOLDER / name)


def mode_of(report):
    return report.mode or NETTING


def positions(report):
    """position_id -> its deals, in file order."""
    found = defaultdict(list)
    attribution = attribute(report, mode_of(report))
    for deal, position_id in zip(report.deals, attribution.position_ids, strict=True):
        if deal.side is not None:
            found[position_id].append(deal)
    return found


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_has_what_the_index_states(name):
    mode, currency, deals, entries, balance, still_open = REPORTS[name]
    report = statement(name)
    counted = Counter(deal.entry for deal in report.deals)
    assert (report.mode, report.currency, len(report.deals)) == (mode, currency, deals)
    assert (counted[None], counted[Entry.IN], counted[Entry.OUT], counted[Entry.IN_OUT]) == entries
    assert report.deals[-1].balance == Decimal(balance)
    assert len(report.open or ()) == still_open
    assert report.starts_at_opening is (name not in MID_HISTORY)


@pytest.mark.parametrize("name", REPORTS)
def test_every_balance_carries_on_from_the_row_above(name):
    for before, after in pairwise(statement(name).deals):
        assert abs(before.balance + after.money - after.balance) < Decimal("0.005"), after.row


@pytest.mark.parametrize("name", REPORTS)
def test_account_figures_are_the_last_balance(name):
    report = statement(name)
    if name in ("icmarkets_hedge_edited.xlsx", "b3_netting_tester_ptbr.html"):
        assert not report.has_figures
    else:
        assert report.balance + report.credit == report.deals[-1].balance


@pytest.mark.parametrize("name", REPORTS)
def test_every_trade_finds_its_position(name):
    report = statement(name)
    attribution = attribute(report, mode_of(report))
    assert attribution.notes == ()
    assert None not in positions(report)


@pytest.mark.parametrize("name", [name for name in REPORTS if REPORTS[name][0] is not None])
def test_every_closed_position_is_the_sum_of_its_deals(name):
    report = statement(name)
    deals_of = positions(report)
    assert report.closed
    for row in report.closed:
        outs = [deal for deal in deals_of[row.position_id] if deal.entry is Entry.OUT]
        assert sum(deal.volume for deal in outs) == row.volume
        assert sum(deal.profit for deal in outs) == row.profit
        assert sum(deal.swap for deal in outs) == row.swap
        assert max(deal.time_msc for deal in outs) == row.closed_msc


@pytest.mark.parametrize("name", [name for name in REPORTS if name not in MID_HISTORY or REPORTS[name][5]])
def test_what_is_left_open_is_what_the_broker_shows_open(name):
    report = statement(name)
    left = {}
    for position_id, deals in positions(report).items():
        volume = sum(deal.volume if deal.side.code == 0 else -deal.volume for deal in deals)
        if volume:
            left[position_id] = volume
    shown = {row.ticket: row.volume if row.side.code == 0 else -row.volume for row in report.open or ()}
    if name == "metaquotes_netting_reversal.html":  # shown under the ticket of the reversing order
        assert (list(shown.values()), list(left.values())) == ([Decimal("-0.01")], [Decimal("-0.01")])
        assert shown.keys() != left.keys()
    else:
        assert left == shown


@pytest.mark.parametrize(
    "names",
    [
        ["ftmo_hedge_export1.xlsx", "ftmo_hedge_export2.xlsx", "ftmo_hedge_export3.xlsx"],
        ["fxpro_netting_a.xlsx", "fxpro_netting_b.xlsx"],
        ["oanda_jpy_hedge_to0728.html", "oanda_jpy_hedge_from0728.html", "oanda_jpy_hedge_from0729.html"],
    ],
)
def test_exports_of_one_account_agree_on_the_deals_they_share(names):
    seen: dict[int, tuple[object, ...]] = {}
    for name in names:
        report = statement(name)
        for deal, position_id in zip(report.deals, attribute(report, mode_of(report)).position_ids, strict=True):
            what = (deal.time_msc, deal.symbol, deal.entry, deal.volume, deal.price, deal.money, deal.balance, position_id)
            assert seen.setdefault(deal.deal, what) == what
    assert len(seen) == {"f": 762, "o": 87}[names[0][0]] if names[0][1] != "x" else 89


def test_a_partly_closed_position_has_a_row_of_two_volumes():
    rows = [row for row in statement("ftmo_hedge_export3.xlsx").closed if row.volume_opened is not None]
    assert [(row.volume, row.volume_opened, row.profit) for row in rows] == [
        (Decimal("0.02"), Decimal("0.05"), Decimal("5.54"))
    ]


def test_the_tester_names_no_account():
    report = statement("b3_netting_tester_ptbr.html")
    assert (report.kind, report.server, report.login) == ("tester", None, None)


def test_the_dump_has_what_the_index_states():
    dump = statement(DUMP)
    assert (dump.kind, len(dump.deals), dump.server) == ("dump", 135, None)
    assert Counter(deal.type for deal in dump.deals if deal.side is None) == {2: 15, 3: 2}
    assert Counter(deal.entry for deal in dump.deals if deal.side is not None) == {Entry.IN: 58, Entry.OUT: 60}
    assert Counter(deal.reason for deal in dump.deals if deal.entry is Entry.OUT)[6] == 1
    assert abs(sum(deal.money for deal in dump.deals) - Decimal("90.18")) < Decimal("0.000001")
    assert all(deal.balance is None for deal in dump.deals)
    volumes: defaultdict[int | None, Decimal] = defaultdict(Decimal)
    for deal, position_id in zip(dump.deals, attribute(dump, HEDGING).position_ids, strict=True):
        if deal.side is not None:
            volumes[position_id] += deal.volume if deal.side.code == 0 else -deal.volume
    assert (len(volumes), set(volumes.values())) == (58, {Decimal(0)})


@pytest.mark.parametrize(("name", "what"), [("orders_dump_hedge.csv", "orders"), ("positions_dump_b3.csv", "positions")])
def test_dumps_of_something_else_are_refused_as_what_they_are(name, what):
    with pytest.raises(MalformedExport, match=f"looks like a dump of {what}"):
        statement(name)
