"""This module is the words that files use for deal types, in every order and spelling seen, and their MT5 codes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ledger.values import CASH_WORDS

#: Words without a meaning ("DEAL_TYPE_BALANCE"), and words for which the table below has another spelling.
_NOISE: Final = frozenset({"deal", "type"})
_SAME: Final = {"cancelled": "canceled", "taxes": "tax", "dividends": "dividend"}

#: A type is the set of its words: "commission daily" and "daily commission" are one.
_CODES: Final[dict[frozenset[str], int]] = {
    frozenset({"buy"}): 0,
    frozenset({"sell"}): 1,
    **{frozenset(word.split()): code for code, word in CASH_WORDS.items()},
    frozenset({"agent", "daily"}): 10,
    frozenset({"agent", "monthly"}): 11,
    frozenset({"interest", "rate"}): 12,
}


#: Characters of the longest deal type.
_LONGEST_TYPE: Final = 64


@lru_cache(maxsize=256)
def deal_type(word: str) -> int | None:
    """Return MT5's code for a deal type in words, None for a type that nobody documented."""
    if len(word) > _LONGEST_TYPE:
        return None
    words = (_SAME.get(part, part) for part in re.split(r"[\s_-]+", word.lower()) if part)
    return _CODES.get(frozenset(words) - _NOISE)


#: Account currencies that brokers offer (ISO 4217, and coins as servers name them): what a report may state alone.
CURRENCIES: Final = frozenset(
    "AED ARS AUD BRL BTC CAD CHF CLP CNH CNY COP CZK DKK ETH EUR GBP HKD HUF IDR ILS INR JPY KES KRW KZT LTC MXN MYR NGN NOK"  # noqa: SIM905
    " NZD PEN PHP PLN RON RUB RUR SAR SEK SGD THB TRY TWD UAH USC USD USDC USDT VND XAU ZAR".split()
)
