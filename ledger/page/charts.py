"""The curves of one account: the balance with exact extremes, what it was worth, and where these are from."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ledger.bookings import booked
from ledger.clock import utc_text_us
from ledger.codec import decode_posting
from ledger.derived.curve import Bucket
from ledger.equity import equity
from ledger.errors import BadValue
from ledger.json_views import Json, account_json, equity_json
from ledger.page.endpoints import writable_us
from ledger.page.events import period_msc
from ledger.page.work import AT_ONCE, Progress
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from ledger.postings import Selection
from ledger.service import Account
from ledger.values import plain, unscaled

if TYPE_CHECKING:
    from ledger.page.endpoints import Call

_COLUMNS: Final = 900
#: Among so many events is the first deal: before it an account is opened, and symbols are specified.
_FIRST: Final = 200


def curve(call: Call) -> Json:
    """Return the balance over a period, in columns of ``[time in ms, low, high, close]`` as exact text."""
    account, asked = call.account, call.query
    columns = asked["columns"] or _COLUMNS
    begin, end = _period(account, asked, call.desk.now_us())
    terms = account.terms
    scale, digits = terms.opened.money_scale, terms.opened.currency_digits

    def money(units: int) -> str:
        return plain(unscaled(units, scale), decimals=digits)

    lag, cost = account.derived.lag(), 2 * account.version
    is_kept = lag.version and (not lag.events or cost > AT_ONCE)  # a short history is folded rather than shown as it was
    if asked["known_at"] is None and is_kept:
        found = account.derived.read(lambda row: (row.version, account.derived.curve(begin, end, columns)))
        version, drawn = found
        opening, buckets = drawn.opening, drawn.buckets
        begin, end, width = drawn.from_utc_msc, drawn.until_utc_msc, drawn.width_msc
    else:
        selection, _ = account.selection(known_at=asked["known_at"], until=_text(end))
        width = max(1, -(-(end - begin) // columns))
        version = selection.version

        def fold(progress: Progress) -> tuple[int, list[Bucket]]:
            return _scanned(account, selection, begin, end, width, progress)

        key = ("curve", account.name, selection, begin, end, columns)
        narrow = "choose a shorter window, or look at what is known now"
        opening, buckets = call.desk.work.do(key, call.principal.name, 2 * selection.version, fold, narrow=narrow)
    return {
        "account": account_json(terms),
        "from": _text(begin),
        "to": _text(end),
        "width_ms": width,
        "opening": money(opening),
        "columns": [[one.begin_utc_msc, money(one.low), money(one.high), money(one.close)] for one in buckets],
        "known_at": asked["known_at"],
        "version": version,
        "behind": max(0, account.version - version) if asked["known_at"] is None else 0,
        "clock": terms.clock.name,
    }


def _text(utc_msc: int) -> str:
    return utc_text_us(writable_us(utc_msc * 1000))


def _period(account: Account, asked: Any, now_us: int) -> tuple[int, int]:
    """Return the period of a chart in UTC milliseconds: the whole history where none is named."""
    begin, end = period_msc(asked)
    if begin is None:
        clock = account.terms.clock
        begin = clock.to_utc_msc(account.terms.opened.time_msc)
        first = next((row.time_msc for row in account.ledger.journal.rows(account.name, upto=_FIRST) if row.deal), None)
        begin = begin if first is None else min(begin, clock.to_utc_msc(first))
    if end is None:
        last_msc, mark = account.journal_head.last_msc, account.newest_mark()
        sampled = begin if mark is None else mark.at_us // 1000  # what the account is worth moves without events
        end = max(account.terms.clock.to_utc_msc(last_msc) if last_msc >= 0 else now_us // 1000, sampled, begin) + 1
    if end <= begin:
        raise BadValue(f"expected a window that ends after it begins, found {_text(begin)} to {_text(end)}")
    return begin, end


def _scanned(
    account: Account, selection: Selection, begin: int, end: int, width: int, progress: Progress
) -> tuple[int, list[Bucket]]:
    """Fold the balance of a selection, and return what it was at the begin of a window, and the columns of the window."""
    terms = account.selection(version=selection.version)[1]
    portfolio, clock = Portfolio(terms), terms.clock
    opening = balance = at_msc = 0
    closed: list[OpenPosition] = []
    columns: dict[int, list[int]] = {}
    for number, booking in enumerate(booked(portfolio, account.journal_postings(selection, terms), decode_posting, closed)):
        closed.clear()
        if number % 1000 == 0:
            progress(1000 if number else 0)
        at_msc = max(at_msc, clock.to_utc_msc(booking.time_msc))
        after = balance + booking.amount
        if at_msc < begin:
            opening = after
        elif at_msc < end:
            column = columns.setdefault((at_msc - begin) // width, [balance, balance, balance, balance, 0])
            column[1:] = [min(column[1], after), max(column[2], after), after, column[4] + 1]
        balance = after
    return opening, [Bucket(begin + at * width, begin + (at + 1) * width, *values) for at, values in sorted(columns.items())]


def equity_of(call: Call) -> Json:
    """Return what the account was worth over a period, by the samples that were taken by a moment."""
    account, asked = call.account, call.query
    found: Json = equity_json(
        equity(account, by=asked["by"], since=asked["from"], until=asked["to"], known_at=asked["known_at"])
    )
    limit = asked["columns"] or _COLUMNS
    rows = found["rows"]
    return found | {"rows": _merged(rows, limit) if len(rows) > limit and asked["by"] != "mark" else rows[-limit:]}


def _merged(rows: list[Json], limit: int) -> list[Json]:
    """Return fewer rows with the same extremes: neighbours become one, but none across a gap while there is room for gaps."""
    several = -(-len(rows) // limit)
    runs = _runs(rows)
    if len(runs) <= limit // 2:  # then each run has one row more than its share, at most
        several = -(-len(rows) // (limit - len(runs)))
    else:
        runs = [rows]
    return [_one_of(run[begin : begin + several]) for run in runs for begin in range(0, len(run), several)]


def _runs(rows: list[Json]) -> list[list[Json]]:
    """Return the rows in runs without a gap: each begins where the one before ends."""
    begins = [at for at, row in enumerate(rows) if not at or rows[at - 1]["end"] != row["begin"]]
    return [rows[begin:end] for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True)]


def _one_of(rows: list[Json]) -> Json:
    high = max(rows, key=lambda row: Decimal(row["high"]))
    low = min(rows, key=lambda row: Decimal(row["low"]))
    return rows[0] | {
        "end": rows[-1]["end"],
        "high": high["high"],
        "high_time": high["high_time"],
        "low": low["low"],
        "low_time": low["low_time"],
        "close": rows[-1]["close"],
        "close_time": rows[-1]["close_time"],
        "samples": sum(row["samples"] for row in rows),
    }
