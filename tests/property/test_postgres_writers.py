"""The law of writers on Postgres: whatever they guess, and whenever a connection dies, the journal is as if they had locked."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, LedgerError
from ledger.journal import Journal
from ledger.journal.sql import append as appending
from ledger.journal.sql import wire
from ledger.journal.sql.append import Appender
from ledger.journal.verify.walk import verify_account
from tests.property.test_journals_agree import ANSWERS, deals, of_orders, others
from tests.support.journals import START_US, fill, new_partitioned_url, new_postgres_url, open_journal, opened

_COPIED = 3  # instead of as many as pay off
_examples = count(1)

singles = st.lists(deals | others | of_orders, min_size=1, max_size=1)
several = st.lists(deals | others, min_size=2, max_size=4)
turns = st.fixed_dictionaries(
    {
        "writer": st.sampled_from([0, 0, 1]),
        "events": singles | singles | several,
        "off": st.sampled_from([None, None, None, 0, 1]),  # what is expected, counted from the version that there is
        "dies": st.sampled_from([None, None, None, "before", "after"]),
        "by": st.sampled_from([0, 1, 1_000_000]),
    }
)


def turn(writer: int, deal: int, dies: str | None = None) -> dict[str, Any]:
    return {"writer": writer, "events": [fill(deal, deal)], "off": None, "dies": dies, "by": 1}


def journals_of(shared: str, other: str) -> Any:
    """One journal opened twice, and another one that is always locked; the present, which they all read."""
    present = [START_US]
    opened_ = [open_journal(url, lambda: present[0]) for url in (shared, shared, other)]
    yield opened_[:2], locking(opened_[2]), present
    for journal in opened_:
        journal.close()


@pytest.fixture(scope="module")
def journals() -> Any:
    yield from journals_of(new_postgres_url(), new_postgres_url())


@pytest.fixture(scope="module")
def partitioned_journals() -> Any:
    """As ``journals``; the one that is guessed about is partitioned, the other one is not."""
    yield from journals_of(new_partitioned_url(), new_postgres_url())


@contextmanager
def dying(dies: str | None) -> Any:
    """Let a connection die before what it writes next arrives, or after it was committed and before that is known."""
    pending = [dies] * (dies is not None)

    def carried_out(driver: Any, write: Any) -> Any:
        when = pending.pop() if pending else None
        if when == "before":
            driver.close()
        done = write()
        if when == "after":
            driver.close()
            raise psycopg.OperationalError("the connection is lost")
        return done

    executed, write = wire._executed, Appender._write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "_COPIED", _COPIED)
        patch.setattr(wire, "_executed", lambda driver, values: carried_out(driver, lambda: executed(driver, values)))
        patch.setattr(Appender, "_write", lambda one, state, *rest: carried_out(state.driver, lambda: write(one, state, *rest)))
        yield


def locking(journal: Any) -> Any:
    """Let a journal append under the account's lock alone."""
    tried = journal._appender._tried
    journal._appender._tried = lambda *words, at_once: None if at_once else tried(*words, at_once=at_once)
    return journal


@settings(max_examples=50)
@given(st.lists(turns, min_size=2, max_size=8))
@example([turn(0, 1), turn(0, 2), turn(1, 3), turn(0, 4), turn(0, 3), turn(0, 5), turn(0, 6)])
@example([turn(0, 1), turn(0, 2, "after"), turn(0, 3), turn(0, 4, "before"), turn(0, 2), turn(0, 5, "after")])
def test_guessed_or_locked_the_journal_is_the_same(journals, steps):
    require_the_same(journals, steps)


@settings(max_examples=8)
@given(st.lists(turns, min_size=2, max_size=8))
@example([turn(0, 1), turn(0, 2), turn(1, 3), turn(0, 4), turn(0, 3), turn(0, 5), turn(0, 6)])
@example([turn(0, 1), turn(0, 2, "after"), turn(0, 3), turn(0, 4, "before"), turn(0, 2), turn(0, 5, "after")])
def test_partitioned_or_not_the_journal_is_the_same(partitioned_journals, steps):
    require_the_same(partitioned_journals, steps)


def require_the_same(journals: Any, steps: list[dict[str, Any]]) -> None:
    account = AccountId("Writers", next(_examples))
    writers, locked, present = journals

    def appended(journal: Journal, step: dict[str, Any], expected: int | None) -> Any:
        how: Any = {"expected_version": expected, "conflicts": "keep", "correlation": "c", "evidence": ANSWERS}
        try:
            done = journal.append(account, step["events"], **how)
        except LedgerError as error:
            return type(error), str(error)
        return done.head, done.rows, list(map(str, done.outcomes))

    for journal in (writers[0], locked):
        journal.append(account, [opened(account)])
    for step in steps:
        present[0] += step["by"]
        expected = None if step["off"] is None else locked.head(account).version + step["off"]
        found = appended(locked, step, expected)
        with dying(step["dies"]):
            assert appended(writers[step["writer"]], step, expected) == found
        assert writers[0].head(account) == locked.head(account)
    assert list(writers[0].rows(account)) == list(locked.rows(account))
    assert verify_account(writers[0], account).problems == ()
