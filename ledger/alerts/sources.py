"""Sources are the parts above the journal that notices draw on, where they are there: monitors, and the causes of breaks.

Each is loaded when it is first used. Without it, or without its settings, there is nothing of it in a notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ledger.alerts.conditions import LimitState
from ledger.clock import utc_text_us
from ledger.service import Account, Ledger
from ledger.values import AccountId, plain


def limits_of(configuration: object) -> Callable[[Ledger, Sequence[AccountId], int], Iterable[LimitState]]:
    """Return what reads the states of the monitored limits (``ledger.monitors``) of some accounts."""
    if not getattr(configuration, "monitors", None) or find_spec("ledger.monitors") is None:
        return lambda *_: ()

    def limits(ledger: Ledger, names: Sequence[AccountId], now_us: int) -> Iterator[LimitState]:
        wanted = frozenset(names)
        for one in import_module("ledger.monitors").states(ledger, configuration, now_us):
            if one.account in wanted:
                yield limit_state(one, now_us)

    return limits


def limit_state(one: Any, now_us: int) -> LimitState:
    """Return the state of a monitored limit as notices need it. One that is of no day is reported once a day all the same."""
    used, allowed, left = map(_amount, (one.used, one.allowed, one.left))
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
    if find_spec("ledger.incidents") is None:
        return {}
    found = import_module("ledger.incidents").open_findings(account.ledger.journal, account.name, account.terms)
    return {version: _caused(one) for version, one in found.items()}


def _caused(finding: Any) -> str:
    because = ", ".join(str(getattr(one, "what", one)) for one in finding.because)
    return f"{finding.words}: {because}" if because else str(finding.words)


def _amount(amount: Decimal | None) -> str:
    return "?" if amount is None else plain(amount)
