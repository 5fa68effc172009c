"""A fake of the package ``MetaTrader5``: an object with its constants, functions and errors, over a simulated terminal."""

from __future__ import annotations

import ntpath
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from ledger.gateway.sandbox.terminal import Terminal
from ledger.testing.mt5 import structs
from ledger.testing.mt5.arguments import (
    ArgumentOverflow,
    ArgumentRefused,
    HistoryFilter,
    Login,
    RowFilter,
    passes_mapping,
    read_calculation,
    read_dates,
    read_group,
    read_history_filter,
    read_initialize,
    read_login,
    read_request,
    read_row_filter,
    read_selection,
    read_symbol,
)
from ledger.testing.mt5.blocking import block
from ledger.testing.mt5.broker import Broker, in_group
from ledger.testing.mt5.constants import Constants
from ledger.testing.mt5.control import FakeControl
from ledger.testing.mt5.faults import ERRORS, FakeFault, FakeFaults, SendFault
from ledger.testing.mt5.orders import Order, Request, Row
from ledger.testing.mt5.retcodes import COMMENTS
from ledger.testing.mt5.settings import FakeSettings
from ledger.testing.mt5.structs import StructSequence, make_row
from ledger.testing.mt5.trading import Result, check, execute
from ledger.testing.mt5.triggers import settle

_Arguments = TypeVar("_Arguments")
Rows = tuple[StructSequence, ...]

_DEFAULT_FOLDER: Final = r"C:\Program Files\MetaTrader 5"
_PROGRAM: Final = "terminal64.exe"
#: Functions that look at the terminal's build before they look for a connection.
_NEEDS_BUILD: Final = frozenset({"symbols_total", "symbols_get"})
_RELEASED: Final = "10 Oct 2026"

SUCCESS: Final = (1, "Success")
NO_CONNECTION: Final = (-10004, "No IPC connection")
NOT_FOUND: Final = (-4, "Terminal: Not found")
INVALID_PARAMS: Final = (-2, "Terminal: Invalid params")
AUTHORIZATION_FAILED: Final = (-6, "Terminal: Authorization failed")
API_DISABLED: Final = (-8, "Auto-Trading using Python API disabled in Terminal")
OLD_VERSION: Final = (
    -5,
    "Terminal: Incompatible versions, please install the latest version of Terminal and Python module",
)


class TerminalRefused(Exception):
    """The terminal refuses a call: ``last_error`` is this pair."""

    def __init__(self, error: tuple[int, str]) -> None:
        super().__init__(*error)
        self.error = error


class FakeMetaTrader5(Constants):
    """What ``import MetaTrader5`` gives, with a simulated terminal behind it. Its answers have no types, as there.

    All functions, constants and rows have the package's names. As in the package, None is an error, explained by
    ``last_error``, and an empty tuple is nothing there; ``last_error`` is one value for all threads.

    Attributes:
        broker: The simulated terminal, its orders and stops.
        settings: How terminal and broker behave.
        faults: What goes wrong.
        control: What a test can do and an engine cannot: time, prices, connection, other people's trades.
    """

    __name__ = "MetaTrader5"
    __version__ = "5.0.6231"
    __author__ = "MetaQuotes Ltd."

    TradePosition = structs.TradePosition
    TradeOrder = structs.TradeOrder
    TradeDeal = structs.TradeDeal
    TradeRequest = structs.TradeRequest
    OrderSendResult = structs.OrderSendResult
    OrderCheckResult = structs.OrderCheckResult
    Tick = structs.Tick
    TerminalInfo = structs.TerminalInfo
    AccountInfo = structs.AccountInfo
    SymbolInfo = structs.SymbolInfo

    def __init__(
        self,
        terminal: Terminal | None = None,
        *,
        settings: FakeSettings | None = None,
        clock: Callable[[], int] | None = None,
        faults: FakeFaults | None = None,
    ) -> None:
        """Make a module over a terminal.

        Args:
            terminal: What it answers for. None: a new one, on a hedging account without money.
            settings: How terminal and broker behave.
            clock: Returns the present on the server's clock, in msc; None: the clock moves on command and with deals only.
            faults: What goes wrong.
        """
        self.settings = settings or FakeSettings()
        self.faults = faults or FakeFaults()
        self.broker = Broker(Terminal() if terminal is None else terminal, self.settings)
        self.control = FakeControl(self)
        self._clock = clock
        self._is_attached = False
        self._knows_build = False
        self._folder = self.settings.path or _DEFAULT_FOLDER
        self._last_error = SUCCESS
        self._wrong: frozenset[FakeFault] = frozenset()
        self._positions: tuple[list[Row], Rows] | None = None
        self._request_id = 0
        self._auto_tick_msc = 0
        self._lock = threading.RLock()  # the package holds Python's global lock instead

    @property
    def terminal(self) -> Terminal:
        """The simulated terminal: positions, deals, money and clock."""
        return self.broker.terminal

    def attach(self, terminal: Terminal) -> None:
        """Be logged in to another account from now on."""
        self.broker = Broker(terminal, self.settings, loading_calls=self.settings.loading_calls)

    def detach(self) -> None:
        """Lose the terminal."""
        self._is_attached = False

    # ---- connection

    def initialize(self, *args: Any, **named: Any) -> bool:
        """Connect to the terminal; start it where it does not run. An attempt that fails leaves no connection."""
        was_attached, self._is_attached = self._is_attached, False
        return (
            self._call(
                "initialize",
                lambda: read_initialize(args, named),
                lambda asked: self._start(asked, was_attached=was_attached),
                is_starting=True,
            )
            or False
        )

    def _start(self, asked: Login, *, was_attached: bool) -> bool:
        """Start the terminal, or find it running.

        Raises:
            TerminalRefused: There is none, or it is another account's.
        """
        self._wrong = self.faults.next_of("initialize")
        self._wait()
        self._fail_wrong()
        if self._path_differs(asked.path):
            raise TerminalRefused((-10003, f"IPC initialize failed, Process create failed '{asked.path}'"))
        if not self._is_authorised(asked):
            raise TerminalRefused(AUTHORIZATION_FAILED)
        if asked.path is not None:
            self._folder = _folder_of(asked.path)
        self._is_attached = self._knows_build = True
        if not was_attached:
            self._request_id = 0
            self.broker.loading_calls = self.settings.loading_calls
        return True

    def login(self, *args: Any, **named: Any) -> bool:
        """Log in to an account: only the terminal's own is there."""
        return self._call("login", lambda: read_login(args, named), self._log_in) or False

    def shutdown(self) -> bool:
        """Disconnect from the terminal."""
        self._is_attached = False
        self._last_error = SUCCESS
        return True

    def version(self) -> tuple[int, int, str]:
        """Return version, build and release date of the terminal; zeros without one."""
        self._last_error = SUCCESS if self._is_attached else NO_CONNECTION
        return (500, self.settings.build, _RELEASED) if self._is_attached else (0, 0, "")

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the last call of any thread."""
        return self._last_error

    def terminal_info(self) -> Any:
        """Return state and settings of the terminal."""
        return self._call(
            "terminal_info",
            _no_arguments,
            lambda _: make_row(structs.TerminalInfo, self._terminal_fields()),
        )

    def account_info(self) -> Any:
        """Return the account that the terminal is logged in to."""
        return self._call(
            "account_info",
            _no_arguments,
            lambda _: make_row(structs.AccountInfo, self._account_fields()),
        )

    # ---- symbols

    def symbols_total(self) -> Any:
        """Return how many symbols there are."""
        return self._call("symbols_total", _no_arguments, lambda _: len(self.broker.symbols()))

    def symbols_get(self, *args: Any, **named: Any) -> Any:
        """Return all symbols, or those of a group."""
        return self._call(
            "symbols_get",
            lambda: read_group(args, named),
            lambda group: _rows(structs.SymbolInfo, _of_group(self.broker.symbols(), group, name="name")),
            refused=False,
        )

    def symbol_info(self, *args: Any) -> Any:
        """Return a symbol's specification and present prices."""
        return self._call(
            "symbol_info",
            lambda: read_symbol(args),
            lambda symbol: make_row(structs.SymbolInfo, _found(self.broker.symbol(symbol))),
        )

    def symbol_info_tick(self, *args: Any) -> Any:
        """Return a symbol's last tick."""
        return self._call(
            "symbol_info_tick",
            lambda: read_symbol(args),
            lambda symbol: make_row(structs.Tick, _found(self.broker.tick(symbol))),
        )

    def symbol_select(self, *args: Any) -> bool:
        """Add a symbol to the Market Watch, or remove it."""
        return self._call("symbol_select", lambda: read_selection(args), self._select) or False

    # ---- positions, orders, history

    def positions_total(self) -> Any:
        """Return how many positions are open."""
        return self._call("positions_total", _no_arguments, lambda _: len(self.broker.positions()))

    def positions_get(self, *args: Any, **named: Any) -> Any:
        """Return the open positions: all, of a symbol, of a group, or one ticket."""
        return self._call(
            "positions_get",
            lambda: read_row_filter(args, named),
            lambda asked: self._position_rows(_asked_rows(self._spoilt(self.broker.positions()), asked)),
        )

    def orders_total(self) -> Any:
        """Return how many orders are active."""
        return self._call("orders_total", _no_arguments, lambda _: len(self.broker.orders()))

    def orders_get(self, *args: Any, **named: Any) -> Any:
        """Return the active orders: all, of a symbol, of a group, or one ticket."""
        return self._call(
            "orders_get",
            lambda: read_row_filter(args, named),
            lambda asked: _rows(structs.TradeOrder, _asked_rows(self.broker.orders(), asked)),
        )

    def history_orders_total(self, *args: Any) -> Any:
        """Return how many finished orders a span of server time has."""
        return self._call(
            "history_orders_total",
            lambda: read_dates(args),
            lambda span: len(_asked_history(self._order_history(), HistoryFilter(*span), "time_done", "ticket")),
        )

    def history_orders_get(self, *args: Any, **named: Any) -> Any:
        """Return finished orders: of a span of server time, of a position, or one ticket."""
        return self._call(
            "history_orders_get",
            lambda: read_history_filter(args, named),
            lambda asked: _rows(structs.TradeOrder, _asked_history(self._order_history(), asked, "time_done", "ticket")),
        )

    def history_deals_total(self, *args: Any) -> Any:
        """Return how many deals a span of server time has."""
        return self._call(
            "history_deals_total",
            lambda: read_dates(args),
            lambda span: len(_asked_history(self._deals(), HistoryFilter(*span), "time", "order")),
        )

    def history_deals_get(self, *args: Any, **named: Any) -> Any:
        """Return deals: of a span of server time, of a position, or of one order (``ticket``)."""
        return self._call(
            "history_deals_get",
            lambda: read_history_filter(args, named),
            lambda asked: _rows(structs.TradeDeal, _asked_history(self._deals(), asked, "time", "order")),
        )

    # ---- orders

    def order_check(self, *args: Any, **named: Any) -> Any:
        """Check whether a request would be accepted; nothing is sent."""
        is_splat = not named and passes_mapping(sys._getframe(1))  # noqa: SLF001  # the one way to see an empty mapping
        return self._call("order_check", lambda: read_request(args, named, is_splat=is_splat), self._check_order)

    def order_send(self, *args: Any, **named: Any) -> Any:
        """Send a request to the trade server."""
        is_splat = not named and passes_mapping(sys._getframe(1))  # noqa: SLF001  # as above
        return self._call("order_send", lambda: read_request(args, named, is_splat=is_splat), self._send_order)

    def order_calc_margin(self, *args: Any) -> Any:
        """Return the margin of an order: type, symbol, volume, price."""
        return self._call("order_calc_margin", lambda: read_calculation(args, 2), self._margin)

    def order_calc_profit(self, *args: Any) -> Any:
        """Return the profit of a trade: type, symbol, volume, opening price, closing price."""
        return self._call("order_calc_profit", lambda: read_calculation(args, 3), self._profit)

    def _check_order(self, fields: dict[str, Any]) -> StructSequence:
        request = Request(**fields)
        retcode, account = check(self.broker, request), self.broker.account()
        needed = 0.0
        if not retcode and request.action in (self.TRADE_ACTION_DEAL, self.TRADE_ACTION_PENDING) and not request.position:
            needed = self.broker.margin_of(request.symbol, request.volume)
        margin = round(account["margin"] + needed, 2)
        equity = account["equity"]
        return make_row(
            structs.OrderCheckResult,
            {
                "retcode": retcode, "balance": account["balance"], "equity": equity, "profit": account["profit"],
                "margin": margin, "margin_free": round(equity - margin, 2),
                "margin_level": round(equity / margin * 100, 2) if margin else 0.0, "comment": COMMENTS[retcode],
                "request": _request_row(fields),
            },
        )  # fmt: skip

    def _send_order(self, fields: dict[str, Any]) -> StructSequence:
        if self.settings.is_api_disabled:
            raise TerminalRefused(API_DISABLED)
        self._request_id += 1
        self.broker.requests.append(dict(fields))
        request, fault = Request(**fields), self.faults.next_answer(self._wrong)
        if fault is None:
            return self._result(fields, execute(self.broker, request))
        return self._result(fields, self._execute_wrongly(request, fault))

    def _execute_wrongly(self, request: Request, fault: SendFault) -> Result:
        results = [execute(self.broker, request) for _ in range(fault.executions)]
        if fault.error is not None:
            raise TerminalRefused(fault.error)
        if fault.retcode is None or (results and results[0].retcode == fault.retcode):
            return results[0]
        if not fault.has_order:
            return Result(retcode=fault.retcode)
        return Result(retcode=fault.retcode, order=self._rejected_order(request))

    def _rejected_order(self, request: Request) -> int:
        """Write an order into the history that the server rejected after it had a ticket."""
        terminal = self.broker.terminal
        symbol = request.symbol if request.symbol in terminal.symbols else next(iter(terminal.symbols))
        ticket = terminal.place_order(symbol, "sell" if request.type % 2 else "buy", magic=request.magic)
        order = Order(
            ticket=ticket, symbol=symbol, type=request.type, volume_initial=request.volume, magic=request.magic,
            volume_current=request.volume, setup_msc=terminal.now_msc, comment=request.comment,
        )  # fmt: skip
        order.finish(self.ORDER_STATE_REJECTED, terminal.now_msc)
        self.broker.book.add(order)
        return ticket

    def _result(self, fields: dict[str, Any], result: Result) -> StructSequence:
        tick = self.broker.tick(fields.get("symbol", "")) if result.deal else None
        return make_row(
            structs.OrderSendResult,
            {
                "retcode": result.retcode, "deal": result.deal, "order": result.order, "volume": float(result.volume),
                "price": float(result.price), "bid": tick["bid"] if tick else 0.0, "ask": tick["ask"] if tick else 0.0,
                "comment": COMMENTS.get(result.retcode, ""), "request_id": self._request_id, "retcode_external": 0,
                "request": _request_row(fields),
            },
        )  # fmt: skip

    def _margin(self, asked: tuple[int, str, tuple[float, ...]]) -> float:
        _, symbol, (volume, _) = asked
        self._require_symbol(symbol)
        return round(self.broker.margin_of(symbol, Decimal(repr(volume))), 2)

    def _profit(self, asked: tuple[int, str, tuple[float, ...]]) -> float:
        kind, symbol, (volume, opened, closed) = asked
        self._require_symbol(symbol)
        way = -1 if kind % 2 else 1
        size = float(self.broker.terminal.symbols[symbol].contract_size)
        return round((closed - opened) * way * volume * size, self.broker.terminal.currency_digits)

    def _require_symbol(self, symbol: str) -> None:
        if symbol not in self.broker.terminal.symbols:
            raise TerminalRefused(NOT_FOUND)

    # ---- what is shown

    def _terminal_fields(self) -> Row:
        shown = self.broker.terminal_info(self._folder)
        return shown | {"connected": False} if FakeFault.NOT_CONNECTED in self._wrong else shown

    def _account_fields(self) -> Row:
        shown = self.broker.account()
        if FakeFault.WRONG_LOGIN in self._wrong:
            shown["login"] += 1
        if FakeFault.WRONG_SERVER in self._wrong:
            shown["server"] = "Other-Server"
        return shown

    def _position_rows(self, rows: list[Row]) -> Rows:
        """Return positions as the package has them: made once while they stay as they are."""
        if self._positions is None or self._positions[0] is not rows:
            self._positions = rows, _rows(structs.TradePosition, rows)
        return self._positions[1]

    def _deals(self) -> list[Row]:
        return self._loaded(self.broker.deals())

    def _order_history(self) -> list[Row]:
        return self._loaded(self.broker.order_history())

    def _loaded(self, rows: list[Row]) -> list[Row]:
        """Return the part of the history that the terminal has loaded since the login."""
        if self.broker.loading_calls:
            self.broker.loading_calls -= 1
            rows = rows[: len(rows) // 2]
        return self._spoilt(rows)

    def _spoilt(self, rows: list[Row]) -> list[Row]:
        return self.faults.spoil(rows, self._wrong) if self._wrong else rows

    # ---- the way of every call

    def _call(
        self,
        function: str,
        read: Callable[[], _Arguments],
        run: Callable[[_Arguments], object],
        *,
        refused: Any = None,
        is_starting: bool = False,
    ) -> Any:
        """Run one call: arguments, connection, answer. Leaves ``last_error``; None is an error.

        Args:
            function: Its name.
            read: Reads its arguments.
            run: Makes its answer.
            refused: What it returns for arguments that are refused.
            is_starting: Whether it starts the terminal, so that it needs none.

        Raises:
            SystemError: A number does not fit its C type.
        """
        with self._lock:
            try:
                arguments = read()
                if not is_starting:
                    self._reach_terminal(function)
                answer = run(arguments)
            except ArgumentOverflow as error:
                self._last_error = (-2, str(error))
                raise SystemError(f"<built-in function {function}> returned a result with an exception set") from None
            except ArgumentRefused as error:
                self._last_error = (-2, str(error))
                return refused
            except TerminalRefused as error:
                self._last_error = error.error
                return None
            self._last_error = SUCCESS
            return answer

    def _reach_terminal(self, function: str) -> None:
        """Let the terminal do what is due, and this call go wrong where it has to.

        Raises:
            TerminalRefused: There is no terminal, or a fault keeps it from answering.
        """
        if not self._is_attached:
            is_old = function in _NEEDS_BUILD and not self._knows_build
            raise TerminalRefused(OLD_VERSION if is_old else NO_CONNECTION)
        self.broker.calls += 1
        self._follow_clock()
        settle(self.broker)
        self._wrong = self.faults.next_of(function)
        self._wait()
        if FakeFault.EXIT in self._wrong:
            self.detach()
            raise TerminalRefused(NO_CONNECTION)
        self._fail_wrong()

    def _wait(self) -> None:
        """Block the process for as long as the call takes."""
        wait_ms = self.settings.call_ms + (self.faults.slow_ms if FakeFault.SLOW in self._wrong else 0)
        if wait_ms:
            block(wait_ms)

    def _fail_wrong(self) -> None:
        for fault, error in ERRORS.items():
            if fault in self._wrong:
                raise TerminalRefused(error)

    def _follow_clock(self) -> None:
        if self._clock is None:
            return
        broker, every_ms = self.broker, self.settings.tick_every_ms
        now_msc = broker.terminal.now_msc = max(broker.terminal.now_msc, self._clock())
        if broker.is_market_open and every_ms and now_msc - self._auto_tick_msc >= every_ms:
            self._auto_tick_msc = now_msc
            broker.terminal.tick()

    def _path_differs(self, path: str | None) -> bool:
        known = self.settings.path
        return path is not None and known is not None and _folder_of(path).lower() != _folder_of(known).lower()

    def _is_authorised(self, asked: Login) -> bool:
        own = self.broker.terminal
        return (
            asked.login in (None, own.login)
            and asked.server in (None, own.server)
            and (self.settings.password is None or asked.login is None or asked.password == self.settings.password)
        )

    def _log_in(self, asked: Login) -> bool:
        if not self._is_authorised(asked):
            raise TerminalRefused(AUTHORIZATION_FAILED)
        return True

    def _select(self, asked: tuple[str, bool]) -> bool:
        name, is_shown = asked
        if not self.broker.select(name, is_shown=is_shown):
            raise TerminalRefused(NOT_FOUND)
        return True


def _no_arguments() -> None:
    """Read the arguments of a function that has none."""


def _folder_of(path: str) -> str:
    """Return the folder of a terminal, of which the folder or the program was named."""
    return ntpath.dirname(path) if path.lower().endswith(".exe") else path.rstrip("\\")


def _rows(kind: type[StructSequence], rows: Iterable[Row]) -> Rows:
    return tuple(make_row(kind, row) for row in rows)


def _found(row: Row | None) -> Row:
    if row is None:
        raise TerminalRefused(NOT_FOUND)
    return row


def _of_group(rows: Iterable[Row], group: str | None, *, name: str = "symbol") -> list[Row]:
    return list(rows if group is None else in_group(rows, group, name=name))


def _asked_rows(rows: list[Row], asked: RowFilter) -> list[Row]:
    if asked == RowFilter():
        return rows
    return [
        row
        for row in _of_group(rows, asked.group)
        if asked.symbol in (None, row["symbol"]) and asked.ticket in (None, row["ticket"])
    ]


def _asked_history(rows: Iterable[Row], asked: HistoryFilter, time: str, ticket: str) -> list[Row]:
    """Return what is asked for. By a ticket that is not there: the terminal calls it an error, not nothing."""
    found = [
        row
        for row in _of_group(rows, asked.group)
        if asked.ticket in (None, row[ticket])
        and asked.position in (None, row["position_id"])
        and (asked.from_sec is None or asked.from_sec <= row[time])
        and (asked.to_sec is None or row[time] <= asked.to_sec)
    ]
    if asked.ticket is not None and not found:
        raise TerminalRefused(INVALID_PARAMS)
    return found


def _request_row(fields: Mapping[str, Any]) -> StructSequence:
    return make_row(structs.TradeRequest, {"volume": 0.0} | dict(fields))


def constants() -> Mapping[str, int]:
    """Return name -> value of the package's constants."""
    return {name: value for name, value in vars(Constants).items() if name[0].isupper()}
