"""Seals: small signed statements of all account heads of a journal, to be stored where the journal's owner cannot change them.

A chain of hashes shows a changed, missing or moved event. It cannot show that the end was cut off, that everything behind some
point was written anew, or that an older copy replaced the journal: whoever can do that can make the hashes fit. A seal can,
for everything up to its moment, as long as it and the secret key are out of reach of whoever has the journal.

The text is UTF-8, one statement a line; the signature (Ed25519, RFC 8032) covers every byte before its own line::

    ledger seal 1
    journal 1f0c6a34-...
    made 2026-06-15T12:00:05.000000Z
    previous sha256:9f2c... | none
    accounts 1
    account 1402 <chain hash, hex> 2026-06-15T11:59:58.000000Z Broker-Live/70113
    key <public key, hex>
    signature <hex>
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ledger import signing_keys
from ledger.clock import MICROSECOND, UTC_EPOCH
from ledger.errors import BadValue, CorruptEvent, JournalError
from ledger.journal import Head, Journal, Parent
from ledger.journal.verify.walk import Problem
from ledger.signing_keys import is_signed, sign
from ledger.text import json_text, visible
from ledger.values import AccountId

if TYPE_CHECKING:  # slow to load, and only needed to sign and to check
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_TITLE: Final = "ledger seal 1"
_NONE: Final = "none"
_SIGNATURE: Final = "signature "
_MADE_BY: Final = "ledger keys seal"


@frozen(kw_only=True)
class Sealed:
    """Where an account stood. ``recorded_us`` is when its last event was recorded, in UTC microseconds."""

    version: int
    head: str
    recorded_us: int


@frozen(kw_only=True)
class Seal:
    """The content of a seal: ``made_us`` in UTC microseconds, the public ``key`` in hex, ``text`` as it was signed."""

    journal_id: str
    made_us: int
    previous: str | None
    accounts: Mapping[AccountId, Sealed]
    key: str
    text: str

    @property
    def digest(self) -> str:
        """What the next seal calls it."""
        return _digest(self.text)


# ------------------------------------------------------------------------------------------------------------ making one


def create(
    journal: Journal,
    key: Ed25519PrivateKey,
    now_us: int,
    heads: Mapping[AccountId, Head] | None = None,
    *,
    is_noted: bool = True,
) -> Seal:
    """Return a seal of a journal as it is at this moment, and note it in the journal, for the next one to name.

    Who may only read makes a seal that is not noted: it proves the same, and the next one does not name it.

    Args:
        journal: The journal.
        key: Whoever seals.
        now_us: The present, UTC microseconds.
        heads: What is stated, where it was read before.
        is_noted: Whether it is noted: one of some accounts is no seal of the journal.
    """
    heads = journal.heads() if heads is None else heads
    before = journal.seals()
    text = _signed(_statement(journal.identity(), now_us, before[-1] if before else None, heads), key)
    if is_noted:
        with suppress(JournalError):
            journal.save_seal(text, now_us)
    return read(text)


def _statement(journal_id: str, now_us: int, previous: str | None, heads: Mapping[AccountId, Head]) -> str:
    lines = [
        _TITLE,
        f"journal {journal_id}",
        f"made {_time(now_us)}",
        f"previous {_NONE if previous is None else _digest(previous)}",
        f"accounts {len(heads)}",
        *(
            f"account {head.version} {head.hash.hex()} {_time(head.recorded_us)} {_name(account)}"
            for account, head in sorted(heads.items())
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _signed(statement: str, key: Ed25519PrivateKey) -> str:
    signed_text = f"{statement}key {key.public_key().public_bytes_raw().hex()}\n"
    return f"{signed_text}{_SIGNATURE}{sign(signed_text.encode(), key)[1]}\n"


def _name(account: AccountId) -> str:
    """Write an account's name on a line: as JSON text where it holds what a line cannot show."""
    name = str(account)
    return name if visible(name) == name and not name.startswith('"') else json_text(name)


def _account(written: str) -> AccountId:
    """Read what ``_name`` wrote."""
    return AccountId.parse(str(json.loads(written)) if written.startswith('"') else written)


def _time(us: int) -> str:
    return (UTC_EPOCH + us * MICROSECOND).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


# ----------------------------------------------------------------------------------------------------------- reading one


def read(text: str) -> Seal:
    """Read a seal and check its signature.

    Raises:
        BadValue: It is no seal.
        CorruptEvent: It is one, and its signature does not hold: it was changed.
    """
    signed_text, mark, signature = text.rpartition(_SIGNATURE)
    if not mark or not signed_text.startswith(f"{_TITLE}\n"):
        raise BadValue("expected a seal as ledger seal writes it, found something else: is the file cut off?")
    try:
        seal = _parsed(signed_text, text)
        for written in (seal.key, signature.removesuffix("\n")):
            bytes.fromhex(written)
    except (ValueError, IndexError) as error:
        raise BadValue(f"expected a seal as ledger seal writes it, found something else: {error}") from None
    if not is_signed(signed_text.encode(), key=seal.key, signature=signature.removesuffix("\n")):
        raise CorruptEvent("the seal was changed: its signature does not hold. Use the copy that is stored elsewhere")
    return seal


def _parsed(signed_text: str, text: str) -> Seal:
    _, journal, made_at, previous, counted, *rest = signed_text.removesuffix("\n").split("\n")
    *accounts, key = rest
    found: dict[AccountId, Sealed] = {}
    for line in accounts:
        version, head, recorded, name = _value(line, "account").split(" ", 3)
        found[_account(name)] = Sealed(version=int(version), head=head, recorded_us=_us(recorded))
    if len(found) != int(_value(counted, "accounts")):
        raise ValueError(f"{counted}, and it names {len(found)}")
    before = _value(previous, "previous")
    return Seal(
        journal_id=_value(journal, "journal"),
        made_us=_us(_value(made_at, "made")),
        previous=None if before == _NONE else before,
        accounts=found,
        key=_value(key, "key"),
        text=text,
    )


def _value(line: str, name: str) -> str:
    found, _, value = line.partition(" ")
    if found != name:
        raise ValueError(f"expected {name}, found {line!r}")
    return value


def _us(text: str) -> int:
    return (datetime.fromisoformat(text) - UTC_EPOCH) // MICROSECOND


# ------------------------------------------------------------------------------------------------- holding it up to it


def problems(journal: Journal, seal: Seal, damaged: frozenset[str]) -> list[Problem]:
    """Return what of a journal is not as it was sealed.

    Args:
        journal: Verified by itself.
        seal: What it was.
        damaged: Accounts that do not verify by themselves, where it is reported already what was done to them.
    """
    if journal.identity() != seal.journal_id:
        parent = parent_of(journal, seal)
        if parent is not None:
            return _parent_problems(journal, seal, parent, damaged)
        what = f"the seal is of another journal: {seal.journal_id}, this is {journal.identity()}"
        return [Problem(account="the journal", version=None, field="seal", what=what)]
    heads = journal.heads()
    behind = {name: one for name, one in seal.accounts.items() if name not in heads or heads[name].version < one.version}
    is_older = _is_older_copy(journal, seal, behind, heads)
    found = [_missing(name, one, heads.get(name), is_older=is_older) for name, one in behind.items()]
    for name, one in seal.accounts.items():
        if name in behind or str(name) in damaged:
            continue
        found.extend(_rewritten(journal, name, one))
    return found


def parent_of(journal: Journal, seal: Seal) -> Parent | None:
    """Return the parent that a seal is of, None if it is of the journal itself or of a stranger."""
    return next((one for one in journal.parents() if one.journal_id == seal.journal_id), None)


def _parent_problems(journal: Journal, seal: Seal, parent: Parent, damaged: frozenset[str]) -> list[Problem]:
    """Verify against a seal of a parent, up to where the journal was restored; behind that both go on apart."""
    found = []
    for name, one in seal.accounts.items():
        shared = parent.versions.get(name, 0)
        if one.version > shared:
            what = (
                f"the seal is of the parent journal, {parent.journal_id}: version {one.version} was sealed there, and this "
                f"journal was restored from its version {shared}. What was recorded there behind it is not here"
            )
            found.append(Problem(account=str(name), version=shared + 1, field="seal", what=what))
        elif str(name) not in damaged:
            found.extend(_rewritten(journal, name, one))
    return found


def _rewritten(journal: Journal, name: AccountId, sealed: Sealed) -> list[Problem]:
    chain = journal.hash_at(name, sealed.version)
    if chain is not None and chain.hex() == sealed.head:
        return []
    what = (
        f"the chain was rewritten: it holds by itself, but at version {sealed.version} it has {_short(chain)}, "
        f"and {sealed.head[:16]} was sealed"
    )
    return [Problem(account=str(name), version=sealed.version, field="seal", what=what)]


def _is_older_copy(journal: Journal, seal: Seal, behind: Mapping[AccountId, Sealed], heads: Mapping[AccountId, Head]) -> bool:
    """Return whether all that is missing happened after all that is there, and the seal itself was never noted here.

    Somebody who cuts off a single account leaves later events of others, or the note of the seal.
    """
    if seal.text in journal.seals():
        return False
    newest = max((head.recorded_us for head in heads.values()), default=0)
    return bool(behind) and all(one.recorded_us > newest for one in behind.values())


def _missing(name: AccountId, sealed: Sealed, head: Head | None, *, is_older: bool) -> Problem:
    at = head.version if head else 0
    found = f"version {sealed.version} was sealed, it is now at {at}" if head else f"sealed at version {sealed.version}"
    if is_older:
        what = f"an older copy replaced the journal: {found}"
    elif head is None:
        what = f"the account was removed: {found}"
    else:
        what = f"the tail was cut off: {found}"
    return Problem(account=str(name), version=at + 1, field="seal", what=what)


def _short(chain: bytes | None) -> str:
    return "nothing" if chain is None else chain.hex()[:16]


# ------------------------------------------------------------------------------------------------------------- the keys


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read the secret key of whoever seals. Raises as ``signing_keys.load_key``."""
    return signing_keys.load_key(path, _MADE_BY)


def load_public_key(path: Path) -> str:
    """Read the public key of whoever seals and return it in hex. Raises as ``load_key``."""
    return signing_keys.load_public_key(path, _MADE_BY)
