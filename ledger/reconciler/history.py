"""Deals first: which of the broker's deals to ask for, and booking them before anything is concluded from a snapshot.

Every sync asks for the deals since the newest known one, with an overlap, so that what opened and closed unseen is booked
too. It goes further back while something is unexplained, and asks for single positions that still disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from attrs import frozen

from ledger.clock import DAY_MSC, SECOND_MSC, implausible
from ledger.codec import Stored, decode
from ledger.errors import DealConflict, SnapshotRefused
from ledger.events import CashMoved, Deal, DealOrder, DealRevised, FillRecorded
from ledger.gateway import Gateway
from ledger.journal import Outcome
from ledger.journal.plausible import latest_msc
from ledger.portfolio import Portfolio
from ledger.postings import IN_ORDER, merge_records
from ledger.reconcile.compare import Disagreement, Drift, Ghost, NewTicket, Zombie
from ledger.reconcile.policy import Action, ReconcilePolicy
from ledger.reconcile.validate import refuse_unidentified, require_identity
from ledger.reconcile.withdrawals import Listed, compare_deals, known_deals, open_withdrawals
from ledger.service import Account
from ledger.snapshot import RemoteHistory

_SINGLE_POSITIONS_MAX: Final = 16  # beyond that, one span of time is asked for instead
_SEEN_MAX: Final = 10_000
_SEARCH_ROWS: Final = 64
_SEARCH_MARGIN_MSC: Final = 2 * 60 * 60 * 1000  # a wall clock repeats an hour
_BACK_EVERY: Final = 20  # syncs after which an unchanged doubt is looked into again


@frozen(kw_only=True)
class Booked:
    """What asking brought: deals that were new or revised, by ticket, the rows appended, and the broker times of the news."""

    fills: tuple[int, ...] = ()
    revised: tuple[int, ...] = ()
    rows: tuple[Stored, ...] = ()
    times: tuple[int, ...] = ()

    def __add__(self, other: Booked) -> Booked:
        return Booked(
            fills=self.fills + other.fills,
            revised=self.revised + other.revised,
            rows=self.rows + other.rows,
            times=self.times + other.times,
        )


class History:
    """The broker's deals of one account, asked for and booked. Remembers the last answer, to record nothing twice."""

    def __init__(self, account: Account, gateway: Gateway, policy: ReconcilePolicy) -> None:
        self._account = account
        self._gateway = gateway
        self._overlap_msc = round(policy.overlap_sec * SECOND_MSC)
        self._attempts_max = policy.attempts_max
        self._last_answer: dict[int, Deal] = {}
        self._reported: dict[int, Deal] = {}  # by ticket, of this sync
        #: The highest deal ticket that the gateway ever reported and its broker time, (0, 0) where it reported none; None
        #: before it was asked.
        self.highest: tuple[int, int] | None = None
        self._behind = 0  # answers in a row that did not reach up to it
        self._until_msc: int | None = None
        self._doubt: object = None
        self._doubt_age = 0
        self._policy = policy
        self._seen: dict[int, None] = {}  # tickets that earlier answers listed, the latest last
        self._suspected: dict[int, int] = {}  # deal that none listed -> when that was first seen, UTC in microseconds
        self._spans: list[tuple[int, int, frozenset[int]]] = []
        self._search: tuple[int, int] = (0, 0)  # broker time and the version that a search for it ended at
        self._compared: object = None
        self._listed = Listed()

    def catch_up(
        self, portfolio: Portfolio, now_msc: int, correlation: str, *, whole: bool = False, since_msc: int | None = None
    ) -> Booked:
        """Book the deals since the newest known one; all there are where none is known.

        Args:
            portfolio: What is known.
            now_msc: The present on the broker's server clock, as it was reported.
            correlation: The sync run.
            whole: Ask for all there are all the same.
            since_msc: Ask for those since then at least, with the overlap: an order of ours may have led to them.
        """
        order_msc = portfolio.terms.clock.order_msc  # the wall clock may have gone back since
        newest_msc = portfolio.newest_deal_msc if self._until_msc is None else self._until_msc
        from_msc = 0 if whole and self._until_msc is None else max(0, order_msc(order_msc(newest_msc) - self._overlap_msc))
        if self._is_worth_going_back(portfolio):
            from_msc = max(0, min([from_msc, *(one.since_msc - self._overlap_msc for one in portfolio.unexplained)]))
        if since_msc is not None:
            from_msc = min(from_msc, max(0, order_msc(order_msc(since_msc) - self._overlap_msc)))
        from_msc, apart = self._with_withdrawn(portfolio, from_msc)
        self._reported.clear()
        reported = list(self._ask_span(portfolio, from_msc, self._to_msc(portfolio, now_msc)))
        if portfolio.terms.order is DealOrder.TICKET:
            self._refuse_stale(reported, from_msc)
        for begin_msc, end_msc in apart:
            reported += self._ask_span(portfolio, begin_msc, end_msc)
        booked = self._book(reported, correlation)
        self._seen = dict(list({**self._seen, **dict.fromkeys(self._last_answer)}.items())[-_SEEN_MAX:])
        self._last_answer = {deal.deal: deal for deal in reported}
        self._until_msc = now_msc
        return booked

    def _refuse_stale(self, reported: Sequence[Deal], from_msc: int) -> None:
        """Refuse an answer that does not reach up to the newest deal that the gateway reported before.

        A terminal that reconnects shows an older history for a while. One that goes on doing so lost the deal for good.
        """
        newest, newest_msc = self.highest or (0, 0)
        if newest_msc < from_msc or max((deal.deal for deal in reported), default=0) >= newest:
            self._behind = 0
            return
        self._behind += 1
        if self._behind <= self._attempts_max:
            raise SnapshotRefused(
                f"the newest deal that the gateway reports is older than deal {newest}, which it reported before: "
                "a stale answer", field="deals",
            )  # fmt: skip

    def updated_by(self, position_id: int, updated_msc: int | None) -> int | None:
        """Return the ticket of the deal that last changed a position, None where the gateway did not report it.

        Args:
            position_id: Which position.
            updated_msc: Broker time of the change, as the position's row shows it.
        """
        made = (
            deal.deal for deal in self._reported.values() if deal.position_id == position_id and deal.time_msc == updated_msc
        )
        return max(made, default=None)

    def _with_withdrawn(self, portfolio: Portfolio, from_msc: int) -> tuple[int, list[tuple[int, int]]]:
        """Return from when deals are asked for, and spans apart, so that the deals of open breaks are covered."""
        apart = []
        for one in open_withdrawals(portfolio):
            begin_msc = max(0, (one.deal_msc or 0) - self._overlap_msc)
            if one.confirmations < self._policy.ghost_confirmations or self._policy.withdrawn is Action.ADOPT:
                from_msc = min(from_msc, begin_msc)  # others around it show that it is missing
            elif begin_msc < from_msc:
                apart.append((begin_msc, (one.deal_msc or 0) + self._overlap_msc))
        return from_msc, apart[:_SINGLE_POSITIONS_MAX]

    def _is_worth_going_back(self, portfolio: Portfolio) -> bool:
        """Return whether what is unexplained has changed since it was last looked into, or that was long ago."""
        doubt = (portfolio.unexplained, portfolio.totals.deals_incomplete)
        self._doubt_age += 1
        if not any(doubt) or (doubt == self._doubt and self._doubt_age < _BACK_EVERY):
            return False
        self._doubt, self._doubt_age = doubt, 0
        return True

    def explain(
        self, portfolio: Portfolio, found: Iterable[Disagreement | NewTicket], now_msc: int, correlation: str
    ) -> Booked:
        """Book the deals of positions that disagree."""
        wanted: dict[int, int] = {}
        for one in found:
            match one:
                case Zombie(theirs):
                    wanted[one.position_id] = theirs.opened_msc or 0
                case Ghost(ours) | Drift(ours, _, _):
                    wanted[one.position_id] = ours.opened_msc
                case NewTicket():
                    pass
        if not wanted:
            return Booked()
        if len(wanted) <= _SINGLE_POSITIONS_MAX:
            reported = [
                deal for position_id in wanted for deal in self._ask(portfolio, self._gateway.deals(position=position_id))
            ]
        else:
            from_msc = max(0, min(wanted.values()) - self._overlap_msc)
            reported = list(self._ask_span(portfolio, from_msc, self._to_msc(portfolio, now_msc)))
        return self._book(reported, correlation)

    def go_back(self, portfolio: Portfolio, now_msc: int, correlation: str) -> Booked:
        """Book all deals since nothing was known to be missing any more: the money does not add up."""
        from_msc = max(0, portfolio.complete_until_msc)
        return self._book(self._ask_span(portfolio, from_msc, self._to_msc(portfolio, now_msc)), correlation)

    # ---- what the answers lack

    def begin(self) -> None:
        """Forget the answers of an earlier sync; what none of them listed counts from the next that comes late enough."""
        self._spans = []
        late_us = self._account.ledger.now_us() - round(self._policy.settle_sec * 1_000_000)
        self._seen |= dict.fromkeys(deal for deal, since_us in self._suspected.items() if since_us <= late_us)

    def listed(self, version: int) -> Listed:
        """Return what the answers since ``begin`` show about the deals that the journal holds up to a version."""
        spans = [(from_msc, tickets) for from_msc, _, tickets in self._spans if tickets]
        if (spans, version, self._suspected) != self._compared:
            self._compared = (spans, version, dict(self._suspected))
            self._listed = Listed()
            for from_msc, to_msc, tickets in self._spans:
                if tickets:
                    rows = self._rows(from_msc, version)
                    now_us = self._account.ledger.now_us()
                    known = known_deals(rows, from_msc, to_msc, now_us=now_us, listed_before=self._seen)
                    self._listed |= compare_deals(known, tickets, from_msc)
        now_us = self._account.ledger.now_us()
        self._suspected = {deal: self._suspected.get(deal, now_us) for deal in self._listed.unlisted}
        return self._listed

    def known(self, tickets: Collection[int], version: int) -> Mapping[int, Deal]:
        """Return deals as the journal holds them up to a version, by ticket; of those that the answers cover."""
        if not tickets:
            return {}
        reported: dict[int, list[Stored]] = {}
        for row in self._rows(min(from_msc for from_msc, _, _ in self._spans), version):
            if row.deal in tickets and row.deal is not None:
                reported.setdefault(row.deal, []).append(row)
        terms = self._account.terms
        found = ((ticket, decode(Stored(*merge_records(rows)), terms)) for ticket, rows in reported.items())
        return {ticket: deal for ticket, deal in found if isinstance(deal, (FillRecorded, CashMoved))}

    def _rows(self, from_msc: int, version: int) -> Iterator[Stored]:
        """Return the rows from the first that may record a deal of a broker time or later."""
        journal, name = self._account.ledger.journal, self._account.name
        return journal.rows(name, after=self._version_before(from_msc - _SEARCH_MARGIN_MSC, version), upto=version)

    def _version_before(self, time_msc: int, version: int) -> int:
        """Return a version behind which all rows of a broker time or later are found.

        Rows that arrived in the fold order rise in time, and what arrived late came behind one of those.
        """
        if time_msc <= 0:
            return 0
        journal, name = self._account.ledger.journal, self._account.name
        searched_msc, found = self._search
        low, high = (found if searched_msc <= time_msc else 0), version
        while low < high:
            middle = (low + high) // 2
            rows = islice(journal.rows(name, after=middle, upto=high), _SEARCH_ROWS)
            row = next((row for row in rows if row.placement == IN_ORDER), None)
            if row is not None and row.time_msc < time_msc:
                low = row.version
            else:
                high = middle
        self._search = (time_msc, low)
        return low

    # ---- asking and booking

    def _to_msc(self, portfolio: Portfolio, now_msc: int) -> int:
        """Return up to when deals are asked for: a day on, because the terminal reads a span of time by a clock of its own.

        The clock that a gateway reports may stop, over a weekend, while money is booked; ours goes on.
        """
        ours_msc = portfolio.terms.clock.from_utc_msc(self._account.ledger.now_us() // 1000)
        return max(now_msc, ours_msc) + DAY_MSC

    def _ask_span(self, portfolio: Portfolio, from_msc: int, to_msc: int) -> Sequence[Deal]:
        deals = self._ask(portfolio, self._gateway.deals(from_msc=from_msc, to_msc=to_msc))
        self._spans.append((from_msc, to_msc, frozenset(deal.deal for deal in deals)))
        return deals

    def _ask(self, portfolio: Portfolio, history: RemoteHistory) -> Sequence[Deal]:
        require_identity(history, portfolio.terms)
        refuse_unidentified(history, portfolio.identity, portfolio.terms)
        clock, now_msc = portfolio.terms.clock, self._account.ledger.now_us() // 1000
        latest = latest_msc(clock, now_msc)
        once: dict[int, Deal] = {}
        for number, deal in enumerate(history.deals, 1):
            why = implausible(deal.time_msc, latest)
            if why is not None:
                raise SnapshotRefused(f"deal {deal.deal}: {why}", row=number, field="time")
            if once.setdefault(deal.deal, deal) != deal:
                raise SnapshotRefused(f"deal {deal.deal} is given twice with other content in one answer", field="deals")
        self._reported |= once
        newest = max(once.values(), key=lambda deal: deal.deal, default=None)
        reached = (0, 0) if newest is None else (newest.deal, newest.time_msc)
        self.highest = max(self.highest or (0, 0), reached)
        return list(once.values())

    def _book(self, reported: Iterable[Deal], correlation: str) -> Booked:
        """Append what is new; what the broker shows with other content than we have is a revision of his."""
        deals = sorted(
            (deal for deal in reported if self._last_answer.get(deal.deal) != deal), key=lambda deal: (deal.time_msc, deal.deal)
        )
        if not deals:
            return Booked()
        appended = self._account.ledger.journal.append(self._account.name, deals, correlation=correlation, conflicts="keep")
        rows, revised = appended.rows, tuple(
            deal for deal, outcome in zip(deals, appended.outcomes, strict=True) if isinstance(outcome, DealConflict)
        )  # fmt: skip
        if revised:
            rows += self._account.record_many(
                [DealRevised(now=deal, caused_by=1) for deal in revised], correlation=correlation
            ).rows
        news = [deal for deal, outcome in zip(deals, appended.outcomes, strict=True) if outcome is not Outcome.DUPLICATE]
        return Booked(
            fills=tuple(
                deal.deal for deal, outcome in zip(deals, appended.outcomes, strict=True) if outcome is Outcome.APPENDED
            ),
            revised=tuple(deal.deal for deal in revised),
            rows=rows,
            times=tuple(deal.time_msc for deal in news),
        )
