"""The hash chain: what makes a changed, missing or moved event show.

Each event's hash covers the predecessor's hash and the canonical bytes of its own row: a JSON array of the columns in
``COVERED``, without spaces, in UTF-8. The first event's predecessor is a digest of the account's name, so that a stream
cannot pass for another account's.

A hash says that a row changed, not where. ``checks`` holds two bytes for every covered column; they only serve to name
the column once the hash has shown that something is wrong.
"""

from __future__ import annotations

import json
import struct
from binascii import crc_hqx
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

from ledger.codec import Stored
from ledger.values import AccountId

#: Columns under the hash, in this order for ever; later columns are added behind.
COVERED: Final = (
    "version", "kind", "schema", "time_msc", "recorded_us", "natural_key", "correlation", "caused_by", "evidence",
    "deal", "deal_type", "entry", "position_id", "order_ticket", "symbol", "volume", "price", "commission", "fee", "swap",
    "profit", "magic", "reason", "comment", "origin", "data",
)  # fmt: skip

covered = itemgetter(*(Stored._fields.index(name) for name in COVERED))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_PRIME: Final = 65521  # the largest below 2^16: two integers that differ in one byte never share a remainder
_UNKNOWN: Final = 65535
_FAR: Final = 64  # renumbered by four million at most
_CHECKS: Final = struct.Struct(f">{len(COVERED)}H")


def genesis(account: AccountId) -> bytes:
    """Return what stands for the predecessor of an account's first event."""
    return sha256(f"ledger account {account}".encode()).digest()


def sealed(row: Stored, prev_hash: bytes) -> Stored:
    """Return a row with its place in the chain."""
    columns = covered(row)
    return row._replace(prev_hash=prev_hash, hash=digest(columns, prev_hash), checks=checks(columns))


def digest(columns: tuple[Any, ...], prev_hash: bytes) -> bytes:
    """Return the chain hash of a row's covered columns."""
    return sha256(prev_hash + _encode(columns).encode("utf-8", "surrogateescape")).digest()


def checks(columns: tuple[Any, ...]) -> bytes:
    """Return two bytes for each covered column."""
    return _CHECKS.pack(
        *[_UNKNOWN if value is None else value % _PRIME if type(value) is int else _check(value) for value in columns]
    )


def _check(value: Any) -> int:
    # A 16-bit CRC, so that texts that differ in one byte, or in two bytes side by side, never share it.
    return crc_hqx(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else repr(value).encode(), 0)


def changed_columns(row: Stored) -> tuple[str, ...]:
    """Return the names of covered columns that do not match the row's checks."""
    if len(row.checks) != _CHECKS.size:
        return ("checks",)
    now = _CHECKS.unpack(checks(covered(row)))
    then = _CHECKS.unpack(row.checks)
    return tuple(name for name, left, right in zip(COVERED, now, then, strict=True) if left != right)


def recorded_version(row: Stored, guess: int) -> int | None:
    """Return the version that a row was recorded under, wherever it lies now; None if its content is not what was recorded.

    Args:
        row: Its ``prev_hash`` is taken as it is.
        guess: Tried first.
    """
    columns = covered(row)
    if not _is_text_or_number(columns) or len(row.checks) != _CHECKS.size:
        return None
    now: tuple[int, ...] = _CHECKS.unpack(checks(columns))
    then: tuple[int, ...] = _CHECKS.unpack(row.checks)
    if now[1:] != then[1:]:
        return row.version if digest(columns, row.prev_hash) == row.hash else None
    # Which of the numbers with this remainder: the chain hash tells. Near the guess first.
    steps = sorted(range(-_FAR, _FAR + 1), key=abs)
    nearest = guess - (guess - then[0]) % _PRIME
    for version in (row.version, guess, *(nearest + step * _PRIME for step in steps)):
        if version > 0 and digest((version, *columns[1:]), row.prev_hash) == row.hash:
            return int(version)
    return None


def _is_text_or_number(columns: tuple[Any, ...]) -> bool:
    return all(value is None or isinstance(value, (str, int)) for value in columns)
