"""Journals of every schema that a release knew: each opens in this version, and reports what it reported."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import BreakOpened, JournalError, Ledger
from ledger.journal.sql.words import REVISION
from tests.support.frozen import expected, revisions, thawed
from tests.support.journals import ACCOUNT, DURABLE, digest_of, fill
from tools.testkit.frozen import ANSWER, json_rows


@pytest.fixture(params=DURABLE)
def kind(request):
    return request.param


def test_every_schema_is_frozen():
    """A new migration comes with the frozen journal of the schema before it: python3 tools/dev/freeze_journal.py."""
    assert revisions() == [f"{number:04}" for number in range(1, int(REVISION) + 1)]


@pytest.mark.parametrize("revision", revisions())
def test_an_old_journal_opens_and_reports_the_same_as_ever(revision, kind, tmp_path):
    url = thawed(revision, kind, tmp_path)
    if revision != REVISION:
        with pytest.raises(JournalError, match=f"schema {revision}"):
            Ledger.open(url)
    with Ledger.create(url) as ledger:
        assert ledger.verify().ok
        assert _as_then(json_rows(ledger), expected(revision)) == expected(revision)
        account = ledger.account(ACCOUNT)
        assert len([*account.events()]) == account.version  # every event is read, lifted where it is older
        if revision != "0001":
            assert account.evidence(digest_of(ANSWER)) == ANSWER
        account.record(fill(5000, 5000))
        assert ledger.verify().ok


def _as_then(shown: Any, then: Any) -> Any:
    """Return what is shown, without the keys that were not there then: a version may add some, and drops none."""
    if isinstance(shown, dict) and isinstance(then, dict):
        return {key: _as_then(shown[key], then[key]) if key in then else shown[key] for key in shown if key in then}
    if isinstance(shown, list) and isinstance(then, list) and len(shown) == len(then):
        return [_as_then(one, other) for one, other in zip(shown, then, strict=True)]
    return shown


@pytest.mark.parametrize("revision", revisions())
def test_an_old_break_counts_as_one_confirmation(revision, tmp_path):
    with Ledger.create(thawed(revision, "sqlite", tmp_path)) as ledger:
        [recorded] = [one.event for one in ledger.account(ACCOUNT).events() if isinstance(one.event, BreakOpened)]
        schemas = {row.schema for row in ledger.journal.rows(ACCOUNT) if row.kind == "BreakOpened"}
        written = 1 + sum(revision >= begin for begin in ("0003", "0006", "0008", "0011"))
        assert schemas == {written}  # what is stored stays as it was recorded
        assert (recorded.confirmations, recorded.attempts) == (1, 0)
        [shown] = [one for one in ledger.account(ACCOUNT).portfolio.breaks if one.position_id == 2]
        assert (shown.confirmations, shown.attempts) == (1, 0)


def test_journals_of_all_schemas_report_the_same(tmp_path):
    """The same was recorded in each: what is recorded has the same meaning ever since."""
    recorded = [[{**item, "head": None} for item in expected(revision)] for revision in revisions()]
    for later in recorded[1:]:  # which may report more
        assert like(recorded[0], later) == recorded[0]


def like(first, later):
    """Return of what was reported later what was reported first: the same names, however deep."""
    if isinstance(first, dict) and isinstance(later, dict):
        return {name: like(first[name], later[name]) for name in first}
    if isinstance(first, list) and isinstance(later, list):
        return [like(one, other) for one, other in zip(first, later, strict=True)]
    return later
