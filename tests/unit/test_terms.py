"""The account terms: what changes them, and what fits them."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import AccountOpened, Adjusted, ClockRule, InexactNumber, SymbolSpecified, SyncRestored
from ledger.events import BalanceAsserted, DealOrder, DriftCorrected, Event, GhostClosed, PositionRecovered
from ledger.terms import TERMS_KINDS, AccountTerms, check_fit, terms_after
from tools.testkit.every_event import EVENTS
from tools.testkit.stories import at, state


def opening(**terms: Any) -> AccountOpened:
    known: dict[str, Any] = {"currency": "USD", "currency_digits": 2, "mode": "hedging", "clock": "UTC", "time_msc": at(0)}
    return AccountOpened(server="Broker-Live", login=70113, **(known | terms))


def adjusted(**change: Any) -> Adjusted:
    return Adjusted(operator="mk", reason="why", time_msc=at(9), **change)


def test_an_account_opens_with_its_clock_and_order_and_later_events_change_them():
    terms = terms_after(None, [opening(order="time"), SymbolSpecified(symbol="A", time_msc=at(0), digits=2)])
    assert terms is not None
    assert (terms.clock, terms.order, list(terms.symbols)) == (ClockRule("UTC"), DealOrder.TIME, ["A"])
    changes: list[Event] = [
        adjusted(clock_before="UTC", clock_after="+03:00"),
        adjusted(order_before="time", order_after="ticket"),
        SymbolSpecified(symbol="B", time_msc=at(0)),
        SymbolSpecified(symbol="A", time_msc=at(5), digits=3),
    ]
    after = terms_after(terms, changes)
    assert after is not None
    assert (after.clock, after.order, after.opened) == (ClockRule("+03:00"), DealOrder.TICKET, terms.opened)
    assert {name: one.digits for name, one in after.symbols.items()} == {"A": 3, "B": None}
    assert {name: one.digits for name, one in terms.symbols.items()} == {"A": 2}


def test_there_are_no_terms_before_the_account_is_open():
    assert terms_after(None, []) is None
    assert terms_after(None, [SyncRestored(time_msc=at(1))]) is None


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_only_events_of_the_named_kinds_change_terms(event):
    terms = AccountTerms.of(opening())
    changed = terms_after(terms, [event]) != terms
    assert changed == (type(event).__name__ in TERMS_KINDS)


@pytest.mark.parametrize(
    "event",
    [
        PositionRecovered(position=state("long 0.123456789 @ 10"), time_msc=at(9)),
        GhostClosed(before=state("long 0.000000001 @ 10"), time_msc=at(9)),
        DriftCorrected(before=state("long 0.123456789 @ 10"), after=state("long 1 @ 10"), time_msc=at(9)),
        BalanceAsserted(balance="0.1234567", time_msc=at(9)),
        adjusted(credit_before="0.1234567", credit_after=1),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_the_fold_could_not_count_does_not_fit(event: Event):
    with pytest.raises(InexactNumber):
        check_fit(event, AccountTerms.of(opening()))
