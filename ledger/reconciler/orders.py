"""The part of a sync that is about orders: read the broker's lists, believe or refuse them, decide, and what deals to ask for.

Only a gateway that takes orders is asked. A list that cannot be read, or that may not be believed, moves no counter and holds
what is about orders; positions are synced all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import attrs

from ledger.clock import DAY_MSC
from ledger.codec import Stored
from ledger.errors import AccountUnknown, GatewayError, GatewayRefused, InputError, JournalError, LedgerError, SnapshotRefused
from ledger.events import Event
from ledger.gateway import Gateway, OrderGateway
from ledger.journal import Selection
from ledger.order_messages import RemoteOrder, RemoteOrders
from ledger.orders.states import OPEN_QUESTION, WITHOUT_FILLS, OrderState
from ledger.orders.view import Orders
from ledger.portfolio import Portfolio
from ledger.reconcile.decide import Decision, Held
from ledger.reconcile.orders import OrderLists, OrdersContext, decide_orders, seen_of, wanted_tickets
from ledger.reconcile.policy import ReconcilePolicy
from ledger.reconcile.stops import StopsContext, decide_stops
from ledger.reconcile.validate import is_older, refuse_unidentified, require_identity
from ledger.service import Account
from ledger.snapshot import Snapshot, evidence_of

#: What a gateway states that takes orders, among what it can.
ORDERS: Final = "orders"
_SINGLE_MAX: Final = 8  # beyond that, one span of time is asked for instead
_LOOKS_MAX: Final = 3  # how often an order that a deal names is looked for, where the history does not show it
_MARGIN_MSC: Final = DAY_MSC  # a history may be read by another time of an order than the one that we know
_NOT_OFFERED: Final = ("UNKNOWN", "UNSUPPORTED", "NOT_SUPPORTED", "NOT SUPPORTED", "NOT_IMPLEMENTED", "NOT IMPLEMENTED")


class Resolves(Protocol):
    """What finds out what became of orders whose answer is late or unknown. An ``OrderManager`` is one."""

    def resolve(self) -> None:
        """Look, and record what is found. May raise what a gateway raises."""
        ...


@attrs.define
class OrdersMemory:
    """What a reconciler remembers about orders from sync to sync. The journal stores what must survive it."""

    #: Whether the gateway takes orders; None before it was asked over this connection.
    takes_orders: bool | None = None
    reconnections: int = -1
    #: Our clock in UTC microseconds when lookups were counted last.
    counted_us: int = 0
    #: Up to which version deals were looked at; None before the first time.
    watched: int | None = None
    #: Orders that deals name and nobody knows -> since when, and how often they were looked for.
    strangers: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    #: Of which orders older deals were asked for, and how they were then.
    searched: dict[str, tuple[OrderState, str]] = attrs.field(factory=dict)


@attrs.define
class OrdersPhase:
    """Orders in one sync. Use once a sync: ``deals_since``, ``resolve``, then ``decide`` in each round, and ``end``."""

    account: Account
    gateway: Gateway
    policy: ReconcilePolicy
    memory: OrdersMemory
    manager: Resolves | None = None
    raws: dict[str, bytes] = attrs.field(factory=dict)
    _is_resolved: bool = False
    _unresolved: str | None = None
    _searched: dict[str, tuple[OrderState, str]] = attrs.field(factory=dict)
    _looked: tuple[int, int, dict[int, tuple[int, int]]] | None = None

    # ---- before it is judged

    def deals_since(self) -> int | None:
        """Return from when deals are to be asked for, in broker time, so that those of every order of ours are among them.

        Once for each order as it is: an answer may have come while the deal behind it was never recorded.
        """
        try:
            _, orders = self.account.current_orders()
        except AccountUnknown:
            return None
        ours = [one for one in orders.open_orders() if one.client_id is not None and one.kind not in WITHOUT_FILLS]
        self._searched = {one.client_id or "": (one.state, str(one.filled)) for one in ours}
        known = self.memory.searched
        new = [one for one in ours if known.get(one.client_id or "") != self._searched[one.client_id or ""]]
        return min((one.intended_msc or one.since_msc for one in new), default=None)

    def resolve(self) -> None:
        """Let the manager find out what became of orders that are late or unknown, once a sync. Which are late, it knows."""
        if self.manager is None or self._is_resolved:
            return
        now_msc = self.account.ledger.now_us() // 1000
        open_now = self.account.current_orders()[1].open_orders(now_msc)
        if not any(one.state in OPEN_QUESTION or one.has_to_be_found for one in open_now):
            return
        self._is_resolved = True
        try:
            self.manager.resolve()
        except JournalError:
            raise
        except LedgerError as error:
            self._unresolved = f"orders whose answer is not known could not be resolved: {error}"

    # ---- judging

    def decide(
        self,
        snapshot: Snapshot,
        portfolio: Portfolio,
        version: int,
        *,
        asked_us: int,
        time_msc: int,
        is_unclear: bool,
        touched: Iterable[int | str],
    ) -> Decision:
        """Return what to append about orders and stops.

        Args:
            snapshot: The positions, believed.
            portfolio: What we have.
            version: Of what we have.
            asked_us: Our clock when the snapshot was asked for, UTC in microseconds.
            time_msc: The snapshot's moment in broker time.
            is_unclear: Whether deals could not be read.
            touched: Positions and symbols of which a fill was recorded just now.
        """
        unresolved = () if self._unresolved is None else (_held(self._unresolved),)
        try:
            if not self._takes_orders():
                return Decision(held=unresolved)
            seen_version, orders = self.account.current_orders()
            if seen_version != version:  # others write all the time: what was known then is what is judged
                orders = self.account.replayed_orders(Selection(version=version))
            lists = self._read(orders, portfolio, snapshot, version)
        except (GatewayError, InputError) as error:
            return Decision(held=(*unresolved, _held(f"the broker's orders could not be read: {error}")))
        settle_us = round(self.policy.settle_sec * 1_000_000)
        clock = portfolio.terms.clock
        seen_msc, break_msc = (
            clock.from_utc_msc(self.account.ledger.now_us() // 1000),
            max(time_msc, portfolio.newest_known_msc),
        )
        settled_msc = clock.from_utc_msc((asked_us - settle_us) // 1000)
        around = OrdersContext(
            account=self.account.name, seen_msc=seen_msc, break_msc=break_msc, settled_msc=settled_msc,
            now_utc_msc=asked_us // 1000, touched=self._touched(asked_us - settle_us), is_unclear=is_unclear,
            is_another_lookup=asked_us - self.memory.counted_us >= settle_us,
        )  # fmt: skip
        about_orders = decide_orders(orders, lists, portfolio.breaks, policy=self.policy, around=around)
        about_stops = decide_stops(
            orders, snapshot.positions, portfolio.breaks, portfolio.terms,
            StopsContext(
                seen_msc=seen_msc, break_msc=break_msc, settled_msc=settled_msc, evidence=snapshot.evidence,
                touched=frozenset(touched),
            ),
        )  # fmt: skip
        self._looked = asked_us if around.is_another_lookup else self.memory.counted_us, version, self._left(orders, lists)
        return Decision(
            events=about_orders.events + about_stops.events, held=(*unresolved, *about_orders.held, *about_stops.held)
        )

    def evidence(self, events: Sequence[Event]) -> list[bytes]:
        """Return the raw answers that events rest on."""
        named = dict.fromkeys(getattr(event, "evidence", None) for event in events)
        return [self.raws[digest] for digest in named if digest in self.raws]

    def end(self, *, deals_failed: bool) -> None:
        """Remember what was looked at, now that what follows is recorded."""
        if not deals_failed:
            self.memory.searched = self._searched
        if self._looked is not None:
            self.memory.counted_us, self.memory.watched, self.memory.strangers = self._looked
            self._looked = None

    def _touched(self, after_us: int) -> frozenset[int]:
        rows = rows_since(self.account, after_us)
        return frozenset(row.order_ticket for row in rows if row.order_ticket is not None)

    # ---- reading

    def _takes_orders(self) -> bool:
        """Return whether the gateway takes orders. It is asked once a connection."""
        memory = self.memory
        if not isinstance(self.gateway, OrderGateway):
            return False
        if memory.takes_orders is None or memory.reconnections != self.gateway.reconnections:
            memory.takes_orders, memory.reconnections = None, self.gateway.reconnections
            try:
                service = self.gateway.ping()
            except GatewayRefused as error:
                if not _is_not_offered(error):
                    raise
                service = None
            memory.takes_orders = service is not None and ORDERS in service.can
        return memory.takes_orders

    def _read(self, orders: Orders, portfolio: Portfolio, snapshot: Snapshot, version: int) -> OrderLists:
        """Return the broker's lists: what is active, and what left that list or is named by a deal of nobody known."""
        assert isinstance(self.gateway, OrderGateway)
        active = self._believed(self.gateway.active_orders(), portfolio, snapshot)
        evidence = dict.fromkeys(active, active_digest := self._digest)
        strangers = self._strangers(orders, version) if orders.has_intents else {}
        wanted = wanted_tickets(orders, active, self.account.ledger.now_us() // 1000) | {
            ticket: since_msc for ticket, (since_msc, _) in strangers.items() if ticket not in active
        }
        done = self._search(wanted, portfolio, snapshot, evidence)
        absent = frozenset(wanted.keys() - done.keys())
        return OrderLists(active=active, done=done, absent=absent, evidence=evidence, active_evidence=active_digest)

    def _search(
        self, wanted: Mapping[int, int], portfolio: Portfolio, snapshot: Snapshot, evidence: dict[int, str]
    ) -> dict[int, RemoteOrder]:
        """Return what the history has of some orders, asked for one by one, and as a span for what that does not find."""
        assert isinstance(self.gateway, OrderGateway)
        done: dict[int, RemoteOrder] = {}
        if 0 < len(wanted) <= _SINGLE_MAX:
            for ticket in wanted:
                self._take(
                    self._believed(self.gateway.order_history(order=ticket), portfolio, snapshot), wanted, done, evidence
                )
        left = [since_msc for ticket, since_msc in wanted.items() if ticket not in done]
        if left:
            from_msc = max(0, min(left) - _MARGIN_MSC)
            to_msc = portfolio.terms.clock.from_utc_msc(self.account.ledger.now_us() // 1000) + DAY_MSC
            answer = self.gateway.order_history(from_msc=from_msc, to_msc=to_msc)
            self._take(self._believed(answer, portfolio, snapshot), wanted, done, evidence)
        return done

    def _take(
        self, rows: Mapping[int, RemoteOrder], wanted: Mapping[int, int], done: dict[int, RemoteOrder], evidence: dict[int, str]
    ) -> None:
        for ticket, row in rows.items():
            if ticket in wanted:
                done[ticket], evidence[ticket] = row, self._digest

    @property
    def _digest(self) -> str:
        """The digest of the answer that was believed last."""
        return next(reversed(self.raws))

    def _believed(self, answer: RemoteOrders, portfolio: Portfolio, snapshot: Snapshot) -> dict[int, RemoteOrder]:
        """Return the orders of an answer by ticket, if it earns the trust that a snapshot needs.

        Raises:
            SnapshotRefused: It does not.
        """
        terms = portfolio.terms
        require_identity(answer, terms)
        refuse_unidentified(answer, portfolio.identity, terms)
        known_msc, stated_msc = snapshot.server_time_msc, answer.server_time_msc
        if known_msc is not None and stated_msc is not None and is_older(stated_msc, known_msc, terms.clock):
            raise SnapshotRefused(
                f"the orders are of server time {stated_msc}, older than the positions ({known_msc}): a stale answer",
                field="server_time_msc",
            )
        rows: dict[int, RemoteOrder] = {}
        for number, row in enumerate(answer.orders, 1):
            if row.ticket in rows:
                raise SnapshotRefused(f"an order is listed once, found {row.ticket} again", row=number, field="ticket")
            seen_of(row, row.client_id, 0, None)  # what cannot be recorded is refused before anything is concluded
            rows[row.ticket] = row
        digest = evidence_of(answer.raw)
        self.raws.pop(digest, None)  # the latest is the last
        self.raws[digest] = answer.raw
        return rows

    # ---- what deals name

    def _strangers(self, orders: Orders, version: int) -> dict[int, tuple[int, int]]:
        """Return the orders that deals name and nobody knows: one of ours may be among them, whose ticket we never learned."""
        journal, name = self.account.ledger.journal, self.account.name
        begin = self.memory.watched
        if begin is None:
            begin = journal.version_at(name, self.account.ledger.now_us() - DAY_MSC * 1000)
        found = dict(self.memory.strangers)
        for row in journal.rows(name, after=begin, upto=version):
            if row.deal is not None and row.order_ticket is not None:
                found.setdefault(row.order_ticket, (row.time_msc, 0))
        return {ticket: one for ticket, one in found.items() if not orders.is_claimed(ticket)}

    def _left(self, orders: Orders, lists: OrderLists) -> dict[int, tuple[int, int]]:
        """Return which of them to look for again: those that neither list showed, a few times."""
        strangers = self._strangers(orders, self.account.version) if orders.has_intents else {}
        return {
            ticket: (since_msc, looks + 1)
            for ticket, (since_msc, looks) in strangers.items()
            if lists.row(ticket) is None and looks + 1 < _LOOKS_MAX
        }


def rows_since(account: Account, begin_us: int) -> Iterable[Stored]:
    """Return the rows that were recorded from a UTC microsecond on: as a rule none, which the head shows."""
    journal, name = account.ledger.journal, account.name
    if account.journal_head.recorded_us < begin_us:
        return ()
    return journal.rows(name, after=journal.version_at(name, begin_us))


def _is_not_offered(error: GatewayRefused) -> bool:
    text = f"{error.code or ''} {error.detail or ''}".upper()
    return any(word in text for word in _NOT_OFFERED)


def _held(why: str) -> Held:
    return Held(kind=ORDERS, position_id=None, symbol=None, why=why)
