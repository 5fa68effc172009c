"""The commands about the journal as a whole: init, verify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from attrs import evolve

from ledger.cli import DISAGREES
from ledger.cli.metrics import text_file, textfile_option
from ledger.cli.options import journal_option, journal_url, journals_of, open_ledger, partitions_option
from ledger.cli.output import bar, print_json, print_line, print_table, warn
from ledger.cli.seal import read_seal
from ledger.cli.signing import known_keys
from ledger.clock import SECOND_US, utc_text_us
from ledger.errors import BadValue
from ledger.journal.upkeep import VERIFY
from ledger.journal.verify.walk import Problem
from ledger.json_views import Json, verification_json
from ledger.seals import Seal, load_public_key, parent_of
from ledger.service import Ledger, Verification, utc_now_us
from ledger.upkeep import note

if TYPE_CHECKING:
    from ledger.signatures import OperatorKeys

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("init", short_help="Create the journal, or migrate it to this version.")
@partitions_option
@journal_option
def init(journal: str | None, partitions: int | None) -> None:
    """Create the journal, or bring an older one to this version. Harmless when there is nothing to do.

    With many accounts on Postgres, what grows with every event can be in partitions by account. That is decided when a journal
    is made; one that is there is moved by ledger backup and ledger restore --partitions N.

    \b
    Examples:
      ledger init --journal sqlite:///desk.db
      ledger init --journal postgresql+psycopg://user:password@host/desk
      ledger init --partitions 64 --journal postgresql+psycopg://user@host/desk
    """
    from ledger.journal.sql.create import create_journal
    from ledger.journal.sql.urls import journal_url as parse
    from ledger.journal.sql.urls import shown

    url = journal_url(journal)
    before = create_journal(url, partitions=partitions)
    with Ledger.open(url) as ledger:
        count = len(ledger.accounts())
    did = "is ready" if before else "was created"
    parts = "" if partitions is None else f", in {partitions} partitions"
    print_line(f"journal {shown(parse(url))} {did}{parts}; it holds {count} account{'' if count == 1 else 's'}")


@click.command("verify", short_help="Verify that the journal is complete and unchanged.")
@click.option("--since", "seal_file", type=_FILE, metavar="SEAL", help="Also verify against this seal (see ledger seal).")
@click.option("--trusted-key", type=_FILE, metavar="FILE", help="The public key that the seal must be signed with.")
@click.option(
    "--operator-key",
    "operator_keys",
    multiple=True,
    metavar="NAME=FILE",
    help="Public key of an operator who signs decisions; repeatable, beside those of ledger.toml.",
)
@textfile_option
@journal_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(
    journal: str | None,
    seal_file: Path | None,
    trusted_key: Path | None,
    operator_keys: tuple[str, ...],
    textfile: Path | None,
    as_json: bool,  # noqa: FBT001
) -> int:
    """Recompute everything: the hash chain, gaps, heads, natural keys, evidence, checkpoints, and that the fold still runs.

    Names the exact account, version and field of what is wrong, and exits 1. A correction without the second person, or the
    signature, that the policy of its moment asked for is wrong too. With a seal that is stored elsewhere it also
    shows what a chain alone cannot: a tail cut off, a chain rewritten, an older copy in the journal's place.

    \b
    Examples:
      ledger verify --journal sqlite:///desk.db
      ledger verify --json | jq .problems
      ledger verify --since 2026-06-15.seal --trusted-key seal.pub.pem
      ledger verify --operator-key ann=ann.pub.pem --operator-key bob=bob.pub.pem
    """
    seal = read_seal(seal_file) if seal_file else None
    if trusted_key is not None and seal is None:
        raise BadValue("--trusted-key names who must have signed a seal: name the seal with --since")
    trusted = load_public_key(trusted_key) if trusted_key else None
    keys = known_keys(operator_keys)
    with open_ledger(journal) as ledger:
        file = text_file(textfile, "verify", ledger)
        is_of_parent = seal is not None and parent_of(ledger.journal, seal) is not None  # a seal is of one journal
        journals = [one for _, one in journals_of(ledger)]
        versions: list[object] = [head.version for one in journals for head in one.journal.heads().values()]
        total = sum(version for version in versions if isinstance(version, int))  # a damaged head may hold anything
        with bar("verifying", total) as progress:
            found = _joined([_verified(one, progress, seal, trusted, keys) for one in journals])
        parents = [one for each in journals for one in each.journal.parents()[:1]]
    file.write_figures(len(found.problems), utc_now_us() / SECOND_US)
    if as_json:
        print_json(
            verification_json(found)
            | ({} if seal is None else {"seal": _seal_json(seal, trusted) | {"of_parent": is_of_parent}})
        )
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
    for parent in parents:
        print_line(f"restored from journal {parent.journal_id}")
    for problem in found.problems:
        print_line(_line(problem), "red")
    for one in found.schema:
        print_line(f"{one.kind} {one.name}: {one.what}", "red" if one.is_protecting else "yellow")
    if any(one.is_protecting for one in found.schema):
        print_line(
            "What protects events from change is damaged: what is recorded next can be changed. See ledger doctor.",
            "red",
        )
    if seal is not None:
        _print_seal(seal, trusted, is_of_parent=is_of_parent)
    if found.signed and not keys.of:
        warn(
            f"whose keys signed {found.signed} decisions was not checked: name them in [approvals.keys], or with --operator-key"
        )
    if not found.ok:
        print_line(_advice(found), "bold red")
    return 0 if found.ok else DISAGREES


def _verified(
    ledger: Ledger, progress: Callable[[int], object], seal: Seal | None, trusted: str | None, keys: OperatorKeys
) -> Verification:
    """Verify one journal, and note in it how that ended."""
    found = ledger.verify(progress, since=seal, operator_keys=keys, in_parallel=True)
    if seal is not None and trusted not in (None, seal.key):
        what = f"it is signed with the key {seal.key}, which is not the trusted one, {trusted}"
        stranger = Problem(account="the seal", version=None, field="key", what=what)
        found = evolve(found, problems=(*found.problems, stranger))
    first = _line(found.problems[0]) if found.problems else None
    note(ledger.journal, VERIFY, utc_now_us(), problems=len(found.problems), problem=first)
    return found


def _joined(found: Sequence[Verification]) -> Verification:
    """Return what was found in several journals as if they were one. An account that moved is in more than one of them."""
    return Verification(
        accounts=tuple(account for one in found for account in one.accounts),
        problems=tuple(problem for one in found for problem in one.problems),
        schema=tuple(difference for one in found for difference in one.schema),
        signed=sum(one.signed for one in found),
    )


def _advice(found: Verification) -> str:
    if all(one.field in ("approval", "signature") for one in found.problems):
        return "What was recorded is unchanged, but not as the policy asks for. Ask who wrote it, and correct it back."
    return "The journal is not as it was recorded. Stop writing to it, keep a copy, restore a backup."


def _print_seal(seal: Seal, trusted: str | None, *, is_of_parent: bool) -> None:
    signed = "the trusted key" if trusted == seal.key else f"key {seal.key}"
    print_line(f"seal of {utc_text_us(seal.made_us)}, {len(seal.accounts)} accounts, signed with {signed}")
    if is_of_parent:
        print_line(f"it is of a parent, journal {seal.journal_id}: what was recorded there later is not in this one")
    if trusted is None:
        warn("whose key that is was not checked: name the one you trust with --trusted-key")


def _line(problem: Problem) -> str:
    where = f"{problem.account}" + (f" version {problem.version}" if problem.version is not None else "")
    return f"{where}, {problem.field}: {problem.what}"


def _seal_json(seal: Seal, trusted: str | None) -> Json:
    return {
        "made_at": utc_text_us(seal.made_us),
        "journal": seal.journal_id,
        "accounts": len(seal.accounts),
        "previous": seal.previous,
        "key": seal.key,
        "trusted": None if trusted is None else trusted == seal.key,
    }


COMMANDS: Final = {"init": init, "verify": verify}
