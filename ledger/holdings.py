"""The holdings: the positions of one account while they are folded, and the rules of what deals and assertions do to them.

Open positions, and what no deal explains: closes of what was never held, positions that ended unseen, parts of positions.
``positions`` has the rules of one position, ``portfolio`` the money and everything else; nobody but the portfolio changes this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from ledger.clock import SECOND_MSC
from ledger.events import AcceptedResult, PositionState
from ledger.positions import OpenPosition, divided
from ledger.postings import Fill
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX, Entry, signed_magic

#: MT5's codes, as a posting has them.
ENTRY_IN: Final = Entry.IN.value
ENTRY_IN_OUT: Final = Entry.IN_OUT.value

#: Is called with each position that went flat.
TradeSink = Callable[[OpenPosition], object]


class SharedPositions(dict[int, OpenPosition]):
    """Open positions that other holdings have as well: whoever asks for one gets a copy of its own, which may be changed.

    ``own`` are the ids of those that were copied, or put here, since. Iterating copies nothing, and must change nothing.
    """

    __slots__ = ("own",)

    def __init__(self, positions: Mapping[int, OpenPosition]) -> None:
        super().__init__(positions)
        self.own: set[int] = set()

    def __setitem__(self, key: int, position: OpenPosition) -> None:
        self.own.add(key)
        super().__setitem__(key, position)

    def __getitem__(self, key: int) -> OpenPosition:
        position = super().__getitem__(key)
        if key not in self.own:
            self[key] = position = position.copy()
        return position

    def get(self, key: int, default: Any = None) -> Any:
        """Return a position of our own."""
        try:
            return self[key]
        except KeyError:
            return default


class Holdings:
    """The positions of one account, open and unexplained."""

    def __init__(self, terms: AccountTerms) -> None:
        self.terms = terms
        self._nets = terms.opened.mode.nets
        self.open: MutableMapping[int, OpenPosition] = {}
        # Where an account nets: symbol -> id of the one open position. The symbol is an attribute of the position: it may be
        # renamed while the position is open.
        self.ids: MutableMapping[str, int] = {}
        # What no deal explains: closes of what was never held, by position id, by symbol where that is not known;
        # positions that ended unseen; parts of positions.
        self.loose: dict[tuple[int | str, int], OpenPosition] = {}
        self.ghosts: dict[int, list[OpenPosition]] = {}
        self.parts: dict[int, OpenPosition] = {}
        # Of what no deal explains: key and moment of what a person accepted as it is.
        self.accepted: set[tuple[int | str, int]] = set()

    @property
    def size(self) -> int:
        """How many positions there are, open or unexplained."""
        return len(self.open) + len(self.loose) + len(self.parts) + sum(map(len, self.ghosts.values()))

    def trips_of(self, position_id: int) -> Iterator[OpenPosition]:
        """Yield what is held under an id: the open position, ghosts, and closes of what was never held."""
        if position_id in self.open:
            yield self.open[position_id]
        yield from self.ghosts.get(position_id, ())
        for side in (0, 1):
            if (position_id, side) in self.loose:
                yield self.loose[position_id, side]

    def unnamed(self) -> Iterator[OpenPosition]:
        """Yield the open positions whose id is not known yet."""
        return (position for position in self.open.values() if not position.is_id_known)

    def gather(self, postings: int) -> None:
        """Have the open positions in dictionaries, wherever they are (``QuickRows``), if so many postings are worth it."""
        if not isinstance(self.open, dict) and postings > 2 * len(self.open):
            self.open, self.ids = dict(self.open), dict(self.ids)

    # ---- deals

    def settle(self, fill: Fill, trades: TradeSink) -> None:
        """Apply a fill of any shape: money not known yet, closes beyond what is known, reversals, unknown entries."""
        money, position_id = fill.money, fill.position_id
        if position_id is None and fill.entry == ENTRY_IN and not self._nets:
            position_id = fill.order or fill.deal  # hedging: a position carries its opening order's ticket
        position, fill = self._aligned(self._dealt_with(position_id, fill.symbol, fill.time_msc), fill)
        if fill.entry == ENTRY_IN:
            self._open_more(position, position_id, fill, money, trades)
        elif fill.entry == ENTRY_IN_OUT:
            self._reverse(position, position_id, fill, money, trades)
        else:
            self._close(position, position_id, fill, money, trades)

    def _dealt_with(self, position_id: int | None, symbol: str, time_msc: int) -> OpenPosition | None:
        """Return the open position that a deal adds to or closes: of its symbol, or one that can follow it to that symbol.

        One that cannot be followed exactly is lost sight of. Where the account nets the symbol has no other position then.
        """
        position = self._held(position_id, symbol, time_msc)
        if position is None or position.symbol == symbol:
            return position
        if not self._can_follow(position, symbol):
            self._lose(position, time_msc)
            return self._held(position_id, symbol, time_msc)
        if self._nets and symbol in self.ids:
            self._lose(self.open[self.ids[symbol]], time_msc)
        return position

    def _held(self, position_id: int | None, symbol: str, time_msc: int) -> OpenPosition | None:
        """Return the open position that a deal or a snapshot is about.

        On an account that nets a new id means that the old position ended: MT5 gives one only after the volume reached 0.
        """
        position = self.open.get(position_id) if position_id is not None else None
        if position is not None or not self._nets:
            return position
        known = self.ids.get(symbol)
        if known is None:
            return None
        position = self.open[known]
        if position_id is None:
            return position
        if position.is_id_known:
            self._lose(position, time_msc)
            return None
        del self.open[known]
        position.position_id, position.is_id_known = position_id, True
        self._put(position)
        return position

    def _put(self, position: OpenPosition) -> None:
        """Have a position among the open ones. Where the account nets its symbol has no other."""
        self.open[position.key] = position
        if self._nets:
            self.ids[position.symbol] = position.key

    def _drop(self, position: OpenPosition) -> None:
        """Take a position from among the open ones."""
        del self.open[position.key]
        if self._nets and self.ids.get(position.symbol) == position.position_id:
            del self.ids[position.symbol]

    def _aligned(self, position: OpenPosition | None, fill: Fill) -> tuple[OpenPosition | None, Fill]:
        """Let a position go by the symbol that its latest deal names: a renamed symbol is the same position.

        Where the scales of both symbols differ, position and deal are brought to the finer ones. If neither symbol keeps both
        of them, nothing can be added exactly: then the deal is about no position that is known.
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
        return None, fill

    def _can_follow(self, position: OpenPosition, symbol: str) -> bool:
        """Return whether a position can go by another symbol: one of the two keeps all decimals of both."""
        (price, volume), (price_now, volume_now) = self.terms.scales(position.symbol), self.terms.scales(symbol)
        return (price_now - price) * (volume_now - volume) >= 0

    def _rename(self, position: OpenPosition, symbol: str, time_msc: int) -> None:
        """Give a position another symbol; an account that nets has no other position of it then."""
        key = position.key
        if self._nets and self.open.get(key) is position and position.symbol != symbol:
            del self.ids[position.symbol]
            if symbol in self.ids:
                self._lose(self.open[self.ids[symbol]], time_msc)
            self.ids[symbol] = key
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
        loose = self.loose.get(at)
        if loose is None or loose.opened_msc // SECOND_MSC != position.opened_msc // SECOND_MSC:
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
            del self.loose[at]
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
            if self.open.get(position.key) is not position:
                position.volume_unexplained -= reduced  # a ghost: now its deal is known
            if not position.volume:
                self._finish(position, time_msc, trades)
            position = self._ghost(position_id, symbol, side)
        if volume:
            at = (symbol if position_id is None else position_id, 1 - side)
            loose = self.loose.get(at)
            if loose is None:
                loose = self.loose[at] = OpenPosition(position_id, symbol, 1 - side, 0, 0, time_msc, fill.magic)
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
        known = self.ids.get(symbol) if position_id is None else position_id
        return None if known is None else self.open.get(known)

    def _finish(self, position: OpenPosition, time_msc: int, trades: TradeSink) -> None:
        """Let a position that went flat leave, from among the open ones or from among the ghosts."""
        key = position.key
        position.closed_msc = max(time_msc, position.closed_msc)
        if self.open.get(key) is position:
            self._drop(position)
        else:
            self.ghosts[key].remove(position)
            if not self.ghosts[key]:
                del self.ghosts[key]
        trades(position)

    def _lose(self, position: OpenPosition, time_msc: int) -> None:
        """Remove a position from the open ones: it is gone, and its result is not known until its closing deal is recorded."""
        self._drop(position)
        position.closed_msc = time_msc
        position.volume_unexplained += position.volume
        self.ghosts.setdefault(position.key, []).append(position)

    def _ghost(self, position_id: int | None, symbol: str, closing_side: int) -> OpenPosition | None:
        """Return the oldest ghost that a deal of this side and position can have closed.

        A deal that names no position is of its symbol's, on an account that nets.
        """
        if position_id is not None:
            ghosts: Iterable[OpenPosition] = self.ghosts.get(position_id, ())
            if not ghosts and self._nets:
                ghosts = (ghost for ghost in self._ghosts_of(symbol) if not ghost.is_id_known)
        else:
            ghosts = self._ghosts_of(symbol) if self._nets else ()
        return next((ghost for ghost in ghosts if ghost.side != closing_side), None)

    def _ghosts_of(self, symbol: str) -> Iterator[OpenPosition]:
        every = (ghost for several in self.ghosts.values() for ghost in several if ghost.symbol == symbol)
        return iter(sorted(every, key=lambda ghost: ghost.closed_msc))

    def _known(self, symbol: str, position_id: int) -> OpenPosition | None:
        """Return the open position with an id; on an account that nets also that of the symbol, if its id is not known."""
        position = self.open.get(position_id)
        if position is not None or not self._nets or symbol not in self.ids:
            return position
        position = self.open[self.ids[symbol]]
        return None if position.is_id_known else position

    # ---- assertions

    def assert_open(self, state: PositionState, time_msc: int, basis: str) -> None:
        """Set a position to what somebody saw; what that leaves unexplained is shown as such."""
        side, magic = state.side.code, signed_magic(state.magic)
        position = self._held(state.position_id, state.symbol, time_msc)
        while position is not None and (
            position.side != side or self.terms.scales(position.symbol) != self.terms.scales(state.symbol)
        ):
            self._lose(position, time_msc)
            position = self._held(state.position_id, state.symbol, time_msc)  # where it nets, the symbol may have had another
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
        ghosts = self.ghosts.get(state.position_id, [])
        for ghost in ghosts:
            if (ghost.side, ghost.symbol) == (state.side.code, state.symbol):
                ghosts.remove(ghost)
                if not ghosts:
                    del self.ghosts[state.position_id]
                ghost.volume_unexplained -= ghost.volume
                ghost.closed_msc = 0
                self._put(ghost)
                return ghost
        return None

    def _lose_part(self, position: OpenPosition, volume: int, time_msc: int) -> None:
        position.lose(volume)
        key = position.key
        part = self.parts.get(key)
        if part is None:
            part = self.parts[key] = OpenPosition(key, position.symbol, position.side, 0, 0, time_msc, None)
        part.volume += volume

    def assert_gone(self, state: PositionState, time_msc: int) -> None:
        """Let a position go that somebody saw to be gone."""
        position = self._known(state.symbol, state.position_id)
        if position is not None:
            self._lose(position, time_msc)

    def accept(self, result: AcceptedResult) -> None:
        """Take what is unexplained of a position as it is. A deal that comes to light later explains it all the same."""
        key = result.symbol if result.position_id is None else result.position_id
        loose = [close for (at, _), close in self.loose.items() if at == key]
        ghosts = [] if result.position_id is None else self.ghosts.get(result.position_id, [])
        self.accepted |= {(key, one.closed_msc) for one in (*ghosts, *loose)}
        if result.position_id is not None:
            self.parts.pop(result.position_id, None)

    def reticket(self, symbol: str, position_id: int, ticket: int) -> None:
        """Give an open position another ticket."""
        position = self._known(symbol, position_id)
        if position is not None:
            position.ticket = ticket

    # ---- its state, saved and restored

    def shown(self, position_id: int) -> OpenPosition:
        """Return an open position, to be read only: nothing is copied."""
        return dict.__getitem__(self.open, position_id) if isinstance(self.open, dict) else self.open[position_id]

    def changed(self) -> Collection[int]:
        """Return the ids of the open positions that may be others than when this was copied."""
        return self.open.own if isinstance(self.open, SharedPositions) else self.open

    def copy(self) -> Holdings:
        """Return an independent copy, to settle on from here. Both share the open positions until one of them changes any."""
        self.gather(INT64_MAX)
        assert isinstance(self.open, dict)
        twin = Holdings(self.terms)
        self.open, twin.open = SharedPositions(self.open), SharedPositions(self.open)
        twin.ids = dict(self.ids)
        twin.loose = {key: close.copy() for key, close in self.loose.items()}
        twin.ghosts = {key: [ghost.copy() for ghost in several] for key, several in self.ghosts.items()}
        twin.parts = {key: part.copy() for key, part in self.parts.items()}
        twin.accepted = set(self.accepted)
        return twin

    def state(self) -> dict[str, Any]:
        """Return everything of them, as JSON values."""
        return {
            "open": [position.fields() for position in self.open.values()],
            "loose": [[list(key), close.fields()] for key, close in self.loose.items()],
            "ghosts": [[key, [ghost.fields() for ghost in several]] for key, several in self.ghosts.items()],
            "parts": [[key, part.fields()] for key, part in self.parts.items()],
            "accepted": sorted((list(one) for one in self.accepted), key=str),
        }

    @classmethod
    def restored(cls, terms: AccountTerms, state: Mapping[str, Any]) -> Holdings:
        """Return the holdings that a ``state`` was taken of.

        Raises:
            KeyError: It is not such a state; TypeError, ValueError too.
        """
        holdings, position = cls(terms), OpenPosition.of_fields
        for fields in state["open"]:
            holdings._put(position(fields))
        holdings.loose = {(key, side): position(fields) for (key, side), fields in state["loose"]}
        holdings.ghosts = {key: [position(fields) for fields in several] for key, several in state["ghosts"]}
        holdings.parts = {key: position(fields) for key, fields in state["parts"]}
        holdings.accepted = {(key, closed_msc) for key, closed_msc in state["accepted"]}
        return holdings
