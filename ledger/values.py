"""The small values everything else is made of: accounts, sides, codes and exact numbers.

Broker codes follow the enumerations of the MetaTrader 5 documentation (MQL5 Reference, "Deal Properties" and "Account
Properties"). Codes that are not listed there are kept as the numbers they are.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from enum import Enum, IntEnum
from typing import Final

from attrs import field, frozen

from ledger.errors import BadValue, InexactNumber

INT64_MAX: Final = 2**63 - 1

#: Decimal digits kept by the scaled 64-bit integers of the journal, where the account or the symbol says nothing else.
MONEY_SCALE: Final = 6
PRICE_SCALE: Final = 8
VOLUME_SCALE: Final = 8

Number = Decimal | int | float | str

# The engine that we are part of may have set any precision for its own sums.
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)
_MAGNITUDE_MAX: Final = 400  # the smallest double is about 10^-324
_LEAST_DIRT: Final = Decimal("0.0001")
_MOST_DIRT: Final = Decimal("0.25")
_UNITS_IN_THE_LAST_PLACE: Final = Decimal(2**47)


def _server(value: str) -> str:
    text = str(value).strip()
    if not text or "/" in text or "\x00" in text:
        raise BadValue(f"a trade server needs a name without '/', found {value!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadValue(f"a trade server's name must be valid Unicode, found {value!r}") from None
    return text


def _login(value: int | str) -> int:
    try:
        login = int(value)
    except (TypeError, ValueError, OverflowError):
        raise BadValue(f"a login is a whole number, found {value!r}") from None
    if isinstance(value, bool) or (not isinstance(value, str) and login != value):
        raise BadValue(f"a login is a whole number, found {value!r}")
    if not 0 <= login <= INT64_MAX:
        raise BadValue(f"a login is between 0 and 2^63-1, found {login}")
    return login


@frozen(order=True, cache_hash=True)
class AccountId:
    """One broker login on one trade server; written ``SERVER/LOGIN``."""

    server: str = field(converter=_server)
    login: int = field(converter=_login)

    def __str__(self) -> str:
        return f"{self.server}/{self.login}"

    @classmethod
    def parse(cls, text: str) -> AccountId:
        """Read ``SERVER/LOGIN``.

        Raises:
            BadValue: There is no slash, no server or no number after it.
        """
        server, slash, login = text.rpartition("/")
        if not slash:
            raise BadValue(f"an account is written SERVER/LOGIN, found {text!r}")
        return cls(server, login)


class Side(Enum):
    """Which way a deal trades or a position stands."""

    BUY = "buy"
    SELL = "sell"

    @property
    def code(self) -> int:
        """Deal type and position type of MT5: 0 buy, 1 sell."""
        return 0 if self is Side.BUY else 1

    @property
    def opposite(self) -> Side:
        """The side that closes it."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Entry(IntEnum):
    """What a deal does to its position (``ENUM_DEAL_ENTRY``)."""

    IN = 0
    OUT = 1
    IN_OUT = 2
    OUT_BY = 3


ENTRY_WORDS: Final[dict[str, Entry]] = {
    "in": Entry.IN,
    "out": Entry.OUT,
    "in/out": Entry.IN_OUT,
    "out by": Entry.OUT_BY,
}
_WORD_OF_ENTRY: Final[dict[int, str]] = {entry: word for word, entry in ENTRY_WORDS.items()}


class MarginMode(Enum):
    """How an account books positions (``ENUM_ACCOUNT_MARGIN_MODE``)."""

    NETTING = "netting"
    EXCHANGE = "exchange"
    HEDGING = "hedging"

    @property
    def nets(self) -> bool:
        """One position per symbol instead of one per opening order."""
        return self is not MarginMode.HEDGING


#: Deal types that are not trades, by code, with the words the terminal and we write (``ENUM_DEAL_TYPE``).
CASH_WORDS: Final[dict[int, str]] = {
    2: "balance",
    3: "credit",
    4: "charge",
    5: "correction",
    6: "bonus",
    7: "commission",
    8: "commission daily",
    9: "commission monthly",
    10: "commission agent daily",
    11: "commission agent monthly",
    12: "interest",
    13: "buy canceled",
    14: "sell canceled",
    15: "dividend",
    16: "dividend franked",
    17: "tax",
}
CREDIT: Final = 3
CANCELED: Final = frozenset({13, 14})

#: Deal reasons of the client API (``ENUM_DEAL_REASON``); servers know more, those stay numbers.
REASON_WORDS: Final[dict[int, str]] = {
    0: "client",
    1: "mobile",
    2: "web",
    3: "expert",
    4: "sl",
    5: "tp",
    6: "so",
    7: "rollover",
    8: "vmargin",
    9: "split",
}

#: Decimals of account currencies that do not have two (ISO 4217 minor units; crypto as MT5 servers set them).
_CURRENCY_DIGITS: Final = {
    **dict.fromkeys(("JPY", "KRW", "VND", "CLP", "ISK", "PYG", "UGX", "XAF", "XOF"), 0),
    **dict.fromkeys(("KWD", "BHD", "OMR", "JOD", "TND"), 3),
    **dict.fromkeys(("BTC", "XBT", "ETH", "LTC", "BCH"), 8),
}


def currency_digits(currency: str) -> int:
    """Return how many decimals a currency's amounts are shown with."""
    return _CURRENCY_DIGITS.get(currency.upper(), 2)


def to_side(value: Side | str | int) -> Side:
    """Read a side from a word in any case or from MT5's code.

    Raises:
        BadValue: Neither buy nor sell.
    """
    if isinstance(value, Side):
        return value
    if isinstance(value, str) and value.strip().lower() in ("buy", "sell"):
        return Side(value.strip().lower())
    if value in (0, 1) and not isinstance(value, (bool, str)):
        return Side.BUY if value == 0 else Side.SELL
    raise BadValue(f"a side is 'buy' or 'sell' (or 0 or 1), found {value!r}")


def to_entry(value: Entry | str | int) -> Entry | int:
    """Read a deal's entry from a word or a code; a code that MT5 does not document stays a number.

    Raises:
        BadValue: An unknown word, or not a number from 0 on.
    """
    if isinstance(value, str):
        entry = ENTRY_WORDS.get(value.strip().lower())
        if entry is not None:
            return entry
        if not value.strip().isdecimal():
            raise BadValue(f"an entry is one of {', '.join(ENTRY_WORDS)}, found {value!r}")
    try:
        code = int(value)
    except (TypeError, ValueError, OverflowError):
        raise BadValue(f"an entry is a word or a code, found {value!r}") from None
    if isinstance(value, bool) or (not isinstance(value, str) and code != value) or not 0 <= code <= INT64_MAX:
        raise BadValue(f"an entry code is a number from 0 on, found {value!r}")
    return Entry(code) if code in Entry._value2member_map_ else code


def entry_word(entry: Entry | int) -> str:
    """Return the word for an entry; a code without one is written as its number."""
    return _WORD_OF_ENTRY.get(entry, str(int(entry)))


def to_margin_mode(value: MarginMode | str | int) -> MarginMode:
    """Read a margin mode from a word (``hedge`` and ``retail ...`` too) or from MT5's code 0, 1, 2.

    Raises:
        BadValue: Not a known mode; a wrong guess would net hedged positions.
    """
    if isinstance(value, MarginMode):
        return value
    if not isinstance(value, bool) and value in (0, 1, 2):
        return (MarginMode.NETTING, MarginMode.EXCHANGE, MarginMode.HEDGING)[int(value)]
    word = str(value).strip().lower().replace("_", " ").removeprefix("retail ")
    word = {"hedge": "hedging", "net": "netting"}.get(word, word)
    try:
        return MarginMode(word)
    except ValueError:
        raise BadValue(f"a mode is netting, hedging or exchange, found {value!r}") from None


def exact(value: Number) -> Decimal:
    """Convert a number once, at the edge: a float through its shortest decimal text, never through its bits.

    Raises:
        InexactNumber: Not a finite number, or too large or too small for anything that is traded.
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool):
        raise InexactNumber(f"expected a number, found {value!r}")
    elif isinstance(value, float):
        number = Decimal(float.__repr__(value))  # other libraries' floats write themselves otherwise
    else:
        try:
            number = Decimal(value)
        except (InvalidOperation, TypeError, ValueError):
            raise InexactNumber(f"expected a number, found {value!r}") from None
    if not number.is_finite():
        raise InexactNumber(f"expected a finite number, found {value!r}")
    if not -_MAGNITUDE_MAX < number.adjusted() < _MAGNITUDE_MAX:
        raise InexactNumber(f"expected a number of a size that is traded, found {value!r}")
    return number


def scaled(number: Decimal, scale: int, what: str, step: int | None = None) -> int:
    """Return ``number * 10**scale`` as a 64-bit integer.

    Binary dirt (a few units in the last place of a double, as in -1.8900000000000001) is quantised away; anything that
    would change the value by more is refused.

    Args:
        number: A finite decimal.
        scale: Decimal digits to keep.
        what: Name of the field, for the error.
        step: Decimal digits that such numbers have at the broker, where they are known: a double of a large amount is
            dirty before the last digit that is kept, but not before the last that it has.

    Raises:
        InexactNumber: More digits than the scale keeps, or too large for 64 bits.
    """
    shifted = number.scaleb(scale, _EXACT)
    whole = int(shifted)
    if whole != shifted:
        whole = _cleaned(number, scale, what, step)
    if not -INT64_MAX <= whole <= INT64_MAX:
        most = INT64_MAX // 10**scale
        raise InexactNumber(f"{what} {number} does not fit: with {scale} decimals at most {most} does", what=what)
    return whole


def _cleaned(number: Decimal, scale: int, what: str, step: int | None) -> int:
    """Return a number that is no whole number of units of a scale, without binary dirt; else refuse it."""
    whole = _without_dirt(number, scale)
    if whole is None and step is not None and step < scale:
        steps = _without_dirt(number, step)
        whole = None if steps is None else steps * 10 ** (scale - step)
    if whole is None:
        raise InexactNumber(
            f"{what} {number} does not fit: at most {scale} decimals can be kept exactly. "
            "Round it at its source, or give the account or symbol a finer scale.",
            what=what,
        )
    return whole


def _without_dirt(number: Decimal, scale: int) -> int | None:
    """Return a number in whole units of a scale, without binary dirt; None if it has more than that."""
    shifted = number.scaleb(scale, _EXACT)
    nearest = shifted.to_integral_value(ROUND_HALF_EVEN, _EXACT)
    # Arithmetic on doubles leaves errors of some units in the 53rd bit; a ten-thousandth of the last digit kept is
    # the floor for results near zero. Both are far below half a unit, so that a real digit is never taken for dirt.
    dirt = max(_LEAST_DIRT, _EXACT.divide(shifted.copy_abs(), _UNITS_IN_THE_LAST_PLACE))
    if _EXACT.subtract(shifted, nearest).copy_abs() > dirt or dirt >= _MOST_DIRT:
        return None
    return int(nearest)


def rounded(number: Decimal, scale: int, what: str) -> int:
    """Return ``number * 10**scale`` as a 64-bit integer, rounded half to even. For averages, which nobody can tell exactly.

    Raises:
        InexactNumber: Too large for 64 bits.
    """
    whole = int(number.scaleb(scale, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT))
    if not -INT64_MAX <= whole <= INT64_MAX:
        raise InexactNumber(f"{what} {number} does not fit: with {scale} decimals at most {INT64_MAX // 10**scale} does")
    return whole


def unscaled(value: int, scale: int) -> Decimal:
    """Return the decimal that a scaled integer stands for."""
    return Decimal(value).scaleb(-scale, _EXACT)


def plain(number: Decimal, *, decimals: int = 0) -> str:
    """Write a decimal without exponent and trailing zeros, but with at least ``decimals`` places."""
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in ("-0", ""):
        text = "0"
    if decimals:
        whole, _, fraction = text.partition(".")
        text = f"{whole}.{fraction.ljust(decimals, '0')}"
    return text
