"""The values of a report, frozen: what it is about, its lines, one section per account and one total per currency.

Moments are UTC milliseconds.
"""

from __future__ import annotations

from attrs import frozen

from ledger.performance.values import Curve, Drawdown, EquityDrawdown, Money, Ratios, Series, Trades
from ledger.results import Results
from ledger.terms import AccountTerms
from ledger.values import AccountId


@frozen(kw_only=True)
class Bucket:
    """One line of a report. ``name`` is None for what has no such thing: deals without a magic number, deposits by symbol.

    ``begin_utc_msc`` and ``end_utc_msc`` (exclusive) are set where it is a period.
    """

    name: str | None
    money: Money
    trades: Trades
    begin_utc_msc: int | None = None
    end_utc_msc: int | None = None


@frozen(kw_only=True)
class Question:
    """What a report is about. Texts are as they were given."""

    by: str
    day: str
    since: str | None
    until: str | None
    known_at: str | None
    symbols: tuple[str, ...]
    magics: tuple[int, ...]

    @property
    def is_filtered(self) -> bool:
        """Whether only some symbols or magic numbers are shown."""
        return bool(self.symbols or self.magics)


@frozen(kw_only=True)
class AccountReport:
    """The report of one account. ``version`` and ``head`` are what it rests on, recorded at ``recorded_us`` (UTC).

    ``first_utc_msc`` and ``last_utc_msc`` are the moments of the first and the last deal in it. ``unavailable`` has a reason
    for each of equity, ratios and results that is None.
    """

    question: Question
    terms: AccountTerms
    version: int
    head: str
    recorded_us: int
    first_utc_msc: int | None
    last_utc_msc: int | None
    money: Money
    trades: Trades
    series: Series
    buckets: tuple[Bucket, ...]
    drawdown: Drawdown
    equity: EquityDrawdown | None
    ratios: Ratios | None
    results: Results | None
    unavailable: tuple[tuple[str, str], ...]
    curve: Curve | None = None

    @property
    def account(self) -> AccountId:
        """Whose it is."""
        return self.terms.account

    @property
    def reconciles(self) -> bool:
        """Whether start balance and all that moved it are the end balance; so with a filter, which has no balance."""
        return not self.money.difference

    @property
    def incomplete(self) -> int:
        """How many deals and trades are not known in full."""
        return self.money.incomplete + self.trades.incomplete


@frozen(kw_only=True)
class CurrencyTotal:
    """What all accounts of one currency come to. They have no common curve, so there is no drawdown and no series."""

    currency: str
    digits: int
    accounts: tuple[AccountId, ...]
    money: Money
    trades: Trades
    buckets: tuple[Bucket, ...]


@frozen(kw_only=True)
class Report:
    """One section per account, then one total per currency."""

    question: Question
    accounts: tuple[AccountReport, ...]
    totals: tuple[CurrencyTotal, ...]

    @property
    def known_us(self) -> int:
        """When the newest event was recorded, or the newest sample of equity taken, that it rests on (UTC); 0 without any."""
        equity = (one.equity for one in self.accounts)
        return max((*(one.recorded_us for one in self.accounts), *(one.last_us for one in equity if one)), default=0)

    @property
    def reconciles(self) -> bool:
        """Whether every account's figures add up to its end balance."""
        return all(one.reconciles for one in self.accounts)
