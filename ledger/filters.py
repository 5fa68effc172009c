"""A filter selects what a listing shows of what was folded, never what is folded.

What is not known of something matches nothing: a filter never claims a magic number or symbol that nobody recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ledger.errors import BadValue

if TYPE_CHECKING:
    from ledger.terms import AccountTerms
    from ledger.views import Trade


def _symbols(given: Iterable[str]) -> frozenset[str]:
    return frozenset(given)


def _magics(given: Iterable[int]) -> frozenset[int]:
    return frozenset(given)


@frozen(kw_only=True)
class Filter:
    """Which symbols, magic numbers and times are shown; all where it is empty.

    Attributes:
        symbols: As the broker writes them.
        magics: As the terminal shows them, unsigned.
        since_us: The first UTC microsecond of the period, None without a beginning.
        until_us: The first UTC microsecond behind the period, None without an end.
    """

    symbols: frozenset[str] = field(default=frozenset(), converter=_symbols)
    magics: frozenset[int] = field(default=frozenset(), converter=_magics)
    since_us: int | None = None
    until_us: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.since_us is not None and self.until_us is not None and self.until_us <= self.since_us:
            raise BadValue("expected a period that ends after it begins, found one that does not: look at --since and --until")

    def __bool__(self) -> bool:
        """Return whether it leaves anything out."""
        return bool(self.symbols or self.magics or self.since_us is not None or self.until_us is not None)

    def is_of(self, symbol: str | None, magic: int | None) -> bool:
        """Return whether something of a symbol and a magic number is shown."""
        return (not self.symbols or symbol in self.symbols) and (not self.magics or magic in self.magics)

    def is_within(self, time_us: int) -> bool:
        """Return whether a UTC microsecond is in the period."""
        return (self.since_us is None or time_us >= self.since_us) and (self.until_us is None or time_us < self.until_us)

    def shows_trade(self, trade: Trade, terms: AccountTerms) -> bool:
        """Return whether a trade is shown: by the moment at which it was closed."""
        return self.is_of(trade.symbol, trade.magic) and self.is_within(terms.clock.to_utc_msc(trade.closed_msc) * 1000)

    def words(self) -> str:
        """Return the symbols and magic numbers for a title, empty without any."""
        return " ".join([*sorted(self.symbols), *(f"magic {one}" for one in sorted(self.magics))])


EVERYTHING: Final = Filter()
