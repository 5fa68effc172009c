"""No order is sent or executed twice, whatever dies, is lost, repeated, late or unknown; and without one of the rules it is.

A state machine over the product: order managers and reconcilers of two engines on one journal, the service's orders with their
store on disk, and the terminal that calls the package; see ``tests.support.order_wire``. The properties are those of the model
of the order path:

* P1: a client id is executed at most once, and ``order_send`` is entered for it at most once.
* P2: what the ledger has as rejected is never executed.
* P3: an order request is executed at most once over all its client ids, unless one was presumed absent.
* R1: an intent leaves the engines once.
* At the end everything that was executed is reported: the portfolio is the broker's, and each order has its fills.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest import mock

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ledger import CarrierProven, GatewayError, GatewayRefused, Ledger, OrderAnswered, OrderIntended
from ledger.events import Event
from ledger.events.orders import Carrier, OrderKind, Verdict
from ledger.gateway.serve.orders import Orders as ServedOrders
from ledger.gateway.serve.orders import Reply
from ledger.journal import Journal
from ledger.order_manager import Allowed, Denied, OrderManager, OrderRequest
from ledger.order_manager.messages import to_message
from ledger.order_messages import OrderMessage
from ledger.orders.states import OrderState
from ledger.orders.view import Order, Orders
from ledger.portfolio import Portfolio
from ledger.postings import NO_DEAL, Posting
from ledger.protocol.messages import AskOrderStatus, Refusal, Row
from tests.support.broker import Watch
from tests.support.journals import new_url, open_journal
from tests.support.machine import SharedJournal
from tests.support.order_wire import ACCOUNT, CALLS, GOOD, MESSAGES, REPLIES, Broker, Engine, Fate, Network, Service

ENGINES: Final = st.sampled_from([0, 1])
WHICH: Final = st.integers(0, 5)
SECONDS: Final = st.sampled_from([0, 1, 6, 100])
#: Half of what is sent meets with nothing, so that there are orders to lose and positions to close.
FATES: Final = st.just(GOOD) | st.builds(Fate, st.sampled_from(MESSAGES), st.sampled_from(CALLS), st.sampled_from(REPLIES))
STATUS_FATES: Final = st.just(GOOD) | st.builds(Fate, st.sampled_from(MESSAGES), reply=st.sampled_from(REPLIES))
READ_FATES: Final = st.builds(Fate, st.sampled_from(("arrives", "arrives", "is lost")))
DIES_AT: Final = st.sampled_from([None, None, None, None, None, 0, 1, 2, 3, 4, 5])
REQUESTS: Final = {
    "buy": OrderRequest.market("EURUSD", "buy", "0.1"),
    "sell": OrderRequest.market("USDJPY", "sell", "0.2"),
    "pending": OrderRequest.pending("EURUSD", "buy", "0.1", price="0.50000", type="limit"),
}
ENGINE_DOES: Final = (
    "orders", "orders again", "orders again", "orders again", "closes", "cancels", "orders under a known id", "resolves",
    "syncs", "dies",
)  # fmt: skip
EVENTS: Final = (
    "a held message arrives", "a held message arrives", "a held message is repeated", "a held message is lost",
    "the call returns", "the gateway dies", "a late request is delivered", "time passes", "it is looked for for minutes",
)  # fmt: skip
#: What becomes of a call that returns.
DONE: Final = tuple(call for call in CALLS if not call.startswith(("dies", "is busy")))
WHATS: Final = st.sampled_from(sorted(REQUESTS))
#: The terminal is still busy with an order when its answer is due.
BUSY: Final = Fate(call="is busy")
#: Answers after which an order counts as proven not executed.
_PROVEN: Final = frozenset({Verdict.REJECTED, Verdict.NOT_SENT, Verdict.EXPIRED, Verdict.FENCED})
#: What an engine does not order again: it was executed, or may be by somebody who has not given it up.
_GOING_ON: Final = frozenset({
    OrderState.INTENDED, OrderState.WORKING, OrderState.PARTIAL, OrderState.CHANGING, OrderState.CANCELLING, OrderState.FILLED,
    OrderState.CANCELLED, OrderState.EXPIRED,
})  # fmt: skip


class OrdersMachine(RuleBasedStateMachine):
    """What engines, the wire, the gateway, its terminal and the broker do to orders. A class per journal and margin mode."""

    mode: ClassVar[str] = "hedging"
    kind: ClassVar[str] = "memory"
    manager: ClassVar[type[OrderManager]] = OrderManager
    service_class: ClassVar[type[Service]] = Service

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.watch = Watch()
        self.broker = Broker(self.watch, self.mode)
        self.service = self.service_class(folder / "gateway.db", self.watch, self.broker)
        self.network = Network(self.service)
        opened = self.opener(folder)
        self.engines = [Engine(name, opened, self.watch, self.network, self.manager) for name in ("a", "b")]
        self.observer = Ledger(opened(self.watch), self.watch).account(ACCOUNT)
        self.signals: list[tuple[OrderRequest, list[str]]] = []  # what is wanted, and the client ids that it was ordered under
        self.intended: set[str] = set()
        self.rejected: set[str] = set()
        self.absent: set[str] = set()
        self.is_broken = False

    def opener(self, folder: Path) -> Callable[[Callable[[], int]], Journal]:
        if self.kind == "memory":
            return SharedJournal()
        return partial(open_journal, new_url(self.kind, folder))

    @initialize(is_carrier_proven=st.booleans(), first=st.lists(st.tuples(ENGINES, WHATS, FATES), min_size=1, max_size=3))
    def begin(self, is_carrier_proven: bool, first: list[tuple[int, str, Fate]]) -> None:
        self.observer.open(currency="USD", mode=self.mode)
        if is_carrier_proven:
            self.observer.record(CarrierProven(kind=Carrier.COMMENT, ticket=1, time_msc=self.watch.now_us // 1000))
        for engine in self.engines:
            engine.run(lambda _: None)
            self.sync(engine)
        for number, what, fate in first:
            self.an_engine("orders", number, what=what, fate=fate)

    # ---- what engines do

    @rule(
        does=st.sampled_from(ENGINE_DOES), engine=ENGINES, which=WHICH, what=WHATS, fate=FATES, statuses=STATUS_FATES,
        reads=READ_FATES, dies_at=DIES_AT,
    )  # fmt: skip
    def an_engine(
        self, does: str, engine: int, which: int = 0, what: str = "buy", fate: Fate = GOOD, statuses: Fate = GOOD,
        reads: Fate = GOOD, dies_at: int | None = None,
    ) -> None:  # fmt: skip
        one = self.engines[engine]
        match does:
            case "orders":
                self.signals.append((REQUESTS[what], []))
                self.order(engine, -1, fate, statuses, dies_at)
            case "orders again":
                self.order(engine, which % len(self.signals), fate, statuses, dies_at)
            case "closes" | "cancels":
                wanted = one.run(closes if does == "closes" else cancels) or []
                wanted = [request for request in wanted if all(request != known for known, _ in self.signals)]
                if wanted:
                    self.signals.append((wanted[which % len(wanted)], []))
                    self.order(engine, -1, fate, statuses, dies_at)
            case "orders under a known id":
                request, ids = self.signals[which % len(self.signals)]
                if ids:
                    one.run(lambda manager: manager.submit(request, ids[-1]))
            case "dies":
                one.die()
            case "resolves" | "syncs":
                self.network.statuses, self.network.reads = statuses, reads
                if does == "syncs":
                    self.sync(one, dies_at)
                else:
                    one.run(OrderManager.resolve, dies_at=dies_at)
        self.network.heal()

    def order(self, engine: int, which: int, fate: Fate, statuses: Fate, dies_at: int | None) -> None:
        """Let an engine order what is wanted, unless it was executed, or is under way."""
        request, ids = self.signals[which]

        def submit(manager: OrderManager) -> None:
            earlier = [order for order in map(manager.order, ids) if order is not None]
            if any(order.state in _GOING_ON for order in earlier):
                return
            client_id = f"{which % len(self.signals)}-{len(ids) + 1}"
            ids.append(client_id)
            self.network.orders, self.network.statuses = fate, statuses
            manager.submit(request, client_id)

        self.engines[engine].run(submit, dies_at=dies_at)
        self.network.heal()

    def sync(self, engine: Engine, dies_at: int | None = None) -> None:
        self.watch.move(15)
        engine.run(lambda _: engine.reconciler.sync_positions(), dies_at=dies_at)

    # ---- what happens to messages, calls and time

    @rule(happens=st.sampled_from(EVENTS), which=WHICH, call=st.sampled_from(CALLS), seconds=SECONDS, engine=ENGINES)
    def it_happens(self, happens: str, which: int = 0, call: str = "executes", seconds: int = 0, engine: int = 0) -> None:
        held, is_busy = self.network.held, not self.service.link.is_ready
        match happens:
            case "a held message arrives" if held:
                self.network.arrive(held.pop(which % len(held)), [], call)
            case "a held message is repeated" if held:
                self.network.arrive(held[which % len(held)], [], call)
            case "a held message is lost" if held:
                held.pop(which % len(held))
            case "the call returns" if is_busy and call in DONE:
                self.network.finish(call)
            case "the gateway dies":
                self.service.die(call)
            case "a late request is delivered" if self.service.late and not is_busy:
                self.service.deliver_late(which)
            case "time passes":
                self.watch.move(seconds)
            case "it is looked for for minutes":  # as the rule of absence needs it
                for _ in range(4):
                    self.watch.move(100)
                    self.engines[engine].run(OrderManager.resolve)

    # ---- what holds

    @invariant()
    def nothing_is_sent_or_executed_twice(self) -> None:
        self.look()
        executed = self.broker.executed
        self.holds(max(self.service.entered.values(), default=0) <= 1, "P1", "order_send was entered twice")
        self.holds(max(executed.values(), default=0) <= 1, "P1", "an order was executed twice")
        self.holds(not any(executed[client_id] for client_id in self.rejected), "P2", "a rejected order was executed")
        for request, ids in self.signals:
            is_presumed = not self.absent.isdisjoint(ids)
            self.holds(is_presumed or sum(executed[one] for one in ids) <= 1, "P3", f"executed twice: {request}")
        self.holds(self.network.sent.keys() <= self.intended, "R1", "what was not recorded was sent")
        self.holds(all(len(names) == 1 for names in self.network.sent.values()), "R1", "an intent left the engines twice")

    def look(self) -> None:
        """Note what the ledger has, and what it concluded."""
        if self.observer.version:
            for order in self.orders():
                if order.store is not None:
                    self.intended.add(str(order.client_id))
                if order.state is OrderState.REJECTED or order.verdict in _PROVEN:
                    self.rejected.add(str(order.client_id))
                if order.state is OrderState.ABSENT:
                    self.absent.add(str(order.client_id))

    def orders(self) -> tuple[Order, ...]:
        return self.observer.current_orders()[1].orders(at_utc_msc=self.watch.now_us // 1000)

    def holds(self, condition: bool, name: str, why: str) -> None:
        if not condition:
            self.is_broken = True
            raise AssertionError(f"{name}: {why}")

    # ---- the end

    def teardown(self) -> None:
        try:
            if self.signals and not self.is_broken:
                self.all_is_well_again()
                self.everything_is_reported()
        finally:
            for engine in self.engines:
                engine.die()
            self.service.stop()
            self.observer.ledger.close()
            self._folder.cleanup()

    def all_is_well_again(self) -> None:
        """Whatever is under way arrives, and both engines start again and look."""
        if not self.service.link.is_ready:
            self.network.finish("executes")
        while self.network.held:
            self.network.arrive(self.network.held.pop(), [], "executes")
        while self.service.late:
            self.service.deliver_late(0)
        self.watch.move(10)
        for engine in self.engines:
            engine.die()
            for _ in range(4):
                self.sync(engine)
                self.watch.move(100)
        self.nothing_is_sent_or_executed_twice()

    def everything_is_reported(self) -> None:
        portfolio = self.observer.portfolio.positions
        shown = {one.position_id: (one.symbol, one.side, one.volume) for one in self.broker.fake.terminal.open_positions()}
        found = {key: (one.symbol, one.side, one.volume) for key, one in portfolio.items()}
        assert found == shown, "the portfolio is the broker's"
        orders = {str(order.client_id): order for order in self.orders() if order.client_id is not None}
        states = {client_id: order.state for client_id, order in orders.items()}
        for client_id, times in self.broker.executed.items():
            order = orders[client_id]
            is_filled = order.filled == self.volume_of(order) and order.state is OrderState.FILLED
            is_known = is_filled if order.kind in (OrderKind.MARKET, OrderKind.CLOSE) else order.state not in _UNDECIDED
            assert not times or is_known, (client_id, order)
        assert OrderState.INTENDED not in states.values(), states

    def volume_of(self, order: Order) -> Decimal | None:
        """Return what an order that was executed came to: what a close names no volume for, its deals do."""
        if order.volume is not None:
            return order.volume
        deals = [row for row in self.broker.fake.terminal.deals() if row["order"] in order.tickets]
        return sum((Decimal(str(round(row["volume"], 2))) for row in deals), Decimal(0))


def closes(manager: OrderManager) -> list[OrderRequest]:
    return [OrderRequest.close(position) for position in sorted(manager.get_local_positions())]


def cancels(manager: OrderManager) -> list[OrderRequest]:
    pending = [one for one in manager.orders(open_only=True) if one.kind is OrderKind.PENDING and one.ticket]
    return [OrderRequest.cancel(str(one.client_id)) for one in pending]


_UNDECIDED: Final = frozenset({OrderState.INTENDED, OrderState.UNKNOWN, OrderState.REJECTED, OrderState.DENIED})


def case(**parts: Any) -> type[OrdersMachine]:
    """Return a machine with other parts."""
    return type("Case", (OrdersMachine,), parts)


def run(machine: type[OrdersMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), database=None,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "kind", "examples"), [("hedging", "memory", 40), ("netting", "memory", 30), ("hedging", "sqlite", 8)]
)
def test_no_order_is_sent_twice_and_everything_executed_is_reported(mode, kind, examples):
    run(case(mode=mode, kind=kind), examples, 25)


# ------------------------------------------------------------------------------------------------- without one of the rules


class SendsWhatIsKnown(OrderManager):
    """R1 is missing: an intent that another call has recorded gives the right to send it, too."""

    def create_order(self, request: OrderRequest, client_id: str | None = None) -> Order:
        order = super().create_order(request, client_id)
        if order.state is OrderState.INTENDED:
            self._may_send.add(str(order.client_id))
        return order


class SendsFirst(OrderManager):
    """R1 is missing: an order is sent before its intent is durable."""

    def _append(self, event: Event, version: int) -> bool:
        if isinstance(event, OrderIntended):
            with suppress(GatewayError):
                self.gateway.order_send(message_of(self, event))
        return super()._append(event, version)


class Forgets(Service):
    """R2 is missing: the store forgets what it has answered, and a second message for an id is sent again."""

    class orders_class(ServedOrders):  # noqa: N801  # as it is called in the class above
        def take(self, message: OrderMessage, reply: Reply) -> None:
            database = self.host.store._database
            database.execute("DELETE FROM requests WHERE client_id = ? AND state = 'answered'", (message.client_id,))
            super().take(message, reply)


class FencesNothing(Service):
    """R3 is missing: asking about an id that was never seen writes nothing, and "never" is read as proof."""

    class orders_class(ServedOrders):  # noqa: N801
        def _look_up_store(self, query: AskOrderStatus) -> Row | Refusal:
            found = super()._look_up_store(attrs.evolve(query, fence=False))
            return {**found, "state": "fenced"} if isinstance(found, dict) and found["state"] == "never" else found


class IsNotBlocked(OrderManager):
    """R4 is missing: an order of which nobody knows whether it was executed blocks nothing."""

    def _decide(self, request: OrderRequest, portfolio: Portfolio, orders: Orders) -> Allowed | Denied:
        decision = super()._decide(request, portfolio, orders)
        return Allowed() if isinstance(decision, Denied) and decision.rule == "unknown_orders" else decision


class ReadsATimeoutAsRejected(OrderManager):
    """R4 is missing: an answer that does not come in time is read as a rejection."""

    def _send(self, client_id: str, timeout_sec: float) -> None:
        resolve_one = self._resolver.resolve_one

        def reject(order: Order, refusal: GatewayRefused | None = None) -> None:
            now_msc = self.account.ledger.now_us() // 1000
            self.account.record(OrderAnswered(client_id=client_id, verdict=Verdict.REJECTED, time_msc=now_msc))
            resolve_one(order, refusal)

        with mock.patch.object(self._resolver, "resolve_one", reject):
            super()._send(client_id, timeout_sec)


def message_of(manager: OrderManager, event: OrderIntended) -> OrderMessage:
    """Return an intent that is not recorded yet as it would go to the gateway."""
    orders = Orders(manager.account.terms)
    row = Posting._make([None] * len(Posting._fields))._replace(kind="OrderIntended", version=1, deal=NO_DEAL)
    orders.fold([row._replace(time_msc=event.time_msc)], lambda _: event)
    order = orders.order(event.client_id)
    assert order is not None
    return to_message(ACCOUNT, order, target=None)


@attrs.frozen
class Story:
    """What a rule is there for: the parts of a machine without it, what becomes of a first order, and then.

    Attributes:
        parts: The machine's parts that lack the rule.
        first: What becomes of an order to buy.
        then: What happens afterwards.
        broken: What breaks without the rule.
    """

    parts: dict[str, Any]
    first: Fate
    then: Callable[[OrdersMachine], object]
    broken: str


def a_copy_arrives(machine: OrdersMachine) -> None:
    machine.it_happens("a held message arrives")


def another_engine_has_its_id(machine: OrdersMachine) -> None:
    machine.an_engine("orders under a known id", engine=1)


def it_is_ordered_again(machine: OrdersMachine) -> None:
    machine.it_happens("the call returns", call="unknown-executed")
    machine.an_engine("orders again", engine=0)


STORIES: Final = {
    "R1, of another engine": Story({"manager": SendsWhatIsKnown}, BUSY, another_engine_has_its_id, "R1"),
    "R1, before it is durable": Story({"manager": SendsFirst}, GOOD, lambda _: None, "R1"),
    "R2": Story({"service_class": Forgets}, Fate("is repeated"), a_copy_arrives, "P1"),
    "R3": Story({"service_class": FencesNothing}, Fate("is held"), a_copy_arrives, "P2"),
    "R4, unknown": Story({"manager": IsNotBlocked}, Fate(call="unknown-executed"), it_is_ordered_again, "P3"),
    "R4, late": Story({"manager": IsNotBlocked}, BUSY, it_is_ordered_again, "P3"),
    "R4, timeout": Story({"manager": ReadsATimeoutAsRejected}, Fate(reply="is lost"), lambda _: None, "P2"),
}


def play(story: Story, **parts: Any) -> None:
    """Let a story happen to a machine, and look at what holds."""
    machine = case(**parts)()
    try:
        machine.begin(is_carrier_proven=True, first=[(0, "buy", story.first)])
        story.then(machine)
        machine.nothing_is_sent_or_executed_twice()
    finally:
        machine.teardown()


@pytest.mark.parametrize("rule", STORIES)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_without_one_of_the_rules_an_order_is_sent_or_executed_twice(rule, kind):
    story = STORIES[rule]
    play(story, kind=kind)
    with pytest.raises(AssertionError, match=f"^{story.broken}: "):
        play(story, kind=kind, **story.parts)


def test_a_chance_run_finds_that_an_unknown_order_blocks_nothing():
    with pytest.raises(AssertionError, match=r"^P3: "):
        run(case(manager=IsNotBlocked), 200, 25)
