"""What events mean, written as plainly as it can be: the oracle of the properties.

Nothing is updated event by event and nothing is bounded. All that was recorded is put in the fold order and gone through with
fractions. It follows the design, "Events" (what is recorded again), "Time" (the fold order) and "The fold"; none of it is
copied from the code that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from attrs import evolve

from ledger import (
    BalanceAsserted,
    CashMoved,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Entry,
    Event,
    FillRecorded,
    GhostClosed,
    MarginMode,
    Origin,
    PositionRecovered,
    PositionState,
    Side,
)
from ledger.events import Deal

_LATER_KNOWN = ("position_id", "magic", "commission", "fee", "swap", "profit")
_MONEY = ("commission", "fee", "swap", "profit")


@dataclass
class Trade:
    """One trade, from opening to flat: what opened it, what closed it, what is left."""

    position_id: int | None
    symbol: str
    side: Side
    volume: Fraction
    price: Fraction
    opened_msc: int
    closed_msc: int = 0
    money: Decimal = Decimal(0)
    lost: Fraction = Fraction(0)
    is_complete: bool = True
    is_id_known: bool = True


@dataclass
class Picture:
    """What a list of events comes to."""

    nets: bool
    open: dict[int, Trade] = field(default_factory=dict)
    closed: list[Trade] = field(default_factory=list)
    ghosts: list[tuple[int, Trade]] = field(default_factory=list)
    parts: list[tuple[int | None, Fraction]] = field(default_factory=list)
    loose: list[tuple[int | None, Side, Fraction]] = field(default_factory=list)
    balance: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    deals: int = 0

    def positions(self) -> dict[int, tuple[str, Side, Fraction, Fraction]]:
        """Return open positions, position id -> symbol, side, volume and exact open price."""
        return {trade.position_id or 0: (trade.symbol, trade.side, trade.volume, trade.price) for trade in self.open.values()}

    def unexplained(self) -> list[tuple[int | None, str, Fraction]]:
        """Return position id, kind and volume of what went without a known cause, in some order."""
        found: dict[tuple[int | None, str, object], Fraction] = {}
        for number, (_, trade) in enumerate(self.ghosts):
            found[trade.position_id, "ghost result", number] = trade.volume
        for position_id, volume in self.parts:
            at = (position_id, "ghost result", "part")
            found[at] = found.get(at, Fraction(0)) + volume
        for position_id, side, volume in self.loose:
            here = (position_id, "close without opening", side)
            found[here] = found.get(here, Fraction(0)) + volume
        return sorted(((pid, kind, volume) for (pid, kind, _), volume in found.items()), key=str)


def deals_as_recorded(recorded: Iterable[Event]) -> dict[int, Deal]:
    """Return what all records together state of each deal: first record, completions, revisions, conflicts left out."""
    known: dict[int, Deal] = {}
    for event in recorded:
        match event:
            case FillRecorded() | CashMoved():
                first = known.setdefault(event.deal, event)
                if _agree(first, event):
                    known[event.deal] = _filled(first, event)
            case DealCompleted():
                known[event.deal] = _filled(known[event.deal], event)
            case DealRevised():
                known[event.deal] = event.now
            case _:
                pass
    return known


def _agree(first: Deal, again: Deal) -> bool:
    """Return whether the second record contradicts nothing of the first; to the second where it is about time."""
    names = ("side", "type", "symbol", "entry", "volume", "price", "position_id", *_MONEY)
    both = [(getattr(first, name, None), getattr(again, name, None)) for name in names]
    return (
        type(first) is type(again)
        and first.time_msc // 1000 == again.time_msc // 1000
        and all(left == right for left, right in both if left is not None and right is not None)
    )


def _filled(first: Deal, more: Deal | DealCompleted) -> Deal:
    news = {name: getattr(more, name) for name in _LATER_KNOWN if getattr(first, name) is None}
    return evolve(first, **news)


_LAST = 1 << 62  # behind every ticket


def in_order(
    recorded: Sequence[Event], *, nets: bool = False, order_msc: Callable[[int], int] = lambda msc: msc // 1000 * 1000
) -> list[Event]:
    """Return everything that was recorded in the fold order, each deal once.

    Args:
        recorded: Everything, in the order it was recorded; corrections once each.
        nets: Whether the account has one position a symbol.
        order_msc: The order second of a broker time.
    """
    first = {event.deal: number for number, event in reversed(list(enumerate(recorded))) if isinstance(event, _RECORDS)}
    origins = {deal: recorded[number].origin for deal, number in first.items()}  # type: ignore[union-attr]
    keys: list[tuple[tuple[int, ...], Event]] = []
    latest: dict[int, tuple[int, ...]] = {}
    by_clock: list[tuple[int, PositionRecovered | DriftCorrected | GhostClosed, tuple[int, ...]]] = []
    for number, event in enumerate(recorded):
        if isinstance(event, (FillRecorded, CashMoved, DealCompleted, DealRevised)):
            continue
        key: tuple[int, ...] = (order_msc(event.time_msc), _LAST, 1, number, 0)
        if isinstance(event, (PositionRecovered, DriftCorrected, GhostClosed)):
            contains = not isinstance(event, GhostClosed) and event.updated_msc is not None
            if contains:
                key = (order_msc(event.updated_msc), event.updated_deal or _LAST, 1, number, 0)  # type: ignore[union-attr,arg-type]
            before = latest.get(event.position_id)
            if before is not None and before > key:
                key = (*before[:3], number, 0)
            latest[event.position_id] = key
            if not contains:
                by_clock.append((number, event, key))
        keys.append((key, event))
    for ticket, deal in deals_as_recorded(recorded).items():
        key = (order_msc(deal.time_msc), ticket, 0, 0, 0)
        if origins[ticket] is Origin.ENGINE and isinstance(deal, FillRecorded):
            for number, event, made in by_clock:
                is_its = deal.position_id in (None, event.position_id) or (nets and deal.symbol == event.symbol)
                if not isinstance(event, GhostClosed) and (deal.entry, deal.order) == (Entry.IN, event.position_id):
                    continue  # it opened the position, which was there
                if number < first[ticket] and made[0] == key[0] and is_its:
                    key = max(key, (*made[:4], ticket))
        keys.append((key, deal))
    return [event for _, event in sorted(keys, key=lambda one: one[0])]


_RECORDS = (FillRecorded, CashMoved)


def picture(
    recorded: Sequence[Event],
    mode: MarginMode | str,
    until_msc: int | None = None,
    order_msc: Callable[[int], int] = lambda msc: msc // 1000 * 1000,
) -> Picture:
    """Return what events come to, in whatever order they were recorded.

    Args:
        recorded: Everything, in the order it was recorded; corrections once each.
        mode: How the account books.
        until_msc: Only what happened up to this broker time.
        order_msc: The order second of a broker time.
    """
    seen = Picture(nets=MarginMode(mode).nets)
    for event in in_order(recorded, nets=seen.nets, order_msc=order_msc):
        if until_msc is None or event.time_msc <= until_msc:
            _follow(seen, event)
    return seen


def _follow(seen: Picture, event: Event) -> None:
    match event:
        case FillRecorded():
            seen.deals += 1
            money = sum((getattr(event, name) or Decimal(0) for name in _MONEY), Decimal(0))
            seen.balance += money
            _trade(seen, event, money)
        case CashMoved():
            seen.deals += 1
            _cash(seen, event)
        case PositionRecovered():
            _assert_position(seen, event.position, event.time_msc)
        case DriftCorrected():
            _assert_position(seen, event.after, event.time_msc)
        case GhostClosed():
            trade = seen.open.get(event.position_id)
            if trade is None and seen.nets:
                trade = next((one for one in seen.open.values() if one.symbol == event.symbol and not one.is_id_known), None)
            if trade is not None:
                _vanish(seen, trade, event.time_msc)
        case BalanceAsserted():
            credit = seen.credit if event.credit is None else event.credit
            seen.balance = event.balance - (credit if event.credit is None else 0)
            seen.credit = credit
        case _:
            pass


def _cash(seen: Picture, event: CashMoved) -> None:
    charges = sum((getattr(event, name) or Decimal(0) for name in ("commission", "fee", "swap")), Decimal(0))
    seen.balance += charges
    if event.type == 3:
        seen.credit += event.profit
    else:
        seen.balance += event.profit


def _about(seen: Picture, position_id: int | None, symbol: str, time_msc: int) -> Trade | None:
    """Return the open trade that a deal or a snapshot is about: by id, on a netting account else by symbol."""
    trade = seen.open.get(position_id or 0)
    if trade is not None:
        return trade
    trade = next((one for one in seen.open.values() if seen.nets and one.symbol == symbol), None)
    if trade is None or position_id is None:
        return trade
    if trade.is_id_known:  # a netting account gives a new id only after the old position came to nothing
        _vanish(seen, trade, time_msc)
        return None
    del seen.open[trade.position_id or 0]
    trade.position_id, trade.is_id_known = position_id, True
    seen.open[position_id] = trade
    return trade


def _trade(seen: Picture, deal: FillRecorded, money: Decimal) -> None:
    position_id = deal.position_id
    if position_id is None and deal.entry == Entry.IN and not seen.nets:
        position_id = deal.order or deal.deal
    trade = _about(seen, position_id, deal.symbol, deal.time_msc)
    if trade is not None:
        trade.symbol = deal.symbol
    volume, price = Fraction(deal.volume), Fraction(deal.price)
    is_complete = None not in [getattr(deal, name) for name in _MONEY]
    if deal.entry == Entry.IN:
        if trade is not None and trade.side is not deal.side:
            _vanish(seen, trade, deal.time_msc)
            trade = None
        if trade is None:
            named = position_id or deal.order or deal.deal
            trade = Trade(named, deal.symbol, deal.side, volume, price, deal.time_msc, money=money, is_complete=is_complete)
            trade.is_id_known = position_id is not None
            seen.open[named] = trade
        else:
            trade.price = (trade.price * trade.volume + price * volume) / (trade.volume + volume)
            trade.volume += volume
            trade.money += money
            trade.is_complete &= is_complete
        return
    if deal.entry == Entry.IN_OUT and trade is not None and trade.side is not deal.side and volume > trade.volume:
        rest = volume - trade.volume
        trade.is_complete &= is_complete
        _finish(seen, trade, deal.time_msc)
        named = deal.position_id or trade.position_id or 0
        seen.open[named] = Trade(named, deal.symbol, deal.side, rest, price, deal.time_msc)
        seen.open[named].is_complete = None not in (deal.commission, deal.fee)
        return
    left = _close(seen, trade, deal, volume, money, is_complete=is_complete)
    if left:
        seen.loose.append((deal.position_id, deal.side.opposite, left))
    if deal.entry == Entry.IN_OUT and trade is not None and seen.open.get(trade.position_id or 0) is trade:
        _vanish(seen, trade, deal.time_msc)


def _close(
    seen: Picture, trade: Trade | None, deal: FillRecorded, volume: Fraction, money: Decimal, *, is_complete: bool
) -> Fraction:
    """Take a close off what is open, then off what vanished; return what it closed beyond that."""
    if trade is not None and trade.side is deal.side:
        _vanish(seen, trade, deal.time_msc)
    elif trade is not None:
        closed = min(volume, trade.volume)
        trade.volume -= closed
        volume -= closed
        trade.money += money
        trade.is_complete &= is_complete
        money = Decimal(0)
        if not trade.volume:
            _finish(seen, trade, deal.time_msc)
    if deal.position_id is None:
        ghosts = [one for one in seen.ghosts if seen.nets and one[1].symbol == deal.symbol]
    else:
        ghosts = [one for one in seen.ghosts if one[1].position_id == deal.position_id]
        if not ghosts and seen.nets:
            ghosts = [one for one in seen.ghosts if one[1].symbol == deal.symbol and not one[1].is_id_known]
    for ghost in [one for one in ghosts if one[1].side is not deal.side]:
        if not volume:
            continue
        closed = min(volume, ghost[1].volume)
        ghost[1].volume -= closed
        ghost[1].lost -= closed
        volume -= closed
        ghost[1].money += money
        ghost[1].is_complete &= is_complete
        money = Decimal(0)
        if not ghost[1].volume:
            seen.ghosts.remove(ghost)
            seen.closed.append(ghost[1])
    return volume


def _finish(seen: Picture, trade: Trade, time_msc: int) -> None:
    trade.closed_msc = time_msc
    seen.closed.append(trade)
    del seen.open[trade.position_id or 0]


def _vanish(seen: Picture, trade: Trade, time_msc: int) -> None:
    del seen.open[trade.position_id or 0]
    trade.closed_msc = time_msc
    trade.lost += trade.volume
    seen.ghosts.append((trade.position_id or 0, trade))


def _assert_position(seen: Picture, shown: PositionState, time_msc: int) -> None:
    """Set a position to what the broker showed."""
    volume, price = Fraction(shown.volume), Fraction(shown.price_open)
    trade = _about(seen, shown.position_id, shown.symbol, time_msc)
    if trade is not None and trade.side is not shown.side:
        _vanish(seen, trade, time_msc)
        trade = None
    if trade is None:
        for ghost in seen.ghosts:
            if (ghost[1].position_id, ghost[1].side, ghost[1].symbol) == (shown.position_id, shown.side, shown.symbol):
                seen.ghosts.remove(ghost)
                trade = seen.open[shown.position_id] = ghost[1]
                trade.lost -= trade.volume
                break
    if trade is None:
        opened = time_msc if shown.opened_msc is None else shown.opened_msc
        seen.open[shown.position_id] = Trade(shown.position_id, shown.symbol, shown.side, volume, price, opened)
        return
    if volume < trade.volume:
        seen.parts.append((trade.position_id, trade.volume - volume))
        trade.lost += trade.volume - volume
    if (round(trade.price, 8), trade.volume) != (price, volume):
        trade.volume, trade.price = volume, price
    trade.symbol = shown.symbol
