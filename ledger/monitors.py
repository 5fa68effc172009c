"""Monitors: how much of what an account may lose, in a day and in all, is used up.

A monitor never trades, and what a provider of funded accounts counts by its own figures decides. A breach is derived from what
is stored, never from memory: it is the same after a restart, and on every machine. What is not known is never ok.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from attrs import frozen

from ledger.orders.monitor_values import MonitorRules
from ledger.service import Account, Ledger
from ledger.values import AccountId

DAILY_LOSS: Final = "daily_loss"
MAX_DRAWDOWN: Final = "max_drawdown"
#: What every output of monitors says.
NOTE: Final = "the provider's own figures decide; extremes between samples are unseen"


class State(StrEnum):
    """The state of a limit."""

    OK = "ok"
    NEAR = "near"
    BREACHED = "breached"
    UNKNOWN = "unknown"


class Monitored(Protocol):
    """What says what is monitored: a ``Configuration``."""

    @property
    def monitors(self) -> Mapping[AccountId, MonitorRules]:
        """Account -> what it may lose."""
        ...


@frozen(kw_only=True)
class MonitorState:
    """How much of one limit of an account is used up. Amounts are in account currency, None for what is not known.

    Attributes:
        account: Whose.
        limit: ``daily_loss`` or ``max_drawdown``.
        state: In a word. A breach of the day lasts until the day ends, one of the drawdown for good.
        reason: Why something is not known, or what was breached; None where there is nothing to add.
        rules: The settings.
        currency: Of the account; None for one that is not in the journal.
        base: What the loss counts from: what the day began with, the initial balance, or the highest equity or balance.
        base_from: Where that comes from, in words.
        allowed: What may be lost.
        used: What is lost, 0 for nothing.
        left: What can be lost until the level is reached, below 0 behind it.
        level: Equity below it is a breach.
        equity: The newest, of a mark that is fresh.
        as_of_us: When that was; of the newest mark where none is fresh. UTC microseconds, as all times here.
        is_equity_reported: Whether the broker reported it, or it was computed.
        breached_us: When the breach was seen first.
        day: Which day it is, as a date.
        day_start_us: When it began, and
        day_end_us: when it ends; None for a limit that is of no day.
        interval_us: Between two samples, as planned; None where no sync was seen.
    """

    account: AccountId
    limit: str
    state: State
    reason: str | None
    rules: MonitorRules
    currency: str | None = None
    base: Decimal | None = None
    base_from: str | None = None
    allowed: Decimal | None = None
    used: Decimal | None = None
    left: Decimal | None = None
    level: Decimal | None = None
    equity: Decimal | None = None
    as_of_us: int | None = None
    is_equity_reported: bool | None = None
    breached_us: int | None = None
    day: str | None = None
    day_start_us: int | None = None
    day_end_us: int | None = None
    interval_us: int | None = None

    @property
    def is_for_good(self) -> bool:
        """Whether a breach of it never ends."""
        return self.limit == MAX_DRAWDOWN


def states(ledger: Ledger, configuration: Monitored, now_us: int) -> list[MonitorState]:
    """Return the state of every limit that is monitored at a moment (UTC microseconds), ordered by account.

    Raises:
        JournalError: The journal does not answer.
    """
    found = sorted(configuration.monitors.items())
    return [one for name, rules in found for one in account_states(ledger.account(name), rules, now_us)]


def account_states(account: Account, rules: MonitorRules, now_us: int) -> list[MonitorState]:
    """Return the state of every limit of one account. As ``states``."""
    limits = ((DAILY_LOSS, rules.daily_loss), (MAX_DRAWDOWN, rules.max_drawdown))
    why = "not evaluated" if account.is_open and now_us else f"account {account.name} is not in this journal"
    return [
        MonitorState(account=account.name, limit=name, state=State.UNKNOWN, reason=why, rules=rules)
        for name, allowed in limits
        if allowed is not None
    ]
