"""Marks: what an account was worth at a moment, as a sync saw it. Samples, never events: nothing is folded from them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from attrs import frozen

from ledger.errors import InexactNumber
from ledger.values import scaled, unscaled

#: The amounts of a mark, in the order of their columns.
AMOUNTS: Final = ("balance", "credit", "floating", "equity", "margin")
_SCALE_MAX: Final = 18
#: So many days a mark is there, where nobody sets another number.
KEEP_DAYS: Final = 30
#: A day that is not over yet can have begun two days ago. No date is further away than the last.
KEEP_DAYS_MIN: Final = 2
KEEP_DAYS_MAX: Final = 36_500


@frozen(kw_only=True)
class Mark:
    """What the broker showed of an account with a trusted snapshot, in account currency; None for what it did not show.

    ``at_us`` is the moment of the sample in UTC microseconds, ``server_msc`` the broker's clock then. ``floating`` is the
    result of the open positions. ``is_equity_reported`` states whether the broker reported the equity, or it was computed.
    """

    at_us: int
    server_msc: int | None = None
    balance: Decimal | None = None
    credit: Decimal | None = None
    floating: Decimal | None = None
    equity: Decimal | None = None
    margin: Decimal | None = None
    is_equity_reported: bool = False


class MarkColumns(NamedTuple):
    """A mark as it is stored: amounts as integers with ``scale`` decimals."""

    at_us: int
    server_msc: int | None
    scale: int
    balance: int | None
    credit: int | None
    floating: int | None
    equity: int | None
    margin: int | None
    is_equity_reported: int


def to_columns(mark: Mark) -> MarkColumns:
    """Return a mark as it is stored.

    Raises:
        InexactNumber: An amount does not fit, however many decimals it is given.
    """
    amounts = {name: getattr(mark, name) for name in AMOUNTS}
    scale = max((_decimals(name, amount) for name, amount in amounts.items() if amount is not None), default=0)
    units = {name: None if amount is None else scaled(amount, scale, name) for name, amount in amounts.items()}
    return MarkColumns(
        at_us=mark.at_us, server_msc=mark.server_msc, scale=scale, is_equity_reported=int(mark.is_equity_reported), **units
    )


def from_columns(columns: MarkColumns) -> Mark:
    """Return the mark that is stored."""
    units = {name: getattr(columns, name) for name in AMOUNTS}
    return Mark(
        at_us=columns.at_us,
        server_msc=columns.server_msc,
        is_equity_reported=bool(columns.is_equity_reported),
        **{name: None if one is None else unscaled(one, columns.scale) for name, one in units.items()},
    )


def _decimals(name: str, amount: Decimal) -> int:
    exponent = amount.normalize().as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_SCALE_MAX:
        raise InexactNumber(f"{name}: expected at most {_SCALE_MAX} decimals, found {amount}")
    return max(0, -exponent)
