"""The reference of the protocol: its examples are read as it states, and a server written from it alone is a gateway to us."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import pytest
import zmq

from ledger import Ledger, StateReconciler
from ledger.clock import TIME_MAX_MSC, TIME_MIN_MSC
from ledger.errors import GatewayDenied, GatewayError, GatewayRefused, GatewayTimeout
from ledger.events import CashMoved, FillRecorded, GatewayIdentified
from ledger.gateway import client
from ledger.gateway.client import TIMEOUT_MS, ZmqGateway
from ledger.gateway.curve import authorise, load_client_keys, make_keys
from ledger.portfolio import Portfolio
from ledger.protocol import MESSAGE_BYTES_MAX, echo
from ledger.protocol.echo import STATUS_BAD, STATUS_GOOD, Asked
from ledger.protocol.json_stream import ELEMENT_MAX
from ledger.protocol.messages import BASE_FIELDS
from ledger.protocol.read import (
    read_account,
    read_deals,
    read_object,
    read_pong,
    read_query,
    read_request,
    read_snapshot,
    read_symbols,
)
from ledger.protocol.write import write_request
from ledger.reconcile.validate import validate
from ledger.reconciler.results import SyncStatus
from ledger.reconciler.sync import _NOT_OFFERED
from ledger.snapshot import Snapshot
from ledger.values import CASH_WORDS, Entry, MarginMode, Side
from tests.support.commands import Ran, run

ROOT: Final = Path(__file__).resolve().parents[2]
REFERENCE: Final = ROOT / "docs" / "reference" / "gateway-protocol.md"
SERVER: Final = Path(__file__).with_name("second_server.py")
ACCOUNT: Final = "Second-Live/90210"
PATIENT: Final = 20_000
SEEN_MSC: Final = 1_704_153_600_000

Read = Callable[..., object]
Json = dict[str, Any]

# ---- the reference


TEXT: Final = REFERENCE.read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"```(json|text)\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES: Final = [raw for kind, raw in BLOCKS if kind == "json"]
REQUESTS: Final = [raw for raw in EXAMPLES if "action" in json.loads(raw)]
REFUSED: Final = [(one[1], two[1].strip()) for one, two in pairwise(BLOCKS) if (one[0], two[0]) == ("json", "text")]
ANSWERS: Final = [raw for raw in EXAMPLES if raw not in {*REQUESTS, *(refused for refused, _ in REFUSED)}]
#: Runs a program where nothing of the project can be imported.
ALONE: Final = (
    "import runpy, sys; sys.modules |= dict.fromkeys(('ledger', 'tests', 'tools')); del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
#: The official package, as far as the small server calls it: an error first, then a position.
TERMINAL: Final = """
from types import SimpleNamespace

row = dict(ticket=5001, identifier=5001, symbol="EURUSD", type=1, volume=0.1, price_open=1.1, profit=0.0, time=1704153000)
answers = [None, (SimpleNamespace(**row),)]
initialize = bool
last_error = lambda: (-10004, "No IPC connection")
positions_get = lambda: answers.pop(0)
"""
READERS: Final[dict[str, Read]] = {
    "positions": read_snapshot, "deals": read_deals, "account": read_account, "symbols": read_symbols,
}  # fmt: skip


def reader(raw: str) -> tuple[Read, str | None]:
    """Return what reads an answer, by what it holds."""
    key = next((key for key in READERS if key in json.loads(raw)), None)
    return (read_pong if key is None and "status" in raw and "req_id" in raw else READERS[key or "positions"]), key


def test_the_reference_has_examples_of_every_message():
    assert {json.loads(raw)["action"] for raw in REQUESTS} == {
        "GET_POSITIONS", "GET_DEALS", "GET_ACCOUNT", "GET_SYMBOLS", "PING",
    }  # fmt: skip
    assert {reader(raw)[1] for raw in ANSWERS} == {*READERS, None}
    assert len(REFUSED) > 10


@pytest.mark.parametrize("raw", REQUESTS, ids=range(len(REQUESTS)))
def test_a_request_of_the_reference_is_what_the_client_writes(raw):
    request = read_request(raw.encode())
    query = read_query(request)
    assert query is not None
    deadline_msc = request.fields.get("deadline_msc")
    assert json.loads(write_request(query, req_id=request.fields["req_id"], deadline_msc=deadline_msc)) == json.loads(raw)


@pytest.mark.parametrize("raw", ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_of_the_reference_is_read(raw):
    example = read_object(raw.encode())
    read, key = reader(raw)
    asked = Asked(example.get("req_id", "0"))
    if example["status"] == "ERROR":
        with pytest.raises(GatewayRefused, match=r"-10004 No IPC connection"):
            read(raw.encode(), asked)
    else:
        read(raw.encode(), asked)
        if key in ("positions", "deals"):
            assert example.get("count", len(example[key])) == len(example[key])
    assert asked.is_echoed == ("req_id" in example)


def known_portfolio() -> Portfolio:
    """Return what is known of the account of the examples: its terms, and that its answers stated whose they are."""
    account = Ledger.open("memory://").account("Broker-Live/70113")
    account.open(currency="USD", mode="hedging", clock="+02:00")
    account.record_many([GatewayIdentified(login=70113, server="Broker-Live", form="extended", time_msc=SEEN_MSC)])
    return account.portfolio


def believe(raw: str) -> Snapshot:
    """Return the snapshot of an answer as a reconciler uses it."""
    answer = reader(raw)[0](raw.encode())
    assert isinstance(answer, Snapshot), "only positions are compared with what is known"
    return validate(answer, known_portfolio(), now_msc=SEEN_MSC, seen_msc=SEEN_MSC)


@pytest.mark.parametrize(("raw", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_the_reference_lists_as_refused_is_refused_with_its_words(raw, words):
    with pytest.raises(GatewayError) as refused:
        believe(raw)
    assert str(refused.value) == words


def test_the_example_of_the_extended_form_is_accepted():
    assert believe(json.dumps(extended("positions"))).count == 1


def test_the_reference_has_the_limits_and_the_words_that_are_in_force():
    numbers = (MESSAGE_BYTES_MAX, TIMEOUT_MS, ELEMENT_MAX, TIME_MIN_MSC, TIME_MAX_MSC)
    assert [number for number in numbers if f"{number:,}" not in TEXT] == []
    words = (*client._DENIED.values(), *client._DISAGREE.values(), *STATUS_GOOD, *STATUS_BAD)
    assert [one for one in words if f"`{one}`" not in TEXT] == []
    assert [one for one in _NOT_OFFERED if f"`{one.replace(' ', '_')}`" not in TEXT] == []


def test_the_reference_has_every_name_of_a_request_id():
    names, quotes, own = (
        {re.sub(r"\W|_", "", name).lower() for name in re.findall(r"`(\w+)`", part)}
        for part in re.findall(
            r"accepts the names (.*?) \(.*?an object (.*?)\.\n.*?at the top as (.*?), unless", TEXT, re.DOTALL
        )[0]
    )
    assert names | {"reqid"} == echo._ECHOES
    assert quotes == echo._QUOTES
    assert own == echo._IDS


@pytest.mark.parametrize("key", ["positions", "deals", "account", "symbols"])
def test_a_field_of_the_head_is_read_in_the_answers_that_the_reference_lists(key):
    section = TEXT[TEXT.index("### Head") : TEXT.index("- **Identity.**")]
    for name, read_in in re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([^|]*) \|", section, re.MULTILINE):
        raw = json.dumps({**extended(key), name: []}).encode()
        if key in read_in.split(", "):
            with pytest.raises(GatewayError, match=name):
                READERS[key](raw)
        else:
            READERS[key](raw)


def tables(heading: str) -> Iterator[dict[str, bool]]:
    """Yield the tables of fields under a heading: field -> whether it is required."""
    section = re.split(r"^#{2,3} ", TEXT.split(f"## {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in table.splitlines()]
        if rows[0][:3] == ["field", "JSON type", "required"]:
            yield {name: row[2] == "yes" for row in rows[2:] for name in re.findall(r"`(\w+)`", row[0])}


def extended(key: str) -> Json:
    """Return the example of the extended form with this list or object."""
    return next(found for raw in ANSWERS if key in (found := json.loads(raw)) and "req_id" in found)


def cases() -> Iterator[tuple[str, Any, str, bool]]:
    """Yield every field of every table: the example's key, the row, the field, whether it is required."""
    for key, heading, row in (
        ("positions", "Positions", 0),
        ("account", "Account", None),
        ("symbols", "Symbols", 0),
    ):
        (fields,) = tables(heading)
        yield from ((key, row, name, is_required) for name, is_required in fields.items())
    every, trades, cash = tables("Deals")
    yield from (("deals", 1, name, is_required) for name, is_required in (every | trades).items())
    yield from (("deals", 0, name, is_required) for name, is_required in (every | cash).items())


CASES: Final = list(cases())


@pytest.mark.parametrize(("key", "row", "name", "is_required"), CASES, ids=[f"{one[0]}-{one[1]}-{one[2]}" for one in CASES])
def test_a_field_is_required_as_the_reference_states(key, row, name, is_required):
    """A missing or a null field is refused where it is required, and of no account elsewhere."""
    for change in (lambda found: found.pop(name, None), lambda found: found.__setitem__(name, None)):
        answer = extended(key)
        change(answer[key] if row is None else answer[key][row])
        raw = json.dumps(answer).encode()
        if is_required:
            with pytest.raises(GatewayError, match=f"{name.removesuffix('_msc')}.*: is missing"):
                READERS[key](raw)
        else:
            READERS[key](raw)


@pytest.mark.parametrize("key", ["positions", "deals", "account", "symbols"])
def test_the_examples_have_every_field_of_the_tables(key):
    found = extended(key)[key]
    rows = [found] if key == "account" else found
    listed = {name for one, _, name, _ in CASES if one == key}
    assert {name for row in rows for name in row} == listed


@pytest.mark.parametrize("key", ["positions", "deals"])
def test_no_field_of_the_head_is_required(key):
    (fields,) = tables("Head")
    for name in fields:
        answer = extended(key)
        answer.pop(name, None)
        READERS[key](json.dumps(answer).encode())


def test_the_words_and_fields_that_the_reference_lists_are_those_that_are_read():
    listed = TEXT[TEXT.index("The words, by MT5's code from 2 on:") : TEXT.index("Words of two parts")]
    assert re.findall(r"`([^`]+)`", listed) == list(CASH_WORDS.values())
    assert all(f"`{name}`" in TEXT for name in BASE_FIELDS)


def test_the_small_server_of_the_reference_runs(tmp_path):
    (program,) = re.findall(r"```python title=\"gateway.py\"\n(.*?)```", TEXT, re.DOTALL)
    endpoint = f"ipc://{tmp_path}/5555"
    (tmp_path / "MetaTrader5.py").write_text(TERMINAL, encoding="utf-8")
    (tmp_path / "server.py").write_text(program.replace("tcp://127.0.0.1:5555", endpoint), encoding="utf-8")
    process = subprocess.Popen([sys.executable, "server.py"], cwd=tmp_path)
    try:
        with ZmqGateway(endpoint, timeout_ms=PATIENT) as gateway:
            with pytest.raises(GatewayRefused, match="-10004 No IPC connection"):
                gateway.positions()
            with pytest.raises(GatewayRefused, match="UNKNOWN_ACTION"):
                gateway.account()
            (row,) = gateway.positions().positions
            assert (row.position_id, row.side, row.opened_msc) == (5001, Side.SELL, 1_704_153_000_000)
    finally:
        process.kill()
        process.wait()


# ---- the second server


def test_the_second_server_imports_nothing_of_the_ledger():
    imported = set()
    for node in ast.walk(ast.parse(SERVER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"zmq"}
    assert "importlib" not in imported
    assert "__import__" not in SERVER.read_text(encoding="utf-8")


class Second:
    """The second server in a process of its own, where nothing of the ledger can be imported."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", ALONE, str(SERVER), *options],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.endpoint = self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def do(self, what: str, **options: object) -> None:
        """Change its terminal."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **options}) + "\n")
        self._process.stdin.flush()
        assert self._line() == "done"

    def open(self, **options: str) -> None:
        self.do("open", **{"symbol": "EURUSD", "side": "buy", "volume": "0.1", "price": "1.0953"} | options)

    def sync(self, journal: str, *words: str, code: int = 0) -> Json:
        """Return what ``ledger sync`` prints."""
        ran = command(journal, "sync", "--gateway", self.endpoint, "--timeout-ms", str(PATIENT), "--json", *words, code=code)
        result: Json = ran.json()
        return result

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def command(journal: str, *words: str, code: int = 0) -> Ran:
    ran = run(*words, journal=journal)
    assert ran.code == code, ran.text
    return ran


def held(journal: str) -> list[tuple[int, str, str, str]]:
    rows = command(journal, "positions", "--json").json()
    return [(row["position_id"], row["symbol"], row["side"], row["volume"]) for row in rows]


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return f"sqlite:///{tmp_path / 'second.db'}"


def gateway_of(server: Second, **options: Any) -> ZmqGateway:
    return ZmqGateway(server.endpoint, timeout_ms=PATIENT, **options)


@pytest.mark.parametrize("options", [(), ("--rep",)], ids=["router", "rep"])
def test_the_client_reads_all_that_the_second_server_answers(tmp_path, options):
    with Second(tmp_path, *options) as server, gateway_of(server) as gateway:
        gateway.ping()
        server.open()
        server.open(symbol="USDJPY", side="sell", volume="0.25", price="151.2")
        snapshot = gateway.positions()
        assert (snapshot.is_extended, snapshot.login, snapshot.server, snapshot.mode, snapshot.connected, snapshot.count) == (
            True, 90210, "Second-Live", MarginMode.HEDGING, True, 2,
        )  # fmt: skip
        assert [(row.symbol, row.side, row.volume, row.price_open) for row in snapshot.positions] == [
            ("EURUSD", Side.BUY, Decimal("0.1"), Decimal("1.0953")),
            ("USDJPY", Side.SELL, Decimal("0.25"), Decimal("151.2")),
        ]
        deposit, bought, sold = gateway.deals().deals
        assert isinstance(deposit, CashMoved)
        assert (deposit.kind, deposit.profit) == ("balance", 10_000)
        assert isinstance(bought, FillRecorded)
        assert (bought.entry, bought.position_id, bought.commission) == (Entry.IN, 5002, Decimal("-0.3"))
        assert gateway.deals(position=5002).deals == (bought,)
        assert gateway.deals(from_msc=bought.time_msc, to_msc=bought.time_msc).deals == (bought,)
        assert gateway.deals(from_msc=sold.time_msc + 1, to_msc=sold.time_msc + 86_400_000).deals == ()
        account = gateway.account()
        assert (account.currency, account.balance, account.credit) == ("USD", Decimal("9999.4"), 0)
        assert [(one.symbol, one.digits, one.currency) for one in gateway.symbols()] == [
            ("EURUSD", 5, "USD"), ("USDJPY", 5, "USD"),
        ]  # fmt: skip


def test_an_error_of_the_second_server_names_its_code_and_ends_nothing(tmp_path):
    with Second(tmp_path) as server, gateway_of(server) as gateway:
        server.do("fail", action="GET_POSITIONS", code="-10004", text="No IPC connection")
        with pytest.raises(GatewayRefused, match="-10004 No IPC connection") as refused:
            gateway.positions()
        assert (refused.value.code, refused.value.detail) == ("-10004", "No IPC connection")
        server.do("work", action="GET_POSITIONS")
        assert gateway.positions().positions == ()


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"[]", {"error_code": "MALFORMED_REQUEST"}),
        (b'{"req_id":"a"}', {"error_code": "MALFORMED_REQUEST"}),
        (b'{"action":"SELL_ALL","req_id":"a"}', {"error_code": "UNKNOWN_ACTION", "req_id": "a"}),
        *(
            (b'{"action":"%b","req_id":"a"}' % action, {"error_code": "UNKNOWN_ACTION", "req_id": "a", "executed": "never"})
            for action in (b"ORDER_SEND", b"ORDER_STATUS", b"ORDER_CHECK")
        ),
        (b'{"action":"GET_DEALS","from_msc":"x","req_id":7}', {"error_code": "INVALID_REQUEST", "req_id": 7}),
        (b'{"action":"PING","req_id":{"a":[1]}}', {"status": "SUCCESS", "req_id": {"a": [1]}}),
        (b'{"action":"PING","later":1}', {"status": "SUCCESS"}),
    ],
)
def test_the_second_server_answers_whatever_comes_and_repeats_its_id(tmp_path, raw, answer):
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Second(tmp_path) as server, context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        socket.send_multipart([b"", raw])
        assert socket.poll(PATIENT)
        delimiter, received = socket.recv_multipart()
        found = json.loads(received)
        assert delimiter == b""
        assert {"status": "ERROR", **answer}.items() <= found.items()
        assert ("req_id" in found) == ("req_id" in answer)


def test_only_a_client_with_an_authorised_key_is_answered(tmp_path):
    for name in ("server", "engine", "stranger"):
        make_keys(tmp_path, name)
    authorise(tmp_path / "engine.key", tmp_path / "authorised")
    engine, stranger = (
        load_client_keys(tmp_path / f"{name}.key_secret", tmp_path / "server.key") for name in ("engine", "stranger")
    )
    with Second(tmp_path, "--keys", str(tmp_path)) as server:
        with gateway_of(server, keys=engine) as gateway:
            gateway.ping()
        with gateway_of(server, keys=stranger) as gateway, pytest.raises(GatewayDenied, match="does not accept our key"):
            gateway.ping()


def test_a_sync_with_the_second_server_books_its_deals_and_arrives_at_its_books(tmp_path, journal):
    command(journal, "init")
    with Second(tmp_path) as server:
        server.open()
        first = server.sync(journal, "--once")
        assert (first["status"], first["reason"], first["fills"], first["held"]) == ("SUCCESS", None, [4001, 4002], [])
        assert first["account"] == {"server": "Second-Live", "login": 90210, "currency": "USD", "mode": "hedging"}
        assert held(journal) == [(5002, "EURUSD", "buy", "0.1")]
        server.do("close", position=5002, price="1.0963")
        server.open(symbol="USDJPY", side="sell", price="151.2")
        second = server.sync(journal, "--once")
        assert (second["status"], second["fills"], second["held"]) == ("SUCCESS", [4003, 4004], [])
        assert held(journal) == [(5004, "USDJPY", "sell", "0.1")]
        assert command(journal, "balance", "--json").json()[0]["balance"] == "10009.10"
        again = server.sync(journal, "--once")
        assert (again["status"], again["appended"]) == ("SUCCESS", 0)


def test_a_sync_in_the_base_form_recovers_a_position_and_closes_a_ghost(tmp_path, journal):
    command(journal, "init")
    command(journal, "account", "open", ACCOUNT, "--currency", "USD", "--mode", "hedging", "--server-tz", "+02:00")
    with Second(tmp_path, "--base", "--rep") as server:
        server.open()
        server.open(symbol="USDJPY", side="sell", volume="0.25", price="151.2")
        assert server.sync(journal, "--once")["recovered"] == [5002, 5003]
        assert held(journal) == [(5002, "EURUSD", "buy", "0.1"), (5003, "USDJPY", "sell", "0.25")]
        server.do("close", position=5002, price="1.0963")
        once = server.sync(journal, "--once", code=1)
        assert (once["status"], once["closed"], [one["position_id"] for one in once["held"]]) == ("PARTIAL", [], [5002])
        assert server.sync(journal, "--once")["closed"] == [5002]
        assert held(journal) == [(5003, "USDJPY", "sell", "0.25")]


def test_a_history_that_the_second_server_cannot_read_leaves_corrections_waiting(tmp_path, journal):
    """Through the library: what a reconciler in an engine sees."""
    with Second(tmp_path) as server, gateway_of(server) as gateway, Ledger.create(journal) as ledger:
        reconciler = StateReconciler(ledger.account(ACCOUNT), gateway, clock="+02:00")
        assert reconciler.sync_positions().status is SyncStatus.SUCCESS
        server.open()
        server.do("fail", action="GET_DEALS", code="-1", text="history is not synchronised")
        waiting = reconciler.sync_positions()
        assert (waiting.status, waiting.recovered) == (SyncStatus.PARTIAL, ())
        assert [one.kind for one in waiting.held] == ["zombie", "balance"]
        server.do("work", action="GET_DEALS")
        assert reconciler.sync_positions().fills == (4002,)
        server.do("fail", action="GET_POSITIONS", code="-10004", text="No IPC connection")
        assert reconciler.sync_positions().status is SyncStatus.DEGRADED
        assert list(ledger.account(ACCOUNT).portfolio.positions) == [5002]


def test_a_base_form_answers_no_id_and_only_positions(tmp_path):
    with Second(tmp_path, "--base") as server, gateway_of(server) as gateway:
        server.open()
        snapshot = gateway.positions()
        assert (snapshot.is_extended, snapshot.count, len(snapshot.positions)) == (False, None, 1)
        with pytest.raises(GatewayRefused, match="UNKNOWN_ACTION"):
            gateway.account()


def test_a_server_that_ended_is_a_time_limit_and_no_flat_account(tmp_path):
    with Second(tmp_path) as server:
        endpoint = server.endpoint
    with ZmqGateway(endpoint, timeout_ms=100) as gateway, pytest.raises(GatewayTimeout, match="nobody is there"):
        gateway.positions()
