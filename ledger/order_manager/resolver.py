"""Finding out what became of orders that nobody answered: asking the gateway's store, then the broker's lists.

What was recorded is asked about with a fence, so that a message that was never seen is refused for good. The same code runs
when an engine starts, when a reply is late, and with each sync.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import RLock
from typing import Final

import attrs

from ledger.errors import DealConflict, GatewayError, GatewayRefused, OrderConflict
from ledger.events import Deal, Event, FillRecorded, Origin
from ledger.events.orders import (
    HaltMode,
    HaltScope,
    OrderBasis,
    OrderKind,
    OrderOutcome,
    OrderResolved,
    TradingHalted,
    Verdict,
)
from ledger.gateway import OrderGateway
from ledger.order_manager.messages import outcome_of, to_answered
from ledger.order_messages import Lookup, OrderAnswer, OrderStatus, RemoteOrder, RemoteOrders, RequestState
from ledger.orders.policy import OrderPolicy
from ledger.orders.resolve import Agreement, Found, NotFound, cannot_be, is_absent, match, outcome_of_change, target_ticket
from ledger.orders.states import CHANGES, OPEN_QUESTION, WITHOUT_FILLS
from ledger.orders.view import Order
from ledger.portfolio import Portfolio
from ledger.reconcile.orders import seen_of
from ledger.reconcile.validate import require_identity
from ledger.service import Account
from ledger.snapshot import evidence_of
from ledger.text import visible

_logger: Final = logging.getLogger("ledger.orders")
#: Around the moment at which an order was sent, this much of the broker's history is searched, by a wrong clock too.
_BEFORE_MSC: Final = 60_000
_AFTER_MSC: Final = 86_400_000
_CONFLICT: Final = "CLIENT_ID_CONFLICT"


class Resolver:
    """Finds out what became of the orders of one account. Safe to use from several threads."""

    def __init__(self, account: Account, gateway: OrderGateway, policy: OrderPolicy) -> None:
        self._account = account
        self._gateway = gateway
        self._policy = policy
        self._lock = RLock()
        self._agreements: dict[str, list[Agreement]] = {}
        #: Client id -> tickets of orders that merely resemble it, of the last lookup.
        self.hints: dict[str, tuple[int, ...]] = {}

    def resolve(self) -> None:
        """Ask about every unknown order, and record what is found. For a process that sends no orders itself.

        Raises:
            JournalError: What was found was not recorded.
        """
        _, orders = self._account.current_orders()
        for order in orders.open_orders(self._now_utc_msc()):
            if order.has_to_be_found and order.store is not None:
                self.resolve_one(order)

    def resolve_one(self, order: Order, refusal: GatewayRefused | None = None) -> None:
        """Ask about one order, and record what is found. What cannot be found out now changes nothing.

        Args:
            order: One of ours, with the store that it is pinned to.
            refusal: What the gateway refused its message with, where it did.

        Raises:
            JournalError: What was found was not recorded.
        """
        assert order.client_id is not None, "it is ours"
        assert order.store is not None, "it is an intent"
        with self._lock:
            if refusal is not None and refusal.code == _CONFLICT:
                self._record_conflict(order, refusal)
                return
            try:
                epoch = self._epoch()
                status = self._gateway.order_status(order.client_id, store=order.store, fence=True, lookup=True)
            except GatewayRefused as error:
                self._note_refusal(order, error)
            except GatewayError as error:
                self._note(order, str(error))
            else:
                self._take(order, status, epoch, refusal)

    def _epoch(self) -> int:
        service = self._gateway.ping()
        return 0 if service is None else service.epoch

    def _take(self, order: Order, status: OrderStatus, epoch: int, refusal: GatewayRefused | None) -> None:
        answer = status.answer
        if answer.client_id != order.client_id:
            self._note(order, f"the answer is about {answer.client_id}")
            return
        lookup = self._of_this_account(order, status.lookup)
        match answer.state:
            case RequestState.ANSWERED:
                if _is_of_another(order, answer, lookup):
                    self._note(order, f"its answer names order {answer.order}, which cannot be it")
                    return
                self.record_answer(order, answer)
                if lookup is not None and order.kind not in WITHOUT_FILLS:
                    self._note_found(self._known(order), lookup, answer.raw)
            case RequestState.FENCED:
                if lookup is None or order.kind in WITHOUT_FILLS or not self._note_found(order, lookup, answer.raw):
                    self._record_fenced(order, answer, refusal)
            case RequestState.UNRESOLVED:
                if order.verdict is None and answer.verdict is not None:
                    self._record([to_answered(answer, answer.verdict, time_msc=self._now_msc())], answer.raw)
                if order.kind in CHANGES:
                    self._look_at_target(self._known(order), answer, epoch)
                elif lookup is not None and order.kind is OrderKind.STOPS:  # a sync sees them where they were set
                    self._count_absence(self._known(order), lookup, NotFound(), answer, epoch)
                elif lookup is not None:
                    self._match(self._known(order), lookup, answer, epoch)
            case RequestState.RECEIVED | RequestState.SENDING | RequestState.NEVER:
                self._note(order, f"the gateway has it as {answer.state.value}")

    def _known(self, order: Order) -> Order:
        """Return an order as it is recorded now."""
        assert order.client_id is not None, "it is ours"
        return self._account.current_orders()[1].order(order.client_id, at_utc_msc=self._now_utc_msc()) or order

    def _of_this_account(self, order: Order, lookup: Lookup | None) -> Lookup | None:
        """Return a lookup, None where the terminal searched another account: its tickets are other orders."""
        name = self._account.name
        if lookup is None or (lookup.login in (None, name.login) and lookup.server in (None, name.server)):
            return lookup
        self._note(order, f"the terminal searched account {lookup.server}/{lookup.login}")
        return None

    def _note_found(self, order: Order, lookup: Lookup, raw: bytes) -> bool:
        """Record how the broker shows an order, if it does: its record decides, whatever the store has."""
        found = match(order, lookup, carrier=self._policy.carrier)
        if isinstance(found, Found):
            self._record_found(order, found, raw)
        return isinstance(found, Found)

    # ---- what the gateway's store has

    def record_answer(self, order: Order, answer: OrderAnswer) -> None:
        """Record the answer to an order: as its answer, or as what was found out after an unknown one."""
        if answer.verdict is None:
            return
        if order.verdict is None:
            self._record([to_answered(answer, answer.verdict, time_msc=self._now_msc())], answer.raw)
            return
        outcome = outcome_of(answer)
        if outcome is not None and order.state in OPEN_QUESTION:
            tickets = (answer.order,) if answer.order else ()
            self._record([self._resolved(order, outcome, OrderBasis.TICKET, tickets, answer.raw)], answer.raw)

    def _record_fenced(self, order: Order, answer: OrderAnswer, refusal: GatewayRefused | None) -> None:
        """The gateway never passed it on, and never will: that is proven, if it is the store that the intent names."""
        if answer.store != order.store:
            self._note(order, f"the answer is of store {answer.store}, the intent of {order.store}")
            return
        if order.verdict is not None:
            return
        verdict = Verdict.EXPIRED if refusal is not None and refusal.code == "EXPIRED" else Verdict.FENCED
        why = None if refusal is None else " ".join(filter(None, (refusal.code, refusal.detail)))
        event = to_answered(attrs.evolve(answer, comment=why or answer.comment), verdict, time_msc=self._now_msc())
        self._record([event], answer.raw)

    def _record_conflict(self, order: Order, refusal: GatewayRefused) -> None:
        """The id was sent before with other content, as by a journal that was lost: this request was never sent, and never is.

        What the store has of the id is about the other request.
        """
        assert order.client_id is not None, "it is ours"
        why, raw = " ".join(filter(None, (refusal.code, refusal.detail))), str(refusal).encode()
        answer = OrderAnswer(
            client_id=order.client_id, state=RequestState.NEVER, raw=raw, verdict=Verdict.REJECTED, comment=why,
            store=order.store,
        )  # fmt: skip
        self.record_answer(order, answer)

    def _note_refusal(self, order: Order, error: GatewayRefused) -> None:
        """Without the store that the intent names, only the broker's own lists can show an order: never that there is none."""
        self._note(order, str(error))
        if error.code != "WRONG_STORE":
            return
        lookup, raw = self._search(order)
        if lookup is not None:
            self._note_found(order, lookup, raw)

    def _search(self, order: Order) -> tuple[Lookup | None, bytes]:
        """Search the broker's lists by the gateway's reads."""
        sent_msc = self._sent_msc(order)
        try:
            active = self._gateway.active_orders()
            past = self._gateway.order_history(from_msc=sent_msc - _BEFORE_MSC, to_msc=sent_msc + _AFTER_MSC)
            for answer in (active, past):
                require_identity(answer, self._account.terms)
        except GatewayError as error:
            self._note(order, str(error))
            return None, b""
        if not (active.connected and past.connected):
            return None, b""
        rows = {row.ticket: row for row in (*active.orders, *past.orders)}
        return Lookup(
            from_msc=sent_msc - _BEFORE_MSC,
            to_msc=sent_msc + _AFTER_MSC,
            connected=True,
            orders=tuple(rows.values()),
            deals=(),
            rows=len(rows),
            server_time_msc=past.server_time_msc,
        ), past.raw

    # ---- what the terminal found

    def _match(self, order: Order, lookup: Lookup, answer: OrderAnswer, epoch: int) -> None:
        found = match(order, lookup, carrier=self._policy.carrier)
        assert order.client_id is not None
        if isinstance(found, Found):
            self._agreements.pop(order.client_id, None)
            self.hints.pop(order.client_id, None)
            self._record_found(order, found, answer.raw)
            return
        self._count_absence(order, lookup, found, answer, epoch)

    def _count_absence(self, order: Order, lookup: Lookup, found: NotFound, answer: OrderAnswer, epoch: int) -> None:
        assert order.client_id is not None
        self.hints[order.client_id] = found.hints
        server_msc = lookup.server_time_msc
        if not lookup.connected or server_msc is None or order.tickets or found.copies:
            self._note(order, "not found, and the lookup proves nothing")
            return
        sent_msc = self._account.terms.clock.from_utc_msc(self._sent_utc_msc(order, answer))
        if lookup.from_msc > sent_msc or lookup.to_msc < server_msc:
            self._note(order, f"not found, and the lookup of {lookup.from_msc} to {lookup.to_msc} misses a part of the time")
            return
        self._agree(order, server_msc, lookup.rows, answer, epoch)

    def _agree(self, order: Order, server_time_msc: int, rows: int, answer: OrderAnswer, epoch: int) -> None:
        """Count a trusted lookup that did not find what was asked for, and presume its absence where the rule allows it."""
        assert order.client_id is not None
        agreements = self._agreements.setdefault(order.client_id, [])
        agreements.append(Agreement(at_utc_msc=self._now_utc_msc(), server_time_msc=server_time_msc, epoch=epoch, rows=rows))
        sent_utc_msc = self._sent_utc_msc(order, answer)
        sent_msc = self._account.terms.clock.from_utc_msc(sent_utc_msc)
        _, orders = self._account.current_orders()
        is_proven = orders.carriers.get(self._policy.carrier, False)
        if is_absent(agreements, sent_utc_msc, self._policy, is_carrier_proven=is_proven, sent_msc=sent_msc):
            self._record([self._absent(order, agreements, answer.raw)], answer.raw)
        else:
            self._note(order, f"not found in {len(agreements)} lookups")

    def look_at(self, ticket: int | None) -> tuple[RemoteOrder, RemoteOrders] | None:
        """Record how the broker shows an order now, and return that; None where it shows it in neither list."""
        if ticket is None:
            return None
        try:
            past, active = self._gateway.order_history(order=ticket), self._gateway.active_orders()
            for answer in (past, active):
                require_identity(answer, self._account.terms)
        except GatewayError as error:
            _logger.warning("%s: order %s was not read: %s", self._account.name, ticket, visible(str(error)))
            return None
        found = [(row, one) for one in (past, active) if one.connected for row in one.orders if row.ticket == ticket]
        if not found:
            return None
        row, one = found[0]
        owner = self._account.current_orders()[1].by_ticket(ticket)
        client_id = None if owner is None else owner.client_id
        self._record([seen_of(row, client_id, self._now_msc(), evidence_of(one.raw))], one.raw)
        return row, one

    def _look_at_target(self, order: Order, answer: OrderAnswer, epoch: int) -> None:
        """Find out what became of a change or a cancellation: the record of the order that it is about decides."""
        _, orders = self._account.current_orders()
        found = self.look_at(target_ticket(order, orders))
        if found is None:
            self._note(order, "the order that it is about was not found")
            return
        row, one = found
        outcome = outcome_of_change(order, row)
        if outcome is not None:
            self._record([self._resolved(order, outcome, OrderBasis.TICKET, (), one.raw)], one.raw)
        elif one.server_time_msc is not None:
            self._agree(order, one.server_time_msc, 1, answer, epoch)

    def _absent(self, order: Order, agreements: Sequence[Agreement], raw: bytes) -> OrderResolved:
        assert order.client_id is not None
        return OrderResolved(
            client_id=order.client_id,
            number=order.resolutions + 1,
            outcome=OrderOutcome.ABSENT,
            basis=OrderBasis.ABSENCE,
            time_msc=self._now_msc(),
            lookups=len(agreements),
            first_utc_msc=agreements[0].at_utc_msc,
            last_utc_msc=agreements[-1].at_utc_msc,
            evidence=evidence_of(raw),
        )

    def _record_found(self, order: Order, found: Found, raw: bytes) -> None:
        now_msc = self._now_msc()
        events: list[Event] = [seen_of(row, order.client_id, now_msc, evidence_of(raw)) for row in found.rows]
        if order.state in OPEN_QUESTION or found.outcome is OrderOutcome.DUPLICATE:
            events.append(self._resolved(order, found.outcome, found.basis, found.tickets, raw))
        if found.outcome is OrderOutcome.DUPLICATE:
            events.extend(self._halt(order, found))
        self._record(events, raw)
        self.book(found.deals)

    def _halt(self, order: Order, found: Found) -> list[Event]:
        _, orders = self._account.current_orders()
        if orders.halts.get((HaltScope.ACCOUNT, None)) is HaltMode.ALL:
            return []
        return [
            TradingHalted(
                scope=HaltScope.ACCOUNT,
                number=orders.halt_number(HaltScope.ACCOUNT, None) + 1,
                mode=HaltMode.ALL,
                reason=f"the broker executed order {order.client_id} under tickets {', '.join(map(str, found.tickets))}",
                time_msc=self._now_msc(),
                rule="duplicate",
            )
        ]

    def _resolved(
        self, order: Order, outcome: OrderOutcome, basis: OrderBasis, tickets: Sequence[int], raw: bytes
    ) -> OrderResolved:
        assert order.client_id is not None
        return OrderResolved(
            client_id=order.client_id,
            number=order.resolutions + 1,
            outcome=outcome,
            basis=basis,
            time_msc=self._now_msc(),
            tickets=tuple(tickets),
            evidence=evidence_of(raw),
        )

    # ---- recording

    def book(self, deals: Sequence[Deal]) -> None:
        """Record deals of orders. One that conflicts with what is known is left to the next sync, which reports it."""
        for deal in deals:
            try:
                self._account.record(deal)
            except DealConflict as error:
                _logger.warning("%s: %s", self._account.name, visible(str(error)))

    def book_fills(self, order: Order, portfolio: Portfolio, origin: Origin = Origin.RECOVERY) -> None:
        """Record the fills of an order whose ticket is known, as far as the broker shows its deals already.

        Args:
            order: One of ours.
            portfolio: The positions, of which it may have changed one.
            origin: ``engine`` where they follow the answer that the engine waited for.
        """
        if not order.tickets or order.request is None:
            return
        position = order.request.position_id or _position_of(order, portfolio) or order.tickets[0]
        try:
            history = self._gateway.deals(position=position)
            require_identity(history, portfolio.terms)
        except GatewayError as error:
            self._note(order, f"its deals were not read: {error}")
            return
        fills = [one for one in history.deals if isinstance(one, FillRecorded) and one.order in order.tickets]
        self.book([attrs.evolve(one, origin=origin) for one in fills])

    def _record(self, events: Sequence[Event], raw: bytes) -> None:
        try:
            self._account.record_many(events, evidence=[raw])
        except OrderConflict as error:  # another process found out at the same time, and recorded it first
            _logger.info("%s: %s", self._account.name, visible(str(error)))

    def _note(self, order: Order, why: str) -> None:
        _logger.warning("%s: order %s is not resolved: %s", self._account.name, order.client_id, visible(why))

    # ---- clocks

    def _now_utc_msc(self) -> int:
        return self._account.ledger.now_us() // 1000

    def _now_msc(self) -> int:
        return self._account.terms.clock.from_utc_msc(self._now_utc_msc())

    def _sent_utc_msc(self, order: Order, answer: OrderAnswer) -> int:
        """Return when an order was sent at the latest, in UTC."""
        return answer.sent_utc_msc or order.valid_until_utc_msc or self._now_utc_msc()

    def _sent_msc(self, order: Order) -> int:
        until = order.valid_until_utc_msc or self._now_utc_msc()
        return self._account.terms.clock.from_utc_msc(until)


def _is_of_another(order: Order, answer: OrderAnswer, lookup: Lookup | None) -> bool:
    """Return whether an answer names an order that cannot be ours: the id was sent with other content once."""
    if lookup is None or order.kind in WITHOUT_FILLS:
        return False
    return any(row.ticket == answer.order and cannot_be(order, row) for row in lookup.orders)


def _position_of(order: Order, portfolio: Portfolio) -> int | None:
    """Return the position that a market order changes on an account that nets."""
    if not portfolio.terms.opened.mode.nets or order.symbol is None:
        return None
    position = portfolio.position_of(order.symbol)
    return None if position is None else position.position_id
