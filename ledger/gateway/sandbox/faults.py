"""What goes wrong with the sandbox: faults on command and by seed, each for so many answers."""

from __future__ import annotations

import random
from enum import Enum
from typing import Final

from attrs import define, field

from ledger.deprecation import Alias, init_arguments
from ledger.errors import BadValue

FOR_EVER: Final = -1


class Fault(Enum):
    """What can be wrong with a gateway or its terminal."""

    OFFLINE = "offline"  # requests are received and never answered
    SLOW = "slow"  # answered after ``slow_ms``
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
    LATE_DEALS = "late-deals"  # the newest deals are not reported yet
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


@init_arguments(slow_msc="slow_ms")
@define
class Faults:
    """Faults that wait for their turn: each for so many answers that it applies to, or until it is cleared."""

    rate: float = 0.0
    seed: int = 1
    slow_ms: int = 500
    late_deals: int = 3
    _left: dict[Fault, int] = field(factory=dict)
    _dice: random.Random = field(init=False)
    slow_msc = Alias("slow_ms")

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


def fault_of(text: str) -> tuple[Fault, int]:
    """Read ``KIND`` or ``KIND:TIMES``.

    Raises:
        BadValue: There is no such fault.
    """
    kind, _, times = text.partition(":")
    try:
        return Fault(kind), int(times) if times else FOR_EVER
    except ValueError:
        raise BadValue(f"a fault is one of {', '.join(fault.value for fault in Fault)}, with :TIMES, found {text!r}") from None
