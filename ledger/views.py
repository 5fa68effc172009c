"""What a portfolio shows: frozen values in exact decimals, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import attrs
from attrs import frozen

from ledger.deprecation import Alias
from ledger.events import BreakKind, GatewayIdentified, IdentityRelaxed, IdentityRequired
from ledger.positions import OpenPosition, divided
from ledger.terms import AccountTerms
from ledger.values import Side, unscaled, unsigned_magic

GHOST_RESULT: Final = "ghost result"
CLOSE_WITHOUT_OPENING: Final = "close without opening"

_SIDES: Final = (Side.BUY, Side.SELL)
_DECISIONS: Final = {cls.__name__: cls for cls in (IdentityRelaxed, IdentityRequired)}


@frozen(kw_only=True)
class Position:
    """An open position. Lots and prices exact; ``opened_msc`` in broker server time.

    ``is_id_known`` is False where its id is not recorded yet and its opening order names it.
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
    is_id_known: bool = True
    is_id_told = Alias("is_id_known")


@frozen(kw_only=True)
class Trade:
    """One life of a position, from opening to flat. Money in account currency, times in broker server time.

    ``opened_msc`` and ``price_open`` are None where the opening is not recorded. ``complete`` is False where the result is
    not known: something of it was closed without a deal, or a deal's money is not known yet.
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
    """Volume that no deal explains. ``since_msc`` in broker server time."""

    position_id: int | None
    symbol: str
    kind: str
    volume: Decimal
    since_msc: int


@frozen(kw_only=True)
class Break:
    """An open disagreement. ``version`` is the event that opened it, None where the fold itself found it.

    ``confirmations`` counts the snapshots that showed it, ``attempts`` the corrections that did not help. ``flaps`` is set
    where the same position came to disagree so often that nothing is corrected any more. ``order`` is the broker's ticket of an
    order, ``client_id`` that of ours.
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
    flaps: int | None = None
    deal_msc: int | None = None
    order: int | None = None
    client_id: str | None = None

    @property
    def identity(self) -> tuple[BreakKind, int | None, int | None, str | None]:
        """What it is about: kind, position, order, client id."""
        return self.kind, self.position_id, self.order, self.client_id


@frozen(kw_only=True)
class Identity:
    """Whether answers have to state login and server, and why.

    ``seen`` is the first answer that stated them, ``decided`` what a person decided last, and ``decided_version`` the version
    of that decision: it applies from there on, whatever moment its time names.
    """

    seen: GatewayIdentified | None = None
    decided: IdentityRelaxed | IdentityRequired | None = None
    decided_version: int = 0

    @property
    def is_required(self) -> bool:
        """Whether an answer that states no identity is refused: a person's decision, else whether one ever stated it."""
        if self.decided is not None:
            return isinstance(self.decided, IdentityRequired)
        return self.seen is not None

    def state(self) -> dict[str, Any]:
        """Return it as JSON values."""
        seen, decided = self.seen, self.decided
        return {
            "seen": None if seen is None else attrs.asdict(seen),
            "decided": None if decided is None else [type(decided).__name__, attrs.asdict(decided)],
            "decided_version": self.decided_version,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Identity:
        """Return the identity of a ``state``.

        Raises:
            KeyError: It is not such a state; TypeError, ValueError too.
        """
        seen, decided = state["seen"], state["decided"]
        return cls(
            seen=None if seen is None else GatewayIdentified(**seen),
            decided=None if decided is None else _DECISIONS[decided[0]](**decided[1]),
            decided_version=state["decided_version"],
        )


@frozen(kw_only=True)
class Totals:
    """Sums over everything folded, in account currency. ``cash`` is keyed by the deal type in words."""

    commission: Decimal
    fee: Decimal
    swap: Decimal
    profit: Decimal
    cash: Mapping[str, Decimal]
    deals: int
    deals_incomplete: int
    deals_untold = Alias("deals_incomplete")


def show_trade(position: OpenPosition, terms: AccountTerms) -> Trade:
    """Show a position that went flat as the trade that it was."""
    volume = position.volume_in if position.is_opening_known else position.volume_out
    return Trade(
        position_id=position.position_id,
        ticket=position.ticket,
        symbol=position.symbol,
        side=_SIDES[position.side],
        volume=terms.volume(position.symbol, volume),
        opened_msc=position.opened_msc if position.is_opening_known else None,
        price_open=_average(position.symbol, position.cost_in, position.volume_in, terms),
        closed_msc=position.closed_msc,
        price_close=_average(position.symbol, position.cost_out, position.volume_out, terms),
        commission=terms.money(position.commission),
        fee=terms.money(position.fee),
        swap=terms.money(position.swap),
        profit=terms.money(position.profit),
        complete=position.is_money_known and not position.volume_unexplained,
        basis=position.basis,
        magic=unsigned_magic(position.magic),
    )


def _average(symbol: str, cost: int, volume: int, terms: AccountTerms) -> Decimal | None:
    """Return an average price, rounded once, half to even, to the digits it is shown with."""
    if not volume:
        return None
    digits = terms.shown_digits(symbol)
    price_scale = terms.scales(symbol)[0]
    return unscaled(divided(cost * 10**digits, volume * 10**price_scale), digits)


def show_position(position: OpenPosition, terms: AccountTerms) -> Position:
    """Show an open position."""
    price_open = _average(position.symbol, position.cost, position.cost_volume, terms)
    assert price_open is not None, "an open position has a volume"
    return Position(
        position_id=position.key,
        ticket=position.ticket or position.key,
        symbol=position.symbol,
        side=_SIDES[position.side],
        volume=terms.volume(position.symbol, position.volume),
        price_open=price_open,
        opened_msc=position.opened_msc,
        basis=position.basis,
        magic=unsigned_magic(position.magic),
        comment=position.comment,
        is_id_known=position.is_id_known,
    )


def show_unexplained(position: OpenPosition, kind: str, volume: int, since_msc: int, terms: AccountTerms) -> Unexplained:
    """Show volume of a position that no deal explains."""
    return Unexplained(
        position_id=position.position_id,
        symbol=position.symbol,
        kind=kind,
        volume=terms.volume(position.symbol, volume),
        since_msc=since_msc,
    )
