"""A journal in memory: the same rules without durability. For tests, dry runs and trying things out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Condition, RLock
from typing import Unpack
from uuid import uuid4

from ledger.clock import ClockRule
from ledger.codec import APPROVAL_KEYS, Stored, first_place, is_for_orders, natural_key, posting, stored_place, terms_of
from ledger.events import ORDER_KINDS, Event
from ledger.fold_order import FirstRecord
from ledger.journal import Appended, AppendOptions, Difference, Head, Journal, Parent, Selection
from ledger.journal.admission import Admission, admit_verbatim, start, uses_symbol
from ledger.journal.checkpoints import Checkpoint, Mark, order_of, select
from ledger.journal.derived import FOLLOWER
from ledger.journal.equity import By, align_days, count
from ledger.journal.evidence import StoredEvidence, compress, decompress, referenced
from ledger.journal.health import SyncHealth, merged
from ledger.journal.location import FormerJournal, Location
from ledger.journal.memory_derived import MemoryDerived
from ledger.journal.notices import RESOLVED, SentNotice
from ledger.journal.tally import BREAK_KINDS, Tally, tally_of
from ledger.journal.upkeep import Upkeep
from ledger.journal.upkeep import merged as with_upkeep
from ledger.journal.watch import AppendListener, MemoryListener
from ledger.marks import Bucket, MarkColumns, bucket_columns, from_columns, minute_of, to_columns
from ledger.marks import Mark as AccountMark
from ledger.postings import ASSERTED, IN_ORDER, OUT_OF_ORDER, OUTSIDE_FOLD, FoldKey, Postings, Row, place_of
from ledger.segments.store import Segments
from ledger.terms import TERMS_KINDS, AccountTerms
from ledger.values import AccountId


class MemoryJournal:
    """Streams in lists.

    Args:
        now_us: Returns the present in UTC microseconds.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._lock = RLock()
        self._appended = Condition(self._lock)
        self._rows: dict[AccountId, list[Stored]] = {}
        self._heads: dict[AccountId, Head] = {}
        self._keys: dict[AccountId, dict[str, Stored]] = {}
        self._evidence: dict[AccountId, dict[str, StoredEvidence]] = {}
        self._checkpoints: dict[AccountId, dict[tuple[FoldKey, str], Checkpoint]] = {}
        self._identity = str(uuid4())
        self._seals: dict[str, None] = {}
        self._health: dict[AccountId, SyncHealth] = {}
        self._marks: dict[AccountId, dict[int, MarkColumns]] = {}
        self.derived = MemoryDerived(self._lock, self._drop_derived_checkpoints)
        self.segments = Segments(None, lambda *_: (), self.hash_at)
        self._equity: dict[AccountId, dict[tuple[By, int], Bucket]] = {}
        self._notices: dict[tuple[str, str, int], SentNotice] = {}
        self._upkeep: dict[str, Upkeep] = {}

    @classmethod
    def copy_of(cls, journal: Journal, accounts: Sequence[AccountId], now_us: Callable[[], int]) -> MemoryJournal:
        """Return a copy of some accounts of another journal, to try on what must not change there.

        Without their evidence: nothing that is tried reads it, and it may be large.
        """
        copy = cls(now_us)
        for account in accounts:
            head = journal.head(account)
            if head is not None:
                copy._heads[account] = head
                copy._rows[account] = list(journal.rows(account, upto=head.version))
                copy._keys[account] = {row.natural_key: row for row in copy._rows[account]}
        return copy

    def accounts(self) -> list[AccountId]:
        with self._lock:
            return sorted(self._rows)

    def head(self, account: AccountId) -> Head | None:
        with self._lock:
            return self._heads.get(account)

    def heads(self) -> dict[AccountId, Head]:
        with self._lock:
            return dict(sorted(self._heads.items()))

    def listen(self) -> AppendListener:
        return MemoryListener(self._appended)

    def append(self, account: AccountId, events: Sequence[Event], **how: Unpack[AppendOptions]) -> Appended:
        answers = compress(how.get("evidence", ()), events)
        keys = [natural_key(event) for event in events]
        with self._lock:
            stored = self._keys.get(account, {})
            rows = self._rows.get(account, [])
            admission = Admission(
                account,
                head=self._heads.get(account) or start(account),
                terms=terms_of([row for row in rows if row.kind in TERMS_KINDS]),
                known={key: stored[key] for key in keys if key in stored},
                lookup=lambda wanted: {key: stored[key] for key in wanted if key in stored},
                symbol_used=lambda symbol: any(uses_symbol(row, symbol) for row in rows),
                latest_asserted=lambda position_id: self.latest_asserted(account, position_id),
                now_us=self._now_us(),
            )
            appended = admission.appended(events, keys, how)
            self._put(account, appended, answers)
            return appended

    def append_verbatim(self, account: AccountId, rows: Sequence[Stored], evidence: Sequence[StoredEvidence] = ()) -> Head:
        with self._lock:
            begin = self._heads.get(account) or start(account)
            new = [row for row in rows if row.version > begin.version]
            self._put(account, admit_verbatim(account, begin, new, lambda one: self.latest_asserted(account, one)), evidence)
            return self._heads.get(account) or begin

    def _put(self, account: AccountId, appended: Appended, answers: Sequence[StoredEvidence]) -> None:
        if not appended.rows:
            return
        self._rows.setdefault(account, []).extend(appended.rows)
        self._keys.setdefault(account, {}).update({row.natural_key: row for row in appended.rows})
        self._heads[account] = appended.head
        kept = self._evidence.setdefault(account, {})
        kept.update(referenced(answers, appended.rows))  # the same digest is the same answer
        self._appended.notify_all()

    def identity(self) -> str:
        return self._identity

    def made_us(self) -> int | None:
        return None

    def parents(self) -> tuple[Parent, ...]:
        return ()

    def location(self, account: AccountId) -> Location:  # noqa: ARG002  # nothing moves out of a memory
        return Location()

    def heads_here(self) -> dict[AccountId, Head]:
        return self.heads()

    def locations(self) -> dict[AccountId, Location]:
        return {}

    def origins(self, account: AccountId) -> tuple[FormerJournal, ...]:  # noqa: ARG002
        return ()

    def schema_differences(self) -> tuple[Difference, ...]:
        return ()

    def size_bytes(self) -> int | None:
        return None

    def file(self) -> Path | None:
        return None

    def seals(self) -> list[str]:
        return list(self._seals)

    def save_seal(self, text: str, made_us: int) -> None:  # noqa: ARG002  # kept in the order of making
        self._seals.setdefault(text)

    def sync_health(self, account: AccountId) -> SyncHealth | None:
        with self._lock:
            return self._health.get(account)

    def sync_healths(self) -> dict[AccountId, SyncHealth]:
        with self._lock:
            return dict(self._health)

    def save_sync_health(self, health: SyncHealth) -> None:
        with self._lock:
            self._health[health.account] = merged(self._health.get(health.account), health)

    def save_mark(self, account: AccountId, mark: AccountMark) -> None:
        columns = to_columns(mark)
        with self._lock:
            head = self._heads.get(account)
            terms = None if head is None else self.terms(account, head.version)
            clock = ClockRule() if terms is None else terms.clock
            marks = self._marks.setdefault(account, {})
            old = marks.get(mark.at_us)
            changed = _Changed({**marks, mark.at_us: columns}, self._equity.get(account, {}))
            align_days(changed, clock)
            count(changed, mark, clock, is_again=old is not None and old.equity is not None)
            marks[mark.at_us] = columns
            self._equity[account] = changed.buckets

    def marks(self, account: AccountId, *, from_us: int | None = None, to_us: int | None = None) -> Iterator[AccountMark]:
        with self._lock:
            stored = sorted(self._marks.get(account, {}).values())
        found = [one for one in stored if from_us is None or from_us <= one.at_us]
        return iter([from_columns(one) for one in found if to_us is None or one.at_us <= to_us])

    def newest_mark(self, account: AccountId, *, at_us: int | None = None) -> AccountMark | None:
        return max(self.marks(account, to_us=at_us), key=lambda one: one.at_us, default=None)

    def delete_marks(self, account: AccountId, before_us: int) -> int:
        with self._lock:
            kept = self._marks.get(account, {})
            old = [at_us for at_us in kept if at_us < before_us]
            for at_us in old:
                del kept[at_us]
            return len(old)

    def equity(self, account: AccountId, by: By, *, first: int | None = None, last: int | None = None) -> Iterator[Bucket]:
        with self._lock:
            return iter(_Changed({}, self._equity.get(account, {})).all(by, first, last))

    def sent_notices(self, keys: Collection[str] = ()) -> list[SentNotice]:
        wanted = set(keys)
        with self._lock:
            found = list(self._notices.values())
        ended = {(one.key, one.channel) for one in found if one.stage == RESOLVED}
        return sorted(one for one in found if one.key in wanted or (one.key, one.channel) not in ended)

    def save_notice(self, sent: SentNotice) -> None:
        with self._lock:
            self._notices.setdefault((sent.key, sent.channel, sent.stage), sent)

    def last_deliveries(self) -> dict[str, int]:
        with self._lock:
            found = sorted(self._notices.values(), key=lambda one: one.sent_us)
        return {one.channel: one.sent_us for one in found}

    def delete_notices(self, before_us: int) -> int:
        with self._lock:
            found = list(self._notices.values())
            ended = {(one.key, one.channel) for one in found if one.stage == RESOLVED and one.sent_us < before_us}
            old = [one for one in found if (one.key, one.channel) in ended]
            for one in old:
                del self._notices[one.key, one.channel, one.stage]
        return len(old)

    def upkeep(self) -> dict[str, Upkeep]:
        with self._lock:
            return dict(self._upkeep)

    def save_upkeep(self, upkeep: Upkeep) -> None:
        with self._lock:
            self._upkeep[upkeep.kind] = with_upkeep(self._upkeep.get(upkeep.kind), upkeep)

    def rows(
        self, account: AccountId, *, after: int = 0, upto: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Stored]:
        with self._lock:
            found = self._rows.get(account, [])[after:upto]
        return iter(found if kinds is None else [row for row in found if row.kind in kinds])

    def tally(self, account: AccountId, *, after: int = 0, upto: int) -> Tally:
        rows = list(self.rows(account, after=after, upto=upto))
        breaks = [(row.kind, row.caused_by, row.data or "") for row in rows if row.kind in BREAK_KINDS]
        return tally_of(Counter(row.kind for row in rows), breaks)

    def raw_rows(self, account: AccountId, *, after: int | None = None, upto: int | None = None) -> Iterator[list[Row]]:
        return iter([list(self.rows(account, after=after or 0, upto=upto))])

    def irregularities(self) -> Iterator[tuple[str, int | None, str, str]]:
        return iter(())

    def evidence(self, account: AccountId, digest: str) -> bytes | None:
        found = self.stored_evidence(account, digest)
        return None if found is None else decompress(found)

    def stored_evidence(self, account: AccountId, digest: str) -> StoredEvidence | None:
        with self._lock:
            return self._evidence.get(account, {}).get(digest)

    def raw_evidence(self, account: AccountId) -> Iterator[StoredEvidence]:
        with self._lock:
            return iter(list(self._evidence.get(account, {}).values()))

    def postings(
        self,
        account: AccountId,
        selection: Selection,
        terms: AccountTerms | None = None,
        *,
        after: Mark | None = None,
        besides: Sequence[Stored] = (),
        differences: list[int] | None = None,  # noqa: ARG002  # there are no files
    ) -> Postings:
        terms = terms or self.terms(account, selection.version)
        with self._lock:
            known = self._rows.get(account, [])[: selection.version]
        return ordered_postings(known, selection, terms, after=after, besides=besides)

    def order_rows(self, account: AccountId, selection: Selection, *, after: int = 0) -> Iterator[list[Row]]:
        with self._lock:
            known = self._rows.get(account, [])[: selection.version]
        if any(row.kind in ORDER_KINDS for row in known):
            yield [
                (*posting(row), row.recorded_us)
                for row in known[after:]
                if is_for_orders(row) and (selection.time_msc is None or row.time_msc <= selection.time_msc)
            ]

    def order_events(
        self, account: AccountId, version: int, *, client_id: str | None = None, token: str | None = None
    ) -> Iterator[list[Row]]:
        with self._lock:
            known = self._rows.get(account, [])[:version]
        if client_id is None and token is None:
            yield [posting(row) for row in known if row.kind in ORDER_KINDS]
        else:
            yield [posting(row) for row in known if client_id in (None, row.client_id) and token in (None, row.token)]

    def approval_rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> list[Stored]:
        first, end = APPROVAL_KEYS
        return [row for row in self.rows(account, after=after, upto=upto) if first <= row.natural_key < end]

    def break_ends(self, account: AccountId, opened: Sequence[int], upto: int) -> list[Stored]:
        ends = self.rows(account, upto=upto, kinds=("BreakClosed",)) if opened else ()
        return [row for row in ends if row.caused_by in opened]

    def proposed_since(self, since_us: int) -> list[AccountId]:
        with self._lock:
            streams = sorted(self._rows.items())
        return [
            account
            for account, rows in streams
            if any(row.kind == "CorrectionProposed" and row.recorded_us >= since_us for row in reversed(rows))
        ]

    def latest_asserted(self, account: AccountId, position_id: int | None, before: int | None = None) -> tuple[int, int] | None:
        with self._lock:
            rows = self._rows.get(account, [])[: None if before is None else before - 1]
        for row in reversed(rows):
            if row.placement == ASSERTED and row.position_id == position_id:
                return stored_place(row)[:2]
        return None

    def checkpoint(
        self, account: AccountId, selection: Selection, fold: str, before: FoldKey | None = None
    ) -> Checkpoint | None:
        with self._lock:
            kept = {
                place: one
                for (place, code), one in self._checkpoints.get(account, {}).items()
                if code == fold
                and (before is None or place < before)
                and one.mark.reading.newest <= selection.version
                and (selection.time_msc is None or one.mark.reading.latest_msc <= selection.time_msc)
            }
        found = select(self, account, (kept[place].mark for place in sorted(kept, reverse=True)), selection.version)
        return None if found is None else kept[found.place]

    def save_checkpoints(self, account: AccountId, begin: FoldKey, checkpoints: Sequence[Checkpoint]) -> None:
        last, fold = checkpoints[-1].mark, checkpoints[-1].fold
        with self._lock:
            kept = self._checkpoints.setdefault(account, {})
            within = [one for (place, code), one in kept.items() if code == fold and begin < place <= last.place]
            if not any(one.mark.version > last.version for one in within):
                for one in within:
                    del kept[one.mark.place, fold]
                kept.update({(one.mark.place, fold): one for one in checkpoints})

    def checkpoints(self, account: AccountId) -> Iterator[Checkpoint]:
        with self._lock:
            return iter([one for _, one in sorted(self._checkpoints.get(account, {}).items())])

    def _drop_derived_checkpoints(self, account: AccountId) -> None:
        kept = self._checkpoints.get(account, {})
        for place, fold in list(kept):
            if fold.startswith(f"{FOLLOWER}-"):
                del kept[place, fold]

    def hash_at(self, account: AccountId, version: int) -> bytes | None:
        return next((row.hash for row in self.rows(account, after=version - 1, upto=version)), None) if version > 0 else None

    def earliest_change(self, account: AccountId, after: int, upto: int) -> FoldKey | None:
        with self._lock:
            rows = self._rows.get(account, [])
            new = [row for row in rows[after:upto] if row.placement != OUTSIDE_FOLD]
            places = [first_place(row) for row in new]
            places += [stored_place(rows[row.caused_by - 1]) for row in new if row.kind == "DealRevised" and row.caused_by]
        return min(places, default=None)

    def count_outside_fold(self, account: AccountId, selection: Selection) -> int:
        return sum(
            row.placement == OUTSIDE_FOLD and (selection.time_msc is None or row.time_msc <= selection.time_msc)
            for row in self.rows(account, upto=selection.version)
        )

    def terms(self, account: AccountId, version: int) -> AccountTerms | None:
        return terms_of([row for row in self.rows(account, upto=version) if row.kind in TERMS_KINDS])

    def version_at(self, account: AccountId, recorded_end_us: int) -> int:
        return sum(row.recorded_us < recorded_end_us for row in self.rows(account))

    def close(self) -> None:
        """Do nothing: what is in memory goes with the object."""


class _Rows:
    """Single events of an account, out of a list of all: ``fold_order.Records``."""

    def __init__(self, rows: Sequence[Stored]) -> None:
        self._rows = rows

    def first_records(self, deals: Sequence[int]) -> Mapping[int, FirstRecord]:
        wanted, found = set(deals), dict[int, FirstRecord]()
        for row in self._rows:
            if row.deal in wanted:
                found.setdefault(row.deal, FirstRecord(row.version, row.origin, row.recorded_us))
        return found

    def recorded_us(self, versions: Sequence[int]) -> Mapping[int, int]:
        wanted = set(versions)
        return {row.version: row.recorded_us for row in self._rows if row.version in wanted}


def ordered_postings(
    known: Sequence[Stored],
    selection: Selection,
    terms: AccountTerms | None,
    *,
    after: Mark | None = None,
    besides: Sequence[Stored] = (),
) -> Postings:
    """Return the postings of a list of rows, ascending version from 1 on. Arguments as ``Journal.postings``."""
    order = order_of(terms, _Rows(known), selection)
    selected = [row for row in known if selection.time_msc is None or row.time_msc <= selection.time_msc]
    plain = [posting(row) for row in selected if row.placement == IN_ORDER]
    late = [row for row in selected if row.placement in (OUT_OF_ORDER, ASSERTED)] + list(besides)
    placed = [(stored_place(row) if order.is_anchored else place_of(posting(row)), posting(row)) for row in late]
    if after is not None:
        plain = [row for row in plain if row[2] > after.reading.newest_plain]
        placed = [one for one in placed if one[0] > after.place]
    return Postings(
        [plain] if plain else [],
        sorted(placed),
        order=order,
        replaced=replaced_versions(known),
        begin=after.reading if after else None,
        place=after.place if after else (-1, 0, 0),
    )


def replaced_versions(rows: Sequence[Stored]) -> dict[int, int]:
    """Return the versions of all records that a later revision of their deal replaced -> the first such revision."""
    records: dict[int, list[int]] = {}  # deal -> versions of its records since its last revision
    found: dict[int, int] = {}
    for row in rows:
        if row.deal is None:
            continue
        if row.kind == "DealRevised":
            found |= dict.fromkeys(records.pop(row.deal, ()), row.version)
        records.setdefault(row.deal, []).append(row.version)
    return found


class _Changed:
    """The buckets of an account, as they would be (``journal.equity.Buckets``): one that does not fit changes nothing."""

    def __init__(self, marks: Mapping[int, MarkColumns], buckets: Mapping[tuple[By, int], Bucket]) -> None:
        self._marks = marks
        self.buckets = dict(buckets)

    def get(self, by: By, number: int) -> Bucket | None:
        return self.buckets.get((by, number))

    def all(self, by: By, first: int | None = None, last: int | None = None) -> list[Bucket]:
        numbers = sorted(number for kind, number in self.buckets if kind == by)
        found = [number for number in numbers if first is None or first <= number]
        return [self.buckets[by, number] for number in found if last is None or number <= last]

    def put(self, by: By, bucket: Bucket) -> None:
        bucket_columns(bucket)  # refuses what no journal can store
        self.buckets[by, bucket.number] = bucket

    def remove(self, by: By, number: int) -> None:
        self.buckets.pop((by, number), None)

    def marks(self, minute: int | None = None) -> list[AccountMark]:
        found = [one for at_us, one in sorted(self._marks.items()) if minute is None or minute_of(at_us) == minute]
        return [from_columns(one) for one in found]
