"""What a sync did, the state of a reconciler, and whether it is safe to trade: values, for engines and for people."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from ledger.events import Recorded
from ledger.reconcile.decide import Held
from ledger.values import AccountId
from ledger.views import Break


class SyncStatus(Enum):
    """How a sync ended."""

    #: The portfolio agrees with the broker.
    SUCCESS = "SUCCESS"
    #: Something is held back; the rest agrees.
    PARTIAL = "PARTIAL"
    #: There is no usable snapshot; the portfolio is untouched.
    DEGRADED = "DEGRADED"
    #: The journal refused.
    FAILED = "FAILED"


@frozen(kw_only=True)
class SyncResult:
    """What one sync did.

    Attributes:
        status: How it ended.
        reason: Why it is DEGRADED or FAILED.
        fills: Deals that the broker reported and the journal did not hold, by ticket.
        revised: Deals that the broker shows with other content now, by ticket.
        withdrawn: Deals that the broker no longer lists although its history covers them, by ticket.
        recovered: Zombies that were adopted, by position id;
        closed: ghosts that were closed;
        corrected: drifts that were corrected;
        reticketed: positions that got a new ticket.
        held: What waits, and why.
        appended: How many events were appended.
        version: The account's version afterwards, 0 if it is not open.
        events: The events that were appended, oldest first.
        warnings: What a person should look at.
    """

    account: AccountId
    status: SyncStatus
    reason: str | None = None
    fills: tuple[int, ...] = ()
    revised: tuple[int, ...] = ()
    recovered: tuple[int, ...] = ()
    closed: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    reticketed: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()
    held: tuple[Held, ...] = ()
    appended: int = 0
    version: int = 0
    events: tuple[Recorded, ...] = ()
    warnings: tuple[str, ...] = ()


@frozen(kw_only=True)
class Safety:
    """Whether an engine may open something: true or false, and on what grounds.

    ``verified_us`` is the last sync that a snapshot was believed in, UTC in microseconds; ``age_sec`` how long ago that was.
    """

    is_safe: bool
    why: str | None
    verified_us: int | None
    age_sec: float | None
    breaks: tuple[Break, ...] = ()

    def __bool__(self) -> bool:
        return self.is_safe


@frozen(kw_only=True)
class ReconcilerStatus:
    """The state of a reconciler.

    ``state`` is how the last sync ended, None before the first; ``since_us`` when it began to end like that, ``synced_us``
    when it ended, ``good_us`` when one last ended in SUCCESS; UTC in microseconds.
    """

    account: AccountId
    state: SyncStatus | None
    since_us: int | None
    why: str | None
    synced_us: int | None
    good_us: int | None
    good_age_sec: float | None
    breaks: tuple[Break, ...]
    held: tuple[Held, ...]
    safety: Safety
