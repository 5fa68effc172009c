"""What goes wrong with the fake ``MetaTrader5``: faults on command and by seed, each for so many calls."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import define, field, frozen

from ledger.errors import BadValue
from ledger.testing.mt5.constants import Constants as Code
from ledger.testing.mt5.orders import Row

ALWAYS: Final = -1
_TIMEOUT: Final = (-10005, "IPC timeout")


class FakeFault(Enum):
    """What can be wrong with a call."""

    NO_CONNECTION = "no-connection"  # None, -10004
    TIMEOUT = "timeout"  # None, -10005; nothing was executed
    FAIL = "fail"  # None, -1
    NO_START = "no-start"  # ``initialize`` is False, -10005
    EXIT = "exit"  # the terminal ends; ``initialize`` starts it again
    SLOW = "slow"  # the whole process is blocked for ``slow_ms``
    NOT_CONNECTED = "not-connected"  # ``terminal_info``
    WRONG_LOGIN = "wrong-login"  # ``account_info``
    WRONG_SERVER = "wrong-server"  # ``account_info``
    HALF = "half"  # half of the positions, the total still of all
    DUPLICATE = "duplicate"  # a position twice
    LATE_DEALS = "late-deals"  # the newest deals are missing
    HALF_HISTORY = "half-history"  # deals and orders: the first half
    REQUOTE = "requote"
    REJECT = "reject"
    REJECT_WITH_ORDER = "reject-with-order"  # 10006, but an order ticket
    UNKNOWN_EXECUTED = "unknown-executed"  # 10012 after executing
    UNKNOWN_NOT_EXECUTED = "unknown-not-executed"  # 10012 without executing
    LOST_EXECUTED = "lost-executed"  # None, -10005 after executing
    LOST_NOT_EXECUTED = "lost-not-executed"  # None, -10005 without executing
    EXECUTED_TWICE = "executed-twice"


@frozen(kw_only=True)
class SendFault:
    """What ``order_send`` does instead of what it should.

    Attributes:
        retcode: Return code that is answered; None: that of the execution.
        error: ``last_error`` instead of a result; None: there is a result.
        executions: How often the broker executes the request.
        has_order: Whether a refusal names an order.
    """

    retcode: int | None = None
    error: tuple[int, str] | None = None
    executions: int = 0
    has_order: bool = False


_SEND_FAULTS: Final[Mapping[FakeFault, SendFault]] = {
    FakeFault.REQUOTE: SendFault(retcode=Code.TRADE_RETCODE_REQUOTE),
    FakeFault.REJECT: SendFault(retcode=Code.TRADE_RETCODE_REJECT),
    FakeFault.REJECT_WITH_ORDER: SendFault(retcode=Code.TRADE_RETCODE_REJECT, has_order=True),
    FakeFault.UNKNOWN_EXECUTED: SendFault(retcode=Code.TRADE_RETCODE_TIMEOUT, executions=1),
    FakeFault.UNKNOWN_NOT_EXECUTED: SendFault(retcode=Code.TRADE_RETCODE_TIMEOUT),
    FakeFault.LOST_EXECUTED: SendFault(error=_TIMEOUT, executions=1),
    FakeFault.LOST_NOT_EXECUTED: SendFault(error=_TIMEOUT),
    FakeFault.EXECUTED_TWICE: SendFault(executions=2),
}
ERRORS: Final[Mapping[FakeFault, tuple[int, str]]] = {
    FakeFault.NO_START: _TIMEOUT,
    FakeFault.NO_CONNECTION: (-10004, "No IPC connection"),
    FakeFault.TIMEOUT: _TIMEOUT,
    FakeFault.FAIL: (-1, "Terminal: Call failed"),
}
_OF_ANY: Final = frozenset({*ERRORS, FakeFault.EXIT, FakeFault.SLOW}) - {FakeFault.NO_START}
_OF: Final[Mapping[str, frozenset[FakeFault]]] = {
    "initialize": frozenset({FakeFault.NO_START, FakeFault.SLOW}),
    "terminal_info": frozenset({FakeFault.NOT_CONNECTED}),
    "account_info": frozenset({FakeFault.WRONG_LOGIN, FakeFault.WRONG_SERVER}),
    "positions_get": frozenset({FakeFault.HALF, FakeFault.DUPLICATE}),
    "history_deals_get": frozenset({FakeFault.LATE_DEALS, FakeFault.HALF_HISTORY}),
    "history_orders_get": frozenset({FakeFault.HALF_HISTORY}),
    "order_send": frozenset(_SEND_FAULTS),
}


@define
class FakeFaults:
    """Faults that wait for a call that they apply to: each for so many calls, or until it is cleared.

    Attributes:
        rate: Share of calls that go wrong by chance.
        seed: The same seed and the same calls go wrong in the same way.
        slow_ms: How long a slow call blocks the process.
        late_deals: How many of the newest deals are missing.
    """

    rate: float = 0.0
    seed: int = 1
    slow_ms: int = 500
    late_deals: int = 3
    _left: dict[FakeFault, int] = field(factory=dict, init=False)
    _answers: list[SendFault] = field(factory=list, init=False)
    _dice: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._dice = random.Random(f"faults {self.seed}")  # noqa: S311  # a simulation is repeatable, not secret

    def add(self, fault: FakeFault | str, times: int = 1) -> None:
        """Let a fault happen so many times; ``ALWAYS``: until it is cleared."""
        self._left[FakeFault(fault)] = times

    def answer(
        self, retcode: int, *, executions: int | None = None, has_order: bool = False, error: tuple[int, str] | None = None
    ) -> None:
        """Let the next ``order_send`` answer this, one call for each time this is called.

        Args:
            retcode: The return code (``TRADE_RETCODE_...``).
            executions: How often the broker executes it. None: once where the code reports success, else never.
            has_order: Whether a refusal names an order.
            error: ``last_error`` instead of a result.
        """
        succeeds = retcode in (Code.TRADE_RETCODE_PLACED, Code.TRADE_RETCODE_DONE, Code.TRADE_RETCODE_DONE_PARTIAL)
        times = int(succeeds) if executions is None else executions
        self._answers.append(SendFault(retcode=retcode, executions=times, has_order=has_order, error=error))

    def clear(self) -> None:
        """Let nothing go wrong from now on."""
        self._left.clear()
        self._answers.clear()
        self.rate = 0.0

    def next_of(self, function: str) -> frozenset[FakeFault]:
        """Return what is wrong with the next call of a function."""
        possible = _OF.get(function, frozenset()) | (frozenset() if function == "initialize" else _OF_ANY)
        wrong = {fault for fault in self._left if fault in possible}
        for fault in wrong:
            self._left[fault] -= 1 if self._left[fault] > 0 else 0
            if not self._left[fault]:
                del self._left[fault]
        if self.rate and self._dice.random() < self.rate:
            wrong.add(self._dice.choice(sorted(possible, key=lambda fault: fault.value)))
        return frozenset(wrong)

    def next_answer(self, wrong: frozenset[FakeFault]) -> SendFault | None:
        """Return what ``order_send`` does instead, by the faults of this call or on command; None: what it should."""
        if self._answers:
            return self._answers.pop(0)
        return next((_SEND_FAULTS[fault] for fault in _SEND_FAULTS if fault in wrong), None)

    def spoil(self, rows: list[Row], wrong: frozenset[FakeFault]) -> list[Row]:
        """Return rows as they come with these faults."""
        if FakeFault.HALF in wrong or FakeFault.HALF_HISTORY in wrong:
            rows = rows[: len(rows) // 2]
        if FakeFault.LATE_DEALS in wrong:
            rows = rows[: max(0, len(rows) - self.late_deals)]
        return [*rows, rows[0]] if FakeFault.DUPLICATE in wrong and rows else rows


def read_fault(text: str) -> tuple[FakeFault, int]:
    """Read ``KIND`` or ``KIND:TIMES``.

    Raises:
        BadValue: There is no such fault.
    """
    kind, _, times = text.partition(":")
    try:
        return FakeFault(kind), int(times) if times else ALWAYS
    except ValueError:
        known = ", ".join(fault.value for fault in FakeFault)
        raise BadValue(f"a fault is one of {known}, with :TIMES, found {text!r}") from None
