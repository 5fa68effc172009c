"""No text from outside reaches a terminal as it is, whichever command shows it: a law over all of them."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import (
    AccountId,
    Adjusted,
    BalanceAsserted,
    BreakClosed,
    BreakNoted,
    BreakOpened,
    CarrierBroken,
    CashMoved,
    CorrectionDecided,
    CorrectionProposed,
    DriftCorrected,
    Event,
    FillRecorded,
    GhostClosed,
    Ledger,
    LimitsSet,
    OrderAnswered,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    PolicySet,
    PositionRecovered,
    PositionReticketed,
    PositionState,
    StopsSeen,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
    TradingHalted,
)
from ledger.cli import COMMANDS
from ledger.text import csv_plain, csv_text, json_text, visible, visible_lines
from tests.gateway.terminals import Terminal
from tests.support.commands import run

#: One of each kind: C0, DEL, C1, bidirectional, separators, zero-width, filler, variation selector, tag.
SAMPLES = (
    "\x1b[2J", "\x07", "\r", "\n", "\t", "\x7f", "\x85", "\x9b31m", "\u061c", "\u200b", "\u200e", "\u202e", "\u2028", "\u2029",
    "\u2066", "\u2069", "\u3164", "\ufe0f", "\ufeff", "\U000e0041",
)  # fmt: skip
hostile = st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=4).map("".join)
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def is_shown_as_it_is(letter: str) -> bool:
    """Decide by Unicode's own tables what must not be shown: controls, formats but those that have a glyph, separators."""
    has_glyph = "PREPENDED" in unicodedata.name(letter, "") or letter in "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f"
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or has_glyph or ord(letter) > 0x10000


def raw_in(shown: bytes) -> list[str]:
    """Return what of an output would be obeyed, hidden or reordered by a terminal."""
    text = shown.decode("utf-8", "surrogateescape")
    return [letter for letter in text if letter != "\n" and visible(letter) != letter]


# ----------------------------------------------------------------------------------------------------------- the rules


@given(anything | hostile)
@example("\ud800")
def test_a_visible_text_is_one_line_without_anything_hidden(text):
    shown = visible(text)
    assert visible(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert all(is_shown_as_it_is(letter) for letter in shown)
    assert visible(visible_lines(text)) == shown


@given(st.recursive(anything | hostile, lambda inner: st.lists(inner) | st.dictionaries(hostile, inner), max_leaves=5))
def test_json_text_has_the_same_value_and_hides_nothing(value):
    for is_ascii in (False, True):
        shown = json_text(value, is_ascii=is_ascii)
        assert json.loads(shown) == value
        assert visible(shown) == shown
        assert not is_ascii or shown.isascii()


@given(st.text("'=+-@\t\r\n\uff1d a1", max_size=6))
def test_a_cell_is_no_formula_and_can_be_read_back(text):
    cell = csv_text(text)
    assert csv_plain(cell) == text
    assert not cell or cell[0] not in "=+-@\t\r\n\uff1d"
    assert cell in (text, f"'{text}")


# ------------------------------------------------------------------------------------------------------- every command


def every_kind(bad: str) -> Iterator[Event]:
    """Yield one of everything that can be recorded, with a hostile text wherever there is text."""
    symbol, time = f"EUR{bad}", 1_767_607_200_000
    state = PositionState(position_id=7, symbol=symbol, side="buy", volume=1, price_open="1.1", comment=bad + "c")
    yield SymbolSpecified(symbol=symbol, time_msc=time, digits=5, currency=f"U{bad}")
    yield CashMoved(deal=1, type=2, profit=100, time_msc=time, comment=f"c{bad}", external_id=f"x{bad}")
    yield CashMoved(deal=2, type=None, word=f"w{bad}", profit=1, time_msc=time)
    for deal in (3, 4):
        yield FillRecorded(
            deal=deal, symbol=symbol, side="buy", entry="in", volume=1, price="1.1", position_id=deal, time_msc=time + deal,
            comment=f"={bad}", external_id=f"x{bad}", profit=0, commission=0, swap=0, fee=0,
        )  # fmt: skip
    yield FillRecorded(
        deal=5, symbol=symbol, side="sell", entry="out", volume=2, price="1.2", position_id=4, time_msc=time + 5, profit=3
    )
    yield PositionRecovered(position=state, time_msc=time + 6)
    yield DriftCorrected(before=state, after=state, time_msc=time + 7)
    yield PositionReticketed(position_id=7, symbol=symbol, ticket_before=7, ticket_after=8, time_msc=time + 8)
    for number, kind in enumerate(("ghost", "zombie", "drift", "balance", "clock")):
        yield BreakOpened(
            kind=kind, time_msc=time + 10 + number, position_id=20 + number, symbol=symbol, field=f"f{bad}", ours=f"o{bad}",
            theirs=f"t{bad}", why=f"y{bad}",
        )  # fmt: skip
    yield BreakClosed(kind="drift", end="accepted", position_id=22, time_msc=time + 20, caused_by=14)
    yield SyncDegraded(reason=f"r{bad}", time_msc=time + 21)
    yield SyncRestored(time_msc=time + 22)
    yield BalanceAsserted(balance=1, credit=0, time_msc=time + 23)
    yield GhostClosed(before=state, time_msc=time + 24)
    yield Adjusted(operator=f"O{bad}", reason=f"R{bad}", time_msc=time + 25, balance_before=1, balance_after=2)
    yield SyncDegraded(reason=f"r{bad}", time_msc=time + 26)
    yield from orders_of_every_kind(bad, symbol, time + 27)
    yield from approvals_of_every_kind(bad, symbol, time + 28)


def orders_of_every_kind(bad: str, symbol: str, time: int) -> Iterator[Event]:
    """Yield everything about orders: one that is unknown, one denied, one of somebody else, halts of each scope."""
    terms: dict[str, Any] = {"kind": "market", "symbol": symbol, "side": "buy", "volume": 1, "strategy": f"s{bad}"}
    yield OrderIntended(
        client_id="c-1", token=f"L{'A' * 19}", time_msc=time, store=f"s{bad}", valid_until_utc_msc=time, **terms
    )
    yield OrderAnswered(
        client_id="c-1", verdict="unknown", retcode=10012, time_msc=time, comment=f"a{bad}", store=f"s{bad}"
    )  # fmt: skip
    yield OrderDenied(client_id="c-2", rule=f"r{bad}", why=f"w{bad}", limit=f"l{bad}", value=f"v{bad}", time_msc=time, **terms)
    yield OrderSeen(
        ticket=90, symbol=symbol, type=0, state=1, volume_initial=1, volume_current=1, time_msc=time, comment=f"c{bad}",
        external_id=f"x{bad}",
    )  # fmt: skip
    yield OrderIntended(client_id="c-3", token=f"L{'B' * 19}", time_msc=time, **terms)
    yield OrderResolved(
        client_id="c-3", number=1, outcome="absent", basis="person", operator=f"O{bad}", reason=f"R{bad}", time_msc=time
    )  # fmt: skip
    yield StopsSeen(position_id=3, symbol=symbol, sl=1, time_msc=time)
    yield LimitsSet(rules={f"r{bad}": f"v{bad}"}, operator=f"O{bad}", reason=f"R{bad}", time_msc=time)
    for scope, name in (("account", None), ("symbol", symbol), ("strategy", f"s{bad}")):
        yield TradingHalted(
            scope=scope, name=name, number=1, mode="all", operator=f"O{bad}", reason=f"R{bad}", time_msc=time
        )  # fmt: skip
    yield CarrierBroken(kind="comment", ticket=90, found=f"f{bad}", time_msc=time)


def approvals_of_every_kind(bad: str, symbol: str, time: int) -> Iterator[Event]:
    """Yield everything that people propose, decide and note, with text from outside wherever there may be some."""
    who: dict[str, Any] = {"operator": f"O{bad}", "time_msc": time}
    yield CorrectionProposed(
        reason=f"R{bad}", correction={"what": "add", f"a{bad}": f"b{bad}"}, effect={f"e{bad}": f"f{bad}"}, rests_on=1,
        effect_digest="ab" * 32, lapses_utc_msc=time, symbol=symbol, **who,
    )  # fmt: skip
    yield CorrectionDecided(
        outcome="lapsed", reason=f"R{bad}", effect_digest="ab" * 32, caused_by=2, changed={f"c{bad}": [f"d{bad}", None]},
        signature=f"s{bad}", key=f"k{bad}", rests_on=1, **who,
    )  # fmt: skip
    yield PolicySet(approvals=2, reason=f"R{bad}", **who)
    yield BreakNoted(text=f"T{bad}", owner=f"W{bad}", caused_by=2, **who)


def lines_of(command: str, folder: Path, account: str, bad: str, gateway: str) -> list[list[str]]:
    """Return ways to call a command that make it show what the journal or a gateway holds."""
    at, where = ["--gateway", gateway, "--timeout-ms", "2000"], ["--account", account]
    export = folder / "x.csv"
    dump = folder / "deals.csv"
    head = "ticket,order,time,type,entry,position_id,volume,price,commission,swap,profit,fee,symbol,comment\n"
    cell = bad.replace('"', "").replace("\r", "").replace("\n", "")
    dump.write_text(f'{head}5,6,1752779272,0,0,6,0.1,1.1,0,0,0,0,"EUR{cell}","{cell}"\n', "utf-8", newline="")
    limits = folder / "limits.toml"
    limits.write_text(f"symbols = {json.dumps([bad])}\n", "utf-8")
    seal = folder / f"{len(list(folder.iterdir()))}.seal"
    lines: dict[str, list[list[str]]] = {
        "init": [["init"]],
        "account": [["account", "open", account, "--currency", "USD", "--mode", "hedging"],
                    ["account", "open", f"S{bad}/x", "--currency", "USD", "--mode", "hedging"],
                    ["account", "clock", account, "+03:00", "--reason", f"R{bad}"]],
        "import": [["import", str(dump), *where], ["import", str(dump), *where, "--json"], ["import", f"{folder}/{cell}.csv"],
                   ["import", str(dump), "--account", f"New{cell}/1", "--mode", "hedging", "--currency", "USD", "--dry-run"]],
        "log": [["log"], ["log", "--json"], ["log", "--csv"], ["log", "--symbol", bad],
                ["log", "--kind", f"K{bad}"], ["log", "--evidence", bad]],
        "replay": [["replay"], ["replay", "--json"], ["replay", "--until", bad]],
        "explain": [["explain", "balance"], ["explain", "balance", "--json"], ["explain", "balance", "--csv"],
                    ["explain", "position", "3", "--all"], ["explain", "trade", "3", "--csv"], ["explain", "trade", bad]],
        "compare": [["compare", f"{account}@v4", account], ["compare", f"{account}@v4", account, "--json"],
                    ["compare", f"{account}@v4", account, "--csv"], ["compare", f"Nobody{bad}/1@{bad}", account]],
        "sync": [["sync", *at, *where], ["sync", *at, *where, "--json"], ["sync", *at, "--dry-run"],
                 ["sync", "--gateway", bad]],
        "drift": [["drift", *at, *where], ["drift", *at, "--json", *where], ["drift", *at]],
        "orders": [["orders"], ["orders", "--open", "--json"], ["orders", "--account", f"Nobody{bad}/1"]],
        "order": [["order", "show", "c-1", *where], ["order", "show", "c-1", "--json", *where], ["order", "show", f"x{bad}"],
                  ["order", "show", "90", *where], ["order", "show", "c-2", *where],
                  ["order", "resolve", "c-1", "--outcome", "absent", "--reason", f"R{bad}", *where],
                  ["order", "resolve", "c-1", "--outcome", "working", "--ticket", "90", "--operator", f"O{bad}",
                   "--reason", f"R{bad}", *where, "--yes", "--json"],
                  ["order", "resolve", f"x{bad}", "--outcome", "absent", "--reason", "r"]],
        "limits": [["limits", "show"], ["limits", "show", "--json"], ["limits", "set", str(dump), "--reason", "r", *where],
                   ["limits", "set", f"{folder}/{cell}.toml", "--reason", "r", *where],
                   ["limits", "set", str(limits), "--reason", f"R{bad}", *where, "--yes"]],
        "halt": [["halt", "--symbol", f"X{bad}", "--reason", f"R{bad}", *where],
                 ["halt", "--reason", "r", "--account", f"Nobody{bad}/1"]],
        "resume": [["resume", "--strategy", f"s{bad}", "--reason", f"R{bad}", *where],
                   ["resume", "--strategy", f"no{bad}", "--reason", f"R{bad}", *where]],
        "correct": [["correct", "close", "3", "--reason", f"R{bad}", *where, "--yes"],
                    ["correct", "add", "99", f"GBP{bad}", "buy", "1", "1.2", "--operator", f"O{bad}", "--reason", "r", *where],
                    ["correct", "update", "3", "--side", bad, "--reason", "r"],
                    ["correct", "balance", "--to", "5", "--operator", f"O{bad}", "--reason", f"R{bad}", *where, "--json",
                     "--yes"]],
        "propose": [["propose", "balance", "--to", "7", "--operator", f"P{bad}", "--reason", f"R{bad}", *where],
                    ["propose", "close", "3", "--break", bad, "--reason", "r"]],
        "proposals": [["proposals", "--all"], ["proposals", "--all", "--json"], ["proposals", "--all", "--csv"],
                      *(["proposals", f"v{at}", *where] for at in range(30, 45))],
        "approve": [["approve", bad], ["approve", "v1", "--operator", f"O{bad}", "--yes", *where]],
        "reject": [["reject", "v1", "--reason", f"R{bad}", *where], ["reject", bad, "--reason", "r"]],
        "policy": [["policy", "show"], ["policy", "show", "--json"], ["policy", "show", "--csv"],
                   ["policy", "set", "--approvals", "1", "--operator", f"O{bad}", "--reason", f"R{bad}", *where, "--yes"]],
        "note": [["note", "v1", f"T{bad}", "--owner", f"W{bad}", *where], ["note", bad, "x"]],
        "doctor": [["doctor", *at, "--orders"], ["doctor", *at, "--orders", "--json"]],
        "gateway": [["gateway", "pin", f"S{bad}", "--reason", f"R{bad}", "--operator", f"O{bad}", *where],
                    ["gateway", "pin", f"S{bad}", "--reason", f"R{bad}", *where, "--yes", "--json"],
                    ["gateway", "pin", "--reason", "r", *at, *where, "--yes"]],
        "sandbox": [["sandbox", "--symbols", f"X{bad}"]],
        "keys": [["keys", "list", "--dir", str(folder)], ["keys", "make", f"k{bad}/"]],
        "export": [["export", "--out", str(export)], ["export", "--out", f"{folder}/{cell}/x.csv"]],
        "backup": [["backup", str(folder / f"b{cell}.db")], ["backup", str(folder / f"b{cell}.db"), "--json"]],
        "restore": [["restore", str(folder / "none.db")]],
        "seal": [["seal", "--key", str(folder / "keys" / "seal.pem")],
                 ["seal", "--key", str(folder / "keys" / "seal.pem"), "--out", str(seal)],
                 ["verify", "--since", str(seal)]],
        "verify": [["verify"], ["verify", "--json"]],
        "page": [["page", "--listen", f"x{bad}"]],  # without it the command would serve, and not end
    }  # fmt: skip
    listing = [[command], [command, "--json"], [command, "--csv"], [command, "--account", f"Nobody{bad}/1"]]
    return [*lines.get(command, listing), [command, f"--no{bad}"]]


@pytest.mark.parametrize("answer", ["an error", "hostile positions", "garbage"])
@given(bad=hostile)
@settings(max_examples=5)
def test_no_command_shows_hostile_text_as_it_is(answer, bad, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    url = f"sqlite:///{folder}/desk.db"
    account = AccountId(f"S{bad}rv", 7)
    with Ledger.create(url) as ledger:
        ledger.account(account).open(currency="USD", mode="hedging")
        ledger.account(account).record_many(every_kind(bad), correlation=f"c{bad}")
    row = {"ticket": 70, "symbol": f"Z{bad}", "type": "buy", "volume": 0.1, "price_open": 1.1, "comment": bad}
    answers = {
        "an error": {"status": "ERROR", "error_code": f"E{bad}", "error_msg": f"M{bad}"},
        "hostile positions": {"status": "SUCCESS", "positions": [row]},
        "garbage": {"status": f"S{bad}", "positions": [dict.fromkeys([bad], bad)]},
    }
    with Terminal(lambda *_: (json.dumps(answers[answer]).encode(),)) as gateway:
        assert run("keys", "seal", "--dir", f"{folder}/keys").code == 0
        for command in COMMANDS:
            for words in lines_of(command, folder, str(account), bad, gateway.endpoint):
                ran = run(*words, journal=url)
                out = ran.out.replace(b"\r\n", b"\n") if "--csv" in words else ran.out  # RFC 4180 ends rows so
                assert raw_in(out + ran.err) == [], (words, ran)
                assert ran.code in (0, 1, 2, 3, 4), (words, ran)
                if "--json" in words and words[0] != "log" and ran.out:
                    ran.json()


def test_json_holds_the_very_text_that_was_recorded(tmp_path):
    bad = "".join(SAMPLES)
    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url) as ledger:
        ledger.account("Srv", 7).open(currency="USD", mode="hedging")
        ledger.account("Srv", 7).record_many(every_kind(bad))
        events = list(ledger.account("Srv", 7).events())
    lines = [json.loads(line) for line in run("log", "--json", journal=url).out.decode().split("\n")[:-1]]
    assert [line["data"].get("comment") for line in lines] == [getattr(one.event, "comment", None) for one in events]
    assert {one["symbol"] for one in run("positions", "--json", journal=url).json()} == {f"EUR{bad}"}


def test_csv_cells_are_no_formulas_and_numbers_stay_numbers(tmp_path):
    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url) as ledger:
        ledger.account("=Srv", 7).open(currency="USD", mode="hedging")
        fill = FillRecorded(
            deal=1, symbol="@EUR", side="buy", entry="in", volume=1, price="1.1", time_msc=1_767_607_200_000, profit="-5.25",
            comment='=HYPERLINK("http://x")', magic=-3,
        )  # fmt: skip
        ledger.account("=Srv", 7).record(fill)
    assert run("export", "--out", str(tmp_path / "x.csv"), journal=url).code == 0
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["server"], last["symbol"], last["comment"]) == ("'=Srv", "'@EUR", '\'=HYPERLINK("http://x")')
    assert (last["profit"], last["magic"]) == ("-5.25", str(2**64 - 3))
