"""Preflight: whether a journal is as it was made, beside its events: settings in force, triggers, heads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from ledger.journal.connect import found_revision, sqlite_path, translated
from ledger.journal.migrate import scripts
from ledger.journal.schema import REVISION, events, heads

_TRIGGER: Final = re.compile(r"CREATE TRIGGER (\w+)")
_ENABLED_ALWAYS: Final = "A"


def settings_in_force(engine: Engine) -> dict[str, str]:
    """Return what durability rests on, as it is in a connection of ours."""
    names = ("journal_mode", "synchronous") if engine.dialect.name == "sqlite" else ("synchronous_commit", "fsync")
    with translated(engine.url), engine.connect() as connection:
        ask = "PRAGMA {}" if engine.dialect.name == "sqlite" else "SHOW {}"
        return {name: str(connection.exec_driver_sql(ask.format(name)).scalar()) for name in names}


def revisions(engine: Engine) -> tuple[str | None, str]:
    """Return the schema revision of the journal and the one that this program was written for."""
    return found_revision(engine), REVISION


def missing_triggers(engine: Engine) -> tuple[str, ...]:
    """Return the triggers that the migrations made and that are not there, or not in force, any more."""
    wanted = set(_made(engine.dialect.name))
    with translated(engine.url), engine.connect() as connection:
        return tuple(sorted(wanted - _in_force(connection)))


def _made(dialect: str) -> Iterator[str]:
    """Yield the names of the triggers that the migrations make, from the statements they make them with."""
    for path in sorted((scripts() / "versions").glob("*.py")):
        yield from _TRIGGER.findall("\n".join(_statements(path, dialect)))


def _statements(path: Path, dialect: str) -> tuple[str, ...]:
    spec = util.spec_from_file_location(f"ledger_migration_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = "_SQLITE_TRIGGERS" if dialect == "sqlite" else "_POSTGRES_TRIGGERS"
    statements: tuple[str, ...] = getattr(module, name, ())  # not every migration makes some
    return statements


def _in_force(connection: Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        return set(connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")))
    query = sa.text("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = :always")
    return set(connection.scalars(query, {"always": _ENABLED_ALWAYS}))


def heads_apart(engine: Engine) -> tuple[int, ...]:
    """Return the ids of accounts whose head is not that of their last event. Costs one row an account."""
    last = (
        sa.select(events.c.account_id, sa.func.max(events.c.version).label("version")).group_by(events.c.account_id).subquery()
    )
    query = (
        sa.select(heads.c.account_id)
        .outerjoin(last, last.c.account_id == heads.c.account_id)
        .outerjoin(events, (events.c.account_id == last.c.account_id) & (events.c.version == last.c.version))
        .where(heads.c.version > 0, sa.or_(events.c.hash.is_(None), events.c.hash != heads.c.hash))
    )
    with translated(engine.url), engine.connect() as connection:
        return tuple(connection.scalars(query))


def folder(engine: Engine) -> Path | None:
    """Return the folder of a SQLite journal, None for another database."""
    path = sqlite_path(engine.url)
    return None if path is None else path.resolve().parent
