"""The command that compares one account at two moments, or two accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.csv_output import csv_option, print_csv, require_one_format
from ledger.cli.options import TIME, accounts_of, journal_option, json_option, open_ledger
from ledger.cli.output import print_json, print_line, print_lines, print_long_table, steps
from ledger.compare import MATCHES, At, Comparison, compare, comparison_json
from ledger.errors import BadValue
from ledger.text import json_text

if TYPE_CHECKING:
    from ledger.json_views import Json

_LISTED: Final = 40
_SIGNS: Final = {"a": "-", "b": "+", "both": "~"}
_COLUMNS: Final = (
    "difference", "a", "b", "in", "version", "kind", "what", "event_time", "deal", "position_id", "symbol", "changes",
)  # fmt: skip


class _Side(click.ParamType[At]):
    name = "side"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> At:
        if isinstance(value, At):
            return value
        try:
            return At.parse(str(value), lambda text: TIME.convert(text, param, ctx))
        except BadValue as error:
            self.fail(str(error), param, ctx)


_SIDE: Final = _Side()


@click.command("compare", short_help="Show what differs between two moments, or two accounts, and why.")
@click.argument("a", type=_SIDE, metavar="A")
@click.argument("b", type=_SIDE, metavar="B")
@click.option(
    "--match", type=click.Choice(MATCHES), default=MATCHES[0], show_default=True, help="How two accounts are held together."
)
@click.option("--since", type=TIME, metavar="TIME", help="Of two accounts, list the events of each from TIME on.")
@click.option("--all", "every", is_flag=True, help=f"Print every event, not the first {_LISTED}.")
@journal_option
@json_option
@csv_option
def compare_command(
    journal: str | None,
    a: At,
    b: At,
    match: str,
    since: str | None,
    every: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    as_csv: bool,  # noqa: FBT001
) -> int:
    """Show what differs between one account at two moments, or between two accounts: positions, money, breaks.

    A and B are SERVER/LOGIN, or SERVER/LOGIN@MOMENT: a time (what had happened by then), known:TIME (what the ledger
    believed then), vN (the first N events), or TIME,known:TIME. 24h and 7d are before now.

    Of one account the events are listed that did it: + only in B, - only in A, ~ in both but counted otherwise.

    \b
    Examples:
      ledger compare Broker-Live/70113@24h Broker-Live/70113
      ledger compare Broker-Live/70113@known:2026-06-15 Broker-Live/70113@2026-06-15
      ledger compare Broker-Live/70113@v1388 Broker-Live/70113@v1402 --json
      ledger compare Broker-Live/70113 Prop-2/881 --since 24h

    Exit codes: 0 nothing differs, 1 something does.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    if since is not None and a.account == b.account:
        raise click.UsageError("--since is for two accounts: of one account the events between both moments are listed")
    with open_ledger(journal) as ledger, steps() as step:
        accounts_of(ledger, (a.account, b.account))
        step(f"comparing {a.account} and {b.account}")
        found = compare(ledger, a, b, match=match, since=since)
    item = comparison_json(found)
    if as_json:
        print_json(item)
    elif as_csv:
        print_csv(_COLUMNS, _rows(item))
    else:
        _print(found, item, every=every, is_one=a.account == b.account)
    return int(not found.is_equal)


def _rows(item: Json) -> list[Json]:
    """Return a row for each event of each difference, and for a difference without any."""
    rows = []
    for one in item["differences"]:
        head = {"difference": one["what"], "a": one["a"], "b": one["b"]}
        rows += [head | event for event in one["events"]] or [head]
    return rows


def _print(found: Comparison, item: Json, *, every: bool, is_one: bool) -> None:
    for name, seen in (("a", item["a"]), ("b", item["b"])):
        account = seen["account"]
        when = "".join(f", {word} {seen[key]}" for key, word in (("until", "until"), ("known_at", "known at")) if seen[key])
        print_line(
            f"{name}  {account['server']}/{account['login']}{when}: v{seen['version']}, balance {seen['balance']} "
            f"{account['currency']}, {seen['positions']} positions"
        )
    if found.is_equal:
        print_line("nothing differs", "bold")
    else:
        print_long_table(
            "differences",
            ["what", "a", "b"],
            ([one["what"], _words(one["a"]), _words(one["b"])] for one in item["differences"]),
            empty="none",
        )
    events = item["events"]
    if events:
        print_line("events: + only in b, - only in a, ~ counted otherwise" if is_one else "events: - of a, + of b", "bold")
        print_lines(map(_event_line, events if every else events[:_LISTED]))
        if len(events) > _LISTED and not every:
            print_line(f"and {len(events) - _LISTED} more: --all")


def _words(value: Any) -> str:
    """Write one side of a difference: a position or break in words, differing fields by name."""
    match value:
        case None:
            return "none"
        case {"side": side, "volume": volume, "symbol": symbol, "price_open": price}:
            return f"{side} {volume} {symbol} @ {price}"
        case {"kind": kind, "volume": volume, "symbol": symbol}:
            return f"{kind} {volume} {symbol}"
        case {"kind": _, "ours": ours, "theirs": theirs}:
            return f"ours {ours or 'none'}, broker {theirs or 'none'}"
        case {"volume": volume, "positions": count, "price_open": price}:
            return f"{volume} in {count} @ {price}"
        case dict():
            return ", ".join(f"{name} {one if isinstance(one, str) else json_text(one)}" for name, one in value.items())
        case _:
            return str(value)


def _event_line(event: Json) -> str:
    when = event["event_time"][5:16].replace("T", " ")
    changes = ", ".join(f"{name} {_signed(by)}" for name, by in event["changes"].items())
    superseded = f" superseded by v{event['superseded_by']}" if event["superseded_by"] is not None else ""
    what = f"{event['kind']} {event['what']}{superseded}"
    return f"{_SIGNS[event['in']]} v{event['version']} {when} {changes or 'no figure'}: {what}"


def _signed(amount: str) -> str:
    return amount if amount.startswith("-") else f"+{amount}"


COMMANDS: Final = {"compare": compare_command}
