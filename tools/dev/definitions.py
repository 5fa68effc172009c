#!/usr/bin/env python3
"""Writes down how the tables, constraints, indexes and triggers of a new journal are defined, on both databases.

    python3 tools/dev/definitions.py    # after a new migration; writes ledger/journal/sql/definitions.json

Preflight compares journals with it, so that a trigger that does something else is found, whatever its name.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

DOCUMENT: Final = bootstrap.ROOT / "ledger" / "journal" / "sql" / "definitions.json"


def new_definitions() -> str:
    """Return the definitions of new journals, as JSON."""
    from ledger.journal.sql.engine import open_engine
    from ledger.journal.sql.migrate import migrate
    from ledger.journal.sql.preflight import definitions
    from tools.testkit.postgres import start_postgres

    found = {}
    with start_postgres() as server, tempfile.TemporaryDirectory() as folder:
        for name, url in (("postgresql", server.create_database()), ("sqlite", str(Path(folder) / "journal.db"))):
            engine = open_engine(url)
            migrate(engine)
            found[name] = definitions(engine)
            engine.dispose()
    found["postgresql"] = dict(sorted(found["postgresql"].items()))  # those of SQLite are in the order of the migrations
    return json.dumps(found, indent=1) + "\n"


def main() -> int:
    """Write the file."""
    bootstrap.enter(bootstrap.DEV_LOCK)
    DOCUMENT.write_text(new_definitions(), encoding="utf-8")
    print(f"written: {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
