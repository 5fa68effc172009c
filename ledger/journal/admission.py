"""Admission: which of the events given become rows, decided under the account's lock.

A fact that is recorded again with the same content is success and no new event. A later record that knows more is stored
as what it adds. One with other content is a conflict. The same rules for every journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from ledger.clock import DAY_MSC, SECOND_MSC, TIME_MIN_MSC, utc_text
from ledger.codec import (
    LatestAsserted,
    Stored,
    arrival_of,
    check_known,
    content_of,
    deal_columns,
    decode,
    encode,
    names_of,
    natural_key,
    nth_key,
    placed,
    placement_of,
    plain_fields,
)
from ledger.errors import (
    AccountMismatch,
    AccountUnknown,
    CorruptEvent,
    DealConflict,
    OrderConflict,
    RuleError,
    VersionConflict,
    VersionGap,
)
from ledger.events import (
    AccountOpened,
    Adjusted,
    BreakKind,
    BreakNoted,
    BreakOpened,
    CashMoved,
    CorrectionDecided,
    CorrectionProposed,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    FillRecorded,
    GhostClosed,
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    Origin,
    PolicySet,
    PositionRecovered,
    PositionReticketed,
    StopsSeen,
    StorePinned,
    SymbolSpecified,
    TradingHalted,
    TradingResumed,
    storable,
)
from ledger.fold_order import asserted_by, asserted_place
from ledger.journal import Appended, AppendOptions, Head, Outcome
from ledger.journal.chain import CHAIN_AT, UNDERIVED, checks, covered, digest, genesis, link
from ledger.journal.plausible import refuse_currency, refuse_times
from ledger.postings import ASSERTED, COMPLETABLE, IN_ORDER, MONEY, NO_DEAL, OUT_OF_ORDER, FoldKey, merge_records, second_of
from ledger.terms import TERMS_KINDS, AccountTerms, terms_after
from ledger.values import TRADES, AccountId, entry_word, plain, unscaled

#: What was seen in a snapshot, and what people decide. Where a clock does not move, two equal answers make equal events: one
#: that was decided with an expected version is recorded as another sight, not taken for a duplicate.
_SIGHTS: Final = (
    BreakOpened, PositionRecovered, GhostClosed, DriftCorrected, PositionReticketed,
    CorrectionProposed, CorrectionDecided, PolicySet, BreakNoted,
)  # fmt: skip
#: What is so until it is recorded otherwise. Recorded again it is compared with the newest of the same: it may change back.
_LASTING: Final = (OrderSeen, StopsSeen, LimitsSet)
_LASTING_KINDS: Final = frozenset(kind.__name__ for kind in _LASTING)
#: What has a name of its own: recorded again with other content it is a conflict.
_NAMED: Final = (OrderIntended, OrderDenied, OrderAnswered, OrderResolved, TradingHalted, TradingResumed, StorePinned)
#: What two records of the same may differ in: when it was recorded and checked, and in which answer it was found.
_INCIDENTAL: Final = frozenset(
    {"checked_version", "limits", "valid_until_utc_msc", "store", "evidence", "rule", "limit", "value", "why"}
)

#: natural keys -> the rows stored under them, those that there are.
Lookup = Callable[[Sequence[str]], Mapping[str, Stored]]
#: Whether any stored event is about a symbol, its specifications apart.
SymbolUsed = Callable[[str], bool]

_SOON_MSC: Final = 8 * 60 * 60 * 1000  # no clock rule is more than 16 hours from UTC, so this is no day ahead by any
_AHEAD_MSC: Final = 60_000  # a deal this far ahead of our clock is taken for a wrong clock rule
_COMPARED: Final = ("deal_type", "symbol", "entry", "volume", "price", *MONEY, "position_id")


def start(account: AccountId) -> Head:
    """Return the head of an account without events."""
    return Head(version=0, hash=genesis(account), recorded_us=0, last_msc=-1, last_deal=0)


class Admission:
    """One append under way. Use once: ``admit`` every event, then take ``appended``."""

    def __init__(
        self,
        account: AccountId,
        *,
        head: Head,
        terms: AccountTerms | None,
        known: Mapping[str, Stored],
        lookup: Lookup,
        symbol_used: SymbolUsed,
        latest_asserted: LatestAsserted,
        now_us: int,
    ) -> None:
        self._account = account
        self._version, self._hash, self._recorded_us, last_msc, last_deal = head
        self._place = (last_msc, last_deal)  # of the latest event that arrived in order
        self._terms = terms
        self._lookup = lookup
        self._symbol_used = symbol_used
        self._latest_stored = latest_asserted
        self._asserted: dict[int | None, tuple[int, int]] = {}  # by this append
        self._now_us = now_us
        self._yesterday_msc = now_us // 1000 - DAY_MSC  # no clock rule is a day away from UTC
        self._soon_msc = now_us // 1000 + _SOON_MSC
        self._correlation: str | None = None
        self._known = {key: [row] for key, row in known.items()}
        self._skipped: dict[str, int] = {}  # key -> how many records are before those known
        self._is_decided = False  # whether the events were decided with an expected version
        self._rows: list[Stored] = []

    def appended(self, events: Sequence[Event], keys: Sequence[str], how: AppendOptions) -> Appended:
        """Admit events in order and return what is to be written.

        Args:
            events: What is to be recorded.
            keys: Its natural keys.
            how: With what.

        Raises:
            BadValue, VersionConflict, DealConflict, AccountUnknown, AccountMismatch, RuleError: see ``Journal.append``.
        """
        correlation, expected_version = how.get("correlation"), how.get("expected_version")
        if correlation is not None:
            self._correlation = storable(correlation)
        if expected_version is not None and expected_version != self._version:
            raise VersionConflict(str(self._account), expected=expected_version, found=self._version)
        if self._known:
            self._fetch_newest([key for key, rows in self._known.items() if rows[0].kind in _LASTING_KINDS])
            self._fetch_later([key for key in self._known if key not in self._skipped])
        self._is_decided = expected_version is not None
        outcomes: list[Outcome | DealConflict] = []
        for key, event in zip(keys, events, strict=True):
            try:
                outcomes.append(self._admit(key, event))
            except DealConflict as conflict:
                if how.get("conflicts", "refuse") == "refuse":
                    raise
                outcomes.append(conflict)
        head = Head(self._version, self._hash, self._recorded_us, *self._place)
        return Appended(head=head, terms=self._terms, rows=tuple(self._rows), outcomes=tuple(outcomes))

    def _fetch_later(self, keys: list[str]) -> None:
        """Find every later record of what is known under natural keys."""
        record_number = 2
        while keys:
            stored = self._lookup([nth_key(key, record_number) for key in keys])
            keys = [key for key in keys if nth_key(key, record_number) in stored]
            for key in keys:
                self._known[key].append(stored[nth_key(key, record_number)])
            record_number += 1

    def _fetch_newest(self, keys: list[str]) -> None:
        """Find the newest record of what has many: with so many looks as its number has binary digits, twice."""
        known = dict.fromkeys(keys, 1)  # key -> the last number that there is, as far as was looked
        missing: dict[str, int] = {}  # key -> the first that there is not
        while keys:
            asked = {key: (known[key] + missing[key]) // 2 if key in missing else 2 * known[key] for key in keys}
            stored = self._lookup([nth_key(key, number) for key, number in asked.items()])
            for key, number in asked.items():
                row = stored.get(nth_key(key, number))
                if row is None:
                    missing[key] = number
                else:
                    known[key], self._known[key] = number, [row]
            keys = [key for key in keys if missing.get(key, 0) != known[key] + 1]
        self._skipped = {key: number - 1 for key, number in known.items()}

    def _admit(self, key: str, event: Event) -> Outcome:
        records = self._known.get(key)
        if isinstance(event, (FillRecorded, CashMoved)):
            if records:
                return self._admit_repeat(key, event, records)
            if not TIME_MIN_MSC <= event.time_msc <= self._soon_msc:
                self._refuse_implausible(event)
            self._append_deal(key, event)
            if event.time_msc > self._yesterday_msc:
                self._suspect_clock(event)
            return Outcome.APPENDED
        if isinstance(event, AccountOpened):
            return self._open(key, event)
        terms = self._opened()
        if isinstance(event, SymbolSpecified):
            self._refuse_implausible(event)
            return self._specify(key, event, records or [])
        if isinstance(event, (DealCompleted, DealRevised)):
            if not records:
                raise RuleError(
                    f"deal {event.deal} is not known in {self._account}, so it cannot be completed or revised: record it"
                )
            self._refuse_implausible(event, first_msc=records[0].time_msc)
            if isinstance(event, DealRevised):
                return self._revise(key, event, records)
            return self._complete(key, encode(event, terms), records)
        if isinstance(event, _LASTING):
            if records and content_of(decode(records[-1], None)) == content_of(event):
                return Outcome.DUPLICATE
        elif records and not (self._is_decided and isinstance(event, _SIGHTS)):
            if isinstance(event, _NAMED):
                _refuse_other(key, records[0], event)
            return Outcome.DUPLICATE
        self._refuse_implausible(event)
        self._append(key, encode(event, terms), self._skipped.get(key, 0) + len(records or ()) + 1)
        if isinstance(event, Adjusted):
            self._terms = terms_after(terms, [event])
        return Outcome.APPENDED

    def _opened(self) -> AccountTerms:
        if self._terms is None:
            raise AccountUnknown(
                f"account {self._account} is not open in this journal: open it first "
                "(ledger account open SERVER/LOGIN --currency C --mode M), or import an export that names it"
            )
        return self._terms

    @property
    def _now_msc(self) -> int:
        """The present in UTC milliseconds: never before what was recorded last."""
        return max(self._now_us, self._recorded_us) // 1000

    def _refuse_implausible(self, event: Event, first_msc: int | None = None) -> None:
        """Refuse an event whose broker times cannot be. See ``plausible.refuse_times``."""
        clock = self._opened().clock
        refuse_times(event, clock, self._now_msc, known_msc=self._place[0], first_msc=first_msc)

    # ---- terms facts

    def _open(self, key: str, event: AccountOpened) -> Outcome:
        if AccountId(event.server, event.login) != self._account:
            raise AccountMismatch(f"an AccountOpened of {event.server}/{event.login} was given to {self._account}")
        if self._terms is None:
            refuse_currency(event)
            refuse_times(event, event.clock, self._now_msc, known_msc=-1)
            self._terms = AccountTerms.of(event)
            self._append(key, encode(event, self._terms))
            return Outcome.APPENDED
        # The order of deals is no term that a second opening contradicts: it is changed by an event of its own.
        known = attrs.evolve(self._terms.opened, clock=self._terms.clock, time_msc=event.time_msc, order=event.order)
        if known == event:
            return Outcome.DUPLICATE
        different = {
            name: f"{_shown(getattr(known, name))}, found {_shown(getattr(event, name))}"
            for name in ("currency", "mode", "clock", "currency_digits", "money_scale")
            if getattr(known, name) != getattr(event, name)
        }
        given = "; ".join(f"{name} is {both}" for name, both in different.items())
        raise AccountMismatch(
            f"account {self._account} is open with other terms: {given}. "
            "Mode and currency of an account never change; its clock is changed by: ledger account clock"
        )

    def _specify(self, key: str, event: SymbolSpecified, records: list[Stored]) -> Outcome:
        terms = self._opened()
        known = terms.symbols.get(event.symbol)
        if known is not None and attrs.evolve(event, time_msc=known.time_msc) == known:
            return Outcome.DUPLICATE
        if (event.price_scale, event.volume_scale) != terms.scales(event.symbol) and (
            any(uses_symbol(row, event.symbol) for row in self._rows) or self._symbol_used(event.symbol)
        ):
            raise RuleError(
                f"symbol {event.symbol} of {self._account} was recorded with price and volume scales "
                f"{terms.scales(event.symbol)}, found {(event.price_scale, event.volume_scale)}: "
                "scales cannot change once they are used"
            )
        self._append(key, encode(event, terms), len(records) + 1)
        self._terms = terms_after(terms, [event])
        return Outcome.APPENDED

    # ---- deals recorded again

    def _admit_repeat(self, key: str, event: FillRecorded | CashMoved, records: list[Stored]) -> Outcome:
        given = encode(event, self._opened())
        known = Stored(*merge_records(records))
        differences = self._differences(known, given)
        if differences:
            raise DealConflict(event.deal, differences)
        return self._complete(key, given, records)

    def _complete(self, key: str, given: Stored, records: list[Stored]) -> Outcome:
        """Record what a record knows that those before it did not."""
        known = Stored(*merge_records(records))
        differences = self._differences(known, given, [name for name in COMPLETABLE if name in _COMPARED])
        if differences:
            raise DealConflict(known.deal or 0, differences)
        news = {name: getattr(given, name) for name in COMPLETABLE if getattr(known, name) is None}
        news = {name: value for name, value in news.items() if value is not None}
        if not news:
            return Outcome.DUPLICATE
        terms = self._opened()
        scale = terms.opened.money_scale
        learned: dict[str, Any] = {name: unscaled(value, scale) if name in MONEY else value for name, value in news.items()}
        event = DealCompleted(
            deal=known.deal or 0,
            time_msc=known.time_msc,
            caused_by=records[-1].version,
            origin=given.origin or Origin.ENGINE,
            **learned,
        )
        self._append(key, encode(event, terms), len(records) + 1)
        return Outcome.COMPLETED

    def _revise(self, key: str, event: DealRevised, records: list[Stored]) -> Outcome:
        terms = self._opened()
        given = encode(event, terms)
        known = Stored(*merge_records(records))
        if not self._differences(known, given) and known.time_msc == given.time_msc:
            return self._complete(key, given, records)  # nothing else, but perhaps more
        event = attrs.evolve(event, caused_by=records[-1].version)
        self._append(key, encode(event, terms), len(records) + 1)
        return Outcome.APPENDED

    def _differences(self, known: Stored, given: Stored, names: Sequence[str] = _COMPARED) -> dict[str, tuple[str, str]]:
        """Return field -> (known, given) where both know and differ. Sources may report the time to the second only."""
        found: dict[str, tuple[str, str]] = {}
        for name in names:
            left, right = getattr(known, name), getattr(given, name)
            if left != right and left is not None and right is not None:
                found[name] = (self._column_text(known, name), self._column_text(given, name))
        if names is _COMPARED and known.time_msc // SECOND_MSC != given.time_msc // SECOND_MSC:
            found["time_msc"] = (str(known.time_msc), str(given.time_msc))
        if names is _COMPARED and (known.deal_type in TRADES) != (given.deal_type in TRADES):
            found["deal_type"] = (str(known.deal_type), str(given.deal_type))  # a type may be given as a word only
        return found

    def _column_text(self, row: Stored, name: str) -> str:
        terms = self._opened()
        value = getattr(row, name)
        price_scale, volume_scale = terms.scales(row.symbol or "")
        scale = {"volume": volume_scale, "price": price_scale} | dict.fromkeys(MONEY, terms.opened.money_scale)
        if name in scale:
            return plain(unscaled(value, scale[name]))
        return entry_word(value) if name == "entry" else str(value)

    def _suspect_clock(self, deal: FillRecorded | CashMoved) -> None:
        """Open a break for a deal that seems to come from the future: then the clock rule is probably wrong."""
        now_msc = self._recorded_us // 1000
        clock = self._opened().clock
        event_msc = clock.to_utc_msc(deal.time_msc)
        if event_msc <= now_msc + _AHEAD_MSC:
            return
        event = BreakOpened(
            kind=BreakKind.CLOCK,
            time_msc=deal.time_msc,
            deal=deal.deal,
            field="clock",
            ours=clock.name,
            theirs=utc_text(event_msc),
            why=f"deal {deal.deal} is ahead of our own clock ({utc_text(now_msc)}): the clock rule is probably wrong",
            caused_by=self._version,
        )
        key = natural_key(event)
        if key not in self._known and not self._lookup([key]):
            self._append(key, encode(event, self._opened()))

    # ---- the row

    def _append(self, key: str, row: Stored, record_number: int = 1) -> None:
        """Append what was given, with what being recorded adds to it."""
        placement, order_msc, order_deal = placed(row, self._place, self._latest_asserted)
        row = row._replace(
            version=self._version + 1,
            placement=placement,
            recorded_us=self._next_us(),
            natural_key=nth_key(key, record_number),
            correlation=self._correlation,
        )
        self._link(key, row[:CHAIN_AT], (order_msc, order_deal, row.client_id, row.token))

    def _append_deal(self, key: str, deal: FillRecorded | CashMoved) -> None:
        """Append the first record of a deal: as ``_append``, in one go."""
        at = deal.time_msc, deal.deal
        placement = arrival_of(at, self._place)
        version, recorded_us = self._version + 1, self._next_us()
        columns = deal_columns(deal, self._terms or self._opened(), version, placement, recorded_us, key, self._correlation)
        row = link(columns, self._hash, (second_of(at[0]), at[1], None, None) if placement == OUT_OF_ORDER else UNDERIVED)
        self._version, self._hash, self._recorded_us = version, row.hash, recorded_us
        if placement == IN_ORDER:
            self._place = at
        self._rows.append(row)
        self._known[key] = [row]

    def _next_us(self) -> int:
        return max(self._now_us, self._recorded_us + 1)

    def _latest_asserted(self, position_id: int | None) -> tuple[int, int] | None:
        return self._asserted.get(position_id) or self._latest_stored(position_id)

    def _link(self, key: str, columns: tuple[Any, ...], derived: tuple[Any, ...]) -> None:
        """Put a row behind the last: nothing of this append changes before all of the row is known to fit."""
        row = link(columns, self._hash, derived)
        self._version, self._hash, self._recorded_us = row.version, row.hash, row.recorded_us
        if row.placement == IN_ORDER:
            self._place = (row.time_msc, NO_DEAL if row.deal is None else row.deal)
        elif row.placement == ASSERTED and row.order_msc is not None and row.order_deal is not None:
            self._asserted[row.position_id] = row.order_msc, row.order_deal
        self._rows.append(row)
        records = self._known.get(key)
        if records is None:
            self._known[key] = [row]
        else:
            records.append(row)


def _refuse_other(key: str, known: Stored, event: Event) -> None:
    """Refuse what is known by a name and was recorded with other content.

    Raises:
        OrderConflict: It was.
    """
    ours, theirs = plain_fields(decode(known, None)), plain_fields(event)
    incidental = _INCIDENTAL - {"store"} if isinstance(event, StorePinned) else _INCIDENTAL
    differences = {
        name: (_shown(ours.get(name)), _shown(theirs.get(name)))
        for name in sorted((ours.keys() | theirs.keys()) - incidental)
        if ours.get(name) != theirs.get(name)
    }
    if known.kind != type(event).__name__:
        differences["event"] = known.kind, type(event).__name__
    if differences:
        raise OrderConflict(key, differences)


def simulated_rows(events: Sequence[Event], terms: AccountTerms, version: int, latest_asserted: LatestAsserted) -> list[Stored]:
    """Return events as rows with their places, as if they were recorded behind a version; none of them is about a deal."""
    latest: dict[int | None, tuple[int, int]] = {}
    rows = []
    for number, event in enumerate(events, version + 1):
        row = encode(event, terms)
        placement, order_msc, order_deal = placed(row, (-1, 0), lambda one: latest.get(one) or latest_asserted(one))
        if placement == ASSERTED and order_msc is not None and order_deal is not None:
            latest[row.position_id] = order_msc, order_deal
        rows.append(row._replace(version=number, placement=placement, order_msc=order_msc, order_deal=order_deal))
    return rows


def simulated_places(events: Sequence[Event], version: int) -> list[FoldKey] | None:
    """Return the places of events as if they were recorded behind a version, and behind every earlier assertion.

    None where one of them has no place of its own: it is about a deal, outside the fold, or changes the account terms.
    """
    latest: dict[int | None, tuple[int, int]] = {}
    places: list[FoldKey] = []
    for number, event in enumerate(events, version + 1):
        kind = type(event).__name__
        own = asserted_by(event)
        if kind in TERMS_KINDS or (own is None and placement_of(kind, (event.time_msc, NO_DEAL), (-1, 0)) != IN_ORDER):
            return None
        if own is None:
            places.append((second_of(event.time_msc), NO_DEAL, number))
        else:
            place = latest[own.position_id] = asserted_place(own, latest.get(own.position_id))
            places.append((*place, number))
    return places


# ------------------------------------------------------------------------------------------- taken over from a journal


def admit_verbatim(account: AccountId, head: Head, rows: Sequence[Stored], latest_asserted: LatestAsserted) -> Appended:
    """Return what to append so that events of another journal are here as they were recorded there.

    Args:
        account: Whose.
        head: The account's head here.
        rows: The events behind it, ascending; what is not under the chain of them is made anew.
        latest_asserted: What was asserted before them.

    Raises:
        VersionGap: They do not continue at the account's head.
        CorruptEvent: They are not what was recorded: the chain does not hold.
        UnknownEvent: They were recorded by a newer program.
    """
    taken = []
    latest: dict[int | None, tuple[int, int]] = {}
    for row in rows:
        if row.version != head.version + 1:
            raise VersionGap(f"account {account}: expected version {head.version + 1}, found {row.version}")
        check_known(row)
        place = (row.time_msc, NO_DEAL if row.deal is None else row.deal)
        before = head.last_msc, head.last_deal
        placement, order_msc, order_deal = placed(row, before, lambda one: latest.get(one) or latest_asserted(one))
        if placement == ASSERTED and order_msc is not None and order_deal is not None:
            latest[row.position_id] = order_msc, order_deal
        columns = covered(row)
        found = digest(columns, head.hash)
        if found != row.hash or row.recorded_us <= head.recorded_us:
            raise CorruptEvent(
                f"account {account}: version {row.version} is not what was recorded: "
                f"expected chain hash {row.hash.hex()[:16]}, found {found.hex()[:16]}"
            )
        client_id, token = names_of(row)
        row = row._replace(  # noqa: PLW2901
            placement=placement, order_msc=order_msc, order_deal=order_deal, client_id=client_id, token=token
        )
        taken.append(row._replace(prev_hash=head.hash, checks=checks(columns)))
        last_msc, last_deal = place if placement == IN_ORDER else (head.last_msc, head.last_deal)
        head = Head(version=row.version, hash=row.hash, recorded_us=row.recorded_us, last_msc=last_msc, last_deal=last_deal)
    return Appended(head=head, rows=tuple(taken), outcomes=(Outcome.APPENDED,) * len(taken))


def uses_symbol(row: Stored, symbol: str) -> bool:
    """Return whether a row is about a symbol, and more than a specification of it."""
    return row.symbol == symbol and row.kind != "SymbolSpecified"


def _shown(value: Any) -> str:
    return str(getattr(value, "value", value))
