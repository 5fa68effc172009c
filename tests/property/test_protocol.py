"""The two halves of the protocol fit: what one side writes, the other side reads as what was meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import GatewayRefused, SnapshotRefused
from ledger.protocol.echo import AnotherAnswer, Asked, is_wanted
from ledger.protocol.json_stream import Columns, read_answer
from ledger.protocol.messages import (
    Account,
    Deals,
    Extension,
    GetAccount,
    GetDeals,
    GetPositions,
    GetSymbols,
    Head,
    Ping,
    Pong,
    Positions,
    Refusal,
    Symbols,
)
from ledger.protocol.read import (
    POSITION_COLUMNS,
    read_account,
    read_deals,
    read_pong,
    read_position,
    read_query,
    read_request,
    read_snapshot,
    read_symbols,
)
from ledger.protocol.write import base_rows, encode_rows, write_answer, write_request
from ledger.values import INT64_MAX, MarginMode, Side

HEAD = Head(login=7, server="Sandbox", margin_mode=MarginMode.HEDGING, server_time_msc=1704153600123, connected=True)
ACCOUNT = {"login": 7, "server": "Sandbox", "currency": "USD", "margin_mode": "hedging", "balance": 1.5, "credit": 0}
DEAL = {
    "ticket": 5, "order": 6, "time_msc": 1704153600123, "type": "buy", "entry": "in", "position_id": 1, "volume": 0.1,
    "price": 1.1, "symbol": "EURUSD", "profit": 0.0, "swap": 0.0, "commission": -0.3, "fee": 0.0,
}  # fmt: skip
ASKED = {"req_id": "a1"}

ids = st.integers(0, INT64_MAX) | st.none()
queries = st.one_of(
    st.builds(GetPositions, symbol=st.text()),
    st.builds(GetDeals, from_msc=ids, to_msc=ids, position=ids),
    st.just(GetAccount()),
    st.just(GetSymbols()),
    st.just(Ping()),
)
tickets = st.lists(st.integers(1, INT64_MAX - 1), max_size=5)
values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
)


def rows_of(tickets: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "ticket": ticket, "identifier": ticket, "symbol": "EURUSD", "type": "sell", "volume": 0.1, "price_open": 1.1,
            "profit": -0.5, "time": 1704153600, "magic": 7,
        }
        for ticket in tickets
    ]  # fmt: skip


@given(queries, st.text())
def test_what_a_client_asks_is_what_a_server_reads(query, req_id):
    request = read_request(write_request(query, req_id=req_id, deadline_msc=5))
    assert (read_query(request), request.echo) == (query, {"req_id": req_id})


@given(st.dictionaries(st.sampled_from(["action", "req_id", "from_msc", "to_msc", "position", "symbol"]), values))
def test_a_server_reads_a_request_or_names_what_is_wrong(fields):
    raw = json.dumps(fields).encode()
    if not isinstance(fields.get("action"), str):
        assert complaint(read_request, raw) == "expected a JSON object with an action"
        return
    request = read_request(raw)
    assert request.echo == {name: fields[name] for name in fields if name == "req_id"}
    assert complaint(read_query, request).split(" is a whole number")[0] in ("", "from_msc", "to_msc", "position")


def complaint(read: Callable[[Any], object], given: object) -> str:
    """Return what is wrong with a request, in words; nothing if it is read."""
    try:
        read(given)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"5", b"{}", b'{"action":5}', b"\xff", b"[" * 100_000, b'{"action":"PING","n":NaN}']
)
def test_what_is_no_request_is_refused(raw):
    with pytest.raises(ValueError, match="expected a JSON object with an action"):
        read_request(raw)


def test_an_action_of_no_version_is_none_of_the_protocols_and_its_fields_can_be_read():
    request = read_request(b'{"action":"SEND_ORDER","symbol":"EURUSD"}')
    assert (read_query(request), request.action, request.fields["symbol"], request.echo) == (None, "SEND_ORDER", "EURUSD", {})


# -------------------------------------------------------------------------------------- read at once, or one by one

PLAIN_ROW = {
    "ticket": "50000000014", "time": "1704153600", "time_msc": "1704153600123", "time_update": "1704153600",
    "time_update_msc": "1704153600123", "type": '"buy"', "magic": "7", "identifier": "50000000014", "volume": "0.10",
    "price_open": "1.10005", "sl": "0.0", "tp": "1.2", "swap": "-0.10", "profit": "12.50", "symbol": '"EURUSD"',
    "comment": '""', "external_id": '"x"',
}  # fmt: skip
#: Values, as JSON text: numbers of any form and size, what is no number, and texts with whatever matters to JSON or to us.
HOSTILE = st.sampled_from([
    "0", "-0", "-0.0", "1", "-1", "1.0", "1.50", "1e5", "1E-5", "1e400", "1e999", "01", ".5", "NaN", "-Infinity", "1" * 30,
    f"0.{'1' * 70}", "9223372036854775807", "18446744073709551615", "18446744073709551616", "1704153600", "null", "true", "[]",
    "{}", "[1]", '{"a":1}', '"0.10"', '"1704153600"', '"SELL"', '"1"', '" "', '"a:b"', r'"a\"b"', r'"a\":b"', r'"\u0000"',
    r'"x\u0000"', r'"\ud800"', r'"\ud83d\ude00"', '"Übertrag"', '"EUR.USD"', '"\t"', r'"\x"', '"POSITION_TYPE_SELL"', "",
])  # fmt: skip
NAMES = st.sampled_from([*PLAIN_ROW, "open_price", "reason", "a b", "", r"t\u0069cket", r"q\"", "__class__", "is_identified"])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Return an answer with rows that are plain, or so in all but a few places."""
    left_out = draw(st.sets(st.sampled_from([*PLAIN_ROW]), max_size=2))
    plain = [(name, text) for name, text in PLAIN_ROW.items() if name not in left_out]
    plain += draw(st.sampled_from([[], [], [("open_price", "1.1")]]))
    rows = []
    for _ in range(draw(st.integers(0, 3))):
        fields = list(plain)
        for name, text in draw(st.lists(st.tuples(NAMES, HOSTILE), max_size=2)):
            known = [one for one, _ in fields]
            if name in known and draw(st.booleans()):
                fields[known.index(name)] = name, text
            else:
                fields.insert(draw(st.integers(0, len(fields))), (name, text))
        if draw(st.integers(0, 9)) == 0:
            del fields[draw(st.integers(0, len(fields) - 1))]
        space = draw(st.sampled_from(["", "", " "]))
        rows.append("{" + ",".join(f'{space}"{name}"{space}:{text}' for name, text in fields) + "}")
    listed = "[" + ",".join(rows) + draw(st.sampled_from(["]", "]", "]", ",5]", ""]))
    head = '"status":"OK","login":7'
    both = draw(st.sampled_from([f'{head},"positions":{listed}', f'"positions":{listed},{head},"more":[]']))
    return ("{" + both + "}" + draw(st.sampled_from(["", "\n", "\x00", "x"]))).encode()


def outcome(raw: bytes, columns: Columns | None) -> object:
    """Return what reading an answer comes to, to the last digit."""
    try:
        answer = read_answer(raw, "positions", read_position, is_wanted, columns)
    except SnapshotRefused as error:
        return str(error)
    return repr((answer.fields, answer.rows, answer.refused))


@given(answers())
def test_rows_that_are_read_at_once_are_what_they_are_one_by_one(raw):
    assert outcome(raw, POSITION_COLUMNS) == outcome(raw, None)


@given(tickets, st.booleans())
def test_positions_are_read_as_they_were_written_at_once_or_before(tickets, is_encoded):
    rows = rows_of(tickets)
    raw = write_answer(Positions(head=HEAD, rows=encode_rows(rows) if is_encoded else rows), echo=ASKED)
    snapshot = read_snapshot(raw, Asked("a1"))
    assert [row.position_id for row in snapshot.positions] == tickets
    assert all(row.side is Side.SELL and row.magic == 7 for row in snapshot.positions)
    assert snapshot.is_extended
    assert (snapshot.login, snapshot.server, snapshot.mode) == (HEAD.login, HEAD.server, HEAD.margin_mode)
    assert (snapshot.server_time_msc, snapshot.connected, snapshot.count) == (HEAD.server_time_msc, True, len(tickets))


@given(tickets)
def test_positions_without_a_head_are_of_the_base_form(tickets):
    raw = write_answer(Positions(head=None, rows=base_rows(rows_of(tickets))))
    assert json.loads(raw).keys() == {"status", "positions"}
    snapshot = read_snapshot(raw, Asked("a1"))
    assert [(row.ticket, row.is_identified, row.magic) for row in snapshot.positions] == [(one, False, None) for one in tickets]
    assert (snapshot.is_extended, snapshot.login, snapshot.count) == (False, None, None)


def test_a_missing_list_is_never_read_as_an_empty_one():
    with pytest.raises(SnapshotRefused, match="expected a list"):
        read_snapshot(write_answer(Positions(head=HEAD, rows=None), echo=ASKED), Asked("a1"))


def test_every_other_answer_is_read_as_it_was_written():
    assert read_account(write_answer(Account(head=HEAD, account=ACCOUNT), echo=ASKED), Asked("a1")).balance == 1.5
    (deal,) = read_deals(write_answer(Deals(head=HEAD, rows=[DEAL]), echo=ASKED), Asked("a1")).deals
    assert (deal.deal, deal.position_id) == (5, 1)
    (symbol,) = read_symbols(write_answer(Symbols(head=HEAD, rows=[{"symbol": "X", "digits": 2}]), echo=ASKED), Asked("a1"))
    assert (symbol.symbol, symbol.digits) == ("X", 2)
    read_pong(write_answer(Pong(head=HEAD), echo=ASKED), Asked("a1"))
    assert json.loads(write_answer(Extension(fields={"order": 5}), echo=ASKED)) == {
        "status": "SUCCESS",
        "req_id": "a1",
        "order": 5,
    }


def test_what_a_head_does_not_state_is_left_out():
    raw = write_answer(Pong(head=evolve(HEAD, login=None, server=None)))
    assert json.loads(raw).keys() == {"status", "margin_mode", "server_time_msc", "connected"}


@pytest.mark.parametrize("read", [read_snapshot, read_deals, read_account, read_symbols, read_pong])
def test_a_refusal_is_an_error_to_every_reader_and_an_echo_is_checked_first(read):
    raw = write_answer(Refusal("-10004", "No IPC connection"), echo=ASKED)
    with pytest.raises(GatewayRefused, match=r"-10004.*No IPC connection"):
        read(raw, Asked("a1"))
    with pytest.raises(AnotherAnswer):
        read(raw, Asked("a2"))
