"""The chain of archived events, hashed again from the columns of a file alone; and everything that is derived of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from attrs import define, field

from ledger.archive.columns import values_of
from ledger.archive.form import DERIVED
from ledger.codec import Stored, check_known, names_of, placed
from ledger.errors import CorruptEvent, VersionGap
from ledger.journal import Head
from ledger.journal.chain import COVERED, digest
from ledger.postings import ASSERTED, IN_ORDER, NO_DEAL, OUT_OF_ORDER, Row, second_of
from ledger.values import AccountId

#: Kinds of which time and deal alone say whether they arrived in order: nearly all events.
_PLAIN: Final = frozenset(("FillRecorded", "CashMoved"))
_VERSION, _KIND, _SCHEMA, _TIME, _RECORDED_US, _EVIDENCE, _DEAL = map(
    COVERED.index, ("version", "kind", "schema", "time_msc", "recorded_us", "evidence", "deal")
)
_EMPTY: Final[dict[str, Any]] = dict.fromkeys(Stored._fields)
_AS_IT_CAME: Final[Row] = (IN_ORDER, None, None, None, None)


@define
class Known:
    """What is known of the events before: which raw answers there are, and the places of the latest assertions.

    Attributes:
        answers: The SHA-256 of each raw answer.
        asserted: Position id (None: the balance) -> second and deal ticket.
    """

    answers: set[bytes] = field(factory=set)
    asserted: dict[int | None, tuple[int, int]] = field(factory=dict)


def check_table(account: AccountId, table: Any, head: Head, known: Known) -> Head:
    """Return the head behind the events of a table.

    Args:
        account: Whose.
        table: The events behind the head, ascending by version.
        head: The head before them.
        known: Goes on to what is known behind them.

    Raises:
        CorruptEvent: They are not what was recorded, or what is derived of them is not what they give.
        VersionGap: They do not continue at the head.
        UnknownEvent: They were recorded by a newer program.
    """
    rows = list(zip(*(values_of(table, name) for name in COVERED), strict=True))
    _check_known(rows)
    chain, recorded_us = _check_chain(account, rows, values_of(table, "hash"), head)
    _check_answers(account, rows, known)
    derived = zip(*(values_of(table, name) for name in DERIVED), strict=True)
    last = _check_derived(account, rows, derived, (head.last_msc, head.last_deal), known)
    return Head(head.version + len(rows), chain, recorded_us, *last)


def _check_known(rows: list[Row]) -> None:
    for kind, schema in {(row[_KIND], row[_SCHEMA]) for row in rows}:
        check_known(Stored(**_EMPTY | {"kind": kind, "schema": schema, "version": rows[0][_VERSION]}))


def _check_chain(account: AccountId, rows: list[Row], hashes: list[bytes], head: Head) -> tuple[bytes, int]:
    """Return the hash of the last row and when it was recorded."""
    version, chain, recorded_us = head.version, head.hash, head.recorded_us
    for columns, found in zip(rows, hashes, strict=True):
        version += 1
        if columns[_VERSION] != version:
            raise VersionGap(f"account {account}: expected version {version}, found {columns[_VERSION]}")
        if digest(columns, chain) != found or columns[_RECORDED_US] <= recorded_us:
            raise CorruptEvent(f"account {account}: version {version} is not what was recorded: its hash is another one")
        chain, recorded_us = found, columns[_RECORDED_US]
    return chain, recorded_us


def _check_answers(account: AccountId, rows: list[Row], known: Known) -> None:
    for row in rows:
        if row[_EVIDENCE] is not None and bytes.fromhex(row[_EVIDENCE]) not in known.answers:
            raise CorruptEvent(f"account {account}: version {row[_VERSION]} names a raw answer that is missing")


def _check_derived(
    account: AccountId, rows: list[Row], derived: Iterable[Row], last: tuple[int, int], known: Known
) -> tuple[int, int]:
    """Return broker time and deal of the latest event that arrived in order."""
    before = second_of(last[0]), last[1]
    for row, found in zip(rows, derived, strict=True):
        time_msc, deal = row[_TIME], row[_DEAL]
        if row[_KIND] in _PLAIN:
            place = second_of(time_msc), deal
            expected = _AS_IT_CAME if place >= before else (OUT_OF_ORDER, *place, None, None)
        else:
            expected = _derive(row, last, known)
        if found != expected:
            raise CorruptEvent(f"account {account}: version {row[_VERSION]} is placed otherwise than its content states")
        if expected[0] == IN_ORDER:
            last = time_msc, NO_DEAL if deal is None else deal
            before = second_of(time_msc), last[1]
    return last


def _derive(columns: Row, last: tuple[int, int], known: Known) -> Row:
    """Return the derived columns of any event, and note what it asserts."""
    row = Stored(**_EMPTY | dict(zip(COVERED, columns, strict=True)))
    placement, order_msc, order_deal = placed(row, last, known.asserted.get)
    if placement == ASSERTED and order_msc is not None and order_deal is not None:
        known.asserted[row.position_id] = order_msc, order_deal
    return placement, order_msc, order_deal, *names_of(row)
