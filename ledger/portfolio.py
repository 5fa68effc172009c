"""The fold: what events mean. Open positions, money and what is still unexplained, of one account.

Pure: no clock, no I/O. The same postings in the fold order give the same portfolio. Its state grows with what is open or
unexplained, never with the length of the history; closed trades leave it as a stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, assert_never

import attrs

from ledger.clock import ClockRule
from ledger.deprecation import Alias
from ledger.errors import RuleError, VersionGap
from ledger.events import (
    AcceptedResult,
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakKind,
    BreakOpened,
    CashMoved,
    DealCompleted,
    DealOrder,
    DealRevised,
    DriftCorrected,
    Event,
    FillRecorded,
    GatewayIdentified,
    GhostClosed,
    IdentityRelaxed,
    IdentityRequired,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
)
from ledger.events.deals import cash_kind
from ledger.positions import BASIS_ADJUSTMENT, BASIS_CORRECTION, BASIS_RECOVERY, OpenPosition, divided
from ledger.postings import NO_DEAL, Fill, FoldKey, Posting, Row, deal_posting, place_of, second_of
from ledger.terms import AccountTerms, check_fit, terms_after
from ledger.values import CREDIT, INT64_MAX, plain, signed_magic
from ledger.views import (
    CLOSE_WITHOUT_OPENING,
    GHOST_RESULT,
    Break,
    Identity,
    Position,
    Totals,
    Trade,
    Unexplained,
    show_position,
    show_trade,
    show_unexplained,
)

# What the fold shows and the terms that it needs stay importable from here.
__all__ = [
    "CLOSE_WITHOUT_OPENING",
    "FOLD_VERSION",
    "GHOST_RESULT",
    "AccountTerms",
    "Break",
    "Decode",
    "Identity",
    "Portfolio",
    "Position",
    "Totals",
    "Trade",
    "TradeSink",
    "Unexplained",
]

#: Raised whenever a rule of the fold, or what a state consists of, changes: so that no replay begins at a checkpoint made by
#: other rules. ``tools/dev/freeze_fold.py`` shows when.
FOLD_VERSION: Final = 3

_IN: Final = 0
_IN_OUT: Final = 2

_SECOND_MSC: Final = 1000
_key_of: Final = attrgetter("key")

#: What a fold counts, by the names of its attributes.
_NUMBERS: Final = (
    "_cash", "_credit", "_commission", "_fee", "_swap", "_profit", "_deals", "_deals_incomplete", "_folded",
    "_balance_is_set", "_complete_until_msc", "_filled_msc", "_deal_msc", "_asserted_msc",
    "_noted_msc",
)  # fmt: skip

#: Makes the event of a posting that is not a deal.
Decode = Callable[[Row], Event]
#: Is called with each position that went flat.
TradeSink = Callable[[OpenPosition], object]


def _ignore(_: OpenPosition) -> None:
    """Let closed trades go."""


class Portfolio:
    """Open positions and money of one account, updated posting by posting.

    Only this class changes its state, and only in ``fold`` and ``apply``; what it shows is frozen.
    """

    standing = Alias("terms")

    def __init__(self, terms: AccountTerms) -> None:
        self.terms = terms
        self._version: int | None = 0  # up to which all of the account's events are folded, None where nobody stated it
        self._nets = terms.opened.mode.nets
        self._open: dict[int, OpenPosition] = {}
        # Where an account nets: symbol -> id of the one open position. The symbol is an attribute of the position: it may be
        # renamed while the position is open.
        self._ids: dict[str, int] = {}
        self._cash = self._credit = 0
        self._commission = self._fee = self._swap = self._profit = 0
        self._cash_by_kind: dict[str, int] = {}
        self._deals = self._deals_incomplete = self._folded = 0
        self._balance_is_set = False
        self._complete_until_msc = -1
        # What no deal explains: closes of what was never held, by position id, by symbol where that is not known;
        # positions that ended unseen; parts of positions.
        self._loose: dict[tuple[int | str, int], OpenPosition] = {}
        self._ghosts: dict[int, list[OpenPosition]] = {}
        self._parts: dict[int, OpenPosition] = {}
        # Of what no deal explains: key and moment of what a person accepted as it is.
        self._accepted: set[tuple[int | str, int]] = set()
        self._breaks: dict[int, Break] = {}
        self._degraded: SyncDegraded | None = None
        self._identity = Identity()
        self._last: FoldKey = (-1, 0, 0)
        self._filled_msc = self._deal_msc = self._asserted_msc = self._noted_msc = -1
        self._shown: Mapping[int, Position] | None = None

    # ---- folding

    def fold(self, rows: Iterable[Row], decode: Decode, trades: TradeSink = _ignore) -> None:
        """Apply postings, ascending in the fold order and all after what was folded before.

        The loop knows the three things that nearly every posting does (open, add, close within what is open) and leaves
        everything else to ``_settle`` and ``_apply_posting``, which know all.

        Args:
            rows: Postings (see ``ledger.postings``), each deal once.
            decode: Makes the event of a posting that is not a deal.
            trades: Called with each position that went flat.
        """
        nets, positions, ids, loose = self._nets, self._open, self._ids, self._loose
        commissions = fees = swaps = profits = deals = folded = 0
        filled_msc = self._filled_msc
        self._shown = self._version = None
        row: Row | None = None
        for row in rows:
            (time_msc, _, _, kind, side, entry, position_id, _, symbol, volume, price, commission, fee, swap, profit,
             magic, _, _) = row  # fmt: skip
            folded += 1
            if kind != "FillRecorded":
                self._count(commissions, fees, swaps, profits)
                commissions = fees = swaps = profits = 0
                self._apply_posting(Posting._make(row), decode)
                continue
            filled_msc = time_msc
            position = positions.get(position_id)
            if profit is None or swap is None or fee is None or commission is None or position_id is None:
                self._settle(Fill._make(row), trades)
                continue
            if position is None:
                if entry != _IN or loose or (nets and symbol in ids):
                    self._settle(Fill._make(row), trades)
                    continue
                positions[position_id] = OpenPosition(
                    position_id, symbol, side, volume, price, time_msc, magic, commission, fee, swap, profit
                )
                if nets:
                    ids[symbol] = position_id
            elif position.symbol != symbol:
                self._settle(Fill._make(row), trades)
                continue
            elif entry == _IN:
                if position.side != side:
                    self._settle(Fill._make(row), trades)
                    continue
                position.add(volume, price, commission, fee, swap, profit)
            else:
                if entry == _IN_OUT or position.side == side or volume > position.volume:
                    self._settle(Fill._make(row), trades)
                    continue
                position.reduce(volume, price, commission, fee, swap, profit)
                if not position.volume:
                    del positions[position_id]
                    if nets:
                        del ids[symbol]
                    position.closed_msc = time_msc
                    trades(position)
            deals += 1
            commissions += commission
            fees += fee
            swaps += swap
            profits += profit
        self._count(commissions, fees, swaps, profits)
        self._deals += deals
        self._folded += folded
        self._filled_msc = filled_msc
        if row is not None:
            self._last = place_of(row)

    def apply(self, event: Event, version: int, trades: TradeSink = _ignore) -> None:
        """Apply the next event, behind everything that was folded: for a few events that no journal holds yet.

        Args:
            event: What happened next. A deal that was not applied before, and nothing that changes what was.
            version: The event's version, one behind the last that was folded.
            trades: Called with each position that went flat.

        Raises:
            VersionGap: It is not the next version, or a selection was folded that ends at none (see ``note_version``).
            RuleError: The event belongs further back or changes what was folded there: only a replay can apply it.
            InexactNumber: A number does not fit the scales of the account or symbol.
        """
        if self._version is None or version != self._version + 1:
            known = "a selection of events" if self._version is None else f"version {self._version}"
            raise VersionGap(f"account {self.terms.account}: {known} was folded, found version {version} as the next one")
        check_fit(event, self.terms)
        match event:
            case FillRecorded() | CashMoved():
                row = deal_posting(event, self.terms, version)
                if not self.is_followed_by([place_of(row)]):
                    raise RuleError(f"deal {event.deal} need not belong behind what was folded: replay")
                self.fold((row,), _decode_nothing, trades)
            case DealCompleted() | DealRevised() | Adjusted(clock_after=ClockRule()) | Adjusted(order_after=DealOrder()):
                raise RuleError(f"version {version}: {type(event).__name__} changes what was folded before it: replay")
            case AccountOpened():
                pass  # the portfolio is made with it
            case SymbolSpecified():
                self.terms = terms_after(self.terms, [event]) or self.terms
                self._shown = None
            case _:
                self._apply_event(event, version)
                self._folded += 1
                self._last = second_of(event.time_msc), NO_DEAL, version
                self._shown = None
        self._version = version

    def followed_by(self, events: Iterable[Event], version: int) -> Portfolio:
        """Return what it becomes with more events behind a version, to see what they would do. It stays as it is itself.

        Raises as ``apply``.
        """
        tried = self.copy()
        for number, event in enumerate(events, version + 1):
            tried.apply(event, number)
        return tried

    def note_version(self, version: int) -> None:
        """State up to which version all of the account's events are folded, so that the next one may be applied."""
        self._version = version

    def _count(self, commission: int, fee: int, swap: int, profit: int) -> None:
        self._commission += commission
        self._fee += fee
        self._swap += swap
        self._profit += profit

    # ---- deals, all rules

    def _settle(self, fill: Fill, trades: TradeSink) -> None:
        """Apply a fill of any shape: money not known yet, closes beyond what is known, reversals, unknown entries."""
        money, position_id = fill.money, fill.position_id
        self._count(*money)
        self._deals += 1
        self._deals_incomplete += not fill.is_money_known
        if position_id is None and fill.entry == _IN and not self._nets:
            position_id = fill.order or fill.deal  # hedging: a position carries its opening order's ticket
        position, fill = self._aligned(self._held(position_id, fill.symbol, fill.time_msc), fill)
        if fill.entry == _IN:
            self._open_more(position, position_id, fill, money, trades)
        elif fill.entry == _IN_OUT:
            self._reverse(position, position_id, fill, money, trades)
        else:
            self._close(position, position_id, fill, money, trades)

    def _held(self, position_id: int | None, symbol: str, time_msc: int) -> OpenPosition | None:
        """Return the open position that a deal or a snapshot is about.

        On an account that nets a new id means that the old position ended: MT5 gives one only after the volume reached 0.
        """
        position = self._open.get(position_id) if position_id is not None else None
        if position is not None or not self._nets:
            return position
        known = self._ids.get(symbol)
        if known is None:
            return None
        position = self._open[known]
        if position_id is None:
            return position
        if position.is_id_known:
            self._lose(position, time_msc)
            return None
        del self._open[known]
        position.position_id, position.is_id_known = position_id, True
        self._put(position)
        return position

    def _put(self, position: OpenPosition) -> None:
        """Have a position among the open ones. Where the account nets its symbol has no other."""
        self._open[position.key] = position
        if self._nets:
            self._ids[position.symbol] = position.key

    def _drop(self, position: OpenPosition) -> None:
        """Take a position from among the open ones."""
        del self._open[position.key]
        if self._nets and self._ids.get(position.symbol) == position.position_id:
            del self._ids[position.symbol]

    def _aligned(self, position: OpenPosition | None, fill: Fill) -> tuple[OpenPosition | None, Fill]:
        """Let a position go by the symbol that its latest deal names: a renamed symbol is the same position.

        Where the scales of both symbols differ, position and deal are brought to the finer ones. If neither symbol keeps both
        of them, nothing can be added exactly: then the position is lost sight of.
        """
        if position is None or position.symbol == fill.symbol:
            return position, fill
        (price, volume), (price_now, volume_now) = self.terms.scales(position.symbol), self.terms.scales(fill.symbol)
        if price_now >= price and volume_now >= volume:
            position.rescale(10 ** (volume_now - volume), 10 ** (price_now - price))
            self._rename(position, fill.symbol, fill.time_msc)
            return position, fill
        if price_now <= price and volume_now <= volume:
            finer_volume, finer_price = fill.volume * 10 ** (volume - volume_now), fill.price * 10 ** (price - price_now)
            return position, fill._replace(symbol=position.symbol, volume=finer_volume, price=finer_price)
        if self._open.get(position.key) is position:
            self._lose(position, fill.time_msc)
        return None, fill

    def _rename(self, position: OpenPosition, symbol: str, time_msc: int) -> None:
        """Give a position another symbol; an account that nets has no other position of it then."""
        key = position.key
        if self._nets and self._open.get(key) is position and position.symbol != symbol:
            del self._ids[position.symbol]
            if symbol in self._ids:
                self._lose(self._open[self._ids[symbol]], time_msc)
            self._ids[symbol] = key
        position.symbol = symbol

    def _open_more(
        self,
        position: OpenPosition | None,
        position_id: int | None,
        fill: Fill,
        money: tuple[int, int, int, int],
        trades: TradeSink,
    ) -> None:
        if position is not None and position.side != fill.side:
            self._lose(position, fill.time_msc)  # it must have been closed before, unrecorded
            position = None
        if position is not None:
            position.add(fill.volume, fill.price, *money)
            position.is_money_known &= fill.is_money_known
            return
        # Netting finds it by symbol, so that an id that is not known yet costs nothing; the opening order names the position.
        position = OpenPosition(
            position_id or fill.order or fill.deal, fill.symbol, fill.side, fill.volume, fill.price, fill.time_msc, fill.magic,
            *money,
        )  # fmt: skip
        position.is_money_known = fill.is_money_known
        position.is_id_known = position_id is not None
        self._put(position)
        self._match_loose(position, trades)

    def _match_loose(self, position: OpenPosition, trades: TradeSink) -> None:
        """Let an opening explain closes of the same position that were recorded for the same second.

        A source that reports whole seconds puts a close before an opening of the same second that another source reported in
        milliseconds.
        """
        at = (position.key, position.side)
        loose = self._loose.get(at)
        if loose is None or loose.opened_msc // _SECOND_MSC != position.opened_msc // _SECOND_MSC:
            return
        volume = min(loose.volume_out, position.volume)
        cost = divided(loose.cost_out * volume, loose.volume_out)
        position.reduce(volume, 0, loose.commission, loose.fee, loose.swap, loose.profit)
        position.cost_out = cost
        position.is_money_known &= loose.is_money_known
        loose.volume_out -= volume
        loose.cost_out -= cost
        loose.commission = loose.fee = loose.swap = loose.profit = 0
        if not loose.volume_out:
            del self._loose[at]
        if not position.volume:
            self._finish(position, loose.closed_msc, trades)

    def _close(
        self,
        position: OpenPosition | None,
        position_id: int | None,
        fill: Fill,
        money: tuple[int, int, int, int],
        trades: TradeSink,
    ) -> None:
        """Reduce what is there; what goes beyond it stays unexplained and never opens the other side."""
        time_msc, side = fill.time_msc, fill.side
        if position is not None and position.side == side:
            self._lose(position, time_msc)  # what this deal closes stood the other way: ours was gone before
            position = None
        is_money_known = fill.is_money_known
        if position is None:
            position, fill = self._aligned(self._ghost(position_id, fill.symbol, side), fill)
        symbol, volume, price = fill.symbol, fill.volume, fill.price
        while position is not None and volume:
            reduced = min(volume, position.volume)
            position.reduce(reduced, price, *money)
            position.is_money_known &= is_money_known
            volume -= reduced
            is_money_known, money = True, (0, 0, 0, 0)
            if self._open.get(position.key) is not position:
                position.volume_unexplained -= reduced  # a ghost: now its deal is known
            if not position.volume:
                self._finish(position, time_msc, trades)
            position = self._ghost(position_id, symbol, side)
        if volume:
            at = (symbol if position_id is None else position_id, 1 - side)
            loose = self._loose.get(at)
            if loose is None:
                loose = self._loose[at] = OpenPosition(position_id, symbol, 1 - side, 0, 0, time_msc, fill.magic)
                loose.is_opening_known = False
            loose.reduce(volume, price, *money)
            loose.is_money_known &= is_money_known
            loose.volume = 0
            loose.closed_msc = time_msc

    def _reverse(
        self,
        position: OpenPosition | None,
        position_id: int | None,
        fill: Fill,
        money: tuple[int, int, int, int],
        trades: TradeSink,
    ) -> None:
        """Close what is left and open the rest on the other side, at the deal's price, as a new trade.

        Profit and swap belong to the closed part (MQL5 Reference, ``DEAL_ENTRY_INOUT``); commission and fee are shared
        by volume.
        """
        time_msc, side, symbol, volume, price = fill.time_msc, fill.side, fill.symbol, fill.volume, fill.price
        if position is None or position.side == side or volume <= position.volume:
            self._close(position, position_id, fill, money, trades)
            left = self._still_held(position_id, symbol)
            if left is not None:
                self._lose(left, time_msc)  # after a reversal nothing of the old side is left
            return
        commission, fee, swap, profit = money
        closing = position.volume
        commission_closing = divided(commission * closing, volume)
        fee_closing = divided(fee * closing, volume)
        position.reduce(closing, price, commission_closing, fee_closing, swap, profit)
        position.is_money_known &= fill.is_money_known
        self._finish(position, time_msc, trades)
        opened = OpenPosition(
            position_id or position.position_id, symbol, side, volume - closing, price, time_msc, fill.magic,
            commission - commission_closing, fee - fee_closing,
        )  # fmt: skip
        opened.ticket = fill.order or position.ticket
        opened.is_money_known = fill.commission is not None and fill.fee is not None
        self._put(opened)

    def _still_held(self, position_id: int | None, symbol: str) -> OpenPosition | None:
        known = self._ids.get(symbol) if position_id is None else position_id
        return None if known is None else self._open.get(known)

    def _finish(self, position: OpenPosition, time_msc: int, trades: TradeSink) -> None:
        """Let a position that went flat leave, from among the open ones or from among the ghosts."""
        key = position.key
        position.closed_msc = max(time_msc, position.closed_msc)
        if self._open.get(key) is position:
            self._drop(position)
        else:
            self._ghosts[key].remove(position)
            if not self._ghosts[key]:
                del self._ghosts[key]
        trades(position)

    def _lose(self, position: OpenPosition, time_msc: int) -> None:
        """Remove a position from the open ones: it is gone, and its result is not known until its closing deal is recorded."""
        self._drop(position)
        position.closed_msc = time_msc
        position.volume_unexplained += position.volume
        self._ghosts.setdefault(position.key, []).append(position)

    def _ghost(self, position_id: int | None, symbol: str, closing_side: int) -> OpenPosition | None:
        """Return the oldest ghost that a deal of this side and position can have closed.

        A deal that names no position is of its symbol's, on an account that nets.
        """
        if position_id is not None:
            ghosts: Iterable[OpenPosition] = self._ghosts.get(position_id, ())
            if not ghosts and self._nets:
                ghosts = (ghost for ghost in self._ghosts_of(symbol) if not ghost.is_id_known)
        else:
            ghosts = self._ghosts_of(symbol) if self._nets else ()
        return next((ghost for ghost in ghosts if ghost.side != closing_side), None)

    def _ghosts_of(self, symbol: str) -> Iterator[OpenPosition]:
        every = (ghost for several in self._ghosts.values() for ghost in several if ghost.symbol == symbol)
        return iter(sorted(every, key=lambda ghost: ghost.closed_msc))

    # ---- everything that is not a fill

    def _apply_posting(self, posting: Posting, decode: Decode) -> None:
        if posting.kind == "CashMoved":
            self._noted_msc = max(self._noted_msc, posting.time_msc)
            self._move_cash(posting)
        else:
            self._apply_event(decode(posting), posting.version)

    def _apply_event(self, event: Event, version: int) -> None:
        self._noted_msc = max(self._noted_msc, event.time_msc)
        self._note_assertion(event)
        match event:
            case PositionRecovered():
                self._assert_open(event.position, event.time_msc, BASIS_RECOVERY)
            case DriftCorrected():
                self._assert_open(event.after, event.time_msc, BASIS_CORRECTION)
            case GhostClosed():
                self._assert_gone(event.before, event.time_msc)
            case PositionReticketed():
                position = self._known(event.symbol, event.position_id)
                if position is not None:
                    position.ticket = event.ticket_after
            case BalanceAsserted():
                self._assert_balance(event, version)
            case Adjusted():
                self._adjust(event)
            case BreakOpened():
                self._see_break(event, version)
            case BreakClosed():
                self._breaks.pop(event.caused_by, None)
            case SyncDegraded() | SyncRestored() | GatewayIdentified() | IdentityRelaxed() | IdentityRequired():
                self._apply_trust(event, version)
            case AccountOpened() | SymbolSpecified():
                pass  # they apply at every moment: see AccountTerms
            case FillRecorded() | CashMoved() | DealCompleted() | DealRevised():
                raise AssertionError(f"deals come as one posting each, found {type(event).__name__}")
            case _:
                assert_never(event)

    def _apply_trust(
        self, event: SyncDegraded | SyncRestored | GatewayIdentified | IdentityRelaxed | IdentityRequired, version: int
    ) -> None:
        """Apply what is known of the gateway: whether its snapshots are usable, and whether they must state the account."""
        match event:
            case SyncDegraded():
                self._degraded = event
            case SyncRestored():
                self._degraded = None
            case GatewayIdentified():
                self._identity = attrs.evolve(self._identity, seen=event)
            case IdentityRelaxed() | IdentityRequired():
                if version > self._identity.decided_version:
                    self._identity = attrs.evolve(self._identity, decided=event, decided_version=version)

    def _move_cash(self, moved: Posting) -> None:
        """Count a deal that is not a trade: credit apart, everything else to the balance."""
        self._deal_msc = moved.time_msc
        commission, fee, swap, profit = moved.commission or 0, moved.fee or 0, moved.swap or 0, moved.profit or 0
        self._deals += 1
        kind = _cash_kind(moved.deal_type, moved.data)
        self._cash_by_kind[kind] = self._cash_by_kind.get(kind, 0) + profit + commission + fee + swap
        if moved.deal_type == CREDIT:
            self._credit += profit
            self._cash += commission + fee + swap
        else:
            self._cash += profit + commission + fee + swap

    def _note_assertion(self, event: Event) -> None:
        """Note how far in broker time assertions reach: what is recorded up to there may belong before one of them."""
        match event:
            case PositionRecovered() | DriftCorrected():
                reach_msc = max(event.time_msc, event.updated_msc or 0)
            case BalanceAsserted():
                reach_msc = max(event.time_msc, event.deals_through_msc or 0)
            case GhostClosed() | Adjusted():
                reach_msc = event.time_msc
            case _:
                return
        self._asserted_msc = max(self._asserted_msc, reach_msc)

    def _known(self, symbol: str, position_id: int) -> OpenPosition | None:
        """Return the open position with an id; on an account that nets also that of the symbol, if its id is not known."""
        position = self._open.get(position_id)
        if position is not None or not self._nets or symbol not in self._ids:
            return position
        position = self._open[self._ids[symbol]]
        return None if position.is_id_known else position

    def _assert_open(self, state: PositionState, time_msc: int, basis: str) -> None:
        """Set a position to what somebody saw; what that leaves unexplained is shown as such."""
        side, magic = state.side.code, signed_magic(state.magic)
        position = self._held(state.position_id, state.symbol, time_msc)
        if position is not None and (
            position.side != side or self.terms.scales(position.symbol) != self.terms.scales(state.symbol)
        ):
            self._lose(position, time_msc)
            position = None
        volume, price = self.terms.sizes(state)
        position = position or self._reopen_ghost(state)
        if position is None:
            opened_msc = time_msc if state.opened_msc is None else state.opened_msc
            position = OpenPosition(state.position_id, state.symbol, side, volume, price, opened_msc, magic)
            position.basis = basis
            self._put(position)
        elif (position.volume, position.price_open(), position.symbol) != (volume, price, state.symbol):
            if volume < position.volume:
                self._lose_part(position, position.volume - volume, time_msc)
            position.assert_open(volume, price)
            self._rename(position, state.symbol, time_msc)
            position.basis = basis
        position.ticket = state.ticket or position.ticket
        position.magic = position.magic if magic is None else magic
        position.comment = state.comment or position.comment

    def _reopen_ghost(self, state: PositionState) -> OpenPosition | None:
        """Take back a ghost that was none: the same position is there again."""
        ghosts = self._ghosts.get(state.position_id, [])
        for ghost in ghosts:
            if (ghost.side, ghost.symbol) == (state.side.code, state.symbol):
                ghosts.remove(ghost)
                if not ghosts:
                    del self._ghosts[state.position_id]
                ghost.volume_unexplained -= ghost.volume
                ghost.closed_msc = 0
                self._put(ghost)
                return ghost
        return None

    def _lose_part(self, position: OpenPosition, volume: int, time_msc: int) -> None:
        position.lose(volume)
        key = position.key
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = OpenPosition(key, position.symbol, position.side, 0, 0, time_msc, None)
        part.volume += volume

    def _assert_gone(self, state: PositionState, time_msc: int) -> None:
        position = self._known(state.symbol, state.position_id)
        if position is not None:
            self._lose(position, time_msc)

    def _assert_balance(self, event: BalanceAsserted, version: int) -> None:
        """Check a balance where the history before it is complete, set it where it is not.

        One that states it itself was checked when it was recorded: what the broker changed since in the deals that it contains
        counts.
        """
        if event.complete:
            self._balance_is_set = True
            return
        balance = self.terms.money_units(event.balance, "balance")
        credit = self._credit if event.credit is None else self.terms.money_units(event.credit, "credit")
        if event.credit is None:
            balance -= credit  # the broker reported the sum of both
        if self._balance_is_set and event.time_msc <= self._complete_until_msc:
            self._check_money("balance", self._balance(), balance, event.time_msc, version)
            self._check_money("credit", self._credit, credit, event.time_msc, -version)
        else:
            self._cash += balance - self._balance()
            self._credit = credit
            self._balance_is_set = True
        self._complete_until_msc = max(self._complete_until_msc, event.complete_until_msc or -1)

    def _see_break(self, event: BreakOpened, version: int) -> None:
        """Open a break, or note that an open one was seen again."""
        known = self._breaks.get(event.caused_by or 0)
        if known is None or (known.kind, known.position_id) != (event.kind, event.position_id):
            known = Break(
                kind=event.kind, position_id=event.position_id, symbol=event.symbol, deal=event.deal, field=event.field,
                ours=event.ours, theirs=event.theirs, why=event.why, opened_msc=event.time_msc, version=version,
                deal_msc=event.deal_msc,
            )  # fmt: skip
        assert known.version is not None
        self._breaks[known.version] = attrs.evolve(
            known,
            field=event.field,
            ours=event.ours,
            theirs=event.theirs,
            why=event.why,
            confirmations=max(known.confirmations, event.confirmations),
            attempts=max(known.attempts, event.attempts),
            flaps=event.flaps,
        )

    def _check_money(self, name: str, ours: int, theirs: int, time_msc: int, at: int) -> None:
        if ours != theirs:
            self._breaks[at] = Break(
                kind=BreakKind.BALANCE, position_id=None, deal=None, field=name, ours=self.money_text(ours),
                theirs=self.money_text(theirs), why="the broker stated another figure", opened_msc=time_msc, version=None,
            )  # fmt: skip

    def _adjust(self, event: Adjusted) -> None:
        if event.after is not None:
            self._assert_open(event.after, event.time_msc, BASIS_ADJUSTMENT)
        elif event.before is not None:
            self._assert_gone(event.before, event.time_msc)
        if event.accepted is not None:
            self._accept(event.accepted)
        self._cash += self._moved(event.balance_before, event.balance_after, "balance")
        self._credit += self._moved(event.credit_before, event.credit_after, "credit")

    def _accept(self, result: AcceptedResult) -> None:
        """Take what is unexplained of a position as it is. A deal that comes to light later explains it all the same."""
        key = result.symbol if result.position_id is None else result.position_id
        loose = [close for (at, _), close in self._loose.items() if at == key]
        ghosts = [] if result.position_id is None else self._ghosts.get(result.position_id, [])
        self._accepted |= {(key, one.closed_msc) for one in (*ghosts, *loose)}
        if result.position_id is not None:
            self._parts.pop(result.position_id, None)

    def _moved(self, before: Decimal | None, after: Decimal | None, what: str) -> int:
        if before is None or after is None:
            return 0
        return self.terms.money_units(after, what) - self.terms.money_units(before, what)

    def copy(self) -> Portfolio:
        """Return an independent copy, to fold on from here."""
        twin = Portfolio(self.terms)
        twin.__dict__.update(self.__dict__)
        twin._open = {key: position.copy() for key, position in self._open.items()}
        twin._ids = dict(self._ids)
        twin._loose = {key: close.copy() for key, close in self._loose.items()}
        twin._ghosts = {key: [ghost.copy() for ghost in several] for key, several in self._ghosts.items()}
        twin._cash_by_kind = dict(self._cash_by_kind)
        twin._parts = {key: part.copy() for key, part in self._parts.items()}
        twin._accepted = set(self._accepted)
        twin._breaks = dict(self._breaks)
        return twin

    # ---- its state, saved and restored

    def state(self) -> dict[str, Any]:
        """Return everything that folding goes on from, as JSON values. Two folds of the same postings give the same.

        Without the account terms: those are the journal's, and belong to the moment that is asked about.
        """
        return {
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
            "last": list(self._last),
            "cash_by_kind": self._cash_by_kind,
            "open": [position.fields() for position in self._open.values()],
            "loose": [[list(key), close.fields()] for key, close in self._loose.items()],
            "ghosts": [[key, [ghost.fields() for ghost in several]] for key, several in self._ghosts.items()],
            "parts": [[key, part.fields()] for key, part in self._parts.items()],
            "accepted": sorted((list(one) for one in self._accepted), key=str),
            "breaks": [[key, attrs.asdict(one) | {"kind": one.kind.value}] for key, one in self._breaks.items()],
            "degraded": None if self._degraded is None else attrs.asdict(self._degraded),
            "identity": self._identity.state(),
        }

    @classmethod
    def from_state(cls, terms: AccountTerms, state: Mapping[str, Any]) -> Portfolio:
        """Return the portfolio of a ``state``, to fold on from there.

        Raises:
            KeyError: It is not such a state; TypeError, ValueError too.
        """
        portfolio = cls(terms)
        for name in _NUMBERS:
            setattr(portfolio, name, state["numbers"][name])
        second_msc, deal, version = state["last"]
        portfolio._last = (second_msc, deal, version)
        portfolio._cash_by_kind = dict(state["cash_by_kind"])
        position = OpenPosition.of_fields
        for fields in state["open"]:
            portfolio._put(position(fields))
        portfolio._loose = {(key, side): position(fields) for (key, side), fields in state["loose"]}
        portfolio._ghosts = {key: [position(fields) for fields in several] for key, several in state["ghosts"]}
        portfolio._parts = {key: position(fields) for key, fields in state["parts"]}
        portfolio._accepted = {(key, closed_msc) for key, closed_msc in state["accepted"]}
        portfolio._breaks = {key: Break(**fields | {"kind": BreakKind(fields["kind"])}) for key, fields in state["breaks"]}
        portfolio._degraded = None if state["degraded"] is None else SyncDegraded(**state["degraded"])
        portfolio._identity = Identity.of_state(state["identity"])
        return portfolio

    @property
    def held(self) -> int:
        """How many positions the state is made of: its size, whatever the history."""
        ghosts = sum(map(len, self._ghosts.values()))
        return len(self._open) + len(self._loose) + len(self._parts) + ghosts + len(self._breaks)

    # ---- what it shows

    def _balance(self) -> int:
        return self._cash + self._commission + self._fee + self._swap + self._profit

    def money_text(self, amount: int) -> str:
        """Write an amount in scaled integers with at least the decimals of the account's currency."""
        return plain(self.terms.money(amount), decimals=self.terms.opened.currency_digits)

    @property
    def last(self) -> FoldKey:
        """The place in the fold order behind which an event can be folded on without sorting anything again."""
        return max(self._last, (second_of(self._asserted_msc), NO_DEAL, INT64_MAX))

    def is_followed_by(self, places: Sequence[FoldKey]) -> bool:
        """Return whether events at some places, in the order given, can be folded on without sorting anything again."""
        if any(after <= before for before, after in pairwise([self.last, *places])):
            return False
        terms = self.terms
        return terms.order is DealOrder.TICKET and not terms.clock.repeated_hours(places[0][0], places[-1][0])

    @property
    def newest_known_msc(self) -> int:
        """Broker time of the newest event that was folded, -1 without any."""
        return max(self._filled_msc, self._noted_msc)

    @property
    def newest_fill_msc(self) -> int:
        """Broker time of the newest fill, -1 without any."""
        return self._filled_msc

    @property
    def newest_deal_msc(self) -> int:
        """Broker time of the newest deal, a trade or not; -1 without any."""
        return max(self._filled_msc, self._deal_msc)

    @property
    def is_balance_known(self) -> bool:
        """Whether the broker ever stated the balance, so that what deals make of it can be checked."""
        return self._balance_is_set

    @property
    def folded(self) -> int:
        """How many postings were folded."""
        return self._folded

    @property
    def complete_until_msc(self) -> int:
        """Broker time up to which every deal is known to be recorded, -1 if that was never stated."""
        return self._complete_until_msc if self._balance_is_set else -1

    @property
    def balance(self) -> Decimal:
        """Money on the account without credit, in account currency."""
        return self.terms.money(self._balance())

    @property
    def credit(self) -> Decimal:
        """Credit facility, in account currency."""
        return self.terms.money(self._credit)

    @property
    def totals(self) -> Totals:
        """Sums over everything folded."""
        return Totals(
            commission=self.terms.money(self._commission),
            fee=self.terms.money(self._fee),
            swap=self.terms.money(self._swap),
            profit=self.terms.money(self._profit),
            cash={kind: self.terms.money(amount) for kind, amount in sorted(self._cash_by_kind.items())},
            deals=self._deals,
            deals_incomplete=self._deals_incomplete,
        )

    @property
    def degraded(self) -> SyncDegraded | None:
        """Why snapshots are not usable, None while they are."""
        return self._degraded

    @property
    def identity(self) -> Identity:
        """Whether answers of a gateway have to state login and server."""
        return self._identity

    @property
    def positions(self) -> Mapping[int, Position]:
        """Open positions, position id -> position, ascending."""
        if self._shown is None:
            shown = sorted(self._open.values(), key=_key_of)
            self._shown = MappingProxyType({position.key: show_position(position, self.terms) for position in shown})
        return self._shown

    def open_price(self, position: Position) -> Fraction:
        """Return the exact open price of an open position, before it is rounded to be shown."""
        held = self._open[position.position_id]
        return Fraction(held.cost, held.cost_volume * 10 ** self.terms.scales(position.symbol)[0])

    def position_of(self, symbol: str) -> Position | None:
        """Return the one position of a symbol on an account that nets, None if there is none."""
        position = self._open.get(self._ids.get(symbol, 0))
        return None if position is None else show_position(position, self.terms)

    @property
    def unexplained(self) -> tuple[Unexplained, ...]:
        """What no deal explains, oldest first."""
        ghosts = [
            show_unexplained(ghost, GHOST_RESULT, ghost.volume, ghost.closed_msc, self.terms)
            for key, several in self._ghosts.items()
            for ghost in several
            if (key, ghost.closed_msc) not in self._accepted
        ]
        loose = [
            show_unexplained(close, CLOSE_WITHOUT_OPENING, close.volume_out, close.opened_msc, self.terms)
            for (key, _), close in self._loose.items()
            if (key, close.closed_msc) not in self._accepted
        ]
        parts = [
            show_unexplained(part, GHOST_RESULT, part.volume, part.opened_msc, self.terms) for part in self._parts.values()
        ]
        everything = [*ghosts, *loose, *parts]
        return tuple(sorted(everything, key=lambda one: (one.since_msc, one.symbol, one.position_id or 0, one.kind)))

    @property
    def breaks(self) -> tuple[Break, ...]:
        """Open disagreements, oldest first."""
        return tuple(sorted(self._breaks.values(), key=lambda one: (one.opened_msc, one.version or 0, one.field or "")))

    def unfinished_trades(self) -> Iterator[Trade]:
        """Yield trades that ended but are not known in full: ghosts, and closes without an opening."""
        for several in self._ghosts.values():
            yield from map(self.trade, several)
        yield from map(self.trade, self._loose.values())

    def partial_trades(self) -> Iterator[Trade]:
        """Yield what was closed so far of positions that are still open, position id ascending."""
        parts = (position for position in self._open.values() if position.volume_out)
        for position in sorted(parts, key=_key_of):
            yield attrs.evolve(self.trade(position), volume=self.terms.volume(position.symbol, position.volume_out))

    def trade(self, position: OpenPosition) -> Trade:
        """Show a position that went flat as the trade that it was."""
        return show_trade(position, self.terms)


def _decode_nothing(row: Row) -> Event:
    raise AssertionError(f"a deal is folded as its posting, found {row[3]}")


def _cash_kind(deal_type: int | None, data: str | None) -> str:
    word = json.loads(data or "{}").get("word", "unknown") if deal_type is None else None
    return cash_kind(deal_type, word)
