"""Makes a journal, or brings one up to date. A new one on SQLite is made of the definitions that its migrations lead to.

They are written down in ``definitions.json`` (``tools/dev/definitions.py``): to load Alembic and to go through every migration
takes as long as to record thousands of deals. Postgres, and a journal that is older than this program, are migrated.
"""

from __future__ import annotations

import time
from typing import Final
from uuid import uuid4

from ledger.journal.sql.engine import Engine, found_revision, open_engine, shown, sqlite_path
from ledger.journal.sql.forking import importing
from ledger.journal.sql.partitions import require_partitionable, require_partitions
from ledger.journal.sql.preflight import partitions as found_partitions
from ledger.journal.sql.preflight import wanted_definitions
from ledger.journal.sql.sqlite import make_file
from ledger.journal.sql.words import REVISION


def create_journal(url: str, *, partitions: int | None = None) -> str | None:
    """Create a journal or bring it up to date; harmless when it is. Errors as ``open_engine`` and ``migrate.migrate``.

    Args:
        url: Where it is, or shall be.
        partitions: Makes a new journal on Postgres with so many partitions; one that is there has to have as many.

    Returns:
        The revision it had before, None if there was no journal.

    Raises:
        BadValue: No journal has so many partitions, or it is one of SQLite.
    """
    engine = open_engine(url)
    try:
        require_partitionable(partitions, is_postgres=engine.is_postgres)
        path, before = sqlite_path(engine.url), found_revision(engine)
        if before == REVISION:
            require_partitions(found_partitions(engine) or 0, partitions, shown(engine.url))
            return before
        if path is not None and before is None:
            make_file(path)
            if _made(engine):
                return None
        with importing():
            from ledger.journal.sql.migrate import migrate

        return migrate(engine, partitions=partitions)
    finally:
        engine.dispose()


def _made(engine: Engine) -> bool:
    """Make the tables of a new SQLite journal, in one transaction; False where another program was faster."""
    with engine.writing() as session:
        if session.query("SELECT count(*) FROM sqlite_master") != [(0,)]:
            return False
        session.execute(_OF_ALEMBIC)
        session.execute("INSERT INTO alembic_version VALUES (?)", REVISION)
        for statement in wanted_definitions("sqlite").values():
            session.execute(statement)
        session.execute("INSERT INTO identity VALUES (1, ?, ?)", str(uuid4()), time.time_ns() // 1000)
    return True


#: Where the revision is, word for word as Alembic makes it.
_OF_ALEMBIC: Final = (
    "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n\t"
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
)
