"""What people decided: adjustments, and whether an answer has to state the account."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs
from attrs.converters import optional

from ledger.clock import ClockRule, to_clock
from ledger.errors import BadValue
from ledger.events.account import DealOrder, to_deal_order
from ledger.events.corrections import PositionState, to_state
from ledger.events.fields import to_operator, to_reason, to_symbol, to_ticket_or_none, to_time_msc, to_unsigned, to_version
from ledger.values import exact


@attrs.frozen(kw_only=True)
class IdentityRelaxed:
    """A person allowed answers that state no identity. It applies until a person requires the identity again."""

    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)


@attrs.frozen(kw_only=True)
class IdentityRequired:
    """A person required that every answer states login and server: again, or before any answer did."""

    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)


@attrs.frozen(kw_only=True)
class AcceptedResult:
    """What of a position stays unexplained for good: a ghost result, or closes without an opening. Volume in lots.

    ``position_id`` is None where the deals did not state it.
    """

    symbol: str = attrs.field(converter=to_symbol)
    volume: Decimal = attrs.field(converter=to_unsigned)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)


def _accepted(value: AcceptedResult | Mapping[str, Any]) -> AcceptedResult:
    return value if isinstance(value, AcceptedResult) else AcceptedResult(**value)


@attrs.frozen(kw_only=True)
class Adjusted:
    """A person corrected something: a position, money, the clock rule or the order of deals. Each comes as before and after.

    ``before`` and ``after`` are a position (None: there is none). Money moves by the difference of its two figures.
    ``deal`` is the ticket of a deal whose withdrawal the person recorded; the DealRevised with version ``caused_by`` states as
    what it counts now. ``accepted`` is what the person does not expect to be explained any more.
    ``decision`` is the version of the CorrectionDecided that allowed it, where the policy asks for a second person.
    """

    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    before: PositionState | None = attrs.field(converter=optional(to_state), default=None)
    after: PositionState | None = attrs.field(converter=optional(to_state), default=None)
    balance_before: Decimal | None = attrs.field(converter=optional(exact), default=None)
    balance_after: Decimal | None = attrs.field(converter=optional(exact), default=None)
    credit_before: Decimal | None = attrs.field(converter=optional(exact), default=None)
    credit_after: Decimal | None = attrs.field(converter=optional(exact), default=None)
    clock_before: ClockRule | None = attrs.field(converter=optional(to_clock), default=None)
    clock_after: ClockRule | None = attrs.field(converter=optional(to_clock), default=None)
    order_before: DealOrder | None = attrs.field(converter=optional(to_deal_order), default=None)
    order_after: DealOrder | None = attrs.field(converter=optional(to_deal_order), default=None)
    deal: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    accepted: AcceptedResult | None = attrs.field(converter=optional(_accepted), default=None)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    decision: int | None = attrs.field(converter=optional(to_version), default=None)

    def __attrs_post_init__(self) -> None:
        for name in ("balance", "credit", "clock", "order"):
            if (getattr(self, f"{name}_before") is None) != (getattr(self, f"{name}_after") is None):
                raise BadValue(f"an adjustment states what the {name} was and what it is: one of the two is missing")

    @property
    def position_id(self) -> int | None:
        """Id of the position that this is about."""
        about = self.after or self.before or self.accepted
        return about.position_id if about else None

    @property
    def symbol(self) -> str | None:
        """Symbol of the position that this is about."""
        about = self.after or self.before or self.accepted
        return about.symbol if about else None
