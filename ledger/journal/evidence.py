"""Evidence: the raw broker answers that events rest on, compressed, known by the SHA-256 of what came in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from string import hexdigits
from typing import Final, NamedTuple, Protocol

from ledger.codec import Stored
from ledger.errors import BadValue, CorruptEvent
from ledger.events import Event
from ledger.values import AccountId

#: The largest raw answer that is kept, in bytes: sixteen times the largest message that a gateway sends, unless it is
#: configured otherwise. Nothing larger is decompressed, whatever a journal states as its size.
SIZE_MAX: Final = 256 * 1024 * 1024

_DIGEST_LENGTH: Final = 64


class StoredEvidence(NamedTuple):
    """A raw answer as it is kept: its SHA-256 in hex, its size in bytes, and itself compressed by zlib."""

    digest: str
    size: int
    body: bytes


class Answers(Protocol):
    """What raw answers are read from: a journal, or what was archived of one."""

    def stored_evidence(self, account: AccountId, digest: str) -> StoredEvidence | None:
        """Return a raw answer, compressed; None if it is not stored."""
        ...


def required(source: Answers, account: AccountId, digest: str) -> StoredEvidence:
    """Return a raw answer that an event names.

    Raises:
        CorruptEvent: It is not stored.
    """
    found = source.stored_evidence(account, digest)
    if found is None:
        raise CorruptEvent(f"account {account}: the raw answer {digest} is not stored. Run: ledger verify")
    return found


def evidence_of(source: Answers, account: AccountId, rows: Sequence[Stored], kept: set[str]) -> Iterator[StoredEvidence]:
    """Yield the raw answers that rows are the first to refer to, and note them in ``kept``.

    Raises:
        CorruptEvent: One is not stored.
    """
    for digest in dict.fromkeys(row.evidence for row in rows):
        if digest is not None and digest not in kept:
            kept.add(digest)
            yield required(source, account, digest)


def compress(answers: Iterable[bytes], events: Iterable[Event]) -> tuple[StoredEvidence, ...]:
    """Return what is to be kept of raw answers: those that an event refers to, each once.

    Raises:
        BadValue: One of them is larger than ``SIZE_MAX``.
    """
    by_digest = {sha256(raw).hexdigest(): raw for raw in answers}
    named = {getattr(event, "evidence", None) for event in events} if by_digest else set()
    return tuple(_packed(digest, raw) for digest, raw in by_digest.items() if digest in named)


def _packed(digest: str, raw: bytes) -> StoredEvidence:
    if len(raw) > SIZE_MAX:
        raise BadValue(f"evidence {digest}: expected at most {SIZE_MAX} bytes, found {len(raw)}")
    return StoredEvidence(digest=digest, size=len(raw), body=zlib.compress(raw))


def referenced(kept: Iterable[StoredEvidence], rows: Iterable[Stored]) -> dict[str, StoredEvidence]:
    """Return digest -> answer of those that rows refer to."""
    named = {row.evidence for row in rows}
    return {one.digest: one for one in kept if one.digest in named}


def decompress(kept: StoredEvidence) -> bytes:
    """Return a raw answer as it came in.

    The size that was recorded bounds what is decompressed, so that a forged body cannot fill the memory.

    Raises:
        CorruptEvent: What is kept is not what was recorded; it may hold anything, even other types.
    """
    digest, size, body = kept
    if type(digest) is not str or type(size) is not int or type(body) is not bytes:
        raise CorruptEvent(f"{_about(digest)}: expected a text, a number and bytes, found something else")
    if not 0 <= size <= SIZE_MAX:
        raise CorruptEvent(f"{_about(digest)}: expected a size of 0 to {SIZE_MAX} bytes, found {size}")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(body, size + 1)  # 0 would mean without a limit, and one byte more shows what is too long
    except zlib.error as error:
        raise CorruptEvent(f"{_about(digest)}: it was changed, it does not decompress ({error})") from None
    if len(raw) != size or not stream.eof or stream.unused_data:
        raise CorruptEvent(f"{_about(digest)}: it was changed, it does not decompress to {size} bytes")
    if sha256(raw).hexdigest() != digest:
        raise CorruptEvent(f"{_about(digest)}: it was changed, this is not the digest of what is kept")
    return raw


def is_digest(text: str) -> bool:
    """Return whether a text is a SHA-256 as it is written here: 64 hexadecimal digits, small letters."""
    return len(text) == _DIGEST_LENGTH and set(text) <= set(hexdigits.lower())


def _about(digest: object) -> str:
    return f"evidence {digest}" if isinstance(digest, str) and is_digest(digest) else "evidence without a digest"
