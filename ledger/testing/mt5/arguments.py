"""The argument rules of the package ``MetaTrader5``: what it accepts, refuses with -2, or answers with a SystemError.

The package checks arguments before it sends anything. The rules were measured with version 5.0.6231 without a terminal; the
table of ``ledger.testing.mt5.argument_table`` has each measured case. What no case covers follows the C types that the package
reads its fields with: ``unsigned long`` has 32 bits on Windows.
"""

from __future__ import annotations

import dis
import math
import sys
from collections.abc import Mapping
from datetime import datetime
from types import FrameType
from typing import Any, Final

from attrs import field, frozen

COMMENT_UNITS_MAX: Final = 29  # UTF-16 code units
NO_POSITIONAL: Final = "Unnamed arguments not allowed"
INVALID: Final = "Invalid arguments"
_ULONG_MAX: Final = 2**32 - 1
_ULONGLONG_MAX: Final = 2**64 - 1
_LONG_MAX: Final = 2**31 - 1
_OVERFLOW: Final = "<built-in function {}> returned a result with an exception set"

#: The fields of a request, in the order in which the package checks them, and how it reads each.
_REQUEST: Final[Mapping[str, str]] = {
    "action": "ulong", "magic": "ulonglong", "order": "ulonglong", "symbol": "text", "volume": "float", "price": "float",
    "stoplimit": "float", "sl": "float", "tp": "float", "deviation": "ulong", "type": "ulong", "type_filling": "ulong",
    "type_time": "ulong", "expiration": "ulong", "comment": "comment", "position": "ulonglong", "position_by": "ulonglong",
}  # fmt: skip


class ArgumentRefused(Exception):
    """The package returns None, and ``last_error`` is -2 with this text."""


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


def read_row_filter(function: str, args: tuple[Any, ...], filters: Mapping[str, Any]) -> RowFilter:
    """Read the arguments of ``positions_get`` or ``orders_get``: keywords only, never None.

    Raises:
        ArgumentRefused: The package would refuse them.
        SystemError: A number is outside the C type it is read with, as in the package.
    """
    if args:
        raise ArgumentRefused(NO_POSITIONAL)
    return RowFilter(
        symbol=_text(filters, "symbol"),
        group=_text(filters, "group"),
        ticket=_whole(function, filters, "ticket", _ULONGLONG_MAX),
    )


def read_history_filter(function: str, args: tuple[Any, ...], filters: Mapping[str, Any]) -> HistoryFilter:
    """Read the arguments of ``history_orders_get`` or ``history_deals_get``. Raises as ``read_row_filter``."""
    ticket = _whole(function, filters, "ticket", _ULONGLONG_MAX)
    position = _whole(function, filters, "position", _ULONGLONG_MAX)
    if not args and (ticket is not None or position is not None):
        return HistoryFilter(ticket=ticket, position=position)
    from_sec, to_sec = read_dates(function, args)
    return HistoryFilter(from_sec, to_sec, _text(filters, "group"), ticket, position)


def read_dates(function: str, args: tuple[Any, ...]) -> tuple[int, int]:
    """Read two moments, each a number or a datetime, as whole seconds. Raises as ``read_row_filter``."""
    if len(args) != 2:
        raise ArgumentRefused(INVALID)
    first, last = (_seconds(function, one) for one in args)
    return first, last


def _seconds(function: str, value: object) -> int:
    if isinstance(value, datetime):
        try:
            value = value.timestamp()
        except (ValueError, OverflowError, OSError):  # Python's own, of a year that the platform cannot convert
            raise SystemError(_OVERFLOW.format(function)) from None
    if not isinstance(value, (int, float)) or (isinstance(value, float) and math.isnan(value)):
        raise ArgumentRefused(INVALID)
    if not -_LONG_MAX - 1 <= value <= _LONG_MAX:
        raise SystemError(_OVERFLOW.format(function))
    return int(value)


def read_group(args: tuple[Any, ...], filters: Mapping[str, Any]) -> str | None:
    """Read the arguments of ``symbols_get``. Raises as ``read_row_filter``."""
    if args:
        raise ArgumentRefused(NO_POSITIONAL)
    return _text(filters, "group")


def read_symbol(args: tuple[Any, ...], filters: Mapping[str, Any]) -> str:
    """Read the one argument of ``symbol_info`` and ``symbol_info_tick``. Raises as ``read_row_filter``."""
    if len(args) != 1 or filters or not isinstance(args[0], str):
        raise ArgumentRefused(INVALID)
    return args[0]


def read_selection(args: tuple[Any, ...], filters: Mapping[str, Any]) -> tuple[str, bool]:
    """Read the arguments of ``symbol_select``: a symbol and whether it is shown. Raises as ``read_row_filter``."""
    if len(args) not in (1, 2) or filters or not isinstance(args[0], str):
        raise ArgumentRefused(INVALID)
    return args[0], bool(args[1]) if len(args) == 2 else True


def read_nothing(args: tuple[Any, ...], filters: Mapping[str, Any]) -> None:
    """Check the arguments of a function that takes none.

    Raises:
        TypeError: There are some: Python itself refuses them.
    """
    if args or filters:
        raise TypeError(f"the function takes no arguments ({len(args) + len(filters)} given)")


def read_calculation(args: tuple[Any, ...], filters: Mapping[str, Any], numbers: int) -> tuple[int, str, tuple[float, ...]]:
    """Read an order type, a symbol and so many numbers. Raises as ``read_row_filter``."""
    if len(args) != 2 + numbers or filters or not isinstance(args[0], int) or not isinstance(args[1], str):
        raise ArgumentRefused(INVALID)
    if not all(isinstance(number, (int, float)) for number in args[2:]):
        raise ArgumentRefused(INVALID)
    try:
        return args[0], args[1], tuple(float(number) for number in args[2:])
    except OverflowError:  # an int beyond every double
        raise ArgumentRefused(INVALID) from None


# ---- connections


def read_initialize(args: tuple[Any, ...], named: Mapping[str, Any]) -> Login:
    """Read the arguments of ``initialize``: a path, all else by keyword. Raises as ``read_row_filter``."""
    if len(args) > 1:
        raise ArgumentRefused("Invalid number of arguments")
    if args and not isinstance(args[0], str):
        raise ArgumentRefused("Invalid 1st unnamed argument")
    given = ({"path": args[0]} if args else {}) | dict(named)
    return _login("initialize", given)


def read_login(args: tuple[Any, ...], named: Mapping[str, Any]) -> Login:
    """Read the arguments of ``login``: the number, the password, the server. Raises as ``read_row_filter``."""
    if len(args) > 3:
        raise ArgumentRefused("Invalid number of arguments")
    for value, kind, place in zip(args, (int, str, str), ("1st", "2nd", "3rd"), strict=False):
        if not isinstance(value, kind):
            raise ArgumentRefused(f"Invalid {place} unnamed argument")
    given = dict(zip(("login", "password", "server"), args, strict=False)) | dict(named)
    if "login" not in given:
        raise ArgumentRefused(INVALID)
    return _login("login", given)


def _login(function: str, given: Mapping[str, Any]) -> Login:
    return Login(
        login=_whole(function, given, "login", _ULONGLONG_MAX),
        server=_text(given, "server"),
        password=_text(given, "password"),
        timeout=_whole(function, given, "timeout", _ULONG_MAX),
        path=_text(given, "path"),
        portable=given.get("portable", False),
    )


# ---- requests


def read_request(function: str, args: tuple[Any, ...], named: Mapping[str, Any], *, is_splat: bool) -> dict[str, Any]:
    """Read the request of ``order_send`` or ``order_check``: one dict, or its fields as keywords.

    Args:
        function: Its name, for the SystemError.
        args: Positional arguments.
        named: Keyword arguments.
        is_splat: Whether the call passed ``**`` of a mapping, be it empty: see ``passes_mapping``.

    Returns:
        The fields that the package knows; what it does not know is left out, as it is not sent.

    Raises:
        ArgumentRefused: The package would refuse it.
        SystemError: A number is outside the C type it is read with, as in the package.
    """
    if args and (named or is_splat):
        raise ArgumentRefused(NO_POSITIONAL)
    request = args[0] if len(args) == 1 else named.get("request", named)
    if len(args) > 1 or not isinstance(request, dict) or (not args and not named):
        raise ArgumentRefused(INVALID)
    for name, kind in _REQUEST.items():
        if name in request:
            _check_field(function, name, kind, request[name])
    return {name: request[name] for name in _REQUEST if name in request}


def _check_field(function: str, name: str, kind: str, value: object) -> None:
    if kind == "text":
        _text({name: value}, name)
    elif kind == "float":
        if not isinstance(value, float):
            raise _refused(name)
    elif kind == "comment":
        if not isinstance(value, str) or utf16_units(value) > COMMENT_UNITS_MAX:
            raise _refused(name)
    else:
        _whole(function, {name: value}, name, _ULONG_MAX if kind == "ulong" else _ULONGLONG_MAX)


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


def _text(given: Mapping[str, Any], name: str) -> str | None:
    if name not in given:
        return None
    value = given[name]
    if not isinstance(value, str):
        raise _refused(name)
    return value


def _whole(function: str, given: Mapping[str, Any], name: str, highest: int) -> int | None:
    if name not in given:
        return None
    value = given[name]
    if not isinstance(value, int):  # True is one
        raise _refused(name)
    if not 0 <= value <= highest:
        raise SystemError(_OVERFLOW.format(function))
    return int(value)


def _refused(name: str) -> ArgumentRefused:
    return ArgumentRefused(f'Invalid "{name}" argument')
