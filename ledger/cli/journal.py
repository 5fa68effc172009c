"""The commands about the journal as a whole: init, verify."""

from __future__ import annotations

from typing import Final

import click

from ledger.cli import DISAGREES
from ledger.cli.options import journal_option, journal_url, open_ledger
from ledger.cli.output import bar, print_json, print_table, say
from ledger.faces import verification_face
from ledger.service import Ledger


@click.command("init", short_help="Create the journal, or migrate it to this version.")
@journal_option
def init(journal: str | None) -> None:
    """Create the journal, or bring an older one to this version. Harmless when there is nothing to do.

    \b
    Examples:
      ledger init --journal sqlite:///desk.db
      ledger init --journal postgresql+psycopg://user:password@host/desk
    """
    from ledger.journal.connect import open_engine, shown
    from ledger.journal.migrate import migrate

    url = journal_url(journal)
    engine = open_engine(url)
    before = migrate(engine)
    with Ledger.open(url, create=False) as ledger:
        count = len(ledger.accounts())
    did = "is ready" if before else "was created"
    say(f"journal {shown(engine.url)} {did}; it holds {count} account{'' if count == 1 else 's'}")
    engine.dispose()


@click.command("verify", short_help="Prove that the journal is whole and untouched.")
@journal_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(journal: str | None, as_json: bool) -> int:  # noqa: FBT001
    """Recompute everything: the hash chain, gaps, heads, natural keys, and that the fold still runs.

    Names the exact account, version and field of what is wrong, and exits 1.

    \b
    Examples:
      ledger verify --journal sqlite:///desk.db
      ledger verify --json | jq .problems
    """
    with open_ledger(journal) as ledger:
        versions: list[object] = [account.version for account in ledger.accounts()]
        total = sum(version for version in versions if isinstance(version, int))  # a damaged head may hold anything
        with bar("verifying", total) as progress:
            found = ledger.verify(progress)
    if as_json:
        print_json(verification_face(found))
        return 0 if found.ok else DISAGREES
    print_table(
        "verified",
        ["account", ">events", "head", "result"],
        [
            [str(one.account), str(one.version), one.head[:16], "ok" if not one.problems else f"{len(one.problems)} wrong"]
            for one in found.accounts
        ],
        empty="the journal holds no account",
    )
    for problem in found.problems:
        where = f"{problem.account}" + (f" version {problem.version}" if problem.version is not None else "")
        say(f"{where}, {problem.field}: {problem.what}", "red")
    if not found.ok:
        say("The journal is not as it was recorded. Stop writing to it, keep a copy, restore a backup.", "bold red")
    return 0 if found.ok else DISAGREES


COMMANDS: Final = {"init": init, "verify": verify}
