"""The sandbox's server: a terminal behind a real gateway, with faults on command and by seed.

One ROUTER socket answers engines and reconcilers, base or extended form; a second one, REP and never disturbed by a fault,
takes commands: trade by hand, let time pass, break things, tell the exact books.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, Final

import zmq
from attrs import define, field

from ledger.clock import ClockRule
from ledger.errors import BadValue
from ledger.gateway.curve import ServerKeys, secure_server
from ledger.gateway.sandbox.terminal import Answer, Row, Terminal
from ledger.values import INT64_MAX, Side

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_TICK_MSC: Final = 100
_FOR_EVER: Final = -1
_BASE_FIELDS: Final = ("ticket", "symbol", "type", "volume", "price_open", "profit", "time")
_IDENTITY: Final = ("login", "server")
_READS: Final = ("GET_POSITIONS", "GET_DEALS", "GET_ACCOUNT", "GET_SYMBOLS", "PING")


class Fault(Enum):
    """What can be wrong with a gateway or its terminal."""

    OFFLINE = "offline"  # requests are taken and never answered
    SLOW = "slow"  # answered after ``slow_msc``
    ERROR = "error"  # ERROR with a code
    NONE = "none"  # null instead of a list
    HALF = "half"  # half of the list, the count still the whole
    DUPLICATE = "duplicate"  # a ticket twice
    WRONG_LOGIN = "wrong-login"
    WRONG_SERVER = "wrong-server"
    NO_IDENTITY = "no-identity"  # neither login nor server
    NOT_CONNECTED = "not-connected"
    STALE = "stale"  # an answer from before
    FOREIGN = "foreign"  # the answer to another request
    MALFORMED = "malformed"
    LATE_DEALS = "late-deals"  # the newest deals are not told yet
    NO_DEALS = "no-deals"  # GET_DEALS answers an error
    RESTART = "restart"  # the socket is closed and opened again, requests under way are lost


#: Faults of any answer; the others are of positions or of deals.
_OF_ANY: Final = (
    Fault.OFFLINE, Fault.SLOW, Fault.ERROR, Fault.FOREIGN, Fault.WRONG_LOGIN, Fault.WRONG_SERVER, Fault.NO_IDENTITY,
    Fault.RESTART,
)  # fmt: skip
_OF_POSITIONS: Final = (Fault.NONE, Fault.HALF, Fault.DUPLICATE, Fault.NOT_CONNECTED, Fault.STALE, Fault.MALFORMED)
_OF_DEALS: Final = (Fault.LATE_DEALS, Fault.NO_DEALS)
_BY_SEED: Final = tuple(fault for fault in Fault if fault is not Fault.RESTART)


@define
class Faults:
    """Faults that wait for their turn: each for so many answers that it applies to, or until it is cleared."""

    rate: float = 0.0
    seed: int = 1
    slow_msc: int = 500
    late_deals: int = 3
    _left: dict[Fault, int] = field(factory=dict)
    _dice: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._dice = random.Random(f"faults {self.seed}")  # noqa: S311  # a simulation is repeatable, not secret

    def add(self, fault: Fault, times: int = 1) -> None:
        """Let a fault happen so many times; a negative number is until it is cleared."""
        self._left[fault] = times

    def clear(self) -> None:
        """Be healthy from now on."""
        self._left.clear()
        self.rate = 0.0

    def next_of(self, action: str) -> set[Fault]:
        """Return what is wrong with the next answer to an action."""
        wrong = {fault for fault in self._left if self._applies(fault, action)}
        for fault in wrong:
            self._left[fault] -= 1 if self._left[fault] > 0 else 0
            if not self._left[fault]:
                del self._left[fault]
        if self.rate and self._dice.random() < self.rate:
            wrong.add(self._dice.choice([fault for fault in _BY_SEED if self._applies(fault, action)]))
        return wrong

    @staticmethod
    def _applies(fault: Fault, action: str) -> bool:
        of_positions = action == "GET_POSITIONS" and fault in _OF_POSITIONS
        return fault in _OF_ANY or of_positions or (action == "GET_DEALS" and fault in _OF_DEALS)


@define
class SandboxServer:
    """Serves a terminal until it is told to stop.

    Attributes:
        terminal: What it serves.
        endpoint: ``tcp://127.0.0.1:5555``; port 0 takes a free one.
        control: The endpoint of the commands.
        is_extended: Whether it speaks the extended form.
        clock: What the server's clock shows of the present; None: a clock that only moves on command and with deals.
        hand_every_msc: How often a hand trades by itself, 0 for never.
        live_rate: How much faster than recorded a history is lived, with a real clock.
        keys: CURVE keys; clients must be in ``authorised`` then.
    """

    terminal: Terminal
    endpoint: str = "tcp://127.0.0.1:0"
    control: str = "tcp://127.0.0.1:0"
    is_extended: bool = True
    clock: ClockRule | None = None
    hand_every_msc: int = 0
    faults: Faults = field(factory=Faults)
    keys: ServerKeys | None = None
    authorised: Path | None = None
    received: Counter[str] = field(factory=Counter, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _waiting: list[tuple[float, int, list[bytes]]] = field(factory=list, init=False)
    _numbers: count[int] = field(factory=count, init=False)
    _kept: tuple[int, bytes] | None = field(default=None, init=False)
    _before: list[Row] | None = field(default=None, init=False)
    _before_msc: int = field(default=0, init=False)

    def serve(self, ready: Callable[[str, str], object] = lambda *_: None, *, is_orphan: Callable[[], bool] = bool) -> None:
        """Bind and answer until ``stop``, or until nobody is left who started it.

        Args:
            ready: Called with both endpoints once they are bound.
            is_orphan: Whether the process that started this one is gone.
        """
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        commands = context.socket(zmq.REP)
        commands.linger = 0
        commands.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        commands.bind(self.control)
        control = commands.getsockopt_string(zmq.LAST_ENDPOINT)
        socket, authenticator = self._bound(context)
        next_hand = time.monotonic() + self.hand_every_msc / 1000
        try:
            ready(self.endpoint, control)
            while not self._is_stopped and not is_orphan():
                self._keep_time()
                if self.hand_every_msc and time.monotonic() >= next_hand:
                    self.terminal.hand()
                    next_hand = time.monotonic() + self.hand_every_msc / 1000
                zmq.zmq_poll([(commands, zmq.POLLIN), (socket, zmq.POLLIN)], self._patience_msc())
                if commands.poll(0):
                    commands.send(self._command(b"".join(commands.recv_multipart())))
                if socket.poll(0) and self._answer(socket, socket.recv_multipart()) is Fault.RESTART:
                    socket.close(linger=0)
                    if authenticator is not None:
                        authenticator.stop()
                    socket, authenticator = self._bound(context)
                self._send_due(socket)
        finally:
            socket.close(linger=0)
            commands.close(linger=0)
            if authenticator is not None:
                authenticator.stop()
            context.term()

    def stop(self) -> None:
        """End ``serve`` soon. May be called from a signal handler."""
        self._is_stopped = True

    def _bound(self, context: zmq.Context[zmq.Socket[bytes]]) -> tuple[zmq.Socket[bytes], Any]:
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        authenticator = None
        if self.keys is not None:
            authenticator = secure_server(socket, context, self.keys, self.authorised or Path("authorised"))
        give_up = time.monotonic() + 5
        while True:
            try:
                socket.bind(self.endpoint)
                break
            except zmq.ZMQError:
                if time.monotonic() > give_up or self.received.total() == 0:
                    raise  # the port is somebody else's; only our own may be given back late
                time.sleep(0.01)
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._waiting.clear()
        return socket, authenticator

    def _keep_time(self) -> None:
        if self.clock is not None:
            now_msc = self.clock.from_utc_msc(time.time_ns() // 1_000_000)
            self.terminal.now_msc = max(self.terminal.now_msc, now_msc)

    def _patience_msc(self) -> int:
        due = self._waiting[0][0] - time.monotonic() if self._waiting else math.inf
        return max(0, int(min(_TICK_MSC, due * 1000)))

    def _send_due(self, socket: zmq.Socket[bytes]) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            socket.send_multipart(heapq.heappop(self._waiting)[2])

    # ---- requests

    def _answer(self, socket: zmq.Socket[bytes], frames: list[bytes]) -> Fault | None:
        """Answer a request, whatever it is: only a fault that was asked for keeps it from being answered."""
        *address, raw = frames
        try:
            asked = _read(raw)
            action = asked["action"]
            if not isinstance(action, str):
                raise TypeError(f"expected a text as action, found {action!r:.100}")
        except _UNREADABLE:
            socket.send_multipart([*address, _encoded(_error("MALFORMED_REQUEST", "expected a JSON object with an action"))])
            return None
        self.received[action if action in (*_READS, "SEND_ORDER") else "other"] += 1
        wrong = self.faults.next_of(action) if action in _READS else set()
        if Fault.RESTART in wrong:
            return Fault.RESTART
        if Fault.OFFLINE in wrong:
            return None
        try:
            answer = self._answered(action, asked, wrong)
        except Exception as error:  # noqa: BLE001  # a request of somebody's must not end everybody's terminal
            answer = _encoded(_error("INVALID_REQUEST", _words(error)))
        due = time.monotonic() + (self.faults.slow_msc / 1000 if Fault.SLOW in wrong else 0)
        if Fault.SLOW in wrong:
            heapq.heappush(self._waiting, (due, next(self._numbers), [*address, answer]))
        else:
            socket.send_multipart([*address, answer])
        return None

    def _answered(self, action: str, asked: Row, wrong: set[Fault]) -> bytes:
        if Fault.ERROR in wrong:
            return _encoded(self._echo(asked, wrong) | _error("-10004", "No IPC connection"))
        if action == "SEND_ORDER":
            return _encoded(self._echo(asked, wrong) | self._order(asked))
        if action == "GET_POSITIONS":
            return self._positions(asked, wrong)
        if not self.is_extended:
            return _encoded(_error("UNKNOWN_ACTION", f"unknown action {action}"))
        head = self._head(asked, wrong)
        if action == "PING":
            return _encoded(head)
        if action == "GET_ACCOUNT":
            return _encoded(head | {"account": self.terminal.account() | {name: head.get(name) for name in _IDENTITY}})
        if action == "GET_SYMBOLS":
            return _encoded(head | {"symbols": self.terminal.symbol_rows()})
        if action == "GET_DEALS":
            return self._deals(asked, head, wrong)
        return _encoded(self._echo(asked, wrong) | _error("UNKNOWN_ACTION", f"unknown action {action}"))

    def _echo(self, asked: Row, wrong: set[Fault]) -> Row:
        if not self.is_extended or "req_id" not in asked:
            return {}
        return {"req_id": f"not-{str(asked['req_id'])[::-1]}" if Fault.FOREIGN in wrong else asked["req_id"]}

    def _head(self, asked: Row, wrong: set[Fault]) -> Row:
        terminal = self.terminal
        identity = {
            "login": terminal.login + (1 if Fault.WRONG_LOGIN in wrong else 0),
            "server": "Other-Server" if Fault.WRONG_SERVER in wrong else terminal.server,
        }
        return {
            "status": "SUCCESS", **self._echo(asked, wrong), **({} if Fault.NO_IDENTITY in wrong else identity),
            "margin_mode": terminal.mode.value, "server_time_msc": terminal.now_msc,
            "connected": terminal.is_connected and Fault.NOT_CONNECTED not in wrong,
        }  # fmt: skip

    def _positions(self, asked: Row, wrong: set[Fault]) -> bytes:
        if Fault.MALFORMED in wrong:
            return b'{"status": "SUCCESS", "positions": [{"ticket": 1, "symbol": "EURUSD", "type": "bu'
        head: Row = self._head(asked, wrong) if self.is_extended else {"status": "SUCCESS"}
        if not wrong & {Fault.NONE, Fault.HALF, Fault.DUPLICATE, Fault.STALE}:
            rows, number = self._rows_written()
            if self.is_extended:
                head["count"] = number
            return _encoded(head)[:-1] + b',"positions":' + rows + b"}"
        rows_told: list[Row] | None = self._rows()
        if self.is_extended:
            head["count"] = len(rows_told or ())
        if Fault.STALE in wrong:
            rows_told = self._before if self._before is not None else rows_told
            head |= {"server_time_msc": self._before_msc, "count": len(rows_told or ())} if self.is_extended else {}
        if Fault.HALF in wrong and rows_told:
            rows_told = rows_told[: len(rows_told) // 2]
        if Fault.DUPLICATE in wrong and rows_told:
            rows_told = [*rows_told, rows_told[0]]
            head |= {"count": len(rows_told)} if self.is_extended else {}
        return _encoded(head | {"positions": None if Fault.NONE in wrong else rows_told})

    def _rows(self) -> list[Row]:
        rows = self.terminal.positions()
        return rows if self.is_extended else [{name: row[name] for name in _BASE_FIELDS} for row in rows]

    def _rows_written(self) -> tuple[bytes, int]:
        """Return the rows as JSON; they are written again only after something changed."""
        if self._kept is None or self._kept[0] != self.terminal.revision:
            rows = self._rows()
            self._kept = (self.terminal.revision, _encoded(rows))
            self._before = self._before if self._before is not None else rows
            self._before_msc = self._before_msc or self.terminal.now_msc
        return self._kept[1], self.terminal.open_count

    def _deals(self, asked: Row, head: Row, wrong: set[Fault]) -> bytes:
        if Fault.NO_DEALS in wrong:
            return _encoded(self._echo(asked, wrong) | _error("-1", "history is not synchronised"))
        span = [None if asked.get(name) is None else _whole(asked[name], name) for name in ("from_msc", "to_msc", "position")]
        rows = self.terminal.deals(*span)
        if Fault.LATE_DEALS in wrong:
            newest = {row["ticket"] for row in self.terminal.deals()[-self.faults.late_deals :]}
            rows = [row for row in rows if row["ticket"] not in newest]
        return _encoded(head | {"count": len(rows), "deals": rows})

    def _order(self, asked: Row) -> Row:
        try:
            answer = self.terminal.send_order(
                _text(asked["symbol"], "symbol"),
                Side(asked["side"]),
                _amount(asked["volume"], "volume"),
                position=None if asked.get("position") is None else _whole(asked["position"], "position"),
                magic=_whole(asked.get("magic", 0), "magic", low=-INT64_MAX),
                comment=_text(asked.get("comment", ""), "comment"),
                parts=_whole(asked.get("parts", 1), "parts", low=1, high=_PARTS_MAX),
            )
        except (KeyError, ValueError, TypeError, ArithmeticError) as error:
            return _error("INVALID_ORDER", _words(error))
        return self._result(answer)

    def _result(self, answer: Answer) -> Row:
        if not answer.is_done:
            return _error(str(answer.retcode), "the order was refused")
        tickets = {deal["ticket"] for deal in answer.deals}
        deals = [row for row in self.terminal.deals() if row["ticket"] in tickets]
        return {"status": "SUCCESS", "retcode": answer.retcode, "order": answer.order, "deals": deals}

    # ---- commands

    def _command(self, raw: bytes) -> bytes:
        """Carry out a command and return the answer, whatever it is."""
        try:
            asked = _read(raw)
            command = _COMMANDS.get(_text(asked.pop("command", ""), "command"))
            if command is None:
                return _encoded(_error("UNKNOWN_COMMAND", f"expected one of {', '.join(_COMMANDS)}"))
            return _encoded({"status": "SUCCESS"} | (command(self, **asked) or {}))
        except Exception as error:  # noqa: BLE001  # as above
            return _encoded(_error("BAD_COMMAND", _words(error)))

    def _fault(self, kind: str, times: int = 1, slow_msc: int | None = None, late_deals: int | None = None) -> None:
        fault = Fault(kind)
        times = _whole(times, "times", low=_FOR_EVER)
        slow_msc = self.faults.slow_msc if slow_msc is None else _whole(slow_msc, "slow_msc", high=_SLOW_MAX_MSC)
        late_deals = self.faults.late_deals if late_deals is None else _whole(late_deals, "late_deals", high=_COUNT_MAX)
        self._before, self._before_msc = self._rows(), self.terminal.now_msc  # what a stale answer shows
        self.faults.slow_msc, self.faults.late_deals = slow_msc, late_deals
        self.faults.add(fault, times)

    def _clear(self) -> None:
        self.faults.clear()

    def _advance(self, msc: int) -> None:
        self.terminal.advance(_whole(msc, "msc", high=max(0, _TIME_MAX_MSC - self.terminal.now_msc)))

    def _hand(self, count: int = 1) -> Row:
        return {"done": self.terminal.hand(_whole(count, "count", high=_COUNT_MAX))}

    def _trade(self, **asked: Any) -> Row:
        return self._order(asked)

    def _close(self, position: int, volume: str | None = None) -> Row:
        lots = None if volume is None else _amount(volume, "volume")
        return self._result(self.terminal.close(_whole(position, "position"), lots))

    def _withdraw(self, deal: int) -> None:
        self.terminal.withdraw(deal)

    def _close_by(self, position: int, other: int) -> Row:
        return self._result(self.terminal.close_by(_whole(position, "position"), _whole(other, "other")))

    def _fill_more(self, order: int, volume: str) -> Row:
        return self._result(self.terminal.fill_more(_whole(order, "order"), _amount(volume, "volume", low=Decimal("0.01"))))

    def _cash(self, type: int, amount: str, comment: str = "") -> Row:  # noqa: A002  # the field's name on the wire
        code = _whole(type, "type", low=2, high=2**31 - 1)  # 0 and 1 trade
        return {"deal": self.terminal.cash(code, _amount(amount, "amount"), _text(comment, "comment"))["ticket"]}

    def _rollover(self, position: int) -> Row:
        return {"ticket": self.terminal.rollover(_whole(position, "position"))}

    def _swap(self) -> None:
        self.terminal.charge_swap()

    def _stop_out(self, position: int) -> Row:
        return self._result(self.terminal.stop_out(_whole(position, "position")))

    def _live(self, count: int = 1) -> Row:
        lived = self.terminal.live_next(_whole(count, "count", high=_COUNT_MAX))
        return {"lived": [row["ticket"] for row in lived], "left": self.terminal.left_to_live}

    def _books(self) -> Row:
        return {"books": self.terminal.books()}

    def _stats(self) -> Row:
        return {"received": dict(self.received)}

    def _stop(self) -> None:
        self.stop()


_COMMANDS: Final[Mapping[str, Callable[..., Row | None]]] = {
    name.lstrip("_"): getattr(SandboxServer, name)
    for name in (
        "_fault", "_clear", "_advance", "_hand", "_trade", "_close", "_close_by", "_fill_more", "_cash", "_rollover", "_swap",
        "_stop_out", "_withdraw", "_live", "_books", "_stats", "_stop",
    )
}  # fmt: skip


def _error(code: str, told: str) -> Row:
    return {"status": "ERROR", "error_code": code, "error_msg": told}


#: What reading a request raises that is none.
_UNREADABLE: Final = (ValueError, KeyError, TypeError, RecursionError)
_AMOUNT_MAX: Final = Decimal(10) ** 9
_COUNT_MAX: Final = 100_000
_DIGITS_MAX: Final = 15
_PARTS_MAX: Final = 100
_SLOW_MAX_MSC: Final = 600_000
_TIME_MAX_MSC: Final = 250_000_000_000_000  # the year 9892
_WORDS_MAX: Final = 500


def _read(raw: bytes) -> Row:
    """Read a request: a JSON object without numbers that are none.

    Raises:
        ValueError, TypeError, RecursionError: It is something else.
    """
    asked = json.loads(raw, parse_constant=_refuse_constant)
    if not isinstance(asked, dict):
        raise TypeError("expected a JSON object")
    return asked


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is no number of JSON")


def _whole(value: object, name: str, *, low: int = 0, high: int = INT64_MAX) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is a whole number from {low} to {high}, found {value!r:.100}")
    return value


def _amount(value: object, name: str, *, low: Decimal = -_AMOUNT_MAX) -> Decimal:
    is_number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
    number = Decimal(str(value)) if is_number else Decimal("NaN")
    if not number.is_finite() or not low <= number <= _AMOUNT_MAX or number != round(number, _DIGITS_MAX):
        raise ValueError(f"{name} is a decimal number from {low} to {_AMOUNT_MAX}, found {value!r:.100}")
    return number


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > _WORDS_MAX:
        raise ValueError(f"{name} is a text of at most {_WORDS_MAX} characters, found {value!r:.100}")
    return value


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_WORDS_MAX]


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def parent_is_gone() -> Callable[[], bool]:
    """Return a function that tells whether the process that started this one is gone."""
    parent = os.getppid()
    return lambda: os.getppid() != parent


def fault_of(text: str) -> tuple[Fault, int]:
    """Read ``KIND`` or ``KIND:TIMES``.

    Raises:
        BadValue: There is no such fault.
    """
    kind, _, times = text.partition(":")
    try:
        return Fault(kind), int(times) if times else _FOR_EVER
    except ValueError:
        raise BadValue(f"a fault is one of {', '.join(fault.value for fault in Fault)}, with :TIMES, found {text!r}") from None
