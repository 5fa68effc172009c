"""This script is how a schema's journal is frozen for the tests: recorded by the program of that schema, before a newer one.

    python3 tools/dev/freeze_journal.py    # writes tests/journals/REVISION.db.xz, .sql.xz and .json; never over others

Once a release knows a schema, its files stay as they are for ever: every later version has to open them.
"""

import json
import lzma
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

FOLDER = bootstrap.ROOT / "tests" / "journals"


def main() -> int:
    """Record the same in SQLite and in Postgres, and store both with what the program makes of them."""
    bootstrap.enter(bootstrap.DEV_LOCK)
    from ledger.journal.sql.words import REVISION
    from tools.testkit.postgres import find_binaries, start_postgres

    if (FOLDER / f"{REVISION}.json").exists():
        print(f"{REVISION} is frozen already: a new schema comes with a new migration")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "journal.db"
        items = _recorded(f"sqlite:///{file}")
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        content = file.read_bytes()
    with start_postgres() as server:
        url = server.create_database()
        if _recorded(url) != items:
            raise AssertionError("SQLite and Postgres disagree")
        command = [str(find_binaries() / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", "-h", "127.0.0.1"]
        name = url.rpartition("/")[2]
        dump = subprocess.run(
            [*command, "-p", str(server.port), "-U", "postgres", name], capture_output=True, text=True, check=True
        ).stdout
    # Without comments, and without what only psql understands.
    lines = [line for line in dump.splitlines() if line.strip() and not line.startswith(("\\", "--"))]
    (FOLDER / f"{REVISION}.db.xz").write_bytes(lzma.compress(content, preset=9))
    (FOLDER / f"{REVISION}.sql.xz").write_bytes(lzma.compress("\n".join(lines).encode(), preset=9))
    (FOLDER / f"{REVISION}.json").write_text(json.dumps(items, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"frozen: {REVISION}")
    return 0


def _recorded(url: str) -> list[dict[str, Any]]:
    from ledger import Ledger
    from tools.testkit.facts import Clock
    from tools.testkit.frozen import json_rows, record_everything

    with Ledger.create(url, now_us=Clock()) as ledger:
        record_everything(ledger)
        return json_rows(ledger)


if __name__ == "__main__":
    sys.exit(main())
