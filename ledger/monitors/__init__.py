"""Monitors: how much of what an account may lose, in a day and in all, is used up.

A monitor never trades, and what a provider of funded accounts counts by its own figures decides. A breach is derived from what
is stored, never from memory: it is the same after a restart, and on every machine. What is not known is never ok.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from enum import StrEnum
from threading import Lock
from typing import Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from attrs import evolve, frozen

from ledger.clock import SECOND_US, ClockRule, utc_text
from ledger.errors import LedgerError
from ledger.journal.sql.forking import prepare_for_forks
from ledger.marks import floating_at
from ledger.monitors.curve import Curve, Span
from ledger.monitors.path import BalancePath
from ledger.monitors.rules import APART_US, DayRule, DrawdownRule
from ledger.orders.limit_values import SERVER
from ledger.orders.losses import day_span_utc_msc, loss_of_day
from ledger.orders.monitor_values import Drawdown, MonitorRules
from ledger.reconcile.policy import DEFAULT
from ledger.safety import INTERVALS_MAX, age_text
from ledger.service import Account, Ledger
from ledger.values import EXACT, AccountId, plain

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

    The limits of an account that cannot be read are unknown, with the reason: it hides no other account.

    Raises:
        LedgerError: The journal does not answer.
    """
    found = sorted(configuration.monitors.items())
    return [one for name, rules in found for one in account_states(ledger.account(name), rules, now_us)]


def account_states(account: Account, rules: MonitorRules, now_us: int) -> list[MonitorState]:
    """Return the state of every limit of one account. As ``states``."""
    try:
        return _judged(account, rules, now_us)
    except LedgerError as error:
        if error.retryable:
            raise
        return [_unknown(account, limit, rules, f"the account cannot be read: {error}") for limit in _limits(rules)]


def _judged(account: Account, rules: MonitorRules, now_us: int) -> list[MonitorState]:
    if not account.is_open:
        why = f"account {account.name} is not in this journal"
        return [_unknown(account, limit, rules, why) for limit in _limits(rules)]
    lock, path = _known.path_of(account)
    with lock, localcontext(EXACT):
        path.read_on()
        evaluation = _Evaluation(account, rules, path, now_us)
        return [evaluation.daily_loss() if limit == DAILY_LOSS else evaluation.max_drawdown() for limit in _limits(rules)]


def breaches(account: Account, rules: MonitorRules | None, now_us: int) -> tuple[str, ...]:
    """Return what makes an account unsafe to trade by its monitors, in words: breaches, where the settings ask for it.

    Raises:
        LedgerError: The journal does not answer, or the account cannot be read.
    """
    if rules is None or not rules.unsafe_on_breach:
        return ()
    found = _judged(account, rules, now_us)  # what cannot be read is not taken for no breach
    return tuple(f"{one.limit} is breached: {one.reason}" for one in found if one.state is State.BREACHED)


class _Known:
    """What was read of journals already. Nothing but speed depends on it."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        prepare_for_forks(self)

    def before_fork(self) -> None:
        """Do nothing: no connection is held."""

    def after_fork_in_child(self) -> None:
        """Forget everything: another thread may have been reading, and does not exist here."""
        self._lock = Lock()
        self._paths: WeakKeyDictionary[Ledger, dict[AccountId, tuple[Lock, BalancePath]]] = WeakKeyDictionary()

    def path_of(self, account: Account) -> tuple[Lock, BalancePath]:
        """Return the balance path of an account, and the lock to read it under."""
        with self._lock:
            paths = self._paths.setdefault(account.ledger, {})
            return paths.setdefault(account.name, (Lock(), BalancePath(account)))


_known: Final = _Known()


#: What a drawdown counts from, in words, where it is not the initial balance.
_COUNTED: Final = {
    Drawdown.TRAILING: "the highest equity",
    Drawdown.TRAILING_UNTIL_START: "the highest equity",
    Drawdown.TRAILING_BALANCE: "the highest balance",
}


def _limits(rules: MonitorRules) -> list[str]:
    return [name for name in (DAILY_LOSS, MAX_DRAWDOWN) if getattr(rules, name) is not None]


def _unknown(account: Account, limit: str, rules: MonitorRules, why: str) -> MonitorState:
    return MonitorState(account=account.name, limit=limit, state=State.UNKNOWN, reason=why, rules=rules)


class _Evaluation:
    """The limits of one account at one moment."""

    def __init__(self, account: Account, rules: MonitorRules, path: BalancePath, now_us: int) -> None:
        self._account = account
        self._rules = rules
        self._path = path
        self._now_us = now_us
        self._curve = Curve(account, path)
        health = account.ledger.journal.sync_health(account.name)
        self._interval_us = None if health is None else health.interval_us
        verified_sec = DEFAULT.verified_sec if health is None else health.verified_sec
        self._fresh_us = max(round(verified_sec * SECOND_US), INTERVALS_MAX * (self._interval_us or 0))
        self._mark = account.newest_mark(at_us=now_us)

    # ---- of a day

    def daily_loss(self) -> MonitorState:
        """Return how much of what may be lost in a day is used up."""
        rules, most = self._rules, self._rules.daily_loss
        assert most is not None, "it is set"
        terms = self._path.terms
        start_msc, end_msc = day_span_utc_msc(rules.day, rules.day_start, terms, self._now_us // 1000)
        start_us, end_us = start_msc * 1000, end_msc * 1000
        wall_msc = (terms.clock if rules.day == SERVER else ClockRule(rules.day)).from_utc_msc(start_msc)
        state = evolve(
            self._begin(DAILY_LOSS), day=utc_text(wall_msc)[:10], day_start_us=start_us, day_end_us=end_us,
        )  # fmt: skip
        begin = self._day_begin(start_us)
        if isinstance(begin, str):
            return evolve(state, reason=begin)
        loss = loss_of_day(most, rules.daily_base, balance=begin.balance, floating=begin.floating, worth=Decimal(0))
        if loss is None:
            why = f"no mark shows what open positions came to when the day began ({_time(start_us)})"
            return evolve(state, reason=why)
        state = evolve(state, base=loss.base, base_from=begin.source, allowed=loss.allowed)
        rule = DayRule(loss.base - loss.allowed, begin.step, self._path)
        breached_us = self._curve.first_breach(rule, begin.span(self._now_us))
        if self._mark is not None:
            state = evolve(state, level=rule.level_at(self._mark.at_us))
        return self._finish(state, breached_us)

    def _day_begin(self, start_us: int) -> _DayBegin | str:
        """Return what the account had when the day began; why that is not known, in words."""
        path = self._path
        step = path.last_before(start_us)
        if step is None:
            initial = path.initial()
            if initial is None or path.known_from > 0 or path.at_us(initial.step) < start_us:
                return f"the journal has no balance of when the day began ({_time(start_us)})"
            return _DayBegin(
                initial.step,
                initial.balance,
                Decimal(0),
                path.at_us(initial.step) + APART_US,
                f"initial balance {initial.source}",
            )
        found = path.step(step)
        if not found.is_whole:
            return f"the money of a deal before the day began ({_time(start_us)}) is not known"
        floating = floating_at(self._account.newest_mark(at_us=start_us), start_us, self._fresh_us, is_flat=found.is_flat)
        source = f"{self._rules.daily_base.value} when the day began"
        return _DayBegin(step, found.balance, floating, start_us, source)

    # ---- in all

    def max_drawdown(self) -> MonitorState:
        """Return how much of what may be lost in all is used up."""
        rules, most, path = self._rules, self._rules.max_drawdown, self._path
        assert most is not None, "it is set"
        state = self._begin(MAX_DRAWDOWN)
        recorded = path.initial()
        initial = rules.initial_balance if rules.initial_balance is not None else recorded and recorded.balance
        if initial is None:
            why = "the initial balance is not known: no sync and no import stated a balance; or state initial_balance"
            return evolve(state, reason=why)
        source = "of the settings" if rules.initial_balance is not None or recorded is None else recorded.source
        rule = DrawdownRule(rules.drawdown, initial, most.of(initial), path)
        first_step, from_us = path.count, 0
        if recorded is not None:
            first_step, from_us = recorded.step, path.at_us(recorded.step) + APART_US
        span = Span(marks_from_us=from_us, first_step=first_step, until_us=self._now_us)
        breached_us = self._curve.first_breach(rule, span)
        begun = f"initial balance {plain(initial, decimals=path.terms.opened.currency_digits)}, {source}"
        counted = _COUNTED.get(rules.drawdown)
        state = evolve(state, base=rule.peak, base_from=f"{counted}; {begun}" if counted else begun, allowed=rule.allowed)
        return self._finish(evolve(state, level=rule.level), breached_us)

    # ---- what both have

    def _begin(self, limit: str) -> MonitorState:
        mark = self._mark
        return evolve(
            _unknown(self._account, limit, self._rules, ""),
            currency=self._path.terms.opened.currency,
            as_of_us=None if mark is None else mark.at_us,
            is_equity_reported=None if mark is None or mark.equity is None else mark.is_equity_reported,
            interval_us=self._interval_us,
        )

    def _finish(self, state: MonitorState, breached_us: int | None) -> MonitorState:
        """Return a state with the present figures, and what they come to."""
        why = self._why_not_fresh()
        if why is None and self._mark is not None and self._mark.equity is not None and state.level is not None:
            assert state.allowed is not None, "it goes with the level"
            left = self._mark.equity - state.level
            used = max(Decimal(0), state.allowed - left)
            word = State.NEAR if used >= self._rules.warn_at.of(state.allowed) else State.OK
            state = evolve(state, equity=self._mark.equity, left=left, used=used, state=word, reason=None)
        if breached_us is not None:
            ends = "for good" if state.day_end_us is None else f"until the day ends ({_time(state.day_end_us)})"
            more = "" if why is None else f"; {why}"
            reason = f"since {_time(breached_us)}, {ends}{more}"
            return evolve(state, state=State.BREACHED, breached_us=breached_us, reason=reason)
        return state if why is None else evolve(state, state=State.UNKNOWN, reason=why)

    def _why_not_fresh(self) -> str | None:
        mark = self._mark
        if mark is None:
            return "there is no mark: no sync has stored what the account is worth"
        age_us = self._now_us - mark.at_us
        if age_us > self._fresh_us:
            return (
                f"the newest mark is {age_text(age_us / SECOND_US)} old ({_time(mark.at_us)}), at most "
                f"{age_text(self._fresh_us / SECOND_US)} are allowed: is a sync running? See ledger status"
            )
        return "the newest mark has no equity: the gateway states no money" if mark.equity is None else None


class _DayBegin(NamedTuple):
    """What an account had when a day began, and from when on its equity counts."""

    step: int
    balance: Decimal
    floating: Decimal | None
    from_us: int
    source: str

    def span(self, until_us: int) -> Span:
        """Return what counts of the day: steps behind the one that it began with, which has no result of it."""
        return Span(marks_from_us=self.from_us, first_step=self.step + 1, until_us=until_us)


def _time(at_us: int) -> str:
    return utc_text(at_us // 1000).replace("T", " ").removesuffix("Z")[:19] + " UTC"
