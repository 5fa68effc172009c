"""The command that keeps the derived tables: once, for as long as it runs, or not any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from ledger.cli.options import account_option, accounts_of, journal_option, json_option, open_ledger
from ledger.cli.output import print_json, print_line, print_table, warn
from ledger.cli.signals import stopping_event
from ledger.derived import Derived, FollowerRow, keep_up
from ledger.errors import BadValue, LedgerError
from ledger.json_views import Json, name_json

if TYPE_CHECKING:
    from ledger.service import Account
    from ledger.values import AccountId


@click.command("derive", short_help="Bring the tables that answers are read from up to date.")
@journal_option
@account_option
@click.option("--watch", is_flag=True, help="Keep all accounts up to date until stopped.")
@click.option("--rebuild", is_flag=True, help="Make the tables anew from the first event on.")
@click.option("--drop", is_flag=True, help="Delete the tables' rows, and the segments.")
@click.option("--lag", is_flag=True, help="Only show how many events they are behind.")
@json_option
def derive(
    journal: str | None,
    account: AccountId | None,
    watch: bool,  # noqa: FBT001
    rebuild: bool,  # noqa: FBT001
    drop: bool,  # noqa: FBT001
    lag: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Fold what is new into the derived tables: bookings, trades, positions, balance curve and summary of each account.

    Reports are read from them. Long histories are packed into segments as well, files that make
    replays quick; "packed" is up to which version. Both are made of the events alone and can be
    dropped at any time. verify compares the segments with the events and reads no table; backup and
    restore leave both alone. ledger sync --watch keeps them up to date by itself, unless ledger.toml
    has follow = false under [derived].

    \b
    Examples:
      ledger derive
      ledger derive --lag
      ledger derive --rebuild --account Broker-Live/70113
      ledger derive --watch                   (where no sync --watch runs)
    """
    chosen = [name for name, is_on in (("--watch", watch), ("--rebuild", rebuild), ("--drop", drop), ("--lag", lag)) if is_on]
    if len(chosen) > 1:
        raise BadValue(f"{chosen[0]} and {chosen[1]} do not go together: choose one")
    if watch and account is not None:
        raise BadValue("--watch is for all accounts: leave --account out")
    with open_ledger(journal) as ledger:
        if watch:
            keep_up(ledger, stopping_event(), done=lambda name, row: _note(name, row, as_json=as_json))
            return
        found = accounts_of(ledger, account)
        if drop:
            dropped = [one for one in found if one.derived.drop()]
            print_json([name_json(one.name) for one in dropped]) if as_json else _print_dropped(dropped)
            return
        items, failed = [], list[LedgerError]()
        for one in found:
            begin = time.monotonic()
            try:
                row = one.derived.row if lag else one.derived.rebuild() if rebuild else one.derived.catch_up()
                if not lag:
                    one.derived.pack()
            except LedgerError as error:
                if error.retryable:
                    raise
                warn(f"{one.name} is left out: {error}")
                failed.append(error)
                continue
            items.append(_item(one, row, None if lag else time.monotonic() - begin))
    if as_json:
        print_json(items)
    else:
        _print(items)
    if failed:  # the others are kept up all the same
        raise failed[0]


def _item(account: Account, row: FollowerRow | None, seconds: float | None) -> Json:
    derived: Derived = account.derived
    behind = derived.lag()
    return {
        "account": name_json(account.name),
        "version": behind.version,
        "head": behind.head,
        "behind": behind.events,
        "bookings": 0 if row is None else row.bookings,
        "trades": 0 if row is None else row.trades,
        "packed": derived.packed,
        "seconds": None if seconds is None else round(seconds, 3),
    }


def _print(items: list[Json]) -> None:
    print_table(
        "derived tables",
        ["account", ">version", ">behind", ">bookings", ">trades", ">packed", ">seconds"],
        [
            [
                f"{one['account']['server']}/{one['account']['login']}", f"v{one['version']}", str(one["behind"]),
                str(one["bookings"]), str(one["trades"]),
                f"v{one['packed']}", "" if one["seconds"] is None else f"{one['seconds']:.1f}",
            ]
            for one in items
        ],
        empty="no accounts",
    )  # fmt: skip


def _print_dropped(accounts: list[Account]) -> None:
    for one in accounts:
        print_line(f"{one.name}: dropped")
    if not accounts:
        warn("there is nothing to drop")


def _note(name: AccountId, row: FollowerRow, *, as_json: bool) -> None:
    if as_json:
        print_json({"account": name_json(name), "version": row.version})
    else:
        print_line(f"{name} v{row.version}")


COMMANDS: Final = {"derive": derive}
