"""Sources are the parts above the journal that notices draw on: monitors, and causes of breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ledger.alerts.conditions import LimitState
from ledger.causes import Finding
from ledger.clock import utc_text_us
from ledger.incidents import open_findings
from ledger.service import Account
from ledger.values import plain

if TYPE_CHECKING:  # of monitors nothing is loaded where there are none
    from ledger.monitors import Monitored, MonitorState


def limits_of(monitored: Monitored) -> Callable[[Account, int], Iterable[LimitState]]:
    """Return what reads the states of an account's monitored limits."""
    if not monitored.monitors:
        return lambda *_: ()

    def limits(account: Account, now_us: int) -> Iterator[LimitState]:
        from ledger.monitors import account_states

        rules = monitored.monitors.get(account.name)
        if rules is not None:
            digits = account.terms.opened.currency_digits
            yield from (limit_state(one, now_us, digits) for one in account_states(account, rules, now_us))

    return limits


def limit_state(one: MonitorState, now_us: int, digits: int) -> LimitState:
    """Return the state of a monitored limit as notices need it. One that is of no day is reported once a day all the same."""
    used, allowed, left = ("?" if each is None else plain(each, decimals=digits) for each in (one.used, one.allowed, one.left))
    what = f"{used} of {allowed} {one.currency or ''}".rstrip() + f" is lost, {left} is left"
    return LimitState(
        account=one.account,
        limit=one.limit,
        day=one.day or utc_text_us(now_us)[:10],
        state=str(one.state),
        what=f"{what}; {one.reason}" if one.reason else what,
        since_us=one.breached_us,
    )


def causes_of(account: Account) -> Mapping[int, str]:
    """Return the likely causes of an account's open breaks (``ledger.incidents``): version of the first sighting -> cause."""
    found = open_findings(account.ledger.journal, account.name, account.terms)
    return {version: _caused(one) for version, one in found.items()}


def _caused(finding: Finding) -> str:
    because = ", ".join(one.what for one in finding.because)
    return f"{finding.words}: {because}" if because else finding.words
