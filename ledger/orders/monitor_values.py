"""Monitors: what an account may lose in a day and in all, as one value, read strictly from settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, Self

import attrs
from attrs.converters import optional

from ledger.errors import BadValue
from ledger.orders.limit_values import (
    SERVER,
    Amount,
    DayBase,
    to_day_base,
    to_flag,
    to_limit,
    to_money,
    to_percent,
    to_time_of_day,
    to_zone,
)
from ledger.values import shown, to_word

_OF_A_DAY: Final = ("daily_base", "day", "day_start")
_OF_DRAWDOWN: Final = ("drawdown", "initial_balance")
_WHOLE: Final = Amount(Decimal(100), is_percent=True)


class Drawdown(Enum):
    """From where a drawdown counts: the initial balance, the highest equity (``until-start``: no further up), or balance."""

    STATIC = "static"
    TRAILING = "trailing"
    TRAILING_BALANCE = "trailing-balance"
    TRAILING_UNTIL_START = "trailing-until-start"


def _drawdown(value: Drawdown | str) -> Drawdown:
    return to_word(value, Drawdown)


def _warn_at(value: Amount | str) -> Amount:
    found = to_percent(value)
    if found.number > _WHOLE.number:
        raise BadValue(f"expected at most 100% of what may be lost, found {found}")
    return found


@attrs.frozen(kw_only=True)
class MonitorRules:
    """What an account may lose, as ``[monitors."SERVER/LOGIN"]`` states it.

    Attributes:
        daily_loss: In a day: an amount, or percent of what the day began with.
        daily_base: What that is.
        day: Whose days: ``server``, or a zone.
        day_start: When a day begins there.
        max_drawdown: In all: an amount, or percent of the initial balance.
        drawdown: From where.
        initial_balance: The balance that the account began with; of the journal without it.
        warn_at: From which part of what may be lost on a limit is near.
        unsafe_on_breach: Whether a breach makes it unsafe to trade.

    Raises:
        BadValue: A setting is not of its unit, or belongs to a limit that is not set.
    """

    daily_loss: Amount | None = attrs.field(default=None, converter=optional(to_limit))
    daily_base: DayBase = attrs.field(default=DayBase.HIGHER, converter=to_day_base)
    day: str = attrs.field(default=SERVER, converter=to_zone)
    day_start: str = attrs.field(default="00:00", converter=to_time_of_day)
    max_drawdown: Amount | None = attrs.field(default=None, converter=optional(to_limit))
    drawdown: Drawdown = attrs.field(default=Drawdown.STATIC, converter=_drawdown)
    initial_balance: Decimal | None = attrs.field(default=None, converter=optional(to_money))
    warn_at: Amount = attrs.field(default=Amount(Decimal(80), is_percent=True), converter=_warn_at)
    unsafe_on_breach: bool = attrs.field(default=False, converter=to_flag)

    @classmethod
    def of_table(cls, table: object) -> Self:
        """Return the rules of a table of settings.

        Raises:
            BadValue: A setting is not known, is not of its unit, belongs to a limit that is not set, or no limit is set.
        """
        if not isinstance(table, Mapping):
            raise BadValue(f"expected a table of settings, found {shown(table)}")
        known = [one.name for one in attrs.fields(cls)]
        for name in table:
            if name not in known:
                near = get_close_matches(str(name), known, 1, 0.5)
                meant = f" Did you mean {near[0]}?" if near else ""
                raise BadValue(f"there is no setting {shown(name)}.{meant} There are: {', '.join(known)}")
        for name, value in table.items():
            _check(name, value)
        for limit, names in (("daily_loss", _OF_A_DAY), ("max_drawdown", _OF_DRAWDOWN)):
            idle = [name for name in names if name in table]
            if idle and limit not in table:
                raise BadValue(f"{idle[0]} is of {limit}, found none: state it, or leave {idle[0]} out")
        if "daily_loss" not in table and "max_drawdown" not in table:
            raise BadValue("expected daily_loss, max_drawdown or both, found neither: leave the table out to monitor nothing")
        return cls(**table)


def _check(name: str, value: Any) -> None:
    converter = attrs.fields_dict(MonitorRules)[name].converter
    try:
        converter(value)  # type: ignore[operator, misc]
    except BadValue as error:
        raise BadValue(f"{name}: {error}") from None
