"""The commands that look at the portfolio: positions, trades, balance, replay."""

from __future__ import annotations

from typing import Any, Final

import click

from ledger.cli.options import (
    account_option,
    accounts_of,
    journal_option,
    json_option,
    moment_options,
    open_ledger,
)
from ledger.cli.order_lines import order_lines
from ledger.cli.output import one_or_list, print_json, print_line, print_table, steps
from ledger.clock import ClockRule
from ledger.json_views import (
    Json,
    account_json,
    balance_json,
    position_json,
    replay_json,
    trade_json,
)
from ledger.orders.view import Order
from ledger.portfolio import Portfolio
from ledger.service import Account
from ledger.values import AccountId


def _moment(time: str) -> str:
    """Set a time for people: without the letters."""
    return time.removesuffix("Z").replace("T", " ")


# ---------------------------------------------------------------------------------------------------------- positions


@click.command("positions", short_help="List open positions.")
@journal_option
@account_option
@json_option
def positions(journal: str | None, account: AccountId | None, as_json: bool) -> None:  # noqa: FBT001
    """List the open positions of every account, by position id."""
    with open_ledger(journal) as ledger:
        portfolios = [found.portfolio for found in accounts_of(ledger, account)]
    if as_json:
        print_json(
            [
                {"account": account_json(portfolio.terms)} | position_json(position, portfolio.terms.clock)
                for portfolio in portfolios
                for position in portfolio.positions.values()
            ]
        )
        return
    for portfolio in portfolios:
        print_positions(portfolio)
    if not portfolios:
        print_line("no accounts yet")


def print_positions(portfolio: Portfolio) -> None:
    """Print an account's open positions, and what is not explained about it."""
    terms = portfolio.terms
    items = [position_json(position, terms.clock) for position in portfolio.positions.values()]
    print_table(
        f"{terms.account} open positions",
        [">position", "symbol", "side", ">volume", ">price", "opened (UTC)", "basis"],
        [
            [
                str(item["position_id"]), item["symbol"], item["side"], item["volume"], item["price_open"],
                _moment(item["opened_at"]), item["basis"],
            ]
            for item in items
        ],
        empty="none",
    )  # fmt: skip
    print_unknowns(portfolio)


def print_unknowns(portfolio: Portfolio) -> None:
    """Print what the ledger does not know, if there is anything."""
    item = replay_json(portfolio, until=None, known_at=None, version=0, head="", selected=0)
    if item["unexplained"]:
        print_table(
            f"{portfolio.terms.account} not explained",
            [">position", "symbol", "what", ">volume", "since (UTC)"],
            [
                [str(one["position_id"] or "?"), one["symbol"], one["kind"], one["volume"], _moment(one["since"])]
                for one in item["unexplained"]
            ],
            empty="nothing",
        )
    for one in item["breaks"]:
        where = f" position {one['position_id']}" if one["position_id"] else ""
        where += f" order {one['order'] or one['client_id']}" if one["order"] or one["client_id"] else ""
        differs = f"{one['field'] or ''}: ours {one['ours']}, theirs {one['theirs']}"
        print_line(f"break: {one['kind']}{where} {differs} ({one['why']})", "red")
    if item["deals_incomplete"]:
        print_line(f"{item['deals_incomplete']} deals have incomplete money; the balance excludes it", "yellow")


# -------------------------------------------------------------------------------------------------------------- trades


@click.command("trades", short_help="List closed trades.")
@journal_option
@account_option
@moment_options
@json_option
def trades(
    journal: str | None,
    account: AccountId | None,
    until: str | None,
    known_at: str | None,
    version: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """List closed trades in the order they were closed.

    \b
    Examples:
      ledger trades --until 2026-06-30
      ledger trades --json | jq '.[] | select(.symbol == "EURUSD") | .profit'
    """
    listed: list[tuple[Account, list[Json]]] = []
    with open_ledger(journal) as ledger, steps() as step:
        for found in accounts_of(ledger, account):
            step(f"replaying {found.name}")
            terms = found.selection(until=until, known_at=known_at, version=version)[1]
            closed = found.trades(until=until, known_at=known_at, version=version)
            listed.append((found, [{"account": account_json(terms)} | trade_json(trade, terms) for trade in closed]))
    if as_json:
        print_json([item for _, items in listed for item in items])
        return
    for found, items in listed:
        print_table(
            f"{found.name} closed trades",
            [">position", "symbol", "trade", "closed (UTC)", ">open", ">close", ">net"],
            [_trade_row(item) for item in items],
            empty="none",
        )


def _trade_row(item: Json) -> list[str]:
    """Return what fits a line; ``net`` is profit, swap, commission and fee together, with a ? where it is not complete."""
    from decimal import Decimal

    net = sum(Decimal(item[name]) for name in ("profit", "swap", "commission", "fee"))
    return [
        str(item["position_id"] or "?"),
        item["symbol"],
        f"{item['side']} {item['volume']}",
        _moment(item["closed_at"])[:16],
        item["price_open"] or "?",
        item["price_close"] or "?",
        f"{net:f}" if item["complete"] else f"{net:f}?",
    ]


# ------------------------------------------------------------------------------------------------------------- balance


@click.command("balance", short_help="Show balance, credit and where they come from.")
@journal_option
@account_option
@json_option
def balance(journal: str | None, account: AccountId | None, as_json: bool) -> None:  # noqa: FBT001
    """Show balance and credit of every account, and the sums that make them."""
    with open_ledger(journal) as ledger:
        portfolios = [found.portfolio for found in accounts_of(ledger, account)]
    items = [balance_json(portfolio) for portfolio in portfolios]
    if as_json:
        print_json(items)
        return
    print_table(
        "balance",
        ["account", ">balance", ">credit", "currency", ">profit", ">swap", ">costs", ">deals"],
        [_balance_row(item) for item in items],
        empty="no accounts yet",
    )
    for portfolio in portfolios:
        print_unknowns(portfolio)


def _balance_row(item: Json) -> list[str]:
    from decimal import Decimal

    costs = Decimal(item["commission"]) + Decimal(item["fee"])
    named = f"{item['account']['server']}/{item['account']['login']}"
    return [
        named, item["balance"], item["credit"], item["account"]["currency"], item["profit"], item["swap"], f"{costs:f}",
        str(item["deals"]),
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- replay


@click.command("replay", short_help="Show the portfolio at any moment.")
@journal_option
@account_option
@moment_options
@click.option("--no-checkpoints", is_flag=True, help="Ignore checkpoints; fold from the first event.")
@json_option
def replay(
    journal: str | None,
    account: AccountId | None,
    until: str | None,
    known_at: str | None,
    version: int | None,
    no_checkpoints: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Rebuild the portfolio from the journal at a moment.

    --until asks what was true then, as it is known now. --known-at asks what the ledger believed then. Together: what it
    believed at the one about the other. A time names its whole unit: 2026-06-15 is the whole day. Without a zone it is
    UTC.

    \b
    Examples:
      ledger replay
      ledger replay --until 2026-06-15T12:00:05
      ledger replay --until 2026-06-15 --known-at "2026-06-15 18:00+03:00"
      ledger replay --version 1402 --json
    """
    shown: list[tuple[Portfolio, tuple[Order, ...], Json]] = []
    with open_ledger(journal) as ledger, steps() as step:
        for found in accounts_of(ledger, account):
            step(f"replaying {found.name}")
            head = found.journal_head
            selection, terms = found.selection(until=until, known_at=known_at, version=version)
            portfolio, selected = found.replayed(selection, terms, checkpoints=not no_checkpoints)
            orders = found.orders(until=until, known_at=known_at, version=version, checkpoints=not no_checkpoints)
            item = replay_json(
                portfolio,
                until=until,
                known_at=known_at,
                version=head.version,
                head=head.hash.hex(),
                selected=selected,
                orders=orders,
            )
            shown.append((portfolio, orders, item))
    if as_json:
        print_json(one_or_list([item for *_, item in shown]))
        return
    for portfolio, orders, item in shown:
        _print_replay(portfolio, orders, item)
    if not shown:
        print_line("no accounts yet")


def _print_replay(portfolio: Portfolio, orders: tuple[Order, ...], item: dict[str, Any]) -> None:
    terms = portfolio.terms
    asked = [f"{name} {value}" for name, value in (("until", item["until"]), ("known at", item["known_at"])) if value]
    print_line(f"{terms.account} {', '.join(asked) or 'now'}", "bold")
    print_line(
        f"balance {item['balance']} {terms.opened.currency}, credit {item['credit']}; "
        f"{item['selected']} of {item['version']} events, head {item['head'][:16]}"
    )
    if portfolio.folded:
        last = portfolio.newest_known_msc
        print_line(f"last event {_clock_text(terms.clock, last)}")
    print_positions(portfolio)
    for order in orders:
        if order.is_open:
            for line in order_lines(order, terms.clock):
                print_line(line)


def _clock_text(clock: ClockRule, time_msc: int) -> str:
    from ledger.clock import utc_text

    utc = _moment(utc_text(clock.to_utc_msc(time_msc)))
    return f"{utc} UTC (server {_moment(utc_text(time_msc))}, clock {clock})"


COMMANDS: Final = {"positions": positions, "trades": trades, "balance": balance, "replay": replay}
