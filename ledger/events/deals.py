"""The broker's deals: fills, cash movements, and what was learned about one later."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs
from attrs.converters import optional

from ledger.errors import BadValue
from ledger.events.fields import (
    to_code,
    to_positive,
    to_symbol,
    to_text_or_none,
    to_ticket,
    to_ticket_or_none,
    to_time_msc,
    to_unsigned,
    to_version,
)
from ledger.values import CASH_WORDS, TRADES, Entry, Side, exact, shown, to_entry, to_magic, to_side, to_word


class Origin(Enum):
    """Who recorded a deal."""

    ENGINE = "engine"
    IMPORT = "import"
    RECOVERY = "recovery"


def _origin(value: Origin | str) -> Origin:
    return to_word(value, Origin)


@attrs.frozen(kw_only=True)
class FillRecorded:
    """One trading deal. Volume in lots, unsigned; money in account currency, None where not known yet.

    ``position_id`` may be unknown at first; ``reason`` is the raw code of the API that reported it.
    """

    deal: int = attrs.field(converter=to_ticket)
    symbol: str = attrs.field(converter=to_symbol)
    side: Side = attrs.field(converter=to_side)
    entry: Entry | int = attrs.field(converter=to_entry)
    volume: Decimal = attrs.field(converter=to_positive)
    price: Decimal = attrs.field(converter=exact)
    time_msc: int = attrs.field(converter=to_time_msc)
    order: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    commission: Decimal | None = attrs.field(converter=optional(exact), default=None)
    fee: Decimal | None = attrs.field(converter=optional(exact), default=None)
    swap: Decimal | None = attrs.field(converter=optional(exact), default=None)
    profit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    reason: int | None = attrs.field(converter=optional(to_code), default=None)
    comment: str | None = attrs.field(converter=to_text_or_none, default=None)
    external_id: str | None = attrs.field(converter=to_text_or_none, default=None)
    origin: Origin = attrs.field(converter=_origin, default=Origin.ENGINE)


@attrs.frozen(kw_only=True)
class CashMoved:
    """One deal that is not a trade: balance, credit, charge, tax, a cancelled deal, or a type nobody documented.

    ``type`` is MT5's deal type code, ``profit`` the amount in account currency. A cancelled deal (13, 14) keeps what it
    was about in symbol, volume and price. ``word`` is the type as a report wrote it, where no code is known for it.
    """

    deal: int = attrs.field(converter=to_ticket)
    type: int | None = attrs.field(converter=optional(to_code))
    profit: Decimal = attrs.field(converter=exact)
    time_msc: int = attrs.field(converter=to_time_msc)
    word: str | None = attrs.field(converter=to_text_or_none, default=None)
    symbol: str | None = attrs.field(converter=to_text_or_none, default=None)
    entry: Entry | int | None = attrs.field(converter=optional(to_entry), default=None)
    volume: Decimal | None = attrs.field(converter=optional(to_unsigned), default=None)
    price: Decimal | None = attrs.field(converter=optional(exact), default=None)
    order: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    commission: Decimal | None = attrs.field(converter=optional(exact), default=None)
    fee: Decimal | None = attrs.field(converter=optional(exact), default=None)
    swap: Decimal | None = attrs.field(converter=optional(exact), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    reason: int | None = attrs.field(converter=optional(to_code), default=None)
    comment: str | None = attrs.field(converter=to_text_or_none, default=None)
    external_id: str | None = attrs.field(converter=to_text_or_none, default=None)
    origin: Origin = attrs.field(converter=_origin, default=Origin.ENGINE)

    def __attrs_post_init__(self) -> None:
        if self.type in TRADES:
            raise BadValue(f"deal {self.deal}: type {self.type} trades; record it as a FillRecorded")
        if self.type is None and self.word is None:
            raise BadValue(f"deal {self.deal}: a cash movement needs its type as a code or as a word")

    @property
    def kind(self) -> str:
        """The type in words; a code without a word is written as its number."""
        return cash_kind(self.type, self.word)


def cash_kind(deal_type: int | None, word: str | None) -> str:
    """Return the type of a cash movement in words: of its code, else the word that a report wrote."""
    if deal_type is None:
        return word or ""
    return CASH_WORDS.get(deal_type, f"type {deal_type}")


Deal = FillRecorded | CashMoved


def make_deal(deal_type: int | None, word: str | None, fields: Mapping[str, Any]) -> Deal:
    """Return a deal as what it is: a fill if its type trades, else a cash movement.

    Args:
        deal_type: MT5's code; None where only a word is known for it.
        word: That word.
        fields: All others of a fill or a cash movement, by name.

    Raises:
        BadValue: A field is not what it has to be; InexactNumber, and TypeError for one that is missing.
    """
    if deal_type in TRADES:
        return FillRecorded(side=deal_type, **fields)
    return CashMoved(type=deal_type, word=word, **fields)


def _deal_of(value: Deal) -> Deal:
    if not isinstance(value, (FillRecorded, CashMoved)):
        raise BadValue(f"a revision holds the deal as a FillRecorded or a CashMoved, found {shown(value)}")
    return value


@attrs.frozen(kw_only=True)
class DealCompleted:
    """What the first record of a deal did not know. Only what is newly known is set; nothing known changes.

    ``time_msc`` is the deal's own time; ``caused_by`` the version of the record that it completes.
    """

    deal: int = attrs.field(converter=to_ticket)
    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int = attrs.field(converter=to_version)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    commission: Decimal | None = attrs.field(converter=optional(exact), default=None)
    fee: Decimal | None = attrs.field(converter=optional(exact), default=None)
    swap: Decimal | None = attrs.field(converter=optional(exact), default=None)
    profit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    origin: Origin = attrs.field(converter=_origin, default=Origin.ENGINE)


@attrs.frozen(kw_only=True)
class DealRevised:
    """The broker now shows a known deal with other content: ``now`` replaces everything recorded before.

    ``caused_by`` is the version of the record that it replaces.
    """

    now: Deal = attrs.field(converter=_deal_of)
    caused_by: int = attrs.field(converter=to_version)

    @property
    def deal(self) -> int:
        """Ticket of the revised deal."""
        return self.now.deal

    @property
    def time_msc(self) -> int:
        """Broker server time of the deal as it is shown now."""
        return self.now.time_msc
