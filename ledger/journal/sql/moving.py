"""The steps that move an account from one journal to another, each a transaction of its own in one of them.

Whoever appends moves the head on, and the trigger of the heads refuses that for an account that is not here. So each step is a
change of the head's row under the lock that appends take: what was acknowledged before is seen, what comes later is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ledger.codec import Stored
from ledger.errors import AccountMismatch, AccountUnknown, CorruptEvent
from ledger.journal import Head
from ledger.journal.admission import admit_verbatim, start
from ledger.journal.evidence import StoredEvidence, required
from ledger.journal.health import COLUMNS as HEALTH
from ledger.journal.location import ARRIVING, LOCATION_COLUMNS, MOVED, MOVING, ORIGIN_COLUMNS, FormerJournal, Location
from ledger.journal.sql import wire
from ledger.journal.sql.engine import Session
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.words import (
    HEAD,
    LATEST_ASSERTED,
    ROW,
    about_position,
    account_key,
    among,
    for_postgres,
    insert,
    replace,
)
from ledger.marks import BucketColumns, MarkColumns
from ledger.postings import ASSERTED, Row
from ledger.values import AccountId

#: What is in memory at once, and goes to the other database together: so many rows, or rows of so many bytes.
_ROWS: Final = 2000
_BYTES: Final = 8 * 1024 * 1024
#: So many raw answers are read at once: one may have megabytes.
_ANSWERS: Final = 4
_FOUND: Final = f"SELECT {HEAD}, {', '.join(LOCATION_COLUMNS)} FROM heads WHERE account_id = ?"
_SET_LOCATION: Final = f"UPDATE heads SET {', '.join(f'{name} = ?' for name in LOCATION_COLUMNS)} WHERE account_id = ?"
_SET_HEAD: Final = f"UPDATE heads SET {', '.join(f'{name} = ?' for name in Head._fields)} WHERE account_id = ?"
_ARRIVE: Final = f"{_SET_LOCATION} AND state = '{ARRIVING}' AND epoch = ?"
_AT_HEAD: Final = "AND version = ? AND hash = ?"
_EVENT: Final = ("account_id", *Stored._fields)
_INSERT_EVENT: Final = f"INSERT INTO events (account_id, {ROW}) VALUES ({', '.join('?' * len(_EVENT))})"
_EVIDENCE: Final = ("account_id", *StoredEvidence._fields)
#: What is beside the events and moves with them: table -> its columns, and those that its key has beside the account.
_BESIDE: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "sync_health": (HEALTH, ()),
    "marks": (MarkColumns._fields, ("at_us",)),
    "equity_minute": (("minute", *BucketColumns._fields[1:]), ("minute",)),
    "equity_day": (("day", *BucketColumns._fields[1:]), ("day",)),
}
_NOTICE: Final = ("key", "stage", "channel", "sent_us")


def begin(journal: SqlJournal, account: AccountId, to: Location) -> Head:
    """Let an account accept no more events, as it is going to move, and return its last head.

    Args:
        journal: The one that it is in.
        account: Which.
        to: Its present epoch, and where it goes. Harmless where that was begun before.

    Raises:
        AccountUnknown: It is not in this journal.
        AccountMismatch: It is not here in that epoch, or on its way to another journal.
    """
    key, moving = account_key(account), Location(epoch=to.epoch, state=MOVING, other=to.other, other_id=to.other_id)
    with journal.engine.writing() as session:
        session.execute(f"{_SET_LOCATION} AND version > 0 AND state IS NULL AND epoch = ?", *_columns(moving), key, to.epoch)
        head, found = _require(session, account)
        if (found.epoch, found.state, found.other_id) != (moving.epoch, MOVING, moving.other_id):
            raise AccountMismatch(
                f"account {account} cannot be moved from here: {_shown(found)}, epoch {to.epoch} was expected"
            )
    return head


def cancel(journal: SqlJournal, account: AccountId) -> None:
    """Let an account accept events again, whose move was begun and is not to go on.

    Raises:
        AccountMismatch: It is not on its way from here, or has left.
    """
    with journal.engine.writing() as session:
        found = _require(session, account)[1]
        here = Location(epoch=found.epoch)
        changed = session.execute(f"{_SET_LOCATION} AND state = '{MOVING}'", *_columns(here), account_key(account))
        if not changed:
            raise AccountMismatch(f"no move of account {account} can be cancelled here: {_shown(found)}")


def take_over(source: SqlJournal, target: SqlJournal, account: AccountId, head: Head, arriving: Location) -> bool:
    """Copy an account up to a head, with all that moves with it, in one transaction. It accepts no events there yet.

    Args:
        source: Where it is on its way from: it changes no more.
        target: Where it goes.
        account: Which.
        head: Its last one in the source.
        arriving: Its epoch in the target, and where it comes from.

    Returns:
        Whether it accepts no events there yet; False where another mover has finished the move meanwhile.

    Raises:
        AccountMismatch: The target has the account already, and not as what was moved.
        CorruptEvent: What is in the source, or was in the target before, is not what was recorded.
    """
    key, location = account_key(account), Location(**{**_by_name(arriving), "state": ARRIVING})
    with target.engine.writing(is_bulk=True) as session:
        begun, found = _locked(session, account, is_postgres=target.engine.is_postgres)
        if found.epoch >= location.epoch and begun.version and found.state != ARRIVING:
            return False
        if begun.version and found.state is None:
            raise AccountMismatch(
                f"account {account} is in {location.other_id} and in the other journal too, which has {begun.version} events "
                "of it in another epoch: an account is in one journal"
            )
        _require_same_beginning(source, account, begun)
        session.execute(_SET_LOCATION, *_columns(Location(epoch=location.epoch)), key)
        copied = _copy_events(source, session, account, begun, head)
        if copied != head:
            raise CorruptEvent(f"account {account}: the copy ends at version {copied.version}, expected {head.version}")
        if copied != begun:
            session.execute(_SET_HEAD, *copied, key)
        session.execute(_SET_LOCATION, *_columns(location), key)
        _copy_origins(source, session, account, head)
        _copy_beside(source, session, account)
        _copy_notices(source, target, session, account)
    return True


def leave(journal: SqlJournal, account: AccountId, head: Head, to: Location) -> None:
    """Let the journal that an account is on its way from refuse its events for ever: the move cannot be cancelled any more.

    Args:
        journal: The one that it leaves.
        account: Which.
        head: Its last one, which was compared with the copy.
        to: Its epoch in the other journal, and which that is. Harmless where it has left before.

    Raises:
        AccountMismatch: The move was cancelled, or another one was begun.
    """
    moved = Location(**{**_by_name(to), "state": MOVED})
    on_its_way = f"{_SET_LOCATION} AND state = '{MOVING}' AND other_id = ? AND epoch = ? {_AT_HEAD}"
    with journal.engine.writing() as session:
        session.execute(
            on_its_way, *_columns(moved), account_key(account), moved.other_id, moved.epoch - 1, head.version, head.hash
        )
        found = _require(session, account)[1]
        has_left = found.state == MOVED and (found.epoch, found.other_id) == (moved.epoch, moved.other_id)
        if not has_left and found.epoch <= moved.epoch:
            raise AccountMismatch(f"account {account} did not leave: its move was cancelled or changed: {_shown(found)}")


def arrive(journal: SqlJournal, account: AccountId, epoch: int) -> None:
    """Let an account accept events where it was moved to. Harmless where it does, or has moved on since.

    Raises:
        AccountMismatch: It was not copied there.
    """
    here = Location(epoch=epoch)
    with journal.engine.writing() as session:
        session.execute(_ARRIVE, *_columns(here), account_key(account), epoch)
        found = _require(session, account)[1]
        if found.epoch < epoch or found.state == ARRIVING:
            raise AccountMismatch(f"account {account} did not arrive: {_shown(found)}, expected epoch {epoch}")


def note_moved(journal: SqlJournal, account: AccountId, head: Head, to: Location) -> None:
    """Let a journal refuse the events of an account that it has as it was before a move, as it was restored.

    Args:
        journal: Which.
        account: Which.
        head: Its last one, which is a version of the account in the journal that it is in.
        to: Its epoch there, and which that is. Harmless where that was noted before.

    Raises:
        AccountMismatch: Events were recorded meanwhile.
    """
    moved = Location(**{**_by_name(to), "state": MOVED})
    with journal.engine.writing() as session:
        values = (*_columns(moved), account_key(account), moved.epoch, head.version, head.hash)
        session.execute(f"{_SET_LOCATION} AND epoch < ? {_AT_HEAD}", *values)
        found = _require(session, account)[1]
        if (found.state, found.epoch) != (MOVED, moved.epoch):
            raise AccountMismatch(
                f"account {account} is in {moved.other}, and events of it were recorded here meanwhile: {_shown(found)}. Let "
                "nobody record here, and look at both with ledger verify"
            )


def restore_location(journal: SqlJournal, account: AccountId, location: Location, origins: Sequence[FormerJournal]) -> None:
    """Note of an account in a copy of a journal what is noted of it in the journal itself."""
    key = account_key(account)
    with journal.engine.writing() as session:
        if _require(session, account)[1] != location:
            session.execute(_SET_LOCATION, *_columns(location), key)
        _add_origins(session, key, origins)


# ------------------------------------------------------------------------------------------------------------ what is there


def _require(session: Session, account: AccountId) -> tuple[Head, Location]:
    rows = session.query(_FOUND, account_key(account))
    if not rows or not rows[0][0]:
        raise AccountUnknown(f"account {account} is not in this journal")
    return _split(rows[0])


def _split(row: Sequence[Any]) -> tuple[Head, Location]:
    columns = len(Head._fields)
    return Head(*row[:columns]), Location(**dict(zip(LOCATION_COLUMNS, row[columns:], strict=True)))


def _locked(session: Session, account: AccountId, *, is_postgres: bool) -> tuple[Head, Location]:
    """Return what is known of an account, which nobody else changes before the end; a new one gets its rows."""
    key, text = account_key(account), f"{_FOUND} FOR UPDATE" if is_postgres else _FOUND
    found = session.query(text, key)
    if not found:
        names = ("account_id", "server", "login")
        session.execute(insert("accounts", names, ("account_id",)), key, account.server, account.login)
        session.execute(insert("heads", ("account_id", *Head._fields), ("account_id",)), key, *start(account))
        found = session.query(text, key)
    return _split(found[0])


def _require_same_beginning(source: SqlJournal, account: AccountId, begun: Head) -> None:
    """Refuse to go on behind events that the account does not have where it comes from."""
    if begun.version and source.hash_at(account, begun.version) != begun.hash:
        raise CorruptEvent(
            f"account {account}: version {begun.version} of the other journal is not in the one that it moves from: "
            "these are two histories. Run ledger verify on both"
        )


def _columns(location: Location) -> tuple[Any, ...]:
    return tuple(getattr(location, name) for name in LOCATION_COLUMNS)


def _by_name(location: Location) -> dict[str, Any]:
    return dict(zip(LOCATION_COLUMNS, _columns(location), strict=True))


def _shown(location: Location) -> str:
    other = f" ({location.other})" if location.other else ""
    return f"it is {location.state or 'here'}{other} in epoch {location.epoch}"


# ------------------------------------------------------------------------------------------------------------- what is copied


def _copy_events(source: SqlJournal, session: Session, account: AccountId, begun: Head, head: Head) -> Head:
    """Copy events with their raw answers, and return the head behind them."""
    key, kept, is_new = account_key(account), set[str](), not begun.version
    latest: dict[int | None, tuple[int, int] | None] = {}

    def latest_asserted(position_id: int | None) -> tuple[int, int] | None:
        if position_id not in latest and not is_new:
            about, values = about_position(position_id)
            found = session.query(LATEST_ASSERTED % about, key, *values)
            latest[position_id] = (found[0][0], found[0][1]) if found else None
        return latest.get(position_id)

    for after in range(begun.version, head.version, _ROWS):
        rows = list(source.rows(account, after=after, upto=min(after + _ROWS, head.version)))
        appended = admit_verbatim(account, begun, rows, latest_asserted)
        for row in appended.rows:
            if row.placement == ASSERTED and row.order_msc is not None and row.order_deal is not None:
                latest[row.position_id] = row.order_msc, row.order_deal
        _insert_events(session, [(key, *row) for row in appended.rows])
        digests = [
            digest for digest in dict.fromkeys(row.evidence for row in rows) if digest is not None and digest not in kept
        ]
        kept.update(digests)
        if digests:
            _copy_evidence(source, session, account, digests)
        begun = appended.head
    return begun


def _insert_events(session: Session, rows: list[tuple[Any, ...]]) -> None:
    driver = session.driver
    if hasattr(driver, "pgconn"):
        wire.copy(driver.cursor(), rows)
    else:
        driver.executemany(_INSERT_EVENT, rows)


def _copy_evidence(source: SqlJournal, session: Session, account: AccountId, digests: Sequence[str]) -> None:
    """Copy raw answers, those that are not there yet.

    Raises:
        CorruptEvent: One is not stored in the source.
    """
    key, (marks, values) = account_key(account), among(digests)
    of_these = f"FROM evidence WHERE account_id = ? AND digest IN ({marks})"
    there = {digest for (digest,) in session.query(f"SELECT digest {of_these}", key, *values)}
    missing = [digest for digest in digests if digest not in there]
    if not missing:
        return
    marks, values = among(missing)
    text = f"SELECT {', '.join(StoredEvidence._fields)} FROM evidence WHERE account_id = ? AND digest IN ({marks})"
    copied = set[str]()

    def answers() -> Iterator[Row]:
        for row in source.stream_rows(text, key, *values, lenient=True, at_once=_ANSWERS):
            copied.add(row[0])
            yield (key, *row)

    _write(session, insert("evidence", _EVIDENCE), answers())
    for digest in missing:
        if digest not in copied:
            required(source, account, digest)


def _write(session: Session, text: str, rows: Iterable[Row]) -> None:
    """Carry out a statement for many rows: one at a time would be a round trip each."""
    driver = session.driver
    statement = for_postgres(text) if hasattr(driver, "pgconn") else text
    for block in _blocks(rows):
        driver.cursor().executemany(statement, block)


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    block, size = list[Row](), 0
    for row in rows:
        block.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if len(block) == _ROWS or size >= _BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _copy_origins(source: SqlJournal, session: Session, account: AccountId, head: Head) -> None:
    """Note which journals the account was in, those that a restored one came from too."""
    parents = (FormerJournal(one.journal_id, one.versions[account]) for one in source.parents() if account in one.versions)
    here = FormerJournal(source.identity(), head.version)
    _add_origins(session, account_key(account), [*source.origins(account), *parents, here])


def _add_origins(session: Session, key: int, origins: Sequence[FormerJournal]) -> None:
    columns = ", ".join(ORIGIN_COLUMNS)
    known = session.query(f"SELECT {columns} FROM origins WHERE account_id = ? ORDER BY number", key)
    new = [one for one in dict.fromkeys(origins) if one not in known]
    for number, origin in enumerate(new, len(known) + 1):
        session.execute(insert("origins", ("account_id", "number", *ORIGIN_COLUMNS)), key, number, *origin)


def _copy_beside(source: SqlJournal, session: Session, account: AccountId) -> None:
    key = account_key(account)
    for table, (columns, keys) in _BESIDE.items():
        text = replace(table, ("account_id", *columns), ("account_id", *keys))
        rows = source.stream_rows(f"SELECT {', '.join(columns)} FROM {table} WHERE account_id = ?", key)
        _write(session, text, ((key, *row) for row in rows))


def _copy_notices(source: SqlJournal, target: SqlJournal, session: Session, account: AccountId) -> None:
    """Copy which notices about the account were sent: their keys name the journal, which is another now."""
    of_source, of_target = (f"ledger:{one.identity()}:{account}:" for one in (source, target))
    text = f"SELECT {', '.join(_NOTICE)} FROM sent_notices WHERE substr(key, 1, {len(of_source)}) = ?"
    rows = source.stream_rows(text, of_source)
    moved = ((f"{of_target}{str(key).removeprefix(of_source)}", *rest) for key, *rest in rows)
    _write(session, insert("sent_notices", _NOTICE, ("key", "stage", "channel")), moved)
