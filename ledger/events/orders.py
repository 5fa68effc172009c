"""Orders: what was intended, answered, seen at the broker and resolved; limits, halts, and what carries a client id.

None of these changes positions or money: those follow deals alone. Their broker time is the moment at which they were recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import attrs
from attrs.converters import optional

from ledger.clock import TIME_MAX_MSC
from ledger.errors import BadValue
from ledger.events.fields import (
    to_code,
    to_count,
    to_operator,
    to_reason,
    to_symbol,
    to_text_or_none,
    to_ticket,
    to_ticket_or_none,
    to_time_msc,
    to_unsigned,
    to_version,
)
from ledger.values import INT64_MAX, Number, Side, exact, shown, to_magic, to_side, to_text, to_whole, to_word

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN: Final = re.compile(r"L[A-Z2-7]{19}")
_TAIL_MAX: Final = 6
#: Writes rules as the text that is stored: one spelling for the same.
dump_rules: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode


class OrderKind(Enum):
    """What an order request asks for."""

    MARKET = "market"
    PENDING = "pending"
    CLOSE = "close"
    CLOSE_BY = "close_by"
    STOPS = "stops"
    MODIFY = "modify"
    CANCEL = "cancel"


class PendingType(Enum):
    """At which side of the market a pending order waits."""

    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class Verdict(Enum):
    """What the answer to an order means."""

    ACCEPTED = "accepted"
    NO_CHANGE = "no_change"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    EXPIRED = "expired"
    FENCED = "fenced"


class OrderOutcome(Enum):
    """What became of an order whose answer was not known."""

    EXECUTED = "executed"
    WORKING = "working"
    REJECTED = "rejected"
    ABSENT = "absent"
    DUPLICATE = "duplicate"


class OrderBasis(Enum):
    """What an outcome rests on."""

    TICKET = "ticket"
    TOKEN = "token"  # noqa: S105  # no secret
    MAGIC = "magic"
    FENCE = "fence"
    ABSENCE = "absence"
    PERSON = "person"


class HaltScope(Enum):
    """What a halt stops."""

    ACCOUNT = "account"
    SYMBOL = "symbol"
    STRATEGY = "strategy"


class HaltMode(Enum):
    """How much a halt stops."""

    ALL = "all"
    NO_NEW_RISK = "no_new_risk"


class Carrier(Enum):
    """The field of the broker's order record that carries the client id."""

    COMMENT = "comment"
    MAGIC = "magic"


def _kind(value: OrderKind | str) -> OrderKind:
    return to_word(value, OrderKind)


def _pending_type(value: PendingType | str) -> PendingType:
    return to_word(value, PendingType)


def _verdict(value: Verdict | str) -> Verdict:
    return to_word(value, Verdict)


def _outcome(value: OrderOutcome | str) -> OrderOutcome:
    return to_word(value, OrderOutcome)


def _basis(value: OrderBasis | str) -> OrderBasis:
    return to_word(value, OrderBasis)


def _scope(value: HaltScope | str) -> HaltScope:
    return to_word(value, HaltScope)


def _mode(value: HaltMode | str) -> HaltMode:
    return to_word(value, HaltMode)


def _carrier(value: Carrier | str) -> Carrier:
    return to_word(value, Carrier)


def to_client_id(value: object) -> str:
    """Return the id that an intent is known by."""
    if not isinstance(value, str) or not _CLIENT_ID.fullmatch(value):
        raise BadValue(f"expected a client id of 1 to 64 characters A-Z a-z 0-9 . _ -, found {shown(value)}")
    return value


def to_token(value: object) -> str:
    """Return a token: what of a client id goes to the broker."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise BadValue(f"expected a token, L and 19 characters A-Z 2-7, found {shown(value)}")
    return value


def _tail(value: str | None) -> str | None:
    tail = to_text_or_none(value)
    if tail is not None and len(tail) > _TAIL_MAX:
        raise BadValue(f"expected at most {_TAIL_MAX} characters behind the token in a comment, found {shown(tail)}")
    return tail


def _number(value: int) -> int:
    return to_whole(value, 1, INT64_MAX, "which one it is of its kind, from 1 on")


def _last_error(value: int) -> int:
    return to_whole(value, -(2**31), 2**31 - 1, "a code of last_error")


def _utc_msc(value: int) -> int:
    return to_whole(value, 0, TIME_MAX_MSC, "a time in milliseconds since 1970, UTC")


def _zero_or_more(value: int) -> int:
    return to_whole(value, 0, INT64_MAX - 1, "a ticket, 0 for none")


def _tickets(value: Iterable[int | str]) -> tuple[int, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise BadValue(f"expected a list of tickets, found {shown(value)}")
    return tuple(map(to_ticket, value))


def _rules(value: Mapping[str, Any] | str) -> str:
    """Return rules as JSON text of one spelling: what is equal has one digest. Numbers are whole, or decimals as text."""
    try:
        rules = json.loads(value) if isinstance(value, str) else dict(value)
        text = dump_rules(rules)
        if isinstance(rules, dict) and json.loads(text) == rules and not _has_float(rules):
            return to_text(text, "rules")
    except (TypeError, ValueError, RecursionError):
        pass
    raise BadValue(
        f"expected rules as a mapping of name to JSON value, decimals as text ('0.10'), found {shown(value)}: write them so"
    )


def _has_float(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_float, value.values()))
    return isinstance(value, float) or (isinstance(value, list) and any(map(_has_float, value)))


def _needs(event: Any, kind: OrderKind, *names: str) -> None:
    missing = [name for name in names if getattr(event, name) is None]
    if missing:
        raise BadValue(f"an order of kind {kind.value} needs {', '.join(missing)}: found none")


def _require_complete(event: OrderIntended | OrderDenied) -> None:
    """Refuse an order request without what its kind needs to be sent."""
    match event.kind:
        case OrderKind.MARKET:
            _needs(event, event.kind, "symbol", "side", "volume")
        case OrderKind.PENDING:
            _needs(event, event.kind, "symbol", "side", "volume", "type", "price")
            if event.type is PendingType.STOP_LIMIT:
                _needs(event, event.kind, "stoplimit")
        case OrderKind.CLOSE | OrderKind.STOPS:
            _needs(event, event.kind, "position_id")
        case OrderKind.CLOSE_BY:
            _needs(event, event.kind, "position_id", "by_position_id")
        case OrderKind.MODIFY | OrderKind.CANCEL:
            if event.target_order is None and event.target_client_id is None:
                raise BadValue(f"an order of kind {event.kind.value} needs the order that it is about: found none")


def _volume(value: Number) -> Decimal:
    number = to_unsigned(value)
    if not number:
        raise BadValue("expected a volume of more than 0, found 0")
    return number


@attrs.frozen(kw_only=True)
class OrderIntended:
    """An order request may be sent, once: the record that comes before every send.

    ``token`` is what of the client id goes to the broker. ``type`` is set for a pending order only. ``sl`` and ``tp`` are None
    where nothing is asked for, 0 to remove a stop. A request about an order names it by ``target_order``, or by
    ``target_client_id`` where its ticket is not known. ``valid_until_utc_msc`` is in UTC; ``limits`` the digest of the rules
    that allowed it, ``checked_version`` what they were checked at, ``store`` the gateway's store that it is pinned to.
    """

    client_id: str = attrs.field(converter=to_client_id)
    token: str = attrs.field(converter=to_token)
    kind: OrderKind = attrs.field(converter=_kind)
    time_msc: int = attrs.field(converter=to_time_msc)
    symbol: str | None = attrs.field(converter=optional(to_symbol), default=None)
    side: Side | None = attrs.field(converter=optional(to_side), default=None)
    volume: Decimal | None = attrs.field(converter=optional(_volume), default=None)
    type: PendingType | None = attrs.field(converter=optional(_pending_type), default=None)
    price: Decimal | None = attrs.field(converter=optional(exact), default=None)
    stoplimit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    sl: Decimal | None = attrs.field(converter=optional(exact), default=None)
    tp: Decimal | None = attrs.field(converter=optional(exact), default=None)
    deviation: int | None = attrs.field(converter=optional(to_count), default=None)
    filling: str | None = attrs.field(converter=to_text_or_none, default=None)
    lifetime: str | None = attrs.field(converter=to_text_or_none, default=None)
    expires_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    by_position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    target_order: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    target_client_id: str | None = attrs.field(converter=optional(to_client_id), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    comment_tail: str | None = attrs.field(converter=_tail, default=None)
    strategy: str | None = attrs.field(converter=to_text_or_none, default=None)
    valid_until_utc_msc: int | None = attrs.field(converter=optional(_utc_msc), default=None)
    limits: str | None = attrs.field(converter=to_text_or_none, default=None)
    checked_version: int | None = attrs.field(converter=optional(to_version), default=None)
    store: str | None = attrs.field(converter=to_text_or_none, default=None)

    def __attrs_post_init__(self) -> None:
        _require_complete(self)


@attrs.frozen(kw_only=True)
class OrderDenied:
    """Our own rules refused an order request. Its client id is used up.

    The request is as in ``OrderIntended``; ``rule`` names the rule, ``limit`` what it allows, ``value`` what was found.
    """

    client_id: str = attrs.field(converter=to_client_id)
    kind: OrderKind = attrs.field(converter=_kind)
    rule: str = attrs.field(converter=to_reason)
    why: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    limit: str | None = attrs.field(converter=to_text_or_none, default=None)
    value: str | None = attrs.field(converter=to_text_or_none, default=None)
    token: str | None = attrs.field(converter=optional(to_token), default=None)
    symbol: str | None = attrs.field(converter=optional(to_symbol), default=None)
    side: Side | None = attrs.field(converter=optional(to_side), default=None)
    volume: Decimal | None = attrs.field(converter=optional(_volume), default=None)
    type: PendingType | None = attrs.field(converter=optional(_pending_type), default=None)
    price: Decimal | None = attrs.field(converter=optional(exact), default=None)
    stoplimit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    sl: Decimal | None = attrs.field(converter=optional(exact), default=None)
    tp: Decimal | None = attrs.field(converter=optional(exact), default=None)
    deviation: int | None = attrs.field(converter=optional(to_count), default=None)
    filling: str | None = attrs.field(converter=to_text_or_none, default=None)
    lifetime: str | None = attrs.field(converter=to_text_or_none, default=None)
    expires_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    by_position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    target_order: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    target_client_id: str | None = attrs.field(converter=optional(to_client_id), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    comment_tail: str | None = attrs.field(converter=_tail, default=None)
    strategy: str | None = attrs.field(converter=to_text_or_none, default=None)
    limits: str | None = attrs.field(converter=to_text_or_none, default=None)
    checked_version: int | None = attrs.field(converter=optional(to_version), default=None)

    def __attrs_post_init__(self) -> None:
        _require_complete(self)


@attrs.frozen(kw_only=True)
class OrderAnswered:
    """An order was answered with a verdict, once an intent; what is found out later is an ``OrderResolved``.

    ``order`` and ``deal`` are the tickets of the answer, 0 where it stated that there is none; likewise volume and price. Times
    named ``utc_msc`` are in UTC. ``store`` and ``seq`` name the gateway's record of it.
    """

    client_id: str = attrs.field(converter=to_client_id)
    verdict: Verdict = attrs.field(converter=_verdict)
    time_msc: int = attrs.field(converter=to_time_msc)
    retcode: int | None = attrs.field(converter=optional(to_code), default=None)
    last_error: int | None = attrs.field(converter=optional(_last_error), default=None)
    order: int | None = attrs.field(converter=optional(_zero_or_more), default=None)
    deal: int | None = attrs.field(converter=optional(_zero_or_more), default=None)
    volume: Decimal | None = attrs.field(converter=optional(to_unsigned), default=None)
    price: Decimal | None = attrs.field(converter=optional(exact), default=None)
    bid: Decimal | None = attrs.field(converter=optional(exact), default=None)
    ask: Decimal | None = attrs.field(converter=optional(exact), default=None)
    comment: str | None = attrs.field(converter=to_text_or_none, default=None)
    request_id: int | None = attrs.field(converter=optional(to_count), default=None)
    retcode_external: int | None = attrs.field(converter=optional(_last_error), default=None)
    store: str | None = attrs.field(converter=to_text_or_none, default=None)
    seq: int | None = attrs.field(converter=optional(to_count), default=None)
    sent_utc_msc: int | None = attrs.field(converter=optional(_utc_msc), default=None)
    answered_utc_msc: int | None = attrs.field(converter=optional(_utc_msc), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class OrderSeen:
    """The broker shows an order for the first time, or with other fields than before.

    Fields have the names and codes of MetaTrader 5; a price of 0 is none. ``client_id`` is None for an order that is not ours.
    ``price_current`` is no part of it: it changes with the market, not with the order.
    """

    ticket: int = attrs.field(converter=to_ticket)
    symbol: str = attrs.field(converter=to_symbol)
    type: int = attrs.field(converter=to_code)
    state: int = attrs.field(converter=to_code)
    volume_initial: Decimal = attrs.field(converter=to_unsigned)
    volume_current: Decimal = attrs.field(converter=to_unsigned)
    time_msc: int = attrs.field(converter=to_time_msc)
    client_id: str | None = attrs.field(converter=optional(to_client_id), default=None)
    time_setup_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    time_done_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    expires_msc: int | None = attrs.field(converter=optional(to_time_msc), default=None)
    type_time: int | None = attrs.field(converter=optional(to_code), default=None)
    type_filling: int | None = attrs.field(converter=optional(to_code), default=None)
    magic: int | None = attrs.field(converter=optional(to_magic), default=None)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    by_position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    reason: int | None = attrs.field(converter=optional(to_code), default=None)
    price_open: Decimal | None = attrs.field(converter=optional(exact), default=None)
    price_stoplimit: Decimal | None = attrs.field(converter=optional(exact), default=None)
    sl: Decimal | None = attrs.field(converter=optional(exact), default=None)
    tp: Decimal | None = attrs.field(converter=optional(exact), default=None)
    comment: str | None = attrs.field(converter=to_text_or_none, default=None)
    external_id: str | None = attrs.field(converter=to_text_or_none, default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class OrderResolved:
    """What became of an order was found out, or decided by a person, after its answer was lost or unknown.

    ``number`` counts the resolutions of one client id from 1 on. ``lookups`` agreed, the first and the last at the times that
    end in ``utc_msc``, in UTC. ``operator`` and ``reason`` are those of a person.
    """

    client_id: str = attrs.field(converter=to_client_id)
    number: int = attrs.field(converter=_number)
    outcome: OrderOutcome = attrs.field(converter=_outcome)
    basis: OrderBasis = attrs.field(converter=_basis)
    time_msc: int = attrs.field(converter=to_time_msc)
    tickets: tuple[int, ...] = attrs.field(converter=_tickets, default=())
    operator: str | None = attrs.field(converter=optional(to_operator), default=None)
    reason: str | None = attrs.field(converter=optional(to_reason), default=None)
    lookups: int | None = attrs.field(converter=optional(to_count), default=None)
    first_utc_msc: int | None = attrs.field(converter=optional(_utc_msc), default=None)
    last_utc_msc: int | None = attrs.field(converter=optional(_utc_msc), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)

    def __attrs_post_init__(self) -> None:
        if self.basis is OrderBasis.PERSON and (self.operator is None or self.reason is None):
            raise BadValue(f"order {self.client_id}: a person who resolves it states operator and reason, found one missing")
        if self.outcome is OrderOutcome.DUPLICATE and len(set(self.tickets)) < 2:
            raise BadValue(f"order {self.client_id}: a duplicate has two tickets or more, found {list(self.tickets)}")


@attrs.frozen(kw_only=True)
class StopsSeen:
    """The broker shows other stops of an open position than before; 0 is none.

    ``client_id`` is that of the intent that asked for them, None where nobody of us did.
    """

    position_id: int = attrs.field(converter=to_ticket)
    time_msc: int = attrs.field(converter=to_time_msc)
    symbol: str | None = attrs.field(converter=optional(to_symbol), default=None)
    sl: Decimal | None = attrs.field(converter=optional(exact), default=None)
    tp: Decimal | None = attrs.field(converter=optional(exact), default=None)
    client_id: str | None = attrs.field(converter=optional(to_client_id), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class LimitsSet:
    """A person set the limits of the account: all rules, as JSON text of one spelling. They replace those before."""

    rules: str = attrs.field(converter=_rules)
    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)


@attrs.frozen(kw_only=True)
class TradingHalted:
    """A person, or a rule, halted trading: of the account, or of the symbol or strategy that ``name`` names.

    ``number`` counts halts and resumptions of a scope together, from 1 on.
    """

    scope: HaltScope = attrs.field(converter=_scope)
    number: int = attrs.field(converter=_number)
    mode: HaltMode = attrs.field(converter=_mode)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    name: str | None = attrs.field(converter=to_text_or_none, default=None)
    operator: str | None = attrs.field(converter=optional(to_operator), default=None)
    rule: str | None = attrs.field(converter=to_text_or_none, default=None)

    def __attrs_post_init__(self) -> None:
        _require_name(self)
        if (self.operator is None) == (self.rule is None):
            raise BadValue("trading is halted by an operator or by a rule: expected one of the two")


@attrs.frozen(kw_only=True)
class TradingResumed:
    """A person ended a halt. Scope, name and number as in ``TradingHalted``."""

    scope: HaltScope = attrs.field(converter=_scope)
    number: int = attrs.field(converter=_number)
    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    name: str | None = attrs.field(converter=to_text_or_none, default=None)

    def __attrs_post_init__(self) -> None:
        _require_name(self)


def _require_name(event: TradingHalted | TradingResumed) -> None:
    if (event.name is None) != (event.scope is HaltScope.ACCOUNT):
        raise BadValue(
            f"a halt of scope {event.scope.value} names what it is about unless that is the account: found {event.name}"
        )


@attrs.frozen(kw_only=True)
class CarrierProven:
    """The broker's record of an order showed the client id as it was sent: so this carrier keeps it."""

    kind: Carrier = attrs.field(converter=_carrier)
    ticket: int = attrs.field(converter=to_ticket)
    time_msc: int = attrs.field(converter=to_time_msc)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class CarrierBroken:
    """The broker's record of an order did not show the client id as it was sent. ``found`` is what it showed."""

    kind: Carrier = attrs.field(converter=_carrier)
    ticket: int = attrs.field(converter=to_ticket)
    time_msc: int = attrs.field(converter=to_time_msc)
    found: str | None = attrs.field(converter=to_text_or_none, default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class StorePinned:
    """The gateway's store that new intents are pinned to was decided: by a person, or, for the first, by the program.

    ``number`` counts these decisions from 1 on. ``operator`` is None where the program pinned the first store it found.
    """

    store: str = attrs.field(converter=to_reason)
    number: int = attrs.field(converter=_number)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    operator: str | None = attrs.field(converter=optional(to_operator), default=None)


OrderEvent = (
    OrderIntended
    | OrderDenied
    | OrderAnswered
    | OrderSeen
    | OrderResolved
    | StopsSeen
    | LimitsSet
    | TradingHalted
    | TradingResumed
    | CarrierProven
    | CarrierBroken
    | StorePinned
)
