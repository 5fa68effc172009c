"""A journal in memory: the same rules without durability. For tests, dry runs and trying things out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Condition, RLock
from typing import Literal
from uuid import uuid4

from ledger.codec import STANDING_KINDS, Stored, natural_key, posting, standing_of
from ledger.events import Event
from ledger.journal import Appended, Difference, Head, Journal, Parent, Selection
from ledger.journal.admission import Admission, start, taken_over, uses_symbol
from ledger.journal.checkpoints import Checkpoint, Mark, chosen, fold_code, place_of
from ledger.journal.evidence import Kept, packed, referred, unpacked
from ledger.journal.watch import MemoryWatch, Watch
from ledger.portfolio import Standing
from ledger.postings import APART, IN_ORDER, PLACED, Place, Postings, Row, is_behind
from ledger.values import AccountId


class MemoryJournal:
    """Streams kept in lists.

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
        self._evidence: dict[AccountId, dict[str, Kept]] = {}
        self._checkpoints: dict[AccountId, dict[Place, Checkpoint]] = {}
        self._identity = str(uuid4())
        self._seals: dict[str, None] = {}

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

    def watch(self) -> Watch:
        return MemoryWatch(self._appended)

    def append(
        self,
        account: AccountId,
        events: Sequence[Event],
        *,
        expected_version: int | None = None,
        correlation: str | None = None,
        conflicts: Literal["refuse", "keep"] = "refuse",
        evidence: Sequence[bytes] = (),
    ) -> Appended:
        answers = packed(evidence, events)
        keys = [natural_key(event) for event in events]
        with self._lock:
            stored = self._keys.get(account, {})
            rows = self._rows.get(account, [])
            admission = Admission(
                account,
                head=self._heads.get(account) or start(account),
                standing=standing_of([row for row in rows if row.kind in STANDING_KINDS]),
                known={key: stored[key] for key in keys if key in stored},
                lookup=lambda wanted: {key: stored[key] for key in wanted if key in stored},
                symbol_used=lambda symbol: any(uses_symbol(row, symbol) for row in rows),
                now_us=self._now_us(),
                correlation=correlation,
            )
            appended = admission.appended(events, keys, expected_version=expected_version, conflicts=conflicts)
            self._put(account, appended, answers)
            return appended

    def take(self, account: AccountId, rows: Sequence[Stored], evidence: Sequence[Kept] = ()) -> Head:
        with self._lock:
            begin = self._heads.get(account) or start(account)
            self._put(account, taken_over(account, begin, [row for row in rows if row.version > begin.version]), evidence)
            return self._heads.get(account) or begin

    def _put(self, account: AccountId, appended: Appended, answers: Sequence[Kept]) -> None:
        if not appended.rows:
            return
        self._rows.setdefault(account, []).extend(appended.rows)
        self._keys.setdefault(account, {}).update({row.natural_key: row for row in appended.rows})
        self._heads[account] = appended.head
        kept = self._evidence.setdefault(account, {})
        kept.update(referred(answers, appended.rows))  # the same digest is the same answer
        self._appended.notify_all()

    def identity(self) -> str:
        return self._identity

    def parents(self) -> tuple[Parent, ...]:
        return ()

    def schema_differences(self) -> tuple[Difference, ...]:
        return ()

    def file(self) -> Path | None:
        return None

    def seals(self) -> list[str]:
        return list(self._seals)

    def keep_seal(self, text: str, made_us: int) -> None:  # noqa: ARG002  # kept in the order of making
        self._seals.setdefault(text)

    def rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> Iterator[Stored]:
        with self._lock:
            return iter(self._rows.get(account, [])[after:upto])

    def as_they_lie(self, account: AccountId, *, after: int | None = None, upto: int | None = None) -> Iterator[list[Row]]:
        return iter([list(self.rows(account, after=after or 0, upto=upto))])

    def irregularities(self) -> Iterator[tuple[str, int | None, str, str]]:
        return iter(())

    def evidence(self, account: AccountId, digest: str) -> bytes | None:
        found = self.kept(account, digest)
        return None if found is None else unpacked(found)

    def kept(self, account: AccountId, digest: str) -> Kept | None:
        with self._lock:
            return self._evidence.get(account, {}).get(digest)

    def evidence_as_it_lies(self, account: AccountId) -> Iterator[Kept]:
        with self._lock:
            return iter(list(self._evidence.get(account, {}).values()))

    def postings(self, account: AccountId, selection: Selection, *, after: Mark | None = None) -> Postings:
        with self._lock:
            known = self._rows.get(account, [])[: selection.version]
        selected = [row for row in known if selection.time_msc is None or row.time_msc <= selection.time_msc]
        plain = [posting(row) for row in selected if row.placement == IN_ORDER]
        placed = sorted(posting(row) for row in selected if row.placement == PLACED)
        if after is not None:
            plain = [row for row in plain if row[2] > after.reading.newest_plain]
            placed = [row for row in placed if is_behind(row, after.place)]
        return Postings([plain] if plain else [], placed, replaced_versions(known), after.reading if after else None)

    def checkpoint(self, account: AccountId, selection: Selection) -> Checkpoint | None:
        with self._lock:
            kept = {
                place: one
                for place, one in self._checkpoints.get(account, {}).items()
                if one.fold == fold_code()
                and one.mark.reading.newest <= selection.version
                and (selection.time_msc is None or place[0] <= selection.time_msc)
            }
        found = chosen(self, account, (kept[place].mark for place in sorted(kept, reverse=True)), selection.version)
        return None if found is None else kept[found.place]

    def keep(self, account: AccountId, begin: Place, checkpoints: Sequence[Checkpoint]) -> None:
        last = checkpoints[-1].mark
        with self._lock:
            kept = self._checkpoints.setdefault(account, {})
            within = [one for place, one in kept.items() if begin < place <= last.place]
            if not any(one.mark.version > last.version and one.fold == fold_code() for one in within):
                for one in within:
                    del kept[one.mark.place]
                kept.update({one.mark.place: one for one in checkpoints})

    def checkpoints(self, account: AccountId) -> Iterator[Checkpoint]:
        with self._lock:
            return iter([one for _, one in sorted(self._checkpoints.get(account, {}).items())])

    def hash_at(self, account: AccountId, version: int) -> bytes | None:
        return next((row.hash for row in self.rows(account, after=version - 1, upto=version)), None) if version > 0 else None

    def touched(self, account: AccountId, after: int, upto: int) -> Place | None:
        with self._lock:
            rows = self._rows.get(account, [])
            new = [row for row in rows[after:upto] if row.placement != APART]
            places = [place_of(row) for row in new]
            places += [place_of(rows[row.caused_by - 1]) for row in new if row.kind == "DealRevised" and row.caused_by]
        return min(places, default=None)

    def count_apart(self, account: AccountId, selection: Selection) -> int:
        return sum(
            row.placement == APART and (selection.time_msc is None or row.time_msc <= selection.time_msc)
            for row in self.rows(account, upto=selection.version)
        )

    def standing(self, account: AccountId, version: int) -> Standing | None:
        return standing_of([row for row in self.rows(account, upto=version) if row.kind in STANDING_KINDS])

    def version_at(self, account: AccountId, recorded_end_us: int) -> int:
        return sum(row.recorded_us < recorded_end_us for row in self.rows(account))

    def close(self) -> None:
        """Do nothing: what is kept in memory goes with the object."""


def replaced_versions(rows: Sequence[Stored]) -> dict[int, int]:
    """Return the versions of all tellings that a later revision of their deal took the place of -> the last such revision."""
    revised: Mapping[int | None, int] = {row.deal: row.version for row in rows if row.kind == "DealRevised"}
    return {row.version: revised[row.deal] for row in rows if row.deal in revised and row.version < revised[row.deal]}
