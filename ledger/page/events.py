"""The events of one account: a list of them, one with all that is stored of it, the moments that a slider steps through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import moment_end_us, moment_span_us, utc_text, utc_text_us
from ledger.codec import Stored
from ledger.event_filter import GROUPS, EventFilter, kinds_named
from ledger.event_lines import describe, lag_msc
from ledger.events import Recorded
from ledger.filters import Filter
from ledger.json_views import Json, log_json
from ledger.page.answers import not_found
from ledger.page.endpoints import ROWS_MAX, Download, writable_us
from ledger.service import Account
from ledger.subjects import Subjects
from ledger.terms import AccountTerms
from ledger.values import INT64_MAX

if TYPE_CHECKING:
    from ledger.page.endpoints import Call

#: So many moments a slider steps through.
STEPS_MAX: Final = 1000
#: So many rows are looked at for one page of a list; it goes on where they end.
_LOOKED_MAX: Final = 5000
_CLOCKS_APART_US: Final = 86_400 * 1_000_000


# --------------------------------------------------------------------------------------------------------------- lists


def log(call: Call) -> Json:
    """Return events of an account, the newest first."""
    asked = call.query
    kinds = [kinds_named(one) for one in asked["kind"]]
    recorded_from, recorded_to = asked["recorded_from"], asked["recorded_to"]
    shown = Filter(
        since_us=None if recorded_from is None else moment_span_us(recorded_from)[0],
        until_us=None if recorded_to is None else moment_end_us(recorded_to),
    )
    wanted = EventFilter.of_kinds(
        kinds, position=asked["position"], deal=asked["deal"], correlation=asked["correlation"], shown=shown, by="recorded",
        is_late=asked["late"],
    )  # fmt: skip
    return _listed(call, wanted, asked["before"], asked["limit"], _happened(asked))


def notable(call: Call) -> Json:
    """Return the notable events of a period, the newest first."""
    asked = call.query
    wanted = EventFilter.of_kinds(
        [GROUPS["notable"]], position=None, deal=None, correlation=None, shown=_happened(asked), by="event", is_late=False
    )
    return _listed(call, wanted, asked["before"], asked["limit"])


def _happened(asked: Any) -> Filter:
    """Return the period that ``from`` and ``to`` name, by event time."""
    return Filter(
        since_us=None if asked["from"] is None else moment_span_us(asked["from"])[0],
        until_us=None if asked["to"] is None else moment_end_us(asked["to"]),
    )


def _listed(call: Call, wanted: EventFilter, before: int | None, limit: int, happened: Filter | None = None) -> Json:
    account = call.account
    terms, subjects = account.terms, Subjects(account)
    top = min(before or INT64_MAX, account.version + 1)
    rows: list[Json] = []
    looked, upto = 0, top
    while len(rows) < limit and looked < _LOOKED_MAX and upto > 1:
        block = _block(call, account, wanted, upto)
        looked += len(block)
        if not block:
            upto = 1
        for one in _newest_first(account, block):
            upto = one.version
            if wanted(one, terms, subjects) and (happened is None or happened.is_within(_event_us(one, terms))):
                rows.append(event_json(one, terms))
                if len(rows) == limit:
                    break
    return {"rows": rows, "next": upto if upto > 1 else None, "version": account.version, "clock": terms.clock.name}


def _event_us(one: Recorded, terms: AccountTerms) -> int:
    return (terms.clock.to_utc_msc(one.event.time_msc) if one.utc_msc is None else one.utc_msc) * 1000


def _block(call: Call, account: Account, wanted: EventFilter, before: int) -> list[Stored]:
    """Return rows that may be wanted, the newest first. What is notable may be of any kind, if it is late."""
    from ledger.journal.sql.looks import newest

    until_us, since_us = wanted.shown.until_us, wanted.shown.since_us
    after = 0
    if wanted.by == "recorded":  # recorded time rises with the version
        journal = account.ledger.journal
        before = before if until_us is None else min(before, journal.version_at(account.name, until_us) + 1)
        after = 0 if since_us is None else journal.version_at(account.name, since_us)
    elif since_us is not None:  # nothing is recorded before it happens, apart from clocks that differ
        after = account.ledger.journal.version_at(account.name, since_us - _CLOCKS_APART_US)
    return newest(
        call.desk.source.sql_journal,
        account.name,
        before=before,
        after=after,
        kinds=None if wanted.is_notable else wanted.kinds,
        position=wanted.position,
        deal=wanted.deal,
        correlation=wanted.correlation,
    )


def _newest_first(account: Account, block: Sequence[Stored]) -> Iterator[Recorded]:
    yield from account.read_rows(block)


def event_json(one: Recorded, terms: AccountTerms) -> Json:
    """An event as a listing has it: with what happened in words, and how long after it happened it was recorded."""
    always, details = describe(one, terms)
    return log_json(one, terms) | {"words": always + "".join(details), "lag_sec": lag_msc(one, terms) / 1000}


# ----------------------------------------------------------------------------------------------------------- one event


def event(call: Call) -> Json:
    """Return one event with all that is stored of it: the raw row, its hash and that of its predecessor."""
    account = call.account
    row = row_of(call, call.path["version"])
    (one,) = account.read_rows([row])
    before, after = row.version - 1, row.version
    return event_json(one, account.terms) | {
        "row": {name: value.hex() if isinstance(value, bytes) else value for name, value in row._asdict().items()},
        "hash": row.hash.hex(),
        "prev_hash": row.prev_hash.hex(),
        "before": before,
        "after": after,
    }


def evidence(call: Call) -> Download:
    """Return the raw answer of the broker that an event rests on."""
    version = call.path["version"]
    row = row_of(call, version)
    if row.evidence is None:
        raise not_found(f"event {version} of {call.name} rests on no answer of a broker")
    raw = call.account.evidence(row.evidence)
    return Download(name=f"{row.evidence[:16]}.txt", content=raw, media="text/plain; charset=utf-8")


def row_of(call: Call, version: int) -> Stored:
    """Return the row of an event.

    Raises:
        Unanswered: There is none.
    """
    from ledger.journal.sql.looks import rows_of

    account = call.account
    found = rows_of(call.desk.source.sql_journal, account.name, [version])
    if not found:
        raise not_found(f"{account.name} has no version {version}: its last is {account.version}")
    return found[0]


# --------------------------------------------------------------------------------------------------------------- steps


def steps(call: Call) -> Json:
    """Return the moments that a slider steps through: quantiles of the events of a window, on both clocks.

    ``known_at`` are moments of recording, ``until`` moments of happening, each ascending, at most a thousand.
    """
    from ledger.journal.sql.looks import moments, version_by_time

    account, asked = call.account, call.query
    journal, name, head = call.desk.source.sql_journal, account.name, account.version
    clock = account.terms.clock
    begin_us = None if asked["from"] is None else moment_span_us(asked["from"])[0]
    end_us = None if asked["to"] is None else moment_end_us(asked["to"])
    recorded = _window(
        0 if begin_us is None else account.ledger.journal.version_at(name, begin_us),
        head if end_us is None else account.ledger.journal.version_at(name, end_us),
    )
    begin_msc = None if begin_us is None else clock.from_utc_msc(begin_us // 1000)
    end_msc = None if end_us is None else clock.from_utc_msc((end_us - 1) // 1000)
    happened = _window(
        0 if begin_msc is None else version_by_time(journal, name, begin_msc - 1, head),
        head if end_msc is None else version_by_time(journal, name, end_msc, head),
    )
    found = {one.version: one for one in moments(journal, name, sorted({*recorded, *happened}))}
    until = sorted((clock.to_utc_msc(found[one].time_msc), one) for one in happened if one in found)
    return {
        "known_at": [{"version": one, "at": utc_text_us(found[one].recorded_us)} for one in recorded if one in found],
        "until": [{"version": one, "at": utc_text(msc)} for msc, one in until],
        "events": head,
        "version": head,
    }


def _window(after: int, upto: int) -> list[int]:
    """Return versions behind one up to another, evenly: all of them, or a thousand, with the first and the last."""
    count = upto - after
    if count <= STEPS_MAX:
        return list(range(after + 1, upto + 1))
    return [after + 1 + number * (count - 1) // (STEPS_MAX - 1) for number in range(STEPS_MAX)]


def period_msc(asked: Any) -> tuple[int | None, int | None]:
    """Return the period that ``from`` and ``to`` name, in UTC milliseconds, the end exclusive; None where it is open."""
    begin = None if asked["from"] is None else writable_us(moment_span_us(asked["from"])[0]) // 1000
    end = None if asked["to"] is None else writable_us(-(-moment_end_us(asked["to"]) // 1000) * 1000) // 1000
    return begin, end


__all__ = ["ROWS_MAX", "event", "evidence", "log", "notable", "period_msc", "steps"]
