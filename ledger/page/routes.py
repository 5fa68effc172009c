"""The table of all endpoints. ``ledger.page.app`` serves it, ``ledger.page.openapi`` describes it."""

from __future__ import annotations

from typing import Final

from ledger.events import BreakKind
from ledger.json_views import Json
from ledger.page import case, charts, events, life, questions, writes
from ledger.page.accounts import account_view
from ledger.page.answers import RETRY_SEC, Unanswered
from ledger.page.breaks import open_breaks
from ledger.page.endpoints import COLUMNS_MAX, ROWS_MAX, Call, Endpoint, Parameter, choice, flag, moment, several, text, whole
from ledger.page.health import health
from ledger.page.openapi import description
from ledger.page.overview import SORTS, STATES, overview
from ledger.page.principals import Role
from ledger.reports import BY

_ACCOUNT: Final = "/api/accounts/{server}/{login}"
_UNTIL: Final = moment("until", "What had happened by then, as it is known now.")
_KNOWN_AT: Final = moment("known_at", "What the ledger believed then.")
_FROM: Final = moment("from", "The begin of the window; all without it.")
_TO: Final = moment("to", "The end of the window; now without it.")
_SINCE: Final = moment("since", "From then on.")
_PERIOD_UNTIL: Final = moment("until", "Up to then, its whole unit included.")
_BEFORE: Final = whole("before", "Only what is before this: next of the answer before.", least=1)
_LIMIT: Final = whole("limit", "So many rows.", least=1, most=ROWS_MAX, default=100)
_COLUMNS: Final = whole("columns", "So many columns, at most.", least=2, most=COLUMNS_MAX)
_SYMBOL: Final = several(text("symbol", "Only of this symbol, as the broker writes it."))


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


def openapi(call: Call) -> Json:
    """Return the description of these endpoints."""
    return description(ENDPOINTS, call.desk.program)


def job(call: Call) -> Json:
    """Return how far a job is."""
    found = call.desk.work.job(call.path["job"]).json_row()
    if found["state"] == "running":
        raise Unanswered(202, found, {"Retry-After": str(RETRY_SEC)})
    return found


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
            choice("kind", "Only of this kind.", *(one.value for one in BreakKind)),
            choice("state", "Only those left to people, or all.", "open", "escalated"),
            text("age", "Only those at least so old, as 1h."),
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/steps",
        summary="The moments that a slider steps through, on both clocks.",
        run=events.steps,
        answer="Steps",
        parameters=(_FROM, _TO),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/curve",
        summary="The balance over a period, in columns with exact extremes.",
        run=charts.curve,
        answer="Curve",
        parameters=(_FROM, _TO, _COLUMNS, _KNOWN_AT),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/equity",
        summary="What the account was worth over a period.",
        run=charts.equity_of,
        answer="Equity",
        parameters=(
            choice("by", "A row for each sample, minute or day.", "mark", "minute", "day", default="day"),
            _FROM,
            _TO,
            _COLUMNS,
            _KNOWN_AT,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/notable",
        summary="The notable events of a period, the newest first.",
        run=events.notable,
        answer="Log",
        parameters=(_FROM, _TO, _BEFORE, _LIMIT),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/log",
        summary="Events, the newest first.",
        run=events.log,
        answer="Log",
        parameters=(
            several(text("kind", "A kind, as FillRecorded, or deals, breaks, corrections, orders, notable.")),
            whole("position", "Only events of this position.", least=1),
            whole("deal", "Only events of this deal.", least=1),
            text("correlation", "Only events of this sync run or import."),
            _FROM,
            _TO,
            moment("recorded_from", "Only what was recorded from then on."),
            moment("recorded_to", "Only what was recorded up to then."),
            flag("late", "Only what was recorded more than a minute after it happened."),
            _BEFORE,
            _LIMIT,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/events/{{version}}",
        summary="One event, with all that is stored of it.",
        run=events.event,
        answer="Event",
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/events/{{version}}/evidence",
        summary="The raw answer of the broker that an event rests on.",
        run=events.evidence,
        answer="text/plain",
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/trades",
        summary="Closed trades, the newest first.",
        run=questions.trades,
        answer="Trades",
        parameters=(_SYMBOL, _SINCE, _PERIOD_UNTIL, _KNOWN_AT, _BEFORE, _LIMIT),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/orders",
        summary="Orders, the newest first.",
        run=questions.orders,
        answer="Orders",
        parameters=(
            choice(
                "state",
                "Only those of which something may come.",
                "all",
                "open",
                "unknown",
                default="all",
            ),
            _UNTIL,
            _KNOWN_AT,
        ),
    ),
    Endpoint(method="GET", path=f"{_ACCOUNT}/limits", summary="The limits of orders.", run=questions.limits, answer="Limits"),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/monitors",
        summary="How much of what may be lost is used up.",
        run=questions.monitors,
        answer="Monitors",
    ),
    Endpoint(method="GET", path=f"{_ACCOUNT}/halts", summary="Halts in force.", run=questions.halts_of, answer="Halts"),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/report",
        summary="What the account earned.",
        run=questions.report,
        answer="Report",
        parameters=(
            choice("by", "What the lines are.", *BY, default="month"),
            text("day", "Whose midnight begins a day: server, utc, or a zone."),
            _SYMBOL,
            _SINCE,
            _PERIOD_UNTIL,
            _KNOWN_AT,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/incidents",
        summary="What went wrong, and how it ended.",
        run=questions.incidents,
        answer="Incidents",
        parameters=(
            several(text("kind", "A kind, as ghost or degraded, or breaks, corrections, deals.")),
            flag("open", "Only what has not ended."),
            _SINCE,
            _PERIOD_UNTIL,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/compare",
        summary="What differs between two moments, and why.",
        run=questions.comparison,
        answer="Comparison",
        parameters=(
            text("a", "T, known:T, vN, or T,known:T; or another account with or without @ and a moment."),
            text("b", "The other side; now without it."),
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/explain",
        summary="The events that make a figure.",
        run=questions.explanation,
        answer="Explanations",
        parameters=(
            Parameter(
                name="what",
                about="balance, position:ID or trade:ID.",
                read=str,
                schema={"type": "string", "pattern": "^(balance|(position|trade):[0-9]{1,18})$"},
                default="balance",
            ),
            flag("all", "Each event, however many there are."),
            _UNTIL,
            _KNOWN_AT,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/breaks/{{version}}",
        summary="The life of one break.",
        run=life.break_life,
        answer="Break",
    ),
    Endpoint(
        method="GET",
        path=f"{_ACCOUNT}/breaks/{{version}}/case.zip",
        summary="The export case of a break.",
        run=case.case_zip,
        answer="application/zip",
    ),
    Endpoint(
        method="GET",
        path="/api/health",
        summary="What the journal rests on: the checks of doctor.",
        run=health,
        answer="Health",
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/proposals",
        summary="Propose a correction.",
        run=writes.propose,
        answer="Recorded",
        body="ProposalBody",
        role=Role.OPERATOR,
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/preview",
        summary="What a correction would change now.",
        run=writes.preview,
        answer="Draft",
        body="DraftBody",
        role=Role.OPERATOR,
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/corrections",
        summary="Correct at once where one person is enough, else propose it.",
        run=writes.correct,
        answer="Recorded",
        body="CorrectionBody",
        role=Role.APPROVER,
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/proposals/{{version}}/decision",
        summary="Decide a proposal.",
        run=writes.decide,
        answer="Recorded",
        body="DecisionBody",
        role=Role.OPERATOR,
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/breaks/{{version}}/notes",
        summary="Note something about a break.",
        run=writes.note,
        answer="Recorded",
        body="NoteBody",
        role=Role.OPERATOR,
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/policy",
        summary="Set how many persons a correction needs.",
        run=writes.set_policy,
        answer="Recorded",
        body="PolicyBody",
        role=Role.ADMIN,
    ),
    Endpoint(
        method="POST",
        path=f"{_ACCOUNT}/compare-now",
        summary="Compare the account with its broker now.",
        run=writes.compare_now,
        answer="Drift",
        body="Nothing",
        role=Role.OPERATOR,
    ),
    Endpoint(
        method="POST",
        path="/api/alerts/test",
        summary="Send a test notice through every channel.",
        run=writes.send_test_notices,
        answer="AlertsTest",
        body="Nothing",
        role=Role.OPERATOR,
    ),
    Endpoint(
        method="GET", path="/api/openapi.json", summary="The description of these endpoints.", run=openapi, answer="Description"
    ),
    Endpoint(method="GET", path="/api/jobs/{job}", summary="How far a job is.", run=job, answer="Job"),
)
