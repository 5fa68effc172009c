"""Verification: recompute everything that can be recomputed, and name the account, version and field of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Final, NamedTuple, Protocol

from attrs import evolve, frozen

from ledger.approvals.check import CHECKED, ApprovalCheck
from ledger.clock import SECOND_MSC
from ledger.codec import (
    BYTE_COLUMNS,
    KINDS,
    TEXT_COLUMNS,
    LatestAsserted,
    Stored,
    decode,
    decode_posting,
    encode_payload,
    is_record_of,
    names_of,
    natural_key,
    placed,
    placement_of,
)
from ledger.errors import CorruptEvent, LedgerError
from ledger.events import BY_VERSION_KINDS, DEAL_KINDS
from ledger.fold_order import POSITION_ASSERTIONS
from ledger.folds import FOLDS, Fold, T
from ledger.journal import Head, Journal, RawRows, Selection
from ledger.journal.admission import start
from ledger.journal.chain import changed_columns, checks, covered, digest, genesis, is_link
from ledger.journal.checkpoints import Checkpoint, is_usable, load, postings_of
from ledger.journal.evidence import decompress
from ledger.journal.merged import merged_differences
from ledger.journal.verify.tampering import findings
from ledger.postings import IN_ORDER, NO_DEAL, OUT_OF_ORDER, FoldKey, Postings, Row, VersionedPostings, second_of
from ledger.terms import AccountTerms
from ledger.values import AccountId


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong. ``version`` is None for an account as a whole, ``field`` the column or part."""

    account: str
    version: int | None
    field: str
    what: str


@frozen(kw_only=True)
class AccountVerification:
    """What was checked of one account."""

    account: AccountId
    version: int
    head: str
    problems: tuple[Problem, ...]


_NEAR: Final = 1000
_NEVER_NULL: Final = BYTE_COLUMNS | {
    "time_msc", "version", "kind", "placement", "schema", "recorded_us", "natural_key",
}  # fmt: skip
_TYPES: Final = tuple(
    (name, str if name in TEXT_COLUMNS else bytes if name in BYTE_COLUMNS else int, name in _NEVER_NULL)
    for name in Stored._fields
)


_DEAL, _VERSION, _KIND, _PLACEMENT, _RECORDED_US, _KEY, _EVIDENCE, _PREV_HASH, _HASH, _CHECKS, _ORDER = map(
    Stored._fields.index,
    (
        "deal", "version", "kind", "placement", "recorded_us", "natural_key", "evidence", "prev_hash", "hash", "checks",
        "order_msc",
    ),
)  # fmt: skip
_UNPLACED: Final = (None, None)
_UNNAMED: Final = _UNPLACED
_ORDER_DEAL, _CLIENT_ID = _ORDER + 1, _ORDER + 2
assert Stored._fields[_CLIENT_ID:] == ("client_id", "token")
_MAY_ASSERT: Final = POSITION_ASSERTIONS | {"BalanceAsserted"}
#: What has a placement of another kind, or may have one.
_NEVER_IN_ORDER: Final = _MAY_ASSERT | {"AccountOpened", "SymbolSpecified", "DealCompleted", "DealRevised"} | BY_VERSION_KINDS


def verify_account(
    journal: Journal,
    account: AccountId,
    progress: Callable[[int], object] = lambda _: None,
    help_with: Callable[[AccountId, int], Help | None] = lambda *_: None,
) -> AccountVerification:
    """Check one account's chain, gaps, head, keys, evidence and that its fold runs. Others may append meanwhile.

    Args:
        journal: Where it is stored.
        account: Whose stream.
        progress: Called with the number of events checked since the last call.
        help_with: Called with the account and its version; has part of the work done elsewhere, or none.
    """
    walk = _Walk(journal, account)
    problems: list[Problem] = []
    head = journal.head(account)
    helper = help_with(account, head.version) if head and type(head.version) is int else None
    try:
        problems.extend(_check_rows(journal, walk, progress, helper))
        runs = not problems
        problems.extend(walk.check_evidence(journal))
        if runs:
            folded = _helped_fold(helper, walk.version)
            problems.extend(_check_fold(journal, account, walk.version) if folded is None else folded)
            problems.extend(_check_approvals(journal, account, walk.version))
    except CorruptEvent as error:
        what = f"it cannot be read behind version {walk.version}: {error}"
        problems.append(Problem(account=str(account), version=walk.version + 1, field="the file", what=what))
    finally:
        if helper is not None:
            helper.end()
    return AccountVerification(
        account=account, version=walk.version, head=walk.hash.hex() if walk.hash else "", problems=tuple(problems)
    )


def verify_chain(journal: Journal, account: AccountId) -> tuple[Problem, ...]:
    """Return what is wrong with an account's events one by one: hashes, gaps, keys, places, and the head. Nothing is folded."""
    return tuple(_check_rows(journal, _Walk(journal, account), lambda _: None))


# ---------------------------------------------------------------------------------------------- what is done elsewhere


class State(NamedTuple):
    """The state of a walk over rows: behind a version, its chain hash, its recorded time, the place of the last in order."""

    version: int
    hash: bytes | None
    recorded_us: int | None
    place: tuple[int, int] | None


class WorkerResult(NamedTuple):
    """What was done elsewhere and found whole: a walk from one state to another, and the fold up to there."""

    begin: State
    end: State
    evidence: dict[str, int]
    folded: tuple[Problem, ...]


class Help(Protocol):
    """Part of a verification that is being done elsewhere: the rows behind ``after``, and the fold."""

    after: int

    def result(self) -> WorkerResult | None:
        """Wait for it. None where something is wrong, or it could not be done: then nothing of it counts."""
        ...

    def end(self) -> None:
        """End it, if it still runs."""
        ...


def verify_tail(journal: Journal, account: AccountId, after: int, upto: int) -> WorkerResult | None:
    """Check the rows behind a version, trusting what precedes them, and the fold; None if a row is not whole."""
    begin = _state_at(journal, account, after)
    walk = _Walk(journal, account)
    walk.go_on_at(begin, {})
    for rows in journal.raw_rows(account, after=after, upto=upto):
        if any(walk.check_all(rows)):
            return None
    folded = tuple(_check_fold(journal, account, upto))
    return WorkerResult(begin=begin, end=walk.state, evidence=walk.evidence, folded=folded) if walk.version == upto else None


def _state_at(journal: Journal, account: AccountId, version: int) -> State:
    row = next(journal.rows(account, after=version - 1, upto=version))
    while True:  # the last one that arrived in order is near
        before = list(journal.rows(account, after=max(0, version - _NEAR), upto=version))
        placed = [one for one in before if one.placement == IN_ORDER]
        if placed or version <= _NEAR:
            place = _place(placed[-1]) if placed else (start(account).last_msc, start(account).last_deal)
            return State(row.version, row.hash, row.recorded_us, place)
        version -= _NEAR


def _helped_fold(helper: Help | None, version: int) -> list[Problem] | None:
    """Return what the fold elsewhere found, if it went as far; None if it has to be done here."""
    helped = helper.result() if helper is not None else None
    return None if helped is None or helped.end.version != version else list(helped.folded)


def verify_across(journal: Journal) -> Iterator[Problem]:
    """Yield what is wrong across accounts, as far as it can be read."""
    try:
        for account, version, field, what in journal.irregularities():
            yield Problem(account=account, version=version, field=field, what=what)
    except CorruptEvent as error:
        yield Problem(account="the file", version=None, field="the file", what=str(error))


def _check_rows(
    journal: Journal, walk: _Walk, progress: Callable[[int], object], helper: Help | None = None
) -> Iterator[Problem]:
    problems: list[Problem] = []
    after: int | None = None
    if helper is not None:
        for rows in journal.raw_rows(walk.account, upto=helper.after):
            problems.extend(walk.check_all(rows))
            progress(len(rows))
        helped = helper.result()
        if helped is not None and not problems and walk.state == helped.begin:
            walk.go_on_at(helped.end, helped.evidence)
            progress(walk.version - helper.after)
        after = walk.version
    while True:
        for rows in journal.raw_rows(walk.account, after=after):
            problems.extend(walk.check_all(rows))
            progress(len(rows))
        head = journal.head(walk.account)
        # A head that is ahead was either moved on by an append while we read, or left behind by a cut.
        is_ahead = head is not None and type(head.version) is int and head.version > walk.version
        if not is_ahead or after == walk.version:
            break
        after = walk.version
    yield from _named(journal, walk.account, problems, head) if problems else ()
    yield from walk.check_head(head)


def _named(journal: Journal, account: AccountId, problems: list[Problem], head: Head | None) -> list[Problem]:
    """Say what was done to a stream where its rows show it, and once what was done to all rows behind some point."""
    rows = (Stored._make(row) for rows in journal.raw_rows(account) for row in rows)
    found, alongside = findings(rows, genesis(account), head.hash if head else None)
    named = {id(one): one for one in problems if one.version not in alongside}
    for version, what in found:
        shown = sorted((one for one in named.values() if one.version == version), key=lambda one: one.field != "version")
        if shown:
            named[id(shown[0])] = evolve(shown[0], what=what)
        else:
            named[id(what)] = Problem(account=str(account), version=version, field="version", what=what)
    return list(named.values())


class _Walk:
    """One pass over an account's rows, ascending version.

    What a damaged row leaves uncertain (``None``) is taken from the next row on trust, so that one damage is named once.
    """

    def __init__(self, journal: Journal, account: AccountId) -> None:
        begin = start(account)
        self.account = account
        self._journal = journal
        self.version = begin.version
        self.hash: bytes | None = begin.hash
        self.recorded_us: int | None = begin.recorded_us
        self.place: tuple[int, int] | None = (begin.last_msc, begin.last_deal)
        self.evidence: dict[str, int] = {}  # digest -> version of the first event that refers to it

    @property
    def state(self) -> State:
        """Its state."""
        return State(self.version, self.hash, self.recorded_us, self.place)

    def go_on_at(self, state: State, evidence: Mapping[str, int]) -> None:
        """Go on behind rows that were checked elsewhere."""
        self.version, self.hash, self.recorded_us, self.place = state
        for digest_, version in evidence.items():
            self.evidence.setdefault(digest_, version)

    def check_all(self, rows: list[Row]) -> Iterator[Problem]:
        """Yield what is wrong with the next rows: whole ones are passed over, the others looked at closely."""
        at = self._pass(rows, 0)
        while at < len(rows):
            yield from self.check(Stored._make(rows[at]))
            at = self._pass(rows, at + 1)

    def _pass(self, rows: list[Row], at: int) -> int:
        """Go on behind all rows that are as they were recorded, each behind the one before; return where that ends.

        What ``check`` finds nothing wrong with, and no more: it finds the same of every row, at five times the cost.
        """
        version, before, recorded_us, place = self.version, self.hash, self.recorded_us, self.place
        if before is None or recorded_us is None or place is None:
            return at
        lowest = (second_of(place[0]), place[1])  # as the fold order has it
        for end in range(at, len(rows)):
            row = rows[end]
            deal, kind, placement = row[_DEAL], row[_KIND], row[_PLACEMENT]
            if (
                row[_VERSION] != version + 1
                or row[_PREV_HASH] != before
                or not is_link(covered(row), before, row[_HASH], row[_CHECKS])
                or row[_RECORDED_US] <= recorded_us
                or type(placement) is not int
                or (
                    (kind not in DEAL_KINDS or row[_KEY] != f"deal:{deal}" or row[_CLIENT_ID:] != _UNNAMED)
                    and any(_contradictions(Stored._make(row)))
                )
            ):
                break
            here = (row[0] - row[0] % SECOND_MSC, NO_DEAL if deal is None else deal)
            if placement == IN_ORDER:
                if kind in _NEVER_IN_ORDER or here < lowest or row[_ORDER] is not None or row[_ORDER_DEAL] is not None:
                    break
                place, lowest = (row[0], here[1]), here
            elif (
                kind in _MAY_ASSERT
                or placement != placement_of(kind, here, lowest)
                or row[_ORDER:_CLIENT_ID] != (here if placement == OUT_OF_ORDER else _UNPLACED)
                or not type(row[_ORDER]) is type(row[_ORDER_DEAL]) is (int if placement == OUT_OF_ORDER else NoneType)
            ):
                break
            version, before, recorded_us = row[_VERSION], row[_HASH], row[_RECORDED_US]
            if row[_EVIDENCE] is not None:
                self.evidence.setdefault(row[_EVIDENCE], version)
        else:
            end = len(rows)
        self.version, self.hash, self.recorded_us, self.place = version, before, recorded_us, place
        return end

    def check(self, row: Stored) -> list[Problem]:
        """Return what is wrong with the next row, and go on behind it."""
        wrong_types = dict(_wrong_types(row))
        wrong = wrong_types or dict(self._broken_chain(row))
        missing = self._missing(row, wrong)
        if missing:
            self.hash = self.place = None
            wrong = wrong_types or dict(self._broken_chain(row))
        if self.recorded_us is not None and not wrong and row.recorded_us <= self.recorded_us:
            wrong["recorded_us"] = "it is not later than the event before"
        if not wrong:
            wrong |= self._wrong_placement(row) | dict(_contradictions(row))
        at = row.version if type(row.version) is int else self.version + 1
        self._go_on(row, wrong)
        if row.evidence is not None and not wrong.keys() & {"evidence", "hash"}:
            self.evidence.setdefault(row.evidence, at)
        return missing + [self._problem(at, field, what) for field, what in wrong.items()]

    def _problem(self, version: int | None, field: str, what: str) -> Problem:
        return Problem(account=str(self.account), version=version, field=field, what=what)

    def _missing(self, row: Stored, wrong: Mapping[str, str]) -> list[Problem]:
        expected = self.version + 1
        if "version" in wrong or row.version == expected:
            return []
        return [self._problem(expected, "version", f"missing: the next event found has version {row.version}")]

    def _broken_chain(self, row: Stored) -> Iterator[tuple[str, str]]:
        """Yield the columns that were changed: field, what."""
        columns = covered(row)
        before = row.prev_hash if self.hash is None else self.hash
        if digest(columns, before) == row.hash:
            if row.prev_hash != before:
                yield "prev_hash", "it was changed: event and chain agree without it"
            if checks(columns) != row.checks:
                yield "checks", "it was changed: the event itself is as it was recorded"
            return
        changed = changed_columns(row)
        for name in changed:
            yield name, f"it was changed: {_short(getattr(row, name))} is not what was recorded"
        if changed:
            return
        if digest(columns, row.prev_hash) == row.hash:
            yield "prev_hash", "it does not follow the event before: something was rewritten or removed"
            return
        yield "hash", "it was changed: it is not the hash of this event"
        if row.prev_hash != before:
            yield "prev_hash", "it was changed: it is not the hash of the event before"

    def _wrong_placement(self, row: Stored) -> dict[str, str]:
        expected = self._placed(row, self._latest_before(row.version))
        if expected is None:
            return {}
        found = row.placement, row.order_msc, row.order_deal
        names = ("placement", "order_msc", "order_deal")
        return {
            name: f"expected {ours}, found {_short(theirs)}"
            for name, ours, theirs in zip(names, expected, found, strict=True)
            if ours != theirs
        }

    def _placed(self, row: Stored, latest: LatestAsserted) -> tuple[int, int | None, int | None] | None:
        """Return the placement and place of a row; None where they are not certain: data is damaged, or an earlier place."""
        try:
            return None if self.place is None else placed(row, self.place, latest)
        except (TypeError, ValueError, RecursionError):  # named there
            return None

    def _latest_before(self, version: int) -> LatestAsserted:
        return lambda position_id: self._journal.latest_asserted(self.account, position_id, version)

    def _go_on(self, row: Stored, wrong: Mapping[str, str]) -> None:
        if "version" in wrong:  # it is not where it was: nothing of it can be compared with its neighbours
            self.version += row.version == self.version + 1
            self.hash = self.recorded_us = self.place = None
            return
        self.version = row.version
        self.recorded_us = None if "recorded_us" in wrong else row.recorded_us
        self.hash = None if "hash" in wrong else row.hash
        if wrong.keys() & {"time_msc", "deal", "kind"} or ("data" in wrong and row.kind in _MAY_ASSERT):
            self.place = None  # the data of an assertion states its place
        elif self.place is None:
            self.place = _place(row) if row.placement == IN_ORDER and "placement" not in wrong else None
        elif (found := self._placed(row, lambda _: None)) is None:
            self.place = None
        elif found[0] == IN_ORDER:
            self.place = _place(row)

    def check_head(self, found: Head | None) -> Iterator[Problem]:
        """Compare the account's head with the last event."""
        if found is None:
            yield self._problem(None, "heads", "the account has no head")
            return
        if found.version != self.version or type(found.version) is not int:
            what = f"expected {self.version} after the last event, found {_short(found.version)}"
            if type(found.version) is int and found.version > self.version:
                what += ": the tail of the stream is missing"
            yield self._problem(self.version, "heads.version", what)
            return
        last_msc, last_deal = self.place or (None, None)
        known = {"hash": self.hash, "recorded_us": self.recorded_us, "last_msc": last_msc, "last_deal": last_deal}
        for name, ours in known.items():
            theirs = getattr(found, name)
            if ours is not None and (ours != theirs or type(ours) is not type(theirs)):
                what = f"expected {_short(ours)} after the last event, found {_short(theirs)}"
                yield self._problem(self.version, f"heads.{name}", what)

    def check_evidence(self, journal: RawRows) -> Iterator[Problem]:
        """Compare the raw answers that are stored with their digests, and those with what the events refer to."""
        missing = dict(self.evidence)
        for kept in journal.raw_evidence(self.account):
            version = missing.pop(kept.digest, None)
            try:
                decompress(kept)
            except CorruptEvent as error:
                yield self._problem(version, "evidence", str(error))
        for digest_, version in missing.items():
            yield self._problem(version, "evidence", f"the raw answer {_short(digest_)} that it rests on is not stored")


def _wrong_types(row: Stored) -> Iterator[tuple[str, str]]:
    """Yield the columns that hold what such a column never holds: field, what."""
    for (name, expected, never_null), value in zip(_TYPES, row, strict=True):
        if (value is None and never_null) or (value is not None and type(value) is not expected):
            yield name, f"expected {expected.__name__}, found {_short(value)}"


def _place(row: Stored) -> tuple[int, int]:
    return row.time_msc, NO_DEAL if row.deal is None else row.deal


def _contradictions(row: Stored) -> Iterator[tuple[str, str]]:
    """Yield the columns of a row that contradict its other columns: field, what."""
    if row.kind in DEAL_KINDS:
        key = f"deal:{row.deal}"
        yield from _wrong_names(row)
    else:
        try:
            event = decode(row, None)
            expected = encode_payload(event)
        except LedgerError as error:
            yield "data", str(error)
            return
        yield from _wrong_names(row)
        if row.schema != KINDS[row.kind][1]:
            return  # lifted: its fields are named otherwise, and the chain shows that they are as recorded
        for name in ("position_id", "symbol", "caused_by", "evidence", "data"):
            if getattr(row, name) != getattr(expected, name):
                yield name, "it is not what the event states"
        key = natural_key(event)
    if not is_record_of(row.natural_key, key):
        yield "natural_key", f"expected {key}, found {_short(row.natural_key)}"


def _wrong_names(row: Stored) -> Iterator[tuple[str, str]]:
    for name, ours in zip(("client_id", "token"), names_of(row), strict=True):
        if getattr(row, name) != ours:
            yield name, f"expected {_short(ours)}, as the event states it, found {_short(getattr(row, name))}"


def _check_fold(journal: Journal, account: AccountId, version: int) -> Iterator[Problem]:
    """Fold everything from the start, and compare each checkpoint that a replay by this program may begin at.

    Those that a replay of the present cannot begin at, because they know less or were made by earlier account terms, are
    compared with folds of what was known then. Only those of another program's rules and of another history, at which no
    replay by this one begins, are left aside.
    """
    try:
        terms = journal.terms(account, version)
        if terms is None:
            if version:
                yield Problem(account=str(account), version=1, field="kind", what="the first event does not open the account")
            return
    except Exception as error:  # noqa: BLE001  # whatever stops the fold is what is looked for
        yield _stopped(account, "", error)
        return
    for fold in FOLDS:
        try:
            yield from _check_states(journal, account, fold, version, terms)
        except Exception as error:  # noqa: BLE001  # as above; the other folds are compared all the same
            yield _stopped(account, fold.name, error)


def _check_approvals(journal: Journal, account: AccountId, version: int) -> Iterator[Problem]:
    """Look for corrections without the persons that the policy in force asked for, in one pass over what people decided.

    An account without a policy costs one look.
    """
    if not any(row.kind == "PolicySet" for row in journal.approval_rows(account, upto=version)):
        return
    check = ApprovalCheck()
    for row in journal.rows(account, upto=version, kinds=CHECKED):
        for at, what in check.read(row.version, row.recorded_us, decode(row, None)):
            yield Problem(account=str(account), version=at, field="approval", what=what)
    for at, what in check.end():
        yield Problem(account=str(account), version=at, field="approval", what=what)


def _stopped(account: AccountId, fold: str, error: Exception) -> Problem:
    what = f"{type(error).__name__}: {error}"
    return Problem(account=str(account), version=None, field="fold", what=f"{fold}: {what}" if fold else what)


def _check_states(
    journal: Journal, account: AccountId, fold: Fold[Any], version: int, terms: AccountTerms
) -> Iterator[Problem]:
    """Fold everything into one state, and compare the checkpoints of that fold."""
    differences: list[int] = []
    folded, selection = fold.begin(terms), Selection(version=version)
    postings = postings_of(fold, journal, account, selection, terms, differences=differences)
    proven: set[bytes] = set()  # digests of checkpoints that are what a replay gives
    others: dict[tuple[int, str], FoldKey] = {}  # version and rules -> place of the first of their checkpoints
    for checkpoint in journal.checkpoints(account):
        mark = checkpoint.mark
        if mark.version <= version and is_usable(journal, account, checkpoint, fold, version, terms):
            yield from _compared(account, checkpoint, fold, folded, postings, proven)
        elif fold.terms_of(checkpoint.fold, terms) and journal.hash_at(account, mark.version) == mark.hash:
            others.setdefault((mark.version, checkpoint.fold), mark.place)
    folded.fold(postings, decode_posting)
    differences += [] if fold.is_by_version else merged_differences(journal, account, version)
    for at in differences:
        what = "the segment of it holds something else: it was changed. It is disposable: ledger derive --drop"
        yield Problem(account=str(account), version=at, field="segments", what=what)
    for (known, code), first in sorted(others.items()):
        yield from _check_earlier(journal, account, fold, known, code, first, proven)


def _check_earlier(
    journal: Journal, account: AccountId, fold: Fold[Any], version: int, code: str, first: FoldKey, proven: set[bytes]
) -> Iterator[Problem]:
    """Compare the checkpoints that were made of the first ``version`` events by some account terms, from ``first`` on.

    Those before it are compared already: what they rest on did not change.
    """
    then = journal.terms(account, version)
    terms = fold.terms_of(code, then) if then else None
    if terms is None:
        return
    selection = Selection(version=version)
    begin = journal.checkpoint(account, selection, code, before=first)
    begun = load(begin, fold, terms) if begin and begin.digest in proven else None
    folded = begun or fold.begin(terms)
    postings = postings_of(fold, journal, account, selection, terms, after=begin.mark if begin and begun else None)
    for checkpoint in journal.checkpoints(account):
        mark = checkpoint.mark
        if (mark.version, checkpoint.fold) == (version, code) and mark.place >= first:
            yield from _compared(account, checkpoint, fold, folded, postings, proven)


def _compared(
    account: AccountId,
    checkpoint: Checkpoint,
    fold: Fold[T],
    folded: T,
    postings: Postings | VersionedPostings,
    proven: set[bytes],
) -> Iterator[Problem]:
    """Fold up to the place of a checkpoint, and compare its state and its reading of the postings."""
    mark = checkpoint.mark
    while rows := postings.take(_NEAR, mark.place):
        folded.fold(rows, decode_posting)
    kept = load(checkpoint, fold, folded.terms)
    if kept is not None and (kept.state(), mark.reading) == (folded.state(), postings.reading):
        proven.add(checkpoint.digest)
        return
    what = "it is not what a replay from the start gives: it was changed. It is disposable: DELETE FROM checkpoints"
    yield Problem(account=str(account), version=mark.reading.newest_plain, field="checkpoints", what=what)


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
