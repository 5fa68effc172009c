"""Explain: the events that make a figure, in the fold order, with what each adds. The lines add up to the figure exactly.

Every record is listed: a completion with the money that became known by it, a record that a revision replaced with nothing
and the reason. Many lines are summed per kind and month.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, localcontext
from itertools import chain, islice
from typing import Any, Final

from attrs import evolve, frozen

from ledger.clock import utc_text
from ledger.codec import decode_posting, plain_fields
from ledger.damage import reading
from ledger.errors import BadValue
from ledger.event_lines import LINES
from ledger.events import DealCompleted, DealRevised
from ledger.events.deals import make_deal
from ledger.json_views import Json, account_json
from ledger.portfolio import Portfolio, posted_cash_kind
from ledger.postings import MONEY, NO_DEAL, Posting, Selection
from ledger.service import Account, Moment
from ledger.terms import AccountTerms
from ledger.trace import Amounts, Effect, Part, Trace, Trip, difference, moved_by
from ledger.values import EXACT, plain, unscaled

#: Up to so many lines are listed one by one; more are summed per kind and month.
LISTED: Final = 40
BALANCE: Final = ("balance", "credit")
POSITION: Final = ("volume", "commission", "fee", "swap", "profit")
TRADE: Final = ("commission", "fee", "swap", "profit")
_NOTHING: Final = Decimal(0)

#: Reasons for which an event adds nothing, or not all.
SUPERSEDED: Final = "superseded by a revision"
ONLY_CHECKED: Final = "moves nothing, is only checked"
CHANGES_NOTHING: Final = "changes nothing: what was known agreed with it"
NOT_OPEN: Final = "closes what is not known to be open"
EXPLAINS: Final = "explains what ended unseen before"
OTHER_POSITION: Final = "its money counts elsewhere"


@frozen(kw_only=True)
class Line:
    """What one event adds to the figures, or several of one kind and month together.

    Attributes:
        kind: Name of the event.
        what: What happened, in words; of several events what they have in common.
        count: How many events.
        first_version: The first of them in the fold order, as ``first_msc``, in broker server time.
        last_version: The last of them.
        amounts: Figure -> what is added to it.
        deal: Ticket of the deal, if it is one.
        position_id: Of the deal or correction.
        symbol: Likewise.
        reason: Why it adds nothing or not all; None where all of it counts.
        by: The version that supersedes it.
        group: What those of its kind have in common with which it is summed: the type of a cash movement.
    """

    kind: str
    what: str
    count: int = 1
    first_version: int
    last_version: int
    first_msc: int
    last_msc: int
    amounts: Mapping[str, Decimal]
    deal: int | None = None
    position_id: int | None = None
    symbol: str | None = None
    reason: str | None = None
    by: int | None = None
    group: str = ""


@frozen(kw_only=True)
class Explanation:
    """Figures and the lines that add up to them.

    Attributes:
        terms: What the account is read with.
        what: ``balance``, ``position`` or ``trade``.
        figures: Name -> what the fold makes of the selection.
        lines: In the fold order; summed ones in the order of their first event.
        position_id: Which position or trade.
        number: Of several trades with one position id, which: 1, 2, ...
        is_open: Whether the position is open; False for a trade and a position that ended.
        unknown: What is not known of the figures, in words.
        is_summed: Whether lines are sums.
    """

    terms: AccountTerms
    what: str
    figures: Mapping[str, Decimal]
    lines: tuple[Line, ...]
    position_id: int | None = None
    number: int | None = None
    is_open: bool = False
    unknown: tuple[str, ...] = ()
    is_summed: bool = False


# ------------------------------------------------------------------------------------------------------------- balance


def explain_balance(
    account: Account,
    *,
    until: Moment = None,
    known_at: Moment = None,
    version: int | None = None,
    every: bool = False,
) -> Explanation:
    """Explain balance and credit of an account.

    Args:
        account: Whose.
        until: As of ``Account.replay``.
        known_at: Likewise.
        version: Likewise.
        every: List each event, however many there are.

    Raises:
        AccountUnknown: The account was not opened.
        BadValue: A moment or version that cannot be.
    """
    selection, terms = account.selection(until=until, known_at=known_at, version=version)
    trace = Trace(account, selection, terms)
    found = BalanceLines(trace)
    with reading(account.ledger.journal, account.name):
        lines, is_summed = _listed(found, terms, every=every, at_many=found.leave_words_out)
    portfolio = trace.portfolio
    return Explanation(
        terms=terms,
        what="balance",
        figures={"balance": portfolio.balance, "credit": portfolio.credit},
        lines=lines,
        unknown=_unknown_money(portfolio),
        is_summed=is_summed,
    )


class BalanceLines:
    """A line for each event of a trace that is about money, to be read once, in memory that does not grow."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._is_described = True

    def leave_words_out(self) -> None:
        """Do not put into words what happened from here on: most of the time goes there, and sums have none."""
        self._is_described = False

    def __iter__(self) -> Iterator[Line]:
        """Give out all lines, in the fold order."""
        terms = self._trace.portfolio.terms
        for effect in self._trace:
            posting = effect.posting
            if posting.deal != NO_DEAL:
                for part in effect.parts:
                    balance, credit = moved_by(part, posting)
                    reason = SUPERSEDED if part.by is not None else _unknown(effect) if part is effect.parts[-1] else None
                    yield self._line(part, posting, terms, (balance, credit), reason)
            elif effect.balance or effect.credit or posting.kind == "BalanceAsserted":
                reason = None if effect.balance or effect.credit else ONLY_CHECKED
                yield self._line(effect.parts[0], posting, terms, (effect.balance, effect.credit), reason)

    def _line(self, part: Part, posting: Posting, terms: AccountTerms, moved: tuple[int, int], reason: str | None) -> Line:
        amounts = {"balance": terms.money(moved[0]), "credit": terms.money(moved[1]) if moved[1] else _NOTHING}
        return line_of(part, posting, terms, amounts, reason, is_described=self._is_described)


def _unknown(effect: Effect) -> str | None:
    names = effect.unknown
    return f"not known yet: {', '.join(names)}" if names else None


def _unknown_money(portfolio: Portfolio) -> tuple[str, ...]:
    incomplete = portfolio.totals.deals_incomplete
    words = (f"the money of {incomplete} deals is not known in full",) if incomplete else ()
    results = sum(one.kind == "ghost result" for one in portfolio.unexplained)
    return (*words, f"the results of {results} positions that ended unseen are not known") if results else words


# ------------------------------------------------------------------------------------------------ positions and trades


def explain_position(
    account: Account,
    position_id: int,
    *,
    until: Moment = None,
    known_at: Moment = None,
    version: int | None = None,
    every: bool = False,
) -> Explanation:
    """Explain the open volume and the money of a position: of all that happened under its id. Arguments as of a balance.

    Raises:
        BadValue: No event is about such a position; else as ``explain_balance``.
    """
    selection, terms = account.selection(until=until, known_at=known_at, version=version)
    with reading(account.ledger.journal, account.name):
        history = _history(account, selection, terms, position_id)
    trips = history.of(position_id)
    if not trips and not history.others:
        raise BadValue(f"{account.name} has no event of position {position_id} there: ledger positions and trades list them")
    lines = [line for trip in trips for line in history.lines.get(trip.number, ())] + history.others
    figures = _sum(trip.amounts for trip in trips)
    shown_lines, is_summed = _listed(sorted(lines, key=lambda one: one[0]), terms, every=every, numbered=True)
    return Explanation(
        terms=terms,
        what="position",
        position_id=position_id,
        figures=dict(zip(POSITION, figures, strict=True)),
        lines=shown_lines,
        is_open=position_id in history.trace.portfolio.positions,
        unknown=tuple(word for trip in trips for word in _unknown_of(trip)),
        is_summed=is_summed,
    )


def explain_trade(
    account: Account,
    position_id: int,
    *,
    until: Moment = None,
    known_at: Moment = None,
    version: int | None = None,
    every: bool = False,
) -> tuple[Explanation, ...]:
    """Explain the result of the trades of a position: one, or several where it was reversed or re-opened under its id.

    Arguments as of a position.

    Raises:
        BadValue: The position never ended; else as ``explain_balance``.
    """
    selection, terms = account.selection(until=until, known_at=known_at, version=version)
    with reading(account.ledger.journal, account.name):
        history = _history(account, selection, terms, position_id)
    holdings = history.trace.portfolio.holdings
    ended = [trip for trip in history.of(position_id) if holdings.open.get(position_id) is not trip.position]
    if not ended:
        is_open = position_id in holdings.open
        word = f"is open: ledger explain position {position_id}" if is_open else "is not known there: ledger trades lists them"
        raise BadValue(f"{account.name}: trade {position_id} {word}")
    found = []
    for number, trip in enumerate(ended, 1):
        mine = sorted((*history.lines.get(trip.number, ()), *history.rests.get(trip.number, ())), key=lambda one: one[0])
        lines, is_summed = _listed((_without_volume(one) for one in mine), terms, every=every, numbered=True)
        found.append(
            Explanation(
                terms=terms,
                what="trade",
                position_id=position_id,
                number=number if len(ended) > 1 else None,
                figures=dict(zip(TRADE, trip.amounts[1:], strict=True)),
                lines=lines,
                unknown=_unknown_of(trip),
                is_summed=is_summed,
            )
        )
    return tuple(found)


#: A line and its place among those of a trace.
_Numbered = tuple[int, Line]


@frozen
class _History:
    """What a trace showed of a position: the lines of each trip, by its number, and those of none.

    ``rests`` are of closes of which a part found its opening, with their money: what is left of them has the lines without.
    """

    trace: Trace
    lines: Mapping[int, list[_Numbered]]
    rests: Mapping[int, list[_Numbered]]
    others: list[_Numbered]

    def of(self, position_id: int) -> list[Trip]:
        """Return the trips of a position that have lines or amounts."""
        named = [trip for trip in self.trace.trips if trip.position.position_id == position_id and not trip.is_joined]
        return [trip for trip in named if trip.number in self.lines or trip.number in self.rests or any(trip.amounts)]


def _history(account: Account, selection: Selection, terms: AccountTerms, position_id: int) -> _History:
    trace = Trace(account, selection, terms, position_ids=(position_id,), is_about_money=False)
    lines: dict[int, list[_Numbered]] = {}
    rests: dict[int, list[_Numbered]] = {}
    others: list[_Numbered] = []
    number = 0
    for effect in trace:
        joined = [one for trip in effect.joined for one in lines.get(trip.number, ())]
        for trip in effect.joined:
            found = lines.pop(trip.number, [])
            if not trip.is_joined:
                rests.setdefault(trip.number, []).extend(map(_without_money, found))
        given = [(trip, by) for trip, by in effect.trips if trip not in effect.joined]
        taken = _sum(by for trip, by in effect.trips if trip in effect.joined)
        for at, (trip, by) in enumerate(given):
            own = _sum((by, taken)) if not at else by
            mine = lines.setdefault(trip.number, [])
            mine += joined if not at else []
            for line in _position_lines(effect, own, terms, trip):
                number += 1
                mine.append((number, line))
        if not given and _is_about(effect, position_id):
            for line in _position_lines(effect, (_NOTHING,) * 5, terms, None):
                number += 1
                others.append((number, line))
    return _History(trace, lines, rests, others)


def _is_about(effect: Effect, position_id: int) -> bool:
    """Return whether an effect that changed no trip is one of a position all the same."""
    posting = effect.posting
    if posting.deal != NO_DEAL:
        return posting.position_id == position_id or any(part.by is not None for part in effect.parts)
    if posting.kind in ("PositionRecovered", "GhostClosed", "DriftCorrected", "Adjusted"):
        event = decode_posting(posting)
        return getattr(event, "position_id", None) == position_id
    return False


def _position_lines(effect: Effect, by: Amounts, terms: AccountTerms, trip: Trip | None) -> Iterator[Line]:
    """Yield a line for each record of a posting: the first that counts has what the others do not."""
    posting = effect.posting
    later = [part for part in effect.parts if part.by is None][1:]
    is_whole = by[1:] == tuple(terms.money(one) for one in effect.money)
    money = [_of_part(part, terms) if is_whole else _NO_MONEY for part in later]
    rest = difference(by, _sum((_NOTHING, *one) for one in money))
    reason = _why(effect, by, trip)
    for part in effect.parts:
        if part.by is not None:
            yield line_of(part, posting, terms, dict.fromkeys(POSITION, _NOTHING), SUPERSEDED)
        elif part in later:
            own = money[later.index(part)]
            yield line_of(part, posting, terms, dict(zip(POSITION, (_NOTHING, *own), strict=True)), _unknown(effect))
        else:
            yield line_of(part, posting, terms, dict(zip(POSITION, rest, strict=True)), reason)


_NO_MONEY: Final = (_NOTHING,) * 4


def _of_part(part: Part, terms: AccountTerms) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    commission, fee, swap, profit = map(terms.money, part.money)
    return commission, fee, swap, profit


def _why(effect: Effect, by: Amounts, trip: Trip | None) -> str | None:
    """Return why a posting does not add all that it states."""
    posting = effect.posting
    if posting.deal == NO_DEAL:
        return None if any(by) else CHANGES_NOTHING
    if posting.kind == "CashMoved" or trip is None:
        return OTHER_POSITION
    if not by[0] and trip.is_loose:
        return NOT_OPEN
    if not by[0] and not trip.is_closed:
        return EXPLAINS
    return _unknown(effect)


def _unknown_of(trip: Trip) -> tuple[str, ...]:
    position = trip.position
    if not position.is_opening_known:
        return ("its opening is not recorded",)
    words = ("some of it ended unseen, with a result that is not known",) if position.volume_unexplained else ()
    return words if position.is_money_known else (*words, "the money of a deal is not known in full")


def _sum(several: Iterable[Amounts]) -> Amounts:
    found = list(several)
    if not found:
        return (_NOTHING,) * 5
    volume, commission, fee, swap, profit = (_total(one) for one in zip(*found, strict=True))
    return volume, commission, fee, swap, profit


def _total(several: Iterable[Decimal]) -> Decimal:
    with localcontext(EXACT):
        return sum(several, _NOTHING)


def _without_money(one: _Numbered) -> _Numbered:
    return one[0], evolve(one[1], amounts=dict.fromkeys(one[1].amounts, _NOTHING))


def _without_volume(one: _Numbered) -> _Numbered:
    amounts = {name: one[1].amounts[name] for name in TRADE}
    return one[0], evolve(one[1], amounts=amounts)


# --------------------------------------------------------------------------------------------------------------- lines


def line_of(
    part: Part,
    posting: Posting,
    terms: AccountTerms,
    amounts: Mapping[str, Decimal],
    reason: str | None = None,
    *,
    is_described: bool = True,
) -> Line:
    """Return the line of one record of a posting, with words of what happened or without."""
    record = Posting._make(part.row[: len(Posting._fields)])
    is_deal = record.deal != NO_DEAL
    kind, what, position_id, symbol = record.kind, "", posting.position_id, posting.symbol
    if is_described:
        kind, what, position_id, symbol = _described(record, posting, terms)
    return Line(
        kind=kind, what=what, first_version=record.version, last_version=record.version, first_msc=record.time_msc,
        last_msc=record.time_msc, amounts=amounts, deal=record.deal if is_deal else None, position_id=position_id,
        symbol=symbol, reason=reason, by=part.by,
        group=posted_cash_kind(posting.deal_type, posting.data) if posting.kind == "CashMoved" else "",
    )  # fmt: skip


def _described(record: Posting, posting: Posting, terms: AccountTerms) -> tuple[str, str, int | None, str | None]:
    """Return kind, words, position and symbol of a record."""
    if record.deal == NO_DEAL:
        event: Any = decode_posting(record)
        position_id, symbol = getattr(event, "position_id", None), getattr(event, "symbol", None)
    else:
        event, position_id, symbol = _deal_of(record, terms), posting.position_id, posting.symbol
    data = plain_fields(event.now if isinstance(event, DealRevised) else event)
    return type(event).__name__, LINES[type(event).__name__](data, terms)[0], position_id, symbol


def _deal_of(record: Posting, terms: AccountTerms) -> Any:
    """Return the event of a record of a deal, without what no posting has."""
    money = {
        name: None if (amount := getattr(record, name)) is None else unscaled(amount, terms.opened.money_scale)
        for name in MONEY
    }
    common: dict[str, Any] = {"deal": record.deal, "time_msc": record.time_msc, "position_id": record.position_id, **money}
    if record.kind == "DealCompleted":
        return DealCompleted(caused_by=1, magic=record.magic, **common)
    price_scale, volume_scale = terms.scales(record.symbol or "")
    sizes = {
        "volume": None if record.volume is None else unscaled(record.volume, volume_scale),
        "price": None if record.price is None else unscaled(record.price, price_scale),
    }
    word = json.loads(record.data or "{}").get("word")
    deal = make_deal(record.deal_type, word, {"symbol": record.symbol, "entry": record.entry, **sizes, **common})
    return DealRevised(now=deal, caused_by=1) if record.kind == "DealRevised" else deal


def _listed(
    lines: Iterable[Any],
    terms: AccountTerms,
    *,
    every: bool,
    numbered: bool = False,
    at_many: Callable[[], None] = lambda: None,
) -> tuple[tuple[Line, ...], bool]:
    """Return lines one by one, or summed where there are many; and whether they are. ``at_many`` is called when they are."""
    plain: Iterator[Line] = (one[1] for one in lines) if numbered else iter(lines)
    if every:
        return tuple(plain), False
    first = list(islice(plain, LISTED + 1))
    if len(first) <= LISTED:
        return tuple(first), False
    at_many()
    return tuple(summed(chain(first, plain), terms)), True


def summed(lines: Iterable[Line], terms: AccountTerms) -> list[Line]:
    """Return lines summed per kind and month (UTC), in the order of their first event."""
    groups: dict[tuple[Any, ...], Line] = {}
    counts: dict[tuple[Any, ...], int] = {}
    sums: dict[tuple[Any, ...], dict[str, Decimal]] = {}
    last: dict[tuple[Any, ...], Line] = {}
    with localcontext(EXACT):
        for line in lines:
            month = utc_text(terms.clock.to_utc_msc(line.first_msc))[:7]
            key = month, line.kind, line.group, line.reason
            if key not in groups:
                groups[key] = evolve(line, what=line.group, deal=None, position_id=None, symbol=None, by=None)
                counts[key], sums[key], last[key] = line.count, dict(line.amounts), line
                continue
            known = sums[key]
            for name, amount in line.amounts.items():
                known[name] += amount
            counts[key] += line.count
            last[key] = line
    return [
        evolve(line, amounts=sums[key], count=counts[key], last_version=last[key].last_version, last_msc=last[key].last_msc)
        for key, line in groups.items()
    ]


# ---------------------------------------------------------------------------------------------------------------- JSON


def explanation_json(found: Explanation, *, until: str | None = None, known_at: str | None = None) -> Json:
    """An explanation as the command prints it."""
    terms = found.terms
    return {
        "account": account_json(terms),
        "what": found.what,
        "position_id": found.position_id,
        "number": found.number,
        "until": until,
        "known_at": known_at,
        "open": found.is_open,
        "figures": amounts_json(found.figures, terms),
        "unknown": list(found.unknown),
        "summed": found.is_summed,
        "lines": [line_json(line, terms) for line in found.lines],
    }


def line_json(line: Line, terms: AccountTerms) -> Json:
    """One line; several events that are summed have a ``count`` of more than 1."""
    return {
        "kind": line.kind,
        "what": line.what,
        "count": line.count,
        "first_version": line.first_version,
        "last_version": line.last_version,
        "first_time": utc_text(terms.clock.to_utc_msc(line.first_msc)),
        "last_time": utc_text(terms.clock.to_utc_msc(line.last_msc)),
        "deal": line.deal,
        "position_id": line.position_id,
        "symbol": line.symbol,
        "amounts": amounts_json(line.amounts, terms),
        "reason": line.reason,
        "superseded_by": line.by,
    }


def amounts_json(amounts: Mapping[str, Decimal], terms: AccountTerms) -> dict[str, str]:
    """Figure -> amount as text: lots as they are, money with the decimals of the account's currency."""
    digits = terms.opened.currency_digits
    return {name: plain(one) if name == "volume" else plain(one, decimals=digits) for name, one in amounts.items()}
