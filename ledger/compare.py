"""Compare: one account at two moments, or two accounts; what differs, and which events did it.

Of one account, both selections are traced (``ledger.trace``) and their effects held against each other. What remains are the
events that are in one selection and not in the other, and those that count otherwise because of these. What they change adds up
to the differences of balance, credit and open volumes exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from attrs import evolve, field, frozen

from ledger.clock import ClockRule, moment_span_us, utc_text
from ledger.codec import decode, decode_posting
from ledger.errors import BadValue
from ledger.explain import Line, amounts_json, line_json, line_of
from ledger.journal import Selection
from ledger.json_views import Json, account_json, break_json, position_json, unexplained_json
from ledger.portfolio import Portfolio
from ledger.postings import NO_DEAL, Posting
from ledger.service import Account, Ledger
from ledger.terms import TERMS_KINDS, AccountTerms
from ledger.trace import Effect, Part, Trace, moved_by
from ledger.values import EXACT, AccountId, plain

MATCHES: Final = ("symbol", "position")
_SIDE: Final = re.compile(r"(?P<account>.+/[0-9]+)(?:@(?P<moment>.*))?", re.DOTALL)
_VERSION: Final = re.compile(r"v([0-9]{1,18})")
_NOTHING: Final = Decimal(0)


@frozen(kw_only=True)
class At:
    """An account at a moment: now, where nothing else is named."""

    account: AccountId
    until: str | None = None
    known_at: str | None = None
    version: int | None = None

    @classmethod
    def parse(cls, text: str, time: Callable[[str], str] = lambda text: text) -> At:
        """Read ``SERVER/LOGIN[@MOMENT]``: a moment is ``T``, ``known:T``, ``vN``, or some of them with commas between.

        Args:
            text: What is written.
            time: Reads a time; for commands, which take durations before now too.

        Raises:
            BadValue: It is not written so.
        """
        found = _SIDE.fullmatch(text)
        if found is None:
            raise BadValue(f"expected SERVER/LOGIN or SERVER/LOGIN@MOMENT, found {text!r}")
        named: dict[str, Any] = {}
        for part in (found["moment"] or "").split(",") if found["moment"] is not None else ():
            version = _VERSION.fullmatch(part)
            name = "version" if version else "known_at" if part.startswith("known:") else "until"
            if name in named or not part:
                raise BadValue(f"a moment is T, known:T, vN, or T,known:T, each once; found {text!r}")
            named[name] = int(version[1]) if version else time(part.removeprefix("known:"))
        for name in ("until", "known_at"):
            if name in named:
                moment_span_us(named[name])
        return cls(account=AccountId.parse(found["account"]), **named)


@frozen(kw_only=True)
class Seen:
    """One side of a comparison: the portfolio of an account at a moment."""

    at: At
    account: Account
    selection: Selection
    terms: AccountTerms
    portfolio: Portfolio

    @classmethod
    def of(cls, ledger: Ledger, at: At, last: int | None = None) -> Seen:
        """Look at an account. ``last`` is the version up to which it is looked at where none is named."""
        account = ledger.account(at.account)
        version = last if at.version is None else at.version
        selection, terms = account.selection(until=at.until, known_at=at.known_at, version=version)
        return cls(at=at, account=account, selection=selection, terms=terms, portfolio=account.fold(selection, terms))


@frozen(kw_only=True)
class Change:
    """One event and the figures that it changes on the way from A to B.

    ``where`` is ``a`` or ``b`` for an event of one selection only, ``both`` for one that counts otherwise in them.
    """

    line: Line
    where: str

    @property
    def changes(self) -> Mapping[str, Decimal]:
        """Figure (``balance``, ``credit``, ``position ID``) -> by how much; volumes with their sign."""
        return self.line.amounts


@frozen(kw_only=True)
class Difference:
    """A figure, position, unexplained volume or break that is not the same on both sides; ``events`` did it."""

    what: str
    a: Any
    b: Any
    events: tuple[Change, ...] = ()


@frozen(kw_only=True)
class Comparison:
    """What differs between two sides, and the events that are in one of them or count otherwise, in the fold order."""

    a: Seen
    b: Seen
    differences: tuple[Difference, ...] = field(default=())
    events: tuple[Change, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def compare(ledger: Ledger, a: At, b: At, *, match: str = "symbol", since: str | None = None) -> Comparison:
    """Compare one account at two moments, or two accounts.

    Args:
        ledger: The journal that holds them.
        a: The one side.
        b: The other side.
        match: Two accounts: ``symbol`` compares what is open of each symbol and side, ``position`` each position by its id.
        since: Two accounts: list the events of each from this moment on.

    Raises:
        AccountUnknown: An account is not in the journal.
        BadValue: A moment cannot be, or ``match`` is none of these.
    """
    if match not in MATCHES:
        raise BadValue(f"expected match as one of {', '.join(MATCHES)}, found {match!r}")
    is_one = a.account == b.account
    last = ledger.account(a.account).version if is_one else None
    left, right = Seen.of(ledger, a, last), Seen.of(ledger, b, last)
    clock = max((left, right), key=lambda one: one.selection.version).terms.clock if is_one else None
    if is_one:
        return _with_events(left, right, [*_figures(left, right, clock), *_positions(left, right, clock)])
    found = [*_figures(left, right, None), *(_positions(left, right, None) if match == "position" else _exposures(left, right))]
    return _with_own_events(left, right, found, None if since is None else moment_span_us(since)[0])


# ------------------------------------------------------------------------------------------------------------- figures


class _Found(NamedTuple):
    """A difference, and what its events are about."""

    what: str
    a: Any
    b: Any
    figures: frozenset[str]  # names of ``Change.changes``
    position_ids: frozenset[int] = frozenset()
    symbols: frozenset[str] = frozenset()
    versions: frozenset[int] = frozenset()  # of breaks


def _figures(a: Seen, b: Seen, clock: ClockRule | None) -> Iterator[_Found]:
    """Yield what differs of money, of what is not explained, and of breaks."""
    currencies = a.terms.opened.currency, b.terms.opened.currency
    if currencies[0] != currencies[1]:
        yield _Found("currency", *currencies, frozenset())
    for name in ("balance", "credit"):
        ours, theirs = getattr(a.portfolio, name), getattr(b.portfolio, name)
        if ours != theirs or (currencies[0] != currencies[1] and (ours or theirs)):
            yield _Found(name, _money(ours, a.terms), _money(theirs, b.terms), frozenset((name,)))
    yield from _sets(_unexplained(a, clock), _unexplained(b, clock))
    yield from _sets(_breaks(a, clock), _breaks(b, clock))


def _money(amount: Decimal, terms: AccountTerms) -> str:
    return plain(amount, decimals=terms.opened.currency_digits)


_Named = dict[str, tuple[Json, _Found]]


def _sets(a: _Named, b: _Named) -> Iterator[_Found]:
    """Yield what is in one only, or otherwise in the other."""
    for what in dict.fromkeys((*a, *b)):
        ours, theirs = a.get(what), b.get(what)
        if ours is not None and theirs is not None and ours[0] == theirs[0]:
            continue
        about = [one[1] for one in (ours, theirs) if one is not None]
        yield _Found(
            what,
            None if ours is None else ours[0],
            None if theirs is None else theirs[0],
            frozenset().union(*(one.figures for one in about)),
            frozenset().union(*(one.position_ids for one in about)),
            frozenset().union(*(one.symbols for one in about)),
            frozenset().union(*(one.versions for one in about)),
        )


def _unexplained(seen: Seen, clock: ClockRule | None) -> _Named:
    found: _Named = {}
    for one in seen.portfolio.unexplained:
        what = _unique(f"unexplained {one.position_id or one.symbol} {one.kind}", found)
        item = unexplained_json(one, clock or seen.terms.clock)
        ids = frozenset(() if one.position_id is None else (one.position_id,))
        found[what] = item, _Found(what, None, None, frozenset(), ids, frozenset((one.symbol,)))
    return found


def _breaks(seen: Seen, clock: ClockRule | None) -> _Named:
    found: _Named = {}
    for one in seen.portfolio.breaks:
        about = one.position_id or one.order or one.client_id or one.deal or one.field or ""
        what = _unique(f"break {one.kind.value} {about}".rstrip(), found)
        item = break_json(one, clock or seen.terms.clock)
        ids = frozenset(() if one.position_id is None else (one.position_id,))
        symbols = frozenset(() if one.symbol is None else (one.symbol,))
        versions = frozenset(() if one.version is None else (one.version,))
        found[what] = item, _Found(what, None, None, frozenset(), ids, symbols, versions)
    return found


def _unique(what: str, known: Mapping[str, Any]) -> str:
    number, name = 1, what
    while name in known:
        number += 1
        name = f"{what} ({number})"
    return name


def _positions(a: Seen, b: Seen, clock: ClockRule | None) -> Iterator[_Found]:
    """Yield positions that are open on one side only, and those whose fields differ: with these fields."""
    ours, theirs = a.portfolio.positions, b.portfolio.positions
    for position_id in sorted({*ours, *theirs}):
        left = position_json(ours[position_id], clock or a.terms.clock) if position_id in ours else None
        right = position_json(theirs[position_id], clock or b.terms.clock) if position_id in theirs else None
        if left == right:
            continue
        if left is not None and right is not None:
            names = [name for name in left if left[name] != right[name]]
            left, right = {name: left[name] for name in names}, {name: right[name] for name in names}
        symbols = frozenset(side[position_id].symbol for side in (ours, theirs) if position_id in side)
        what = f"position {position_id}"
        yield _Found(what, left, right, frozenset((what,)), frozenset((position_id,)), symbols)


def _exposures(a: Seen, b: Seen) -> Iterator[_Found]:
    """Yield symbols and sides of which two accounts hold different volumes, or at another price on average."""
    ours, theirs = _exposure(a.portfolio), _exposure(b.portfolio)
    for symbol, side in sorted({*ours, *theirs}):
        left, right = ours.get((symbol, side)), theirs.get((symbol, side))
        if left == right:
            continue
        if left is not None and right is not None:
            names = [name for name in left if left[name] != right[name]]
            left, right = {name: left[name] for name in names}, {name: right[name] for name in names}
        yield _Found(f"{symbol} {side}", left, right, frozenset(), frozenset(), frozenset((symbol,)))


def _exposure(portfolio: Portfolio) -> dict[tuple[str, str], Json]:
    """Return symbol and side -> volume, number of positions and average open price (rounded as the symbol's are shown)."""
    sums: dict[tuple[str, str], list[Any]] = {}
    with localcontext(EXACT):
        for one in portfolio.positions.values():
            known = sums.setdefault((one.symbol, one.side.value), [_NOTHING, 0, _NOTHING])
            known[0] += one.volume
            known[1] += 1
            known[2] += one.volume * one.price_open
        return {
            key: {
                "volume": plain(volume),
                "positions": count,
                "price_open": plain(round(cost / volume, portfolio.terms.shown_digits(key[0]))),
            }
            for key, (volume, count, cost) in sums.items()
        }


# -------------------------------------------------------------------------------------------------------------- events


class _Entry(NamedTuple):
    """What one record did in one selection."""

    line: Line
    touched: frozenset[int]  # positions
    breaks: frozenset[int]  # versions of breaks that it is about


def _with_events(a: Seen, b: Seen, found: Sequence[_Found]) -> Comparison:
    """Name the events that made the differences of one account."""
    if a.selection == b.selection and a.terms == b.terms:
        return Comparison(a=a, b=b)
    ids = frozenset().union(*(one.position_ids for one in found))
    changes = list(_changed(_entries(a, ids), _entries(b, ids)))
    changes += _of_terms(a, b)
    differences = tuple(
        Difference(what=one.what, a=one.a, b=one.b, events=tuple(_of_difference(one, changes))) for one in found
    )
    return Comparison(a=a, b=b, differences=differences, events=tuple(change for change, _ in changes))


_Tagged = tuple[Change, _Entry]


def _entries(seen: Seen, ids: frozenset[int]) -> Iterator[_Entry]:
    trace = Trace(seen.account, seen.selection, seen.terms, position_ids=ids)
    for effect in trace:
        yield from _records(effect, seen.terms, ids)


def _records(effect: Effect, terms: AccountTerms, ids: frozenset[int]) -> Iterator[_Entry]:
    """Yield what each record of a posting did. What it did to positions is its first record's that counts."""
    posting, volumes = effect.posting, _volumes(effect, ids)
    touched = frozenset(volumes) | (frozenset((posting.position_id,)) if posting.position_id in ids else frozenset())
    about, breaks = _about(posting) if posting.deal == NO_DEAL else (None, frozenset())
    touched |= frozenset((about,)) if about is not None else frozenset()
    is_first = True
    for part in effect.parts:
        amounts: dict[str, Decimal] = {}
        if part.by is None:
            amounts = _moved(effect, part, terms)
            if is_first:
                amounts |= {f"position {key}": volume for key, volume in volumes.items() if volume}
            is_first = False
        yield _Entry(line_of(part, posting, terms, amounts), touched, breaks)


def _moved(effect: Effect, part: Part, terms: AccountTerms) -> dict[str, Decimal]:
    is_deal = effect.posting.deal != NO_DEAL
    balance, credit = moved_by(part, effect.posting) if is_deal else (effect.balance, effect.credit)
    moved = {"balance": terms.money(balance), "credit": terms.money(credit)}
    return {name: amount for name, amount in moved.items() if amount}


def _volumes(effect: Effect, ids: frozenset[int]) -> dict[int, Decimal]:
    found: dict[int, Decimal] = {}
    for trip, by in effect.trips:
        key = trip.position.position_id
        if key is not None and key in ids:
            found[key] = EXACT.add(found.get(key, _NOTHING), by[0])
    return found


def _about(posting: Posting) -> tuple[int | None, frozenset[int]]:
    """Return the position that an event names that is no deal, and the versions of the break that it opens or closes."""
    event: Any = decode_posting(posting)
    breaks = {posting.version} if posting.kind == "BreakOpened" else set()
    if posting.kind in ("BreakOpened", "BreakClosed") and event.caused_by is not None:
        breaks.add(event.caused_by)
    return getattr(event, "position_id", None), frozenset(breaks)


def _changed(a: Iterable[_Entry], b: Iterable[_Entry]) -> Iterator[_Tagged]:
    """Yield the records that are on one side only or do something else there, in the fold order.

    Both sides are read in step, and a record that does the same on both is let go at once: so memory grows with what differs.
    """
    waiting: dict[str, dict[int, tuple[int, _Entry]]] = {"a": {}, "b": {}}
    for number, pair in enumerate(zip_longest(a, b)):
        for where, other, entry in (("a", "b", pair[0]), ("b", "a", pair[1])):
            if entry is None:
                continue
            version = entry.line.first_version
            known = waiting[other].get(version)
            if known is not None and _does(known[1]) == _does(entry):
                del waiting[other][version]
            else:
                waiting[where][version] = number, entry
    places: dict[int, int] = {}
    for side in ("b", "a"):
        for version, (number, _) in waiting[side].items():
            places.setdefault(version, number)
    for version in sorted(places, key=lambda one: (places[one], one)):
        yield _tagged(waiting["a"].get(version), waiting["b"].get(version))


def _does(entry: _Entry) -> tuple[Any, ...]:
    return dict(entry.line.amounts), entry.touched, entry.line.by, entry.line.kind


def _tagged(a: tuple[int, _Entry] | None, b: tuple[int, _Entry] | None) -> _Tagged:
    ours, theirs = (None if one is None else one[1] for one in (a, b))
    before = {} if ours is None else ours.line.amounts
    after = {} if theirs is None else theirs.line.amounts
    amounts = {
        name: by
        for name in dict.fromkeys((*before, *after))
        if (by := EXACT.subtract(after.get(name, _NOTHING), before.get(name, _NOTHING)))
    }
    shown = theirs or ours
    assert shown is not None
    where = "both" if ours is not None and theirs is not None else "a" if theirs is None else "b"
    touched = frozenset().union(*(one.touched for one in (ours, theirs) if one is not None))
    change = Change(line=evolve(shown.line, amounts=amounts), where=where)
    return change, _Entry(change.line, touched, shown.breaks)


def _of_terms(a: Seen, b: Seen) -> Iterator[_Tagged]:
    """Yield the events that changed how all others are read, where only one side knows them."""
    first, last = sorted((a.selection.version, b.selection.version))
    if first == last or a.terms == b.terms:
        return
    where = "a" if a.selection.version == last else "b"
    for row in a.account.ledger.journal.rows(a.account.name, after=first, upto=last):
        if row.kind not in TERMS_KINDS:
            continue
        event: Any = decode(row, a.terms)
        if row.kind == "Adjusted" and event.clock_after is None and event.order_after is None:
            continue
        words = getattr(event, "reason", None) or getattr(event, "symbol", None) or ""
        line = Line(
            kind=row.kind, what=str(words), first_version=row.version, last_version=row.version, first_msc=row.time_msc,
            last_msc=row.time_msc, amounts={},
        )  # fmt: skip
        yield Change(line=line, where=where), _Entry(line, frozenset(), frozenset())


def _of_difference(one: _Found, changes: Sequence[_Tagged]) -> list[Change]:
    """Return the events that made a difference: what is about the same; else what else differs, for a rule moved it."""
    about = [change for change, entry in changes if _is_of(one, change, entry)]
    if about:
        return about
    in_symbol = [change for change, _ in changes if change.line.symbol is not None and change.line.symbol in one.symbols]
    if in_symbol:
        return in_symbol
    if one.what.startswith("break"):  # the fold opens it where a balance that the broker states is not ours
        money = [change for change, _ in changes if change.line.kind == "BalanceAsserted" or "balance" in change.changes]
        if money:
            return money
    return [change for change, _ in changes]


def _is_of(one: _Found, change: Change, entry: _Entry) -> bool:
    if one.versions:
        return bool(one.versions & entry.breaks)
    is_break = change.line.kind in ("BreakOpened", "BreakClosed")
    is_about = bool(one.figures & change.changes.keys() or one.position_ids & entry.touched)
    return is_about and (one.what.startswith("break") or not is_break)


# -------------------------------------------------------------------------------------------------------- two accounts


def _with_own_events(a: Seen, b: Seen, found: Sequence[_Found], since_us: int | None) -> Comparison:
    """Name the events of each of two accounts from a moment on."""
    changes: list[_Tagged] = []
    if since_us is not None:
        ids = frozenset().union(*(one.position_ids for one in found))
        changes = [
            (Change(line=entry.line, where=where), entry)
            for where, seen in (("a", a), ("b", b))
            for entry in _entries(seen, ids)
            if seen.terms.clock.to_utc_msc(entry.line.first_msc) * 1000 >= since_us
        ]
    differences = tuple(Difference(what=one.what, a=one.a, b=one.b, events=tuple(_of_accounts(one, changes))) for one in found)
    return Comparison(a=a, b=b, differences=differences, events=tuple(change for change, _ in changes))


def _of_accounts(one: _Found, changes: Sequence[_Tagged]) -> Iterator[Change]:
    for change, entry in changes:
        in_symbol = not one.position_ids and not one.figures and change.line.symbol in one.symbols
        if in_symbol or _is_of(one, change, entry):
            yield change


# ---------------------------------------------------------------------------------------------------------------- JSON


def comparison_json(found: Comparison) -> Json:
    """A comparison as the command prints it."""
    return {
        "a": _seen_json(found.a),
        "b": _seen_json(found.b),
        "equal": found.is_equal,
        "differences": [
            {
                "what": one.what,
                "a": one.a,
                "b": one.b,
                "events": [change_json(change, _side_of(found, change).terms) for change in one.events],
            }
            for one in found.differences
        ],
        "events": [change_json(change, _side_of(found, change).terms) for change in found.events],
    }


def _side_of(found: Comparison, change: Change) -> Seen:
    return found.a if change.where == "a" else found.b


def _seen_json(seen: Seen) -> Json:
    return {
        "account": account_json(seen.terms),
        "until": seen.at.until,
        "known_at": seen.at.known_at,
        "version": seen.selection.version,
        "balance": _money(seen.portfolio.balance, seen.terms),
        "credit": _money(seen.portfolio.credit, seen.terms),
        "positions": seen.portfolio.positions_count,
    }


def change_json(change: Change, terms: AccountTerms) -> Json:
    """One event with the figures that it changes, from A to B."""
    line = change.line
    item = line_json(line, terms)
    return {
        "in": change.where,
        "version": line.first_version,
        "kind": line.kind,
        "what": line.what,
        "event_time": utc_text(terms.clock.to_utc_msc(line.first_msc)),
        "deal": line.deal,
        "position_id": line.position_id,
        "symbol": line.symbol,
        "changes": amounts_json({name: one for name, one in line.amounts.items() if not name.startswith("position")}, terms)
        | {name: plain(one) for name, one in line.amounts.items() if name.startswith("position")},
        "superseded_by": item["superseded_by"],
    }
