"""Verification of a whole archive, without a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ledger.archive.check import AccountCheck, ArchiveProblem, account_folders, check_account, check_seals
from ledger.archive.form import MANIFEST, require_pyarrow
from ledger.archive.write import read_description
from ledger.errors import BadValue, CorruptEvent
from ledger.seals import Seal
from ledger.values import AccountId


def verify_archive(
    folder: Path, trusted_key: str | None = None, progress: Callable[[int], object] = lambda _: None
) -> tuple[list[AccountCheck], list[ArchiveProblem]]:
    """Return what was checked of each account, and everything that is wrong.

    Args:
        folder: The archive.
        trusted_key: The public key (hex) that its seals have to be signed with.
        progress: Called with how many events more were checked.

    Raises:
        BadValue: It is no archive, or one of a newer form.
        JournalUnavailable: The library for Parquet is not installed.
    """
    require_pyarrow()
    described = read_description(folder)
    if described is None:
        raise BadValue(f"{folder}: expected an archive, found an empty folder")
    seals, problems = check_seals(folder, trusted_key)
    accounts: list[AccountCheck] = []
    for place in account_folders(folder):
        if not (place / MANIFEST).exists():
            continue  # a first run was killed before it archived anything of the account
        try:
            accounts.append(check_account(place, seals, progress))
            problems += accounts[-1].problems
        except CorruptEvent as error:
            problems.append(ArchiveProblem(file=place.name, what=str(error)))
    problems += _missing(described.get("seals", ()), seals, {one.account: one for one in accounts})
    return accounts, problems


def _missing(
    named: list[str], seals: Mapping[str, Seal], accounts: Mapping[AccountId, AccountCheck]
) -> Iterator[ArchiveProblem]:
    """Yield what finished runs sealed and is not archived any more."""
    for name in named:
        if name not in seals:
            yield ArchiveProblem(file=name, what="the archive names this seal: it is missing, or its signature does not hold")
            continue
        for account, one in seals[name].accounts.items():
            found = accounts.get(account)
            if one.version and (found is None or found.version < one.version):
                at = "nothing of it" if found is None else f"version {found.version}"
                yield ArchiveProblem(
                    file=name, what=f"account {account}: version {one.version} was sealed, and {at} is archived: it was cut off"
                )
