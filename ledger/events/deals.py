"""The broker's deals: fills, cash movements, and what was learned about one later."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import attrs
from attrs.converters import optional

from ledger.clock import SECOND_MSC, TIME_MAX_MSC
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
from ledger.mt5 import deal_type_of, to_row
from ledger.values import CASH_WORDS, TRADES, Entry, Side, exact, shown, to_entry, to_magic, to_side, to_whole, to_word

#: So begins the correlation of all that an import records; the digest of its files follows.
IMPORT_CORRELATION: Final = "import:"


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

    @staticmethod
    def from_deal(deal: object, *, origin: Origin = Origin.ENGINE) -> Deal:
        """Return the event of a deal as the ``MetaTrader5`` module returns it: a cash movement where its type does not trade.

        ```python
        account.record_many([FillRecorded.from_deal(deal) for deal in MetaTrader5.history_deals_get(begin, end)])
        ```

        Args:
            deal: A record of ``history_deals_get``, a proxy of one, or a dict of its fields.
            origin: Who reports it.

        Raises:
            BadValue: It is none, or a field is missing or cannot be; InexactNumber for a number.
        """
        return deal_of_record(deal, origin=origin)

    @staticmethod
    def from_order_result(
        result: object, request: object = None, *, time_msc: int, entry: Entry | str | int | None = None
    ) -> FillRecorded:
        """Return the fill that the result of ``order_send`` reports, as far as it does: without money, reason and comment.

        A result states no time, so the time of the symbol's tick goes with it. Where the deal itself is available, prefer
        ``from_deal``: it has everything. What the deal turns out to be otherwise (another second, a fill in parts) is
        recorded as a revision by the next sync.

        Args:
            result: What ``order_send`` returned.
            request: The request, where the result does not carry it.
            time_msc: Broker server time: ``MetaTrader5.symbol_info_tick(symbol).time_msc``.
            entry: What the deal does to its position. Without it: out where the request names a position, else in. On an
                account that nets, name it.

        Raises:
            BadValue: It is no fill (no deal, no price, two deals of a close by), or no result.
        """
        return fill_of_result(result, request, time_msc=time_msc, entry=entry)


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

    @staticmethod
    def from_deal(deal: object, *, origin: Origin = Origin.ENGINE) -> Deal:
        """Return the event of a deal as the module returns it: the same as ``FillRecorded.from_deal``."""
        return deal_of_record(deal, origin=origin)

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


#: Fields of a deal that have the same name in MetaTrader 5 and here.
_SAME_NAMES: Final = (
    "symbol", "entry", "volume", "price", "order", "position_id", "commission", "fee", "swap", "profit", "magic", "reason",
    "comment", "external_id",
)  # fmt: skip
#: What a fill, and what a cash movement cannot do without.
_NEEDED: Final = {True: ("symbol", "entry", "volume", "price"), False: ("profit",)}


def deal_of_record(record: object, *, origin: Origin = Origin.ENGINE) -> Deal:
    """Return the event of a deal as the ``MetaTrader5`` module returns it. See ``FillRecorded.from_deal``."""
    row = to_row(record)
    ticket = _needed(row, "ticket", "a deal")
    code, word = deal_type_of(_needed(row, "type", f"deal {ticket}"))
    deal_type = None if code is None else to_code(code)
    for name in _NEEDED[deal_type in TRADES]:
        _needed(row, name, f"deal {ticket}")
    fields = {name: row[name] for name in _SAME_NAMES if row.get(name) is not None}
    return make_deal(deal_type, word, {**fields, "deal": ticket, "time_msc": _time_msc(row, ticket), "origin": origin})


def fill_of_result(result: object, request: object = None, *, time_msc: int, entry: Entry | str | int | None) -> FillRecorded:
    """Return the fill that the result of ``order_send`` reports. See ``FillRecorded.from_order_result``."""
    if result is None:
        raise BadValue("order_send returned None, which is an error: look at last_error(); whether it was sent is in its code")
    row = to_row(result)
    retcode, deal, order = (row.get(name) for name in ("retcode", "deal", "order"))
    if not deal or not row.get("price") or not row.get("volume"):
        raise BadValue(
            f"order_send returned retcode {shown(retcode)} for order {shown(order)} without a deal, its price or its volume: "
            "that is no fill. Deals come later, or not at all: record them with FillRecorded.from_deal from history_deals_get"
        )
    asked = to_row(row.get("request") if request is None else request)
    kind, position = _needed(asked, "type", "the request"), asked.get("position")
    if kind not in TRADES:
        raise BadValue(
            f"expected a request to buy or sell at market (type 0 or 1), found type {shown(kind)}: record its deals with "
            "FillRecorded.from_deal; a close by has two"
        )
    return FillRecorded(
        deal=deal,
        symbol=_needed(asked, "symbol", "the request"),
        side=kind,
        entry=entry if entry is not None else Entry.OUT if position else Entry.IN,
        volume=row["volume"],
        price=row["price"],
        time_msc=time_msc,
        order=order,
        position_id=position,
        magic=asked.get("magic"),
    )


def _needed(row: Mapping[str, Any], name: str, what: str) -> Any:
    value = row.get(name)
    if value is None:
        raise BadValue(f"expected {what} with the field {name}, found none. Pass the record as the module returns it")
    return value


def _time_msc(row: Mapping[str, Any], ticket: object) -> Any:
    """Return the server time of a deal in milliseconds, of its seconds where it has nothing else."""
    if row.get("time_msc"):
        return row["time_msc"]
    return (
        to_whole(_needed(row, "time", f"deal {shown(ticket)}"), 0, TIME_MAX_MSC // SECOND_MSC, "a time in seconds") * SECOND_MSC
    )


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
