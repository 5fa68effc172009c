"""The balance of an account over time, as its deals have it: each step, whether anything was open then, and the highest.

Where nothing is open, equity is balance and credit, whether a mark was taken then or not. It is read on from where it was read
before; what belongs further back has it read anew.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from ledger.bookings import FLOWS, is_whole_after
from ledger.clock import DAY_MSC
from ledger.codec import decode_posting, posting
from ledger.events import BY_VERSION_KINDS, CashMoved, FillRecorded
from ledger.journal import Selection
from ledger.portfolio import Portfolio, posted_cash_kind
from ledger.postings import Posting, Row
from ledger.service import Account, follows
from ledger.terms import AccountTerms

_KNOWN: Final = 1
_FLAT: Final = 2
_WHOLE: Final = 4
#: Commission, fee, swap and profit of a posting.
_MONEY: Final = slice(Posting._fields.index("commission"), Posting._fields.index("profit") + 1)


class Step(NamedTuple):
    """What the account had from a moment on, in account currency. ``paid_in`` sums up deposits less withdrawals.

    ``is_flat`` is whether nothing was open and the money of all deals is known: then equity is balance and credit.
    ``is_whole`` is whether the balance lacks no money that is not known yet.
    """

    at_us: int
    balance: Decimal
    credit: Decimal
    paid_in: Decimal
    is_flat: bool
    is_whole: bool

    @property
    def equity(self) -> Decimal:
        """Balance and credit: equity, where nothing is open."""
        return self.balance + self.credit


class Initial(NamedTuple):
    """The balance that an account began with, and where it comes from."""

    step: int
    balance: Decimal
    source: str


class FlatDay(NamedTuple):
    """The highest and lowest equity of the moments of a server day at which nothing was open, and its steps, end exclusive."""

    number: int
    high: Decimal
    low: Decimal
    begin: int
    end: int


class BalancePath:
    """The steps of one account's balance. Not safe to use from several threads."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._version = 0
        self._forget(None)

    def _forget(self, portfolio: Portfolio | None) -> None:
        self._portfolio = portfolio
        self._utc_msc, self._balance, self._credit, self._paid_in = array("q"), array("q"), array("q"), array("q")
        self._highest = array("q")
        self._state = array("b")
        self._paid = 0
        self._is_whole = True
        self._is_complete = True  # whether the money of every deal so far is known
        self._days: list[list[int]] = []  # server day, highest and lowest where nothing is open, first step and the one behind
        self._first_fill: int | None = None  # how many steps were before it
        self._known_from: int | None = None  # the first step with a balance that can be trusted

    def read_on(self) -> None:
        """Read what was recorded since.

        Raises:
            JournalError: The journal does not answer.
        """
        version = self._account.version
        if version == self._version and self._portfolio is not None:
            return
        if not self._is_continued(version):
            selection, terms = self._account.selection(version=version)
            self._forget(Portfolio(terms))
            self._fold(self._account.ledger.journal.postings(self._account.name, Selection(version=selection.version), terms))
        self._version = version

    def _is_continued(self, version: int) -> bool:
        """Read on behind what was read, if nothing new belongs before it."""
        if self._portfolio is None or version < self._version:
            return False
        rows = self._account.ledger.journal.rows(self._account.name, after=self._version, upto=version)
        new = [row for row in rows if row.kind not in BY_VERSION_KINDS]
        if new and not follows(new, self._portfolio):
            return False
        self._fold(posting(row) for row in new)
        return True

    def _fold(self, rows: Iterable[Row]) -> None:
        assert self._portfolio is not None, "it was made with the account terms"
        portfolio, last = self._portfolio, None
        for row in rows:
            kind = row[3]
            if kind == FillRecorded.__name__:
                self._first_fill = len(self._utc_msc) if self._first_fill is None else self._first_fill
                self._is_complete = self._is_complete and None not in row[_MONEY]
            elif kind == CashMoved.__name__:
                self._paid += _paid_in(Posting._make(row))
            self._is_whole = is_whole_after(self._is_whole, row, decode_posting)
            before = portfolio.money_units
            portfolio.fold((row,), decode_posting)
            is_flat = self._is_complete and not portfolio.positions_count
            state = _KNOWN if portfolio.is_balance_known else 0
            state |= (_FLAT if is_flat else 0) | (_WHOLE if self._is_whole else 0)
            now = (*portfolio.money_units, self._paid, state)
            if now != last:
                self._add(portfolio, now, is_moved=portfolio.money_units != before)
                last = now

    def _add(self, portfolio: Portfolio, now: tuple[int, int, int, int], *, is_moved: bool) -> None:
        balance, credit, paid_in, state = now
        step, wall_msc = len(self._utc_msc), portfolio.last[0]
        utc_msc = portfolio.terms.clock.to_utc_msc(wall_msc)
        self._utc_msc.append(max(utc_msc, self._utc_msc[-1]) if step else utc_msc)
        for column, value in ((self._balance, balance), (self._credit, credit), (self._paid_in, paid_in), (self._state, state)):
            column.append(value)
        if state & _KNOWN and self._known_from is None:
            self._known_from = step if is_moved else 0  # what the broker stated is what was recorded from the start
            self._days.clear()
            for earlier in range(self._known_from, step):
                self._count(earlier)
        if self._known_from is not None:
            self._count(step)

    def _count(self, step: int) -> None:
        """Count a step in its day and in the highest balance."""
        assert self._known_from is not None, "nothing is counted before"
        assert self._portfolio is not None, "it was made with the account terms"
        balance = self._balance[step]
        self._highest.append(max(balance, self._highest[-1]) if self._highest else balance)
        if self._state[step] & _FLAT:
            equity = balance + self._credit[step]
            number = self._portfolio.terms.clock.from_utc_msc(self._utc_msc[step]) // DAY_MSC
            if self._days and self._days[-1][0] == number:
                day = self._days[-1]
                day[1], day[2], day[4] = max(day[1], equity), min(day[2], equity), step + 1
            else:
                self._days.append([number, equity, equity, step, step + 1])

    # ---- asking

    @property
    def terms(self) -> AccountTerms:
        """The account terms."""
        assert self._portfolio is not None, "it was read"
        return self._portfolio.terms

    @property
    def is_known(self) -> bool:
        """Whether the broker ever stated the balance."""
        return self._known_from is not None

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self._utc_msc)

    @property
    def known_from(self) -> int:
        """The first step with a balance that is known."""
        return self.count if self._known_from is None else self._known_from

    def step(self, number: int) -> Step:
        """Return a step."""
        money = self.terms.money
        return Step(
            self._utc_msc[number] * 1000, money(self._balance[number]), money(self._credit[number]),
            money(self._paid_in[number]), bool(self._state[number] & _FLAT), bool(self._state[number] & _WHOLE),
        )  # fmt: skip

    def steps(self, numbers: Iterable[int]) -> Iterator[Step]:
        """Yield steps."""
        return map(self.step, numbers)

    def at_us(self, number: int) -> int:
        """Return when a step was, UTC microseconds."""
        return self._utc_msc[number] * 1000

    def last_before(self, at_us: int) -> int | None:
        """Return the last step before a moment, None where nothing is known then."""
        step = bisect_left(self._utc_msc, -(-at_us // 1000)) - 1
        return step if step >= self.known_from else None

    def count_by(self, at_us: int) -> int:
        """Return how many steps there were by a moment inclusive."""
        return bisect_right(self._utc_msc, at_us // 1000)

    def earned(self, step: int, begin: int) -> Decimal:
        """Return the balance of a step without what was paid in since another."""
        return self.terms.money(self._balance[step] - self._paid_in[step] + self._paid_in[begin])

    def highest_at(self, step: int) -> Decimal:
        """Return the highest balance up to a step whose balance is known."""
        return self.terms.money(self._highest[step - self.known_from])

    def highest_by(self, at_us: int) -> Decimal | None:
        """Return the highest balance by a moment, None where none is known."""
        counted = self.count_by(at_us) - self.known_from
        return self.terms.money(self._highest[counted - 1]) if counted > 0 else None

    def outside_money(self, begin: int) -> list[tuple[int, Decimal]]:
        """Return what of equity was not earned since a step: credit, and what was paid in; from when on, ascending."""
        found: list[tuple[int, int]] = []
        for step in range(begin, self.count):
            amount = self._credit[step] + self._paid_in[step] - self._paid_in[begin]
            if not found or found[-1][1] != amount:
                found.append((self._utc_msc[step] * 1000, amount))
        return [(at_us, self.terms.money(amount)) for at_us, amount in found]

    def flat_days(self) -> Iterator[FlatDay]:
        """Yield the server days with moments at which nothing was open, ascending."""
        money = self.terms.money
        return (FlatDay(number, money(high), money(low), begin, end) for number, high, low, begin, end in self._days)

    def initial(self) -> Initial | None:
        """Return the balance that the account began with: before its first trade, or the first one that is known."""
        if self._known_from is None:
            return None
        before_trade = self.count - 1 if self._first_fill is None else self._first_fill - 1
        if before_trade >= self._known_from:
            return Initial(before_trade, self.step(before_trade).balance, "of the journal: before the first trade")
        return Initial(
            self._known_from, self.step(self._known_from).balance, "of the journal: the first that the broker stated"
        )


def _paid_in(moved: Posting) -> int:
    if posted_cash_kind(moved.deal_type, moved.data) not in FLOWS:
        return 0
    return sum(part or 0 for part in (moved.profit, moved.commission, moved.fee, moved.swap))
