"""This module is what somebody does who can write the folder of the segments."""

from __future__ import annotations

from pathlib import Path

from ledger import Ledger
from ledger.postings import Posting, Row
from ledger.segments.store import Segments
from tests.support.journals import ACCOUNT

_PROFIT = Posting._fields.index("profit")
_VERSION = Posting._fields.index("version")


def files(ledger: Ledger) -> list[Path]:
    """Return the segments of a journal, in the order of their postings."""
    folder = ledger.journal.segments.folder
    assert folder is not None
    return sorted(folder.rglob("*.segment"))


def forge(ledger: Ledger, number: int, at: int) -> int:
    """Change the profit of a posting in a segment, so that digest and chain hash are right; return its version."""
    segments, path = ledger.journal.segments, files(ledger)[number]
    after, last = (int(part) for part in path.stem.split("-"))
    rows = [row for block in segments.blocks(ACCOUNT, after, last) for row in block]
    path.unlink()
    writer = Segments(segments.folder, lambda *_: [_changed(rows, at)], ledger.journal.hash_at, len(rows))
    assert writer.extend(ACCOUNT, last) == 1
    return int(rows[at][_VERSION])


def forge_merged(ledger: Ledger, number: int, at: int) -> int:
    """Do the same to a merged segment; they are numbered from 1 on."""
    head, packed = list(ledger.journal.segments.merged(ACCOUNT))[number - 1]
    rows = packed.rows()
    assert ledger.journal.segments.write_merged(ACCOUNT, number, head, _changed(rows, at))
    return int(rows[at][_VERSION])


def _changed(rows: list[Row], at: int) -> list[Row]:
    return [(*row[:_PROFIT], 10**9, *row[_PROFIT + 1 :]) if number == at else row for number, row in enumerate(rows)]
