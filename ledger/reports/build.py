"""The building of a report: one pass over an account's bookings and trades, in the fold order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Final

from attrs import evolve, frozen

from ledger.bookings import TRADE, Booking, TradeFigures, booked, figures_of
from ledger.clock import moment_span_us, utc_text_us
from ledger.codec import decode_posting
from ledger.errors import BadValue
from ledger.events import Recorded
from ledger.marks import Mark
from ledger.performance.tally import (
    CurveTally,
    DayTally,
    FallTally,
    MoneyTally,
    SeriesTally,
    TradeTally,
    Unscale,
    held_ms,
    is_result,
)
from ledger.performance.values import Drawdown, EquityDrawdown, Fall, add_money, add_trades
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from ledger.reports.calendar import BY_TIME, WEEKDAYS, Calendar, Moments, day_name, span
from ledger.reports.values import AccountReport, Bucket, CurrencyTotal, Question, Report
from ledger.results import ResultsCounter
from ledger.service import Account, Moment, moment_begin_us
from ledger.terms import AccountTerms
from ledger.values import Side, scaled, shown, to_magic, to_text, unscaled, unsigned_magic
from ledger.views import Trade

#: What a report can be by.
BY: Final = (*BY_TIME, "weekday", "symbol", "magic", "side")
_SIDES: Final = (Side.BUY.value, Side.SELL.value)
_IN: Final = 0
_FILTERED: Final = "only some symbols or magic numbers are shown, and these have no balance of their own"


def make_question(
    *,
    by: str = "month",
    day: str = "server",
    since: Moment = None,
    until: Moment = None,
    known_at: Moment = None,
    symbols: Iterable[str] = (),
    magics: Iterable[int] = (),
) -> Question:
    """Return what a report is about.

    Raises:
        BadValue: A value that cannot be, or a period that ends before it begins.
    """
    if by not in BY:
        raise BadValue(f"a report is by {', '.join(BY[:-1])} or {BY[-1]}, found {shown(by)}")
    if isinstance(symbols, str):
        raise BadValue(f"symbols are several: pass a list, [{symbols!r}]")
    question = Question(
        by=by,
        day=day_name(day),
        since=_text(since),
        until=_text(until),
        known_at=_text(known_at),
        symbols=tuple(sorted({to_text(one, "a symbol") for one in symbols})),
        magics=tuple(sorted({to_magic(one) for one in magics})),
    )
    if question.since and question.until and moment_begin_us(question.since) >= moment_span_us(question.until)[1]:
        raise BadValue(f"the period ends before it begins: since {question.since}, until {question.until}")
    return question


def _text(moment: Moment) -> str | None:
    """Return a moment as text; so that a report is the same however it was asked for."""
    if moment is None or isinstance(moment, str):
        return moment
    at_us = moment_begin_us(moment)  # refuses what is none
    return utc_text_us(at_us) if isinstance(moment, datetime) else moment.isoformat()


def report(accounts: Sequence[Account], question: Question, *, with_curve: bool = False) -> Report:
    """Return the report of several accounts. Raises as ``account_report``."""
    return total_of(question, [account_report(account, question, with_curve=with_curve) for account in accounts])


def total_of(question: Question, reports: Sequence[AccountReport]) -> Report:
    """Return the reports of several accounts with a total for each currency."""
    by_currency = sorted(reports, key=lambda one: one.terms.opened.currency)
    groups = groupby(by_currency, key=lambda one: one.terms.opened.currency)
    return Report(
        question=question,
        accounts=tuple(reports),
        totals=tuple(_total(currency, [*several]) for currency, several in groups),
    )


def _total(currency: str, reports: Sequence[AccountReport]) -> CurrencyTotal:
    by_name: dict[str | None, list[Bucket]] = defaultdict(list)
    for one in reports:
        for bucket in one.buckets:
            by_name[bucket.name].append(bucket)
    buckets = [
        Bucket(
            name=name,
            money=evolve(add_money(*(one.money for one in several)), start=None, end=None),
            trades=add_trades(*(one.trades for one in several)),
        )
        for name, several in by_name.items()
    ]
    return CurrencyTotal(
        currency=currency,
        digits=max(one.terms.opened.currency_digits for one in reports),
        accounts=tuple(one.account for one in reports),
        money=add_money(*(one.money for one in reports)),
        trades=add_trades(*(one.trades for one in reports)),
        buckets=tuple(sorted(buckets, key=lambda one: _bucket_order(reports[0].question.by, one.name))),
    )


def account_report(account: Account, question: Question, *, with_curve: bool = False) -> AccountReport:
    """Return the report of one account.

    Raises:
        AccountUnknown: The account was not opened.
        BadValue: A moment that cannot be.
    """
    selection, terms = account.selection(until=question.until, known_at=question.known_at)
    moments = Moments(account, terms, selection.version)
    counter = _Counter(question, terms, moments.utc_msc, with_curve=with_curve)
    portfolio = Portfolio(terms)
    closed: list[OpenPosition] = []
    for booking in booked(portfolio, account.journal_postings(selection, terms), decode_posting, closed):
        if closed:
            for position in closed:
                counter.add_trade(figures_of(position))
            closed.clear()
        counter.add(booking)
    for position in closed:
        counter.add_trade(figures_of(position))
    for trade in portfolio.unfinished_trades():
        counter.add_unfinished(trade)
    return counter.report(
        _last_event(account, selection.version), end=portfolio.money_units[0], marks=lambda: _marks(account, question)
    )  # fmt: skip


def _last_event(account: Account, version: int) -> Recorded | None:
    """Return the event of a version with its hash, None for version 0."""
    return next(account.events(after=version - 1, upto=version), None) if version else None


def _marks(account: Account, question: Question) -> Iterator[Mark]:
    ends = [moment_span_us(one)[1] - 1 for one in (question.until, question.known_at) if one is not None]
    begin_us = moment_begin_us(question.since) if question.since else None
    return account.marks(from_us=begin_us, to_us=min(ends, default=None))


@frozen
class _Flow:
    """What moves equity and is no result."""

    time_msc: int
    utc_msc: int
    amount: int


class _Counter:
    """Counts bookings and trades of one account, and makes a report of them."""

    def __init__(self, question: Question, terms: AccountTerms, read: Callable[..., int], *, with_curve: bool) -> None:
        self._question, self._terms, self._read = question, terms, read
        self._unscale: Unscale = partial(unscaled, scale=terms.opened.money_scale)
        self._since_msc = -(-moment_begin_us(question.since) // 1000) if question.since else None
        self._symbols, self._magics = frozenset(question.symbols), frozenset(question.magics)
        self._calendar = Calendar(terms.clock, question.day, question.by)
        self._start = self._credit = 0  # before the period
        self._money, self._trades = MoneyTally(), TradeTally()
        self._buckets: dict[str | None, tuple[MoneyTally, TradeTally]] = defaultdict(lambda: (MoneyTally(), TradeTally()))
        self._series = SeriesTally()
        self._falls: FallTally | None = None  # what follows the balance begins with the period
        self._days = DayTally(0)
        self._curve: CurveTally | None = None
        self._with_curve = with_curve and not question.is_filtered
        self._results: ResultsCounter | None = None
        self._flows: list[_Flow] = []
        self._first_msc: int | None = None
        self._last_msc: int | None = None

    # ---- counting

    def add(self, booking: Booking) -> None:
        """Count a booking."""
        utc_msc = self._read(booking.time_msc, booking.deal)
        if self._since_msc is not None and utc_msc < self._since_msc:
            self._start += booking.amount
            self._credit += booking.credited
            self._shift(booking.amount)  # it is 0 here as a rule: what happened before comes first
            return
        if self._question.is_filtered:
            if booking.kind != TRADE or not self._is_shown(booking.symbol, booking.magic):
                return
        elif self._falls is None:
            self._begin()
        if self._first_msc is None or utc_msc < self._first_msc:
            self._first_msc = utc_msc
        if self._last_msc is None or utc_msc > self._last_msc:
            self._last_msc = utc_msc
        self._money.add(booking)
        self._buckets[self._bucket_of(booking, utc_msc)][0].add(booking)
        self._follow(booking, utc_msc)

    def _begin(self) -> None:
        self._falls, self._days = FallTally(self._start), DayTally(self._start)
        if self._with_curve:
            self._curve = CurveTally(self._start)

    def _shift(self, amount: int) -> None:
        if self._falls is not None:
            self._falls.shift(amount)
            self._days.shift(amount)

    def _follow(self, booking: Booking, utc_msc: int) -> None:
        """Move what follows the balance."""
        falls = self._falls
        if falls is None:  # a filter has only what its deals come to
            falls = self._falls = FallTally(0)
        if self._question.is_filtered:
            falls.add(booking.amount, utc_msc)
            return
        amount = booking.amount
        if booking.kind == TRADE:
            if self._results is None:
                self._results = ResultsCounter(falls.at + self._credit, scale=self._terms.opened.money_scale)
            self._results.add(amount, booking.entry or 0, booking.side or 0)
        if is_result(booking):
            falls.add(amount, utc_msc)
            self._days.add(amount, booking.time_msc)
        else:
            self._shift(amount)
            self._credit += booking.credited
            self._flows.append(_Flow(booking.time_msc, utc_msc, amount + booking.credited))
        if self._curve is not None:
            self._curve.add(utc_msc, falls.at, falls.peak)

    def add_trade(self, trade: TradeFigures) -> None:
        """Count a trade that closed."""
        utc_msc = self._read(trade.closed_msc)
        magic = trade.magic
        if not self._is_in(utc_msc) or not self._is_shown(trade.symbol, magic):
            return
        bucket = self._buckets[self._name(trade.closed_msc, utc_msc, trade.symbol, magic, trade.side)][1]
        if not trade.is_complete:
            self._trades.incomplete += 1
            bucket.incomplete += 1
            return
        net, duration_ms = trade.net, held_ms(trade, utc_msc, self._read)
        self._trades.add(net, duration_ms)
        bucket.add(net, duration_ms)
        self._series.add(net)

    def add_unfinished(self, trade: Trade) -> None:
        """Count what ended without a result."""
        utc_msc = self._read(trade.closed_msc)
        if self._is_in(utc_msc) and self._is_shown(trade.symbol, trade.magic):
            self._trades.incomplete += 1
            name = self._name(trade.closed_msc, utc_msc, trade.symbol, trade.magic, trade.side.code)
            self._buckets[name][1].incomplete += 1

    def _is_in(self, utc_msc: int) -> bool:
        return self._since_msc is None or utc_msc >= self._since_msc

    def _is_shown(self, symbol: str | None, magic: int | None) -> bool:
        return (not self._symbols or symbol in self._symbols) and (not self._magics or unsigned_magic(magic) in self._magics)

    def _bucket_of(self, booking: Booking, utc_msc: int) -> str | None:
        side = booking.side
        if side is not None and booking.entry != _IN:
            side = 1 - side  # what closes a position belongs to its side
        return self._name(booking.time_msc, utc_msc, booking.symbol, booking.magic, side)

    def _name(self, time_msc: int, utc_msc: int, symbol: str | None, magic: int | None, side: int | None) -> str | None:
        match self._question.by:
            case "symbol":
                return symbol
            case "magic":
                return str(unsigned_magic(magic)) if magic is not None else None
            case "side":
                return _SIDES[side] if side in (0, 1) else None
            case _:
                return self._calendar.bucket(time_msc, utc_msc)

    # ---- what it comes to

    def report(self, last: Recorded | None, *, end: int, marks: Callable[[], Iterable[Mark]]) -> AccountReport:
        """Return the report.

        Args:
            last: The last event that it rests on.
            end: The balance of the portfolio at the end.
            marks: Returns the samples of equity of the period.
        """
        unscale, is_filtered = self._unscale, self._question.is_filtered
        falls = self._falls or FallTally(self._start)
        relative = None if is_filtered else falls.relative(unscale)
        equity = None if is_filtered else self._equity(marks())
        return AccountReport(
            question=self._question,
            terms=self._terms,
            version=last.version if last else 0,
            head=last.head if last else "",
            recorded_us=last.recorded_us if last else 0,
            first_utc_msc=self._first_msc,
            last_utc_msc=self._last_msc,
            money=self._money.money(unscale, start=self._start, end=end, is_filtered=is_filtered),
            trades=self._trades.trades(unscale),
            series=self._series.series(unscale),
            buckets=tuple(self._all_buckets()),
            drawdown=Drawdown(absolute=_plain_fall(falls, unscale, is_filtered=is_filtered), relative=relative),
            equity=equity,
            ratios=None if is_filtered else self._days.ratios(relative.percent if relative else None),
            results=self._results.results() if self._results is not None else None,
            unavailable=tuple(self._unavailable(has_equity=equity is not None)),
            curve=self._curve.curve(unscale) if self._curve is not None else None,
        )  # fmt: skip

    def _unavailable(self, *, has_equity: bool) -> Iterator[tuple[str, str]]:
        if self._question.is_filtered:
            yield from ((name, _FILTERED) for name in ("equity", "ratios", "results"))
            return
        if not has_equity:
            yield "equity", "no sample of equity is stored for the period"
        if self._results is None:
            yield "results", "no trade deal is in the period"

    def _all_buckets(self) -> Iterator[Bucket]:
        by, balance = self._question.by, self._start
        for name in sorted(self._buckets, key=lambda one: _bucket_order(by, one)):
            money, trades = self._buckets[name]
            start = end = begin_msc = end_msc = None
            if by in BY_TIME and name is not None:
                start, balance = balance, balance + money.moved
                end = balance
                begin_msc, end_msc = (self._calendar.begin_msc(one) for one in span(by, name))
            yield Bucket(
                name=name,
                money=money.money(self._unscale, start=start, end=end, is_filtered=self._question.is_filtered),
                trades=trades.trades(self._unscale),
                begin_utc_msc=begin_msc,
                end_utc_msc=end_msc,
            )

    def _equity(self, marks: Iterable[Mark]) -> EquityDrawdown | None:
        """Return the drawdown on equity, flows left out as on the balance."""
        scale, falls, samples, first_us_, last_us = self._terms.opened.money_scale, None, 0, 0, 0
        flows, ahead = sorted(self._flows, key=lambda one: one.utc_msc), 0
        for mark in marks:
            if mark.equity is None:
                continue
            at = scaled(mark.equity, scale, "equity")
            if falls is None:
                falls, first_us_ = FallTally(at), mark.at_us
                while ahead < len(flows) and _contains(mark, flows[ahead]):
                    ahead += 1
            while ahead < len(flows) and _contains(mark, flows[ahead]):
                falls.shift(flows[ahead].amount)
                ahead += 1
            falls.move_to(at, mark.at_us // 1000)
            samples, last_us = samples + 1, mark.at_us
        if falls is None:
            return None
        return EquityDrawdown(
            absolute=falls.absolute(self._unscale),
            relative=falls.relative(self._unscale),
            samples=samples,
            first_us=first_us_,
            last_us=last_us,
        )


def _contains(mark: Mark, flow: _Flow) -> bool:
    """Return whether a sample was made when a flow was booked already, by the broker's clock where it has one."""
    return flow.time_msc <= mark.server_msc if mark.server_msc is not None else flow.utc_msc * 1000 <= mark.at_us


def _plain_fall(falls: FallTally, unscale: Unscale, *, is_filtered: bool) -> Fall | None:
    found = falls.absolute(unscale)
    return evolve(found, percent=None) if found is not None and is_filtered else found


def _bucket_order(by: str, name: str | None) -> tuple[int, int, str]:
    """Return what buckets are ordered by: time, weekday, number or name; what has no such thing comes last."""
    if name is None:
        return 1, 0, ""
    if by == "weekday":
        return 0, WEEKDAYS.index(name), ""
    return 0, int(name) if by == "magic" else 0, name
