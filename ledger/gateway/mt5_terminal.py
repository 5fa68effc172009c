"""A terminal as the official ``MetaTrader5`` module shows it: its calls as plain rows, its errors as the ledger's.

The module is passed in: the official one, an object with the same calls (``mt5linux``), or a fake. It returns None for an
error and leaves the reason in ``last_error``; here None is never an empty list. Nothing in this module waits or retries but
where a rule of MetaTrader 5 asks for it, and nothing of it needs a database.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PureWindowsPath
from threading import RLock
from typing import Any, Final, TypeVar

from ledger.clock import DAY_MSC, SECOND_MSC, TIME_MAX_MSC
from ledger.errors import BadValue, GatewayError, GatewayRefused, GatewayTimeout, GatewayUnavailable, SnapshotRefused
from ledger.mt5 import DEAL_TYPE_NAMES, ENTRY_NAMES, LAST_ERRORS, MARGIN_MODE_NAMES, SIDE_NAMES, name_of, to_row
from ledger.values import INT64_MAX, require_type, shown, to_amount, to_text, to_whole

Row = dict[str, Any]
LastError = tuple[int, str]
_Value = TypeVar("_Value")

#: How long the terminal may take to start and log in, in milliseconds (``timeout`` of ``initialize``).
TIMEOUT_MS: Final = 60_000

_TIMEOUT: Final = -10005
_UNAVAILABLE: Final = range(-10004, -10000)
_EXPIRED: Final = "result expired"  # mt5linux, where the call did not return in time
_NOT_FOUND: Final = (-2, "Terminal: Invalid params")  # history by a ticket that the terminal does not know
_LOST_BELOW: Final = -2  # an error below it may mean another terminal, another account, or none

_RECENT_MSC: Final = 60 * SECOND_MSC
#: How far back the newest deal is looked for, until one is found: most often the first will do, and it is read each time the
#: program starts.
_FIRST_LOOKS_MSC: Final = (2 * DAY_MSC, 32 * DAY_MSC, TIME_MAX_MSC)
_OFFSET_MAX_MSC: Final = 16 * 60 * 60 * SECOND_MSC  # no server's clock is further from UTC
_TICKS_MAX: Final = 8  # symbols whose newest price is asked for, those traded last

_ACCOUNT: Final = (
    "login",
    "server",
    "currency",
    "currency_digits",
    "margin_mode",
    "balance",
    "credit",
    "equity",
    "margin",
    "limit_orders",
)
#: What a symbol is called in the module -> in our protocol.
_SYMBOL: Final[Mapping[str, str]] = {
    "name": "symbol",
    "digits": "digits",
    "volume_step": "volume_step",
    "volume_min": "volume_min",
    "volume_max": "volume_max",
    "trade_contract_size": "contract_size",
    "currency_profit": "currency_profit",
    "filling_mode": "filling_mode",
    "trade_stops_level": "stops_level",
    "point": "point",
    "trade_tick_size": "tick_size",
}
_RLOCK: Final = type(RLock())
_NOT_SENT: Final = (SystemError, AttributeError)  # an argument that does not fit; a call that an object has not
_PLAIN: Final = (int, str, bool)


def error_of(call: str, code: int, text: str) -> GatewayError:
    """Return the ledger's error for what ``last_error`` reports after a call.

    Args:
        call: Name of the call.
        code: The code; 1 where the module returned None and reports success.
        text: Its text.
    """
    known = LAST_ERRORS.get(code)
    reason = f"{code} {text}" + (f" ({known})" if known and known.lower() != text.lower() else "")
    if code == _TIMEOUT or _EXPIRED in text.lower():
        return GatewayTimeout(f"MetaTrader 5 {call}: {reason}. What the terminal has is unknown; it is asked again later")
    if code in _UNAVAILABLE:
        return GatewayUnavailable(f"MetaTrader 5 {call}: {reason}. Is terminal64.exe running, and logged in?")
    return GatewayRefused(f"MetaTrader 5 {call}", code=str(code), detail=text or known)


class Mt5Terminal:
    """A terminal behind the module, one call at a time. Rows are plain dicts with words for the codes that have one.

    The checks of a start (``initialize``; login, server and path as expected) run at the first use and again after every
    error below -2. A module that the program has attached already is never attached to another terminal or account: then it is
    refused. If neither path nor account is named, it is only checked, as ``initialize`` could choose another terminal.

    Args:
        mt5: The module, or an object with its calls.
        path: The terminal's program. Without it the module chooses one, and may choose another one next time.
        login: The account that is expected.
        server: Its trade server.
        password: Passed to ``initialize`` and nowhere else; without it the terminal uses the one that it has stored.
        portable: Start the terminal in portable mode.
        timeout_ms: How long ``initialize`` may take, and how long to wait for another thread's call.
        lock: Serialises the calls: an ``RLock`` that your own calls of the module use too, as ``last_error`` is one for all
            threads. Without it the calls of this object are serialised among themselves.
        monotonic: Seconds that only rise.
        utc_ms: The present in UTC milliseconds.
        backoff_max_sec: After a start that failed, the next one waits: 1 s, then twice as long each time, up to this. 0 for a
            caller that keeps an interval of its own.

    Attributes:
        last_error: What the module reported for the call that failed last; None before one did.
        reconnections: How often the checks succeeded after an error below -2.

    Raises:
        BadValue: An argument is not what it has to be.
    """

    def __init__(
        self,
        mt5: Any,
        *,
        path: str | os.PathLike[str] | None = None,
        login: int | None = None,
        server: str | None = None,
        password: str | None = None,
        portable: bool = False,
        timeout_ms: int = TIMEOUT_MS,
        lock: Any = None,
        monotonic: Callable[[], float] = time.monotonic,
        utc_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        backoff_max_sec: float = 0,
    ) -> None:
        _require_calls(mt5)
        self.last_error: LastError | None = None
        self.reconnections = 0
        self.login = None if login is None else to_whole(login, 0, INT64_MAX, "a login")
        self.server = None if server is None else to_text(server, "the name of a trade server")
        self.path = None if path is None else _to_path(path)
        self.timeout_ms = to_whole(timeout_ms, 1, DAY_MSC, "timeout_ms")
        self._mt5 = mt5
        self._start: Row = {"timeout": self.timeout_ms}
        for name, value in (("path", self.path), ("login", self.login), ("server", self.server), ("password", password)):
            if value is not None:
                self._start[name] = value
        self._is_named = len(self._start) > 1
        if password is not None and not isinstance(password, str):
            raise BadValue(f"expected the password as text, found one of type {type(password).__name__}")
        if require_type(portable, bool, "portable as True or False"):
            self._start["portable"] = True
        self._lock = RLock() if lock is None else require_type(lock, _RLOCK, "a lock of the type RLock")
        self._monotonic = monotonic
        self._utc_ms = utc_ms
        self._backoff_max_sec = to_amount(backoff_max_sec, 0, "backoff_max_sec")
        self._is_checked = False
        self._is_lost = False
        self._is_ours: bool | None = None  # whether we attached the module, and so detach it; None before the first attempt
        self._is_closed = False
        self._failures = 0
        self._next_start = -math.inf
        self._failed_with = ""
        self._folder: str | None = None  # of the terminal that was there at the first check
        self._account: tuple[Any, Any] | None = None
        self._newest_msc: int | None = None
        self._moved_at = 0.0  # when the newest time was first seen
        self._newest_deal_msc: int | None = None
        self._traded: dict[str, None] = {}  # symbols, the last traded last
        self._looked_at_symbols = False
        self._looks_for_deals = True  # the newest deal is looked for all the way back, once

    def close(self) -> None:
        """Detach the module from the terminal, if we attached it. The terminal goes on."""
        with self.turn():
            if not self._is_closed and self._is_ours:
                with suppress(GatewayError):  # the other end is gone already
                    self._guarded("shutdown")
            self._is_closed = True

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock over several calls.

        Raises:
            GatewayTimeout: Another thread's call was under way for ``timeout_ms``.
        """
        if not self._lock.acquire(timeout=self.timeout_ms / 1000):
            raise GatewayTimeout(f"MetaTrader 5: another call was under way for {self.timeout_ms} ms")
        try:
            yield
        finally:
            self._lock.release()

    # ---- what is read

    def with_head(self, read: Callable[[], _Value]) -> tuple[Row, _Value]:
        """Return the head of an answer, and what a read returns. It is the same account before and after, or it is refused.

        Raises:
            SnapshotRefused: A person logged in to another account meanwhile, or as ``head``.
            GatewayError: As every call.
        """
        with self.turn():
            before, value, after = self.head(), read(), self.head()
        for name in ("login", "server"):
            if before[name] != after[name]:
                raise SnapshotRefused(
                    f"expected {shown(before[name])} throughout, the terminal logged in to {shown(after[name])} while it was "
                    "being read",
                    field=name,
                )
        return after | {"connected": before["connected"] and after["connected"]}, value

    def head(self) -> Row:
        """Return of which account and terminal the answers are, and what the account may do.

        ``login``, ``server``, ``margin_mode``, ``connected`` and ``server_time_msc`` are the head of an answer.
        ``server_time_msc`` is the newest time of any tick, order, deal or position that was seen, on the server's clock; None
        before the first. ``path`` is the terminal's folder.

        Raises:
            SnapshotRefused: It is another login, server or terminal than expected, or it is logged in to none.
            GatewayError: As every call.
        """
        with self.turn():
            self._ready()
            return self._read_head()

    def refresh_clock(self) -> int | None:
        """Read the newest deals and prices, and return the newest server time seen. None: nothing was ever seen.

        At first the newest deal is looked for as far back as there are any. The prices are those of the symbols traded last;
        where none was traded, at first those of all symbols. A closed market moves no clock; nothing is presumed then.
        """
        with self.turn():
            self._ready()
            with suppress(GatewayRefused):  # the time is then that of what else is seen; who asks for deals gets the error
                self._read_newest_deals()
            if not self._traded and not self._looked_at_symbols:
                self._looked_at_symbols = True
                with suppress(GatewayRefused):
                    self.symbols()
            for symbol in list(self._traded)[-_TICKS_MAX:]:
                self._read_tick(symbol)
            return self._newest_msc

    def positions(self) -> list[Row]:
        """Return all open positions. Their number has to be the one that ``positions_total`` reports.

        Raises:
            SnapshotRefused: It is another, twice; or a row is no plain record.
            GatewayError: As every call.
        """
        with self.turn():
            self._ready()
            rows, total = self._counted_positions()
            if total != len(rows):
                rows, total = self._counted_positions()  # one may have been opened or closed in between
            if total != len(rows):
                raise SnapshotRefused(
                    f"expected the {shown(total)} positions of positions_total, positions_get returned {len(rows)}, twice",
                    field="count",
                )
            return rows

    def poll(self) -> tuple[list[Row], list[Row]]:
        """Return the working orders and the open positions with two calls and no more, to see whether something changed."""
        with self.turn():
            self._ready()
            return self._read_orders(), self._read_positions()

    def orders(self) -> list[Row]:
        """Return the working orders, with codes as the module has them."""
        with self.turn():
            self._ready()
            return self._read_orders()

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> list[Row]:
        """Return the deals of a span of server time, both ends included, or those of one position.

        Without ``to_msc`` up to a day after the server's present, as the terminal reads a span by a clock of its own.
        """
        with self.turn():
            self._ready()
            if position is not None:
                rows = self._read_deals_of(position)
            else:
                latest_msc = self._latest_msc() if to_msc is None else to_msc
                rows = self._read_deals(0 if from_msc is None else from_msc, latest_msc)
            low, high = from_msc or 0, math.inf if to_msc is None else to_msc
            return [row for row in rows if (time_msc := _time_of(row)) is None or low <= time_msc <= high]

    def account(self) -> Row:
        """Return the account: its currency, margin mode and money."""
        with self.turn():
            self._ready()
            row = self._one("account_info")
            found = {name: row.get(name) for name in _ACCOUNT}
            found["margin_mode"] = name_of(row.get("margin_mode"), MARGIN_MODE_NAMES)
            return found

    def symbols(self) -> list[Row]:
        """Return the specifications of all symbols of the broker."""
        with self.turn():
            self._ready()
            return [self._symbol_row(one, number) for number, one in enumerate(self._ask("symbols_get"), 1)]

    # ---- the checks of a start

    def _ready(self) -> None:
        """Run the checks of a start where they are due."""
        if self._is_closed:
            raise GatewayUnavailable("MetaTrader 5: this gateway was closed")
        if self._is_checked:
            return
        left_sec = self._next_start - self._monotonic()
        if left_sec > 0:
            raise GatewayUnavailable(f"{self._failed_with} (tried again in {math.ceil(left_sec)} s)")
        try:
            self._attach()
            self._read_head()
        except SnapshotRefused:  # another account or terminal: it is looked at each time
            raise
        except GatewayError as error:
            self._next_start = self._monotonic() + min(2.0**self._failures, self._backoff_max_sec)
            self._failures = min(self._failures + 1, 10)
            self._failed_with = str(error)
            raise
        self._failures, self._is_checked = 0, True
        if self._is_lost:
            self._is_lost = False
            self.reconnections += 1

    def _attach(self) -> None:
        """Initialise the module. One that the program has attached to another terminal or account is refused as it is."""
        if self._is_ours is None:
            is_attached = self._guarded("terminal_info") is not None
            if is_attached:
                self._read_head()  # refuses it, this time and the next
            self._is_ours = not is_attached
            if is_attached and not self._is_named:
                return
        if self._guarded("initialize", lambda: self._mt5.initialize(**self._start)) is not True:
            raise self._failure("initialize")

    def _read_head(self) -> Row:
        account, terminal = (
            self._one("account_info"),
            self._one("terminal_info"),
        )
        login, server, folder = account.get("login"), account.get("server"), terminal.get("path")
        if not login or not server:
            raise SnapshotRefused("the terminal is logged in to no account: log in there", field="login")
        for name, found, expected in (("login", login, self.login), ("server", server, self.server)):
            if expected is not None and found != expected:
                raise SnapshotRefused(
                    f"expected {expected}, the terminal is logged in to {shown(found)}: log in to the account again, or name "
                    "the terminal that is (path)",
                    field=name,
                )
        self._check_folder(folder)
        if (login, server) != self._account:  # another server has another clock
            self._account, self._newest_msc, self._newest_deal_msc = (login, server), None, None
            self._traded, self._looked_at_symbols, self._looks_for_deals = {}, False, True
        return {
            "login": login,
            "server": server,
            "margin_mode": name_of(account.get("margin_mode"), MARGIN_MODE_NAMES),
            "connected": terminal.get("connected"),
            "server_time_msc": self._newest_msc,
            "trade_allowed": bool(account.get("trade_allowed"))
            and bool(terminal.get("trade_allowed"))
            and not terminal.get("tradeapi_disabled"),
            "path": folder,
            "data_path": terminal.get("data_path"),
            "build": terminal.get("build"),
        }

    def _check_folder(self, folder: Any) -> None:
        expected = self.path or self._folder
        if expected is not None and not (isinstance(folder, str) and _is_same_folder(expected, folder)):
            raise SnapshotRefused(
                f"expected the terminal {expected}, the module is attached to {shown(folder)}: one process can be attached to "
                "one terminal only. Name it with path, and use a process for each terminal",
                field="path",
            )
        self._folder = folder if isinstance(folder, str) else self._folder

    # ---- the calls

    def _counted_positions(self) -> tuple[list[Row], Any]:
        return self._read_positions(), self._ask("positions_total")

    def _read_positions(self) -> list[Row]:
        rows = self._rows("positions_get")
        for row in rows:
            row["type"] = name_of(row.get("type"), SIDE_NAMES)
            self._see(row.get("time_msc"), row.get("time_update_msc"))
            self._see_symbol(row.get("symbol"))
        return rows

    def _read_orders(self) -> list[Row]:
        rows = self._rows("orders_get")
        for row in rows:
            self._see(row.get("time_setup_msc"))
        return rows

    def _read_deals(self, from_msc: int, to_msc: int) -> list[Row]:
        """Return the deals of the whole seconds that a span reaches into."""
        first = max(0, min(from_msc, TIME_MAX_MSC)) // SECOND_MSC
        last = -(-max(0, min(to_msc, TIME_MAX_MSC)) // SECOND_MSC)
        return self._seen_deals(self._rows("history_deals_get", lambda: self._mt5.history_deals_get(first, last)))

    def _read_deals_of(self, position: int) -> list[Row]:
        try:
            rows = self._rows("history_deals_get", lambda: self._mt5.history_deals_get(position=position))
        except GatewayRefused:
            if self.last_error != _NOT_FOUND:
                raise
            return []
        return self._seen_deals(rows)

    def _seen_deals(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            row["type"] = name_of(row.get("type"), DEAL_TYPE_NAMES)
            row["entry"] = name_of(row.get("entry"), ENTRY_NAMES)
            self._see(row.get("time_msc"))
            self._newest_deal_msc = max(self._newest_deal_msc or 0, _time_of(row) or 0) or None
            self._see_symbol(row.get("symbol"))
        return rows

    def _read_tick(self, symbol: str) -> None:
        """Note the time of a symbol's newest price. A symbol without one shows nothing."""
        try:
            tick = self._guarded("symbol_info_tick", lambda: self._mt5.symbol_info_tick(symbol))
        except GatewayRefused:  # an object without this call
            return
        if tick is not None:
            self._see(to_row(tick).get("time_msc"))
            return
        code, text = self._read_last_error()
        if code in _UNAVAILABLE or code == _TIMEOUT:
            raise self._note(error_of("symbol_info_tick", code, text), code, text)

    def _symbol_row(self, symbol: Any, number: int) -> Row:
        """Return what is asked of a symbol, of the hundred fields that it has."""
        found = _copied_row(symbol, number)
        row = {ours: found.get(theirs) for theirs, ours in _SYMBOL.items()}
        _require_plain(row, number)
        if type(found.get("time")) is int:
            self._see(found["time"] * SECOND_MSC)
        return row

    def _read_newest_deals(self) -> None:
        """Read the deals since the newest one seen. A closing deal shows in no position, and a closed market has no prices."""
        latest_msc = self._latest_msc()
        if self._newest_deal_msc is not None:
            self._read_deals(self._newest_deal_msc - _RECENT_MSC, latest_msc)
            return
        for back_msc in _FIRST_LOOKS_MSC if self._looks_for_deals else _FIRST_LOOKS_MSC[:1]:
            if self._read_deals(latest_msc - back_msc, latest_msc):
                break
        self._looks_for_deals = False

    def _latest_msc(self) -> int:
        """Return the server's present and a day, whatever clock it has."""
        return max(self._newest_msc or 0, self._utc_ms() + _OFFSET_MAX_MSC) + DAY_MSC

    def _see(self, *times: Any) -> None:
        for time_msc in times:
            if type(time_msc) is int and (self._newest_msc or 0) < time_msc <= TIME_MAX_MSC:
                self._newest_msc, self._moved_at = time_msc, self._monotonic()

    def _see_symbol(self, symbol: Any) -> None:
        if isinstance(symbol, str) and symbol:
            self._traded.pop(symbol, None)
            self._traded[symbol] = None

    # ---- one call

    def _rows(self, name: str, call: Callable[[], Any] | None = None) -> list[Row]:
        return [_plain_row(record, number) for number, record in enumerate(self._ask(name, call), 1)]

    def _one(self, name: str) -> Row:
        return _plain_row(self._ask(name), None)

    def _ask(self, name: str, call: Callable[[], Any] | None = None) -> Any:
        """Make a call of the module, without arguments where it is not written out; what it returns is never None.

        Those with arguments are written out where they are made: the module counts an empty ``**{}`` as one and refuses it.
        """
        answer = self._guarded(name, call)
        if answer is None:
            raise self._failure(name)
        return answer

    def _guarded(self, name: str, call: Callable[[], Any] | None = None) -> Any:
        """Make a call, and raise the ledger's error for whatever it raises: the other end may be a proxy."""
        try:
            return getattr(self._mt5, name)() if call is None else call()
        except Exception as error:  # noqa: BLE001  # the other end may be a proxy, with errors of its own
            words = self._without_password(str(error))
            text = f"{type(error).__name__}: {words}"
            cause = error if words == str(error) else None  # a proxy's error may quote the call
            if isinstance(error, _NOT_SENT):
                raise self._note(
                    GatewayRefused(f"MetaTrader 5 {name}", code=type(error).__name__, detail=words), -2, text
                ) from cause
            if isinstance(error, TimeoutError) or _EXPIRED in str(error).lower():
                raise self._note(error_of(name, _TIMEOUT, text), _TIMEOUT, text) from cause
            raise self._note(
                GatewayUnavailable(f"MetaTrader 5 {name}: the module raised {text}. Is the other end still there?"),
                -10002,
                text,
            ) from cause

    def _failure(self, name: str) -> GatewayError:
        code, text = self._read_last_error()
        return self._note(error_of(name, code, text), code, text)

    def _read_last_error(self) -> LastError:
        found = self._guarded("last_error")
        try:
            return int(found[0]), self._without_password(str(found[1]))
        except (TypeError, ValueError, LookupError):
            return -1, f"last_error returned {shown(found)}"

    def _without_password(self, text: str) -> str:
        password = self._start.get("password")
        return text.replace(password, "(password)") if password else text

    def _note(self, error: GatewayError, code: int, text: str) -> GatewayError:
        """Note what was reported; after an error below -2 the checks of a start are due again before anything is read."""
        self.last_error = (code, text)
        if code < _LOST_BELOW:
            self._is_lost = self._is_lost or self._is_checked
            self._is_checked = False
        return error


def _to_path(value: object) -> str:
    try:
        return to_text(os.fspath(value), "the path of the terminal")  # type: ignore[call-overload]  # or it raises
    except TypeError:
        raise BadValue(f"expected the path of the terminal as text or a Path, found {shown(value)}") from None


def _require_calls(mt5: Any) -> None:
    """Refuse what is no module of MetaTrader 5."""
    missing = [name for name in ("initialize", "last_error", "account_info", "positions_get") if not hasattr(mt5, name)]
    if missing:
        raise BadValue(
            f"expected the MetaTrader5 module or an object with its calls, found {shown(mt5)} without {', '.join(missing)}"
        )


def _copied_row(record: Any, number: int | None) -> Row:
    try:
        return to_row(record)
    except BadValue as error:
        raise SnapshotRefused(str(error), row=number) from error


def _plain_row(record: Any, number: int | None) -> Row:
    row = _copied_row(record, number)
    _require_plain(row, number)
    return row


def _require_plain(row: Row, number: int | None) -> None:
    """Refuse a value that is no number or text: a proxy that is not copied, or a double that is no number."""
    for name, value in row.items():
        kind = type(value)
        if (kind is float and not math.isfinite(value)) or (kind is not float and kind not in _PLAIN and value is not None):
            raise SnapshotRefused(f"expected a number or a text, found {shown(value)}", row=number, field=str(name))


def _time_of(row: Row) -> int | None:
    """Return the time of a deal in milliseconds; None where it has none, which is for the strict reader to refuse."""
    time_msc = row.get("time_msc")
    return time_msc if type(time_msc) is int and time_msc > 0 else None


def _is_same_folder(expected: str, folder: str) -> bool:
    """Return whether a terminal's program, or its folder, is in a folder. A file system may have several names for one."""
    wanted = PureWindowsPath(expected)
    wanted = wanted.parent if wanted.suffix.lower() == ".exe" else wanted
    if wanted == PureWindowsPath(folder):
        return True
    try:
        return os.path.samefile(wanted, folder)  # noqa: PTH121  # text, and on this machine only if there is such a folder
    except (OSError, ValueError):
        return False
