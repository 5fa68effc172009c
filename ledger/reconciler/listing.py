"""The positions that a sync starts from: the gateway's list, or where that proves nothing, one list for each held symbol.

A server of the engine form often passes the ``*`` of a request on to MetaTrader 5. There it is the name of a symbol that does
not exist, and the answer is a good one with an empty list. Such a list is believed only from a gateway that listed positions
for ``*`` before; otherwise the positions are asked for by the names of the symbols that we hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, frozen

from ledger.errors import SnapshotRefused
from ledger.gateway import Gateway, SymbolGateway
from ledger.portfolio import Portfolio
from ledger.reconcile.validate import refuse_unidentified, require_identity
from ledger.snapshot import Snapshot
from ledger.terms import AccountTerms

_SHOWN_MAX: Final = 3
PASSES_ON: Final = (
    'this gateway passes "*" on to MetaTrader 5, which takes it for the name of a symbol: an empty list proves nothing'
)
FIX: Final = 'let the server call positions_get() without a symbol for "*"'
_UNPROVEN: Final = (
    'the list of positions is empty, and we hold none; but servers with such answers may pass "*" on to MetaTrader 5, which '
    f"takes it for the name of a symbol: an empty list proves nothing; {FIX}, and state count and login"
)


@frozen
class Listing:
    """A snapshot.

    ``partial`` is why it is not of the whole account, where it shows some symbols only; ``note`` is what a person should look
    at.
    """

    snapshot: Snapshot
    partial: str | None = None
    note: str | None = None


@define
class Lists:
    """What a gateway of the engine form has listed so far, while its connection lasted: an empty list is of worth only then."""

    by_wildcard: bool = False
    by_symbol: bool = False
    _reconnections: int = -1

    def ask(self, gateway: Gateway, portfolio: Portfolio | None) -> Listing:
        """Ask for the positions of an account.

        Args:
            gateway: The way to the broker.
            portfolio: What we have; None for an account that is not open.

        Raises:
            SnapshotRefused: The list is empty although we hold positions, and nothing shows that it would not be.
            GatewayError: There is no answer.
        """
        snapshot = gateway.positions()
        if gateway.reconnections != self._reconnections:  # it may be another program now
            self.by_wildcard, self.by_symbol, self._reconnections = False, False, gateway.reconnections
        if not may_pass_on(snapshot):
            self.by_wildcard = self.by_wildcard or (snapshot.is_engine_form and bool(snapshot.positions))
            return Listing(snapshot)
        if self.by_wildcard or portfolio is None:
            return Listing(snapshot)
        require_identity(snapshot, portfolio.terms)
        refuse_unidentified(snapshot, portfolio.identity, portfolio.terms)
        return self._by_symbol(gateway, snapshot, portfolio)

    def _by_symbol(self, gateway: Gateway, empty: Snapshot, portfolio: Portfolio) -> Listing:
        symbols = sorted({position.symbol for position in portfolio.positions.values()})
        if not symbols:
            return Listing(empty, f"{PASSES_ON}; {FIX}") if self.by_symbol else Listing(empty, note=_UNPROVEN)
        answers = (
            [_of_symbol(gateway, symbol, portfolio.terms) for symbol in symbols] if isinstance(gateway, SymbolGateway) else []
        )
        rows = tuple(row for answer in answers for row in answer.positions)
        self.by_symbol = self.by_symbol or bool(rows)
        if not self.by_symbol:
            raise SnapshotRefused(_nothing_listed(len(portfolio.positions), symbols), field="positions")
        why = (
            f"{PASSES_ON}. Asked by name, it listed {len(rows)} positions of {_names(symbols)}; positions of other symbols are "
            f"not visible: {FIX}"
        )
        return Listing(evolve(empty, positions=rows, raw=b"\n".join(one.raw for one in (empty, *answers))), why)


def may_pass_on(snapshot: Snapshot) -> bool:
    """Return whether the gateway may have passed ``*`` on: an empty list of the engine form, with neither count nor login."""
    return snapshot.is_engine_form and not snapshot.positions and snapshot.count is None and snapshot.login is None


def _of_symbol(gateway: SymbolGateway, symbol: str, terms: AccountTerms) -> Snapshot:
    answer = gateway.positions_of(symbol)
    require_identity(answer, terms)
    if answer.count not in (None, len(answer.positions)):
        raise SnapshotRefused(f"expected the {answer.count} rows that it states, found {len(answer.positions)}", field="count")
    for number, row in enumerate(answer.positions, 1):
        if row.symbol != symbol:
            raise SnapshotRefused(
                f"expected positions of {symbol} only, as asked for, found one of {row.symbol}", row=number, field="symbol"
            )
    return answer


def _nothing_listed(held: int, symbols: Sequence[str]) -> str:
    return (
        f'expected {held} positions that we hold, found none for "*" and none by name ({_names(symbols)}). A server with such '
        'answers may pass "*" on to MetaTrader 5, which takes it for the name of a symbol: an empty list proves nothing; '
        f"{FIX}, and state count and login. If the account is flat: ledger correct close"
    )


def _names(symbols: Sequence[str]) -> str:
    shown = ", ".join(symbols[:_SHOWN_MAX])
    return shown if len(symbols) <= _SHOWN_MAX else f"{shown} and {len(symbols) - _SHOWN_MAX} more"
