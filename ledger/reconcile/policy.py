"""Policy: what a person decided about disagreements, once and for all, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

from attrs import Attribute, field, frozen

from ledger.errors import BadValue
from ledger.events import BreakKind
from ledger.orders.policy import MAGIC_SPAN
from ledger.values import shown, to_amount, to_magic, to_whole, to_word


class Action(Enum):
    """What to do about a kind of disagreement."""

    #: Append the correction.
    ADOPT = "adopt"
    #: Keep the break open and report it.
    REPORT = "report"
    #: As report, and correct nothing else of the account while it is open.
    HALT = "halt"


class Foreign(Enum):
    """What to do about positions of a magic number that is not ours."""

    #: Record them; they keep their magic number.
    ADOPT = "adopt"
    #: Keep the break open and report it.
    REPORT = "report"
    #: Neither record nor report them. Their deals are booked all the same: they move the account's money.
    IGNORE = "ignore"


def _action(value: Action | str) -> Action:
    return to_word(value, Action)


def _foreign(value: Foreign | str) -> Foreign:
    return to_word(value, Foreign)


def _magics(value: Iterable[int] | None) -> frozenset[int] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise BadValue(f"expected magics as a list of magic numbers, found {shown(value)}")
    return frozenset(map(to_magic, value))


def _at_least(low: float) -> Any:
    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        to_amount(value, low, attribute.name)

    return check


def _count(_: object, attribute: Attribute[Any], value: Any) -> None:
    to_whole(value, 1, 2**31 - 1, attribute.name)


@frozen(kw_only=True)
class ReconcilePolicy:
    """What to do about which disagreement, and how sure to be before it.

    Attributes:
        zombie: About a position that only the broker has.
        ghost: About a position that only we have.
        drift: About a position that both have and show differently.
        balance: About money. No correction moves money, so it is reported, or halts.
        withdrawn: About a deal that the broker no longer lists; to adopt it is to record the withdrawal.
        magics: Magic numbers that are ours, as the terminal shows them; None for all. A position without a known magic number
            is not ours then. With ``OrderPolicy(carrier="magic")`` the base of the numbers is listed.
        foreign: About zombies and drifts of other magic numbers, and pending orders that are not ours.
        settle_sec: A position of which the engine recorded a fill this shortly before a snapshot is left for the next one.
        ghost_confirmations: Snapshots that have to miss a position before it is closed without a closing deal.
        vanish_confirmations: The same, when many vanish at once.
        vanish_least: How many are many, at least;
        vanish_share: and more than this share of the open positions.
        missing_lookups: Lookups that have to find an order of ours in neither list of the broker before it is called missing.
        attempts_max: Corrections that did not help, before a break is left to people.
        flapping_sec: The window in which disagreements of one position are counted together: after ``attempts_max`` of them
            nothing of it is corrected any more, until it was quiet for so long, a deal explains it or a person corrects it.
        overlap_sec: How far behind the newest known deal the broker's deals are asked for again.
        verified_sec: How old the last good sync may be while an account is called safe to trade.
    """

    zombie: Action = field(converter=_action, default=Action.ADOPT)
    ghost: Action = field(converter=_action, default=Action.ADOPT)
    drift: Action = field(converter=_action, default=Action.ADOPT)
    balance: Action = field(converter=_action, default=Action.REPORT)
    withdrawn: Action = field(converter=_action, default=Action.REPORT)
    magics: frozenset[int] | None = field(converter=_magics, default=None)
    foreign: Foreign = field(converter=_foreign, default=Foreign.ADOPT)
    settle_sec: float = field(default=2.0, validator=_at_least(0))
    ghost_confirmations: int = field(default=2, validator=_count)
    vanish_confirmations: int = field(default=3, validator=_count)
    vanish_least: int = field(default=3, validator=_count)
    vanish_share: float = field(default=0.5, validator=_at_least(0))
    missing_lookups: int = field(default=3, validator=_count)
    attempts_max: int = field(default=3, validator=_count)
    flapping_sec: float = field(default=3600.0, validator=_at_least(0))
    overlap_sec: float = field(default=600.0, validator=_at_least(0))
    verified_sec: float = field(default=60.0, validator=_at_least(0))

    def __attrs_post_init__(self) -> None:
        if self.balance is Action.ADOPT:
            raise BadValue("no correction ever moves money: balance is report or halt (ledger correct balance is a person's)")

    def action(self, kind: BreakKind) -> Action:
        """Return what to do about a kind of disagreement."""
        return {
            BreakKind.ZOMBIE: self.zombie,
            BreakKind.GHOST: self.ghost,
            BreakKind.DRIFT: self.drift,
            BreakKind.BALANCE: self.balance,
            BreakKind.WITHDRAWN: self.withdrawn,
            BreakKind.CLOCK: Action.HALT,
            BreakKind.ORDER: Action.REPORT,
            BreakKind.STOPS: Action.REPORT,
            BreakKind.APPROVAL: Action.REPORT,
        }[kind]

    def is_ours(self, magic: int | None) -> bool:
        """Return whether a magic number is ours: in the list, or numbered by an order manager from one in it."""
        if self.magics is None or magic is None:
            return self.magics is None
        known = to_magic(magic)
        return known in self.magics or (known >= MAGIC_SPAN and known // MAGIC_SPAN in self.magics)


DEFAULT: Final = ReconcilePolicy()
