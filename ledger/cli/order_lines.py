"""An order for people: in lines of 80 columns, which several commands show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from ledger.clock import ClockRule, utc_text
from ledger.text import visible
from ledger.values import plain

if TYPE_CHECKING:
    from ledger.orders.view import Order

_WIDTH: Final = 80
INDENT: Final = "  "


def order_lines(order: Order, clock: ClockRule) -> Iterator[str]:
    """Yield an order as lines of 80 columns: what and how it is, then since when, why and what else is known."""
    from ledger.orders.states import WITHOUT_FILLS

    name = order.client_id or f"ticket {order.ticket}"
    yield from folded([name, order.state.value.upper(), asked(order)], "  ")
    details = [f"since {_utc(clock, order.since_msc)} UTC", order.why]
    if order.is_unknown and not order.filled:
        details += [] if order.kind in WITHOUT_FILLS else ["fills not known"]
    else:
        details += [f"filled {filled(order)}"] if order.volume is not None or order.filled else []
    details += [f"ticket {', '.join(map(str, order.tickets))}" if order.tickets else "no ticket"]
    details += [f"strategy {order.strategy}"] if order.strategy else []
    details += [f"token {order.token}"] if order.token else ["not ours"] if order.client_id is None else []
    yield from (f"{INDENT}{line}" for line in folded(details, ", ", _WIDTH - len(INDENT)))


def folded(parts: Iterable[str], between: str, width: int = _WIDTH) -> Iterator[str]:
    """Join parts to lines; a part that is longer than a line is broken."""
    line = ""
    for part in map(visible, parts):
        if line and len(line) + len(between) + len(part) > width:
            yield line + between.rstrip()
            line = ""
        line = f"{line}{between}{part}" if line else part
        *full, line = wrap(line, width) or [""]
        yield from full
    yield line


def asked(order: Order) -> str:
    """Return what an order asks for."""
    volume = None if order.volume is None else plain(order.volume)
    words = (order.kind.value.replace("_", " "), order.side and order.side.value, volume, order.symbol)
    about = f"position {order.position_id}" if order.position_id else ""
    return " ".join(str(one) for one in (*words, about) if one)


def filled(order: Order) -> str:
    """Return how much of an order is filled: of an unknown one, 0 would be read as an answer."""
    if order.is_unknown:
        return f"{plain(order.filled)} at least" if order.filled else "not known"
    whole = "" if order.volume is None else f" of {plain(order.volume)}"
    return f"{plain(order.filled)}{whole}"


def _utc(clock: ClockRule, time_msc: int) -> str:
    return utc_text(clock.to_utc_msc(time_msc // 1000 * 1000)).removesuffix("Z").replace("T", " ")
