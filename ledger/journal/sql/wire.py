"""Postgres below psycopg's cursors: one event inserted in one round trip, many events as a binary COPY.

A cursor takes more processor time than all else that is done here about a fill. So the one statement that every fill needs is
prepared once a connection, and goes to libpq with binary values.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from selectors import EVENT_READ, EVENT_WRITE
from struct import Struct
from typing import Any, Final
from weakref import WeakSet

from ledger.codec import BYTE_COLUMNS, TEXT_COLUMNS, Stored
from ledger.journal import Appended
from ledger.journal.sql.words import ROW

_SMALL: Final = ("placement", "schema")
#: The type of each column of a row, as Postgres names it.
_TYPES: Final = tuple(
    "text" if name in TEXT_COLUMNS else "bytea" if name in BYTE_COLUMNS else "int2" if name in _SMALL else "int8"
    for name in Stored._fields
)
_big: Final = Struct(">q").pack
_PACKED: Final[dict[str, Any]] = {"text": str.encode, "bytea": bytes, "int2": Struct(">h").pack, "int8": _big}
_packers: Final = tuple(_PACKED[kind] for kind in _TYPES)

#: Column -> the parameter that holds it. The last two are the head's place in the fold order.
_AT: Final = {name: f"${at}" for at, name in enumerate(("account_id", *Stored._fields, "last_msc", "last_deal"), 1)}
#: Moves the head on and inserts the event, if the event's predecessor is the head and nothing is known under its key.
_INSERT: Final = (
    "WITH moved AS (UPDATE heads SET version = {version}, hash = {hash}, recorded_us = {recorded_us}, "  # noqa: S608  # names
    "last_msc = {last_msc}, last_deal = {last_deal} "
    "WHERE account_id = {account_id} AND version = {version} - 1 AND hash = {prev_hash} AND NOT EXISTS "
    "(SELECT FROM events WHERE account_id = {account_id} AND natural_key = {natural_key}) RETURNING account_id) "
    f"INSERT INTO events (account_id, {ROW}) SELECT account_id, {', '.join(map(_AT.__getitem__, Stored._fields))} FROM moved"
).format_map(_AT)
_OIDS: Final = {"bytea": 17, "int8": 20, "int2": 21, "text": 25}  # the same in every Postgres
_PARAMETERS: Final = [_OIDS[kind] for kind in ("int8", *_TYPES, "int8", "int8")]
_BINARY: Final = [1] * len(_PARAMETERS)
_NAME: Final = b"ledger_insert"
_COMMAND_OK: Final = 1  # as libpq names it
_NOT_PREPARED: Final = "26000"  # as Postgres names it: invalid_sql_statement_name

_COPY: Final = f"COPY events (account_id, {ROW}) FROM STDIN (FORMAT BINARY)"

#: The connections that the statement was prepared on.
_prepared: Final[WeakSet[Any]] = WeakSet()


def insert(driver: Any, key: int, appended: Appended) -> bool:
    """Append one event to the account of a key; the statement is a transaction of its own.

    Returns:
        Whether it was appended: the head was its predecessor, and nothing was known under its natural key.
    """
    row, head = appended.rows[0], appended.head
    values = [None if value is None else pack(value) for pack, value in zip(_packers, row, strict=True)]
    values = [_big(key), *values, _big(head.last_msc), _big(head.last_deal)]
    if driver not in _prepared:
        _prepare(driver)
    try:
        return _executed(driver, values)
    except Exception as error:
        if getattr(error, "sqlstate", None) != _NOT_PREPARED:
            raise
        _prepare(driver)  # psycopg discards what is prepared, its own and ours, when it rolls back
        return _executed(driver, values)


def _prepare(driver: Any) -> None:
    driver.pgconn.send_prepare(_NAME, _INSERT.encode(), _PARAMETERS)
    _result(driver)
    _prepared.add(driver)


def _executed(driver: Any, values: list[bytes | None]) -> bool:
    driver.pgconn.send_query_prepared(_NAME, values, _BINARY)
    return bool(_result(driver).command_tuples)


def _result(driver: Any) -> Any:
    """Wait for the result of what was sent.

    Raises:
        psycopg.Error: It is an error.
    """
    result = settle(driver)
    if result.status != _COMMAND_OK:
        from psycopg.errors import error_from_result

        raise error_from_result(result)
    return result


def copy(cursor: Any, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert many events, each behind the key of its account, within the transaction that is under way."""
    with cursor.copy(_COPY) as copying:
        copying.set_types(("int8", *_TYPES))
        for row in rows:
            copying.write_row(row)


def settle(driver: Any) -> Any:
    """Take all results that are due, and return the last; None where none is due.

    libpq itself would wait for them without letting other threads go on, and psycopg for those of its own statements only.
    """
    pgconn, result = driver.pgconn, None
    while True:
        if pgconn.is_busy():
            driver.wait(_arrival(pgconn))
        found = pgconn.get_result()
        if found is None:
            return result
        result = found


def _arrival(pgconn: Any) -> Generator[Any, Any, None]:
    """Wait until all is sent and a result is there, in the form that psycopg's connections wait in."""
    while pgconn.flush():
        if (yield EVENT_READ | EVENT_WRITE) & EVENT_READ:
            pgconn.consume_input()
    while pgconn.is_busy():
        yield EVENT_READ
        pgconn.consume_input()
