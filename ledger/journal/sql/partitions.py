"""A partitioned journal on Postgres: events, evidence and checkpoints in hash partitions by account. SQLite has none.

The tables are made by the migrations, as those of every journal, and partitioned while they are empty: columns, keys, indexes
and triggers are carried over as Postgres itself writes them. Three things are not inherited by partitions, so they are made
for each: triggers FOR EACH STATEMENT (which refuse TRUNCATE), the state ENABLE ALWAYS of a trigger, and what was revoked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ledger.errors import BadValue, JournalError

#: What grows with every event; all other tables are small, or made of these.
PARTITIONED: Final = ("events", "evidence", "checkpoints")
PARTITIONS_MAX: Final = 128  # what makes or changes them locks 45 objects for each: see max_locks_per_transaction

#: How ``table_text`` begins and ends for a partitioned table and for its partitions.
PARTITIONED_BY: Final = " partitioned by HASH (account_id)"
_BOUND: Final = "FOR VALUES WITH (modulus {count}, remainder {number})"
_MODULUS: Final = re.compile(r" partition of (\w+) FOR VALUES WITH \(modulus (\d+), ")


def partition_name(table: str, number: int) -> str:
    """Return the name of a table's partition."""
    return f"{table}_p{number}"


def require_partitions(found: int, wanted: int | None, shown: str) -> None:
    """Refuse to go on with a journal whose number of partitions is not the one that was asked for; None asks for nothing.

    Raises:
        JournalError: It has another number: a journal is partitioned when it is made.
    """
    if wanted is not None and found != wanted:
        has = f"has {found} partitions" if found else "is not partitioned"
        raise JournalError(
            f"the journal at {shown} {has}, and {wanted} were asked for: it is partitioned when it is made. Make one "
            f"beside it: ledger backup FILE, then ledger restore FILE --partitions {wanted} --journal with an empty database"
        )


def require_partitionable(count: int | None, *, is_postgres: bool) -> None:
    """Refuse a number of partitions that no journal can have, and partitions of a SQLite file; None asks for nothing.

    Raises:
        BadValue: As said.
    """
    if count is None:
        return
    if not is_postgres:
        raise BadValue("a journal in a SQLite file has no partitions: leave --partitions out, or name a database of Postgres")
    if not 1 <= count <= PARTITIONS_MAX:
        raise BadValue(f"a journal has 1 to {PARTITIONS_MAX} partitions, found {count}")


# ------------------------------------------------------------------------------------------------------- tables are made


def partition(driver: Any, count: int) -> None:
    """Partition the tables of a new journal, in the transaction that is under way.

    Args:
        driver: psycopg's connection. Nobody else sees the tables yet.
        count: How many partitions each of the tables gets.
    """
    views = driver.execute(_VIEWS).fetchall()
    for table in PARTITIONED:
        _partition(driver, table, count)
    for name, question in views:  # those that read the tables went with them
        driver.execute(f"CREATE OR REPLACE VIEW {name} AS {question}")


@contextmanager
def carried_over(driver: Any) -> Iterator[None]:
    """Let what a migration does within to the partitioned tables hold for their partitions, where a journal has them.

    Postgres itself carries columns, constraints, indexes and triggers FOR EACH ROW over. Not so triggers FOR EACH STATEMENT,
    and a table that is made anew is not partitioned. A trigger that was there before and is missing in a partition stays
    missing: that is for ``verify`` and ``doctor`` to report.
    """
    count = partition_count(driver)
    before = _statement_triggers(driver) if count else {}
    yield
    if not count:
        return
    whole = [table for table in PARTITIONED if driver.execute(_IS_WHOLE, (table,)).fetchone()[0]]
    added = {oid: found for oid, found in _statement_triggers(driver).items() if oid not in before and found[0] not in whole}
    for table in whole:
        _partition(driver, table, count)
    for table, (name, state, _, definition) in added.values():
        for number in range(count):
            partition = partition_name(table, number)
            driver.execute(_for_partition(definition, partition))
            _set_state(driver, partition, name, state)


def partition_count(driver: Any) -> int:
    """Return how many partitions the events have; 0 where they are in one table, or where there is no journal."""
    return int(driver.execute(COUNT).fetchone()[0])


COUNT: Final = "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('events')"
_VIEWS: Final = (
    "SELECT format('%I', relname), pg_get_viewdef(oid) FROM pg_class WHERE relkind = 'v' AND relname LIKE 'v\\_%' "
    "AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('events')) ORDER BY oid"
)
_IS_WHOLE: Final = "SELECT relkind <> 'p' FROM pg_class WHERE oid = to_regclass(%s)"
_CONSTRAINTS: Final = (
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(%s) "
    "AND contype IN ('p', 'u', 'f', 'c') ORDER BY oid"
)
_INDEXES: Final = (
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass(%s) "
    "AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid) ORDER BY indexrelid"
)
_TRIGGERS: Final = (
    "SELECT oid, tgname, tgenabled::text, tgtype & 1, pg_get_triggerdef(oid) FROM pg_trigger "  # bit 1: FOR EACH ROW
    "WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal ORDER BY oid"
)
_STATES: Final = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}
#: What the owner of a table has no right to any more.
_REVOKED: Final = (
    "SELECT string_agg(verb, ', ') FROM pg_class, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS verb "
    "WHERE oid = to_regclass(%s) AND NOT EXISTS (SELECT FROM aclexplode(coalesce(relacl, acldefault('r', relowner))) "
    "WHERE grantee = relowner AND privilege_type = verb)"
)


def _partition(driver: Any, table: str, count: int) -> None:
    """Make an empty table anew as a partitioned one, with all that it has.

    Raises:
        JournalError: It is not empty: what is recorded is copied by backup and restore, which verify it.
    """
    if driver.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone()[0]:  # noqa: S608  # one of PARTITIONED
        raise JournalError(f"the table {table} is not empty and cannot be partitioned: use ledger backup and ledger restore")
    constraints, indexes, triggers = (
        driver.execute(question, (table,)).fetchall() for question in (_CONSTRAINTS, _INDEXES, _TRIGGERS)
    )
    revoked = driver.execute(_REVOKED, (table,)).fetchone()[0]
    driver.execute(f"ALTER TABLE {table} RENAME TO {table}_whole")
    driver.execute(f"CREATE TABLE {table} (LIKE {table}_whole) PARTITION BY HASH (account_id)")
    driver.execute(f"DROP TABLE {table}_whole CASCADE")
    for name, definition in constraints:
        driver.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
    for (definition,) in indexes:
        driver.execute(definition)
    partitions = [partition_name(table, number) for number in range(count)]
    for number, name in enumerate(partitions):
        bound = _BOUND.format(count=count, number=number)
        driver.execute(f"CREATE TABLE {name} PARTITION OF {table} {bound}")
    for _, name, state, is_row, definition in triggers:
        driver.execute(definition)
        for partition in partitions:
            if not is_row:
                driver.execute(_for_partition(definition, partition))
            _set_state(driver, partition, name, state)
        _set_state(driver, table, name, state)
    for name in (table, *partitions) if revoked else ():
        driver.execute(f"REVOKE {revoked} ON {name} FROM PUBLIC, CURRENT_USER")


def _statement_triggers(driver: Any) -> dict[int, tuple[str, tuple[Any, ...]]]:
    """Return oid -> table and trigger, of those that are not carried over to partitions."""
    found = ((table, row) for table in PARTITIONED for row in driver.execute(_TRIGGERS, (table,)).fetchall())
    return {row[0]: (table, row[1:]) for table, row in found if not row[3]}


def _for_partition(definition: str, partition: str) -> str:
    """Return the definition of a trigger of a table for its partition, which is in the same schema."""
    return re.sub(r" ON (.*?)(\w+) FOR EACH STATEMENT ", rf" ON \g<1>{partition} FOR EACH STATEMENT ", definition, count=1)


def _set_state(driver: Any, table: str, trigger: str, state: str) -> None:
    """Enable a trigger as it was: no definition of a trigger states it, so that one made by its definition is not ALWAYS."""
    driver.execute(f'ALTER TABLE ONLY {table} {_STATES[state]} TRIGGER "{trigger}"')


# -------------------------------------------------------------------------------------------------- definitions of them


def count_of(definitions: Mapping[str, str]) -> int:
    """Return the number of partitions that a journal with these definitions was made with, 0 for none.

    Args:
        definitions: Name -> definition, as ``preflight.definitions`` finds them.
    """
    bounds = (_MODULUS.search(text) for name, text in definitions.items() if name.startswith("table "))
    return max((int(bound[2]) for bound in bounds if bound is not None and bound[1] in PARTITIONED), default=0)


def partitioned_definitions(plain: Mapping[str, str], count: int) -> dict[str, str]:
    """Return name -> definition of a journal with so many partitions.

    What partitions have is named and written as what their table has: ``index events_p0.ix_events_late``.

    Args:
        plain: Those of a journal without partitions.
        count: The number of partitions, 0 for none.
    """
    found = dict(plain)
    for table in PARTITIONED if count else ():
        persistence = found[f"table {table}"]
        found[f"table {table}"] = f"{persistence}{PARTITIONED_BY}"
        owned = _owned(plain, table)
        for number in range(count):
            name, bound = partition_name(table, number), _BOUND.format(count=count, number=number)
            found[f"table {name}"] = f"{persistence} partition of {table} {bound}"
            found.update({f"{kind} {name}.{what}": text for (kind, what), text in owned.items()})
    return found


def _owned(plain: Mapping[str, str], table: str) -> dict[tuple[str, str], str]:
    """Return kind and name -> definition of what a table has: columns, constraints, triggers, and indexes."""
    found = {}
    for both, text in plain.items():
        kind, name = both.split(" ", 1)
        if kind == "index" and f" ON {table} USING " in text:
            found[kind, name] = text
        elif name.startswith(f"{table}."):
            found[kind, name.partition(".")[2]] = text
    return found
