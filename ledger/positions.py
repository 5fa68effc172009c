"""Positions while the fold holds them, in scaled integers, and the rules of what a deal or an assertion does to one.

The open price is a fraction, ``cost / cost_volume``: the volume-weighted average over what opened the position. Reducing
leaves the fraction alone, adding extends it. It is exact unless volume is added after a partial close that does not
divide it; then what is left of the cost is rounded once, half to even, to one unit of price scale times volume scale
(1e-16 at the default scales, far below what any broker shows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: What a position rests on.
BASIS_FILLS: Final = "fills"
BASIS_RECOVERY: Final = "recovery"
BASIS_CORRECTION: Final = "correction"
BASIS_ADJUSTMENT: Final = "adjustment"


def divided(numerator: int, denominator: int) -> int:
    """Divide integers, rounding half to even. The denominator is positive."""
    quotient, rest = divmod(numerator, denominator)
    twice = rest * 2
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))


class OpenPosition:
    """One life of a position so far. Volume is unsigned in lots, ``side`` is MT5's code: 0 buy, 1 sell.

    ``volume_in``, ``cost_in``, ``volume_out`` and ``cost_out`` are the totals of what opened and closed it, for the trade's
    average prices. What is not known of it: ``is_opening_known`` is False where only closes are recorded and no opening;
    ``is_id_known`` is False where its opening order names it until its id is recorded; ``volume_unexplained`` is what was
    closed without a deal and ``is_money_known`` is False where a deal's money is incomplete, so that the result is not known.
    """

    __slots__ = (
        "basis",
        "closed_msc",
        "comment",
        "commission",
        "cost",
        "cost_in",
        "cost_out",
        "cost_volume",
        "fee",
        "is_id_known",
        "is_money_known",
        "is_opening_known",
        "magic",
        "opened_msc",
        "position_id",
        "profit",
        "side",
        "swap",
        "symbol",
        "ticket",
        "volume",
        "volume_in",
        "volume_out",
        "volume_unexplained",
    )

    def __init__(
        self,
        position_id: int | None,
        symbol: str,
        side: int,
        volume: int,
        price: int,
        opened_msc: int,
        magic: int | None,
        commission: int = 0,
        fee: int = 0,
        swap: int = 0,
        profit: int = 0,
    ) -> None:
        self.position_id = self.ticket = position_id
        self.symbol = symbol
        self.side = side
        self.volume = self.cost_volume = self.volume_in = volume
        self.cost = self.cost_in = volume * price
        self.volume_out = self.cost_out = self.volume_unexplained = 0
        self.opened_msc = opened_msc
        self.closed_msc = 0
        self.magic = magic
        self.comment: str | None = None
        self.commission = commission
        self.fee = fee
        self.swap = swap
        self.profit = profit
        self.is_money_known = True
        self.is_id_known = True
        self.is_opening_known = True
        self.basis = BASIS_FILLS

    @property
    def key(self) -> int:
        """Its id. Every position has one that was opened; closes without a recorded opening may have none."""
        assert self.position_id is not None, "an open position has an id"
        return self.position_id

    def add(self, volume: int, price: int, commission: int, fee: int, swap: int, profit: int) -> None:
        """Open more of it and count the deal's money."""
        if self.volume != self.cost_volume:
            self.cost = divided(self.cost * self.volume, self.cost_volume)
            self.cost_volume = self.volume
        cost = volume * price
        self.volume += volume
        self.cost_volume += volume
        self.cost += cost
        self.volume_in += volume
        self.cost_in += cost
        self.commission += commission
        self.fee += fee
        self.swap += swap
        self.profit += profit

    def reduce(self, volume: int, price: int, commission: int, fee: int, swap: int, profit: int) -> None:
        """Close part of it, or all, and count the deal's money. The open price stays."""
        self.volume -= volume
        self.volume_out += volume
        self.cost_out += volume * price
        self.commission += commission
        self.fee += fee
        self.swap += swap
        self.profit += profit

    def lose(self, volume: int) -> None:
        """Remove volume that was closed without a recorded deal."""
        self.volume -= volume
        self.volume_unexplained += volume

    def assert_open(self, volume: int, price: int) -> None:
        """Set volume and open price to what the broker showed."""
        if volume > self.volume:
            self.volume_in += volume - self.volume
            self.cost_in += (volume - self.volume) * price
        self.volume = self.cost_volume = volume
        self.cost = volume * price

    def rescale(self, volume_factor: int, price_factor: int) -> None:
        """Keep volumes and prices with finer scales."""
        both = volume_factor * price_factor
        for name in ("volume", "cost_volume", "volume_in", "volume_out", "volume_unexplained"):
            setattr(self, name, getattr(self, name) * volume_factor)
        for name in ("cost", "cost_in", "cost_out"):
            setattr(self, name, getattr(self, name) * both)

    def price_open(self) -> int:
        """Return the open price rounded to the price scale, half to even."""
        return divided(self.cost, self.cost_volume)

    def fields(self) -> list[int | str | bool | None]:
        """Return all that is known of it, in the order of its fields."""
        return [getattr(self, name) for name in OpenPosition.__slots__]

    @classmethod
    def of_fields(cls, fields: Sequence[int | str | bool | None]) -> OpenPosition:
        """Return the position of such ``fields``.

        Raises:
            ValueError: They are not as many.
        """
        position = OpenPosition.__new__(OpenPosition)
        for name, value in zip(OpenPosition.__slots__, fields, strict=True):
            setattr(position, name, value)
        return position

    def copy(self) -> OpenPosition:
        """Return an independent copy. Written out: a portfolio is copied whenever something is tried on it."""
        twin = OpenPosition.__new__(OpenPosition)
        twin.basis = self.basis
        twin.closed_msc = self.closed_msc
        twin.comment = self.comment
        twin.commission = self.commission
        twin.cost = self.cost
        twin.cost_in = self.cost_in
        twin.cost_out = self.cost_out
        twin.cost_volume = self.cost_volume
        twin.fee = self.fee
        twin.is_id_known = self.is_id_known
        twin.magic = self.magic
        twin.is_money_known = self.is_money_known
        twin.opened_msc = self.opened_msc
        twin.is_opening_known = self.is_opening_known
        twin.position_id = self.position_id
        twin.profit = self.profit
        twin.side = self.side
        twin.swap = self.swap
        twin.symbol = self.symbol
        twin.ticket = self.ticket
        twin.volume = self.volume
        twin.volume_in = self.volume_in
        twin.volume_out = self.volume_out
        twin.volume_unexplained = self.volume_unexplained
        return twin
