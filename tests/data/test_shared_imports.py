"""The real exports imported, and checked against everything that the broker computed in them. Without them: skipped."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from ledger import Account, AccountId, Ledger
from ledger.clock import utc_text
from ledger.importer import FileReport, ImportOptions, import_files
from ledger.imports import read_statement
from ledger.json_views import Json, replay_json

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")

OPTIONS = {
    "b3_netting_tester_ptbr.html": ImportOptions(account=AccountId("Tester", 1), mode="netting"),
    "metaquotes_netting_reversal.html": ImportOptions(mode="netting"),
    "deals_dump_hedge.csv": ImportOptions(account=AccountId("Dump", 1), mode="hedging", currency="USD"),
}
#: file -> rows that can be checked of the Balance column, closed positions, open positions
FIGURES = {
    "ftmo_hedge_export1.xlsx": (433, 214, 0),
    "ftmo_hedge_export2.xlsx": (685, 335, 9),
    "ftmo_hedge_export3.xlsx": (762, 375, 6),
    "fxpro_netting_a.xlsx": (89, 41, 0),
    "fxpro_netting_b.xlsx": (89, 41, 0),
    "icmarkets_hedge_edited.xlsx": (858, 412, None),
    "b3_netting_tester_ptbr.html": (38, None, None),
    "metaquotes_hedge_bg.html": (38, 18, 1),
    "metaquotes_netting_reversal.html": (7, None, 1),
    "oanda_jpy_hedge_to0728.html": (45, 20, 4),
    "oanda_jpy_hedge_from0728.html": (35, 18, 0),
    "oanda_jpy_hedge_from0729.html": (21, 10, 2),
}
FROM_BIRTH = sorted(
    set(FIGURES) - {"icmarkets_hedge_edited.xlsx", "oanda_jpy_hedge_from0728.html", "oanda_jpy_hedge_from0729.html"}
)
GROUPS = {
    "ftmo": [f"ftmo_hedge_export{number}.xlsx" for number in (1, 2, 3)],
    "oanda": [f"oanda_jpy_hedge_{part}.html" for part in ("to0728", "from0728", "from0729")],
    "fxpro": ["fxpro_netting_a.xlsx", "fxpro_netting_b.xlsx"],
}


def imported(ledger: Ledger, *names: str) -> list[FileReport]:
    return list(import_files(ledger, [FOLDER / name for name in names], options=OPTIONS.get(names[0])))


def only_account(ledger: Ledger) -> Account:
    (account,) = ledger.accounts()
    return account


def json_of(ledger: Ledger) -> Json:
    return replay_json(only_account(ledger).portfolio, until=None, known_at=None, version=0, head="", selected=0)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.create(f"sqlite:///{tmp_path}/desk.db") as opened:
        yield opened


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_an_import_reproduces_every_figure_of_the_broker(ledger, name):
    (report,) = imported(ledger, name)
    checks = {check.name: check for check in report.checks}
    assert [check for check in report.checks if check.disagreements or check.doubts] == []
    balance, closed, still_open = FIGURES[name]
    assert checks["balance column"].agreed == balance
    assert (checks["closed positions"].agreed if "closed positions" in checks else None) == closed
    assert (checks["open positions"].agreed if "open positions" in checks else None) == still_open
    assert report.conflicts == ()
    assert only_account(ledger).portfolio.unexplained == ()
    assert ledger.verify().ok


@pytest.mark.parametrize("name", FROM_BIRTH)
def test_replay_right_after_any_deal_gives_the_balance_of_its_row(ledger, name):
    imported(ledger, name)
    account = only_account(ledger)
    clock = account.terms.clock
    rows = {deal.time_msc // 1000: deal for deal in read_statement(FOLDER / name).deals}
    step = max(1, len(rows) // 40)  # a replay each: a sample of the long ones, the last always
    for second in [*sorted(rows)[::step], max(rows)]:
        portfolio = account.replay(until=utc_text(clock.to_utc_msc(second * 1000)))
        assert portfolio.balance + portfolio.credit == rows[second].balance


def test_the_dump_comes_to_the_sum_of_its_money(ledger):
    (report,) = imported(ledger, "deals_dump_hedge.csv")
    portfolio = only_account(ledger).portfolio
    assert (report.appended, str(portfolio.balance.normalize()), portfolio.credit) == (135, "90.18", 0)
    assert dict(portfolio.positions) == {}


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_in_any_order_all_at_once_or_twice_the_portfolio_is_the_same(group):
    names = GROUPS[group]
    items = []
    for calls in (
        *([[name] for name in order] for order in permutations(names)),
        [names],
        [[name] for name in [*names, *names]],
    ):
        with Ledger.open("memory://") as ledger:
            for call in calls:
                imported(ledger, *call)
            items.append(json_of(ledger))
            assert ledger.verify().ok
    assert [other for other in items if other != items[0]] == []


def test_later_exports_append_only_what_is_new(ledger):
    appended = [imported(ledger, name)[0].appended for name in GROUPS["ftmo"]]
    assert appended == [433, 252, 77]
    before = only_account(ledger).version
    assert [imported(ledger, name)[0].appended for name in GROUPS["ftmo"]] == [0, 0, 0]
    assert only_account(ledger).version == before


def test_a_gap_between_two_exports_is_reported(ledger):
    imported(ledger, "oanda_jpy_hedge_to0728.html")
    (report,) = imported(ledger, "oanda_jpy_hedge_from0729.html")
    assert not report.agrees  # positions that were closed in the gap are still open here
    assert any("moved the balance by 626" in note for note in report.notes)
    assert only_account(ledger).portfolio.balance == 3000264


@pytest.mark.parametrize("name", ["orders_dump_hedge.csv", "positions_dump_b3.csv"])
def test_what_is_no_deal_history_is_refused(ledger, name):
    with pytest.raises(Exception, match=name):
        import_files(ledger, [FOLDER / name], options=ImportOptions(account=AccountId("X", 1), mode="hedging", currency="USD"))
    assert ledger.accounts() == []
