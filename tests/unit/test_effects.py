"""Whoever approves sees all of an effect: two corrections that do different things never read alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger import BreakOpened, Ledger
from ledger.cli.effects import break_lines, effect_rows, path_words, print_effect
from ledger.proposals import CorrectionRequest, draft
from tools.testkit.facts import ACCOUNT, START_MSC, Clock, cash, fill, ghost, opened

ADD: dict[str, Any] = {"what": "add", "position_id": 9, "symbol": "EURUSD", "side": "buy", "volume": "1", "price_open": "1.1"}
UPDATE: dict[str, Any] = {"what": "update", "position_id": 1}
TWO: dict[str, Any] = {"what": "policy", "approvals": 2}
REQUESTS: list[dict[str, Any]] = [
    ADD, ADD | {"position_id": 10}, ADD | {"symbol": "XAUUSD"}, ADD | {"side": "sell"}, ADD | {"volume": "1.01"},
    ADD | {"price_open": "1.10001"}, ADD | {"magic": 7}, ADD | {"opened_msc": START_MSC}, ADD | {"opened_msc": START_MSC + 1},
    {"what": "close", "position_id": 1}, {"what": "close", "position_id": 2},
    UPDATE | {"volume": "2"}, UPDATE | {"side": "sell"}, UPDATE | {"price_open": "1.2"}, UPDATE | {"magic": 7},
    {"what": "balance", "balance": "5"}, {"what": "balance", "balance": "5.01"}, {"what": "balance", "credit": "5"},
    {"what": "balance", "balance": "5", "credit": "5"},
    {"what": "withdrawal", "deal": 1}, {"what": "withdrawal", "deal": 5},
    {"what": "acceptance", "position_id": 3}, {"what": "acceptance", "position_id": 4},
    {"what": "clock", "clock": "+03:00"}, {"what": "clock", "clock": "ny-close"}, {"what": "order", "order": "time"},
    TWO, TWO | {"signed": True}, TWO | {"corrections": ["clock"]}, TWO | {"corrections": ["clock", "order"]},
    {"what": "policy", "approvals": 1, "corrections": ["clock"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def account():
    ledger = Ledger.open("memory://", now_us=Clock(step_us=1))
    found = ledger.account(ACCOUNT)
    found.record_many([opened(), cash(5), *(fill(deal) for deal in (1, 2, 3, 4))])
    found.record_many([ghost(3), ghost(4, 1)], expected_version=found.version)
    found.record(BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", time_msc=START_MSC))
    return found


def test_corrections_that_differ_read_differently(account):
    read: dict[str, dict[str, Any]] = {}
    for recipe in REQUESTS:
        effect = draft(account, CorrectionRequest(recipe), operator="ann", reason="x").effect
        text = "\n".join([*map("|".join, effect_rows(effect)), *break_lines(effect)])
        assert read.setdefault(text, recipe) == recipe


@pytest.mark.parametrize(
    ("recipe", "rows", "ends"),
    [
        (
            UPDATE | {"volume": "0.5"},
            [["1", "buy 1 EURUSD @ 1.1", "buy 0.5 EURUSD @ 1.1"], ["1", "nothing unexplained", "ghost result 0.5"]],
            ["the open break ghost 1 would end as accepted"],
        ),
        ({"what": "withdrawal", "deal": 5}, [["deal 5", "counts", "withdrawn"], ["balance", "", "moves by -100"]], []),
        (
            {"what": "acceptance", "position_id": 3},
            [["3", "1 EURUSD unexplained", "accepted"], ["3", "ghost result 1", "nothing unexplained"]],
            [],
        ),
        (TWO | {"corrections": ["clock"]}, [["policy", "one person corrects", "two persons for clock"]], []),
        (ADD | {"opened_msc": START_MSC}, [["9", "none", "buy 1 EURUSD @ 1.1"], ["9 opened msc", "none", str(START_MSC)]], []),
    ],
)
def test_an_effect_reads_as_before_and_after(recipe, rows, ends, account):
    effect = draft(account, CorrectionRequest(recipe), operator="ann", reason="x").effect
    assert effect_rows(effect) == rows
    assert list(break_lines(effect)) == ends


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("positions.7.0.volume", "7 before: volume"),
        ("positions.7.1", "7 after"),
        ("adjusted.0.balance_before", "balance before"),
        ("adjusted.0.before.volume", "before volume"),
        ("money.balance", "balance moves by"),
        ("unexplained.ghost result 7.1", "unexplained ghost result 7 1"),
        ("correction", "correction"),
    ],
)
def test_what_changed_is_named_in_words(path, words):
    assert path_words(path) == words


@pytest.mark.parametrize(
    "effect", [{"positions": 5}, {"adjusted": [5]}, {"policy": [1]}, {"breaks": [{"x": "y"}]}, {"money": "x"}]
)
def test_an_effect_that_somebody_else_wrote_is_shown_as_it_is(effect, capsys):
    print_effect("S/1 would change", effect)
    assert json.dumps(effect) in capsys.readouterr().out
