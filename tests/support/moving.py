"""This module is two journals and a directory of them, for tests about moving an account, and what always has to hold."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

from ledger import AccountMoved, AccountMoving, Directory, Event, Ledger, Outcome
from tests.support.journals import ACCOUNT, Clock, bare_postgres, digest_of, empty_postgres_url, fill, ghost, new_url, opened

#: What the account moves from, and to.
PAIRS: Final = (("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite"), ("postgres", "postgres"))
RAW: Final = b'{"positions": []}'
DEALS: Final = 30


class Desk:
    """Two journals, a and b, in a directory; the account is in a, where an engine has it open and has appended last.

    Attributes:
        urls: Name -> URL.
        directory_url: Of the directory.
        engine: The ledger of the engine.
        acknowledged: The deals that were recorded.
    """

    def __init__(self, pair: tuple[str, str], folder: Path) -> None:
        source, target = pair
        self.urls = {name: new_journal(kind, folder / name) for name, kind in (("a", source), ("b", target))}
        self.directory_url = f"sqlite:///{folder}/directory.db" if source == "sqlite" else empty_postgres_url()
        self._deals = count(DEALS + 1)
        self.acknowledged = set(range(1, DEALS + 1))
        self.engine = Ledger.open(self.urls["a"], now_us=Clock())
        events: list[Event] = [
            opened(),
            *(fill(deal, deal) for deal in range(1, DEALS + 1)),
            ghost(1, 40, evidence=digest_of(RAW)),
        ]
        self.engine.journal.append(ACCOUNT, events, evidence=[RAW])
        with Directory.create(self.directory_url) as directory:
            for name, url in self.urls.items():
                directory.add(name, url)

    def close(self) -> None:
        self.engine.close()

    def directory(self) -> Directory:
        """Open the directory, with journals of its own connections."""
        return Directory.open(self.directory_url)

    def record(self, ledger: Ledger) -> int:
        """Record a new deal and return its ticket."""
        deal = next(self._deals)
        assert ledger.account(ACCOUNT).record(fill(deal, deal)) is Outcome.APPENDED
        self.acknowledged.add(deal)
        return deal

    def accepting(self) -> list[str]:
        """Return the journals that accept an event, by whoever appends: the engine with what it remembers, or a new process."""
        accepted = []
        for name, url in self.urls.items():
            with Ledger.open(url, now_us=Clock(step_us=2_000_000)) as ledger:
                mine = [ledger, self.engine] if name == "a" else [ledger]
                known = [ledger.account(ACCOUNT).is_open and self._is_accepted(one) for one in mine]
            assert len(set(known)) == 1, f"{name}: what one is refused the other is not"
            accepted += [name] if known[0] else []
        return accepted

    def _is_accepted(self, ledger: Ledger) -> bool:
        try:
            self.record(ledger)
        except (AccountMoved, AccountMoving):
            return False
        return True

    def require_whole(self, name: str) -> None:
        """Verify both journals; the account in one of them must hold every deal that was acknowledged, once."""
        for url in self.urls.values():
            with Ledger.open(url) as ledger:
                assert ledger.verify().problems == ()
        with Ledger.open(self.urls[name]) as ledger:
            deals = [row.deal for row in ledger.journal.rows(ACCOUNT) if row.deal is not None]
            assert len(deals) == len(set(deals))
            assert self.acknowledged <= set(deals)
            assert ledger.account(ACCOUNT).evidence(digest_of(RAW)) == RAW


def new_journal(kind: str, folder: Path) -> str:
    """Return the URL of a new journal with an id of its own: those that are copies of a template share one."""
    folder.mkdir()
    url = new_url(kind, folder)
    if kind == "postgres":
        with bare_postgres(url) as connection:
            connection.execute("ALTER TABLE identity DISABLE TRIGGER identity_no_change")
            connection.execute("GRANT UPDATE ON identity TO CURRENT_USER")
            connection.execute("UPDATE identity SET journal_id = %s", [str(uuid4())])
            connection.execute("ALTER TABLE identity ENABLE ALWAYS TRIGGER identity_no_change")
    return url


def killed(work: Callable[[], object]) -> None:
    """Do something in a child process, which kills itself meanwhile (SIGKILL)."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)  # it was to be killed before
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill_myself(*_: object) -> None:
    """End this process as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)
