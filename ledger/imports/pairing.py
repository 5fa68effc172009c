"""This module is which position a closing deal of a hedging account closes, where no table names it.

Closes are paired with positions of their symbol and side in the order of time. What decides, in this order:

1. what is possible: a position is opened before it is closed, and is never closed by more than it has;
2. the broker's profit, which gives the open price of what was closed (``factor``);
3. net zero: when all that was open is closed, every position of that stretch is closed, whatever closed which.

Closes that fit several positions wait in a group with them. A group whose closes come to all that its positions have is
settled; nothing that stays undecided reaches beyond its own group and stretch. Every step is bounded, so that the time
grows with the number of deals.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import log10
from operator import attrgetter
from typing import Final

from attrs import define, field

from ledger.imports.factor import Constant, Factor, Interval, Inverse, Stretch, learn_factor, usual_factors
from ledger.values import Side

#: Positions that one close may fit, and closes of one group, beyond which the profit is taken for no evidence.
_MOST_FITTING: Final = 64
_MOST_WAITING: Final = 64
#: Tries of one search for closes that come to exactly what positions have, and steps of all searches of a file.
_TRIES: Final = 4000
_STEPS: Final = 3_000_000
#: Closes that a usual contract size has to explain: at most so many, of each segment and together, and what share.
_SAMPLE_OF_SEGMENT: Final = 20
_SAMPLE: Final = 400
_EXPLAINED: Final = 0.99
#: Figures that one profit, or all of them together, must have to distinguish contract sizes.
_FIGURES: Final = 2.7
_FIGURES_TOGETHER: Final = 8.0
#: Relative error of a profit that shows a factor well.
_FINE: Final = 0.002
#: By which share a factor may be wrong that another close shows too.
_DOUBT: Final = 0.05
_LOT: Final = 1e8
#: Relative error of a price as a binary number, and of an average that was rounded.
_ROUNDING: Final = 1e-8
_ONE_HOUR_MSC: Final = 3_600_000

#: Place in time: milliseconds, row, deal ticket.
Moment = tuple[int, int, int]


@define(eq=False)
class Position:
    """A position and how much of it still has to be closed, in 1e-8 lots. ``price`` is None if unknown."""

    position_id: int
    opened: Moment
    price: float | None
    capacity: int
    group: Group | None = None
    is_listed: bool = False


@define(eq=False)
class Close:
    """A closing deal: ``volume`` in 1e-8 lots.

    ``profit`` is None where it is no difference of prices (a close by); ``price_open`` is what such a one shows instead.
    """

    index: int
    closed: Moment
    volume: int
    price: float
    profit: float | None
    price_open: float | None = None
    #: The position that it closes, once that is decided.
    position: Position | None = None
    #: Positions that its profit fits.
    fitting: list[Position] = field(factory=list)


@define(eq=False)
class Group:
    """Closes that wait, the positions that they fit, and what would be left of those."""

    positions: list[Position] = field(factory=list)
    waiting: list[Close] = field(factory=list)

    @property
    def spare(self) -> int:
        """Volume that no waiting close takes away."""
        return sum(one.capacity for one in self.positions) - sum(one.volume for one in self.waiting)


@define(eq=False)
class Book:
    """Positions and closes of one symbol and side."""

    side: Side
    positions: list[Position] = field(factory=list)
    closes: list[Close] = field(factory=list)

    @property
    def way(self) -> int:
        """+1 for longs, -1 for shorts."""
        return 1 if self.side is Side.BUY else -1


@define
class Budget:
    """How many steps are left for all searches of a file, so that none can take long."""

    steps: int = _STEPS

    def spend(self, steps: int) -> bool:
        """Take some away, and return whether there were any left."""
        self.steps -= steps
        return self.steps > 0


@define(frozen=True)
class Paired:
    """What was decided: ``chosen`` closes could as well close another position of their stretch, which all end closed."""

    chosen: tuple[Close, ...]


_Event = Position | Close


@define
class _Segment:
    """Events of a book from flat to flat, and the volume that is left at its end.

    Less than nothing is left where a close comes from elsewhere: from before the file, or from another symbol's name.
    """

    events: list[_Event]
    left: int

    @property
    def is_closed(self) -> bool:
        """Whether the closes come to exactly what was opened."""
        return not self.left


def pair(books: Sequence[Book], error: float, budget: Budget, *, may_choose: bool) -> Paired:
    """Decide the position of every close of one symbol, as far as the file determines it.

    Args:
        books: The longs and the shorts of the symbol.
        error: By how much rounding changes a profit, in account currency.
        budget: Reduced by the steps of the searches.
        may_choose: Pair closes and positions that end closed together, even if another pairing is as good.
    """
    segments = [(book, _segments(book)) for book in books]
    stretches = [stretch for book, parts in segments for segment in parts for stretch in _stretches(book, segment, error)]
    stretches.sort(key=attrgetter("last_msc"))
    factor = _usual_factor(usual_factors(stretches), segments, error) or learn_factor(stretches)
    chosen: list[Close] = []
    for book, parts in segments:
        adds_up = all(segment.left >= 0 for segment in parts)
        for segment in parts:
            pairing = _Pairing(book.way, factor, error, budget, may_choose=may_choose, adds_up=adds_up)
            chosen += pairing.decide(segment)
    return Paired(tuple(chosen))


# ---------------------------------------------------------------------------------------------------------- flat to flat


def _segments(book: Book) -> list[_Segment]:
    """Cut a book where everything that was open has been closed."""
    segments: list[_Segment] = []
    events: list[_Event] = []
    held = 0
    for event in _in_order(book):
        events.append(event)
        held += event.capacity if isinstance(event, Position) else -event.volume
        if held <= 0:
            segments.append(_Segment(events, held))
            events, held = [], 0
    if events:
        segments.append(_Segment(events, held))
    return segments


def _in_order(book: Book) -> Iterable[_Event]:
    """Yield positions and closes in the order of time.

    Within one moment rows count if their tickets rise with them, as they do where a file is in the order in which the
    broker booked. Else what opens goes first.
    """
    opened: list[tuple[Moment, int, _Event]] = [(one.opened, 0, one) for one in book.positions if one.capacity > 0]
    closed: list[tuple[Moment, int, _Event]] = [(one.closed, 1, one) for one in book.closes]
    events = sorted((*opened, *closed), key=lambda event: event[0])
    for _, same in groupby(events, key=lambda event: event[0][0]):
        at_once = list(same)
        tickets = [moment[2] for moment, _, _ in at_once]
        if tickets != sorted(tickets):
            at_once.sort(key=lambda event: event[1])
        yield from (event for _, _, event in at_once)


def _stretches(book: Book, segment: _Segment, error: float) -> Iterable[Stretch]:
    """Yield what shows the factor: each close while one position was open, and the whole if all of it was closed."""
    only: Position | None = None
    left = 0
    for event in segment.events:
        if isinstance(event, Position):
            if only is not None:
                break
            only, left = event, event.capacity
        elif only is None or only.price is None or event.profit is None or event.volume >= left:
            break
        else:
            left -= event.volume
            yield _stretch_of(book.way, [event], only.price * event.volume, error)
    closes = [event for event in segment.events if isinstance(event, Close)]
    opened = [event for event in segment.events if isinstance(event, Position)]
    if not segment.is_closed or any(one.profit is None for one in closes) or any(one.price is None for one in opened):
        return
    yield _stretch_of(book.way, closes, sum((one.price or 0) * one.capacity for one in opened), error)


def _stretch_of(way: int, closes: Sequence[Close], opened: float, error: float) -> Stretch:
    return Stretch(
        first_msc=closes[0].closed[0],
        last_msc=closes[-1].closed[0],
        moved=way * (sum(one.price * one.volume for one in closes) - opened) / _LOT,
        profit=sum(one.profit or 0 for one in closes),
        turnover=sum(abs(one.profit or 0) for one in closes),
        profit_price=sum((one.profit or 0) * one.price for one in closes),
        price=sum(one.price for one in closes),
        count=len(closes),
        error=error,
    )


def _usual_factor(
    factors: Sequence[Factor], segments: Sequence[tuple[Book, Sequence[_Segment]]], error: float
) -> Factor | None:
    """Return the one usual contract size that explains the profits, None if several do, or none.

    A profit is explained if some position had an open price that gives it.
    """
    explained = [0] * len(factors)
    figures: list[float] = []
    for way, close, prices in _samples(segments):
        figures.append(log10(max(1.0, abs(close.profit or 0) / error)))
        for number, factor in enumerate(factors):
            window = _open_price(factor, way, close, error)
            explained[number] += window is not None and bisect_left(prices, window.low) < bisect_right(prices, window.high)
    if max(figures, default=0) < _FIGURES and sum(figures) < _FIGURES_TOGETHER:
        return None
    found = [factor for factor, count in zip(factors, explained, strict=True) if count >= _EXPLAINED * len(figures)]
    return found[0] if found and _are_one(found) else None


def _are_one(found: Sequence[Factor]) -> bool:
    """Whether factors that explain the same profits are one: the price of a symbol may hardly have moved."""
    return len(found) == 1 or (len(found) == 2 and type(found[0]) is not type(found[1]))


def _samples(segments: Sequence[tuple[Book, Sequence[_Segment]]]) -> Iterable[tuple[int, Close, Sequence[float]]]:
    """Yield some closes of each segment, the way of their positions, and the open prices of its positions up to there."""
    total = 0
    for book, parts in segments:
        for segment in parts:
            prices: list[float] = []
            count = 0
            for event in segment.events:
                if isinstance(event, Position):
                    if event.price is not None:
                        insort(prices, event.price)
                elif event.profit:
                    count += 1
                    total += 1
                    yield book.way, event, prices
                if count >= _SAMPLE_OF_SEGMENT or total >= _SAMPLE:
                    break
            if total >= _SAMPLE:
                return


def _open_price(factor: Factor | None, way: int, close: Close, error: float, *, doubt: float = 0) -> Interval | None:
    """Return where the open price of what was closed is, None if the profit does not show it.

    ``doubt`` is by which share the factor may be wrong beyond what is known of it.
    """
    if close.price_open is not None:
        return Interval(close.price_open * (1 - _ROUNDING), close.price_open * (1 + _ROUNDING))
    value = None if factor is None or close.profit is None else factor.at(close.closed[0], close.price)
    if value is None or close.profit is None:
        return None
    value = value.widened(doubt)
    lots = close.volume / _LOT
    moves = [
        (close.profit + one) / (lots * by) * way for one in (-error, error) for by in (value.low, value.high)
    ]  # fmt: skip
    slack = 1e-9 * abs(close.price) + 1e-9
    return Interval(close.price - max(moves) - slack, close.price - min(moves) + slack)


# ----------------------------------------------------------------------------------------------------- within a segment


class _Pairing:
    """The pairing of one segment.

    Where closes of the book come from elsewhere (it does not add up), a close is paired by its profit or not at all.
    """

    def __init__(
        self, way: int, factor: Factor | None, error: float, budget: Budget, *, may_choose: bool, adds_up: bool
    ) -> None:
        self._way = way
        self._factor = factor
        self._error = error
        self._budget = budget
        self._may_choose = may_choose
        self._adds_up = adds_up
        self._open: list[Position] = []  # by price; those without one apart
        self._prices: list[float] = []
        self._unpriced: list[Position] = []
        self._orphans: list[Close] = []
        self._groups: dict[int, Group] = {}
        self._chosen: list[Close] = []

    def decide(self, segment: _Segment) -> list[Close]:
        """Decide all closes of a segment that are determined, and return those of which a pairing was chosen."""
        for event in segment.events:
            if isinstance(event, Position):
                self._add(event)
            else:
                self._close(event)
        for group in list(self._groups.values()):
            self._propagate(group)
        if not self._adds_up:
            return self._chosen
        self._settle_only()
        if segment.is_closed:
            self._settle_all(segment)
        return self._chosen

    # ---------------------------------------------------------------------------------------------- what is open

    def _add(self, position: Position) -> None:
        position.is_listed = True
        if position.price is None:
            self._unpriced.append(position)
            return
        at = bisect_right(self._prices, position.price)
        self._prices.insert(at, position.price)
        self._open.insert(at, position)

    def _remove(self, position: Position) -> None:
        position.is_listed = False
        if position.price is None:
            self._unpriced.remove(position)
            return
        at = bisect_left(self._prices, position.price)
        while self._open[at] is not position:
            at += 1
        del self._prices[at], self._open[at]

    def _assign(self, close: Close, position: Position) -> None:
        close.position = position
        position.capacity -= close.volume
        if not position.capacity and position.is_listed:
            self._remove(position)

    def _learn(self, close: Close, position: Position) -> None:
        """Take account of the factor that a close shows, if even a factor far from what is known allows no other position."""
        if self._factor is None or position.price is None or not close.profit or self._error > _FINE * abs(close.profit):
            return
        window = _open_price(self._factor, self._way, close, self._error, doubt=_DOUBT)
        if window is None or bisect_right(self._prices, window.high) - bisect_left(self._prices, window.low) > 1:
            return
        moved = self._way * (close.price - position.price) * close.volume / _LOT
        if moved and (moved > 0) == (close.profit > 0):
            low, high = sorted(((close.profit - self._error) / moved, (close.profit + self._error) / moved))
            self._factor.learn(close.closed[0], Interval(low, high))

    # ----------------------------------------------------------------------------------------------- one close

    def _close(self, close: Close) -> None:
        fitting = self._fitting(close)
        if len(fitting) == 1:
            (position,) = fitting
            self._learn(close, position)
            self._assign(close, position)
            if position.group is not None:
                self._propagate(position.group)
        elif fitting:
            close.fitting = fitting
            self._wait(close)
        else:
            self._orphans.append(close)

    def _fitting(self, close: Close) -> list[Position]:
        """Return the open positions that a close may close: by volume and, where it is known, by profit."""
        window = _open_price(self._factor, self._way, close, self._error)
        if window is None:
            if not self._adds_up:
                return []
            several = [one for one in self._first_open(3) if one.capacity >= close.volume] if len(self._open) < 3 else []
            return several if len(several) == 1 and not self._orphans and not self._groups else []
        first, last = bisect_left(self._prices, window.low), bisect_right(self._prices, window.high)
        if last - first > _MOST_FITTING:
            return []
        return [one for one in self._open[first:last] if one.capacity >= close.volume]

    def _first_open(self, count: int) -> list[Position]:
        return [*self._open[:count], *self._unpriced[:count]]

    def _wait(self, close: Close) -> None:
        """Put a close into the group of the positions that it fits; groups that it joins become one."""
        group = Group()
        joined = {id(one.group): one.group for one in close.fitting if one.group is not None}
        for other in sorted(joined.values(), key=lambda one: -len(one.waiting)):
            if not group.waiting:
                group = other
                continue
            group.positions += other.positions
            group.waiting += other.waiting
            for position in other.positions:
                position.group = group
            self._groups.pop(id(other), None)
        for position in close.fitting:
            if position.group is not group:
                position.group = group
                group.positions.append(position)
        group.waiting.append(close)
        self._groups[id(group)] = group
        if self._is_used_up(group):
            self._settle(group.waiting, group.positions)
            self._dissolve(group)
        elif len(group.waiting) > _MOST_WAITING:
            self._dissolve(group)
        else:
            self._propagate(group)

    def _propagate(self, group: Group) -> None:
        """Assign what fits one position only, as long as one more is found; settle the group once all of it is taken."""
        is_new = True
        while is_new:
            is_new = False
            for close in list(group.waiting):
                close.fitting = [one for one in close.fitting if one.capacity >= close.volume]
                if len(close.fitting) <= 1:
                    group.waiting.remove(close)
                    if close.fitting:
                        self._assign(close, close.fitting[0])
                        is_new = True
                    else:
                        self._orphans.append(close)
        group.positions = [one for one in group.positions if one.capacity]
        if not group.waiting:
            self._dissolve(group)
        elif self._is_used_up(group):
            self._settle(group.waiting, group.positions)
            self._dissolve(group)

    def _is_used_up(self, group: Group) -> bool:
        """Whether the waiting closes come to all that their positions have."""
        return self._adds_up and not group.spare

    def _dissolve(self, group: Group) -> None:
        self._groups.pop(id(group), None)
        self._orphans += [close for close in group.waiting if close.position is None]
        for position in group.positions:
            position.group = None

    # ---------------------------------------------------------------------------------------------- the end of a segment

    def _left(self) -> list[Close]:
        waiting = [close for group in self._groups.values() for close in group.waiting]
        return sorted((one for one in (*waiting, *self._orphans) if one.position is None), key=lambda close: close.closed)

    def _settle_all(self, segment: _Segment) -> None:
        """Pair all that is left: the closes come to exactly what the positions have."""
        left = self._left()
        if not left:
            return
        positions = [event for event in segment.events if isinstance(event, Position)]
        self._settle(left, [one for one in positions if one.capacity])
        closes = [event for event in segment.events if isinstance(event, Close)]
        if self._may_choose and any(close.position is None for close in closes):
            # Something before was decided wrongly, or the search was too short: begin again, with all of it.
            decided = [(close, close.position) for close in closes if close.position is not None]
            for close, position in decided:
                position.capacity += close.volume
            if not self._settle(closes, positions):
                for close, position in decided:
                    position.capacity -= close.volume

    def _settle_only(self) -> None:
        """Pair each close that is left with the only position that can be meant, as long as one more is found."""
        left = self._left()
        if len(left) > _MOST_WAITING * 4:
            return
        is_new = True
        while is_new:
            is_new = False
            for close in left:
                able = [] if close.position is not None else self._able(close)
                if len(able) == 1:
                    self._assign(close, able[0])
                    is_new = True

    def _able(self, close: Close) -> list[Position]:
        """Return positions that a close may close, two at most."""
        if close.fitting:
            candidates: Iterable[Position] = close.fitting
        elif len(self._open) + len(self._unpriced) <= _MOST_WAITING * 4:
            candidates = (*self._open, *self._unpriced)
        else:
            return []
        able: list[Position] = []
        if not self._budget.spend(len(self._open)):
            return able
        for position in candidates:
            if position.capacity >= close.volume and _is_before(position.opened, close.closed):
                able.append(position)
                if len(able) > 1:
                    break
        return able

    # -------------------------------------------------------------------------------------- closes and positions, all of them

    def _settle(self, closes: list[Close], positions: list[Position]) -> bool:
        """Pair closes with positions so that nothing is left of these, by their profits as far as possible; or nothing."""
        factor = self._factor_within(closes, positions)
        windows, prices = {}, {}
        for close in closes:
            if (window := _open_price(factor, self._way, close, self._error)) is not None:
                windows[close.index], prices[close.index] = window, window.middle
        found = _by_volume(closes, positions, prices)
        found = found or _by_search(closes, positions, prices, self._budget)
        found = found or _by_exchange(closes, positions, prices, self._budget)
        found = found or _by_capacity(closes, positions, prices, self._budget)
        if found is None:
            return False
        is_decided = _is_decided(found, windows)
        if not is_decided and not self._may_choose:
            return False
        for close, position in found:
            self._assign(close, position)
        if not is_decided:
            self._chosen += [close for close, _ in found]
        return True

    def _factor_within(self, closes: Sequence[Close], positions: Sequence[Position]) -> Factor | None:
        """Return the factor that closes of one hour show together, as far as it is more exact than what is known."""
        known = all(one.price is not None for one in positions) and all(one.profit is not None for one in closes)
        times = [one.closed[0] for one in closes]
        if isinstance(self._factor, (Constant, Inverse)) or not known or max(times) - min(times) > _ONE_HOUR_MSC:
            return self._factor
        opened = sum((one.price or 0) * one.capacity for one in positions)
        shown = _stretch_of(self._way, closes, opened, self._error).varying()
        before = None if self._factor is None else self._factor.at(times[0], closes[0].price)
        value = shown if shown is None or before is None else shown.meets(before)
        return self._factor if value is None else Constant(value)


def _is_before(opened: Moment, closed: Moment) -> bool:
    """Whether a position may have been open at a close: rows and tickets of one moment together may show that it was not."""
    if opened[0] != closed[0]:
        return opened[0] < closed[0]
    return opened[1] < closed[1] or opened[2] < closed[2]


_Pairs = list[tuple[Close, Position]]


def _by_volume(closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float]) -> _Pairs | None:
    """Pair where each position is closed at once: those of one volume among one another, in the order of their prices.

    Where closes of one volume are between openings, the order of time goes first.
    """
    by_volume: defaultdict[int, tuple[list[Close], list[Position]]] = defaultdict(lambda: ([], []))
    for close in closes:
        by_volume[close.volume][0].append(close)
    for position in positions:
        by_volume[position.capacity][1].append(position)
    if any(len(some) != len(others) for some, others in by_volume.values()):
        return None
    found: _Pairs = []
    for some, others in by_volume.values():
        pairs = _by_price(some, others, prices) or _by_time(some, others, prices)
        if pairs is None:
            return None
        found += pairs
    return found


def _by_price(closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float]) -> _Pairs | None:
    if any(close.index not in prices for close in closes) or any(position.price is None for position in positions):
        return None
    some = sorted(closes, key=lambda close: (prices[close.index], close.closed))
    others = sorted(positions, key=lambda position: (position.price or 0, position.opened))
    pairs = list(zip(some, others, strict=True))
    return pairs if all(_is_before(position.opened, close.closed) for close, position in pairs) else None


def _by_time(closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float]) -> _Pairs | None:
    """Pair each close, the earliest first, with the open position that its price is nearest to."""
    opening = deque(sorted(positions, key=attrgetter("opened")))
    open_now: list[_Place] = []
    found: _Pairs = []
    for close in sorted(closes, key=attrgetter("closed")):
        while opening and _is_before(opening[0].opened, close.closed):
            position = opening.popleft()
            insort(open_now, (position.price or 0.0, position.opened, position), key=_place)
        if not open_now:
            return None
        found.append((close, open_now.pop(_nearest_at(open_now, prices.get(close.index)))[2]))
    return found


#: A position, in the order of prices and times.
_Place = tuple[float, Moment, Position]


def _place(one: _Place) -> tuple[float, Moment]:
    return one[0], one[1]


def _nearest_at(places: Sequence[_Place], price: float | None) -> int:
    """Return the index of the place nearest to a price; the first where there is none."""
    if price is None:
        return 0
    at = bisect_left(places, price, key=lambda one: one[0])
    return at - 1 if at == len(places) or (at and price - places[at - 1][0] < places[at][0] - price) else at


def _by_search(
    closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float], budget: Budget
) -> _Pairs | None:
    """Pair closes, the largest first, so that nothing is left of the positions: nearest price first, a short search."""
    order = sorted(closes, key=lambda close: (-close.volume, close.closed))
    left = {id(position): position.capacity for position in positions}
    tried: list[Iterator[Position]] = []
    found: _Pairs = []
    for _ in range(_TRIES):
        if len(found) == len(order):
            return found
        close = order[len(found)]
        if len(tried) == len(found):
            if not budget.spend(len(positions)):
                return None
            tried.append(iter(_nearest(close, positions, left, prices)))
        position = next(tried[-1], None)
        if position is not None:
            left[id(position)] -= close.volume
            found.append((close, position))
            continue
        tried.pop()
        if not found:
            return None
        back, other = found.pop()
        left[id(other)] += back.volume
    return None


def _by_exchange(
    closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float], budget: Budget
) -> _Pairs | None:
    """Pair closes one by one; where no position has room for one, move another close away to make room.

    Several orders are tried: by volume with the nearest price or the least room left, and by time.
    """
    by_volume = sorted(closes, key=lambda one: (-one.volume, one.closed))
    by_time = sorted(closes, key=lambda one: (one.closed, -one.volume))
    for order, is_tight in ((by_volume, False), (by_time, False), (by_volume, True), (by_time, True)):
        if found := _in_turn(order, positions, prices, budget, is_tight=is_tight):
            return found
    return None


def _by_capacity(
    closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float], budget: Budget
) -> _Pairs | None:
    """Pair closes, the earliest first, with positions that they close wholly, else with those that leave least."""
    opening = deque(sorted(positions, key=attrgetter("opened")))
    by_left: defaultdict[int, list[_Place]] = defaultdict(list)
    found: _Pairs = []
    for close in sorted(closes, key=lambda one: (one.closed, -one.volume)):
        while opening and _is_before(opening[0].opened, close.closed):
            position = opening.popleft()
            insort(by_left[position.capacity], (position.price or 0.0, position.opened, position), key=_place)
        if not budget.spend(len(by_left)):
            return None
        left = min((one for one, places in by_left.items() if one >= close.volume and places), default=None)
        if left is None:
            return None
        place = by_left[left].pop(_nearest_at(by_left[left], prices.get(close.index)))
        found.append((close, place[2]))
        if left > close.volume:
            insort(by_left[left - close.volume], place, key=_place)
    return found


def _in_turn(
    closes: Sequence[Close], positions: Sequence[Position], prices: dict[int, float], budget: Budget, *, is_tight: bool
) -> _Pairs | None:
    """Pair closes in their order; where no position has room for one, move another away to make room."""
    left = {id(position): position.capacity for position in positions}
    given: dict[int, Position] = {}
    closes_of: defaultdict[int, list[Close]] = defaultdict(list)
    for close in closes:
        if not budget.spend(len(positions)):
            return None
        able = _nearest(close, positions, left, prices)
        position = min(able, key=lambda one: left[id(one)]) if is_tight and able else next(iter(able), None)
        if position is None:
            position = _make_room(close, positions, left, closes_of, given, budget)
        if position is None:
            return None
        left[id(position)] -= close.volume
        closes_of[id(position)].append(close)
        given[close.index] = position
    return [(close, given[close.index]) for close in closes]


def _make_room(
    close: Close, positions: Sequence[Position], left: dict[int, int], closes_of: dict[int, list[Close]],
    given: dict[int, Position], budget: Budget,
) -> Position | None:  # fmt: skip
    """Move a close from a position that could then be closed by another one, and return that position."""
    for position in positions:
        if not left[id(position)] or not _is_before(position.opened, close.closed):
            continue
        for other in closes_of[id(position)]:
            if left[id(position)] + other.volume < close.volume or not budget.spend(len(positions)):
                continue
            for room in positions:
                if room is not position and left[id(room)] >= other.volume and _is_before(room.opened, other.closed):
                    closes_of[id(position)].remove(other)
                    closes_of[id(room)].append(other)
                    given[other.index] = room
                    left[id(position)] += other.volume
                    left[id(room)] -= other.volume
                    return position
    return None


def _nearest(close: Close, positions: Sequence[Position], left: dict[int, int], prices: dict[int, float]) -> list[Position]:
    """Return the positions that a close may close: by price, then those that it closes wholly, then by time."""
    able = [one for one in positions if left[id(one)] >= close.volume and _is_before(one.opened, close.closed)]
    price = prices.get(close.index)

    def rank(position: Position) -> tuple[float, bool, Moment]:
        away = 0.0 if price is None or position.price is None else abs(price - position.price)
        return away, left[id(position)] != close.volume, position.opened

    return sorted(able, key=rank)


def _is_decided(found: _Pairs, windows: dict[int, Interval]) -> bool:
    """Whether each close fits the position that it was given, and no other but one like it.

    Positions are alike by open price and what is left of them; by the time of their opening too, unless all closes are of
    one moment.
    """
    is_at_once = len({close.closed[0] for close, _ in found}) == 1
    alike = {id(one): (one.price, one.capacity, 0 if is_at_once else one.opened[0]) for _, one in found}
    if len(set(alike.values())) == 1:
        return True
    opened = sorted(((position.price, position) for _, position in found if position.price is not None), key=lambda one: one[0])
    prices = [price for price, _ in opened]
    for close, position in found:
        window = windows.get(close.index)
        if window is None:
            return False
        first, last = bisect_left(prices, window.low), bisect_right(prices, window.high)
        if {alike[id(other)] for _, other in opened[first : min(last, first + _MOST_FITTING)]} != {alike[id(position)]}:
            return False
    return True
