"""The command that reports what was earned: as text, JSON, CSV, or one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv
from ledger.cli.options import (
    TIME,
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    magic_option,
    open_ledger,
    period_options,
    symbol_option,
)
from ledger.cli.output import console, print_json, print_line, print_lines, steps, warn
from ledger.cli.unread import named
from ledger.clock import utc_text_us
from ledger.reports import BY, AccountReport, CurrencyTotal, Question, Report, account_report, make_question, total_of
from ledger.reports.json import account_report_json, report_json
from ledger.reports.words import (
    Column,
    Line,
    bucket_name,
    equation,
    figures,
    missing,
    money_columns,
    mt5_lines,
    period,
    trade_columns,
)
from ledger.text import visible

if TYPE_CHECKING:
    from ledger.json_views import Json
    from ledger.performance.values import Money, Trades
    from ledger.values import AccountId

_MONEY: Final = (
    "start", "flows", "profit", "commission", "swap", "fee", "net", "other", "adjusted", "end", "deals", "incomplete",
    "incomplete_before",
)  # fmt: skip
_TRADES: Final = (
    "trades", "wins", "losses", "incomplete", "net", "gross_win", "gross_loss", "win_rate", "profit_factor", "expectancy",
    "average_win", "average_loss", "best", "worst",
)  # fmt: skip
_CSV_COLUMNS: Final = (
    *ACCOUNT, "by", "bucket", "begin", "end", *(f"money.{one}" for one in _MONEY), *(f"trades.{one}" for one in _TRADES),
)  # fmt: skip
_DISAGREES: Final = 1


@click.command("report", short_help="Report what was earned: by month, symbol and more.")
@journal_option
@accounts_option
@symbol_option
@magic_option
@click.option("--by", type=click.Choice(BY), default="month", show_default=True, help="What the lines of the tables are.")
@click.option(
    "--day", default="server", show_default=True, metavar="server|utc|ZONE",
    help="Whose midnight begins a day: of the trade server, of UTC, or of a zone as Europe/London.",
)  # fmt: skip
@period_options("booked or closed")
@click.option("--known-at", type=TIME, metavar="TIME", help="What the ledger believed then: events recorded by TIME.")
@json_option
@csv_option
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write one HTML file with charts, which needs no other file.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="With --html: replace a file that is no report.")
def report(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    html: Path | None,
    force: bool,  # noqa: FBT001
    **about: Any,
) -> int:
    """Report what the accounts earned, one after the other, and a total for each currency.

    Money is counted when a deal was booked, and adds up: start + flows + net + other + adjusted = end. Trades are counted when
    they closed, with the net of their whole life. Beside them are the figures of MT5's own report, counted as MT5 counts. A ?
    marks what is not known in full.

    \b
    Examples:
      ledger report
      ledger report --by symbol --since 2026-06-01 --until 2026-06-30
      ledger report --by day --day America/New_York --since 30d
      ledger report --html june.html --since 2026-06-01 --until 2026-06-30

    Exit codes: 0 fine, 1 if an account's figures do not add up to its balance.
    """
    if sum((as_json, as_csv, html is not None)) > 1:
        raise click.UsageError("--json, --csv and --html are several formats: choose one")
    question = make_question(**about)
    with open_ledger(journal) as ledger, steps() as step:
        reports = []
        for one in accounts_of(ledger, accounts):
            step(f"reporting on {one.name}")
            with named(one):
                reports.append(account_report(one, question, with_curve=html is not None))
        found = total_of(question, reports)
        if html is not None:
            _write_html(html, found, file=ledger.journal.file(), accounts=accounts, force=force)
    if as_json:
        print_json(report_json(found))
    elif as_csv:
        print_csv(_CSV_COLUMNS, _csv_rows(found))
    elif html is not None:
        print_line(f"written to {html}")
    else:
        _print(found)
    return _check(found)


def _check(report: Report) -> int:
    """Print what does not add up, and return the exit code."""
    for one in report.accounts:
        if not one.reconciles:
            warn(
                f"{one.account}: start, flows, net, other and adjusted differ from the end balance by {one.money.difference}: "
                "this is an error. Run: ledger verify"
            )
    return 0 if report.reconciles else _DISAGREES


def _write_html(path: Path, report: Report, *, file: Path | None, accounts: Sequence[AccountId], force: bool) -> None:
    from ledger.output_files import require_writable, written_whole
    from ledger.reports.html import is_report, report_html

    require_writable(path, journal=file, is_ours=is_report, force=force)
    with written_whole(path) as partial:
        partial.write_text(report_html(report, command=command_of(report, accounts)), encoding="utf-8")


def command_of(report: Report, accounts: Sequence[AccountId]) -> list[str]:
    """Return the command that makes the same report again, word by word, without the journal and the file.

    It asks for what was known at the newest event or sample, so that what is recorded later changes nothing.
    """
    question = report.question
    known_at = question.known_at or (utc_text_us(report.known_us) if report.known_us else None)
    words = ["ledger", "report", "--by", question.by, "--day", question.day]
    for name, value in (("--since", question.since), ("--until", question.until), ("--known-at", known_at)):
        words += [name, value] if value is not None else []
    for name, several in (("--account", accounts), ("--symbol", question.symbols), ("--magic", question.magics)):
        for one in several:
            words += [name, str(one)]
    return words


def _csv_rows(report: Report) -> Iterator[Json]:
    for one in report.accounts:
        item = account_report_json(one)
        for bucket in item["buckets"]:
            yield {"account": item["account"], "by": report.question.by} | bucket


# ------------------------------------------------------------------------------------------------------------------ text


def _print(report: Report) -> None:
    for one in report.accounts:
        _print_account(one)
    by_currency = [total for total in report.totals if len(total.accounts) > 1]
    for total in by_currency:
        _print_total(report.question, total)
    if not report.accounts:
        print_line("no accounts yet")


def _print_account(report: AccountReport) -> None:
    terms, digits, question = report.terms, report.terms.opened.currency_digits, report.question
    opened = terms.opened
    print_line(f"{terms.account} {opened.currency} {opened.mode.value}, server clock {terms.clock}", "bold")
    print_line(f"report {period(question)}")
    print_line(f"at version {report.version}, head {report.head[:16]}")
    print_line("")
    if not report.buckets:
        print_line("nothing was booked and no trade closed in this period")
        print_line("")
        return
    names = [bucket_name(question, one.name) for one in report.buckets]
    _print_columns("money, by deal time", question.by, names, money_columns(report.buckets, report.money, digits))
    _print_equation(equation(report.money, digits))
    _print_columns("trades, when they closed", question.by, names, trade_columns(report.buckets, report.trades, digits))
    _print_incomplete(report.money, report.trades)
    _print_figures("by position (over its whole life)", figures(report))
    if report.results is not None:
        _print_pairs("as MT5 counts (by closing deal, under MT5's names)", [*mt5_lines(report.results, report.money, digits)])
    lines = [*missing(report)]
    for line in lines:
        print_line(line)
    if lines:
        print_line("")


def _print_total(question: Question, total: CurrencyTotal) -> None:
    print_line(f"all {len(total.accounts)} accounts in {total.currency}", "bold")
    print_line("")
    names = [bucket_name(question, one.name) for one in total.buckets]
    _print_columns("money, by deal time", question.by, names, money_columns(total.buckets, total.money, total.digits))
    _print_equation(equation(total.money, total.digits))
    _print_columns("trades, when they closed", question.by, names, trade_columns(total.buckets, total.trades, total.digits))
    _print_incomplete(total.money, total.trades)


def _print_incomplete(money: Money, trades: Trades) -> None:
    before, unknown = money.incomplete_before, trades.incomplete
    parts = [f"{money.incomplete} deals whose money is not known in full"] if money.incomplete else []
    parts += [f"{before} deals before the period whose money is not known in full"] if before else []
    parts += [f"{unknown} trades whose result is not known"] if unknown else []
    if parts:
        print_line(f"? {' and '.join(parts)}: they count as 0, or not at all", "yellow")
        print_line("")


def _print_equation(parts: Sequence[tuple[str, str]]) -> None:
    if not parts:
        return
    *terms, (end_name, end) = parts
    shown = [f"{name} {amount}" for name, amount in terms if name in ("start", "net") or amount.strip("-0.?")]
    for line in _wrapped(" + ".join(shown) + f" = {end_name} {end}", console().width):
        print_line(line)
    print_line("")


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yield a sum in lines that fit, broken before a sign."""
    line = ""
    for part in text.replace(" + ", "\n+ ").replace(" = ", "\n= ").split("\n"):
        if line and len(line) + 1 + len(part) > width:
            yield line
            line = "  "
        line = f"{line} {part}" if line.strip() else line + part
    yield line


def _print_columns(title: str, by: str, names: Sequence[str], columns: Iterable[Column]) -> None:
    """Print a table with its sums; where a terminal is too narrow, its columns in several tables, none cut."""
    shown = [one for one in columns if one.is_needed]
    lines = [visible(one) for one in (by, *names, "total")]
    first = max(map(_width, lines))
    width = console().width
    while shown:
        gap = 2 if first + sum(2 + _widest(one) for one in shown) <= width else 1
        room, count = width - first, 0
        while count < len(shown) and (not count or room >= gap + _widest(shown[count])):
            room -= gap + _widest(shown[count])
            count += 1
        print_line(title, "bold")
        cells = [[one.name, *one.cells, one.total] for one in shown[:count]]
        widths = [_widest(one) for one in shown[:count]]
        for at, name in enumerate(lines):
            row = [" " * gap + cell[at].rjust(size) for cell, size in zip(cells, widths, strict=True)]
            print_lines([name + " " * (first - _width(name)) + "".join(row)])
        print_line("")
        shown, title = shown[count:], f"{title} (continued)".replace(" (continued) (continued)", " (continued)")


def _widest(column: Column) -> int:
    return max(map(len, (column.name, column.total, *column.cells)))


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _print_figures(title: str, lines: Iterable[Line]) -> None:
    listed = [*lines]
    print_line(title, "bold")
    first, second = (max(len(one[at]) for one in listed) for at in (0, 1))
    print_lines(f"{one.name.ljust(first)}  {one.value.rjust(second)}  {one.detail}".rstrip() for one in listed)
    print_line("")


def _print_pairs(title: str, lines: Sequence[Line]) -> None:
    """Print figures in two columns, where they fit."""
    print_line(title, "bold")
    name, value = (max(len(one[at]) for one in lines) for at in (0, 1))
    several = 2 if 2 * (name + value) + 7 <= console().width else 1
    cells = [f"{one.name.ljust(name)}  {one.value.rjust(value)}" for one in lines]
    rows = -(-len(cells) // several)
    print_lines("   ".join(cells[at::rows]) for at in range(rows))
    print_line("")


COMMANDS: Final = {"report": report}
