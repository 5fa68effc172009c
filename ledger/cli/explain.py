"""The command that explains a figure: the events that make it, in the fold order, with what each adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import Command, accounts_of, accounts_option, journal_option, json_option, moment_options, open_ledger
from ledger.cli.output import print_line, print_long_table, print_one_or_list, steps
from ledger.cli.unread import Unread
from ledger.errors import BadValue
from ledger.explain import (
    POSITION,
    Explanation,
    explain_balance,
    explain_position,
    explain_trade,
    explanation_json,
)

if TYPE_CHECKING:
    from ledger.json_views import Json
    from ledger.service import Account
    from ledger.values import AccountId

_COLUMNS: Final = (
    *ACCOUNT, "explains", "number", "kind", "what", "count", "first_version", "last_version", "first_time", "last_time", "deal",
    "position_id", "symbol",
)  # fmt: skip


def _options(command: Command) -> Command:
    for option in (
        csv_option,
        json_option,
        click.option("--all", "every", is_flag=True, help="List each event, however many: else many are summed by month."),
        moment_options,
        accounts_option,
        journal_option,
    ):
        command = option(command)
    return command


@click.group("explain", short_help="List the events that make a balance, a position or a trade.")
def explain() -> None:
    """List the events that make a figure, in the fold order, with what each adds. They add up to it exactly.

    What was superseded or does not count is listed with the reason. Many events are summed per kind and month.

    Exit codes: 0 fine, 1 an account cannot be read: the others are shown.

    \b
    Examples:
      ledger explain balance
      ledger explain balance --until 2026-06-15 --all --csv
      ledger explain position 466442493
      ledger explain trade 466442493 --json
    """


@explain.command("balance")
@_options
def balance(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    every: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **moment: Any,
) -> int:
    """List the events that make balance and credit of every account."""
    require_one_format(as_json=as_json, as_csv=as_csv)
    found, unread = [], Unread()
    with open_ledger(journal) as ledger, steps() as step:
        chosen = accounts_of(ledger, accounts)
        for one in chosen:
            step(f"reading {one.name}")
            with unread.skipped(one):
                found.append(explain_balance(one, every=every, **moment))
    _show(found, moment, as_json=as_json, as_csv=as_csv, of=len(chosen))
    if not (chosen or as_json or as_csv):
        print_line("no accounts yet")
    return unread.code


@explain.command("position")
@click.argument("position_id", type=click.IntRange(min=1), metavar="ID")
@_options
def position(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    position_id: int,
    every: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **moment: Any,
) -> int:
    """List the events that make the open volume and the money of a position, by its position id."""
    require_one_format(as_json=as_json, as_csv=as_csv)
    found, code = _of_any(journal, accounts, lambda one: [explain_position(one, position_id, every=every, **moment)])
    _show(found, moment, as_json=as_json, as_csv=as_csv, of=len(found))
    return code


@explain.command("trade")
@click.argument("position_id", type=click.IntRange(min=1), metavar="ID")
@_options
def trade(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    position_id: int,
    every: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **moment: Any,
) -> int:
    """List the events that make the result of a closed trade, by its position id: of several trades with that id, of each."""
    require_one_format(as_json=as_json, as_csv=as_csv)
    found, code = _of_any(journal, accounts, lambda one: explain_trade(one, position_id, every=every, **moment))
    _show(found, moment, as_json=as_json, as_csv=as_csv, of=len(found))
    return code


def _of_any(
    journal: str | None, accounts: Sequence[AccountId], ask: Callable[[Account], Sequence[Explanation]]
) -> tuple[list[Explanation], int]:
    """Return what the accounts that are meant explain, all that know the id; and the exit code.

    Raises:
        BadValue: None of them does.
    """
    found: list[Explanation] = []
    refused: list[BadValue] = []
    unread = Unread()
    with open_ledger(journal) as ledger, steps() as step:
        for one in accounts_of(ledger, accounts):
            step(f"reading {one.name}")
            try:
                with unread.skipped(one):
                    found += ask(one)
            except BadValue as error:
                refused.append(error)
    if found or unread.code:
        return found, unread.code
    if len(refused) == 1:
        raise refused[0]
    open_ones = [error for error in refused if " is open: " in str(error)]
    if open_ones:
        raise open_ones[0]
    raise BadValue("no account of this journal has it there: ledger positions and ledger trades list them")


# ---------------------------------------------------------------------------------------------------------------- shown


def _show(found: Sequence[Explanation], moment: dict[str, Any], *, as_json: bool, as_csv: bool, of: int) -> None:
    items = [explanation_json(one, until=moment["until"], known_at=moment["known_at"]) for one in found]
    if as_json:
        print_one_or_list(items, of=of)
    elif as_csv:
        names = tuple(f"amounts.{name}" for name in (items[0]["figures"] if items else ()))
        print_csv((*_COLUMNS, *names, "reason", "superseded_by"), _rows(items))
    else:
        for item in items:
            _print(item)


def _rows(items: Sequence[Json]) -> list[Json]:
    return [
        line | {"account": item["account"], "explains": item["what"], "number": item["number"]}
        for item in items
        for line in item["lines"]
    ]


def _print(item: Json) -> None:
    figures, money = item["figures"], [name for name in item["figures"] if name not in ("volume", "credit")]
    columns = [name for name in ("volume", "balance", "credit") if name in figures and (name != "credit" or _moves(item))]
    is_net = item["what"] != "balance"
    for line in (*item["lines"], item):
        amounts = line.get("amounts") or line["figures"]
        line["net"] = _net(amounts, money)
    heads = [*columns, *(["net"] if is_net else [])]
    cells = [_cells(line, heads, is_summed=item["summed"]) for line in item["lines"]]
    cells.append(["in all", "", *(figures.get(name, item["net"]) for name in heads), "", ""])
    first = ["versions", "month"] if item["summed"] else ["version", "when (UTC)"]
    print_long_table(_title(item), [*first, *(f">{name}" for name in heads), "event", "what"], cells, empty="no events")
    for word in item["unknown"]:
        print_line(f"not known: {word}", "yellow")


def _moves(item: Json) -> bool:
    return any(Decimal(line["amounts"]["credit"]) for line in item["lines"])


def _net(amounts: dict[str, str], names: Sequence[str]) -> str:
    return f"{sum((Decimal(amounts[name]) for name in names), Decimal(0)):f}"


def _cells(line: Json, heads: Sequence[str], *, is_summed: bool) -> list[str]:
    when = line["first_time"][:7] if is_summed else line["first_time"][:16].replace("T", " ")
    versions = f"v{line['first_version']}"
    if line["count"] > 1:
        versions += f"..v{line['last_version']} ({line['count']})"
    reason = line["reason"] or ""
    if line["superseded_by"] is not None:
        reason += f" v{line['superseded_by']}"
    what = ": ".join(filter(None, (reason, line["what"])))
    return [versions, when, *(line["amounts"].get(name, line["net"]) for name in heads), line["kind"], what]


def _title(item: Json) -> str:
    account, figures = item["account"], item["figures"]
    named = f"{account['server']}/{account['login']}"
    when = "".join(f", {word} {item[name]}" for name, word in (("until", "until"), ("known_at", "known at")) if item[name])
    if item["what"] == "balance":
        return f"{named} balance {figures['balance']} {account['currency']}, credit {figures['credit']}{when}"
    money = ", ".join(f"{name} {figures[name]}" for name in reversed(POSITION[1:]) if Decimal(figures[name]))
    number = f" ({item['number']})" if item["number"] else ""
    state = f", open {figures['volume']}" if item["open"] else ""
    made_of = f" ({money})" if money else ""
    return (
        f"{named} {item['what']} {item['position_id']}{number}{state}, net {item['net']} {account['currency']}{made_of}{when}"
    )


COMMANDS: Final = {"explain": explain}
