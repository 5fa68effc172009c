"""The building of a report: one pass over an account's bookings and trades, of the derived tables or folded from the events."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from attrs import evolve

from ledger.bookings import TRADE, Booking, TradeFigures, booked, figures_of
from ledger.clock import moment_span_us, utc_text_us
from ledger.codec import decode_posting
from ledger.derived.accumulators import REPORT
from ledger.errors import BadValue, JournalBusy
from ledger.events import Recorded
from ledger.marks import Bucket as EquityBucket
from ledger.marks import Mark, minute_of
from ledger.performance.tally import (
    RESULTS,
    Counted,
    CurveTally,
    FallTally,
    MoneyTally,
    Progress,
    SeriesTally,
    TradeTally,
    Unscale,
    held,
)
from ledger.performance.values import Drawdown, EquityDrawdown, add_money, add_trades
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from ledger.postings import NO_DEAL
from ledger.reports.calendar import BY_DAY, BY_TIME, SERVER_DAY, WEEKDAYS, Calendar, Moments, day_name, span
from ledger.reports.values import AccountReport, Bucket, CurrencyTotal, Question, Report
from ledger.service import Account, Moment, moment_begin_us
from ledger.terms import AccountTerms
from ledger.values import Side, scaled, shown, to_magic, to_text, unscaled, unsigned_magic

if TYPE_CHECKING:
    from ledger.derived import Derived, FollowerRow
    from ledger.journal.derived import TradeRow

#: What a report can be by.
BY: Final = (*BY_DAY, "symbol", "magic", "side")
_SIDES: Final = (Side.BUY.value, Side.SELL.value)
_IN: Final = 0
#: The tables are brought up to date first where they are so many events behind; where more, the events are folded.
_CAUGHT_UP_MAX: Final = 20_000
#: A sample that is so much later than a flow has it.
_SEEN_WITHIN_MS: Final = 60_000
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
            money=evolve(add_money(*(one.money for one in several)), start=None, end=None, incomplete_before=0),
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

    It is read from the derived tables where these are up to date and know what is asked for, else folded from the events: the
    report is the same.

    Raises:
        AccountUnknown: The account was not opened.
        BadValue: A moment that cannot be.
    """
    found = report_of_tables(account, question, with_curve=with_curve)
    return report_of_events(account, question, with_curve=with_curve) if found is None else found


def report_of_events(account: Account, question: Question, *, with_curve: bool = False) -> AccountReport:
    """Return the report of one account, folded from its events. Raises as ``account_report``."""
    selection, terms = account.selection(known_at=question.known_at)
    counter = Counter(question, terms, Moments(account, terms, selection.version).utc_msc, with_curve=with_curve)
    counter.watch_equity(_samples(account, question))
    portfolio = Portfolio(terms)
    closed: list[OpenPosition] = []
    for booking in booked(portfolio, account.journal_postings(selection, terms), decode_posting, closed):
        counter.add_trades(closed)
        counter.add(booking)
    counter.add_trades(closed)
    for position in portfolio.unfinished_positions():
        counter.add_unfinished(figures_of(position))
    last = _last_event(account, selection.version)
    basis = Basis(last.version, last.head, last.recorded_us) if last else Basis(0, "", 0)
    return counter.report(basis, portfolio.money_units[0])


def report_of_tables(account: Account, question: Question, *, with_curve: bool = False) -> AccountReport | None:
    """Return the report of one account, read from the derived tables; None where these do not serve.

    Raises:
        AccountUnknown: The account was not opened.
    """
    if question.known_at is not None:
        return None
    terms, derived = account.terms, account.derived
    bounds = _bounds(question, terms)
    lag = derived.lag()
    if bounds is None or not lag.version or lag.events > _CAUGHT_UP_MAX or (lag.events and derived.fresh().events):
        return None
    is_whole = question.since is None and question.until is None and not question.is_filtered and not with_curve

    def ask(row: FollowerRow) -> AccountReport | None:
        known = account.ledger.journal.terms(account.name, row.version) or terms
        read = Moments(account, known, row.version).utc_msc
        summary, counted = derived.summary(), derived.accumulated(REPORT.name) if is_whole else None
        if summary is None:
            return None
        basis = Basis(row.version, row.hash.hex(), summary.recorded_us)
        counter = Counter(question, known, read, with_curve=with_curve)
        counter.watch_equity(_samples(account, question))
        if isinstance(counted, Counted) and counter.add_whole(derived, counted):
            return counter.report(basis, summary.balance)
        _count_rows(counter, derived, bounds)
        return counter.report(basis, summary.balance)

    try:
        return derived.read(ask)
    except (BadValue, JournalBusy):  # they are being made
        return None


def _count_rows(counter: Counter, derived: Derived, bounds: tuple[int | None, int | None]) -> None:
    """Count the rows of a period."""
    begin_msc, end_msc = bounds
    if begin_msc is not None:
        counter.begin_with(*derived.moved(until_msc=begin_msc))
    for row in derived.bookings(from_msc=begin_msc, until_msc=end_msc):
        (_, _, time_msc, deal, version, kind, side, entry, position_id, symbol, magic, commission, fee, swap, profit, amount,
         credited, is_complete, _, _) = row  # fmt: skip
        counter.add(
            Booking(
                time_msc, NO_DEAL if deal is None else deal, version, kind, side, entry, position_id, symbol, magic, commission,
                fee, swap, profit, amount, credited, bool(is_complete),
            )
        )  # fmt: skip
    if end_msc is not None:
        counter.end_with(derived.moved(from_msc=end_msc)[0])
    for one in derived.trades(from_msc=begin_msc, until_msc=end_msc):
        (counter.add_unfinished if one.is_unfinished else counter.add_trade)(_figures(one))


def _figures(row: TradeRow) -> TradeFigures:
    return TradeFigures(
        row.closed_msc, row.opened_msc, row.position_id, row.symbol, row.side, row.magic, row.commission, row.fee, row.swap,
        row.profit, bool(row.is_complete),
    )  # fmt: skip


def _bounds(question: Question, terms: AccountTerms) -> tuple[int | None, int | None] | None:
    """Return the period in broker time, the end exclusive; None where that needs the single deals of a repeated hour."""
    found: list[int | None] = []
    for utc_msc in _period_msc(question):
        if utc_msc is None:
            found.append(None)
            continue
        first = terms.clock.from_utc_msc(utc_msc - 1) + 1
        if terms.clock.repeated_hours(first - 1, first):
            return None
        found.append(first)
    begin, end = found
    return begin, end


def _period_msc(question: Question) -> tuple[int | None, int | None]:
    """Return the first millisecond of the period, UTC, and the first behind it."""
    begin = None if question.since is None else -(-moment_begin_us(question.since) // 1000)
    end = None if question.until is None else -(-moment_span_us(question.until)[1] // 1000)
    return begin, end


def _last_event(account: Account, version: int) -> Recorded | None:
    """Return the event of a version with its hash, None for version 0."""
    return next(account.events(after=version - 1, upto=version), None) if version else None


class Sample(NamedTuple):
    """A point of the curve of equity, and how many samples it counts for."""

    mark: Mark
    weight: int


def _samples(account: Account, question: Question) -> Iterator[Sample]:
    """Yield the samples of equity of a period; where they are deleted, the extremes of their minutes."""
    ends = [moment_span_us(one)[1] - 1 for one in (question.until, question.known_at) if one is not None]
    begin_us, end_us = moment_begin_us(question.since) if question.since else None, min(ends, default=None)
    marks = account.marks(from_us=begin_us, to_us=end_us)
    first = next(marks, None)
    last_us = end_us if first is None else first.at_us - 1
    minutes = account.ledger.journal.equity(
        account.name, "minute", first=None if begin_us is None else minute_of(begin_us),
        last=None if last_us is None else minute_of(last_us),
    )  # fmt: skip
    for minute in minutes:
        points = [one for one in _points(minute) if begin_us is None or begin_us <= one[0]]
        points = [one for one in points if last_us is None or one[0] <= last_us]
        is_whole = last_us is None or minute.close_us <= last_us
        for number, (at_us, equity) in enumerate(points):
            yield Sample(Mark(at_us=at_us, equity=equity), (0 if number else minute.samples) if is_whole else 1)
    for mark in chain(() if first is None else (first,), marks):
        yield Sample(mark, 1)


def _points(minute: EquityBucket) -> list[tuple[int, Decimal]]:
    """Return the moments of which a minute has the equity, in their order."""
    points = {
        minute.open_us: minute.open, minute.high_us: minute.high, minute.low_us: minute.low, minute.close_us: minute.close,
    }  # fmt: skip
    return sorted(points.items())


class Basis(NamedTuple):
    """What a report rests on: a version, its chain hash and when it was recorded."""

    version: int
    head: str
    recorded_us: int


class _Flow(NamedTuple):
    """What moves equity and is no result."""

    utc_msc: int
    time_msc: int
    amount: int
    credited: int


class Counter:
    """Counts bookings and trades of one account, and makes a report of them.

    Args:
        question: What the report is about.
        terms: The account terms.
        read: Turns broker time, and the deal where there is one, into UTC.
        with_curve: Whether the balance curve is wanted.
    """

    def __init__(self, question: Question, terms: AccountTerms, read: Callable[..., int], *, with_curve: bool) -> None:
        self._question, self._terms, self._read = question, terms, read
        self._scale = terms.opened.money_scale
        self._unscale: Unscale = partial(unscaled, scale=self._scale)
        self._begin_msc, self._end_msc = _period_msc(question)
        self._symbols, self._magics = frozenset(question.symbols), frozenset(question.magics)
        self._calendar = Calendar(terms.clock, question.day, question.by)
        self._start = self._credit = self._behind = 0  # before the period, and what moved the balance behind it
        self._incomplete = 0  # deals before the period
        self._money, self._trades = MoneyTally(), TradeTally()
        self._buckets: dict[str | None, tuple[MoneyTally, TradeTally]] = defaultdict(lambda: (MoneyTally(), TradeTally()))
        self._progress: Progress | None = None  # begins with the period
        self._series = SeriesTally()
        self._curve: CurveTally | None = None
        self._with_curve = with_curve and not question.is_filtered
        self._samples: Iterator[Sample] = iter(())
        self._flows: list[_Flow] | None = None

    # ---- counting

    def watch_equity(self, samples: Iterator[Sample]) -> None:
        """Take the samples of equity of the period. What moved equity otherwise is noted only where there are any."""
        first = next(samples, None)
        if first is not None and not self._question.is_filtered:
            self._samples, self._flows = chain((first,), samples), []

    def begin_with(self, balance: int, credit: int, incomplete: int) -> None:
        """Begin with a balance and a credit, of which the money of some deals is not known."""
        self._start, self._credit, self._incomplete = balance, credit, incomplete

    def end_with(self, behind: int) -> None:
        """Note what moved the balance behind the period."""
        self._behind += behind

    def add(self, booking: Booking) -> None:
        """Count a booking."""
        utc_msc = self._read(booking.time_msc, booking.deal)
        if self._begin_msc is not None and utc_msc < self._begin_msc:
            self._start += booking.amount
            self._credit += booking.credited
            self._incomplete += booking.kind == TRADE and not booking.is_complete
            return
        if self._end_msc is not None and utc_msc >= self._end_msc:
            self._behind += booking.amount
            return
        is_filtered = self._question.is_filtered
        if is_filtered and (booking.kind != TRADE or not self._is_shown(booking.symbol, booking.magic)):
            return
        progress = self._progress
        if progress is None:
            balance, credit = (0, 0) if is_filtered else (self._start, self._credit)
            progress = self._progress = Progress(balance, credit, scale=self._scale)
            self._curve = CurveTally(self._start) if self._with_curve else None
        progress.add(booking)
        self._money.add(booking)
        self._buckets[self._bucket_of(booking, utc_msc)][0].add(booking)
        if self._flows is not None and booking.kind not in RESULTS:
            self._flows.append(_Flow(utc_msc, booking.time_msc, booking.amount, booking.credited))
        if self._curve is not None:
            self._curve.add(utc_msc, progress.falls.at, progress.falls.peak)

    def add_trades(self, closed: list[OpenPosition]) -> None:
        """Count positions that went flat, and empty the list."""
        if closed:
            for position in closed:
                self.add_trade(figures_of(position))
            closed.clear()

    def add_trade(self, trade: TradeFigures) -> None:
        """Count a trade that closed."""
        if not trade.is_complete:
            self.add_unfinished(trade)
            return
        utc_msc = self._read(trade.closed_msc)
        if not self._is_in(utc_msc) or not self._is_shown(trade.symbol, trade.magic):
            return
        net, held_ms = trade.net, held(trade, self._terms.clock)
        self._trades.add(net, held_ms)
        self._buckets[self._bucket_of_trade(trade, utc_msc)][1].add(net, held_ms)
        self._series.add(net)

    def add_unfinished(self, trade: TradeFigures) -> None:
        """Count what closed, or ended, without a result that is known."""
        utc_msc = self._read(trade.closed_msc)
        if self._is_in(utc_msc) and self._is_shown(trade.symbol, trade.magic):
            self._trades.incomplete += 1
            self._buckets[self._bucket_of_trade(trade, utc_msc)][1].incomplete += 1

    def add_whole(self, derived: Derived, counted: Counted) -> bool:
        """Count a whole history by what is stored of it; return whether that knows what is asked for."""
        by = self._question.by
        if (by in BY_DAY and self._question.day != SERVER_DAY) or self._flows is not None:
            return False
        groups = counted.groups.groups(by)
        if groups is None:
            self._add_sums(derived, by)
        else:
            for key, (money, trades) in groups.items():
                self._money.add_all(money)
                self._trades.add_all(trades)
                self._buckets[self._name_of_group(key)] = money, trades
            for row in derived.unfinished_trades():
                self.add_unfinished(_figures(row))
        self._progress, self._series = counted.progress, counted.progress.series
        return True

    def _add_sums(self, derived: Derived, by: str) -> None:
        """Count a whole history by sums that the database makes."""
        bookings, trades = derived.sums("day" if by in BY_DAY else by)  # type: ignore[arg-type]
        for one in bookings:
            self._money.add_sums(one)
            self._buckets[self._name_of(one.key)][0].add_sums(one)
        for two in trades:
            self._trades.add_sums(two)
            self._buckets[self._name_of(two.key)][1].add_sums(two)

    def _name_of_group(self, key: int | str | None) -> str | None:
        """Return the name of the bucket of a group."""
        by = self._question.by
        if by == "weekday" and isinstance(key, int):
            return WEEKDAYS[key]
        return f"{key // 12:04d}-{key % 12 + 1:02d}" if by == "month" and isinstance(key, int) else self._name_of(key)

    def _name_of(self, key: int | str | None) -> str | None:
        """Return the name of the bucket that a key of the sums belongs to."""
        by = self._question.by
        if by in BY_DAY and isinstance(key, int):
            return self._calendar.name_of(key)
        if by == "side" and isinstance(key, int):
            return _SIDES[key]
        return str(unsigned_magic(key)) if by == "magic" and isinstance(key, int) else None if key is None else str(key)

    def _is_in(self, utc_msc: int) -> bool:
        begin, end = self._begin_msc, self._end_msc
        return (begin is None or utc_msc >= begin) and (end is None or utc_msc < end)

    def _is_shown(self, symbol: str | None, magic: int | None) -> bool:
        return (not self._symbols or symbol in self._symbols) and (not self._magics or unsigned_magic(magic) in self._magics)

    def _bucket_of(self, booking: Booking, utc_msc: int) -> str | None:
        by = self._question.by
        if by in BY_DAY:
            return self._calendar.bucket(booking.time_msc, utc_msc)
        if by == "side":  # what closes a position belongs to its side
            side = booking.side
            return None if side is None else _SIDES[side if booking.entry == _IN else 1 - side]
        return self._name_of(booking.symbol if by == "symbol" else booking.magic)

    def _bucket_of_trade(self, trade: TradeFigures, utc_msc: int) -> str | None:
        by = self._question.by
        if by in BY_DAY:
            return self._calendar.bucket(trade.closed_msc, utc_msc)
        keys: dict[str, int | str | None] = {"side": trade.side, "symbol": trade.symbol, "magic": trade.magic}
        return self._name_of(keys[by])

    # ---- what it comes to

    def report(self, basis: Basis, balance: int) -> AccountReport:
        """Return the report.

        Args:
            basis: What it rests on.
            balance: That of the account at the end of all, in scaled integers.
        """
        unscale, is_filtered = self._unscale, self._question.is_filtered
        progress = self._progress or Progress(self._start, self._credit, scale=self._scale)
        absolute = progress.falls.absolute(unscale, self._read)
        if absolute is not None and is_filtered:  # some deals have no balance that it could be a share of
            absolute = evolve(absolute, percent=None)
        relative = None if is_filtered else progress.falls.relative(unscale, self._read)
        equity, results = self._equity(), None if is_filtered else progress.results()
        return AccountReport(
            question=self._question,
            terms=self._terms,
            version=basis.version,
            head=basis.head,
            recorded_us=basis.recorded_us,
            first_utc_msc=None if progress.first is None else self._read(*progress.first),
            last_utc_msc=None if progress.last is None else self._read(*progress.last),
            money=self._money.money(
                unscale, start=self._start, end=balance - self._behind, before=self._incomplete, is_filtered=is_filtered
            ),
            trades=self._trades.trades(unscale),
            series=self._series.series(unscale),
            buckets=tuple(self._all_buckets()),
            drawdown=Drawdown(absolute=absolute, relative=relative),
            equity=equity,
            ratios=None if is_filtered else progress.days.ratios(relative.percent if relative else None),
            results=results,
            unavailable=tuple(self._unavailable(has_equity=equity is not None, has_results=results is not None)),
            curve=self._curve.curve(unscale) if self._curve is not None else None,
        )

    def _unavailable(self, *, has_equity: bool, has_results: bool) -> Iterator[tuple[str, str]]:
        if self._question.is_filtered:
            yield from ((name, _FILTERED) for name in ("equity", "ratios", "results"))
            return
        if not has_equity:
            yield "equity", "no sample of equity is stored for the period"
        if not has_results:
            yield "results", "no trade deal is in the period"

    def _all_buckets(self) -> Iterator[Bucket]:
        by, balance, incomplete, before = self._question.by, self._start, self._incomplete, 0
        for name in sorted(self._buckets, key=lambda one: _bucket_order(by, one)):
            money, trades = self._buckets[name]
            start = end = begin_msc = end_msc = None
            if by in BY_TIME and name is not None:
                start, balance = balance, balance + money.moved
                end = balance
                before, incomplete = incomplete, incomplete + money.incomplete
                begin_msc, end_msc = (self._calendar.begin_msc(one) for one in span(by, name))
            yield Bucket(
                name=name,
                money=money.money(self._unscale, start=start, end=end, before=before, is_filtered=self._question.is_filtered),
                trades=trades.trades(self._unscale),
                begin_utc_msc=begin_msc,
                end_utc_msc=end_msc,
            )

    def _equity(self) -> EquityDrawdown | None:
        """Return the drawdown on equity, flows left out as on the balance."""
        falls, balance, samples, first_us, last_us = None, None, 0, 0, 0
        flows = deque(sorted(self._flows or ()))
        for mark, weight in self._samples:
            if mark.equity is None:
                continue
            at, moved = scaled(mark.equity, self._scale, "equity"), 0
            known = None if mark.balance is None else scaled(mark.balance, self._scale, "balance")
            while flows and _contains(mark, flows[0], None if known is None or balance is None else known - balance):
                flow = flows.popleft()
                moved += flow.amount + flow.credited
                balance = None if balance is None else balance + flow.amount
            balance = known
            if falls is None:
                falls, first_us = FallTally(at), mark.at_us
            else:
                falls.shift(moved)
            falls.move_to(at, (mark.at_us // 1000, 0))
            samples, last_us = samples + weight, mark.at_us
        if falls is None:
            return None
        return EquityDrawdown(
            absolute=falls.absolute(self._unscale, _as_it_is),
            relative=falls.relative(self._unscale, _as_it_is),
            samples=samples,
            first_us=first_us,
            last_us=last_us,
        )


def _as_it_is(utc_msc: int, _: int) -> int:
    return utc_msc


def _contains(mark: Mark, flow: _Flow, moved: int | None) -> bool:
    """Return whether a sample has a flow already, by the broker's clock where it states one.

    For a while behind it the balance decides, where it is known: a sample of the same moment may be from just before.

    Args:
        mark: The sample.
        flow: The flow.
        moved: What the balance moved by since the sample before.
    """
    late_ms = mark.at_us // 1000 - flow.utc_msc if mark.server_msc is None else mark.server_msc - flow.time_msc
    if late_ms < 0 or moved is None or late_ms > _SEEN_WITHIN_MS:
        return late_ms >= 0
    return abs(moved - flow.amount) <= abs(moved)


def _bucket_order(by: str, name: str | None) -> tuple[int, int, str]:
    """Return what buckets are ordered by: time, weekday, number or name; what has no such thing comes last."""
    if name is None:
        return 1, 0, ""
    if by == "weekday":
        return 0, WEEKDAYS.index(name), ""
    return 0, int(name) if by == "magic" else 0, name
