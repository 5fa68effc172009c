"""The commands of the group ``fleet`` that ask about all accounts at a moment: replay, report, breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import asdict

from ledger.cli.csv_output import csv_option, print_csv, require_one_format
from ledger.cli.options import TIME, Command, journal_option, json_option, open_ledger
from ledger.cli.output import bar, print_json, print_line, print_table
from ledger.json_views import Json, name_json
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.forensics.summary import Summary

_EXECUTORS: Final = ("local", "dask", "ray", "spark")
_ACCOUNT_COLUMNS: Final = ("account", "currency", "version", "head", "balance", "credit", "positions", "digest")
_POSITION_COLUMNS: Final = (
    "account", "currency", "position_id", "ticket", "symbol", "side", "volume", "price_open", "opened_at", "basis", "magic",
)  # fmt: skip
_BREAK_COLUMNS: Final = (
    "account", "kind", "position_id", "symbol", "deal", "order", "client_id", "field", "ours", "theirs", "opened_at", "why",
    "version",
)  # fmt: skip


def _fleet_options(command: Command) -> Command:
    """Take what is asked, of what, and where it is folded."""
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    options: Sequence[Callable[[Command], Command]] = (
        click.option("--cluster", metavar="ADDRESS", help="A cluster of the executor that runs already."),
        click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes (default: one a processor)."),
        click.option(
            "--executor", type=click.Choice(_EXECUTORS), default="local", help="What folds an archive (default: local)."
        ),
        click.option("--known-at", type=TIME, metavar="TIME", help="What the ledger believed then: events recorded by TIME."),
        click.option("--until", type=TIME, metavar="TIME", help="What had happened by then, as known now."),
        click.option("--archive", "folder", type=folder, metavar="FOLDER", help="The archive; without it the journal."),
        journal_option,
    )
    for option in options:
        command = option(command)
    return csv_option(json_option(command))


def _asked(*, journal: str | None, folder: Path | None, until: str | None, known_at: str | None, **where: Any) -> list[Summary]:
    """Return the accounts that are asked about, at the moment that is asked about: by the options of all three commands."""
    from ledger.forensics.questions import Where, paths_of, replay, replay_journal

    moment = {"until": until, "known_at": known_at}
    if folder is None:
        _require_no_executor(**where)
        with open_ledger(journal) as ledger:
            return list(replay_journal(ledger, **moment))
    found = []
    with bar("folding", len(paths_of(folder))) as progress:
        for one in replay(folder, Where(**where), **moment):
            found.append(one)
            progress(1)
    return sorted(found, key=lambda one: AccountId.parse(one.account))


def _require_no_executor(executor: str, workers: int | None, cluster: str | None) -> None:
    """Refuse to ignore what is about archives alone."""
    if executor != "local" or workers is not None or cluster is not None:
        raise click.UsageError("--executor, --workers and --cluster fold an archive: name it with --archive FOLDER")


@click.command("replay", short_help="Show every account at any moment, or who held what.")
@click.option("--where", "conditions", multiple=True, metavar="CONDITION", help="Only positions that meet it; repeatable.")
@_fleet_options
def replay(
    conditions: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **asked: Any,
) -> None:
    """Show all accounts at a moment, each with a digest of its balance and positions; with --where the positions that meet it.

    The digest is the same from an archive, whatever folds it, and from the journal.

    \b
    Examples:
      ledger fleet replay --archive archive
      ledger fleet replay --archive archive --where 'symbol = XAUUSD'
      ledger fleet replay --archive archive --known-at 24h --where 'side = buy'
      ledger fleet replay --archive archive --executor spark
    """
    from ledger.forensics.conditions import Condition
    from ledger.forensics.questions import select_positions
    from ledger.forensics.summary import fleet_digest

    require_one_format(as_json=as_json, as_csv=as_csv)
    wanted = [Condition.parse(one) for one in conditions]
    found = _asked(**asked)
    digest, listed = fleet_digest(found), list(select_positions(found, wanted))
    rows = [row for one in listed for row in _position_rows(one)]
    if as_json:
        print_json({"digest": digest, "accounts": [_summary_json(one) for one in listed]})
    elif as_csv and wanted:
        print_csv(_POSITION_COLUMNS, rows)
    elif as_csv:
        print_csv(_ACCOUNT_COLUMNS, [_account_row(one) for one in listed])
    elif wanted:
        _print_positions(rows, " and ".join(conditions))
        print_line(f"{len(rows):,} positions of {len(listed):,} of {len(found):,} accounts")
    else:
        _print_accounts(listed)
        print_line(f"{len(found):,} accounts")
        print_line(f"digest {digest}")


def _summary_json(one: Summary) -> Json:
    return {
        "account": name_json(one.account), "currency": one.currency, "version": one.version, "head": one.head,
        "balance": one.balance, "credit": one.credit, "positions": list(one.positions), "digest": one.digest,
    }  # fmt: skip


def _account_row(one: Summary) -> Json:
    return _summary_json(one) | {"account": one.account, "positions": len(one.positions)}


def _position_rows(one: Summary) -> list[Json]:
    return [{"account": one.account, "currency": one.currency} | position for position in one.positions]


def _print_accounts(found: list[Summary]) -> None:
    print_table(
        "accounts",
        ["account", ">version", ">balance", ">credit", ">positions", "digest"],
        [[one.account, str(one.version), one.balance, one.credit, str(len(one.positions)), one.digest[:12]] for one in found],
        empty="no accounts",
    )


def _print_positions(rows: list[Json], words: str) -> None:
    print_table(
        f"positions where {words}",
        ["account", ">position", "symbol", "side", ">volume", ">price", "opened (UTC)"],
        [
            [
                row["account"], str(row["position_id"]), row["symbol"], row["side"], row["volume"], row["price_open"],
                row["opened_at"][:19].replace("T", " "),
            ]
            for row in rows
        ],
        empty="none",
    )  # fmt: skip


@click.command("report", short_help="Sum up all accounts at any moment: money and exposure.")
@_fleet_options
def report(
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **asked: Any,
) -> None:
    """Sum up all accounts at a moment: balances by currency, and lots long and short by symbol. CSV has the symbols.

    \b
    Examples:
      ledger fleet report --archive archive
      ledger fleet report --archive archive --until 2026-06-15T12:00 --json
    """
    from ledger.forensics.questions import exposures, money
    from ledger.forensics.summary import fleet_digest

    require_one_format(as_json=as_json, as_csv=as_csv)
    found = _asked(**asked)
    sums, open_ = [asdict(one) for one in money(found)], [asdict(one) for one in exposures(found)]
    if as_json:
        print_json({"accounts": len(found), "digest": fleet_digest(found), "money": sums, "exposure": open_})
    elif as_csv:
        print_csv(("symbol", "accounts", "positions", "long", "short"), open_)
    else:
        print_table(
            "money",
            ["currency", ">accounts", ">balance", ">credit"],
            [[one["currency"], str(one["accounts"]), one["balance"], one["credit"]] for one in sums],
            empty="no accounts",
        )
        print_table(
            "exposure, in lots",
            ["symbol", ">accounts", ">positions", ">long", ">short"],
            [[one["symbol"], str(one["accounts"]), str(one["positions"]), one["long"], one["short"]] for one in open_],
            empty="nothing is open",
        )


@click.command("breaks", short_help="List the breaks of all accounts that were open at any moment.")
@_fleet_options
def breaks(
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **asked: Any,
) -> None:
    """List what did not agree at a moment, over all accounts, oldest first in each account.

    \b
    Examples:
      ledger fleet breaks --archive archive
      ledger fleet breaks --archive archive --known-at 2026-06-15 --csv
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    found = _asked(**asked)
    rows = [{"account": one.account} | each for one in found for each in one.breaks]
    if as_json:
        print_json([row | {"account": name_json(row["account"])} for row in rows])
    elif as_csv:
        print_csv(_BREAK_COLUMNS, rows)
    else:
        print_table(
            "open breaks",
            ["account", "kind", ">about", "ours", "theirs", "opened (UTC)"],
            [
                [
                    row["account"], row["kind"], str(row["position_id"] or row["deal"] or row["order"] or row["field"] or ""),
                    row["ours"] or "none", row["theirs"] or "none", row["opened_at"][:19].replace("T", " "),
                ]
                for row in rows
            ],
            empty="none",
        )  # fmt: skip
        print_line(f"{len(rows):,} open breaks of {len({row['account'] for row in rows}):,} of {len(found):,} accounts")
