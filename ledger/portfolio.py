"""The fold: what events mean. Open positions, money and what is still unexplained, of one account.

Pure: no clock, no I/O. The same postings in the fold order give the same portfolio. Its state grows with what is open or
unexplained, never with the length of the history; closed trades leave it as a stream.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, assert_never

import attrs

from ledger.clock import ClockRule
from ledger.deprecation import Alias
from ledger.errors import RuleError, VersionGap
from ledger.events import (
    BY_VERSION_KINDS,
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakKind,
    BreakNoted,
    BreakOpened,
    CarrierBroken,
    CarrierProven,
    CashMoved,
    CorrectionDecided,
    CorrectionProposed,
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
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    PolicySet,
    PositionRecovered,
    PositionReticketed,
    StopsSeen,
    StorePinned,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
    TradingHalted,
    TradingResumed,
)
from ledger.events.deals import cash_kind
from ledger.holdings import ENTRY_IN, ENTRY_IN_OUT, Holdings, TradeSink
from ledger.positions import BASIS_ADJUSTMENT, BASIS_CORRECTION, BASIS_RECOVERY, OpenPosition
from ledger.postings import NO_DEAL, Fill, FoldKey, Posting, Row, deal_posting, place_of, second_of
from ledger.terms import AccountTerms, check_fit, terms_after
from ledger.values import CREDIT, INT64_MAX, plain
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
FOLD_VERSION: Final = 7

_key_of: Final = attrgetter("key")

#: What a fold counts, by the names of its attributes.
_NUMBERS: Final = (
    "_cash", "_credit", "_commission", "_fee", "_swap", "_profit", "_deals", "_deals_incomplete", "_folded",
    "_balance_is_set", "_complete_until_msc", "_filled_msc", "_deal_msc", "_asserted_msc",
    "_noted_msc",
)  # fmt: skip

#: Makes the event of a posting that is not a deal.
Decode = Callable[[Row], Event]


def _ignore(_: OpenPosition) -> None:
    """Let closed trades go."""


class Run(NamedTuple):
    """What a loop elsewhere folded of some postings.

    Attributes:
        folded: How many, all of them fills of which the money is known.
        filled_msc: Broker time of the last of them.
        money: Their commission, fee, swap and profit.
        left: What is left to the rules: those between them that move money only, and the next ones behind all of these. Behind
            those the loop goes on.
    """

    folded: int
    filled_msc: int
    money: tuple[int, int, int, int]
    left: Iterable[Row]


class QuickRows(ABC):
    """Postings of which a loop elsewhere does what nearly every posting does, exactly as the loop of ``Portfolio.fold``."""

    __slots__ = ()

    @abstractmethod
    def runs(self, holdings: Holdings, trades: TradeSink | None) -> Iterator[Run]:
        """Fold the postings into open positions, and yield what is left to the rules, before going on behind it.

        Args:
            holdings: The positions; nothing but the open ones is changed.
            trades: Called with each position that went flat, None if nobody asks for them.
        """

    @property
    @abstractmethod
    def last_place(self) -> FoldKey | None:
        """The place of the last posting, None without any."""


class Portfolio:
    """Open positions and money of one account, updated posting by posting.

    Only this class changes its state, and only in ``fold`` and ``apply``; what it shows is frozen.
    """

    standing = Alias("terms")

    def __init__(self, terms: AccountTerms) -> None:
        self.terms = terms
        self._version: int | None = 0  # up to which all of the account's events are folded, None where nobody stated it
        self._nets = terms.opened.mode.nets
        self._holdings = Holdings(terms)
        self._cash = self._credit = 0
        self._commission = self._fee = self._swap = self._profit = 0
        self._cash_by_kind: dict[str, int] = {}
        self._deals = self._deals_incomplete = self._folded = 0
        self._balance_is_set = False
        self._complete_until_msc = -1
        self._breaks: dict[int, Break] = {}
        self._degraded: SyncDegraded | None = None
        self._identity = Identity()
        self._last: FoldKey = (-1, 0, 0)
        self._filled_msc = self._deal_msc = self._asserted_msc = self._noted_msc = -1
        self._shown: Mapping[int, Position] | None = None
        # What was shown last, and what may have changed before this was copied: all others are shown as the same values again.
        self._shown_before: tuple[Mapping[int, Position], frozenset[int]] = ({}, frozenset())
        self._volumes: Mapping[str, tuple[Decimal, Decimal]] | None = None

    # ---- folding

    def fold(self, rows: Iterable[Row] | QuickRows, decode: Decode, trades: TradeSink = _ignore) -> None:
        """Apply postings, ascending in the fold order and all after what was folded before.

        The loop knows the three things that nearly every posting does (open, add, close within what is open) and leaves
        everything else to ``_settle`` and ``_apply_posting``, which know all.

        Args:
            rows: Postings (see ``ledger.postings``), each deal once.
            decode: Makes the event of a posting that is not a deal.
            trades: Called with each position that went flat.
        """
        if isinstance(rows, QuickRows):
            self._fold_runs(rows, decode, trades)
            return
        if isinstance(rows, list):
            self._holdings.gather(len(rows))
        nets, holdings = self._nets, self._holdings
        positions, ids, loose = holdings.open, holdings.ids, holdings.loose
        commissions = fees = swaps = profits = deals = folded = 0
        filled_msc = self._filled_msc
        self._shown = self._volumes = self._version = None
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
                if entry != ENTRY_IN or loose or (nets and symbol in ids):
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
            elif entry == ENTRY_IN:
                if position.side != side:
                    self._settle(Fill._make(row), trades)
                    continue
                position.add(volume, price, commission, fee, swap, profit)
            else:
                if entry == ENTRY_IN_OUT or position.side == side or volume > position.volume:
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

    def _fold_runs(self, rows: QuickRows, decode: Decode, trades: TradeSink) -> None:
        """Fold what another loop leaves of its postings."""
        self._shown = self._volumes = self._version = None
        for folded, filled_msc, money, left in rows.runs(self._holdings, None if trades is _ignore else trades):
            self._count(*money)
            self._deals += folded
            self._folded += folded
            if folded:
                self._filled_msc = filled_msc
            self.fold(left, decode, trades)
        self._last = rows.last_place or self._last

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
            case _ if type(event).__name__ in BY_VERSION_KINDS:
                pass  # no part of this fold
            case SymbolSpecified():
                self.terms = self._holdings.terms = terms_after(self.terms, [event]) or self.terms
                self._shown = self._volumes = None
                self._shown_before = {}, frozenset()
            case _:
                self._apply_event(event, version)
                self._folded += 1
                self._last = second_of(event.time_msc), NO_DEAL, version
                self._shown = self._volumes = None
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

    def _settle(self, fill: Fill, trades: TradeSink) -> None:
        """Apply a fill of any shape."""
        self._count(*fill.money)
        self._deals += 1
        self._deals_incomplete += not fill.is_money_known
        self._holdings.settle(fill, trades)

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
                self._holdings.assert_open(event.position, event.time_msc, BASIS_RECOVERY)
            case DriftCorrected():
                self._holdings.assert_open(event.after, event.time_msc, BASIS_CORRECTION)
            case GhostClosed():
                self._holdings.assert_gone(event.before, event.time_msc)
            case PositionReticketed():
                self._holdings.reticket(event.symbol, event.position_id, event.ticket_after)
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
            case (
                OrderIntended() | OrderDenied() | OrderAnswered() | OrderSeen() | OrderResolved() | StopsSeen() | LimitsSet()
                | TradingHalted() | TradingResumed() | CarrierProven() | CarrierBroken() | StorePinned()
            ):  # fmt: skip
                raise AssertionError(f"orders have a fold of their own, found {type(event).__name__}")
            case CorrectionProposed() | CorrectionDecided() | PolicySet() | BreakNoted():
                raise AssertionError(f"approvals have a fold of their own, found {type(event).__name__}")
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
        kind = posted_cash_kind(moved.deal_type, moved.data)
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
        about = event.kind, event.position_id, event.order, event.client_id
        if known is None or known.identity != about:
            known = Break(
                kind=event.kind, position_id=event.position_id, symbol=event.symbol, deal=event.deal, field=event.field,
                ours=event.ours, theirs=event.theirs, why=event.why, opened_msc=event.time_msc, version=version,
                deal_msc=event.deal_msc, order=event.order, client_id=event.client_id,
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
            self._holdings.assert_open(event.after, event.time_msc, BASIS_ADJUSTMENT)
        elif event.before is not None:
            self._holdings.assert_gone(event.before, event.time_msc)
        if event.accepted is not None:
            self._holdings.accept(event.accepted)
        self._cash += self._moved(event.balance_before, event.balance_after, "balance")
        self._credit += self._moved(event.credit_before, event.credit_after, "credit")

    def _moved(self, before: Decimal | None, after: Decimal | None, what: str) -> int:
        if before is None or after is None:
            return 0
        return self.terms.money_units(after, what) - self.terms.money_units(before, what)

    def copy(self) -> Portfolio:
        """Return an independent copy, to fold on from here."""
        twin = Portfolio(self.terms)
        twin.__dict__.update(self.__dict__)
        if self._shown is None:
            shown, changed = self._shown_before
            self._shown_before = twin._shown_before = shown, changed.union(self._holdings.changed())
        twin._holdings = self._holdings.copy()
        twin._cash_by_kind = dict(self._cash_by_kind)
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
            "cash_by_kind": dict(self._cash_by_kind),
            **self._holdings.state(),
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
        portfolio._holdings = Holdings.restored(terms, state)
        portfolio._breaks = {key: Break(**fields | {"kind": BreakKind(fields["kind"])}) for key, fields in state["breaks"]}
        portfolio._degraded = None if state["degraded"] is None else SyncDegraded(**state["degraded"])
        portfolio._identity = Identity.of_state(state["identity"])
        return portfolio

    @property
    def held(self) -> int:
        """How many positions the state is made of: its size, whatever the history."""
        return self._holdings.size + len(self._breaks)

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
    def money_units(self) -> tuple[int, int]:
        """Balance and credit in the account's scaled integers."""
        return self._balance(), self._credit

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
            changed = set(self._holdings.changed())  # before the rest: another thread may copy this meanwhile
            shown, changed_before = self._shown_before
            same, holdings, terms = shown.keys() - changed - changed_before, self._holdings, self.terms
            positions = {
                key: shown[key] if key in same else show_position(holdings.shown(key), terms) for key in sorted(holdings.open)
            }
            self._shown = MappingProxyType(positions)
            self._shown_before = self._shown, frozenset()
        return self._shown

    def position(self, position_id: int) -> Position | None:
        """Return one open position, None if there is none: without showing all of them."""
        holdings = self._holdings
        return show_position(holdings.shown(position_id), self.terms) if position_id in holdings.open else None

    @property
    def positions_count(self) -> int:
        """How many positions are open."""
        return len(self._holdings.open)

    @property
    def volumes(self) -> Mapping[str, tuple[Decimal, Decimal]]:
        """Symbol -> lots that are long and lots that are short, of all open positions of it."""
        if self._volumes is None:
            sums: dict[str, list[int]] = {}
            for held in self._holdings.open.values():
                sums.setdefault(held.symbol, [0, 0])[held.side] += held.volume
            volume = self.terms.volume
            self._volumes = MappingProxyType(
                {name: (volume(name, long), volume(name, short)) for name, (long, short) in sums.items()}
            )
        return self._volumes

    def open_price(self, position: Position) -> Fraction:
        """Return the exact open price of an open position, before it is rounded to be shown."""
        held = self._holdings.shown(position.position_id)
        return Fraction(held.cost, held.cost_volume * 10 ** self.terms.scales(position.symbol)[0])

    @property
    def holdings(self) -> Holdings:
        """Positions as the fold holds them: for a reader who explains what each posting did. Only the fold changes them."""
        return self._holdings

    def position_of(self, symbol: str) -> Position | None:
        """Return the one position of a symbol on an account that nets, None if there is none."""
        position_id = self._holdings.ids.get(symbol)
        return None if position_id is None else self.position(position_id)

    @property
    def unexplained(self) -> tuple[Unexplained, ...]:
        """What no deal explains, oldest first."""
        ghosts = [
            show_unexplained(ghost, GHOST_RESULT, ghost.volume, ghost.closed_msc, self.terms)
            for key, several in self._holdings.ghosts.items()
            for ghost in several
            if (key, ghost.closed_msc) not in self._holdings.accepted
        ]
        loose = [
            show_unexplained(close, CLOSE_WITHOUT_OPENING, close.volume_out, close.opened_msc, self.terms)
            for (key, _), close in self._holdings.loose.items()
            if (key, close.closed_msc) not in self._holdings.accepted
        ]
        parts = [
            show_unexplained(part, GHOST_RESULT, part.volume, part.opened_msc, self.terms)
            for part in self._holdings.parts.values()
        ]
        everything = [*ghosts, *loose, *parts]
        return tuple(sorted(everything, key=lambda one: (one.since_msc, one.symbol, one.position_id or 0, one.kind)))

    @property
    def breaks(self) -> tuple[Break, ...]:
        """Open disagreements, oldest first."""
        return tuple(sorted(self._breaks.values(), key=lambda one: (one.opened_msc, one.version or 0, one.field or "")))

    def unfinished_trades(self) -> Iterator[Trade]:
        """Yield trades that ended but are not known in full: ghosts, and closes without an opening."""
        yield from map(self.trade, self.unfinished_positions())

    def unfinished_positions(self) -> Iterator[OpenPosition]:
        """Yield what ``unfinished_trades`` shows, in scaled integers."""
        for several in self._holdings.ghosts.values():
            yield from several
        yield from self._holdings.loose.values()

    def partial_trades(self) -> Iterator[Trade]:
        """Yield what was closed so far of positions that are still open, position id ascending."""
        parts = (position for position in self._holdings.open.values() if position.volume_out)
        for position in sorted(parts, key=_key_of):
            yield attrs.evolve(self.trade(position), volume=self.terms.volume(position.symbol, position.volume_out))

    def trade(self, position: OpenPosition) -> Trade:
        """Show a position that went flat as the trade that it was."""
        return show_trade(position, self.terms)


def _decode_nothing(row: Row) -> Event:
    raise AssertionError(f"a deal is folded as its posting, found {row[3]}")


def posted_cash_kind(deal_type: int | None, data: str | None) -> str:
    """Return the type of a cash movement in words, of what its posting has of it."""
    word = json.loads(data or "{}").get("word", "unknown") if deal_type is None else None
    return cash_kind(deal_type, word)
