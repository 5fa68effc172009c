"""MetaTrader 5's codes with their names, and its records as plain dicts.

Codes as the MQL5 Reference lists them (``ENUM_DEAL_TYPE``, ``ENUM_DEAL_ENTRY``, ``ENUM_POSITION_TYPE``,
``ENUM_ACCOUNT_MARGIN_MODE``, ``ENUM_ORDER_TYPE``, ``ENUM_ORDER_STATE``). A code that is not listed there stays the number it
is: a server knows more than its client.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ledger.errors import BadValue
from ledger.values import CASH_WORDS, ENTRY_WORDS, MarginMode, shown

#: What ``last_error`` reports, by code.
LAST_ERRORS: Final[Mapping[int, str]] = {
    1: "success",
    -1: "fail",
    -2: "invalid arguments",
    -3: "no memory",
    -4: "not found",
    -5: "wrong version",
    -6: "authorisation failed",
    -7: "unsupported",
    -8: "auto-trading disabled",
    -10000: "internal error",
    -10001: "sending to the terminal failed",
    -10002: "receiving from the terminal failed",
    -10003: "the terminal could not be started or reached",
    -10004: "no connection to the terminal",
    -10005: "the terminal did not answer in time",
}

SIDE_NAMES: Final[Mapping[int, str]] = {0: "buy", 1: "sell"}
DEAL_TYPE_NAMES: Final[Mapping[int, str]] = {**SIDE_NAMES, **CASH_WORDS}
_DEAL_TYPE_CODES: Final[Mapping[str, int]] = {name: code for code, name in DEAL_TYPE_NAMES.items()}
ORDER_TYPE_NAMES: Final[Mapping[int, str]] = {
    **SIDE_NAMES,
    2: "buy_limit",
    3: "sell_limit",
    4: "buy_stop",
    5: "sell_stop",
    6: "buy_stop_limit",
    7: "sell_stop_limit",
    8: "close_by",
}
ORDER_STATE_NAMES: Final[Mapping[int, str]] = {
    0: "started",
    1: "placed",
    2: "canceled",
    3: "partial",
    4: "filled",
    5: "rejected",
    6: "expired",
    7: "request_add",
    8: "request_modify",
    9: "request_cancel",
}
ENTRY_NAMES: Final[Mapping[int, str]] = {int(entry): word for word, entry in ENTRY_WORDS.items()}
MARGIN_MODE_NAMES: Final[Mapping[int, str]] = {
    0: MarginMode.NETTING.value,
    1: MarginMode.EXCHANGE.value,
    2: MarginMode.HEDGING.value,
}


def name_of(code: Any, names: Mapping[int, str]) -> Any:
    """Return the name of a code; whatever has none is returned as it is."""
    return names.get(code, code) if type(code) is int else code


def deal_type_of(value: Any) -> tuple[Any, str | None]:
    """Return the code of a deal's type, and None; for a word that has no code, None and the word.

    A word may be ours, as ``commission daily``, or the name of the constant, as ``DEAL_TYPE_COMMISSION_DAILY`` or ``DEAL_TAX``.
    A number, also one that is written as text, is returned as it is: what may be a code is for the caller to check.
    """
    if type(value) is not str:
        return value, None
    text = value.strip()
    if text.isdecimal():
        return text, None
    word = text.lower().removeprefix("deal_").removeprefix("type_").replace("_", " ")
    code = _DEAL_TYPE_CODES.get(word)
    return code, None if code is not None else word


def order_code_of(value: Any, names: Mapping[int, str]) -> Any:
    """Return the code of a word of ``ORDER_TYPE_NAMES`` or ``ORDER_STATE_NAMES``; whatever is no such word as it is."""
    return next((code for code, name in names.items() if name == value), value) if type(value) is str else value


def to_row(record: Any) -> dict[str, Any]:
    """Return a record of the module as a plain dict of its own: a struct sequence, a proxy of one, or a dict.

    Records of the module are read-only, cannot be pickled and, behind a proxy, are read over the wire: copy them at once.

    Raises:
        BadValue: It is none.
    """
    as_dict = getattr(record, "_asdict", None)  # asked for first: a proxy may have no class of its own to look at
    if as_dict is None and isinstance(record, Mapping):
        return dict(record)
    if as_dict is None:
        raise BadValue(
            f"expected a record of MetaTrader 5 (it has _asdict) or a dict with its fields, found {shown(record)} "
            f"({type(record).__name__})"
        )
    return _copied(as_dict())


def _copied(found: Any) -> dict[str, Any]:
    """Return a dict of our own. One that stays at the other end of a wire is copied by its text, in one go, where that has all.

    Field by field each would be fetched by itself: forty times the price.
    """
    if type(found) is not dict:
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # nan has no literal
            written = literal_eval(repr(found))
            if type(written) is dict:
                return written
    return dict(found)
