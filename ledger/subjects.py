"""Which symbol and which magic number an event is about: its own, else those of the event that it belongs to.

A completion, a revision, the end of a break or the answer to an order names what it belongs to instead of repeating it; that is
looked up in the journal, one event at a time, so that a reader's memory does not grow.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from ledger.events import BreakNoted, CorrectionDecided, DealRevised, Recorded, TradingHalted, TradingResumed
from ledger.events.orders import HaltScope
from ledger.service import Account
from ledger.values import unsigned_magic

#: A symbol and a magic number as the terminal shows it, each None where the event names none.
Subject = tuple[str | None, int | None]

#: What names no position, and is about that of the event that it names.
BY_CAUSE: Final = (BreakNoted, CorrectionDecided)
_NOTHING: Final[Subject] = None, None
_REMEMBERED: Final = 4096
_FURTHEST: Final = 20  # events from one to the next that it belongs to


class Subjects:
    """Finds what the events of one account are about."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._of_version = lru_cache(_REMEMBERED)(self._look_up)
        self._position_of_version = lru_cache(_REMEMBERED)(self._look_up_position)
        self._of_order = lru_cache(_REMEMBERED)(self._look_up_order)

    def of(self, recorded: Recorded) -> Subject:
        """Return what an event is about."""
        return self._of(recorded.event, 0)

    def position_of(self, event: Any) -> int | None:
        """Return the position that an event is about: its own, of a decision or a note that of what it is about."""
        found: int | None = getattr(getattr(event, "now", event), "position_id", None)
        return self._position_of_version(event.caused_by) if isinstance(event, BY_CAUSE) else found

    def _look_up_position(self, version: int) -> int | None:
        found = next(self._account.events(after=version - 1, upto=version), None)
        return None if found is None else self.position_of(found.event)

    def _of(self, event: Any, depth: int) -> Subject:
        symbol, magic = _own(event.now if isinstance(event, DealRevised) else event)
        caused_by: int | None = getattr(event, "caused_by", None)
        if caused_by is not None and None in (symbol, magic) and depth < _FURTHEST:
            symbol, magic = _filled((symbol, magic), self._of_version(caused_by, depth + 1))
        client_id: str | None = getattr(event, "client_id", None)
        if client_id is not None and None in (symbol, magic) and depth == 0:
            symbol, magic = _filled((symbol, magic), self._of_order(client_id))
        return symbol, magic

    def _look_up(self, version: int, depth: int) -> Subject:
        found = next(self._account.events(after=version - 1, upto=version), None)
        return _NOTHING if found is None else self._of(found.event, depth)

    def _look_up_order(self, client_id: str) -> Subject:
        """Return what the order with a client id was intended for."""
        journal, version = self._account.ledger.journal, self._account.version
        first = next(
            (row for rows in journal.order_events(self._account.name, version, client_id=client_id) for row in rows), None
        )
        return _NOTHING if first is None else self._of_version(int(first[2]), 1)


def _own(event: Any) -> Subject:
    """Return what an event itself names, also in the position that it is about."""
    if isinstance(event, (TradingHalted, TradingResumed)):
        return (event.name if event.scope is HaltScope.SYMBOL else None), None
    states = [getattr(event, name, None) for name in ("after", "before", "position")]
    magics = [getattr(one, "magic", None) for one in (event, *states)]
    return getattr(event, "symbol", None), unsigned_magic(next((one for one in magics if one is not None), None))


def _filled(known: Subject, other: Subject) -> Subject:
    return (other[0] if known[0] is None else known[0]), (other[1] if known[1] is None else known[1])
