"""Reading the protocol: what is read of an answer, and what refuses it, with row and field."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger import CashMoved, Entry, FillRecorded, MarginMode, Origin, Side
from ledger.errors import GatewayRefused, SnapshotRefused
from ledger.protocol.echo import AnotherAnswer, Asked
from ledger.protocol.messages import GetDeals, GetPositions, Ping
from ledger.protocol.read import read_account, read_deals, read_pong, read_snapshot, read_symbols
from ledger.protocol.write import write_request

ROW: dict[str, Any] = {"ticket": 100001, "symbol": "EURUSD", "type": "buy", "volume": 0.1, "price_open": 1.1}
DEAL: dict[str, Any] = {
    "ticket": 5001, "order": 6001, "time": 1704153600, "type": 0, "entry": 0, "position_id": 100001, "volume": 0.1,
    "price": 1.1, "commission": -0.35, "swap": 0, "profit": -1.8900000000000001, "fee": 0, "symbol": "EURUSD", "comment": "",
    "magic": 7, "reason": 3,
}  # fmt: skip
ACCOUNT: dict[str, Any] = {
    "login": 70113, "server": "Broker-Live", "currency": "USD", "margin_mode": "hedging", "balance": "1000.50", "credit": 0,
}  # fmt: skip
GONE = object()
NOTHINGS: tuple[Any, ...] = (GONE, None, [], {}, True, "")


def bent(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (whole | changes).items() if value is not GONE}


def answer(**fields: Any) -> bytes:
    return json.dumps(bent({"status": "SUCCESS"}, fields)).encode()


def position(**changes: Any):
    (read,) = read_snapshot(answer(positions=[bent(ROW, changes)])).positions
    return read


def deal(**changes: Any):
    (read,) = read_deals(answer(deals=[bent(DEAL, changes)])).deals
    return read


def with_text(field: str, text: str) -> bytes:
    """Return an answer whose second row has a number written exactly so."""
    marked = answer(positions=[ROW, ROW | {field: "MARK"}]).decode()
    return marked.replace('"MARK"', text).encode()


# ---- requests


def test_a_request_is_one_json_object_of_what_is_given():
    raw = write_request(GetPositions(), req_id="a1")
    assert json.loads(raw) == {"action": "GET_POSITIONS", "symbol": "*", "req_id": "a1"}
    assert json.loads(write_request(GetDeals(position=7), req_id="a")) == {"action": "GET_DEALS", "position": 7, "req_id": "a"}
    assert json.loads(write_request(Ping(), req_id="a", deadline_msc=7))["deadline_msc"] == 7


# ---- snapshots


def test_the_base_form_is_read():
    snapshot = read_snapshot(raw := answer(positions=[ROW | {"profit": 12.5, "time": 1704153600}]))
    (read,) = snapshot.positions
    assert (read.ticket, read.position_id, read.is_identified) == (100001, 100001, False)
    assert (read.symbol, read.side, read.volume, read.price_open) == ("EURUSD", Side.BUY, Decimal("0.1"), Decimal("1.1"))
    assert (read.opened_msc, read.updated_msc, read.profit) == (1704153600000, None, Decimal("12.5"))
    assert (snapshot.raw, snapshot.is_extended, snapshot.count, snapshot.connected) == (raw, False, None, None)


@pytest.mark.parametrize(
    ("given", "read"), [(1.05, Decimal("1.05")), ("1.05", Decimal("1.05")), (0.0, 0), (GONE, None), (None, None), ("?", None)]
)
def test_a_stop_that_cannot_be_read_is_not_stated(given, read):
    assert [(one.sl, one.tp) for one in (position(sl=given), position(tp=given))] == [(read, None), (None, read)]


def test_the_extended_form_is_read():
    extra: dict[str, Any] = {
        "identifier": 100000, "magic": -7, "time_msc": 1704153600123, "time_update_msc": 1704153600456, "swap": -0.3,
        "comment": "manual", "time": 1,
    }  # fmt: skip
    snapshot = read_snapshot(
        answer(
            positions=[ROW | extra], req_id="a1", login=70113, server="Broker-Live", margin_mode=2, connected=True,
            server_time_msc=1704153600789, count=1, something_new={"is": "let pass"},
        ),
        Asked("a1"),
    )  # fmt: skip
    (read,) = snapshot.positions
    assert (read.position_id, read.ticket, read.is_identified, read.magic) == (100000, 100001, True, 2**64 - 7)
    assert (read.opened_msc, read.updated_msc) == (1704153600123, 1704153600456)
    assert (read.swap, read.comment) == (Decimal("-0.3"), "manual")
    assert (snapshot.is_extended, snapshot.login, snapshot.server) == (True, 70113, "Broker-Live")
    assert (snapshot.mode, snapshot.connected, snapshot.count) == (MarginMode.HEDGING, True, 1)
    assert snapshot.server_time_msc == 1704153600789


@pytest.mark.parametrize("echo", ["", None, GONE])
def test_an_answer_without_our_id_is_not_extended(echo):
    assert not read_snapshot(answer(positions=[], req_id=echo), Asked("a1")).is_extended


def test_an_empty_list_is_a_flat_account():
    assert read_snapshot(answer(positions=[])).positions == ()


@pytest.mark.parametrize("status", ["SUCCESS", "success", "ok", "OK"])
def test_the_known_words_for_success_are_read(status):
    assert read_snapshot(answer(status=status, positions=[])).positions == ()


@pytest.mark.parametrize(
    ("word", "side"), [("buy", Side.BUY), ("BUY", Side.BUY), ("SELL", Side.SELL), (0, Side.BUY), (1, Side.SELL)]
)
def test_the_known_words_for_a_side_are_read(word, side):
    assert position(type=word).side is side


def test_the_other_spelling_of_the_open_price_is_read():
    assert position(price_open=GONE, open_price=1.5).price_open == Decimal("1.5")


@pytest.mark.parametrize("value", [0.1, "0.1", "0.10", "1e-1"])
def test_a_number_is_a_json_number_or_exact_text(value):
    assert position(volume=value).volume == Decimal("0.1")


def test_a_number_keeps_its_text():
    assert str(position(volume=0.30000000000000004).volume) == "0.30000000000000004"


@pytest.mark.parametrize("value", [50629002942, "50629002942"])
def test_a_ticket_is_a_whole_number_or_its_digits(value):
    assert position(ticket=value).ticket == 50629002942


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.00", -0.0])
def test_an_open_price_of_nothing_is_unknown(value):
    assert position(price_open=value).price_open is None


@pytest.mark.parametrize("value", [0, None, GONE])
def test_without_an_identifier_the_ticket_identifies_the_position(value):
    assert (position(identifier=value).position_id, position(identifier=value).is_identified) == (100001, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ROW for value in NOTHINGS),
        *(("ticket", value) for value in (0, -1, 0.0, 1.5, 2**63, 2.0**53 + 2, 10**40)),
        *(("ticket", value) for value in ("x", "1.5", "1e5", " 1", "\u0661", "9" * 5000)),
        *(("identifier", value) for value in (-1, 1.5, 2**63, "x")),
        *(("volume", value) for value in (0, -0.1, "-0.1", "x", "NaN", "sNaN", "Infinity", "1e400", "1e-400", "9" * 70)),
        *(("volume", value) for value in ("1_0", "\u0661", " 1", "+1", ".5", "5.", "0x1")),
        *(("price_open", value) for value in ("x", "nan", "1e31")),
        *(("type", value) for value in (2, -1, 0.5, 2.0, "0", "long", "buy ", "bUy", "buy\0x")),
        *(("symbol", value) for value in (7, "  ", "EUR\0USD", "\ud800")),
        *(("time", value) for value in (-1, 1.5, "x", True, 10**15, 1, 946_684_799)),
        ("comment", 7), ("comment", True), ("comment", {}),
        *(("magic", value) for value in (2**64, -(2**63) - 1, 1.5, "x")),
        *(("profit", value) for value in ("x", True, {"a": 1})),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_named(field: str, value: Any):
    with pytest.raises(SnapshotRefused) as refused:
        read_snapshot(answer(positions=[ROW, bent(ROW, {field: value})]))
    assert (refused.value.row, refused.value.field) == (2, "time_msc" if refused.value.field == "time_msc" else field)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "raw",
    [
        b'{"status": "SUCCESS", "positions": [], "positions": []}',
        b'{"status": "SUCCESS", "positions": [], "positions" : []}',
        b'{"status": "SUCCESS", "positions": [{"ticket":1,"symbol":"X","type":"buy","volume":1,"price_open":1,"volume":2}]}',
        b'{"status": "SUCCESS", "a": "\\":", "positions": [{"ticket":1,"symbol":"X","type":0,"type":1}]}',
        b'{"status": "SUCCESS", "positions": [], "deeper": {"and": {"deeper": 1, "deeper": 2}}}',
        b'{"status": "SUCCESS", "positions": [], ' + b'"k": 1, ' * 50_000 + b'"z": 1}',
        b'{"status": "SUCCESS", "positions": [], ' + b", ".join(b'"%d": 1' % n for n in [*range(100_000), 99_999]) + b"}",
    ],
    ids=range(7),
)
def test_a_key_that_occurs_twice_is_refused_wherever_it_is(raw):
    with pytest.raises(SnapshotRefused, match="twice"):
        read_snapshot(raw)


def test_colons_in_texts_and_deeper_objects_are_fine():
    read = position(comment='10:00 ":" \\":', extra={"a": {"b": [{"c": 1}]}})
    assert read.comment == '10:00 ":" \\":'


def test_a_field_under_two_names_is_refused():
    with pytest.raises(SnapshotRefused, match=r"row 1, price_open: .*two"):
        position(open_price=1.1)


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e999999", "1e99999999999999999999", "9" * 5000, "0." + "1" * 5000, "01", "'x'",
     "[" * 100_000, '{"a":' * 100_000, '"\\ud8"', '1, "volume": 2'],
)  # fmt: skip
def test_what_is_no_json_number_is_refused(text):
    with pytest.raises(SnapshotRefused):
        read_snapshot(with_text("volume", text))


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"OK", b"\xff", b"{", b'{"positions": []}', answer(positions=GONE), answer(positions=None),
     answer(positions={}), answer(positions="[]"), answer(positions=[None]), answer(positions=[[]]), answer(positions=[{}]),
     answer(status=None, positions=[]), answer(status=1, positions=[]), answer(status="", positions=[]),
     answer(status="PARTIAL", positions=[]), b'{"status": "SUCCESS", "status": "SUCCESS", "positions": []}'],
)  # fmt: skip
def test_what_does_not_state_that_it_is_flat_is_never_flat(raw):
    with pytest.raises(SnapshotRefused):
        read_snapshot(raw)


@pytest.mark.parametrize(
    ("field", "value"),
    [("login", "x"), ("login", -1), ("server", 7), ("margin_mode", 3), ("margin_mode", "both"), ("margin_mode", True),
     ("connected", 1), ("connected", "true"), ("count", -1), ("count", 1.5), ("server_time_msc", "now")],
)  # fmt: skip
def test_a_header_that_is_wrong_is_named(field, value):
    with pytest.raises(SnapshotRefused) as refused:
        read_snapshot(answer(positions=[], **{field: value}))
    assert (refused.value.row, refused.value.field) == (None, field)


@pytest.mark.parametrize("status", ["ERROR", "error", "REJECTED", "FAILED"])
def test_an_error_is_raised_with_code_and_words(status):
    with pytest.raises(GatewayRefused) as refused:
        read_snapshot(answer(status=status, error_code=5040, error_msg="no data\x1b[2J", positions=[]))
    assert refused.value.code == "5040"
    assert refused.value.detail is not None
    assert refused.value.detail.isprintable()


def test_an_error_without_a_message_or_with_nonsense_is_read():
    nonsense: list[dict[str, Any]] = [
        {},
        {"error_code": [], "error_msg": {"a": 1}},
        {"error_code": 10**400, "error_msg": "x" * 10_000},
    ]
    for value in nonsense:
        with pytest.raises(GatewayRefused) as refused:
            read_snapshot(answer(status="ERROR", **value))
        assert len(str(refused.value)) < 400


# ---- deals


def test_a_trade_is_a_fill_of_origin_recovery():
    read = deal(time_msc=1704153600123, external_id="x1")
    assert isinstance(read, FillRecorded)
    assert (read.deal, read.order, read.position_id, read.symbol) == (5001, 6001, 100001, "EURUSD")
    assert (read.side, read.entry, read.volume, read.price) == (Side.BUY, Entry.IN, Decimal("0.1"), Decimal("1.1"))
    assert (read.commission, read.fee, read.swap) == (Decimal("-0.35"), 0, 0)
    assert str(read.profit) == "-1.8900000000000001"
    assert (read.time_msc, read.magic, read.reason, read.comment, read.external_id) == (1704153600123, 7, 3, None, "x1")
    assert read.origin is Origin.RECOVERY


@pytest.mark.parametrize(
    ("type_", "entry", "side", "read_entry"),
    [("buy", "in", Side.BUY, Entry.IN), ("sell", "out", Side.SELL, Entry.OUT), (1, 2, Side.SELL, Entry.IN_OUT),
     ("DEAL_TYPE_SELL", "out by", Side.SELL, Entry.OUT_BY), (0, 9, Side.BUY, 9), ("0", "in", Side.BUY, Entry.IN),
     (" 1 ", "out", Side.SELL, Entry.OUT)],
)  # fmt: skip
def test_types_and_entries_are_codes_or_words(type_, entry, side, read_entry):
    assert (deal(type=type_, entry=entry).side, deal(type=type_, entry=entry).entry) == (side, read_entry)


@pytest.mark.parametrize(
    ("type_", "code", "word"),
    [(2, 2, None), ("balance", 2, None), ("CREDIT", 3, None), (13, 13, None), ("tax", 17, None), (99, 99, None),
     ("so compensation", None, "so compensation"), ("2", 2, None),
     ("DEAL_TYPE_COMMISSION_DAILY", 8, None), ("DEAL_TAX", 17, None)],
)  # fmt: skip
def test_what_is_no_trade_is_cash(type_, code, word):
    read = deal(type=type_, order=0, position_id=0, symbol="", volume=0, price=0, profit="1000.00")
    assert isinstance(read, CashMoved)
    assert (read.type, read.word, read.profit) == (code, word, 1000)
    assert (read.order, read.position_id, read.symbol, read.origin) == (None, None, None, Origin.RECOVERY)


def test_what_a_deal_does_not_state_is_unknown():
    read = deal(commission=GONE, fee=None, swap=GONE, profit=GONE, magic=GONE, reason=GONE, comment=GONE, position_id=GONE)
    unknown = (read.commission, read.fee, read.swap, read.profit, read.magic, read.reason, read.comment, read.position_id)
    assert unknown == (None,) * 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, GONE) for field in ("ticket", "type", "time", "symbol", "volume", "price", "entry")),
        ("volume", 0), ("volume", -1), ("symbol", ""), ("type", -1), ("type", 2**31), ("type", ""), ("type", 0.5),
        ("time_msc", 1704153600),
        ("entry", "sideways"), ("entry", -1), ("reason", -1), ("reason", 2**31), ("time", 0), ("profit", "x"), ("order", -1),
    ],
)  # fmt: skip
def test_a_deal_that_is_wrong_is_refused_by_its_row(field, value):
    with pytest.raises(SnapshotRefused) as refused:
        read_deals(answer(deals=[DEAL, bent(DEAL, {field: value})]))
    assert refused.value.row == 2
    assert field in (refused.value.field, "volume") or field in str(refused.value)


def test_a_list_of_deals_that_was_cut_is_refused():
    with pytest.raises(SnapshotRefused, match="count: expected the 2 rows"):
        read_deals(answer(deals=[DEAL], count=2))


# ---- account and symbols


def test_an_account_is_read():
    read = read_account(answer(account=ACCOUNT | {"currency_digits": 2, "equity": 999.25, "margin": 12.5}, connected=True))
    assert (read.login, read.server, read.currency, read.mode) == (70113, "Broker-Live", "USD", MarginMode.HEDGING)
    assert (str(read.balance), read.credit, read.currency_digits, read.equity) == ("1000.50", 0, 2, Decimal("999.25"))
    assert read.margin == Decimal("12.5")
    assert read.connected is True


@pytest.mark.parametrize(
    ("field", "value"),
    [*((field, GONE) for field in ACCOUNT), ("server", "a/b"), ("server", " "), ("currency", ""), ("margin_mode", 7),
     ("login", 1.5), ("balance", None), ("currency_digits", 16)],
)  # fmt: skip
def test_an_account_that_is_wrong_is_refused(field, value):
    with pytest.raises(SnapshotRefused) as refused:
        read_account(answer(account=bent(ACCOUNT, {field: value})))
    assert field in (refused.value.field or "")


def test_symbols_are_read_and_unknown_sizes_are_none():
    row = {"symbol": "EURUSD", "digits": 5, "volume_step": 0.01, "contract_size": 0, "currency_profit": ""}
    (read,) = read_symbols(answer(symbols=[row]))
    assert (read.symbol, read.digits, read.volume_step) == ("EURUSD", 5, Decimal("0.01"))
    assert (read.contract_size, read.currency) == (None, None)


@pytest.mark.parametrize(("field", "value"), [("symbol", GONE), ("digits", -1), ("volume_step", -0.01), ("contract_size", "x")])
def test_a_symbol_that_is_wrong_is_named(field, value):
    with pytest.raises(SnapshotRefused) as refused:
        read_symbols(answer(symbols=[bent({"symbol": "EURUSD"}, {field: value})]))
    assert (refused.value.row, refused.value.field) == (1, field)


# ---- whose answer it is

OURS = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("name", [
    "req_id", "reqId", "REQ_ID", "ReqID", "reqid", "req-id", "req id", "request_id", "requestId", "RequestID", "REQUEST-ID",
    "request_uuid", "correlation_id", "correlationId", "in_reply_to", "rid", "id", "ID", "_id", "uuid", "UUID", "guid",
    "msg_id", "messageId",
])  # fmt: skip
@pytest.mark.parametrize("other", ["another", "0", 1, 17.0, 2**70, True, [], {}, OURS[:-1], OURS + "0", OURS.replace("0", "1")])
def test_an_answer_that_names_another_request_in_any_spelling_is_another_answer(name, other):
    for raw in (
        answer(positions=[], **{name: other}),
        answer(positions=[{}], **{name: other}),
        answer(status="ERROR", **{name: other}),
    ):
        with pytest.raises(AnotherAnswer, match=name):
            read_snapshot(raw, Asked(OURS))


@pytest.mark.parametrize("quote", ["request", "header", "meta"])
def test_an_answer_that_quotes_another_request_is_another_answer(quote):
    with pytest.raises(AnotherAnswer):
        read_snapshot(answer(positions=[], **{quote: {"action": "GET_POSITIONS", "req_id": "x"}}), Asked(OURS))
    asked = Asked(OURS)
    assert read_snapshot(answer(positions=[], **{quote: {"reqId": OURS}}), asked).is_extended


@pytest.mark.parametrize(("name", "echo"), [
    ("req_id", OURS), ("reqId", OURS.upper()), ("uuid", "01234567-89ab-cdef-0123-456789abcdef"), ("id", "{" + OURS + "}"),
])  # fmt: skip
def test_our_own_id_is_known_in_any_spelling(name, echo):
    assert read_snapshot(answer(positions=[], **{name: echo}), Asked(OURS)).is_extended


def test_an_answer_that_names_our_request_may_have_an_id_of_its_own():
    assert read_snapshot(answer(positions=[], req_id=OURS, id=5, uuid="x"), Asked(OURS)).is_extended


def test_an_answer_that_names_our_request_and_another_one_is_none_of_ours():
    with pytest.raises(AnotherAnswer):
        read_snapshot(answer(positions=[], req_id=OURS, request_id="x"), Asked(OURS))


def test_an_id_in_a_row_names_no_request():
    read = read_snapshot(answer(positions=[ROW | {"id": 5, "req_id": "x"}], account={"id": 7}), Asked(OURS))
    assert not read.is_extended


@pytest.mark.parametrize("reader", [read_account, read_deals, read_symbols, read_pong])
def test_every_reader_checks_whose_answer_it_is(reader):
    with pytest.raises(AnotherAnswer):
        reader(answer(account=ACCOUNT, deals=[], symbols=[], request_id="x"), Asked(OURS))


def test_a_gateway_that_names_requests_must_go_on_naming_them_but_for_errors():
    with pytest.raises(AnotherAnswer):
        read_snapshot(answer(positions=[]), Asked(OURS, must_echo=True))
    with pytest.raises(GatewayRefused):
        read_snapshot(answer(status="ERROR"), Asked(OURS, must_echo=True))


# ---- how terminals write texts and numbers


def test_texts_that_are_filled_up_with_nul_are_read():
    full = bent(ROW, {"type": "buy\0\0", "symbol": "EURUSD\0\0", "comment": "manual\0\0", "ticket": "100001\0"})
    raw = answer(status="SUCCESS\0", positions=[full], server="Broker-Live\0\0\0", req_id=OURS + "\0")
    for spelling in (raw, raw.replace(b"\\u0000", b"\0"), raw + b"\0", raw + b"\r\n\0\0 "):
        read = read_snapshot(spelling, Asked(OURS))
        (row,) = read.positions
        assert (row.symbol, row.side, row.comment, row.ticket) == ("EURUSD", Side.BUY, "manual", 100001)
        assert (read.server, read.is_extended, read.raw) == ("Broker-Live", True, spelling)


def test_a_key_that_is_filled_up_with_nul_is_that_key():
    raw = answer(positions=[bent(ROW, {"volume": GONE, "volume\0\0": 0.5})])
    assert read_snapshot(raw).positions[0].volume == Decimal("0.5")
    with pytest.raises(SnapshotRefused, match="twice"):
        read_snapshot(answer(positions=[ROW | {"volume\0": 0.5}]))


@pytest.mark.parametrize(("comment", "read"), [
    ("manual\0rest", "manual"), ("\0", None), ("a\ud800b", "a\ufffd\ufffd\ufffdb"), ("\u00e9\0", "\u00e9"),
])  # fmt: skip
def test_a_comment_never_refuses_an_answer(comment, read):
    assert position(comment=comment).comment == read
    assert deal(comment=comment, external_id=comment).comment == read


@pytest.mark.parametrize("value", [100001.0, "100001", "100001.0", "100001.000"])
def test_an_id_may_be_written_as_a_double_while_that_is_exact(value):
    read = position(ticket=value, identifier=value, magic=value)
    assert (read.ticket, read.position_id, read.magic) == (100001, 100001, 100001)
    read = deal(
        ticket=value,
        order=value,
        position_id=value,
        magic=value,
        reason=3.0,
        entry=1.0,
        type=1.0,
        time=1704153600.0,
    )
    assert (read.deal, read.order, read.position_id, read.magic) == (100001,) * 4
    assert (read.reason, read.entry, read.side, read.time_msc) == (3, Entry.OUT, Side.SELL, 1704153600000)
    assert read_snapshot(answer(positions=[ROW], count=1.0, login=70113.0)).login == 70113


@pytest.mark.parametrize("field", ["ticket", "identifier", "magic"])
@pytest.mark.parametrize("value", [2.0**53 + 2, "9007199254740994.0", 1e17, 100001.5, "100001.5"])
def test_an_id_that_a_double_cannot_distinguish_from_its_neighbours_is_refused_by_row_and_field(field, value):
    with pytest.raises(SnapshotRefused) as refused:
        position(**{field: value})
    assert (refused.value.row, refused.value.field) == (1, field)


@pytest.mark.parametrize(("value", "magic"), [(2**64 - 1, 2**64 - 1), (-1, 2**64 - 1), (2**63, 2**63), ("7", 7), (0, 0)])
def test_a_magic_number_has_64_bits_without_a_sign(value, magic):
    assert position(magic=value).magic == magic
    assert deal(magic=value).magic == magic


@pytest.mark.parametrize(("field", "value", "cause"), [
    ("time_msc", 1704153600, "it looks like seconds: multiply by 1000"), ("time", 1704153600000, "from 0 to 253370764800"),
    ("time", 86400, "of 2000 or later"), ("time_update_msc", 1, "of 2000 or later"),
])  # fmt: skip
def test_a_time_in_another_unit_is_refused_by_row_and_field(field, value, cause):
    for change in ({field: value}, {field: float(value)}):
        with pytest.raises(SnapshotRefused, match=cause) as refused:
            position(**change)
        assert (refused.value.row, refused.value.field) == (1, field)


@pytest.mark.parametrize("raw", [
    b'{"status":"SUCCESS","positions":[],"junk":[' + b"0," * 300_000 + b"0]}",
    b'{"status":"SUCCESS","positions":[],' + b",".join(b'"%d":1' % n for n in range(200_001)) + b"}",
    b'{"status":"SUCCESS","positions":[{"x":"' + b"x" * 3_000_000 + b'"}]}',
    b'{"status":"SUCCESS","positions":[' + b"{}," * 600_000 + b"{}]}",
], ids=["list", "fields", "text", "rows"])  # fmt: skip
def test_an_answer_that_no_gateway_writes_is_refused_and_not_held_in_memory(raw):
    with pytest.raises(SnapshotRefused):
        read_snapshot(raw)
