"""This is where Alembic learns which database to migrate.

The ledger hands over an open connection. On the command line (``alembic upgrade head``) the journal is named by
``-x journal=URL`` or by ``LEDGER_JOURNAL``.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

from alembic import context
from sqlalchemy import Connection

from ledger.journal.sql.indexes import metadata
from ledger.journal.sql.migrate import require_same_chain
from ledger.journal.sql.words import REVISION


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    is_older = context.get_context().get_current_revision() not in (None, REVISION)
    with context.begin_transaction(), require_same_chain(connection) if is_older else nullcontext():
        context.run_migrations()


def _journal_url() -> str:
    url = context.get_x_argument(as_dictionary=True).get("journal") or os.environ.get("LEDGER_JOURNAL")
    if not url:
        raise SystemExit("name the journal: alembic -x journal=sqlite:///desk.db ..., or set LEDGER_JOURNAL")
    return str(url)


connection = context.config.attributes.get("connection")
if connection is not None:
    _migrate(connection)
else:
    from ledger.journal.sql.engine import open_engine

    with open_engine(_journal_url()).alchemy.connect().execution_options(write=True) as opened, opened.begin():
        _migrate(opened)
