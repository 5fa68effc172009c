"""One account at a moment: the portfolio, how it is, and what leads to other moments."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import moment_end_us, utc_text_us
from ledger.folds import ORDERS, PORTFOLIO
from ledger.journal import Selection
from ledger.json_views import Json, replay_json
from ledger.page.endpoints import writable_us
from ledger.page.work import Progress
from ledger.portfolio import Portfolio
from ledger.service import Account
from ledger.terms import AccountTerms
from ledger.values import plain

if TYPE_CHECKING:
    from ledger.page.desk import Desk
    from ledger.page.endpoints import Call

#: So many hex digits of a chain hash, and of the digest of the fold's rules, are in a link.
HASH_DIGITS: Final = 16
FOLD_DIGITS: Final = 8
#: A moment as answers have it; every other one that is understood means a unit: a day, a minute.
_EXACT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?Z")


def account_view(call: Call) -> Json:
    """Return an account at a moment, and how it is now."""
    account, desk, who = call.account, call.desk, call.principal.name
    until, known_at, v = call.query["until"], call.query["known_at"], call.query["v"]
    moment = {"until": until, "known_at": known_at, "version": v if until is None and known_at is None else None}
    link = _link(account, call.query)
    version, current = desk.current(account, who)
    head = account.journal_head
    if all(value is None for value in moment.values()):
        portfolio, selected, shown = current, version, version
    else:
        selection, terms = account.selection(**moment)
        portfolio, selected = replayed_at(desk, account, selection, who, terms)
        shown = selection.version
    lag = account.derived.lag()
    return {
        "replay": replay_json(
            portfolio, until=until, known_at=known_at, version=head.version, head=head.hash.hex(), selected=selected,
            orders=account.orders(**moment), approvals=account.approvals_at(**moment),
        ),
        "status": desk.status(account),
        "version": shown,
        "head": _hash_at(account, shown),
        "fold": fold_code(account),
        "link": link,
        "at": {"until": _exact(until), "known_at": _exact(known_at)},
        "clock": portfolio.terms.clock.name,
        "mark": _mark_json(account, until or known_at, portfolio),
        "derived": {"version": lag.version, "behind": lag.events if lag.version else 0},  # without tables, events are folded
        **desk.decisions(account),
        "now_version": head.version,
        "as_of": utc_text_us(desk.now_us()),
    }  # fmt: skip


def replayed_at(
    desk: Desk, account: Account, selection: Selection, who: str, terms: AccountTerms | None = None
) -> tuple[Portfolio, int]:
    """Return the portfolio that a selection makes, and how many events it has.

    Raises:
        Unanswered: It is being folded (202), or too much is (429).
    """

    def fold(progress: Progress) -> tuple[Portfolio, int]:
        known = terms or account.selection(version=selection.version)[1]
        return account.replayed(selection, known, progress=progress)

    key = ("replay", account.name, account.version, selection)
    cost = desk.cost_of(account, selection)
    return desk.work.do(key, who, cost, fold, narrow="choose a later moment, from which less has to be folded")


def fold_code(account: Account) -> str:
    """Return what names the rules by which the events of an account are folded."""
    terms = account.terms
    rules = f"{PORTFOLIO.code(terms)} {ORDERS.code(terms)}"
    return sha256(rules.encode()).hexdigest()[:FOLD_DIGITS]


def _exact(moment: str | None) -> str | None:
    """Return a moment as the sliders have it: of a day, a minute or another zone the last microsecond, in UTC."""
    return moment if moment is None or _EXACT.fullmatch(moment) else utc_text_us(writable_us(moment_end_us(moment) - 1))


def _hash_at(account: Account, version: int) -> str:
    return (account.ledger.journal.hash_at(account.name, version) or b"").hex()


def _link(account: Account, asked: Any) -> Json:
    """Return whether the history and the rules are those of whoever made a link: same, differs, or - where it names none."""
    version, chain, fold = asked["v"], asked["h"], asked["f"]
    found = _hash_at(account, version) if version is not None else ""
    is_same = bool(chain) and len(chain) >= HASH_DIGITS and found.startswith(chain.lower())
    return {
        "h": "-" if chain is None or version is None else "same" if is_same else "differs",
        "f": "-" if fold is None else "same" if fold.lower() == fold_code(account) else "differs",
    }


def _mark_json(account: Account, moment: str | None, portfolio: Portfolio) -> Json | None:
    """Return the newest sample of what the account was worth by a moment; None without one."""
    mark = account.newest_mark(at_us=None if moment is None else moment_end_us(moment) - 1)
    if mark is None:
        return None
    digits = portfolio.terms.opened.currency_digits
    amounts = {name: getattr(mark, name) for name in ("balance", "credit", "floating", "equity", "margin")}
    return {
        "time": utc_text_us(mark.at_us),
        **{name: None if amount is None else plain(amount, decimals=digits) for name, amount in amounts.items()},
        "equity_reported": mark.is_equity_reported,
    }
