"""Verification: recompute everything that can be recomputed, and name the account, version and field of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import frozen

from ledger.codec import STANDING_KINDS, Stored, decode, decode_posting, encode, natural_key, placement_of, standing_of
from ledger.errors import LedgerError
from ledger.events import DEAL_KINDS
from ledger.journal import Head, Journal, Selection
from ledger.journal.admission import start
from ledger.journal.chain import changed_columns, checks, covered, digest, genesis
from ledger.portfolio import Portfolio
from ledger.postings import IN_ORDER, NO_DEAL
from ledger.values import AccountId


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong. ``version`` is None for an account as a whole, ``field`` the column or part."""

    account: str
    version: int | None
    field: str
    what: str


@frozen(kw_only=True)
class Verified:
    """What was checked of one account."""

    account: AccountId
    version: int
    head: str
    problems: tuple[Problem, ...]


_TEXTS: Final = {"kind", "symbol", "data", "natural_key", "correlation", "evidence", "comment", "origin"}
_BYTES: Final = {"prev_hash", "hash", "checks"}
_NEVER_NULL: Final = _BYTES | {
    "time_msc", "version", "kind", "placement", "schema", "recorded_us", "natural_key",
}  # fmt: skip
_TYPES: Final = tuple(
    (name, str if name in _TEXTS else bytes if name in _BYTES else int, name in _NEVER_NULL) for name in Stored._fields
)
_RETOLD_KINDS: Final = DEAL_KINDS | {"SymbolSpecified"}


def verify_account(journal: Journal, account: AccountId, progress: Callable[[int], object] = lambda _: None) -> Verified:
    """Check one account's chain, gaps, head, keys and that its fold runs.

    Args:
        journal: Where it is kept.
        account: Whose stream.
        progress: Called with the number of events checked since the last call.
    """
    walk = _Walk(account)
    problems: list[Problem] = []
    for count, row in enumerate(journal.rows_as_they_lie(account), 1):
        problems.extend(walk.check(row))
        if count % 1000 == 0:
            progress(1000)
    problems.extend(walk.check_head(journal.head(account)))
    if not problems:
        problems.extend(_check_fold(journal, account, walk.head.version))
    return Verified(
        account=account, version=walk.head.version, head=walk.head.hash.hex(), problems=tuple(problems)
    )


class _Walk:
    """One pass over an account's rows, ascending version."""

    def __init__(self, account: AccountId) -> None:
        self.account = account
        self.head: Head = start(account)
        self._hash = genesis(account)
        self._hash_doubtful = False
        self._standing_rows: list[Stored] = []

    def check(self, row: Stored) -> Iterator[Problem]:
        """Yield what is wrong with the next row, and go on behind it."""
        wrong_types = list(self._wrong_types(row))
        yield from wrong_types
        if row.version != self.head.version + 1:
            yield self._problem(self.head.version + 1, "version", f"missing: the next event found has version {row.version}")
        if wrong_types:
            self._go_on(row)
            return
        yield from self._check_chain(row)
        if row.recorded_us <= self.head.recorded_us:
            yield self._problem(row.version, "recorded_us", "it is not later than the event before")
        yield from self._check_derived(row)
        self._go_on(row)

    def _problem(self, version: int | None, field: str, what: str) -> Problem:
        return Problem(account=str(self.account), version=version, field=field, what=what)

    def _wrong_types(self, row: Stored) -> Iterator[Problem]:
        for (name, expected, never_null), value in zip(_TYPES, row, strict=True):
            if (value is None and never_null) or (value is not None and type(value) is not expected):
                yield self._problem(row.version, name, f"expected {expected.__name__}, found {_short(value)}")

    def _check_chain(self, row: Stored) -> Iterator[Problem]:
        columns = covered(row)
        computed = digest(columns, self._hash)
        if computed == row.hash:
            if row.prev_hash != self._hash:
                yield self._problem(row.version, "prev_hash", "it was changed: event and chain agree without it")
            if checks(columns) != row.checks:
                yield self._problem(row.version, "checks", "it was changed: the event itself is as it was recorded")
            return
        changed = changed_columns(row)
        if changed:
            for name in changed:
                value = getattr(row, name, None)
                yield self._problem(row.version, name, f"it was changed: {_short(value)} is not what was recorded")
        elif row.prev_hash != self._hash and digest(columns, row.prev_hash) == row.hash:
            yield self._problem(row.version, "prev_hash", "it does not follow the event before: something was rewritten or removed")
        else:
            yield self._problem(row.version, "hash", "it was changed: it is not the hash of this event")
            self._hash_doubtful = True

    def _check_derived(self, row: Stored) -> Iterator[Problem]:
        """Check what other columns say already."""
        place = (row.time_msc, NO_DEAL if row.deal is None else row.deal)
        expected_placement = placement_of(row.kind, place, (self.head.last_msc, self.head.last_deal))
        if row.placement != expected_placement:
            yield self._problem(row.version, "placement", f"expected {expected_placement}, found {row.placement}")
        if row.kind in DEAL_KINDS:
            if row.natural_key.partition("#")[0] != f"deal:{row.deal}":
                yield self._problem(row.version, "natural_key", f"expected deal:{row.deal}, found {_short(row.natural_key)}")
            return
        try:
            event = decode(row, None)
            expected = encode(event, standing_of([*self._standing_rows, row]))  # type: ignore[arg-type]
        except LedgerError as error:
            yield self._problem(row.version, "data", str(error))
            return
        for name in ("position_id", "symbol", "caused_by", "evidence", "data"):
            if getattr(row, name) != getattr(expected, name):
                yield self._problem(row.version, name, "it is not what the event says")
        if row.natural_key.partition("#")[0] != natural_key(event):
            yield self._problem(row.version, "natural_key", f"expected {natural_key(event)}, found {_short(row.natural_key)}")

    def _go_on(self, row: Stored) -> None:
        if row.kind in STANDING_KINDS:
            self._standing_rows.append(row)
        self._hash = digest(covered(row), self._hash) if self._hash_doubtful else row.hash
        self._hash_doubtful = False
        if not all(type(value) is int for value in (row.version, row.recorded_us, row.time_msc, row.placement)):
            return
        last = (self.head.last_msc, self.head.last_deal)
        place = (row.time_msc, row.deal if type(row.deal) is int else NO_DEAL)
        if placement_of(row.kind, place, last) == IN_ORDER:
            last = place
        self.head = Head(
            version=row.version, hash=self._hash, recorded_us=row.recorded_us, last_msc=last[0], last_deal=last[1]
        )

    def check_head(self, found: Head | None) -> Iterator[Problem]:
        """Compare the account's head with the last event."""
        if found is None:
            yield self._problem(None, "heads", "the account has no head")
            return
        for name in ("version", "hash", "recorded_us", "last_msc", "last_deal"):
            ours, theirs = getattr(self.head, name), getattr(found, name)
            if ours != theirs:
                what = f"expected {_short(ours)} after the last event, found {_short(theirs)}"
                if name == "version" and theirs > ours:
                    what += ": the tail of the stream is missing"
                yield self._problem(self.head.version, f"heads.{name}", what)


def _check_fold(journal: Journal, account: AccountId, version: int) -> Iterator[Problem]:
    try:
        standing = journal.standing(account, version)
        if standing is None:
            if version:
                yield Problem(account=str(account), version=1, field="kind", what="the first event does not open the account")
            return
        Portfolio(standing).fold(journal.postings(account, Selection(version=version)), decode_posting)
    except Exception as error:  # noqa: BLE001  # whatever stops the fold is what is looked for
        yield Problem(account=str(account), version=None, field="fold", what=f"{type(error).__name__}: {error}")


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
