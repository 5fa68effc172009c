"""The table of all endpoints. ``ledger.page.app`` serves it, ``ledger.page.openapi`` describes it."""

from __future__ import annotations

from typing import Final

from ledger.json_views import Json
from ledger.page.accounts import account_view
from ledger.page.breaks import open_breaks
from ledger.page.endpoints import Call, Endpoint, choice, moment, text, whole
from ledger.page.overview import SORTS, STATES, overview

_ACCOUNT: Final = "/api/accounts/{server}/{login}"
_UNTIL: Final = moment("until", "What had happened by then, as it is known now.")
_KNOWN_AT: Final = moment("known_at", "What the ledger believed then.")


def session(call: Call) -> Json:
    """Return who is signed in, and what that person may do here."""
    desk = call.desk
    return {
        "name": call.principal.name,
        "role": call.principal.role.value,
        "via": call.principal.via,
        "allow_writes": desk.read_only_reason is None,
        "read_only_reason": desk.read_only_reason,
        "csrf": call.csrf,
        "journal": desk.source.json_row(),
        "version": desk.program,
    }


def job(call: Call) -> Json:
    """Return how far a job is."""
    return call.desk.work.job(call.path["job"]).json_row()


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(method="GET", path="/api/session", summary="Who is signed in.", run=session, answer="Session"),
    Endpoint(
        method="GET",
        path="/api/overview",
        summary="All accounts, a hundred a page.",
        run=overview,
        answer="Overview",
        parameters=(
            text("server", "Only accounts of this trade server."),
            choice("state", "Only accounts in this state; unsafe are all that are not safe.", *STATES, default="all"),
            choice("sort", "What comes first.", *SORTS, default="safety"),
            text("q", "Only accounts with this in their name."),
            whole("page", "Which page.", least=1, most=1_000_000, default=1),
        ),
    ),
    Endpoint(
        method="GET",
        path=_ACCOUNT,
        summary="One account at a moment.",
        run=account_view,
        answer="Account",
        parameters=(
            _UNTIL,
            _KNOWN_AT,
            whole("v", "The version of a link; without until and known_at only the first so many events."),
            text("h", "The first digits of the chain hash at that version, of a link."),
            text("f", "The digits of the fold's rules, of a link."),
        ),
    ),
    Endpoint(
        method="GET",
        path="/api/breaks",
        summary="The open breaks of all accounts.",
        run=open_breaks,
        answer="Breaks",
        parameters=(
            text("kind", "Only of this kind, as ghost."),
            choice("state", "Only those left to people, or all.", "open", "escalated"),
            text("age", "Only those at least so old, as 1h."),
        ),
    ),
    Endpoint(method="GET", path="/api/jobs/{job}", summary="How far a job is.", run=job, answer="Job"),
)
