"""An order's whole way in one process: engines, a wire that loses and repeats, the service's store and orders, a terminal.

All of it is the product but for the wire, the clock and the broker behind the terminal: messages are the bytes of the protocol,
``ledger.gateway.serve.orders`` answers them from a store on disk, and the terminal makes its calls into the fake module. What
becomes of a message, of a call and of an answer, a test defines beforehand, as a ``Fate``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import attrs

from ledger import AccountId, GatewayTimeout, Ledger
from ledger.errors import GatewayError
from ledger.gateway.client_orders import AsksAboutOrders
from ledger.gateway.mt5_orders import Mt5OrderTerminal
from ledger.gateway.serve.link import Failure, Outcome, Result, outcome_of
from ledger.gateway.serve.orders import Orders, call_of, state_executed
from ledger.gateway.serve.store import Event, Store
from ledger.gateway.serve.terminal_process import TerminalCalls
from ledger.journal import Journal
from ledger.order_manager import Limits, OrderManager, OrderPolicy
from ledger.protocol.echo import Asked
from ledger.protocol.messages import (
    Account,
    Answer,
    AskOrderStatus,
    Deals,
    EncodedRows,
    GetAccount,
    GetDeals,
    GetPositions,
    GetSymbols,
    Head,
    Ping,
    Pong,
    Positions,
    Query,
    Refusal,
    SendOrder,
    ServiceState,
    Symbols,
)
from ledger.protocol.order_requests import FieldRefused
from ledger.protocol.read import read_account, read_deals, read_pong, read_query, read_request, read_snapshot, read_symbols
from ledger.protocol.write import write_answer, write_request
from ledger.reconciler import StateReconciler
from ledger.snapshot import RemoteAccount, RemoteHistory, RemoteService, RemoteSymbol, Snapshot
from ledger.testing import FakeFaults, fake_mt5
from ledger.values import to_margin_mode
from tests.support.broker import Watch
from tests.support.machine import WatchedJournal

_Value = TypeVar("_Value")

ACCOUNT: Final = AccountId("Sandbox-Demo", 70113)
#: What happens to a message on its way.
MESSAGES: Final = ("arrives", "is repeated", "is held", "is lost")
#: What the terminal does with an order: it is executed, or one of the fake module's faults; it is still busy; or both processes
#: of the service die in the call, and the request is delivered at once, later, or never.
CALLS: Final = (
    "executes", "requote", "reject", "unknown-executed", "unknown-not-executed", "lost-executed", "lost-not-executed",
    "is busy", "dies executed", "dies late", "dies",
)  # fmt: skip
#: What happens to an answer. The engine may die before it is there, or before it has recorded it.
REPLIES: Final = ("arrives", "is lost", "the engine dies")


class Death(BaseException):
    """The engine's process ends here: nothing catches this, and nothing runs after it."""


@attrs.frozen
class Fate:
    """What becomes of the next message of a kind, of the call that it leads to, and of the answer."""

    message: str = "arrives"
    call: str = "executes"
    reply: str = "arrives"


GOOD: Final = Fate()


# ------------------------------------------------------------------------------------------------------- broker, terminal


class Broker:
    """The broker, which survives all processes. ``executed`` counts by client id what it carried out."""

    def __init__(self, watch: Watch, mode: str) -> None:
        self.faults = FakeFaults()
        self.fake = fake_mt5(
            mode=mode, login=ACCOUNT.login, server=ACCOUNT.server, deposit=10_000, faults=self.faults,
            clock=lambda: watch.now_us // 1000,
        )  # fmt: skip
        self.executed: Counter[str] = Counter()

    def carry_out(self, terminal: TerminalCalls, client_id: str, arguments: Mapping[str, Any], fault: str) -> Outcome:
        """Deliver the request of an order, with a fault of the fake module."""
        before = self._books()
        if fault != "executes":
            self.faults.add(fault)
        fields, body = terminal.carry_out({**arguments, "call": "order_send"})
        self.faults.clear()
        self.executed[client_id] += self._books() != before
        return outcome_of(fields, body)

    def _books(self) -> object:
        broker = self.fake.broker
        return (
            broker.terminal.deals_revision,
            {ticket: (order.price_open, order.volume_current) for ticket, order in broker.book.active.items()},
        )


class HeldLink:
    """Carries calls to a terminal in this process. ``order_send`` waits until the test lets it return."""

    def __init__(self, calls: TerminalCalls, sending: Callable[[], str | None], broker: Broker, entered: Counter[str]) -> None:
        self.calls = calls
        self.under_way: tuple[str, Mapping[str, Any], Callable[[Outcome], object]] | None = None
        self._sending = sending
        self._broker = broker
        self._entered = entered

    @property
    def is_ready(self) -> bool:
        return self.under_way is None

    def call(self, name: str, arguments: Mapping[str, Any], done: Callable[[Outcome], object]) -> None:
        assert self.under_way is None, "a terminal process makes one call at a time"
        if name != "order_send":
            done(outcome_of(*self.calls.carry_out({**arguments, "call": name})))
            return
        client_id = self._sending()
        assert client_id is not None
        self._entered[client_id] += 1
        self.under_way = client_id, arguments, done

    def finish(self, fault: str) -> None:
        """Let the call return."""
        assert self.under_way is not None
        client_id, arguments, done = self.under_way
        outcome = self._broker.carry_out(self.calls, client_id, arguments, fault)
        self.under_way = None
        done(outcome)


# ---------------------------------------------------------------------------------------------------------- the service


class Service:
    """Server process and terminal process, which die and start together, over a store on disk.

    ``entered`` counts by client id how often ``order_send`` was called. ``late`` has the requests that a terminal which died
    may still deliver.
    """

    orders_class: type[Orders] = Orders

    def __init__(self, path: Path, watch: Watch, broker: Broker) -> None:
        self.broker = broker
        self.entered: Counter[str] = Counter()
        self.late: list[tuple[str, Mapping[str, Any]]] = []
        self.report: Callable[[str], object] = lambda _: None
        self._path = path
        self._watch = watch
        self.start()

    def start(self) -> None:
        self.store = Store.open(self._path, utc_msc=self.utc_msc())
        self.terminal = Mt5OrderTerminal(self.broker.fake, monotonic=self._watch.monotonic, utc_ms=self.utc_msc)
        self.terminal.refresh_clock()
        self.orders = self.orders_class(self)
        self.link = HeldLink(TerminalCalls(self.terminal), lambda: self.orders.sending, self.broker, self.entered)

    def stop(self) -> None:
        self.store.close()

    def die(self, fate: str = "dies") -> None:
        """End both processes. A call under way is executed all the same, or later, or never; then both start again."""
        under_way = self.link.under_way
        if under_way is not None:
            client_id, arguments, _ = under_way
            if fate == "dies executed":
                self.broker.carry_out(self.link.calls, client_id, arguments, "executes")
            elif fate == "dies late":
                self.late.append((client_id, arguments))
        self.stop()
        self.start()

    def deliver_late(self, which: int) -> None:
        """Let a terminal that was started again deliver what it still had."""
        client_id, arguments = self.late.pop(which % len(self.late))
        self.broker.carry_out(self.link.calls, client_id, arguments, "executes")

    # ---- what is asked

    def take(self, raw: bytes, send: Callable[[bytes], object]) -> None:
        """Take a request; ``send`` is called with its answer, at once or later."""
        request = read_request(raw)

        def reply(answer: Answer) -> None:
            send(write_answer(state_executed(request, answer), echo=request.echo))

        try:
            query = read_query(request)
        except ValueError as error:
            reply(Refusal("BAD_REQUEST", str(error), {"field": error.name} if isinstance(error, FieldRefused) else {}))
            return
        assert query is not None
        self._answer(query, reply)

    def _answer(self, query: Query, reply: Callable[[Answer], object]) -> None:
        match query:
            case SendOrder(message=message):
                self.orders.send(message, reply)
            case AskOrderStatus():
                self.orders.status(query, reply)
            case Ping():
                reply(Pong(head=self.known_head(), service=self._state()))
            case _ if not self.link.is_ready:
                reply(Refusal("BUSY", "an order is being sent"))
            case _:
                self.link.call(*self._call_of(query), lambda outcome: reply(self._answer_read(query, outcome)))

    def _call_of(self, query: Any) -> tuple[str, dict[str, Any]]:
        match query:
            case GetDeals():
                return "deals", attrs.asdict(query)
            case GetPositions(symbol=symbol):
                return "positions", {"symbol": None if symbol == "*" else symbol}
            case GetAccount():
                return "account", {}
            case GetSymbols():
                return "symbols", {}
            case _:
                return call_of(query)

    def _answer_read(self, query: Any, outcome: Outcome) -> Answer:
        if isinstance(outcome, Failure):
            return Refusal("INTERNAL" if outcome.code is None else str(outcome.code), outcome.text)
        assert isinstance(outcome, Result)
        head = _head_of(outcome.fields["head"])
        rows = EncodedRows(raw=outcome.body, count=outcome.fields.get("count", 0))
        match query:
            case GetPositions():
                return Positions(head=head, rows=rows)
            case GetDeals():
                return Deals(head=head, rows=rows)
            case GetAccount():
                return Account(head=head, account=json.loads(outcome.body))
            case GetSymbols():
                return Symbols(head=head, rows=rows)
            case _:
                return self.orders.answer_read(query, head, outcome.body)

    def _state(self) -> ServiceState:
        return ServiceState(
            protocol=2, can=("orders", "fence"), store=self.store.id, epoch=self.store.epoch, seq=self.store.seq,
            push_port=None, trade_allowed=True, gateway_time_msc=self.utc_msc(),
            terminal_process={"state": "idle" if self.link.is_ready else "busy", "call": None, "since_msc": None},
        )  # fmt: skip

    # ---- what orders need of it

    @property
    def is_read_only(self) -> bool:
        return False

    @property
    def account(self) -> AccountId | None:
        return ACCOUNT if self.store.bind(ACCOUNT.login, ACCOUNT.server) else None

    def known_head(self) -> Head | None:
        return _head_of(self.terminal.head())

    def refuse_orders(self) -> Refusal | None:
        return None

    def note(self, outcome: Outcome) -> Refusal | None:
        return Refusal("INTERNAL", outcome.text) if isinstance(outcome, Failure) else None

    def publish_stored(self, events: list[Event]) -> None:
        """Publish nothing: there is no push stream here."""

    def utc_msc(self) -> int:
        return self._watch.now_us // 1000

    def monotonic_sec(self) -> float:
        return self._watch.monotonic()

    def seconds_to_wait(self) -> float:
        return 0.0

    def pass_on(self) -> None:
        while self.orders.pass_send() or self.orders.pass_lookup():
            pass


def _head_of(head: Mapping[str, Any]) -> Head:
    return Head(
        login=head["login"], server=head["server"], margin_mode=to_margin_mode(head["margin_mode"]),
        server_time_msc=head.get("server_time_msc"), connected=bool(head["connected"]),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- the wire


@attrs.define(eq=False)
class Network:
    """What carries requests to the service: it holds some, repeats some, and loses some.

    Attributes:
        service: Where they arrive.
        held: Requests that are still on their way.
        sent: Client id -> the engine processes that sent it, each time they did.
        orders: What becomes of the next order message.
        statuses: What becomes of the questions about an order.
        reads: What becomes of all other questions.
    """

    service: Service
    held: list[bytes] = attrs.field(factory=list)
    sent: dict[str, list[str]] = attrs.field(factory=dict)
    orders: Fate = GOOD
    statuses: Fate = GOOD
    reads: Fate = GOOD

    def carry(self, query: Query, raw: bytes, fate: Fate) -> bytes:
        """Carry a request, and return its answer.

        Raises:
            GatewayTimeout: There is none in time.
            Death: The engine's process ended while it waited.
        """
        answers: list[bytes] = []
        if fate.message in ("is held", "is repeated"):
            self.held.append(raw)
        if fate.message in ("arrives", "is repeated"):
            self.arrive(raw, answers, fate.call)
        if fate.reply == "the engine dies":
            raise Death
        if not answers or fate.reply == "is lost":
            raise GatewayTimeout(f"no answer to {query.action} in time")
        return answers[0]

    def arrive(self, raw: bytes, answers: list[bytes], call: str = "is busy") -> None:
        """Let a request arrive."""
        was_busy = not self.service.link.is_ready
        self.service.take(raw, answers.append)
        if was_busy or self.service.link.is_ready or call == "is busy":
            return
        if call.startswith("dies"):
            self.service.die(call)
        else:
            self.finish(call)

    def finish(self, call: str) -> None:
        """Let the call under way return, and the service go on with what waits."""
        self.service.link.finish(call)
        self.service.pass_on()

    def heal(self) -> None:
        self.orders = self.statuses = self.reads = GOOD


class Wire(AsksAboutOrders):
    """A gateway as an engine's process has it, over a network in the same process."""

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.reconnections = 0

    def _ask(
        self,
        query: Query,
        read: Callable[[bytes, Asked], _Value],
        *,
        timeout_ms: int | None = None,  # noqa: ARG002  # time passes as the test has it
        attempts: int = 2,  # noqa: ARG002
    ) -> _Value:
        network, req_id = self.network, uuid4().hex
        fate = network.reads
        if isinstance(query, SendOrder):
            network.sent.setdefault(query.message.client_id, []).append(self.name)
            fate, network.orders = network.orders, GOOD
        elif isinstance(query, AskOrderStatus):
            fate = network.statuses
        raw = write_request(query, req_id=req_id)
        return read(network.carry(query, raw, fate), Asked(req_id, must_echo=True))

    def positions(self) -> Snapshot:
        return self._ask(GetPositions(), read_snapshot)

    def positions_of(self, symbol: str) -> Snapshot:
        return self._ask(GetPositions(symbol=symbol), read_snapshot)

    def account(self) -> RemoteAccount:
        return self._ask(GetAccount(), read_account)

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        return self._ask(GetDeals(from_msc=from_msc, to_msc=to_msc, position=position), read_deals)

    def symbols(self) -> tuple[RemoteSymbol, ...]:
        return self._ask(GetSymbols(), read_symbols)

    def ping(self) -> RemoteService | None:
        return self._ask(Ping(), read_pong)

    def close(self) -> None:
        """Give back nothing."""


# ------------------------------------------------------------------------------------------------------------ the engines


class Engine:
    """A process with an order manager and a reconciler. It dies where the test has it, and starts with the journal alone.

    Args:
        name: Its name; each start has one of its own.
        journal: Opens the journal, as a process that starts does.
        watch: Its clock.
        network: Its way to the gateway.
        manager: Its order manager.
    """

    def __init__(
        self, name: str, journal: Callable[[Callable[[], int]], Journal], watch: Watch, network: Network,
        manager: type[OrderManager] = OrderManager,
    ) -> None:  # fmt: skip
        self.name = name
        self.dies_at: int | None = None
        self.manager: OrderManager | None = None
        self._journal = journal
        self._watch = watch
        self._network = network
        self._class = manager
        self._starts = 0
        self._ledger: Ledger | None = None

    def run(self, does: Callable[[OrderManager], object], *, dies_at: int | None = None) -> Any:
        """Let the engine do something; start it first where it is not running. None where it died, or could not do it.

        Args:
            does: What it does.
            dies_at: It dies at that point: two for each append to the journal, before and after it. None: it does not.
        """
        try:
            if self.manager is None and not self._has_started():
                return None
            assert self.manager is not None
            self.dies_at = dies_at
            return does(self.manager)
        except Death:
            self.die()
            return None
        finally:
            self.dies_at = None

    def _has_started(self) -> bool:
        """Start it; return whether that was possible."""
        try:
            self.start()
        except GatewayError:
            self.die()
            return False
        return True

    def start(self) -> None:
        self._starts += 1
        watched: Any = WatchedJournal(self._journal(self._watch), self._reach)
        self._ledger = Ledger(watched, self._watch)
        account = self._ledger.account(ACCOUNT)
        wire = Wire(self._network, f"{self.name}{self._starts}")
        self.manager = self._class(
            account, wire, limits=LIMITS, policy=OrderPolicy(absence="presume"), allow_unknown=True,
        )  # fmt: skip
        self.reconciler = StateReconciler(
            account, wire, monotonic=self._watch.monotonic, sleep=self._watch.sleep, orders=self.manager, clock="UTC"
        )

    def die(self) -> None:
        self.manager = None
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _reach(self, point: str) -> None:  # noqa: ARG002  # the points are counted
        if self.dies_at is not None:
            self.dies_at -= 1
            if self.dies_at < 0:
                self.dies_at = None
                raise Death


#: Verified once is enough here: what unknown orders block is what the machine is about.
LIMITS: Final = Limits(verified_within_sec=10**8)
