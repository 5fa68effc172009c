"""Limits: rules that an order request has to meet before it may be sent, as one value, and the check of a request. Pure.

What cannot be read denies. A request that can only make exposure smaller needs few of the rules: see ``check``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Any, Final, Self

import attrs
from attrs.converters import optional

from ledger.errors import BadValue, InexactNumber
from ledger.events.orders import HaltMode, HaltScope, OrderKind, dump_rules
from ledger.order_messages import RemoteCheck, RemoteTick
from ledger.orders.intervals import Book
from ledger.orders.request import OrderRequest
from ledger.orders.view import Orders
from ledger.portfolio import Portfolio
from ledger.snapshot import RemoteSymbol
from ledger.values import Side, exact, plain, shown, to_side, to_text, to_whole, to_word

_MINUTE_MS: Final = 60_000
#: So far clocks of two machines may be apart before an age counts as negative.
_CLOCKS_APART_MS: Final = 1000
_SECONDS_MAX: Final = 10**9
#: How old the verification of account and symbol may be where nothing else is set, in seconds.
VERIFIED_WITHIN_SEC: Final = 60


class UnknownScope(Enum):
    """What an order of which nobody knows whether it was executed blocks: its symbol, or the account."""

    SYMBOL = "symbol"
    ACCOUNT = "account"


def _unknown_scope(value: UnknownScope | str) -> UnknownScope:
    return to_word(value, UnknownScope)


def _number(value: object, what: str) -> Decimal:
    """Read an exact number. A float is refused, as it need not be what was meant."""
    if isinstance(value, (bool, float)) or not isinstance(value, (Decimal, int, str)):
        raise BadValue(f"expected {what} as a Decimal, a whole number or text ('0.10'), found {shown(value)}: write it so")
    try:
        number = exact(value)
    except InexactNumber as error:
        raise BadValue(f"expected {what}: {error}") from None
    if number <= 0:
        raise BadValue(f"expected {what}, more than 0, found {plain(number)}: leave the rule out to not check it")
    return number


def _lots(value: Decimal | int | str) -> Decimal:
    return _number(value, "lots")


def _seconds(value: int) -> int:
    return to_whole(_no_text(value), 1, _SECONDS_MAX, "seconds")


def _no_text(value: object) -> object:
    """Return a value that is no text: a count or a duration is written as a number."""
    if isinstance(value, str):
        raise BadValue(f"expected a whole number, found the text {shown(value)}: write it without quotes and unit")
    return value


def _flag(value: bool) -> bool:  # noqa: FBT001  # a converter
    if not isinstance(value, bool):
        raise BadValue(f"expected true or false, found {shown(value)}")
    return value


def _path(value: str) -> str:
    return to_text(value, "the path of a file")


def _names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise BadValue(f"expected a list of symbols, found {shown(value)}")
    return frozenset(to_text(one, "a symbol") for one in value)


def _sides(value: Iterable[Side | str]) -> frozenset[Side]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise BadValue(f"expected a list of sides (buy, sell), found {shown(value)}")
    return frozenset(map(to_side, value))


@attrs.frozen(kw_only=True)
class Limits:
    """The rules that order requests have to meet. A rule that is None is not checked.

    ```python
    Limits(volume_per_order_max="0.50", symbols=["EURUSD"], kill_switch_file="/var/lib/ledger/stop")
    ```

    Numbers are exact: a Decimal, a whole number or text; floats are refused. See docs/reference/limits.md.

    Attributes:
        verified_within_sec: So long ago account and symbol may have been verified by a sync. Always checked.
        unknown_scope: What an order blocks of which nobody knows whether it was executed. Always checked.
        volume_per_order_max: Lots of one order, at most,
        volume_per_order_min: and at least,
        volume_step: and in whole multiples of this.
        volume_per_symbol_max: Lots of a symbol, at most, whatever becomes of open orders,
        volume_total_max: and of all symbols together.
        symbols: Only these,
        sides: and only these sides.
        kill_switch_file: While this file exists there is no new risk.
    """

    verified_within_sec: int = attrs.field(default=VERIFIED_WITHIN_SEC, converter=_seconds)
    unknown_scope: UnknownScope = attrs.field(default=UnknownScope.SYMBOL, converter=_unknown_scope)
    volume_per_order_max: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_per_order_min: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_step: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_per_symbol_max: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_total_max: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    symbols: frozenset[str] | None = attrs.field(default=None, converter=optional(_names))
    sides: frozenset[Side] | None = attrs.field(default=None, converter=optional(_sides))
    kill_switch_file: str | None = attrs.field(default=None, converter=optional(_path))

    @classmethod
    def of_rules(cls, rules: Mapping[str, Any] | str) -> Self:
        """Return the limits of rules as they are recorded: a mapping, or its JSON text.

        Raises:
            BadValue: There is a rule of another name, or one is not of its unit.
        """
        if isinstance(rules, str):
            try:
                rules = json.loads(rules, parse_float=_refuse_float)
            except ValueError as error:
                raise BadValue(f"expected rules as a JSON object, found {shown(rules)}: {error}") from None
        if not isinstance(rules, Mapping):
            raise BadValue(f"expected rules as a mapping of name to value, found {shown(rules)} ({type(rules).__name__})")
        known = {one.name: one for one in attrs.fields(cls)}
        for name, value in rules.items():
            if name not in known:
                raise BadValue(f"expected the name of a limit ({', '.join(known)}), found {shown(name)}")
            _convert(name, known[name].converter, value)
        return cls(**rules)

    @classmethod
    def of_toml(cls, text: str) -> Self:
        """Return the limits of a file in TOML: a line for each rule, ``volume_per_order_max = 0.5``.

        Numbers with a point are read as the decimals that they are written as.

        Raises:
            BadValue: It is no TOML, there is a rule of another name, or one is not of its unit.
        """
        try:
            rules = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise BadValue(f"expected limits as a TOML file, a line for each rule: {error}") from None
        return cls.of_rules(rules)

    @property
    def rules(self) -> dict[str, Any]:
        """The rules that are checked, as JSON values with decimals as text: what ``LimitsSet.rules`` records."""
        values = {one.name: getattr(self, one.name) for one in attrs.fields(type(self))}
        return {name: _json(value) for name, value in values.items() if value is not None}

    @property
    def digest(self) -> str:
        """What an intent names its limits by: the same for the same rules."""
        return sha256(dump_rules(self.rules).encode()).hexdigest()[:32]


def _refuse_float(text: str) -> object:
    raise BadValue(f"expected decimals as text ('{text}') in JSON, found the number {text}: write it so")


def _convert(name: str, converter: Any, value: object) -> None:
    if value is None:
        raise BadValue(f"limit {name}: expected a value, found null: leave the rule out to not check it")
    try:
        converter(value)
    except BadValue as error:
        raise BadValue(f"limit {name}: {error}") from None


def _json(value: Any) -> Any:
    match value:
        case Decimal():
            return plain(value)
        case Enum():
            return value.value
        case frozenset():
            return sorted(map(_json, value))
        case _:
            return value


@attrs.frozen(kw_only=True)
class Market:
    """All that a check needs beside portfolio and orders. None is what could not be read, or was not asked for.

    Attributes:
        now_utc_msc: The present, in UTC.
        verified_age_ms: How long ago a sync verified account and symbol; None for never, or where something is in the way.
        verified_why: Why ``verified_age_ms`` is None, for people.
        is_kill_switch_on: Whether the kill switch file exists.
        symbol: The specification of the request's symbol.
        tick: Its newest prices.
        order_check: What the broker would say of the request.
    """

    now_utc_msc: int
    verified_age_ms: int | None = None
    verified_why: str | None = None
    is_kill_switch_on: bool | None = None
    symbol: RemoteSymbol | None = None
    tick: RemoteTick | None = None
    order_check: RemoteCheck | None = None


@attrs.frozen(kw_only=True)
class Allowed:
    """A request meets all rules. ``is_reducing``: it can only make exposure smaller, so few of them were needed."""

    is_reducing: bool = False

    @property
    def is_allowed(self) -> bool:
        """Whether the request may be sent."""
        return True


@attrs.frozen(kw_only=True)
class Denied:
    """A request does not meet a rule: what it allows, what was found, and why, with what to do about it."""

    rule: str
    limit: str
    value: str
    why: str

    @property
    def is_allowed(self) -> bool:
        """Whether the request may be sent."""
        return False


@attrs.frozen(kw_only=True)
class _Case:
    """One check: everything that a rule looks at."""

    limits: Limits
    portfolio: Portfolio
    orders: Orders
    market: Market
    request: OrderRequest
    book: Book
    symbol: str | None
    why_not_reducing: str | None

    @property
    def is_reducing(self) -> bool:
        return self.why_not_reducing is None

    @property
    def is_cancel(self) -> bool:
        return self.request.kind is OrderKind.CANCEL

    @property
    def strategy(self) -> str | None:
        return self.request.strategy


def check(limits: Limits, portfolio: Portfolio, orders: Orders, market: Market, request: OrderRequest) -> Allowed | Denied:
    """Return whether a request may be sent. Nothing is read and nothing changes.

    A request that can only make exposure smaller, whatever became of the open orders, needs the rules ``verified_within_sec``,
    ``halted`` and ``volume_step`` only. A cancellation needs none: it is right whatever we know.

    Returns:
        Allowed, or the first rule that denies: what could not be read denies too.
    """
    book = Book(portfolio, orders.orders(at_utc_msc=market.now_utc_msc), orders.stops)
    case = _Case(
        limits=limits,
        portfolio=portfolio,
        orders=orders,
        market=market,
        request=request,
        book=book,
        symbol=book.symbol_of(request),
        why_not_reducing=book.why_not_reducing(request),
    )
    if case.is_cancel:
        return Allowed(is_reducing=True)
    for rule in _REDUCING_RULES if case.is_reducing else _RULES:
        for denied in rule(case):
            return denied
    return Allowed(is_reducing=case.is_reducing)


# ---- the rules: each yields what denies


def _check_verified(case: _Case) -> Iterator[Denied]:
    allowed, age_ms = case.limits.verified_within_sec, case.market.verified_age_ms
    limit = f"{allowed} s"
    if case.symbol is None:
        about = case.request.position_id or case.request.target_client_id or case.request.target_order
        why = f"the journal has nothing open of {about}, so its symbol is not known: sync first"
        yield Denied(rule="verified_within_sec", limit=limit, value="unknown", why=why)
    elif age_ms is None:
        why = f"{case.market.verified_why or 'no sync has verified account and symbol'}: run ledger sync, see ledger status"
        yield Denied(rule="verified_within_sec", limit=limit, value="unknown", why=why)
    elif not -_CLOCKS_APART_MS <= age_ms <= allowed * 1000:
        value = f"{plain(Decimal(age_ms).scaleb(-3))} s"
        why = f"{case.symbol} was verified {value} ago, expected at most {limit}: run ledger sync, see ledger status"
        yield Denied(rule="verified_within_sec", limit=limit, value=value, why=why)


def _check_halted(case: _Case) -> Iterator[Denied]:
    scopes = {
        (HaltScope.ACCOUNT, None): "the account",
        (HaltScope.SYMBOL, case.symbol): case.symbol,
        (HaltScope.STRATEGY, case.strategy): f"strategy {case.strategy}",
    }
    for (scope, name), mode in case.orders.halts.items():
        if (scope, name) in scopes and (mode is HaltMode.ALL or not case.is_reducing):
            what = "nothing but cancelling" if mode is HaltMode.ALL else "only what reduces exposure"
            why = f"trading of {scopes[scope, name]} is halted, {what} is allowed: ledger resume ends it{_reason(case)}"
            yield Denied(rule="halted", limit=mode.value, value=name or scope.value, why=why)


def _check_unknown(case: _Case) -> Iterator[Denied]:
    scope = case.limits.unknown_scope
    found = case.book.unknown_orders(None if scope is UnknownScope.ACCOUNT else case.symbol)
    if found:
        names = ", ".join(order.client_id or f"#{order.ticket}" for order in found)
        why = (
            f"nobody knows whether order {names} was executed, so only what reduces exposure is allowed: "
            f"see ledger orders --unknown{_reason(case)}"
        )
        yield Denied(rule="unknown_orders", limit=f"none of the {scope.value}", value=str(len(found)), why=why)
    yield from _check_under_way(case)


def _check_under_way(case: _Case) -> Iterator[Denied]:
    """Deny a second change of an order, or of stops, while the first is under way: the first could win."""
    request = case.request
    for order in case.book.orders:
        if order.kind is not request.kind or not order.is_open:
            continue
        if request.kind is OrderKind.STOPS and order.position_id == request.position_id:
            why = f"order {order.client_id} changes the stops of position {order.position_id}: wait until it is answered"
            yield Denied(rule="unknown_orders", limit="one at a time", value=str(order.client_id), why=why)


def _check_kill_switch(case: _Case) -> Iterator[Denied]:
    path = case.limits.kill_switch_file
    if path is not None and case.market.is_kill_switch_on is not False:
        is_there = case.market.is_kill_switch_on
        value = "exists" if is_there else "unknown"
        found = f"the kill switch file {path} exists" if is_there else f"whether {path} exists could not be read"
        why = f"{found}, so only what reduces exposure is allowed: remove the file to trade{_reason(case)}"
        yield Denied(rule="kill_switch_file", limit=path, value=value, why=why)


def _reason(case: _Case) -> str:
    return "" if case.why_not_reducing is None else f" (not reducing: {case.why_not_reducing})"


def _check_symbols(case: _Case) -> Iterator[Denied]:
    allowed = case.limits.symbols
    if allowed is not None and case.symbol not in allowed:
        limit = ", ".join(sorted(allowed)) or "none"
        why = f"expected one of the symbols {limit}, found {case.symbol}: add it to symbols in the limits to trade it"
        yield Denied(rule="symbols", limit=limit, value=str(case.symbol), why=why)


def _check_sides(case: _Case) -> Iterator[Denied]:
    allowed = case.limits.sides
    if allowed is None:
        return
    change = case.book.change_of(case.request)
    wanted = [side for side, lots in ((Side.BUY, change.buys), (Side.SELL, change.sells)) if lots]
    for side in wanted:
        if side not in allowed:
            limit = ", ".join(sorted(one.value for one in allowed)) or "none"
            why = f"expected one of the sides {limit}, found {side.value}: add it to sides in the limits to trade it"
            yield Denied(rule="sides", limit=limit, value=side.value, why=why)


def _check_volume_step(case: _Case) -> Iterator[Denied]:
    step, volume = case.limits.volume_step, case.request.volume
    if step is None or volume is None:
        return
    position = case.book.positions.get(case.request.position_id or 0)
    if position is not None and position.volume == volume:
        return  # all of a position can be closed, whatever steps it was opened in
    if _exceeds_step(volume, step):
        why = f"expected a volume in steps of {plain(step)} lots, found {plain(volume)}: nothing is rounded, state another"
        yield Denied(rule="volume_step", limit=plain(step), value=plain(volume), why=why)


def _exceeds_step(volume: Decimal, step: Decimal) -> bool:
    (numerator, denominator), (step_numerator, step_denominator) = volume.as_integer_ratio(), step.as_integer_ratio()
    return (numerator * step_denominator) % (denominator * step_numerator) != 0


def _check_volume_per_order(case: _Case) -> Iterator[Denied]:
    volume, most, least = case.request.volume, case.limits.volume_per_order_max, case.limits.volume_per_order_min
    if volume is not None and most is not None and volume > most:
        why = f"expected at most {plain(most)} lots an order, found {plain(volume)}: state a smaller volume"
        yield Denied(rule="volume_per_order_max", limit=plain(most), value=plain(volume), why=why)
    if volume is not None and least is not None and volume < least:
        why = f"expected at least {plain(least)} lots an order, found {plain(volume)}: state a larger volume"
        yield Denied(rule="volume_per_order_min", limit=plain(least), value=plain(volume), why=why)


def _check_volume_held(case: _Case) -> Iterator[Denied]:
    per_symbol, total = case.limits.volume_per_symbol_max, case.limits.volume_total_max
    if (per_symbol is None and total is None) or case.symbol is None:
        return
    exposures = case.book.exposures()
    after = case.book.exposure(case.symbol).after(case.book.change_of(case.request))
    exposures[case.symbol] = after
    everything = sum((one.worst for one in exposures.values()), Decimal(0))
    for rule, limit, worst, of in (
        ("volume_per_symbol_max", per_symbol, after.worst, case.symbol),
        ("volume_total_max", total, everything, "all symbols"),
    ):
        if limit is not None and worst > limit:
            value = plain(worst) if worst.is_finite() else "unknown"
            why = (
                f"expected at most {plain(limit)} lots of {of} whatever becomes of open orders, found up to {value}: "
                "state a smaller volume, or close or cancel something"
            )
            yield Denied(rule=rule, limit=plain(limit), value=value, why=why)


#: In the order in which they are checked. A request that can only reduce exposure needs the second row only.
_RULES: Final[tuple[Callable[[_Case], Iterator[Denied]], ...]] = (
    _check_verified, _check_halted, _check_unknown, _check_kill_switch,
    _check_symbols, _check_sides, _check_volume_step, _check_volume_per_order, _check_volume_held,
)  # fmt: skip
_REDUCING_RULES: Final = (_check_verified, _check_halted, _check_volume_step)
