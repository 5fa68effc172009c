"""Deals first: which of the broker's deals to ask for, and booking them before anything is concluded from a snapshot.

Every sync asks for the deals since the newest known one, with an overlap, so that what opened and closed unseen is booked
too. It goes further back while something is unexplained, and asks for single positions that still disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from ledger.clock import implausible
from ledger.codec import Stored
from ledger.errors import DealConflict, SnapshotRefused
from ledger.events import Deal, DealRevised
from ledger.gateway import Gateway
from ledger.journal import Outcome
from ledger.journal.plausible import latest_msc
from ledger.portfolio import Portfolio
from ledger.reconcile.compare import Disagreement, Drift, Ghost, NewTicket, Zombie
from ledger.reconcile.policy import ReconcilePolicy
from ledger.reconcile.trust import refuse_stranger
from ledger.service import Account
from ledger.snapshot import RemoteHistory

_DAY_MSC: Final = 24 * 60 * 60 * 1000
_SECOND_MSC: Final = 1000
_SINGLE_POSITIONS_MAX: Final = 16  # beyond that, one span of time is asked for instead
_BACK_EVERY: Final = 20  # syncs after which an unchanged doubt is looked into again


@frozen(kw_only=True)
class Booked:
    """What asking brought: deals that were new or revised, by ticket, the rows appended, and the newest deal told."""

    fills: tuple[int, ...] = ()
    revised: tuple[int, ...] = ()
    rows: tuple[Stored, ...] = ()
    newest_msc: int = -1

    def __add__(self, other: Booked) -> Booked:
        return Booked(
            fills=self.fills + other.fills,
            revised=self.revised + other.revised,
            rows=self.rows + other.rows,
            newest_msc=max(self.newest_msc, other.newest_msc),
        )


class History:
    """The broker's deals of one account, asked for and booked. Remembers what it was told last, to tell nothing twice."""

    def __init__(self, account: Account, gateway: Gateway, policy: ReconcilePolicy) -> None:
        self._account = account
        self._gateway = gateway
        self._overlap_msc = round(policy.overlap_sec * _SECOND_MSC)
        self._told: dict[int, Deal] = {}
        self._until_msc: int | None = None
        self._doubt: object = None
        self._doubt_age = 0

    def catch_up(self, portfolio: Portfolio, now_msc: int, correlation: str, *, whole: bool = False) -> Booked:
        """Book the deals since the newest known one; all there are where none is known.

        Args:
            portfolio: What is known.
            now_msc: The present on the broker's server clock, as it was told.
            correlation: The sync run.
            whole: Ask for all there are all the same.
        """
        newest_msc = portfolio.newest_deal_msc if self._until_msc is None else self._until_msc
        from_msc = 0 if whole and self._until_msc is None else max(0, newest_msc - self._overlap_msc)
        if self._is_worth_going_back(portfolio):
            from_msc = max(0, min([from_msc, *(one.since_msc - self._overlap_msc for one in portfolio.unexplained)]))
        told = self._ask(portfolio, self._gateway.deals(from_msc=from_msc, to_msc=self._to_msc(portfolio, now_msc)))
        booked = self._book(told, correlation)
        self._told = {deal.deal: deal for deal in told}
        self._until_msc = now_msc
        return booked

    def _is_worth_going_back(self, portfolio: Portfolio) -> bool:
        """Return whether what is unexplained has changed since it was last looked into, or that was long ago."""
        doubt = (portfolio.unexplained, portfolio.totals.deals_untold)
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
            told = [deal for position_id in wanted for deal in self._ask(portfolio, self._gateway.deals(position=position_id))]
        else:
            from_msc = max(0, min(wanted.values()) - self._overlap_msc)
            told = list(self._ask(portfolio, self._gateway.deals(from_msc=from_msc, to_msc=self._to_msc(portfolio, now_msc))))
        return self._book(told, correlation)

    def go_back(self, portfolio: Portfolio, now_msc: int, correlation: str) -> Booked:
        """Book all deals since nothing was known to be missing any more: the money does not add up."""
        from_msc = max(0, portfolio.complete_until_msc)
        told = self._ask(portfolio, self._gateway.deals(from_msc=from_msc, to_msc=self._to_msc(portfolio, now_msc)))
        return self._book(told, correlation)

    def _to_msc(self, portfolio: Portfolio, now_msc: int) -> int:
        """Return up to when deals are asked for: a day on, because the terminal reads a span of time by a clock of its own.

        The clock that a gateway tells may stand, over a weekend, while money is booked; ours goes on.
        """
        ours_msc = portfolio.standing.clock.from_utc_msc(self._account.ledger.now_us() // 1000)
        return max(now_msc, ours_msc) + _DAY_MSC

    def _ask(self, portfolio: Portfolio, history: RemoteHistory) -> Sequence[Deal]:
        refuse_stranger(history, portfolio.standing)
        clock, now_msc = portfolio.standing.clock, self._account.ledger.now_us() // 1000
        latest = latest_msc(clock, now_msc)
        once: dict[int, Deal] = {}
        for number, deal in enumerate(history.deals, 1):
            why = implausible(deal.time_msc, latest)
            if why is not None:
                raise SnapshotRefused(f"deal {deal.deal}: {why}", row=number, field="time")
            if once.setdefault(deal.deal, deal) != deal:
                raise SnapshotRefused(f"deal {deal.deal} is told twice with other content in one answer", field="deals")
        return list(once.values())

    def _book(self, told: Iterable[Deal], correlation: str) -> Booked:
        """Append what is new; what the broker shows with other content than we have is a revision of his."""
        deals = sorted(
            (deal for deal in told if self._told.get(deal.deal) != deal), key=lambda deal: (deal.time_msc, deal.deal)
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
            newest_msc=max((deal.time_msc for deal in news), default=-1),
        )
