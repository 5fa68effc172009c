"""The life of one break: every event from its opening to its end, with what was seen, tried, noted, proposed and decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import fields

from ledger.account_status import breaks_of
from ledger.clock import utc_text
from ledger.codec import Stored
from ledger.events import BreakClosed, BreakOpened, Recorded
from ledger.events.approvals import BreakNoted, CorrectionDecided, CorrectionProposed
from ledger.json_views import Json, account_json, open_break_json
from ledger.page.answers import not_found
from ledger.page.endpoints import ROWS_MAX
from ledger.page.events import event_json, row_of
from ledger.safety import is_escalated
from ledger.service import Account
from ledger.views import Break

if TYPE_CHECKING:
    from ledger.page.endpoints import Call

#: So far from the opening an event may be in steps of what caused what.
_FURTHEST: Final = 4
_ROLES: Final[dict[type, str]] = {
    BreakOpened: "seen",
    BreakClosed: "closed",
    BreakNoted: "noted",
    CorrectionProposed: "proposed",
    CorrectionDecided: "decided",
}


def break_life(call: Call) -> Json:
    """Return the life of a break: what it is about, its events, and how it is now."""
    account, desk = call.account, call.desk
    desk.current(account, call.principal.name)
    life = life_of(call)
    opened, terms = life[0], account.terms
    closed = next((one for one in life if isinstance(one.event, BreakClosed)), None)
    portfolio, causes = breaks_of(account)
    still = next((one for one in portfolio.breaks if one.version == opened.version), None)
    now_us, attempts_max = desk.now_us(), desk.source.configuration.policy.attempts_max
    return {
        "account": account_json(terms),
        "version": opened.version,
        "break": _closed_break(opened, account)
        if still is None
        else open_break_json(still, terms, now_us, causes.get(still.version), account.approvals)
        | {"state": "escalated" if is_escalated(still, attempts_max) else "open"},
        "opened_at": utc_text(_utc_msc(opened, account)),
        "closed": None if closed is None else _closed_json(closed, account),
        "owner": owner_of(life),
        "events": [_event_json(one, account, opened.version) for one in life],
        "clock": terms.clock.name,
        **desk.decisions(account, opened.version),
        "now_version": account.version,
    }


def owner_of(life: Sequence[Recorded]) -> str | None:
    """Return who took a break over, by its last note that names somebody."""
    notes = [one.event for one in life if isinstance(one.event, BreakNoted)]
    return next((one.owner for one in reversed(notes) if one.owner is not None), None)


def _event_json(one: Recorded, account: Account, opened: int) -> Json:
    found = event_json(one, account.terms)
    return found | {"role": role_of(one, opened), "line": found["words"]}


def _closed_json(one: Recorded, account: Account) -> Json:
    assert isinstance(one.event, BreakClosed)
    return {"end": one.event.end.value, "at": utc_text(_utc_msc(one, account)), "version": one.version}


def _closed_break(opened: Recorded, account: Account) -> Json:
    """Return a break that is over as the listing has an open one: as it was when it was opened."""
    event, names = opened.event, {one.name for one in fields(Break)}
    known = {one.name: getattr(event, one.name) for one in fields(type(event)) if one.name in names}
    was = Break(**known | {"opened_msc": event.time_msc, "version": opened.version})
    terms = account.terms
    shown = open_break_json(was, terms, terms.clock.to_utc_msc(event.time_msc) * 1000, approvals=account.approvals)
    return shown | {"age_sec": None, "state": "closed"}


def _utc_msc(one: Recorded, account: Account) -> int:
    return account.terms.clock.to_utc_msc(one.event.time_msc) if one.utc_msc is None else one.utc_msc


def role_of(one: Recorded, opened: int) -> str:
    """Return what an event is in the life of a break."""
    if one.version == opened:
        return "opened"
    return _ROLES.get(type(one.event), "corrected")


def life_of(call: Call) -> list[Recorded]:
    """Return the events of the life of a break, the opening first.

    Raises:
        Unanswered: The version is none of a break.
    """
    from ledger.journal.sql.looks import caused, newest

    account, journal = call.account, call.desk.source.sql_journal
    row = row_of(call, call.path["version"])
    while row.kind == "BreakOpened" and row.caused_by is not None:  # it is one that was seen again
        before = row_of(call, row.caused_by)
        if before.kind != "BreakOpened":  # one of kind approval: a proposal caused it
            break
        row = before
    if row.kind != "BreakOpened":
        raise not_found(f"version {row.version} of {account.name} opens no break: it is {row.kind}")
    found: dict[int, Stored] = {row.version: row}
    after = row.version - 1
    proposed = newest(journal, account.name, after=after, kinds={"CorrectionProposed"}, limit=ROWS_MAX)
    for one in account.read_rows(proposed):
        if isinstance(one.event, CorrectionProposed) and one.event.break_version == row.version:
            found |= {each.version: each for each in proposed if each.version == one.version}
    begun = set(found)
    for _ in range(_FURTHEST):
        new = {one.version: one for version in begun for one in caused(journal, account.name, version)}
        begun = set(new) - set(found)
        found |= new
        if not begun or len(found) > ROWS_MAX:
            break
    decided = {one.version for one in found.values() if one.kind == "CorrectionDecided"}
    if decided:
        adjusted = newest(journal, account.name, after=after, kinds={"Adjusted"}, limit=ROWS_MAX)
        by_version = {one.version: one for one in adjusted}
        for one in account.read_rows(adjusted):
            if getattr(one.event, "decision", None) in decided:
                found[one.version] = by_version[one.version]
    return list(account.read_rows(sorted(found.values(), key=lambda one: one.version)[:ROWS_MAX]))
