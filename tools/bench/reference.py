"""The reference that a Python user would pick instead: the package ``eventsourcing``, a position book as its aggregate."""

import os
import statistics
import time
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


class Book(Aggregate):
    """Positions by id, volume and cost of each, and the balance: what our fold holds at the least."""

    def __init__(self) -> None:
        self.positions: dict[int, tuple[Decimal, Decimal]] = {}
        self.balance = Decimal(0)

    @event("FillRecorded")
    def record(
        self,
        deal: int,  # noqa: ARG002  # what is recorded is more than what is counted
        order: int,  # noqa: ARG002
        position_id: int,
        symbol: str,  # noqa: ARG002
        side: str,  # noqa: ARG002
        entry: str,
        volume: Decimal,
        price: Decimal,
        time_msc: int,  # noqa: ARG002
        commission: Decimal,
        fee: Decimal,
        swap: Decimal,
        profit: Decimal,
        magic: int,  # noqa: ARG002
    ) -> None:
        """Open, add or reduce."""
        self.balance += commission + fee + swap + profit
        held, cost = self.positions.get(position_id, (Decimal(0), Decimal(0)))
        if entry == "in":
            self.positions[position_id] = held + volume, cost + volume * price
        elif held == volume:
            del self.positions[position_id]
        else:
            self.positions[position_id] = held - volume, cost - cost * volume / held


class Shelf:
    """A book of that library in a SQLite file (it writes ahead, and waits for the disk, as SQLite does by itself)."""

    _numbers = count()

    def __init__(self, folder: Path) -> None:
        file = folder / f"eventsourcing-{os.getpid()}-{next(self._numbers)}.db"
        self._application = Application[Any](env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(file)})
        self._book = Book()
        self._deal = 0
        self._application.save(self._book)

    def _record(self) -> None:
        self._deal += 1
        opens = self._deal % 2
        self._book.record(
            deal=self._deal,
            order=self._deal,
            position_id=self._deal - 1 + opens,
            symbol="EURUSD",
            side="buy" if opens else "sell",
            entry="in" if opens else "out",
            volume=Decimal("0.10"),
            price=Decimal("1.05430"),
            time_msc=1_700_000_000_000 + self._deal,
            commission=Decimal("-0.35"),
            fee=Decimal(0),
            swap=Decimal(0),
            profit=Decimal(0) if opens else Decimal("12.30"),
            magic=7,
        )

    def save_each(self, times: int) -> float:
        """Return the milliseconds of recording and saving one fill."""
        took = []
        for _ in range(times):
            start = time.perf_counter()
            self._record()
            self._application.save(self._book)
            took.append(time.perf_counter() - start)
        return statistics.median(took) * 1000

    def fill_up(self, events: int) -> None:
        """Record so many fills."""
        while self._deal < events:
            for _ in range(min(1000, events - self._deal)):
                self._record()
            self._application.save(self._book)

    def replay(self) -> float:
        """Return how many events a second are replayed to the present book."""
        start = time.perf_counter()
        book: Any = self._application.repository.get(self._book.id)
        took = time.perf_counter() - start
        if book.balance != self._book.balance:
            raise SystemExit("eventsourcing replayed something else than was recorded")
        return (self._deal + 1) / took
