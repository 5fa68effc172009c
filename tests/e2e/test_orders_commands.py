"""The commands about orders, as an operator uses them: list, look at one, decide, halt and resume."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ledger import Ledger, LimitsSet, OrderDenied, OrderSeen
from ledger.cli.halts import MODES
from tests.e2e.test_status import health
from tests.support.commands import run
from tests.support.journals import ACCOUNT, OTHER, START_MSC, fill, new_url, opened
from tools.testkit.orders import answered, intended

LONG = "strategy.ema-crossover_17.2026-06-15T12.00.05.entry-long-eurusd-1"
EVENTS: list[Any] = [
    opened(),
    intended(1, 0, valid_until_utc_msc=START_MSC),
    answered(1, 1, "unknown", retcode=10012, comment="no reply"),
    intended(2, 2, volume="0.10", strategy="ema"),
    answered(2, 3),
    fill(20, 4, order=2, volume="0.04"),
    OrderSeen(ticket=90, symbol="XAUUSD", type=3, state=1, volume_initial=5, volume_current=5, time_msc=START_MSC + 5000),
    OrderDenied(
        client_id=LONG[:64], kind="market", symbol="EURUSD", side="buy", volume=1, rule="volume_per_symbol_max", limit="1.00",
        value="1.14", why="open 0.14, asked for 1", time_msc=START_MSC + 6000,
    ),
]  # fmt: skip


@pytest.fixture
def url(tmp_path):
    url = new_url("sqlite", tmp_path)
    with Ledger.create(url) as ledger:
        ledger.account(ACCOUNT).record_many(EVENTS)
    return url


def resolve(url, *words):
    return run("order", "resolve", *words, "--operator", "ann", "--reason", "asked the dealer", journal=url)


# -------------------------------------------------------------------------------------------------------------- listing


def test_the_list_is_readable_at_80_columns_and_names_what_is_unknown(url):
    ran = run("orders", journal=url)
    lines = ran.text.splitlines()
    assert ran.code == 1
    assert max(map(len, lines)) <= 80
    assert lines[:4] == [
        "Broker-Live/70113 orders: 4",
        "c-1  UNKNOWN  market buy 2 EURUSD",
        "  since 2026-01-05 10:00:01 UTC, answered unknown 10012: no reply,",
        "  fills not known, no ticket, token LAAAAAAAAAAAAAAAAAAA",
    ]
    assert "c-2  PARTIAL  market buy 0.1 EURUSD" in lines
    assert "ticket 90  WORKING  pending sell 5 XAUUSD" in lines
    assert lines[-2:] == ["EURUSD: 1 order is UNKNOWN, nothing new may be opened there", "  ledger order show c-1"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), ["c-1", "c-2", None, LONG[:64]]),
        (("--open",), ["c-1", "c-2", None]),
        (("--unknown",), ["c-1"]),
        (("--until", "2026-01-05T10:00:00"), ["c-1"]),
        (("--version", "3"), ["c-1"]),
    ],
)
def test_the_json_has_the_orders_that_were_asked_for(words, names, url):
    listed = run("orders", "--json", *words, journal=url).json()
    assert [one["client_id"] for one in listed] == names
    first = listed[0]
    assert (first["account"]["login"], first["kind"], first["volume"], first["open"]) == (ACCOUNT.login, "market", "2", True)


def test_the_exit_code_is_that_of_the_moment(url):
    assert run("orders", "--version", "1", journal=url).code == 0
    assert run("orders", "--open", journal=url).code == 1
    assert resolve(url, "c-1", "--outcome", "absent", "--yes").code == 0
    ran = run("orders", "--unknown", journal=url)
    assert (ran.code, ran.text) == (0, "Broker-Live/70113 unknown orders: none\n")


# ------------------------------------------------------------------------------------------------------------ one order


@pytest.mark.parametrize("name", ["c-2", "2"])
def test_one_order_is_shown_with_its_events(name, url):
    ran = run("order", "show", name, journal=url)
    assert ran.code == 0
    assert [line.split()[3] for line in ran.text.splitlines() if line.startswith("v")] == [
        "OrderIntended", "OrderAnswered", "FillRecorded"
    ]  # fmt: skip
    assert max(map(len, ran.text.splitlines())) <= 80
    shown = run("order", "show", name, "--json", journal=url).json()
    assert [one["kind"] for one in shown["events"]] == ["OrderIntended", "OrderAnswered", "FillRecorded"]
    assert shown["events"][0]["event_time"] == "2026-01-05T10:00:02Z"
    assert (shown["client_id"], shown["filled"], shown["state"]) == ("c-2", "0.04", "partial")


def test_an_unknown_order_states_what_to_do(url):
    ran = run("order", "show", "c-1", journal=url)
    assert ran.code == 1
    assert "ledger order resolve c-1 --outcome OUTCOME --reason WHY" in ran.text


def test_an_order_that_two_accounts_have_needs_its_account(url):
    with Ledger.open(url) as ledger:
        ledger.account(OTHER).record_many([opened(OTHER), intended(2, 9)])
    ran = run("order", "show", "c-2", journal=url)
    assert (ran.code, "name one with --account" in ran.text) == (2, True)
    assert run("order", "show", "c-2", "--account", str(ACCOUNT), "--json", journal=url).json()["filled"] == "0.04"
    assert run("order", "show", "c-7", journal=url).code == 2


# ------------------------------------------------------------------------------------------------------------- decisions


def test_the_effect_is_shown_and_nothing_is_recorded_without_consent(url):
    ran = resolve(url, "c-1", "--outcome", "absent")
    assert ran.code == 2
    assert "pass --yes to record this decision" in ran.text
    lines = [" ".join(line.split()) for line in ran.text.splitlines()]
    assert "state UNKNOWN ABSENT" in lines
    assert "UNKNOWN orders 1 on EURUSD none" in lines
    assert "doubles the" in ran.text
    with Ledger.open(url) as ledger:
        assert ledger.account(ACCOUNT).version == len(EVENTS)


class Person(io.StringIO):
    """Standard input of somebody who sits at a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "code", "recorded"), [("n\n", 130, 0), ("y\n", 0, 1), ("", 130, 0)])
def test_a_person_is_asked(answer, code, recorded, url, monkeypatch):
    monkeypatch.setattr("sys.stdin", Person(answer))
    ran = resolve(url, "c-1", "--outcome", "rejected")
    assert (ran.code, "Record this decision?" in ran.text) == (code, True)
    with Ledger.open(url) as ledger:
        assert ledger.account(ACCOUNT).version == len(EVENTS) + recorded


def test_a_decision_is_recorded_with_operator_and_reason(url):
    done = resolve(url, "c-1", "--outcome", "executed", "--ticket", "555", "--yes", "--json").json()
    assert (done["before"]["state"], done["after"]["state"], done["after"]["tickets"]) == ("unknown", "partial", [555])
    assert done["blocked"] == {"before": [{"symbol": "EURUSD", "client_ids": ["c-1"]}], "after": []}
    assert (done["appended"], done["version"]) == (1, len(EVENTS) + 1)
    assert {name: done["events"][0]["data"][name] for name in ("basis", "operator", "reason", "tickets")} == {
        "basis": "person", "operator": "ann", "reason": "asked the dealer", "tickets": [555]
    }  # fmt: skip
    ran = resolve(url, "c-1", "--outcome", "executed", "--yes")
    assert (ran.code, "would stay partial" in ran.text) == (2, True)


@pytest.mark.parametrize("words", [("c-1", "--outcome", "executed", "--yes"), ("c-2", "--outcome", "absent", "--yes")])
def test_what_makes_no_sense_is_wrong_use(words, url):
    assert resolve(url, *words).code == 2


# ---------------------------------------------------------------------------------------------------------------- halts


def why(*words):
    return [*words, "--operator", "ann", "--reason", "news"]


def test_trading_is_halted_and_resumed(url):
    for _ in range(2):  # the second time it is so already
        ran = run("halt", *why(), journal=url)
        assert (ran.code, "(all): nothing but cancellations is sent" in ran.text) == (0, True)
    assert run("halt", *why("--symbol", "XAUUSD", "--mode", "no-new-risk"), journal=url).code == 0
    assert [line.split()[3] for line in run("log", "--kind", "TradingHalted", journal=url).text.splitlines()[1:]] == [
        "TradingHalted", "TradingHalted"
    ]  # fmt: skip
    assert run("resume", *why(), journal=url).text == f"{ACCOUNT} resumed\n"
    again = run("resume", *why(), journal=url)
    assert (again.code, "halted are: symbol XAUUSD" in again.text) == (2, True)
    assert run("resume", *why("--symbol", "XAUUSD"), journal=url).code == 0


def test_a_halt_without_an_account_is_of_all_and_a_resumption_never(url):
    with Ledger.open(url) as ledger:
        ledger.account(OTHER).record(opened(OTHER))
    ran = run("halt", *why(), journal=url)
    assert (ran.code, ran.text.count(" halted (all)")) == (0, 2)
    assert run("resume", *why(), journal=url).code == 2
    assert run("resume", *why("--account", str(OTHER)), journal=url).code == 0


@pytest.mark.parametrize("command", ["halt", "resume"])
def test_a_halt_is_of_one_scope_and_has_a_reason(command, url):
    assert run(command, "--reason", "x", "--symbol", "A", "--strategy", "b", journal=url).code == 2
    assert run(command, journal=url).code == 2


def test_a_journal_without_an_account_has_nothing_to_halt(tmp_path):
    assert run("init", journal=f"sqlite:///{tmp_path}/new.db").code == 0
    assert run("halt", "--reason", "x", journal=f"sqlite:///{tmp_path}/new.db").code == 2


def test_the_modes_are_the_words_of_the_command():
    assert list(MODES.values()) == ["all", "no-new-risk"]


# --------------------------------------------------------------------------------------------------------------- limits

RULES = 'volume_per_order_max = 0.50\nsymbols = ["EURUSD", "XAUUSD"]\nkill_switch_file = "stop"\n'


def set_limits(url, tmp_path, text, *words):
    file = tmp_path / "limits.toml"
    file.write_text(text, encoding="utf-8")
    return run("limits", "set", str(file), *why(), *words, journal=url)


def test_limits_are_set_with_their_changes_shown_first(url, tmp_path):
    assert "none are set: ledger limits set FILE" in run("limits", "show", journal=url).text
    ran = set_limits(url, tmp_path, RULES)
    assert (ran.code, "pass --yes to record these limits" in ran.text) == (2, True)
    lines = [" ".join(line.split()) for line in ran.text.splitlines()]
    assert {"volume_per_order_max not checked 0.5", "symbols not checked EURUSD, XAUUSD"} <= set(lines)
    assert "an absolute path is safer" in ran.text
    assert run("limits", "show", "--json", journal=url).json()[0]["rules"] is None
    assert set_limits(url, tmp_path, RULES, "--yes").code == 0
    (item,) = run("limits", "show", "--json", journal=url).json()
    assert (item["rules"]["volume_per_order_max"], item["operator"], item["reason"]) == ("0.5", "ann", "news")
    assert (item["problem"], len(item["digest"])) == (None, 32)
    assert "by ann: news" in run("limits", "show", journal=url).text


def test_only_changes_are_recorded_and_what_is_left_out_is_not_checked_any_more(url, tmp_path):
    assert set_limits(url, tmp_path, RULES, "--yes").code == 0
    ran = set_limits(url, tmp_path, RULES)
    assert (ran.code, "in force already" in ran.text) == (0, True)
    done = set_limits(url, tmp_path, "volume_per_order_max = 0.5\n", "--yes", "--json").json()
    assert [(one["rule"], one["after"]) for one in done["changes"]] == [("kill_switch_file", None), ("symbols", None)]
    assert (done["appended"], done["version"]) == (1, len(EVENTS) + 2)
    assert "symbols" not in run("limits", "show", "--json", journal=url).json()[0]["rules"]


@pytest.mark.parametrize("text", ["volume_max = 1\n", "volume_per_order_max = -1\n", "= 1\n", "symbols = 5\n"])
def test_a_file_that_is_no_limits_is_refused_with_its_name(text, url, tmp_path):
    ran = set_limits(url, tmp_path, text, "--yes")
    assert (ran.code, "limits.toml: " in ran.text) == (2, True)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert run("limits", "set", str(tmp_path / "bytes.toml"), *why(), "--yes", journal=url).code == 2
    assert run("limits", "set", str(tmp_path / "none.toml"), *why(), "--yes", journal=url).code == 2


def test_limits_that_a_newer_program_set_are_shown_as_they_are(url):
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).record(LimitsSet(rules={"moon": "full"}, operator="a", reason="b", time_msc=START_MSC))
    (item,) = run("limits", "show", "--json", journal=url).json()
    assert (item["rules"], item["digest"]) == ({"moon": "full"}, None)
    assert "moon" in item["problem"]
    assert "cannot be read here, so every order is denied" in run("limits", "show", journal=url).text


# --------------------------------------------------------------------------------------------------------------- status


def test_the_status_names_unknown_orders_halts_and_how_many_are_open(url):
    with Ledger.open(url) as ledger:
        ledger.journal.save_sync_health(health())
    assert run("halt", *why("--symbol", "XAUUSD", "--mode", "no-new-risk"), journal=url).code == 0
    (item,) = run("status", "--json", journal=url).json()
    assert (item["open_orders"], item["unknown_orders"], item["safe_to_trade"]) == (3, ["c-1"], False)
    assert [(one["scope"], one["name"], one["mode"], one["operator"], one["reason"]) for one in item["halts"]] == [
        ("symbol", "XAUUSD", "no_new_risk", "ann", "news")
    ]
    ran = run("status", journal=url)
    assert "order c-1 is UNKNOWN: ledger order show c-1" in ran.text
    assert "symbol XAUUSD is halted, no new risk, since 20" in ran.text
    assert max(map(len, ran.text.splitlines()[:4])) <= 80


@pytest.mark.parametrize(
    ("words", "halted", "code", "why_not"),
    [
        ((), (), 1, "order c-1 of EURUSD may or may not have been executed: ledger orders --unknown"),
        (("--symbol", "EURUSD"), (), 1, "order c-1 of EURUSD"),
        (("--symbol", "XAUUSD"), (), 0, ""),
        (("--symbol", "XAUUSD"), ("--symbol", "XAUUSD"), 1, "trading of XAUUSD is halted: ledger resume"),
        (("--symbol", "XAUUSD"), ("--symbol", "EURUSD"), 0, ""),
        (("--symbol", "XAUUSD"), ("--strategy", "ema"), 0, ""),
        (("--symbol", "XAUUSD"), ("--mode", "no-new-risk"), 1, "trading of the account is halted, no new risk"),
    ],
)
def test_what_blocks_a_symbol_is_not_safe_for_it(words, halted, code, why_not, url):
    with Ledger.open(url) as ledger:
        ledger.journal.save_sync_health(health())
    if halted:
        assert run("halt", *why(*halted), journal=url).code == 0
    ran = run("status", "--check", *words, journal=url)
    assert (ran.code, why_not in ran.text) == (code, True)


def test_replay_prints_the_orders_that_are_open_at_the_moment(url):
    text = run("replay", journal=url).text
    assert "c-2  PARTIAL  market buy 0.1 EURUSD" in text
    assert LONG[:64] not in text  # denied
    assert "c-2" not in run("replay", "--until", "2026-01-05T10:00:01", journal=url).text
