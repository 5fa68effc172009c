"""Verification in two processes: half of the work of a long account is done by a program of its own.

It reads one job from standard input, the journal's URL included, and writes what it found to standard output.

What it found whole is taken over only if it began where the first process arrived. Where anything is wrong, or the program
cannot be started, the first process does everything itself and names what it finds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.verify.walk import Problem, State, WorkerResult, verify_tail
from ledger.processes import SAFE_FOLDER, own_command
from ledger.values import AccountId

#: From so many events on the program's start, a third of a second, is worth it.
LEAST: Final = 100_000
#: Where the other half begins: to fold an event costs half of what it costs to check it.
_SHARE: Final = 0.74


class VerifyWorker:
    """The other process. It ends by itself when it is done, and when we end.

    Attributes:
        after: The version behind which it checks rows.
    """

    def __init__(self, command: list[str], journal: SqlJournal, account: AccountId, version: int) -> None:
        self.after = int(version * _SHARE)
        folder = journal.segments.folder
        job = {
            "url": journal.engine.address(), "segments": None if folder is None else str(folder.absolute()),
            "server": account.server, "login": account.login, "after": self.after, "upto": version,
        }  # fmt: skip
        self._process = subprocess.Popen(  # noqa: S603  # ourselves
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=SAFE_FOLDER
        )
        self._found: tuple[WorkerResult | None] | None = None
        assert self._process.stdin is not None
        try:  # the password in the URL is no argument that others can see
            self._process.stdin.write(json.dumps(job).encode())
            self._process.stdin.close()
        except OSError:
            self.end()
            raise
        self._process.stdin = None

    def end(self) -> None:
        """End the other process, if it still runs; harmless when repeated."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def result(self) -> WorkerResult | None:
        """Wait for what it found; None where something is wrong, or it could not be done."""
        if self._found is None:
            output, _ = self._process.communicate()
            self._found = (_read(output),) if self._process.returncode == 0 and output else (None,)
        return self._found[0]


def helper(journal: Any, account: AccountId, version: int) -> VerifyWorker | None:
    """Have part of a long account verified by another process; None where that is not worth it, or cannot be."""
    command = own_command("ledger.journal.verify.worker")
    if not isinstance(journal, SqlJournal) or version < LEAST or command is None:
        return None
    try:
        return VerifyWorker(command, journal, account, version)
    except OSError:
        return None


def _main() -> None:
    job = json.load(sys.stdin)
    engine = open_engine(job["url"], create=False)
    journal = SqlJournal(engine, lambda: 0, None if job["segments"] is None else Path(job["segments"]))
    found = verify_tail(journal, AccountId(job["server"], job["login"]), job["after"], job["upto"])
    engine.dispose()
    if found is not None:
        json.dump(_written(found), sys.stdout)


def _written(found: WorkerResult) -> dict[str, Any]:
    begin, end = ([one.version, (one.hash or b"").hex(), one.recorded_us, one.place] for one in (found.begin, found.end))
    folded = [[one.account, one.version, one.field, one.what] for one in found.folded]
    return {"begin": begin, "end": end, "evidence": found.evidence, "folded": folded}


def _read(output: bytes) -> WorkerResult | None:
    try:
        found = json.loads(output)
        begin, end = (
            State(version, bytes.fromhex(chain), recorded_us, tuple(place))
            for version, chain, recorded_us, place in (found["begin"], found["end"])
        )
        folded = tuple(
            Problem(account=account, version=version, field=field, what=what)
            for account, version, field, what in found["folded"]
        )
        return WorkerResult(begin=begin, end=end, evidence=found["evidence"], folded=folded)
    except (KeyError, TypeError, ValueError):
        return None


if __name__ == "__main__":
    _main()
