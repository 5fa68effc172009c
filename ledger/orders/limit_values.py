"""Limits: the rules that order requests have to meet, as one value; read strictly, written as they are recorded. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Any, Final, Self

import attrs
from attrs.converters import optional

from ledger.clock import MINUTE_MSC, ClockRule
from ledger.errors import BadValue, InexactNumber
from ledger.events.orders import dump_rules
from ledger.values import Side, exact, plain, shown, to_side, to_text, to_whole, to_word

#: How old the verification of account and symbol may be where nothing else is set, in seconds.
VERIFIED_WITHIN_SEC: Final = 60
#: The zone that is the trade server's own clock.
SERVER: Final = "server"
#: As many as the broker allows.
BROKER: Final = "broker"
_OF_A_DAY: Final = ("daily_loss_max", "orders_per_day_max")
#: The rules that a strategy may have of its own.
_OF_A_STRATEGY: Final = frozenset(
    {
        "volume_per_order_max", "volume_per_symbol_max", "volume_total_max", "positions_max", "orders_per_minute_max",
        "orders_per_day_max", "same_request_within_sec", "symbols", "sides", "one_position",
    }
)  # fmt: skip
_SECONDS_MAX: Final = 10**9
_COUNT_MAX: Final = 10**9
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW: Final = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? +(\d\d):(\d\d)-(\d\d):(\d\d)")
_TIME_OF_DAY: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_HOUR_MINUTES: Final = 60
_DAY_MINUTES: Final = 24 * _HOUR_MINUTES


class UnknownScope(Enum):
    """What an order of which nobody knows whether it was executed blocks: its symbol, or the account."""

    SYMBOL = "symbol"
    ACCOUNT = "account"


class DayBase(Enum):
    """What a day's loss is counted from: what the account had when the day began."""

    BALANCE = "balance"
    EQUITY = "equity"
    HIGHER = "higher"


class LossBase(Enum):
    """What the loss in total is counted from: the initial balance, or the highest one there ever was."""

    STATIC = "static"
    TRAILING = "trailing"


@attrs.frozen
class Amount:
    """A number, or a part of something in percent; written ``500`` or ``5%``."""

    number: Decimal
    is_percent: bool = False

    def __str__(self) -> str:
        return f"{plain(self.number)}{'%' if self.is_percent else ''}"

    def of(self, whole: Decimal) -> Decimal:
        """Return how much it is of a whole."""
        return self.number * whole / 100 if self.is_percent else self.number


@attrs.frozen
class Window:
    """A part of the week, written ``mon-fri 08:00-17:00``: days from 0 for Monday, minutes of the day, the end excluded."""

    days: frozenset[int]
    from_minute: int
    to_minute: int
    text: str

    def __str__(self) -> str:
        return self.text


@attrs.frozen(kw_only=True)
class Cooldown:
    """After so many losses within a time there is a pause."""

    losses: int
    within_min: int
    pause_min: int

    def __str__(self) -> str:
        return f"{self.losses} losses in {self.within_min} min, then {self.pause_min} min pause"


# ---- units: how each kind of value is read


def _number(value: Any, what: str) -> Decimal:
    """Read an exact number. A float is refused, as it need not be what was meant."""
    if not isinstance(value, (Decimal, int, str)) or isinstance(value, bool):
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


def to_money(value: Decimal | int | str) -> Decimal:
    """Return an amount of money.

    Raises:
        BadValue: It is none.
    """
    return _number(value, "an amount in the account's currency")


def to_percent(value: Amount | str) -> Amount:
    """Return a part of something in percent, of text.

    Raises:
        BadValue: It is none.
    """
    if isinstance(value, Amount) and value.is_percent:
        return value
    text = _text_of(value).strip()
    if not text.endswith("%"):
        raise BadValue(f"expected percent as text ('150%'), found {shown(value)}: write it so")
    return Amount(_number(text[:-1], "percent"), is_percent=True)


def to_limit(value: Amount | Decimal | int | str) -> Amount:
    """Return a number, or a part of something in percent.

    Raises:
        BadValue: It is none.
    """
    if isinstance(value, Amount):
        return value
    if isinstance(value, str) and value.strip().endswith("%"):
        return to_percent(value)
    return Amount(_number(value, "a number or percent ('500', '5%')"))


def _whole(value: Any, low: int, high: int, what: str) -> int:
    if isinstance(value, str):
        raise BadValue(f"expected {what}, a whole number, found the text {shown(value)}: write it without quotes and unit")
    return to_whole(value, low, high, what)


def _seconds(value: int) -> int:
    return _whole(value, 1, _SECONDS_MAX, "seconds")


def _count(value: int) -> int:
    return _whole(value, 1, _COUNT_MAX, "a count")


def _slots(value: int | str) -> int | str:
    return BROKER if value == BROKER else _count(value)  # type: ignore[arg-type]


def _points(value: int) -> int:
    return _whole(value, 1, _COUNT_MAX, "points")


def to_flag(value: bool) -> bool:  # noqa: FBT001  # a converter
    """Return what is true or false.

    Raises:
        BadValue: It is none.
    """
    if not isinstance(value, bool):
        raise BadValue(f"expected true or false, found {shown(value)}")
    return value


def _path(value: str) -> str:
    return to_text(value, "the path of a file")


def _list(value: Any, what: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise BadValue(f"expected a list of {what}, found {shown(value)}")
    return list(value)


def _names(value: Iterable[str]) -> frozenset[str]:
    return frozenset(to_text(one, "a symbol") for one in _list(value, "symbols"))


def _sides(value: Iterable[Side | str]) -> frozenset[Side]:
    return frozenset(map(to_side, _list(value, "sides (buy, sell)")))


def _unknown_scope(value: UnknownScope | str) -> UnknownScope:
    return to_word(value, UnknownScope)


def to_day_base(value: DayBase | str) -> DayBase:
    """Return what a day's loss counts from, by its word.

    Raises:
        BadValue: It is none.
    """
    return to_word(value, DayBase)


def _loss_base(value: LossBase | str) -> LossBase:
    return to_word(value, LossBase)


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def to_zone(value: str) -> str:
    """Return a zone by its one spelling, or the server's own clock.

    Raises:
        BadValue: It is none.
    """
    return value if value == SERVER else ClockRule(value).name


def to_time_of_day(value: str) -> str:
    """Return a time of day, as text.

    Raises:
        BadValue: It is none.
    """
    if not _TIME_OF_DAY.fullmatch(_text_of(value)):
        raise BadValue(f"expected a time of day ('17:00'), found {shown(value)}")
    return value


def _windows(value: Iterable[Window | str]) -> tuple[Window, ...]:
    windows = tuple(one if isinstance(one, Window) else _window(one) for one in _list(value, "hours"))
    if not windows:
        raise BadValue("expected at least one window of hours, found none: leave the rule out to not check it")
    return windows


def _window(value: Any) -> Window:
    text = " ".join(_text_of(value).lower().split())
    found = _WINDOW.fullmatch(text)
    if found and found[1] in _DAYS and (found[2] or found[1]) in _DAYS:
        first, last = _DAYS.index(found[1]), _DAYS.index(found[2] or found[1])
        days = frozenset((first + step) % len(_DAYS) for step in range((last - first) % len(_DAYS) + 1))
        from_minute, to_minute = (int(found[hour]) * _HOUR_MINUTES + int(found[hour + 1]) for hour in (3, 5))
        is_minute = max(int(found[4]), int(found[6])) < _HOUR_MINUTES
        if is_minute and from_minute < to_minute <= _DAY_MINUTES:
            return Window(days, from_minute, to_minute, text)
    raise BadValue(
        f"expected hours as 'mon-fri 08:00-17:00', up to 24:00, found {shown(value)}: write two windows for one over midnight"
    )


def _cooldown(value: Cooldown | Mapping[str, int]) -> Cooldown:
    if isinstance(value, Cooldown):
        return value
    names = tuple(one.name for one in attrs.fields(Cooldown))
    given: Any = value
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise BadValue(f"expected {', '.join(names)} as a mapping, found {shown(value)}")
    return Cooldown(**{name: _count(value[name]) for name in names})


def _strategies(value: Mapping[str, Any] | tuple[tuple[str, Limits], ...]) -> tuple[tuple[str, Limits], ...]:
    given: Any = value
    pairs = dict(given) if isinstance(given, (Mapping, tuple)) else {}
    if not pairs:
        raise BadValue(f"expected strategies as a mapping of name to rules, found {shown(value)}")
    return tuple(sorted((to_text(name, "a strategy"), _strategy(name, rules)) for name, rules in pairs.items()))


def _strategy(name: str, rules: Any) -> Limits:
    if isinstance(rules, Limits):
        return rules
    if not isinstance(rules, Mapping) or not rules or not rules.keys() <= _OF_A_STRATEGY:
        known = ", ".join(sorted(_OF_A_STRATEGY))
        raise BadValue(f"strategy {name}: expected a mapping of rules ({known}), found {shown(rules)}")
    return Limits.of_rules(rules)


@attrs.frozen(kw_only=True)
class Limits:
    """The rules that order requests have to meet. A rule that is None is not checked.

    ```python
    Limits(volume_per_order_max="0.50", symbols=["EURUSD"], kill_switch_file="/var/lib/ledger/stop")
    ```

    Numbers are exact: a Decimal, a whole number or text; floats are refused. What each rule means, its unit and what denies is
    in docs/reference/limits.md. Those with a default that is not None set how another rule counts, or are always checked.

    Raises:
        BadValue: A rule is not of its unit, or one that it needs is missing.
    """

    verified_within_sec: int = attrs.field(default=VERIFIED_WITHIN_SEC, converter=_seconds)
    unknown_scope: UnknownScope = attrs.field(default=UnknownScope.SYMBOL, converter=_unknown_scope)
    kill_switch_file: str | None = attrs.field(default=None, converter=optional(_path))
    symbols: frozenset[str] | None = attrs.field(default=None, converter=optional(_names))
    sides: frozenset[Side] | None = attrs.field(default=None, converter=optional(_sides))
    one_position: bool | None = attrs.field(default=None, converter=optional(to_flag))
    volume_step: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    symbol_step: bool | None = attrs.field(default=None, converter=optional(to_flag))
    volume_per_order_max: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_per_order_min: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_per_symbol_max: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    volume_total_max: Decimal | None = attrs.field(default=None, converter=optional(_lots))
    positions_max: int | None = attrs.field(default=None, converter=optional(_count))
    orders_max: int | str | None = attrs.field(default=None, converter=optional(_slots))
    exit_slots: int | None = attrs.field(default=None, converter=optional(_count))
    orders_per_minute_max: int | None = attrs.field(default=None, converter=optional(_count))
    orders_per_day_max: int | None = attrs.field(default=None, converter=optional(_count))
    same_request_within_sec: int | None = attrs.field(default=None, converter=optional(_seconds))
    hours: tuple[Window, ...] | None = attrs.field(default=None, converter=optional(_windows))
    hours_zone: str = attrs.field(default=SERVER, converter=to_zone, metadata={"of": ("hours",)})
    no_new_within_sec: int | None = attrs.field(default=None, converter=optional(_seconds))
    cooldown_after_losses: Cooldown | None = attrs.field(default=None, converter=optional(_cooldown))
    tick_age_max_sec: int | None = attrs.field(default=None, converter=optional(_seconds))
    price_collar: Amount | None = attrs.field(default=None, converter=optional(to_limit))
    stops_required: bool | None = attrs.field(default=None, converter=optional(to_flag))
    stop_distance_max: int | None = attrs.field(default=None, converter=optional(_points))
    risk_per_order_max: Decimal | None = attrs.field(default=None, converter=optional(to_money))
    notional_per_order_max: Decimal | None = attrs.field(default=None, converter=optional(to_money))
    notional_total_max: Decimal | None = attrs.field(default=None, converter=optional(to_money))
    margin_free_min: Decimal | None = attrs.field(default=None, converter=optional(to_money))
    margin_level_min: Amount | None = attrs.field(default=None, converter=optional(to_percent))
    daily_loss_max: Amount | None = attrs.field(default=None, converter=optional(to_limit))
    daily_base: DayBase = attrs.field(default=DayBase.HIGHER, converter=to_day_base, metadata={"of": ("daily_loss_max",)})
    day: str = attrs.field(default=SERVER, converter=to_zone, metadata={"of": _OF_A_DAY})
    day_start: str = attrs.field(default="00:00", converter=to_time_of_day, metadata={"of": _OF_A_DAY})
    loss_total_max: Amount | None = attrs.field(default=None, converter=optional(to_limit))
    loss_total_base: LossBase = attrs.field(default=LossBase.STATIC, converter=_loss_base, metadata={"of": ("loss_total_max",)})
    initial_balance: Decimal | None = attrs.field(default=None, converter=optional(to_money))
    strategies_max: tuple[tuple[str, Limits], ...] | None = attrs.field(default=None, converter=optional(_strategies))

    def __attrs_post_init__(self) -> None:
        if self.exit_slots is not None and self.orders_max is None:
            raise BadValue("exit_slots are of orders_max, found none: state it, or orders_max = 'broker'")
        if self.loss_total_max is not None and self.loss_total_base is LossBase.STATIC and self.initial_balance is None:
            raise BadValue("loss_total_max counts from initial_balance, found none: state it, or loss_total_base = 'trailing'")
        if self.no_new_within_sec is not None and self.no_new_within_sec * 1000 >= _DAY_MINUTES * MINUTE_MSC // 2:
            raise BadValue(f"expected no_new_within_sec of less than half a day, found {self.no_new_within_sec}")

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
        return {one.name: _json(getattr(self, one.name)) for one in attrs.fields(type(self)) if self._is_recorded(one)}

    def _is_recorded(self, one: attrs.Attribute[Any]) -> bool:
        """Return whether a rule is recorded: not one that is not checked, nor how it counts."""
        value = getattr(self, one.name)
        if value is None:
            return False
        rules = one.metadata.get("of")
        return rules is None or value != one.default or any(getattr(self, name) is not None for name in rules)

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
        case Amount() | Window():
            return str(value)
        case Cooldown():
            return attrs.asdict(value)
        case frozenset():
            return sorted(map(_json, value))
        case Limits():
            return {name: rule for name, rule in value.rules.items() if name in _OF_A_STRATEGY}
        case ((str(), Limits()), *_):
            return {name: _json(limits) for name, limits in value}
        case tuple():
            return [_json(one) for one in value]
        case _:
            return value
