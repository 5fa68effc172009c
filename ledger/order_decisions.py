"""What a person decides about orders: what became of one that nobody knows, the limits, halts, the gateway's store.

As with corrections, a decision is proposed with its effect first, then recorded. It rests on a version: if somebody else wrote
meanwhile, a resolution has to be made again from what is known then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from ledger.clock import utc_text
from ledger.codec import decode_posting, posting, recorded
from ledger.errors import BadValue, RuleError, VersionConflict
from ledger.events import LimitsSet, OrderEvent, OrderResolved, Recorded, StorePinned, TradingHalted, TradingResumed
from ledger.events.fields import to_ticket
from ledger.events.orders import HaltMode, HaltScope, OrderBasis, OrderKind, OrderOutcome
from ledger.journal import Outcome, Selection
from ledger.journal.admission import simulated_rows
from ledger.orders.limits import Limits
from ledger.orders.states import WITHOUT_FILLS, OrderState
from ledger.orders.view import Order, Orders
from ledger.portfolio import Portfolio
from ledger.postings import DEAL, NO_DEAL, Posting, dump_json
from ledger.service import Account
from ledger.values import plain, shown, to_word

#: What a person may decide about an order.
OUTCOMES: Final = (OrderOutcome.EXECUTED, OrderOutcome.WORKING, OrderOutcome.REJECTED, OrderOutcome.ABSENT)

_NEVER_EXECUTED: Final = frozenset({OrderOutcome.REJECTED, OrderOutcome.ABSENT})
_ATTEMPTS: Final = 100
_NAMED_MAX: Final = 5
_KIND, _VERSION, _ORDER_TICKET, _DATA = map(Posting._fields.index, ("kind", "version", "order_ticket", "data"))


@frozen(kw_only=True)
class Resolution:
    """What would be recorded of an order, and what it changes.

    Attributes:
        events: What would be recorded.
        before: The order as it is.
        after: The order as it would be.
        blocked_before: What accepts no new risk as long as orders are unknown: symbol -> client ids of these; None for any.
        blocked_after: What would accept none behind it.
        notes: What the person should know before.
        version: The version that it rests on.
    """

    events: tuple[OrderEvent, ...]
    before: Order
    after: Order
    blocked_before: Mapping[str | None, tuple[str, ...]]
    blocked_after: Mapping[str | None, tuple[str, ...]]
    notes: tuple[str, ...]
    version: int


@frozen(kw_only=True)
class Halt:
    """A halt in force. ``since_msc`` in broker server time; it is of an ``operator`` or of a ``rule``."""

    scope: HaltScope
    name: str | None
    mode: HaltMode
    number: int
    since_msc: int
    reason: str
    operator: str | None = None
    rule: str | None = None


@frozen(kw_only=True)
class LimitsChange:
    """What setting limits would change: rules as JSON values, ``before`` None where there were none.

    ``events`` is empty where these limits are in force already. ``version`` is the one that it rests on.
    """

    events: tuple[OrderEvent, ...]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    version: int

    @property
    def changes(self) -> tuple[tuple[str, Any, Any], ...]:
        """The rules that change: name, value before, value after; None where the rule is not checked."""
        before = self.before or {}
        names = sorted(before.keys() | self.after.keys())
        return tuple(
            (name, before.get(name), self.after.get(name)) for name in names if before.get(name) != self.after.get(name)
        )


@frozen(kw_only=True)
class StoreChange:
    """What pinning a store would change. ``left``: client ids of open orders that were sent through another store.

    ``events`` is empty where the store is pinned already. ``version`` is the one that it rests on.
    """

    events: tuple[OrderEvent, ...]
    before: str | None
    after: str
    left: tuple[str, ...]
    version: int


# ---- asking


def orders_at_head(account: Account) -> tuple[int, Orders]:
    """Return the account's version and its orders at it: what a decision can rest on.

    Raises:
        AccountUnknown: The account was not opened.
    """
    version = account.journal_head.version
    return version, account.replayed_orders(Selection(version=version))


def named_order(orders: Iterable[Order], name: str) -> Order | None:
    """Return the order that is known by a name: its client id, else its token, else its ticket. None without one."""
    listed = tuple(orders)
    for is_meant in (
        lambda one: one.client_id == name,
        lambda one: one.token == name,
        lambda one: name in map(str, one.tickets),
    ):
        found = [one for one in listed if is_meant(one)]
        if found:
            return found[-1]
    return None


def order_history(account: Account, order: Order) -> tuple[Recorded, ...]:
    """Return all events about an order, oldest first: its request, its answer, what the broker showed, its deals, changes."""
    journal, version = account.ledger.journal, account.journal_head.version
    found = {row[_VERSION] for block in journal.order_events(account.name, version) for row in block if _is_about(row, order)}
    if order.client_id is not None:
        named = journal.order_events(account.name, version, client_id=order.client_id)
        found |= {row[_VERSION] for block in named for row in block}
    if order.tickets:  # only what the broker knows has deals, which are found among all of the account
        deals = journal.order_rows(account.name, Selection(version=version))
        found |= {row[_VERSION] for block in deals for row in block if _is_deal_of(row, order)}
    return tuple(one for version in sorted(found) for one in account.events(after=version - 1, upto=version))


def _is_deal_of(row: tuple[object, ...], order: Order) -> bool:
    return row[DEAL] not in (None, NO_DEAL) and row[_ORDER_TICKET] in order.tickets


def _is_about(row: tuple[Any, ...], order: Order) -> bool:
    """Return whether an event about orders is about this one: about its ticket, or to change or cancel it."""
    names = [dump_json(order.client_id)] if order.client_id is not None else []
    if not any(name in row[_DATA] for name in (*names, *map(str, order.tickets))):
        return False  # it need not be read closer
    event = decode_posting(row)
    if order.client_id is not None and getattr(event, "target_client_id", None) == order.client_id:
        return True
    return getattr(event, "ticket", None) in order.tickets or getattr(event, "target_order", None) in order.tickets


def halts(account: Account, orders: Orders | None = None) -> tuple[Halt, ...]:
    """Return the halts in force, with who halted and why.

    Args:
        account: Whose.
        orders: Its orders, where they are known already.
    """
    orders = orders or orders_at_head(account)[1]
    if not orders.halts:
        return ()
    return tuple(
        {
            (event.scope, event.name): Halt(
                scope=event.scope, name=event.name, mode=event.mode, number=event.number, since_msc=event.time_msc,
                reason=event.reason, operator=event.operator, rule=event.rule,
            )
            for event in _order_events(account, TradingHalted.__name__)
            if (event.scope, event.name) in orders.halts
        }.values()
    )  # fmt: skip


def _order_events(account: Account, kind: str) -> Iterator[Any]:
    """Yield the events of one kind about orders, oldest first, without the journal's other events being read."""
    for block in account.ledger.journal.order_events(account.name, account.journal_head.version):
        yield from (decode_posting(row) for row in block if row[_KIND] == kind)


def blocked_by_unknown(portfolio: Portfolio, orders: Iterable[Order]) -> dict[str | None, tuple[str, ...]]:
    """Return symbol -> the client ids of the unknown orders that block it; None for those that may be about any symbol."""
    blocked: dict[str | None, tuple[str, ...]] = {}
    listed = tuple(orders)
    for one in listed:
        if one.is_unknown and one.kind is not OrderKind.STOPS:  # asking for stops again does no harm
            symbol = _symbol_of(one, portfolio, listed)
            blocked[symbol] = (*blocked.get(symbol, ()), str(one.client_id))
    return blocked


def _symbol_of(order: Order, portfolio: Portfolio, orders: Sequence[Order]) -> str | None:
    """Return which symbol an order is about: its position's, its own, or that of the order that it changes or cancels."""
    position = portfolio.position(order.position_id) if order.position_id else None
    if position is not None:
        return position.symbol
    request = order.request
    if order.symbol is not None or request is None:
        return order.symbol
    return next(
        (
            one.symbol
            for one in orders
            if (request.target_client_id is not None and one.client_id == request.target_client_id)
            or (request.target_order is not None and request.target_order in one.tickets)
        ),
        None,
    )


# ---- what became of an order


def propose_resolution(
    account: Account,
    *,
    client_id: str,
    outcome: OrderOutcome | str,
    operator: str,
    reason: str,
    tickets: Iterable[int] = (),
) -> Resolution:
    """Propose what became of an order whose fate is not known.

    Several tickets are a broker that executed one order more than once: that is recorded as a duplicate, and the account is
    halted with it.

    Args:
        account: Whose order.
        client_id: Which: its client id, else its token or a ticket.
        outcome: executed, working, rejected or absent.
        operator: Who decides.
        reason: Why.
        tickets: The broker's tickets of it, as far as they are not known.

    Raises:
        RuleError: It contradicts what is recorded, or nothing has to be decided.
    """
    outcome = to_word(outcome, OrderOutcome)
    if outcome not in OUTCOMES:
        raise BadValue(f"expected one of {', '.join(one.value for one in OUTCOMES)}, found {outcome.value}")
    version, portfolio = account.current()
    orders = account.replayed_orders(Selection(version=version))
    now_msc = account.ledger.now_us() // 1000
    listed = orders.orders(at_utc_msc=now_msc)
    before = named_order(listed, client_id)
    if before is None:
        raise RuleError(f"no order of {account.name} is known by {shown(client_id)}; {_named_open(listed)}")
    given = tuple(dict.fromkeys(map(to_ticket, tickets)))
    _require_open(before, outcome, now_msc)
    _require_sense(before, outcome, given, listed)
    assert before.client_id is not None, "an order that is not ours was refused"
    all_tickets = tuple(dict.fromkeys((*before.tickets, *given)))
    is_duplicate = len(all_tickets) > 1 and outcome is OrderOutcome.EXECUTED
    time_msc = orders.terms.clock.from_utc_msc(now_msc)
    events: list[OrderEvent] = [
        OrderResolved(
            client_id=before.client_id, number=before.resolutions + 1,
            outcome=OrderOutcome.DUPLICATE if is_duplicate else outcome, basis=OrderBasis.PERSON,
            tickets=all_tickets if is_duplicate else given, operator=operator, reason=reason, time_msc=time_msc,
        )
    ]  # fmt: skip
    if is_duplicate and orders.halts.get((HaltScope.ACCOUNT, None)) is not HaltMode.ALL:
        events.append(
            TradingHalted(
                scope=HaltScope.ACCOUNT, number=orders.halt_number(HaltScope.ACCOUNT) + 1, mode=HaltMode.ALL,
                operator=operator, reason=reason, time_msc=time_msc,
            )
        )  # fmt: skip
    rows = simulated_rows(events, orders.terms, version, lambda _: None)
    orders.fold(map(posting, rows), decode_posting)
    listed_after = orders.orders(at_utc_msc=now_msc)
    after = named_order(listed_after, before.client_id)
    assert after is not None, "no order disappears"
    if (after.state, after.tickets) == (before.state, before.tickets):
        raise RuleError(
            f"order {before.client_id} would stay {before.state.value}: {before.why}. Facts of the broker, and what was "
            f"decided before, have that effect already. See: ledger order show {before.client_id}"
        )
    return Resolution(
        events=tuple(events),
        before=before,
        after=after,
        blocked_before=blocked_by_unknown(portfolio, listed),
        blocked_after=blocked_by_unknown(portfolio, listed_after),
        notes=tuple(_notes(before, after, outcome, given, listed, is_duplicate=is_duplicate)),
        version=version,
    )


def apply_resolution(account: Account, proposal: Resolution) -> tuple[Recorded, ...]:
    """Record a resolution. Returns the events that were appended.

    Raises:
        VersionConflict: Somebody wrote since it was made: propose again, and look at the effect again.
    """
    return _appended(account, proposal.events, proposal.version)


def _appended(account: Account, events: Iterable[OrderEvent], version: int) -> tuple[Recorded, ...]:
    appended = account.record_many(events, expected_version=version)
    terms = account.terms
    return tuple(recorded(account.name, row, terms) for row in appended.rows)


def _named_open(orders: Sequence[Order]) -> str:
    names = [str(one.client_id or one.ticket) for one in orders if one.is_open]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f"open are: {', '.join(names[:_NAMED_MAX]) or 'none'}{more}. See: ledger orders"


def _require_open(order: Order, outcome: OrderOutcome, now_msc: int) -> None:
    """Refuse an order about which there is nothing to decide. One that was held never executed may turn out otherwise."""
    if order.client_id is None:
        raise RuleError(f"order {order.ticket} is not ours: no intent asked for it, so there is nothing to resolve")
    until = order.valid_until_utc_msc
    if order.state is OrderState.INTENDED and until is not None and until >= now_msc:
        raise RuleError(
            f"order {order.client_id} may be under way until {utc_text(until)}: wait, then look again (ledger orders --open)"
        )
    is_revised = order.state in (OrderState.ABSENT, OrderState.REJECTED) and outcome not in _NEVER_EXECUTED
    if not order.is_open and not is_revised:
        raise RuleError(f"order {order.client_id} is {order.state.value} already, there is nothing to resolve: {order.why}")


def _require_sense(order: Order, outcome: OrderOutcome, given: Sequence[int], orders: Sequence[Order]) -> None:
    """Refuse an outcome that what is recorded, or the kind of the order, contradicts."""
    name = f"order {order.client_id}"
    if outcome in _NEVER_EXECUTED and order.filled:
        raise RuleError(f"{name} cannot be {outcome.value}: deals of {plain(order.filled)} lots are recorded for it")
    if outcome in _NEVER_EXECUTED and given:
        raise RuleError(f"{name} cannot be {outcome.value} and have a ticket: what has one is executed or working")
    if order.kind in WITHOUT_FILLS:
        if given or outcome is OrderOutcome.WORKING:
            raise RuleError(
                f"{name} is of kind {order.kind.value}: that has no ticket of its own and is never working. "
                "Expected executed (it was done), rejected or absent, without a ticket"
            )
        return
    if outcome not in _NEVER_EXECUTED and not (given or order.tickets):
        raise RuleError(f"{name} has no ticket yet: name the one that the terminal shows, with --ticket")
    for ticket in given:
        _require_free(order, ticket, orders)


def _require_free(order: Order, ticket: int, orders: Sequence[Order]) -> None:
    for one in orders:
        if ticket not in one.tickets or one.client_id == order.client_id:
            continue
        if one.client_id is not None:
            raise RuleError(f"ticket {ticket} belongs to order {one.client_id} already: one ticket is of one order")
        for field in ("symbol", "side"):
            ours, theirs = getattr(order, field), getattr(one, field)
            if None not in (ours, theirs) and ours != theirs:
                raise RuleError(
                    f"ticket {ticket} is of another order: expected {field} {getattr(ours, 'value', ours)}, found "
                    f"{getattr(theirs, 'value', theirs)}"
                )


def _notes(
    before: Order, after: Order, outcome: OrderOutcome, given: Sequence[int], orders: Sequence[Order], *, is_duplicate: bool
) -> Iterable[str]:
    if outcome in _NEVER_EXECUTED:
        yield "if it was executed all the same, an engine that orders again doubles the exposure: look at the terminal first"
        if before.tickets:
            yield f"the broker showed it under ticket {before.tickets[0]}: is it really gone from orders, history and deals?"
    known = {ticket for one in orders for ticket in one.tickets}
    for ticket in given:
        if ticket not in known and not after.filled:
            yield f"no record has ticket {ticket} so far: compare it with the terminal"
    if after.kind not in WITHOUT_FILLS and outcome is OrderOutcome.EXECUTED and after.is_open:
        yield "its deals are not all recorded yet: ledger sync records them, and it counts as working until then"
    if after.volume is not None and after.filled > after.volume:
        yield f"deals of {plain(after.filled)} lots are recorded, it asked for {plain(after.volume)}"
    if is_duplicate:
        yield "several tickets are one order executed more than once: the account is halted with it"


# ---- limits


def limits_in_force(account: Account) -> LimitsSet | None:
    """Return the limits that were set last, with who set them and why; None where none ever were."""
    last = None
    for event in _order_events(account, LimitsSet.__name__):
        last = event
    return last


def propose_limits(account: Account, limits: Limits, *, operator: str, reason: str) -> LimitsChange:
    """Propose limits: all rules, those that are left out are not checked any more.

    Raises:
        AccountUnknown: The account was not opened.
    """
    version, orders = orders_at_head(account)
    before = None if orders.limits is None else json.loads(orders.limits)
    after = limits.rules
    time_msc = orders.terms.clock.from_utc_msc(account.ledger.now_us() // 1000)
    event = LimitsSet(rules=after, operator=operator, reason=reason, time_msc=time_msc)
    return LimitsChange(events=() if before == after else (event,), before=before, after=after, version=version)


def apply_limits(account: Account, proposal: LimitsChange) -> tuple[Recorded, ...]:
    """Record limits. Returns the events that were appended. Raises as ``apply_resolution``."""
    return _appended(account, proposal.events, proposal.version) if proposal.events else ()


# ---- the gateway's store


def propose_store(account: Account, store: str, *, operator: str, reason: str) -> StoreChange:
    """Propose the gateway's store that new intents are pinned to: after its disk was lost or replaced.

    Raises:
        AccountUnknown: The account was not opened.
        BadValue: It is no name of a store.
    """
    version, orders = orders_at_head(account)
    now_msc = account.ledger.now_us() // 1000
    event = StorePinned(
        store=store, number=orders.pinned_number + 1, operator=operator, reason=reason,
        time_msc=orders.terms.clock.from_utc_msc(now_msc),
    )  # fmt: skip
    before = orders.pinned_store
    left = tuple(
        str(one.client_id) for one in orders.orders(at_utc_msc=now_msc) if one.is_open and one.store not in (None, event.store)
    )
    return StoreChange(
        events=() if before == event.store else (event,), before=before, after=event.store, left=left, version=version
    )


def apply_store(account: Account, proposal: StoreChange) -> tuple[Recorded, ...]:
    """Record a pinned store. Returns the events that were appended. Raises as ``apply_resolution``."""
    return _appended(account, proposal.events, proposal.version) if proposal.events else ()


# ---- halts


def halt(
    account: Account,
    *,
    reason: str,
    operator: str | None = None,
    rule: str | None = None,
    symbol: str | None = None,
    strategy: str | None = None,
    mode: HaltMode | str = HaltMode.ALL,
) -> Outcome:
    """Halt trading: of the account, or of one symbol or strategy. Harmless where it is halted so already.

    Args:
        account: Whose trading.
        reason: Why.
        operator: Who halts; or else the ``rule`` that does.
        rule: The rule that halts.
        symbol: Only this one.
        strategy: Only this one.
        mode: ``all``: nothing is sent but cancellations; ``no_new_risk``: only what makes exposure smaller.

    Raises:
        BadValue: Symbol and strategy are both given, or something is not what it has to be.
    """
    scope, name = _scope_of(symbol, strategy)
    wanted = to_word(mode, HaltMode)

    def decide(orders: Orders, time_msc: int) -> OrderEvent | None:
        if orders.halts.get((scope, name)) is wanted:
            return None
        return TradingHalted(
            scope=scope, name=name, number=orders.halt_number(scope, name) + 1, mode=wanted, reason=reason, operator=operator,
            rule=rule, time_msc=time_msc,
        )  # fmt: skip

    return _decided(account, decide)


def resume(account: Account, *, operator: str, reason: str, symbol: str | None = None, strategy: str | None = None) -> Outcome:
    """End a halt of the account, or of one symbol or strategy. Other halts stay in force.

    Raises:
        RuleError: It is not halted, or somebody halted it anew meanwhile.
    """
    scope, name = _scope_of(symbol, strategy)
    seen: list[int] = []

    def decide(orders: Orders, time_msc: int) -> OrderEvent:
        number = orders.halt_number(scope, name)
        if (scope, name) not in orders.halts:
            others = ", ".join(scope_text(*one) for one in orders.halts)
            raise RuleError(f"{scope_text(scope, name)} of {account.name} is not halted; halted are: {others or 'none'}")
        if seen and seen[0] != number:
            raise RuleError(f"{scope_text(scope, name)} of {account.name} was halted anew meanwhile: look at the reason first")
        seen.append(number)
        return TradingResumed(
            scope=scope, name=name, number=number + 1, operator=operator, reason=reason, time_msc=time_msc
        )  # fmt: skip

    return _decided(account, decide)


def scope_text(scope: HaltScope, name: str | None) -> str:
    """Write what a halt is about, for people."""
    return "the account" if name is None else f"{scope.value} {name}"


def _scope_of(symbol: str | None, strategy: str | None) -> tuple[HaltScope, str | None]:
    if symbol is not None and strategy is not None:
        raise BadValue("a halt is of the account, of a symbol or of a strategy: found both a symbol and a strategy")
    if symbol is not None:
        return HaltScope.SYMBOL, symbol
    return (HaltScope.ACCOUNT, None) if strategy is None else (HaltScope.STRATEGY, strategy)


def _decided(account: Account, decide: Callable[[Orders, int], OrderEvent | None]) -> Outcome:
    """Record what is decided from the orders as they are; what comes between only makes it be decided again."""
    for attempt in range(1, _ATTEMPTS + 1):
        version, orders = orders_at_head(account)
        event = decide(orders, orders.terms.clock.from_utc_msc(account.ledger.now_us() // 1000))
        if event is None:
            return Outcome.DUPLICATE
        try:
            return account.record(event, expected_version=version)
        except VersionConflict:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")
