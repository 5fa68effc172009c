"""Migrations: bring a journal to this program's schema. Loads Alembic, so it is imported only when asked for."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from ledger.errors import JournalNewer
from ledger.journal.connect import found_revision, shown, sqlite_path, translated
from ledger.journal.schema import REVISION

_LOCK = 0x6C6564676572  # "ledger": two programs that migrate one Postgres at once take turns


def scripts() -> Path:
    """Return the folder of migrations: inside the package when installed from a wheel, else the project's own."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, bound to a connection if there is one."""
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> str | None:
    """Create the journal or bring it up to date; harmless when it is.

    Returns:
        The revision it had before, None if there was no journal.

    Raises:
        JournalNewer: The journal was made by a newer program.
    """
    before = found_revision(engine)
    if before is not None and before > REVISION:
        raise JournalNewer(
            f"the journal at {shown(engine.url)} has schema {before}, this program knows {REVISION}: use a newer ledger"
        )
    if before == REVISION:
        return before
    path = sqlite_path(engine.url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with translated(engine.url), engine.connect().execution_options(write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(configuration(connection), "head")
    return before
