"""Order messages to requests of MetaTrader 5, at the fake module, which takes as strictly as the package does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.events.orders import OrderKind
from ledger.gateway.mt5_orders import Mt5OrderTerminal
from ledger.gateway.mt5_requests import DOUBLES, to_call
from ledger.protocol.order_requests import (
    FieldRefused,
    content_of,
    digest_of,
    order_fields,
    read_order_message,
)
from ledger.testing import FakeMetaTrader5, FakeSettings, fake_mt5
from tests.support.order_messages import ACCOUNT, message

STORE = "store"


def terminal_of(**settings: Any) -> tuple[Mt5OrderTerminal, FakeMetaTrader5]:
    fake = fake_mt5(deposit="10000", settings=FakeSettings(**settings))
    return Mt5OrderTerminal(fake), fake


@pytest.mark.parametrize(
    ("execution", "mask", "kind", "filling"),
    [
        (2, 3, "market", 1), (2, 2, "market", 1), (2, 1, "market", 0), (0, 3, "market", 0), (1, 3, "market", 0),
        (3, 0, "market", 2), (3, 1, "market", 0), (2, 3, "pending", 2), (3, 3, "pending", 2), (1, 3, "pending", 0),
    ],
)  # fmt: skip
def test_how_an_order_is_filled_follows_the_symbol(execution, mask, kind, filling):
    terminal, _ = terminal_of(execution=execution, filling_mode=mask)
    further = {"type": "limit", "price": "1.00000"} if kind == "pending" else {}
    assert terminal.prepare(message("one", STORE, kind=kind, **further))["type_filling"] == filling
    for word, code in (("fok", 0), ("ioc", 1), ("return", 2), ("boc", 3)):
        assert terminal.prepare(message("one", STORE, kind=kind, filling=word, **further))["type_filling"] == code


@given(st.decimals("0.01", "50", places=2), st.decimals("0.50000", "1.00000", places=5), st.integers(0, 2**63 - 1))
def test_numbers_are_exact_until_the_call_and_fit_it(volume, price, magic):
    terminal, fake = terminal_of()
    prepared = terminal.prepare(
        message("one", STORE, kind="pending", type="limit", volume=str(volume), price=str(price), magic=magic)
    )
    assert (Decimal(prepared["volume"]), Decimal(prepared["price"]), prepared["magic"]) == (volume, price, magic)
    call = to_call(prepared)
    assert all(type(call[name]) is float for name in DOUBLES & call.keys())
    assert (call["volume"], call["price"]) == (float(volume), float(price))
    sent = terminal.send(prepared, OrderKind.PENDING, login=ACCOUNT.login, server=ACCOUNT.server)
    assert sent["verdict"] == "accepted", sent
    assert len(fake.broker.requests) == 1


def test_an_order_ends_at_a_whole_second_of_the_server():
    terminal, fake = terminal_of()
    ends_msc = fake.terminal.now_msc + 3_600_999
    prepared = terminal.prepare(
        message("one", STORE, kind="pending", type="stop_limit", price="1.50000", stoplimit="1.40000", lifetime="specified",
                expires_msc=ends_msc)
    )  # fmt: skip
    assert (prepared["expiration"], prepared["type_time"], prepared["stoplimit"]) == (ends_msc // 1000, 2, "1.4")
    assert terminal.send(prepared, OrderKind.PENDING, login=ACCOUNT.login, server=ACCOUNT.server)["verdict"] == "accepted"


@pytest.mark.parametrize(
    ("changes", "verdict", "sent"),
    [
        ({"comment": "x" * 30}, "not_sent", 0),  # -2 in the package
        ({"magic": -1}, "not_sent", 0),  # SystemError
        ({"volume": None}, "not_sent", 0),
        ({}, "accepted", 1),
    ],
)
def test_what_the_package_itself_refuses_was_not_sent_and_nothing_escapes(changes, verdict, sent):
    """O33, O34."""
    terminal, fake = terminal_of()
    prepared = terminal.prepare(message("one", STORE)) | changes
    found = terminal.send(prepared, OrderKind.MARKET, login=ACCOUNT.login, server=ACCOUNT.server)
    assert (found["verdict"], len(fake.broker.requests)) == (verdict, sent)


def test_nothing_is_sent_to_another_account():
    terminal, fake = terminal_of()
    prepared = terminal.prepare(message("one", STORE))
    found = terminal.send(prepared, OrderKind.MARKET, login=ACCOUNT.login + 1, server=ACCOUNT.server)
    assert (found["verdict"], fake.broker.requests) == ("not_sent", [])
    fake.detach()
    fake.faults.add("no-start", -1)
    found = terminal.send(prepared, OrderKind.MARKET, login=ACCOUNT.login, server=ACCOUNT.server)
    assert (found["verdict"], fake.broker.requests) == ("not_sent", [])


class Raising:
    """A module whose ``order_send`` fails as it is asked to."""

    def __init__(self, fake: FakeMetaTrader5, answer: Any) -> None:
        self._fake, self._answer = fake, answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fake, name)

    def order_send(self, _: dict[str, Any]) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (SystemError("after it was sent"), "unknown"), (OSError("the wire"), "unknown"), (EOFError(), "unknown"),
        ({"retcode": "10009"}, "unknown"), ({}, "unknown"), (7, "unknown"), (object(), "unknown"), (None, "unknown"),
        ({"retcode": 10006, "order": 0, "deal": 0, "volume": 0.0}, "rejected"),
        ({"retcode": 10006, "order": None, "deal": 0, "volume": 0.0}, "unknown"),
        ({"retcode": 10009, "volume": float("nan")}, "accepted"),
    ],
)  # fmt: skip
def test_whatever_order_send_does_has_a_verdict(answer, verdict):
    _, fake = terminal_of()
    terminal = Mt5OrderTerminal(Raising(fake, answer))
    prepared = terminal.prepare(message("one", STORE))
    found = terminal.send(prepared, OrderKind.MARKET, login=ACCOUNT.login, server=ACCOUNT.server)
    assert found["verdict"] == verdict


# ---- messages


@given(st.sampled_from(["0.1", "0.10", "0.100"]), st.sampled_from(["1", "1.0", "1.00000"]))
def test_the_digest_is_of_the_content_and_not_of_its_spelling(volume, price):
    one = message("one", STORE, volume="0.1", price="1", valid_until_utc_msc=1)
    other = message("one", STORE, volume=volume, price=price, valid_until_utc_msc=2)
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of(message("one", STORE, volume="0.2", price="1"))


@given(st.sampled_from(list(order_fields(message("one", STORE)))), st.sampled_from([[], {}, True, 1.5, "\x00", "é" * 300, -1]))
def test_a_field_of_another_type_is_refused_by_its_name(name, value):
    fields = order_fields(message("one", STORE, kind="pending", type="limit", price="1")) | {name: value}
    with pytest.raises(FieldRefused) as refused:
        read_order_message(fields)
    assert refused.value.name == name or name in ("lifetime", "expires_msc")


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"sl": "1.05", "tp": "0"}, {"kind": "pending", "type": "stop", "price": "1.2", "magic": 7},
        {"kind": "close", "position_id": 5}, {"kind": "close_by", "position_id": 5, "by_position_id": 6},
        {"kind": "stops", "position_id": 5, "sl": "1"}, {"kind": "modify", "order": 9, "price": "1.1"},
        {"kind": "cancel", "order": 9},
    ],
)  # fmt: skip
def test_a_message_is_read_as_it_was_written(fields):
    written = message("one", STORE, **fields)
    read = read_order_message(order_fields(written))
    assert read == written
    assert content_of(read) == content_of(written)
