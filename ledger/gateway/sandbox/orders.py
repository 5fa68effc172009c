"""Orders at the sandbox: the messages of the gateway service, by its own code, over a terminal in this process.

Nothing here may outlive a crash of the terminal, as both are one process; the store does, where it has a file of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from ledger.gateway.serve.link import Failure, Outcome, outcome_of
from ledger.gateway.serve.orders import Orders, call_of, state_executed
from ledger.gateway.serve.store import Event, Store
from ledger.gateway.serve.terminal_process import Terminal, TerminalCalls
from ledger.protocol.messages import (
    Answer,
    AskOrderStatus,
    CheckOrder,
    GetOrderHistory,
    GetOrders,
    GetTick,
    Head,
    OrderRead,
    Refusal,
    Request,
    SendOrder,
    ServiceState,
)
from ledger.protocol.order_requests import FieldRefused
from ledger.protocol.read import read_query
from ledger.values import AccountId

#: What a sandbox with orders can beside reading: it publishes no events.
CAN = ("orders", "fence")
#: The actions that it answers.
ORDER_ACTIONS = tuple(query.action for query in (SendOrder, AskOrderStatus, CheckOrder, GetOrders, GetOrderHistory, GetTick))
_PROTOCOL = 2


@define(eq=False)
class InProcessLink:
    """Carries calls to a terminal in this process: each is answered before it returns."""

    calls: TerminalCalls
    _is_busy: bool = field(default=False, init=False)

    @property
    def is_ready(self) -> bool:
        """Whether it takes a call now."""
        return not self._is_busy

    def call(self, name: str, arguments: Mapping[str, Any], done: Callable[[Outcome], object]) -> None:
        """Carry out a call. See ``ledger.gateway.serve.orders.Link``."""
        self._is_busy = True
        try:
            fields, body = self.calls.carry_out({**arguments, "call": name})
        finally:
            self._is_busy = False
        done(outcome_of(fields, body))


@define(eq=False)
class SandboxOrders:
    """What orders need of a service, over a terminal in this process.

    Args:
        terminal: The terminal.
        path: File of the store.
        head: Returns the head of an answer of this moment.
        report: Called with what happens, in words.
    """

    terminal: Terminal
    path: Path
    head: Callable[[], Head]
    report: Callable[[str], object] = lambda _: None
    store: Store = field(init=False)
    link: InProcessLink = field(init=False)
    orders: Orders = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = Store.open(self.path)
        self.link = InProcessLink(TerminalCalls(self.terminal))
        self.orders = Orders(self)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def service(self) -> ServiceState:
        """Return what PING states of it."""
        head = self.known_head()
        return ServiceState(
            protocol=_PROTOCOL,
            can=CAN,
            store=self.store.id,
            epoch=self.store.epoch,
            seq=self.store.seq,
            push_port=None,
            trade_allowed=head is not None and head.connected,
            gateway_time_msc=self.utc_msc(),
            terminal_process={"state": "idle", "call": None, "since_msc": None},
        )

    def answer(self, request: Request) -> Answer:
        """Return the answer to a message about orders."""
        try:
            query = read_query(request)
        except ValueError as error:
            further = {"field": error.name} if isinstance(error, FieldRefused) else {}
            return state_executed(request, Refusal("BAD_REQUEST", str(error), further))
        found: list[Answer] = []
        if isinstance(query, SendOrder):
            self.orders.send(query.message, found.append)
        elif isinstance(query, AskOrderStatus):
            self.orders.status(query, found.append)
        elif isinstance(query, OrderRead):
            self.link.call(*call_of(query), lambda outcome: found.append(self._answer_read(query, outcome)))
        (answer,) = found
        return state_executed(request, answer)

    def _answer_read(self, query: OrderRead, outcome: Outcome) -> Answer:
        if isinstance(outcome, Failure):
            if outcome.refused:
                return Refusal("BAD_REQUEST", outcome.text, {"field": outcome.field})
            further = {} if outcome.code is None else {"last_error": [outcome.code, outcome.text]}
            return Refusal("INTERNAL" if outcome.code is None else str(outcome.code), outcome.text, further)
        return self.orders.answer_read(query, self.head(), outcome.body)

    # ---- what orders need

    @property
    def is_read_only(self) -> bool:
        """Whether it sends no orders: never."""
        return False

    @property
    def account(self) -> AccountId | None:
        """The account of the store, which is bound to it with the first message."""
        head = self.head()
        if head.login is None or head.server is None or not self.store.bind(head.login, head.server):
            return None if self.store.account is None else AccountId(login=self.store.account[0], server=self.store.account[1])
        return AccountId(login=head.login, server=head.server)

    def known_head(self) -> Head | None:
        """Return the head of an answer of this moment."""
        return self.head()

    def refuse_orders(self) -> Refusal | None:
        """Return why no order can be sent now; None where one can."""
        if not self.head().connected:
            return Refusal("NOT_CONNECTED", "the terminal is not connected to its broker: nothing was sent")
        return None

    def note(self, outcome: Outcome) -> Refusal | None:
        """Return why a request that an answer is for is refused."""
        if not isinstance(outcome, Failure):
            return None
        code = "INTERNAL" if outcome.code is None else str(outcome.code)
        return Refusal(code, outcome.text)

    def publish_stored(self, events: list[Event]) -> None:
        """Publish nothing: a sandbox has no push stream."""

    def utc_msc(self) -> int:
        """Return the present, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_sec(self) -> float:
        """Return seconds that only rise."""
        return time.monotonic()

    def seconds_to_wait(self) -> float:
        """Return how long a lookup waits: every call is answered at once."""
        return 0.0

    def pass_on(self) -> None:
        """Carry out what waits."""
        while self.orders.pass_send() or self.orders.pass_lookup():
            pass
