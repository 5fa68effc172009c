"""Closed trades on the page, a page at a time: of the tables, and of what was known at a moment, on every database."""

from __future__ import annotations

import json

import pytest

from ledger import Event, Ledger
from ledger.derived import trade_of
from ledger.page.source import Source
from tests.support.commands import run
from tests.support.journals import ACCOUNT, Clock, fill, ghost, new_url, opened
from tests.support.page_server import PageServer, account_path

TRADES = account_path(ACCOUNT, "trades")
FILTERS = [
    {},
    {"symbol": ["EURUSD"]},
    {"symbol": ["EURUSD", "XAUUSD"]},
    {"since": "2026-01-05T10:05:00"},
    {"since": "2026-01-05T10:02:00", "until": "2026-01-05T10:08:00"},
    {"until": "2026-01-05T10:04", "symbol": ["XAUUSD"]},
]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def traded(request, tmp_path_factory):
    """A page of an account with eleven trades, of which two ended without a deal and are not known in full."""
    url = new_url(request.param, tmp_path_factory.mktemp("traded"))
    events: list[Event] = [opened()]
    for number in range(1, 12):
        terms = {"position_id": number, "symbol": "EURUSD" if number % 3 else "XAUUSD"}
        events.append(fill(2 * number, number, **terms))
        is_gone = number in (4, 7)
        end = fill(2 * number + 1, 60 * number, side="sell", entry="out", **terms)
        events.append(ghost(number, 60 * number) if is_gone else end)
    with Ledger.open(url, now_us=Clock(), create=request.param == "sqlite") as ledger:
        ledger.account(ACCOUNT).record_many(events)
        ledger.account(ACCOUNT).derived.catch_up()
    with PageServer(Source.open(url)) as page:
        yield page, url


@pytest.mark.parametrize("words", FILTERS, ids=lambda words: "-".join(words) or "all")
def test_its_pages_make_what_the_command_lists(words, traded):
    page, url = traded
    options = [word for name, value in words.items() for one in ([value] if name != "symbol" else value)
               for word in (f"--{name}", one)]  # fmt: skip
    expected = json.loads(run("--journal", url, "trades", "--json", *options).out)[::-1]
    assert expected
    for known_at in (None, page.get(account_path(ACCOUNT))["as_of"]):  # of what was known then there are no tables
        for limit in (3, len(expected)):
            rows, before = [], None
            while True:
                answer = page.get(TRADES, limit=limit, before=before, known_at=known_at, **words)
                rows += answer["rows"]
                assert answer["found"] == len(expected)
                before = answer["next"]
                if before is None:
                    break
                assert len(answer["rows"]) == limit
            assert rows == expected


def test_a_page_of_the_tables_reads_no_more_than_it_shows(traded, monkeypatch):
    page, _ = traded
    monkeypatch.delattr("ledger.service.Account.trades")
    read = []

    def noting(row, scale):
        read.append(row)
        return trade_of(row, scale)

    monkeypatch.setattr("ledger.page.questions.trade_of", noting)
    assert len(page.get(TRADES, limit=2)["rows"]) == 2
    assert len(read) <= 3
