"""The account terms: how an account books, what scales it uses, which clock its server has. They apply at every moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from attrs import evolve, field, frozen

from ledger.clock import ClockRule
from ledger.deprecation import module_getattr
from ledger.errors import InexactNumber
from ledger.events import (
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    DealOrder,
    DriftCorrected,
    Event,
    GhostClosed,
    PositionRecovered,
    PositionState,
    SymbolSpecified,
)
from ledger.values import PRICE_SCALE, VOLUME_SCALE, AccountId, rounded, scaled, unscaled

#: Stored names of the events that change account terms (``terms_after``).
TERMS_KINDS: Final = ("AccountOpened", "SymbolSpecified", "Adjusted")


@frozen(kw_only=True)
class AccountTerms:
    """What applies to an account at every moment: how it books, what scales it uses, which clock its server has."""

    opened: AccountOpened
    clock: ClockRule
    order: DealOrder = DealOrder.TICKET
    symbols: Mapping[str, SymbolSpecified] = field(factory=dict)

    @classmethod
    def of(cls, opened: AccountOpened) -> AccountTerms:
        """Return the terms that an account is opened with."""
        return cls(opened=opened, clock=opened.clock, order=opened.order or DealOrder.TICKET)

    @property
    def account(self) -> AccountId:
        """Whose portfolio it is."""
        return AccountId(self.opened.server, self.opened.login)

    def scales(self, symbol: str) -> tuple[int, int]:
        """Return the decimal digits stored of a symbol's prices and of its volumes."""
        spec = self.symbols.get(symbol)
        return (spec.price_scale, spec.volume_scale) if spec else (PRICE_SCALE, VOLUME_SCALE)

    def money_units(self, amount: Decimal, what: str) -> int:
        """Return an amount as a scaled integer.

        Raises:
            InexactNumber: It does not fit the account's scale.
        """
        return scaled(amount, self.opened.money_scale, what, step=self.opened.currency_digits)

    def money(self, amount: int) -> Decimal:
        """Return an amount in scaled integers as a decimal."""
        return unscaled(amount, self.opened.money_scale)

    def volume(self, symbol: str, volume: int) -> Decimal:
        """Return a volume in scaled integers as lots."""
        return unscaled(volume, self.scales(symbol)[1])

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
        specification all stored digits are shown.
        """
        spec = self.symbols.get(symbol)
        price_scale = self.scales(symbol)[0]
        return price_scale if spec is None or spec.digits is None else min(spec.digits + 3, price_scale)


def terms_after(terms: AccountTerms | None, events: Iterable[Event]) -> AccountTerms | None:
    """Return account terms after more events, ascending by version; None as long as the account is not open.

    Events of other kinds than ``TERMS_KINDS`` change nothing.
    """
    symbols = dict(terms.symbols) if terms else {}
    for event in events:
        match event:
            case AccountOpened():
                terms = AccountTerms.of(event)
            case SymbolSpecified():
                symbols[event.symbol] = event
            case Adjusted() if terms is not None and (event.clock_after or event.order_after):
                clock, order = event.clock_after or terms.clock, event.order_after or terms.order
                terms = evolve(terms, clock=clock, order=order)
            case _:
                pass
    return None if terms is None else evolve(terms, symbols=symbols)


def check_fit(event: Event, terms: AccountTerms) -> None:
    """Refuse what the fold could not count: once it is recorded, it would block every replay.

    Of what is no deal; a deal's numbers are scaled when it becomes a posting.

    Raises:
        InexactNumber: A number does not fit the scales of the account or symbol.
    """
    match event:
        case PositionRecovered(position=state) | GhostClosed(before=state):
            terms.sizes(state)
        case DriftCorrected():
            terms.sizes(event.before)
            terms.sizes(event.after)
        case BalanceAsserted():
            _check_money(event, ("balance", "credit"), terms)
        case Adjusted():
            for state in filter(None, (event.before, event.after)):
                terms.sizes(state)
            _check_money(event, ("balance_before", "balance_after", "credit_before", "credit_after"), terms)
        case _:
            pass


def _check_money(event: Event, names: Iterable[str], terms: AccountTerms) -> None:
    for name in names:
        amount = getattr(event, name)
        if amount is not None:
            terms.money_units(amount, name)


__getattr__ = module_getattr(__name__, {"Standing": "ledger.terms.AccountTerms", "STANDING_KINDS": "ledger.terms.TERMS_KINDS"})
