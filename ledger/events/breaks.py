"""Disagreements with the broker as they are tracked: opened, seen again, closed."""

from __future__ import annotations

from enum import Enum

import attrs
from attrs.converters import optional

from ledger.events.fields import to_count, to_text_or_none, to_ticket_or_none, to_time_msc, to_version
from ledger.events.orders import to_client_id
from ledger.values import to_word


class BreakKind(Enum):
    """What a disagreement is about."""

    ZOMBIE = "zombie"
    GHOST = "ghost"
    DRIFT = "drift"
    BALANCE = "balance"
    CLOCK = "clock"
    #: The broker no longer lists a deal although its history covers it.
    WITHDRAWN = "withdrawn"
    #: An order and the broker's record of it do not agree: ``field`` names what.
    ORDER = "order"
    #: A position does not have the stops that were asked for.
    STOPS = "stops"
    #: A correction was applied at once, and no second person has confirmed it yet. It is not in the way of trading.
    APPROVAL = "approval"


class BreakEnd(Enum):
    """How a disagreement ended."""

    CORRECTED = "corrected"
    EXPLAINED = "explained"
    VANISHED = "vanished"
    ACCEPTED = "accepted"


def _break_kind(value: BreakKind | str) -> BreakKind:
    return to_word(value, BreakKind)


def _break_end(value: BreakEnd | str) -> BreakEnd:
    return to_word(value, BreakEnd)


@attrs.frozen(kw_only=True)
class BreakOpened:
    """A disagreement was first seen, or seen again. ``ours`` and ``theirs`` as they would be shown.

    Where ``caused_by`` is the version of an open break of the same kind, position and order, this is that break seen again:
    ``confirmations`` counts the snapshots that showed it, ``attempts`` the corrections that did not help. ``flaps`` is set
    where the same position came to disagree too often: how often, within the policy's window. Such a break stays open.
    ``deal_msc`` is the broker time of the deal that it is about, ``order`` the broker's ticket of an order, ``client_id`` that
    of ours.
    """

    kind: BreakKind = attrs.field(converter=_break_kind)
    time_msc: int = attrs.field(converter=to_time_msc)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    symbol: str | None = attrs.field(converter=to_text_or_none, default=None)
    deal: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    field: str | None = attrs.field(converter=to_text_or_none, default=None)
    ours: str | None = attrs.field(converter=to_text_or_none, default=None)
    theirs: str | None = attrs.field(converter=to_text_or_none, default=None)
    why: str | None = attrs.field(converter=to_text_or_none, default=None)
    confirmations: int = attrs.field(converter=to_count, default=1)
    attempts: int = attrs.field(converter=to_count, default=0)
    flaps: int | None = attrs.field(converter=optional(to_count), default=None)
    deal_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    order: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    client_id: str | None = attrs.field(converter=optional(to_client_id), default=None)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class BreakClosed:
    """A disagreement ended. ``caused_by`` is the version that opened it."""

    kind: BreakKind = attrs.field(converter=_break_kind)
    end: BreakEnd = attrs.field(converter=_break_end)
    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int = attrs.field(converter=to_version)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    order: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    client_id: str | None = attrs.field(converter=optional(to_client_id), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)
