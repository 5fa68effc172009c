"""A fake of the package ``MetaTrader5``: an object with its constants, functions and errors, over a simulated terminal."""

from __future__ import annotations

import ntpath
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from ledger.gateway.sandbox.terminal import Terminal
from ledger.testing.mt5 import structs
from ledger.testing.mt5.arguments import (
    ArgumentRefused,
    HistoryFilter,
    Login,
    RowFilter,
    read_dates,
    read_group,
    read_history_filter,
    read_initialize,
    read_login,
    read_nothing,
    read_row_filter,
    read_selection,
    read_symbol,
)
from ledger.testing.mt5.broker import Broker, Row, in_group
from ledger.testing.mt5.constants import Constants
from ledger.testing.mt5.settings import FakeSettings
from ledger.testing.mt5.structs import StructSequence, make_row

_Arguments = TypeVar("_Arguments")
_Result = TypeVar("_Result")
Rows = tuple[StructSequence, ...]

_DEFAULT_FOLDER: Final = r"C:\Program Files\MetaTrader 5"
_PROGRAM: Final = "terminal64.exe"
_RELEASED: Final = "10 Oct 2026"

SUCCESS: Final = (1, "Success")
NO_CONNECTION: Final = (-10004, "No IPC connection")
NOT_FOUND: Final = (-4, "Terminal: Not found")
INVALID_PARAMS: Final = (-2, "Terminal: Invalid params")
AUTHORIZATION_FAILED: Final = (-6, "Terminal: Authorization failed")
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
        terminal: The simulated terminal: positions, deals, money and clock.
        settings: How terminal and broker behave.
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
    ) -> None:
        """Make a module over a terminal.

        Args:
            terminal: What it answers for. None: a new one, on a hedging account without money.
            settings: How terminal and broker behave.
            clock: Returns the present on the server's clock, in msc; None: the clock moves on command and with deals only.
        """
        self.terminal = Terminal() if terminal is None else terminal
        self.settings = settings or FakeSettings()
        self._clock = clock
        self._broker = Broker(self.terminal, self.settings)
        self._is_attached = False
        self._folder = self.settings.path or _DEFAULT_FOLDER
        self._last_error = SUCCESS

    # ---- connection

    def initialize(self, *args: Any, **named: Any) -> bool:
        """Connect to the terminal; start it where it does not run."""
        try:
            asked = read_initialize(args, named)
        except ArgumentRefused as error:
            self._last_error = (-2, str(error))
            return False
        if self._path_differs(asked.path):
            self._last_error = (-10003, f"IPC initialize failed, Process create failed '{asked.path}'")
            return False
        if not self._is_authorised(asked):
            self._last_error = AUTHORIZATION_FAILED
            return False
        if asked.path is not None:
            self._folder = _folder_of(asked.path)
        self._is_attached = True
        self._last_error = SUCCESS
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
        self._last_error = SUCCESS
        return (500, self.settings.build, _RELEASED) if self._is_attached else (0, 0, "")

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the last call of any thread."""
        return self._last_error

    def terminal_info(self, *args: Any, **named: Any) -> Any:
        """Return state and settings of the terminal."""
        return self._call(
            "terminal_info",
            lambda: read_nothing(args, named),
            lambda _: make_row(structs.TerminalInfo, self._broker.terminal_info(self._folder)),
        )

    def account_info(self, *args: Any, **named: Any) -> Any:
        """Return the account that the terminal is logged in to."""
        return self._call(
            "account_info",
            lambda: read_nothing(args, named),
            lambda _: make_row(structs.AccountInfo, self._broker.account()),
        )

    # ---- symbols

    def symbols_total(self, *args: Any, **named: Any) -> Any:
        """Return how many symbols there are."""
        total = self._call("symbols_total", lambda: read_nothing(args, named), lambda _: len(self._broker.symbols()))
        if total is None and not self._is_attached:
            self._last_error = OLD_VERSION
        return total

    def symbols_get(self, *args: Any, **named: Any) -> Any:
        """Return all symbols, or those of a group."""
        return self._call(
            "symbols_get",
            lambda: read_group(args, named),
            lambda group: _rows(structs.SymbolInfo, _of_group(self._broker.symbols(), group, name="name")),
        )

    def symbol_info(self, *args: Any, **named: Any) -> Any:
        """Return a symbol's specification and present prices."""
        return self._call(
            "symbol_info",
            lambda: read_symbol(args, named),
            lambda symbol: make_row(structs.SymbolInfo, _found(self._broker.symbol(symbol))),
        )

    def symbol_info_tick(self, *args: Any, **named: Any) -> Any:
        """Return a symbol's last tick."""
        return self._call(
            "symbol_info_tick",
            lambda: read_symbol(args, named),
            lambda symbol: make_row(structs.Tick, _found(self._broker.tick(symbol))),
        )

    def symbol_select(self, *args: Any, **named: Any) -> bool:
        """Add a symbol to the Market Watch, or remove it."""
        return self._call("symbol_select", lambda: read_selection(args, named), self._select) or False

    # ---- positions, orders, history

    def positions_total(self, *args: Any, **named: Any) -> Any:
        """Return how many positions are open."""
        return self._call("positions_total", lambda: read_nothing(args, named), lambda _: len(self._broker.positions()))

    def positions_get(self, *args: Any, **named: Any) -> Any:
        """Return the open positions: all, of a symbol, of a group, or one ticket."""
        return self._call(
            "positions_get",
            lambda: read_row_filter("positions_get", args, named),
            lambda asked: _rows(structs.TradePosition, _asked_rows(self._broker.positions(), asked)),
        )

    def orders_total(self, *args: Any, **named: Any) -> Any:
        """Return how many orders are active."""
        return self._call("orders_total", lambda: read_nothing(args, named), lambda _: len(self._broker.orders()))

    def orders_get(self, *args: Any, **named: Any) -> Any:
        """Return the active orders: all, of a symbol, of a group, or one ticket."""
        return self._call(
            "orders_get",
            lambda: read_row_filter("orders_get", args, named),
            lambda asked: _rows(structs.TradeOrder, _asked_rows(self._broker.orders(), asked)),
        )

    def history_orders_total(self, *args: Any, **_named: Any) -> Any:
        """Return how many finished orders a span of server time has."""
        return self._call(
            "history_orders_total",
            lambda: read_dates("history_orders_total", args),
            lambda span: len(_asked_history(self._broker.order_history(), HistoryFilter(*span), "time_done", "ticket")),
        )

    def history_orders_get(self, *args: Any, **named: Any) -> Any:
        """Return finished orders: of a span of server time, of a position, or one ticket."""
        return self._call(
            "history_orders_get",
            lambda: read_history_filter("history_orders_get", args, named),
            lambda asked: _rows(structs.TradeOrder, _asked_history(self._broker.order_history(), asked, "time_done", "ticket")),
        )

    def history_deals_total(self, *args: Any, **_named: Any) -> Any:
        """Return how many deals a span of server time has."""
        return self._call(
            "history_deals_total",
            lambda: read_dates("history_deals_total", args),
            lambda span: len(_asked_history(self._broker.deals(), HistoryFilter(*span), "time", "order")),
        )

    def history_deals_get(self, *args: Any, **named: Any) -> Any:
        """Return deals: of a span of server time, of a position, or of one order (``ticket``)."""
        return self._call(
            "history_deals_get",
            lambda: read_history_filter("history_deals_get", args, named),
            lambda asked: _rows(structs.TradeDeal, _asked_history(self._broker.deals(), asked, "time", "order")),
        )

    # ---- the way of every call

    def _call(self, function: str, read: Callable[[], _Arguments], run: Callable[[_Arguments], _Result]) -> _Result | None:
        """Run one call: arguments, connection, answer. Leaves ``last_error``; None is an error."""
        try:
            arguments = read()
        except ArgumentRefused as error:
            self._last_error = (-2, str(error))
            return None
        try:
            self._require_terminal(function)
            self._follow_clock()
            result = run(arguments)
        except TerminalRefused as error:
            self._last_error = error.error
            return None
        self._last_error = SUCCESS
        return result

    def _require_terminal(self, _function: str) -> None:
        if not self._is_attached:
            raise TerminalRefused(NO_CONNECTION)

    def _follow_clock(self) -> None:
        if self._clock is not None:
            self.terminal.now_msc = max(self.terminal.now_msc, self._clock())

    def _path_differs(self, path: str | None) -> bool:
        known = self.settings.path
        return path is not None and known is not None and _folder_of(path).lower() != _folder_of(known).lower()

    def _is_authorised(self, asked: Login) -> bool:
        own = self.terminal
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
        if not self._broker.select(name, is_shown=is_shown):
            raise TerminalRefused(NOT_FOUND)
        return True


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


def _asked_rows(rows: Iterable[Row], asked: RowFilter) -> list[Row]:
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


def constants() -> Mapping[str, int]:
    """Return name -> value of the package's constants."""
    return {name: value for name, value in vars(Constants).items() if name[0].isupper()}
