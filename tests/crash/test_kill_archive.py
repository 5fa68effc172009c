"""An archiver that is killed at any step: the archive of before is whole, and the next run goes on."""

from __future__ import annotations

import os
from functools import partial
from threading import Event

import pytest

from ledger import Ledger
from ledger.archive.form import account_folder
from ledger.archive.verify import verify_archive
from ledger.archive.write import archive
from ledger.forensics import fold_archive, fold_journal
from tests.support.journals import ACCOUNT, OTHER, START_US, Clock, cash, digest_of, fill, ghost, opened

RAW = b"{}"
#: Archives, and is killed at the n-th step: before or behind a file gets its name, or is read back.
ARCHIVE = """
import os, signal
from contextlib import contextmanager
from pathlib import Path
from ledger.archive import manifest, write

left = int(sys.argv[3])

def step():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def dying(original, path):
    with original(path) as partial:
        step()
        yield partial
        step()
    step()

for module in (write, manifest):
    module.written_whole = lambda path, original=module.written_whole: dying(original, path)
original = write.read_back
write.read_back = lambda *given: (step(), original(*given), step())[1]
write.SEGMENT_ROWS = 4
key = None
if sys.argv[4:]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    key = Ed25519PrivateKey.generate()
write.archive(lambda: Ledger.open(url).journal, Path(sys.argv[2]), lambda: START_US, key=key)
"""
#: Archives with two processes that never end.
IN_PROCESSES = """
import os
from functools import partial
from pathlib import Path
from ledger.archive.write import archive
from tests.crash.test_kill_archive import open_and_hang

archive(partial(open_and_hang, os.getpid(), url), Path(sys.argv[2]), lambda: START_US, jobs=2)
"""


def test_a_killed_archiver_leaves_a_valid_archive(url, start, tmp_path):
    folder = tmp_path / "archive"
    run = partial(archive, lambda: Ledger.open(url).journal, folder, lambda: START_US)
    with Ledger.open(url, now_us=Clock()) as ledger:
        recorded = opened(), cash(1, 0), fill(2, 1), ghost(2, 2, evidence=digest_of(RAW))
        ledger.journal.append(ACCOUNT, recorded, evidence=[RAW])
        run()
        ledger.journal.append(ACCOUNT, [fill(3, 3), *(cash(10 + at, 4 + at) for at in range(5))])
        reached = []
        # While a file is written, before the manifest that names it gets its name, and behind that; then the same of the next.
        for moment in (5, 10, 11, 8, 11):
            start(ARCHIVE, url, str(folder), str(moment)).wait_for_kill()
            accounts, problems = verify_archive(folder)
            assert problems == []
            reached.append(accounts[0].version)
            chain = ledger.journal.hash_at(ACCOUNT, accounts[0].version)
            assert chain is not None
            assert fold_archive(account_folder(folder, ACCOUNT)).head == chain.hex()
        assert reached == [4, 4, 8, 8, 10]
        run()
        assert fold_archive(account_folder(folder, ACCOUNT)) == fold_journal(ledger.account(ACCOUNT))
        assert verify_archive(folder)[1] == []
        assert not list(folder.rglob(".*"))  # what was left behind is removed


@pytest.mark.parametrize("moment", [1, 4, 6])
def test_a_first_run_that_was_killed_at_its_description_or_its_seal_is_continued(url, start, tmp_path, moment):
    folder = tmp_path / "archive"
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), cash(1, 0)])
    start(ARCHIVE, url, str(folder), str(moment), "sealed").wait_for_kill()
    [found] = archive(lambda: Ledger.open(url).journal, folder, lambda: START_US)
    assert found.version == 2
    assert verify_archive(folder)[1] == []
    assert not list(folder.rglob(".*"))


def test_with_a_killed_run_all_its_processes_end(url, start, tmp_path):
    """They hold its output open: reading it ends when the last of them has ended."""
    with Ledger.open(url, now_us=Clock()) as ledger:
        for account in (ACCOUNT, OTHER):
            ledger.journal.append(account, [opened(account), cash(1, 0)])
    child = start(IN_PROCESSES, url, str(tmp_path / "archive"))
    assert [child.read_line(), child.read_line()] == ["writing", "writing"]
    assert child.kill() == []
    found = archive(lambda: Ledger.open(url).journal, tmp_path / "archive", lambda: START_US)
    assert [one.version for one in found] == [2, 2]
    assert verify_archive(tmp_path / "archive")[1] == []


def open_and_hang(process, url):
    """Open a journal in one process, and never in another."""
    if os.getpid() != process:
        os.write(1, b"writing\n")
        Event().wait()
    return Ledger.open(url).journal
