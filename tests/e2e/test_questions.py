"""The commands that answer questions, on both databases: filters, moments, CSV, explain, compare; and what a terminal shows."""

from __future__ import annotations

import csv
import io
import json
import sys
from decimal import Decimal
from typing import Any

import pytest

from ledger import (
    AccountId,
    BreakOpened,
    CashMoved,
    DealCompleted,
    DealRevised,
    FillRecorded,
    GhostClosed,
    Ledger,
    PositionState,
)
from ledger.cli import main
from ledger.compare import comparison_json
from ledger.explain import explanation_json
from ledger.text import csv_text, visible
from tests.support.commands import run
from tests.support.journals import new_url

USD, JPY = AccountId("Broker-Live", 70113), AccountId("=Prop", 70113)
HOSTILE = "=HYPERLINK(1)\x1b[2J\n\u202e" + "x" * 90
START = 1_780_272_000_000  # 2026-06-01, of the server's clock, which is UTC
HOUR = 3_600_000
_DAY_US = 86_400_000_000


def fill(deal: int, hours: float, side: str, entry: str, position: int, **more: Any) -> FillRecorded:
    fields: dict[str, Any] = {
        "symbol": "EURUSD", "volume": "0.10", "price": "1.1", "commission": 0, "fee": 0, "swap": 0, "profit": 0, "magic": 7,
        "comment": HOSTILE,
    } | more  # fmt: skip
    return FillRecorded(
        deal=deal, time_msc=START + int(hours * HOUR), side=side, entry=entry, position_id=position, order=position, **fields
    )


def desk(url: str) -> str:
    """Make a journal with two accounts of one login, a late deal, a revision, breaks and hostile comments."""
    now = [(START + 1000 * HOUR) * 1000]

    def tick() -> int:
        now[0] += 1000
        return now[0]

    with Ledger.create(url, now_us=tick) as ledger:
        usd, jpy = ledger.account(USD), ledger.account(JPY)
        usd.open(currency="USD", mode="hedging", time_msc=START)
        jpy.open(currency="JPY", mode="hedging", time_msc=START)
        jpy.record_many([CashMoved(deal=1, time_msc=START, type=2, profit=500_000), fill(2, 1, "buy", "in", 2, swap=None)])
        jpy.record(DealCompleted(deal=2, time_msc=START + HOUR, swap=0, caused_by=3))
        usd.record_many(
            [
                CashMoved(deal=1, time_msc=START, type=2, profit="1000.00"),
                fill(10, 1, "buy", "in", 10, commission="-0.50"),
                fill(11, 2, "sell", "out", 10, profit="4.20"),
                fill(20, 3, "sell", "in", 20, symbol="XAUUSD", magic=-1),
                fill(21, 30, "buy", "out", 20, symbol="XAUUSD", magic=-1, profit="-9.00"),
                fill(30, 4, "buy", "in", 30),
                GhostClosed(
                    before=PositionState(position_id=30, symbol="EURUSD", side="buy", volume="0.10", price_open="1.1"),
                    time_msc=START + 6 * HOUR, caused_by=1, evidence="0" * 64,
                ),
                fill(40, 8, "buy", "in", 40, magic=None),
                BreakOpened(kind="ghost", position_id=40, symbol="EURUSD", ours=HOSTILE, time_msc=START + 9 * HOUR),
                BreakOpened(kind="balance", field="balance", ours="1", theirs="2", time_msc=START + 9 * HOUR),
            ]
        )  # fmt: skip
        usd.record(fill(31, 5, "sell", "out", 30, profit="1.25"))  # late: it explains the ghost
        usd.record(DealRevised(now=fill(11, 2, "sell", "out", 10, profit="5.00"), caused_by=1))
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request, tmp_path_factory):
    return desk(new_url(request.param, tmp_path_factory.mktemp("desk")))


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    return desk(new_url("sqlite", tmp_path_factory.mktemp("screen")))


def asked(url: str, *words: str, code: int = 0) -> Any:
    ran = run(*words, "--json", journal=url)
    assert ran.code == code, ran.text
    return ran.json() if words[0] != "log" else [json.loads(line) for line in ran.out.splitlines()]


def ids(items: list[dict[str, Any]]) -> list[int]:
    return [item["position_id"] for item in items]


def table(url: str, *words: str) -> list[dict[str, str]]:
    ran = run(*words, "--csv", journal=url)
    assert ran.code in (0, 1), ran.text
    return list(csv.DictReader(io.StringIO(ran.out.decode(), newline="")))


# ------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["positions"], [2, 40]),
        (["positions", "--account", str(USD)], [40]),
        (["positions", "--account", str(USD), "--account", str(JPY), "--account", str(USD)], [2, 40]),
        (["positions", "--symbol", "XAUUSD"], []),
        (["positions", "--magic", "7"], [2]),
        (["positions", "--until", "2026-06-01T03:30", "--account", str(USD)], [20]),
        (["positions", "--until", "2026-06-01T04:30", "--account", str(USD)], [20, 30]),
        (["positions", "--version", "5", "--account", str(USD)], [20]),
        (["positions", "--known-at", "2026-05-01"], []),
        (["trades"], [10, 30, 20]),
        (["trades", "--symbol", "XAUUSD", "--symbol", "EURUSD"], [10, 30, 20]),
        (["trades", "--magic", str(2**64 - 1)], [20]),
        (["trades", "--magic", "-1"], [20]),
        (["trades", "--since", "2026-06-01T05:00"], [30, 20]),
        (["trades", "--since", "2026-06-01T05:00:01"], [20]),
        (["trades", "--until", "2026-06-01"], [10, 30]),
        (["trades", "--until", "2026-06-01T04:59"], [10]),
        (["trades", "--since", "2026-06-01T02:00:01", "--until", "2026-06-01T05:00"], [30]),
        (["trades", "--since", "1s"], []),
        (["breaks"], [40, None]),
        (["breaks", "--symbol", "EURUSD"], [40]),
        (["breaks", "--magic", "7"], []),
        (["log", "--symbol", "XAUUSD"], [20, 20]),
        (["log", "--magic", "-1"], [20, 20]),
        (["log", "--symbol", "EURUSD", "--magic", "7", "--kind", "DealCompleted"], [None]),
        (["log", "--symbol", "XAUUSD", "--kind", "DealCompleted"], []),
        (["log", "--symbol", "EURUSD", "--kind", "DealRevised", "--kind", "breaks"], [40, 10]),
    ],
)
def test_filters_select_what_is_shown(url, words, found):
    assert ids(asked(url, *words)) == found


def test_filters_do_not_change_what_is_folded(url):
    every = {item["position_id"]: item for item in asked(url, "trades")}
    for position_id, symbol in ((10, "EURUSD"), (20, "XAUUSD")):
        (found,) = (one for one in asked(url, "trades", "--symbol", symbol) if one["position_id"] == position_id)
        assert found == every[position_id]
    assert every[10]["profit"] == "5.00"


def test_a_wrong_spelling_does_not_look_as_if_nothing_were_open(url):
    ran = run("positions", "--symbol", "eurusd", "--json", journal=url)
    assert (ran.json(), ran.code) == ([], 0)
    assert b"no open positions of eurusd here; there are some of EURUSD" in ran.err
    assert b"EURUSD" in run("trades", "--symbol", "GOLD", "--csv", journal=url).err


def test_breaks_that_a_filter_cannot_judge_are_counted_beside_the_output(url):
    assert b"1 more open breaks are of no symbol" in run("breaks", "--symbol", "EURUSD", "--json", journal=url).err
    assert b"2 more open breaks" in run("breaks", "--magic", "7", "--json", journal=url).err


@pytest.mark.parametrize(
    "words",
    [
        ["positions", "--account", "Nobody/1"], ["positions", "--until", "yesterday"], ["trades", "--magic", "x"],
        ["trades", "--magic", str(2**64)], ["balance", "--since", "2026-06-02", "--until", "2026-06-01"],
        ["positions", "--json", "--csv"], ["log", "--follow", "--csv"], ["trades", "--since", "999999w"],
        ["explain", "position", "999"], ["explain", "trade", "40"], ["explain", "trade", "0"],
        ["compare", str(USD), "Nobody/1"], ["compare", f"{USD}@v1,v2", str(USD)], ["compare", f"{USD}@", str(USD)],
        ["compare", f"{USD}@v999", str(USD)], ["compare", str(USD), f"{USD}@24h", "--since", "24h"], ["compare", "x", "y"],
        ["drift", "--account", str(USD), "--account", str(JPY), "--gateway", "tcp://127.0.0.1:1"],
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_shows_what_was_expected(url, words):
    ran = run(*words, journal=url)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.err


# ------------------------------------------------------------------------------------------------------------- moments


def test_the_change_of_a_balance_adds_up_for_any_split_of_the_period(url):
    def change(since: str, until: str) -> dict[str, Any]:
        words = ("balance", "--account", str(USD), "--since", since, "--until", until)
        item: dict[str, Any] = asked(url, *words)[0]
        parts = [item[name] for name in ("profit", "swap", "commission", "fee", "adjusted")] + list(item["cash"].values())
        assert sum(map(Decimal, parts)) == Decimal(item["balance"]) + Decimal(item["credit"])
        assert Decimal(item["balance_before"]) + Decimal(item["balance"]) == Decimal(item["balance_after"])
        return item

    whole = change("2026-06-01", "2026-06-02")
    halves = [change("2026-06-01", "2026-06-01T02:59"), change("2026-06-01T03:00", "2026-06-02")]
    assert sum(Decimal(half["balance"]) for half in halves) == Decimal(whole["balance"])
    assert (whole["balance_before"], whole["balance_after"]) == ("0.00", asked(url, "balance")[1]["balance"])
    assert halves[1]["balance_before"] == asked(url, "balance", "--until", "2026-06-01T02:59")[1]["balance"]


# ----------------------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    "words",
    [
        ["accounts"], ["positions"], ["trades"], ["balance"], ["balance", "--since", "2026-06-01"], ["log"], ["breaks"],
        ["status"], ["orders"],
    ],
)  # fmt: skip
def test_csv_has_the_rows_of_the_json_output(url, words):
    items, rows, later = asked(url, *words), table(url, *words), asked(url, *words)
    assert len(rows) == len(items)
    for item, row, after in zip(items, rows, later, strict=True):
        if "age_sec" in row and item["age_sec"] is not None:  # time passes between the three
            assert float(item.pop("age_sec")) <= float(row["age_sec"]) <= float(after["age_sec"])
        named = item.get("account", item)
        assert row["account"].lstrip("'") == f"{named['server']}/{named['login']}"
        assert row["currency"] == named["currency"]
        for name in row.keys() & item.keys() - {"account"}:
            value = item[name]
            if value is None:
                assert row[name] == ""
            elif isinstance(value, (str, int)) and not isinstance(value, bool):
                assert row[name] in (str(value), csv_text(visible(str(value))))


def test_broker_text_that_a_spreadsheet_would_run_is_quoted(url):
    assert {row["account"][0] for row in table(url, "accounts")} == {"'", "B"}
    (row, _) = table(url, "breaks")
    assert row["ours"].startswith("'=HYPERLINK(1)\\x1b")


# ------------------------------------------------------------------------------------------------------------- explain


def test_explain_names_every_record_and_why_it_does_not_count(url):
    item = asked(url, "explain", "balance", "--account", str(USD))
    lines = [(line["kind"], line["amounts"]["balance"], line["reason"], line["superseded_by"]) for line in item["lines"]]
    assert item["figures"]["balance"] == "996.75"
    assert ("FillRecorded", "0.00", "superseded by a revision", 13) in lines
    assert ("DealRevised", "5.00", None, None) in lines
    assert sum(Decimal(amount) for _, amount, *_ in lines) == Decimal("996.75")
    (row,) = (one for one in table(url, "explain", "balance", "--account", str(USD)) if one["superseded_by"])
    assert (row["amounts_balance"], row["reason"]) == ("0.00", "superseded by a revision")


def test_explain_a_position_names_the_correction_that_a_late_deal_explained(url):
    before = asked(url, "explain", "position", "30", "--version", "11")
    now = asked(url, "explain", "position", "30")
    assert [(one["kind"], one["amounts"]["volume"]) for one in before["lines"]] == [
        ("FillRecorded", "0.1"), ("GhostClosed", "-0.1"),
    ]  # fmt: skip
    assert before["unknown"] == ["some of it ended unseen, with a result that is not known"]
    assert [(one["kind"], one["amounts"]["volume"], bool(one["reason"])) for one in now["lines"]] == [
        ("FillRecorded", "0.1", False), ("FillRecorded", "-0.1", False), ("GhostClosed", "0", True),
    ]  # fmt: skip
    assert asked(url, "explain", "trade", "10")["figures"] == {
        "commission": "-0.50", "fee": "0.00", "swap": "0.00", "profit": "5.00",
    }  # fmt: skip


def test_many_events_are_summed_by_kind_and_month_unless_all_are_wanted(url, monkeypatch):
    words = ("explain", "balance", "--account", str(USD))
    assert not asked(url, *words)["summed"]
    monkeypatch.setattr("ledger.explain.LISTED", 8)
    item = asked(url, *words)
    assert item["summed"]
    assert [(one["kind"], one["amounts"]["balance"], one["count"], one["reason"]) for one in item["lines"]] == [
        ("CashMoved", "1000.00", 1, None), ("FillRecorded", "-8.25", 6, None),
        ("FillRecorded", "0.00", 1, "superseded by a revision"), ("DealRevised", "5.00", 1, None),
    ]  # fmt: skip
    assert len(asked(url, *words, "--all")["lines"]) == sum(one["count"] for one in item["lines"]) == 9


def test_the_library_gives_what_the_commands_print(url):
    with Ledger.open(url) as ledger:
        account = ledger.account(USD)
        assert explanation_json(account.explain_balance()) == asked(url, "explain", "balance", "--account", str(USD))
        assert explanation_json(account.explain_position(30)) == asked(url, "explain", "position", "30")
        assert [explanation_json(one) for one in account.explain_trade(30)] == [asked(url, "explain", "trade", "30")]
        found = ledger.compare(f"{USD}@v8", str(USD))
        assert comparison_json(found) == asked(url, "compare", f"{USD}@v8", str(USD), code=1)


# ------------------------------------------------------------------------------------------------------------- compare


def test_compare_names_the_events_between_two_moments_and_what_each_changes(url):
    item = asked(url, "compare", f"{USD}@v11", str(USD), code=1)
    whats = {one["what"]: one for one in item["differences"]}
    assert whats.keys() == {"balance", "unexplained 30 ghost result"}
    changes = [(one["version"], one["in"], one["changes"]) for one in item["events"]]
    assert changes == [
        (4, "both", {"balance": "-4.20"}), (13, "b", {"balance": "5.00"}),
        (12, "b", {"balance": "1.25", "position 30": "-0.1"}), (8, "both", {"position 30": "0.1"}),
    ]  # fmt: skip
    assert [one["version"] for one in whats["unexplained 30 ghost result"]["events"]] == [12, 8]
    rows = table(url, "compare", f"{USD}@v11", str(USD))
    assert [row["version"] for row in rows if row["difference"] == "balance"] == ["4", "13", "12"]


def test_compare_with_itself_is_equal_and_exits_with_0(url):
    item = asked(url, "compare", f"{USD}@2026-06-01,known:2026-06-03", f"{USD}@2026-06-01,known:2026-06-03")
    assert (item["equal"], item["differences"], item["events"]) == (True, [], [])
    assert "nothing differs" in run("compare", str(USD), str(USD), journal=url).text


def test_two_accounts_are_held_together_by_symbol_and_side_or_by_position(url):
    item = asked(url, "compare", str(USD), str(JPY), code=1)
    assert {one["what"] for one in item["differences"]} == {
        "currency", "balance", "break ghost 40", "break balance balance",
    }  # fmt: skip
    assert item["events"] == []
    by_id = asked(url, "compare", str(USD), str(JPY), "--match", "position", "--since", "2026-06-01T07:00", code=1)
    assert {"position 2", "position 40"} <= {one["what"] for one in by_id["differences"]}
    assert {(one["in"], one["version"]) for one in by_id["events"] if one["kind"] == "FillRecorded"} == {("a", 6), ("a", 9)}


# ------------------------------------------------------------------------------------------------------------ terminal


@pytest.mark.parametrize(
    "words",
    [
        "accounts", "positions", "trades", "balance", "balance --since 2026-06-01", "breaks", "status", "log",
        "explain balance", "explain position 30", "explain trade 10", f"compare {USD}@v11 {USD}", f"compare {USD} {JPY}",
    ],
)  # fmt: skip
def test_what_a_terminal_shows_fits_eighty_columns(sqlite, words, monkeypatch):

    class Screen(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    shown = io.BytesIO()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Screen(shown, encoding="utf-8", write_through=True))
    with pytest.raises(SystemExit):
        main(["--journal", sqlite, *words.split()])
    text = shown.getvalue().decode()
    assert text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
