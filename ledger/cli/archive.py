"""The commands about archives: write one, verify one, restore a journal from one."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ledger.cli import DISAGREES, FINE
from ledger.cli.options import accounts_of, accounts_option, journal_option, journal_url, json_option, open_ledger
from ledger.cli.output import bar, print_json, print_line, print_table
from ledger.cli.streams import print_text
from ledger.json_views import name_json
from ledger.service import utc_now_us

if TYPE_CHECKING:
    from ledger.archive.write import Archived
    from ledger.journal import Journal
    from ledger.values import AccountId

_FOLDER: Final = click.Path(file_okay=False, path_type=Path)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("archive", invoke_without_command=True, short_help="Archive events as Parquet files, sealed and verified.")
@journal_option
@accounts_option
@click.option("--out", "folder", type=_FOLDER, metavar="FOLDER", help="The archive; made where there is none.")
@click.option("--key", type=_FILE, help="Seal it with this secret key.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes (default: as many as processors).")
@json_option
@click.pass_context
def archive(
    ctx: click.Context,
    /,
    journal: str | None,
    accounts: tuple[AccountId, ...],
    folder: Path | None,
    key: Path | None,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write what is new of every account into a folder of Parquet files, as of one moment, and verify what was written.

    Engines and syncs go on meanwhile, and nothing is removed from the journal. Only events behind the last archived version
    are written; a run that was killed is continued by the next. An account that the journal has with another history than the
    archive is refused. Needs the extra: pip install 'mt5-position-ledger[archive]'

    \b
    Examples:
      ledger archive --out archive
      ledger archive --out archive --key keys/seal.pem --jobs 8
      ledger archive verify archive
      ledger fleet replay --archive archive --until 2026-06-15T12:00
    """
    if ctx.invoked_subcommand is not None:
        return
    if folder is None:
        raise click.UsageError("name the folder of the archive with --out FOLDER")
    from ledger.archive.write import archive as write
    from ledger.seals import load_key

    with open_ledger(journal) as ledger:
        names = [one.name for one in accounts_of(ledger, accounts)]
        events = sum(head.version for head in ledger.journal.heads().values())
    with bar("archiving", events) as progress:
        found = write(
            partial(_open, journal_url(journal)), folder, utc_now_us, accounts=names if accounts else None,
            key=None if key is None else load_key(key), jobs=jobs or os.cpu_count() or 1, progress=progress,
        )  # fmt: skip
    _print(found, folder, as_json=as_json)


def _open(url: str) -> Journal:
    from ledger.service import Ledger

    return Ledger.open(url).journal


def _print(found: list[Archived], folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "account": name_json(one.account), "events": one.events, "version": one.version, "head": one.head,
                    "bytes": one.bytes,
                }
                for one in found
            ]
        )  # fmt: skip
        return
    new = [one for one in found if one.events]
    print_table(
        f"archived in {folder}",
        ["account", ">events", ">up to version", ">bytes"],
        [[str(one.account), f"{one.events:,}", f"{one.version:,}", f"{one.bytes:,}"] for one in new],
        empty="nothing new",
    )
    events, size = sum(one.events for one in new), sum(one.bytes for one in new)
    print_line(
        f"{events:,} events of {len(new):,} accounts, {size:,} bytes; {len(found) - len(new):,} accounts have nothing new"
    )


@archive.command("verify", short_help="Verify an archive, without a journal.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--trusted-key", type=_FILE, help="The public key that its seals must be signed with.")
@click.option("--since", "seal_file", type=_FILE, metavar="SEAL", help="Also verify against this seal, stored elsewhere.")
@json_option
def verify(folder: Path, trusted_key: Path | None, seal_file: Path | None, as_json: bool) -> int:  # noqa: FBT001
    """Verify all of an archive: files, chains, raw answers, scales, seals. It needs no journal and changes nothing.

    With a seal that is stored elsewhere it also shows what the archive's own files cannot: an end that was cut off, and an
    archive that was written anew. All that the seal states has to be archived: use one that a run of ledger archive left in
    seals, or one that ledger seal made before the last run.

    \b
    Examples:
      ledger archive verify archive --trusted-key keys/seal.pub.pem
      ledger archive verify archive --trusted-key keys/seal.pub.pem \\
        --since 2026-06-15.seal

    Exit codes: 0 everything is what was recorded, 1 something is not.
    """
    from ledger.archive.verify import verify_archive
    from ledger.cli.seal import read_seal
    from ledger.seals import load_public_key

    key = None if trusted_key is None else load_public_key(trusted_key)
    since = {} if seal_file is None else {str(seal_file): read_seal(seal_file)}
    with bar("verifying", 0) as progress:
        accounts, problems = verify_archive(folder, key, progress, since)
    if as_json:
        print_json(
            {
                "ok": not problems,
                "accounts": [{"account": name_json(one.account), "version": one.version, "head": one.head} for one in accounts],
                "problems": [{"file": one.file, "what": one.what} for one in problems],
            }
        )
    else:
        for one in problems:
            print_line(f"{one.file}: {one.what}", "red")
        events = sum(one.version for one in accounts)
        print_line(f"{len(accounts):,} accounts, {events:,} events: " + ("ok" if not problems else "NOT as recorded"))
    return DISAGREES if problems else FINE


@archive.command("restore", short_help="Restore a journal from an archive.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@journal_option
@json_option
def restore(journal: str | None, folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Make a journal of an archive, where there is none: in a new file or an empty Postgres database.

    Same versions, same times, same hashes, as ledger restore makes one of a backup: it has an id of its own and names its
    parent, and until all of it is there and verified it is refused as a journal.

    \b
    Example:
      ledger archive restore archive --journal sqlite:///restored.db
    """
    from ledger.archive.restore import ArchiveSource
    from ledger.cli.backup import copy_whole

    copy_whole(ArchiveSource(folder), journal_url(journal), as_json=as_json, is_restored=True)


@archive.command("sql", short_help="Print the statements that make DuckDB views of an archive.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def sql(folder: Path) -> None:
    """Print the statements that make DuckDB views of an archive: accounts, events, evidence.

    Money, prices and volumes are exact decimals in them, and recorded_at is UTC. They show every record; what accounts come
    to is shown by ledger fleet.

    \b
    Example:
      ledger archive sql archive > views.sql && duckdb -init views.sql
    """
    from ledger.forensics.views import statements

    print_text(statements(folder))


COMMANDS: Final = {"archive": archive}
