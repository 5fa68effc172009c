"""The small values everything else is made of: accounts, sides, codes and exact numbers.

Broker codes follow the enumerations of the MetaTrader 5 documentation (MQL5 Reference, "Deal Properties" and "Account
Properties"). Codes that are not listed there stay the numbers they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from enum import Enum, IntEnum
from numbers import Integral
from operator import index
from typing import Final, TypeVar

from attrs import field, frozen

from ledger.errors import BadValue, InexactNumber

INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
#: Above it a double cannot distinguish neighbouring whole numbers.
DOUBLE_EXACT: Final = 2**53

#: Decimal digits of the scaled 64-bit integers of the journal, where the account or the symbol states nothing else.
MONEY_SCALE: Final = 6
PRICE_SCALE: Final = 8
VOLUME_SCALE: Final = 8

_Kind = TypeVar("_Kind")
_Words = TypeVar("_Words", bound=Enum)

Number = Decimal | int | float | str

# The engine that we are part of may have set any precision for its own sums.
_EXACT: Final = Context(prec=1200, rounding=ROUND_HALF_EVEN)  # of a double's exact value too
#: Volumes and money are added and multiplied in this context.
EXACT: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)
_MAGNITUDE_MAX: Final = 400  # the smallest double is about 10^-324
_LEAST_DIRT: Final = Decimal("0.0001")
_MOST_DIRT: Final = Decimal("0.25")
_UNITS_IN_THE_LAST_PLACE: Final = Decimal(2**47)
_DIRTY_DIGITS: Final = 16  # every decimal of up to 15 digits is the shortest text of a double of its own
_CANCELLED_UNITS: Final = 64
_WHOLE: Final = re.compile(r"-?[0-9]{1,20}")
_SHOWN_MAX: Final = 80
_AMOUNT_MAX: Final = 1e9


def shown(value: object) -> str:
    """Return a value as an error message shows it: its ``repr``, escaped and cut to a line, whatever it is."""
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001  # a foreign class may raise anything, and an int of 5,000 digits raises ValueError
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."


def to_whole(value: object, low: int, high: int, what: str) -> int:
    """Read a whole number: an integer of any library, or its decimal digits as text. Never a float or a Decimal.

    A double cannot distinguish neighbouring tickets above 2^53, and shows it nowhere.

    Args:
        value: What was given.
        low: The least that is allowed.
        high: The most that is allowed.
        what: What it is, with its article, for the error.

    Raises:
        BadValue: Not a whole number from ``low`` to ``high``.
    """
    if type(value) is int and low <= value <= high:
        return value
    number: int | None
    if isinstance(value, str):
        number = int(value) if _WHOLE.fullmatch(value.strip()) else None
    else:
        try:
            number = _integer(value)
        except TypeError:
            number = None
    if number is None:
        hint = f": pass int({shown(value)}) if it is exact" if isinstance(value, (float, Decimal)) else ""
        raise BadValue(f"expected {what}, a whole number, found {shown(value)} ({type(value).__name__}){hint}")
    if not low <= number <= high:
        raise BadValue(f"expected {what}, a whole number from {low} to {high}, found {shown(number)}")
    return number


def _integer(value: object) -> int:
    """Return an integer of any library as Python's own.

    Raises:
        TypeError: It is something else; a bool too.
    """
    if isinstance(value, bool):
        raise TypeError("a bool is no number")
    try:
        return int(value) if isinstance(value, Integral) else int(index(value))  # type: ignore[arg-type]  # or it raises
    except Exception:  # noqa: BLE001  # a foreign class may raise anything
        raise TypeError(f"a {type(value).__name__} is no integer") from None


def to_whole_or_none(value: object, low: int, high: int, what: str) -> int | None:
    """Read a whole number that may be left out. See ``to_whole``."""
    return None if value is None else to_whole(value, low, high, what)


def to_amount(value: object, low: float, what: str) -> float:
    """Read a number of at least ``low``: a duration in seconds, of thirty years at most, or a share.

    Raises:
        BadValue: Anything else.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= _AMOUNT_MAX:  # type: ignore[operator]
        raise BadValue(f"{what} is a number from {low:g} to {_AMOUNT_MAX:g}, found {shown(value)} ({type(value).__name__})")
    return value  # type: ignore[return-value]


def require_type(value: object, kind: type[_Kind], what: str) -> _Kind:
    """Return a value if it is of a class.

    Raises:
        BadValue: It is not.
    """
    if not isinstance(value, kind):
        raise BadValue(f"expected {what}, found {shown(value)} ({type(value).__name__})")
    return value


def to_text(value: object, what: str) -> str:
    """Return a text that every journal can store and that is not blank.

    Raises:
        BadValue: Not a text, blank, with a NUL character, or not valid Unicode.
    """
    if not isinstance(value, str):
        raise BadValue(f"expected {what} as text, found {shown(value)} ({type(value).__name__})")
    if not value.strip():
        raise BadValue(f"{what} must be given, found {value!r}")
    if "\x00" in value:
        raise BadValue(f"{what} may not hold a NUL character, found {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue(f"{what} must be valid Unicode, found {shown(value)}") from None
    return str(value)


def _server(value: str) -> str:
    text = to_text(value, "the name of a trade server").strip()
    if "/" in text:
        raise BadValue(f"a trade server needs a name without '/', found {shown(value)}")
    return text


def _login(value: int | str) -> int:
    return to_whole(value, 0, INT64_MAX, "a login")


def to_magic(value: int | str) -> int:
    """Return a magic number as the terminal shows it, unsigned with 64 bits; a negative one is read as two's complement.

    Raises:
        BadValue: Not a whole number from -2^63 to 2^64-1.
    """
    return to_whole(value, -INT64_MAX - 1, UINT64_MAX, "a magic number") & UINT64_MAX


def signed_magic(magic: int | None) -> int | None:
    """Return a magic number as a signed 64-bit column stores it: the two's complement of the same bits."""
    return magic if magic is None or magic <= INT64_MAX else magic - UINT64_MAX - 1


def unsigned_magic(stored: int | None) -> int | None:
    """Return a stored magic number as the terminal shows it."""
    return stored if stored is None else stored & UINT64_MAX


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
        if not isinstance(text, str):
            raise BadValue(f"an account is written SERVER/LOGIN as text, found {shown(text)} ({type(text).__name__})")
        server, slash, login = text.rpartition("/")
        if not slash:
            raise BadValue(f"an account is written SERVER/LOGIN, found {shown(text)}")
        return cls(server, login)


class Side(Enum):
    """The side of a deal or a position."""

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
#: The deal types that buy and sell (MQL5 Reference, ``ENUM_DEAL_TYPE``); every other one moves money at most.
TRADES: Final = (0, 1)
CREDIT: Final = 3
CANCELED: Final = frozenset({13, 14})

#: Decimals of account currencies that do not have two (ISO 4217 minor units; crypto as MT5 servers set them).
_CURRENCY_DIGITS: Final = {
    **dict.fromkeys(("JPY", "KRW", "VND", "CLP", "ISK", "PYG", "UGX", "XAF", "XOF"), 0),
    **dict.fromkeys(("KWD", "BHD", "OMR", "JOD", "TND"), 3),
    **dict.fromkeys(("BTC", "XBT", "ETH", "LTC", "BCH"), 8),
}


#: ISO 4217 has three letters; servers add cents (USC), crypto (USDT, XBT, mBTC) and codes with digits, in capitals.
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}|[mu]?[A-Z][A-Z0-9]{2,4}")
_LONG_CURRENCIES: Final = frozenset({"USDT", "USDC", "TUSD", "BUSD", "FDUSD", "MBTC", "UBTC"})
EXPECTED_CURRENCY: Final = "expected a currency code as the broker writes it (USD, EUR, USC, USDT)"


def is_currency_code(text: str) -> bool:
    """Return whether a text can be the code of an account currency: three letters, or up to five capitals and digits."""
    return bool(_CURRENCY.fullmatch(text)) or text.upper() in _LONG_CURRENCIES


def to_currency(value: object) -> str:
    """Return a currency code in capitals.

    A text in capitals is returned as it is, because older journals hold any; whether it is a code is checked when an account
    is opened.

    Raises:
        BadValue: No text, or a word.
    """
    text = to_text(value, "a currency").strip()
    if text != text.upper() and not is_currency_code(text):
        raise BadValue(f"{EXPECTED_CURRENCY}, found {shown(text)}")
    return text.upper()


def currency_digits(currency: str) -> int:
    """Return how many decimals a currency's amounts are shown with."""
    return _CURRENCY_DIGITS.get(currency.upper(), 2)


def to_word(value: object, words: type[_Words]) -> _Words:
    """Return a member of an enumeration by itself or by its word.

    Raises:
        BadValue: Neither.
    """
    if isinstance(value, words):
        return value
    if isinstance(value, str) and value in words._value2member_map_:
        return words(value)
    raise BadValue(f"expected one of {', '.join(word.value for word in words)}, found {shown(value)}")


def to_side(value: Side | str | int) -> Side:
    """Read a side from a word in any case or from MT5's code.

    Raises:
        BadValue: Neither buy nor sell.
    """
    if isinstance(value, Side):
        return value
    if isinstance(value, str):
        if value.strip().lower() in ("buy", "sell"):
            return Side(value.strip().lower())
    elif (code := _code_or_none(value)) in (0, 1):
        return Side.SELL if code else Side.BUY
    raise BadValue(f"a side is 'buy' or 'sell' (or 0 or 1), found {shown(value)}")


def _code_or_none(value: object) -> int | None:
    """Return a whole number that is given as one; None for anything else, texts too."""
    try:
        return None if isinstance(value, str) else to_whole(value, 0, INT64_MAX, "a code")
    except BadValue:
        return None


def to_entry(value: Entry | str | int) -> Entry | int:
    """Read a deal's entry from a word or a code; a code that MT5 does not document stays a number.

    Raises:
        BadValue: An unknown word, or not a number from 0 on.
    """
    if isinstance(value, str):
        entry = ENTRY_WORDS.get(value.strip().lower())
        if entry is not None:
            return entry
        if not _WHOLE.fullmatch(value.strip()):
            raise BadValue(f"an entry is one of {', '.join(ENTRY_WORDS)} or a code, found {shown(value)}")
    code = to_whole(value, 0, INT64_MAX, "an entry code")
    return Entry(code) if code in Entry._value2member_map_ else code


def entry_word(entry: Entry | int) -> str:
    """Return the word for an entry; a code without one is written as its number."""
    return _WORD_OF_ENTRY.get(entry, str(int(entry)))


#: What terminals, reports and gateways write for a margin mode, beside our own words.
_FOREIGN_MODES: Final = {"hedge": MarginMode.HEDGING, "net": MarginMode.NETTING}


def to_margin_mode(value: MarginMode | str | int) -> MarginMode:
    """Read a margin mode as a terminal, a report or a gateway writes it: ``Hedge`` and ``RETAIL_...`` too.

    Raises:
        BadValue: Not a known mode; a wrong guess would net hedged positions.
    """
    if isinstance(value, str):
        word = value.strip().lower().replace("_", " ").removeprefix("retail ")
        return _FOREIGN_MODES.get(word) or to_own_margin_mode(word)
    return to_own_margin_mode(value)


def to_own_margin_mode(value: MarginMode | str | int) -> MarginMode:
    """Read a margin mode as a program or a person gives it: ``netting``, ``hedging``, ``exchange``, or MT5's code.

    Raises:
        BadValue: Anything else. A mode is never changed, so an abbreviation is not guessed at.
    """
    if isinstance(value, MarginMode):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in MarginMode._value2member_map_:
            return MarginMode(word)
        meant = _FOREIGN_MODES.get(word)
        hint = f": did you mean {meant.value!r}?" if meant else ""
        raise BadValue(f"a mode is netting, hedging or exchange, found {shown(value)}{hint}")
    code = _code_or_none(value)
    if code in (0, 1, 2):
        return (MarginMode.NETTING, MarginMode.EXCHANGE, MarginMode.HEDGING)[code]
    raise BadValue(f"a mode is netting, hedging or exchange (or MT5's 0, 1, 2), found {shown(value)}")


class FromDouble(Decimal):
    """A decimal that was given as a float: what cancellation of doubles leaves behind may be cleaned of it."""


def exact(value: Number) -> Decimal:
    """Convert a number once, at the edge: a float through its shortest decimal text, never through its bits.

    Raises:
        InexactNumber: Not a finite number, or too large or too small for anything that is traded.
    """
    kind = type(value)
    if kind is Decimal or kind is FromDouble:
        number: Decimal = value  # type: ignore[assignment]
    elif isinstance(value, Decimal):
        number = Decimal(value)
    elif isinstance(value, float):
        number = FromDouble(float.__repr__(value))  # other libraries' floats write themselves otherwise
    else:
        try:
            number = Decimal(value if kind is int or isinstance(value, str) else _integer(value))
        except (InvalidOperation, TypeError, ValueError):
            raise InexactNumber(
                f"expected a number (Decimal, int, float or text), found {shown(value)} ({kind.__name__})"
            ) from None
    if not number.is_finite():
        raise InexactNumber(f"expected a finite number, found {shown(value)}")
    if not -_MAGNITUDE_MAX < number.adjusted() < _MAGNITUDE_MAX:
        raise InexactNumber(f"expected a number of a size that is traded, found {shown(value)}")
    return number


def scaled(number: Decimal, scale: int, what: str, step: int | None = None) -> int:
    """Return ``number * 10**scale`` as a 64-bit integer.

    Binary dirt (a few units in the last place of a double, as in -1.8900000000000001) is quantised away. It is known by its
    digits: the text of a dirty double has 16 or 17 of them. Anything else beyond the scale is refused, however small.

    Args:
        number: A finite decimal.
        scale: Decimal digits to keep.
        what: Name of the field, for the error.
        step: Decimal digits that such numbers have at the broker, where they are known: a double of a large amount is
            dirty before the last digit that is stored, but not before the last that it has.

    Raises:
        InexactNumber: More digits than the scale has, or too large for 64 bits.
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
            f"{what} {number} does not fit: at most {scale} decimals can be stored exactly. "
            "Round it at its source, or give the account or symbol a finer scale.",
            what=what,
        )
    return whole


def _without_dirt(number: Decimal, scale: int) -> int | None:
    """Return a number in whole units of a scale, without binary dirt; None if it has more than that."""
    shifted = number.scaleb(scale, _EXACT)
    nearest = shifted.to_integral_value(ROUND_HALF_EVEN, _EXACT)
    # Arithmetic on doubles leaves errors of some units in the 53rd bit of its operands; a ten-thousandth of the last digit
    # kept is the most of it for results near zero. Both are far below half a unit, so that a real digit is never dirt.
    dirt = max(_LEAST_DIRT, _EXACT.divide(shifted.copy_abs(), _UNITS_IN_THE_LAST_PLACE))
    off = _EXACT.subtract(shifted, nearest).copy_abs()
    if off > dirt or dirt >= _MOST_DIRT or not _may_be_dirty(number, off.scaleb(-scale, _EXACT)):
        return None
    return int(nearest)


def _may_be_dirty(number: Decimal, off: Decimal) -> bool:
    """Return whether a number looks like a double that missed what was meant by so little.

    A double within four units in the last place of a decimal of up to 15 digits, and unequal to it, has a text of at least 16
    digits. Where leading digits cancelled out (16.45 - 16.44) a shorter text can be dirty too: then the double has none of the
    bits far below those of its operands. Only a number that was given as a float is looked at so closely.
    """
    digits = len(number.normalize(_EXACT).as_tuple().digits)
    double = float(number)
    if digits >= _DIRTY_DIGITS:
        return _is_text_of(number, double)
    if type(number) is not FromDouble:
        return False
    lowest_bit = _EXACT.divide(Decimal(1), Decimal(double.as_integer_ratio()[1]))
    return off <= lowest_bit * _CANCELLED_UNITS


def _is_text_of(number: Decimal, double: float) -> bool:
    """Return whether a number is the shortest text of a double, or its value rounded to as many digits as the number has."""
    if Decimal(repr(double)) == number:
        return True
    last = Decimal(1).scaleb(int(number.as_tuple().exponent), _EXACT)
    return _EXACT.subtract(Decimal(double), number).copy_abs() * 2 <= last


def rounded(number: Decimal, scale: int, what: str) -> int:
    """Return ``number * 10**scale`` as a 64-bit integer, rounded half to even. For averages, which are not exact.

    Raises:
        InexactNumber: Too large for 64 bits.
    """
    whole = int(number.scaleb(scale, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT))
    if not -INT64_MAX <= whole <= INT64_MAX:
        raise InexactNumber(f"{what} {number} does not fit: with {scale} decimals at most {INT64_MAX // 10**scale} does")
    return whole


def exact_sum(numbers: Iterable[Decimal]) -> Decimal:
    """Return a sum, exact whatever precision the engine has set for its own sums."""
    whole = Decimal(0)
    for number in numbers:
        whole = EXACT.add(whole, number)
    return whole


def unscaled(value: int, scale: int) -> Decimal:
    """Return the decimal of a scaled integer."""
    return Decimal(value).scaleb(-scale, _EXACT)


def decimals_of(number: Decimal) -> int:
    """Return how many decimals a number has, zeros at its end left out."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


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
