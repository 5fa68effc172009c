"""The loss of a day: from when and from what it counts. The one rule of the order limits and of monitors. Pure."""

from __future__ import annotations

from decimal import Decimal

import attrs

from ledger.clock import DAY_MSC, MINUTE_MSC, ClockRule
from ledger.orders.limit_values import SERVER, Amount, DayBase
from ledger.terms import AccountTerms


@attrs.frozen(kw_only=True)
class DayLoss:
    """What is lost of what a day began with. ``lost`` is below 0 for a gain. Amounts are in account currency."""

    base: Decimal
    lost: Decimal
    allowed: Decimal

    @property
    def is_too_much(self) -> bool:
        """Whether more is lost than is allowed: exactly as much is not."""
        return self.lost > self.allowed


def loss_of_day(
    most: Amount, counted_from: DayBase, *, balance: Decimal, floating: Decimal | None, worth: Decimal
) -> DayLoss | None:
    """Return what is lost of what a day began with; None where that needs a floating result that is not known.

    Args:
        most: What may be lost.
        counted_from: What the loss counts from.
        balance: What the account had when the day began, without floating results.
        floating: The floating result at that moment.
        worth: Balance and floating results now, without what was paid in or out since.
    """
    if counted_from is DayBase.BALANCE:
        base = balance
    elif floating is None:
        return None
    else:
        base = balance + floating if counted_from is DayBase.EQUITY else max(balance, balance + floating)
    return DayLoss(base=base, lost=base - worth, allowed=most.of(base))


def day_span_utc_msc(day: str, day_start: str, terms: AccountTerms, now_utc_msc: int) -> tuple[int, int]:
    """Return when the day of a moment begins and ends (exclusive), in UTC.

    Args:
        day: Whose days: ``server`` for the server's clock, or a zone.
        day_start: When they begin there (``17:00``).
        terms: Of the account.
        now_utc_msc: The moment.
    """
    clock = terms.clock if day == SERVER else ClockRule(day)
    hours, minutes = map(int, day_start.split(":"))
    offset_msc = (hours * 60 + minutes) * MINUTE_MSC
    wall_msc = clock.from_utc_msc(now_utc_msc) - offset_msc
    begin_msc = wall_msc - wall_msc % DAY_MSC + offset_msc
    return clock.to_utc_msc(begin_msc), clock.to_utc_msc(begin_msc + DAY_MSC)
