"""Looks at single events: however many are looked for, the statements are few."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest

from ledger import Ledger
from ledger.journal.sql.looks import moments, rows_of
from tests.support.journals import new_url
from tools.testkit.facts import fill

if TYPE_CHECKING:
    from ledger.journal.sql.journal import SqlJournal


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_however_many_events_are_looked_for_the_statements_are_few(kind, tmp_path, monkeypatch):
    with closing(Ledger.create(new_url(kind, tmp_path))) as ledger:
        account = ledger.account("Broker", 7)
        account.open(currency="USD", mode="hedging", clock="UTC")
        account.record_many([fill(number, time_msc=1_700_000_000_000 + number) for number in range(1, 600)])
        journal, texts = cast("SqlJournal", ledger.journal), set()
        select = journal.select

        def noted(text, *values):
            texts.add(text)
            return select(text, *values)

        monkeypatch.setattr(journal, "select", noted)
        for count in [*range(1, 600, 7), 500, 501]:
            wanted = list(range(1, count + 1))
            assert [one.version for one in moments(journal, account.name, wanted)] == wanted
            assert [one.version for one in rows_of(journal, account.name, wanted)] == wanted
        assert len(texts) <= 2 * 10
