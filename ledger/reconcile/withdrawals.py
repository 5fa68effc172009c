"""Withdrawals: deals that the broker no longer lists although its history covers them. Pure.

The server side of MT5 can delete deals. But a history that is read shortly after a reconnect, or that lags, lacks deals too,
and an answer may be of another span than was asked for. So what an answer lacks counts only if it lists deals around it; at
either end only a single deal, if it stays away for longer; nothing if most of what we know is missing. What an engine recorded
and no answer ever listed is looked at once more before anything is concluded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, NamedTuple

import attrs
from attrs import frozen

from ledger.codec import Stored
from ledger.events import (
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    CashMoved,
    Deal,
    DealRevised,
    Event,
    FillRecorded,
    Origin,
)
from ledger.portfolio import Portfolio
from ledger.reconcile.decide import Decision, DecisionContext, Held
from ledger.reconcile.policy import Action, ReconcilePolicy
from ledger.values import CANCELED, TRADES, plain
from ledger.views import Break

_SETTLES_US: Final = 60_000_000  # a deal that an engine recorded may be listed a little later
_EDGE_MSC: Final = 60_000  # what is so near to the beginning of an answer may be outside of it by another clock
_FIRST_CANCELED: Final = min(CANCELED)
_NO_MONEY: Final = (None, 0)


class KnownDeal(NamedTuple):
    """A deal of ours as the journal holds it, ascending by time: what can be compared with a list of the broker's."""

    time_msc: int
    deal: int
    was_listed: bool


@frozen(kw_only=True)
class Listed:
    """What the broker's answers of one sync show about deals that we know.

    ``missing`` are those that they lack although they cover them -> whether they list deals on both sides of it;
    ``unlisted`` those of an engine that they lack likewise and may never have listed; ``present`` are the tickets that they
    list.
    """

    missing: Mapping[int, bool] = attrs.field(factory=dict)
    unlisted: frozenset[int] = frozenset()
    present: frozenset[int] = frozenset()

    def __or__(self, other: Listed) -> Listed:
        present = self.present | other.present
        missing = {
            deal: self.missing.get(deal, False) or other.missing.get(deal, False)
            for deal in (*self.missing, *other.missing)
            if deal not in present
        }
        return Listed(missing=missing, unlisted=(self.unlisted | other.unlisted) - present, present=present)


def known_deals(
    rows: Iterable[Stored], from_msc: int, to_msc: int, *, now_us: int, listed_before: Collection[int] = ()
) -> list[KnownDeal]:
    """Return the deals of a span that should be listed, ascending: neither cancelled, nor without effect, nor just recorded.

    Args:
        rows: The account's rows from the first that records a deal of the span, ascending version.
        from_msc: Where the span begins, broker server time;
        to_msc: where it ends, inclusive.
        now_us: The present, UTC in microseconds.
        listed_before: Tickets that earlier answers listed. What an import or a recovery recorded, or completed, was listed.
    """
    found: dict[int, KnownDeal] = {}
    for row in rows:
        if row.deal is None:
            continue
        if row.kind == "DealCompleted":
            if row.origin != Origin.ENGINE.value and row.deal in found:
                found[row.deal] = found[row.deal]._replace(was_listed=True)
            continue
        found.pop(row.deal, None)
        is_settled = row.origin != Origin.ENGINE.value or row.recorded_us <= now_us - _SETTLES_US
        if from_msc <= row.time_msc <= to_msc and is_settled and has_effect(row):
            was_listed = row.origin != Origin.ENGINE.value or row.deal in listed_before
            found[row.deal] = KnownDeal(row.time_msc, row.deal, was_listed)
    return sorted(found.values())


def has_effect(row: Stored) -> bool:
    """Return whether a deal trades or moves money; a cancelled one does neither."""
    if row.deal_type in TRADES:
        return True
    return row.deal_type not in CANCELED and any(
        amount not in _NO_MONEY for amount in (row.profit, row.commission, row.fee, row.swap)
    )


def compare_deals(known: Sequence[KnownDeal], listed: Collection[int], from_msc: int) -> Listed:
    """Return what an answer shows about deals of ours.

    Args:
        known: The deals of the span that should be listed, ascending.
        listed: The tickets that it lists.
        from_msc: Where it begins, broker server time; 0 for all there are.
    """
    tickets = set(listed)
    present = frozenset(one.deal for one in known if one.deal in tickets)
    if not present or 2 * len(present) < len(known):
        return Listed(present=frozenset(tickets))
    runs = [(is_listed, list(run)) for is_listed, run in groupby(known, lambda one: one.deal in present)]
    missing: dict[int, bool] = {}
    unlisted: set[int] = set()
    for number, (is_listed, run) in enumerate(runs):
        is_between = 0 < number < len(runs) - 1
        if is_listed or not (is_between or len(run) == 1):
            continue
        covered = [one for one in run if not from_msc or one.time_msc >= from_msc + _EDGE_MSC]
        missing |= {one.deal: is_between for one in covered if one.was_listed}
        unlisted |= {one.deal for one in covered if is_between and not one.was_listed}
    return Listed(missing=missing, unlisted=frozenset(unlisted), present=frozenset(tickets))


def withdrawal_of(deal: Deal) -> CashMoved:
    """Return what a withdrawn deal counts as: nothing. A fill becomes a cancelled deal, as the trade server writes them."""
    nothing: dict[str, Any] = dict.fromkeys(("profit", "commission", "fee", "swap"), Decimal(0))
    if isinstance(deal, CashMoved):
        return attrs.evolve(deal, **nothing, origin=Origin.RECOVERY)
    return CashMoved(
        deal=deal.deal, type=_FIRST_CANCELED + deal.side.code, time_msc=deal.time_msc, symbol=deal.symbol, entry=deal.entry,
        volume=deal.volume, price=deal.price, order=deal.order, position_id=deal.position_id, magic=deal.magic,
        reason=deal.reason, comment=deal.comment, external_id=deal.external_id, origin=Origin.RECOVERY, **nothing,
    )  # fmt: skip


def describe_deal(deal: Deal) -> str:
    """Write a deal in few words, for a break."""
    if isinstance(deal, FillRecorded):
        return f"{deal.side.value} {plain(deal.volume)} {deal.symbol} @ {plain(deal.price)}"
    return f"{deal.kind} {plain(deal.profit)}"


def open_withdrawals(portfolio: Portfolio) -> list[Break]:
    """Return the open breaks about deals that the broker does not list."""
    return [one for one in portfolio.breaks if one.kind is BreakKind.WITHDRAWN and one.version is not None]


def decide_withdrawals(
    portfolio: Portfolio,
    listed: Listed,
    deals: Mapping[int, Deal],
    *,
    policy: ReconcilePolicy,
    around: DecisionContext,
    evidence: str,
) -> Decision:
    """Return the breaks to open and close about deals that the broker no longer lists, and by policy their withdrawals.

    Args:
        portfolio: What we have, with the breaks that are open.
        listed: What the answers of this sync show.
        deals: Each missing deal as it is known, by ticket; without one that cannot be found nothing is concluded about it.
        policy: What to do.
        around: What is known around the answers.
        evidence: Digest of the snapshot of this sync.
    """
    known = {one.deal: one for one in open_withdrawals(portfolio) if one.deal is not None}
    deciding = _Deciding(policy, around, evidence, max(around.time_msc, portfolio.newest_known_msc))
    for deal in sorted(known.keys() | listed.missing.keys()):
        opened = known.get(deal)
        if deal in listed.missing and deal in deals:
            deciding.miss(deals[deal], opened, is_between=listed.missing[deal])
        elif opened is not None:
            deciding.keep_or_close(opened, is_listed=deal in listed.present)
    return Decision(events=tuple(deciding.events), held=tuple(deciding.held), withdrawn=tuple(deciding.withdrawn))


class _Deciding:
    """One decision about withdrawn deals under way."""

    def __init__(self, policy: ReconcilePolicy, around: DecisionContext, evidence: str, time_msc: int) -> None:
        self._policy = policy
        self._around = around
        self._evidence = evidence
        self._time_msc = time_msc
        self.events: list[Event] = []
        self.held: list[Held] = []
        self.withdrawn: list[int] = []

    def miss(self, deal: Deal, opened: Break | None, *, is_between: bool) -> None:
        """Note that a deal is missing; record the withdrawal once it was missing often enough, where the policy adopts it."""
        needed = self._policy.ghost_confirmations if is_between else self._policy.vanish_confirmations
        confirmations = min(opened.confirmations + self._around.is_another_answer, needed) if opened else 1
        unrest = self._around.flapping.of("deal", deal.deal)
        flaps = opened.flaps if opened else None
        if opened is None and unrest.openings >= self._policy.attempts_max:
            flaps = unrest.openings
        why = f"missing in {confirmations} of {needed} answers that cover it"
        if flaps is not None:
            why = f"it was listed and missing {flaps} times: look at the gateway"
        elif confirmations >= needed:
            why = "the broker no longer lists it; record it with ledger correct withdraw"
        adopts = self._policy.withdrawn is Action.ADOPT and confirmations >= needed and flaps is None
        is_news = opened is None or (confirmations > opened.confirmations and flaps is None)
        if is_news:
            self.events.append(
                BreakOpened(
                    kind=BreakKind.WITHDRAWN, deal=deal.deal, position_id=deal.position_id, symbol=deal.symbol,
                    deal_msc=deal.time_msc, ours=describe_deal(deal), why=why, confirmations=confirmations, flaps=flaps,
                    caused_by=opened.version if opened else None, time_msc=self._time_msc, evidence=self._evidence,
                )
            )  # fmt: skip
        self.withdrawn.append(deal.deal)
        if adopts and opened is not None and opened.version is not None:
            self.events.append(DealRevised(now=withdrawal_of(deal), caused_by=1))
            self._close(opened, BreakEnd.CORRECTED)
            return
        self._hold(deal.position_id, deal.symbol, f"deal {deal.deal}: {why}")

    def keep_or_close(self, opened: Break, *, is_listed: bool) -> None:
        """Close the break of a deal that is listed again; hold one that no answer of this sync covers."""
        assert opened.deal is not None
        flaps = opened.flaps is not None and not self._around.flapping.of("deal", opened.deal).is_quiet
        if is_listed and not flaps:
            self._close(opened, BreakEnd.VANISHED)
            return
        self.withdrawn.append(opened.deal)
        self._hold(opened.position_id, opened.symbol, f"deal {opened.deal}: {opened.why}")

    def _close(self, opened: Break, end: BreakEnd) -> None:
        assert opened.version is not None
        self.events.append(
            BreakClosed(
                kind=BreakKind.WITHDRAWN, end=end, position_id=opened.position_id, time_msc=self._time_msc,
                caused_by=opened.version, evidence=self._evidence,
            )
        )  # fmt: skip

    def _hold(self, position_id: int | None, symbol: str | None, why: str) -> None:
        self.held.append(Held(kind=BreakKind.WITHDRAWN.value, position_id=position_id, symbol=symbol, why=why))
