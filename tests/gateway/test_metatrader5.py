"""A terminal in the same process: the reconciler syncs with it as with any gateway, and believes it no more than any other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from ledger import (
    AccountId,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Ledger,
    MarginMode,
    Side,
    SnapshotRefused,
    StateReconciler,
    SyncStatus,
)
from ledger.gateway import Gateway
from ledger.gateway.metatrader5 import MetaTrader5Gateway
from ledger.reconciler import account_of
from ledger.testing import fake_mt5
from tests.gateway.scripted_mt5 import NO_CONNECTION, OPENED_MSC, TIMED_OUT, Record, ScriptedMt5, deal, position

ACCOUNT = AccountId("Sandbox-Demo", 70113)


@pytest.fixture
def ledger():
    with Ledger.open("memory://") as opened:
        yield opened


def test_it_is_a_gateway():
    gateway: Gateway = MetaTrader5Gateway(fake_mt5())
    assert gateway.reconnections == 0
    gateway.close()


# ---- a snapshot


def test_a_snapshot_states_account_terminal_and_time():
    snapshot = MetaTrader5Gateway(ScriptedMt5(position(7), deals=(deal(7),))).positions()
    assert (snapshot.login, snapshot.server, snapshot.mode) == (70113, "Broker-Live", MarginMode.HEDGING)
    assert (snapshot.connected, snapshot.count, snapshot.server_time_msc) == (True, 1, OPENED_MSC)
    assert snapshot.is_extended


def test_a_position_is_read_as_over_the_wire():
    row = position(7, identifier=5, type=1, volume=0.30000000000000004, magic=2**64 - 1, comment="ema1")
    (found,) = MetaTrader5Gateway(ScriptedMt5(row)).positions().positions
    assert (found.position_id, found.ticket, found.side, found.magic) == (5, 7, Side.SELL, 2**64 - 1)
    assert (found.volume, found.price_open, found.comment) == (Decimal("0.30000000000000004"), Decimal("1.05433"), "ema1")
    assert (found.opened_msc, found.updated_msc) == (OPENED_MSC, OPENED_MSC)


def test_the_evidence_is_the_rows_and_their_head():
    snapshot = MetaTrader5Gateway(ScriptedMt5(position(7))).positions()
    raw = json.loads(snapshot.raw)
    assert raw["login"] == 70113
    assert raw["positions"][0]["price_open"] == 1.05433
    assert raw["positions"][0]["sl"] == 0.0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"type": 6}, "row 2, type: expected buy or sell, found 6"),
        ({"volume": 0.0}, "row 2, volume: expected a volume of more than 0"),
        ({"ticket": 0}, "row 2, ticket"),
        ({"symbol": ""}, "row 2, symbol"),
        ({"time_msc": 5}, "row 2, time_msc: expected a server time in milliseconds"),
        ({"price_open": float("nan")}, "row 2, price_open"),
    ],
)
def test_a_row_that_cannot_be_read_whole_is_refused_with_row_and_field(wrong, complaint):
    gateway = MetaTrader5Gateway(ScriptedMt5(position(7), position(8, **wrong)))
    with pytest.raises(SnapshotRefused, match=complaint):
        gateway.positions()


def test_a_margin_mode_that_is_not_known_is_refused():
    mt5 = ScriptedMt5()
    mt5.account["margin_mode"] = 3
    with pytest.raises(SnapshotRefused, match="margin_mode"):
        MetaTrader5Gateway(mt5).positions()


def test_what_a_terminal_without_its_broker_shows_is_stated_as_such():
    mt5 = ScriptedMt5(position(7))
    mt5.terminal["connected"] = False
    assert MetaTrader5Gateway(mt5).positions().connected is False


def test_a_login_while_the_positions_are_read_refuses_them():
    mt5 = ScriptedMt5(position(7))
    gateway = MetaTrader5Gateway(mt5)
    read = mt5.positions_total

    def log_in_elsewhere() -> Any:
        mt5.account |= {"login": 8}
        return read()

    mt5.positions_total = log_in_elsewhere  # type: ignore[method-assign]
    with pytest.raises(SnapshotRefused, match="login: expected 70113 throughout, the terminal logged in to 8"):
        gateway.positions()


def test_the_account_the_deals_and_the_symbols_are_read_too():
    gateway = MetaTrader5Gateway(fake_mt5(positions=2))
    assert gateway.account().balance > 0
    assert len(gateway.deals().deals) == 3
    assert len(gateway.symbols()) > 10
    opened = gateway.positions().positions[0]
    assert [one.position_id for one in gateway.deals(position=opened.position_id).deals] == [opened.position_id]


# ---- what the module of another machine returns


class Proxy(Mapping[str, Any]):
    """A dict on the other side of a wire: it has a dict's calls and is none."""

    def __init__(self, there: dict[str, Any]) -> None:
        self._there = there

    def __getitem__(self, name: str) -> Any:
        return self._there[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._there)

    def __len__(self) -> int:
        return len(self._there)


class RemoteRecord:
    """A record on the other side. As with RPyC, what it is cannot be asked for: ``isinstance`` raises."""

    def __init__(self, there: Any) -> None:
        self._there = there

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._there

    def __getattr__(self, name: str) -> Any:
        return getattr(self._there, name)

    def _asdict(self) -> Proxy:
        return Proxy(self._there._asdict())


class RemoteMt5(ScriptedMt5):
    """A module whose records stay where they are."""

    def _answer(self, call: str, value: Any, *args: Any, **given: Any) -> Any:
        answer = super()._answer(call, value, *args, **given)
        if isinstance(answer, tuple):
            return tuple(RemoteRecord(one) for one in answer)
        return RemoteRecord(answer) if hasattr(answer, "_asdict") else answer


def test_records_behind_a_proxy_are_copied_at_once():
    modules = [kind(position(7), position(8), deals=(deal(7),)) for kind in (ScriptedMt5, RemoteMt5)]
    for module in modules:
        module.symbols = (Record(name="EURUSD", digits=5, time=1),)
    near, far = map(MetaTrader5Gateway, modules)
    assert near.positions() == far.positions()
    assert near.symbols() == far.symbols()
    assert near.deals() == far.deals()
    assert near.account() == far.account()


# ---- a reconciler with it


def test_the_gateway_names_its_account():
    assert account_of(MetaTrader5Gateway(fake_mt5())) == ACCOUNT


@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_a_startup_records_what_the_terminal_has(ledger, mode):
    mt5 = fake_mt5(mode=mode, positions=3)
    account = ledger.account(ACCOUNT)
    result = StateReconciler(account, MetaTrader5Gateway(mt5)).startup_recovery()
    assert result.status is SyncStatus.SUCCESS, result
    assert sorted(account.portfolio.positions) == [one.position_id for one in mt5.terminal.open_positions()]
    assert account.portfolio.balance == mt5.terminal.balance


def test_a_position_closed_in_the_terminal_is_closed_at_the_next_sync(ledger):
    mt5 = fake_mt5(positions=2)
    account = ledger.account(ACCOUNT)
    reconciler = StateReconciler(account, MetaTrader5Gateway(mt5))
    reconciler.startup_recovery()
    closed = mt5.terminal.open_positions()[0].position_id
    mt5.terminal.close(closed)
    assert reconciler.sync_positions().status is SyncStatus.SUCCESS
    assert closed not in account.portfolio.positions


def test_a_sync_without_news_appends_nothing(ledger):
    reconciler = StateReconciler(ledger.account(ACCOUNT), MetaTrader5Gateway(fake_mt5(positions=2)))
    reconciler.startup_recovery()
    assert reconciler.sync_positions().appended == 0


@pytest.mark.parametrize(
    ("error", "kind"), [(NO_CONNECTION, GatewayUnavailable), (TIMED_OUT, GatewayTimeout), ((-1, "Fail"), GatewayRefused)]
)
def test_an_error_of_the_module_degrades_the_sync_and_changes_nothing(ledger, error, kind):
    mt5 = ScriptedMt5(position(7), deals=(deal(7),))
    account = ledger.account("Broker-Live", 70113)
    account.open(currency="USD", mode="hedging", clock="UTC")
    gateway = MetaTrader5Gateway(mt5)
    reconciler = StateReconciler(account, gateway)
    reconciler.sync_positions()
    before = account.portfolio.positions
    assert list(before) == [7]
    mt5.positions = ()
    mt5.fail("positions_get", error, error)
    result = reconciler.sync_positions()
    assert result.status is SyncStatus.DEGRADED
    assert str(error[0]) in str(result.reason)
    assert account.portfolio.positions == before
    with pytest.raises(kind):
        gateway.positions()


def test_an_answer_of_another_account_degrades_the_sync(ledger):
    mt5 = ScriptedMt5(position(7), deals=(deal(7),))
    account = ledger.account("Broker-Live", 70113)
    account.open(currency="USD", mode="hedging", clock="UTC")
    reconciler = StateReconciler(account, MetaTrader5Gateway(mt5))
    reconciler.sync_positions()
    mt5.account |= {"login": 8}
    mt5.positions = ()
    result = reconciler.sync_positions()
    assert result.status is SyncStatus.DEGRADED
    assert "expected 70113" in str(result.reason)
    assert list(account.portfolio.positions) == [7]


def test_a_terminal_that_ends_and_is_started_again_is_the_same_one(ledger):
    mt5 = fake_mt5(positions=2)
    account = ledger.account(ACCOUNT)
    gateway = MetaTrader5Gateway(mt5, login=70113)
    reconciler = StateReconciler(account, gateway)
    reconciler.startup_recovery()
    mt5.control.exit_terminal()
    assert reconciler.sync_positions().status is SyncStatus.DEGRADED
    mt5.terminal.close(mt5.terminal.open_positions()[0].position_id)
    assert (reconciler.sync_positions().status, gateway.reconnections) == (SyncStatus.SUCCESS, 1)
    assert len(account.portfolio.positions) == 1


def test_a_terminal_without_its_broker_changes_nothing(ledger):
    mt5 = fake_mt5(positions=2)
    account = ledger.account(ACCOUNT)
    reconciler = StateReconciler(account, MetaTrader5Gateway(mt5))
    reconciler.startup_recovery()
    mt5.control.disconnect()
    result = reconciler.sync_positions()
    assert (result.status, "not connected" in str(result.reason)) == (SyncStatus.DEGRADED, True)
    mt5.control.reconnect()
    assert reconciler.sync_positions().appended == 1  # that it is well again


@pytest.mark.parametrize(
    "fault",
    ["no-connection", "timeout", "fail", "exit", "not-connected", "wrong-login", "wrong-server", "half", "duplicate"],
)
def test_whatever_fails_no_position_is_closed_for_it(ledger, fault):
    mt5 = fake_mt5(positions=5)
    account = ledger.account(ACCOUNT)
    reconciler = StateReconciler(account, MetaTrader5Gateway(mt5))
    reconciler.startup_recovery()
    before = account.portfolio.positions
    mt5.faults.add(fault, 20)
    assert reconciler.sync_positions().status is SyncStatus.DEGRADED
    assert account.portfolio.positions == before
    mt5.faults.clear()
    reconciler.sync_positions()
    assert reconciler.sync_positions().status is SyncStatus.SUCCESS
    assert account.portfolio.positions == before


def test_a_context_closes_it():
    mt5 = ScriptedMt5()
    with MetaTrader5Gateway(mt5) as gateway:
        gateway.positions()
    assert mt5.asked[-1] == "shutdown"
