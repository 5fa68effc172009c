"""Reading an archived account: what a replay reads of a journal, out of Parquet files.

What arrived in the fold order is passed on as the columns that it is in; the few percent that did not, and what orders them,
are read before and put in their places by the machinery of every journal (``postings.Postings``).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ledger.archive.check import tables
from ledger.archive.columns import numbers_of, packs_of, posting_rows, stored_rows, values_of
from ledger.archive.form import EVENT_COLUMNS, GROUP_ROWS, folder_name, require_pyarrow
from ledger.archive.manifest import Manifest, Segment, read_manifest
from ledger.codec import Stored, terms_of
from ledger.errors import AccountUnknown, CorruptEvent
from ledger.fold_order import FirstRecord
from ledger.journal import Head, Selection
from ledger.journal.checkpoints import order_of
from ledger.journal.location import MOVED
from ledger.postings import (
    ASSERTED,
    IN_ORDER,
    OUT_OF_ORDER,
    OUTSIDE_FOLD,
    FoldKey,
    Posting,
    Postings,
    Row,
    blocks_until,
    place_of,
)
from ledger.segments.native import library, quick_slice
from ledger.terms import TERMS_KINDS, AccountTerms
from ledger.values import AccountId

#: The columns that a replay reads of every event.
_READ: Final = (*Posting._fields, "placement", "order_msc", "order_deal", "caused_by")
_PLACE: Final = ("order_msc", "order_deal")
_POSTINGS_AT_ONCE: Final = 4000


class ArchivedAccount:
    """An account in an archive.

    Args:
        place: Its folder.

    Raises:
        AccountUnknown: Nothing of an account is archived there.
        CorruptEvent: Its manifest was changed, or is that of another folder, as in a copy beside it: it would count twice.
        JournalUnavailable: The library for Parquet is not installed.
    """

    def __init__(self, place: Path) -> None:
        require_pyarrow()
        manifest = read_manifest(place)
        if manifest is None or not manifest.segments:
            raise AccountUnknown(f"{place}: expected the folder of an archived account, found no manifest with segments in it")
        if place.absolute().name != folder_name(manifest.account):
            raise CorruptEvent(
                f"{place}: expected {folder_name(manifest.account)} as the name of the folder of {manifest.account}: move a "
                "copy out of the archive"
            )
        self.place = place
        self.manifest: Manifest = manifest
        self._last_read: tuple[str, list[Any]] = ("", [])  # a short file and its columns, which no cycle may hold

    @property
    def name(self) -> AccountId:
        """Whose it is."""
        return self.manifest.account

    @property
    def head(self) -> Head:
        """The account's head as it is archived."""
        return self.manifest.head

    @property
    def has_moved(self) -> bool:
        """Whether it had moved to another journal when it was archived last: this is what it was when it left."""
        return self.manifest.location.state == MOVED

    # ---- what selects events

    def terms(self, version: int) -> AccountTerms | None:
        """Return the account terms after the first ``version`` events."""
        return terms_of(row for row in self._terms_rows if row.version <= version)

    def version_at(self, recorded_end_us: int) -> int:
        """Return the last version recorded before a UTC microsecond, 0 if there is none."""
        for segment in self.manifest.segments:
            if segment.recorded_us >= recorded_end_us:
                recorded = self._column(segment, "recorded_us")
                return segment.first - 1 + bisect_left(recorded, recorded_end_us)  # it rises with the version
        return self.head.version

    def hash_at(self, version: int) -> bytes:
        """Return the chain hash of an event that is archived; of version 0 that of no event."""
        segment = next((one for one in self.manifest.segments if one.first <= version <= one.last), None)
        if segment is None or version == segment.last:
            found = self.manifest.segments[0].before if segment is None else segment.head
            return bytes.fromhex(found)
        found_hash: bytes = self._column(segment, "hash")[version - segment.first]
        return found_hash

    # ---- what a replay reads

    def postings(self, selection: Selection, terms: AccountTerms) -> Postings:
        """Return what a replay folds, in the fold order, each deal once. Arguments as ``Journal.postings``."""
        order = order_of(terms, _Records(self), selection)
        plain: Iterator[Sequence[Row]] = self._plain(selection.version)
        if selection.time_msc is not None:
            plain = blocks_until(plain, selection.time_msc)
        placed = self._placed(selection, is_anchored=order.is_anchored)
        return Postings(plain, placed, order=order, replaced=self._replaced(selection.version))

    def rows(self, after: int = 0) -> Iterator[list[Stored]]:
        """Yield the rows behind a version as a journal has them, without their checks, some at a time."""
        for segment in self.manifest.segments:
            before = bytes.fromhex(segment.before)
            for table in tables(self.place / segment.events.file, EVENT_COLUMNS):
                rows = list(stored_rows(table, before))
                before = rows[-1].hash
                if rows[-1].version > after:
                    yield [row for row in rows if row.version > after]

    def _plain(self, version: int) -> Iterator[Sequence[Row]]:
        """Yield what arrived in order of the first events, ascending by version, some at a time."""
        from pyarrow import compute

        for table in self.tables():
            known = table.slice(0, max(0, version - table.column("version")[0].as_py() + 1))
            if not len(known):
                return
            plain = known.filter(compute.equal(known.column("placement"), IN_ORDER))
            for packed in packs_of(plain):
                yield from (quick_slice(packed),) if library() is not None else _in_rows(packed.each(0, len(packed)))

    def _placed(self, selection: Selection, *, is_anchored: bool) -> Iterator[tuple[FoldKey, Row]]:
        """Yield what has to be put in its place, ascending by its second."""
        found = self._irregular
        from pyarrow import compute

        is_placed = compute.is_in(found.column("placement"), _value_set((OUT_OF_ORDER, ASSERTED)))
        found = found.filter(compute.and_(is_placed, _up_to(found, selection)))
        if not is_anchored:
            rows = posting_rows(found)
            yield from sorted((place_of(row), row) for row in rows)
            return
        order = compute.sort_indices(found, sort_keys=[("order_msc", "ascending")])
        found = found.take(order)
        for begin in range(0, len(found), _POSTINGS_AT_ONCE):
            some = found.slice(begin, _POSTINGS_AT_ONCE)
            places = zip(*(values_of(some, name) for name in _PLACE), strict=True)
            for (second_msc, deal), row in zip(places, posting_rows(some), strict=True):
                yield (second_msc, deal, place_of(row)[2]), row

    def _replaced(self, version: int) -> dict[int, int]:
        """Return the versions of all records that a later revision of their deal replaced -> the first such revision.

        Every record names the one before it.
        """
        found = self._irregular
        columns = zip(*(values_of(found, name) for name in ("version", "kind", "caused_by")), strict=True)
        known = [one for one in columns if one[0] <= version and one[2] is not None]
        causes = {record: cause for record, _, cause in known}
        revisions = [record for record, kind, _ in known if kind == "DealRevised"]
        replaced: dict[int, int] = {}
        for revision in revisions:
            record: int | None = causes[revision]
            while record is not None and record not in replaced:
                replaced[record] = revision
                record = causes.get(record)
        return replaced

    def count_outside_fold(self, selection: Selection) -> int:
        """Return how many events of a selection are no part of the fold."""
        from pyarrow import compute

        found = self._irregular
        is_outside = compute.equal(found.column("placement"), OUTSIDE_FOLD)
        return len(found.filter(compute.and_(is_outside, _up_to(found, selection))))

    # ---- the files

    @cached_property
    def _irregular(self) -> Any:
        """The events that did not arrive in order, and all that name an earlier one or change account terms."""
        import pyarrow as pa
        from pyarrow import compute

        found = []
        for table in self.tables():
            is_irregular = compute.or_(
                compute.not_equal(table.column("placement"), IN_ORDER), table.column("caused_by").is_valid()
            )
            is_term = compute.is_in(table.column("kind").cast(pa.string()), _value_set(TERMS_KINDS))
            found.append(table.filter(compute.or_(is_irregular, is_term)))
        return pa.concat_tables(found).unify_dictionaries().combine_chunks()

    @cached_property
    def _terms_rows(self) -> list[Stored]:
        """The events that change account terms, with what is read of them."""
        import pyarrow as pa
        from pyarrow import compute

        found = self._irregular
        found = found.filter(compute.is_in(found.column("kind").cast(pa.string()), _value_set(TERMS_KINDS)))
        empty = dict.fromkeys(Stored._fields)
        names = Posting._fields
        return [Stored(**{**empty, **dict(zip(names, row, strict=True)), "deal": None}) for row in posting_rows(found)]

    def tables(self) -> Iterator[Any]:
        """Yield the columns that a replay reads, a row group at a time, ascending by version."""
        for segment in self.manifest.segments:
            if segment.events.rows <= GROUP_ROWS:
                yield from self._groups(segment.events.file)
            else:
                yield from tables(self.place / segment.events.file, _READ, GROUP_ROWS)

    def _groups(self, name: str) -> list[Any]:
        if self._last_read[0] != name:
            self._last_read = name, list(tables(self.place / name, _READ, GROUP_ROWS))
        return self._last_read[1]

    def _column(self, segment: Segment, name: str) -> list[Any]:
        path = self.place / segment.events.file
        return [value for table in tables(path, (name,), GROUP_ROWS) for value in values_of(table, name)]


class _Records:
    """Single events of an archived account: ``fold_order.Records``. Read as a whole when the first is asked for."""

    def __init__(self, account: ArchivedAccount) -> None:
        self._account = account

    @cached_property
    def _recorded_us(self) -> array[int]:
        """When each event was recorded, by version from 1 on."""
        found: array[int] = array("q")
        for table in self._read("recorded_us"):
            found += numbers_of(table, "recorded_us")
        return found

    @cached_property
    def _deals(self) -> Any:
        """The records of deals, ascending by deal and version."""
        import pyarrow as pa

        found = pa.concat_tables(
            table.filter(table.column("deal").is_valid()) for table in self._read("deal", "version", "origin")
        )
        return found.unify_dictionaries().sort_by([("deal", "ascending"), ("version", "ascending")]).combine_chunks()

    @cached_property
    def _tickets(self) -> array[int]:
        return numbers_of(self._deals, "deal")

    def first_records(self, deals: Sequence[int]) -> Mapping[int, FirstRecord]:
        found: dict[int, FirstRecord] = {}
        for deal in deals:
            at = bisect_left(self._tickets, deal)
            if at < len(self._tickets) and self._tickets[at] == deal:
                version = self._deals.column("version")[at].as_py()
                origin = self._deals.column("origin")[at].as_py()
                found[deal] = FirstRecord(version, origin, self._recorded_us[version - 1])
        return found

    def recorded_us(self, versions: Sequence[int]) -> Mapping[int, int]:
        known = self._recorded_us
        return {version: known[version - 1] for version in versions if 0 < version <= len(known)}

    def _read(self, *names: str) -> Iterator[Any]:
        for segment in self._account.manifest.segments:
            yield from tables(self._account.place / segment.events.file, names, GROUP_ROWS)


def _in_rows(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while some := list(islice(rows, _POSTINGS_AT_ONCE)):
        yield some


def _up_to(table: Any, selection: Selection) -> Any:
    """Return which rows of a table a selection has."""
    from pyarrow import compute

    found = compute.less_equal(table.column("version"), selection.version)
    if selection.time_msc is None:
        return found
    return compute.and_(found, compute.less_equal(table.column("time_msc"), selection.time_msc))


def _value_set(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values)
