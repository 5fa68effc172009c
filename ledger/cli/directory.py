"""The commands about several journals: the directory, where an account is, and moving one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from ledger.cli.chosen import chosen
from ledger.cli.options import (
    ACCOUNT_NAME,
    directory_url,
    journal_option,
    json_option,
    open_directory,
    require_consent,
    yes_option,
)
from ledger.cli.output import print_json, print_line, print_table, steps, warn
from ledger.errors import BadValue
from ledger.json_views import Json, name_json

if TYPE_CHECKING:
    from ledger.directory import Directory, Moved
    from ledger.journal.directory import ListedJournal
    from ledger.journal.location import Location
    from ledger.service import Ledger
    from ledger.values import AccountId

_WORDS: Final = {
    "stopped": "the old journal accepts no more events of it",
    "copied": "its events are in the other journal, and not open yet",
    "verified": "heads are the same, and the copy verifies",
    "left": "the old journal refuses its events for good",
    "listed": "the directory has its new journal",
    "arrived": "the new journal accepts its events",
}


@click.group("directory", short_help="Keep a directory of several journals, and which accounts are in which.")
def directory() -> None:
    """Keep a directory of several journals: which account is in which, so that commands and engines find it.

    It is named in ledger.toml: [directory] url = "postgresql+psycopg://HOST/DB", or sqlite:///FILE.
    """


@directory.command("init")
@journal_option
def init(journal: str | None) -> None:
    """Make the directory that the settings name. Harmless where there is one.

    \b
    Example:
      ledger directory init --config ledger.toml
    """
    from ledger.journal.directory import DirectoryStore

    refuse_journal(journal)
    store = DirectoryStore(directory_url())
    try:
        is_new = store.make()
    finally:
        store.close()
    print_line(f"directory {store.shown} {'was made' if is_new else 'is ready'}")


@directory.command("add")
@click.argument("name", metavar="NAME")
@click.argument("url", metavar="URL")
@journal_option
def add(journal: str | None, name: str, url: str) -> None:
    """Add a journal with the accounts that are in it; again, for accounts that were opened there since, or its new URL.

    One that was restored takes the place of the journal of that name, and refuses accounts that have moved on since.

    The URL has no password: PGPASSFILE has it, or a URL under [journals] in ledger.toml.

    \b
    Examples:
      ledger directory add eu postgresql+psycopg://ledger@eu-db/desk
      ledger directory add asia postgresql+psycopg://ledger@asia-db/desk
    """
    refuse_journal(journal)
    with open_directory() as found:
        accounts = found.add(name, url)
        listed = found.listed(name)
    print_line(f"journal {listed} is in the directory; {len(accounts)} of its accounts are new there")


@directory.command("show")
@journal_option
@json_option
def show(journal: str | None, as_json: bool) -> None:  # noqa: FBT001
    """List the journals, and which accounts are in which.

    \b
    Example:
      ledger directory show --json
    """
    refuse_journal(journal)
    with open_directory() as found:
        journals, entries = found.journals(), found.entries()
    counts = Counter(one.journal for one in entries.values())
    if as_json:
        print_json(
            {
                "journals": [
                    {"name": one.name, "url": one.url, "journal": one.journal_id, "accounts": counts[one.name]}
                    for one in journals
                ],
                "accounts": [name_json(name) | {"journal": one.journal, "epoch": one.epoch} for name, one in entries.items()],
            }
        )
        return
    print_table(
        "journals",
        ["name", "url", ">accounts"],
        [[one.name, one.url, str(counts[one.name])] for one in journals],
        empty="none yet: ledger directory add NAME URL",
    )
    print_table(
        "accounts",
        ["account", "journal", ">epoch"],
        [[str(name), one.journal, str(one.epoch)] for name, one in entries.items()],
        empty="none yet",
    )


def refuse_journal(journal: str | None) -> None:
    """Refuse a journal where a directory is meant: settings are read from the file of a journal that is named."""
    if journal is not None or chosen().journal is not None:
        raise BadValue("this is about the directory of ledger.toml here, or of --config FILE: leave --journal out")


@click.command("where", short_help="Show which journal an account is in.")
@click.argument("name", type=ACCOUNT_NAME, metavar="SERVER/LOGIN")
@journal_option
@json_option
def where(journal: str | None, name: AccountId, as_json: bool) -> None:  # noqa: FBT001
    """Show which journal of the directory an account is in, its epoch, and whether a move is under way.

    \b
    Example:
      ledger account where Broker-Live/70113
    """
    refuse_journal(journal)
    with open_directory() as found:
        entry = found.entry(name)
        location = found.open_journal(entry.journal).journal.location(name)
        listed = found.listed(entry.journal)
    if as_json:
        print_json(_where_json(name, entry.journal, entry.epoch, location))
        return
    print_line(f"account {name} is in {listed}, epoch {entry.epoch}")
    if not location.is_here:
        print_line(f"it is {location.state} ({location.other}): run ledger account move again to finish that", "yellow")


def _where_json(name: AccountId, journal: str, epoch: int, location: Location) -> Json:
    return name_json(name) | {
        "journal": journal,
        "epoch": epoch,
        "state": location.state or "here",
        "other": location.other,
    }


@click.command("move", short_help="Move an account to another journal.")
@click.argument("name", type=ACCOUNT_NAME, metavar="SERVER/LOGIN")
@click.option("--to", metavar="NAME|URL", help="The journal of the directory that it goes to.")
@click.option("--cancel", is_flag=True, help="Cancel a move that was begun and cannot be finished.")
@yes_option
@journal_option
@json_option
def move(
    journal: str | None,
    name: AccountId,
    to: str | None,
    cancel: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Move an account to another journal of the directory, unchanged: the same versions, times and hashes.

    While it moves neither journal accepts its events. Afterwards the one that it left refuses them, whoever appends, and names
    the new one. A move that was cut short goes on when the same command is run again.

    Where workers of ledger sync --fleet sync it, they end first, and do so no more: ledger fleet add, for the new journal.
    Run it near the new journal: what is copied goes there in one transaction, and the account's engine waits for its end.

    \b
    Examples:
      ledger account move Broker-Live/70113 --to asia --yes
      ledger account move Broker-Live/70113 --cancel --yes
    """
    refuse_journal(journal)
    if (to is None) is not cancel:
        raise click.UsageError("expected --to NAME or --cancel, one of the two")
    what = "a cancelled move" if cancel else "a move"
    question = f"Cancel the move of {name}?" if cancel else f"Move {name} to {to}? Meanwhile its engine is refused."
    require_consent(yes=yes, question=question, what=what, err=as_json)
    with open_directory() as found, steps() as step:
        if to is None:
            found.cancel_move(name)
            _print_cancelled(found, name, as_json=as_json)
            return
        moved = found.move(name, to, stop_work=_stop_workers, done=lambda done: step(f"{name}: {_WORDS[done]}"))
        _print_moved(moved, as_json=as_json)
        if moved.source is not None and _stop_workers(found.open_journal(moved.source), name):
            _warn_of_workers(name, found.listed(moved.target))


def _stop_workers(ledger: Ledger, name: AccountId) -> bool:
    """Let no worker sync an account of a journal, and return whether its fleet has it; harmless once it is stopped."""
    from ledger.fleet.leases import stop

    return stop(ledger.journal, name)


def _warn_of_workers(name: AccountId, there: ListedJournal) -> None:
    """Write beside the output that nobody syncs an account any more, and how to begin again."""
    if there.url.startswith("postgresql"):
        how = f"ledger fleet add {name} --gateway ADDRESS --journal {there.url}"
    else:
        how = f"{there.name} is in SQLite and has no fleet, so ledger sync --account {name} --journal {there.url}"
    warn(f"the workers that synced {name} do so no more: {how}")


def _print_cancelled(found: Directory, name: AccountId, *, as_json: bool) -> None:
    entry = found.entry(name)
    if as_json:
        print_json(_where_json(name, entry.journal, entry.epoch, found.ledger(name).journal.location(name)))
        return
    print_line(f"account {name} stays in {entry.journal}, and accepts events again")
    print_line(f"if workers synced it: ledger fleet resume {name}")


def _print_moved(moved: Moved, *, as_json: bool) -> None:
    if as_json:
        print_json(
            name_json(moved.account)
            | {
                "from": moved.source,
                "to": moved.target,
                "epoch": moved.epoch,
                "version": moved.head.version,
                "head": moved.head.hash.hex(),
            }
        )
        return
    came = "is there already" if moved.source is None else f"moved from {moved.source}"
    head = moved.head.hash.hex()[:16]
    print_line(f"account {moved.account} {came}: {moved.target}, epoch {moved.epoch}, {moved.head.version} events, head {head}")


COMMANDS: Final = {"directory": directory}
