"""Makes a journal, or brings one up to date. A new one on SQLite is made of the definitions that its migrations lead to.

They are written down in ``definitions.json`` (``tools/dev/definitions.py``): to load Alembic and to go through every migration
takes as long as to record thousands of deals. Postgres, and a journal that is older than this program, are migrated.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine

from ledger.journal.sql.engine import close_engine, found_revision, make_file, open_engine, sqlite_path, translate_errors
from ledger.journal.sql.preflight import wanted_definitions
from ledger.journal.sql.schema import REVISION


def create_journal(url: str) -> str | None:
    """Create a journal or bring it up to date; harmless when it is. Errors as ``open_engine`` and ``migrate.migrate``.

    Returns:
        The revision it had before, None if there was no journal.
    """
    engine = open_engine(url)
    try:
        path, before = sqlite_path(engine.url), found_revision(engine)
        if before == REVISION:
            return before
        if path is not None and before is None:
            make_file(path)
            if _made(engine):
                return None
        from ledger.journal.sql.migrate import migrate

        return migrate(engine)
    finally:
        close_engine(engine)


def _made(engine: Engine) -> bool:
    """Make the tables of a new SQLite journal, in one transaction; False where another program was faster."""
    with (
        translate_errors(engine.url),
        engine.connect().execution_options(write=True) as connection,
        connection.begin(),
    ):
        driver: Any = connection.connection.driver_connection
        if driver.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            return False
        driver.execute(_OF_ALEMBIC)
        driver.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
        for statement in wanted_definitions("sqlite").values():
            driver.execute(statement)
        driver.execute("INSERT INTO identity VALUES (1, ?, ?)", (str(uuid4()), time.time_ns() // 1000))
    return True


#: Where the revision is, word for word as Alembic makes it.
_OF_ALEMBIC = (
    "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n\t"
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
)
