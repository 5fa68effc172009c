"""The hash chain: what makes a changed, missing or moved event show.

Each event's hash covers the predecessor's hash and the canonical bytes of its own row: a JSON array of the columns in
``COVERED``, without spaces, in UTF-8. The first event's predecessor is a digest of the account's name, so that a stream
cannot pass for another account's.

A hash shows that a row changed, not where. ``checks`` holds two bytes for every covered column; they only serve to name
the column once the hash has shown that something is wrong.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from functools import lru_cache, partial
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

import msgspec

from ledger.codec import TEXT_COLUMNS, Stored
from ledger.values import AccountId

#: Columns under the hash, in this order for ever; later columns are added behind.
COVERED: Final = (
    "version", "kind", "schema", "time_msc", "recorded_us", "natural_key", "correlation", "caused_by", "evidence",
    "deal", "deal_type", "entry", "position_id", "order_ticket", "symbol", "volume", "price", "commission", "fee", "swap",
    "profit", "magic", "reason", "comment", "origin", "data",
)  # fmt: skip

#: Where the columns of the chain itself begin.
CHAIN_AT: Final = Stored._fields.index("prev_hash")
#: Where they end: what comes behind is derived of what the chain covers. Of most events nothing is.
_DERIVED_AT: Final = Stored._fields.index("checks") + 1
UNDERIVED: Final = (None,) * (len(Stored._fields) - _DERIVED_AT)

covered = itemgetter(*(Stored._fields.index(name) for name in COVERED))
_stored = partial(tuple.__new__, Stored)  # as Stored._make, which costs twice as much
_encode = msgspec.json.Encoder().encode
_PRIME: Final = 65521  # the largest below 2^16: two integers that differ in one byte never share a remainder
_UNKNOWN: Final = 65535
_FAR: Final = 64  # renumbered by four million at most
_CHECKS: Final = struct.Struct(f">{len(COVERED)}H")
_CANONICAL: Final = frozenset((int, str, type(None)))
_TYPES: Final = tuple(str if name in TEXT_COLUMNS else int for name in COVERED)


def genesis(account: AccountId) -> bytes:
    """Return what serves as the predecessor's hash of an account's first event."""
    return sha256(f"ledger account {account}".encode()).digest()


def with_hash(row: Stored, prev_hash: bytes) -> Stored:
    """Return a row with its place in the chain."""
    return link(row[:CHAIN_AT], prev_hash, row[_DERIVED_AT:])


def link(columns: tuple[Any, ...], prev_hash: bytes, derived: tuple[Any, ...] = UNDERIVED) -> Stored:
    """Return the row of all columns before the chain, with its place in it; ``derived`` is what comes behind the chain."""
    content = covered(columns)
    return _stored((*columns, prev_hash, _hash(content, prev_hash), checks(content), *derived))


def digest(columns: tuple[Any, ...], prev_hash: bytes) -> bytes:
    """Return the chain hash of a row's covered columns.

    Raises:
        TypeError: They hold something for which there are no canonical bytes.
    """
    if not _CANONICAL.issuperset(map(type, columns)):
        raise TypeError("something else where there should be a text, a whole number or nothing")
    return _hash(columns, prev_hash)


def _hash(columns: tuple[Any, ...], prev_hash: bytes) -> bytes:
    try:
        return sha256(prev_hash + _encode(columns)).digest()
    except UnicodeEncodeError:  # a damaged text, read leniently: no valid JSON, and never what was recorded
        return sha256(prev_hash + repr(columns).encode("utf-8", "surrogateescape")).digest()


def canonical(columns: tuple[Any, ...]) -> bytes:
    """Return the bytes of a row's covered columns that its hash covers, behind its predecessor's hash."""
    return _encode(columns)


def is_link(columns: tuple[Any, ...], prev_hash: bytes, found: bytes, checks_found: bytes) -> bool:
    """Return whether covered columns are what was recorded behind a predecessor, types included: hash and checks hold.

    The quick answer about what is whole. JSON distinguishes numbers, texts and null; bytes it writes as text, and what is
    no finite number as nothing, so that here the checks refuse them.
    """
    try:
        return _hash(columns, prev_hash) == found and checks(columns) == checks_found
    except (AttributeError, TypeError, ValueError, struct.error):  # a text where there should be a number, and the like
        return False


def checks(columns: tuple[Any, ...]) -> bytes:
    """Return two bytes for each covered column.

    Written out, because a loop that looks at what each of them is takes twice as long. They hold what such columns hold: a text
    or bytes in the place of a number is refused by its sign, as ``%`` would format it, to any length that it names.

    Raises:
        TypeError: They do not; AttributeError, struct.error too.
    """
    (
        version, kind, schema, time_msc, recorded_us, natural_key, correlation, caused_by, evidence,
        deal, deal_type, entry, position_id, order_ticket, symbol, volume, price, commission, fee, swap,
        profit, magic, reason, comment, origin, data,
    ) = columns  # fmt: skip
    return _CHECKS.pack(
        +version % _PRIME,
        _check(kind),
        +schema % _PRIME,
        +time_msc % _PRIME,
        +recorded_us % _PRIME,
        crc_hqx(natural_key.encode("utf-8", "surrogateescape"), 0),
        _UNKNOWN if correlation is None else _check(correlation),
        _UNKNOWN if caused_by is None else +caused_by % _PRIME,
        _UNKNOWN if evidence is None else _check(evidence),
        _UNKNOWN if deal is None else +deal % _PRIME,
        _UNKNOWN if deal_type is None else +deal_type % _PRIME,
        _UNKNOWN if entry is None else +entry % _PRIME,
        _UNKNOWN if position_id is None else +position_id % _PRIME,
        _UNKNOWN if order_ticket is None else +order_ticket % _PRIME,
        _UNKNOWN if symbol is None else _check(symbol),
        _UNKNOWN if volume is None else +volume % _PRIME,
        _UNKNOWN if price is None else +price % _PRIME,
        _UNKNOWN if commission is None else +commission % _PRIME,
        _UNKNOWN if fee is None else +fee % _PRIME,
        _UNKNOWN if swap is None else +swap % _PRIME,
        _UNKNOWN if profit is None else +profit % _PRIME,
        _UNKNOWN if magic is None else +magic % _PRIME,
        _UNKNOWN if reason is None else +reason % _PRIME,
        _UNKNOWN if comment is None else _check(comment),
        _UNKNOWN if origin is None else _check(origin),
        _UNKNOWN if data is None else _check(data),
    )


@lru_cache(maxsize=4096)  # kinds, symbols, origins: all texts but the keys come again and again
def _check(value: str) -> int:
    # A 16-bit CRC, so that texts that differ in one byte, or in two bytes side by side, never share it.
    return crc_hqx(value.encode("utf-8", "surrogateescape"), 0)


def changed_columns(row: Stored) -> tuple[str, ...]:
    """Return the names of covered columns that do not match the row's checks."""
    if len(row.checks) != _CHECKS.size:
        return ("checks",)
    now = _CHECKS.unpack(checks(covered(row)))
    then = _CHECKS.unpack(row.checks)
    return tuple(name for name, left, right in zip(COVERED, now, then, strict=True) if left != right)


def recorded_version(row: Stored, guess: int) -> int | None:
    """Return the version that a row was recorded under, whatever it is now; None if its content was changed.

    Args:
        row: Its ``prev_hash`` is taken as it is.
        guess: Tried first.
    """
    columns = covered(row)
    if not _are_sound(columns) or len(row.checks) != _CHECKS.size:
        return None
    now: tuple[int, ...] = _CHECKS.unpack(checks(columns))
    then: tuple[int, ...] = _CHECKS.unpack(row.checks)
    if now[1:] != then[1:]:
        return row.version if digest(columns, row.prev_hash) == row.hash else None
    # Which of the numbers with this remainder: the chain hash decides. Near the guess first.
    steps = sorted(range(-_FAR, _FAR + 1), key=abs)
    nearest = guess - (guess - then[0]) % _PRIME
    for version in (row.version, guess, *(nearest + step * _PRIME for step in steps)):
        if version > 0 and digest((version, *columns[1:]), row.prev_hash) == row.hash:
            return int(version)
    return None


def _are_sound(columns: tuple[Any, ...]) -> bool:
    """Return whether columns hold what such columns hold."""
    return None not in columns[:6] and all(
        value is None or type(value) is kind for value, kind in zip(columns, _TYPES, strict=True)
    )
