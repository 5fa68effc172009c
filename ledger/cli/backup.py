"""The commands that carry a journal away and back: backup, restore, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ledger.cli.metrics import text_file, textfile_option
from ledger.cli.options import (
    account_option,
    accounts_of,
    journal_option,
    journal_url,
    json_option,
    open_ledger,
    partitions_option,
)
from ledger.cli.output import bar, print_json, print_line, print_table, steps
from ledger.clock import SECOND_US
from ledger.errors import BadValue, JournalMissing, LedgerError
from ledger.frames import Rows
from ledger.frames.export import CONTENTS, export_rows
from ledger.journal.upkeep import BACKUP
from ledger.json_views import heads_json
from ledger.service import Ledger, utc_now_us
from ledger.upkeep import note

if TYPE_CHECKING:
    from ledger.journal.backup import Source
    from ledger.values import AccountId

_FORMATS: Final = ("parquet", "csv", "jsonl")
_SUFFIXES: Final = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@click.command("backup", short_help="Copy the journal to a file, while it is in use.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@textfile_option
@journal_option
@json_option
def backup(journal: str | None, file: Path, textfile: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Copy the whole journal to a new SQLite file, as of one moment, and verify the copy.

    Engines and syncs go on meanwhile. The file is a journal itself: any command reads it. A backup that was cut short is
    refused as a journal, and goes on when it is called again.

    \b
    Examples:
      ledger backup desk-2026-06-15.db
      ledger verify --journal sqlite:///desk-2026-06-15.db --since desk.seal
    """
    with open_ledger(journal) as ledger:
        left, begun_us = text_file(textfile, "backup", ledger), utc_now_us()
        try:
            copy_whole(ledger.journal, str(file.absolute()), as_json=as_json, is_restored=False)
        except LedgerError as error:
            note(ledger.journal, BACKUP, utc_now_us(), problems=1, problem=str(error))
            raise
        note(ledger.journal, BACKUP, begun_us)
    left.write_figures(begun_us / SECOND_US)


@click.command("restore", short_help="Restore a journal from a backup.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@partitions_option
@journal_option
@json_option
def restore(journal: str | None, file: Path, partitions: int | None, as_json: bool) -> None:  # noqa: FBT001
    """Make a journal of a backup, where there is none: in a new file or an empty Postgres database.

    Same versions, same times, same hashes. It is a journal of its own, with its own id, and names its parent, so that a journal
    that goes on beside it is distinguished from it; seals of the parent are verified up to what both have. Until all of it is
    there and verified it is refused as a journal, so that no engine starts on half a history. A journal gets other partitions,
    or none, this way: the partitions of a backup's source are no part of it.

    \b
    Examples:
      ledger restore desk-2026-06-15.db --journal sqlite:///desk.db
      ledger restore desk.db --journal postgresql+psycopg://user@host/desk
      ledger restore desk.db --partitions 64 --journal postgresql+psycopg://db/x
    """
    url = journal_url(journal)
    with Ledger.open(str(file.absolute())) as ledger:
        copy_whole(ledger.journal, url, as_json=as_json, is_restored=True, partitions=partitions)


def copy_whole(source: Source, url: str, *, as_json: bool, is_restored: bool, partitions: int | None = None) -> None:
    """Copy a journal, or an archive of one, to where there is none, and print what the copy holds."""
    from ledger.journal.backup import copy_journal

    events = sum(head.version for head in source.heads().values())
    with bar("copying and verifying", 2 * events) as progress:
        copied = copy_journal(source, url, utc_now_us, progress, is_restored=is_restored, partitions=partitions)
    parent = source.identity() if is_restored else None
    if as_json:
        print_json(
            {
                "target": copied.target,
                "journal": copied.journal_id,
                "parent": parent,
                "events": copied.events,
                "accounts": heads_json(copied.heads),
            }
        )
        return
    print_table(
        f"{'restored' if is_restored else 'backed up'} to {copied.target}",
        ["account", ">events", "head"],
        [[str(account), str(head.version), head.hash.hex()[:16]] for account, head in copied.heads.items()],
        empty="the journal holds no account",
    )
    print_line(f"{copied.events} events, verified: the copy is equal")
    if parent is not None:
        print_line(f"it is journal {copied.journal_id}, restored from {parent}")


@click.command("export", short_help="Write events, trades, positions or balances to Parquet, CSV or JSON lines.")
@click.option("--what", type=click.Choice(("events", *CONTENTS)), default="events", show_default=True, help="What to write.")
@click.option("--out", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="What to write; by the file's name without it.")
@click.option("--force", is_flag=True, help="Replace a file that is no earlier export. Never a database.")
@journal_option
@account_option
@json_option
def export(
    journal: str | None,
    what: str,
    file: Path,
    format_: str | None,
    account: AccountId | None,
    force: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write every event, closed trade, open position or balance as one flat record, for data tools and spreadsheets.

    Decimals are exact, event_time and recorded_at are UTC, broker_msc is the server's own clock. JSON lines carry everything,
    the broker's raw answers included: ledger import reads them again, and the chain is the same.

    One record is one event: deposits, and every record of a deal that was completed or revised, in each account's currency.
    To add up results, take what counts: ledger trades --csv.

    \b
    Examples:
      ledger export --out desk.parquet
      ledger export --what trades --out trades.parquet
      ledger export --out desk.csv --account Broker-Live/70113
      ledger export --out desk.jsonl && ledger import desk.jsonl --journal sqlite:///copy.db
      duckdb -c "SELECT kind, count(*) FROM 'desk.parquet' GROUP BY ALL"
    """
    chosen = format_ or _SUFFIXES.get(file.suffix.lower())
    if chosen is None:
        raise BadValue(f"{file}: which format? Name it with --format {', '.join(_FORMATS)}, or end the file's name in it")
    if not file.absolute().parent.is_dir():
        raise JournalMissing(f"there is no folder {file.absolute().parent}: make it first")
    if what != "events":
        _export_rows(journal, what, file, chosen, account, force=force, as_json=as_json)
        return
    from ledger.exporter import export as write

    with open_ledger(journal) as ledger:
        accounts = accounts_of(ledger, account)
        with bar("writing", sum(found.version for found in accounts)) as progress:
            written = write(ledger, accounts, file, chosen, progress, force=force)
    if as_json:
        print_json(
            {
                "file": written.file,
                "format": written.format,
                "events": written.events,
                "accounts": heads_json(written.heads),
            }
        )
        return
    print_table(
        f"written to {written.file}",
        ["account", ">events", "head"],
        [[str(name), str(head.version), head.hash.hex()[:16]] for name, head in written.heads.items()],
        empty="the journal holds no account",
    )


def _export_rows(
    journal: str | None, what: str, file: Path, format_: str, account: AccountId | None, *, force: bool, as_json: bool
) -> None:
    with open_ledger(journal) as ledger, steps() as step:
        step(f"writing {file}")
        written = export_rows(Rows(what, accounts_of(ledger, account)), ledger.journal, file, format_, force=force)
    if as_json:
        print_json({"file": str(file), "format": format_, "what": what, "rows": written})
        return
    print_line(f"{written} row{'' if written == 1 else 's'} of {what} written to {file}")


COMMANDS: Final = {"backup": backup, "restore": restore, "export": export}
