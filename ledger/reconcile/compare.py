"""Compare: our portfolio and the broker's snapshot in, every disagreement over the union of both out. Repairs nothing.

Profit, swap and current price are marks, not disagreements. Positions are the same where their identifier is. On an account
that nets they are the same where their symbol is, too, if one of both identifiers is not known. A gateway that reports tickets
only is matched by the ticket that we know last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Final

from attrs import frozen

from ledger.events import BreakKind
from ledger.portfolio import Portfolio
from ledger.snapshot import RemoteAccount, RemotePosition, Snapshot
from ledger.terms import AccountTerms
from ledger.values import plain
from ledger.views import Position


@frozen(kw_only=True)
class Difference:
    """One field that both sides show differently, as text."""

    field: str
    ours: str
    theirs: str


@frozen
class Zombie:
    """The broker has it, we don't."""

    theirs: RemotePosition
    kind = BreakKind.ZOMBIE

    @property
    def position_id(self) -> int:
        """Id of the position."""
        return self.theirs.position_id

    @property
    def symbol(self) -> str:
        """Symbol of the position."""
        return self.theirs.symbol


@frozen
class Ghost:
    """We have it, the broker doesn't."""

    ours: Position
    kind = BreakKind.GHOST

    @property
    def position_id(self) -> int:
        """Id of the position."""
        return self.ours.position_id

    @property
    def symbol(self) -> str:
        """Symbol of the position."""
        return self.ours.symbol


@frozen
class Drift:
    """Both have it and disagree on symbol, side, volume or open price."""

    ours: Position
    theirs: RemotePosition
    differences: tuple[Difference, ...]
    kind = BreakKind.DRIFT

    @property
    def position_id(self) -> int:
        """Our id of the position."""
        return self.ours.position_id

    @property
    def symbol(self) -> str:
        """Our symbol of the position."""
        return self.ours.symbol


@frozen
class NewTicket:
    """The same position under a new ticket. Not a break: the identifier is what a position is known by."""

    ours: Position
    theirs: RemotePosition

    @property
    def position_id(self) -> int:
        """Our id of the position."""
        return self.ours.position_id

    @property
    def symbol(self) -> str:
        """Symbol of the position."""
        return self.ours.symbol


Disagreement = Zombie | Ghost | Drift

_PHASES: Final = (Zombie, Ghost, Drift, NewTicket)


def compare(portfolio: Portfolio, snapshot: Snapshot) -> tuple[Disagreement | NewTicket, ...]:
    """Return every disagreement: recoveries, ghosts, drifts, new tickets; within each by position id.

    The snapshot is one that ``validate.believed`` returned.
    """
    return _compare(portfolio, portfolio.positions, snapshot.positions)


def compare_again(
    tried: Portfolio, snapshot: Snapshot, before: Portfolio, found: Sequence[Disagreement | NewTicket]
) -> tuple[Disagreement | NewTicket, ...]:
    """Return what ``compare`` does, of a portfolio that something was tried on. Only what that changed is looked at.

    Where an account nets, or a gateway reports tickets only, one position may be matched with what another one left: then all.

    Args:
        tried: What ``before`` became.
        snapshot: What both are compared with.
        before: What was compared before.
        found: What ``compare`` returned of it.
    """
    if tried.terms.opened.mode.nets or not all(row.is_identified for row in snapshot.positions):
        return compare(tried, snapshot)
    known, now = before.positions, tried.positions
    changed = {one for one, position in now.items() if known.get(one) is not position} | (known.keys() - now.keys())
    ours = {one: now[one] for one in changed if one in now}
    again = _compare(tried, ours, [row for row in snapshot.positions if row.position_id in changed])
    return _ordered([*(one for one in found if one.position_id not in changed), *again])


def _ordered(found: Iterable[Disagreement | NewTicket]) -> tuple[Disagreement | NewTicket, ...]:
    return tuple(sorted(found, key=lambda one: (_PHASES.index(type(one)), one.position_id)))


def _compare(
    portfolio: Portfolio, ours: Mapping[int, Position], remote: Sequence[RemotePosition]
) -> tuple[Disagreement | NewTicket, ...]:
    """Compare positions of a portfolio with what the broker shows of them."""
    found: list[Disagreement | NewTicket] = []
    matched: set[int] = set()
    strangers: list[RemotePosition] = []
    terms = portfolio.terms
    nets = terms.opened.mode.nets
    by_symbol = {position.symbol: position for position in ours.values()} if nets else {}
    is_identified = all(row.is_identified for row in remote)
    by_ticket = {} if is_identified else {position.ticket: position for position in ours.values()}
    for row in remote:
        position = ours.get(row.position_id) if is_identified or row.is_identified else None
        if position is None and nets:
            position = by_symbol.get(row.symbol)
        if position is None and not row.is_identified:
            position = by_ticket.get(row.ticket)
        if position is None or position.position_id in matched or (nets and _is_another(position, row)):
            strangers.append(row)
            continue
        matched.add(position.position_id)
        if not is_alike(position, row, terms):
            differences = tuple(_differences(portfolio, position, row))
            if differences:
                found.append(Drift(position, row, differences))
        if position.ticket != row.ticket:
            found.append(NewTicket(position, row))
    gone = [ours[position_id] for position_id in ours.keys() - matched] if len(matched) < len(ours) else []
    renamed = _renamed(gone, strangers)
    found += renamed
    gone_again = {pair.ours.position_id for pair in renamed}
    come_again = {pair.theirs.ticket for pair in renamed}
    found += [Zombie(row) for row in strangers if row.ticket not in come_again]
    found += [Ghost(position) for position in gone if position.position_id not in gone_again]
    return _ordered(found)


def is_alike(ours: Position, theirs: RemotePosition, terms: AccountTerms) -> bool:
    """Return whether both show the same, binary dirt apart: so nearly every position of nearly every snapshot."""
    if ours.side is not theirs.side or ours.symbol != theirs.symbol or theirs.price_open is None:
        return False
    if ours.volume == theirs.volume and ours.price_open == theirs.price_open:
        return True
    price_scale, volume_scale = terms.scales(ours.symbol)
    is_volume_alike = ours.volume == theirs.volume or abs(ours.volume - theirs.volume) < _dirt(volume_scale)
    return is_volume_alike and abs(ours.price_open - theirs.price_open) < _dirt(price_scale)


@cache
def _dirt(scale: int) -> Decimal:
    """Return what binary dirt is less than: a tenth of the least unit that is stored."""
    return Decimal(1).scaleb(-scale - 1)


def _is_another(ours: Position, theirs: RemotePosition) -> bool:
    """Return whether an account that nets shows a new position of a symbol.

    MT5 gives a new identifier only after the volume reached 0 (MQL5 Reference, "Position Properties").
    """
    return theirs.is_identified and ours.is_id_known and ours.position_id != theirs.position_id


def _renamed(gone: list[Position], strangers: list[RemotePosition]) -> list[NewTicket]:
    """Pair what vanished with what appeared the same under another ticket, where a gateway reports tickets only.

    Where several would fit nothing is guessed.
    """
    if all(row.is_identified for row in strangers):
        return []
    candidates: dict[object, tuple[list[Position], list[RemotePosition]]] = defaultdict(lambda: ([], []))
    for position in gone:
        candidates[position.symbol, position.side, position.volume, position.price_open][0].append(position)
    for row in strangers:
        if not row.is_identified:
            candidates[row.symbol, row.side, row.volume, row.price_open][1].append(row)
    return [NewTicket(left[0], right[0]) for left, right in candidates.values() if len(left) == len(right) == 1]


def _differences(portfolio: Portfolio, ours: Position, theirs: RemotePosition) -> Iterator[Difference]:
    if ours.symbol != theirs.symbol:
        yield Difference(field="symbol", ours=ours.symbol, theirs=theirs.symbol)
    if ours.side is not theirs.side:
        yield Difference(field="side", ours=ours.side.value, theirs=theirs.side.value)
    gap = abs(ours.volume - theirs.volume)
    if gap and gap >= volume_step(portfolio.terms, ours.symbol):
        yield Difference(field="volume", ours=plain(ours.volume), theirs=plain(theirs.volume))
    if theirs.price_open is not None:
        exact = portfolio.open_price(ours)
        if abs(exact - Fraction(theirs.price_open)) > price_tolerance(portfolio.terms, ours.symbol):
            yield Difference(field="price_open", ours=plain(ours.price_open), theirs=plain(theirs.price_open))


def volume_step(terms: AccountTerms, symbol: str) -> Decimal:
    """Return the least difference of volume that counts, in lots; without a specification any does."""
    spec = terms.symbols.get(symbol)
    return spec.volume_step if spec and spec.volume_step else Decimal(0)


def price_tolerance(terms: AccountTerms, symbol: str) -> Fraction:
    """Return the largest difference of open prices that is none: half a unit of the last decimal that the broker shows.

    MT5 rounds a position's open price to the symbol's digits + 3 (MQL5 Reference, "Position Properties").
    """
    return Fraction(1, 2 * 10 ** terms.shown_digits(symbol))


def compare_money(portfolio: Portfolio, account: RemoteAccount) -> tuple[Difference, ...]:
    """Return how balance and credit differ, by more than half of the currency's last decimal."""
    half = Decimal(5).scaleb(-portfolio.terms.opened.currency_digits - 1)
    digits = portfolio.terms.opened.currency_digits
    return tuple(
        Difference(field=name, ours=plain(ours, decimals=digits), theirs=plain(theirs, decimals=digits))
        for name, ours, theirs in (
            ("balance", portfolio.balance, account.balance),
            ("credit", portfolio.credit, account.credit),
        )
        if abs(ours - theirs) > half
    )
