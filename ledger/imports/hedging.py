"""This module is positions of hedging accounts: each named after the order that opened it.

An opening deal carries its position's ticket as its order. A closing deal does not; it is found from the closed
positions, which are sums over their closing deals, then from the open ones, then from what is possible at all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from typing import Final

from attrs import define, field, frozen

from ledger.imports import pairing
from ledger.imports.notes import Note
from ledger.imports.pairing import Book, Close, Moment, Position, pair
from ledger.imports.statement import ClosedRow, DealRow, OpenRow, Statement
from ledger.imports.subset_sum import Budget, Sums, find_subset
from ledger.values import Entry, Side, currency_digits

#: Numbers are compared as integers of 8 decimals, which is finer than any price and coarser than binary dirt.
_SCALE: Final = 8

#: Closing deals within one position's life beyond which no sum is tried.
_MOST_CLOSES: Final = 1000

#: Profits that show how many digits the account's money has.
_MANY_PROFITS: Final = 10
#: Steps of looking for what may belong together, beyond which no more is looked for: in any file, and for each deal.
_LOOKS: Final = 200_000
_LOOKS_PER_DEAL: Final = 200

_Book = tuple[str, Side]


def attribute_hedging(statement: Statement) -> tuple[list[int | None], list[Note]]:
    """Return a position id for every deal in file order, None where it is not determined, and why."""
    matcher = _Matcher(statement)
    matcher.match_exactly()
    matcher.match_close_by()
    matcher.match_sums()
    matcher.match_last()
    matcher.pair_what_is_left()
    matcher.note_unsolved()
    return matcher.position_ids, matcher.all_notes()


def _units(number: Decimal) -> int:
    return int(number.scaleb(_SCALE).to_integral_value())


def _sums(volume: int, price: int, profit: Decimal, swap: Decimal | None) -> Sums:
    return Sums(volume, volume * price, _units(profit), _units(swap or Decimal(0)))


@frozen(eq=False)
class _Close:
    """A deal that closes. ``side`` is that of the position, opposite to the deal's."""

    index: int
    deal: DealRow
    side: Side
    volume: int
    price: int
    sums: Sums

    @property
    def book(self) -> _Book:
        return self.deal.symbol or "", self.side

    @property
    def is_close_by(self) -> bool:
        return self.deal.entry is Entry.OUT_BY


@define(eq=False)
class _Position:
    """A position that the file, its tables or the caller name. ``volume`` is what was opened, None if unknown."""

    position_id: int
    book: _Book
    opened: Moment
    volume: int | None
    #: Sum of price x volume of what opened it, and that volume: their quotient is the open price.
    cost: tuple[int, int] | None = None
    commission: Decimal | None = None
    taken: int = 0
    remaining: int = 0

    @property
    def opened_msc(self) -> int:
        """When it was opened."""
        return self.opened[0]

    @property
    def capacity(self) -> int | None:
        """Volume whose closing deals are not found yet, None if unknown."""
        return None if self.volume is None else self.volume - self.taken - self.remaining

    def can_close(self, volume: int) -> bool:
        return self.capacity is None or self.capacity >= volume

    def was_opened_at(self, price: int, tolerance: int) -> bool:
        """Whether a price may be the open price. An unknown one may be any."""
        if self.cost is None:
            return True
        price_volume, volume = self.cost
        return 100 * abs(price_volume - price * volume) <= tolerance * volume


@define(eq=False)
class _Target:
    """A row of the closed positions, and the deals that are known to close it."""

    row: ClosedRow
    sums: Sums
    found: list[_Close] = field(factory=list)
    is_solved: bool = False

    @property
    def position_id(self) -> int:
        return self.row.position_id

    @property
    def book(self) -> _Book:
        return _book(self.row)


def _close(index: int, deal: DealRow) -> _Close | None:
    if deal.side is None or deal.volume is None or deal.price is None or deal.entry not in (Entry.OUT, Entry.OUT_BY):
        return None
    volume, price = _units(deal.volume), _units(deal.price)
    return _Close(index, deal, deal.side.opposite, volume, price, _sums(volume, price, deal.profit, deal.swap))


def _target(row: ClosedRow) -> _Target:
    return _Target(row, _sums(_units(row.volume), _units(row.price_close), row.profit, row.swap))


def _book(row: ClosedRow | OpenRow) -> _Book:
    return row.symbol, row.side


class _Matcher:
    """Closing deals on one side, positions on the other; every step takes away what it can prove."""

    def __init__(self, statement: Statement) -> None:
        deals = statement.deals
        self.position_ids: list[int | None] = [None] * len(deals)
        self._notes: list[Note] = []
        self._order = sorted(range(len(deals)), key=lambda index: deals[index].time_msc)
        self._deals = deals
        self._is_complete = statement.starts_at_opening
        self._targets = [_target(row) for row in statement.closed or ()]
        self._targets_of: defaultdict[int, list[_Target]] = defaultdict(list)  # by position id
        for target in self._targets:
            self._targets_of[target.position_id].append(target)
        self._positions = _positions(statement, self._order)
        self._tolerance = _tolerances(statement)
        self._closes: dict[int, _Close] = {}
        self._error = _rounding(statement)
        self._open_ids = {row.ticket for row in statement.open or ()}
        for index in self._order:
            deal = deals[index]
            if deal.side is not None and deal.entry is Entry.IN:
                self.position_ids[index] = deal.order
            elif close := _close(index, deal):
                self._closes[index] = close
        #: Close index -> open price of its position, as the other deal of its close-by order shows it.
        self._prices_opened = {leg.index: other.price / 10**_SCALE for leg, other in self._legs()}

    # ------------------------------------------------------------------------------------------------ one way to answer

    def _assign(self, close: _Close, position_id: int) -> None:
        self.position_ids[close.index] = position_id
        del self._closes[close.index]
        if position := self._positions.get(position_id):
            position.taken += close.volume

    def _assign_all(self, closes: Iterable[_Close], target: _Target) -> None:
        """Assign the closes that make a row complete."""
        for close in closes:
            self._assign(close, target.position_id)
            target.found.append(close)
        target.is_solved = True

    def all_notes(self) -> list[Note]:
        """Return the notes so far, and one for every deal that is left without a position."""
        left = [
            _note(deal, "the file does not determine its position; left unattributed")
            for deal, position_id in zip(self._deals, self.position_ids, strict=True)
            if deal.side is not None and position_id is None
        ]
        return self._notes + left

    # ------------------------------------------------------------------------------------------- closed in a single step

    def match_exactly(self) -> None:
        """Match closed positions with the one deal of the same time, volume, price, profit and swap."""
        targets: defaultdict[object, list[_Target]] = defaultdict(list)
        closes: defaultdict[object, list[_Close]] = defaultdict(list)
        for target in self._targets:
            targets[target.book, target.row.closed_msc, target.sums].append(target)
        for close in self._closes.values():
            closes[close.book, close.deal.time_msc, close.sums].append(close)
        for key, alike in targets.items():
            if key in closes:
                self._pair(sorted(alike, key=lambda target: target.position_id), closes[key])

    def _pair(self, targets: list[_Target], closes: list[_Close]) -> None:
        """Pair rows and deals that are all alike; only the commission may distinguish the deals."""
        pairs: list[tuple[_Target, _Close]] | None
        if len(closes) < len(targets):
            pairs = None
        elif len({close.deal.commission for close in closes}) == 1:
            pairs = list(zip(targets, closes, strict=False))
        else:
            pairs = self._by_commission(targets, closes)
        if pairs is None:
            cause = "closed positions and deals that all close alike, and whose commissions do not distinguish them"
            self._notes += [_note(close.deal, cause) for close in closes]
            return
        for target, close in pairs:
            self._assign_all([close], target)

    def _by_commission(self, targets: list[_Target], closes: list[_Close]) -> list[tuple[_Target, _Close]] | None:
        """A row's commission is that of its opening and closing deals together."""
        free: defaultdict[Decimal | None, list[_Close]] = defaultdict(list)
        for close in closes:
            free[close.deal.commission].append(close)
        pairs = []
        for target in targets:
            position = self._positions.get(target.position_id)
            if position is None or position.commission is None:
                return None
            fitting = free[target.row.commission - position.commission]
            if not fitting:
                return None
            pairs.append((target, fitting.pop(0)))
        return pairs

    # ------------------------------------------------------------------------------------------------- one by the other

    def match_close_by(self) -> None:
        """Match the two deals of a close-by order: each closes at the price at which the other's position was opened.

        The whole result may be booked on one of the two, so that neither has the profit of its closed position.
        """
        budget = Budget(_LOOKS + _LOOKS_PER_DEAL * len(self._deals))
        targets: defaultdict[tuple[_Book, int], list[_Target]] = defaultdict(list)
        positions: defaultdict[_Book, list[_Position]] = defaultdict(list)
        for target in self._targets:
            targets[target.book, target.row.closed_msc].append(target)
        for position in sorted(self._positions.values(), key=_price_of):
            if position.can_close(1) and position.cost is not None:
                positions[position.book].append(position)
        for leg, other in self._legs():
            alike = targets[_moment(leg)]
            opened = self._opened_at(positions[leg.book], other.price, self._tolerance[leg.book[0]])
            budget.steps -= len(alike) + len(opened)
            if budget.steps <= 0:
                return
            self._match_leg(leg, other, alike, opened)

    def _legs(self) -> list[tuple[_Close, _Close]]:
        """Return the deals of close-by orders, each with the other of its order."""
        by_order: defaultdict[int | None, list[_Close]] = defaultdict(list)
        for close in self._order_of_closes():
            if close.is_close_by:
                by_order[close.deal.order].append(close)
        pairs = [legs for order, legs in by_order.items() if order is not None and len(legs) == 2]
        return [pair for one, other in pairs if one.side is not other.side for pair in ((one, other), (other, one))]

    @staticmethod
    def _opened_at(positions: list[_Position], price: int, tolerance: int) -> list[_Position]:
        """Return those of some positions, which are in the order of their prices, that may have been opened at a price."""
        reach = tolerance / 100 + 1
        first = bisect_left(positions, price - reach, key=_price_of)
        return positions[first : bisect_right(positions, price + reach, key=_price_of)]

    def _match_leg(self, leg: _Close, other: _Close, targets: list[_Target], positions: list[_Position]) -> None:
        same = [
            target
            for target in targets
            if not target.is_solved and target.sums[:2] == leg.sums[:2] and self._may_open_at(target.position_id, other.price)
        ]
        if len(same) == 1:
            self._assign_all([leg], same[0])
            return
        if not self._is_complete and not self._targets:
            return  # it may be a position from before the file that no row names
        possible = [
            position
            for position in positions
            if position.opened_msc <= leg.deal.time_msc
            and position.can_close(leg.volume)
            and self._may_open_at(position.position_id, other.price)
        ]
        if len(possible) == 1:
            position_id = possible[0].position_id
            self._assign(leg, position_id)
            self._note_found(leg, position_id)

    def _may_open_at(self, position_id: int, price: int) -> bool:
        position = self._positions.get(position_id)
        return position is None or position.was_opened_at(price, self._tolerance[position.book[0]])

    def _note_found(self, leg: _Close, position_id: int) -> None:
        """Remember that a row which sums up several deals has this one."""
        for target in self._targets_of[position_id]:
            if target.row.opened_msc <= leg.deal.time_msc <= target.row.closed_msc:
                target.found.append(leg)
                return

    def _order_of_closes(self) -> Iterator[_Close]:
        return (self._closes[index] for index in self._order if index in self._closes)

    # ----------------------------------------------------------------------------------------- closed in several steps

    def match_sums(self) -> None:
        """Match closed positions with the deals whose sums they are, as long as one more is found."""
        budget, looks = Budget(), Budget(_LOOKS + _LOOKS_PER_DEAL * len(self._deals))
        unsolved = [target for target in self._targets if not target.is_solved]
        is_new = True
        while is_new and unsolved:
            is_new = False
            free: defaultdict[_Book, list[_Close]] = defaultdict(list)
            for close in self._order_of_closes():
                free[close.book].append(close)
            for target in unsolved:
                window = self._window(target.row, free[target.book])
                looks.steps -= len(window) + len(target.found) + 1
                if looks.steps <= 0:
                    return
                self._match_sum(target, window, budget)
                is_new |= target.is_solved
            unsolved = [target for target in unsolved if not target.is_solved]

    def match_last(self) -> None:
        """Match what was opened before the file with the deal that closed the rest of it, at the row's close time.

        Such a row may sum up closing deals that the file does not have, so that no sum of those in it agrees.
        """
        alike: defaultdict[tuple[_Book, int], list[_Target]] = defaultdict(list)
        for target in self._targets:
            if not target.is_solved:
                alike[target.book, target.row.closed_msc].append(target)
        at_once = Counter(_moment(close) for close in self._closes.values())
        for close in list(self._order_of_closes()):
            targets = alike[_moment(close)]
            if len(targets) == 1 and at_once[_moment(close)] == 1 and self._may_have_begun_before(targets[0], close):
                self._assign(close, targets[0].position_id)
                targets[0].found.append(close)

    def note_unsolved(self) -> None:
        """Note the rows of closed positions that the deals do not explain."""
        self._notes += [
            Note(
                "closed positions",
                f"closed position {target.position_id} (row {target.row.row})",
                "the file does not determine its closing deals",
            )
            for target in self._targets
            if not target.is_solved and self._is_short(target)
        ]

    def _is_short(self, target: _Target) -> bool:
        position = self._positions.get(target.position_id)
        return position is None or position.capacity is None or position.capacity > 0

    def _may_have_begun_before(self, target: _Target, close: _Close) -> bool:
        first_msc = self._deals[self._order[0]].time_msc
        has_last = any(found.deal.time_msc == target.row.closed_msc for found in target.found)
        return target.row.opened_msc < first_msc and not has_last and close.volume < target.sums.volume

    def _window(self, row: ClosedRow, closes: list[_Close]) -> list[_Close]:
        """Return those of some closes, which are in time order, that are within a position's life and not yet taken."""
        first = bisect_left(closes, row.opened_msc, key=_time_of)
        last = bisect_right(closes, row.closed_msc, key=_time_of)
        if last - first > _MOST_CLOSES:
            return []  # to try only some of them could make a sum look unique
        return [close for close in closes[first:last] if close.index in self._closes]

    def _match_sum(self, target: _Target, window: list[_Close], budget: Budget) -> None:
        need = target.sums.minus(*(close.sums for close in target.found))
        if not need.volume:
            target.is_solved = True
            return
        closed_msc = target.row.closed_msc
        has_last = any(close.deal.time_msc == closed_msc for close in target.found)
        last = frozenset(close.index for close in window if has_last or close.deal.time_msc == closed_msc)
        chosen = self._search(target, window, last, need, budget)
        if chosen:
            self._assign_all(chosen, target)

    def _search(self, target: _Target, window: list[_Close], last: frozenset[int], need: Sums, budget: Budget) -> list[_Close]:
        """Return the one set of closes that gives the sums and holds a last one, empty if there is none or several."""
        groups = [list(group) for _, group in groupby(sorted(window, key=_alike), key=_alike)]
        parts = [(group[0].sums, len(group), group[0].index in last) for group in groups]
        tolerance = self._tolerance[target.row.symbol] * target.sums.volume
        counts = find_subset(parts, need, tolerance, budget)
        if counts is None and any(close.is_close_by for close in (*window, *target.found)):
            counts = find_subset(parts, need, tolerance, budget, has_result=False)
        return [close for group, count in zip(groups, counts or (), strict=False) for close in group[:count]]

    # --------------------------------------------------------------------------------------- what no closed row explains

    def pair_what_is_left(self) -> None:
        """Pair what no row explains with positions, as far as times, volumes and the broker's profits determine it.

        Where positions may have been open before the file, only its own open positions are asked, and only if they
        explain all that is left of their symbol and side.
        """
        allowed = self._allowed()
        books: defaultdict[str, dict[Side, Book]] = defaultdict(dict)
        for close in self._order_of_closes():
            if allowed is None or close.book in allowed:
                symbol, side = close.book
                books[symbol].setdefault(side, Book(side)).closes.append(_to_pair(close, self._prices_opened.get(close.index)))
        for position in self._positions.values():
            symbol, side = position.book
            if not position.capacity or (allowed is not None and position.position_id not in self._open_ids):
                continue
            if side in books[symbol]:
                books[symbol][side].positions.append(_to_be_paired(position, position.capacity))
        budget = pairing.Budget()
        for sides in books.values():
            self._pair_books(list(sides.values()), budget, may_choose=allowed is None)

    def _pair_books(self, books: list[Book], budget: pairing.Budget, *, may_choose: bool) -> None:
        paired = pair(books, self._error, budget, may_choose=may_choose)
        for book in books:
            for one in book.closes:
                if one.position is not None:
                    self._assign(self._closes[one.index], one.position.position_id)
        cause = "all positions of its time end closed, but the profit does not show which of them it closed; paired in order"
        self._notes += [_note(self._deals[one.index], cause) for one in paired.chosen]

    def _allowed(self) -> set[_Book] | None:
        """Return the books in which open positions explain everything that is left; None allows all positions."""
        if self._is_complete:
            return None
        missing: defaultdict[_Book, int] = defaultdict(int)
        unsure: set[_Book] = {target.book for target in self._targets if not target.is_solved}
        for position_id in self._open_ids:
            position = self._positions[position_id]
            if position.capacity is None:
                unsure.add(position.book)
            else:
                missing[position.book] += position.capacity
        for close in self._closes.values():
            missing[close.book] -= close.volume
        return {book for book, volume in missing.items() if not volume} - unsure


def _moment(close: _Close) -> tuple[_Book, int]:
    return close.book, close.deal.time_msc


def _price_of(position: _Position) -> float:
    return 0.0 if position.cost is None else position.cost[0] / position.cost[1]


def _time_of(close: _Close) -> int:
    return close.deal.time_msc


def _alike(close: _Close) -> tuple[int, int, int, int, int, Decimal]:
    """Sort key under which indistinguishable closes are neighbours, the largest first."""
    sums = close.sums
    commission = close.deal.commission or Decimal(0)
    return -sums.volume, close.deal.time_msc, sums.price_volume, sums.profit, sums.swap, commission


def _to_pair(close: _Close, price_open: float | None) -> Close:
    deal = close.deal
    return Close(
        index=close.index,
        closed=(deal.time_msc, deal.row, deal.deal),
        volume=close.volume,
        price=float(deal.price or 0),
        profit=None if close.is_close_by else float(deal.profit),
        price_open=price_open,
    )


def _to_be_paired(position: _Position, capacity: int) -> Position:
    price = None if position.cost is None else position.cost[0] / position.cost[1] / 10**_SCALE
    return Position(position_id=position.position_id, opened=position.opened, price=price, capacity=capacity)


def _note(deal: DealRow, cause: str) -> Note:
    return Note("deals", f"deal {deal.deal} (row {deal.row})", cause)


def _rounding(statement: Statement) -> float:
    """Return by how much rounding may change a profit: half of the last digit of the account's money, and a little.

    Few profits may all happen to be whole; many show the digits of the money, whatever the currency's name.
    """
    profits = [deal.profit for deal in statement.deals if deal.profit]
    shown = max(map(_decimals, profits), default=0)
    if len(profits) < _MANY_PROFITS:
        shown = max(shown, currency_digits(statement.currency) if statement.currency else 0)
    return 0.51 * 10.0 ** -min(2 if shown == 1 else shown, _SCALE)


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


# ------------------------------------------------------------------------------------------------ what the file names


def _positions(statement: Statement, order: list[int]) -> dict[int, _Position]:
    """Return position_id -> position, from the opening deals and from the tables."""
    positions: dict[int, _Position] = {}
    for deal in (statement.deals[index] for index in order):
        _add_opening(positions, deal)
    for row in statement.closed or ():
        volume = row.volume if row.volume_opened is None else row.volume_opened
        if row.position_id not in positions:
            positions[row.position_id] = _from_row(row, row.position_id, _units(volume))
    for still in statement.open or ():
        if still.ticket not in positions:
            positions[still.ticket] = _from_row(still, still.ticket, None)
        positions[still.ticket].remaining = _units(still.volume)
    return positions


def _add_opening(positions: dict[int, _Position], deal: DealRow) -> None:
    if deal.side is None or deal.entry is not Entry.IN or not deal.order or not deal.volume or deal.price is None:
        return
    position = positions.get(deal.order)
    volume, price = _units(deal.volume), _units(deal.price)
    if position is None:
        book = (deal.symbol or "", deal.side)
        moment = deal.time_msc, deal.row, deal.deal
        positions[deal.order] = _Position(deal.order, book, moment, volume, (volume * price, volume), deal.commission)
        return
    position.volume = (position.volume or 0) + volume
    if position.cost is not None:
        position.cost = position.cost[0] + volume * price, position.cost[1] + volume
    if position.commission is not None and deal.commission is not None:
        position.commission += deal.commission


def _from_row(row: ClosedRow | OpenRow, position_id: int, volume: int | None) -> _Position:
    return _Position(position_id, _book(row), (row.opened_msc, -1, -1), volume, (_units(row.price_open), 1))


def _tolerances(statement: Statement) -> defaultdict[str, int]:
    """Return symbol -> half a unit of its last digit, in hundredths of a price unit, and a little for binary rounding.

    The symbol's digits are those of its longest price: a mean over several deals is rounded to them.
    """
    digits: defaultdict[str, int] = defaultdict(int)
    for deal in statement.deals:
        if deal.symbol is not None and deal.price is not None:
            exponent = deal.price.as_tuple().exponent
            digits[deal.symbol] = max(digits[deal.symbol], -exponent if isinstance(exponent, int) else 0)
    return defaultdict(int, {symbol: 51 * 10 ** max(_SCALE - most, 0) for symbol, most in digits.items()})
