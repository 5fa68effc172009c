"""Verification of a whole archive, without a journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from ledger.archive.check import (
    AccountCheck,
    ArchiveProblem,
    Statements,
    account_folders,
    check_account,
    check_seals,
    cut_off,
)
from ledger.archive.form import DESCRIPTION, MANIFEST, SEALS, folder_name, require_pyarrow
from ledger.archive.write import read_description
from ledger.errors import BadValue, LedgerError
from ledger.seals import Seal
from ledger.values import AccountId


def verify_archive(
    folder: Path,
    trusted_key: str | None = None,
    progress: Callable[[int], object] = lambda _: None,
    since: Mapping[str, Seal] | None = None,
) -> tuple[list[AccountCheck], list[ArchiveProblem]]:
    """Return what was checked of each account, and everything that is wrong.

    Args:
        folder: The archive.
        trusted_key: The public key (hex) that its seals, and those of ``since``, have to be signed with.
        progress: Called with how many events more were checked.
        since: Name -> seal, of seals that are stored elsewhere: everything that they state has to be archived.

    Raises:
        BadValue: It is no archive, or one of a newer form.
        JournalUnavailable: The library for Parquet is not installed.
    """
    require_pyarrow()
    described = read_description(folder)
    if described is None:
        raise BadValue(f"{folder}: expected an archive, found an empty folder")
    seals, problems = check_seals(folder, trusted_key, since)
    named = described["seals"]
    statements = Statements(
        seals=seals, finished={*named, *(since or ())} & seals.keys(), described=described.get("accounts", {})
    )
    problems += [
        ArchiveProblem(file=name, what="the archive names this seal: it is missing, or its signature does not hold")
        for name in named
        if name not in seals
    ]
    if trusted_key is not None and not statements.finished:
        what = "no finished run sealed the archive with the trusted key: name a seal from elsewhere with --since"
        problems.append(ArchiveProblem(file=SEALS, what=what))
    accounts: list[AccountCheck] = []
    present: set[str] = set()
    for place in account_folders(folder):
        if not (place / MANIFEST).exists():
            continue  # a first run was killed before it archived anything of the account, or the manifest is missing
        present.add(place.name)
        try:
            accounts.append(check_account(place, statements, progress))
            problems += accounts[-1].problems
        except LedgerError as error:
            problems.append(ArchiveProblem(file=place.name, what=str(error)))
    problems += _missing(statements, present, {one.account for one in accounts})
    return accounts, problems


def _missing(statements: Statements, present: Collection[str], checked: Collection[AccountId]) -> Iterator[ArchiveProblem]:
    """Yield the accounts that finished runs archived and of which nothing is archived any more."""
    found: dict[str, ArchiveProblem] = {}
    for name in sorted(statements.finished):
        for account, one in statements.seals[name].accounts.items():
            if one.version and account not in checked and (folder := folder_name(account)) not in present:
                what = f"account {account}: {cut_off(one.version, 'nothing of it')}"
                found[folder] = ArchiveProblem(file=name, what=what)
    for folder, one_described in statements.described.items():
        if folder not in present:
            what = f"folder {folder}: {cut_off(one_described['version'], 'nothing of it')}"
            found.setdefault(folder, ArchiveProblem(file=DESCRIPTION, what=what))
    yield from found.values()
