"""What was done to a stream whose chain is broken: found by how its events point to one another.

A row's own hash shows whether its content and its predecessor's hash are what was recorded, and, with the two bytes kept of its
version, under which number that was. So rows that were renumbered are recognised, and what is left is arithmetic: numbers
that are nowhere were removed, numbers that are there twice or content that nothing points to was inserted, numbers out of
their order were swapped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from ledger.codec import Stored
from ledger.journal.chain import recorded_version


class Finding(NamedTuple):
    """What was done, at which version of the stream as it is stored."""

    version: int
    what: str


class _Link(NamedTuple):
    """A row as a link of the chain. ``recorded_version`` is None if its content was changed."""

    version: int
    recorded_version: int | None
    prev_hash: bytes
    hash: bytes


def findings(rows: Iterable[Stored], begin: bytes, end: bytes | None) -> tuple[list[Finding], frozenset[int]]:
    """Return what was removed, inserted, swapped or rewritten, and the versions that only moved together with the one before.

    Args:
        rows: An account's rows as they are stored, ascending.
        begin: The predecessor's hash of the first.
        end: The account's head, None without one.
    """
    links = list(_links(rows))
    here = {link.recorded_version for link in links if link.recorded_version is not None}
    inserted = list(_inserted(links, here, begin, end))
    whole = [link for link in links if link.recorded_version is not None and link not in inserted]
    found = [Finding(link.version, "inserted: nothing that was recorded follows from it") for link in inserted]
    found += _removed(links, whole)
    found += _moved(whole)
    found += _rewritten(whole, begin)
    return sorted(found), frozenset(_alongside(whole))


def _links(rows: Iterable[Stored]) -> Iterator[_Link]:
    shift = 0
    for row in rows:
        if type(row.version) is not int:
            continue
        if any(type(value) is not bytes for value in (row.prev_hash, row.hash, row.checks)):
            yield _Link(row.version, None, b"", b"")
            continue
        recorded = recorded_version(row, row.version - shift)
        if recorded is not None:
            shift = row.version - recorded
        yield _Link(row.version, recorded, row.prev_hash, row.hash)


def _alongside(whole: list[_Link]) -> Iterator[int]:
    """Yield the versions of rows that were renumbered like the one before: nothing more can be learnt from them."""
    for before, link in pairwise(whole):
        shift = link.version - (link.recorded_version or 0)
        if shift and shift == before.version - (before.recorded_version or 0):
            yield link.version


def _inserted(links: list[_Link], here: set[int], begin: bytes, end: bytes | None) -> Iterator[_Link]:
    """Yield what has no place of its own, and what claims a place that nobody follows."""
    pointed_to = {link.prev_hash for link in links} | {end}
    hashes = {link.hash: link.recorded_version for link in links} | {begin: 0}
    seen: dict[int, _Link] = {}
    shift = 0
    for link in links:
        if link.recorded_version is None:
            if link.version - shift in here:  # where it was, there is somebody else: it is no edited event
                yield link
            continue
        shift = link.version - link.recorded_version
        twin = seen.setdefault(link.recorded_version, link)
        if twin is not link:
            yield link if link.hash not in pointed_to or twin.hash in pointed_to else twin
        elif (
            link.hash not in pointed_to
            and link.recorded_version - 1 in here | {0}
            and hashes.get(link.prev_hash) != link.recorded_version - 1
        ):
            yield link


def _removed(links: list[_Link], whole: list[_Link]) -> Iterator[Finding]:
    """Yield the numbers that are nowhere. An edited event has its place still."""
    numbers = sorted({link.recorded_version for link in whole if link.recorded_version is not None})
    edited = sorted(link.version for link in links if link.recorded_version is None)
    moved = {link.recorded_version: link.version for link in whole}
    for before, after in pairwise([0, *numbers]):
        gone = after - before - 1 - sum(moved.get(before, 0) < version < (moved[after]) for version in edited)
        if gone > 0:
            many = f"versions {before + 1} to {after - 1}" if after - before > 2 else f"version {before + 1}"
            yield Finding(before + 1, f"removed: {many} of what was recorded is missing")


def _moved(whole: list[_Link]) -> Iterator[Finding]:
    """Yield what is out of order: what is not among the most events that are in it (a longest rising subsequence)."""
    ends: list[int] = []  # length - 1 -> the smallest number that such a sequence ends with
    lengths = []
    for link in whole:
        at = bisect_left(ends, link.recorded_version or 0)
        ends[at : at + 1] = [link.recorded_version or 0]
        lengths.append(at)
    wanted = len(ends) - 1
    limit: int | None = None
    for link, length in zip(reversed(whole), reversed(lengths), strict=True):
        if length == wanted and (limit is None or (link.recorded_version or 0) < limit):
            wanted, limit = wanted - 1, link.recorded_version
        else:
            yield Finding(link.version, f"swapped: it was recorded as version {link.recorded_version}")


def _rewritten(whole: list[_Link], begin: bytes) -> Iterator[Finding]:
    """Yield events with a hash of their own making: what was recorded behind them follows from another."""
    hashes = {link.hash for link in whole} | {begin}
    by_number = {link.recorded_version: link for link in whole}
    for link in whole:
        after = by_number.get((link.recorded_version or 0) + 1)
        if after is not None and after.prev_hash != link.hash and after.prev_hash not in hashes:
            yield Finding(link.version, "edited: its hash was made anew, and what follows does not follow from it")
