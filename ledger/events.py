"""The facts: frozen, complete, past tense. What happened or was seen, in exact decimals and the broker's own clock.

Every event says ``time_msc``, the broker server time in milliseconds (see ``ledger.clock``). Its account, version,
recorded time, natural key and place in the hash chain are not part of the fact; they come with being recorded
(``Recorded``). ``None`` means unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import attrs
from attrs.converters import optional

from ledger.clock import TIME_MAX_MSC, ClockRule, time_hint, to_clock
from ledger.errors import BadValue
from ledger.values import (
    CASH_WORDS,
    INT64_MAX,
    MONEY_SCALE,
    PRICE_SCALE,
    VOLUME_SCALE,
    AccountId,
    Entry,
    MarginMode,
    Number,
    Side,
    exact,
    shown,
    to_currency,
    to_entry,
    to_magic,
    to_own_margin_mode,
    to_side,
    to_text,
    to_whole,
    to_word,
)

# --------------------------------------------------------------------------------------------------- checks of one field


def _login(value: int | str) -> int:
    return to_whole(value, 0, INT64_MAX, "a login")


def _ticket(value: int | str) -> int:
    return to_whole(value, 1, INT64_MAX - 1, "a ticket")  # the largest number stands for "no deal" (postings.NO_DEAL)


def _code(value: int | str) -> int:
    return to_whole(value, 0, 2**31 - 1, "a code")


def _digits(value: int) -> int:
    return to_whole(value, 0, 15, "a number of decimals")


def _time_msc(value: int) -> int:
    try:
        return to_whole(value, 0, TIME_MAX_MSC, "a broker time in milliseconds since 1970")
    except BadValue as error:
        raise BadValue(f"{error}{time_hint(value)}") from None


def _version(value: int) -> int:
    return to_whole(value, 1, INT64_MAX, "a version")


def _count(value: int) -> int:
    return to_whole(value, 0, INT64_MAX, "a count")


def _deals_through(value: int | str) -> int:
    return to_whole(value, 0, INT64_MAX - 1, "the highest deal ticket")


def _true_or_none(value: bool | None) -> bool | None:  # noqa: FBT001  # a converter
    if value is not None and not isinstance(value, bool):
        raise BadValue(f"complete is true or false, found {value!r}")
    return True if value else None


def _ticket_or_none(value: int | str | None) -> int | None:
    """MT5 writes 0 where there is no ticket."""
    if value is None or (isinstance(value, str) and value in ("", "0")):
        return None
    return to_whole(value, 0, INT64_MAX - 1, "a ticket") or None


def storable(value: str) -> str:
    """Return a text that every journal can keep.

    Raises:
        BadValue: It is no text, holds a NUL character or is not valid Unicode.
    """
    if not isinstance(value, str):
        raise BadValue(f"expected a text, found {shown(value)} ({type(value).__name__})")
    return to_text(value, "a text") if value.strip() else str(value)


def _text_or_none(value: str | None) -> str | None:
    return None if value is None else storable(value) or None


def _symbol(value: str) -> str:
    return to_text(value, "a symbol")


def _server(value: str) -> str:
    return to_text(value, "a trade server")


def _form(value: str) -> str:
    return to_text(value, "a protocol form")


def _operator(value: str) -> str:
    return to_text(value, "an operator")


def _reason(value: str) -> str:
    return to_text(value, "a reason")


def _unsigned(value: Number) -> Decimal:
    number = exact(value)
    if number < 0:
        raise BadValue(f"a volume has no sign (the side carries it), found {number}")
    return number


def _positive(value: Number) -> Decimal:
    number = exact(value)
    if number <= 0:
        raise BadValue(f"a volume is more than 0 (the side carries the sign), found {number}")
    return number


def _origin(value: Origin | str) -> Origin:
    return to_word(value, Origin)


def _order(value: DealOrder | str) -> DealOrder:
    return to_word(value, DealOrder)


def _order_or_none(value: DealOrder | str | None) -> DealOrder | None:
    order = None if value is None else _order(value)
    return None if order is DealOrder.TICKET else order


def _break_kind(value: BreakKind | str) -> BreakKind:
    return to_word(value, BreakKind)


def _break_end(value: BreakEnd | str) -> BreakEnd:
    return to_word(value, BreakEnd)


def _deal_of(value: Deal) -> Deal:
    if not isinstance(value, (FillRecorded, CashMoved)):
        raise BadValue(f"a revision holds the deal as a FillRecorded or a CashMoved, found {shown(value)}")
    return value


class Origin(Enum):
    """Who told a deal."""

    ENGINE = "engine"
    IMPORT = "import"
    RECOVERY = "recovery"


class DealOrder(Enum):
    """What orders the deals of an account."""

    #: Whole second and ticket: tickets rise with time, as on every live account.
    TICKET = "ticket"
    #: Time and ticket: tickets do not rise with time, as in tester reports or after a move to another server.
    TIME = "time"


class BreakKind(Enum):
    """What a disagreement is about."""

    ZOMBIE = "zombie"
    GHOST = "ghost"
    DRIFT = "drift"
    BALANCE = "balance"
    CLOCK = "clock"
    #: The broker no longer lists a deal although its history covers it.
    WITHDRAWN = "withdrawn"


class BreakEnd(Enum):
    """How a disagreement ended."""

    CORRECTED = "corrected"
    EXPLAINED = "explained"
    VANISHED = "vanished"
    ACCEPTED = "accepted"


# ------------------------------------------------------------------------------------------------------ standing facts


@attrs.frozen(kw_only=True)
class AccountOpened:
    """An account was named. The first event of every account; every other one is read with it.

    ``currency_digits`` is how many decimals money is shown with, ``money_scale`` how many are kept. ``order`` is None where it
    is by ticket.
    """

    server: str = attrs.field(converter=_server)
    login: int = attrs.field(converter=_login)
    currency: str = attrs.field(converter=to_currency)
    currency_digits: int = attrs.field(converter=_digits)
    mode: MarginMode = attrs.field(converter=to_own_margin_mode)
    clock: ClockRule = attrs.field(converter=to_clock)
    time_msc: int = attrs.field(converter=_time_msc)
    money_scale: int = attrs.field(converter=_digits)
    order: DealOrder | None = attrs.field(converter=_order_or_none, default=None)

    @money_scale.default
    def _money_scale_of_currency(self) -> int:
        return max(MONEY_SCALE, self.currency_digits)


@attrs.frozen(kw_only=True)
class SymbolSpecified:
    """What the broker says of a symbol. The scales of a symbol cannot change once something was recorded with them."""

    symbol: str = attrs.field(converter=_symbol)
    time_msc: int = attrs.field(converter=_time_msc)
    digits: int | None = attrs.field(converter=optional(_digits), default=None)
    volume_step: Decimal | None = attrs.field(converter=optional(_positive), default=None)
    contract_size: Decimal | None = attrs.field(converter=optional(_positive), default=None)
    currency: str | None = attrs.field(converter=_text_or_none, default=None)
    price_scale: int = attrs.field(converter=_digits, default=PRICE_SCALE)
    volume_scale: int = attrs.field(converter=_digits, default=VOLUME_SCALE)


# --------------------------------------------------------------------------------------------------------------- deals


@attrs.frozen(kw_only=True)
class FillRecorded:
    """One trading deal. Volume in lots, unsigned; money in account currency, None where not told yet.

    ``position_id`` may be unknown at first; ``reason`` is the raw code of the API that told it.
    """

    deal: int = attrs.field(converter=_ticket)
    symbol: str = attrs.field(converter=_symbol)
    side: Side = attrs.field(converter=to_side)
    entry: Entry | int = attrs.field(converter=to_entry)
    volume: Decimal = attrs.field(converter=_positive)
    price: Decimal = attrs.field(converter=exact)
    time_msc: int = attrs.field(converter=_time_msc)
    order: int | None = attrs.field(converter=_ticket_or_none, default=None)
    position_id: int | None = attrs.field(converter=_ticket_or_none, default=None)
    commission: Decimal | None = attrs.field(converter=optional(exact), default=None)
    fee: Decimal | None = attrs.field(converter=optional(exact), default=None)
    swap: Decimal | None = attrs.field(converter=optional(exact), default=None)
    profit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    reason: int | None = attrs.field(converter=optional(_code), default=None)
    comment: str | None = attrs.field(converter=_text_or_none, default=None)
    external_id: str | None = attrs.field(converter=_text_or_none, default=None)
    origin: Origin = attrs.field(converter=_origin, default=Origin.ENGINE)


@attrs.frozen(kw_only=True)
class CashMoved:
    """One deal that is not a trade: balance, credit, charge, tax, a cancelled deal, or a type nobody documented.

    ``type`` is MT5's deal type code, ``profit`` the amount in account currency. A cancelled deal (13, 14) keeps what it
    was about in symbol, volume and price. ``word`` is the type as a report wrote it, where no code is known for it.
    """

    deal: int = attrs.field(converter=_ticket)
    type: int | None = attrs.field(converter=optional(_code))
    profit: Decimal = attrs.field(converter=exact)
    time_msc: int = attrs.field(converter=_time_msc)
    word: str | None = attrs.field(converter=_text_or_none, default=None)
    symbol: str | None = attrs.field(converter=_text_or_none, default=None)
    entry: Entry | int | None = attrs.field(converter=optional(to_entry), default=None)
    volume: Decimal | None = attrs.field(converter=optional(_unsigned), default=None)
    price: Decimal | None = attrs.field(converter=optional(exact), default=None)
    order: int | None = attrs.field(converter=_ticket_or_none, default=None)
    position_id: int | None = attrs.field(converter=_ticket_or_none, default=None)
    commission: Decimal | None = attrs.field(converter=optional(exact), default=None)
    fee: Decimal | None = attrs.field(converter=optional(exact), default=None)
    swap: Decimal | None = attrs.field(converter=optional(exact), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    reason: int | None = attrs.field(converter=optional(_code), default=None)
    comment: str | None = attrs.field(converter=_text_or_none, default=None)
    external_id: str | None = attrs.field(converter=_text_or_none, default=None)
    origin: Origin = attrs.field(converter=_origin, default=Origin.ENGINE)

    def __attrs_post_init__(self) -> None:
        if self.type in (0, 1):
            raise BadValue(f"deal {self.deal}: type {self.type} trades; record it as a FillRecorded")
        if self.type is None and self.word is None:
            raise BadValue(f"deal {self.deal}: a cash movement needs its type as a code or as a word")

    @property
    def kind(self) -> str:
        """The type in words; a code without a word is written as its number."""
        if self.type is None:
            return self.word or ""
        return CASH_WORDS.get(self.type, f"type {self.type}")


Deal = FillRecorded | CashMoved


@attrs.frozen(kw_only=True)
class DealCompleted:
    """What the first telling of a deal did not know. Only what is newly told is set; nothing known changes.

    ``time_msc`` is the deal's own time; ``caused_by`` the version of the telling that it completes.
    """

    deal: int = attrs.field(converter=_ticket)
    time_msc: int = attrs.field(converter=_time_msc)
    caused_by: int = attrs.field(converter=_version)
    position_id: int | None = attrs.field(converter=_ticket_or_none, default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    commission: Decimal | None = attrs.field(converter=optional(exact), default=None)
    fee: Decimal | None = attrs.field(converter=optional(exact), default=None)
    swap: Decimal | None = attrs.field(converter=optional(exact), default=None)
    profit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    origin: Origin = attrs.field(converter=_origin, default=Origin.ENGINE)


@attrs.frozen(kw_only=True)
class DealRevised:
    """The broker now shows a known deal with other content: ``now`` takes the place of everything told before.

    ``caused_by`` is the version of the telling that it replaces.
    """

    now: Deal = attrs.field(converter=_deal_of)
    caused_by: int = attrs.field(converter=_version)

    @property
    def deal(self) -> int:
        """Ticket of the revised deal."""
        return self.now.deal

    @property
    def time_msc(self) -> int:
        """Broker server time of the deal as it is shown now."""
        return self.now.time_msc


# ---------------------------------------------------------------------------------------- what a snapshot or a person said


@attrs.frozen(kw_only=True)
class PositionState:
    """A position as somebody saw it. Lots, price, broker server clock.

    ``updated_msc`` is when the broker last changed it: with it, the same state seen again later is another sight.
    """

    position_id: int = attrs.field(converter=_ticket)
    symbol: str = attrs.field(converter=_symbol)
    side: Side = attrs.field(converter=to_side)
    volume: Decimal = attrs.field(converter=_positive)
    price_open: Decimal = attrs.field(converter=exact)
    ticket: int | None = attrs.field(converter=_ticket_or_none, default=None)
    opened_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    comment: str | None = attrs.field(converter=_text_or_none, default=None)
    updated_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)


def _state(value: PositionState | Mapping[str, Any]) -> PositionState:
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

    position: PositionState = attrs.field(converter=_state)
    time_msc: int = attrs.field(converter=_time_msc)
    updated_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)
    updated_deal: int | None = attrs.field(converter=_ticket_or_none, default=None)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)

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

    before: PositionState = attrs.field(converter=_state)
    time_msc: int = attrs.field(converter=_time_msc)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)

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

    before: PositionState = attrs.field(converter=_state)
    after: PositionState = attrs.field(converter=_state)
    time_msc: int = attrs.field(converter=_time_msc)
    updated_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)
    updated_deal: int | None = attrs.field(converter=_ticket_or_none, default=None)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)

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

    position_id: int = attrs.field(converter=_ticket)
    symbol: str = attrs.field(converter=_symbol)
    ticket_before: int = attrs.field(converter=_ticket)
    ticket_after: int = attrs.field(converter=_ticket)
    time_msc: int = attrs.field(converter=_time_msc)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class BalanceAsserted:
    """The broker stated balance and credit at a time.

    Where the history before it is not complete it sets the balance; where it is complete it is only checked.

    ``credit`` is None where the broker told only the sum of both (a report's Balance column); ``balance`` is then that
    sum. ``complete_until_msc`` says that every deal after this one's time up to that server time has been told.

    ``deals_through`` is the highest deal ticket that the broker had reported when it stated the balance (0: it reported that
    there is none), ``deals_through_msc`` the broker time of that deal: deals up to it are contained, later ones are not.
    ``complete`` says that all of them were known and added up to the balance: then nothing is set, so that what is later
    revised or reported late counts.
    """

    balance: Decimal = attrs.field(converter=exact)
    time_msc: int = attrs.field(converter=_time_msc)
    credit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    complete_until_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)
    deals_through: int | None = attrs.field(converter=optional(_deals_through), default=None)
    deals_through_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)
    complete: bool | None = attrs.field(converter=_true_or_none, default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class BreakOpened:
    """A disagreement was first seen, or seen again. ``ours`` and ``theirs`` as they would be shown.

    Where ``caused_by`` is the version of an open break of the same kind and position, this is that break seen again:
    ``confirmations`` counts the snapshots that showed it, ``attempts`` the corrections that did not help. ``flaps`` is set
    where the same position came to disagree too often: how often, within the policy's window. Such a break stays open.
    ``deal_msc`` is the broker time of the deal that it is about.
    """

    kind: BreakKind = attrs.field(converter=_break_kind)
    time_msc: int = attrs.field(converter=_time_msc)
    position_id: int | None = attrs.field(converter=_ticket_or_none, default=None)
    symbol: str | None = attrs.field(converter=_text_or_none, default=None)
    deal: int | None = attrs.field(converter=_ticket_or_none, default=None)
    field: str | None = attrs.field(converter=_text_or_none, default=None)
    ours: str | None = attrs.field(converter=_text_or_none, default=None)
    theirs: str | None = attrs.field(converter=_text_or_none, default=None)
    why: str | None = attrs.field(converter=_text_or_none, default=None)
    confirmations: int = attrs.field(converter=_count, default=1)
    attempts: int = attrs.field(converter=_count, default=0)
    flaps: int | None = attrs.field(converter=optional(_count), default=None)
    deal_msc: int | None = attrs.field(converter=optional(_time_msc), default=None)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class BreakClosed:
    """A disagreement ended. ``caused_by`` is the version that opened it."""

    kind: BreakKind = attrs.field(converter=_break_kind)
    end: BreakEnd = attrs.field(converter=_break_end)
    time_msc: int = attrs.field(converter=_time_msc)
    caused_by: int = attrs.field(converter=_version)
    position_id: int | None = attrs.field(converter=_ticket_or_none, default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class SyncDegraded:
    """The gateway stopped giving usable snapshots."""

    reason: str = attrs.field(converter=_reason)
    time_msc: int = attrs.field(converter=_time_msc)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class SyncRestored:
    """The gateway gives usable snapshots again. ``caused_by`` is the version of the SyncDegraded that it ends."""

    time_msc: int = attrs.field(converter=_time_msc)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class GatewayIdentified:
    """The account was seen through a positions answer that states login and server, for the first time.

    From here on an answer that states no identity is refused, unless a person allows it. ``form`` is the protocol form of
    that answer: ``extended`` if it echoed our request id, else ``base``.
    """

    login: int = attrs.field(converter=_login)
    server: str = attrs.field(converter=_server)
    form: str = attrs.field(converter=_form)
    time_msc: int = attrs.field(converter=_time_msc)
    evidence: str | None = attrs.field(converter=_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class IdentityRelaxed:
    """A person allowed answers that state no identity. It applies until a person requires the identity again."""

    operator: str = attrs.field(converter=_operator)
    reason: str = attrs.field(converter=_reason)
    time_msc: int = attrs.field(converter=_time_msc)


@attrs.frozen(kw_only=True)
class IdentityRequired:
    """A person required that every answer states login and server: again, or before any answer did."""

    operator: str = attrs.field(converter=_operator)
    reason: str = attrs.field(converter=_reason)
    time_msc: int = attrs.field(converter=_time_msc)


@attrs.frozen(kw_only=True)
class AcceptedResult:
    """What of a position stays unexplained for good: a ghost result, or closes without an opening. Volume in lots.

    ``position_id`` is None where the deals did not state it.
    """

    symbol: str = attrs.field(converter=_symbol)
    volume: Decimal = attrs.field(converter=_unsigned)
    position_id: int | None = attrs.field(converter=_ticket_or_none, default=None)


def _accepted(value: AcceptedResult | Mapping[str, Any]) -> AcceptedResult:
    return value if isinstance(value, AcceptedResult) else AcceptedResult(**value)


@attrs.frozen(kw_only=True)
class Adjusted:
    """A person corrected something: a position, money, the clock rule or the order of deals. Each comes as before and after.

    ``before`` and ``after`` are a position (None: there is none). Money moves by the difference of its two figures.
    ``deal`` is the ticket of a deal whose withdrawal the person recorded; the DealRevised with version ``caused_by`` says as
    what it counts now. ``accepted`` is what the person does not expect to be explained any more.
    """

    operator: str = attrs.field(converter=_operator)
    reason: str = attrs.field(converter=_reason)
    time_msc: int = attrs.field(converter=_time_msc)
    before: PositionState | None = attrs.field(converter=optional(_state), default=None)
    after: PositionState | None = attrs.field(converter=optional(_state), default=None)
    balance_before: Decimal | None = attrs.field(converter=optional(exact), default=None)
    balance_after: Decimal | None = attrs.field(converter=optional(exact), default=None)
    credit_before: Decimal | None = attrs.field(converter=optional(exact), default=None)
    credit_after: Decimal | None = attrs.field(converter=optional(exact), default=None)
    clock_before: ClockRule | None = attrs.field(converter=optional(to_clock), default=None)
    clock_after: ClockRule | None = attrs.field(converter=optional(to_clock), default=None)
    order_before: DealOrder | None = attrs.field(converter=optional(_order), default=None)
    order_after: DealOrder | None = attrs.field(converter=optional(_order), default=None)
    deal: int | None = attrs.field(converter=_ticket_or_none, default=None)
    accepted: AcceptedResult | None = attrs.field(converter=optional(_accepted), default=None)
    caused_by: int | None = attrs.field(converter=optional(_version), default=None)

    def __attrs_post_init__(self) -> None:
        for name in ("balance", "credit", "clock", "order"):
            if (getattr(self, f"{name}_before") is None) != (getattr(self, f"{name}_after") is None):
                raise BadValue(f"an adjustment says what the {name} was and what it is: one of the two is missing")

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


Standing = AccountOpened | SymbolSpecified

Event = (
    AccountOpened
    | SymbolSpecified
    | FillRecorded
    | CashMoved
    | DealCompleted
    | DealRevised
    | PositionRecovered
    | GhostClosed
    | DriftCorrected
    | PositionReticketed
    | BreakOpened
    | BreakClosed
    | SyncDegraded
    | SyncRestored
    | BalanceAsserted
    | GatewayIdentified
    | IdentityRelaxed
    | IdentityRequired
    | Adjusted
)

#: Facts about deals come before what was concluded from a snapshot of the same millisecond.
DEAL_KINDS: Final = frozenset({"FillRecorded", "CashMoved", "DealCompleted", "DealRevised"})


@attrs.frozen(kw_only=True)
class Recorded:
    """An event with what being recorded gave it.

    ``recorded_us`` is UTC in microseconds; ``head`` the account's chain hash up to and with this event, in hex.

    ``utc_msc`` is when it happened, in UTC milliseconds, where the server's clock showed its time twice; None elsewhere, where
    the clock rule alone says it. ``is_ambiguous`` says that nothing decided between the two.
    """

    account: AccountId
    version: int
    recorded_us: int
    natural_key: str
    event: Event
    head: str
    correlation: str | None = None
    utc_msc: int | None = None
    is_ambiguous: bool = False

    @property
    def recorded_at(self) -> datetime:
        """When it became durable here, in UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.recorded_us)

    @property
    def kind(self) -> str:
        """Stored name of the event."""
        return type(self.event).__name__
