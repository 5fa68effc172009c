"""The command ``log``: the events of the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click

from ledger.cli.options import account_option, accounts_of, journal_option, json_option, open_ledger
from ledger.cli.output import print_bytes, print_json_lines, print_table, say
from ledger.errors import AccountUnknown, BadValue
from ledger.faces import Json, log_face
from ledger.service import Account, Ledger
from ledger.values import CASH_WORDS, AccountId


@click.command("log", short_help="List the events of the journal.")
@journal_option
@account_option
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only events behind version N.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N events of each account.")
@click.option("--kind", metavar="NAME", help="Only events of a kind, as FillRecorded.")
@click.option("--position", type=int, metavar="ID", help="Only events of a position.")
@click.option("--follow", is_flag=True, help="Go on with what is recorded from now on, by whatever program; Ctrl-C ends it.")
@click.option("--evidence", metavar="DIGEST", help="Print the raw broker answer with this SHA-256 instead, as it came in.")
@json_option
def log(
    journal: str | None,
    account: AccountId | None,
    after: int,
    last: int | None,
    kind: str | None,
    position: int | None,
    follow: bool,  # noqa: FBT001
    evidence: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """List the events of every account, oldest first. With --json one object a line, with everything in it.

    What a correction rests on is in its "evidence": the SHA-256 of the broker's answer, which --evidence prints.

    \b
    Examples:
      ledger log --last 20
      ledger log --follow --json | your-program
      ledger log --kind GhostClosed
      ledger log --position 466442493 --json
      ledger log --evidence 9f2c... > answer.json
    """
    if evidence is not None:
        if after or last or kind or position is not None or follow or as_json:
            raise click.UsageError("--evidence prints one raw answer: it goes with --account only")
        _print_evidence(journal, account, evidence)
        return

    def wanted(face: Json) -> bool:
        return (kind is None or face["kind"] == kind) and (position is None or face["position_id"] == position)

    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, account)
        cursors = {one.name: one.version for one in chosen}
        for one in chosen:
            faces = filter(wanted, _faces(one, after, last))
            if as_json:
                print_json_lines(faces)
            else:
                columns = [">version", "event", "time (UTC)", ">position", "what"]
                print_table(f"{one.name} events", columns, [_row(face) for face in faces], empty="none")
        if follow:
            _follow(ledger, account, cursors, wanted, as_json=as_json)


def _follow(
    ledger: Ledger, only: AccountId | None, cursors: dict[AccountId, int], wanted: Callable[[Json], bool], *, as_json: bool
) -> None:
    """Print what others record from now on, until somebody ends it."""
    told = ledger.follow(after=cursors) if only is None else ledger.account(only).follow(after=cursors[only])
    for recorded in told:
        face = log_face(recorded, ledger.account(recorded.account).standing)
        if wanted(face) and as_json:
            print_json_lines(iter([face]))
        elif wanted(face):
            say(f"{recorded.account} {' '.join(_row(face))}")


def _print_evidence(journal: str | None, account: AccountId | None, digest: str) -> None:
    """Print a raw broker answer byte by byte.

    Raises:
        BadValue: No account holds it.
        AccountUnknown: Several accounts hold it, and none was named.
    """
    with open_ledger(journal) as ledger:
        kept = {one.name: ledger.journal.evidence(one.name, digest.lower()) for one in accounts_of(ledger, account)}
    found = {name: raw for name, raw in kept.items() if raw is not None}
    if not found:
        where = "this journal keeps" if account is None else f"{account} keeps"
        raise BadValue(f"{where} no evidence {digest!r}: ledger log --json tells what every event rests on")
    if len(found) > 1:
        names = ", ".join(str(name) for name in found)
        raise AccountUnknown(f"evidence {digest} is kept for several accounts ({names}): say which with --account")
    [raw] = found.values()
    print_bytes(raw)


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
