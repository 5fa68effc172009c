"""How many events of each kind an account has, and how its breaks began and ended: counted, not folded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from ledger.errors import CorruptEvent
from ledger.events import BreakClosed, BreakOpened

#: The kinds of which more is counted than that they are there.
BREAK_KINDS: Final = (BreakOpened.__name__, BreakClosed.__name__)


@frozen(kw_only=True)
class Tally:
    """How many events there are.

    Attributes:
        kinds: Kind -> events.
        opened: Kind of a break, as it is stored -> how many were opened. One that is seen again is not opened again.
        closed: Kind of a break and how it ended, as they are stored -> how many were closed.
    """

    kinds: Mapping[str, int] = field(factory=Counter)
    opened: Mapping[str, int] = field(factory=Counter)
    closed: Mapping[tuple[str, str], int] = field(factory=Counter)

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of both."""
        return Tally(
            kinds=Counter(self.kinds) + Counter(other.kinds),
            opened=Counter(self.opened) + Counter(other.opened),
            closed=Counter(self.closed) + Counter(other.closed),
        )


def tally_of(kinds: Mapping[str, int], breaks: Iterable[tuple[str, int | None, str]]) -> Tally:
    """Return a tally.

    Args:
        kinds: Kind -> events.
        breaks: Of each event of ``BREAK_KINDS``: its kind, the version that caused it, its fields as JSON.

    Raises:
        CorruptEvent: The fields are not those of such an event.
    """
    opened: Counter[str] = Counter()
    closed: Counter[tuple[str, str]] = Counter()
    for kind, caused_by, data in breaks:
        try:
            fields = json.loads(data)
            if kind == BreakClosed.__name__:
                closed[str(fields["kind"]), str(fields["end"])] += 1
            elif caused_by is None:
                opened[str(fields["kind"])] += 1
        except (TypeError, ValueError, KeyError) as error:
            raise CorruptEvent(f"a {kind} cannot be read ({error!r}): run ledger verify") from error
    return Tally(kinds=Counter(kinds), opened=opened, closed=closed)
