"""Bookings add up to what the portfolio shows, however many postings come at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.bookings import Booking, booked, figures_of
from ledger.codec import decode_posting
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from tests.property.test_fold import recorded
from tests.support.strategies import histories, revised_histories


def bookings_of(account, size) -> tuple[Portfolio, list[Booking], list[OpenPosition]]:
    """Return the portfolio, the bookings and the positions that went flat, folded so many postings at a time."""
    selection, terms = account.selection()
    portfolio = Portfolio(terms)
    closed: list[OpenPosition] = []
    rows = list(account.ledger.journal.postings(account.name, selection, terms))
    found = [
        one
        for begin in range(0, len(rows), size)
        for one in booked(portfolio, rows[begin : begin + size], decode_posting, closed)
    ]
    return portfolio, found, closed


@given(st.data())
def test_bookings_add_up_to_the_balance_the_credit_and_the_sums(data):
    history = data.draw(histories())
    account = recorded(history.deals, history.mode)
    portfolio, found, closed = bookings_of(account, data.draw(st.integers(1, 50)))
    assert portfolio.state() == account.portfolio.state()
    terms, totals = portfolio.terms, portfolio.totals
    assert terms.money(sum(one.amount for one in found)) == portfolio.balance
    assert terms.money(sum(one.credited for one in found)) == portfolio.credit
    trades = [one for one in found if one.kind == "trade"]
    for name in ("commission", "fee", "swap", "profit"):
        assert terms.money(sum(getattr(one, name) for one in trades)) == getattr(totals, name)
    assert len([one for one in found if one.deal < 2**63 - 1]) == totals.deals
    shown = [terms.money(figures_of(one).net) for one in closed]
    expected = [one.profit + one.swap + one.commission + one.fee for one in account.trades()]
    assert shown == expected[: len(shown)]


@given(revised_histories(), st.integers(1, 7))
def test_the_size_of_a_run_changes_nothing(drawn, size):
    history, events = drawn
    account = recorded(events, history.mode)
    assert bookings_of(account, size)[1] == bookings_of(account, 10_000)[1]
