"""The server that an engine already has: read on purpose, recognised, and never believed where its list proves nothing."""

from __future__ import annotations

import ast
import json
from decimal import Decimal
from pathlib import Path

import pytest

from ledger import FillRecorded, GatewayIdentified, GhostClosed, Ledger, ReconcilePolicy, Side, StateReconciler, SyncStatus
from ledger.errors import GatewayRefused, SnapshotRefused
from ledger.gateway.client import ZmqGateway
from ledger.protocol.echo import AnotherAnswer, Asked
from ledger.protocol.read import read_snapshot
from ledger.reconciler.listing import FIX, PASSES_ON
from ledger.values import Entry
from tests.gateway import engine_server
from tests.gateway.engine_server import EngineServer, position
from tests.gateway.terminals import GIVE_UP_SEC, Terminal, positions
from tests.support.commands import run
from tests.support.journals import new_url
from tools.testkit.stories import at

ROOT = Path(__file__).resolve().parents[2]
PATIENT = round(GIVE_UP_SEC * 1000)
OURS = "0123456789abcdef0123456789abcdef"
ACCOUNT = "Broker-Live/70113"
FLAT = {"uuid": "5d1c", "status": "ok", "positions": [], "timestamp": 1704153600}


class Desk:
    """An account with positions of its engine, and a reconciler at a server."""

    def __init__(self, server, *symbols, url="memory://"):
        self.server = server
        self.ledger = Ledger.open(url) if url == "memory://" else Ledger.create(url)
        self.account = self.ledger.account(ACCOUNT)
        self.account.open(currency="USD", mode="hedging")
        for number, symbol in enumerate(symbols, 1):
            fill = FillRecorded(
                deal=number,
                position_id=number,
                symbol=symbol,
                side=Side.BUY,
                volume=Decimal("0.1"),
                price=Decimal("1.1"),
                time_msc=at(number),
                entry=Entry.IN,
            )
            self.account.record(fill)
        self.gateway = ZmqGateway(server.endpoint, timeout_ms=PATIENT)
        self.reconciler = StateReconciler(self.account, self.gateway, policy=ReconcilePolicy(settle_sec=0))

    def sync(self):
        return self.reconciler.sync_positions()

    @property
    def held(self):
        return sorted(self.account.portfolio.positions)

    def close(self):
        self.gateway.close()
        self.ledger.close()


@pytest.fixture
def served():
    """Return a function that opens a desk at a server with these rows."""
    open_now: list[Desk | EngineServer] = []

    def serve(*rows, holds=(), knows_wildcard=False):
        server = EngineServer(*rows, knows_wildcard=knows_wildcard)
        open_now.append(server)
        desk = Desk(server, *holds)
        open_now.insert(0, desk)
        return desk

    yield serve
    for one in open_now:
        one.close() if isinstance(one, Desk) else one.__exit__()


def read(asked=None, **fields):
    return read_snapshot(json.dumps(FLAT | fields).encode(), asked or Asked(OURS))


# ---- reading


def test_its_server_imports_nothing_of_ours():
    tree = ast.parse(Path(engine_server.__file__).read_text(encoding="utf-8"))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert sorted(map(str, imported)) == ["__future__", "json", "threading", "typing", "uuid", "zmq"]


def test_open_positions_are_read_by_their_own_names(served):
    desk = served(position(7), position(8, "USDJPY", "SELL", 0.2, 150.5), knows_wildcard=True)
    snapshot = desk.gateway.positions()
    assert [(row.ticket, row.symbol, row.side, row.volume, row.price_open) for row in snapshot.positions] == [
        (7, "EURUSD", Side.BUY, Decimal("0.1"), Decimal("1.1")), (8, "USDJPY", Side.SELL, Decimal("0.2"), Decimal("150.5")),
    ]  # fmt: skip
    assert (snapshot.is_engine_form, snapshot.is_extended, desk.gateway.dropped) == (True, False, 0)


def test_its_errors_are_raised_with_code_and_text(served):
    desk = served(position(7), holds=["EURUSD"])
    desk.server.error = ("-10004", "No IPC connection")
    with pytest.raises(GatewayRefused) as refused:
        desk.gateway.positions()
    assert (refused.value.code, refused.value.detail) == ("-10004", "No IPC connection")
    result = desk.sync()
    assert result.status is SyncStatus.DEGRADED
    assert "No IPC connection" in (result.reason or "")
    assert desk.held == [1]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "SUCCESS"}, {"status": "OK"}, {"request_id": "x"}, {"id": 5}, {"request": {"req_id": "x"}},
    ],
    ids=lambda fields: next(iter(fields.items())),
)  # fmt: skip
def test_an_id_in_any_other_answer_still_names_another_request(fields):
    assert read().is_engine_form
    with pytest.raises(AnotherAnswer):
        read(**fields)


def test_an_id_without_a_time_still_names_another_request():
    with pytest.raises(AnotherAnswer):
        read_snapshot(json.dumps({name: value for name, value in FLAT.items() if name != "timestamp"}).encode(), Asked(OURS))


def test_its_id_is_another_request_s_where_the_gateway_named_ours_before():
    for status in ("ok", "REJECTED"):
        with pytest.raises(AnotherAnswer):
            read(Asked(OURS, must_echo=True), status=status)

    def mixed_up(number, request):
        first = () if number == 1 else (json.dumps(FLAT).encode(),)
        return (*first, positions(number, echo=request))

    with Terminal(mixed_up) as server, ZmqGateway(server.endpoint, timeout_ms=PATIENT) as gateway:
        assert [[row.ticket for row in gateway.positions().positions] for _ in range(2)] == [[1], [2]]
        assert gateway.dropped == 1


def test_one_that_repeats_our_id_is_of_the_extended_form():
    snapshot = read(uuid=OURS)
    assert (snapshot.is_extended, snapshot.is_engine_form) == (True, False)


# ---- an empty list for "*"


def test_an_empty_list_for_the_wildcard_closes_nothing_while_the_names_list_the_positions(served):
    desk = served(position(1), position(2), position(3, "USDJPY"), holds=["EURUSD", "EURUSD", "USDJPY"])
    for _ in range(5):
        result = desk.sync()
        assert (result.status, result.closed, result.recovered) == (SyncStatus.PARTIAL, (), ())
        (held,) = result.held
        assert "positions of other symbols are not visible" in held.why
        assert "positions_get() without a symbol" in held.why
    assert desk.held == [1, 2, 3]
    assert set(desk.server.asked) == {"*", "EURUSD", "USDJPY"}
    assert not desk.reconciler.safe_to_trade().is_safe
    with pytest.raises(SnapshotRefused, match="not visible"):
        desk.reconciler.differences()


@pytest.mark.parametrize("times", [1, 5])
def test_empty_lists_for_everything_close_nothing_however_often(times, served):
    desk = served(position(1), position(2), position(3), holds=["EURUSD", "EURUSD", "EURUSD"])
    desk.server.is_dead = True
    for _ in range(times):
        result = desk.sync()
        assert result.status is SyncStatus.DEGRADED
        assert 'may pass "*" on to MetaTrader 5' in (result.reason or "")
        assert "an empty list proves nothing" in (result.reason or "")
    assert desk.reconciler.startup_recovery().status is SyncStatus.DEGRADED
    assert desk.held == [1, 2, 3]
    assert not desk.account.portfolio.breaks


def test_what_the_names_show_is_reconciled(served):
    desk = served(position(1, volume=0.05), position(9), holds=["EURUSD", "USDJPY"])
    desk.reconciler.startup_recovery()
    left = desk.account.portfolio.positions
    assert (sorted(left), left[1].volume) == ([1, 9], Decimal("0.05"))  # changed, closed after confirmation, recovered
    (closed,) = [one.event for one in desk.account.events() if isinstance(one.event, GhostClosed)]
    answers = [json.loads(line)["positions"] for line in desk.account.evidence(closed.evidence or "").splitlines()]
    assert [len(rows) for rows in answers] == [0, 2, 0]  # for "*", EURUSD and USDJPY


def test_a_server_that_states_no_account_is_not_even_asked_by_name_where_it_has_to(served):
    desk = served(position(1), holds=["EURUSD"])
    seen = GatewayIdentified(login=70113, server="Broker-Live", form="extended", time_msc=at(9))
    desk.account.record_many([seen])
    result = desk.sync()
    assert (result.status, desk.server.asked) == (SyncStatus.DEGRADED, ["*"])
    assert "another program or terminal may be answering" in (result.reason or "")


def test_the_last_position_of_a_gateway_that_listed_by_name_is_closed_after_confirmation(served):
    desk = served(position(1), holds=["EURUSD"])
    desk.sync()
    desk.server.rows.clear()
    assert [desk.sync().closed for _ in range(2)] == [(), (1,)]
    result = desk.sync()
    assert result.status is SyncStatus.PARTIAL  # it is known to pass "*" on: what else is open remains unknown
    assert "an empty list proves nothing" in result.held[0].why


def test_an_empty_list_is_believed_of_one_that_listed_all_before(served):
    desk = served(position(1), holds=["EURUSD"], knows_wildcard=True)
    assert desk.sync().status is SyncStatus.SUCCESS
    desk.server.rows.clear()
    assert [desk.sync().closed for _ in range(2)] == [(), (1,)]
    assert desk.sync().status is SyncStatus.SUCCESS
    assert set(desk.server.asked) == {"*"}


@pytest.mark.parametrize("further", [{"count": 0}, {"login": 70113, "server": "Broker-Live"}], ids=["count", "login"])
def test_an_empty_list_is_believed_of_one_that_states_count_or_login(further, served):
    desk = served(holds=["EURUSD"])
    desk.server.further = further
    assert [desk.sync().closed for _ in range(2)] == [(), (1,)]


def test_an_empty_list_while_nothing_is_held_is_a_warning(served):
    result = served().sync()
    assert (result.status, len(result.warnings)) == (SyncStatus.SUCCESS, 1)
    assert "an empty list proves nothing" in result.warnings[0]


def test_an_answer_by_name_that_shows_another_symbol_is_refused(served):
    desk = served(position(1), holds=["EURUSD"])
    desk.server._found = lambda symbol: [] if symbol == "*" else [position(1, "USDJPY")]
    result = desk.sync()
    assert (result.status, desk.held) == (SyncStatus.DEGRADED, [1])
    assert "expected positions of EURUSD only" in (result.reason or "")


def test_a_terminal_that_is_not_connected_is_not_even_asked_by_name(served):
    desk = served(position(1), holds=["EURUSD"])
    desk.server.further = {"connected": False}
    assert "not connected" in (desk.sync().reason or "")
    assert desk.server.asked == ["*"]


@pytest.mark.parametrize(
    ("by_name", "words"),
    [({"count": 2}, "expected the 2 rows"), ({"login": 5}, "expected 70113"), ({"connected": False}, "not connected")],
)
def test_an_answer_by_name_has_to_be_believed_like_any_other(by_name, words, served):
    desk = served(position(1), holds=["EURUSD"])
    desk.server.by_name = by_name
    result = desk.sync()
    assert (result.status, desk.held) == (SyncStatus.DEGRADED, [1])
    assert words in (result.reason or "")


def test_what_was_listed_before_the_connection_was_lost_proves_nothing_now(served):
    desk = served(position(1), holds=["EURUSD"], knows_wildcard=True)
    assert desk.sync().status is SyncStatus.SUCCESS
    desk.gateway._reconnections += 1
    desk.server.rows.clear()
    assert [desk.sync().status for _ in range(3)] == [SyncStatus.DEGRADED] * 3
    assert desk.held == [1]


# ---- commands and manual


def test_the_manual_has_the_words_that_a_user_searches_for():
    page = " ".join((ROOT / "docs" / "how-to" / "connect-a-gateway.md").read_text(encoding="utf-8").split())
    assert "## The server you already have" in page
    assert all(words in page for words in (PASSES_ON, FIX))


def test_the_commands_explain_it(tmp_path):
    url = new_url("sqlite", tmp_path)
    with EngineServer(position(1)) as server:
        desk = Desk(server, "EURUSD", url=url)
        desk.close()
        at_it = ("--account", ACCOUNT, "--gateway", server.endpoint, "--timeout-ms", str(PATIENT))
        synced = run("sync", *at_it, journal=url)
        assert synced.code == 1
        assert "PARTIAL" in synced.text
        assert "takes it for the name of a symbol" in " ".join(synced.text.split())
        assert run("drift", *at_it, journal=url).code == 3
        checks = {one["check"]: one for one in run("doctor", "--json", *at_it, journal=url).json()}
        assert checks[f"gateway {server.endpoint}"]["state"] == "failed"
        assert "not visible" in checks[f"gateway {server.endpoint}"]["seen"]
        assert checks["form"]["state"] == "warning"
        assert checks["form"]["seen"].startswith("engine form: positions only")
        assert "positions_get() without a symbol" in checks["form"]["advice"]
        server.knows_wildcard = True
        assert run("sync", *at_it, journal=url).code == 0
        checks = {one["check"]: one for one in run("doctor", "--json", *at_it, journal=url).json()}
        assert (checks[f"gateway {server.endpoint}"]["state"], checks["form"]["state"]) == ("ok", "ok")
