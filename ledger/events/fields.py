"""The checks of single fields: converters that return what is stored, or refuse what cannot be, for every event."""

from __future__ import annotations

from decimal import Decimal

from ledger.clock import TIME_MAX_MSC, time_hint
from ledger.errors import BadValue
from ledger.values import INT64_MAX, Number, exact, shown, to_text, to_whole


def to_login(value: int | str) -> int:
    """Return the login of an account."""
    return to_whole(value, 0, INT64_MAX, "a login")


def to_ticket(value: int | str) -> int:
    """Return the ticket of a deal, order or position."""
    return to_whole(value, 1, INT64_MAX - 1, "a ticket")  # the largest number means "no deal" (postings.NO_DEAL)


def to_code(value: int | str) -> int:
    """Return one of MT5's codes."""
    return to_whole(value, 0, 2**31 - 1, "a code")


def to_digits(value: int) -> int:
    """Return a number of decimals."""
    return to_whole(value, 0, 15, "a number of decimals")


def to_time_msc(value: int) -> int:
    """Return a broker server time in milliseconds."""
    try:
        return to_whole(value, 0, TIME_MAX_MSC, "a broker time in milliseconds since 1970")
    except BadValue as error:
        raise BadValue(f"{error}{time_hint(value)}") from None


def to_version(value: int) -> int:
    """Return the version of an event."""
    return to_whole(value, 1, INT64_MAX, "a version")


def to_count(value: int) -> int:
    """Return how often something happened."""
    return to_whole(value, 0, INT64_MAX, "a count")


def to_deals_through(value: int | str) -> int:
    """Return the highest deal ticket that was reported, 0 for none."""
    return to_whole(value, 0, INT64_MAX - 1, "the highest deal ticket")


def to_true_or_none(value: bool | None) -> bool | None:  # noqa: FBT001  # a converter
    """Return True, or None for what is not so or not known."""
    if value is not None and not isinstance(value, bool):
        raise BadValue(f"complete is true or false, found {value!r}")
    return True if value else None


def to_ticket_or_none(value: int | str | None) -> int | None:
    """Return a ticket; None for none, which MT5 writes as 0."""
    if value is None or (isinstance(value, str) and value in ("", "0")):
        return None
    return to_whole(value, 0, INT64_MAX - 1, "a ticket") or None


def storable(value: str) -> str:
    """Return a text that every journal can store.

    Raises:
        BadValue: It is no text, holds a NUL character or is not valid Unicode.
    """
    if not isinstance(value, str):
        raise BadValue(f"expected a text, found {shown(value)} ({type(value).__name__})")
    return to_text(value, "a text") if value.strip() else str(value)


def to_text_or_none(value: str | None) -> str | None:
    """Return a text that every journal can store, None for an empty one."""
    return None if value is None else storable(value) or None


def to_symbol(value: str) -> str:
    """Return the name of a symbol."""
    return to_text(value, "a symbol")


def to_server(value: str) -> str:
    """Return the name of a trade server."""
    return to_text(value, "a trade server")


def to_form(value: str) -> str:
    """Return the name of a protocol form."""
    return to_text(value, "a protocol form")


def to_operator(value: str) -> str:
    """Return who decided something."""
    return to_text(value, "an operator")


def to_reason(value: str) -> str:
    """Return why something was decided or happened."""
    return to_text(value, "a reason")


def to_unsigned(value: Number) -> Decimal:
    """Return a volume in lots, 0 or more."""
    number = exact(value)
    if number < 0:
        raise BadValue(f"a volume has no sign (the side carries it), found {number}")
    return number


def to_positive(value: Number) -> Decimal:
    """Return a volume or size, more than 0."""
    number = exact(value)
    if number <= 0:
        raise BadValue(f"a volume is more than 0 (the side carries the sign), found {number}")
    return number
