"""What a journal rests on outside its own tables: the file system, the text encoding, and a pooler before the database."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, closing
from pathlib import Path
from select import select
from typing import Any, Final

from ledger.journal.sql.engine import Engine, translate_errors

_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")

#: File systems of other machines: SQLite's locks and shared memory do not hold there (sqlite.org/wal.html: all processes have
#: to be on the same host).
NETWORK: Final = frozenset(
    (
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
        "fuse.gcsfuse", "fuse.rclone", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2",
        "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "fuse.vmhgfs-fuse", "drvfs",
    )
)  # fmt: skip
#: File systems in memory: what is on them is gone after a restart, however often it is synced.
MEMORY: Final = frozenset(("devtmpfs", "ramfs", "rootfs", "tmpfs"))


def file_system(path: Path, mounts: str | None = None) -> str | None:
    """Return the type of the file system that a path is on; None where the platform does not show it.

    Args:
        path: A file or folder.
        mounts: The mounts, as Linux shows them in ``/proc/self/mountinfo`` (proc(5)); those of this process without.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        before, mark, after = line.partition(" - ")
        words = before.split(" ")
        if not mark or len(words) < 5:
            continue
        point = Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), words[4]))
        if (path == point or point in path.parents) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), after.split(" ")[0]  # a later mount hides an earlier one
    return None if found is None else found[1]


def text_encoding(engine: Engine) -> str:
    """Return the encoding that the database has text in, as UTF8 or SQL_ASCII."""
    ask = "SHOW server_encoding" if engine.is_postgres else "PRAGMA encoding"
    with engine.reading() as session:
        return str(session.query(ask)[0][0])


def pooler(engine: Engine) -> str | None:
    """Return which kind of pooler is between us and Postgres: None, ``session`` or ``transaction``.

    A server states its process number when a connection begins; a pooler makes one up, which shows it. In transaction mode the
    server of a connection that is idle is given to another one, which holds it then. In session mode it is not, and where a
    pool is used up another connection gets no answer: so none is waited for long.
    """
    if not engine.is_postgres:
        return None
    import psycopg
    from sqlalchemy import make_url

    with translate_errors(engine.url), engine.alchemy.connect() as one, ExitStack() as others:
        driver: Any = one.connection.driver_connection
        with one.begin():
            ours = one.exec_driver_sql(_SERVER).scalar()
        if ours == driver.info.backend_pid:
            return None
        _, words = engine.alchemy.dialect.create_connect_args(make_url(engine.address()))
        for _ in range(_OTHERS):
            try:
                other = others.enter_context(closing(psycopg.connect(**{**words, "connect_timeout": _PATIENCE_SEC})))
            except psycopg.OperationalError:
                return "session"
            found = _held_server(other)
            if found is None:
                return "session"
            if found == ours:
                return "transaction"
    return "session"


_SERVER: Final = "SELECT pg_backend_pid()"
_OTHERS: Final = 4  # poolers give out first what was used last, so that the first one finds it unless others are busy
_PATIENCE_SEC: Final = 3


def _held_server(connection: Any) -> int | None:
    """Begin a transaction and return the process number of its server, None if there is no answer for a while."""
    pgconn = connection.pgconn
    pgconn.send_query(f"BEGIN; {_SERVER}".encode())
    pgconn.flush()
    found = None
    give_up = time.monotonic() + _PATIENCE_SEC
    while True:
        while pgconn.is_busy():
            if not select([pgconn.socket], [], [], max(0.0, give_up - time.monotonic()))[0]:
                return None
            pgconn.consume_input()
        answer = pgconn.get_result()
        if answer is None:
            return found
        if answer.ntuples:
            found = int(answer.get_value(0, 0))
