"""A journal in memory: the same rules without durability. For tests, dry runs and trying things out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import RLock
from typing import Literal

from ledger.codec import STANDING_KINDS, Stored, posting, standing_of
from ledger.events import Event
from ledger.journal import Appended, Head, Journal, Selection
from ledger.journal.admission import Admission, start, uses_symbol
from ledger.journal.evidence import Kept, packed, referred, unpacked
from ledger.portfolio import Standing
from ledger.postings import IN_ORDER, PLACED, Row, in_fold_order
from ledger.values import AccountId


class MemoryJournal:
    """Streams kept in lists.

    Args:
        now_us: Returns the present in UTC microseconds.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._lock = RLock()
        self._rows: dict[AccountId, list[Stored]] = {}
        self._heads: dict[AccountId, Head] = {}
        self._keys: dict[AccountId, dict[str, Stored]] = {}
        self._evidence: dict[AccountId, dict[str, Kept]] = {}

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
        with self._lock:
            keys = self._keys.get(account, {})
            rows = self._rows.get(account, [])
            admission = Admission(
                account,
                head=self._heads.get(account) or start(account),
                standing=standing_of([row for row in rows if row.kind in STANDING_KINDS]),
                lookup=lambda wanted: {key: keys[key] for key in wanted if key in keys},
                symbol_used=lambda symbol: any(uses_symbol(row, symbol) for row in rows),
                now_us=self._now_us(),
                correlation=correlation,
            )
            appended = admission.appended(events, expected_version=expected_version, conflicts=conflicts)
            if appended.rows:
                self._rows.setdefault(account, []).extend(appended.rows)
                self._keys.setdefault(account, {}).update({row.natural_key: row for row in appended.rows})
                self._heads[account] = appended.head
                kept = self._evidence.setdefault(account, {})
                kept.update(referred(answers, appended.rows))  # the same digest is the same answer
            return appended

    def rows(self, account: AccountId, *, after: int = 0, upto: int | None = None) -> Iterator[Stored]:
        with self._lock:
            return iter(self._rows.get(account, [])[after:upto])

    def rows_as_they_lie(self, account: AccountId, *, after: int | None = None) -> Iterator[Stored]:
        return self.rows(account, after=after or 0)

    def irregularities(self) -> Iterator[tuple[str, int | None, str, str]]:
        return iter(())

    def evidence(self, account: AccountId, digest: str) -> bytes | None:
        with self._lock:
            kept = self._evidence.get(account, {}).get(digest)
        return None if kept is None else unpacked(kept)

    def evidence_as_it_lies(self, account: AccountId) -> Iterator[Kept]:
        with self._lock:
            return iter(list(self._evidence.get(account, {}).values()))

    def postings(self, account: AccountId, selection: Selection) -> Iterator[Row]:
        with self._lock:
            known = self._rows.get(account, [])[: selection.version]
        selected = [row for row in known if selection.time_msc is None or row.time_msc <= selection.time_msc]
        plain = [posting(row) for row in selected if row.placement == IN_ORDER]
        placed = sorted(posting(row) for row in selected if row.placement == PLACED)
        return in_fold_order(plain, placed, replaced_versions(known))

    def count(self, account: AccountId, selection: Selection) -> int:
        return sum(
            selection.time_msc is None or row.time_msc <= selection.time_msc
            for row in self.rows(account, upto=selection.version)
        )

    def standing(self, account: AccountId, version: int) -> Standing | None:
        return standing_of([row for row in self.rows(account, upto=version) if row.kind in STANDING_KINDS])

    def version_at(self, account: AccountId, recorded_end_us: int) -> int:
        return sum(row.recorded_us < recorded_end_us for row in self.rows(account))

    def close(self) -> None:
        """Do nothing: what is kept in memory goes with the object."""


def replaced_versions(rows: Sequence[Stored]) -> frozenset[int]:
    """Return the versions of all tellings that a later revision of their deal took the place of."""
    revised: Mapping[int | None, int] = {row.deal: row.version for row in rows if row.kind == "DealRevised"}
    return frozenset(row.version for row in rows if row.deal in revised and row.version < revised[row.deal])
