"""The server process of the gateway service: answers requests, publishes events, and supervises the terminal process.

Nothing in it waits for a terminal: a request waits a moment for its turn, and is answered ``BUSY`` then.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import zmq
from attrs import asdict, define, evolve, field, frozen

from ledger.errors import BadValue
from ledger.gateway.curve import ServerKeys
from ledger.gateway.serve.changes import Change
from ledger.gateway.serve.engine_orders import ACTIONS, take_engine_order
from ledger.gateway.serve.link import CALL_DEADLINE_SEC, Failure, Outcome, Result, TerminalLink
from ledger.gateway.serve.lock import FileLock
from ledger.gateway.serve.orders import Orders as OrderDesk
from ledger.gateway.serve.orders import call_of, state_executed
from ledger.gateway.serve.publisher import Publisher
from ledger.gateway.serve.store import Event, Store
from ledger.gateway.serve.terminal_process import TerminalSettings
from ledger.gateway.server import Call, GatewayServer, words_of
from ledger.protocol import MESSAGE_BYTES_MAX
from ledger.protocol.messages import (
    Account,
    Answer,
    AskOrderStatus,
    Deals,
    EncodedRows,
    Events,
    GetAccount,
    GetDeals,
    GetEvents,
    GetPositions,
    GetSymbols,
    Head,
    OrderRead,
    Ping,
    Pong,
    Positions,
    Read,
    Refusal,
    SendOrder,
    ServiceState,
    Symbols,
)
from ledger.protocol.order_requests import FieldRefused
from ledger.protocol.read import read_query
from ledger.protocol.write import base_rows, encode, write_answer
from ledger.values import AccountId, to_margin_mode

PROTOCOL: Final = 2
#: What this version can beside reading.
CAN: Final = ("orders", "push", "fence")
#: How often the terminal is looked at, in milliseconds.
POLL_MS: Final = 200
#: How long a request waits for a terminal process that is busy, in seconds.
PATIENCE_SEC: Final = 1.0
#: How many requests wait for the terminal process at most: of all clients, and of each.
WAITING_MAX: Final = 200
WAITING_OF_ONE_MAX: Final = 4
#: How often a heartbeat is published, in seconds.
HEARTBEAT_SEC: Final = 1.0
#: The pause before the terminal is connected again, in seconds: the first, doubled each time, and the longest.
RECONNECT_SEC: Final = 1.0
RECONNECT_MAX_SEC: Final = 60.0

_ANSWER_SHARE: Final = 0.8  # the part of a client's own deadline after which it is answered BUSY, so that it learns why
_CONNECTION_LOST: Final = -2  # codes below it mean that the terminal has to be connected again
_IDENTITY: Final = frozenset({"login", "server", "path"})


@frozen(kw_only=True)
class ServiceSettings:
    """What a service is started with.

    Attributes:
        terminal: What the terminal process is started with.
        store: The file of the store.
        endpoint: Where requests arrive; port 0 takes a free one.
        push_endpoint: Where events are published; port 0 takes a free one.
        control_endpoint: Where commands to a simulated terminal arrive, one JSON object each (REQ); None takes none.
        read_only: Refuse every order.
        allow_engine_form: Take the orders of engines that have no intents (BUY, SELL).
        call_deadline_sec: How long one call into the package may take before the terminal process is replaced.
        poll_ms: How often the terminal is looked at.
        patience_sec: How long a request waits for a terminal process that is busy.
        keys: CURVE keys; clients must be in ``authorised`` then.
        authorised: The folder of the clients' public keys.

    Raises:
        BadValue: An endpoint is not on this machine, and there are no keys; that of commands has none ever.
    """

    terminal: TerminalSettings
    store: Path
    endpoint: str = "tcp://127.0.0.1:0"
    push_endpoint: str = "tcp://127.0.0.1:0"
    control_endpoint: str | None = None
    read_only: bool = False
    allow_engine_form: bool = False
    call_deadline_sec: float = CALL_DEADLINE_SEC
    poll_ms: int = POLL_MS
    patience_sec: float = PATIENCE_SEC
    keys: ServerKeys | None = None
    authorised: Path | None = None

    def __attrs_post_init__(self) -> None:
        if self.control_endpoint is not None and not _is_loopback(self.control_endpoint):
            raise BadValue(f"{self.control_endpoint}: commands to a simulated terminal have no keys, bind 127.0.0.1")
        for endpoint in (self.endpoint, self.push_endpoint):
            if self.keys is None and not _is_loopback(endpoint):
                raise BadValue(
                    f"{endpoint} can be reached from other machines: that needs keys (--server-key, --authorised; "
                    "make them with ledger keys make), or bind 127.0.0.1"
                )


@define(eq=False)
class _Waiting:
    """A request that waits for the terminal process."""

    call: Call
    query: Read | OrderRead
    busy_at: float  # when it is answered BUSY at last
    is_answered: bool = False

    def answer(self, answer: Answer) -> None:
        """Answer it, unless that was done; one that is larger than clients take is refused."""
        if self.is_answered:
            return
        self.is_answered = True
        answer = state_executed(self.call.request, answer)
        raw = write_answer(answer, echo=self.call.request.echo)
        if len(raw) > MESSAGE_BYTES_MAX:
            text = f"the answer has {len(raw)} bytes and {MESSAGE_BYTES_MAX} are allowed: ask for a shorter span"
            raw = write_answer(Refusal("TOO_LARGE", text), echo=self.call.request.echo)
        self.call.send(raw)


@define(eq=False)
class GatewayService:
    """Serves one account of one terminal until it is stopped. It is the responder of its own server.

    Attributes:
        settings: What it was started with.
        report: Called with what happens, in words.
        control_endpoint: Where commands to a simulated terminal arrive; None where none do.
    """

    settings: ServiceSettings
    report: Callable[[str], object] = lambda _: None
    monotonic: Callable[[], float] = time.monotonic
    control_endpoint: str | None = field(default=None, init=False)
    link: TerminalLink = field(init=False)
    publisher: Publisher = field(init=False)
    store: Store = field(init=False)
    orders: OrderDesk = field(init=False)
    _server: GatewayServer = field(init=False)
    _waiting: deque[_Waiting] = field(factory=deque, init=False)
    _under_way: _Waiting | None = field(default=None, init=False)
    _head: Mapping[str, Any] | None = field(default=None, init=False)  # of the newest answer of the terminal
    _wrong: Refusal | None = field(default=None, init=False)  # why nothing but PING is answered
    _is_connected: bool = field(default=False, init=False)  # the package is connected to its terminal
    _connect_at: float = field(default=0.0, init=False)
    _connect_failures: int = field(default=0, init=False)
    _poll_at: float = field(default=0.0, init=False)
    _has_looked: bool = field(default=False, init=False)  # since the last request was passed on
    _beat_at: float = field(default=0.0, init=False)
    _generation: int = field(default=0, init=False)
    _shown: Mapping[str, Any] | None = field(default=None, init=False)  # the newest connection event
    _unstored: str | None = field(default=None, init=False)  # why events could not be stored the last time
    _commands: zmq.Socket[bytes] | None = field(default=None, init=False)
    _command: bytes | None = field(default=None, init=False)  # one that is not answered
    _folder: str | None = field(default=None, init=False)  # of the terminal's program
    _path_lock: FileLock | None = field(default=None, init=False)
    _has_path_lock: bool = field(default=True, init=False)
    _unlocked: str | None = field(default=None, init=False)  # why the lock is not ours, as it was reported

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self.link = TerminalLink(
            settings.terminal, self.report, call_deadline_sec=settings.call_deadline_sec, monotonic=self.monotonic
        )
        self.publisher = Publisher(settings.push_endpoint, keys=settings.keys, authorised=settings.authorised)
        self.orders = OrderDesk(self)
        self._server = GatewayServer(self, settings.endpoint, keys=settings.keys, authorised=settings.authorised)

    @property
    def endpoint(self) -> str:
        """Where requests arrive."""
        return self._server.endpoint

    def serve(self, ready: Callable[[], object] = lambda: None) -> None:
        """Open the store, bind, and answer until ``stop``.

        Args:
            ready: Called once both sockets are bound.

        Raises:
            BadValue: The store is none.
            GatewayUnavailable: Another service uses the store.
            zmq.ZMQError: A port is somebody else's.
        """
        self.store = Store.open(self.settings.store)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        watched: dict[zmq.Socket[bytes], Callable[[], object]] = {self.link.open(context): self.link.read}
        try:
            self.publisher.open()
            if self.settings.control_endpoint is not None:
                watched[self._open_commands(context, self.settings.control_endpoint)] = self._take_command
            self._server.serve(context, lambda _: ready(), watched=watched)
        finally:
            self.link.close()
            self.publisher.close()
            if self._commands is not None:
                self._commands.close(linger=0)
            context.term()
            if self._path_lock is not None:
                self._path_lock.release()
            self.store.close()

    def stop(self) -> None:
        """End ``serve`` soon. May be called from a signal handler or another thread."""
        self._server.stop()

    @property
    def is_read_only(self) -> bool:
        """Whether orders are refused: by the settings, or because another service has the lock of the terminal."""
        return self.settings.read_only or not self._has_path_lock

    # ---- requests, as the server passes them

    def take(self, call: Call) -> None:
        """Answer a request at once, or when the terminal process has answered."""
        request = call.request
        try:
            query = read_query(request)
        except ValueError as error:
            further = {"field": error.name} if isinstance(error, FieldRefused) else {}
            refusal = Refusal("BAD_REQUEST", str(error), further)
            if request.action == SendOrder.action and self.is_read_only:
                refusal = Refusal("READ_ONLY", "this service sends no orders")
            call.answer(state_executed(call.request, refusal))
            return
        match query:
            case None if request.action in ACTIONS and self.settings.allow_engine_form:
                take_engine_order(request, self.orders, lambda found: call.send(encode(found)))
            case None:
                call.answer(Refusal("UNKNOWN_ACTION", f"unknown action {request.action:.100}"))
            case Ping():
                call.answer(self._pong())
            case GetEvents():
                call.answer(self._events(query))
            case SendOrder():
                self.orders.send(query.message, call.answer)
            case AskOrderStatus():
                self.orders.status(query, call.answer)
            case _:
                self._take_read(call, query)

    def _take_read(self, call: Call, query: Read | OrderRead) -> None:
        refusal = self._refuse_read()
        if refusal is None and self._is_crowded(call.client):
            refusal = Refusal("BUSY", "too many requests wait for the terminal: ask again")
        if refusal is not None:
            call.answer(state_executed(call.request, refusal))
            return
        now = self.monotonic()
        limit_sec = self.settings.patience_sec
        own = call.request.fields.get("deadline_msc")
        own_sec = own * _ANSWER_SHARE / 1000 if type(own) is int and 0 < own < 10**9 else math.inf
        self._waiting.append(_Waiting(call, query, now + min(limit_sec, own_sec)))
        self.pass_on()
        waiting = self._waiting
        if waiting and waiting[-1].call is call and self.link.busy_sec > limit_sec:
            self._answer_busy(waiting.pop())
        elif self._under_way is not None and self._under_way.call is call:
            self._under_way.busy_at = now + own_sec

    def _is_crowded(self, client: bytes) -> bool:
        """Return whether too many requests wait, of all clients or of this one: nobody waits long for another's."""
        if len(self._waiting) >= WAITING_MAX:
            return True
        return sum(one.call.client == client for one in self._waiting) >= WAITING_OF_ONE_MAX

    def _refuse_read(self) -> Refusal | None:
        """Return why the terminal is not asked; None where it may be."""
        if self._wrong is not None:
            return self._wrong
        if self.link.busy_sec == math.inf:
            return Refusal("BUSY", self.link.describe_busy())
        return None

    def _pong(self) -> Pong:
        head = self.known_head()
        is_allowed = self._head is not None and bool(self._head.get("trade_allowed"))
        return Pong(
            head=head,
            service=ServiceState(
                protocol=PROTOCOL,
                can=CAN,
                store=self.store.id,
                epoch=self.store.epoch,
                seq=self.store.seq,
                push_port=self.publisher.port,
                trade_allowed=is_allowed and head is not None and head.connected and not self.is_read_only,
                gateway_time_msc=_utc_msc(),
                terminal_process=self.link.describe() | self.orders.describe(),
            ),
        )

    def _events(self, query: GetEvents) -> Answer:
        if self._wrong is not None and self._wrong.code == "WRONG_ACCOUNT":
            return self._wrong
        found = self.store.events(query.after_seq, limit=query.limit)
        if found is None:
            return Refusal(
                "GAP", f"events after {query.after_seq} are not stored (any more); the newest is {self.store.seq}: sync"
            )
        rows = [{"seq": one.seq, "kind": one.kind, "at_msc": one.at_msc, "data": one.data} for one in found]
        return Events(head=self.known_head(), store=self.store.id, epoch=self.store.epoch, rows=rows)

    def known_head(self) -> Head | None:
        """Return the head of the newest answer; None before the first and where its account is not there."""
        if self._head is None or self._wrong is not None:
            return None
        head = _head_of(self._head)
        return head if self._is_connected else evolve(head, connected=False)

    # ---- commands to a simulated terminal

    def _open_commands(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
        socket = self._commands = context.socket(zmq.REP)
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.bind(endpoint)
        self.control_endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return socket

    def _take_command(self) -> None:
        assert self._commands is not None, "it is open"
        self._command = b"".join(self._commands.recv_multipart())
        self._pass_command_on()

    def _pass_command_on(self) -> None:
        """Pass a command to the terminal process, connected or not; it waits for its turn as long as it has to."""
        if self._command is not None and self.link.is_ready:
            text, self._command = self._command.decode(errors="replace"), None
            self.link.call("command", {"text": text}, self._answer_command)

    def _answer_command(self, outcome: Outcome) -> None:
        assert self._commands is not None, "it is open"
        raw = outcome.body if isinstance(outcome, Result) else write_answer(Refusal("TERMINAL_PROCESS", outcome.text))
        self._commands.send(raw)

    # ---- what is due

    def run_due(self) -> float:
        """Do what is due: heartbeats, requests that waited too long, connecting, and looking at the terminal."""
        now = self.monotonic()
        due = [self.link.run_due()]
        if self._is_connected and self.link.pid is None:  # the link has reported why
            self._is_connected = False
            self._show_connection(None, self.link.last_failure, is_reported=True)
        if self.link.generation != self._generation:  # a new terminal process has connected to nothing
            self._generation = self.link.generation
            self._is_connected, self._connect_at = False, now
        due.append(self.orders.run_due())
        self._answer_late(now)
        self._pass_command_on()
        self.pass_on()
        if self.link.is_ready:
            due.append(self._work(now))
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_SEC
            self._beat()
        due += [self._beat_at - now, *(one.busy_at - now for one in self._waiting)]
        if self._under_way is not None:
            due.append(self._under_way.busy_at - now)
        return max(0.0, min(due))

    def _answer_late(self, now: float) -> None:
        """Answer BUSY to whoever waited long enough."""
        for one in [one for one in self._waiting if now >= one.busy_at]:
            self._waiting.remove(one)
            self._answer_busy(one)
        if self._under_way is not None and now >= self._under_way.busy_at:
            self._under_way.busy_at = math.inf
            self._answer_busy(self._under_way)

    def _answer_busy(self, one: _Waiting) -> None:
        one.answer(Refusal("BUSY", self.link.describe_busy()))

    def pass_on(self) -> None:
        """Pass the next request to the terminal process, if it takes one and no look at the terminal is overdue.

        Requests of several clients may leave no pause: without that, nothing would be published meanwhile. After each look it
        is the turn of a request, however long looks take.
        """
        if self.orders.pass_send():  # nothing comes before an order
            self._has_looked = False
            return
        is_overdue = not self._has_looked and self.monotonic() >= self._poll_at + self.settings.poll_ms / 1000
        if is_overdue or not self._is_connected or not self.link.is_ready:
            return
        if self.orders.pass_lookup():
            self._has_looked = False
        elif self._waiting:
            self._has_looked = False
            one = self._under_way = self._waiting.popleft()
            own = one.call.request.fields.get("deadline_msc")
            if type(own) is int and 0 < own < 10**9:
                one.busy_at += max(0.0, own * _ANSWER_SHARE / 1000 - self.settings.patience_sec)
            else:
                one.busy_at = math.inf
            self.link.call(*_call_of(one.query), lambda outcome: self._answer_read(one, outcome))

    def _work(self, now: float) -> float:
        """Connect or look at the terminal, if it is time; return in how many seconds it is."""
        at = self._poll_at if self._is_connected else self._connect_at
        if now < at:
            return at - now
        if self._is_connected:
            self._has_looked, self._poll_at = True, now + self.settings.poll_ms / 1000
            self.link.call("poll", {}, self._note_poll)
        else:
            self.link.call("connect", {}, self._note_connect)
        return math.inf

    def _beat(self) -> None:
        if self.store.account is not None:
            self.publisher.beat(
                store=self.store.id, epoch=self.store.epoch, seq=self.store.seq, at_msc=_utc_msc(), account=self.store.account
            )

    # ---- what the terminal process answered

    def _answer_read(self, one: _Waiting, outcome: Outcome) -> None:
        self._under_way = None
        refusal = self.note(outcome)
        if refusal is not None:
            one.answer(refusal)
        elif isinstance(outcome, Result) and not one.is_answered:
            try:
                answer = self._read_answer(one, outcome)
            except Exception as error:  # noqa: BLE001  # an answer of one client must not end the service of all
                answer = Refusal("INTERNAL", words_of(error))
            one.answer(answer)

    def _note_poll(self, outcome: Outcome) -> None:
        if self.note(outcome) is None and isinstance(outcome, Result):
            self._publish([Change(kind, self._known_order(kind, data)) for kind, data in outcome.fields["changes"]])

    def _known_order(self, kind: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what an event carries; a row of an order with its client id."""
        return {**data, "order": self.orders.with_client_id(data["order"])} if kind == "order" else data

    def _note_connect(self, outcome: Outcome) -> None:
        if isinstance(outcome, Result):
            self._is_connected, self._connect_failures = True, 0
            self._has_looked, self._poll_at = False, -math.inf  # before any request: what changes after an answer is an event
        self.note(outcome)

    def note(self, outcome: Outcome) -> Refusal | None:
        """Note the head of an answer, or that there was none; return why a request that it answers is refused."""
        if isinstance(outcome, Failure):
            return self._note_failure(outcome)
        head = outcome.fields.get("head")
        if head is None:
            return None
        wrong = self._check_account(head)
        if wrong is not None:
            self._lose_connection(wrong.text)
            self._wrong = wrong
            return wrong
        self._wrong, self._head = None, head
        self._show_connection(head)
        return None

    def _note_failure(self, failure: Failure) -> Refusal:
        if failure.refused:
            return Refusal("BAD_REQUEST", failure.text, {"field": failure.field})
        if failure.code is None:
            refusal = Refusal("WRONG_ACCOUNT" if failure.field in _IDENTITY else "INTERNAL", failure.text)
        else:
            refusal = Refusal(str(failure.code), failure.text, {"last_error": [failure.code, failure.text]})
        is_lost = failure.code is not None and failure.code < _CONNECTION_LOST
        if is_lost or refusal.code == "WRONG_ACCOUNT" or not self._is_connected:
            self._lose_connection(f"{refusal.code} {refusal.text}")
            self._wrong = refusal
        return refusal

    def _lose_connection(self, why: str) -> None:
        """Connect again, each time a little later."""
        pause_sec = min(RECONNECT_MAX_SEC, RECONNECT_SEC * 2 ** min(self._connect_failures, 10))
        self._connect_failures += 1
        self._is_connected = False
        self._connect_at = self.monotonic() + pause_sec
        self._show_connection(None, why)

    def _check_account(self, head: Mapping[str, Any]) -> Refusal | None:
        """Return why it is not the account that the store is of, in the terminal that was there at first."""
        try:
            _head_of(head)
        except BadValue as error:
            return Refusal("INTERNAL", f"the head of the terminal's answer cannot be read: {error}")
        if not self.store.bind(head["login"], head["server"]):
            return Refusal(
                "WRONG_ACCOUNT",
                f"the store is of account {self.store.account}, the terminal shows {(head['login'], head['server'])}: "
                "log the terminal in there, or start with another --store",
            )
        folder = head.get("path")
        if self._folder is None:
            self._folder = folder
        if folder != self._folder:
            return Refusal(
                "WRONG_ACCOUNT",
                f"the service is of the terminal in {self._folder}, found the one in {folder}: name it with --path, and run a "
                "service for each terminal",
            )
        self._take_path_lock(head)
        return None

    def _take_path_lock(self, head: Mapping[str, Any]) -> None:
        """Take the lock of the terminal's data path; without it no order is sent, and it is tried again each time."""
        folder = head.get("data_path")
        if not folder or (self._path_lock is not None and self._has_path_lock):
            return
        if self._path_lock is None:
            self._path_lock = FileLock.of_folder(Path(folder))
        why = f"another service uses the terminal of {folder}"
        try:
            self._has_path_lock = self._path_lock.acquire()
        except OSError as error:
            self._has_path_lock, why = False, f"the lock of {folder} cannot be taken ({error.strerror or error})"
        shown = None if self._has_path_lock else why
        if shown != self._unlocked:
            self.report(f"{shown}: this one is read only until then" if shown else f"the terminal of {folder} is free: orders")
        self._unlocked = shown

    def _show_connection(self, head: Mapping[str, Any] | None, why: str | None = None, *, is_reported: bool = False) -> None:
        """Publish and report how the terminal is connected, if that is another way than before."""
        shown: dict[str, Any] = {"connected": False, "trade_allowed": False, "reason": why}
        if head is not None:
            shown = {"connected": bool(head["connected"]), "trade_allowed": bool(head.get("trade_allowed")), "reason": None}
        if shown == self._shown:
            return
        self._shown = shown
        if head is None:
            if not is_reported:
                self.report(f"not connected: {why}")
        else:
            state = "connected" if shown["connected"] else "the terminal is not connected to its broker"
            self.report(f"account {head['server']}/{head['login']}: {state}")
        if self.store.account is not None:
            self._publish([Change("connection", shown)])

    def _publish(self, changes: list[Change]) -> None:
        assert self.store.account is not None, "the terminal has shown its account"
        try:
            events = self.store.append(changes, at_msc=_utc_msc())
        except sqlite3.Error as error:  # a full disk: whoever looks at intervals is answered all the same
            if str(error) != self._unstored:
                self.report(f"events are not stored and not published: {error}")
            self._unstored = str(error)
            return
        self._unstored = None
        self.publish_stored(events)

    # ---- what orders need

    @property
    def account(self) -> AccountId | None:
        """The account of the store; None before the first connection."""
        return None if self.store.account is None else AccountId(login=self.store.account[0], server=self.store.account[1])

    def publish_stored(self, events: list[Event]) -> None:
        """Publish events that are stored."""
        assert self.store.account is not None, "the terminal has shown its account"
        for event in events:
            self.publisher.publish(event, store=self.store.id, account=self.store.account)

    def refuse_orders(self) -> Refusal | None:
        """Return why no order can be sent now, by what was seen of the terminal last; None where one can."""
        if self._wrong is not None and self._wrong.code == "WRONG_ACCOUNT":
            return self._wrong
        head = self.known_head()
        if self._head is None or head is None or not head.connected:
            why = "the terminal is not connected to its broker" if self._is_connected else "the terminal is not connected"
            return Refusal("NOT_CONNECTED", f"{why}: nothing was sent")
        if not self._head.get("trade_allowed"):
            return Refusal("READ_ONLY", "account or terminal do not allow trading: nothing was sent")
        return None

    def utc_msc(self) -> int:
        """Return the present, UTC."""
        return _utc_msc()

    def monotonic_sec(self) -> float:
        """Return seconds that only rise."""
        return self.monotonic()

    def seconds_to_wait(self) -> float:
        """Return how long a request waits for a terminal process that is busy."""
        return self.settings.patience_sec

    def _read_answer(self, one: _Waiting, result: Result) -> Answer:
        if isinstance(one.query, OrderRead):
            return self.orders.answer_read(one.query, _head_of(result.fields["head"]), result.body)
        return _read_answer(one, result)


def _call_of(query: Read | OrderRead) -> tuple[str, dict[str, Any]]:
    """Return the call of the terminal process that answers a request, and its arguments."""
    match query:
        case GetDeals():
            return "deals", asdict(query)
        case GetPositions(symbol=symbol):
            return "positions", {"symbol": None if symbol == "*" else symbol}
        case GetAccount():
            return "account", {}
        case GetSymbols():
            return "symbols", {}
        case Ping():
            raise AssertionError("it is answered here")
        case _:
            return call_of(query)


def _read_answer(one: _Waiting, result: Result) -> Answer:
    head = _head_of(result.fields["head"])
    rows = EncodedRows(raw=result.body, count=result.fields.get("count", 0))
    match one.query:
        case GetPositions() if not one.call.request.echo:
            return Positions(head=None, rows=base_rows(json.loads(result.body)))
        case GetPositions():
            return Positions(head=head, rows=rows)
        case GetDeals():
            return Deals(head=head, rows=rows)
        case GetAccount():
            return Account(head=head, account=json.loads(result.body))
        case _:
            return Symbols(head=head, rows=rows)


def _head_of(head: Mapping[str, Any]) -> Head:
    return Head(
        login=head["login"],
        server=head["server"],
        margin_mode=to_margin_mode(head["margin_mode"]),
        server_time_msc=head.get("server_time_msc"),
        connected=bool(head["connected"]),
    )


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _utc_msc() -> int:
    return time.time_ns() // 1_000_000
