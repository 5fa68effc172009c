"""The argument rules of the package ``MetaTrader5``: what it accepts, refuses with -2, or answers with a SystemError.

The package checks arguments before it sends anything. The rules were measured with version 5.0.6231 without a terminal: see
``ledger.testing.mt5.argument_table``. What was not measured follows the C types that the library reads its arguments with.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import FrameType
from typing import Any, Final

from attrs import field, frozen

TEXT_UNITS_MAX: Final = 29  # UTF-16 code units of a symbol or a comment
_GROUP_UNITS_MAX: Final = 1997
_PATH_UNITS_MAX: Final = 257
NO_POSITIONAL: Final = "Unnamed arguments not allowed"
INVALID: Final = "Invalid arguments"
_TOO_MANY: Final = "Invalid number of arguments"

#: The least and the largest number of each C type. On Windows a long has 32 bits.
_C_TYPES: Final[Mapping[str, tuple[int, int]]] = {
    "long": (-(2**31), 2**31 - 1),
    "unsigned long": (0, 2**32 - 1),
    "long long": (-(2**63), 2**63 - 1),
    "unsigned long long": (0, 2**64 - 1),
}
#: The fields of a request, in the order in which the package checks them, and how it reads each.
_REQUEST: Final[Mapping[str, str]] = {
    "action": "unsigned long", "magic": "unsigned long long", "order": "unsigned long long", "symbol": "text",
    "volume": "float", "price": "float", "stoplimit": "float", "sl": "float", "tp": "float",
    "deviation": "unsigned long long", "type": "unsigned long", "type_filling": "unsigned long",
    "type_time": "unsigned long", "expiration": "long long", "comment": "text", "position": "unsigned long long",
    "position_by": "unsigned long long",
}  # fmt: skip


class ArgumentRefused(Exception):
    """The package returns None, and ``last_error`` is -2 with this text."""


class ArgumentOverflow(ArgumentRefused):
    """A number does not fit its C type: the package sets ``last_error`` so too, but a SystemError is raised."""


@frozen
class RowFilter:
    """Which rows of ``positions_get`` and ``orders_get`` are asked for; None: not given."""

    symbol: str | None = None
    group: str | None = None
    ticket: int | None = None


@frozen
class HistoryFilter:
    """Which rows of the history are asked for: a span of whole seconds on the server's clock, or one order or position."""

    from_sec: int | None = None
    to_sec: int | None = None
    group: str | None = None
    ticket: int | None = None
    position: int | None = None


@frozen(kw_only=True)
class Login:
    """What ``initialize`` and ``login`` are called with; None: not given."""

    path: str | None = None
    login: int | None = None
    password: str | None = None
    server: str | None = None
    timeout: int | None = None
    portable: bool = field(default=False, converter=bool)


# ---- rows and history


def read_row_filter(args: tuple[Any, ...], filters: Mapping[str, Any]) -> RowFilter:
    """Read the arguments of ``positions_get`` or ``orders_get``: keywords only, never None.

    A ticket goes before a symbol and a symbol before a group: what comes after is not looked at, nor are unknown keywords.

    Raises:
        ArgumentRefused: The package would refuse them.
        ArgumentOverflow: The package would raise a SystemError.
    """
    if args:
        raise ArgumentRefused(NO_POSITIONAL)
    if "ticket" in filters:
        return RowFilter(ticket=_whole(filters, "ticket"))
    if "symbol" in filters:
        return RowFilter(symbol=_text(filters, "symbol"))
    return RowFilter(group=_text(filters, "group", _GROUP_UNITS_MAX))


def read_history_filter(args: tuple[Any, ...], filters: Mapping[str, Any]) -> HistoryFilter:
    """Read the arguments of ``history_orders_get`` or ``history_deals_get``. Raises as ``read_row_filter``.

    Two dates go before a ticket and a ticket before a position: what comes after is not looked at.
    """
    if len(args) == 2:
        from_sec, to_sec = read_dates(args)
        return HistoryFilter(from_sec, to_sec, group=_text(filters, "group", _GROUP_UNITS_MAX))
    name = next((one for one in ("ticket", "position") if one in filters), None)
    if name is None:
        raise ArgumentRefused(INVALID)
    if args:
        raise ArgumentRefused(NO_POSITIONAL)
    number = _whole(filters, name)
    return HistoryFilter(ticket=number) if name == "ticket" else HistoryFilter(position=number)


def read_dates(args: tuple[Any, ...]) -> tuple[int, int]:
    """Read two moments, each a number or a datetime, as whole seconds of 32 bits. Raises as ``read_row_filter``."""
    if len(args) != 2:
        raise ArgumentRefused(INVALID)
    first, last = (_seconds(one) for one in args)
    return first, last


def _seconds(value: object) -> int:
    low, high = _C_TYPES["long"]
    if isinstance(value, int):
        if not low <= value <= high:
            raise ArgumentOverflow(INVALID)
        return int(value)
    if isinstance(value, datetime):
        try:
            value = value.timestamp()
        except (ValueError, OverflowError, OSError):  # Python's own, of a year that the platform cannot convert
            raise ArgumentOverflow(INVALID) from None
    if not isinstance(value, float):
        raise ArgumentRefused(INVALID)
    return int(value) if low <= value <= high else low  # as the processor converts what does not fit, or is no number


def read_group(args: tuple[Any, ...], filters: Mapping[str, Any]) -> str | None:
    """Read the arguments of ``symbols_get``: a group, with or without its name. Raises as ``read_row_filter``."""
    if len(args) > 1:
        raise ArgumentRefused(_TOO_MANY)
    if args and not _is_text(args[0], _GROUP_UNITS_MAX):
        raise ArgumentRefused("Invalid 1st unnamed argument")
    return _text(filters, "group", _GROUP_UNITS_MAX) if "group" in filters else next(iter(args), None)


def read_symbol(args: tuple[Any, ...]) -> str:
    """Read the one argument of ``symbol_info`` and ``symbol_info_tick``. Raises as ``read_row_filter``."""
    if len(args) != 1 or not _is_text(args[0]):
        raise ArgumentRefused(INVALID)
    return str(args[0])


def read_selection(args: tuple[Any, ...]) -> tuple[str, bool]:
    """Read the arguments of ``symbol_select``: a symbol and whether it is shown. Raises as ``read_row_filter``."""
    if len(args) not in (1, 2) or not _is_text(args[0]):
        raise ArgumentRefused(INVALID)
    return args[0], bool(args[1]) if len(args) == 2 else True


def read_calculation(args: tuple[Any, ...], numbers: int) -> tuple[int, str, tuple[float, ...]]:
    """Read an order type, a symbol and so many numbers. Raises as ``read_row_filter``."""
    if len(args) != 2 + numbers:
        raise ArgumentRefused(INVALID)
    kind, symbol, *values = args
    if not isinstance(kind, int) or not all(isinstance(value, (int, float, Decimal)) for value in values):
        raise ArgumentOverflow(INVALID)  # the exception of the conversion stays
    if not _is_text(symbol):
        raise ArgumentRefused(INVALID)
    try:
        return kind, symbol, tuple(float(value) for value in values)
    except (OverflowError, ValueError):  # an int beyond every double, a signalling NaN
        raise ArgumentOverflow(INVALID) from None


# ---- connections


def read_initialize(args: tuple[Any, ...], named: Mapping[str, Any]) -> Login:
    """Read the arguments of ``initialize``: a path, all else by keyword. Raises as ``read_row_filter``."""
    if len(args) > 1:
        raise ArgumentRefused(_TOO_MANY)
    if args and not isinstance(args[0], str):
        raise ArgumentRefused("Invalid 1st unnamed argument")
    given = ({"path": args[0]} if args else {}) | dict(named)
    return _login(given)


def read_login(args: tuple[Any, ...], named: Mapping[str, Any]) -> Login:
    """Read the arguments of ``login``: the number, the password, the server. Raises as ``read_row_filter``."""
    if len(args) > 3:
        raise ArgumentRefused(_TOO_MANY)
    for value, kind, place in zip(args, (int, str, str), ("1st", "2nd", "3rd"), strict=False):
        if not isinstance(value, kind):
            raise ArgumentRefused(f"Invalid {place} unnamed argument")
    given = dict(zip(("login", "password", "server"), args, strict=False)) | dict(named)
    if "login" not in given:
        raise ArgumentRefused(INVALID)
    return _login(given)


def _login(given: Mapping[str, Any]) -> Login:
    return Login(
        login=_whole(given, "login"),
        server=_text(given, "server", _PATH_UNITS_MAX),
        password=_text(given, "password", _PATH_UNITS_MAX),
        timeout=_whole(given, "timeout", "unsigned long"),
        path=_text(given, "path", _PATH_UNITS_MAX),
        portable=given.get("portable", False),
    )


# ---- requests


def read_request(args: tuple[Any, ...], named: Mapping[str, Any], *, is_splat: bool) -> dict[str, Any]:
    """Read the request of ``order_send`` or ``order_check``: one dict, or its fields as keywords.

    Args:
        args: Positional arguments.
        named: Keyword arguments. They are the request themselves: ``order_send(request=...)`` is accepted, as a request
            without any field that the package knows.
        is_splat: Whether the call passed ``**`` of a mapping, be it empty: see ``passes_mapping``.

    Returns:
        The fields that the package knows; what it does not know is left out, as it is not sent.

    Raises:
        ArgumentRefused: The package would refuse it.
        ArgumentOverflow: The package would raise a SystemError.
    """
    has_mapping = bool(named) or is_splat
    if args and has_mapping:
        raise ArgumentRefused(NO_POSITIONAL)
    if not has_mapping and len(args) != 1:
        raise ArgumentRefused(_TOO_MANY)
    request = named if has_mapping else args[0]
    if not isinstance(request, dict):
        raise ArgumentRefused(INVALID)
    for name, kind in _REQUEST.items():
        if name in request:
            _check_field(name, kind, request[name])
    return {name: request[name] for name in _REQUEST if name in request}


def _check_field(name: str, kind: str, value: object) -> None:
    if kind == "text":
        _text({name: value}, name)
    elif kind != "float":
        _whole({name: value}, name, kind)
    elif not isinstance(value, float):
        raise _refused(name)


def utf16_units(text: str) -> int:
    """Return how many UTF-16 code units a text has: an emoji has two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def passes_mapping(caller: FrameType) -> bool:
    """Return whether the call under way in a frame passes ``**`` of a mapping, be it an empty one.

    A C function sees an empty mapping, which the package refuses beside a positional argument; a Python function does not.
    So the calling instruction is looked at.
    """
    code, at = caller.f_code.co_code, caller.f_lasti
    if at < 0 or dis.opname[code[at]] != "CALL_FUNCTION_EX":
        return False
    if sys.version_info >= (3, 14):  # it has no flag there: without a mapping, NULL is pushed in its place
        return dis.opname[code[at - 2]] != "PUSH_NULL"
    return bool(code[at + 1] & 1)


# ---- single values


def _is_text(value: object, units_max: int = TEXT_UNITS_MAX) -> bool:
    return isinstance(value, str) and utf16_units(value) <= units_max


def _text(given: Mapping[str, Any], name: str, units_max: int = TEXT_UNITS_MAX) -> str | None:
    if name not in given:
        return None
    if not _is_text(given[name], units_max):
        raise _refused(name)
    return str(given[name])


def _whole(given: Mapping[str, Any], name: str, kind: str = "unsigned long long") -> int | None:
    if name not in given:
        return None
    value, (low, high) = given[name], _C_TYPES[kind]
    if not isinstance(value, int):  # True is one
        raise _refused(name)
    if not low <= value <= high:
        raise ArgumentOverflow(str(_refused(name)))
    return int(value)


def _refused(name: str) -> ArgumentRefused:
    return ArgumentRefused(f'Invalid "{name}" argument')
