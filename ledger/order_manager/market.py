"""The market of a request: everything that its check needs beside portfolio and orders, read from journal and gateway.

Only what the limits in force look at is read. What cannot be read is None, which denies: no error leaves here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from threading import Lock
from typing import Final, Protocol, TypeVar

import attrs

from ledger.bookings import is_whole_after
from ledger.clock import DAY_MSC, MINUTE_MSC, UTC_EPOCH, ClockRule
from ledger.codec import decode_posting
from ledger.errors import LedgerError
from ledger.events import DEAL_KINDS, Adjusted, DealCompleted, DealRevised, Event, FillRecorded
from ledger.events.orders import OrderIntended, OrderKind
from ledger.journal.health import SyncHealth
from ledger.marks import floating_at
from ledger.order_messages import OrderMessage, RemoteCheck, RemoteTick
from ledger.orders.intervals import Book
from ledger.orders.limit_values import BROKER
from ledger.orders.limits import ClosedResult, DayBase, DayFigures, Intent, Limits, LossBase, Market, day_start_utc_msc
from ledger.orders.request import OrderRequest
from ledger.orders.states import WITHOUT_FILLS
from ledger.orders.view import Orders
from ledger.portfolio import Portfolio
from ledger.safety import Danger, judge, seen_of
from ledger.service import Account
from ledger.snapshot import RemoteAccount
from ledger.terms import AccountTerms
from ledger.values import EXACT, Entry

_Value = TypeVar("_Value")

#: Breaks of these kinds do not dispute positions: a position can be closed all the same.
_NOT_OF_POSITIONS: Final = frozenset({"order", "stops"})
#: Money that comes and goes without having been earned or lost, by the words of cash movements.
_DEPOSITS: Final = ("balance", "bonus")
#: A rate is rounded up to so many decimals: what it is used for is never too small.
_RATE_UNIT: Final = Decimal("1e-12")
_RULES_OF_PRICES: Final = (
    "tick_age_max_sec", "price_collar", "stop_distance_max", "risk_per_order_max", "notional_per_order_max",
    "notional_total_max",
)  # fmt: skip
_RULES_OF_WORTH: Final = ("risk_per_order_max", "notional_per_order_max", "notional_total_max")
_RULES_OF_PACE: Final = ("orders_per_minute_max", "orders_per_day_max", "same_request_within_sec")
#: So long the broker's limit is not asked for again.
_SLOTS_FOR_US: Final = 300 * 1_000_000
_ANY_NUMBER: Final = 2**31  # the broker states 0 for it
_ANY_TOKEN: Final = "L" + "A" * 19  # the gateway ignores it


class MarketGateway(Protocol):
    """What is asked of a gateway. Raises as ``ledger.gateway.OrderGateway``."""

    def tick(self, symbol: str) -> RemoteTick:
        """Return the newest prices of a symbol."""
        ...

    def account(self) -> RemoteAccount:
        """Return the broker's figures of the account."""
        ...

    def order_check(self, message: OrderMessage) -> RemoteCheck:
        """Return what the broker would say of an order."""
        ...


class MarketReader:
    """Reads the market of requests on one account.

    Args:
        account: Whose limits they are.
        gateway: Where prices and checks are asked for.
    """

    def __init__(self, account: Account, gateway: MarketGateway) -> None:
        self._account = account
        self._gateway = gateway
        self._identity = account.name.server, account.name.login
        self._lock = Lock()
        self._recent = _Recent(account)
        self._slots: tuple[int, int] | None = None  # when the broker's limit was asked for, and what it is
        self._whole: tuple[Portfolio, bool] | None = None  # whether the money of that one is known
        self._day: tuple[int, int, Portfolio] | None = None  # its start, the version it was folded at, what there was
        self._highest: tuple[int, Decimal] | None = None  # the version that it was looked for at

    def read(
        self,
        limits: Limits,
        portfolio: Portfolio,
        orders: Orders,
        request: OrderRequest,
        *,
        late: frozenset[str] = frozenset(),
    ) -> Market:
        """Return the market of a request: of what a rule in force looks at, what could be read.

        Args:
            limits: The rules in force.
            portfolio: The positions that the request is checked at,
            orders: and the orders.
            request: What is to be checked.
            late: Client ids of orders whose answer is late, before that shows in the journal.
        """
        now_us = self._account.ledger.now_us()
        now_utc_msc = now_us // 1000
        if request.kind is OrderKind.CANCEL:
            return Market(now_utc_msc=now_utc_msc, late=late)
        with self._lock:
            book = Book(portfolio, orders, now_utc_msc, late=late)
            symbol = book.symbol_of(request)
            market = self._verified(portfolio, symbol, now_us)
            market = attrs.evolve(market, late=late)
            if book.why_not_reducing(request) is None:
                return market
            market = attrs.evolve(market, is_kill_switch_on=_is_kill_switch_on(limits.kill_switch_file))
            if limits.orders_max == BROKER:
                market = attrs.evolve(market, slots_max=self._slots_max(now_us))
            market = self._with_prices(market, limits, book, symbol)
            if _is_any_set(limits, ("margin_free_min", "margin_level_min")) and request.kind not in WITHOUT_FILLS:
                market = attrs.evolve(market, order_check=self._order_check(request, now_utc_msc))
            return self._with_history(market, limits, portfolio)

    # ---- what a sync verified

    def _verified(self, portfolio: Portfolio, symbol: str | None, now_us: int) -> Market:
        health = _read(lambda: self._account.ledger.journal.sync_health(self._account.name))
        market = Market(now_utc_msc=now_us // 1000)
        if health is None or health.verified_us is None:
            return attrs.evolve(market, verified_why="no sync has verified the account yet")
        age_ms = (now_us - health.verified_us) // 1000
        why = _disagreement(health, portfolio, symbol, now_us, only_positions=False)
        why_positions = _disagreement(health, portfolio, symbol, now_us, only_positions=True)
        return attrs.evolve(
            market,
            verified_age_ms=None if why else age_ms,
            positions_age_ms=None if why_positions else age_ms,
            verified_why=why or why_positions,
        )

    def _slots_max(self, now_us: int) -> int | None:
        """Return how many positions and orders the broker allows, asked for now and then."""
        if self._slots is None or now_us - self._slots[0] > _SLOTS_FOR_US:
            account = _read(self._gateway.account)
            self._slots = None if account is None or account.orders_limit is None else (now_us, account.orders_limit)
        return None if self._slots is None else self._slots[1] or _ANY_NUMBER

    # ---- prices

    def _with_prices(self, market: Market, limits: Limits, book: Book, symbol: str | None) -> Market:
        if symbol is None or not _is_any_set(limits, _RULES_OF_PRICES):
            return market
        symbols = {symbol}
        if limits.notional_total_max is not None:
            symbols |= {name for name, exposure in book.exposures().items() if exposure.worst}
        ticks = {name: tick for name in sorted(symbols) if (tick := self._tick(name)) is not None}
        rates = {}
        if _is_any_set(limits, _RULES_OF_WORTH):
            rates = self._rates(symbols)
        return attrs.evolve(market, ticks=ticks, rates=rates)

    def _tick(self, symbol: str) -> RemoteTick | None:
        return _read(lambda: self._gateway.tick(symbol))

    def _rates(self, symbols: Iterable[str]) -> dict[str, Decimal]:
        """Return what one of each profit currency costs at most, from the prices of a symbol that trades it."""
        terms = self._account.terms
        specs = [terms.symbols[name] for name in symbols if name in terms.symbols]
        account = terms.opened.currency
        wanted = {spec.currency for spec in specs if spec.currency is not None} - {account}
        found = {currency: self._rate(currency, account, terms) for currency in sorted(wanted)}
        return {currency: rate for currency, rate in found.items() if rate is not None}

    def _rate(self, currency: str, account: str, terms: AccountTerms) -> Decimal | None:
        for name in sorted(terms.symbols):
            if name.upper().startswith(currency + account):
                tick = self._tick(name)
                return None if tick is None or tick.ask <= 0 else tick.ask
            if name.upper().startswith(account + currency):
                tick = self._tick(name)
                if tick is None or tick.bid <= 0:
                    return None
                return EXACT.divide(Decimal(1), tick.bid).quantize(_RATE_UNIT, ROUND_CEILING, EXACT)
        return None

    def _order_check(self, request: OrderRequest, now_utc_msc: int) -> RemoteCheck | None:
        name = self._account.name
        fields = {one.name for one in attrs.fields(OrderMessage)}
        message = OrderMessage(
            client_id="check",
            token=_ANY_TOKEN,
            store="check",
            login=name.login,
            server=name.server,
            valid_until_utc_msc=now_utc_msc + MINUTE_MSC,
            **{key: value for key, value in request.fields.items() if key in fields},
        )
        return _read(lambda: self._gateway.order_check(message))

    # ---- what the journal has

    def _with_history(self, market: Market, limits: Limits, portfolio: Portfolio) -> Market:
        now = market.now_utc_msc
        strategies = [own for _, own in limits.strategies_max or ()]
        if limits.cooldown_after_losses is not None or any(_is_any_set(one, _RULES_OF_PACE) for one in (limits, *strategies)):
            span_msc = max(_span_msc(one) for one in (limits, *strategies))
            market = attrs.evolve(
                market,
                intents=_read(lambda: self._recent.intents(now - span_msc)),
                results=_read(lambda: self._recent.results(now - span_msc, portfolio.terms)),
            )
        if limits.daily_loss_max is None and limits.loss_total_max is None:
            return market
        fresh_us = limits.verified_within_sec * 1_000_000
        market = attrs.evolve(market, floating=self._floating_now(portfolio, now * 1000 + 999, fresh_us))
        if limits.daily_loss_max is not None:
            day = _read(lambda: self._day_figures(limits, portfolio, now, fresh_us))
            market = attrs.evolve(market, day=day)
        if limits.loss_total_max is not None and limits.loss_total_base is LossBase.TRAILING:
            market = attrs.evolve(market, highest_balance=_read(lambda: self._highest_balance(portfolio)))
        return market

    def _floating_now(self, portfolio: Portfolio, now_us: int, fresh_us: int) -> Decimal | None:
        """Return the floating result now: of a fresh mark, else of the broker's own figures; 0 without positions."""
        floating = self._floating_at(portfolio, now_us, fresh_us, is_present=True)
        if floating is not None:
            return floating
        account = _read(self._gateway.account)
        if account is None or account.equity is None or (account.server, account.login) != self._identity:
            return None
        return EXACT.subtract(EXACT.subtract(account.equity, account.balance), account.credit)

    def _floating_at(self, portfolio: Portfolio, at_us: int, fresh_us: int, *, is_present: bool = False) -> Decimal | None:
        """Return the floating result at a moment: of a mark that is not older than what is fresh; 0 without positions.

        A mark from before the newest deal is none of the present: what was closed since is in the balance already.
        """
        is_flat = not portfolio.positions_count
        mark = None if is_flat else _read(lambda: self._account.newest_mark(at_us=at_us))
        floating = floating_at(mark, at_us, fresh_us, is_flat=is_flat)
        if floating is None or mark is None or not is_present:
            return floating
        return floating if _read(lambda: self._has_deals_since(mark.at_us)) is False else None

    def _has_deals_since(self, at_us: int) -> bool:
        after = self._account.ledger.journal.version_at(self._account.name, at_us)
        return any(type(one.event).__name__ in DEAL_KINDS for one in self._account.events(after=after))

    def _day_figures(self, limits: Limits, portfolio: Portfolio, now_utc_msc: int, fresh_us: int) -> DayFigures | None:
        start = day_start_utc_msc(limits, portfolio.terms, now_utc_msc)
        before = self._at_day_start(start)
        if not before.is_balance_known or not portfolio.is_balance_known or not self._is_whole(before, start):
            return None
        floating = None
        if limits.daily_base is not DayBase.BALANCE:
            floating = self._floating_at(before, start * 1000, fresh_us)
        earned = EXACT.subtract(portfolio.balance, before.balance)
        now_cash, then_cash = portfolio.totals.cash, before.totals.cash
        for kind in _DEPOSITS:
            moved = EXACT.subtract(now_cash.get(kind, Decimal(0)), then_cash.get(kind, Decimal(0)))
            earned = EXACT.subtract(earned, moved)
        return DayFigures(balance=before.balance, results=earned, floating=floating)

    def _is_whole(self, before: Portfolio, start_utc_msc: int) -> bool:
        """Return whether the balance that the day began with lacks no money that is not known yet."""
        if not before.totals.deals_incomplete:
            return True
        if self._whole is None or self._whole[0] is not before:
            selection, _ = self._account.selection(until=_day_end(start_utc_msc))
            is_whole = True
            for row in self._account.journal_postings(selection):
                is_whole = is_whole_after(is_whole, row, decode_posting)
            self._whole = before, is_whole
        return self._whole[1]

    def _at_day_start(self, start_utc_msc: int) -> Portfolio:
        """Return the portfolio as it was when the day began, folded again only where something was recorded from before."""
        version = self._account.version
        if self._day is not None and self._day[0] == start_utc_msc:
            clock = self._account.terms.clock
            new = self._account.events(after=self._day[1], upto=version)
            if all(_is_since(one.event, start_utc_msc, clock) for one in new):
                self._day = start_utc_msc, version, self._day[2]
                return self._day[2]
        portfolio = self._account.replay(until=_day_end(start_utc_msc))
        self._day = start_utc_msc, version, portfolio
        return portfolio

    def _highest_balance(self, portfolio: Portfolio) -> Decimal:
        """Return the highest balance there ever was, over every deal."""
        version = self._account.version
        if self._highest is not None and self._highest[0] == version:
            return self._highest[1]
        selection, terms = self._account.selection(version=version)
        folded, highest = Portfolio(terms), portfolio.balance
        for row in self._account.ledger.journal.postings(self._account.name, selection, terms):
            folded.fold((row,), decode_posting)
            highest = max(highest, folded.balance)
        self._highest = version, highest
        return highest


def _day_end(start_utc_msc: int) -> datetime:
    """Return the last moment before a day."""
    return UTC_EPOCH + timedelta(milliseconds=start_utc_msc - 1)


class _Recent:
    """What was intended and closed within a span of time, read on from where it was read before."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._since_utc_msc: int | None = None
        self._version = 0
        self._intents: deque[Intent] = deque()
        self._closings: dict[int, FillRecorded] = {}

    def intents(self, since_utc_msc: int) -> tuple[Intent, ...]:
        """Return what was intended since a moment, oldest first."""
        self._read_on(since_utc_msc)
        return tuple(one for one in self._intents if one.utc_msc >= since_utc_msc)

    def results(self, since_utc_msc: int, terms: AccountTerms) -> tuple[ClosedResult, ...] | None:
        """Return what deals that closed something since a moment came to; None where one of them is not known yet."""
        self._read_on(since_utc_msc)
        found = []
        for deal in self._closings.values():
            utc_msc = terms.clock.to_utc_msc(deal.time_msc)
            if utc_msc < since_utc_msc:
                continue
            if deal.profit is None:
                return None
            result = deal.profit
            for part in (deal.swap, deal.commission, deal.fee):
                result = EXACT.add(result, part or Decimal(0))
            found.append(ClosedResult(utc_msc=utc_msc, result=result))
        return tuple(sorted(found, key=lambda one: one.utc_msc))

    def _read_on(self, since_utc_msc: int) -> None:
        if self._since_utc_msc is None or since_utc_msc < self._since_utc_msc:
            self._version = self._account.ledger.journal.version_at(self._account.name, since_utc_msc * 1000)
            self._intents.clear()
            self._closings.clear()
        self._since_utc_msc = since_utc_msc
        version = self._account.version
        for one in self._account.events(after=self._version, upto=version):
            self._note(one.event, one.recorded_us // 1000)
        self._version = version
        while self._intents and self._intents[0].utc_msc < since_utc_msc:
            self._intents.popleft()

    def _note(self, event: Event, utc_msc: int) -> None:
        match event:
            case OrderIntended():
                self._intents.append(Intent(utc_msc=utc_msc, request=OrderRequest.of_event(event)))
            case FillRecorded():
                self._note_deal(event)
            case DealRevised(now=FillRecorded() as deal):
                self._note_deal(deal)
            case DealCompleted() if event.deal in self._closings:
                names = [name for name in ("profit", "swap", "commission", "fee") if getattr(event, name) is not None]
                known = {name: getattr(event, name) for name in names}
                self._closings[event.deal] = attrs.evolve(self._closings[event.deal], **known)
            case _:
                pass

    def _note_deal(self, deal: FillRecorded) -> None:
        if deal.entry is Entry.IN:
            self._closings.pop(deal.deal, None)
        else:
            self._closings[deal.deal] = deal


def _read(read: Callable[[], _Value]) -> _Value | None:
    """Return what is read, None where it cannot be."""
    try:
        return read()
    except LedgerError:
        return None


def _is_any_set(limits: Limits, names: Iterable[str]) -> bool:
    return any(getattr(limits, name) is not None for name in names)


def _span_msc(limits: Limits) -> int:
    """Return how far back the rules of pace and cooldown look."""
    cooldown = limits.cooldown_after_losses
    losses_msc = 0 if cooldown is None else (cooldown.within_min + cooldown.pause_min) * MINUTE_MSC
    same_msc = (limits.same_request_within_sec or 0) * 1000
    day_msc = 0 if limits.orders_per_day_max is None else DAY_MSC + 2 * 60 * MINUTE_MSC  # the longest day has an hour more
    return max(losses_msc, same_msc, day_msc, MINUTE_MSC) + 1000


def _is_since(event: Event, start_utc_msc: int, clock: ClockRule) -> bool:
    """Return whether an event changes nothing of what was before a moment."""
    if isinstance(event, (DealCompleted, DealRevised, Adjusted)):
        return False
    return clock.to_utc_msc(event.time_msc) >= start_utc_msc


def _is_kill_switch_on(path: str | None) -> bool | None:
    """Return whether the file exists; None where that cannot be read."""
    if path is None:
        return None
    try:
        Path(path).lstat()  # a link without its file is there too
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return None
    return True


def _disagreement(
    health: SyncHealth, portfolio: Portfolio, symbol: str | None, now_us: int, *, only_positions: bool
) -> str | None:
    """Return what is in the way of trading a symbol, whatever its age: an open break, or something held."""
    seen, breaks = seen_of(health, now_us), portfolio.breaks
    if only_positions:
        held = [one for one in seen.held if one.kind not in _NOT_OF_POSITIONS]
        seen = attrs.evolve(seen, held=held, breached=(), balance_halts=False, withdrawn_halts=False)
        breaks = tuple(one for one in breaks if one.kind.value not in _NOT_OF_POSITIONS)
    verdict = judge(attrs.evolve(seen, status="SUCCESS", seen_sec=0, verified_sec=0), breaks, symbol=symbol)
    return verdict.why if verdict.danger is Danger.BREAK else None
