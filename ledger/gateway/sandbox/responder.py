"""The simulated terminal as a gateway shows it: requests to answers, with the faults that are wanted."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count
from typing import Any, Final, Protocol

from attrs import define, evolve, field, frozen

from ledger.clock import ClockRule
from ledger.gateway.sandbox.arguments import PARTS_MAX, to_amount, to_text
from ledger.gateway.sandbox.faults import Fault, Faults
from ledger.gateway.sandbox.orders import ORDER_ACTIONS, SandboxOrders
from ledger.gateway.sandbox.terminal import Answer as OrderAnswer
from ledger.gateway.sandbox.terminal import Row, Terminal
from ledger.gateway.server import Call, invalid_request, words_of
from ledger.protocol.messages import (
    Account,
    Answer,
    Deals,
    EncodedRows,
    Extension,
    GetAccount,
    GetDeals,
    GetPositions,
    GetSymbols,
    Head,
    Ping,
    Pong,
    Positions,
    Read,
    Refusal,
    Request,
    Symbols,
)
from ledger.protocol.read import read_query, whole_argument
from ledger.protocol.write import base_rows, encode_rows, write_answer
from ledger.values import INT64_MAX, Side

SEND_ORDER: Final = "SEND_ORDER"  # a command for tests, no part of the protocol
_READS: Final = tuple(query.action for query in (GetPositions, GetDeals, GetAccount, GetSymbols, Ping))
_TORN: Final = b'{"status": "SUCCESS", "positions": [{"ticket": 1, "symbol": "EURUSD", "type": "bu'
_OF_ROWS: Final = frozenset({Fault.NONE, Fault.HALF, Fault.DUPLICATE, Fault.STALE})


class Reads(Protocol):
    """What the sandbox answers of its terminal. Rows have the names and words of the protocol."""

    def positions(self) -> Sequence[Row]:
        """Return the open positions."""
        ...

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> Sequence[Row]:
        """Return the deals of a span of server time, both ends included, or those of one position."""
        ...

    def account(self) -> Row:
        """Return the account's terms and money."""
        ...

    def symbols(self) -> Sequence[Row]:
        """Return the specifications of the symbols."""
        ...


@frozen
class TerminalReads:
    """The reads of a simulated terminal itself, without a module between."""

    terminal: Terminal

    def positions(self) -> Sequence[Row]:
        """Return the open positions."""
        return self.terminal.positions()

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> Sequence[Row]:
        """Return the deals of a span of server time, both ends included, or those of one position."""
        return self.terminal.deals(from_msc, to_msc, position)

    def account(self) -> Row:
        """Return the account's terms and money."""
        return self.terminal.account()

    def symbols(self) -> Sequence[Row]:
        """Return the specifications of the symbols."""
        return self.terminal.symbol_rows()


@define(eq=False)
class SandboxResponder:
    """Answers for a simulated terminal.

    Attributes:
        terminal: What it answers for.
        reads: How it is read: the terminal itself, or a MetaTrader5 module over it.
        is_extended: Whether it speaks the extended form.
        clock: What the server's clock shows of the present; None: a clock that only moves on command and with deals.
        manual_trade_every_ms: How often a random manual trade is made, 0 for never.
        faults: What goes wrong.
        restart: Restarts the server.
        orders: What takes orders; None: nothing does.
        received: How many requests came, by action.
    """

    terminal: Terminal
    reads: Reads
    is_extended: bool
    clock: ClockRule | None
    manual_trade_every_ms: int
    faults: Faults
    restart: Callable[[], object]
    orders: SandboxOrders | None = None
    received: Counter[str] = field(factory=Counter, init=False)
    _next_manual_trade: float = field(default=math.inf, init=False)
    _waiting: list[tuple[float, int, Call, bytes]] = field(factory=list, init=False)
    _numbers: count[int] = field(factory=count, init=False)
    _written: tuple[int, EncodedRows] | None = field(default=None, init=False)
    _before: list[Row] | None = field(default=None, init=False)
    _before_msc: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if self.manual_trade_every_ms:
            self._next_manual_trade = time.monotonic() + self.manual_trade_every_ms / 1000

    # ---- as the server calls it

    def take(self, call: Call) -> None:
        """Answer a request, whatever it is: only a fault that was asked for prevents an answer."""
        action = call.request.action
        known = (*_READS, *(ORDER_ACTIONS if self.takes_orders else ()))
        self.received[action if action in (*known, SEND_ORDER) else "other"] += 1
        wrong = self.faults.next_of(action) if action in known else set()
        if Fault.RESTART in wrong:
            self.restart()
            return
        if Fault.OFFLINE in wrong:
            return
        raw = self._written_answer(call.request, wrong)
        if Fault.SLOW in wrong:
            due = time.monotonic() + self.faults.slow_ms / 1000
            heapq.heappush(self._waiting, (due, next(self._numbers), call, raw))
        else:
            call.send(raw)

    def run_due(self) -> float:
        """Send the answers that are due, let time pass, and make a manual trade if one is due."""
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, call, raw = heapq.heappop(self._waiting)
            call.send(raw)
        if self.clock is not None:
            now_msc = self.clock.from_utc_msc(time.time_ns() // 1_000_000)
            self.terminal.now_msc = max(self.terminal.now_msc, now_msc)
        if time.monotonic() >= self._next_manual_trade:
            self.terminal.trade_manually()
            self._next_manual_trade = time.monotonic() + self.manual_trade_every_ms / 1000
        return self._waiting[0][0] - time.monotonic() if self._waiting else math.inf

    # ---- what is answered

    def _written_answer(self, request: Request, wrong: set[Fault]) -> bytes:
        if Fault.MALFORMED in wrong and Fault.ERROR not in wrong:
            return _TORN
        try:
            return write_answer(self._answer(request, wrong), echo=self._echo(request, wrong))
        except Exception as error:  # noqa: BLE001  # slow as any other answer, so it is not left to the server
            return write_answer(invalid_request(error))

    def _echo(self, request: Request, wrong: set[Fault]) -> Mapping[str, Any]:
        if not self.is_extended:
            return {}
        if Fault.FOREIGN in wrong and request.echo:
            return {"req_id": f"not-{str(request.echo['req_id'])[::-1]}"}
        return request.echo

    def _answer(self, request: Request, wrong: set[Fault]) -> Answer:
        if Fault.ERROR in wrong:
            return Refusal("-10004", "No IPC connection")
        if request.action == SEND_ORDER:
            return self.order(request.fields)
        if request.action in ORDER_ACTIONS and self.orders is not None and self.is_extended:
            return self.orders.answer(request)
        if request.action not in _READS or (request.action != GetPositions.action and not self.is_extended):
            return Refusal("UNKNOWN_ACTION", f"unknown action {request.action}")
        if Fault.NO_DEALS in wrong:
            return Refusal("-1", "history is not synchronised")
        query = read_query(request)
        assert isinstance(query, Read), "it is one of the reads"
        return self._read(query, wrong)

    def _read(self, query: Read, wrong: set[Fault]) -> Answer:
        head = self.head(wrong)
        match query:
            case GetPositions():
                return self._positions(head if self.is_extended else None, wrong)
            case GetDeals():
                return Deals(head=head, rows=self._deals(query, wrong))
            case GetAccount():
                identity = {"login": head.login, "server": head.server}
                return Account(head=head, account=self.reads.account() | identity)
            case GetSymbols():
                return Symbols(head=head, rows=self.reads.symbols())
            case Ping():
                return Pong(head=head, service=None if self.orders is None else self.orders.service())

    @property
    def takes_orders(self) -> bool:
        """Whether it answers order messages."""
        return self.orders is not None and self.is_extended

    def head(self, wrong: AbstractSet[Fault] = frozenset()) -> Head:
        """Return the head of an answer of this moment."""
        terminal, is_named = self.terminal, Fault.NO_IDENTITY not in wrong
        login = terminal.login + (1 if Fault.WRONG_LOGIN in wrong else 0)
        server = "Other-Server" if Fault.WRONG_SERVER in wrong else terminal.server
        return Head(
            login=login if is_named else None,
            server=server if is_named else None,
            margin_mode=terminal.mode,
            server_time_msc=terminal.now_msc,
            connected=terminal.is_connected and Fault.NOT_CONNECTED not in wrong,
        )

    def _positions(self, head: Head | None, wrong: set[Fault]) -> Positions:
        if not wrong & _OF_ROWS:
            return Positions(head=head, rows=self._encoded_rows())
        rows = self._rows()
        count = len(rows)
        if Fault.STALE in wrong:
            rows = self._before if self._before is not None else rows
            count = len(rows)
            head = None if head is None else evolve(head, server_time_msc=self._before_msc)
        if Fault.HALF in wrong:
            rows = rows[: len(rows) // 2]
        if Fault.DUPLICATE in wrong and rows:
            rows = [*rows, rows[0]]
            count = len(rows)
        return Positions(head=head, rows=None if Fault.NONE in wrong else rows, count=count)

    def _rows(self) -> list[Row]:
        rows = list(self.reads.positions())
        return rows if self.is_extended else [dict(row) for row in base_rows(rows)]

    def _encoded_rows(self) -> EncodedRows:
        """Return the rows as JSON; they are written again only after something changed."""
        if self._written is None or self._written[0] != self.terminal.revision:
            rows = self._rows()
            self._written = (self.terminal.revision, encode_rows(rows))
            self._before = self._before if self._before is not None else rows
            self._before_msc = self._before_msc or self.terminal.now_msc
        return self._written[1]

    def remember_positions(self) -> None:
        """Remember the positions of this moment: those that a stale answer shows."""
        self._before, self._before_msc = self._rows(), self.terminal.now_msc

    def _deals(self, query: GetDeals, wrong: set[Fault]) -> list[Row]:
        rows = list(self.reads.deals(from_msc=query.from_msc, to_msc=query.to_msc, position=query.position))
        if Fault.LATE_DEALS in wrong:
            newest = {row["ticket"] for row in self.terminal.deals()[-self.faults.late_deals :]}
            rows = [row for row in rows if row["ticket"] not in newest]
        return rows

    # ---- orders

    def order(self, asked: Mapping[str, Any]) -> Answer:
        """Carry out an order, or refuse it."""
        try:
            answer = self.terminal.send_order(
                to_text(asked["symbol"], "symbol"),
                Side(asked["side"]),
                to_amount(asked["volume"], "volume"),
                position=None if asked.get("position") is None else whole_argument(asked["position"], "position"),
                magic=whole_argument(asked.get("magic", 0), "magic", low=-INT64_MAX),
                comment=to_text(asked.get("comment", ""), "comment"),
                parts=whole_argument(asked.get("parts", 1), "parts", low=1, high=PARTS_MAX),
            )
        except (KeyError, ValueError, TypeError, ArithmeticError) as error:
            return Refusal("INVALID_ORDER", words_of(error))
        return self.result(answer)

    def result(self, answer: OrderAnswer) -> Answer:
        """Return what became of an order: its ticket and its deals, as the broker shows them."""
        if not answer.is_done:
            return Refusal(str(answer.retcode), "the order was refused")
        tickets = {deal["ticket"] for deal in answer.deals}
        deals = [row for row in self.terminal.deals() if row["ticket"] in tickets]
        return Extension(fields={"retcode": answer.retcode, "order": answer.order, "deals": deals})
