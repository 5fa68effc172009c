"""This module is portfolios and orders for tests: folded from events alone, without a journal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ledger import Event
from ledger.events.orders import OrderAnswered, OrderIntended, OrderSeen
from ledger.orders.view import Orders
from ledger.portfolio import Portfolio
from ledger.postings import NO_DEAL, Posting, deal_posting
from ledger.terms import AccountTerms, terms_after
from tools.testkit.facts import START_MSC, fill, opened

TOKEN = "L" + "A" * 19


def fold_events(events: Iterable[Event], mode: str = "hedging", **terms: Any) -> tuple[Portfolio, Orders]:
    """Return the portfolio and the orders of an account, after events in their order."""
    account = opened(mode=mode, **terms)
    portfolio, orders = Portfolio(AccountTerms.of(account)), Orders(AccountTerms.of(account))
    for version, event in enumerate([account, *events], 1):
        portfolio.apply(event, version)
        orders.terms = terms_after(orders.terms, [event]) or orders.terms
        if event.__class__.__name__ == "FillRecorded":
            orders.fold([deal_posting(event, orders.terms, version)], _no_decode)  # type: ignore[arg-type]
        elif event.__class__.__module__ == "ledger.events.orders":
            row = Posting._make([None] * len(Posting._fields))._replace(kind=type(event).__name__, version=version)
            orders.fold([row._replace(time_msc=START_MSC, deal=NO_DEAL)], lambda _, event=event: event)  # type: ignore[misc]
    return portfolio, orders


def _no_decode(row: object) -> Event:
    raise AssertionError(f"a deal is folded as its posting, found {row}")


def held(position_id: int, side: str = "buy", volume: str = "1", symbol: str = "EURUSD", **fields: Any) -> Event:
    """Return the deal that opened a position."""
    return fill(position_id, side=side, volume=volume, symbol=symbol, **fields)


def intended(client_id: str, kind: str = "market", *, until_utc_msc: int | None = None, **fields: Any) -> OrderIntended:
    """Return that an order may be sent. Without ``until_utc_msc`` it never becomes unknown."""
    return OrderIntended(
        client_id=client_id, token=TOKEN, kind=kind, time_msc=START_MSC, valid_until_utc_msc=until_utc_msc, **fields
    )


def answered(client_id: str, verdict: str, ticket: int = 0) -> OrderAnswered:
    """Return the answer to an order."""
    return OrderAnswered(client_id=client_id, verdict=verdict, order=ticket, deal=0, volume=0, time_msc=START_MSC)


def shown(client_id: str | None, ticket: int, state: int = 1, type: int = 2, volume: str = "1", **fields: Any) -> OrderSeen:  # noqa: A002
    """Return that the broker shows an order."""
    output: dict[str, Any] = {"symbol": "EURUSD", "time_msc": START_MSC} | fields
    return OrderSeen(
        client_id=client_id, ticket=ticket, state=state, type=type, volume_initial=volume, volume_current=volume, **output
    )
