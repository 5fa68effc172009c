"""The terminal process: the only one that imports the package. One thread, one call at a time, a pipe to the server process.

A request is a JSON object with an ``id`` and a ``call``. What goes back is a JSON object, a line feed, and the rows as JSON.
Before and after each call into the package it sends which one it is, so that the server process can see a call that
does not return. It ends when its pipe closes: on Windows nothing else shows that the server process is gone.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec
from attrs import define, field, frozen

from ledger.clock import DAY_MSC
from ledger.errors import GatewayError, SnapshotRefused
from ledger.events.orders import OrderKind
from ledger.gateway.serve.changes import Row, Watch
from ledger.order_messages import OrderMessage
from ledger.protocol.order_requests import FieldRefused, read_order_message

_Value = TypeVar("_Value")

_TEXT_MAX: Final = 500


class Terminal(Protocol):
    """A terminal as this process asks it, as ``ledger.gateway.mt5_terminal.Mt5Terminal`` is one.

    Rows have the names of the package, numbers as JSON has them. Every call raises the errors of a ``Gateway``.

    Attributes:
        last_error: Code and text of the package for the call that failed last; None before one did.
    """

    last_error: tuple[int, str] | None

    def head(self) -> dict[str, Any]:
        """Return login, server, margin_mode, connected, server_time_msc, trade_allowed and the terminal's folders."""
        ...

    def with_head(self, read: Callable[[], _Value]) -> tuple[dict[str, Any], _Value]:
        """Return what is read, and the head that was the same before and after it."""
        ...

    def refresh_clock(self) -> int | None:
        """Read the newest server time."""
        ...

    def positions(self) -> list[dict[str, Any]]:
        """Return all open positions."""
        ...

    def poll(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the active orders and the open positions, by two calls and no more."""
        ...

    def deals(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the deals of a span of server time, or of one position."""
        ...

    def account(self) -> dict[str, Any]:
        """Return the account."""
        ...

    def symbols(self) -> list[dict[str, Any]]:
        """Return the symbols."""
        ...

    def active_orders(self) -> list[dict[str, Any]]:
        """Return the orders that the broker is working on."""
        ...

    def order_history(
        self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None, order: int | None = None
    ) -> list[dict[str, Any]]:
        """Return orders that are done."""
        ...

    def tick(self, symbol: str) -> dict[str, Any]:
        """Return the newest prices of a symbol."""
        ...

    def lookup(
        self, *, token: str, tickets: Iterable[int], magic: int | None, from_msc: int, to_msc: int | None
    ) -> dict[str, Any]:
        """Search orders and deals for an order."""
        ...

    def prepare(self, message: OrderMessage) -> dict[str, Any]:
        """Return the request that carries out an order message; nothing is sent."""
        ...

    def send(self, request: Mapping[str, Any], kind: OrderKind, *, login: int, server: str) -> dict[str, Any]:
        """Send a request, once."""
        ...

    def check(self, message: OrderMessage) -> dict[str, Any]:
        """Return what the broker would state of an order."""
        ...


class CommandedTerminal(Terminal, Protocol):
    """A simulated terminal, which takes commands beside."""

    def command(self, raw: bytes) -> bytes:
        """Carry out a command and return its answer, whatever it is."""
        ...


#: Opens a terminal: its settings, and what is called with the name of each call into the package, and with None after it.
Opener = Callable[[Mapping[str, Any], Callable[[str | None], object]], Terminal]


@frozen(kw_only=True)
class TerminalSettings:
    """What a terminal process is started with.

    Attributes:
        opener: ``module:function`` that opens the terminal, an ``Opener``. Only the terminal process imports it.
        settings: What the opener is called with; values that JSON has.
    """

    opener: str
    settings: Mapping[str, Any] = field(factory=dict)


def run(connection: Connection, settings: TerminalSettings) -> None:
    """Carry out calls until the pipe closes. What this process is started with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the server process, which closes the pipe then
    try:
        _TerminalProcess(connection).serve(settings)
    except (EOFError, OSError):
        return  # the server process is gone


@define(eq=False)
class _TerminalProcess:
    _connection: Connection

    def serve(self, settings: TerminalSettings) -> None:
        try:
            self._beat("import")
            terminal = _opener(settings.opener)(settings.settings, self._beat)
            self._beat(None)
        except Exception as error:  # noqa: BLE001  # the package, or what it is made of, cannot be imported
            self._send({"failed": _describe(error)})
            return
        self._send({"started": True})
        calls = TerminalCalls(terminal)
        while True:
            request = json.loads(self._connection.recv_bytes())
            header, body = calls.carry_out(request)
            self._send({"id": request["id"], **header}, body)

    def _beat(self, call: str | None) -> None:
        """Send which call into the package begins, or that it ended."""
        self._send({"inside": call})

    def _send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        self._connection.send_bytes(_encode(header) + b"\n" + body)


@define(eq=False)
class TerminalCalls:
    """What a terminal process does for each call, whatever carries it.

    Attributes:
        terminal: The terminal that is asked.
    """

    terminal: Terminal
    _watch: Watch = field(factory=Watch, init=False)

    def carry_out(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Carry out a call and return its answer, whatever becomes of it: an object, and its rows as JSON."""
        terminal = self.terminal
        terminal.last_error = None
        try:
            return self._found(terminal, request) or self._found_of_orders(terminal, request)
        except Exception as error:  # noqa: BLE001  # one call that fails must not end the process of all
            return {"error": describe_error(error, terminal.last_error)}, b""

    def _found(self, terminal: Terminal, request: dict[str, Any]) -> tuple[dict[str, Any], bytes] | None:
        """Make the calls of a request; None if it is one about orders."""
        match request["call"]:
            case "connect":
                terminal.head()
                terminal.refresh_clock()
                self._watch = Watch()
                return {"head": terminal.head()}, b""
            case "poll":
                return self._poll(terminal), b""
            case "positions":
                symbol = request["symbol"]
                terminal.refresh_clock()  # before the positions: they are at least as new
                head, rows = terminal.with_head(terminal.positions)
                return _answer_rows(head, rows if symbol is None else [row for row in rows if row["symbol"] == symbol])
            case "deals":
                span = {name: request[name] for name in ("from_msc", "to_msc", "position")}
                return _answer_rows(*terminal.with_head(lambda: terminal.deals(**span)))
            case "account":
                head, account = terminal.with_head(terminal.account)
                return {"head": head}, _encode(account)
            case "symbols":
                return _answer_rows(*terminal.with_head(terminal.symbols))
            case "command":
                return {}, cast("CommandedTerminal", terminal).command(request["text"].encode())
        return None

    def _found_of_orders(self, terminal: Terminal, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Make the calls of a request about orders."""
        fields = request.get("fields", {})
        match request["call"]:
            case "orders":
                return _answer_rows(*terminal.with_head(terminal.active_orders))
            case "order_history":
                span = {name: request[name] for name in ("from_msc", "to_msc", "position", "order")}
                return _answer_rows(*terminal.with_head(lambda: terminal.order_history(**span)))
            case "tick":
                head, tick = terminal.with_head(lambda: terminal.tick(request["symbol"]))
                return {"head": head}, _encode({"tick": tick})
            case "order_check":
                head, checked = terminal.with_head(lambda: terminal.check(read_order_message(fields, is_check=True)))
                return {"head": head}, _encode(checked)
            case "prepare":
                head, prepared = terminal.with_head(lambda: terminal.prepare(read_order_message(fields)))
                return {"head": head}, _encode(prepared)
            case "lookup":
                names = ("token", "tickets", "magic", "from_msc", "to_msc")
                terminal.refresh_clock()
                head, found = terminal.with_head(lambda: terminal.lookup(**{name: request[name] for name in names}))
                return {"head": head}, _encode(found)
            case "order_send":
                account = {name: request[name] for name in ("login", "server")}
                return {}, _encode(terminal.send(request["request"], OrderKind(request["kind"]), **account))
            case other:
                raise ValueError(f"unknown call {other}")

    def _poll(self, terminal: Terminal) -> dict[str, Any]:
        """Return what changed since the last look; the head only where more than the two lists was read."""
        watch, at_ms = copy(self._watch), time.monotonic_ns() // 1_000_000
        orders, positions = terminal.poll()
        changes = watch.see_lists(positions, orders, at_ms=at_ms)
        found: dict[str, Any] = {}
        if watch.needs_deals(at_ms):
            head = found["head"] = terminal.head()
            from_msc = watch.deals_from_msc(head["server_time_msc"] or time.time_ns() // 1_000_000 - DAY_MSC)
            changes += watch.see_deals(terminal.deals(from_msc=from_msc), from_msc=from_msc, at_ms=at_ms)
            account = terminal.account()
            if (account["login"], account["server"]) != (head["login"], head["server"]):
                raise SnapshotRefused("the terminal logged in to another account while it was looked at", field="login")
            changes += watch.see_account(account)
        self._watch = watch  # a look that failed was none: the next one finds its changes again
        return {**found, "changes": [(change.kind, change.data) for change in changes]}


def _answer_rows(head: Row, rows: Sequence[Row]) -> tuple[dict[str, Any], bytes]:
    return {"head": head, "count": len(rows)}, _encode(rows)


def describe_error(error: Exception, last_error: tuple[int, str] | None) -> dict[str, Any]:
    """Return an error as the server process reads it: the package's code, if it has one, and the field of a refusal."""
    if isinstance(error, GatewayError):
        text = str(error) if last_error is None else last_error[1]
        code = None if last_error is None else last_error[0]
        return {"code": code, "text": text[:_TEXT_MAX], "field": getattr(error, "field", None)}
    if isinstance(error, FieldRefused):
        return {"code": None, "text": str(error)[:_TEXT_MAX], "field": error.name, "refused": True}
    return {"code": None, "text": _describe(error), "field": None}


def _opener(name: str) -> Opener:
    module, _, function = name.partition(":")
    found: Opener = getattr(import_module(module), function)
    return found


#: Writes what the terminal refused nothing of: whole numbers, finite doubles, texts. A tenth of the time of ``json``.
_encode: Final = msgspec.json.Encoder().encode


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_TEXT_MAX]
