"""What the answers of the page look like, as JSON schemas: for its OpenAPI description, and for tests against real answers.

Every member is always there unless it is in ``maybe``; what is not known is null. Exact numbers are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.json_views import Json

TEXT: Final[Json] = {"type": "string"}
AMOUNT: Final[Json] = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
TIME: Final[Json] = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"}
HEX: Final[Json] = {"type": "string", "pattern": "^[0-9a-f]*$"}
WHOLE: Final[Json] = {"type": "integer"}
COUNT: Final[Json] = {"type": "integer", "minimum": 0}
NUMBER: Final[Json] = {"type": "number"}
YES: Final[Json] = {"type": "boolean"}
ANY: Final[Json] = {}
FREE: Final[Json] = {"type": "object"}


def ref(name: str) -> Json:
    """Return a reference to a schema of this table."""
    return {"$ref": f"#/components/schemas/{name}"}


def null(schema: Json) -> Json:
    """Return a schema that may be null too."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def several(schema: Json) -> Json:
    """Return a list."""
    return {"type": "array", "items": schema}


def values(schema: Json) -> Json:
    """Return an object with any names."""
    return {"type": "object", "additionalProperties": schema}


def obj(*members: Mapping[str, Json], maybe: Mapping[str, Json] | None = None, **more: Json) -> Json:
    """Return an object with exactly these members; those in ``maybe`` may be left out."""
    known = {name: schema for several_more in (*members, more) for name, schema in several_more.items()}
    return {
        "type": "object",
        "properties": {**known, **(maybe or {})},
        "required": sorted(known),
        "additionalProperties": False,
    }


def both(first: Json, second: Json) -> Json:
    """Return an object with the members of two."""
    return {
        "type": "object",
        "properties": first["properties"] | second["properties"],
        "required": sorted({*first["required"], *second["required"]}),
        "additionalProperties": False,
    }


_TERMS: Final = obj(server=TEXT, login=WHOLE, currency=TEXT, mode=TEXT)
_NAMED: Final = obj(server=TEXT, login=WHOLE, maybe={"currency": TEXT, "mode": TEXT})
_FINDING: Final = {
    "cause": null(TEXT),
    "certainty": null(TEXT),
    "because": several(FREE),
}
_BREAK: Final = obj(
    kind=TEXT, position_id=null(WHOLE), symbol=null(TEXT), deal=null(WHOLE), order=null(WHOLE), client_id=null(TEXT),
    field=null(TEXT), ours=null(TEXT), theirs=null(TEXT), opened_at=TIME, why=null(TEXT),
)  # fmt: skip
_OPEN_BREAK: Final = both(
    _BREAK, obj(_FINDING, account=ref("Terms"), age_sec=null(COUNT), confirmations=COUNT, attempts=COUNT, version=null(WHOLE),
        owner=null(TEXT), proposal=null(WHOLE)),
)  # fmt: skip
_LISTED_BREAK: Final = both(_OPEN_BREAK, obj(state={"enum": ["open", "escalated", "closed"]}))
_POSITION: Final = obj(
    position_id=WHOLE, ticket=WHOLE, symbol=TEXT, side=TEXT, volume=AMOUNT, price_open=AMOUNT, opened_at=TIME, basis=TEXT,
    magic=null(WHOLE),
)  # fmt: skip
_UNEXPLAINED: Final = obj(position_id=null(WHOLE), symbol=TEXT, kind=TEXT, volume=AMOUNT, since=TIME)
_ORDER: Final = obj(
    client_id=null(TEXT), token=null(TEXT), kind=TEXT, symbol=null(TEXT), side=null(TEXT), volume=null(AMOUNT), state=TEXT,
    since=TIME, why=null(TEXT), ticket=null(WHOLE), filled=AMOUNT,
)  # fmt: skip
_HALT: Final = obj(scope=TEXT, name=null(TEXT), mode=TEXT, since=TIME, operator=null(TEXT), rule=null(TEXT), reason=TEXT)
_STATUS: Final = obj(
    account=_NAMED, state=null(TEXT), since=null(TIME), why=null(TEXT), last_sync=null(TIME), last_seen=null(TIME),
    last_seen_age_sec=null(NUMBER), last_verified=null(TIME), last_good_sync=null(TIME), age_sec=null(NUMBER),
    by=null(obj(host=TEXT, pid=WHOLE, started=TIME, program=TEXT, gateway=null(TEXT), interval_sec=NUMBER)),
    open_breaks=null(COUNT), open_orders=null(COUNT), unknown_orders=null(several(TEXT)), halts=null(several(ref("Halt"))),
    safe_to_trade=YES, danger={"enum": ["none", "break", "degraded", "stale"]}, why_not_safe=null(TEXT),
    proposals=null(COUNT),
)  # fmt: skip
_EVENT: Final = obj(
    account=ref("Terms"), version=WHOLE, kind=TEXT, event_time=TIME, recorded_at=TIME, position_id=null(WHOLE),
    deal=null(WHOLE), natural_key=TEXT, caused_by=null(WHOLE), correlation=null(TEXT), evidence=null(TEXT), data=FREE,
    maybe={"event_time_ambiguous": YES},
)  # fmt: skip
_LISTED_EVENT: Final = {
    **both(_EVENT, obj(words=TEXT, lag_sec=NUMBER)),
    "properties": _EVENT["properties"] | {"words": TEXT, "lag_sec": NUMBER},
}
_TRADE: Final = obj(
    account=ref("Terms"), position_id=null(WHOLE), ticket=null(WHOLE), symbol=TEXT, side=TEXT, volume=AMOUNT,
    opened_at=null(TIME), price_open=null(AMOUNT), closed_at=TIME, price_close=null(AMOUNT), commission=AMOUNT, fee=AMOUNT,
    swap=AMOUNT, profit=AMOUNT, complete=YES, opened_before_history=YES, basis=TEXT, magic=null(WHOLE),
)  # fmt: skip
_MONEY: Final = obj(
    start=null(AMOUNT), flows=null(AMOUNT), profit=AMOUNT, commission=AMOUNT, swap=AMOUNT, fee=AMOUNT, net=AMOUNT,
    other=null(AMOUNT), adjusted=null(AMOUNT), end=null(AMOUNT), deals=COUNT, incomplete=COUNT, incomplete_before=COUNT,
)  # fmt: skip
_TRADES: Final = obj(
    trades=COUNT, wins=COUNT, losses=COUNT, incomplete=COUNT, net=AMOUNT, gross_win=AMOUNT, gross_loss=AMOUNT,
    win_rate=null(TEXT), profit_factor=null(TEXT), expectancy=null(TEXT), average_win=null(TEXT), average_loss=null(TEXT),
    best=null(AMOUNT), worst=null(AMOUNT), held_sec=FREE,
)  # fmt: skip
_BUCKET: Final = obj(bucket=ANY, begin=null(TIME), end=null(TIME), money=ref("ReportMoney"), trades=ref("ReportTrades"))
_ACCOUNT_REPORT: Final = obj(
    account=ref("Terms"), clock=TEXT, version=WHOLE, head=HEX, recorded_at=null(TIME), first=null(TIME), last=null(TIME),
    money=ref("ReportMoney"), trades=ref("ReportTrades"), buckets=several(ref("ReportBucket")), series=null(FREE),
    drawdown=FREE, ratios=null(FREE), results=null(FREE), incomplete=COUNT, reconciles=YES, unavailable=FREE,
)  # fmt: skip
_CURRENCY_REPORT: Final = obj(
    currency=TEXT, accounts=several(_NAMED), money=ref("ReportMoney"), trades=ref("ReportTrades"),
    buckets=several(ref("ReportBucket")), incomplete=COUNT,
)  # fmt: skip
_SIDE: Final = obj(
    account=ref("Terms"), until=null(TEXT), known_at=null(TEXT), version=WHOLE, balance=AMOUNT, credit=AMOUNT, positions=COUNT
)
_CHANGE: Final = obj(
    {"in": {"enum": ["a", "b", "both"]}}, version=WHOLE, kind=TEXT, what=TEXT, event_time=TIME, deal=null(WHOLE),
    position_id=null(WHOLE), symbol=null(TEXT), changes=values(AMOUNT), superseded_by=null(WHOLE),
)  # fmt: skip
_LINE: Final = obj(
    kind=TEXT, what=TEXT, count=COUNT, first_version=WHOLE, last_version=WHOLE, first_time=TIME, last_time=TIME,
    deal=null(WHOLE), position_id=null(WHOLE), symbol=null(TEXT), amounts=values(AMOUNT), reason=null(TEXT),
    superseded_by=null(WHOLE),
)  # fmt: skip
_STEP: Final = obj(version=WHOLE, at=TIME)
_DECIDED: Final = {"proposals": several(ref("Proposal")), "policy": null(ref("Policy"))}
_DRIFT: Final = obj(
    account=null(_NAMED), agrees=null(YES), breaks=several(FREE), reticketed=several(WHOLE),
    maybe={"gateway": null(TEXT), "error": ref("ErrorBody")},
)  # fmt: skip

#: Name -> schema.
SCHEMAS: Final[Mapping[str, Json]] = {
    "ErrorBody": {
        "type": "object",
        "properties": {"code": TEXT, "text": TEXT, "retryable": YES},
        "required": ["code", "text", "retryable"],
    },
    "Error": obj(error=ref("ErrorBody")),
    "Waiting": obj(job=TEXT, done=COUNT, of=COUNT, maybe={"state": TEXT, "error": null(ref("ErrorBody"))}),
    "Terms": _TERMS,
    "Halt": _HALT,
    "Status": _STATUS,
    "OpenBreak": _OPEN_BREAK,
    "LogRow": _EVENT,
    "Session": obj(
        name=TEXT, role=TEXT, via=TEXT, allow_writes=YES, read_only_reason=null(TEXT), csrf=null(TEXT),
        journal=obj(name=TEXT, dialect=TEXT), version=TEXT,
    ),
    "Summary": obj(
        version=WHOLE, balance=AMOUNT, credit=AMOUNT, currency=TEXT, clock=TEXT, positions=COUNT, unexplained=COUNT,
        deals_incomplete=COUNT, breaks=values(COUNT), oldest_break_at=null(TIME), oldest_break_age_sec=null(COUNT),
        last_event_at=null(TIME), recorded_at=TIME,
    ),
    "OverviewRow": both(
        _STATUS, obj(name=TEXT, version=WHOLE, behind=COUNT, summary=null(ref("Summary")), summary_reason=null(TEXT))
    ),
    "Overview": obj(
        totals=obj(
            accounts=COUNT, safe=COUNT, unsafe=COUNT, degraded=COUNT, stale=COUNT, never=COUNT, oldest_break_at=null(TIME),
            proposals=COUNT,
        ),
        servers=several(TEXT), rows=several(ref("OverviewRow")), found=COUNT, page=COUNT, pages=COUNT, as_of=TIME,
    ),
    "Replay": obj(
        _DECIDED,
        account=ref("Terms"), until=null(TEXT), known_at=null(TEXT), version=WHOLE, head=HEX, selected=COUNT, balance=AMOUNT,
        credit=AMOUNT, positions=several(_POSITION), unexplained=several(_UNEXPLAINED), breaks=several(_BREAK),
        orders=several(_ORDER), deals_incomplete=COUNT, deals_untold=COUNT,
    ),
    "Policy": obj(
        approvals=COUNT, corrections=several(TEXT), signed=YES, version=null(WHOLE), operator=null(TEXT), reason=null(TEXT),
        set_at=null(TIME),
    ),
    "Proposal": obj(
        version=WHOLE, state=TEXT, why=null(TEXT), waits=YES, urgent=YES, operator=TEXT, reason=TEXT, proposed_at=TIME,
        lapses_at=TIME, correction=FREE, effect=FREE, effect_digest=HEX, rests_on=WHOLE, break_version=null(WHOLE),
        opened_break=null(WHOLE), position_id=null(WHOLE), symbol=null(TEXT),
        decisions=several(
            obj(
                version=WHOLE, outcome=TEXT, operator=TEXT, reason=null(TEXT), decided_at=TIME, changed=null(FREE),
                signature=null(TEXT), key=null(TEXT), rests_on=null(WHOLE),
            )
        ),
    ),
    "Account": obj(
        _DECIDED, replay=ref("Replay"), status=ref("Status"), version=WHOLE, head=HEX, fold=HEX,
        link=obj(h={"enum": ["same", "differs", "-"]}, f={"enum": ["same", "differs", "-"]}), clock=TEXT,
        at=obj(until=null(TIME), known_at=null(TIME)),
        mark=null(
            obj(
                time=TIME, balance=null(AMOUNT), credit=null(AMOUNT), floating=null(AMOUNT), equity=null(AMOUNT),
                margin=null(AMOUNT), equity_reported=YES,
            )
        ),
        derived=obj(version=WHOLE, behind=COUNT), now_version=WHOLE, as_of=TIME,
    ),
    "Breaks": obj(
        rows=several(both(_LISTED_BREAK, obj(name=TEXT, proposals=COUNT))), found=COUNT,
        unread=several(obj(account=TEXT, error=ref("ErrorBody"))),
        proposals=several(obj(_DECIDED, name=TEXT, account=ref("Terms"), clock=TEXT)),
    ),
    "Break": obj(
        _DECIDED, {"break": _LISTED_BREAK}, account=ref("Terms"), version=WHOLE, opened_at=TIME,
        closed=null(obj(end=TEXT, at=TIME, version=WHOLE)), owner=null(TEXT),
        events=several(
            {
                **_LISTED_EVENT,
                "properties": _LISTED_EVENT["properties"] | {"role": TEXT, "line": TEXT},
                "required": [*_LISTED_EVENT["required"], "role", "line"],
            }
        ),
        clock=TEXT, now_version=WHOLE,
    ),
    "Job": obj(job=TEXT, done=COUNT, of=COUNT, state={"enum": ["running", "done", "failed"]}, error=null(ref("ErrorBody"))),
    "Steps": obj(known_at=several(_STEP), until=several(_STEP), events=COUNT, version=WHOLE),
    "Curve": obj(
        {"from": TIME}, account=ref("Terms"), to=TIME, width_ms=COUNT, opening=AMOUNT,
        columns=several({"type": "array", "prefixItems": [WHOLE, AMOUNT, AMOUNT, AMOUNT], "minItems": 4, "maxItems": 4}),
        known_at=null(TEXT), version=WHOLE, behind=COUNT, clock=TEXT,
    ),
    "Equity": obj(
        account=ref("Terms"), by={"enum": ["mark", "minute", "day"]}, interval_sec=null(NUMBER), equity_reported=null(YES),
        rows=several(FREE),
    ),
    "Log": obj(rows=several(_LISTED_EVENT), next=null(WHOLE), version=WHOLE, clock=TEXT),
    "Event": {
        **_LISTED_EVENT,
        "properties": _LISTED_EVENT["properties"]
        | {"row": FREE, "hash": HEX, "prev_hash": HEX, "before": WHOLE, "after": WHOLE},
        "required": [*_LISTED_EVENT["required"], "row", "hash", "prev_hash", "before", "after"],
    },
    "Trades": obj(rows=several(_TRADE), next=null(WHOLE), found=COUNT, version=WHOLE),
    "Orders": obj(
        rows=several(
            both(
                _ORDER,
                obj(
                    account=ref("Terms"), open=YES, tickets=several(WHOLE), position_id=null(WHOLE), strategy=null(TEXT),
                    valid_until=null(TIME),
                ),
            )
        ),
        found=COUNT,
    ),
    "Limits": obj(
        account=ref("Terms"), rules=null(FREE), digest=null(TEXT), problem=null(TEXT), since=null(TIME), operator=null(TEXT),
        reason=null(TEXT),
    ),
    "Monitors": obj(rows=several(FREE)),
    "Halts": obj(rows=several(ref("Halt"))),
    "ReportMoney": _MONEY,
    "ReportTrades": _TRADES,
    "ReportBucket": _BUCKET,
    "Report": obj(
        by=TEXT, day=TEXT, since=null(TEXT), until=null(TEXT), known_at=null(TEXT), symbols=several(TEXT),
        magics=several(WHOLE), accounts=several(_ACCOUNT_REPORT), totals=several(_CURRENCY_REPORT),
    ),
    "Incidents": obj(
        rows=several(
            obj(
                _FINDING, account=ref("Terms"), kind=TEXT, position_id=null(WHOLE), symbol=null(TEXT), deal=null(WHOLE),
                started_at=TIME, ended_at=null(TIME), duration_sec=null(NUMBER), outcome=null(TEXT), operator=null(TEXT),
                reason=null(TEXT), versions=several(WHOLE), approved_by=null(TEXT), owner=null(TEXT),
            )
        ),
        found=COUNT,
    ),
    "Comparison": obj(
        a=_SIDE, b=_SIDE, equal=YES, differences=several(obj(what=TEXT, a=ANY, b=ANY, events=several(_CHANGE))),
        events=several(_CHANGE),
    ),
    "Explanations": obj(
        explanations=several(
            obj(
                account=ref("Terms"), what=TEXT, position_id=null(WHOLE), number=null(WHOLE), until=null(TEXT),
                known_at=null(TEXT), open=YES, figures=values(AMOUNT), unknown=several(TEXT), summed=YES, lines=several(_LINE),
            )
        )
    ),
    "Health": obj(
        checks=several(
            obj(
                check=TEXT, state={"enum": ["ok", "warning", "failed", "unavailable"]}, seen=TEXT, advice=null(TEXT),
                account=null(TEXT), gateway=null(TEXT), at=null(TIME),
            )
        ),
        as_of=TIME, fresh_sec=COUNT, worst=TEXT, streams=COUNT, journal=obj(name=TEXT, dialect=TEXT),
    ),
    "Drift": _DRIFT,
    "Recorded": obj(
        account=ref("Terms"), became=TEXT, outcome=TEXT, proposal=null(ref("Proposal")), changed=null(FREE), advice=null(TEXT),
        events=several(ref("LogRow")), appended=COUNT, version=WHOLE,
    ),
    "Draft": obj(account=ref("Terms"), correction=FREE, effect=FREE, effect_digest=HEX, version=WHOLE, waits=YES),
    "AlertsTest": obj(
        channels=several(obj(channel=TEXT, type=TEXT, delivered=YES, error=null(TEXT), took_sec=NUMBER))
    ),
    "DraftBody": obj(correction=FREE, reason=TEXT),
    "CorrectionBody": obj(correction=FREE, reason=TEXT, effect_digest=HEX),
    "ProposalBody": obj(
        correction=FREE, reason=TEXT,
        maybe={
            "urgent": null(YES), "lapses_min": null(WHOLE), "break": null(WHOLE), "effect_digest": null(HEX),
        },
    ),
    "DecisionBody": obj(
        outcome={"enum": ["approved", "rejected", "withdrawn"]}, maybe={"effect_digest": null(HEX), "reason": null(TEXT)}
    ),
    "NoteBody": obj(text=TEXT, maybe={"owner": null(TEXT)}),
    "PolicyBody": obj(
        approvals={"type": "integer", "minimum": 1, "maximum": 2}, reason=TEXT,
        maybe={"corrections": null(several(TEXT)), "signed": null(YES)},
    ),
    "Description": {"type": "object", "required": ["openapi", "info", "paths", "components"]},
    "Nothing": {"type": "object", "properties": {}, "additionalProperties": False},
}  # fmt: skip
