"""The command ``import``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ledger.cli import DISAGREES
from ledger.cli.options import ACCOUNT_NAME, CLOCK, CLOCK_HELP, journal_option, journal_url, json_option, open_ledger
from ledger.cli.output import print_json, print_line, print_table, steps, warn
from ledger.errors import JournalMissing
from ledger.exporter import ImportedAccount, import_json_lines, is_export
from ledger.importer import FileReport, ImportOptions, import_files
from ledger.imports import Note, one_line_each, refuse_irregular
from ledger.json_views import Json, account_json, conflict_json, name_json
from ledger.service import Ledger
from ledger.values import AccountId, MarginMode

if TYPE_CHECKING:
    from ledger.clock import ClockRule
    from ledger.proof import Check, Disagreement
    from ledger.results_check import Figure
    from ledger.terms import AccountTerms

_SHOWN: Final = 20
_COLLECTED_EVERY: Final = 100_000


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for garbage less often: most of what an import makes is needed until its end, and looked at each time."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECTED_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@click.command("import", short_help="Import terminal exports and deal dumps, and check them against the broker's figures.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--server-tz", type=CLOCK, metavar="RULE", help=f"{CLOCK_HELP} UTC without it.")
@click.option("--account", type=ACCOUNT_NAME, metavar="SERVER/LOGIN", help="Account, if the file names none.")
@click.option("--mode", type=click.Choice([mode.value for mode in MarginMode]), help="Margin mode, if no file states it.")
@click.option("--currency", metavar="C", help="Account currency, if no file states it.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; append nothing.")
@click.option("--verbose", is_flag=True, help="List every deal and row of a note, and every disagreement.")
@journal_option
@json_option
def import_command(
    journal: str | None,
    files: tuple[Path, ...],
    server_tz: ClockRule | None,
    account: AccountId | None,
    mode: str | None,
    currency: str | None,
    dry_run: bool,  # noqa: FBT001
    verbose: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> int:
    """Take in terminal exports and deal dumps, and prove the result against the broker's own figures.

    Reads histories that a terminal exported (html, xlsx, in any language), Strategy Tester reports, dumps of
    history_deals_get (csv, xlsx), and JSON lines of ledger export, which are imported as recorded. Importing a file again
    changes nothing: a later export of the same account appends only what is new. If one file cannot be read, nothing is
    appended. The figures of a Results section are computed again from the deals of the file. Exits 1 if a figure of the
    broker is not reproduced, a file has a known deal with other content, or the position of a deal cannot be determined; the
    facts are recorded all the same.

    \b
    Examples:
      ledger import ReportHistory-70113.html --server-tz ny-close
      ledger import june.xlsx july.xlsx --dry-run
      ledger import deals.csv --account Broker-Live/70113 --mode hedging --currency USD
      ledger import tester.html --account Tester/1 --mode netting
    """
    options = ImportOptions(account=account, mode=mode, currency=currency, clock=server_tz)
    for file in files:
        refuse_irregular(file)
    exports = [file for file in files if is_export(file)]
    reports: tuple[FileReport, ...] = ()
    taken: list[ImportedAccount] = []
    with _rare_collections(), _open(journal, dry_run=dry_run) as ledger, steps() as step:
        for file in exports:
            step(f"taking back {file}")
            taken += import_json_lines(ledger, file, dry_run=dry_run)
        if others := [file for file in files if file not in exports]:
            reports = import_files(ledger, others, options=options, dry_run=dry_run, progress=step)
        accounts = {one.account: ledger.account(one.account).terms for one in taken} if not dry_run else {}
    if as_json:
        items = [
            *(_taken_json(one, accounts.get(one.account)) for one in taken),
            *(_json_row(report, verbose=verbose) for report in reports),
        ]
        print_json({"files": items, "dry_run": dry_run})
        return 0 if all(report.agrees for report in reports) else DISAGREES
    if taken:
        _print_taken(taken, dry_run=dry_run)
    if reports:
        _print(reports, dry_run=dry_run, verbose=verbose)
    return 0 if all(report.agrees for report in reports) else DISAGREES


def _open(journal: str | None, *, dry_run: bool) -> Ledger:
    """Open the journal, making it where there is none; a dry run makes nothing."""
    if not dry_run:
        return open_ledger(journal, create=True)
    try:
        return Ledger.open(journal_url(journal))
    except JournalMissing:
        return Ledger.open("memory://")


def _print_taken(taken: list[ImportedAccount], *, dry_run: bool) -> None:
    print_table(
        "dry run: nothing was appended" if dry_run else "imported as recorded",
        ["file", "account", ">events", ">appended", "head"],
        [[Path(one.file).name, str(one.account), str(one.read), str(one.appended), one.head[:16]] for one in taken],
        empty="nothing",
    )


def _taken_json(one: ImportedAccount, terms: AccountTerms | None) -> Json:
    return {
        "file": one.file,
        "account": account_json(terms) if terms else name_json(one.account),
        "read": one.read,
        "appended": one.appended,
        "duplicates": one.read - one.appended,
        "completed": 0,
        "conflicts": [],
        "skipped": [],
        "unattributed": 0,
        "agrees": True,
        "checks": {},
        "notes": ["imported as recorded: same versions, times and hashes"],
    }


def _json_row(report: FileReport, *, verbose: bool) -> Json:
    item: Json = {
        "file": report.file,
        "account": account_json(report.terms),
        "read": report.read,
        "appended": report.appended,
        "duplicates": report.duplicates,
        "completed": report.completed,
        "conflicts": [conflict_json(conflict) for conflict in report.conflicts],
        "skipped": [],
        "unattributed": report.unattributed,
        "agrees": report.agrees,
        "checks": {check.name.replace(" ", "_"): _check_json(check) for check in report.checks},
        "notes": list(report.notes),
    }
    return item | {"details": list(report.details)} if verbose else item


def _check_json(check: Check) -> Json:
    item: Json = {
        "checked": check.checked,
        "agreed": check.agreed,
        "not_checkable": check.not_checkable,
        "disagreements": [_disagreement_json(one) for one in check.disagreements],
        "doubts": [_disagreement_json(one) for one in check.doubts],
    }
    if not check.figures:
        return item
    return item | {
        "figures": {figure.name: figure.state.value for figure in check.figures},
        "reasons": [_reason_json(figure) for figure in check.figures if figure.reason is not None],
    }


def _reason_json(figure: Figure) -> Json:
    return {
        "figure": figure.name,
        "row": figure.row,
        "what": figure.label,
        "ours": figure.ours,
        "theirs": figure.theirs,
        "reason": figure.reason,
    }


def _disagreement_json(one: Disagreement) -> Json:
    return {"row": one.row, "what": one.what, "ours": one.ours, "theirs": one.theirs}


def _print(reports: tuple[FileReport, ...], *, dry_run: bool, verbose: bool) -> None:
    print_table(
        "dry run: nothing was appended" if dry_run else "imported",
        ["file", "account", ">read", ">appended", ">known", ">conflicts"],
        [
            [
                Path(report.file).name, str(report.account), str(report.read), str(report.appended),
                str(report.duplicates), str(len(report.conflicts)),
            ]
            for report in reports
        ],
        empty="nothing",
    )  # fmt: skip
    rows = [
        [
            Path(report.file).name, check.name, str(check.checked), str(check.agreed), str(check.not_checkable),
        ]
        for report in reports
        for check in report.checks
    ]  # fmt: skip
    print_table(
        "against the broker's own figures",
        ["file", "figure", ">checked", ">agree", ">not checkable"],
        rows,
        empty="no file has any",
    )
    for report in reports:
        _print_doubts(report, shown=None if verbose else _SHOWN)
        if verbose:
            for detail in report.details:
                print_line(f"{Path(report.file).name}: {detail}")


def _print_doubts(report: FileReport, *, shown: int | None) -> None:
    name = Path(report.file).name
    for conflict in report.conflicts[:shown]:
        print_line(f"{name}: {conflict}", "red")
    _print_more(len(report.conflicts), shown)
    for check in report.checks:
        for one in check.disagreements[:shown]:
            print_line(_sentence(name, one), "red")
        _print_more(len(check.disagreements), shown)
        for one in check.doubts[:shown]:
            print_line(f"{_sentence(name, one)}; it began before the file does, with an unknown volume", "yellow")
        _print_more(len(check.doubts), shown)
        _print_reasons(name, check, shown)
    if report.unattributed:
        deals = "deal whose position is" if report.unattributed == 1 else "deals whose positions are"
        print_line(
            f"{name}: {report.unattributed} {deals} not determined: the open positions shown may be wrong until another "
            "export or a dump of the deals has it",
            "red",
        )
    for note in report.notes:
        warn(f"{name}: {note}")


def _print_reasons(name: str, check: Check, shown: int | None) -> None:
    """Print why figures of the Results section are not checkable: a line for each reason, or for each figure."""
    notes = [Note("figures", figure.label, figure.reason) for figure in check.figures if figure.reason is not None]
    for line in map(str, notes) if shown is None else one_line_each(notes):
        print_line(f"{name}: not checkable: {line}", "yellow")


def _sentence(name: str, one: Disagreement) -> str:
    row = "" if one.row is None or one.row < 0 else f", row {one.row}"
    return f"{name}{row}: {one.what}: ours {one.ours}, the broker's {one.theirs}"


def _print_more(count: int, shown: int | None) -> None:
    if shown is not None and count > shown:
        print_line(f"... and {count - shown} more; --verbose lists all", "red")


COMMANDS: Final = {"import": import_command}
