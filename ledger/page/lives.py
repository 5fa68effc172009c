"""The life of one break: every event from its opening to its end, with what was seen, tried, noted, proposed and decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    event = opened.event
    assert isinstance(event, BreakOpened)
    closed = next((one for one in life if isinstance(one.event, BreakClosed)), None)
    portfolio, causes = breaks_of(account)
    still = next((one for one in portfolio.breaks if one.version == opened.version), None)
    now_us, attempts_max = desk.now_us(), desk.source.configuration.policy.attempts_max
    notes = [one.event for one in life if isinstance(one.event, BreakNoted)]
    state = "closed" if still is None else "escalated" if is_escalated(still, attempts_max) else "open"
    return {
        "account": account_json(terms),
        "version": opened.version,
        "state": state,
        "kind": event.kind.value,
        "break": None if still is None else open_break_json(still, terms, now_us, causes.get(still.version)),
        "opened_at": utc_text(_utc_msc(opened, account)),
        "closed_at": None if closed is None else utc_text(_utc_msc(closed, account)),
        "end": closed.event.end.value if closed is not None and isinstance(closed.event, BreakClosed) else None,
        "owner": next((one.owner for one in reversed(notes) if one.owner is not None), None),
        "life": [event_json(one, terms) | {"role": role_of(one, opened.version)} for one in life],
        **desk.decisions(account),
        "now_version": account.version,
    }


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
    if row.kind == "BreakOpened" and row.caused_by is not None:  # it is one that was seen again
        row = row_of(call, row.caused_by)
    if row.kind != "BreakOpened":
        raise not_found(f"version {row.version} of {account.name} opens no break, it is a {row.kind}")
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
