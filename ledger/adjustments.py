"""A person's corrections: what no machine can know, proposed with its effect first, then recorded as ``Adjusted``.

What used to be called force add, close and update. A proposal rests on a version: if somebody else wrote meanwhile, it is
refused and has to be made again from what is known then.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import attrs
from attrs import frozen

from ledger.clock import ClockRule
from ledger.codec import Stored, decode, recorded
from ledger.errors import BadValue, RuleError, VersionConflict
from ledger.events import (
    AcceptedResult,
    Adjusted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    CashMoved,
    Deal,
    DealOrder,
    DealRevised,
    Event,
    FillRecorded,
    PositionState,
    Recorded,
)
from ledger.journal.memory import MemoryJournal
from ledger.portfolio import Portfolio
from ledger.postings import merge_records
from ledger.reconcile.decide import ours_as_seen
from ledger.reconcile.withdrawals import has_effect, open_withdrawals, withdrawal_of
from ledger.service import Account, Ledger
from ledger.values import Number, Side, exact
from ledger.views import Break, Position


@frozen(kw_only=True)
class Proposal:
    """What would be recorded, and the portfolio before and after it. ``version`` is the one that it rests on."""

    events: tuple[Event, ...]
    before: Portfolio
    after: Portfolio
    version: int


def propose_add(
    account: Account,
    *,
    position_id: int,
    symbol: str,
    side: Side | str,
    volume: Number,
    price_open: Number,
    operator: str,
    reason: str,
    magic: int | None = None,
    opened_msc: int | None = None,
) -> Proposal:
    """Propose a position that the ledger does not know.

    Args:
        account: Whose it is.
        position_id: The broker's identifier of it.
        symbol: What is traded.
        side: buy or sell.
        volume: Lots, unsigned.
        price_open: Open price.
        operator: Who corrects.
        reason: Why.
        magic: The engine's number, if it is known.
        opened_msc: Broker server time of its opening, if it is known.

    Raises:
        RuleError: The position is open already, or the account nets and the symbol has one.
    """
    version, portfolio = account.current()
    known = portfolio.positions.get(position_id)
    if known is None and portfolio.terms.opened.mode.nets:
        known = portfolio.position_of(symbol)
    if known is not None:
        raise RuleError(f"position {known.position_id} of {known.symbol} is open already: use update to change it")
    state = PositionState(
        position_id=position_id, symbol=symbol, side=Side(side), volume=exact(volume), price_open=exact(price_open),
        magic=magic, opened_msc=opened_msc,
    )  # fmt: skip
    return _proposed(account, version, portfolio, operator, reason, after=state)


def propose_close(account: Account, *, position_id: int, operator: str, reason: str) -> Proposal:
    """Propose that a position is gone. Its result is unknown until its closing deal is recorded: no correction invents money.

    Raises:
        RuleError: The position is not open.
    """
    version, portfolio = account.current()
    return _proposed(account, version, portfolio, operator, reason, before=ours_as_seen(_held(portfolio, position_id)))


def propose_update(
    account: Account,
    *,
    position_id: int,
    operator: str,
    reason: str,
    side: Side | str | None = None,
    volume: Number | None = None,
    price_open: Number | None = None,
    magic: int | None = None,
) -> Proposal:
    """Propose other terms of an open position; what is not given stays.

    Raises:
        RuleError: The position is not open.
        BadValue: Nothing is given.
    """
    version, portfolio = account.current()
    before = ours_as_seen(_held(portfolio, position_id))
    given: dict[str, Any] = {
        "side": None if side is None else Side(side),
        "volume": None if volume is None else exact(volume),
        "price_open": None if price_open is None else exact(price_open),
        "magic": magic,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise BadValue("what shall change? Give a side, a volume, an open price or a magic number")
    return _proposed(account, version, portfolio, operator, reason, before=before, after=attrs.evolve(before, **changes))


def propose_balance(
    account: Account, *, operator: str, reason: str, balance: Number | None = None, credit: Number | None = None
) -> Proposal:
    """Propose another balance or credit, in account currency.

    Raises:
        BadValue: Neither is given.
    """
    version, portfolio = account.current()
    if balance is None and credit is None:
        raise BadValue("what shall change? Give a balance or a credit")
    money: dict[str, Decimal] = {}
    if balance is not None:
        money |= {"balance_before": portfolio.balance, "balance_after": exact(balance)}
    if credit is not None:
        money |= {"credit_before": portfolio.credit, "credit_after": exact(credit)}
    return _proposed(account, version, portfolio, operator, reason, **money)


def propose_withdrawal(account: Account, *, deal: int, operator: str, reason: str) -> Proposal:
    """Propose that the broker withdrew a deal: it counts as cancelled from there on, and neither trades nor moves money.

    Raises:
        RuleError: The deal is not known, or nothing of it counts.
    """
    version, portfolio = account.current()
    known = _deal(account, deal, version)
    revised = DealRevised(now=withdrawal_of(known), caused_by=1)  # the journal names the record that it replaces
    time_msc = _time_msc(account, portfolio)
    events: list[Event] = [
        revised,
        Adjusted(operator=operator, reason=reason, time_msc=time_msc, deal=deal, caused_by=version + 1),
        *(
            BreakClosed(
                kind=one.kind, end=BreakEnd.ACCEPTED, position_id=one.position_id, time_msc=time_msc, caused_by=one.version
            )
            for one in open_withdrawals(portfolio)
            if one.deal == deal and one.version is not None
        ),
    ]  # fmt: skip
    return Proposal(events=tuple(events), before=portfolio, after=_after(account, events), version=version)


def propose_acceptance(
    account: Account, *, position_id: int | None, operator: str, reason: str, symbol: str | None = None
) -> Proposal:
    """Propose that what is unexplained of a position stays so: nobody expects a deal that explains it.

    Its trade stays incomplete. A deal that comes to light all the same counts. Open breaks of the position end as accepted.

    Args:
        account: Whose it is.
        position_id: The position; None for what no position is known of.
        operator: Who accepts.
        reason: Why.
        symbol: Only of this symbol.

    Raises:
        RuleError: Nothing about it is unexplained, and no break is open.
    """
    version, portfolio = account.current()
    found = [one for one in portfolio.unexplained if one.position_id == position_id and symbol in (None, one.symbol)]
    breaks = [
        one
        for one in portfolio.breaks
        if position_id is not None and one.position_id == position_id and one.kind is not BreakKind.APPROVAL
    ]  # one of kind approval ends when a second person confirms
    if not found and not any(one.version for one in breaks):
        known = sorted({str(one.position_id or one.symbol) for one in portfolio.unexplained})
        about = f"position {position_id}" if position_id is not None else f"symbol {symbol}"
        raise RuleError(f"nothing is unexplained about {about}; unexplained are: {', '.join(known) or 'none'}")
    volumes: dict[str, Decimal] = {}
    for one in found:
        volumes[one.symbol] = volumes.get(one.symbol, Decimal(0)) + one.volume
    if not found:
        volumes[next(one.symbol or "" for one in breaks if one.version)] = Decimal(0)
    time_msc = _time_msc(account, portfolio)
    events: list[Event] = [
        Adjusted(
            operator=operator, reason=reason, time_msc=time_msc,
            accepted=AcceptedResult(position_id=position_id, symbol=name, volume=volume),
        )
        for name, volume in sorted(volumes.items())
    ]  # fmt: skip
    events += [
        BreakClosed(
            kind=one.kind,
            end=BreakEnd.ACCEPTED,
            position_id=one.position_id,
            order=one.order,
            client_id=one.client_id,
            time_msc=time_msc,
            caused_by=one.version,
        )
        for one in breaks
        if one.version is not None
    ]
    return Proposal(events=tuple(events), before=portfolio, after=portfolio.followed_by(events, version), version=version)


def _deal(account: Account, ticket: int, version: int) -> Deal:
    """Return a deal as it counts now.

    Raises:
        RuleError: It is not known, or nothing of it counts.
    """
    rows = [row for row in account.ledger.journal.rows(account.name, upto=version) if row.deal == ticket]
    if not rows:
        raise RuleError(f"deal {ticket} is not known in {account.name}; known deals are listed by: ledger log --json")
    known = Stored(*merge_records(rows))
    deal = decode(known, account.terms)
    assert isinstance(deal, (FillRecorded, CashMoved))
    if not has_effect(known):
        raise RuleError(f"deal {ticket} is cancelled or moves nothing already: there is nothing to withdraw")
    return deal


def _after(account: Account, events: Sequence[Event]) -> Portfolio:
    """Return the portfolio with events that change what was recorded before, on a copy in memory."""
    ledger = account.ledger
    journal = MemoryJournal.copy_of(ledger.journal, [account.name], ledger.now_us)
    journal.append(account.name, events)
    return Ledger(journal, ledger.now_us).account(account.name).portfolio


def _time_msc(account: Account, portfolio: Portfolio) -> int:
    now_msc = portfolio.terms.clock.from_utc_msc(account.ledger.now_us() // 1000)
    return max(now_msc, portfolio.newest_known_msc)


def propose_clock(account: Account, *, clock: ClockRule | str, operator: str, reason: str) -> Proposal:
    """Propose another meaning of the server's wall clock. Event times change with it, figures and broker times do not.

    Raises:
        RuleError: It is the clock rule already.
    """
    version, events = account.clock_events(clock, operator=operator, reason=reason)
    return _of_terms(account, version, events, f"the clock rule is {account.terms.clock.name} already")


def propose_order(account: Account, *, order: DealOrder | str, operator: str, reason: str) -> Proposal:
    """Propose what orders the deals: ``ticket`` or ``time``. What it does to positions is seen once it is recorded.

    Raises:
        RuleError: They are ordered so already.
    """
    version, events = account.order_events(order, operator=operator, reason=reason)
    return _of_terms(account, version, events, f"the deals are ordered by {account.terms.order.value} already")


def _of_terms(account: Account, version: int, events: Sequence[Event], otherwise: str) -> Proposal:
    if not events:
        raise RuleError(f"{otherwise}: there is nothing to change")
    known, portfolio = account.current()
    if known != version:
        raise VersionConflict(str(account.name), expected=version, found=known)
    return Proposal(events=tuple(events), before=portfolio, after=portfolio, version=version)


def apply(account: Account, proposal: Proposal) -> tuple[Recorded, ...]:
    """Record a proposal. Returns the events that were appended.

    Raises:
        RuleError: The policy of the account asks for a second person: ``ledger.proposals`` has the way.
        VersionConflict: Somebody wrote since it was made: propose again, and look at the effect again.
    """
    account.require_one_person(proposal.events)
    appended = account.record_many(proposal.events, expected_version=proposal.version, correlation="correct")
    terms = account.terms
    return tuple(recorded(account.name, row, terms) for row in appended.rows)


def _proposed(
    account: Account, version: int, portfolio: Portfolio, operator: str, reason: str, **changes: PositionState | Decimal
) -> Proposal:
    time_msc = _time_msc(account, portfolio)
    adjusted = Adjusted(operator=operator, reason=reason, time_msc=time_msc, **changes)  # type: ignore[arg-type]  # by name
    events: list[Event] = [adjusted]
    events += [
        BreakClosed(kind=one.kind, end=BreakEnd.ACCEPTED, position_id=one.position_id, time_msc=time_msc, caused_by=one.version)
        for one in portfolio.breaks
        if one.version is not None and _is_settled_by(one, adjusted)
    ]
    return Proposal(
        events=tuple(events), before=portfolio, after=portfolio.followed_by(events, version), version=version
    )  # fmt: skip


def _is_settled_by(one: Break, adjusted: Adjusted) -> bool:
    """Return whether a person's correction is the answer to a break: of the same position, or of the same money."""
    if one.kind is BreakKind.BALANCE:
        return one.field is not None and getattr(adjusted, f"{one.field}_after", None) is not None
    if one.kind in (BreakKind.WITHDRAWN, BreakKind.ORDER, BreakKind.STOPS, BreakKind.APPROVAL):
        return False
    return one.position_id is not None and one.position_id == adjusted.position_id


def _held(portfolio: Portfolio, position_id: int) -> Position:
    known = portfolio.positions.get(position_id)
    if known is None:
        raise RuleError(
            f"position {position_id} is not open; open are: {', '.join(map(str, portfolio.positions)) or 'none'}. "
            "One that the ledger does not know is added"
        )
    return known
