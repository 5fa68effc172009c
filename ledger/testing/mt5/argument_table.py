"""The table of argument rules of the package ``MetaTrader5``: calls, and how the package answers each without a terminal.

The tests run every case against the fake; ``tools/dev/mt5_arguments.py`` runs them against the package itself, on
Windows or under Wine. No case reaches a terminal: the module must not be initialised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from attrs import field, frozen

NO_CONNECTION: Final = -10004
INVALID: Final = -2
_UNNAMED: Final = "Unnamed arguments not allowed"
_EMOJI: Final = "\N{SLIGHTLY SMILING FACE}"  # two UTF-16 units
_NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
_LATER: Final = datetime(2026, 1, 6, 12, tzinfo=UTC)


class Outcome(Enum):
    """What a call comes to."""

    PASSES = "None, -10004"  # the package accepts the arguments and finds no terminal
    REFUSED = "None, -2"  # and a text of the package
    RAISES = "raises SystemError"
    ANSWERS = "answers"  # a value of the package's own


@frozen(kw_only=True)
class Case:
    """One call.

    Attributes:
        row: The row of the document's table that it belongs to.
        call: The call, as it is written.
        run: Makes the call, on the module that it is given.
        outcome: What it comes to.
        text: Text of ``last_error`` where it is known; None: any text of the package.
        value: What it returns.
        code: Code of ``last_error`` after it; None: any.
    """

    row: str
    call: str
    run: Callable[[Any], object]
    outcome: Outcome
    text: str | None = None
    value: object = None
    code: int | None = field(default=None)


@frozen(kw_only=True)
class Observation:
    """What a call came to."""

    outcome: Outcome
    value: object = None
    error: tuple[int, str] | None = None

    def __str__(self) -> str:
        if self.outcome is Outcome.RAISES:
            return "raised SystemError"
        return f"returned {self.value!r}, last_error {self.error!r}"


def observe(module: Any, case: Case) -> Observation:
    """Make the call of a case.

    Args:
        module: The package or a fake of it, not initialised.
        case: What to call.
    """
    try:
        value = case.run(module)
    except SystemError:
        return Observation(outcome=Outcome.RAISES)
    code, text = module.last_error()
    outcome = Outcome.ANSWERS
    if value is None and code == INVALID and text.startswith(("Invalid", "Unnamed")):
        outcome = Outcome.REFUSED
    elif value is None and code == NO_CONNECTION:
        outcome = Outcome.PASSES
    return Observation(outcome=outcome, value=value, error=(code, text))


def difference(case: Case, seen: Observation) -> str | None:
    """Return in which way a call came to something else than its case says; None where it agrees."""
    agrees = seen.outcome is case.outcome
    if agrees and case.outcome is Outcome.REFUSED:
        agrees = seen.error is not None and case.text in (None, seen.error[1])
    if agrees and case.outcome is Outcome.ANSWERS:
        agrees = seen.value == case.value and (seen.error is None or case.code in (None, seen.error[0]))
    if agrees:
        return None
    expected = case.outcome.value
    if case.text is not None:
        expected += f" with {case.text!r}"
    if case.outcome is Outcome.ANSWERS:
        expected += f" {case.value!r}" + ("" if case.code is None else f" and leaves {case.code}")
    return f"{case.row}: {case.call}: expected: {expected}; found: {seen}"


# ---- the cases

_REQUEST: Final[dict[str, Any]] = {
    "action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "price": 1.05, "sl": 1.0, "tp": 1.1, "deviation": 10,
    "magic": 7, "comment": "note", "type_time": 0, "type_filling": 1,
}  # fmt: skip


def _request(**changes: Any) -> dict[str, Any]:
    return _REQUEST | changes


def _sending(name: str, *args: Any) -> Callable[[Any], object]:
    """Return a call of a function by position alone: without ``**``, which the package would notice."""
    return lambda mt5: getattr(mt5, name)(*args)


def _calling(name: str, *args: Any, **named: Any) -> Callable[[Any], object]:
    return lambda mt5: getattr(mt5, name)(*args, **named)


def _sends(row: str, outcome: Outcome, field_name: str, *values: Any) -> Iterator[Case]:
    """Yield ``order_send`` and ``order_check`` with a field of these values."""
    text = f'Invalid "{field_name}" argument' if outcome is Outcome.REFUSED else None
    for value in values:
        changed = _request(**{field_name: value})
        for name in ("order_send", "order_check"):
            yield Case(
                row=row, call=f"{name}({{..., {field_name!r}: {value!r}}})", outcome=outcome, text=text,
                run=_sending(name, changed),
            )  # fmt: skip


def _field_cases() -> Iterator[Case]:
    passes, refused, raises = Outcome.PASSES, Outcome.REFUSED, Outcome.RAISES
    yield from _sends("comment", passes, "comment", "", "x" * 29, _EMOJI * 14 + "x")
    yield from _sends("comment", refused, "comment", "x" * 30, _EMOJI * 15, None, 7, b"note")
    yield from _sends("magic", passes, "magic", 0, 1, 2**63 - 1, 2**63, 2**64 - 1, True)  # noqa: FBT003  # a bool is a number
    yield from _sends("magic", raises, "magic", -1, 2**64)
    yield from _sends("magic", refused, "magic", 1.0, "7")
    for name in ("volume", "price", "sl", "tp", "stoplimit"):
        yield from _sends("volume, price, sl, tp, stoplimit", refused, name, 1, "1.0", Decimal("1.0"), None)
        yield from _sends("volume, price, sl, tp, stoplimit", passes, name, 1.0)
    yield from _sends("expiration", refused, "expiration", _NOON)
    yield from _sends("expiration", passes, "expiration", 1_767_700_000)
    yield from _sends("deviation", raises, "deviation", -1)


def _form_cases() -> Iterator[Case]:
    """Yield the ways to pass a request."""
    passes, refused = Outcome.PASSES, Outcome.REFUSED
    for row, request in (
        ("unknown keys, no action, no symbol, {}", _request(unknown=1)),
        ("unknown keys, no action, no symbol, {}", {key: value for key, value in _REQUEST.items() if key != "action"}),
        ("unknown keys, no action, no symbol, {}", {key: value for key, value in _REQUEST.items() if key != "symbol"}),
        ("unknown keys, no action, no symbol, {}", {key: value for key, value in _REQUEST.items() if key != "volume"}),
        ("unknown keys, no action, no symbol, {}", {}),
    ):
        yield Case(row=row, call=f"order_send({request})", run=_sending("order_send", request), outcome=passes)
        yield Case(row=row, call=f"order_check({request})", run=_sending("order_check", request), outcome=passes)
    row, text = "f(request, **{})", _UNNAMED
    yield Case(
        row=row, call="order_send(request, **{})", outcome=refused, text=text,
        run=lambda mt5: mt5.order_send(_request(), **{}),  # noqa: PIE804  # the empty mapping is the case
    )  # fmt: skip
    yield Case(
        row=row, call="order_check(request, **{})", outcome=refused, text=text,
        run=lambda mt5: mt5.order_check(_request(), **{}),  # noqa: PIE804
    )  # fmt: skip
    yield Case(
        row=row, call="wrapper(*args, **named) around order_send", outcome=refused, text=text,
        run=lambda mt5: _wrapped(mt5.order_send, _request()),
    )  # fmt: skip
    yield Case(row=row, call="order_send(request)", run=lambda mt5: mt5.order_send(_request()), outcome=passes)
    yield Case(row=row, call="order_send(*[request])", run=lambda mt5: mt5.order_send(*[_request()]), outcome=passes)
    yield Case(row=row, call="order_send(request=request)", run=lambda mt5: mt5.order_send(request=_request()), outcome=passes)
    yield Case(row=row, call="order_send(**request)", run=lambda mt5: mt5.order_send(**_request()), outcome=passes)
    yield Case(
        row=row, call="order_check(request=request)", run=lambda mt5: mt5.order_check(request=_request()), outcome=passes
    )
    yield Case(row=row, call="order_check(**request)", run=lambda mt5: mt5.order_check(**_request()), outcome=passes)


def _wrapped(function: Callable[..., object], *args: Any, **named: Any) -> object:
    return function(*args, **named)


def _filter_cases() -> Iterator[Case]:
    row, refused, passes = "positions_get('EURUSD'), orders_get(None, ticket=1)", Outcome.REFUSED, Outcome.PASSES
    for name in ("positions_get", "orders_get"):
        for call, args, named, outcome in (
            ("('EURUSD')", ("EURUSD",), {}, refused),
            ("(None, ticket=1)", (None,), {"ticket": 1}, refused),
            ("(symbol=None)", (), {"symbol": None}, refused),
            ("(ticket=None)", (), {"ticket": None}, refused),
            ("()", (), {}, passes),
            ("(symbol='EURUSD')", (), {"symbol": "EURUSD"}, passes),
            ("(ticket=1)", (), {"ticket": 1}, passes),
            ("(group='*USD*')", (), {"group": "*USD*"}, passes),
        ):
            yield Case(
                row=row, call=f"{name}{call}", outcome=outcome,
                run=_calling(name, *args, **named),
            )  # fmt: skip


def _history_cases() -> Iterator[Case]:
    row, passes, refused = "history_*_get()", Outcome.PASSES, Outcome.REFUSED
    spans: tuple[tuple[str, tuple[Any, ...], Outcome], ...] = (
        ("()", (), refused), ("(None, None)", (None, None), refused), ("(one date)", (_NOON,), refused),
        ("(text, text)", ("2026-01-05", "2026-01-06"), refused), ("(int, int)", (1_767_600_000, 1_767_700_000), passes),
        ("(float, float)", (1_767_600_000.0, 1_767_700_000.5), passes), ("(datetime, datetime)", (_NOON, _LATER), passes),
        ("(0, 2**40)", (0, 2**40), Outcome.RAISES),
    )  # fmt: skip
    for name in ("history_orders_get", "history_deals_get"):
        for call, args, outcome in spans:
            text = "Invalid arguments" if outcome is refused else None
            yield Case(
                row=row, call=f"{name}{call}", outcome=outcome, text=text,
                run=_calling(name, *args),
            )  # fmt: skip
        for key in ("ticket", "position"):
            yield Case(
                row=row, call=f"{name}({key}=1)", outcome=passes,
                run=_calling(name, **{key: 1}),
            )  # fmt: skip


def _unconnected_cases() -> Iterator[Case]:
    """Yield what functions answer without a terminal (3.2)."""
    row = "3.2 without a terminal"
    for name in (
        "terminal_info",
        "account_info",
        "positions_total",
        "positions_get",
        "orders_total",
        "orders_get",
    ):
        yield Case(row=row, call=f"{name}()", run=_calling(name), outcome=Outcome.PASSES)
    for name in ("symbol_info", "symbol_info_tick"):
        yield Case(row=row, call=f"{name}('EURUSD')", run=_calling(name, "EURUSD"), outcome=Outcome.PASSES)
    answers = Outcome.ANSWERS
    yield Case(row=row, call="version()", run=lambda mt5: mt5.version(), outcome=answers, value=(0, 0, ""), code=NO_CONNECTION)
    yield Case(row=row, call="symbols_total()", run=lambda mt5: mt5.symbols_total(), outcome=answers, value=None, code=-5)
    yield Case(row=row, call="symbols_get()", run=lambda mt5: mt5.symbols_get(), outcome=answers, value=None, code=-5)
    yield Case(row=row, call="login(1)", run=lambda mt5: mt5.login(1), outcome=answers, value=False)
    yield Case(row=row, call="shutdown()", run=lambda mt5: mt5.shutdown(), outcome=answers, value=True)


def _further_cases() -> Iterator[Case]:
    """Yield what the C types of the library and the order of its checks imply; the document has no row for it."""
    row, passes, refused, raises = "(not in the document)", Outcome.PASSES, Outcome.REFUSED, Outcome.RAISES
    yield from _sends(row, refused, "symbol", "x" * 30, None)
    yield from _sends(row, passes, "symbol", "x" * 29)
    for name in ("order", "position", "position_by", "deviation"):
        yield from _sends(row, passes, name, 2**64 - 1)
        yield from _sends(row, raises, name, -1, 2**64)
        yield from _sends(row, refused, name, 1.0, None)
    for name in ("action", "type", "type_filling", "type_time"):
        yield from _sends(row, passes, name, 2**32 - 1)
        yield from _sends(row, raises, name, -1, 2**32)
        yield from _sends(row, refused, name, 1.0, None)
    yield from _sends(row, passes, "expiration", -(2**63), 2**63 - 1)
    yield from _sends(row, raises, "expiration", 2**63)
    count, invalid = "Invalid number of arguments", "Invalid arguments"
    for name in ("order_send", "order_check"):
        yield Case(row=row, call=f"{name}()", run=_sending(name), outcome=refused, text=count)
        yield Case(row=row, call=f"{name}(**{{}})", run=_calling(name), outcome=passes)
        yield Case(row=row, call=f"{name}(1)", run=_sending(name, 1), outcome=refused, text=invalid)
        yield Case(row=row, call=f"{name}({{}}, 1)", run=_sending(name, {}, 1), outcome=refused, text=count)
    for name in ("positions_get", "orders_get"):
        yield Case(row=row, call=f"{name}(ticket=1, symbol=None)", run=_calling(name, ticket=1, symbol=None), outcome=passes)
        yield Case(row=row, call=f"{name}(other=None)", run=_calling(name, other=None), outcome=passes)
        yield Case(row=row, call=f"{name}(ticket=-1)", run=_calling(name, ticket=-1), outcome=raises)
    for name in ("history_orders_get", "history_deals_get"):
        yield Case(row=row, call=f"{name}(0, ticket=1)", run=_calling(name, 0, ticket=1), outcome=refused, text=_UNNAMED)
        yield Case(row=row, call=f"{name}(0, 1, ticket=None)", run=_calling(name, 0, 1, ticket=None), outcome=passes)
        yield Case(row=row, call=f"{name}(0, 2**31)", run=_calling(name, 0, 2**31), outcome=raises)
        yield Case(row=row, call=f"{name}(0, 2.0**40)", run=_calling(name, 0, 2.0**40), outcome=passes)
    answers = Outcome.ANSWERS
    for call, run in (("(1)", _calling("symbols_get", 1)), ("(group=None)", _calling("symbols_get", group=None))):
        yield Case(row=row, call=f"symbols_get{call}", run=run, outcome=answers, value=False, code=INVALID)
    yield Case(row=row, call="symbol_info()", run=_calling("symbol_info"), outcome=refused, text=invalid)
    run = _calling("order_calc_margin", 0, "EURUSD", "1", 1.0)
    yield Case(row=row, call="order_calc_margin(0, 'EURUSD', '1', 1.0)", run=run, outcome=raises)


CASES: Final[tuple[Case, ...]] = (
    *_field_cases(), *_form_cases(), *_filter_cases(), *_history_cases(), *_unconnected_cases(), *_further_cases(),
)  # fmt: skip
