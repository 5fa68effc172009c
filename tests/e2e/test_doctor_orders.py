"""``ledger doctor --orders``: each thing that sending orders rests on has a line, and what to do where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger import CarrierBroken, CarrierProven, Ledger, LimitsSet, StorePinned, TradingHalted
from tests.gateway.terminals import Terminal
from tests.support.commands import run
from tests.support.journals import ACCOUNT, START_MSC, new_url, opened
from tools.testkit.orders import answered, intended

NOW_MSC = 1_767_607_200_000
SYMBOLS = [
    {"symbol": "EURUSD", "digits": 5, "volume_step": 0.01, "filling_mode": 3},
    {"symbol": "XAUUSD", "digits": 2, "volume_step": 0.01, "filling_mode": 2},
    {"symbol": "BTCUSD", "digits": 2, "volume_step": 0.01, "filling_mode": 0},
]


def service(**stated: Any):
    """Return a gateway of version 2 that states these fields, None for one that it leaves out."""
    skew_msc = stated.pop("skew_msc", 0)

    def script(_, request):
        head = {
            "status": "SUCCESS", "req_id": request.get("req_id"), "login": ACCOUNT.login, "server": ACCOUNT.server,
            "margin_mode": "hedging", "connected": True,
        }  # fmt: skip
        rows: dict[str, Any] = {
            "GET_POSITIONS": {"positions": [], "count": 0},
            "GET_SYMBOLS": {"symbols": stated.get("symbols", SYMBOLS), "count": len(stated.get("symbols", SYMBOLS))},
            "PING": {
                "protocol": 2, "can": ["orders", "push", "fence"], "store": "9b1c", "epoch": 41, "seq": 8,
                "trade_allowed": True, "gateway_time_msc": NOW_MSC + skew_msc,
            } | {name: value for name, value in stated.items() if name != "symbols"},
        }  # fmt: skip
        answer = head | rows.get(request["action"], {"status": "ERROR", "error_code": "UNKNOWN_ACTION", "error_msg": "no"})
        return (json.dumps({name: value for name, value in answer.items() if value is not None}).encode(),)

    return script


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ledger.order_checks.utc_now_us", lambda: NOW_MSC * 1000)
    url = new_url("sqlite", tmp_path)
    with Ledger.create(url) as ledger:
        ledger.account(ACCOUNT).record(opened())
    return url


def record(url, *events):
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).record_many(events)


def limits(**rules: Any) -> LimitsSet:
    return LimitsSet(rules=rules, operator="ann", reason="x", time_msc=START_MSC)


def looked(url, *words):
    """Return name -> state, what was seen and the advice, of all lines of --orders, and the exit code."""
    ran = run("doctor", "--orders", "--json", *words, "--timeout-ms", "2000", journal=url)
    return ran.code, {
        (one["check"], one["gateway"] is not None): (one["state"], one["seen"], one["advice"] or "") for one in ran.json()
    }


def asked(url, script, *words):
    with Terminal(script) as terminal:
        return looked(url, "--gateway", terminal.endpoint, *words)


JOURNAL = [
    ((), "client ids", "warning", "unproven", "the first order"),
    ((CarrierProven(kind="comment", ticket=5, time_msc=START_MSC),), "client ids", "ok", "comment proven", ""),
    ((CarrierBroken(kind="comment", ticket=5, time_msc=START_MSC),), "client ids", "warning", "comment broken", "a person"),
    ((), "limits", "warning", "none are set", "ledger limits set FILE"),
    ((limits(orders_max="1", volume_max=1),), "limits", "failed", "every order is denied", "ledger limits set FILE"),
    ((limits(volume_per_order_max="0.5"),), "limits", "ok", "volume_per_order_max", ""),
    ((limits(kill_switch_file="stop"),), "kill switch", "warning", "the folder of each engine", "absolute"),
    ((), "orders", "ok", "none is unknown", ""),
    ((intended(1, 0), answered(1, 1, "unknown")), "orders", "warning", "whether c-1 was executed", "ledger orders --unknown"),
    (
        (TradingHalted(scope="symbol", name="S", number=1, mode="all", operator="a", reason="why", time_msc=START_MSC),),
        "halt", "warning", "symbol S is halted (all): why", "ledger resume",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("events", "name", "state", "seen", "advice"), JOURNAL)
def test_what_the_journal_holds_has_a_line(events, name, state, seen, advice, url):
    record(url, *events)
    found = looked(url)[1][name, False]
    assert (found[0], seen in found[1], advice in found[2]) == (state, True, True), found


@pytest.mark.parametrize(
    ("make", "state", "seen"),
    [
        (Path.exists, "ok", "does not exist"),
        (Path.touch, "warning", "exists: no new risk"),
        (Path.mkdir, "warning", "exists: no new risk"),
        (lambda file: file.parent.rmdir(), "warning", "no folder that can be searched"),
        (lambda file: (file.parent.rmdir(), file.parent.touch()), "warning", "no folder that can be searched"),
    ],
)
def test_the_kill_switch_is_looked_for_where_engines_look(make, state, seen, url, tmp_path):
    file: Path = tmp_path / "switch" / "stop"
    file.parent.mkdir()
    make(file)
    record(url, limits(kill_switch_file=str(file)))
    found = looked(url)[1]["kill switch", False]
    assert (found[0], seen in found[1]) == (state, True), found


def test_a_kill_switch_that_cannot_be_read_denies(url, tmp_path, monkeypatch):
    def forbidden(path, **how):
        if path.name == "stop":
            raise PermissionError(13, "not for you")
        return stat(path, **how)

    stat = Path.stat
    record(url, limits(kill_switch_file=str(tmp_path / "stop")))
    monkeypatch.setattr(Path, "stat", forbidden)
    found = looked(url)[1]["kill switch", False]
    assert (found[0], "cannot be read" in found[1], found[2]) == ("failed", True, "no order passes that adds risk")


GATEWAY = [
    ({}, "orders", "ok", "protocol version 2", ""),
    ({"can": ["push"]}, "orders", "failed", "it can push, expected orders and fence", "ledger gateway serve"),
    ({"can": []}, "orders", "failed", "it can nothing", "ledger gateway serve"),
    ({"protocol": None}, "orders", "failed", "cannot be asked twice", "ledger gateway serve"),
    ({}, "trading", "ok", "allowed", ""),
    ({"trade_allowed": False}, "trading", "failed", "every order is refused", "allow algo trading"),
    ({"trade_allowed": None}, "trading", "warning", "not stated", ""),
    ({"skew_msc": 2000}, "clock skew", "ok", "2.0 s ahead of ours", ""),
    ({"skew_msc": 2001}, "clock skew", "failed", "2.0 s ahead of ours", "NTP"),
    ({"skew_msc": -2000}, "clock skew", "ok", "2.0 s behind ours", ""),
    ({"skew_msc": -2001}, "clock skew", "failed", "2.0 s behind ours", "NTP"),
    ({"gateway_time_msc": None}, "clock skew", "warning", "does not state its clock", ""),
    ({}, "store", "ok", "9b1c; none is pinned yet", ""),
    ({}, "filling", "ok", "1 with FOK/IOC, 1 with IOC, 1 with neither FOK nor IOC", ""),
    ({"symbols": [{"symbol": "EURUSD"}]}, "filling", "warning", "1 with filling not stated", "named with each order"),
]


@pytest.mark.parametrize(("stated", "name", "state", "seen", "advice"), GATEWAY)
def test_what_a_gateway_states_has_a_line(stated, name, state, seen, advice, url):
    code, lines = asked(url, service(**stated))
    found = lines[name, True]
    assert (found[0], seen in found[1], advice in found[2]) == (state, True, True), found
    assert code == (1 if state == "failed" else 0)


def test_a_gateway_of_the_base_form_takes_no_orders(url):
    code, lines = asked(url, lambda *_: (b'{"status": "SUCCESS", "positions": []}',))
    assert (code, lines["orders", True][0]) == (1, "failed")
    assert "does not speak protocol version 2" in lines["orders", True][1]


def test_the_fillings_are_those_of_the_symbols_that_are_traded(url):
    record(url, limits(symbols=["XAUUSD", "GBPUSD"]))
    code, lines = asked(url, service())
    assert lines["filling", True][:2] == ("ok", "XAUUSD IOC")
    assert lines["symbols", True][0] == "failed"
    assert "GBPUSD" in lines["symbols", True][1]
    assert code == 1


@pytest.mark.parametrize(
    ("pinned", "state", "seen"), [("9b1c", "ok", "the pinned one"), ("old", "failed", "orders are pinned to old: none is sent")]
)
def test_the_store_of_the_gateway_is_the_pinned_one(pinned, state, seen, url):
    record(url, StorePinned(store=pinned, number=1, operator="ann", reason="x", time_msc=START_MSC))
    code, lines = asked(url, service())
    assert (lines["store", True][0], seen in lines["store", True][1]) == (state, True)
    assert code == (1 if state == "failed" else 0)


# ---------------------------------------------------------------------------------------------------- pinning the store


def pin(url, *words):
    return run("gateway", "pin", *words, "--operator", "ann", "--reason", "new disk", "--timeout-ms", "2000", journal=url)


def test_the_gateway_is_asked_for_its_store_and_the_change_is_shown(url):
    record(url, StorePinned(store="old", number=1, reason="first", time_msc=START_MSC), intended(1, 0, store="old"))
    with Terminal(service()) as terminal:
        ran = pin(url, "--gateway", terminal.endpoint)
        assert (ran.code, "pass --yes to record this store" in ran.text) == (2, True)
        assert "the new store knows nothing of c-1: open orders" in ran.text
        done = pin(url, "--gateway", terminal.endpoint, "--yes", "--json").json()
    assert (done["before"], done["after"], done["left"], done["appended"]) == ("old", "9b1c", ["c-1"], 1)
    data = done["events"][0]["data"]
    assert (data["store"], data["number"], data["operator"], data["reason"]) == ("9b1c", 2, "ann", "new disk")
    ran = pin(url, "9b1c")
    assert (ran.code, "it is pinned already" in ran.text) == (0, True)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"login": 5}, "expected the gateway of Broker-Live/70113, tcp://"),
        ({"login": None, "server": None}, "answers for no account"),
        ({"protocol": None}, "has no store"),
    ],
)
def test_the_store_of_another_gateway_is_not_pinned(stated, why, url):
    with Terminal(service(**stated)) as terminal:
        ran = pin(url, "--gateway", terminal.endpoint, "--yes")
    assert (ran.code, why in ran.text) == (2, True), ran
    assert pin(url, "--yes").code == 2  # neither a store nor a gateway
    with Ledger.open(url) as ledger:
        assert ledger.account(ACCOUNT).version == 1


# ------------------------------------------------------------------------------------------------------------- elsewhere


def test_without_orders_nothing_of_it_is_asked(url):
    with Terminal(service()) as terminal:
        ran = run("doctor", "--json", "--gateway", terminal.endpoint, "--timeout-ms", "2000", journal=url)
        assert "GET_SYMBOLS" not in [one["action"] for one in terminal.asked]
    assert {one["check"] for one in ran.json()}.isdisjoint({"client ids", "limits", "filling", "trading", "clock skew"})
