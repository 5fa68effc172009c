"""Trades, positions and balances as files for data tools: the rows of frames, written some at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ledger.errors import BadValue
from ledger.frames import Rows, require
from ledger.journal import Journal
from ledger.output_files import require_writable, written_whole
from ledger.text import csv_text
from ledger.values import plain

#: What can be written, beside events.
CONTENTS: Final = ("trades", "positions", "balance")
FORMATS: Final = ("parquet", "csv")
_PARQUET: Final = b"PAR1"


def export_rows(rows: Rows, journal: Journal, path: Path, format_: str, *, force: bool = True) -> int:
    """Write rows to a file, in constant memory. The file is whole or not there.

    Args:
        rows: What is written.
        journal: Whose file is never replaced.
        path: The file; replaced if it is there.
        format_: One of ``FORMATS``.
        force: Replace any file but a database; without it, only an earlier export.

    Returns:
        How many rows were written.

    Raises:
        BadValue: There is no such format, or the file is the journal, another database, or not to be replaced.
        JournalUnavailable: The library for the format is not installed.
    """
    require("pyarrow")
    if format_ not in FORMATS:
        raise BadValue(f"expected a format of {', '.join(FORMATS)}, found {format_!r}: JSON lines are of events only")
    require_writable(path, journal=journal.file(), is_ours=lambda one: _is_earlier(one, rows), force=force)
    count = 0
    with written_whole(path) as partial, _WRITERS[format_](partial, rows) as write:
        for batch in rows.columns.batches(rows.blocks()):
            write(batch)
            count += batch.num_rows
    return count


def _is_earlier(path: Path, rows: Rows) -> bool:
    """Return whether a file has the same columns, in one of the formats."""
    with path.open("rb") as file:
        begin = file.read(4096)
    if not begin.startswith(_PARQUET):
        return begin.startswith(",".join(rows.names).encode())
    from pyarrow.parquet import read_schema

    try:
        return bool(read_schema(path).names == rows.names)
    except (OSError, ValueError):
        return False


_Write = Callable[[Any], object]


@contextmanager
def _csv(path: Path, rows: Rows) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows.names)
        yield lambda batch: writer.writerows(map(csv_value, row.values()) for row in batch.to_pylist())


def csv_value(value: Any) -> Any:
    """Return a value as a cell of CSV: exact decimals, UTC in ISO 8601, a quote before what a spreadsheet would run."""
    match value:
        case str():
            return csv_text(value)
        case bool():
            return str(value).lower()
        case Decimal():
            return plain(value)
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case _:
            return value


@contextmanager
def _parquet(path: Path, rows: Rows) -> Iterator[_Write]:
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(path, rows.columns.schema(), compression="zstd") as writer:
        yield writer.write_batch


_WRITERS: Final = {"csv": _csv, "parquet": _parquet}
