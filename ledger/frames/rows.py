"""The rows of frames, as blocks of columns: what the journal and the fold show, with the figures of the JSON output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Unpack

from attrs import frozen

from ledger.clock import MINUTE_MSC, SECOND_MSC, ClockRule
from ledger.codec import Stored, decode_posting
from ledger.errors import BadValue
from ledger.fold_order import HourReading
from ledger.frames.columns import Block, Columns, Kind
from ledger.journal.checkpoints import repeated_hour
from ledger.journal.derived import TradeRow
from ledger.marks import AMOUNTS
from ledger.portfolio import Portfolio, posted_cash_kind
from ledger.positions import OpenPosition, divided
from ledger.postings import MONEY, NO_DEAL, Row
from ledger.service import Account, Moment, moment_begin_us, moment_last_us
from ledger.terms import AccountTerms
from ledger.values import Side, entry_word, scaled, shown, signed_magic, unsigned_magic

if TYPE_CHECKING:
    from ledger.frames import FrameOptions

_AT_ONCE: Final = 1024  # small blocks: the garbage collector walks all that is held
_READ: Final = 2048
_QUARTER_MSC: Final = 15 * MINUTE_MSC
_SIDES: Final = (Side.BUY.value, Side.SELL.value)
_SIDE_CODES: Final = range(len(_SIDES))
_ACCOUNT: Final = (("server", Kind.TEXT), ("login", Kind.INTEGER), ("currency", Kind.TEXT))
_MONEY: Final = tuple((name, Kind.MONEY) for name in MONEY)
#: The figures of a deal, in frames of deals and of events.
_OF_DEALS: Final = (("volume", Kind.VOLUME), ("price", Kind.PRICE), *_MONEY, ("magic", Kind.UNSIGNED))


@frozen(kw_only=True)
class Asked:
    """What is selected. Times are UTC microseconds, both inclusive."""

    since_us: int | None
    until_us: int | None
    until: Moment
    known_at: Moment
    symbols: frozenset[str] | None
    magics: frozenset[int] | None

    @classmethod
    def of(cls, **options: Unpack[FrameOptions]) -> Asked:
        """Return what options select.

        Raises:
            BadValue: A moment, a symbol or a magic number that cannot be.
        """
        since, until = options.get("since"), options.get("until")
        magics = _set_of(options.get("magics"), int, "magic numbers")
        return cls(
            since_us=None if since is None else moment_begin_us(since),
            until_us=None if until is None else moment_last_us(until),
            until=until,
            known_at=options.get("known_at"),
            symbols=_set_of(options.get("symbols"), str, "symbols"),
            magics=None if magics is None else frozenset(signed_magic(one) or 0 for one in magics),
        )

    def is_within(self, time_us: int) -> bool:
        """Return whether a moment belongs to what is asked for."""
        return (self.since_us is None or time_us >= self.since_us) and (self.until_us is None or time_us <= self.until_us)

    def has(self, symbol: str | None, magic: int | None) -> bool:
        """Return whether a symbol, and a magic number as it is stored, are asked for."""
        return (self.symbols is None or symbol in self.symbols) and (self.magics is None or magic in self.magics)

    @property
    def is_any_time(self) -> bool:
        """Whether nothing is left out by time."""
        return self.since_us is None and self.until_us is None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out by symbol or magic number."""
        return self.symbols is None and self.magics is None


def _set_of(values: Collection[Any] | None, kind: type, what: str) -> frozenset[Any] | None:
    if values is None:
        return None
    if isinstance(values, (str, bytes)) or any(not isinstance(one, kind) or isinstance(one, bool) for one in values):
        raise BadValue(f"expected {what} as a list, found {shown(values)}")
    return frozenset(values)


def _account_block(terms: AccountTerms, size: int) -> dict[str, Sequence[Any] | str]:
    opened = terms.opened
    return {"server": opened.server, "login": [opened.login] * size, "currency": opened.currency}


def _offset_of(clock: ClockRule) -> Callable[[int], int | None]:
    """Return what gives the microseconds from broker time to UTC in a quarter hour, None for one that the clock skips.

    Within a quarter hour a clock never changes its offset.
    """

    @lru_cache(maxsize=65_536)
    def offset_us(quarter: int) -> int | None:
        begin, end = quarter * _QUARTER_MSC, (quarter + 1) * _QUARTER_MSC - 1
        first, last = clock.to_utc_msc(begin) - begin, clock.to_utc_msc(end) - end
        return first * 1000 if first == last else None

    return offset_us


class _Clock:
    """Converts broker times to UTC microseconds, many at a time."""

    def __init__(self, clock: ClockRule) -> None:
        self._clock = clock
        self._offset_us = _offset_of(clock)

    def utc_us(self, times: Sequence[int]) -> list[int]:
        """Return the moments that broker times name, in UTC microseconds."""
        offsets = {self._offset_us(quarter) for quarter in {time_msc // _QUARTER_MSC for time_msc in times}}
        if len(offsets) == 1 and (offset := next(iter(offsets))) is not None:
            return [time_msc * 1000 + offset for time_msc in times]
        return [self._one(time_msc) for time_msc in times]

    def _one(self, time_msc: int) -> int:
        offset = self._offset_us(time_msc // _QUARTER_MSC)
        return self._clock.to_utc_msc(time_msc) * 1000 if offset is None else time_msc * 1000 + offset


# ------------------------------------------------------------------------------------------------------------- trades

TRADES: Final = (
    *_ACCOUNT,
    ("position_id", Kind.INTEGER),
    ("ticket", Kind.INTEGER),
    ("symbol", Kind.TEXT),
    ("side", Kind.TEXT),
    ("volume", Kind.VOLUME),
    ("opened_at", Kind.TIME),
    ("price_open", Kind.PRICE),
    ("closed_at", Kind.TIME),
    ("price_close", Kind.PRICE),
    *_MONEY,
    ("complete", Kind.FLAG),
    ("opened_before_history", Kind.FLAG),
    ("basis", Kind.TEXT),
    ("magic", Kind.UNSIGNED),
)


def trades(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield the closed trades of an account in the order of closing, then those whose result is not known in full."""
    selection, terms = account.selection(until=asked.until, known_at=asked.known_at)
    portfolio, make = Portfolio(terms), _TradeBlocks(terms, asked, columns)
    closed: list[OpenPosition] = []
    postings = account.ledger.journal.postings(account.name, selection, terms)
    while rows := postings.take(_READ):
        portfolio.fold(rows, decode_posting, closed.append)
        if len(closed) >= _AT_ONCE:
            yield from make(closed)
            closed.clear()
    closed.extend(portfolio.unfinished_positions())
    yield from make(closed)


class _TradeBlocks:
    """Makes blocks of rows of positions that went flat."""

    def __init__(self, terms: AccountTerms, asked: Asked, columns: Columns) -> None:
        self._terms = terms
        self._asked = asked
        self._columns = columns
        self._clock = _Clock(terms.clock)
        self._factors: dict[str, tuple[int, int, int, int]] = {}

    def __call__(self, closed: list[OpenPosition]) -> Iterator[Block]:
        """Yield the block of what is asked for, none where nothing is."""
        asked = self._asked
        found = closed if asked.is_all else [one for one in closed if asked.has(one.symbol, one.magic)]
        closed_us = self._clock.utc_us([one.closed_msc for one in found])
        if not asked.is_any_time:
            both = [(one, at_us) for one, at_us in zip(found, closed_us, strict=True) if asked.is_within(at_us)]
            found, closed_us = [one for one, _ in both], [at_us for _, at_us in both]
        if not found:
            return
        opened_us = self._clock.utc_us([one.opened_msc for one in found])
        money = self._columns.factor(Kind.MONEY, self._terms.opened.money_scale)
        volumes, opens, closes = zip(*map(self._sizes, found), strict=True)
        yield _account_block(self._terms, len(found)) | {
            "position_id": [one.position_id for one in found],
            "ticket": [one.ticket for one in found],
            "symbol": [one.symbol for one in found],
            "side": [_SIDES[one.side] for one in found],
            "volume": volumes,
            "opened_at": [at_us if one.is_opening_known else None for one, at_us in zip(found, opened_us, strict=True)],
            "price_open": opens,
            "closed_at": closed_us,
            "price_close": closes,
            "commission": [one.commission * money for one in found],
            "fee": [one.fee * money for one in found],
            "swap": [one.swap * money for one in found],
            "profit": [one.profit * money for one in found],
            "complete": [one.is_money_known and not one.volume_unexplained for one in found],
            "opened_before_history": [not one.is_opening_known for one in found],
            "basis": [one.basis for one in found],
            "magic": [unsigned_magic(one.magic) for one in found],
        }

    def _sizes(self, one: OpenPosition) -> tuple[int, int | None, int | None]:
        """Return volume, average price of the opening and of the close, as the columns scale them."""
        factors = self._factors.get(one.symbol)
        if factors is None:
            price_scale, volume_scale = self._terms.scales(one.symbol)
            digits, factor = self._terms.shown_digits(one.symbol), self._columns.factor
            factors = 10**digits, 10**price_scale, factor(Kind.PRICE, digits), factor(Kind.VOLUME, volume_scale)
            self._factors[one.symbol] = factors
        numerator, denominator, price, volume = factors
        volume_in, volume_out = one.volume_in, one.volume_out
        return (
            (volume_in if one.is_opening_known else volume_out) * volume,
            divided(one.cost_in * numerator, volume_in * denominator) * price if volume_in else None,
            divided(one.cost_out * numerator, volume_out * denominator) * price if volume_out else None,
        )


def is_derived(account: Account, asked: Asked) -> bool:
    """Return whether ``derived_trades`` yields what ``trades`` does: of now, and with tables of the present version."""
    return asked.until is None and asked.known_at is None and not account.derived.lag().events


def derived_trades(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield what ``trades`` yields, read from the derived tables: within ``Derived.read``, so that all is of one version."""
    terms = account.terms
    money = columns.factor(Kind.MONEY, terms.opened.money_scale)
    for rows in _wanted(account.derived.trades(), asked):
        yield _of_rows(rows, terms, money)


def _wanted(rows: Iterator[TradeRow], asked: Asked) -> Iterator[list[TradeRow]]:
    while found := list(islice(rows, _AT_ONCE)):
        if not asked.is_all:
            found = [row for row in found if asked.has(row.symbol, row.magic)]
        if not asked.is_any_time:
            found = [row for row in found if asked.is_within(row.closed_utc_msc * 1000)]
        if found:
            yield found


def _of_rows(rows: list[TradeRow], terms: AccountTerms, money: int) -> Block:
    by_name: dict[str, Sequence[Any]] = dict(zip(TradeRow._fields, zip(*rows, strict=True), strict=True))
    return (
        _account_block(terms, len(rows))
        | {name: by_name[name] for name in ("position_id", "ticket", "symbol", "volume", "price_open", "price_close", "basis")}
        | {
            "side": [_SIDES[side] for side in by_name["side"]],
            "opened_at": [None if utc_msc is None else utc_msc * 1000 for utc_msc in by_name["opened_utc_msc"]],
            "closed_at": [utc_msc * 1000 for utc_msc in by_name["closed_utc_msc"]],
            "complete": [is_complete == 1 for is_complete in by_name["is_complete"]],
            "opened_before_history": [utc_msc is None for utc_msc in by_name["opened_utc_msc"]],
            "magic": [unsigned_magic(magic) for magic in by_name["magic"]],
        }
        | {name: by_name[name] if money == 1 else [one * money for one in by_name[name]] for name in MONEY}
    )


# -------------------------------------------------------------------------------------------------------------- deals

DEALS: Final = (
    *_ACCOUNT,
    ("time", Kind.TIME),
    ("deal", Kind.INTEGER),
    ("version", Kind.INTEGER),
    ("type", Kind.TEXT),
    ("entry", Kind.TEXT),
    ("position_id", Kind.INTEGER),
    ("order", Kind.INTEGER),
    ("symbol", Kind.TEXT),
    *_OF_DEALS,
)


def deals(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield the deals of an account in the fold order, each once, with all that is known of it."""
    selection, terms = account.selection(until=asked.until, known_at=asked.known_at)
    clock = _Clock(terms.clock)
    postings = account.ledger.journal.postings(account.name, selection, terms)
    while rows := postings.take(_AT_ONCE):
        found = [row for row in rows if row[1] != NO_DEAL and (asked.is_all or asked.has(row[8], row[15]))]
        times = clock.utc_us([row[0] for row in found])
        if not asked.is_any_time:
            both = [(row, at_us) for row, at_us in zip(found, times, strict=True) if asked.is_within(at_us)]
            found, times = [row for row, _ in both], [at_us for _, at_us in both]
        if found:
            yield _account_block(terms, len(found)) | {"time": times} | _of_deals(_by_name(found), terms, columns)


def _by_name(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    """Return name -> column of rows that begin as postings do."""
    return dict(zip(Stored._fields, zip(*rows, strict=True), strict=False))


def _of_deals(by_name: dict[str, Sequence[Any]], terms: AccountTerms, columns: Columns) -> dict[str, Sequence[Any]]:
    scales = {symbol: terms.scales(symbol or "") for symbol in set(by_name["symbol"])}
    prices = {symbol: columns.factor(Kind.PRICE, scale) for symbol, (scale, _) in scales.items()}
    volumes = {symbol: columns.factor(Kind.VOLUME, scale) for symbol, (_, scale) in scales.items()}
    entries = {entry: None if entry is None else entry_word(entry) for entry in set(by_name["entry"])}
    factor = columns.factor(Kind.MONEY, terms.opened.money_scale)
    return {
        "deal": by_name["deal"],
        "version": by_name["version"],
        "type": [
            _SIDES[code] if code in _SIDE_CODES else posted_cash_kind(code, data)
            for code, data in zip(by_name["deal_type"], by_name["data"], strict=True)
        ],
        "entry": [entries[entry] for entry in by_name["entry"]],
        "position_id": by_name["position_id"],
        "order": by_name["order_ticket"],
        "symbol": by_name["symbol"],
        "volume": _times(by_name["volume"], by_name["symbol"], volumes),
        "price": _times(by_name["price"], by_name["symbol"], prices),
        "magic": [unsigned_magic(magic) for magic in by_name["magic"]],
    } | {
        name: by_name[name] if factor == 1 else [None if one is None else one * factor for one in by_name[name]]
        for name in MONEY
    }  # fmt: skip


def _times(values: Sequence[int | None], symbols: Sequence[str | None], factors: dict[str | None, int]) -> Sequence[int | None]:
    if set(factors.values()) <= {1}:
        return values
    return [None if one is None else one * factors[symbol] for one, symbol in zip(values, symbols, strict=True)]


# ---------------------------------------------------------------------------------------------------------- positions

POSITIONS: Final = (
    *_ACCOUNT,
    ("position_id", Kind.INTEGER),
    ("ticket", Kind.INTEGER),
    ("symbol", Kind.TEXT),
    ("side", Kind.TEXT),
    ("volume", Kind.VOLUME),
    ("price_open", Kind.PRICE),
    ("opened_at", Kind.TIME),
    ("basis", Kind.TEXT),
    ("magic", Kind.UNSIGNED),
)


def positions(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield the open positions at a moment, by position id; with ``since`` those that were opened from then on."""
    portfolio = account.replay(until=asked.until, known_at=asked.known_at)
    terms = portfolio.terms
    price, volume = columns.scales[Kind.PRICE], columns.scales[Kind.VOLUME]
    opened = [
        (one, terms.clock.to_utc_msc(one.opened_msc // SECOND_MSC * SECOND_MSC) * 1000)
        for one in portfolio.positions.values()
        if asked.has(one.symbol, signed_magic(one.magic))
    ]
    found = [(one, at_us) for one, at_us in opened if asked.since_us is None or at_us >= asked.since_us]
    if found:
        yield _account_block(terms, len(found)) | {
            "position_id": [one.position_id for one, _ in found],
            "ticket": [one.ticket for one, _ in found],
            "symbol": [one.symbol for one, _ in found],
            "side": [one.side.value for one, _ in found],
            "volume": [scaled(one.volume, volume, "volume") for one, _ in found],
            "price_open": [scaled(one.price_open, price, "price") for one, _ in found],
            "opened_at": [at_us for _, at_us in found],
            "basis": [one.basis for one, _ in found],
            "magic": [one.magic for one, _ in found],
        }


# ----------------------------------------------------------------------------------------------------------- balances

BALANCES: Final = (
    *_ACCOUNT,
    ("balance", Kind.MONEY),
    ("credit", Kind.MONEY),
    *_MONEY,
    ("deals", Kind.INTEGER),
    ("deals_incomplete", Kind.INTEGER),
)


def balances(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield one row: the money of an account at a moment, and the sums that make it."""
    portfolio = account.replay(until=asked.until, known_at=asked.known_at)
    totals, scale = portfolio.totals, columns.scales[Kind.MONEY]
    amounts = {"balance": portfolio.balance, "credit": portfolio.credit} | {name: getattr(totals, name) for name in MONEY}
    yield (
        _account_block(portfolio.terms, 1)
        | {name: [scaled(amount, scale, name)] for name, amount in amounts.items()}
        | {"deals": [totals.deals], "deals_incomplete": [totals.deals_incomplete]}
    )


# ------------------------------------------------------------------------------------------------------------- events

EVENTS: Final = (
    ("server", Kind.TEXT),
    ("login", Kind.INTEGER),
    ("version", Kind.INTEGER),
    ("kind", Kind.TEXT),
    ("event_time", Kind.TIME),
    ("recorded_at", Kind.TIME),
    ("broker_msc", Kind.INTEGER),
    ("position_id", Kind.INTEGER),
    ("deal", Kind.INTEGER),
    ("order", Kind.INTEGER),
    ("symbol", Kind.TEXT),
    ("side", Kind.TEXT),
    ("entry", Kind.TEXT),
    *_OF_DEALS,
    ("reason", Kind.INTEGER),
    ("comment", Kind.TEXT),
    ("origin", Kind.TEXT),
    ("deal_type", Kind.INTEGER),
    ("natural_key", Kind.TEXT),
    ("caused_by", Kind.INTEGER),
    ("correlation", Kind.TEXT),
    ("evidence", Kind.TEXT),
    ("schema", Kind.INTEGER),
    ("data", Kind.TEXT),
    ("hash", Kind.TEXT),
)


def events(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield the events of an account as they are recorded, by version."""
    selection, terms = account.selection(known_at=asked.known_at)
    clock = _EventClock(account, terms, selection.version)
    for after in range(0, selection.version, _AT_ONCE):
        rows = list(account.ledger.journal.rows(account.name, after=after, upto=min(after + _AT_ONCE, selection.version)))
        found = rows if asked.is_all else [row for row in rows if asked.has(row.symbol, row.magic)]
        times = clock.utc_us_of(found)
        if not asked.is_any_time:
            both = [(row, at_us) for row, at_us in zip(found, times, strict=True) if asked.is_within(at_us)]
            found, times = [row for row, _ in both], [at_us for _, at_us in both]
        if found:
            yield _of_events(found, times, terms, columns)


class _EventClock(_Clock):
    """Converts the times of events, also where the server's clock shows an hour twice and the deals decide which it was."""

    def __init__(self, account: Account, terms: AccountTerms, version: int) -> None:
        super().__init__(terms.clock)
        self._account = account
        self._terms = terms
        self._version = version
        self._hours: dict[tuple[int, int], dict[int, HourReading]] = {}

    def utc_us_of(self, rows: Sequence[Stored]) -> list[int]:
        """Return when events happened, in UTC microseconds, as the listing of events shows it."""
        times = [row.time_msc for row in rows]
        moments = self.utc_us(times)
        for hour in self._terms.clock.repeated_hours(min(times), max(times)) if times else ():
            moments = [
                self._read(row, hour) if hour[0] <= row.time_msc < hour[1] else at_us
                for row, at_us in zip(rows, moments, strict=True)
            ]
        return moments

    def _read(self, row: Stored, hour: tuple[int, int]) -> int:
        if hour not in self._hours:
            journal, name = self._account.ledger.journal, self._account.name
            self._hours[hour] = repeated_hour(journal, name, self._version, self._terms, hour)
        reading = self._hours[hour].get(row.deal or 0)
        if reading is not None:
            return reading.utc_msc * 1000
        return self._terms.clock.nearest_utc_msc(row.time_msc, row.recorded_us // 1000) * 1000


def _of_events(rows: Sequence[Stored], times: list[int], terms: AccountTerms, columns: Columns) -> Block:
    by_name = _by_name(rows)
    of_deals = _of_deals(by_name, terms, columns)
    recorded = {name: by_name[name] for name, _ in EVENTS if name in by_name}
    return recorded | {
        "server": terms.opened.server,
        "login": [terms.opened.login] * len(rows),
        "event_time": times,
        "recorded_at": by_name["recorded_us"],
        "broker_msc": by_name["time_msc"],
        "side": [_SIDES[code] if code in _SIDE_CODES else None for code in by_name["deal_type"]],
        "hash": [one.hex() for one in by_name["hash"]],
    } | {name: of_deals[name] for name in ("order", "entry", "volume", "price", *MONEY, "magic")}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- equity

EQUITY: Final = (
    *_ACCOUNT,
    ("time", Kind.TIME),
    ("balance", Kind.MONEY),
    ("credit", Kind.MONEY),
    ("floating", Kind.MONEY),
    ("equity", Kind.MONEY),
    ("margin", Kind.MONEY),
    ("reported", Kind.FLAG),
)


def equity(account: Account, asked: Asked, columns: Columns) -> Iterator[Block]:
    """Yield what an account was worth, sample by sample: as long as its marks are there, whatever was known when."""
    terms, scale = account.terms, columns.scales[Kind.MONEY]
    marks = account.marks(from_us=asked.since_us, to_us=asked.until_us)
    while found := list(islice(marks, _AT_ONCE)):
        yield _account_block(terms, len(found)) | {
            "time": [one.at_us for one in found],
            "reported": [one.is_equity_reported for one in found],
        } | {
            name: [None if (amount := getattr(one, name)) is None else scaled(amount, scale, name) for one in found]
            for name in AMOUNTS
        }  # fmt: skip
