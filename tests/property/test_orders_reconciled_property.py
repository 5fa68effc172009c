"""Whatever happens to orders, two syncs later our view is the broker's lists, and nothing is left to append."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import BreakClosed, OrderDenied, OrderResolved, TradingHalted
from ledger.reconcile.orders import seen_of
from tests.support.order_broker import CANCELED, EXPIRED, FILLED, OrderDesk, refused

_DONE = {CANCELED: "cancelled", FILLED: "filled", EXPIRED: "expired"}
_NUMBERS = st.integers(0, 4)
_OPS = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(("accepted", "unknown", "none", "lost"))),
    st.tuples(st.just("fill"), _NUMBERS, st.sampled_from(("0.3", "0.5", "1"))),
    st.tuples(st.sampled_from(("cancel", "expire", "hide", "appear")), _NUMBERS),
    st.tuples(st.just("change"), _NUMBERS, st.sampled_from(("9", "10", "11"))),
    st.tuples(st.just("stop"), _NUMBERS, st.sampled_from(("0", "8"))),
    st.tuples(st.sampled_from(("person", "restart", "sync", "sync", "fail", "again"))),
)


class Run:
    """Orders of ours and of a person at a broker, and what was done to them."""

    def __init__(self, foreign: str) -> None:
        self.desk = OrderDesk(foreign=foreign)
        self.desk.account.record(  # deals before the first event about an order are no order's
            OrderDenied(client_id="c-0", kind="cancel", target_order=1, rule="halted", why="halted", time_msc=self.desk.now())
        )
        self.number = 0
        self.tickets: list[int] = []

    def do(self, name: str, *arguments: Any) -> None:
        getattr(self, name)(*arguments)
        self.desk.watch.move(1)

    def submit(self, answer: str) -> None:
        self.number += 1
        client_id, ticket = f"c-{self.number}", 900 + self.number
        token = self.desk.intend(client_id)
        if answer != "lost":
            self.desk.broker.place(ticket, token=token)
            self.tickets.append(ticket)
        if answer in ("accepted", "unknown"):
            self.desk.answer(client_id, verdict=answer, order=ticket if answer == "accepted" else 0)

    def _active(self, number: int) -> int | None:
        found = sorted(self.desk.broker.active)
        return found[number % len(found)] if found else None

    def fill(self, number: int, part: str) -> None:
        ticket = self._active(number)
        if ticket is not None:
            left = self.desk.broker.active[ticket].volume_current
            self.desk.broker.fill(ticket, min(left, Decimal(part)))

    def cancel(self, number: int) -> None:
        ticket = self._active(number)
        if ticket is not None:
            self.desk.broker.finish(ticket, CANCELED)

    def expire(self, number: int) -> None:
        ticket = self._active(number)
        if ticket is not None:
            self.desk.broker.finish(ticket, EXPIRED)

    def change(self, number: int, price: str) -> None:
        ticket = self._active(number)
        if ticket is not None:
            self.desk.broker.change(ticket, price_open=Decimal(price))

    def stop(self, number: int, sl: str) -> None:
        held = [one.position_id for one in self.desk.broker._shown]
        if held:
            self.desk.broker.stops[held[number % len(held)]] = (Decimal(sl), Decimal(0))

    def hide(self, number: int) -> None:
        if self.tickets:
            self.desk.broker.hidden.add(self.tickets[number % len(self.tickets)])

    def appear(self, _: int) -> None:
        self.desk.broker.hidden.clear()

    def person(self) -> None:
        self.number += 1
        self.desk.broker.place(900 + self.number)

    def restart(self) -> None:
        self.desk.restarted()

    def sync(self) -> None:
        self.desk.sync()

    def again(self) -> None:
        """Sync twice: the second time nothing changed at the broker but what is being counted."""
        self.desk.sync()
        assert {one.kind for one in self.desk.sync().events} <= {"BreakOpened", "BreakClosed"}

    def fail(self) -> None:
        self.desk.broker.fail(refused(), on="active_orders", times=1)
        self.desk.sync()


@settings(max_examples=100)
@given(st.lists(_OPS, max_size=14), st.sampled_from(("adopt", "report", "ignore")))
def test_two_syncs_later_the_view_is_the_broker_s(ops, foreign):
    run = Run(foreign)
    desk, broker = run.desk, run.desk.broker
    for name, *arguments in ops:
        run.do(name, *arguments)
    broker.hidden.clear()
    broker.recover()
    desk.sync(2)
    for _ in range(2):
        assert desk.sync().appended == 0
        desk.restarted()
    orders = desk.orders
    shown = {ticket: row for ticket, row in broker.active.items() if foreign == "adopt" or ticket in run.tickets}
    assert orders.active == shown.keys()
    for ticket, row in shown.items():
        ours = orders.by_ticket(ticket)
        assert ours is not None
        assert orders.is_as_seen(seen_of(row, ours.client_id, 0, None))
        assert ours.filled == row.volume_initial - row.volume_current
        assert ours.state.value == ("partial" if ours.filled else "working")
    for ticket, row in broker.done.items():
        ours = orders.by_ticket(ticket)
        if ours is not None:
            assert (ours.state.value, ours.filled) == (_DONE[row.state], row.volume_initial - row.volume_current)
        elif ticket in run.tickets:  # nobody saw it: what became of it is for the manager to find out
            assert row.volume_initial == row.volume_current
            assert dict(desk.states)[f"c-{ticket - 900}"] in ("intended", "unknown")
    ends = {one.event.end.value for one in desk.log if isinstance(one.event, BreakClosed)}
    assert ends <= {"explained", "vanished"}
    assert all(one.kind.value == "order" and one.field == "orphan" for one in desk.account.portfolio.breaks)
    assert not any(isinstance(one.event, (TradingHalted, OrderResolved)) for one in desk.log)
    assert {one.position_id for one in broker._shown} == set(desk.account.portfolio.positions)
