"""The commands about limits: show the rules that orders have to meet, set others from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import ACCOUNT, csv_option, print_csv, require_one_format
from ledger.cli.options import (
    account_of,
    account_option,
    accounts_of,
    accounts_option,
    decision_options,
    journal_option,
    json_option,
    open_ledger,
    require_consent,
    yes_option,
)
from ledger.cli.output import print_json, print_line, print_recorded, print_table
from ledger.cli.unread import Unread
from ledger.clock import utc_text
from ledger.errors import BadValue
from ledger.json_views import Json, account_json, limits_json, recorded_json
from ledger.order_decisions import LimitsChange, apply_limits, limits_in_force, propose_limits
from ledger.orders.limits import Limits
from ledger.text import json_text

if TYPE_CHECKING:
    from ledger.values import AccountId

_NOT_CHECKED: Final = "not checked"


@click.group("limits", short_help="Show the limits that orders have to meet, or set others.")
def limits() -> None:
    """Show the limits that orders of an account have to meet, or set others. Engines use those that were set last.

    \b
    Examples:
      ledger limits show
      ledger limits set limits.toml --reason "half size in August"
    """


_COLUMNS: Final = (*ACCOUNT, "rule", "value", "since", "operator", "reason")


def _rules(items: Iterable[Json]) -> Iterator[Json]:
    """Yield a row for each rule that an account has."""
    for item in items:
        for name, value in (item["rules"] or {}).items():
            yield item | {"rule": name, "value": value}


@limits.command("show")
@journal_option
@accounts_option
@json_option
@csv_option
def show(
    journal: str | None,
    accounts: tuple[AccountId, ...],
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """Show the limits of every account: who set them, why, and each rule.

    Exit codes: 0 fine, 1 an account cannot be read: the others are shown.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    unread = Unread()
    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, accounts)
        found = list(unread.of_each(chosen, lambda one: [(one.terms, limits_in_force(one))]))
    if as_csv:
        print_csv(_COLUMNS, _rules([limits_json(event, terms) for terms, event in found]))
        return unread.code
    if as_json:
        print_json([limits_json(event, terms) for terms, event in found])
        return unread.code
    for terms, event in found:
        item = limits_json(event, terms)
        print_table(
            f"{terms.account} limits",
            ["rule", "value"],
            [[name, _words(value)] for name, value in (item["rules"] or {}).items()],
            empty="none are set: ledger limits set FILE",
        )
        if event is not None:
            since = utc_text(terms.clock.to_utc_msc(event.time_msc)).replace("T", " ").removesuffix("Z")
            print_line(f"set {since} UTC by {event.operator}: {event.reason}")
        if item["problem"]:
            print_line(f"these limits cannot be read here, so every order is denied: {item['problem']}", "red")
    if not chosen:
        print_line("no accounts yet")
    return unread.code


@limits.command("set")
@click.argument("file", type=click.Path(path_type=Path))
@decision_options
@yes_option
@journal_option
@account_option
@json_option
def set_limits(
    journal: str | None,
    account: AccountId | None,
    file: Path,
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **decision: Any,
) -> None:
    """Set the limits of an account to those of a TOML file: all of them. What it leaves out is not checked any more.

    \b
    Example of a file:
      volume_per_order_max = 0.50
      volume_per_symbol_max = 1.00
      symbols = ["EURUSD", "XAUUSD"]
      kill_switch_file = "/var/lib/ledger/stop"
    """
    wanted = _read(file)
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        proposal = propose_limits(found, wanted, **decision)
        if not as_json:
            _print_changes(str(found.name), proposal)
        if proposal.events:
            require_consent(yes=yes, question="Set these limits?", what="these limits", err=as_json)
        events = apply_limits(found, proposal)
        terms = found.terms
    if as_json:
        print_json(
            {
                "account": account_json(terms),
                "before": proposal.before,
                "after": proposal.after,
                "changes": [{"rule": name, "before": before, "after": after} for name, before, after in proposal.changes],
                **recorded_json(events, terms, proposal.version),
            }
        )
        return
    print_recorded(events, otherwise="nothing to record: they are in force already")


def _read(file: Path) -> Limits:
    """Read limits from a file.

    Raises:
        BadValue: It holds no limits.
        OSError: It cannot be read.
    """
    try:
        return Limits.of_toml(file.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise BadValue(f"{file}: expected a TOML file in UTF-8: {error}") from None
    except BadValue as error:
        raise BadValue(f"{file}: {error}") from None


def _print_changes(name: str, proposal: LimitsChange) -> None:
    print_table(
        f"{name} limits would change",
        ["rule", "before", "after"],
        [[rule, _words(before), _words(after)] for rule, before, after in proposal.changes],
        empty="nothing",
    )
    path = proposal.after.get("kill_switch_file")
    if path is not None and not Path(path).is_absolute():
        print_line(f"kill_switch_file {path} is looked for in the folder that each engine runs in: an absolute path is safer")


def _words(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return _NOT_CHECKED if value is None else value if isinstance(value, str) else json_text(value)


COMMANDS: Final = {"limits": limits}
