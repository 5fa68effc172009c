"""The command ``log``: the events of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from ledger.cli.options import account_option, accounts_of, journal_option, json_option, open_ledger
from ledger.cli.output import print_json_lines, print_table
from ledger.faces import Json, log_face
from ledger.service import Account
from ledger.values import CASH_WORDS, AccountId


@click.command("log", short_help="List the events of the journal.")
@journal_option
@account_option
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only events behind version N.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N events of each account.")
@click.option("--kind", metavar="NAME", help="Only events of a kind, as FillRecorded.")
@click.option("--position", type=int, metavar="ID", help="Only events of a position.")
@json_option
def log(
    journal: str | None,
    account: AccountId | None,
    after: int,
    last: int | None,
    kind: str | None,
    position: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """List the events of every account, oldest first. With --json one object a line, with everything in it.

    \b
    Examples:
      ledger log --last 20
      ledger log --kind GhostClosed
      ledger log --position 466442493 --json
    """
    with open_ledger(journal) as ledger:
        for one in accounts_of(ledger, account):
            faces = (
                face
                for face in _faces(one, after, last)
                if (kind is None or face["kind"] == kind) and (position is None or face["position_id"] == position)
            )
            if as_json:
                print_json_lines(faces)
            else:
                columns = [">version", "event", "time (UTC)", ">position", "what"]
                print_table(f"{one.name} events", columns, [_row(face) for face in faces], empty="none")


def _faces(account: Account, after: int, last: int | None) -> Iterator[Json]:
    if last is not None:
        after = max(after, account.version - last)
    standing = account.standing
    return (log_face(recorded, standing) for recorded in account.events(after=after))


def _row(face: Json) -> list[str]:
    time = face["event_time"].removesuffix("Z").replace("T", " ")[:19]
    about = "" if face["position_id"] is None else str(face["position_id"])
    return [str(face["version"]), face["kind"], time, about, _what(face)]


def _what(face: Json) -> str:
    """Say in a few words what an event says."""
    data = face["data"]
    traded = [data.get(name) for name in ("side", "entry", "volume", "symbol")]
    if all(traded):
        return f"{' '.join(map(str, traded))} @ {data['price']}"
    if face["kind"] == "CashMoved":
        return f"{_cash_word(data)} {data['profit']}"
    shown = {name: data[name] for name in _SHORT if name in data}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _cash_word(data: Json) -> str:
    return str(data["word"] if "word" in data else CASH_WORDS.get(data["type"], f"type {data['type']}"))


_SHORT: Final = (
    "profit", "balance", "currency", "mode", "clock", "symbol", "ticket_after", "kind", "why", "reason",
    "operator", "end",
)  # fmt: skip

COMMANDS: Final = {"log": log}
