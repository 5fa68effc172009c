"""The order manager: an engine's way to send orders, each at most once, and to know what became of them.

```python
manager = OrderManager(account, gateway, limits=Limits(volume_per_symbol_max="1.0"))
order = manager.submit(OrderRequest.market("EURUSD", "buy", "0.10", sl="1.0500"))
```
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from threading import RLock
from typing import Any, Final

from attrs import evolve

from ledger.errors import (
    BadValue,
    GatewayError,
    GatewayRefused,
    OrderConflict,
    OrdersRefused,
    VersionConflict,
)
from ledger.events import (
    DEAL_KINDS,
    ORDER_KINDS,
    Event,
    FillRecorded,
    OrderDenied,
    OrderIntended,
    Origin,
    Recorded,
    StorePinned,
)
from ledger.events.orders import LimitsSet, OrderKind, Verdict, to_client_id
from ledger.gateway import Gateway, OrderGateway
from ledger.journal import Outcome
from ledger.order_manager.market import MarketReader
from ledger.order_manager.messages import to_message
from ledger.order_manager.resolver import Resolver
from ledger.orders.ids import make_client_id, token_of
from ledger.orders.limits import Allowed, Denied, Limits, check, why_halted
from ledger.orders.policy import MAGIC_SPAN, OrderPolicy
from ledger.orders.request import FIELDS, OrderRequest
from ledger.orders.resolve import target_ticket
from ledger.orders.states import CHANGES, OrderState
from ledger.orders.view import Order, Orders
from ledger.portfolio import Portfolio
from ledger.service import Account, StopSign
from ledger.snapshot import RemoteService
from ledger.values import require_type, shown, to_amount
from ledger.views import Position

__all__ = ["Allowed", "Denied", "Limits", "OrderManager", "OrderPolicy", "OrderRequest"]

#: How long an answer is waited for.
TIMEOUT_SEC: Final = 5.0
#: How far our clock and the gateway's may be apart.
_SKEW_MSC: Final = 2_000
#: How long what the gateway stated of itself is believed.
_PING_SEC: Final = 10.0
_TRIES: Final = 1_000
_PROTOCOL: Final = 2
_NEEDED: Final = frozenset({"orders", "fence"})


class OrderManager:
    """Sends the orders of one account, each at most once. Safe to use from several threads, and beside other processes.

    Args:
        account: The account, which is open.
        gateway: The way to its broker: one that can orders.
        limits: Rules that every order has to pass; recorded where they differ from the recorded ones. None: those that were
            recorded last.
        policy: How orders are sent and resolved.
        allow_unknown: Start also while an order is unknown.
        operator: Who is named as having set the limits.
        random: Returns so many random bytes.

    Raises:
        OrdersRefused: The gateway takes no orders, or not of this account; its store is not the pinned one; or an order is
            unknown, and ``allow_unknown`` is not set.
        GatewayError: The gateway does not answer.
        AccountUnknown: The account was not opened.
    """

    def __init__(
        self,
        account: Account,
        gateway: Gateway,
        *,
        limits: Limits | None = None,
        policy: OrderPolicy = OrderPolicy(),  # noqa: B008  # frozen
        allow_unknown: bool = False,
        operator: str = "engine",
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.account = require_type(account, Account, "an account of a ledger (ledger.account(...))")
        self.policy = require_type(policy, OrderPolicy, "an OrderPolicy")
        self.gateway = _order_gateway(gateway)
        self._random = random
        self._lock = RLock()
        self._process = os.getpid()
        self._may_send: set[str] = set()  # intents that this manager inserted, and did not send
        self._under_way: set[str] = set()  # intents that are being sent
        self._asked: set[str] = set()  # intents whose answer was waited for, or could not be: late once they are not under way
        self._pinged: tuple[int | None, RemoteService] | None = None  # the difference of the clocks, and what it stated
        self._asked_us = 0
        self._magic, self._magic_utc_msc = 0, 0  # the last number that is used, and up to when it was looked for
        self._limits: tuple[str | None, Limits] = (None, Limits())
        self._resolver = Resolver(account, self.gateway, policy)
        self._market = MarketReader(account, self.gateway)
        self._start(limits, operator, allow_unknown=allow_unknown)

    # ---- starting

    def _start(self, limits: Limits | None, operator: str, *, allow_unknown: bool) -> None:
        service = self._service(at_once=True)
        self._pin_first(service)
        for order in self._unanswered(is_start=True):
            self._asked.add(_client_id(order))  # whoever waited for its answer may be gone
            self._resolver.resolve_one(order)
        _, orders = self._current_orders()
        unknown = [one for one in self.orders(open_only=True) if one.is_unknown and one.kind is not OrderKind.STOPS]
        if unknown and not allow_unknown:
            ids = ", ".join(str(one.client_id) for one in unknown[:5])
            raise OrdersRefused(
                f"{self.account.name}: {len(unknown)} orders are unknown ({ids}): wait until they are found, decide "
                "(ledger order resolve), or start with allow_unknown=True, where only what reduces exposure is sent"
            )
        self._require_pinned(service, orders)
        if limits is not None:
            self._set_limits(limits, orders, operator)

    def _pin_first(self, service: RemoteService) -> None:
        """Pin the store of the first gateway that orders are sent through; any other one needs a person."""
        version, orders = self._current_orders()
        while orders.pinned_store is None:
            event = StorePinned(store=service.store, number=1, operator=None, reason="first use", time_msc=self._now_msc())
            if not self._append(event, version):
                version, orders = self._current_orders()
                continue
            return

    def _require_pinned(self, service: RemoteService, orders: Orders) -> None:
        if service.store != orders.pinned_store:
            raise OrdersRefused(
                f"{self.account.name}: orders are pinned to the gateway's store {orders.pinned_store}, found {service.store}: "
                "start the service with that store, or pin the new one (ledger gateway pin)"
            )

    def _set_limits(self, limits: Limits, orders: Orders, operator: str) -> None:
        rules = require_type(limits, Limits, "Limits").rules
        event = LimitsSet(rules=rules, operator=operator, reason="given to the order manager", time_msc=self._now_msc())
        if event.rules != orders.limits:
            self.account.record(event)

    # ---- asking

    def order(self, client_id: str) -> Order | None:
        """Return an order, None without one."""
        order = self._current_orders()[1].order(client_id, at_utc_msc=self._now_utc_msc())
        return None if order is None else self._as_known_here(order)

    def orders(self, *, open_only: bool = False) -> tuple[Order, ...]:
        """Return the orders, in the order in which they came up."""
        _, orders = self._current_orders()
        now = self._now_utc_msc()
        found = orders.open_orders(now) if open_only else orders.orders(at_utc_msc=now)
        return tuple(map(self._as_known_here, found))

    def find_order_by_ticket(self, ticket: int) -> Order | None:
        """Return the order of a broker's ticket, None without one."""
        order = self._current_orders()[1].by_ticket(ticket, at_utc_msc=self._now_utc_msc())
        return None if order is None else self._as_known_here(order)

    def get_local_positions(self) -> dict[int, Position]:
        """Return the open positions by position id."""
        return dict(self.account.portfolio.positions)

    def follow(self, *, after: int = 0, poll_seconds: float = 1.0, stop: StopSign | None = None) -> Iterator[Recorded]:
        """Yield events about orders and fills behind a version, each once and in order, and go on as others append.

        Arguments and errors as ``Ledger.follow``.
        """
        for one in self.account.follow(after=after, poll_seconds=poll_seconds, stop=stop):
            if is_order_or_fill(one.event):
                yield one

    def _as_known_here(self, order: Order) -> Order:
        """Return an order as unknown where its reply's deadline has passed in this process."""
        if order.state is OrderState.INTENDED and order.client_id in self._late:
            return evolve(order, state=OrderState.UNKNOWN, why="no answer within its deadline")
        return order

    # ---- ordering

    def check_risk(self, request: OrderRequest) -> Allowed | Denied:
        """Return whether an order request would pass all rules now. Nothing is recorded or sent.

        Raises:
            BadValue: It is no order request.
            JournalError: The journal cannot be read.
        """
        _, portfolio, orders = self._current()
        return self._decide(_named(_request(request), portfolio, orders), portfolio, orders)

    def create_order(self, request: OrderRequest, client_id: str | None = None) -> Order:
        """Record that an order request may be sent, once; or that our rules deny it. It is durable when this returns.

        Args:
            request: What is wanted.
            client_id: The engine's own id of it, 1 to 64 characters A-Z a-z 0-9 . _ -; made here without one. An id that is
                recorded already returns its order, which this call gives no right to send.

        Raises:
            BadValue: It is no order request, or no client id.
            OrderConflict: The client id is recorded for another order request.
            JournalError: Nothing was recorded, or it is not known whether it was: the order is not sent.
        """
        wanted = _request(request)
        name = self._new_id() if client_id is None else to_client_id(client_id)
        version = 0
        self._begin_in_fork()
        with self._lock:
            for _ in range(_TRIES):
                version, portfolio, orders = self._current()
                known = orders.order(name, at_utc_msc=self._now_utc_msc())
                if known is not None and known.request is not None:
                    _require_same(known, wanted, is_numbered=self.policy.magic_base is not None)
                    return self._as_known_here(known)
                event = self._judged(_named(wanted, portfolio, orders), name, version, portfolio, orders)
                if self._append(event, version):
                    if isinstance(event, OrderIntended):
                        self._may_send.add(name)
                    return self._recorded(name)
        raise VersionConflict(str(self.account.name), expected=version, found=self.account.version)

    def send_order(self, order: Order, timeout: float = TIMEOUT_SEC) -> Order:
        """Send an order that ``create_order`` recorded here, at most once, and return what is known of it afterwards.

        What was sent before, denied, or recorded by another process is not sent. An order whose answer does not come is
        UNKNOWN; ``resolve``, and each sync, find out what became of it.

        Args:
            order: What ``create_order`` returned.
            timeout: How long its answer is waited for, in seconds.

        Raises:
            BadValue: It is no order of ours.
            JournalError: The answer was not recorded. The order is resolved later.
        """
        client_id = _client_id(order)
        timeout_sec = to_amount(timeout, 0.001, "timeout")
        self._begin_in_fork()
        with self._lock:
            if client_id not in self._may_send:
                return self._recorded(client_id)
            self._may_send.discard(client_id)
            self._under_way.add(client_id)
            self._asked.add(client_id)
        try:
            self._send(client_id, timeout_sec)
        finally:
            with self._lock:
                self._under_way.discard(client_id)
        return self._recorded(client_id)

    def submit(self, request: OrderRequest, client_id: str | None = None, *, timeout: float = TIMEOUT_SEC) -> Order:
        """Check, record and send an order request. Arguments and errors as ``create_order`` and ``send_order``."""
        return self.send_order(self.create_order(request, client_id), timeout)

    def cancel(self, target: str | int, *, timeout: float = TIMEOUT_SEC) -> Order:
        """Cancel a pending order, by client id or ticket: a new intent, which is returned."""
        return self.submit(OrderRequest.cancel(target), timeout=timeout)

    def modify(self, target: str | int, *, timeout: float = TIMEOUT_SEC, **changes: Any) -> Order:
        """Change a pending order, by client id or ticket: a new intent, which is returned. See ``OrderRequest.modify``."""
        return self.submit(OrderRequest.modify(target, **changes), timeout=timeout)

    def on_fill(self, fill: FillRecorded) -> Outcome:
        """Record a fill that the engine heard of. Harmless where it is known."""
        return self.account.record(require_type(fill, FillRecorded, "a FillRecorded"))

    def resolve(self) -> None:
        """Find out what became of the orders whose answer is late, unknown, or was lost with an earlier process.

        What cannot be found out now stays as it is.

        Raises:
            JournalError: What was found was not recorded.
        """
        for order in self._unanswered():
            self._resolver.resolve_one(order)

    def refresh(self, client_id: str) -> Order:
        """Bring one order up to date with the broker: resolve it where nobody answered, and record its fills.

        Raises:
            BadValue: There is no such order.
            JournalError: What was found was not recorded.
        """
        if any(one.client_id == client_id for one in self._unanswered()):
            self._resolver.resolve_one(self._recorded(client_id))
        order = self._recorded(client_id)
        if order.is_open:
            self._resolver.book_fills(order, self.account.portfolio)
        return self._recorded(client_id)

    @property
    def hints(self) -> dict[str, tuple[int, ...]]:
        """Client ids of unknown orders -> tickets of broker orders that merely resemble them: for a person to look at."""
        return dict(self._resolver.hints)

    # ---- for asyncio

    async def create_order_async(self, request: OrderRequest, client_id: str | None = None) -> Order:
        """Record an order as ``create_order``, without blocking the event loop."""
        return await asyncio.to_thread(self.create_order, request, client_id)

    async def send_order_async(self, order: Order, timeout: float = TIMEOUT_SEC) -> Order:  # noqa: ASYNC109  # of the answer
        """Send an order as ``send_order``, without blocking the event loop. A task that is cancelled does not stop the send."""
        return await asyncio.to_thread(self.send_order, order, timeout)

    async def submit_async(
        self,
        request: OrderRequest,
        client_id: str | None = None,
        *,
        timeout: float = TIMEOUT_SEC,  # noqa: ASYNC109
    ) -> Order:
        """Check, record and send as ``submit``, without blocking the event loop."""
        return await asyncio.to_thread(self.submit, request, client_id, timeout=timeout)

    async def cancel_async(self, target: str | int, *, timeout: float = TIMEOUT_SEC) -> Order:  # noqa: ASYNC109
        """Cancel a pending order as ``cancel``, without blocking the event loop."""
        return await asyncio.to_thread(self.cancel, target, timeout=timeout)

    async def modify_async(self, target: str | int, *, timeout: float = TIMEOUT_SEC, **changes: Any) -> Order:  # noqa: ASYNC109
        """Change a pending order as ``modify``, without blocking the event loop."""
        return await asyncio.to_thread(partial(self.modify, target, timeout=timeout, **changes))

    async def resolve_async(self) -> None:
        """Resolve as ``resolve``, without blocking the event loop."""
        await asyncio.to_thread(self.resolve)

    async def check_risk_async(self, request: OrderRequest) -> Allowed | Denied:
        """Check as ``check_risk``, without blocking the event loop."""
        return await asyncio.to_thread(self.check_risk, request)

    async def follow_async(self, *, after: int = 0, poll_seconds: float = 1.0) -> AsyncGenerator[Recorded, None]:
        """Yield events as ``follow`` does, for ``async for``. It ends with its task."""
        async with aclosing(self.account.follow_async(after=after, poll_seconds=poll_seconds)) as events:
            async for one in events:
                if is_order_or_fill(one.event):
                    yield one

    # ---- deciding

    def _current(self) -> tuple[int, Portfolio, Orders]:
        """Return portfolio and orders of one version."""
        return self.account.current_with_orders()

    def _decide(self, request: OrderRequest, portfolio: Portfolio, orders: Orders) -> Allowed | Denied:
        denied = self._check_gateway(orders) or _check_target(request, orders)
        if denied is not None:
            return denied
        limits = self._limits_of(orders)
        market = self._market.read(limits, portfolio, orders, request, late=self._late)
        return check(limits, portfolio, orders, market, request)

    def _check_gateway(self, orders: Orders) -> Denied | None:
        """Return why nothing may be sent through this gateway now."""
        try:
            service = self._service()
        except GatewayError as error:
            return Denied(rule="gateway", limit="it answers", value="no answer", why=str(error))
        except OrdersRefused as error:  # it was started a moment ago, or it is another one than before
            return Denied(rule="gateway", limit="it takes orders of this account", value="it does not", why=str(error))
        if service.store != orders.pinned_store:
            return Denied(
                rule="store",
                limit=str(orders.pinned_store),
                value=service.store,
                why="the gateway has another store than orders are pinned to: pin the new one (ledger gateway pin)",
            )
        skew_msc = None if self._pinged is None else self._pinged[0]
        if skew_msc is None or abs(skew_msc) > _SKEW_MSC:
            return Denied(
                rule="clock",
                limit=f"{_SKEW_MSC} ms",
                value="unknown" if skew_msc is None else f"{skew_msc} ms",
                why="our clock and the gateway's differ: synchronise both machines (NTP)",
            )
        return None

    def _limits_of(self, orders: Orders) -> Limits:
        """Return the limits in force: those that were recorded last."""
        text = orders.limits
        if self._limits[0] != text:
            self._limits = text, Limits() if text is None else Limits.of_rules(text)
        return self._limits[1]

    def _judged(
        self, request: OrderRequest, client_id: str, version: int, portfolio: Portfolio, orders: Orders
    ) -> OrderIntended | OrderDenied:
        request = self._with_magic(request, orders)
        decision = self._decide(request, portfolio, orders)
        common: dict[str, Any] = {
            **request.fields,
            "client_id": client_id,
            "token": token_of(self.account.name, client_id),
            "time_msc": orders.terms.clock.from_utc_msc(self._now_utc_msc()),
            "limits": self._limits_of(orders).digest,
            "checked_version": version,
        }
        if isinstance(decision, Denied):
            return OrderDenied(
                **common, rule=decision.rule, why=decision.why, limit=_text(decision.limit), value=_text(decision.value)
            )
        until = self._now_utc_msc() + round(self.policy.valid_for_sec * 1000)
        return OrderIntended(**common, valid_until_utc_msc=until, store=orders.pinned_store)

    def _with_magic(self, request: OrderRequest, orders: Orders) -> OrderRequest:
        """Return a request with a magic number of its own, where that carries the client id."""
        base = self.policy.magic_base
        if base is None or request.kind not in (OrderKind.MARKET, OrderKind.PENDING):
            return request
        used = orders.intended_since(self._magic_utc_msc)
        magics = [one.request.magic for one in used if one.request is not None and one.request.magic is not None]
        newest = max((magic % MAGIC_SPAN for magic in magics if magic // MAGIC_SPAN == base), default=0)
        self._magic_utc_msc, self._magic = self._now_utc_msc(), max(self._magic, newest)
        number = self._magic + 1
        while orders.by_magic(base * MAGIC_SPAN + number):  # by a process whose clock is behind ours
            number += 1
        return evolve(request, magic=base * MAGIC_SPAN + number)

    # ---- sending

    def _begin_in_fork(self) -> None:
        """Give up, in a process that was forked, the right to send what its parent recorded: that one sends it."""
        if self._process != os.getpid():
            self._lock, self._process = RLock(), os.getpid()
            self._may_send, self._under_way = set(), set()

    def _send(self, client_id: str, timeout_sec: float) -> None:
        _, portfolio, orders = self._current()
        order = orders.order(client_id)
        assert order is not None, "it was recorded here"
        halted = why_halted(order, portfolio, orders)
        if halted is not None:  # since it was checked; the fence is what proves that it is never sent
            self._resolver.resolve_one(order, GatewayRefused("ORDER_SEND", code="HALTED", detail=halted, executed="never"))
            return
        target = target_ticket(order, orders) if order.kind in CHANGES else None
        message = to_message(self.account.name, order, target=target)
        try:
            answer = self.gateway.order_send(message, timeout_ms=max(1, round(timeout_sec * 1000)))
        except GatewayRefused as error:
            if error.executed == "never":  # of this message: it is fenced before anything is concluded
                self._resolver.resolve_one(order, error)
            return
        except GatewayError:
            self._resolver.resolve_one(order)
            return
        if answer.client_id != client_id or answer.verdict is None:
            return
        self._resolver.record_answer(order, answer)
        if answer.verdict is not Verdict.ACCEPTED:
            return
        if answer.deal and answer.order:
            self._resolver.book_fills(evolve(order, tickets=(answer.order,)), portfolio, Origin.ENGINE)
        self._resolver.look_at(target)

    @property
    def _late(self) -> frozenset[str]:
        """Client ids of intents that were sent here, or could not be, and whose answer is not waited for any more."""
        with self._lock:
            return frozenset(self._asked - self._under_way)

    def _unanswered(self, *, is_start: bool = False) -> list[Order]:
        """Return the orders to ask about: the unknown ones, and those whose answer is late here.

        At a start also those that an earlier process may have sent, or not: what is asked about is not sent any more.
        """
        _, orders = self._current_orders()
        open_now = orders.open_orders(self._now_utc_msc())
        with self._lock:
            ours = self._may_send | self._under_way
            for name in tuple(self._asked):  # by what is recorded of each now: one may have become late since
                known = orders.order(name)
                if known is not None and known.state is not OrderState.INTENDED:
                    self._asked.discard(name)
            late = self._late
        return [
            one
            for one in open_now
            if one.store is not None
            and one.client_id not in ours
            and (one.has_to_be_found or one.client_id in late or (is_start and one.state is OrderState.INTENDED))
        ]

    # ---- the rest

    def _service(self, *, at_once: bool = False) -> RemoteService:
        """Return what the gateway states of itself, asked a moment ago; note how far its clock is from ours.

        Raises:
            OrdersRefused: It takes no orders, or it is of another account.
            GatewayError: It does not answer.
        """
        now_us = self.account.ledger.now_us()
        if self._pinged is not None and not at_once and 0 <= now_us - self._asked_us < _PING_SEC * 1_000_000:
            return self._pinged[1]
        service = self.gateway.ping()
        after_us = self.account.ledger.now_us()
        _require_orders(self.account, service)
        assert service is not None
        stated = service.gateway_time_msc
        skew_msc = None if stated is None else stated - (now_us + after_us) // 2000
        self._asked_us, self._pinged = now_us, (skew_msc, service)
        return service

    def _current_orders(self) -> tuple[int, Orders]:
        return self.account.current_orders()

    def _recorded(self, client_id: str) -> Order:
        order = self.order(client_id)
        if order is None:
            raise BadValue(f"{self.account.name} has no order {client_id}: create_order records one")
        return order

    def _append(self, event: Event, version: int) -> bool:
        """Record an event that rests on a version; return False if another writer was faster."""
        try:
            return self.account.record(event, expected_version=version) is not Outcome.DUPLICATE
        except VersionConflict:
            return False

    def _new_id(self) -> str:
        return make_client_id(self._now_utc_msc(), self._random(10))

    def _now_utc_msc(self) -> int:
        return self.account.ledger.now_us() // 1000

    def _now_msc(self) -> int:
        return self.account.terms.clock.from_utc_msc(self._now_utc_msc())


def is_order_or_fill(event: Event) -> bool:
    """Return whether an event is about orders, or about a deal."""
    name = type(event).__name__
    return name in DEAL_KINDS or name in ORDER_KINDS


def _order_gateway(gateway: Gateway) -> OrderGateway:
    if not isinstance(gateway, OrderGateway):
        raise OrdersRefused(
            f"orders need a gateway of protocol version 2 (ledger gateway serve), found {type(gateway).__name__}, which cannot "
            "be asked twice about an order"
        )
    return gateway


def _require_orders(account: Account, service: RemoteService | None) -> None:
    """Refuse a gateway that orders are not safe with.

    Raises:
        OrdersRefused: It is one.
    """
    if service is None or service.protocol < _PROTOCOL or not service.can >= _NEEDED:
        found = "protocol version 1" if service is None else f"version {service.protocol}, {', '.join(sorted(service.can))}"
        raise OrdersRefused(
            "this gateway cannot be asked twice about an order: expected protocol version 2 with orders and fence, found "
            f"{found}. Run ledger gateway serve beside the terminal"
        )
    if service.login is None:
        raise OrdersRefused(f"{account.name}: the gateway does not know its terminal's account yet: start again in a moment")
    if (service.server, service.login) != (account.name.server, account.name.login):
        raise OrdersRefused(f"expected a gateway of account {account.name}, found one of {service.server}/{service.login}")


def _request(request: OrderRequest) -> OrderRequest:
    return require_type(request, OrderRequest, "an OrderRequest (OrderRequest.market(...))")


def _client_id(order: Order) -> str:
    client_id = require_type(order, Order, "an order as create_order returns it").client_id
    if client_id is None:
        raise BadValue(f"expected an order of ours, found the broker's order {shown(order.ticket)}")
    return client_id


def _named(request: OrderRequest, portfolio: Portfolio, orders: Orders) -> OrderRequest:
    """Return a request with the symbol that it is about, where the position or the order decides."""
    if request.symbol is not None:
        return request
    if request.position_id is not None:
        position = portfolio.positions.get(request.position_id)
        return evolve(request, symbol=None if position is None else position.symbol)
    target = _target(request, orders)
    return evolve(request, symbol=None if target is None else target.symbol)


def _target(request: OrderRequest, orders: Orders) -> Order | None:
    if request.target_client_id is not None:
        return orders.order(request.target_client_id)
    return None if request.target_order is None else orders.by_ticket(request.target_order)


def _check_target(request: OrderRequest, orders: Orders) -> Denied | None:
    """Return why the order that a request is about cannot be named to the broker."""
    if request.target_client_id is None:
        return None
    target = _target(request, orders)
    if target is not None and target.ticket is not None:
        return None
    return Denied(
        rule="target",
        limit="an order with a ticket",
        value=request.target_client_id,
        why=f"order {request.target_client_id} has no ticket yet: resolve it first, or name the broker's ticket",
    )


def _require_same(known: Order, wanted: OrderRequest, *, is_numbered: bool) -> None:
    """Refuse a client id that is recorded for another request.

    The record may have filled in a symbol that the request left open, and numbered it by a magic of its own.

    Raises:
        OrderConflict: It is.
    """
    assert known.request is not None
    differences = {
        name: (getattr(known.request, name), getattr(wanted, name))
        for name in FIELDS
        if getattr(known.request, name) != getattr(wanted, name)
        and not (name == "symbol" and wanted.symbol is None)
        and not (name == "magic" and is_numbered)
    }
    if differences:
        raise OrderConflict(f"order:{known.client_id}", differences)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
