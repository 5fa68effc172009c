"""An archiver that is killed at any step: the archive of before is whole, and the next run goes on."""

from __future__ import annotations

from functools import partial

from ledger import Ledger
from ledger.archive.form import account_folder
from ledger.archive.verify import verify_archive
from ledger.archive.write import archive
from ledger.forensics import fold_archive, fold_journal
from tests.support.journals import ACCOUNT, START_US, Clock, cash, digest_of, fill, ghost, opened

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
write.archive(lambda: Ledger.open(url).journal, Path(sys.argv[2]), lambda: START_US)
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
