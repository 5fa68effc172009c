"""This module is an incident in one line for people, and what those of a period come to.

Text from outside is not escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from ledger.causes import Certainty
from ledger.clock import utc_text_us
from ledger.codec import Stored, decode
from ledger.event_lines import changed_fields, describe, differing_fields, money_text, short_position
from ledger.events import DealRevised, Recorded
from ledger.incidents import ADJUSTED, CONFLICT, DEGRADED, RETICKETED, REVISED, Incident, Period
from ledger.safety import age_text
from ledger.terms import AccountTerms

HEADER: Final = ("started (UTC)", "lasted", "what", "about", "outcome")
_AT_ONCE: Final = 500  # lines whose columns are in line
_SHORT_UNITS: Final = {" min": " m"}


def incident_lines(
    incidents: Iterable[Incident], terms: AccountTerms, period: Period, now_us: int, *, is_every_degradation: bool = True
) -> Iterator[str]:
    """Yield a header, a line for each incident, and what they come to.

    Args:
        incidents: Those of one account that overlap the period.
        terms: What the account is read with.
        period: What was asked for; without its end it goes on until now.
        now_us: The present, UTC microseconds.
        is_every_degradation: Whether all degradations are among them: else nothing is summed up of these.
    """
    closed = opened = degraded_us = 0
    found = iter(incidents)
    is_first = True
    while some := list(islice(found, _AT_ONCE)):
        rows = [_cells(one, terms, now_us) for one in some]
        widths = [max(len(row[at]) for row in [*rows, HEADER]) for at in range(4)]
        if is_first:
            yield _line(HEADER, widths)
        is_first = False
        for one, row in zip(some, rows, strict=True):
            closed, opened = closed + (not one.is_open), opened + one.is_open
            degraded_us += period.overlap_us(one, now_us) if one.kind == DEGRADED else 0
            yield _line(row, widths)
    degraded = _degraded_words(degraded_us, period, now_us) if is_every_degradation else ""
    yield f"{closed} closed, {opened} open{degraded}"


def _degraded_words(degraded_us: int, period: Period, now_us: int) -> str:
    words = f"; degraded {age_text(degraded_us / 1_000_000)}"
    if period.since_us is None:
        return words
    length_us = min(now_us, period.until_us or now_us) - period.since_us
    return f"{words} ({100 * degraded_us / length_us:.2f} % of the period)" if length_us > 0 else words


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    started, lasted, what, about, outcome = cells
    first, second, third, fourth = widths
    return f"{started:<{first}}  {lasted:>{second}}  {what:<{third}}  {about:<{fourth}}  {outcome}".rstrip()


def _cells(one: Incident, terms: AccountTerms, now_us: int) -> tuple[str, ...]:
    started = utc_text_us(one.started_us)
    year = "" if started[:4] == utc_text_us(now_us)[:4] else f"{started[:4]}-"
    return f"{year}{started[5:16].replace('T', ' ')}", _lasted(one, now_us), one.kind, _about(one), outcome_words(one, terms)


def _lasted(one: Incident, now_us: int) -> str:
    duration_us = one.duration_us(now_us)
    if duration_us is None:
        return "-"
    lasted = age_text(duration_us / 1_000_000)
    return f"open {lasted.replace(' min', ' m')}" if one.is_open else lasted


def _about(one: Incident) -> str:
    """Return what an incident is about, in few words."""
    details = one.details
    if one.kind == DEGRADED:
        return "gateway"
    if one.kind == "order":
        return " ".join(str(word) for word in (details.get("order") or details.get("client_id"), details.get("field")) if word)
    if one.kind in (REVISED, CONFLICT):
        return f"deal {one.deal}"
    if one.position_id is not None:
        return f"{one.position_id} {one.symbol or ''}".rstrip()
    if one.kind == ADJUSTED and "deal" not in details:
        return next((name for name in ("balance", "credit", "clock", "order") if f"{name}_after" in details), one.symbol or "")
    if one.deal is not None:
        return f"deal {one.deal}"
    return str(details.get("field") or one.symbol or "")


def outcome_words(one: Incident, terms: AccountTerms) -> str:
    """Return how an incident ended, or what is so while it is open, with its likely cause."""
    words, cause = _outcome(one, terms), _cause(one)
    if one.outcome == "corrected" and _states(one):
        return ": ".join(filter(None, [words, ", ".join(filter(None, [cause, _explained_by(one)]))]))
    owner = f"owner {one.owner}" if one.is_open and one.owner else ""
    return "; ".join(filter(None, [owner, words, cause]))


def _cause(one: Incident) -> str:
    """Return the likely cause of a break; what is no break states its own."""
    if one.kind in (DEGRADED, RETICKETED) or one.finding is None or one.finding.certainty is Certainty.UNKNOWN:
        return ""
    return one.finding.words


def _outcome(one: Incident, terms: AccountTerms) -> str:
    if one.kind == DEGRADED:
        return f"restored; {one.reason}" if one.outcome else str(one.reason)
    if one.kind == ADJUSTED:
        return _adjusted(one, terms)
    if one.kind == RETICKETED:
        return f"ticket {one.details['ticket_before']} -> {one.details['ticket_after']}"
    if one.kind in (REVISED, CONFLICT):
        return _revised(one, terms)
    if one.is_open:
        return _sides(one)
    return _ended(one)


def _sides(one: Incident) -> str:
    """Return what either side of an open break shows."""
    ours, theirs, name = (one.details.get(key) for key in ("ours", "theirs", "field"))
    if one.kind == "drift" and ours and theirs and name:
        return differing_fields(name, ours, theirs)
    if one.kind in ("ghost", "zombie"):
        return f"{short_position(ours) if ours else 'we none'}, broker {short_position(theirs) if theirs else 'none'}"
    sides = [f"ours {ours}" if ours else "", f"broker {theirs}" if theirs else ""]
    return ", ".join(filter(None, sides)) or str(one.reason or "")


def _ended(one: Incident) -> str:
    if one.outcome == "corrected" and _states(one):
        return _corrected(one)
    if one.outcome == "explained" and _explained_by(one):
        return f"explained by {_explained_by(one)}"
    why = f': "{one.reason}"' if one.reason else ""
    by_person = f" by {one.operator}{why}" if one.operator else ""
    return f"{one.outcome}{by_person}"


def _explained_by(one: Incident) -> str:
    """Name the deals that explained it, and the version of the last of them."""
    deals = one.details.get("explained_by") or []
    if not deals:
        return ""
    return f"{f'deal {deals[0][0]}' if len(deals) == 1 else f'{len(deals)} deals'}, v{deals[-1][1]}"


def _states(one: Incident) -> tuple[Any, Any] | None:
    """Return the position before and after a correction, None where nothing was corrected."""
    before, after = one.details.get("before"), one.details.get("after")
    return (before, after) if before or after else None


def _corrected(one: Incident) -> str:
    match _states(one):
        case (None, after):
            return f"adopted {after['side']} {after['volume']}"
        case (before, None):
            return f"closed {before['side']} {before['volume']}{'' if _explained_by(one) else ', result unknown'}"
        case (before, after):
            return changed_fields(before, after)
        case _:
            return "corrected"


def _adjusted(one: Incident, terms: AccountTerms) -> str:
    """Return what a person changed. One figure by how much."""
    details = one.details
    approved = f", approved by {one.approved_by}" if one.approved_by else ""
    by = f' by {details.get("operator")}{approved}: "{details.get("reason")}"'
    for name in ("balance", "credit"):
        if f"{name}_after" in details:
            return f"{_gap(details[f'{name}_before'], details[f'{name}_after'], terms)}{by}"
    for name in ("clock", "order"):
        if f"{name}_after" in details:
            return f"{details[f'{name}_before']} -> {details[f'{name}_after']}{by}"
    before, after = details.get("before"), details.get("after")
    if before and after:
        return f"{changed_fields(before, after)}{by}"
    state = after or before
    if state is not None:
        return f"{'added' if after else 'closed'} {state['side']} {state['volume']}{by}"
    if details.get("accepted"):
        return f"accepted {details['accepted']['volume']}{by}"
    return f"withdrew the deal{by}"


def _gap(before: str, after: str, terms: AccountTerms) -> str:
    from decimal import Decimal

    moved = money_text(str(Decimal(after) - Decimal(before)), terms)
    return moved if moved.startswith("-") else f"+{moved}"


def _revised(one: Incident, terms: AccountTerms) -> str:
    row = one.details["row"]
    assert isinstance(row, Stored)
    event = decode(row, terms)
    assert isinstance(event, DealRevised)
    recorded = Recorded(
        account=one.account, version=row.version, recorded_us=row.recorded_us, natural_key=row.natural_key, event=event, head=""
    )
    return describe(recorded, terms)[0].removeprefix(f"deal {event.deal} ")
