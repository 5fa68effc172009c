"""A broker on paper that takes orders: a gateway with a store and a fence in memory, which does with each what a test defines.

``gateway.then("fill")`` decides about the next order. What it may do is listed in ``OUTCOMES``.
"""

# ruff: noqa: ARG002  # what an order manager does not ask is there for the interface
from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

import attrs

from ledger import AccountId, FillRecorded, GatewayRefused, GatewayTimeout, Ledger
from ledger.errors import GatewayError
from ledger.events.orders import OrderKind, PendingType, Verdict
from ledger.order_messages import (
    Lookup,
    OrderAnswer,
    OrderMessage,
    OrderStatus,
    RemoteCheck,
    RemoteOrder,
    RemoteOrders,
    RemoteTick,
    RequestState,
)
from ledger.reconciler import StateReconciler
from ledger.snapshot import RemotePosition, RemoteService, RemoteSymbol
from ledger.values import Entry, Side
from tests.support.broker import ACCOUNT, ScriptedGateway, Watch

#: What becomes of an order that is sent.
OUTCOMES: Final = {
    "fill": "executed and answered 10009",
    "accept": "accepted with 10009; its deals show up later (``settle``)",
    "reject": "refused, with what ``refusal`` has: 10016",
    "refuse": "the gateway refuses the message before it stores anything",
    "lost": "the message never arrives",
    "late": "the message arrives later (``deliver``)",
    "answer lost": "executed and answered, and the answer is lost",
    "timeout executed": "executed, and the terminal answers 10012",
    "timeout": "not executed, and the terminal answers 10012",
    "sending": "the terminal is still busy with it (``finish``)",
    "killed": "not executed, and the gateway dies in the call",
    "killed executed": "executed, and the gateway dies in the call",
    "duplicate": "executed under two tickets, and the answer is lost",
}
PRICE: Final = Decimal("1.10")
_PENDING: Final = {
    (PendingType.LIMIT, Side.BUY): 2, (PendingType.LIMIT, Side.SELL): 3, (PendingType.STOP, Side.BUY): 4,
    (PendingType.STOP, Side.SELL): 5, (PendingType.STOP_LIMIT, Side.BUY): 6, (PendingType.STOP_LIMIT, Side.SELL): 7,
}  # fmt: skip


class OrderingGateway(ScriptedGateway):
    """A scripted gateway that takes orders, of an account that hedges or nets.

    ``executions`` lists the client id of every execution; ``calls`` has every request.
    """

    def __init__(
        self, *, now_us: Callable[[], int], mode: str = "hedging", name: AccountId = ACCOUNT, store: str = "s1"
    ) -> None:
        super().__init__(extended=True, mode=mode, name=name, now_us=now_us)
        self.store = store
        self.epoch = 1
        self.can = frozenset({"orders", "push", "fence"})
        self.connected = True
        self.clock_ahead_msc = 0
        self.executions: list[str] = []
        self.keeps_comments = True
        self.looks_up = True
        self.refusal: dict[str, Any] = {"retcode": 10016}
        self.rows: dict[str, tuple[RequestState, OrderAnswer | None]] = {}
        self.active: dict[int, RemoteOrder] = {}
        self.past: dict[int, RemoteOrder] = {}
        self.specs = (
            RemoteSymbol(
                symbol="EURUSD", digits=5, volume_step=Decimal("0.01"), contract_size=Decimal(100_000), currency="USD"
            ),
        )
        self.price = PRICE
        self._outcomes: deque[str] = deque()
        self._positions: dict[int, RemotePosition] = {}
        self._hidden: list[FillRecorded] = []
        self._undelivered: list[OrderMessage] = []
        self._under_way: list[OrderMessage] = []
        self._messages: dict[str, OrderMessage] = {}
        self._ticket = 1000

    # ---- what the test defines

    def then(self, *outcomes: str) -> OrderingGateway:
        """Do this with the next orders."""
        assert OUTCOMES.keys() >= set(outcomes), outcomes
        self._outcomes.extend(outcomes)
        return self

    def deliver(self) -> OrderAnswer | None:
        """Let a message arrive that was late."""
        message = self._undelivered.pop(0)
        try:
            return self._arrive(message, "fill")
        except GatewayError:
            return None

    def finish(self, outcome: str = "fill") -> None:
        """Let the terminal come back from a call."""
        self._done(self._under_way.pop(0), outcome)

    def execute_late(self, client_id: str, volume: str | None = None, *, ticket: int | None = None) -> int:
        """Execute what was sent long ago, or some of it; returns its ticket. It is FILLED then, or CANCELED with a fill."""
        message = self._messages[client_id]
        assert message.side is not None
        assert message.volume is not None
        if ticket is None:
            self._ticket += 1
            ticket = self._ticket
            self.past[ticket] = self._order(message, ticket, 0 if message.side is Side.BUY else 1, 2, message.comment)
        part = message.volume if volume is None else Decimal(volume)
        self.past[ticket] = attrs.evolve(
            self.past[ticket], state=4 if part == message.volume else 2, volume_current=message.volume - part
        )
        self._book(self._deal(ticket, message.side, part, None))
        return ticket

    def restart(self) -> None:
        """Start the gateway again with the store that it has."""
        self.epoch += 1
        for client_id, (state, answer) in self.rows.items():
            if state is RequestState.SENDING:
                self.rows[client_id] = RequestState.UNRESOLVED, answer
        self._under_way.clear()

    def replace_store(self, store: str) -> None:
        """Start the gateway with an empty store."""
        self.store, self.rows = store, {}
        self.epoch += 1

    def settle(self) -> None:
        """Show the deals that were not shown yet."""
        for deal in self._hidden:
            self._book(deal)
        self._hidden.clear()

    def trade(self, side: Side, volume: str, *, position: int | None = None) -> int:
        """Let a person trade in the terminal; returns the position."""
        return self._execute(None, side, Decimal(volume), position)

    def fill_pending(self, ticket: int, volume: str | None = None) -> None:
        """Let the market reach a pending order, or some of its volume."""
        order = self.active[ticket]
        part = order.volume_current if volume is None else Decimal(volume)
        side = Side.SELL if order.type % 2 else Side.BUY
        self._book(self._deal(ticket, side, part, None))
        left = order.volume_current - part
        if left:
            self.active[ticket] = attrs.evolve(order, volume_current=left, state=3)
        else:
            self.end(ticket, state=4)

    def end(self, ticket: int, *, state: int) -> None:
        """Move an order from the active list to the history."""
        order = self.active.pop(ticket)
        current = Decimal(0) if state == 4 else order.volume_current
        self.past[ticket] = attrs.evolve(order, state=state, volume_current=current, time_done_msc=self.server_msc)

    # ---- a gateway that takes orders

    def ping(self) -> RemoteService:
        self._called("ping")
        return RemoteService(
            protocol=2, can=self.can, store=self.store, epoch=self.epoch, seq=0, login=self.name.login, server=self.name.server,
            connected=self.connected, trade_allowed=True, gateway_time_msc=self._now_us() // 1000 + self.clock_ahead_msc,
        )  # fmt: skip

    def order_send(self, message: OrderMessage, *, timeout_ms: int | None = None) -> OrderAnswer:
        self._called("order_send")
        outcome = self._outcomes.popleft() if self._outcomes else "fill"
        if outcome == "refuse":
            raise GatewayRefused("ORDER_SEND", code="BAD_REQUEST", detail="volume: off the step", executed="never")
        if outcome == "lost":
            raise GatewayTimeout("no answer to ORDER_SEND")
        if outcome == "late":
            self._undelivered.append(message)
            raise GatewayTimeout("no answer to ORDER_SEND")
        return self._arrive(message, outcome)

    def order_status(
        self, client_id: str, *, store: str, fence: bool, lookup: bool, timeout_ms: int | None = None
    ) -> OrderStatus:
        self._called("order_status")
        if store != self.store:
            raise GatewayRefused("ORDER_STATUS", code="WRONG_STORE", detail="another store", executed="unknown")
        state, answer = self.rows.get(client_id, (RequestState.NEVER, None))
        if state is RequestState.NEVER and fence:
            self.rows[client_id] = state, answer = RequestState.FENCED, None
        if answer is None:
            answer = OrderAnswer(client_id=client_id, state=state, raw=b"{}", store=self.store)
        found = None
        if lookup and self.looks_up and not self._under_way:
            orders = self._named((*self.active.values(), *self.past.values()))
            found = Lookup(
                from_msc=0, to_msc=self.server_msc, connected=self.connected, orders=orders, deals=tuple(self._deals.values()),
                rows=len(orders), server_time_msc=self.server_msc, login=self.name.login, server=self.name.server,
            )  # fmt: skip
        return OrderStatus(answer=attrs.evolve(answer, state=state), lookup=found)

    def active_orders(self) -> RemoteOrders:
        self._called("active_orders")
        return self._listed(self.active.values())

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> RemoteOrders:
        self._called("order_history")
        return self._listed(one for one in self.past.values() if order in (None, one.ticket))

    def tick(self, symbol: str) -> RemoteTick:
        self._called("tick")
        return RemoteTick(symbol=symbol, bid=self.price, ask=self.price, time_msc=self.server_msc, age_ms=10)

    def order_check(self, message: OrderMessage) -> RemoteCheck:
        self._called("order_check")
        return RemoteCheck(retcode=0, margin=Decimal(100), margin_free=Decimal(9900), margin_level=Decimal(10_000))

    # ---- parts

    def _listed(self, orders: Any) -> RemoteOrders:
        listed = self._named(orders)
        return RemoteOrders(
            orders=listed, raw=json.dumps([len(self.calls), *(one.ticket for one in listed)]).encode(), login=self.name.login,
            server=self.name.server, connected=self.connected, server_time_msc=self.server_msc,
        )  # fmt: skip

    def _named(self, orders: Iterable[RemoteOrder]) -> tuple[RemoteOrder, ...]:
        """Return orders with the client id of each whose token the store knows."""
        known = {one.token: client_id for client_id, one in self._messages.items() if client_id in self.rows}
        return tuple(attrs.evolve(one, client_id=known.get((one.comment or "")[:20])) for one in orders)

    def _arrive(self, message: OrderMessage, outcome: str) -> OrderAnswer:
        client_id = message.client_id
        state, answer = self.rows.get(client_id, (None, None))
        if state is RequestState.FENCED:
            raise GatewayRefused("ORDER_SEND", code="FENCED", detail="fenced", executed="never")
        if state is not None:
            return attrs.evolve(answer or self._answer(message, None), state=state, replayed=True)
        if message.store != self.store:
            raise GatewayRefused("ORDER_SEND", code="WRONG_STORE", detail="another store", executed="never")
        if message.valid_until_utc_msc < self._now_us() // 1000:
            raise GatewayRefused("ORDER_SEND", code="EXPIRED", detail="too late", executed="never")
        self.rows[client_id] = RequestState.SENDING, None
        self._messages[client_id] = message
        if outcome == "sending":
            self._under_way.append(message)
            return self._answer(message, None, state=RequestState.SENDING)
        return self._done(message, outcome)

    def _done(self, message: OrderMessage, outcome: str) -> OrderAnswer:
        client_id = message.client_id
        if outcome.startswith("killed"):
            if outcome == "killed executed":
                self._execute_message(message)
            self.rows[client_id] = RequestState.UNRESOLVED, None
            raise GatewayTimeout("no answer to ORDER_SEND")
        if outcome == "duplicate":
            self._execute_message(message)
            self._execute_message(message)
            self.rows[client_id] = RequestState.UNRESOLVED, None
            raise GatewayTimeout("no answer to ORDER_SEND")
        if outcome in ("timeout", "timeout executed"):
            if outcome == "timeout executed":
                self._execute_message(message)
            answer = self._answer(message, Verdict.UNKNOWN, state=RequestState.UNRESOLVED, retcode=10012)
        elif outcome == "reject":
            verdict = Verdict.UNKNOWN if self.refusal.get("order") else Verdict.REJECTED
            state = RequestState.UNRESOLVED if verdict is Verdict.UNKNOWN else RequestState.ANSWERED
            answer = self._answer(message, verdict, state=state, **self.refusal)
        else:
            answer = self._answer(message, Verdict.ACCEPTED, retcode=10009, **self._execute_message(message, outcome))
        self.rows[client_id] = answer.state, answer
        if outcome == "answer lost":
            raise GatewayTimeout("no answer to ORDER_SEND")
        return answer

    def _answer(
        self, message: OrderMessage, verdict: Verdict | None, *, state: RequestState = RequestState.ANSWERED, **fields: Any
    ) -> OrderAnswer:
        given: dict[str, Any] = {"order": 0, "deal": 0, "volume": Decimal(0), **fields}
        raw = json.dumps({"client_id": message.client_id, "state": state.value, **given}, default=str).encode()
        return OrderAnswer(
            client_id=message.client_id, state=state, raw=raw, verdict=verdict, store=self.store,
            sent_utc_msc=self._now_us() // 1000, **given,
        )  # fmt: skip

    def _execute_message(self, message: OrderMessage, outcome: str = "fill") -> dict[str, Any]:
        self.executions.append(message.client_id)
        self._ticket += 1
        ticket = self._ticket
        comment = message.comment if self.keeps_comments else None
        match message.kind:
            case OrderKind.CANCEL:
                assert message.order is not None
                self.end(message.order, state=2)
                return {"order": message.order}
            case OrderKind.MODIFY:
                assert message.order is not None
                price = message.price or self.active[message.order].price_open
                self.active[message.order] = attrs.evolve(self.active[message.order], price_open=price)
                return {"order": message.order}
            case OrderKind.STOPS:
                assert message.position_id is not None
                self._positions[message.position_id] = attrs.evolve(
                    self._positions[message.position_id], sl=message.sl, tp=message.tp
                )
                self.show_rows(self._positions.values())
                return {}
            case OrderKind.PENDING:
                assert message.side is not None
                assert message.type is not None
                self.active[ticket] = self._order(message, ticket, _PENDING[message.type, message.side], 1, comment)
                return {"order": ticket}
        position = self._positions.get(message.position_id or 0)
        side = message.side or (position.side.opposite if position is not None else Side.BUY)
        volume = message.volume or (position.volume if position is not None else Decimal(0))
        self.past[ticket] = self._order(message, ticket, 1 if side is Side.SELL else 0, 4, comment, volume=volume)
        deal = self._deal(ticket, side, volume, message.position_id)
        if outcome == "accept":
            self._hidden.append(deal)
            return {"order": ticket}
        self._book(deal)
        return {"order": ticket, "deal": deal.deal, "volume": volume, "price": deal.price}

    def _order(
        self, message: OrderMessage, ticket: int, code: int, state: int, comment: str | None, volume: Decimal | None = None
    ) -> RemoteOrder:
        lots = volume or message.volume or Decimal(0)
        return RemoteOrder(
            ticket=ticket, symbol=message.symbol or "EURUSD", type=code, state=state, volume_initial=lots,
            volume_current=Decimal(0) if state == 4 else lots, time_setup_msc=self.server_msc, magic=message.magic,
            price_open=message.price or self.price, sl=message.sl, tp=message.tp, comment=comment,
        )  # fmt: skip

    def _execute(self, ticket: int | None, side: Side, volume: Decimal, position: int | None) -> int:
        self._ticket += 1
        deal = self._deal(ticket or self._ticket, side, volume, position)
        self._book(deal)
        assert deal.position_id is not None
        return deal.position_id

    def _deal(self, ticket: int, side: Side, volume: Decimal, position: int | None) -> FillRecorded:
        if self.mode.nets:
            position = next(iter(self._positions), None)
        held = self._positions.get(position or 0)
        entry = Entry.IN if held is None or held.side is side else Entry.OUT
        return FillRecorded(
            deal=ticket + 100_000 + len(self._deals) + len(self._hidden), symbol="EURUSD", side=side, entry=entry,
            volume=volume,
            price=self.price, time_msc=self.server_msc, order=ticket, position_id=ticket if held is None else position,
            commission=Decimal(0), fee=Decimal(0), swap=Decimal(0), profit=Decimal(0), magic=0,
        )  # fmt: skip

    def _book(self, deal: FillRecorded) -> None:
        self.report(deal)
        assert deal.position_id is not None
        held = self._positions.get(deal.position_id)
        if held is None:
            self._positions[deal.position_id] = RemotePosition(
                position_id=deal.position_id, ticket=deal.position_id, symbol=deal.symbol, side=deal.side, volume=deal.volume,
                price_open=deal.price, opened_msc=deal.time_msc, updated_msc=deal.time_msc, magic=deal.magic,
            )  # fmt: skip
        else:
            sign = 1 if held.side is deal.side else -1
            left = held.volume + sign * deal.volume
            if left:
                self._positions[deal.position_id] = attrs.evolve(held, volume=left, updated_msc=deal.time_msc)
            else:
                del self._positions[deal.position_id]
        self.show_rows(self._positions.values())


class OrderDesk:
    """An open account with a gateway that takes orders, in agreement and verified."""

    def __init__(
        self,
        mode: str = "hedging",
        url: str = "memory://",
        *,
        gateway: OrderingGateway | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.watch = watch or Watch()
        self.ledger = (Ledger.open if url == "memory://" or gateway else Ledger.create)(url, now_us=self.watch)
        self.gateway = gateway or OrderingGateway(now_us=self.watch, mode=mode)
        self.account = self.ledger.account(ACCOUNT)
        self.account.open(currency="USD", mode=mode)
        self.reconciler = StateReconciler(self.account, self.gateway, monotonic=self.watch.monotonic, sleep=self.watch.sleep)
        self.sync()

    def sync(self, times: int = 1) -> None:
        """Sync, some seconds after the last time."""
        for _ in range(times):
            self.watch.move(15)
            self.reconciler.sync_positions()

    @property
    def net(self) -> Decimal:
        """What the ledger has, in lots, buys positive."""
        positions = self.account.portfolio.positions.values()
        return sum((one.volume if one.side is Side.BUY else -one.volume for one in positions), Decimal(0))
