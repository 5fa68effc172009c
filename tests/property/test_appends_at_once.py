"""The law of appending to SQLite behind a head that is only remembered: what is written is what looking first would write.

Two ledgers write to one file in turn, so that each remembers heads that the other moved on. The same is written to a second
file by ledgers that look at the journal under its lock each time. Every outcome, row, hash and head has to be the same.
"""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import AccountId, LedgerError
from ledger.journal.sql.words import account_key
from tests.property.test_journals_agree import ANSWERS, batches, deals, fills, moved, of_orders, others
from tests.support.journals import START_US, fill, new_url, open_journal, opened

single = (fills | fills | moved | deals | others | of_orders).map(lambda event: [event])
#: Who writes, what, on which version the decision rests (from the last one on), and how much later.
steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        single | single | batches,
        st.sampled_from([None, None, None, 0, -1]),
        st.sampled_from([0, 1, 1_000_000, -5_000_000]),
    ),
    min_size=4,
    max_size=14,
)


class Files:
    """Two files, with two ledgers each. Those of the second never guess."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="ledger-at-once-"))
        atexit.register(shutil.rmtree, folder)
        self.numbers = count(1)
        self.now = START_US
        self.guesses: list[bool] = []
        self.urls = []
        for name in ("guessed", "looked"):
            (folder / name).mkdir()
            self.urls.append(new_url("sqlite", folder / name))
        self.journals: list[Any] = [[open_journal(url, lambda: self.now) for _ in range(2)] for url in self.urls]
        for guesses, looks in zip(*self.journals, strict=True):
            self.watch(guesses._appender)
            looks._appender._guessed = lambda *_: None

    def watch(self, appender: Any) -> None:
        guess = appender._guessed

        def watched(*words: Any) -> Any:
            *about, decide = words
            decided: list[Any] = []

            def seen(state: Any) -> Any:
                decided.append(state)
                return decide(state)

            appended = guess(*about, seen)
            self.guesses += [appended is not None for _ in decided]
            return appended

        appender._guessed = watched

    def record(self, account: AccountId, writer: int, events: list[Any], **words: Any) -> None:
        """Let a writer record the same in both files: the same has to come of it."""
        found: list[Any] = []
        for journals in self.journals:
            try:
                appended = journals[writer].append(account, events, evidence=ANSWERS, **words)
            except LedgerError as error:
                found.append((type(error), str(error)))
            else:
                outcomes = [str(outcome) for outcome in appended.outcomes]
                found.append((appended.head, appended.rows, appended.terms, outcomes))
        assert found[0] == found[1]

    def stored(self, account: AccountId) -> list[list[Any]]:
        found = []
        for url in self.urls:
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                found.append(
                    [
                        connection.execute(f"SELECT * FROM {table} WHERE account_id = ? ORDER BY 1, 2", (key,)).fetchall()  # noqa: S608
                        for table in ("heads", "evidence", "events")
                        for key in [account_key(account)]
                    ]
                )
        return found


@cache
def files() -> Files:
    return Files()


@given(steps=steps)
@settings(max_examples=25)
def test_what_is_guessed_is_written_as_what_is_looked_up(steps: list[Any]) -> None:
    shared = files()
    account, shared.now, version = AccountId("One", next(shared.numbers)), START_US, 1
    shared.record(account, 0, [opened(account)])
    for writer, events, off, later_us in steps:
        shared.now += later_us
        words = {} if off is None else {"expected_version": version + off}
        shared.record(account, writer, events, **words, conflicts="keep")
        version = shared.journals[0][writer].head(account).version
    guessed, looked = shared.stored(account)
    assert guessed == looked
    assert sorted(row[3] for row in guessed[2]) == list(range(1, version + 1))


def test_a_remembered_head_is_used_until_another_writer_moves_it() -> None:
    shared = files()
    account = AccountId("One", next(shared.numbers))
    shared.record(account, 0, [opened(account)])
    shared.guesses.clear()
    for deal, writer in enumerate((0, 0, 1, 1, 0, 0, 1), 1):
        shared.record(account, writer, [fill(deal, deal)])
    assert shared.guesses == [True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ((1, 2, 1, 2, 1, 3, 4), [True, True, False, True]),  # of a history that is known, only the first deal is guessed
        ((1, 1, 2, 2, 2, 3), [True, True, True]),  # and none that is recorded twice, whose successors are new
    ],
)
def test_a_deal_is_not_taken_for_new_behind_one_that_was_known(recorded: tuple[int, ...], expected: list[bool]) -> None:
    shared = files()
    account = AccountId("One", next(shared.numbers))
    shared.record(account, 0, [opened(account)])
    shared.guesses.clear()
    for deal in recorded:
        shared.record(account, 0, [fill(deal, deal)])
    assert shared.guesses == expected
