"""The proof: what the ledger folds, held against what the broker computed itself.

A terminal report carries figures that the broker derived from its own books: the running Balance column, the table of
closed positions, and the table of open positions (a snapshot at the time of the report). Replay must reproduce them. And it
carries statistics, the Results section, which the file's own deals must give.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final

from attrs import field, frozen

from ledger.clock import SECOND_MSC, utc_text
from ledger.codec import decode_posting
from ledger.imports import Attribution
from ledger.imports.statement import BALANCE_TOLERANCE, ClosedRow, DealRow, OpenRow, Statement
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from ledger.postings import Row
from ledger.results_check import Figure, State, check_results
from ledger.terms import AccountTerms
from ledger.values import PRICE_SCALE, Side, decimals_of, plain
from ledger.views import Position, Trade

#: Trades of one position id that are held against a row which none of them fits.
_MOST_LIVES: Final = 100
#: Our averages are shown with as many decimals as prices are stored with.
_OUR_ROUNDING: Final = Decimal(5).scaleb(-PRICE_SCALE - 1)


@frozen(kw_only=True)
class Disagreement:
    """One figure that replay does not reproduce. ``row`` counts as the file does, None for a figure without a row."""

    row: int | None
    what: str
    ours: str
    theirs: str


@frozen(kw_only=True)
class Check:
    """How many of the broker's figures of one kind replay reproduces.

    ``doubts`` are figures that differ because the history before the file is not known: they cannot be checked, and what
    the ledger shows there is not what the broker shows. ``figures`` are those of the Results section, one by one.
    """

    name: str
    checked: int = 0
    not_checkable: int = 0
    disagreements: tuple[Disagreement, ...] = field(factory=tuple)
    doubts: tuple[Disagreement, ...] = field(factory=tuple)
    figures: tuple[Figure, ...] = field(factory=tuple)

    @property
    def agreed(self) -> int:
        """How many rows replay reproduces; of the Results section, how many figures."""
        if self.figures:
            return self.checked - len(self.disagreements)
        return self.checked - len({disagreement.row for disagreement in self.disagreements})


@frozen(kw_only=True)
class Replayed:
    """What a fold up to the end of a file shows."""

    portfolio: Portfolio
    trades: tuple[Trade, ...]
    #: What was closed so far of positions that are still open.
    parts: tuple[Trade, ...]
    #: Balance and credit together after the last event of each second of broker time that has one.
    column: Mapping[int, Decimal]


def end_of(statement: Statement) -> int | None:
    """Return the last millisecond of the broker time that a file covers, None for a file without deals."""
    if not statement.deals:
        return None
    last = max(deal.time_msc for deal in statement.deals)
    return last // SECOND_MSC * SECOND_MSC + SECOND_MSC - 1


def replayed(terms: AccountTerms, rows: Iterable[Row]) -> Replayed:
    """Fold postings, keeping trades and the balance of every second."""
    portfolio = Portfolio(terms)
    closed: list[OpenPosition] = []
    column: dict[int, Decimal] = {}
    for row in rows:
        portfolio.fold((row,), decode_posting, closed.append)
        time_msc, *_ = row
        column[time_msc // SECOND_MSC] = portfolio.balance + portfolio.credit
    trades = (*map(portfolio.trade, closed), *portfolio.unfinished_trades())
    parts = tuple(portfolio.partial_trades())
    return Replayed(portfolio=portfolio, trades=trades, parts=parts, column=column)


def prove(statement: Statement, books: Replayed, attribution: Attribution) -> tuple[Check, ...]:
    """Hold a fold up to the end of a file against everything that the broker computed in it."""
    checks = [
        _check_balance_column(statement, books),
        _check_closed(statement, books),
        _check_open(statement, books),
        _check_figures(statement, books),
        prove_results(statement, attribution),
    ]
    return tuple(check for check in checks if check is not None)


def prove_results(statement: Statement, attribution: Attribution) -> Check | None:
    """Hold the Results section against the file's own deals; None for a file without one."""
    figures = check_results(statement, attribution)
    if figures is None:
        return None
    states = [figure.state for figure in figures]
    wrong = (
        Disagreement(row=figure.row, what=figure.label, ours=figure.ours or "nothing", theirs=figure.theirs or "nothing")
        for figure in figures
        if figure.state is State.DIFFERS
    )
    return Check(
        name="results",
        checked=len(states) - states.count(State.NOT_CHECKABLE),
        not_checkable=states.count(State.NOT_CHECKABLE),
        disagreements=tuple(wrong),
        figures=figures,
    )


def unbroken_until(statement: Statement) -> int | None:
    """Return the broker time up to which the Balance column proves that no deal is missing from the file."""
    if statement.opening is None:
        return None
    balance = statement.opening
    deals = statement.as_booked
    until: int | None = None
    for index, deal in enumerate(deals):
        balance += deal.money
        if deal.balance is None or abs(balance - deal.balance) > BALANCE_TOLERANCE:
            unproven_msc = min(other.time_msc for other in deals[index:])
            return None if until is None else min(until, unproven_msc)
        balance = deal.balance
        until = deal.time_msc if until is None else max(until, deal.time_msc)
    return until


# ------------------------------------------------------------------------------------------------------- Balance column


def _check_balance_column(statement: Statement, books: Replayed) -> Check | None:
    """Prove the column row by row, and against the fold where the rows so far are all deals up to their time."""
    opening = statement.opening
    if opening is None:
        return None
    deals = statement.as_booked
    wrong: list[Disagreement] = []
    before = opening
    for deal, second in zip(deals, _complete_seconds(deals), strict=True):
        if deal.balance is None:
            continue
        expected = before + deal.money
        before = deal.balance
        if abs(expected - deal.balance) > BALANCE_TOLERANCE:
            wrong.append(_differs(deal.row, f"balance after deal {deal.deal}, row by row", expected, deal.balance))
        elif second is not None:
            ours = books.column.get(second)
            if ours is None or abs(ours - deal.balance) > BALANCE_TOLERANCE:
                wrong.append(_differs(deal.row, f"balance after deal {deal.deal}", ours, deal.balance))
    count = sum(deal.balance is not None for deal in deals)
    unknown = 0 if statement.starts_at_opening else 1  # the first row of a file that starts mid-history gives the opening
    return Check(name="balance column", checked=count - unknown, not_checkable=unknown, disagreements=tuple(wrong))


def _complete_seconds(deals: Sequence[DealRow]) -> list[int | None]:
    """Return for each row its last second so far if no row below is of that second or before, else None."""
    seconds = [deal.time_msc // SECOND_MSC for deal in deals]
    latest = list(accumulate(seconds, max))
    earliest_below = [*accumulate(reversed(seconds[1:]), min)][::-1]
    return [last if index == len(earliest_below) or last < earliest_below[index] else None for index, last in enumerate(latest)]


class _Tally:
    """Figures of one table as they are compared."""

    def __init__(self) -> None:
        self._checked = self._not_checkable = 0
        self._wrong: list[Disagreement] = []
        self._doubts: list[Disagreement] = []

    def count(self, differences: list[Disagreement], *, is_doubtful: bool) -> None:
        """Count one row; where it differs and could not but differ, it cannot be checked."""
        if differences and is_doubtful:
            self._not_checkable += 1
            self._doubts.extend(differences)
        else:
            self._checked += 1
            self._wrong.extend(differences)

    def check(self, name: str) -> Check:
        """Return what was counted."""
        return Check(
            name=name,
            checked=self._checked,
            not_checkable=self._not_checkable,
            disagreements=tuple(self._wrong),
            doubts=tuple(self._doubts),
        )


# ---------------------------------------------------------------------------------------------------- closed positions


def _check_closed(statement: Statement, books: Replayed) -> Check | None:
    if statement.closed is None:
        return None
    ended, parts = _by_position(books.trades), _by_position(books.parts)
    digits, doubtful = _digits_of(statement), _uncertain_symbols(statement, books)
    first_msc = min((deal.time_msc for deal in statement.deals), default=0)
    tally = _Tally()
    for row in statement.closed:
        trades = _trades_of(row, ended if row.volume_opened is None else parts)
        differences = list(_closed_differences(row, trades, digits.get(row.symbol, 0)))
        began_untold = not statement.starts_at_opening and _began_before_file(row, trades, first_msc)
        tally.count(differences, is_doubtful=began_untold or row.symbol in doubtful)
    return tally.check("closed positions")


def _trades_of(row: ClosedRow, trades: _Trades) -> list[Trade]:
    """Return the trades that a row is about.

    A reversal goes on under the position id of the trade before it, with a ticket of its own; rows are distinguished by when
    they were opened.
    """
    same = trades.get((row.position_id, row.side, row.opened_msc // SECOND_MSC), [])
    return same or trades.get((row.position_id, None, None), [])[:_MOST_LIVES]


def _began_before_file(row: ClosedRow, trades: list[Trade], first_msc: int) -> bool:
    """Whether it is unknown how a position began: it was opened before the file, or follows one that was."""
    if row.opened_msc < first_msc:
        return not trades or not all(_is_same_second(trade.opened_msc, row.opened_msc) for trade in trades)
    return any(trade.opened_msc is None for trade in trades)


def _uncertain_symbols(statement: Statement, books: Replayed) -> frozenset[str]:
    """Return symbols that were held when a file on a netting account begins, with an unknown opening.

    Every deal of the symbol then meets another position than it met at the broker, until both are flat.
    """
    if statement.starts_at_opening or not books.portfolio.terms.opened.mode.nets:
        return frozenset()
    first_msc = min((deal.time_msc for deal in statement.deals), default=0)
    rows: tuple[ClosedRow | OpenRow, ...] = (*(statement.closed or ()), *(statement.open or ()))
    held = {row.symbol for row in rows if row.opened_msc < first_msc}
    return frozenset(held | {one.symbol for one in books.portfolio.unexplained})


#: Trades by position id or ticket, side and second of opening; by the id alone with None for the others.
_Trades = Mapping[tuple[int | None, Side | None, int | None], list[Trade]]


def _by_position(trades: Iterable[Trade]) -> _Trades:
    found: dict[tuple[int | None, Side | None, int | None], list[Trade]] = defaultdict(list)
    for trade in trades:
        second = None if trade.opened_msc is None else trade.opened_msc // SECOND_MSC
        for name in {trade.position_id, trade.ticket}:
            found[name, None, None].append(trade)
            if second is not None:
                found[name, trade.side, second].append(trade)
    return found


def _closed_differences(row: ClosedRow, trades: list[Trade], digits: int) -> Iterable[Disagreement]:
    name = f"closed position {row.position_id}"
    if not trades:
        yield Disagreement(row=row.row, what=name, ours="no such trade", theirs=f"{row.side.value} {row.volume} {row.symbol}")
        return
    volume = sum((trade.volume for trade in trades), Decimal(0))
    closes = sum((trade.volume * (trade.price_close or 0) for trade in trades), Decimal(0))
    pairs: list[tuple[str, Any, Any]] = [
        ("symbol", trades[0].symbol, row.symbol),
        ("side", trades[0].side.value, row.side.value),
        ("volume", volume, row.volume),
        ("profit", sum((trade.profit for trade in trades), Decimal(0)), row.profit),
        ("swap", sum((trade.swap for trade in trades), Decimal(0)), row.swap),
    ]
    if row.volume_opened is None and not _is_same_second(trades[-1].closed_msc, row.closed_msc):
        pairs.append(("close time", _second(trades[-1].closed_msc), _second(row.closed_msc)))
    if any(trade.opened_msc is None for trade in trades):
        pairs.append(("opening", "not recorded", f"{_second(row.opened_msc)} @ {plain(row.price_open)}"))
    elif len(trades) == 1 and not _is_same_second(trades[0].opened_msc, row.opened_msc):
        pairs.append(("open time", _second(trades[0].opened_msc or 0), _second(row.opened_msc)))
    for what, ours, theirs in pairs:
        if ours != theirs:
            yield _differs(row.row, f"{name}, {what}", ours, theirs)
    if volume and not _same_price(closes / volume, row.price_close, digits):
        yield _differs(row.row, f"{name}, close price", closes / volume, row.price_close)
    opened = trades[0].price_open
    if len(trades) == 1 and opened is not None and not _same_price(opened, row.price_open, digits):
        yield _differs(row.row, f"{name}, open price", opened, row.price_open)


# ------------------------------------------------------------------------------------------------------ open positions


def _check_open(statement: Statement, books: Replayed) -> Check | None:
    if statement.open is None and not (statement.has_figures and statement.kind == "report"):
        return None
    # A report leaves out the tables that would be empty: with its account figures there, no table means no position.
    ours = dict(books.portfolio.positions)
    by_ticket = {position.ticket: position for position in ours.values()}
    digits, doubtful = _digits_of(statement), _uncertain_symbols(statement, books)
    first_msc = min((deal.time_msc for deal in statement.deals), default=0)
    tally = _Tally()
    for row in statement.open or ():
        position = ours.get(row.ticket) or by_ticket.get(row.ticket) or books.portfolio.position_of(row.symbol)
        if position is not None:
            ours.pop(position.position_id, None)
        differences = list(_open_differences(row, position, digits.get(row.symbol, 0)))
        tally.count(differences, is_doubtful=_opened_before_file(row, position, first_msc) or row.symbol in doubtful)
    for position in ours.values():
        state = f"{position.side.value} {plain(position.volume)} {position.symbol} @ {plain(position.price_open)}"
        what = f"open position {position.position_id}"
        extra = Disagreement(row=-position.position_id, what=what, ours=state, theirs="not in the broker's table")
        tally.count([extra], is_doubtful=position.symbol in doubtful)
    return tally.check("open positions")


def _opened_before_file(row: OpenRow, position: Position | None, first_msc: int) -> bool:
    """Whether a position was opened before the file begins, and is not recorded, or not all of it."""
    return row.opened_msc < first_msc and (position is None or not _is_same_second(position.opened_msc, row.opened_msc))


def _open_differences(row: OpenRow, position: Position | None, digits: int) -> Iterable[Disagreement]:
    name = f"open position {row.ticket}"
    if position is None:
        yield Disagreement(row=row.row, what=name, ours="no such position", theirs=_row_text(row))
        return
    for what, ours, theirs in (
        ("symbol", position.symbol, row.symbol),
        ("side", position.side.value, row.side.value),
        ("volume", position.volume, row.volume),
    ):
        if ours != theirs:
            yield _differs(row.row, f"{name}, {what}", ours, theirs)
    if not _same_price(position.price_open, row.price_open, digits):
        yield _differs(row.row, f"{name}, open price", position.price_open, row.price_open)


def _row_text(row: OpenRow) -> str:
    return f"{row.side.value} {plain(row.volume)} {row.symbol} @ {plain(row.price_open)}"


# ----------------------------------------------------------------------------------------------------- account figures


def _check_figures(statement: Statement, books: Replayed) -> Check | None:
    if statement.balance is None or not statement.deals:
        return None
    theirs = statement.balance + (statement.credit or 0)
    ours = books.portfolio.balance + books.portfolio.credit
    wrong = () if abs(ours - theirs) <= BALANCE_TOLERANCE else (_differs(None, "balance and credit", ours, theirs),)
    return Check(name="account figures", checked=1, disagreements=wrong)


# ------------------------------------------------------------------------------------------------------------- numbers


def _digits_of(statement: Statement) -> dict[str, int]:
    """Return symbol -> decimals of its prices, as far as the file shows them."""
    digits: dict[str, int] = {}
    for deal in statement.deals:
        if deal.symbol and deal.price is not None:
            digits[deal.symbol] = max(digits.get(deal.symbol, 0), decimals_of(deal.price))
    return digits


def _same_price(ours: Decimal, theirs: Decimal, digits: int) -> bool:
    """Whether an average price is the one shown: the broker and we each rounded it once, to the decimals shown."""
    shown = max(digits, decimals_of(theirs))
    return abs(ours - theirs) <= Decimal(5).scaleb(-shown - 1) + _OUR_ROUNDING


def _is_same_second(ours_msc: int | None, theirs_msc: int) -> bool:
    """Whether two moments are of one second: a file states no more."""
    return ours_msc is not None and ours_msc // SECOND_MSC == theirs_msc // SECOND_MSC


def _second(time_msc: int) -> str:
    return utc_text(time_msc // SECOND_MSC * SECOND_MSC).removesuffix("Z").replace("T", " ")


def _differs(row: int | None, what: str, ours: Any, theirs: Any) -> Disagreement:
    show: Callable[[Any], str] = lambda value: (  # noqa: E731
        plain(value) if isinstance(value, Decimal) else "nothing" if value is None else str(value)
    )
    return Disagreement(row=row, what=what, ours=show(ours), theirs=show(theirs))
