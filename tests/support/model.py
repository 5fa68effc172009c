"""What events mean, written as plainly as it can be: the oracle of the properties.

Nothing is kept up and nothing is bounded. All that was told is gathered, put in the fold order and gone through with
fractions. It follows the design, "Events" (what is told again), "Time" (the fold order) and "The fold"; none of it is taken
from the code that it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    all_told: bool = True
    id_told: bool = True


@dataclass
class Picture:
    """What a list of events comes to."""

    nets: bool
    open: dict[int | str, Life] = field(default_factory=dict)
    closed: list[Life] = field(default_factory=list)
    ghosts: list[tuple[int | str, Life]] = field(default_factory=list)
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


def deals_as_told(told: Iterable[Event]) -> dict[int, Deal]:
    """Return what all tellings together say of each deal: first telling, completions, revisions, conflicts left out."""
    known: dict[int, Deal] = {}
    for event in told:
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


def picture(told: Sequence[Event], mode: MarginMode | str, until_msc: int | None = None) -> Picture:
    """Return what events come to, in whatever order they were told.

    Args:
        told: Everything that was told, in the order it was told; corrections once each.
        mode: How the account books.
        until_msc: Only what happened up to this broker time.
    """
    facts: list[tuple[tuple[int, int, int], Event]] = [
        ((deal.time_msc, 0, deal.deal), deal) for deal in deals_as_told(told).values()
    ]
    corrections = [event for event in told if not isinstance(event, (FillRecorded, CashMoved, DealCompleted, DealRevised))]
    facts += [((event.time_msc, 1, number), event) for number, event in enumerate(corrections)]
    seen = Picture(nets=MarginMode(mode).nets)
    for _, event in sorted(facts, key=lambda fact: fact[0]):
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
            key = event.symbol if seen.nets else event.position_id
            life = seen.open.get(key)
            if life is not None and (life.position_id == event.position_id or not life.id_told):
                _vanish(seen, key, event.time_msc)
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


def _trade(seen: Picture, deal: FillRecorded, money: Decimal) -> None:
    key: int | str | None = deal.symbol if seen.nets else deal.position_id
    if key is None and deal.entry == Entry.IN:
        key = deal.order or deal.deal
    life = seen.open.get(key) if key is not None else None
    if life is not None and deal.position_id not in (None, life.position_id):
        if life.id_told:  # a netting account gives a new id only after the old position came to nothing
            _vanish(seen, key, deal.time_msc)
            life = None
        else:
            life.position_id, life.id_told = deal.position_id, True
    volume, price = Fraction(deal.volume), Fraction(deal.price)
    told = None not in [getattr(deal, name) for name in _MONEY]
    if deal.entry == Entry.IN and key is not None:
        if life is not None and life.side is not deal.side:
            _vanish(seen, key, deal.time_msc)
            life = None
        if life is None:
            position_id = deal.position_id or deal.order or deal.deal
            life = Life(position_id, deal.symbol, deal.side, volume, price, deal.time_msc, money=money, all_told=told)
            life.id_told = deal.position_id is not None
            seen.open[key] = life
        else:
            life.price = (life.price * life.volume + price * volume) / (life.volume + volume)
            life.volume += volume
            life.money += money
            life.all_told &= told
        return
    turns = deal.entry == Entry.IN_OUT and life is not None and life.side is not deal.side and volume > life.volume
    if turns and life is not None and key is not None:
        rest = volume - life.volume
        life.all_told &= told
        _finish(seen, key, life, deal.time_msc)
        new = Life(deal.position_id or life.position_id, deal.symbol, deal.side, rest, price, deal.time_msc)
        new.all_told = None not in (deal.commission, deal.fee)
        seen.open[key] = new
        return
    left = _close(seen, key, deal, volume, money, told=told)
    if left:
        seen.loose.append((deal.position_id, deal.side.opposite, left))
    if deal.entry == Entry.IN_OUT and key in seen.open:
        _vanish(seen, key, deal.time_msc)


def _close(
    seen: Picture, key: int | str | None, deal: FillRecorded, volume: Fraction, money: Decimal, *, told: bool
) -> Fraction:
    """Take a close off what is open, then off what vanished; return what it closed beyond that."""
    if key is None:
        return volume
    life = seen.open.get(key)
    if life is not None and life.side is deal.side:
        _vanish(seen, key, deal.time_msc)
    elif life is not None:
        taken = min(volume, life.volume)
        life.volume -= taken
        volume -= taken
        life.money += money
        life.all_told &= told
        money = Decimal(0)
        if not life.volume:
            _finish(seen, key, life, deal.time_msc)
    for ghost in [one for one in seen.ghosts if one[0] == key and one[1].side is not deal.side]:
        if not volume or deal.position_id not in (None, ghost[1].position_id):
            continue
        taken = min(volume, ghost[1].volume)
        ghost[1].volume -= taken
        ghost[1].lost -= taken
        volume -= taken
        ghost[1].money += money
        ghost[1].all_told &= told
        money = Decimal(0)
        if not ghost[1].volume:
            seen.ghosts.remove(ghost)
            seen.closed.append(ghost[1])
    return volume


def _finish(seen: Picture, key: int | str, life: Life, time_msc: int) -> None:
    life.closed_msc = time_msc
    seen.closed.append(life)
    del seen.open[key]


def _vanish(seen: Picture, key: int | str | None, time_msc: int) -> None:
    assert key is not None
    life = seen.open.pop(key)
    life.closed_msc = time_msc
    life.lost += life.volume
    seen.ghosts.append((key, life))


def _stand(seen: Picture, shown: PositionState, time_msc: int) -> None:
    """Let a position stand as the broker showed it."""
    key = shown.symbol if seen.nets else shown.position_id
    volume, price = Fraction(shown.volume), Fraction(shown.price_open)
    life = seen.open.get(key)
    if life is not None and not life.id_told:
        life.position_id, life.id_told = shown.position_id, True
    if life is not None and (life.side, life.position_id) != (shown.side, shown.position_id):
        _vanish(seen, key, time_msc)
        life = None
    if life is None:
        for ghost in seen.ghosts:
            if ghost[0] == key and (ghost[1].side, ghost[1].position_id) == (shown.side, shown.position_id):
                seen.ghosts.remove(ghost)
                life = seen.open[key] = ghost[1]
                life.lost -= life.volume
                break
    if life is None:
        opened = time_msc if shown.opened_msc is None else shown.opened_msc
        seen.open[key] = Life(shown.position_id, shown.symbol, shown.side, volume, price, opened)
        return
    if volume < life.volume:
        seen.parts.append((life.position_id, life.volume - volume))
        life.lost += life.volume - volume
    if (round(life.price, 8), life.volume) != (price, volume):
        life.volume, life.price = volume, price
