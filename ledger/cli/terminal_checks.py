"""A checklist for a person with a real terminal: what MetaTrader 5 does there that no build machine can show.

Nothing is sent that trades. Each line shows what was seen; those that only an order could show are listed as not run.
"""

from __future__ import annotations

import os
import platform
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from ledger.clock import DAY_MSC, utc_text
from ledger.errors import LedgerError, SnapshotRefused
from ledger.gateway.metatrader5 import MetaTrader5Gateway
from ledger.gateway.mt5_module import load_module
from ledger.gateway.mt5_terminal import Mt5Terminal, Row
from ledger.mt5 import to_row

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
UNAVAILABLE: Final = "unavailable"
NOT_RUN: Final = "not run"

_CALLS: Final = 50
_SLOW_MS: Final = 1_000
_HISTORY_MSC: Final = 30 * DAY_MSC
_NO_TICKET: Final = 1  # of no order or position of our time
_COMMENT_MAX: Final = 27
_BEAT_SEC: Final = 0.001

#: One line of the list: what, how it is, what was seen, what to do.
Line = tuple[str, str, str, str]

_ONLY_BY_ORDERS: Final = (
    ("errors after a send", "whether -8 and -10004 can follow an order that was sent"),
    ("order in no list", "how long a finished order is neither in orders_get nor in history_orders_get"),
    ("order after a reconnect", "whether the terminal delivers a request once the broker is there again"),
    ("longest order_send", "180 s are reported by one operator at a rollover"),
    ("comment of 28 and 29", "how many characters of a comment the broker takes: at most 27 are used"),
)


def check_terminal(address: str, path: str | None) -> Iterator[Line]:
    """Look at a terminal through a module. Yields line after line as they are known."""
    try:
        mt5 = load_module(address)
        terminal = Mt5Terminal(mt5, path=path)
    except LedgerError as error:
        yield "module", FAILED, str(error), ""
        return
    yield from _program(mt5)
    began = time.monotonic()
    try:
        head = terminal.head()
    except LedgerError as error:
        yield (
            "initialize",
            UNAVAILABLE if error.retryable else FAILED,
            str(error),
            "start the terminal, log in, allow algo trading",
        )
        return
    yield "initialize", OK, f"{(time.monotonic() - began) * 1000:.0f} ms, with the path {path or 'that the module chose'}", ""
    try:
        yield from _identity(mt5, terminal, head)
        for check in (
            _positions,
            _orders,
            _deals,
            _comments,
            _unknown_tickets,
            _clock,
            _symbols,
            _call_times,
            _lock,
            _snapshot,
        ):
            yield from _guarded(check, mt5, terminal)
    finally:
        terminal.close()
    yield from ((name, NOT_RUN, f"{what}: only an order could show it", "") for name, what in _ONLY_BY_ORDERS)


def _guarded(check: Callable[[Any, Mt5Terminal], Iterator[Line]], mt5: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    """Run one check; whatever goes wrong is what was seen."""
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(mt5, terminal)
    except LedgerError as error:
        yield name, UNAVAILABLE if error.retryable else FAILED, str(error), ""
    except Exception as error:  # noqa: BLE001  # a module of which nothing is known may raise anything, and the list goes on
        yield name, FAILED, f"{type(error).__name__}: {error}", "please report it"


def _program(mt5: Any) -> Iterator[Line]:
    version = getattr(mt5, "__version__", "without a version")
    bits = struct.calcsize("P") * 8
    seen = f"{getattr(mt5, '__name__', type(mt5).__name__)} {version}, Python {platform.python_version()}, {bits} bit"
    yield "module", OK, f"{seen}, {platform.system()}", ""
    session = _session()
    if session is None:
        yield "session", NOT_RUN, "only Windows has sessions", ""
    elif session == 0:
        advice = "unverified there: run it at log-on, in the session of the user"
        yield "session", WARNING, "0, that of services: the terminal is a desktop program", advice
    else:
        yield "session", OK, f"{session}, an interactive one", ""


def _session() -> int | None:
    """Return the number of the Windows session of this process; None elsewhere."""
    import ctypes

    kernel = getattr(ctypes, "windll", None)
    if kernel is None:
        return None
    number = ctypes.c_ulong()
    return number.value if kernel.kernel32.ProcessIdToSessionId(os.getpid(), ctypes.byref(number)) else None


def _identity(mt5: Any, terminal: Mt5Terminal, head: Row) -> Iterator[Line]:
    account, info = to_row(mt5.account_info()), to_row(mt5.terminal_info())
    yield "account", OK, f"{head['server']}/{head['login']}, {head['margin_mode']}, {account.get('currency')}", ""
    is_portable = info.get("data_path") == info.get("path")
    yield "terminal", OK, f"{info.get('path')}, build {info.get('build')}, {'portable' if is_portable else 'not portable'}", ""
    if not head["connected"]:
        yield "connected", FAILED, "the terminal is not connected to its broker", "look at the terminal"
    if terminal.path is None:
        yield "path", WARNING, "the module chose the terminal, and may choose another one next time", "--terminal PATH"
    allowed = {
        "terminal": info.get("trade_allowed"),
        "account": account.get("trade_allowed"),
        "Python": not info.get("tradeapi_disabled"),
    }
    forbidden = [name for name, is_allowed in allowed.items() if not is_allowed]
    yield "trading", OK, f"not allowed by {' and '.join(forbidden)}" if forbidden else "allowed", ""


def _positions(mt5: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    rows = terminal.positions()
    other = sum(row.get("ticket") != row.get("identifier") for row in rows)
    seen = f"{len(rows)}, as positions_total counts them; {other} with a ticket that is not their identifier"
    wild = mt5.positions_get(symbol="*")
    yield "positions", OK, f"{seen}; of a symbol called * {mt5.last_error() if wild is None else len(wild)}", ""


def _orders(mt5: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    rows, total = terminal.orders(), mt5.orders_total()
    state = OK if total == len(rows) else WARNING
    yield "orders", state, f"{len(rows)}, orders_total counts {total}", ""


def _deals(_: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    newest = terminal.refresh_clock()
    if newest is None:
        yield "deals", WARNING, "neither a deal nor a price was ever seen", "look again while the market is open"
        return
    began = time.monotonic()
    rows = terminal.deals(from_msc=newest - _HISTORY_MSC)
    took_ms = (time.monotonic() - began) * 1000
    times = [row["time_msc"] for row in rows]
    falling = sum(after < before for before, after in pairwise(times))
    whole = sum(time_msc % 1000 == 0 for time_msc in times)
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(str(row["type"]) for row in rows).most_common())
    yield "deals", OK, f"{len(rows)} in 30 days ({kinds or 'none'}), read in {took_ms:.0f} ms", ""
    yield "order of deals", OK, f"{falling} are listed before an earlier one; {whole} have a time in whole seconds", ""
    reasons = Counter(row.get("reason") for row in rows)
    yield "reasons", OK, ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "none", ""


def _comments(mt5: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    """Compare the comments of orders with those of their deals: the token of an order is read from orders only."""
    newest = terminal.head()["server_time_msc"]
    if newest is None:
        yield "comments", NOT_RUN, "no server time was seen", ""
        return
    found = mt5.history_orders_get((newest - _HISTORY_MSC) // 1000, (newest + DAY_MSC) // 1000)
    if found is None:
        yield "comments", FAILED, f"history_orders_get: {mt5.last_error()}", ""
        return
    orders = {row["ticket"]: str(row.get("comment") or "") for row in map(to_row, found)}
    deals = [row for row in terminal.deals(from_msc=newest - _HISTORY_MSC) if orders.get(row.get("order"))]
    changed = sum(row.get("comment") != orders[row["order"]] for row in deals)
    longest = max(map(len, orders.values()), default=0)
    seen = f"{len(orders)} finished orders, {sum(map(bool, orders.values()))} with a comment, the longest has {longest}"
    yield (
        "comments",
        OK,
        f"{seen} characters (at most {_COMMENT_MAX} are used); {changed} deals have another than their order",
        "",
    )


def _unknown_tickets(mt5: Any, _: Mt5Terminal) -> Iterator[Line]:
    """Show what a ticket that is not known gives: None with -2 where we treat it as nothing there."""
    seen = []
    calls: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("history_deals_get(position)", lambda: mt5.history_deals_get(position=_NO_TICKET)),
        ("history_deals_get(ticket)", lambda: mt5.history_deals_get(ticket=_NO_TICKET)),
        ("history_orders_get(ticket)", lambda: mt5.history_orders_get(ticket=_NO_TICKET)),
        ("positions_get(ticket)", lambda: mt5.positions_get(ticket=_NO_TICKET)),
    )
    for name, call in calls:
        found = call()
        seen.append(f"{name} {found!r} {mt5.last_error()}" if found is None else f"{name} {found!r}")
    yield "unknown tickets", OK, "; ".join(seen), ""


def _clock(_: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    newest = terminal.refresh_clock()
    if newest is None:
        yield "server clock", WARNING, "nothing was seen", "look again while the market is open"
        return
    ahead_min = (newest - time.time_ns() // 1_000_000) / 60_000
    seen = f"shows {utc_text(newest).rstrip('Z')}, {abs(ahead_min):.1f} minutes {'ahead of' if ahead_min > 0 else 'behind'} UTC"
    yield "server clock", OK, f"{seen}; while the market is closed it stays", ""


def _symbols(_: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    began = time.monotonic()
    rows = terminal.symbols()
    took_ms = (time.monotonic() - began) * 1000
    modes = ", ".join(f"{mode}: {count}" for mode, count in sorted(Counter(row["filling_mode"] for row in rows).items()))
    yield "symbols", OK, f"{len(rows)}, read in {took_ms:.0f} ms; filling modes {modes}", ""


def _call_times(mt5: Any, _: Mt5Terminal) -> Iterator[Line]:
    times_ms = []
    for _number in range(_CALLS):
        began = time.monotonic()
        mt5.positions_get()
        times_ms.append((time.monotonic() - began) * 1000)
    times_ms.sort()
    state, advice = (
        (OK, "") if times_ms[-1] < _SLOW_MS else (WARNING, "use ledger gateway serve: a call stops the whole engine")
    )
    yield "call times", state, f"positions_get: median {times_ms[_CALLS // 2]:.1f} ms, longest {times_ms[-1]:.1f} ms", advice


def _lock(mt5: Any, _: Mt5Terminal) -> Iterator[Line]:
    """Show whether other threads run while the module waits for the terminal."""
    beats: list[float] = []
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_SEC):
            beats.append(time.monotonic())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    began = time.monotonic()
    mt5.symbols_get()
    ended = time.monotonic()
    done.set()
    thread.join()
    within = sum(began < moment < ended for moment in beats)
    took_ms = (ended - began) * 1000
    yield (
        "other threads",
        OK,
        f"ran {within} times during a call of {took_ms:.0f} ms; a module that holds the lock shows 0 or 1",
        "",
    )


def _snapshot(mt5: Any, terminal: Mt5Terminal) -> Iterator[Line]:
    gateway = MetaTrader5Gateway(mt5, path=terminal.path)
    began = time.monotonic()
    try:
        snapshot = gateway.positions()
    except SnapshotRefused as error:
        yield "snapshot", FAILED, f"the strict reader refuses it: {error}", "please report it"
        return
    took_ms = (time.monotonic() - began) * 1000
    yield "snapshot", OK, f"{len(snapshot.positions)} positions in {took_ms:.0f} ms, {len(snapshot.raw)} bytes, read whole", ""
