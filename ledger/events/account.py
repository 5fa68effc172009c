"""The account terms as facts: an account was opened, a symbol specified. They apply at every moment."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import attrs
from attrs.converters import optional

from ledger.clock import ClockRule, to_clock
from ledger.events.fields import to_digits, to_login, to_positive, to_server, to_symbol, to_text_or_none, to_time_msc
from ledger.values import MONEY_SCALE, PRICE_SCALE, VOLUME_SCALE, MarginMode, to_currency, to_own_margin_mode, to_word


class DealOrder(Enum):
    """What orders the deals of an account."""

    #: Whole second and ticket: tickets rise with time, as on every live account.
    TICKET = "ticket"
    #: Time and ticket: tickets do not rise with time, as in tester reports or after a move to another server.
    TIME = "time"


def to_deal_order(value: DealOrder | str) -> DealOrder:
    """Return what orders deals, by its name."""
    return to_word(value, DealOrder)


def _order_or_none(value: DealOrder | str | None) -> DealOrder | None:
    order = None if value is None else to_deal_order(value)
    return None if order is DealOrder.TICKET else order


@attrs.frozen(kw_only=True)
class AccountOpened:
    """An account was named. The first event of every account; every other one is read with it.

    ``currency_digits`` is how many decimals money is shown with, ``money_scale`` how many are stored. ``order`` is None where
    it is by ticket.
    """

    server: str = attrs.field(converter=to_server)
    login: int = attrs.field(converter=to_login)
    currency: str = attrs.field(converter=to_currency)
    currency_digits: int = attrs.field(converter=to_digits)
    mode: MarginMode = attrs.field(converter=to_own_margin_mode)
    clock: ClockRule = attrs.field(converter=to_clock)
    time_msc: int = attrs.field(converter=to_time_msc)
    money_scale: int = attrs.field(converter=to_digits)
    order: DealOrder | None = attrs.field(converter=_order_or_none, default=None)

    @money_scale.default
    def _money_scale_of_currency(self) -> int:
        return max(MONEY_SCALE, self.currency_digits)


@attrs.frozen(kw_only=True)
class SymbolSpecified:
    """The broker's specification of a symbol. The scales of a symbol cannot change once something was recorded with them."""

    symbol: str = attrs.field(converter=to_symbol)
    time_msc: int = attrs.field(converter=to_time_msc)
    digits: int | None = attrs.field(converter=optional(to_digits), default=None)
    volume_step: Decimal | None = attrs.field(converter=optional(to_positive), default=None)
    contract_size: Decimal | None = attrs.field(converter=optional(to_positive), default=None)
    currency: str | None = attrs.field(converter=to_text_or_none, default=None)
    price_scale: int = attrs.field(converter=to_digits, default=PRICE_SCALE)
    volume_scale: int = attrs.field(converter=to_digits, default=VOLUME_SCALE)
