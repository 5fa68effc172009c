"""The command ``incidents``: what went wrong, from when to when, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    TIME,
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    open_ledger,
    since_us,
    until_us,
)
from ledger.cli.output import print_json_list, print_lines
from ledger.cli.unread import Unread
from ledger.incident_lines import incident_lines
from ledger.incidents import DEGRADED, GROUPS, INCIDENT_KINDS, Incident, Period, incidents_of
from ledger.json_views import Json, incident_json
from ledger.service import Account, utc_now_us

if TYPE_CHECKING:
    from ledger.values import AccountId

_COLUMNS: Final = (
    *ACCOUNT, "kind", "position_id", "symbol", "deal", "started_at", "ended_at", "duration_sec", "outcome", "operator",
    "reason", "versions", "cause", "certainty", "because", "approved_by", "owner",
)  # fmt: skip


class _IncidentKind(click.ParamType[frozenset[str]]):
    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[str]:
        if isinstance(value, frozenset):
            return value
        name = str(value).lower().replace("-", " ")  # so that no quotes are needed
        if name in GROUPS:
            return frozenset(GROUPS[name])
        if name in INCIDENT_KINDS:
            return frozenset((name,))
        near = get_close_matches(name, [*GROUPS, *INCIDENT_KINDS], 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        message = f"there is no kind {value!r}.{meant} Groups: {', '.join(GROUPS)}. Kinds: {', '.join(INCIDENT_KINDS)}."
        return self.fail(message, param, ctx)


@click.command("incidents", short_help="List what went wrong, and how it ended.")
@journal_option
@accounts_option
@click.option(
    "--since", type=TIME, default="7d", show_default=True, metavar="TIME", help="From a time on: 2026-06-15T12:00, or 24h, 7d."
)
@click.option("--until", type=TIME, metavar="TIME", help="Up to a time, its whole unit included.")
@click.option(
    "--kind",
    "kinds",
    type=_IncidentKind(),
    multiple=True,
    metavar="NAME",
    help="A kind, as ghost or degraded, or breaks, corrections, deals; repeatable.",
)
@click.option("--open", "is_open", is_flag=True, help="Only what has not ended.")
@csv_option
@json_option
def incidents(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    since: str,
    until: str | None,
    kinds: tuple[frozenset[str], ...],
    is_open: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> int:
    """List degradations, breaks, corrections, deal conflicts and revisions that overlap a period.

    They come in the order in which they ended, the open ones last. Times are when something was recorded, in UTC. Behind how
    one ended is what it likely came from; --json has what supports it.

    \b
    Examples:
      ledger incidents
      ledger incidents --since 24h --kind breaks --open
      ledger incidents --since 2026-06-01 --until 2026-06-30 --csv
      ledger incidents --json | jq '.[] | select(.cause == "stop-out")'

    Exit codes: 0 fine, 1 an account cannot be read: the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    now_us = utc_now_us()
    period = Period(since_us=since_us(since), until_us=None if until is None else until_us(until))
    wanted = frozenset().union(*kinds) if kinds else frozenset(INCIDENT_KINDS)
    unread = Unread()
    with open_ledger(journal) as ledger:
        found = accounts_of(ledger, accounts)
        if as_json or as_csv:
            rows = _rows(found, period, wanted, now_us, unread, is_open=is_open)
            print_json_list(rows) if as_json else print_csv(_COLUMNS, rows)
            return unread.code
        is_every_degradation = DEGRADED in wanted and not is_open
        for number, one in enumerate(found):
            print_lines([*([""] if number else []), str(one.name)])
            with unread.skipped(one):
                listed = _listed(one, period, wanted, is_open=is_open)
                print_lines(incident_lines(listed, one.terms, period, now_us, is_every_degradation=is_every_degradation))
    if not found:
        print_lines(["no accounts yet"])
    return unread.code


def _listed(account: Account, period: Period, kinds: frozenset[str], *, is_open: bool) -> Iterator[Incident]:
    found: Iterable[Incident] = incidents_of(account.ledger.journal, account.name, account.terms, period)
    return (one for one in found if one.kind in kinds and (one.is_open or not is_open))


def _rows(
    accounts: Iterable[Account], period: Period, kinds: frozenset[str], now_us: int, unread: Unread, *, is_open: bool
) -> Iterator[Json]:
    for account in accounts:
        with unread.skipped(account):
            terms = account.terms
            yield from (incident_json(one, terms, now_us) for one in _listed(account, period, kinds, is_open=is_open))


COMMANDS: Final = {"incidents": incidents}
