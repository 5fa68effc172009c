"""Orders at the service: each client id is sent at most once, and what became of it is stored before anybody is answered.

A message waits for the terminal process, is checked there against what the terminal shows, is stored as received and then as
being sent, and only then sent. Nothing here ever leads to a second call for an id: the store refuses it.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from attrs import asdict, define, field

from ledger.events.orders import Verdict
from ledger.gateway.serve.changes import Change
from ledger.gateway.serve.link import Failure, Outcome, Result
from ledger.gateway.serve.requests import VALID_MAX_MSC, StoredRequest
from ledger.gateway.serve.store import Event, Store
from ledger.order_messages import OrderMessage, RequestState
from ledger.orders.ids import token_of
from ledger.orders.states import BY_THE_SERVER
from ledger.orders.verdicts import ProcessLost, judge
from ledger.protocol.messages import (
    Answer,
    AskOrderStatus,
    CheckOrder,
    GetOrderHistory,
    GetOrders,
    GetTick,
    Head,
    OrderRead,
    OrderReply,
    Refusal,
    Request,
    Row,
    SendOrder,
)
from ledger.protocol.messages import Orders as OrderRows
from ledger.protocol.order_requests import content_of, differing_fields, digest_of, order_fields
from ledger.values import AccountId

#: How many orders wait for the terminal process at most, and how many lookups.
WAITING_MAX: Final = 200
#: How far before an order was sent its orders and deals are looked for, in milliseconds.
LOOKUP_BEFORE_MSC: Final = 60_000
#: How far a server's clock may be from UTC, in milliseconds: used where no server time was known.
_OFFSET_MAX_MSC: Final = 16 * 3_600_000
_DAY_MSC: Final = 86_400_000
#: How often the store is cleaned of what is done for 400 days, in seconds.
_PRUNE_SEC: Final = 3_600.0
#: Kinds that make an order record, which carries the token.
_RECORDED: Final = frozenset({"market", "pending", "close", "close_by"})
#: Reasons of orders that the trade server made: stop loss, take profit, stop out.
_NEVER: Final = "never"
_UNKNOWN: Final = "unknown"
#: What the errors of an order message state, where nothing else is known.
_EXECUTED: Final = {SendOrder.action: _NEVER, CheckOrder.action: _NEVER, AskOrderStatus.action: _UNKNOWN}


class Link(Protocol):
    """What carries calls to the terminal process, as ``TerminalLink`` does."""

    @property
    def is_ready(self) -> bool:
        """Whether it takes a call now."""
        ...

    def call(self, name: str, arguments: Mapping[str, Any], done: Callable[[Outcome], object]) -> None:
        """Pass a call; ``done`` is called once with what became of it."""
        ...


class Host(Protocol):
    """What orders need of the service that they are part of."""

    store: Store
    report: Callable[[str], object]

    @property
    def link(self) -> Link:
        """The way to the terminal process."""
        ...

    @property
    def is_read_only(self) -> bool:
        """Whether this service sends no orders, whatever the terminal allows."""
        ...

    @property
    def account(self) -> AccountId | None:
        """The account of the store; None before the first connection."""
        ...

    def known_head(self) -> Head | None:
        """Return the head of the newest answer; None before the first, and where another account is there."""
        ...

    def refuse_orders(self) -> Refusal | None:
        """Return why no order can be sent now, by what was seen of the terminal last; None where one can."""
        ...

    def note(self, outcome: Outcome) -> Refusal | None:
        """Note the head of an answer, or that there was none; return why a request that it answers is refused."""
        ...

    def publish_stored(self, events: list[Event]) -> None:
        """Publish events that are stored."""
        ...

    def utc_msc(self) -> int:
        """Return the present, UTC."""
        ...

    def monotonic_sec(self) -> float:
        """Return seconds that only rise."""
        ...

    def pass_on(self) -> None:
        """Pass the next request to the terminal process, if it takes one."""
        ...

    def seconds_to_wait(self) -> float:
        """Return how long a request waits for a terminal process that is busy."""
        ...


Reply = Callable[[Row | Refusal], object]


@define(eq=False)
class _Sending:
    """An order that waits to be sent, or is being sent."""

    message: OrderMessage
    reply: Reply


@define(eq=False)
class _Asked:
    """A question about a client id that waits for a lookup."""

    query: AskOrderStatus
    reply: Reply
    give_up: float
    is_answered: bool = False

    def answer(self, found: Row | Refusal) -> None:
        if not self.is_answered:
            self.is_answered = True
            self.reply(found)


@define(eq=False)
class Orders:
    """The order messages of a service. All its methods are called by the thread that serves.

    Attributes:
        host: The service.
    """

    host: Host
    _sends: deque[_Sending] = field(factory=deque, init=False)
    _lookups: deque[_Asked] = field(factory=deque, init=False)
    _in_hand: str | None = field(default=None, init=False)  # the client id that is being stored or sent now
    _calls: str | None = field(default=None, init=False)  # the client id whose order_send is under way
    _unwritten: dict[str, tuple[Verdict, dict[str, Any]]] = field(factory=dict, init=False)  # answers that a full disk refused
    _prune_at: float = field(default=0.0, init=False)

    # ---- messages

    def send(self, message: OrderMessage, answer: Callable[[Answer], object]) -> None:
        """Answer ORDER_SEND: at once where the answer is known, else when the terminal process has answered."""
        self.take(message, lambda found: answer(self._answer(message.client_id, found, executed=_NEVER)))

    def status(self, query: AskOrderStatus, answer: Callable[[Answer], object]) -> None:
        """Answer ORDER_STATUS. It is never busy: a lookup that has to wait too long is left out."""

        def reply(found: Row | Refusal) -> None:
            answer(self._answer(query.client_id, found, executed=_UNKNOWN))

        try:
            found = self._look_up_store(query)
        except sqlite3.Error as error:
            found = _store_failed(error, _UNKNOWN)
        if isinstance(found, Refusal) or not query.lookup or self._calls is not None or not self._may_ask():
            reply(found)
            return
        self._lookups.append(_Asked(query, reply, self.host.monotonic_sec() + self.host.seconds_to_wait()))
        self.host.pass_on()

    def take(self, message: OrderMessage, reply: Reply) -> None:
        """Answer an order message through a function: at once, or when the terminal process has answered."""
        try:
            found = self._known(message)
        except sqlite3.Error as error:  # what became of this id before cannot be read
            found = _store_failed(error, _UNKNOWN)
        found = found or self._refuse(message)
        if found is None and len(self._sends) >= WAITING_MAX:
            found = Refusal("BUSY", f"{len(self._sends)} orders wait for the terminal: none of this message was sent")
        if found is not None:
            reply(found)
            return
        self._sends.append(_Sending(message, reply))
        self.host.pass_on()

    def _answer(self, client_id: str, found: Row | Refusal, *, executed: str) -> OrderReply | Refusal:
        if isinstance(found, Refusal):
            return refuse_message(found, client_id, executed=executed)
        return OrderReply(head=self.host.known_head(), fields=found)

    def _may_ask(self) -> bool:
        return self.host.known_head() is not None and len(self._lookups) < WAITING_MAX

    # ---- before anything is stored

    def _known(self, message: OrderMessage) -> Row | Refusal | None:
        """Return the answer to a message by what the store has of its id; None where it was never seen."""
        store, account = self.host.store, self.host.account
        if message.store != store.id:
            return Refusal("WRONG_STORE", f"the store is {store.id}, expected by this message is {message.store:.64}")
        if account is None:
            return Refusal("NOT_CONNECTED", "the terminal has shown no account yet")
        if (message.login, message.server) != (account.login, account.server):
            return Refusal(
                "WRONG_ACCOUNT",
                f"the service is of {account}, expected by this message is {message.server:.64}/{message.login}",
            )
        if message.token != token_of(account, message.client_id):
            return Refusal("BAD_REQUEST", "token: expected the one of this client id and account", {"field": "token"})
        row = self._settled(message.client_id)
        return None if row is None else self._stored_answer(row, message)

    def _stored_answer(self, row: StoredRequest, message: OrderMessage) -> Row | Refusal:
        if row.digest is not None and row.digest != digest_of(message):
            names = differing_fields(row.content or "{}", content_of(message))
            return Refusal("CLIENT_ID_CONFLICT", f"this client id was sent with another {', '.join(names)}")
        if row.state is RequestState.FENCED:
            return Refusal("FENCED", f"this client id is never sent: {row.fenced_by}")
        return self._describe(row, is_replayed=True)

    def _refuse(self, message: OrderMessage) -> Refusal | None:
        """Return why a message that was never seen is not sent; nothing is stored of it."""
        now = self.host.utc_msc()
        if message.valid_until_utc_msc <= now:
            return Refusal("EXPIRED", f"valid until {message.valid_until_utc_msc}, and it is {now}")
        if self.host.store.requests.is_forgotten(message.valid_until_utc_msc):
            return Refusal("EXPIRED", f"valid until {message.valid_until_utc_msc}, of which time nothing is stored any more")
        if message.valid_until_utc_msc > now + VALID_MAX_MSC:
            return Refusal(
                "CLOCK_SKEW", f"valid until {message.valid_until_utc_msc}, more than {VALID_MAX_MSC} ms ahead of {now}"
            )
        if self.host.is_read_only:
            return Refusal("READ_ONLY", "this service sends no orders")
        return self.host.refuse_orders()

    # ---- the terminal process's turn

    @property
    def is_waiting(self) -> bool:
        """Whether an order waits to be sent: nothing else may come first."""
        return bool(self._sends)

    @property
    def sending(self) -> str | None:
        """The client id whose order is being sent now."""
        return self._calls

    def describe(self) -> dict[str, Any]:
        """Return what PING states of it beside the terminal process."""
        return {} if self._calls is None else {"client_id": self._calls}

    def pass_send(self) -> bool:
        """Pass the next order to the terminal process, if it takes a call; return whether one was passed."""
        while self._sends and self.host.link.is_ready:
            one = self._sends.popleft()
            refusal = self._refuse(one.message)
            if refusal is None:
                self._prepare(one)
                return True
            one.reply(refusal)
        return False

    def pass_lookup(self) -> bool:
        """Pass the next lookup to the terminal process, if it takes a call; return whether one was passed."""
        while self._lookups and self.host.link.is_ready:
            asked = self._lookups.popleft()
            if not asked.is_answered:
                self._look_up(asked)
                return True
        return False

    def run_due(self) -> float:
        """Answer whoever waited long enough; return in how many seconds more is due."""
        self._expire()
        now = self.host.monotonic_sec()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_SEC
            try:
                self.host.store.requests.prune(self.host.utc_msc())
            except sqlite3.Error as error:
                self.host.report(f"old requests are not removed from the store: {error}")
        due = [one.give_up - now for one in self._lookups if not one.is_answered]
        present = self.host.utc_msc()
        due += [(one.message.valid_until_utc_msc - present) / 1000 for one in self._sends]
        return max(0.0, min(due, default=math.inf))

    def _expire(self) -> None:
        now, present = self.host.monotonic_sec(), self.host.utc_msc()
        for one in [one for one in self._sends if one.message.valid_until_utc_msc <= present]:
            self._sends.remove(one)
            one.reply(self._refuse(one.message) or Refusal("EXPIRED", "it waited too long for the terminal"))
        for asked in [asked for asked in self._lookups if now >= asked.give_up]:
            self._lookups.remove(asked)
            self._answer_without_lookup(asked)

    # ---- one order

    def _prepare(self, one: _Sending) -> None:
        self.host.link.call("prepare", {"fields": order_fields(one.message)}, lambda outcome: self._store(one, outcome))

    def _store(self, one: _Sending, outcome: Outcome) -> None:
        """Store a message that the terminal process has prepared, and send it."""
        refusal = self._refuse_prepared(one.message, outcome)
        if refusal is not None:
            one.reply(refusal)
            return
        assert isinstance(outcome, Result), "it was not refused"
        message, client_id = one.message, one.message.client_id
        self._in_hand = client_id
        try:
            found = self._begin(message, outcome.fields["head"]["server_time_msc"])
        except sqlite3.Error as error:
            found = _store_failed(error, _NEVER)
        finally:
            self._in_hand = None
        if found is not None:
            one.reply(found)
            return
        arguments = {
            "request": json.loads(outcome.body), "kind": message.kind.value, "login": message.login, "server": message.server,
        }  # fmt: skip
        self._calls = client_id
        self.host.link.call("order_send", arguments, lambda sent: self._finish(one, sent))

    def _refuse_prepared(self, message: OrderMessage, outcome: Outcome) -> Refusal | None:
        if isinstance(outcome, Failure) and outcome.refused:
            return Refusal("BAD_REQUEST", outcome.text, {"field": outcome.field})
        refusal = self.host.note(outcome)
        if refusal is not None:
            code = refusal.code if refusal.code == "WRONG_ACCOUNT" else "NOT_CONNECTED"
            return Refusal(code, f"{refusal.code} {refusal.text}" if code != refusal.code else refusal.text, refusal.further)
        return self._refuse(message)

    def _begin(self, message: OrderMessage, server_msc: int | None) -> Row | Refusal | None:
        """Store that a message is being sent; return what it is answered where it may not be."""
        requests, client_id = self.host.store.requests, message.client_id
        is_new = requests.receive(
            client_id,
            digest=digest_of(message),
            content=content_of(message),
            token=message.token,
            valid_until=message.valid_until_utc_msc,
            now=self.host.utc_msc(),
        )
        if is_new and requests.begin(client_id, now=self.host.utc_msc(), server_msc=server_msc):
            return None
        if is_new:
            requests.fence_received(client_id, by="expired")
            return Refusal("EXPIRED", f"valid until {message.valid_until_utc_msc}, while it was stored")
        row = self._settled(client_id)  # another message with this id came first, or a fence
        return (
            Refusal("EXPIRED", "of its time nothing is stored any more") if row is None else self._stored_answer(row, message)
        )

    def _finish(self, one: _Sending, outcome: Outcome) -> None:
        """Store what came of a call, and answer with it."""
        client_id, self._calls = one.message.client_id, None
        if isinstance(outcome, Failure):
            verdict = judge(ProcessLost(), one.message.kind)
            answer: dict[str, Any] = {"comment": outcome.text}
        else:
            answer = json.loads(outcome.body)
            verdict = Verdict(answer.pop("verdict"))
        try:
            row = self._write(client_id, verdict, answer)
        except sqlite3.Error as error:
            self._unwritten[client_id] = verdict, answer
            self.host.report(f"the answer to order {client_id} cannot be stored: {error}")
            one.reply(_store_failed(error, _UNKNOWN))
            return
        one.reply(self._describe(row))

    def _write(self, client_id: str, verdict: Verdict, answer: dict[str, Any]) -> StoredRequest:
        """Store an answer with its event, and publish it then.

        Raises:
            sqlite3.Error: It is not stored.
        """
        store, now = self.host.store, self.host.utc_msc()
        row = store.requests.find(client_id)
        assert row is not None, "it was stored before it was sent"
        state = RequestState.UNRESOLVED if verdict is Verdict.UNKNOWN else RequestState.ANSWERED
        found = {
            "client_id": client_id, "token": row.token, "state": state.value, "verdict": verdict.value, **answer,
            "sent_msc": row.sending, "answered_msc": now, "store": store.id, "seq": store.seq + 1,
        }  # fmt: skip

        def write() -> None:
            if state is RequestState.ANSWERED:
                store.requests.answer(client_id, found, now=now)
            else:
                store.requests.leave(client_id, found, now=now)

        events = store.append([Change("answer", found)], at_msc=now, beside=write)
        self._unwritten.pop(client_id, None)
        self.host.publish_stored(events)
        stored = store.requests.find(client_id)
        assert stored is not None, "it is there"
        return stored

    # ---- what the store has

    def _settled(self, client_id: str) -> StoredRequest | None:
        """Return what is stored of a client id, after what is overdue of it was stored: nothing stays under way for ever.

        Raises:
            sqlite3.Error: It cannot be read or written.
        """
        requests = self.host.store.requests
        if client_id in self._unwritten:
            return self._write(client_id, *self._unwritten[client_id])
        row = requests.find(client_id)
        if row is None or client_id in (self._in_hand, self._calls):
            return row
        if row.state is RequestState.RECEIVED:  # its next step could not be stored, and it was not sent
            requests.fence_received(client_id, by="the store failed")
        elif row.state is RequestState.SENDING:
            requests.leave(client_id, None, now=self.host.utc_msc())
        else:
            return row
        return requests.find(client_id)

    def _describe(self, row: StoredRequest, *, is_replayed: bool = False) -> dict[str, Any]:
        """Return what is stored of a client id as the fields of an answer."""
        found: dict[str, Any] = {"client_id": row.client_id, "token": row.token, "store": self.host.store.id}
        match row.state:
            case RequestState.RECEIVED | RequestState.SENDING:
                since = row.sending or row.received
                return found | {"state": "sending", "verdict": None, "since_msc": since, "sent_msc": row.sending}
            case RequestState.FENCED:
                return found | {"state": "fenced", "verdict": None, "fenced_by": row.fenced_by}
            case RequestState.UNRESOLVED:
                kept = row.answer or {}
                return found | {"sent_msc": row.sending} | kept | {
                    "state": "unresolved", "verdict": "unknown", "replayed": is_replayed
                }  # fmt: skip
            case _:
                return found | (row.answer or {}) | {"state": "answered", "replayed": is_replayed}

    def _look_up_store(self, query: AskOrderStatus) -> Row | Refusal:
        store, account = self.host.store, self.host.account
        if query.store != store.id:
            return Refusal("WRONG_STORE", f"the store is {store.id}, asked for is {query.store:.64}")
        row = self._settled(query.client_id)
        if row is None and query.fence and not self.host.is_read_only:
            token = None if account is None else token_of(account, query.client_id)
            store.requests.fence(query.client_id, token=token, by="status", now=self.host.utc_msc())
            row = self._settled(query.client_id)
        if row is None:
            return {"client_id": query.client_id, "store": store.id, "state": "never", "verdict": None}
        return self._describe(row, is_replayed=True)

    # ---- lookups

    def _look_up(self, asked: _Asked) -> None:
        """Let the terminal process search for the order of a client id."""
        account = self.host.account
        try:
            row = self.host.store.requests.find(asked.query.client_id)
        except sqlite3.Error as error:
            asked.answer(_store_failed(error, _UNKNOWN))
            return
        if account is None:
            self._answer_without_lookup(asked)
            return
        arguments = {
            "token": token_of(account, asked.query.client_id),
            "tickets": _tickets_of(row),
            "magic": None if row is None or row.content is None else json.loads(row.content).get("magic"),
            "from_msc": self._from_msc(row),
            "to_msc": None,
        }
        self.host.link.call("lookup", arguments, lambda outcome: self._answer_lookup(asked, outcome))

    def _from_msc(self, row: StoredRequest | None) -> int:
        """Return from which server time on an order is looked for: a minute before it was sent, longer if that is unknown."""
        if row is None or row.sending is None:
            return max(0, self.host.utc_msc() - _OFFSET_MAX_MSC - _DAY_MSC)
        sent = row.sending - _OFFSET_MAX_MSC if row.sending_server is None else row.sending_server
        return max(0, sent - LOOKUP_BEFORE_MSC)

    def _answer_lookup(self, asked: _Asked, outcome: Outcome) -> None:
        refusal = self.host.note(outcome)
        if refusal is not None or not isinstance(outcome, Result):
            self._answer_without_lookup(asked, refusal)
            return
        found, head = json.loads(outcome.body), outcome.fields["head"]
        try:
            self._resolve(asked.query.client_id, [row for row in found["orders"] if row["ticket"] in found["with_token"]])
            status = self._look_up_store(asked.query)
        except sqlite3.Error as error:
            asked.answer(_store_failed(error, _UNKNOWN))
            return
        if isinstance(status, Refusal):
            asked.answer(status)
            return
        names = ("from_msc", "to_msc", "rows")
        asked.answer({
            **status, "orders": self.with_client_ids(found["orders"]), "deals": found["deals"],
            "lookup": {**{name: found[name] for name in names}, "connected": bool(head["connected"])},
        })  # fmt: skip

    def _answer_without_lookup(self, asked: _Asked, why: Refusal | None = None) -> None:
        try:
            found = self._look_up_store(asked.query)
        except sqlite3.Error as error:
            found = _store_failed(error, _UNKNOWN)
        if why is not None and not isinstance(found, Refusal):
            found = {**found, "lookup_error": f"{why.code} {why.text}"}
        asked.answer(found)

    def _resolve(self, client_id: str, rows: list[Row]) -> None:
        """Store that an order whose answer was not known exists, where its token is in exactly one."""
        store = self.host.store
        row = self._settled(client_id)
        if row is None or row.state is not RequestState.UNRESOLVED or len(rows) != 1 or row.content is None:
            return
        content = json.loads(row.content)
        if content["kind"] not in _RECORDED or _is_copy(rows[0], content):
            return
        now = self.host.utc_msc()
        found = {
            "client_id": client_id, "token": row.token, **(row.answer or {}), "state": "answered",
            "verdict": Verdict.ACCEPTED.value, "basis": "token", "order": rows[0]["ticket"], "sent_msc": row.sending,
            "answered_msc": now, "store": store.id, "seq": store.seq + 1,
        }  # fmt: skip
        events = store.append(
            [Change("answer", found)], at_msc=now, beside=lambda: store.requests.resolve(client_id, found, now=now)
        )
        self.host.publish_stored(events)

    # ---- rows of orders

    def answer_read(self, query: OrderRead, head: Head, body: bytes) -> Answer:
        """Return the answer to a question about orders, of what the terminal process returned."""
        found = json.loads(body)
        if isinstance(query, (GetOrders, GetOrderHistory)):
            rows = self.with_client_ids(found)
            is_by_ticket = isinstance(query, GetOrderHistory) and query.order is not None and not rows
            return OrderRows(head=head, rows=rows, is_by_ticket=is_by_ticket)
        return OrderReply(head=head, fields=found)

    def with_client_ids(self, rows: list[Any]) -> list[dict[str, Any]]:
        """Return rows of orders with the client id of each whose token the store knows."""
        return [self.with_client_id(row) for row in rows]

    def with_client_id(self, row: Row) -> dict[str, Any]:
        """Return a row of an order, with its client id where the store knows its token."""
        token = str(row.get("comment"))[:_TOKEN_LENGTH]
        client_id = self.host.store.requests.client_id_of(token) if len(token) == _TOKEN_LENGTH else None
        return dict(row) if client_id is None else {**row, "client_id": client_id}


_TOKEN_LENGTH: Final = 20


def call_of(query: OrderRead) -> tuple[str, dict[str, Any]]:
    """Return the call of the terminal process that answers a question about orders, and its arguments."""
    match query:
        case GetOrders():
            return "orders", {}
        case GetOrderHistory():
            return "order_history", asdict(query)
        case GetTick(symbol=symbol):
            return "tick", {"symbol": symbol}
        case CheckOrder(message=message):
            return "order_check", {"fields": order_fields(message)}


def state_executed(request: Request, answer: Answer) -> Answer:
    """Return an answer; an error to an order message states of which, and whether it was executed."""
    executed = _EXECUTED.get(request.action)
    if executed is None or not isinstance(answer, Refusal):
        return answer
    client_id = request.fields.get("client_id")
    return refuse_message(answer, client_id if isinstance(client_id, str) else None, executed=executed)


def refuse_message(refusal: Refusal, client_id: str | None, *, executed: str) -> Refusal:
    """Return a refusal of an order message: it states of which, and whether it was executed."""
    identity = {} if client_id is None else {"client_id": client_id}
    return Refusal(refusal.code, refusal.text, {**identity, "executed": executed, **refusal.further})


def _store_failed(error: Exception, executed: str) -> Refusal:
    return Refusal("STORE_FAILED", f"the store cannot be written: {error}", {"executed": executed})


def _is_copy(row: Row, content: Mapping[str, Any]) -> bool:
    """Return whether an order with a token is another one than was sent with it: what closes it may carry a copy."""
    if row.get("reason") in BY_THE_SERVER or content.get("symbol") not in (None, row.get("symbol")):
        return True
    return content.get("side") is not None and not str(row.get("type")).startswith(content["side"])


def _tickets_of(row: StoredRequest | None) -> list[int]:
    """Return the orders that are known by ticket: of its answer, and the one that it is about."""
    if row is None:
        return []
    content = {} if row.content is None else json.loads(row.content)
    found = ((row.answer or {}).get("order"), content.get("order"))
    return [ticket for ticket in found if ticket]
