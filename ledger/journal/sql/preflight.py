"""Preflight: whether a journal is as it was made, beside its events: settings in force, definitions, heads."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from pkgutil import get_data
from typing import Final

from ledger.journal import Difference
from ledger.journal.sql.engine import Engine, found_revision, sqlite_path
from ledger.journal.sql.partitions import COUNT, count_of, partitioned_definitions
from ledger.journal.sql.words import REVISION


def settings_in_force(engine: Engine) -> dict[str, str]:
    """Return what durability rests on, as it is in a connection of ours."""
    names = ("synchronous_commit", "fsync") if engine.is_postgres else ("journal_mode", "synchronous")
    ask = "SHOW {}" if engine.is_postgres else "PRAGMA {}"
    with engine.reading() as session:
        return {name: str(session.query(ask.format(name))[0][0]) for name in names}


def revisions(engine: Engine) -> tuple[str | None, str]:
    """Return the schema revision of the journal and the one that this program was written for."""
    return found_revision(engine), REVISION


# ------------------------------------------------------------------------------------------------------- definitions


def differences(engine: Engine) -> tuple[Difference, ...]:
    """Compare tables, constraints, indexes, triggers and what they call with what the migrations make, by their definitions.

    Each partition is compared with what its table should have.
    """
    found = definitions(engine)
    wanted = wanted_definitions("postgresql" if engine.is_postgres else "sqlite")
    if engine.is_postgres:
        wanted = partitioned_definitions(wanted, count_of(found))
    tables = {name.removeprefix("table ") for name in wanted if name.startswith("table ")}
    compared = []
    for both in sorted(wanted.keys() | found.keys()):
        kind, name = both.split(" ", 1)
        what = _compare(wanted.get(both), found.get(both), acts_on_ours=kind in _ACTING and name.split(".")[0] in tables)
        if what:
            compared.append(Difference(kind=kind, name=name, what=what))
    return tuple(compared)


def _compare(wanted: str | None, found: str | None, *, acts_on_ours: bool) -> str | None:
    if wanted == found:
        return None
    if found is None:
        return "it is missing"
    if wanted is None:  # what others add beside the journal's tables is their business
        return "it is none of ours, and acts on the journal's tables" if acts_on_ours else None
    return f"it was changed: expected {wanted!r}, found {found!r}"


_ACTING: Final = ("trigger", "rule", "policy")


@cache
def wanted_definitions(dialect: str) -> dict[str, str]:
    """Return name -> definition, of SQLite in the order of the migrations, as ``tools/dev/definitions.py`` wrote them down."""
    content = get_data("ledger.journal.sql", "definitions.json")
    assert content is not None, "it is part of the package"
    found: dict[str, dict[str, str]] = json.loads(content)
    return found[dialect]


def definitions(engine: Engine) -> dict[str, str]:
    """Return name -> definition of everything that the schema of a journal consists of, in one spelling."""
    with engine.reading() as session:
        rows = session.query(_POSTGRES if engine.is_postgres else _SQLITE)
        schema = session.query(_SCHEMA)[0][0] if engine.is_postgres else "main"
    return {f"{kind} {name}": _in_one_spelling(text, str(schema)) for kind, name, text in rows}


def _in_one_spelling(text: str, schema: str) -> str:
    """Drop what depends on the place and the writing: the schema, line ends, runs of spaces."""
    return re.sub(r"\s+", " ", re.sub(rf'("?\b{re.escape(schema)}"?|\bpg_catalog)\.', "", text)).strip()


_SCHEMA: Final = (
    "SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = to_regclass('events')"
)


_SQLITE: Final = """
SELECT type, CASE type WHEN 'trigger' THEN tbl_name || '.' || name ELSE name END, sql
FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version' ORDER BY rowid
"""

#: In the schema that the journal is in. Of constraints without those for NOT NULL, which only newer versions of Postgres list;
#: of views the columns, as every version of Postgres writes their questions in its own way. What a partition has of its table
#: is named and written as the table's (``partitions.partitioned_definitions``). Some versions count triggers of partitions as
#: internal ones.
_POSTGRES: Final = """
WITH ours AS (
    SELECT one.oid, one.relname::text, one.relkind, one.relpersistence, one.relrowsecurity, one.relpartbound,
        coalesce(whole.relname, one.relname)::text AS named
    FROM pg_class one LEFT JOIN pg_inherits ON inhrelid = one.oid LEFT JOIN pg_class whole ON whole.oid = inhparent
    WHERE one.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('events'))
        AND one.relkind IN ('r', 'p') AND one.relname <> 'alembic_version'
)
SELECT 'table' AS kind, relname AS name, concat_ws(' ', CASE relpersistence WHEN 'p' THEN 'logged' ELSE 'not logged' END,
    'partitioned by ' || pg_get_partkeydef(oid),
    'partition of ' || nullif(named, relname) || ' ' || pg_get_expr(relpartbound, oid),
    CASE WHEN relrowsecurity THEN 'with row security' END) AS text FROM ours
UNION ALL
SELECT 'column', relname || '.' || attname,
    format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END
    FROM ours JOIN pg_attribute ON attrelid = ours.oid WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', relname || '.' || coalesce(whole.conname, one.conname), pg_get_constraintdef(one.oid)
    || CASE WHEN one.convalidated THEN '' ELSE ' not validated' END
    FROM ours JOIN pg_constraint one ON one.conrelid = ours.oid LEFT JOIN pg_constraint whole ON whole.oid = one.conparentid
    WHERE one.contype IN ('p', 'u', 'f', 'c')
UNION ALL
SELECT 'index', CASE ours.relname WHEN named THEN '' ELSE ours.relname || '.' END || coalesce(whole.relname, i.relname),
    regexp_replace(
    pg_get_indexdef(i.oid), 'INDEX .* USING ', 'INDEX ' || coalesce(whole.relname, i.relname) || ' ON ' || named || ' USING ')
    || CASE WHEN indisvalid THEN '' ELSE ' invalid' END
    FROM ours JOIN pg_index ON indrelid = ours.oid JOIN pg_class i ON i.oid = indexrelid
    LEFT JOIN pg_inherits ON inhrelid = i.oid LEFT JOIN pg_class whole ON whole.oid = inhparent
UNION ALL
SELECT 'trigger', relname || '.' || tgname, regexp_replace(
    pg_get_triggerdef(pg_trigger.oid), ' ON .* FOR EACH ', ' ON ' || named || ' FOR EACH ')
    || ' enabled ' || tgenabled::text
    FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE NOT tgisinternal OR (tgparentid <> 0 AND tgconstraint = 0)
UNION ALL
SELECT DISTINCT 'function', proname, prosrc FROM pg_proc
    WHERE proname IN ('ledger_refuse', 'ledger_only_forward')
        AND pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('events'))
UNION ALL
SELECT 'rule', relname || '.' || rulename, pg_get_ruledef(pg_rewrite.oid) FROM ours JOIN pg_rewrite ON ev_class = ours.oid
UNION ALL
SELECT 'view', relname::text, string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid WHERE relkind = 'v' AND attnum > 0
        AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('events')) GROUP BY relname
UNION ALL
SELECT 'policy', relname || '.' || polname, 'policy' FROM ours JOIN pg_policy ON polrelid = ours.oid
"""


def partitions(engine: Engine) -> int | None:
    """Return how many partitions the events of a journal on Postgres have, 0 where they are in one table; None on SQLite."""
    if not engine.is_postgres:
        return None
    with engine.reading() as session:
        return int(session.query(COUNT)[0][0])


def mismatched_heads(engine: Engine) -> tuple[int, ...]:
    """Return the ids of accounts whose head is not that of their last event. Costs one row an account."""
    with engine.reading() as session:
        return tuple(key for (key,) in session.query(_MISMATCHED))


_MISMATCHED: Final = (
    "SELECT heads.account_id FROM heads "
    "LEFT JOIN (SELECT account_id, max(version) AS version FROM events GROUP BY account_id) AS newest "
    "ON newest.account_id = heads.account_id "
    "LEFT JOIN events ON events.account_id = newest.account_id AND events.version = newest.version "
    "WHERE heads.version > 0 AND (events.hash IS NULL OR events.hash <> heads.hash)"
)


def folder(engine: Engine) -> Path | None:
    """Return the folder of a SQLite journal, None for another database."""
    path = sqlite_path(engine.url)
    return None if path is None else path.resolve().parent
