"""What the commands that list and explain answer, of one account: the objects that they print with ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ledger.clock import moment_end_us, moment_span_us
from ledger.compare import At, compare, comparison_json
from ledger.derived import trade_of
from ledger.errors import BadValue
from ledger.explain import explain_balance, explain_position, explain_trade, explanation_json
from ledger.filters import Filter
from ledger.incidents import GROUPS, INCIDENT_KINDS, Period, incidents_of
from ledger.json_views import (
    Json,
    account_json,
    halt_json,
    incident_json,
    limits_json,
    monitor_json,
    order_row_json,
    trade_json,
)
from ledger.monitors import account_states
from ledger.order_decisions import halts, limits_in_force
from ledger.page.endpoints import ROWS_MAX
from ledger.reports import account_report, make_question, total_of
from ledger.reports.json import report_json
from ledger.service import Account
from ledger.values import INT64_MAX, AccountId
from ledger.views import Trade

if TYPE_CHECKING:
    from ledger.page.endpoints import Call

#: How many of the events that are folded at once may be read in words, which costs more.
_DEAR: Final = 5
_T = TypeVar("_T")


def _work(call: Call, account: Account, what: str, make: Callable[[], _T], cost: int, narrow: str) -> _T:
    """Return what is made of a history, at once or by a job.

    Raises:
        Unanswered: It is under way (202), or too much is (429).
    """
    asked = tuple(sorted((name, str(value)) for name, value in call.query.items()))
    key = (what, account.name, account.version, asked)
    return call.desk.work.do(key, call.principal.name, cost, lambda _: make(), narrow=narrow)


# ------------------------------------------------------------------------------------------------------------ listings


def trades(call: Call) -> Json:
    """Return closed trades, the newest first: from the derived tables where these are up to date."""
    from ledger.journal.sql.looks import newest_trades

    account, asked = call.account, call.query
    terms = account.terms
    wanted = Filter(
        symbols=asked["symbol"],
        since_us=None if asked["since"] is None else moment_span_us(asked["since"])[0],
        until_us=None if asked["until"] is None else moment_end_us(asked["until"]),
    )
    before, limit = asked["before"] or INT64_MAX, asked["limit"]
    if asked["known_at"] is None and not account.derived.lag().events:
        read, count = newest_trades(
            call.desk.source.sql_journal, account.name, before=before, limit=limit + 1, since_us=wanted.since_us,
            until_us=wanted.until_us, symbols=wanted.symbols,
        )  # fmt: skip
        found = [(place, trade_of(row, terms.opened.money_scale)) for place, row in read]
    else:

        def make() -> list[tuple[int, Trade]]:
            return [
                one for one in enumerate(account.trades(known_at=asked["known_at"]), 1) if wanted.shows_trade(one[1], terms)
            ]

        key = ("trades", account.name, account.version, asked["known_at"], wanted)
        narrow = "choose a period that is shorter"
        every = call.desk.work.do(key, call.principal.name, account.version * 2, lambda _: make(), narrow=narrow)
        found, count = [one for one in reversed(every) if one[0] < before], len(every)
    shown, is_more = found[:limit], len(found) > limit
    named = {"account": account_json(terms)}
    return {
        "rows": [named | trade_json(one, terms) for _, one in shown],
        "next": shown[-1][0] if is_more else None,
        "found": count,
        "version": account.version,
    }


def orders(call: Call) -> Json:
    """Return orders, the newest first."""
    account, asked = call.account, call.query
    moment = {"until": asked["until"], "known_at": asked["known_at"]}
    terms = account.selection(**moment)[1]
    found = _work(call, account, "orders", lambda: account.orders(**moment), account.version, "choose an earlier moment")
    shown = [
        one
        for one in found
        if asked["state"] == "all" or (one.is_unknown if asked["state"] == "unknown" else one.is_open or one.is_unknown)
    ]
    rows = [order_row_json(one, terms) for one in shown[-ROWS_MAX:][::-1]]
    return {"rows": rows, "found": len(shown)}


def limits(call: Call) -> Json:
    """Return the limits that orders have to meet."""
    account = call.account
    return limits_json(limits_in_force(account), account.terms)


def monitors(call: Call) -> Json:
    """Return how much of what the account may lose is used up."""
    account = call.account
    rules = call.desk.source.configuration.monitors.get(account.name)
    if rules is None:
        return {"rows": []}
    states = account_states(account, rules, call.desk.now_us())
    return {"rows": [monitor_json(one, account.terms) for one in states]}


def halts_of(call: Call) -> Json:
    """Return the halts in force."""
    account = call.account
    return {"rows": [halt_json(one, account.terms.clock) for one in halts(account)]}


# ----------------------------------------------------------------------------------------------------------- questions


def report(call: Call) -> Json:
    """Return what the account earned."""
    account, asked = call.account, call.query
    question = make_question(
        by=asked["by"], day=asked["day"] or "server", since=asked["since"], until=asked["until"], known_at=asked["known_at"],
        symbols=asked["symbol"],
    )  # fmt: skip

    def make() -> Json:
        found: Json = report_json(total_of(question, [account_report(account, question)]))
        return found

    cost = 0 if asked["known_at"] is None and not account.derived.lag().events else account.version * 2
    return _work(call, account, "report", make, cost, "report on a moment that is known now")


def incidents(call: Call) -> Json:
    """Return what went wrong, and how it ended; what ended last, or is open, first."""
    account, asked, now_us = call.account, call.query, call.desk.now_us()
    period = Period(
        since_us=None if asked["since"] is None else moment_span_us(asked["since"])[0],
        until_us=None if asked["until"] is None else moment_end_us(asked["until"]),
    )
    kinds = _incident_kinds(asked["kind"])
    terms = account.terms

    def make() -> list[Json]:
        found = incidents_of(account.ledger.journal, account.name, terms, period)
        return [incident_json(one, terms, now_us) for one in found if one.kind in kinds and (one.is_open or not asked["open"])]

    begin = 0 if period.since_us is None else account.ledger.journal.version_at(account.name, period.since_us)
    rows = _work(call, account, "incidents", make, account.version - begin, "choose a shorter period")
    return {"rows": rows[-ROWS_MAX:][::-1], "found": len(rows)}


def _incident_kinds(names: tuple[str, ...]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in INCIDENT_KINDS:
            raise BadValue(f"there is no kind {name[:40]!r}. Groups: {', '.join(GROUPS)}. Kinds: {', '.join(INCIDENT_KINDS)}")
        found |= set(GROUPS.get(name, (name,)))
    return frozenset(found or INCIDENT_KINDS)


def comparison(call: Call) -> Json:
    """Return what differs between two moments of the account, or between it and another one, and why."""
    account, asked = call.account, call.query
    a, b = (_side(account.name, asked[name]) for name in ("a", "b"))
    for side in (a, b):
        if not account.ledger.account(side.account).is_open:
            account.ledger.forget(side.account)
            raise BadValue(f"account {side.account} is not in this journal")
    cost = sum(call.desk.cost_of(account.ledger.account(one.account)) for one in (a, b)) + account.version // 2
    return _work(
        call,
        account,
        "compare",
        lambda: comparison_json(compare(account.ledger, a, b)),
        cost,
        "compare moments that are nearer",
    )


def _side(name: AccountId, text: str | None) -> At:
    """Return a side of a comparison: a moment of the account, or another account with or without one."""
    if text is None or text == "":
        return At(account=name)
    try:
        return At.parse(text if "/" in text.partition("@")[0] else f"{name}@{text}")
    except BadValue as error:
        raise BadValue(f"expected a moment (T, known:T, vN, or T,known:T), or SERVER/LOGIN@MOMENT: {error}") from None


def explanation(call: Call) -> Any:
    """Return the events that make a figure: the balance, a position or a trade."""
    account, asked = call.account, call.query
    what, _, number = asked["what"].partition(":")
    moment: Json = {"until": asked["until"], "known_at": asked["known_at"]}

    def make() -> list[Json]:
        if what == "balance" and not number:
            found = [explain_balance(account, every=asked["all"], **moment)]
        elif what in ("position", "trade") and number.isascii() and number.isdigit() and 0 < len(number) < 19:
            if what == "position":
                found = [explain_position(account, int(number), every=asked["all"], **moment)]
            else:
                found = list(explain_trade(account, int(number), every=asked["all"], **moment))
        else:
            raise BadValue(f"what: expected balance, position:ID or trade:ID, found {asked['what'][:40]!r}")
        return [explanation_json(one, **moment) for one in found]

    items = _work(call, account, "explain", make, account.version * _DEAR, "explain a position instead of the balance")
    return {"explanations": [one | {"lines": list(islice(one["lines"], ROWS_MAX))} for one in items]}
