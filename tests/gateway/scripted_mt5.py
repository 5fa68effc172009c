"""A module with MetaTrader 5's calls that returns what a test sets, and everything that it was asked."""

from __future__ import annotations

from typing import Any, Final

NO_CONNECTION: Final = (-10004, "No IPC connection")
TIMED_OUT: Final = (-10005, "Timeout")
FOLDER: Final = "C:\\Terminal"
PROGRAM: Final = "C:\\Terminal\\terminal64.exe"
OPENED_MSC: Final = 1_767_607_200_123
UTC_MSC: Final = 1_767_600_000_000


class Record:
    """A record as the module returns it: its fields as attributes, and ``_asdict``."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def _asdict(self) -> dict[str, Any]:
        return dict(self.__dict__)


def position(ticket: int, /, **fields: Any) -> Record:
    row = {
        "ticket": ticket, "identifier": ticket, "symbol": "EURUSD", "type": 0, "volume": 0.1, "price_open": 1.05433, "sl": 0.0,
        "tp": 0.0, "profit": 1.2, "swap": 0.0, "magic": 770115, "comment": "", "reason": 3, "external_id": "",
        "time": OPENED_MSC // 1000, "time_msc": OPENED_MSC, "time_update": OPENED_MSC // 1000, "time_update_msc": OPENED_MSC,
    }  # fmt: skip
    return Record(**(row | fields))


def deal(ticket: int, /, **fields: Any) -> Record:
    row = {
        "ticket": ticket, "order": ticket, "time": OPENED_MSC // 1000, "time_msc": OPENED_MSC, "type": 0, "entry": 0,
        "magic": 770115, "position_id": ticket, "reason": 3, "volume": 0.1, "price": 1.05433, "commission": -0.3, "swap": 0.0,
        "profit": 0.0, "fee": 0.0, "symbol": "EURUSD", "comment": "", "external_id": "",
    }  # fmt: skip
    return Record(**(row | fields))


class ScriptedMt5:
    """The calls that read, over a few lists. ``errors`` names calls that return None, with their ``last_error``."""

    def __init__(self, *positions: Record, deals: tuple[Record, ...] = (), is_attached: bool = False) -> None:
        self.asked: list[str] = []
        self.given: list[tuple[Any, dict[str, Any]]] = []
        self.positions = positions
        self.deals = deals
        self.orders: tuple[Record, ...] = ()
        self.totals: list[int] = []  # what positions_total returns first
        self.ticks: dict[str, int] = {}
        self.account: dict[str, Any] = {
            "login": 70113, "server": "Broker-Live", "currency": "USD", "currency_digits": 2, "margin_mode": 2,
            "balance": 10000.0, "credit": 0.0, "equity": 10001.2, "trade_allowed": True, "name": "A Person",
        }  # fmt: skip
        self.terminal: dict[str, Any] = {
            "connected": True, "trade_allowed": True, "tradeapi_disabled": False, "path": FOLDER, "build": 5836,
        }  # fmt: skip
        self.symbols: tuple[Record, ...] = ()
        self.errors: dict[str, list[tuple[int, str] | Exception]] = {}
        self.is_attached = is_attached
        self._error: tuple[int, str] = (1, "Success")

    def fail(self, call: str, *errors: tuple[int, str] | Exception) -> None:
        """Let the next calls of a name fail, one after another."""
        self.errors.setdefault(call, []).extend(errors)

    def _answer(self, call: str, value: Any, *args: Any, **given: Any) -> Any:
        self.asked.append(call)
        self.given.append((args, given))
        failing = self.errors.get(call)
        error = failing.pop(0) if failing else None
        if isinstance(error, Exception):
            raise error
        if error is None and not self.is_attached:
            error = NO_CONNECTION
        self._error = error or (1, "Success")
        return value if error is None else None

    def initialize(self, **given: Any) -> bool:
        self.is_attached = True
        return self._answer("initialize", True, **given) or False

    def shutdown(self) -> bool:
        self.asked.append("shutdown")
        self.is_attached = False
        return True

    def last_error(self) -> tuple[int, str]:
        return self._error

    def account_info(self) -> Any:
        return self._answer("account_info", Record(**self.account))

    def terminal_info(self) -> Any:
        return self._answer("terminal_info", Record(**self.terminal))

    def positions_get(self) -> Any:
        return self._answer("positions_get", self.positions)

    def positions_total(self) -> Any:
        return self._answer("positions_total", self.totals.pop(0) if self.totals else len(self.positions))

    def orders_get(self) -> Any:
        return self._answer("orders_get", self.orders)

    def history_deals_get(self, *span: int, **filters: int) -> Any:
        found = [
            one
            for one in self.deals
            if one._asdict()["position_id"] == filters.get("position", one._asdict()["position_id"])
            and (not span or span[0] <= one._asdict()["time_msc"] / 1000 <= span[1])
        ]
        return self._answer("history_deals_get", tuple(found), *span, **filters)

    def symbols_get(self) -> Any:
        return self._answer("symbols_get", self.symbols)

    def symbol_info_tick(self, symbol: str) -> Any:
        time_msc = self.ticks.get(symbol)
        if time_msc is None:
            self.fail("symbol_info_tick", (-4, "Not found"))
        return self._answer("symbol_info_tick", Record(time_msc=time_msc, bid=1.0, ask=1.0))
