"""Reports of the real exports agree with the figures that the brokers printed in them. Without the exports: skipped."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.imports import attribute, read_statement
from ledger.reports.build import report_of_events, report_of_tables
from ledger.results_check import State, check_results
from ledger.values import MarginMode
from tests.data.test_shared_imports import FIGURES, FROM_BIRTH, imported, only_account

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_report_has_the_figures_that_the_broker_printed(name):
    statement = read_statement(FOLDER / name)
    figures = check_results(statement, attribute(statement, statement.mode or MarginMode.NETTING)) or ()
    with Ledger.open("memory://") as ledger:
        imported(ledger, name)
        account = only_account(ledger)
        report = account.report(by="symbol")
        account.derived.catch_up()
        assert report_of_tables(account, report.question) == report_of_events(account, report.question)
        assert (report.reconciles, report.money.end) == (True, account.portfolio.balance)
        assert report.results is not None
        agreed = [one for one in figures if one.state is State.AGREED and hasattr(report.results, one.name)]
        if statement.kind == "tester":  # divides by the drawdown of equity
            agreed = [one for one in agreed if one.name != "recovery_factor"]
        for one in agreed:
            ours = getattr(report.results, one.name)
            theirs = Decimal(one.theirs or "")
            half = Decimal("0.5").scaleb(int(theirs.as_tuple().exponent))
            assert abs(Decimal(ours or 0) - theirs) <= half, one.name
        assert len(agreed) >= 30 or not figures


@pytest.mark.parametrize("name", [one for one in FROM_BIRTH if FIGURES[one][1] is not None])
def test_trades_by_position_are_the_closed_positions_of_the_broker(name):
    statement = read_statement(FOLDER / name)
    with Ledger.open("memory://") as ledger:
        imported(ledger, name)
        account = only_account(ledger)
        report, held = account.report(), account.portfolio.positions
    assert statement.closed is not None
    closed = [one for one in statement.closed if one.position_id not in held]  # the broker lists a part that was closed as well
    assert (report.trades.count, report.trades.incomplete) == (len(closed), 0)
    printed = sum((one.profit + one.swap + one.commission for one in closed), Decimal(0))
    assert report.trades.net == printed
