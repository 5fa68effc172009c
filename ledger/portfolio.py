"""The fold: what events mean. Open positions, money and what is still unexplained, of one account.

Pure: no clock, no I/O. The same postings in the fold order give the same portfolio. Its state grows with what is open or
unexplained, never with the length of the history; closed trades leave it as a stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, assert_never

import attrs
from attrs import field, frozen

from ledger.clock import ClockRule
from ledger.errors import InexactNumber
from ledger.events import (
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakKind,
    BreakOpened,
    CashMoved,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    FillRecorded,
    GhostClosed,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
)
from ledger.positions import BASIS_ADJUSTMENT, BASIS_CORRECTION, BASIS_RECOVERY, OpenPosition, divided
from ledger.postings import Row
from ledger.values import (
    CASH_WORDS,
    CREDIT,
    PRICE_SCALE,
    VOLUME_SCALE,
    AccountId,
    Side,
    plain,
    rounded,
    scaled,
    signed_magic,
    unscaled,
    unsigned_magic,
)

#: Raised whenever a rule of the fold changes, so that nothing derived by older rules is trusted.
FOLD_VERSION: Final = 1

GHOST_RESULT: Final = "ghost result"
CLOSE_WITHOUT_OPENING: Final = "close without opening"

_IN: Final = 0
_IN_OUT: Final = 2

_SECOND_MSC: Final = 1000

#: What a fold counts, by the names of its attributes.
_NUMBERS: Final = (
    "_cash", "_credit", "_commission", "_fee", "_swap", "_profit", "_deals", "_deals_untold", "_folded",
    "_balance_is_set", "_complete_until_msc", "_filled_msc", "_deal_msc", "_corrected_msc",
)  # fmt: skip

#: Makes the event of a posting that is not a deal.
Decode = Callable[[Row], Event]
#: Is called with each position that went flat.
TradeSink = Callable[[OpenPosition], object]


def _ignore(_: OpenPosition) -> None:
    """Let closed trades go."""


# ------------------------------------------------------------------------------------------------------- what people see


@frozen(kw_only=True)
class Position:
    """An open position. Lots and prices exact; ``opened_msc`` in broker server time.

    ``is_id_told`` is False where nobody told its id yet and its opening order names it.
    """

    position_id: int
    ticket: int
    symbol: str
    side: Side
    volume: Decimal
    price_open: Decimal
    opened_msc: int
    basis: str
    magic: int | None
    comment: str | None
    is_id_told: bool = True


@frozen(kw_only=True)
class Trade:
    """One life of a position, from opening to flat. Money in account currency, times in broker server time.

    ``opened_msc`` and ``price_open`` are None where the opening was not told. ``complete`` is False where the result is
    not known: something of it was closed without a deal, or a deal's money was not told yet.
    """

    position_id: int | None
    ticket: int | None
    symbol: str
    side: Side
    volume: Decimal
    opened_msc: int | None
    price_open: Decimal | None
    closed_msc: int
    price_close: Decimal | None
    commission: Decimal
    fee: Decimal
    swap: Decimal
    profit: Decimal
    complete: bool
    basis: str
    magic: int | None


@frozen(kw_only=True)
class Unexplained:
    """Volume that went without being told how. ``since_msc`` in broker server time."""

    position_id: int | None
    symbol: str
    kind: str
    volume: Decimal
    since_msc: int


@frozen(kw_only=True)
class Break:
    """An open disagreement. ``version`` is the event that opened it, None where the fold itself found it.

    ``confirmations`` counts the snapshots that showed it, ``attempts`` the corrections that did not help.
    """

    kind: BreakKind
    position_id: int | None
    symbol: str | None = None
    deal: int | None
    field: str | None
    ours: str | None
    theirs: str | None
    why: str | None
    opened_msc: int
    version: int | None
    confirmations: int = 1
    attempts: int = 0


@frozen(kw_only=True)
class Standing:
    """What holds for an account whatever moment is asked about: how it books, counts and tells the time."""

    opened: AccountOpened
    clock: ClockRule
    symbols: Mapping[str, SymbolSpecified] = field(factory=dict)

    @property
    def account(self) -> AccountId:
        """Whose portfolio it is."""
        return AccountId(self.opened.server, self.opened.login)

    def scales(self, symbol: str) -> tuple[int, int]:
        """Return the decimal digits kept of a symbol's prices and of its volumes."""
        spec = self.symbols.get(symbol)
        return (spec.price_scale, spec.volume_scale) if spec else (PRICE_SCALE, VOLUME_SCALE)

    def money_units(self, amount: Decimal, what: str) -> int:
        """Return an amount as a scaled integer.

        Raises:
            InexactNumber: It does not fit the account's scale.
        """
        return scaled(amount, self.opened.money_scale, what, step=self.opened.currency_digits)

    def sizes(self, state: PositionState) -> tuple[int, int]:
        """Return the volume and the open price of a position that somebody saw, as scaled integers.

        An open price is an average that the broker computed; beyond the price scale it is rounded once, half to even.

        Raises:
            InexactNumber: They do not fit the scales of the symbol.
        """
        price_scale, volume_scale = self.scales(state.symbol)
        volume = scaled(state.volume, volume_scale, "volume")
        if not volume:
            raise InexactNumber(f"volume {state.volume} is nothing with {volume_scale} decimals")
        return volume, rounded(state.price_open, price_scale, "open price")

    def shown_digits(self, symbol: str) -> int:
        """Return the decimals that an average price is shown with.

        MT5 rounds a position's open price to the symbol's digits + 3 (MQL5 Reference, "Position Properties"); without a
        specification all digits kept are shown.
        """
        spec = self.symbols.get(symbol)
        price_scale = self.scales(symbol)[0]
        return price_scale if spec is None or spec.digits is None else min(spec.digits + 3, price_scale)


@frozen(kw_only=True)
class Totals:
    """Sums over everything folded, in account currency. ``cash`` is keyed by the deal type in words."""

    commission: Decimal
    fee: Decimal
    swap: Decimal
    profit: Decimal
    cash: Mapping[str, Decimal]
    deals: int
    deals_untold: int


# -------------------------------------------------------------------------------------------------------------- the fold


class Portfolio:
    """Open positions and money of one account, kept up posting by posting.

    Only this class changes its state, and only in ``fold``; what it shows is frozen.
    """

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._nets = standing.opened.mode.nets
        self._money_scale = standing.opened.money_scale
        # Hedging keys positions by position id, netting by symbol.
        self._open: dict[int | str, OpenPosition] = {}
        self._cash = self._credit = 0
        self._commission = self._fee = self._swap = self._profit = 0
        self._cash_by_kind: dict[str, int] = {}
        self._deals = self._deals_untold = self._folded = 0
        self._balance_is_set = False
        self._complete_until_msc = -1
        # What went without being told: closes of what was never held; lives that ended unseen; parts of lives.
        self._loose: dict[tuple[int | str, int | None, int], OpenPosition] = {}
        self._ghosts: dict[int | str, list[OpenPosition]] = {}
        self._parts: dict[int | str, OpenPosition] = {}
        self._breaks: dict[int, Break] = {}
        self._degraded: SyncDegraded | None = None
        self._last: tuple[int, int, int] = (-1, 0, 0)
        self._filled_msc = self._deal_msc = self._corrected_msc = -1
        self._shown: Mapping[int, Position] | None = None

    # ---- folding

    def fold(self, rows: Iterable[Row], decode: Decode, trades: TradeSink = _ignore) -> None:
        """Apply postings, ascending in the fold order and all after what was folded before.

        The loop knows the three things that nearly every posting does (open, add, close within what is open) and leaves
        everything else to ``_settle`` and ``_apply``, which know all.

        Args:
            rows: Postings (see ``ledger.postings``), each deal once.
            decode: Makes the event of a posting that is not a deal.
            trades: Called with each position that went flat.
        """
        nets, positions, loose = self._nets, self._open, self._loose
        commissions = fees = swaps = profits = deals = folded = 0
        filled_msc = self._filled_msc
        self._shown = None
        row: Row = self._last
        for row in rows:
            (time_msc, _, _, kind, side, entry, position_id, _, symbol, volume, price, commission, fee, swap, profit,
             magic, _, _) = row  # fmt: skip
            folded += 1
            if kind != "FillRecorded":
                self._count(commissions, fees, swaps, profits)
                commissions = fees = swaps = profits = 0
                self._apply(row, decode)
                continue
            filled_msc = time_msc
            key = symbol if nets else position_id
            position = positions.get(key)
            if profit is None or swap is None or fee is None or commission is None or position_id is None:
                self._settle(row, trades)
                continue
            if position is None:
                if entry != _IN or loose:
                    self._settle(row, trades)
                    continue
                positions[key] = OpenPosition(
                    position_id, symbol, side, volume, price, time_msc, magic, commission, fee, swap, profit
                )
            elif position.position_id != position_id:
                self._settle(row, trades)
                continue
            elif entry == _IN:
                if position.side != side:
                    self._settle(row, trades)
                    continue
                position.add(volume, price, commission, fee, swap, profit)
            else:
                if entry == _IN_OUT or position.side == side or volume > position.volume:
                    self._settle(row, trades)
                    continue
                position.reduce(volume, price, commission, fee, swap, profit)
                if not position.volume:
                    del positions[key]
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
        self._last = (row[0], row[1], row[2])

    def _count(self, commission: int, fee: int, swap: int, profit: int) -> None:
        self._commission += commission
        self._fee += fee
        self._swap += swap
        self._profit += profit

    # ---- deals, all rules

    def _settle(self, row: Row, trades: TradeSink) -> None:
        """Apply a fill of any shape: money not told yet, closes beyond what is known, reversals, unknown entries."""
        (_, _, _, _, _, entry, position_id, order, symbol, _, _, commission, fee, swap, profit, _, _, _) = row
        money = (commission or 0, fee or 0, swap or 0, profit or 0)
        self._count(*money)
        self._deals += 1
        self._deals_untold += not _is_told(row)
        if position_id is None and entry == _IN and not self._nets:
            position_id = order or row[1]  # hedging: a position carries its opening order's ticket
        key: int | str | None = symbol if self._nets else position_id
        if entry == _IN and key is not None:
            self._open_more(key, position_id, row, money, trades)
        elif entry == _IN_OUT:
            self._reverse(key, position_id, row, money, trades)
        else:
            self._close(key, position_id, row, money, trades)

    def _open_more(
        self, key: int | str, position_id: int | None, row: Row, money: tuple[int, int, int, int], trades: TradeSink
    ) -> None:
        time_msc, side, order, symbol, volume, price, magic = row[0], row[4], row[7], row[8], row[9], row[10], row[15]
        position = self._held(key, position_id, time_msc)
        if position is not None and position.side != side:
            self._lose(key, position, time_msc)  # it must have been closed before, and nobody told
            position = None
        if position is not None:
            position.add(volume, price, *money)
            position.money_told &= _is_told(row)
            return
        # Netting keys by symbol, so that an id that is not told yet costs nothing; the opening order names the position.
        position = OpenPosition(position_id or order or row[1], symbol, side, volume, price, time_msc, magic, *money)
        position.money_told = _is_told(row)
        position.id_told = position_id is not None
        self._open[key] = position
        self._match_loose(key, position, trades)

    def _held(self, key: int | str | None, position_id: int | None, time_msc: int) -> OpenPosition | None:
        """Return the open position that a deal or a snapshot is about.

        On an account that nets a new id says that the old position ended: MT5 gives one only after the volume reached 0.
        """
        position = self._open.get(key) if key is not None else None
        if position is None or position_id is None or position.position_id == position_id:
            return position
        if position.id_told:
            self._lose(key, position, time_msc)
            return None
        position.position_id, position.id_told = position_id, True
        return position

    def _match_loose(self, key: int | str, position: OpenPosition, trades: TradeSink) -> None:
        """Let an opening explain closes of the same position that were told for the same second.

        A source that tells whole seconds puts a close before an opening of the same second that another source told in
        milliseconds.
        """
        at = (key, position.position_id, position.side)
        loose = self._loose.get(at)
        if loose is None or loose.opened_msc // _SECOND_MSC != position.opened_msc // _SECOND_MSC:
            return
        volume = min(loose.volume_out, position.volume)
        cost = divided(loose.cost_out * volume, loose.volume_out)
        position.reduce(volume, 0, loose.commission, loose.fee, loose.swap, loose.profit)
        position.cost_out = cost
        position.money_told &= loose.money_told
        loose.volume_out -= volume
        loose.cost_out -= cost
        loose.commission = loose.fee = loose.swap = loose.profit = 0
        if not loose.volume_out:
            del self._loose[at]
        if not position.volume:
            self._finish(key, position, loose.closed_msc, trades)

    def _close(
        self, key: int | str | None, position_id: int | None, row: Row, money: tuple[int, int, int, int], trades: TradeSink
    ) -> None:
        """Reduce what is there; what goes beyond it stays unexplained and never opens the other side."""
        time_msc, side, symbol, volume, price, magic = row[0], row[4], row[8], row[9], row[10], row[15]
        position = self._held(key, position_id, time_msc)
        if position is not None and position.side == side:
            self._lose(key, position, time_msc)  # what this deal closes stood the other way: ours was gone before
            position = None
        told = _is_told(row)
        if position is None and key is not None:
            position = self._ghost(key, position_id, side)
        while position is not None and volume:
            assert key is not None
            reduced = min(volume, position.volume)
            position.reduce(reduced, price, *money)
            position.money_told &= told
            volume -= reduced
            told, money = True, (0, 0, 0, 0)
            if self._open.get(key) is not position:
                position.volume_untold -= reduced  # a ghost: now it is told
            if not position.volume:
                self._finish(key, position, time_msc, trades)
            position = self._ghost(key, position_id, side)
        if volume:
            at = (symbol if key is None else key, position_id, 1 - side)
            loose = self._loose.get(at)
            if loose is None:
                loose = self._loose[at] = OpenPosition(position_id, symbol, 1 - side, 0, 0, time_msc, magic)
                loose.opening_told = False
            loose.reduce(volume, price, *money)
            loose.money_told &= told
            loose.volume = 0
            loose.closed_msc = time_msc

    def _reverse(
        self, key: int | str | None, position_id: int | None, row: Row, money: tuple[int, int, int, int], trades: TradeSink
    ) -> None:
        """Close what is left and open the rest on the other side, at the deal's price, as a new trade.

        Profit and swap belong to the closed part (MQL5 Reference, ``DEAL_ENTRY_INOUT``); commission and fee are shared
        by volume.
        """
        time_msc, side, order, symbol, volume, price, magic = row[0], row[4], row[7], row[8], row[9], row[10], row[15]
        position = self._held(key, position_id, time_msc)
        if key is None or position is None or position.side == side or volume <= position.volume:
            self._close(key, position_id, row, money, trades)
            left = self._open.get(key) if key is not None else None
            if left is not None:
                self._lose(key, left, time_msc)  # after a reversal nothing of the old side is left
            return
        commission, fee, swap, profit = money
        closing = position.volume
        commission_closing = divided(commission * closing, volume)
        fee_closing = divided(fee * closing, volume)
        position.reduce(closing, price, commission_closing, fee_closing, swap, profit)
        position.money_told &= _is_told(row)
        self._finish(key, position, time_msc, trades)
        opened = OpenPosition(
            position_id or position.position_id, symbol, side, volume - closing, price, time_msc, magic,
            commission - commission_closing, fee - fee_closing,
        )  # fmt: skip
        opened.ticket = order or position.ticket
        opened.money_told = row[11] is not None and row[12] is not None
        self._open[key] = opened

    def _finish(self, key: int | str | None, position: OpenPosition, time_msc: int, trades: TradeSink) -> None:
        """Let a position that went flat leave, from among the open ones or from among the ghosts."""
        assert key is not None
        position.closed_msc = max(time_msc, position.closed_msc)
        if self._open.get(key) is position:
            del self._open[key]
        else:
            self._ghosts[key].remove(position)
            if not self._ghosts[key]:
                del self._ghosts[key]
        trades(position)

    def _lose(self, key: int | str | None, position: OpenPosition, time_msc: int) -> None:
        """Take a position from among the open ones: it is gone, and its result is not known until a deal tells."""
        assert key is not None
        del self._open[key]
        position.closed_msc = time_msc
        position.volume_untold += position.volume
        self._ghosts.setdefault(key, []).append(position)

    def _ghost(self, key: int | str, position_id: int | None, closing_side: int) -> OpenPosition | None:
        """Return the oldest ghost that a deal of this side and position can have closed."""
        for ghost in self._ghosts.get(key, ()):
            if ghost.side != closing_side and position_id in (None, ghost.position_id):
                return ghost
        return None

    # ---- everything that is not a fill

    def _apply(self, row: Row, decode: Decode) -> None:
        if row[3] == "CashMoved":
            self._move_cash(row)
            return
        event = decode(row)
        if isinstance(event, (PositionRecovered, DriftCorrected, GhostClosed)):
            self._corrected_msc = event.time_msc
        match event:
            case PositionRecovered():
                self._assert_open(event.position, event.time_msc, BASIS_RECOVERY)
            case DriftCorrected():
                self._assert_open(event.after, event.time_msc, BASIS_CORRECTION, before=event.before)
            case GhostClosed():
                self._assert_gone(event.before, event.time_msc)
            case PositionReticketed():
                position = self._open.get(self._key(event.symbol, event.position_id))
                if position is not None and (position.position_id == event.position_id or not position.id_told):
                    position.ticket = event.ticket_after
            case BalanceAsserted():
                self._assert_balance(event, row[2])
            case Adjusted():
                self._adjust(event)
            case BreakOpened():
                self._see_break(event, row[2])
            case BreakClosed():
                self._breaks.pop(event.caused_by, None)
            case SyncDegraded():
                self._degraded = event
            case SyncRestored():
                self._degraded = None
            case AccountOpened() | SymbolSpecified():
                pass  # they stand whatever the moment: see Standing
            case FillRecorded() | CashMoved() | DealCompleted() | DealRevised():
                raise AssertionError(f"deals come as one posting each, found {row[3]}")
            case _:
                assert_never(event)

    def _move_cash(self, row: Row) -> None:
        """Count a deal that is not a trade: credit apart, everything else to the balance."""
        deal_type, data = row[4], row[16]
        self._deal_msc = row[0]
        commission, fee, swap, profit = (amount or 0 for amount in row[11:15])
        self._deals += 1
        kind = _cash_kind(deal_type, data)
        self._cash_by_kind[kind] = self._cash_by_kind.get(kind, 0) + profit + commission + fee + swap
        if deal_type == CREDIT:
            self._credit += profit
            self._cash += commission + fee + swap
        else:
            self._cash += profit + commission + fee + swap

    def _key(self, symbol: str, position_id: int) -> int | str:
        return symbol if self._nets else position_id

    def _assert_open(self, state: PositionState, time_msc: int, basis: str, before: PositionState | None = None) -> None:
        """Set a position to what somebody saw; what that leaves unexplained is kept as such."""
        key, side, magic = self._key(state.symbol, state.position_id), state.side.code, signed_magic(state.magic)
        if self._nets and before is not None and before.symbol != state.symbol:
            self._assert_gone(before, time_msc)
        volume, price = self.standing.sizes(state)
        position = self._held(key, state.position_id, time_msc)
        if position is not None and (
            position.side != side or self.standing.scales(position.symbol) != self.standing.scales(state.symbol)
        ):
            self._lose(key, position, time_msc)
            position = None
        position = position or self._revived(key, state)
        if position is None:
            opened_msc = time_msc if state.opened_msc is None else state.opened_msc
            position = OpenPosition(state.position_id, state.symbol, side, volume, price, opened_msc, magic)
            position.basis = basis
            self._open[key] = position
        elif (position.volume, position.price_open(), position.symbol) != (volume, price, state.symbol):
            if volume < position.volume:
                self._lose_part(key, position, position.volume - volume, time_msc)
            position.assert_open(volume, price)
            position.symbol = state.symbol
            position.basis = basis
        position.ticket = state.ticket or position.ticket
        position.magic = position.magic if magic is None else magic
        position.comment = state.comment or position.comment

    def _revived(self, key: int | str, state: PositionState) -> OpenPosition | None:
        """Take back a ghost that was none: the same position is there again."""
        for ghost in self._ghosts.get(key, ()):
            if (ghost.position_id, ghost.side, ghost.symbol) == (state.position_id, state.side.code, state.symbol):
                self._ghosts[key].remove(ghost)
                if not self._ghosts[key]:
                    del self._ghosts[key]
                ghost.volume_untold -= ghost.volume
                ghost.closed_msc = 0
                self._open[key] = ghost
                return ghost
        return None

    def _lose_part(self, key: int | str, position: OpenPosition, volume: int, time_msc: int) -> None:
        position.lose(volume)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = OpenPosition(position.position_id, position.symbol, position.side, 0, 0, time_msc, None)
        part.volume += volume

    def _assert_gone(self, state: PositionState, time_msc: int) -> None:
        key = self._key(state.symbol, state.position_id)
        position = self._open.get(key)
        if position is not None and (position.position_id == state.position_id or not position.id_told):
            self._lose(key, position, time_msc)

    def _assert_balance(self, event: BalanceAsserted, version: int) -> None:
        """Check a balance where the history before it is complete, set it where it is not."""
        balance = self.standing.money_units(event.balance, "balance")
        credit = self._credit if event.credit is None else self.standing.money_units(event.credit, "credit")
        if event.credit is None:
            balance -= credit  # the broker told the sum of both
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
        )

    def _check_money(self, name: str, ours: int, theirs: int, time_msc: int, at: int) -> None:
        if ours != theirs:
            self._breaks[at] = Break(
                kind=BreakKind.BALANCE, position_id=None, deal=None, field=name, ours=self.money_text(ours),
                theirs=self.money_text(theirs), why="the broker stated another figure", opened_msc=time_msc, version=None,
            )  # fmt: skip

    def _adjust(self, event: Adjusted) -> None:
        if event.after is not None:
            self._assert_open(event.after, event.time_msc, BASIS_ADJUSTMENT, before=event.before)
        elif event.before is not None:
            self._assert_gone(event.before, event.time_msc)
        self._cash += self._moved(event.balance_before, event.balance_after, "balance")
        self._credit += self._moved(event.credit_before, event.credit_after, "credit")

    def _moved(self, before: Decimal | None, after: Decimal | None, what: str) -> int:
        if before is None or after is None:
            return 0
        return self.standing.money_units(after, what) - self.standing.money_units(before, what)

    def copy(self) -> Portfolio:
        """Return an independent copy, to fold on from here."""
        twin = Portfolio(self.standing)
        twin.__dict__.update(self.__dict__)
        twin._open = {key: position.copy() for key, position in self._open.items()}
        twin._loose = {key: close.copy() for key, close in self._loose.items()}
        twin._ghosts = {key: [ghost.copy() for ghost in several] for key, several in self._ghosts.items()}
        twin._cash_by_kind = dict(self._cash_by_kind)
        twin._parts = {key: part.copy() for key, part in self._parts.items()}
        twin._breaks = dict(self._breaks)
        return twin

    # ---- kept and taken up again

    def state(self) -> dict[str, Any]:
        """Return everything that folding goes on from, as JSON values. Two folds of the same postings give the same.

        Without what stands: that is the journal's, and belongs to the moment that is asked about.
        """
        return {
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
            "last": list(self._last),
            "cash_by_kind": self._cash_by_kind,
            "open": [[key, position.fields()] for key, position in self._open.items()],
            "loose": [[list(key), close.fields()] for key, close in self._loose.items()],
            "ghosts": [[key, [ghost.fields() for ghost in several]] for key, several in self._ghosts.items()],
            "parts": [[key, part.fields()] for key, part in self._parts.items()],
            "breaks": [[key, attrs.asdict(one) | {"kind": one.kind.value}] for key, one in self._breaks.items()],
            "degraded": None if self._degraded is None else attrs.asdict(self._degraded),
        }

    @classmethod
    def restored(cls, standing: Standing, state: Mapping[str, Any]) -> Portfolio:
        """Return the portfolio that a ``state`` was taken of, to fold on from there.

        Raises:
            KeyError: It is not such a state; TypeError, ValueError too.
        """
        portfolio = cls(standing)
        for name in _NUMBERS:
            setattr(portfolio, name, state["numbers"][name])
        time_msc, deal, version = state["last"]
        portfolio._last = (time_msc, deal, version)
        portfolio._cash_by_kind = dict(state["cash_by_kind"])
        position = OpenPosition.of_fields
        portfolio._open = {key: position(fields) for key, fields in state["open"]}
        portfolio._loose = {(key, id_, side): position(fields) for (key, id_, side), fields in state["loose"]}
        portfolio._ghosts = {key: [position(fields) for fields in several] for key, several in state["ghosts"]}
        portfolio._parts = {key: position(fields) for key, fields in state["parts"]}
        portfolio._breaks = {key: Break(**fields | {"kind": BreakKind(fields["kind"])}) for key, fields in state["breaks"]}
        portfolio._degraded = None if state["degraded"] is None else SyncDegraded(**state["degraded"])
        return portfolio

    @property
    def held(self) -> int:
        """How many positions the state is made of: its size, whatever the history."""
        ghosts = sum(map(len, self._ghosts.values()))
        return len(self._open) + len(self._loose) + len(self._parts) + ghosts + len(self._breaks)

    # ---- what it shows

    def _balance(self) -> int:
        return self._cash + self._commission + self._fee + self._swap + self._profit

    def _money(self, amount: int) -> Decimal:
        return unscaled(amount, self._money_scale)

    def money_text(self, amount: int) -> str:
        """Write an amount in scaled integers with at least the decimals of the account's currency."""
        return plain(self._money(amount), decimals=self.standing.opened.currency_digits)

    @property
    def last(self) -> tuple[int, int, int]:
        """Place in the fold order of what was folded last: broker time, deal, version."""
        return self._last

    @property
    def newest_msc(self) -> int:
        """Broker time of the newest fill or correction, -1 without any. A snapshot that is older tells nothing new."""
        return max(self._filled_msc, self._corrected_msc)

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
        """Broker time up to which every deal is known to have been told, -1 if that was never said."""
        return self._complete_until_msc if self._balance_is_set else -1

    @property
    def balance(self) -> Decimal:
        """Money on the account without credit, in account currency."""
        return self._money(self._balance())

    @property
    def credit(self) -> Decimal:
        """Credit facility, in account currency."""
        return self._money(self._credit)

    @property
    def totals(self) -> Totals:
        """Sums over everything folded."""
        return Totals(
            commission=self._money(self._commission),
            fee=self._money(self._fee),
            swap=self._money(self._swap),
            profit=self._money(self._profit),
            cash={kind: self._money(amount) for kind, amount in sorted(self._cash_by_kind.items())},
            deals=self._deals,
            deals_untold=self._deals_untold,
        )

    @property
    def degraded(self) -> SyncDegraded | None:
        """Why snapshots are not usable, None while they are."""
        return self._degraded

    @property
    def positions(self) -> Mapping[int, Position]:
        """Open positions, position id -> position, ascending."""
        if self._shown is None:
            shown = sorted(self._open.values(), key=_position_id)
            self._shown = MappingProxyType({_position_id(position): self._show(position) for position in shown})
        return self._shown

    def open_price(self, position: Position) -> Fraction:
        """Return the exact open price of an open position, before it is rounded to be shown."""
        held = self._open[self._key(position.symbol, position.position_id)]
        return Fraction(held.cost, held.cost_volume * 10 ** self.standing.scales(position.symbol)[0])

    def position_of(self, symbol: str) -> Position | None:
        """Return the one position of a symbol on an account that nets, None if there is none."""
        position = self._open.get(symbol)
        return None if position is None else self._show(position)

    @property
    def unexplained(self) -> tuple[Unexplained, ...]:
        """What went without being told how, oldest first."""
        ghosts = [
            self._unexplained(ghost, GHOST_RESULT, ghost.volume, ghost.closed_msc)
            for several in self._ghosts.values()
            for ghost in several
        ]
        loose = [
            self._unexplained(close, CLOSE_WITHOUT_OPENING, close.volume_out, close.opened_msc)
            for close in self._loose.values()
        ]
        parts = [self._unexplained(part, GHOST_RESULT, part.volume, part.opened_msc) for part in self._parts.values()]
        everything = [*ghosts, *loose, *parts]
        return tuple(sorted(everything, key=lambda one: (one.since_msc, one.symbol, one.position_id or 0, one.kind)))

    @property
    def breaks(self) -> tuple[Break, ...]:
        """Open disagreements, oldest first."""
        return tuple(sorted(self._breaks.values(), key=lambda one: (one.opened_msc, one.version or 0, one.field or "")))

    def unfinished_trades(self) -> Iterator[Trade]:
        """Yield trades that ended but are not told in full: ghosts, and closes without an opening."""
        for several in self._ghosts.values():
            yield from map(self.trade, several)
        yield from map(self.trade, self._loose.values())

    def partial_trades(self) -> Iterator[Trade]:
        """Yield what was closed so far of positions that are still open, position id ascending."""
        parts = (position for position in self._open.values() if position.volume_out)
        for position in sorted(parts, key=_position_id):
            yield attrs.evolve(self.trade(position), volume=self._volume(position.symbol, position.volume_out))

    def _volume(self, symbol: str, volume: int) -> Decimal:
        return unscaled(volume, self.standing.scales(symbol)[1])

    def trade(self, position: OpenPosition) -> Trade:
        """Show a position that went flat as the trade that it was."""
        volume = position.volume_in if position.opening_told else position.volume_out
        return Trade(
            position_id=position.position_id,
            ticket=position.ticket,
            symbol=position.symbol,
            side=_SIDES[position.side],
            volume=self._volume(position.symbol, volume),
            opened_msc=position.opened_msc if position.opening_told else None,
            price_open=self._average(position.symbol, position.cost_in, position.volume_in),
            closed_msc=position.closed_msc,
            price_close=self._average(position.symbol, position.cost_out, position.volume_out),
            commission=self._money(position.commission),
            fee=self._money(position.fee),
            swap=self._money(position.swap),
            profit=self._money(position.profit),
            complete=position.money_told and not position.volume_untold,
            basis=position.basis,
            magic=unsigned_magic(position.magic),
        )

    def _average(self, symbol: str, cost: int, volume: int) -> Decimal | None:
        """Return an average price, rounded once, half to even, to the digits it is shown with."""
        if not volume:
            return None
        digits = self.standing.shown_digits(symbol)
        price_scale = self.standing.scales(symbol)[0]
        return unscaled(divided(cost * 10**digits, volume * 10**price_scale), digits)

    def _show(self, position: OpenPosition) -> Position:
        price_open = self._average(position.symbol, position.cost, position.cost_volume)
        assert price_open is not None, "an open position has a volume"
        return Position(
            position_id=_position_id(position),
            ticket=position.ticket or _position_id(position),
            symbol=position.symbol,
            side=_SIDES[position.side],
            volume=self._volume(position.symbol, position.volume),
            price_open=price_open,
            opened_msc=position.opened_msc,
            basis=position.basis,
            magic=unsigned_magic(position.magic),
            comment=position.comment,
            is_id_told=position.id_told,
        )

    def _unexplained(self, position: OpenPosition, kind: str, volume: int, since_msc: int) -> Unexplained:
        return Unexplained(
            position_id=position.position_id,
            symbol=position.symbol,
            kind=kind,
            volume=self._volume(position.symbol, volume),
            since_msc=since_msc,
        )


_SIDES: Final = (Side.BUY, Side.SELL)


def _position_id(position: OpenPosition) -> int:
    assert position.position_id is not None, "an open position has an id"
    return position.position_id


def _is_told(row: Row) -> bool:
    """Return whether all the money of a fill is known."""
    return None not in row[11:15]


def _cash_kind(deal_type: int | None, data: str | None) -> str:
    if deal_type is not None:
        return CASH_WORDS.get(deal_type, f"type {deal_type}")
    return str(json.loads(data or "{}").get("word", "unknown"))
