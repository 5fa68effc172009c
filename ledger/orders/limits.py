"""Limits: the check of an order request against rules, portfolio, orders and what else could be read. Pure.

What cannot be read denies. A request that can only make exposure smaller needs few of the rules: see ``check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, localcontext
from functools import cached_property
from typing import Final

import attrs

from ledger.clock import DAY_MSC, MINUTE_MSC, ClockRule
from ledger.events.orders import HaltMode, HaltScope, OrderKind
from ledger.order_messages import RemoteCheck, RemoteTick
from ledger.orders.intervals import Book, is_of_strategy
from ledger.orders.limit_values import (
    BROKER,
    SERVER,
    VERIFIED_WITHIN_SEC,
    Amount,
    Cooldown,
    DayBase,
    Limits,
    LossBase,
    UnknownScope,
    Window,
)
from ledger.orders.losses import day_span_utc_msc, loss_of_day
from ledger.orders.request import OrderRequest
from ledger.orders.states import OPEN_QUESTION, WITHOUT_FILLS, OrderState
from ledger.orders.view import Order, Orders, how_to_resume
from ledger.portfolio import Portfolio
from ledger.terms import AccountTerms
from ledger.values import EXACT, Side, plain

__all__ = [
    "VERIFIED_WITHIN_SEC",
    "Allowed",
    "Amount",
    "ClosedResult",
    "Cooldown",
    "DayBase",
    "DayFigures",
    "Denied",
    "Intent",
    "Limits",
    "LossBase",
    "Market",
    "UnknownScope",
    "Window",
    "check",
    "day_start_utc_msc",
    "why_halted",
]

#: So far clocks of two machines may be apart before an age counts as negative.
_CLOCKS_APART_MS: Final = 1000
#: A magic number that carries a client id counts in so many bits; those above are the same for all.
_MAGIC_BITS: Final = 24
_ZERO: Final = Decimal(0)
_OPENING: Final = frozenset({OrderKind.MARKET, OrderKind.PENDING})


@attrs.frozen(kw_only=True)
class Intent:
    """An order request that was recorded to be sent, and when, in UTC."""

    utc_msc: int
    request: OrderRequest


@attrs.frozen(kw_only=True)
class ClosedResult:
    """What a deal that closed something came to, in account currency, and when it was, in UTC."""

    utc_msc: int
    result: Decimal


@attrs.frozen(kw_only=True)
class DayFigures:
    """The day's figures, in account currency.

    Attributes:
        balance: What the account had when the day began, without floating results.
        floating: The floating result at that moment; None where no mark is near enough.
        results: What was earned since: everything that changed the balance, without deposits and withdrawals.
    """

    balance: Decimal
    results: Decimal
    floating: Decimal | None = None


@attrs.frozen(kw_only=True)
class Market:
    """All that a check needs beside portfolio and orders. None is what could not be read, or was not asked for.

    Attributes:
        now_utc_msc: The present, in UTC.
        verified_age_ms: How long ago a sync verified account and symbol; None for never, or while anything disagrees.
        positions_age_ms: The same of the positions of the symbol alone: what a close rests on.
        verified_why: Why one of the two is None, for people.
        late: Client ids whose answer is late, before that shows in the journal: they are unknown.
        is_kill_switch_on: Whether the kill switch file exists.
        ticks: Symbol -> its newest prices.
        rates: Currency -> what one of it costs at most, in account currency.
        order_check: What the broker would say of the request.
        intents: What was intended within a day, oldest first.
        results: What deals that close came to, as far back as a rule looks, oldest first.
        day: The day's figures.
        floating: The floating result now, of a fresh mark.
        highest_balance: The highest balance there ever was.
        slots_max: How many positions and orders the broker allows.
    """

    now_utc_msc: int
    verified_age_ms: int | None = None
    positions_age_ms: int | None = None
    verified_why: str | None = None
    late: frozenset[str] = frozenset()
    is_kill_switch_on: bool | None = None
    ticks: Mapping[str, RemoteTick] = attrs.field(factory=dict)
    rates: Mapping[str, Decimal] = attrs.field(factory=dict)
    order_check: RemoteCheck | None = None
    intents: tuple[Intent, ...] | None = None
    results: tuple[ClosedResult, ...] | None = None
    day: DayFigures | None = None
    floating: Decimal | None = None
    highest_balance: Decimal | None = None
    slots_max: int | None = None


@attrs.frozen(kw_only=True)
class Allowed:
    """A request meets all rules. ``is_reducing``: it can only make exposure smaller, so few of them were needed."""

    is_reducing: bool = False

    @property
    def is_allowed(self) -> bool:
        """Whether the request may be sent."""
        return True


@attrs.frozen(kw_only=True)
class Denied:
    """A request does not meet a rule: what it allows, what was found, and why, with what to do about it."""

    rule: str
    limit: str
    value: str
    why: str

    @property
    def is_allowed(self) -> bool:
        """Whether the request may be sent."""
        return False


@attrs.frozen(kw_only=True, slots=False)
class _Case:
    """One check: everything that a rule looks at."""

    limits: Limits
    portfolio: Portfolio
    orders: Orders
    market: Market
    request: OrderRequest
    book: Book

    @cached_property
    def symbol(self) -> str | None:
        return self.book.symbol_of(self.request)

    @cached_property
    def why_not_reducing(self) -> str | None:
        return self.book.why_not_reducing(self.request)

    @property
    def is_reducing(self) -> bool:
        return self.why_not_reducing is None

    @cached_property
    def target(self) -> Order | None:
        """The order that a request changes."""
        return self.book.target_of(self.request)

    @property
    def terms(self) -> AccountTerms:
        return self.portfolio.terms

    @property
    def side(self) -> Side | None:
        """The side that a request trades on, None for one that may do either or none."""
        order = self.target if self.request.kind is OrderKind.MODIFY else self.request
        if order is None:
            return None
        change = self.book.change_of(order)
        if bool(change.buys) is bool(change.sells):
            return order.side
        return Side.BUY if change.buys else Side.SELL

    @property
    def lots(self) -> Decimal | None:
        """How much a request may trade, None where that is not known."""
        if self.request.kind is OrderKind.MODIFY:
            return None if self.target is None else self.target.volume
        if self.request.volume is None and self.request.position_id is not None:
            position = self.book.position(self.request.position_id)
            return None if position is None else position.volume
        return self.request.volume

    @property
    def tick(self) -> RemoteTick | None:
        return None if self.symbol is None else self.market.ticks.get(self.symbol)

    @property
    def reference(self) -> Decimal | None:
        """The price that the request would trade at now."""
        if self.tick is None or self.side is None:
            return None
        return self.tick.ask if self.side is Side.BUY else self.tick.bid

    @property
    def point(self) -> Decimal | None:
        spec = None if self.symbol is None else self.terms.symbols.get(self.symbol)
        return None if spec is None or spec.digits is None else Decimal(1).scaleb(-spec.digits)

    def value_per_price(self, symbol: str) -> Decimal | None:
        """Return what one lot gains at most with a price that is higher by 1, in account currency."""
        spec = self.terms.symbols.get(symbol)
        if spec is None or spec.contract_size is None or spec.currency is None:
            return None
        account = self.terms.opened.currency
        rate = Decimal(1) if spec.currency == account else self.market.rates.get(spec.currency)
        return None if rate is None else spec.contract_size * rate


def check(limits: Limits, portfolio: Portfolio, orders: Orders, market: Market, request: OrderRequest) -> Allowed | Denied:
    """Return whether a request may be sent. Nothing is read and nothing changes.

    A request that can only make exposure smaller, whatever became of the open orders, needs the rules ``verified_within_sec``,
    ``halted``, ``volume_step`` and ``symbol_step`` only. A cancellation needs none: it is right whatever is known.

    Returns:
        Allowed, or the first rule that denies: what could not be read denies too.
    """
    if request.kind is OrderKind.CANCEL:
        return Allowed(is_reducing=True)
    with localcontext(EXACT):
        book = Book(portfolio, orders, market.now_utc_msc, late=market.late)
        case = _Case(limits=limits, portfolio=portfolio, orders=orders, market=market, request=request, book=book)
        for rule in _REDUCING_RULES if case.is_reducing else _RULES:
            for denied in rule(case):
                return denied
        return Allowed(is_reducing=case.is_reducing)


def day_start_utc_msc(limits: Limits, terms: AccountTerms, now_utc_msc: int) -> int:
    """Return when the day began that the rules of a day count in, in UTC: in the server's clock, or in a zone of its own."""
    return day_span_utc_msc(limits.day, limits.day_start, terms, now_utc_msc)[0]


def _clock(zone: str, terms: AccountTerms) -> ClockRule:
    return terms.clock if zone == SERVER else ClockRule(zone)


# ---- the rules: each yields what denies


def _check_verified(case: _Case) -> Iterator[Denied]:
    allowed = case.limits.verified_within_sec
    age_ms = case.market.positions_age_ms if case.is_reducing else case.market.verified_age_ms
    limit = f"{allowed} s"
    if case.symbol is None:
        about = case.request.position_id or case.request.target_client_id or case.request.target_order
        why = f"the journal has nothing open of {about}, so its symbol is not known: sync first"
        yield Denied(rule="verified_within_sec", limit=limit, value="unknown", why=why)
    elif age_ms is None:
        why = f"{case.market.verified_why or 'no sync has verified account and symbol'}: run ledger sync, see ledger status"
        yield Denied(rule="verified_within_sec", limit=limit, value="unknown", why=why)
    elif not -_CLOCKS_APART_MS <= age_ms <= allowed * 1000:
        value = f"{plain(Decimal(age_ms).scaleb(-3))} s"
        why = f"{case.symbol} was verified {value} ago, expected at most {limit}: run ledger sync, see ledger status"
        yield Denied(rule="verified_within_sec", limit=limit, value=value, why=why)


def _check_halted(case: _Case) -> Iterator[Denied]:
    scopes = {
        (HaltScope.ACCOUNT, None): "the account",
        (HaltScope.SYMBOL, case.symbol): case.symbol,
        (HaltScope.STRATEGY, case.request.strategy): f"strategy {case.request.strategy}",
    }
    for (scope, name), mode in case.orders.halts.items():
        if (scope, name) in scopes and (mode is HaltMode.ALL or not case.is_reducing):
            what = "nothing but cancelling" if mode is HaltMode.ALL else "only what reduces exposure"
            ends = f"{how_to_resume(scope, name)} ends it"
            why = f"trading of {scopes[scope, name]} is halted, {what} is allowed: {ends}{_reason(case)}"
            yield Denied(rule="halted", limit=mode.value, value=name or scope.value, why=why)


def why_halted(order: Order, portfolio: Portfolio, orders: Orders) -> str | None:
    """Return which halt is in the way of an order that was allowed before; None where none is.

    A halt may have come between check and send. One of new risk is in the way of what opens a position, or adds to one.
    """
    request = order.request
    if not orders.halts or request is None or request.kind is OrderKind.CANCEL:
        return None
    scopes = {(HaltScope.ACCOUNT, None), (HaltScope.SYMBOL, order.symbol), (HaltScope.STRATEGY, request.strategy)}
    for (scope, name), mode in orders.halts.items():
        if (scope, name) in scopes and (mode is HaltMode.ALL or _opens(request, portfolio)):
            return f"trading of {name or 'the account'} was halted before it was sent: {how_to_resume(scope, name)} ends it"
    return None


def _opens(request: OrderRequest, portfolio: Portfolio) -> bool:
    if request.kind is not OrderKind.MARKET or not portfolio.terms.opened.mode.nets:
        return request.kind in _OPENING
    held = None if request.symbol is None else portfolio.position_of(request.symbol)
    return held is None or held.side is request.side or held.volume < (request.volume or _ZERO)


def _check_unknown(case: _Case) -> Iterator[Denied]:
    scope = case.limits.unknown_scope
    found = case.book.unknown_orders(None if scope is UnknownScope.ACCOUNT else case.symbol)
    if found:
        names = ", ".join(order.client_id or f"#{order.ticket}" for order in found)
        why = (
            f"nobody knows whether order {names} was executed, so only what reduces exposure is allowed: "
            f"see ledger orders --unknown{_reason(case)}"
        )
        yield Denied(rule="unknown_orders", limit=f"none of the {scope.value}", value=str(len(found)), why=why)
    yield from _check_under_way(case)


def _check_under_way(case: _Case) -> Iterator[Denied]:
    """Deny a second change of an order, or of stops, while the first is under way: the first could win."""
    request, target = case.request, case.target if case.request.kind is OrderKind.MODIFY else None
    if target is not None and target.state in (OrderState.CHANGING, OrderState.CANCELLING):
        why = f"order {target.client_id or target.ticket} is being changed or cancelled: wait until that is answered"
        yield Denied(rule="unknown_orders", limit="one at a time", value=target.state.value, why=why)
    for order in case.book.orders:
        is_same = order.kind is request.kind is OrderKind.STOPS and order.position_id == request.position_id
        if is_same and order.state in OPEN_QUESTION:
            why = f"order {order.client_id} changes the stops of position {order.position_id}: wait until it is answered"
            yield Denied(rule="unknown_orders", limit="one at a time", value=str(order.client_id), why=why)


def _check_kill_switch(case: _Case) -> Iterator[Denied]:
    path = case.limits.kill_switch_file
    if path is not None and case.market.is_kill_switch_on is not False:
        is_there = case.market.is_kill_switch_on
        value = "exists" if is_there else "unknown"
        found = f"the kill switch file {path} exists" if is_there else f"whether {path} exists could not be read"
        why = f"{found}, so only what reduces exposure is allowed: remove the file to trade{_reason(case)}"
        yield Denied(rule="kill_switch_file", limit=path, value=value, why=why)


def _reason(case: _Case) -> str:
    return "" if case.why_not_reducing is None else f" (not reducing: {case.why_not_reducing})"


def _check_symbols(case: _Case) -> Iterator[Denied]:
    allowed = case.limits.symbols
    if allowed is not None and case.symbol not in allowed:
        limit = ", ".join(sorted(allowed)) or "none"
        why = f"expected one of the symbols {limit}, found {case.symbol}: add it to symbols in the limits to trade it"
        yield Denied(rule="symbols", limit=limit, value=str(case.symbol), why=why)


def _check_sides(case: _Case) -> Iterator[Denied]:
    allowed, side = case.limits.sides, case.side
    if allowed is None or case.request.kind is OrderKind.STOPS or side in allowed:
        return
    limit, value = ", ".join(sorted(one.value for one in allowed)) or "none", "unknown" if side is None else side.value
    why = f"expected one of the sides {limit}, found {value}: add it to sides in the limits to trade it"
    yield Denied(rule="sides", limit=limit, value=value, why=why)


def _check_one_position(case: _Case) -> Iterator[Denied]:
    """Deny a second position of a symbol; where the account nets, more of the one that is there, or may be."""
    if not case.limits.one_position or case.symbol is None or case.request.kind not in _OPENING:
        return
    exposure = case.book.exposure(case.symbol)
    held = {Side.BUY: exposure.long + exposure.buys, Side.SELL: exposure.short + exposure.sells}
    lots = held[case.request.side] if exposure.nets and case.request.side else sum(held.values())
    if lots:
        value = f"{plain(lots)} lots" if lots.is_finite() else "unknown"
        why = f"expected no position of {case.symbol} that it adds to, and no open order, found {value}: close or cancel first"
        yield Denied(rule="one_position", limit="1", value=value, why=why)


def _check_volume_step(case: _Case) -> Iterator[Denied]:
    volume = case.request.volume
    position = case.book.position(case.request.position_id)
    if volume is None or (position is not None and position.volume == volume):
        return  # all of a position can be closed, whatever steps it was opened in
    spec = case.terms.symbols.get(case.symbol or "")
    for rule, is_set, step in (
        ("volume_step", case.limits.volume_step is not None, case.limits.volume_step),
        ("symbol_step", case.limits.symbol_step, None if spec is None else spec.volume_step),
    ):
        if is_set and step is None:
            yield _unread(rule, "a volume in the symbol's steps", "the broker's volume step", "run ledger sync")
        elif is_set and step is not None and _exceeds_step(volume, step):
            why = f"expected a volume in steps of {plain(step)} lots, found {plain(volume)}: nothing is rounded, state another"
            yield Denied(rule=rule, limit=plain(step), value=plain(volume), why=why)


def _exceeds_step(volume: Decimal, step: Decimal) -> bool:
    (numerator, denominator), (step_numerator, step_denominator) = volume.as_integer_ratio(), step.as_integer_ratio()
    return (numerator * step_denominator) % (denominator * step_numerator) != 0


def _check_volume_per_order(case: _Case) -> Iterator[Denied]:
    volume, most, least = case.request.volume, case.limits.volume_per_order_max, case.limits.volume_per_order_min
    if volume is not None and most is not None and volume > most:
        why = f"expected at most {plain(most)} lots an order, found {plain(volume)}: state a smaller volume"
        yield Denied(rule="volume_per_order_max", limit=plain(most), value=plain(volume), why=why)
    if volume is not None and least is not None and volume < least:
        why = f"expected at least {plain(least)} lots an order, found {plain(volume)}: state a larger volume"
        yield Denied(rule="volume_per_order_min", limit=plain(least), value=plain(volume), why=why)


def _check_volume_held(case: _Case) -> Iterator[Denied]:
    per_symbol, total = case.limits.volume_per_symbol_max, case.limits.volume_total_max
    if (per_symbol is None and total is None) or case.symbol is None:
        return
    exposures = case.book.exposures()
    after = case.book.exposure(case.symbol).after(case.book.change_of(case.request))
    exposures[case.symbol] = after
    everything = sum((one.worst for one in exposures.values()), Decimal(0))
    for rule, limit, worst, of in (
        ("volume_per_symbol_max", per_symbol, after.worst, case.symbol),
        ("volume_total_max", total, everything, "all symbols"),
    ):
        if limit is not None and worst > limit:
            value = plain(worst) if worst.is_finite() else "unknown"
            why = (
                f"expected at most {plain(limit)} lots of {of} whatever becomes of open orders, found up to {value}: "
                "state a smaller volume, or close or cancel something"
            )
            yield Denied(rule=rule, limit=plain(limit), value=value, why=why)


def _unread(rule: str, limit: str, what: str, remedy: str) -> Denied:
    """Deny because something could not be read."""
    return Denied(rule=rule, limit=limit, value="unknown", why=f"{what} could not be read, so nothing new is allowed: {remedy}")


# ---- counts


def _check_counts(case: _Case) -> Iterator[Denied]:
    limits = case.limits
    if case.request.kind not in _OPENING:
        return
    opening = sum(1 for order in case.book.orders if order.kind in _OPENING) + 1
    if limits.positions_max is not None:
        nets = case.book.nets
        positions = len(case.book.exposures().keys() | {case.symbol}) if nets else case.book.positions_count + opening
        yield from _at_most("positions_max", limits.positions_max, positions, "positions, if every open order is executed")
    if limits.orders_max is None:
        return
    most = case.market.slots_max if isinstance(limits.orders_max, str) else limits.orders_max
    slots, reserved = case.book.positions_count + opening, limits.exit_slots or 0
    rule = "exit_slots" if reserved else "orders_max"
    if most is None:
        yield _unread(rule, BROKER, "how many orders the broker allows", "set orders_max to a number")
        return
    what = f"positions and open orders ({reserved} of {most} are for exits)" if reserved else "positions and open orders"
    yield from _at_most(rule, max(0, most - reserved), slots, what)


def _at_most(rule: str, limit: int, value: int, what: str) -> Iterator[Denied]:
    if value > limit:
        why = f"expected at most {limit} {what}, found {value}: close or cancel something"
        yield Denied(rule=rule, limit=str(limit), value=str(value), why=why)


# ---- time


def _check_pace(case: _Case) -> Iterator[Denied]:
    limits, now, intents = case.limits, case.market.now_utc_msc, case.market.intents
    for rule, most in (
        ("orders_per_minute_max", limits.orders_per_minute_max),
        ("orders_per_day_max", limits.orders_per_day_max),
    ):
        if most is None:
            continue
        if intents is None:
            yield _unread(rule, str(most), "which orders were intended", "see whether the journal can be read")
            continue
        is_day = rule == "orders_per_day_max"
        after_utc_msc = day_start_utc_msc(limits, case.terms, now) - 1 if is_day else now - MINUTE_MSC
        found = sum(1 for one in intents if one.utc_msc > after_utc_msc) + 1
        if found > most:
            why = f"expected at most {most} orders, found {found} with this one: wait, or find out why there are so many"
            yield Denied(rule=rule, limit=str(most), value=str(found), why=why)
    within = limits.same_request_within_sec
    if within is None:
        return
    if intents is None:
        yield _unread(
            "same_request_within_sec", f"{within} s", "which orders were intended", "see whether the journal can be read"
        )
        return
    for one in intents:
        if one.utc_msc > now - within * 1000 and _sameness(one.request) == _sameness(case.request):
            ago = f"{plain(Decimal(now - one.utc_msc).scaleb(-3))} s"
            why = f"the same was requested {ago} ago, expected at least {within} s: wait until the first is settled"
            yield Denied(rule="same_request_within_sec", limit=f"{within} s", value=ago, why=why)
            return


def _sameness(request: OrderRequest) -> tuple[object, ...]:
    """Return what makes two requests the same: not prices, which move; a magic number that carries a client id by its base."""
    magic = None if request.magic is None else (request.magic >> _MAGIC_BITS or request.magic)
    return (
        request.kind, request.symbol, request.side, request.type, request.volume, request.position_id, request.by_position_id,
        request.target_order, request.target_client_id, request.strategy, magic,
    )  # fmt: skip


def _check_hours(case: _Case) -> Iterator[Denied]:
    limits = case.limits
    wall_msc = _clock(limits.hours_zone, case.terms).from_utc_msc(case.market.now_utc_msc)
    quiet_msc = (limits.no_new_within_sec or 0) * 1000
    if limits.hours is not None:
        zone = "the server's clock" if limits.hours_zone == SERVER else limits.hours_zone
        limit, value = ", ".join(map(str, limits.hours)), _time_text(wall_msc)
        ends = [end for window in limits.hours if (end := _window_end_msc(window, wall_msc)) is not None]
        if not ends:
            why = f"expected a time within {limit} ({zone}), found {value}: wait"
            yield Denied(rule="hours", limit=limit, value=value, why=why)
        elif max(ends) - wall_msc <= quiet_msc:
            why = f"the hours {limit} ({zone}) end within {limits.no_new_within_sec} s, found {value}: wait"
            yield Denied(rule="no_new_within_sec", limit=f"{limits.no_new_within_sec} s", value=value, why=why)
    if not quiet_msc:
        return
    server_msc = case.terms.clock.from_utc_msc(case.market.now_utc_msc)
    if min(server_msc % DAY_MSC, DAY_MSC - server_msc % DAY_MSC) <= quiet_msc:
        value = _time_text(server_msc)
        why = f"expected nothing new within {limits.no_new_within_sec} s of the server's midnight, found {value}: wait"
        yield Denied(rule="no_new_within_sec", limit=f"{limits.no_new_within_sec} s", value=value, why=why)


def _window_end_msc(window: Window, wall_msc: int) -> int | None:
    """Return when a window ends that a moment is in; None outside of it. 1970-01-01 was a Thursday."""
    day, msc = divmod(wall_msc, DAY_MSC)
    if (day + 3) % 7 not in window.days or not window.from_minute * MINUTE_MSC <= msc < window.to_minute * MINUTE_MSC:
        return None
    return day * DAY_MSC + window.to_minute * MINUTE_MSC


def _time_text(wall_msc: int) -> str:
    day, msc = divmod(wall_msc, DAY_MSC)
    seconds = msc // 1000
    name = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(day + 3) % 7]
    return f"{name} {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _check_cooldown(case: _Case) -> Iterator[Denied]:
    rule, results, now = case.limits.cooldown_after_losses, case.market.results, case.market.now_utc_msc
    if rule is None:
        return
    if results is None:
        yield _unread("cooldown_after_losses", str(rule), "what closed positions came to", "run ledger sync")
        return
    losses = sorted(one.utc_msc for one in results if one.result < 0)
    for first, last in zip(losses, losses[rule.losses - 1 :], strict=False):
        left_msc = last + rule.pause_min * MINUTE_MSC - now
        if last - first <= rule.within_min * MINUTE_MSC and left_msc > 0:
            value = f"{rule.losses} losses in {(last - first) / MINUTE_MSC:.0f} min"
            why = f"there were {value}, so there is a pause for {-(-left_msc // MINUTE_MSC)} more min: wait"
            yield Denied(rule="cooldown_after_losses", limit=str(rule), value=value, why=why)
            return


# ---- prices


def _check_prices(case: _Case) -> Iterator[Denied]:
    limits, tick = case.limits, case.tick
    if limits.tick_age_max_sec is not None:
        limit = f"{limits.tick_age_max_sec} s"
        if tick is None:
            yield _unread("tick_age_max_sec", limit, f"the price of {case.symbol}", "see whether the gateway answers GET_TICK")
        elif not 0 <= tick.age_ms <= limits.tick_age_max_sec * 1000:
            value = f"{plain(Decimal(tick.age_ms).scaleb(-3))} s"
            why = f"expected a price of {case.symbol} of at most {limit}, found {value}: is its market open?"
            yield Denied(rule="tick_age_max_sec", limit=limit, value=value, why=why)
    if limits.price_collar is not None and case.request.kind is not OrderKind.STOPS:
        yield from _check_collar(case, limits.price_collar)
    if limits.stops_required and case.request.kind in _OPENING and not case.request.sl:
        why = "expected a stop (sl) with every new order, found none: state one"
        yield Denied(rule="stops_required", limit="an sl", value="none", why=why)


def _check_collar(case: _Case, collar: Amount) -> Iterator[Denied]:
    price, limit = case.request.price, str(collar) if collar.is_percent else f"{collar} points"
    reference, point = case.reference, case.point
    if reference is None or point is None:
        what = f"the price or the digits of {case.symbol}"
        yield _unread("price_collar", limit, what, "see whether the gateway answers GET_TICK and GET_SYMBOLS")
        return
    most = collar.of(reference) if collar.is_percent else collar.number * point
    if case.request.kind is OrderKind.MARKET or (case.request.kind is OrderKind.CLOSE and price is None):
        deviation = case.request.deviation
        if deviation is None:
            why = "expected the largest deviation from the price, in points, found none: state deviation"
            yield Denied(rule="price_collar", limit=limit, value="none", why=why)
        elif deviation * point > most:
            why = f"expected a deviation of at most {limit}, found {deviation} points: state a smaller one"
            yield Denied(rule="price_collar", limit=limit, value=f"{deviation} points", why=why)
    if price is not None and abs(price - reference) > most:
        value = f"{plain(abs(price - reference) / point)} points"
        why = f"expected a price within {limit} of {plain(reference)}, found {plain(price)}: is it the right symbol and price?"
        yield Denied(rule="price_collar", limit=limit, value=value, why=why)


def _check_stop(case: _Case) -> Iterator[Denied]:
    """Check how far away the stop of a new order is, and what is lost there."""
    limits, request = case.limits, case.request
    if (limits.stop_distance_max is None and limits.risk_per_order_max is None) or request.kind not in _OPENING:
        return
    entry = request.price if request.kind is OrderKind.PENDING else case.reference
    rule = "stop_distance_max" if limits.stop_distance_max is not None else "risk_per_order_max"
    if not request.sl:
        why = "expected a stop (sl), as what is lost there is limited, found none: state one"
        yield Denied(rule=rule, limit="an sl", value="none", why=why)
        return
    if entry is None:
        yield _unread(rule, "a price", f"the price of {case.symbol}", "see whether the gateway answers GET_TICK")
        return
    distance = abs(entry - request.sl)
    if limits.stop_distance_max is not None:
        limit = f"{limits.stop_distance_max} points"
        if case.point is None:
            yield _unread("stop_distance_max", limit, f"the digits of {case.symbol}", "run ledger sync")
        elif distance > limits.stop_distance_max * case.point:
            value = f"{plain(distance / case.point)} points"
            why = f"expected the stop within {limit} of {plain(entry)}, found {value}: set it nearer"
            yield Denied(rule="stop_distance_max", limit=limit, value=value, why=why)
    if limits.risk_per_order_max is not None:
        worth, lots = case.value_per_price(case.symbol or ""), case.lots
        if worth is None or lots is None:
            what = f"what a lot of {case.symbol} is worth"
            yield _unread("risk_per_order_max", plain(limits.risk_per_order_max), what, "run ledger sync, see docs on rates")
        else:
            yield from _money_at_most("risk_per_order_max", limits.risk_per_order_max, distance * worth * lots, "at its stop")


def _money_at_most(rule: str, limit: Decimal, value: Decimal, what: str) -> Iterator[Denied]:
    if value > limit:
        why = f"expected at most {plain(limit)} {what}, found {plain(value)}: state a smaller volume, or close something"
        yield Denied(rule=rule, limit=plain(limit), value=plain(value), why=why)


# ---- money


def _check_notional(case: _Case) -> Iterator[Denied]:
    limits, symbol = case.limits, case.symbol or ""
    if (limits.notional_per_order_max is None and limits.notional_total_max is None) or case.request.kind in WITHOUT_FILLS - {
        OrderKind.MODIFY
    }:
        return
    price = case.request.price
    if limits.notional_per_order_max is not None:
        limit = limits.notional_per_order_max
        value = None if case.lots is None else _notional(case, symbol, case.lots, price)
        if value is None:
            yield _unread("notional_per_order_max", plain(limit), f"what a lot of {symbol} is worth", "run ledger sync")
        else:
            yield from _money_at_most("notional_per_order_max", limit, value, "of one order in account currency")
    if limits.notional_total_max is not None:
        limit = limits.notional_total_max
        exposures = case.book.exposures()
        exposures[symbol] = case.book.exposure(symbol).after(case.book.change_of(case.request))
        total = _ZERO
        for name, exposure in exposures.items():
            worth = _notional(case, name, exposure.worst, price if name == symbol else None)
            if worth is None:
                yield _unread("notional_total_max", plain(limit), f"what {name} is worth", "run ledger sync")
                return
            total += worth
        yield from _money_at_most("notional_total_max", limit, total, "of everything in account currency")


def _notional(case: _Case, symbol: str, lots: Decimal, price: Decimal | None) -> Decimal | None:
    """Return what lots are worth at the higher of the price asked for and the newest one."""
    worth, tick = case.value_per_price(symbol), case.market.ticks.get(symbol)
    if worth is None or tick is None or not lots.is_finite():
        return None if lots else _ZERO
    return lots * worth * max(tick.ask, price or _ZERO)


def _check_margin(case: _Case) -> Iterator[Denied]:
    """Check the margin after the request, with that of orders of the symbol which may still be executed before it."""
    limits, found = case.limits, case.market.order_check
    if limits.margin_free_min is None and limits.margin_level_min is None:
        return
    if case.request.kind in WITHOUT_FILLS:
        return
    rule = "margin_free_min" if limits.margin_free_min is not None else "margin_level_min"
    lots, symbol = case.lots, case.symbol or ""
    if found is None or lots is None or found.margin is None or found.margin_free is None:
        remedy = "see whether the gateway answers ORDER_CHECK"
        yield _unread(rule, "enough margin", "what margin the order needs", remedy)
        return
    if found.retcode:
        why = (
            f"the broker would refuse it: retcode {found.retcode} {found.comment or ''}: see its meaning in mt5's documentation"
        )
        yield Denied(rule=rule, limit="retcode 0", value=str(found.retcode), why=why)
        return
    exposure = case.book.exposure(symbol)
    waiting = exposure.buys + exposure.sells
    if not waiting.is_finite():
        yield _unread(rule, "enough margin", f"how much open orders of {symbol} trade", "see ledger orders --open")
        return
    free = found.margin_free - (found.margin * waiting / lots if waiting else _ZERO)
    if limits.margin_free_min is not None and free < limits.margin_free_min:
        limit, value = plain(limits.margin_free_min), plain(free.quantize(Decimal("0.01")))
        why = f"expected at least {limit} of free margin after the order, found {value}: state a smaller volume"
        yield Denied(rule="margin_free_min", limit=limit, value=value, why=why)
    if limits.margin_level_min is None:
        return
    limit = str(limits.margin_level_min)
    if found.margin_level is None or waiting:
        what = "the margin level" if not waiting else f"the margin level while orders of {symbol} are open"
        yield _unread("margin_level_min", limit, what, "wait until they are executed or cancelled")
    elif found.margin_level < limits.margin_level_min.number:
        value = f"{plain(found.margin_level)}%"
        why = f"expected a margin level of at least {limit} after the order, found {value}: state a smaller volume"
        yield Denied(rule="margin_level_min", limit=limit, value=value, why=why)


def _check_daily_loss(case: _Case) -> Iterator[Denied]:
    limits, day, floating = case.limits, case.market.day, case.market.floating
    if limits.daily_loss_max is None:
        return
    limit, loss = str(limits.daily_loss_max), None
    if day is not None and floating is not None:
        worth = day.balance + day.results + floating
        most, counted_from = limits.daily_loss_max, limits.daily_base
        loss = loss_of_day(most, counted_from, balance=day.balance, floating=day.floating, worth=worth)
    if loss is None:
        what = "the floating result now" if day is not None and floating is None else "what the account had when the day began"
        yield _unread("daily_loss_max", limit, what, "sync, so that there is a mark")
    elif loss.is_too_much:
        why = (
            f"expected a loss of at most {limit} since the day began with {plain(loss.base)}, found {plain(loss.lost)}, open "
            "positions included: only what reduces exposure is allowed until the day ends"
        )
        yield Denied(rule="daily_loss_max", limit=limit, value=plain(loss.lost), why=why)


def _check_total_loss(case: _Case) -> Iterator[Denied]:
    limits, floating = case.limits, case.market.floating
    if limits.loss_total_max is None:
        return
    limit = str(limits.loss_total_max)
    base = limits.initial_balance if limits.loss_total_base is LossBase.STATIC else case.market.highest_balance
    if base is None or floating is None or not case.portfolio.is_balance_known:
        what = "the floating result now" if floating is None else "the balance that the loss counts from"
        yield _unread("loss_total_max", limit, what, "sync, so that there is a mark")
        return
    lost = base - (case.portfolio.balance + floating)
    if lost > limits.loss_total_max.of(base):
        why = f"expected a loss of at most {limit} from {plain(base)}, found {plain(lost)}: only closing is allowed"
        yield Denied(rule="loss_total_max", limit=limit, value=plain(lost), why=why)


def _check_strategies(case: _Case) -> Iterator[Denied]:
    """Check the rules that the strategy of a request has of its own."""
    for name, limits in case.limits.strategies_max or ():
        if not is_of_strategy(name, case.request):
            continue
        intents = case.market.intents
        own = None if intents is None else tuple(one for one in intents if is_of_strategy(name, one.request))
        part = _Case(
            limits=attrs.evolve(limits, day=case.limits.day, day_start=case.limits.day_start),
            portfolio=case.portfolio,
            orders=case.orders,
            market=attrs.evolve(case.market, intents=own),
            request=case.request,
            book=case.book.of_strategy(name),
        )
        for rule in _STRATEGY_RULES:
            for denied in rule(part):
                yield attrs.evolve(denied, rule=f"strategies_max.{name}.{denied.rule}")


#: In the order in which they are checked. A request that can only reduce exposure needs the second row only.
_RULES: Final[tuple[Callable[[_Case], Iterator[Denied]], ...]] = (
    _check_verified, _check_halted, _check_unknown, _check_kill_switch, _check_symbols, _check_sides, _check_one_position,
    _check_volume_step, _check_volume_per_order, _check_volume_held, _check_counts, _check_pace, _check_hours, _check_cooldown,
    _check_prices, _check_stop, _check_notional, _check_margin, _check_daily_loss, _check_total_loss, _check_strategies,
)  # fmt: skip
_STRATEGY_RULES: Final = (
    _check_symbols, _check_sides, _check_one_position, _check_volume_per_order, _check_volume_held, _check_counts, _check_pace,
)  # fmt: skip
_REDUCING_RULES: Final = (_check_verified, _check_halted, _check_volume_step)
