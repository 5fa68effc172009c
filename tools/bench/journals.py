"""The journals that are measured: seeded, hedging or netting, as an engine with its reconciler records them.

Opens, adds, partial and full closes over a dozen symbols, a deal every few seconds. One fill in fifty is recorded before its
money is known and completed a little later, one in five hundred arrives late, one in ten thousand is revised, one in two
thousand positions is lost sight of: a ghost, whose closing deal comes later, or one that was recovered.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Symbol, price and its decimals; the first are traded most.
SYMBOLS = (
    ("EURUSD", 1.08, 5), ("XAUUSD", 2350.0, 2), ("GBPUSD", 1.27, 5), ("USDJPY", 156.0, 3), ("BTCUSD", 67_000.0, 2),
    ("AUDUSD", 0.66, 5), ("USDCAD", 1.37, 5), ("EURJPY", 169.0, 3), ("US500", 5300.0, 1), ("GER40", 18_500.0, 1),
    ("NZDUSD", 0.61, 5), ("EURGBP", 0.85, 5),
)  # fmt: skip
START_MSC = 1_600_000_000_000
_BATCH = 20_000
_HELD_MOST = 20
_HISTORIES = 16
_FLEET_BATCH = 1000  # an hour: what is recorded is known soon
_SOON = 30  # so many events later what was held back is recorded


def generate_events(count: int, *, seed: int, nets: bool) -> Iterator[Any]:
    """Yield so many events in the order they are recorded."""
    later: list[tuple[int, Any]] = []
    source = _happened(seed=seed, nets=nets)
    for number in range(count):
        if later and later[0][0] <= number:
            yield later.pop(0)[1]
            continue
        first, then = next(source)
        if then is not None:
            later.append((number + _SOON, then))
        yield first


def make_journal(url: str, count: int, *, nets: bool) -> str:
    """Write a journal of so many events, recorded as they happened, and return its URL; one that is there already is used."""
    from ledger import Ledger

    if url.startswith("sqlite") and Path(url.removeprefix("sqlite:///")).exists():
        return url
    draft = f"{url}.draft" if url.startswith("sqlite") else url
    now_us = [START_MSC * 1000]
    with Ledger.create(draft, now_us=lambda: now_us[0]) as ledger:
        account = ledger.account("Bench", 2 if nets else 1)
        account.open(currency="USD", mode="netting" if nets else "hedging", clock="ny-close")
        source = generate_events(count - 1, seed=count, nets=nets)
        batch: list[Any] = []
        for event in source:
            batch.append(event)
            if len(batch) == _BATCH:
                _record(account, batch, now_us)
                batch.clear()
        _record(account, batch, now_us)
    if draft != url:
        for end in ("", "-wal", "-shm"):
            made = Path(draft.removeprefix("sqlite:///") + end)
            if made.exists():
                made.rename(url.removeprefix("sqlite:///") + end)
    return url


def make_fleet(folder: Path, accounts: int, each: int) -> str:
    """Write a journal of so many accounts with so many events each, and return its URL; one that is there already is used.

    Sixteen histories are recorded again and again, every fourth by a netting account.
    """
    from ledger import Ledger

    file = folder / f"fleet-{accounts}-{each}.db"
    if not file.exists():
        now_us = [0]
        histories: dict[int, list[Any]] = {}
        draft = file.with_suffix(".draft")
        with Ledger.create(f"sqlite:///{draft}", now_us=lambda: now_us[0]) as ledger:
            for number in range(accounts):
                kind = number % _HISTORIES
                nets, now_us[0] = kind % 4 == 3, START_MSC * 1000
                if kind not in histories:
                    histories[kind] = list(generate_events(each - 1, seed=kind + 1, nets=nets))
                events = histories[kind]
                account = ledger.account("Fleet", number + 1)
                account.open(currency="USD", mode="netting" if nets else "hedging", clock="ny-close")
                for begin in range(0, len(events), _FLEET_BATCH):
                    _record(account, events[begin : begin + _FLEET_BATCH], now_us)
                ledger.forget(account.name)
        draft.rename(file)
    return f"sqlite:///{file}"


def _record(account: Any, batch: list[Any], now_us: list[int]) -> None:
    if batch:
        now_us[0] = max(now_us[0], (max(event.time_msc for event in batch) + 1000) * 1000)
        account.record_many(batch)


def _happened(*, seed: int, nets: bool) -> Iterator[tuple[Any, Any]]:
    """Yield what is recorded at once, and what of it is recorded a little later, for ever."""
    from attrs import evolve

    from ledger import CashMoved, DealRevised, DriftCorrected, GhostClosed, PositionRecovered

    dice = random.Random(seed)  # noqa: S311  # a benchmark needs repeatable, not secret
    weights = [1 / (place + 1) for place in range(len(SYMBOLS))]
    time_msc, deal = START_MSC, 1
    yield CashMoved(deal=deal, type=2, profit=1_000_000, time_msc=time_msc), None
    held: dict[object, list[Any]] = {}  # key -> symbol, side, lots, position id, open price
    while True:
        time_msc += dice.randrange(100, 5_000)
        deal += 1
        symbol, middle, digits = dice.choices(SYMBOLS, weights)[0]
        key: object = symbol if nets else (dice.choice(list(held)) if len(held) >= _HELD_MOST else deal)
        position = held.get(key)
        chance = dice.random()
        if position is not None and chance < 0.0005:  # lost sight of: its closing deal is recorded later
            symbol, side, lots, position_id, price = held.pop(key)
            closing = _fill(dice, deal, time_msc, symbol, _other(side), "out", lots, price, position_id)
            yield GhostClosed(before=_state(symbol, side, lots, position_id, price), time_msc=time_msc + 50), closing
            continue
        if position is not None and chance < 0.001:  # somebody else made it larger
            before = _state(*position)
            position[2] += 1
            yield DriftCorrected(before=before, after=_state(*position), time_msc=time_msc), None
            continue
        if position is None and chance < 0.0005:  # a zombie
            held[key] = [symbol, "buy", 10, deal, f"{middle:.{digits}f}"]
            yield PositionRecovered(position=_state(*held[key]), time_msc=time_msc), None
            continue
        fill = _traded(dice, held, key, deal, time_msc, (symbol, middle, digits), closes=0.5 if nets else 0.9)
        chance = dice.random()
        if chance < 0.02:  # the money is recorded later
            yield evolve(fill, commission=None, fee=None, swap=None, profit=None), fill
        elif chance < 0.022:  # it is recorded late
            deal += 1
            yield _cash(dice, deal, time_msc), fill
        elif chance < 0.0221:
            yield fill, DealRevised(now=evolve(fill, profit="1.00"), caused_by=1)
        else:
            yield fill, None


def _traded(
    dice: random.Random, held: dict[object, list[Any]], key: object, deal: int, time_msc: int,
    traded: tuple[str, float, int], *, closes: float,
) -> Any:  # fmt: skip
    """Open, add or close, and return the fill."""
    symbol, middle, digits = traded
    position = held.get(key)
    lots = dice.randrange(1, 50)
    if position is None:
        price, side = f"{middle * (1 + dice.randrange(-500, 500) / 100_000):.{digits}f}", dice.choice(("buy", "sell"))
        held[key] = [symbol, side, lots, deal, price]
        return _fill(dice, deal, time_msc, symbol, side, "in", lots, price, deal)
    symbol, side, before, position_id, opened = position
    price = f"{float(opened) * (1 + dice.randrange(-300, 300) / 100_000):.{len(opened.partition('.')[2])}f}"
    if dice.random() >= closes:
        position[2] = before + lots
        return _fill(dice, deal, time_msc, symbol, side, "in", lots, price, position_id)
    closing = before if dice.random() < 0.8 else max(1, before // 2)
    position[2] = before - closing
    if before == closing:
        del held[key]
    return _fill(dice, deal, time_msc, symbol, _other(side), "out", closing, price, position_id)


def _state(symbol: str, side: str, lots: int, position_id: int, price: str) -> Any:
    from ledger import PositionState

    return PositionState(position_id=position_id, symbol=symbol, side=side, volume=f"{lots / 100:.2f}", price_open=price)


def _cash(dice: random.Random, deal: int, time_msc: int) -> Any:
    """Return a small cash movement: a charge, or interest."""
    from ledger import CashMoved

    return CashMoved(
        deal=deal, type=dice.choice((4, 12)), profit=f"{dice.randrange(-500, 500) / 100:.2f}", time_msc=time_msc + 40
    )


def _fill(
    dice: random.Random, deal: int, time_msc: int, symbol: str, side: str, entry: str, lots: int, price: str, position_id: int
) -> Any:
    from ledger import FillRecorded

    is_out = entry == "out"
    return FillRecorded(
        deal=deal, order=deal, position_id=position_id, symbol=symbol, side=side, entry=entry, volume=f"{lots / 100:.2f}",
        price=price, time_msc=time_msc, commission=f"-{lots * 7 / 200:.2f}", fee=0, magic=7,
        swap=f"{dice.randrange(-300, 100) / 100:.2f}" if is_out and dice.random() < 0.3 else 0,
        profit=f"{dice.randrange(-9000, 10000) / 100:.2f}" if is_out else 0,
    )  # fmt: skip


def _other(side: str) -> str:
    return "sell" if side == "buy" else "buy"
