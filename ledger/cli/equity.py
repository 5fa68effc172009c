"""The commands about what accounts are worth: equity over time, and how much of what may be lost is used up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    accounts_of,
    accounts_option,
    configuration,
    journal_option,
    json_option,
    open_ledger,
    period_options,
)
from ledger.cli.output import print_json, print_line, print_table
from ledger.cli.unread import Unread
from ledger.equity import BY, By, Equity, EquityRow, equity
from ledger.errors import BadValue
from ledger.json_views import Json, equity_json, equity_row_json, monitor_json
from ledger.monitors import NOTE, account_states
from ledger.safety import age_text
from ledger.service import Account, Ledger, utc_now_us

if TYPE_CHECKING:
    from ledger.terms import AccountTerms
    from ledger.values import AccountId

_PRICES: Final = ("open", "high", "low", "close")
_COLUMNS: Final = {
    "mark": ("time", "balance", "credit", "floating", "equity", "margin", "equity_reported"),
    "minute": ("begin", "end", *_PRICES, *(f"{name}_time" for name in _PRICES), "samples"),
    "day": ("day", "begin", "end", *_PRICES, *(f"{name}_time" for name in _PRICES), "samples"),
}
_MONITOR_COLUMNS: Final = (
    "limit", "rule", "state", "reason", "allowed", "used", "left", "level", "equity", "equity_reported", "base", "base_from",
    "as_of", "breached_at", "day", "day_start", "day_end", "for_good", "warn_at", "unsafe_on_breach", "interval_sec",
)  # fmt: skip
_STYLES: Final = {"near": "yellow", "breached": "red", "unknown": "yellow"}


@click.command("equity", short_help="Show what accounts were worth over time.")
@journal_option
@accounts_option
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="A row for each sample, minute or day.")
@period_options("sampled")
@json_option
@csv_option
def show_equity(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    by: By,
    since: str | None,
    until: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """Show equity of server days, of minutes (UTC), or sample by sample as syncs stored it.

    Where no sync took a sample there is no row: nothing is made up between two, and extremes there are unseen. Days and
    minutes are there for ever, samples for [marks] keep_days.

    \b
    Examples:
      ledger equity
      ledger equity --by minute --since 24h --csv
      ledger equity --account Prop-2/881 --since 2026-06-01 --until 2026-06-30

    Exit codes: 0 fine, 1 an account cannot be read: the others are shown.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    unread = Unread()

    def asked(account: Account) -> Equity:
        return equity(account, by=by, since=since, until=until)

    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, accounts)
        if as_json:
            print_json(list(unread.of_each(chosen, lambda one: [equity_json(asked(one))])))
        elif as_csv:
            print_csv((*ACCOUNT, *_COLUMNS[by]), unread.of_each(chosen, lambda one: _equity_rows(asked(one))))
        else:
            for one in chosen:
                with unread.skipped(one):
                    found = asked(one)
                    _print_equity(one.terms, by, list(found.rows), _basis(found.interval_us, found.is_reported))
            if not chosen:
                print_line("no accounts yet")
    return unread.code


def _equity_rows(found: Equity) -> Iterator[Json]:
    terms = found.account.terms
    return ({"account": _named(terms)} | equity_row_json(row, terms) for row in found.rows)


def _named(terms: AccountTerms) -> Json:
    return {"server": terms.opened.server, "login": terms.opened.login, "currency": terms.opened.currency}


def _basis(interval_us: int | None, is_reported: bool | None) -> str:  # noqa: FBT001  # three words
    """State what the figures rest on."""
    every = "unknown" if interval_us is None else age_text(interval_us / 1_000_000)
    source = {True: "reported by the broker", False: "computed (balance + credit + floating)", None: "source unknown"}
    return f"interval between samples: {every}; equity: {source[is_reported]}; extremes between samples are unseen"


def _print_equity(terms: AccountTerms, by: By, rows: Sequence[EquityRow], basis: str) -> None:
    items = [equity_row_json(row, terms) for row in rows]
    title = f"{terms.account} equity in {terms.opened.currency}"
    if by == "mark":
        names = ("balance", "credit", "floating", "equity", "margin")
        table = [[_short(item["time"]), *(item[name] or "?" for name in names)] for item in items]
        columns = ["time (UTC)", *(f">{name}" for name in names)]
    else:
        table = [
            [item.get("day") or _short(item["begin"]), *(item[name] for name in _PRICES), str(item["samples"])]
            for item in items
        ]
        columns = ["day" if by == "day" else "minute (UTC)", *(f">{name}" for name in _PRICES), ">samples"]
    print_table(title, columns, table, empty="no samples: a sync stores one after each snapshot that it believes")
    print_line(basis)


@click.command("monitors", short_help="Show how much of what accounts may lose is used up.")
@journal_option
@accounts_option
@json_option
@csv_option
def show_monitors(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """Show the limits of [monitors] in ledger.toml: allowed, used, left, and the equity below which it is a breach.

    A breach of a day lasts until the day ends, one of the drawdown for good. UNKNOWN where no fresh sample shows the equity.
    A monitor never trades, and the provider's own figures decide.

    \b
    Example of settings:
      [monitors."Prop-2/881"]
      daily_loss = "5%"
      max_drawdown = "10%"
      unsafe_on_breach = true

    Exit codes: 0 fine, 1 an account cannot be read: the others are shown.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    unread = Unread()
    with open_ledger(journal) as ledger:
        items = list(_monitors(ledger, accounts, unread))
    if as_json:
        print_json(items)
    elif as_csv:
        print_csv((*ACCOUNT, *_MONITOR_COLUMNS), items)
    else:
        _print_monitors(items)
    return unread.code


def _monitors(ledger: Ledger, accounts: tuple[AccountId, ...], unread: Unread) -> Iterator[Json]:
    """Return the states of the limits that are meant.

    Raises:
        BadValue: A named account is not monitored.
    """
    settings = configuration()
    for name in accounts:
        if name not in settings.monitors:
            known = ", ".join(map(str, sorted(settings.monitors))) or "none"
            raise BadValue(f'account {name} is not monitored by {settings}: write [monitors."{name}"]; there are: {known}')
    now_us, monitors = utc_now_us(), settings.monitors

    def states(account: Account) -> list[Json]:
        terms = account.terms if account.is_open else None
        return [monitor_json(one, terms) for one in account_states(account, monitors[account.name], now_us)]

    names = (name for name in sorted(monitors) if name in accounts or not accounts)
    return unread.of_each(map(ledger.account, names), states)


def _print_monitors(items: list[Json]) -> None:
    by_account: dict[str, list[Json]] = {}
    for item in items:
        by_account.setdefault(f"{item['account']['server']}/{item['account']['login']}", []).append(item)
    for name, own in by_account.items():
        names = ("used", "allowed", "left", "equity", "level")
        currency = own[0]["account"].get("currency")
        print_table(
            f"{name} monitors" + (f" in {currency}" if currency else ""),
            ["limit", "state", *(f">{one}" for one in names)],
            [[item["limit"], item["state"], *(item[one] or "?" for one in names)] for item in own],
            empty="none",
        )
        for item in own:
            _print_details(item)
        first = own[0]
        interval_us = None if first["interval_sec"] is None else round(first["interval_sec"] * 1_000_000)
        seen = "never" if first["as_of"] is None else f"{_short(first['as_of'])} UTC"
        print_line(f"as of {seen}; {_basis(interval_us, first['equity_reported'])}")
    print_line(NOTE.split("; ")[0] if items else 'no monitors: write [monitors."SERVER/LOGIN"] into ledger.toml')


def _print_details(item: Json) -> None:
    about = f"{item['limit']} {item['rule']}"
    if item["base"] is not None:
        about += f" from {item['base']} ({item['base_from']})"
    if item["day"] is not None:
        about += f", day {item['day']} from {_short(item['day_start'])} to {_short(item['day_end'])} UTC"
    print_line(about)
    if item["reason"]:
        print_line(f"{item['limit']} is {item['state'].upper()}: {item['reason']}", _STYLES.get(item["state"], ""))


def _short(time: str) -> str:
    return time[:19].replace("T", " ")


COMMANDS: Final[dict[str, Any]] = {"equity": show_equity, "monitors": show_monitors}
