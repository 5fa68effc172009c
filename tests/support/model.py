"""What events mean, written as plainly as it can be: the oracle of the properties.

Nothing is kept up and nothing is bounded. All that was told is gathered, put in the fold order and gone through with
fractions. It follows the design, "Events" (what is told again), "Time" (the fold order) and "The fold"; none of it is taken
from the code that it judges.
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
class Life:
    """One life of a position: what opened it, what closed it, what is left."""

    position_id: int | None
    symbol: str
    side: Side
    volume: Fraction
    price: Fraction
    opened_msc: int
    closed_msc: int = 0
    money: Decimal = Decimal(0)
    lost: Fraction = Fraction(0)
    all_recorded: bool = True
    is_id_known: bool = True


@dataclass
class Picture:
    """What a list of events comes to."""

    nets: bool
    open: dict[int, Life] = field(default_factory=dict)
    closed: list[Life] = field(default_factory=list)
    ghosts: list[tuple[int, Life]] = field(default_factory=list)
    parts: list[tuple[int | None, Fraction]] = field(default_factory=list)
    loose: list[tuple[int | None, Side, Fraction]] = field(default_factory=list)
    balance: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    deals: int = 0

    def positions(self) -> dict[int, tuple[str, Side, Fraction, Fraction]]:
        """Return open positions, position id -> symbol, side, volume and exact open price."""
        return {life.position_id or 0: (life.symbol, life.side, life.volume, life.price) for life in self.open.values()}

    def unexplained(self) -> list[tuple[int | None, str, Fraction]]:
        """Return position id, kind and volume of what went without being told how, in some order."""
        found: dict[tuple[int | None, str, object], Fraction] = {}
        for number, (_, life) in enumerate(self.ghosts):
            found[life.position_id, "ghost result", number] = life.volume
        for position_id, volume in self.parts:
            at = (position_id, "ghost result", "part")
            found[at] = found.get(at, Fraction(0)) + volume
        for position_id, side, volume in self.loose:
            here = (position_id, "close without opening", side)
            found[here] = found.get(here, Fraction(0)) + volume
        return sorted(((pid, kind, volume) for (pid, kind, _), volume in found.items()), key=str)


def deals_as_recorded(recorded: Iterable[Event]) -> dict[int, Deal]:
    """Return what all tellings together say of each deal: first telling, completions, revisions, conflicts left out."""
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
    """Return whether the second telling contradicts nothing of the first; to the second where it is about time."""
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
            _stand(seen, event.position, event.time_msc)
        case DriftCorrected():
            _stand(seen, event.after, event.time_msc)
        case GhostClosed():
            life = seen.open.get(event.position_id)
            if life is None and seen.nets:
                life = next((one for one in seen.open.values() if one.symbol == event.symbol and not one.is_id_known), None)
            if life is not None:
                _vanish(seen, life, event.time_msc)
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


def _about(seen: Picture, position_id: int | None, symbol: str, time_msc: int) -> Life | None:
    """Return the open life that a deal or a snapshot is about: by id, on a netting account else by symbol."""
    life = seen.open.get(position_id or 0)
    if life is not None:
        return life
    life = next((one for one in seen.open.values() if seen.nets and one.symbol == symbol), None)
    if life is None or position_id is None:
        return life
    if life.is_id_known:  # a netting account gives a new id only after the old position came to nothing
        _vanish(seen, life, time_msc)
        return None
    del seen.open[life.position_id or 0]
    life.position_id, life.is_id_known = position_id, True
    seen.open[position_id] = life
    return life


def _trade(seen: Picture, deal: FillRecorded, money: Decimal) -> None:
    position_id = deal.position_id
    if position_id is None and deal.entry == Entry.IN and not seen.nets:
        position_id = deal.order or deal.deal
    life = _about(seen, position_id, deal.symbol, deal.time_msc)
    if life is not None:
        life.symbol = deal.symbol
    volume, price = Fraction(deal.volume), Fraction(deal.price)
    recorded = None not in [getattr(deal, name) for name in _MONEY]
    if deal.entry == Entry.IN:
        if life is not None and life.side is not deal.side:
            _vanish(seen, life, deal.time_msc)
            life = None
        if life is None:
            named = position_id or deal.order or deal.deal
            life = Life(named, deal.symbol, deal.side, volume, price, deal.time_msc, money=money, all_recorded=recorded)
            life.is_id_known = position_id is not None
            seen.open[named] = life
        else:
            life.price = (life.price * life.volume + price * volume) / (life.volume + volume)
            life.volume += volume
            life.money += money
            life.all_recorded &= recorded
        return
    if deal.entry == Entry.IN_OUT and life is not None and life.side is not deal.side and volume > life.volume:
        rest = volume - life.volume
        life.all_recorded &= recorded
        _finish(seen, life, deal.time_msc)
        named = deal.position_id or life.position_id or 0
        seen.open[named] = Life(named, deal.symbol, deal.side, rest, price, deal.time_msc)
        seen.open[named].all_recorded = None not in (deal.commission, deal.fee)
        return
    left = _close(seen, life, deal, volume, money, recorded=recorded)
    if left:
        seen.loose.append((deal.position_id, deal.side.opposite, left))
    if deal.entry == Entry.IN_OUT and life is not None and seen.open.get(life.position_id or 0) is life:
        _vanish(seen, life, deal.time_msc)


def _close(
    seen: Picture, life: Life | None, deal: FillRecorded, volume: Fraction, money: Decimal, *, recorded: bool
) -> Fraction:
    """Take a close off what is open, then off what vanished; return what it closed beyond that."""
    if life is not None and life.side is deal.side:
        _vanish(seen, life, deal.time_msc)
    elif life is not None:
        taken = min(volume, life.volume)
        life.volume -= taken
        volume -= taken
        life.money += money
        life.all_recorded &= recorded
        money = Decimal(0)
        if not life.volume:
            _finish(seen, life, deal.time_msc)
    if deal.position_id is None:
        ghosts = [one for one in seen.ghosts if seen.nets and one[1].symbol == deal.symbol]
    else:
        ghosts = [one for one in seen.ghosts if one[1].position_id == deal.position_id]
        if not ghosts and seen.nets:
            ghosts = [one for one in seen.ghosts if one[1].symbol == deal.symbol and not one[1].is_id_known]
    for ghost in [one for one in ghosts if one[1].side is not deal.side]:
        if not volume:
            continue
        taken = min(volume, ghost[1].volume)
        ghost[1].volume -= taken
        ghost[1].lost -= taken
        volume -= taken
        ghost[1].money += money
        ghost[1].all_recorded &= recorded
        money = Decimal(0)
        if not ghost[1].volume:
            seen.ghosts.remove(ghost)
            seen.closed.append(ghost[1])
    return volume


def _finish(seen: Picture, life: Life, time_msc: int) -> None:
    life.closed_msc = time_msc
    seen.closed.append(life)
    del seen.open[life.position_id or 0]


def _vanish(seen: Picture, life: Life, time_msc: int) -> None:
    del seen.open[life.position_id or 0]
    life.closed_msc = time_msc
    life.lost += life.volume
    seen.ghosts.append((life.position_id or 0, life))


def _stand(seen: Picture, shown: PositionState, time_msc: int) -> None:
    """Let a position stand as the broker showed it."""
    volume, price = Fraction(shown.volume), Fraction(shown.price_open)
    life = _about(seen, shown.position_id, shown.symbol, time_msc)
    if life is not None and life.side is not shown.side:
        _vanish(seen, life, time_msc)
        life = None
    if life is None:
        for ghost in seen.ghosts:
            if (ghost[1].position_id, ghost[1].side, ghost[1].symbol) == (shown.position_id, shown.side, shown.symbol):
                seen.ghosts.remove(ghost)
                life = seen.open[shown.position_id] = ghost[1]
                life.lost -= life.volume
                break
    if life is None:
        opened = time_msc if shown.opened_msc is None else shown.opened_msc
        seen.open[shown.position_id] = Life(shown.position_id, shown.symbol, shown.side, volume, price, opened)
        return
    if volume < life.volume:
        seen.parts.append((life.position_id, life.volume - volume))
        life.lost += life.volume - volume
    if (round(life.price, 8), life.volume) != (price, volume):
        life.volume, life.price = volume, price
    life.symbol = shown.symbol
