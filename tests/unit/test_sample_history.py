"""The invented account of tools/samples/history.py is the same every time, and agrees with itself."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from tools.samples.history import main, make_history, render_html


@pytest.mark.parametrize("form", ["html", "xlsx", "csv"])
def test_the_same_seed_gives_the_same_bytes(tmp_path, form):
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for path, seed in ((first, "7"), (again, "7"), (other, "8")):
        assert main(["--mode", "hedging", "--deals", "60", "--seed", seed, "--format", form, "--out", str(path)]) == 0
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_a_simulated_account_has_everything_that_accounts_have(mode):
    deals = make_history(2, mode, 1500).deals
    assert {deal.entry for deal in deals} == {"", "in", "out", "out by" if mode == "hedging" else "in/out"}
    assert {"balance", "credit", "dividend", "tax", "so compensation"} < {deal.type for deal in deals}
    assert any(deal.fee for deal in deals)
    assert {deal.swap > 0 for deal in deals if deal.swap} == {True, False}
    assert any(before.time_msc // 1000 == after.time_msc // 1000 for before, after in pairwise(deals))
    assert any(deal.comment.startswith("[so") for deal in deals)


def test_the_figures_of_a_simulated_account_agree():
    history = make_history(2, "hedging", 400)
    balance = Decimal(0)
    for deal in history.deals:
        balance += deal.profit + deal.commission + deal.fee + deal.swap
        assert deal.balance == balance
    assert history.balance + history.credit == balance
    closed = sum(row.profit for row in history.closed)
    assert closed == sum(deal.profit for deal in history.deals if deal.entry in ("out", "out by"))


def test_windows_of_a_simulated_account_join():
    history = make_history(2, "netting", 100)
    first, second = history.window(0, 40), history.window(40)
    assert first.deals + second.deals == history.deals
    assert first.deals[-1].balance == second.opening
    assert {row.position_id for row in first.open} == set(second.open_before)
    assert (second.open, second.balance) == (history.open, history.balance)


def test_thirteen_columns_have_none_for_fees():
    with pytest.raises(ValueError, match="fees=False"):
        render_html(make_history(2, "hedging", 200), columns=13)
