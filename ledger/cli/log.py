"""The command ``log``: the events of the journal, one line each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli import FINE
from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    TIME,
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    magic_option,
    open_ledger,
    since_us,
    symbol_option,
    until_us,
)
from ledger.cli.output import print_bytes, print_json_lines, print_lines
from ledger.cli.unread import Unread
from ledger.errors import AccountUnknown, BadValue
from ledger.event_filter import EventFilter, kinds_named
from ledger.event_lines import event_line, year
from ledger.events import Recorded
from ledger.filters import Filter
from ledger.json_views import Json, log_json
from ledger.subjects import Subjects
from ledger.terms import AccountTerms

if TYPE_CHECKING:
    from ledger.service import Account, Ledger
    from ledger.values import AccountId


class _Kind(click.ParamType[frozenset[str]]):
    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[str]:
        if isinstance(value, frozenset):
            return value
        try:
            return kinds_named(str(value))
        except BadValue as error:
            return self.fail(str(error), param, ctx)


@click.command("log", short_help="List the events of the journal.")
@journal_option
@accounts_option
@symbol_option
@magic_option
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only events after version N.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N of each account that match.")
@click.option(
    "--kind",
    "kinds",
    type=_Kind(),
    multiple=True,
    metavar="NAME",
    help="A kind, as FillRecorded, or deals, breaks, corrections, orders, approvals, notable; repeatable.",
)
@click.option("--position", type=int, metavar="ID", help="Only events of a position.")
@click.option("--deal", type=int, metavar="ID", help="Only events of a deal.")
@click.option("--correlation", metavar="ID", help="Only events of one sync run or import.")
@click.option("--since", type=TIME, metavar="TIME", help="From a time on: 2026-06-15T12:00, or 24h, 7d before now.")
@click.option("--until", type=TIME, metavar="TIME", help="Up to a time, its whole unit included.")
@click.option("--by", type=click.Choice(["event", "recorded"]), default="event", show_default=True, help="Which time is meant.")
@click.option("--late", "is_late", is_flag=True, help="Only events recorded more than a minute after they happened.")
@click.option("--follow", is_flag=True, help="Go on with what is recorded from now on, by whatever program; Ctrl-C ends it.")
@click.option("--evidence", metavar="DIGEST", help="Print the raw broker answer with this SHA-256 instead, as it came in.")
@json_option
@csv_option  # fmt: skip
def log(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    after: int,
    last: int | None,
    follow: bool,  # noqa: FBT001
    evidence: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **filters: Any,
) -> int:
    """List the events of every account, oldest first: version, event time (UTC), kind, what happened.

    On a terminal a line ends at its width; in a pipe nothing is cut. With --json one object a line, with everything in it.
    What a correction rests on is in its "evidence": the SHA-256 of the broker's answer, which --evidence prints.

    \b
    Examples:
      ledger log --last 20
      ledger log --kind corrections --kind breaks --since 7d
      ledger log --symbol EURUSD --since 7d
      ledger log --deal 5001
      ledger log --position 466442493 --json
      ledger log --late --by recorded --since 2026-06-15 --until 2026-06-15
      ledger log --follow --json | your-program
      ledger log --evidence 9f2c... > answer.json

    Exit codes: 0 fine, 1 an account cannot be read: the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    if evidence is not None:
        if after or last or follow or as_json or as_csv or any(value for name, value in filters.items() if name != "by"):
            raise click.UsageError("--evidence prints one raw answer: it goes with --account only")
        _print_evidence(journal, accounts, evidence)
        return FINE
    if follow and as_csv:
        raise click.UsageError("--follow prints lines, or JSON with --json")
    wanted, unread = _wanted(**filters), Unread()
    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, accounts)
        cursors = {one.name: one.version for one in chosen}
        shown = _Lines(ledger)
        if as_csv:
            every = unread.of_each(chosen, lambda one: _json_rows(one, _events(one, after, cursors[one.name], last, wanted)))
            print_csv(_COLUMNS, every)
            return unread.code
        for one in chosen:
            with unread.skipped(one):
                found = _events(one, after, cursors[one.name], last, wanted)
                if as_json:
                    print_json_lines(_json_rows(one, found))
                else:
                    print_lines(shown.of_account(one, found))
        if not (chosen or as_json or follow):
            print_lines(["no accounts yet"])
        if follow:
            _follow(ledger, frozenset(accounts), cursors, wanted, shown, as_json=as_json)
    return unread.code


#: ``data`` is JSON: what an event has beside the other columns differs from kind to kind.
_COLUMNS: Final = (
    *ACCOUNT, "version", "kind", "event_time", "recorded_at", "position_id", "deal", "natural_key", "caused_by", "correlation",
    "evidence", "data",
)  # fmt: skip


def _wanted(
    kinds: tuple[frozenset[str], ...],
    since: str | None,
    until: str | None,
    symbols: tuple[str, ...],
    magics: tuple[int, ...],
    **rest: Any,
) -> EventFilter:
    shown = Filter(
        symbols=symbols,
        magics=magics,
        since_us=None if since is None else since_us(since),
        until_us=None if until is None else until_us(until),
    )
    return EventFilter.of_kinds(kinds, shown=shown, **rest)


_Filter = Callable[[Recorded, AccountTerms, Subjects], bool]


def _events(account: Account, after: int, upto: int, last: int | None, wanted: _Filter) -> Iterable[Recorded]:
    """Return the events that are wanted, oldest first, in memory that does not grow with the account."""
    terms, subjects = account.terms, Subjects(account)
    found = (one for one in account.events(after=after, upto=upto) if wanted(one, terms, subjects))
    return found if last is None else deque(found, last)


def _json_rows(account: Account, events: Iterable[Recorded]) -> Iterator[Json]:
    terms = account.terms
    return (log_json(recorded, terms) for recorded in events)


class _Lines:
    """Lines for people, below a line with account and year wherever these change."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._head = ""

    def of_account(self, account: Account, events: Iterable[Recorded]) -> Iterator[str]:
        terms, width = account.terms, len(str(account.version)) + 1
        is_empty = True
        for recorded in events:
            is_empty = False
            yield from self.of_event(recorded, terms, width)
        if is_empty:
            yield f"{account.name}: no events"

    def of_event(self, recorded: Recorded, terms: AccountTerms, width: int) -> Iterator[str]:
        head = f"{recorded.account} {year(recorded, terms)} (UTC)"
        if head != self._head:
            self._head = head
            yield head
        yield event_line(recorded, terms, version_width=width)


def _follow(
    ledger: Ledger,
    only: frozenset[AccountId],
    cursors: dict[AccountId, int],
    wanted: _Filter,
    shown: _Lines,
    *,
    as_json: bool,
) -> None:
    """Print what others record from now on, until somebody ends it."""
    one = next(iter(only)) if len(only) == 1 else None
    new = ledger.follow(after=cursors) if one is None else ledger.account(one).follow(after=cursors[one])
    subjects: dict[AccountId, Subjects] = {}
    for recorded in new:
        if only and recorded.account not in only:
            continue
        account = ledger.account(recorded.account)
        terms = account.terms
        about = subjects.setdefault(account.name, Subjects(account))
        if wanted(recorded, terms, about) and as_json:
            print_json_lines(iter([log_json(recorded, terms)]))
        elif wanted(recorded, terms, about):
            print_lines(shown.of_event(recorded, terms, len(str(recorded.version)) + 1))


def _print_evidence(journal: str | None, accounts: Collection[AccountId], digest: str) -> None:
    """Print a raw broker answer byte by byte.

    Raises:
        BadValue: No account holds it.
        AccountUnknown: Several accounts hold it, and none was named.
    """
    with open_ledger(journal) as ledger:
        kept = {one.name: ledger.journal.evidence(one.name, digest.lower()) for one in accounts_of(ledger, accounts)}
    found = {name: raw for name, raw in kept.items() if raw is not None}
    if not found:
        where = f"{' and '.join(map(str, accounts))} has" if accounts else "this journal has"
        raise BadValue(f"{where} no evidence {digest!r}: ledger log --json lists the evidence of every event")
    if len(found) > 1:
        names = ", ".join(str(name) for name in found)
        raise AccountUnknown(f"evidence {digest} is stored for several accounts ({names}): name one with --account")
    [raw] = found.values()
    print_bytes(raw)


COMMANDS: Final = {"log": log}
