"""Orders at a terminal behind the ``MetaTrader5`` module: what is sent, and what the terminal shows of it.

``order_send`` is called in one place of the program, ``Mt5OrderTerminal.send``, once for each time it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ledger.clock import SECOND_MSC, TIME_MAX_MSC
from ledger.errors import BadValue, GatewayError, GatewayRefused, SnapshotRefused
from ledger.events.orders import OrderKind, Verdict
from ledger.gateway.mt5_requests import Shown, build_request, decimal_of, symbol_of, to_call
from ledger.gateway.mt5_terminal import Mt5Terminal, Row
from ledger.mt5 import ORDER_STATE_NAMES, ORDER_TYPE_NAMES, name_of, to_row
from ledger.order_messages import OrderMessage
from ledger.orders.verdicts import SendError, SendRaised, SendResult, judge
from ledger.protocol.order_requests import FieldRefused, decimal_text
from ledger.values import shown

_INVALID_PARAMS: Final = (-2, "Terminal: Invalid params")  # history by a ticket that the terminal does not know
_NOT_FOUND: Final = -4
_DECIMALS: Final = ("volume_initial", "volume_current", "price_open", "price_current", "price_stoplimit", "sl", "tp")
_POSITION_KINDS: Final = frozenset({OrderKind.CLOSE, OrderKind.STOPS, OrderKind.CLOSE_BY})
_MAGIC_UNIQUE: Final = 2**24  # a magic number that carries a client id is at least so large; smaller ones are a strategy's
_REMARK_MAX: Final = 200


class Mt5OrderTerminal(Mt5Terminal):
    """A terminal that takes orders, one call at a time. See ``Mt5Terminal``."""

    # ---- what is shown of orders

    def active_orders(self) -> list[Row]:
        """Return the orders that the broker is working on, in words and exact decimals."""
        return [_order_row(row, number) for number, row in enumerate(self.orders(), 1)]

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> list[Row]:
        """Return orders that are done: of the whole seconds that a span reaches into, of a position, or one of them.

        Without ``to_msc`` up to a day after the server's present.
        """
        with self.turn():
            self._ready()
            if order is not None or position is not None:
                rows = self._read_history_of(position=position, order=order)
            else:
                rows = self._read_history(from_msc or 0, self._latest_msc() if to_msc is None else to_msc)
            return [_order_row(row, number) for number, row in enumerate(rows, 1)]

    def tick(self, symbol: str) -> Row:
        """Return the newest prices of a symbol, exact, with their age.

        The age is up to the newest server time that was seen, and since that was seen by the clock of this machine.

        Raises:
            FieldRefused: There is no such symbol, or it has no prices.
        """
        with self.turn():
            self._ready()
            found = self._tick_row(symbol)
            if found is None:
                raise FieldRefused("symbol", f"the terminal shows no prices of {shown(symbol)}")
            newest_msc = self._newest_msc or 0
            elapsed_ms = round((self._monotonic() - self._moved_at) * 1000)
            return {
                "symbol": symbol, "bid": _exact(found.get("bid")), "ask": _exact(found.get("ask")),
                "time_msc": found.get("time_msc"), "age_ms": max(0, newest_msc - int(found["time_msc"]) + elapsed_ms),
            }  # fmt: skip

    def lookup(self, *, token: str, tickets: Iterable[int], magic: int | None, from_msc: int, to_msc: int | None) -> Row:
        """Search the active orders, the history and the deals, in this order: what is filled meanwhile is in a later one.

        Args:
            token: What of a client id went to the broker: in an order's comment.
            tickets: Orders that are known by ticket.
            magic: The magic number that was sent; searched for where it may be one order's own.
            from_msc: From which server time on.
            to_msc: Up to which; None: a day after the server's present.
        """
        with self.turn():
            self._ready()
            latest_msc = self._latest_msc() if to_msc is None else to_msc
            active = self.active_orders()
            done = [_order_row(row, number) for number, row in enumerate(self._read_history(from_msc, latest_msc), 1)]
            deals = self.deals(from_msc=from_msc, to_msc=latest_msc)
        orders = {row["ticket"]: row for row in (*active, *done)}
        wanted = set(tickets)
        own_magic = magic if magic is not None and magic >= _MAGIC_UNIQUE else None
        found = [
            row
            for row in orders.values()
            if row["ticket"] in wanted
            or token in str(row.get("comment"))
            or (own_magic is not None and row.get("magic") == own_magic)
        ]
        wanted |= {row["ticket"] for row in found}
        return {
            "orders": found,
            "deals": [row for row in deals if row.get("order") in wanted],
            "with_token": [row["ticket"] for row in found if str(row.get("comment")).startswith(token)],
            "rows": len(orders) + len(deals),
            "from_msc": from_msc,
            "to_msc": latest_msc,
        }

    # ---- what is sent

    def prepare(self, message: OrderMessage) -> Row:
        """Return the request that carries out an order message; nothing is sent.

        Raises:
            FieldRefused: It does not go with what the terminal shows.
            GatewayError: As every call.
        """
        with self.turn():
            self._ready()
            found = Shown()
            if message.kind in _POSITION_KINDS:
                rows = {row.get("identifier") or row["ticket"]: row for row in self._read_positions()}
                found = Shown(position=rows.get(message.position_id), by_position=rows.get(message.by_position_id))
            elif message.kind is OrderKind.MODIFY:
                orders = {row["ticket"]: row for row in self._read_orders()}
                found = Shown(order=orders.get(message.order))
            symbol = symbol_of(message, found)
            if symbol is not None:
                found = Shown(
                    symbol=self._symbol_info(symbol),
                    tick=self._tick_row(symbol),
                    position=found.position,
                    by_position=found.by_position,
                    order=found.order,
                )
            try:
                return build_request(message, found)
            except (KeyError, TypeError, ArithmeticError) as error:
                raise SnapshotRefused(
                    f"what the terminal shows of {symbol} cannot be read: {type(error).__name__} {error}"
                ) from error

    def send(self, request: Mapping[str, Any], kind: OrderKind, *, login: int, server: str) -> Row:
        """Call ``order_send`` once, and return what came of it, with the verdict. Raises nothing.

        Args:
            request: What ``prepare`` returned.
            kind: What it asks for.
            login: The account that it is for: with another one nothing is sent.
            server: Its trade server.
        """
        with self.turn():
            try:
                head = self.head()
                call = to_call(request)
            except Exception as error:  # noqa: BLE001  # whatever it is: it is before the call
                return _not_sent(self.last_error, f"nothing was sent: {error}")
            if (head["login"], head["server"]) != (login, server):
                return _not_sent(None, f"nothing was sent: the terminal is logged in to {head['server']}/{head['login']}")
            try:
                result = self._mt5.order_send(call)
            except Exception as error:  # noqa: BLE001  # whatever it is: the verdict says what it means
                return self._judge_raised(error, kind)
            if result is None:
                return self._judge_none(kind)
            return _judge_result(result, kind)

    def check(self, message: OrderMessage) -> Row:
        """Return what ``order_check`` states of an order. Raises as ``prepare``."""
        with self.turn():
            call = to_call(self.prepare(message))
            row = self._plain("order_check", self._ask("order_check", lambda: self._mt5.order_check(call)))
        money = {name: _exact(row.get(name)) for name in ("margin", "margin_free", "margin_level")}
        return {"retcode": row.get("retcode"), "comment": row.get("comment"), **money}

    # ---- the calls

    def _judge_raised(self, error: Exception, kind: OrderKind) -> Row:
        """Judge an exception: only one of an argument, which ``last_error`` confirms in the package's own text, came first."""
        name = type(error).__name__
        verdict = judge(SendRaised(name), kind)
        if verdict is Verdict.NOT_SENT:
            verdict = Verdict(self._judge_none(kind)["verdict"])
        return {"verdict": verdict.value, "comment": self._without_password(f"{name}: {error}")[:_REMARK_MAX]}

    def _judge_none(self, kind: OrderKind) -> Row:
        try:
            code, text = self._read_last_error()
        except GatewayError as error:
            return {"verdict": Verdict.UNKNOWN.value, "comment": str(error)[:_REMARK_MAX]}
        self._failure_noted(code, text)
        return {"verdict": judge(SendError(code, text), kind).value, "last_error": [code, text[:_REMARK_MAX]]}

    def _failure_noted(self, code: int, text: str) -> None:
        """Note an error, so that the checks of a start run again where it may mean another terminal."""
        self._note(GatewayRefused("MetaTrader 5 order_send", code=str(code), detail=text), code, text)

    def _plain(self, name: str, record: Any) -> Row:
        try:
            return to_row(record)
        except BadValue as error:
            raise SnapshotRefused(f"{name}: {error}") from error

    def _read_history(self, from_msc: int, to_msc: int) -> list[Row]:
        first = max(0, min(from_msc, TIME_MAX_MSC)) // SECOND_MSC
        last = -(-max(0, min(to_msc, TIME_MAX_MSC)) // SECOND_MSC)
        return self._seen_orders(self._rows("history_orders_get", lambda: self._mt5.history_orders_get(first, last)))

    def _read_history_of(self, *, position: int | None, order: int | None) -> list[Row]:
        try:
            if order is not None:
                rows = self._rows("history_orders_get", lambda: self._mt5.history_orders_get(ticket=order))
            else:
                rows = self._rows("history_orders_get", lambda: self._mt5.history_orders_get(position=position))
        except GatewayRefused:
            if self.last_error != _INVALID_PARAMS:
                raise
            return []
        return self._seen_orders(rows)

    def _seen_orders(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            self._see(row.get("time_setup_msc"), row.get("time_done_msc"))
        return rows

    def _symbol_info(self, symbol: str) -> Row | None:
        """Return a symbol's specification, of one that the terminal shows prices of; None where there is no such symbol."""
        try:
            row = self._plain("symbol_info", self._ask("symbol_info", lambda: self._mt5.symbol_info(symbol)))
        except GatewayRefused:
            if self.last_error is not None and self.last_error[0] == _NOT_FOUND:
                return None
            raise
        if row.get("select") is False:  # not in the Market Watch: the terminal sends no order for it
            self._guarded("symbol_select", lambda: self._mt5.symbol_select(symbol, True))  # noqa: FBT003  # its own form
        return row

    def _tick_row(self, symbol: str) -> Row | None:
        try:
            row = self._plain("symbol_info_tick", self._ask("symbol_info_tick", lambda: self._mt5.symbol_info_tick(symbol)))
        except GatewayRefused:
            if self.last_error is not None and self.last_error[0] == _NOT_FOUND:
                return None
            raise
        self._see(row.get("time_msc"))
        return row if row.get("bid") or row.get("ask") else None


def _not_sent(last_error: tuple[int, str] | None, text: str) -> Row:
    found: Row = {"verdict": Verdict.NOT_SENT.value, "comment": text[:_REMARK_MAX]}
    return found if last_error is None else found | {"last_error": [last_error[0], last_error[1][:_REMARK_MAX]]}


def _judge_result(result: Any, kind: OrderKind) -> Row:
    """Return a result with its verdict; one that cannot be read means that nothing is known."""
    try:
        row = to_row(result)
        outcome = SendResult(row.get("retcode"), row.get("order"), row.get("deal"), row.get("volume"))
        found: Row = {"verdict": judge(outcome, kind).value}
        for name in ("retcode", "retcode_external", "order", "deal", "request_id"):
            value = row.get(name)
            found[name] = value if type(value) is int else None
        for name in ("volume", "price", "bid", "ask"):
            found[name] = _exact(row.get(name))
        found["comment"] = str(row.get("comment") or "")[:_REMARK_MAX] or None
    except Exception as error:  # noqa: BLE001  # the call was made: whatever cannot be read is not known
        return {"verdict": Verdict.UNKNOWN.value, "comment": f"the result cannot be read: {shown(error)}"[:_REMARK_MAX]}
    return found


def _exact(value: Any) -> str | None:
    if type(value) not in (int, float):
        return None
    number = decimal_of(value)
    return decimal_text(number) if number.is_finite() else None


def _order_row(row: Row, number: int) -> Row:
    """Return an order in words and exact decimals.

    Raises:
        SnapshotRefused: A number of it is none.
    """
    found = dict(row)
    found["type"] = name_of(row.get("type"), ORDER_TYPE_NAMES)
    found["state"] = name_of(row.get("state"), ORDER_STATE_NAMES)
    for name in _DECIMALS:
        text = _exact(row.get(name))
        if text is None and row.get(name) is not None:
            raise SnapshotRefused(f"expected a number, found {shown(row.get(name))}", row=number, field=name)
        found[name] = text
    return found
