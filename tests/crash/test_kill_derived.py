"""A follower that is killed in the middle: the tables are of one version, or are known not to be whole."""

from __future__ import annotations

from ledger import Ledger
from tests.contract.test_derived import events
from tests.property.test_derived import check
from tests.support.journals import ACCOUNT, Clock, opened

NOW_US = 2_000_000_000_000_000

#: Catches up, and is killed at the n-th step of storing something: before it, or within the transaction.
FOLLOW = """
import os, signal
from ledger.derived import follower
from ledger.journal.sql.derived import SqlDerived

follower.AT_ONCE = 40
left = int(sys.argv[2])

def die_at(name):
    original = getattr(SqlDerived, name)
    def dying(*arguments, **words):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **words)
    setattr(SqlDerived, name, dying)

for name in ("update", "_delete", "_insert"):
    die_at(name)
ledger = Ledger.open(url)
ledger.checkpoint_interval = 30
ledger.account(ACCOUNT).derived.catch_up()
"""


def test_a_killed_follower_leaves_what_the_next_one_goes_on_from(url, start):
    history = [opened(), *events(130)]
    with Ledger.open(url, now_us=Clock(now_us=NOW_US)) as ledger:
        account = ledger.account(ACCOUNT)
        ledger.journal.append(ACCOUNT, history[:100])
        before = 0
        for moment in (4, 11):  # within the first part; within the second, or what is the second then
            start(FOLLOW, url, str(moment)).wait_for_kill()
            row = account.derived.row
            done = 0 if row is None else row.bookings
            assert row is None or not row.is_whole
            assert len(list(account.derived.bookings())) == done >= before  # what was stored is not made again
            before = done
        assert before > 0
        account.derived.catch_up()
        check(account, account.derived, is_counted=False)
        ledger.journal.append(ACCOUNT, history[100:], conflicts="keep")
        start(FOLLOW, url, "3").wait_for_kill()
        row = account.derived.row
        assert row is not None
        assert (row.version, row.is_whole) == (100, 1)  # nothing of it is there
        account.derived.catch_up()
        check(account, account.derived, is_counted=False)
