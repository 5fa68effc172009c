"""The commands that show whether accounts agree with their brokers: sync health and open breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from attrs import frozen

from ledger.causes import Cause, Certainty, Finding
from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    accounts_of,
    accounts_option,
    journal_option,
    json_option,
    magic_option,
    open_ledger,
    symbol_option,
)
from ledger.cli.output import print_json, print_line, print_lines, print_table, warn
from ledger.cli.unread import Unread
from ledger.clock import utc_text, utc_text_us
from ledger.errors import LedgerError
from ledger.filters import Filter
from ledger.incidents import open_findings, unexplained_findings
from ledger.journal import Selection
from ledger.journal.health import SyncHealth
from ledger.json_views import Json, account_json, halt_json, name_json, open_break_json, unexplained_row_json
from ledger.order_decisions import Halt, halts
from ledger.orders.view import Order
from ledger.portfolio import Portfolio
from ledger.safety import Danger, Seen, Verdict, age_text, assess, seen_of
from ledger.service import Account, utc_now_us
from ledger.values import AccountId
from ledger.views import Break

_STATUS_COLUMNS: Final = (
    *ACCOUNT, "state", "since", "why", "last_seen", "last_seen_age_sec", "last_verified", "last_good_sync", "age_sec",
    "by.host", "by.pid", "by.started", "by.program", "by.gateway", "by.interval_sec", "open_breaks", "open_orders",
    "unknown_orders", "halts", "safe_to_trade", "danger", "why_not_safe",
)  # fmt: skip


@click.command("status", short_help="Show sync health, and whether it is safe to trade.")
@journal_option
@accounts_option
@click.option("--symbol", metavar="S", help="Whether this symbol is safe to trade.")
@click.option("--check", is_flag=True, help="Print only accounts that are not safe, one line each; see the exit codes.")
@click.option("--quiet", is_flag=True, help="With --check: print nothing.")
@json_option
@csv_option
def status(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbol: str | None,
    check: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """Show each account's last sync, state, open breaks and orders, halts, and whether it is safe to trade.

    It comes from the journal's database alone, so that it is the same on every machine. STALE: nothing was verified in
    time, or no sync was seen for three intervals.

    \b
    Examples:
      ledger status
      ledger status --json
      ledger status --check --quiet --account Broker-Live/70113 || page-somebody

    \b
    Exit codes of --check, the highest of all accounts: 0 safe to trade; 1 a break, a
    halt, an unknown order or another stated reason is in the way; 4 the last sync is DEGRADED or FAILED;
    5 stale, never synced, or no account. 2 wrong use, 3 the journal cannot be read.
    """
    if quiet and not check:
        raise click.UsageError("--quiet goes with --check")
    require_one_format(as_json=as_json, as_csv=as_csv)
    with open_ledger(journal) as ledger:
        found = [_looked(one, symbol, utc_now_us()) for one in accounts_of(ledger, accounts)]
    listed = [one for one in found if not check or not one.verdict.is_safe]
    if as_json and not quiet:
        print_json([one.json_row() for one in listed])
    elif as_csv and not quiet:
        print_csv(_STATUS_COLUMNS, [one.json_row() for one in listed])
    elif check and not quiet:
        print_lines(f"{one.name}: {one.verdict.why}" for one in listed)
    elif not check:
        _print(found)
    if not check:
        return 0
    return int(max((one.verdict.danger for one in found), default=Danger.STALE))


@frozen(kw_only=True)
class _Looked:
    """What is known of an account at one moment (UTC, microseconds)."""

    account: Account
    portfolio: Portfolio | None
    health: SyncHealth | None
    seen: Seen | None
    verdict: Verdict
    now_us: int
    orders: tuple[Order, ...] | None = None
    halts: tuple[Halt, ...] = ()

    @property
    def unknown(self) -> list[str]:
        """The client ids of the orders of which nobody knows whether they were executed."""
        return [str(one.client_id) for one in self.orders or () if one.is_unknown]

    @property
    def name(self) -> AccountId:
        return self.account.name

    @property
    def degraded(self) -> Any:
        return None if self.portfolio is None else self.portfolio.degraded

    @property
    def is_degraded_by_journal(self) -> bool:
        """Whether only the journal has it as degraded: the last attempt of whoever wrote the health ended otherwise."""
        return self.degraded is not None and (self.health is None or self.health.status not in ("DEGRADED", "FAILED"))

    @property
    def state(self) -> str | None:
        """How the last sync ended, if that still means something; None where there was none."""
        if self.is_degraded_by_journal:
            return "DEGRADED"
        if self.health is None:
            return None
        return "STALE" if self.verdict.danger is Danger.STALE else self.health.status

    @property
    def why(self) -> str | None:
        """Why it is not SUCCESS, now."""
        if self.is_degraded_by_journal:
            return str(self.degraded.reason)
        if self.state == "STALE":
            return self.verdict.why
        return None if self.health is None else self.health.reason

    @property
    def since(self) -> str | None:
        if self.is_degraded_by_journal and self.portfolio is not None:
            return utc_text(self.portfolio.terms.clock.to_utc_msc(self.degraded.time_msc))
        return None if self.health is None else utc_text_us(self.health.since_us)

    def json_row(self) -> Json:
        health = self.health
        success_us = None if health is None else health.success_us
        return {
            "account": name_json(self.name) if self.portfolio is None else account_json(self.portfolio.terms),
            "state": self.state,
            "since": self.since,
            "why": self.why,
            "last_sync": _time(None if health is None else health.seen_us),
            "last_seen": _time(None if health is None else health.seen_us),
            "last_seen_age_sec": None if self.seen is None else self.seen.seen_sec,
            "last_verified": _time(None if health is None else health.verified_us),
            "last_good_sync": _time(success_us),
            "age_sec": None if success_us is None else (self.now_us - success_us) / 1_000_000,
            "by": health and {
                "host": health.host, "pid": health.pid, "started": utc_text_us(health.started_us), "program": health.program,
                "gateway": health.gateway, "interval_sec": health.interval_us / 1_000_000,
            },
            "open_breaks": None if self.portfolio is None else len(self.portfolio.breaks),
            "open_orders": None if self.orders is None else len(self.orders),
            "unknown_orders": None if self.orders is None else self.unknown,
            "halts": None if self.portfolio is None else [halt_json(one, self.portfolio.terms.clock) for one in self.halts],
            "safe_to_trade": self.verdict.is_safe,
            "danger": self.verdict.danger.name.lower(),
            "why_not_safe": self.verdict.why,
        }  # fmt: skip


def _looked(account: Account, symbol: str | None, now_us: int) -> _Looked:
    """Look at an account. One that cannot be read is not safe, and does not hide the others.

    Raises:
        JournalError: The journal does not answer: try again.
    """
    health: SyncHealth | None = None
    seen: Seen | None = None
    try:
        health = account.ledger.journal.sync_health(account.name)
        seen = None if health is None else seen_of(health, now_us)
        version, portfolio = account.current()
        folded = account.replayed_orders(Selection(version=version))
        in_force = halts(account, folded)
    except Exception as error:  # whatever it is, it is one account's
        if isinstance(error, LedgerError) and error.retryable:
            raise
        why = f"the account cannot be read: {str(error) or type(error).__name__}"
        verdict = Verdict(danger=Danger.BREAK, why=why)
        return _Looked(account=account, portfolio=None, health=health, seen=seen, verdict=verdict, now_us=now_us)
    degraded = None if portfolio.degraded is None else portfolio.degraded.reason
    orders = folded.open_orders(at_utc_msc=now_us // 1000)
    verdict = assess(health, now_us, breaks=portfolio.breaks, degraded=degraded, orders=folded, symbol=symbol)
    return _Looked(
        account=account, portfolio=portfolio, health=health, seen=seen, verdict=verdict, now_us=now_us, orders=orders,
        halts=in_force,
    )  # fmt: skip


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else utc_text_us(time_us)


def _print(found: list[_Looked]) -> None:
    print_table(
        "status",
        ["account", "state", "last good sync", ">last seen", ">breaks", ">orders", "safe"],
        [
            [
                str(one.name), one.state or "never",
                (one.json_row()["last_good_sync"] or "never")[:19].replace("T", " "),
                "never" if one.seen is None else age_text(one.seen.seen_sec),
                "?" if one.portfolio is None else str(len(one.portfolio.breaks)),
                "?" if one.orders is None else str(len(one.orders)), "yes" if one.verdict.is_safe else "no",
            ]
            for one in found
        ],
        empty="no accounts yet",
    )  # fmt: skip
    for one in found:
        if one.verdict.why:
            print_line(f"{one.name}: {one.verdict.why}")
        if one.why and one.why not in (one.verdict.why or ""):
            print_line(f"{one.name}: {one.state}: {one.why}")
        if one.seen is not None:
            print_line(f"{one.name}: last seen by {one.seen.by}")
        for client_id in one.unknown:
            print_line(f"{one.name}: order {client_id} is UNKNOWN: ledger order show {client_id}", "red")
        for item in one.json_row()["halts"] or ():
            print_line(f"{one.name}: {_halted(item)}", "red")


def _halted(item: Json) -> str:
    what = "the account" if item["name"] is None else f"{item['scope']} {item['name']}"
    by = item["operator"] or f"rule {item['rule']}"
    since = item["since"][:19].replace("T", " ")
    mode = "" if item["mode"] == "all" else ", no new risk,"
    return f"{what} is halted{mode} since {since} by {by}: {item['reason']}"


_BREAK_COLUMNS: Final = (
    *ACCOUNT,
    "kind",
    "position_id",
    "symbol",
    "deal",
    "order",
    "client_id",
    "field",
    "ours",
    "theirs",
    "opened_at",
    "age_sec",
    "confirmations",
    "attempts",
    "why",
    "cause",
    "certainty",
    "because",
)
_UNEXPLAINED_COLUMNS: Final = (
    *ACCOUNT, "position_id", "symbol", "kind", "volume", "since", "cause", "certainty", "because",
)  # fmt: skip


@click.command("breaks", short_help="List open breaks with their age.")
@journal_option
@accounts_option
@symbol_option
@magic_option
@click.option("--unexplained", "is_unexplained", is_flag=True, help="List the results that no deal explains instead.")
@json_option
@csv_option
def breaks(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    symbols: tuple[str, ...],
    magics: tuple[int, ...],
    is_unexplained: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """List what does not agree and is not settled, with its age, what was tried, and what it likely comes from.

    A break of the balance is of no symbol, and the magic number of a position that we do not have is not known: --symbol and
    --magic leave these out, and how many is printed beside the output.

    \b
    Examples:
      ledger breaks
      ledger breaks --symbol EURUSD --json
      ledger breaks --unexplained

    Exit codes: 0 fine, 1 an account cannot be read: the breaks of the others are listed.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    wanted, now_us, unread = Filter(symbols=symbols, magics=magics), utc_now_us(), Unread()
    rows: list[Json] = []
    every: list[tuple[Portfolio, Mapping[int | None, Finding]]] = []
    with open_ledger(journal) as ledger:
        for found in accounts_of(ledger, accounts):
            with unread.skipped(found.name):
                if is_unexplained:
                    rows += _unexplained(found, wanted)
                else:
                    every.append(_breaks_of(found))
    if is_unexplained:
        _print_unexplained(rows, as_json=as_json, as_csv=as_csv)
        return unread.code
    about = [
        (portfolio.terms, one, _subject(one, portfolio), causes) for portfolio, causes in every for one in portfolio.breaks
    ]
    items = [
        open_break_json(one, terms, now_us, causes.get(one.version))
        for terms, one, subject, causes in about
        if wanted.is_of(*subject)
    ]
    if as_json:
        print_json(items)
    elif as_csv:
        print_csv(_BREAK_COLUMNS, items)
    else:
        _print_breaks(items, wanted.words())
    unclear = sum((bool(symbols) and one[0] is None) or (bool(magics) and one[1] is None) for _, _, one, _ in about)
    if unclear:
        warn(f"{unclear} more open breaks are of no symbol, or their magic number is not known: ledger breaks lists them")
    return unread.code


def _breaks_of(account: Account) -> tuple[Portfolio, Mapping[int | None, Finding]]:
    """Return a portfolio, and the likely cause of its open breaks by the version that opened them."""
    version, portfolio = account.current()
    if not any(one.version for one in portfolio.breaks):
        return portfolio, {}
    return portfolio, dict(open_findings(account.ledger.journal, account.name, portfolio.terms, version).items())


def _unexplained(account: Account, wanted: Filter) -> Iterator[Json]:
    version, portfolio = account.current()
    found = [one for one in portfolio.unexplained if wanted.is_of(one.symbol, None)]
    causes = unexplained_findings(account.ledger.journal, account.name, portfolio.terms, found, version)
    return (unexplained_row_json(one, portfolio.terms, cause) for one, cause in zip(found, causes, strict=True))


def _print_unexplained(items: list[Json], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        print_json(items)
    elif as_csv:
        print_csv(_UNEXPLAINED_COLUMNS, items)
    else:
        print_table(
            "not explained",
            [">position", "symbol", "what", ">volume", "since (UTC)", "cause"],
            [
                [str(one["position_id"] or "?"), one["symbol"], one["kind"], one["volume"],
                 one["since"].removesuffix("Z").replace("T", " "), _cause_words(one)]
                for one in items
            ],
            empty="nothing",
        )  # fmt: skip


def _cause_words(item: Json) -> str:
    return Finding(cause=Cause(item["cause"]), certainty=Certainty(item["certainty"])).words


def _subject(one: Break, portfolio: Portfolio) -> tuple[str | None, int | None]:
    """Return the symbol and the magic number that a break is about, each None where it is not known."""
    position = None if one.position_id is None else portfolio.position(one.position_id)
    symbol = one.symbol if one.symbol is not None or position is None else position.symbol
    return symbol, None if position is None else position.magic


def _print_breaks(items: list[Json], words: str) -> None:
    print_table(
        f"open breaks of {words}" if words else "open breaks",
        ["kind", ">about", "ours", "theirs", ">age", ">seen", ">tried"],
        [
            [
                item["kind"], _about(item), item["ours"] or "none", item["theirs"] or "none",
                age_text(item["age_sec"]), str(item["confirmations"]), str(item["attempts"]),
            ]
            for item in items
        ],
        empty="none",
    )  # fmt: skip
    for item in items:
        why = [item["why"], "" if item["certainty"] == "unknown" else _cause_words(item)]
        if any(why):
            print_line(f"{item['kind']} {_about(item)}: {'; '.join(filter(None, why))}")


def _about(item: Json) -> str:
    """Return what a break is about: a position, an order with what of it, or a figure."""
    order = item["order"] or item["client_id"]
    if item["position_id"] is None and order is not None:
        return f"{order} {item['field'] or ''}".rstrip()
    deal = f"deal {item['deal']}" if item["deal"] else None
    return str(item["position_id"] or deal or item["field"] or "")


COMMANDS: Final = {"status": status, "breaks": breaks}
