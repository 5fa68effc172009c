"""What a snapshot showed of positions and money: the corrections that follow from it, and the balance as it was stated."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs
from attrs.converters import optional

from ledger.errors import BadValue
from ledger.events.fields import (
    to_deals_through,
    to_positive,
    to_symbol,
    to_text_or_none,
    to_ticket,
    to_ticket_or_none,
    to_time_msc,
    to_true_or_none,
    to_version,
)
from ledger.values import Side, exact, shown, to_magic, to_side


@attrs.frozen(kw_only=True)
class PositionState:
    """A position as somebody saw it. Lots, price, broker server clock.

    ``updated_msc`` is when the broker last changed it: with it, the same state seen again later is another sight.
    """

    position_id: int = attrs.field(converter=to_ticket)
    symbol: str = attrs.field(converter=to_symbol)
    side: Side = attrs.field(converter=to_side)
    volume: Decimal = attrs.field(converter=to_positive)
    price_open: Decimal = attrs.field(converter=exact)
    ticket: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    opened_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    comment: str | None = attrs.field(converter=to_text_or_none, default=None)
    updated_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)


def to_state(value: PositionState | Mapping[str, Any]) -> PositionState:
    """Return the state of a position, also of its fields by name."""
    if isinstance(value, PositionState):
        return value
    if not isinstance(value, Mapping):
        raise BadValue(f"expected a PositionState or its fields, found {shown(value)} ({type(value).__name__})")
    try:
        return PositionState(**value)
    except TypeError as error:  # a field is missing, or none of a position
        raise BadValue(f"expected the fields of a PositionState, found {shown(value)}: {error}") from None


@attrs.frozen(kw_only=True)
class PositionRecovered:
    """A zombie was adopted: the broker had a position that the ledger did not know.

    Contains the deals of the position up to its last change at the broker: ``updated_msc`` (broker time) by the deal
    ``updated_deal``, as far as the gateway reported them. Without them the time of the snapshot decides.
    """

    position: PositionState = attrs.field(converter=to_state)
    time_msc: int = attrs.field(converter=to_time_msc)
    updated_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    updated_deal: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)

    @property
    def position_id(self) -> int:
        """Id of the position that this is about."""
        return self.position.position_id

    @property
    def symbol(self) -> str:
        """Symbol of the position that this is about."""
        return self.position.symbol


@attrs.frozen(kw_only=True)
class GhostClosed:
    """A position of ours is gone at the broker and no closing deal was found. ``before`` is what we had.

    Contains every closing deal of the position, whatever its time, until a deal opens the position again.
    """

    before: PositionState = attrs.field(converter=to_state)
    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)

    @property
    def position_id(self) -> int:
        """Id of the position that this is about."""
        return self.before.position_id

    @property
    def symbol(self) -> str:
        """Symbol of the position that this is about."""
        return self.before.symbol


@attrs.frozen(kw_only=True)
class DriftCorrected:
    """A position of both sides differed; ``after`` is the broker's. Contains deals as ``PositionRecovered`` does."""

    before: PositionState = attrs.field(converter=to_state)
    after: PositionState = attrs.field(converter=to_state)
    time_msc: int = attrs.field(converter=to_time_msc)
    updated_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    updated_deal: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)

    @property
    def position_id(self) -> int:
        """Id of the position that this is about."""
        return self.after.position_id

    @property
    def symbol(self) -> str:
        """Symbol of the position that this is about."""
        return self.after.symbol


@attrs.frozen(kw_only=True)
class PositionReticketed:
    """The same position got a new ticket: swap re-opening, split, netting reversal."""

    position_id: int = attrs.field(converter=to_ticket)
    symbol: str = attrs.field(converter=to_symbol)
    ticket_before: int = attrs.field(converter=to_ticket)
    ticket_after: int = attrs.field(converter=to_ticket)
    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class BalanceAsserted:
    """The broker stated balance and credit at a time.

    Where the history before it is not complete it sets the balance; where it is complete it is only checked.

    ``credit`` is None where the broker reported only the sum of both (a report's Balance column); ``balance`` is then that
    sum. ``complete_until_msc`` states that every deal after this one's time up to that server time is recorded.

    ``deals_through`` is the highest deal ticket that the broker had reported when it stated the balance (0: it reported that
    there is none), ``deals_through_msc`` the broker time of that deal: deals up to it are contained, later ones are not.
    ``complete`` states that all of them were known and added up to the balance: then nothing is set, so that what is later
    revised or reported late counts.
    """

    balance: Decimal = attrs.field(converter=exact)
    time_msc: int = attrs.field(converter=to_time_msc)
    credit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    complete_until_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    deals_through: int | None = attrs.field(converter=optional(to_deals_through), default=None)
    deals_through_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    complete: bool | None = attrs.field(converter=to_true_or_none, default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)
