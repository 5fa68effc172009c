"""The commands that look at the portfolio: positions, trades, balance, replay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    TIME,
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    just_before,
    known_options,
    magic_option,
    moment_options,
    open_ledger,
    period_options,
    since_us,
    symbol_option,
    until_us,
)
from ledger.cli.order_lines import order_lines
from ledger.cli.output import (
    print_json,
    print_json_list,
    print_line,
    print_long_table,
    print_one_or_list,
    print_table,
    steps,
    warn,
)
from ledger.cli.unread import Unread, named
from ledger.filters import EVERYTHING, Filter
from ledger.json_views import (
    Json,
    account_json,
    balance_change_json,
    balance_json,
    position_json,
    replay_json,
    trade_json,
)

if TYPE_CHECKING:
    from ledger.clock import ClockRule
    from ledger.orders.view import Order
    from ledger.portfolio import Portfolio
    from ledger.service import Account
    from ledger.values import AccountId

_SYMBOLS_SHOWN: Final = 10


def _moment(time: str) -> str:
    """Set a time for people: without the letters."""
    return time.removesuffix("Z").replace("T", " ")


# ---------------------------------------------------------------------------------------------------------- positions

_POSITION_COLUMNS: Final = (
    *ACCOUNT, "position_id", "ticket", "symbol", "side", "volume", "price_open", "opened_at", "basis", "magic",
)  # fmt: skip


@click.command("positions", short_help="List open positions, now or at any moment.")
@journal_option
@accounts_option
@symbol_option
@magic_option
@moment_options
@json_option
@csv_option
def positions(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbols: tuple[str, ...],
    magics: tuple[int, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **moment: Any,
) -> None:
    """List the open positions of every account, by position id.

    --until asks what was open then, as it is known now; --known-at what the ledger believed then.

    \b
    Examples:
      ledger positions
      ledger positions --symbol EURUSD --symbol XAUUSD
      ledger positions --until 2026-06-15T12:00:05 --json
      ledger positions --known-at 24h
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    wanted = Filter(symbols=symbols, magics=magics)
    portfolios = _at(journal, accounts, moment)
    rows = [
        {"account": account_json(portfolio.terms)} | position_json(position, portfolio.terms.clock)
        for portfolio in portfolios
        for position in portfolio.positions.values()
        if wanted.is_of(position.symbol, position.magic)
    ]
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(_POSITION_COLUMNS, rows)
    else:
        for portfolio in portfolios:
            print_positions(portfolio, wanted, _moment_words(moment))
        if not portfolios:
            print_line("no accounts yet")
    note_symbols(symbols, {one.symbol for portfolio in portfolios for one in portfolio.positions.values()}, "open positions")


def _at(journal: str | None, accounts: Collection[AccountId], moment: Mapping[str, Any]) -> list[Portfolio]:
    """Return the portfolios of the accounts that are meant: now, or at a moment."""
    is_now = all(value is None for value in moment.values())
    with open_ledger(journal) as ledger, steps() as step:
        found = []
        for one in accounts_of(ledger, accounts):
            step(f"replaying {one.name}")
            with named(one):
                found.append(one.portfolio if is_now else one.replay(**moment))
    return found


def _moment_words(moment: Mapping[str, Any]) -> str:
    """Return the moment that is asked about for a title, empty for now."""
    names = {"since": "since", "until": "until", "known_at": "known at", "version": "version"}
    words = [f"{name} {moment[key]}" for key, name in names.items() if moment.get(key) is not None]
    return f" {', '.join(words)}" if words else ""


def note_symbols(wanted: Collection[str], there: Collection[str], what: str) -> None:
    """Print beside the output which symbols were asked for and have nothing: a wrong spelling must not look like none open."""
    for symbol in dict.fromkeys(wanted):
        if symbol not in there:
            others = ", ".join(sorted(there)[:_SYMBOLS_SHOWN]) or "no symbol"
            warn(f"no {what} of {symbol} here; there are some of {others}{', ...' if len(there) > _SYMBOLS_SHOWN else ''}")


def print_positions(portfolio: Portfolio, wanted: Filter = EVERYTHING, when: str = "") -> None:
    """Print an account's open positions, and what is not explained about it."""
    terms = portfolio.terms
    items = [
        position_json(position, terms.clock)
        for position in portfolio.positions.values()
        if wanted.is_of(position.symbol, position.magic)
    ]
    print_table(
        f"{terms.account} open positions{_of(wanted)}{when}",
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
    print_unknowns(portfolio, wanted)


def _of(wanted: Filter) -> str:
    words = wanted.words()
    return f" of {words}" if words else ""


def print_unknowns(portfolio: Portfolio, wanted: Filter = EVERYTHING) -> None:
    """Print what the ledger does not know, if there is anything: of some symbols where only these are wanted."""
    item = replay_json(portfolio, until=None, known_at=None, version=0, head="", selected=0)
    unexplained = [one for one in item["unexplained"] if not wanted.symbols or one["symbol"] in wanted.symbols]
    if unexplained:
        print_table(
            f"{portfolio.terms.account} not explained",
            [">position", "symbol", "what", ">volume", "since (UTC)"],
            [
                [str(one["position_id"] or "?"), one["symbol"], one["kind"], one["volume"], _moment(one["since"])]
                for one in unexplained
            ],
            empty="nothing",
        )
    for one in item["breaks"]:
        if wanted.symbols and one["symbol"] is not None and one["symbol"] not in wanted.symbols:
            continue
        where = f" position {one['position_id']}" if one["position_id"] else ""
        where += f" order {one['order'] or one['client_id']}" if one["order"] or one["client_id"] else ""
        where += f" {one['field']}" if one["field"] else ""
        differs = f"ours {one['ours'] or 'none'}, theirs {one['theirs'] or 'none'}"
        why = f" ({one['why']})" if one["why"] else ""
        print_line(f"{portfolio.terms.account} break: {one['kind']}{where}: {differs}{why}", "red")
    if item["deals_incomplete"]:
        incomplete = f"{item['deals_incomplete']} deals have incomplete money; the balance excludes it"
        print_line(f"{portfolio.terms.account}: {incomplete}", "yellow")


# -------------------------------------------------------------------------------------------------------------- trades

_TRADE_COLUMNS: Final = (
    *ACCOUNT, "position_id", "ticket", "symbol", "side", "volume", "opened_at", "price_open", "closed_at", "price_close",
    "commission", "fee", "swap", "profit", "complete", "opened_before_history", "basis", "magic",
)  # fmt: skip


@click.command("trades", short_help="List closed trades.")
@journal_option
@accounts_option
@symbol_option
@magic_option
@period_options("closed")
@known_options
@json_option
@csv_option
def trades(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbols: tuple[str, ...],
    magics: tuple[int, ...],
    since: str | None,
    until: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **known: Any,
) -> int:
    """List closed trades in the order they were closed, those whose result is not known in full last.

    \b
    Examples:
      ledger trades --since 7d
      ledger trades --symbol EURUSD --since 2026-06-01 --until 2026-06-30
      ledger trades --json | jq '.[] | select(.symbol == "EURUSD") | .profit'
      ledger trades --csv > trades.csv
      duckdb -c "SELECT currency, symbol, sum(profit + swap + commission + fee) AS net FROM 'trades.csv' GROUP BY ALL"

    Exit codes: 0 fine, 1 an account cannot be read: the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    wanted = Filter(
        symbols=symbols,
        magics=magics,
        since_us=None if since is None else since_us(since),
        until_us=None if until is None else until_us(until),
    )
    seen: set[str] = set()
    unread = Unread()
    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, accounts)
        rows = unread.of_each(chosen, lambda one: _trades(one, wanted, known, seen))
        if as_json:
            print_json_list(rows)
        elif as_csv:
            print_csv(_TRADE_COLUMNS, rows)
        else:
            for one in chosen:
                with unread.skipped(one):
                    print_long_table(
                        f"{one.name} closed trades{_of(wanted)}{_moment_words({'since': since, 'until': until} | known)}",
                        [">position", "symbol", "trade", "closed (UTC)", ">open", ">close", ">net"],
                        map(_trade_row, _trades(one, wanted, known, seen)),
                        empty="none",
                    )
            if not chosen:
                print_line("no accounts yet")
    note_symbols(symbols, seen, "closed trades")
    return unread.code


def _trades(account: Account, wanted: Filter, known: Mapping[str, Any], seen: set[str]) -> Iterator[Json]:
    """Yield the closed trades of an account that are wanted, and note the symbols of all."""
    terms = account.selection(**known)[1]
    named = {"account": account_json(terms)}
    for trade in account.trades(**known):
        seen.add(trade.symbol)
        if wanted.shows_trade(trade, terms):
            yield named | trade_json(trade, terms)


def _trade_row(item: Json) -> list[str]:
    """Return what fits a line; ``net`` is profit, swap, commission and fee together, with a ? where it is not complete."""
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

_MONEY: Final = ("balance", "credit", "profit", "swap", "commission", "fee")


@click.command("balance", short_help="Show balance, credit and where they come from, now or at any moment.")
@journal_option
@accounts_option
@click.option("--since", type=TIME, metavar="TIME", help="Show the change from TIME on instead: 2026-06-15, or 24h, 7d ago.")
@moment_options
@json_option
@csv_option
def balance(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    since: str | None,
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
    **moment: Any,
) -> None:
    """Show balance and credit of every account, and the sums that make them.

    --until asks about a moment; --since with or without it, about the change between two.

    \b
    Examples:
      ledger balance
      ledger balance --until 2026-06-30
      ledger balance --since 2026-06-01 --until 2026-06-30
      ledger balance --since 7d --csv
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    if since is None:
        portfolios = _at(journal, accounts, moment)
        items = [balance_json(portfolio) for portfolio in portfolios]
    else:
        pairs = _between(journal, accounts, since, moment)
        portfolios = [after for _, after in pairs]
        items = [balance_change_json(*pair, since=since, until=moment["until"]) for pair in pairs]
    if as_json:
        print_json(items)
        return
    if as_csv:
        kinds = sorted({kind for item in items for kind in item["cash"]})
        between = () if since is None else ("since", "until", "balance_before", "credit_before", "adjusted")
        columns = (*ACCOUNT, *between, *_MONEY, *(f"cash.{kind}" for kind in kinds), "deals", "deals_incomplete")
        print_csv(columns, items)
        return
    when = _moment_words({"since": since} | moment)
    if since is None:
        print_table(
            f"balance{when}",
            ["account", ">balance", ">credit", "currency", ">profit", ">swap", ">costs", ">deals"],
            [_balance_row(item) for item in items],
            empty="no accounts yet",
        )
    else:
        print_table(
            f"change of balance{when}",
            ["account", ">before", ">change", ">after", "currency", ">profit", ">swap", ">costs", ">deals"],
            [_change_row(item) for item in items],
            empty="no accounts yet",
        )
        for item in items:
            _print_other_changes(item)
    for portfolio in portfolios:
        print_unknowns(portfolio)


def _between(
    journal: str | None, accounts: Collection[AccountId], since: str, moment: Mapping[str, Any]
) -> list[tuple[Portfolio, Portfolio]]:
    """Return the portfolios of each account at the beginning of a period and at its end, as known at one version."""
    begin = just_before(since, moment["until"])
    with open_ledger(journal) as ledger, steps() as step:
        found = []
        for one in accounts_of(ledger, accounts):
            step(f"replaying {one.name}")
            known = moment if moment["version"] is not None else {**moment, "version": one.version}
            with named(one):
                found.append((one.replay(**{**known, "until": begin}), one.replay(**known)))
    return found


def _balance_row(item: Json) -> list[str]:
    costs = Decimal(item["commission"]) + Decimal(item["fee"])
    named = f"{item['account']['server']}/{item['account']['login']}"
    return [
        named, item["balance"], item["credit"], item["account"]["currency"], item["profit"], item["swap"], f"{costs:f}",
        str(item["deals"]),
    ]  # fmt: skip


def _change_row(item: Json) -> list[str]:
    row = _balance_row(item)
    return [row[0], item["balance_before"], _signed(item["balance"]), item["balance_after"], *row[3:]]


def _print_other_changes(item: Json) -> None:
    """Print what changed of a balance beside trading: cash movements by kind, credit, and what no deal made."""
    named = f"{item['account']['server']}/{item['account']['login']}"
    parts = [(kind, amount) for kind, amount in item["cash"].items() if Decimal(amount)]
    parts += [("credit, in all", item["credit"])] if Decimal(item["credit"]) else []
    parts += [("adjusted, by no deal", item["adjusted"])] if Decimal(item["adjusted"]) else []
    if parts:
        print_line(
            f"{named} {item['account']['currency']}: " + ", ".join(f"{kind} {_signed(amount)}" for kind, amount in parts)
        )


def _signed(amount: str) -> str:
    return amount if amount.startswith("-") or not Decimal(amount) else f"+{amount}"


# -------------------------------------------------------------------------------------------------------------- replay


@click.command("replay", short_help="Show the portfolio at any moment.")
@journal_option
@accounts_option
@moment_options
@click.option("--no-checkpoints", is_flag=True, help="Ignore checkpoints; fold from the first event.")
@json_option
def replay(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    until: str | None,
    known_at: str | None,
    version: int | None,
    no_checkpoints: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> int:
    """Rebuild the portfolio from the journal at a moment.

    --until asks what was true then, as it is known now. --known-at asks what the ledger believed then. Together: what it
    believed at the one about the other. A time names its whole unit: 2026-06-15 is the whole day. Without a zone it is
    UTC.

    \b
    Examples:
      ledger replay
      ledger replay --until 2026-06-15T12:00:05
      ledger replay --until 2026-06-15 --known-at "2026-06-15 18:00+03:00"
      ledger replay --account Broker-Live/70113 --version 1402 --json

    Exit codes: 0 fine, 1 an account cannot be read: the others are shown.
    """
    shown: list[tuple[Portfolio, tuple[Order, ...], Json]] = []
    unread = Unread()
    moment = {"until": until, "known_at": known_at, "version": version}
    with open_ledger(journal) as ledger, steps() as step:
        chosen = accounts_of(ledger, accounts)
        for found in chosen:
            step(f"replaying {found.name}")
            with unread.skipped(found):
                shown.append(_replayed(found, moment, checkpoints=not no_checkpoints))
    if as_json:
        print_one_or_list([item for *_, item in shown], of=len(chosen))
        return unread.code
    for portfolio, orders, item in shown:
        _print_replay(portfolio, orders, item)
    if not chosen:
        print_line("no accounts yet")
    return unread.code


def _replayed(account: Account, moment: Mapping[str, Any], *, checkpoints: bool) -> tuple[Portfolio, tuple[Order, ...], Json]:
    head = account.journal_head
    selection, terms = account.selection(**moment)
    portfolio, selected = account.replayed(selection, terms, checkpoints=checkpoints)
    orders = account.orders(**moment, checkpoints=checkpoints)
    item = replay_json(
        portfolio,
        until=moment["until"],
        known_at=moment["known_at"],
        version=head.version,
        head=head.hash.hex(),
        selected=selected,
        orders=orders,
        approvals=account.approvals_at(**moment),
    )
    return portfolio, orders, item


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
