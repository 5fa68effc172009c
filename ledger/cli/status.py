"""The commands that show whether accounts agree with their brokers: sync health and open breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from ledger.account_status import AccountStatus, breaks_of, look, look_at_all, subject_of, unexplained_rows
from ledger.causes import Cause, Certainty, Finding
from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    magic_option,
    open_ledger,
    symbol_option,
)
from ledger.cli.output import print_json, print_line, print_lines, print_table, warn
from ledger.cli.unread import Unread
from ledger.events import BreakKind
from ledger.filters import Filter
from ledger.json_views import Json, open_break_json
from ledger.safety import Danger, age_text
from ledger.service import utc_now_us

if TYPE_CHECKING:
    from ledger.approvals import Approvals
    from ledger.portfolio import Portfolio
    from ledger.service import Account, Ledger
    from ledger.values import AccountId

_STATUS_COLUMNS: Final = (
    *ACCOUNT, "state", "since", "why", "last_seen", "last_seen_age_sec", "last_verified", "last_good_sync", "age_sec",
    "by.host", "by.pid", "by.started", "by.program", "by.gateway", "by.interval_sec", "open_breaks", "open_orders",
    "unknown_orders", "halts", "safe_to_trade", "danger", "why_not_safe", "proposals",
)  # fmt: skip


@click.command("status", short_help="Show sync health, and whether it is safe to trade.")
@journal_option
@accounts_option
@click.option("--symbol", metavar="S", help="Whether this symbol is safe to trade.")
@click.option("--check", is_flag=True, help="Print only accounts that are not safe, one line each; see the exit codes.")
@click.option("--quiet", is_flag=True, help="With --check: print nothing.")
@json_option
@csv_option
def status(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbol: str | None,
    check: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """Show each account's last sync, state, open breaks and orders, halts, and whether it is safe to trade.

    It comes from the journal's database alone, so that it is the same on every machine. STALE: nothing was verified in
    time, or no sync was seen for three intervals. Of 200 accounts and more, the derived tables are read where they are
    up to date.

    \b
    Examples:
      ledger status
      ledger status --json
      ledger status --check --quiet --account Broker-Live/70113 || page-somebody

    \b
    Exit codes of --check, the highest of all accounts: 0 safe to trade; 1 a break, a
    halt, an unknown order or another stated reason is in the way; 4 the last sync is DEGRADED or FAILED;
    5 stale, never synced, or no account. 2 wrong use, 3 the journal cannot be read.
    """
    if quiet and not check:
        raise click.UsageError("--quiet goes with --check")
    require_one_format(as_json=as_json, as_csv=as_csv)
    with open_ledger(journal) as ledger:
        found = _found(ledger, accounts_of(ledger, accounts), symbol)
    listed = [one for one in found if not check or not one.verdict.is_safe]
    if as_json and not quiet:
        print_json([one.json_row() for one in listed])
    elif as_csv and not quiet:
        print_csv(_STATUS_COLUMNS, [one.json_row() for one in listed])
    elif check and not quiet:
        print_lines(f"{one.name}: {one.verdict.why}" for one in listed)
    elif not check:
        _print(found)
    if not check:
        return 0
    return int(max((one.verdict.danger for one in found), default=Danger.STALE))


def _found(ledger: Ledger, accounts: list[Account], symbol: str | None) -> list[AccountStatus]:
    if symbol is None:
        return list(look_at_all(ledger, accounts, utc_now_us()))
    return [look(one, utc_now_us(), symbol) for one in accounts]


def _print(found: list[AccountStatus]) -> None:
    print_table(
        "status",
        ["account", "state", "last good sync", ">last seen", ">breaks", ">orders", "safe"],
        [
            [
                str(one.name), one.state or "never",
                (one.json_row()["last_good_sync"] or "never")[:19].replace("T", " "),
                "never" if one.seen is None else age_text(one.seen.seen_sec),
                "?" if one.open_breaks is None else str(one.open_breaks),
                "?" if one.open_orders is None else str(one.open_orders), "yes" if one.verdict.is_safe else "no",
            ]
            for one in found
        ],
        empty="no accounts yet",
    )  # fmt: skip
    for one in found:
        if one.verdict.why:
            print_line(f"{one.name}: {one.verdict.why}")
        if one.why and one.why not in (one.verdict.why or ""):
            print_line(f"{one.name}: {one.state}: {one.why}")
        if one.seen is not None:
            print_line(f"{one.name}: last seen by {one.seen.by}")
        for client_id in one.unknown or ():
            print_line(f"{one.name}: order {client_id} is UNKNOWN: ledger order show {client_id}", "red")
        if one.proposals:
            print_line(f"{one.name}: {one.proposals} waiting for a second person: ledger proposals --account {one.name}")
        for item in one.halts or ():
            print_line(f"{one.name}: {_halted(item)}", "red")


def _halted(item: Json) -> str:
    what = "the account" if item["name"] is None else f"{item['scope']} {item['name']}"
    by = item["operator"] or f"rule {item['rule']}"
    since = item["since"][:19].replace("T", " ")
    mode = "" if item["mode"] == "all" else ", no new risk,"
    return f"{what} is halted{mode} since {since} by {by}: {item['reason']}"


_BREAK_COLUMNS: Final = (
    *ACCOUNT,
    "kind",
    "position_id",
    "symbol",
    "deal",
    "order",
    "client_id",
    "field",
    "ours",
    "theirs",
    "opened_at",
    "age_sec",
    "confirmations",
    "attempts",
    "why",
    "cause",
    "certainty",
    "because",
    "version",
    "owner",
    "proposal",
)
_UNEXPLAINED_COLUMNS: Final = (
    *ACCOUNT, "position_id", "symbol", "kind", "volume", "since", "cause", "certainty", "because",
)  # fmt: skip


@click.command("breaks", short_help="List open breaks with their age.")
@journal_option
@accounts_option
@symbol_option
@magic_option
@click.option("--unexplained", "is_unexplained", is_flag=True, help="List the results that no deal explains instead.")
@json_option
@csv_option
def breaks(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbols: tuple[str, ...],
    magics: tuple[int, ...],
    is_unexplained: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """List what does not agree and is not settled, with its age, what was tried, and what it likely comes from.

    A break of the balance is of no symbol, and the magic number of a position that we do not have is not known: --symbol and
    --magic leave these out, and how many is printed beside the output.

    \b
    Examples:
      ledger breaks
      ledger breaks --symbol EURUSD --json
      ledger breaks --unexplained

    Exit codes: 0 fine, 1 an account cannot be read: the breaks of the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    wanted, now_us, unread = Filter(symbols=symbols, magics=magics), utc_now_us(), Unread()
    rows: list[Json] = []
    every: list[tuple[Portfolio, Mapping[int | None, Finding], Approvals]] = []
    with open_ledger(journal) as ledger:
        for found in accounts_of(ledger, accounts):
            with unread.skipped(found):
                if is_unexplained:
                    rows += unexplained_rows(found, wanted)
                else:
                    every.append((*breaks_of(found), found.approvals))
    if is_unexplained:
        _print_unexplained(rows, as_json=as_json, as_csv=as_csv)
        return unread.code
    about = [
        (portfolio.terms, one, subject_of(one, portfolio), causes, approvals)
        for portfolio, causes, approvals in every
        for one in portfolio.breaks
    ]
    items = [
        open_break_json(one, terms, now_us, causes.get(one.version), approvals)
        for terms, one, subject, causes, approvals in about
        if wanted.is_of(*subject)
    ]
    if as_json:
        print_json(items)
    elif as_csv:
        print_csv(_BREAK_COLUMNS, items)
    else:
        _print_breaks(items, wanted.words())
    unclear = sum((bool(symbols) and one[0] is None) or (bool(magics) and one[1] is None) for _, _, one, _, _ in about)
    if unclear:
        warn(f"{unclear} more open breaks are of no symbol, or their magic number is not known: ledger breaks lists them")
    return unread.code


def _print_unexplained(items: list[Json], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        print_json(items)
    elif as_csv:
        print_csv(_UNEXPLAINED_COLUMNS, items)
    else:
        which = _which(items)
        print_table(
            "not explained",
            [*which, ">position", "symbol", "what", ">volume", "since (UTC)", "cause"],
            [
                [*(_name(one) for _ in which), str(one["position_id"] or "?"), one["symbol"], one["kind"], one["volume"],
                 one["since"].removesuffix("Z").replace("T", " "), _cause_words(one)]
                for one in items
            ],
            empty="nothing",
        )  # fmt: skip


def _which(items: list[Json]) -> list[str]:
    """Return the column that names the account, where rows are of several."""
    return ["account"] if len({_name(one) for one in items}) > 1 else []


def _name(item: Json) -> str:
    return f"{item['account']['server']}/{item['account']['login']}"


def _cause_words(item: Json) -> str:
    return Finding(cause=Cause(item["cause"]), certainty=Certainty(item["certainty"])).words


def _print_breaks(items: list[Json], words: str) -> None:
    which = _which(items)
    print_table(
        f"open breaks of {words}" if words else "open breaks",
        [*which, "kind", ">about", "ours", "theirs", ">age", ">seen", ">tried"],
        [
            [
                *(_name(item) for _ in which), item["kind"], _about(item), *_sides(item),
                age_text(item["age_sec"]), str(item["confirmations"]), str(item["attempts"]),
            ]
            for item in items
        ],
        empty="none",
    )  # fmt: skip
    for item in items:
        named = f"{_name(item)} {item['kind']} {_about(item)}" if which else f"{item['kind']} {_about(item)}"
        why = [item["why"], "" if item["certainty"] == "unknown" else _cause_words(item)]
        if any(why):
            print_line(f"{named}: {'; '.join(filter(None, why))}")
        if item["owner"] is not None:
            print_line(f"{named}: owner {item['owner']}")
        if item["proposal"] is not None:
            print_line(f"{named}: ledger proposals v{item['proposal']} --account {_name(item)}")


def _sides(item: Json) -> tuple[str, str]:
    """Return what either side shows; what waits for a person is no disagreement with the broker."""
    if item["kind"] == BreakKind.APPROVAL.value:
        return "-", "-"
    return item["ours"] or "none", item["theirs"] or "none"


def _about(item: Json) -> str:
    """Return what a break is about: a position, an order with what of it, or a figure."""
    order = item["order"] or item["client_id"]
    if item["position_id"] is None and order is not None:
        return f"{order} {item['field'] or ''}".rstrip()
    deal = f"deal {item['deal']}" if item["deal"] else None
    return str(item["position_id"] or deal or item["field"] or "")


COMMANDS: Final = {"status": status, "breaks": breaks}
