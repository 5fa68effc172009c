"""Arrow columns to what the fold and the chain read: lists of Python values, rows, and packed postings without a detour.

The values of an Arrow column are taken out of its buffers at once, which is some ten times as quick as asking for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final

from ledger.archive.form import EVENT_COLUMNS
from ledger.codec import TEXT_COLUMNS, Stored
from ledger.postings import DEAL_SCHEMA, NO_DEAL, Posting, Row
from ledger.segments.packed import COLUMNS, NULLABLE, ROWS_MAX, Column, Packed
from ledger.values import INT64_MAX

_LOWEST: Final = -INT64_MAX - 1
#: What a fill that is stored in columns has, beside an order and a magic number.
_NEEDED: Final = tuple(name for name in COLUMNS if name not in NULLABLE)
_FILL: Final = "FillRecorded"
_WIDTH: Final = 8
#: Columns of few texts, which are read as numbers into a table of them.
TEXTS_AS_CODES: Final = ("kind", "symbol", "origin", "correlation")
assert set(Posting._fields) <= set(EVENT_COLUMNS)


def values_of(table: Any, name: str) -> list[Any]:
    """Return a column of an Arrow table as Python values: whole numbers, texts or bytes, None for null."""
    import pyarrow as pa

    column = table.column(name)
    if column.null_count == len(column):
        return [None] * len(column)
    found = _whole(column)
    if pa.types.is_fixed_size_binary(found.type):
        return _pieces(found)
    if pa.types.is_dictionary(found.type):
        texts = [*found.dictionary.to_pylist(), None]
        codes = found.indices.fill_null(len(texts) - 1).cast(pa.int64())
        return list(map(texts.__getitem__, _numbers(codes)))
    if not found.null_count:
        return _numbers(found) if pa.types.is_int64(found.type) else found.to_pylist()
    return _with_gaps(found)


def numbers_of(table: Any, name: str) -> array[int]:
    """Return a column of 64-bit integers without nulls."""
    return array("q", bytes(_bytes_of(_whole(table.column(name)))))


def _with_gaps(found: Any) -> list[Any]:
    """Return the values of an array with nulls: the known ones are put between as many Nones."""
    import pyarrow as pa
    from pyarrow import compute

    known = found.drop_null()
    values = _numbers(known) if pa.types.is_int64(found.type) else known.to_pylist()
    if len(values) * 2 < len(found):
        row: list[Any] = [None] * len(found)
        for at, value in zip(compute.indices_nonzero(found.is_valid()).to_pylist(), values, strict=True):
            row[at] = value
        return row
    if not pa.types.is_int64(found.type):
        return found.to_pylist()  # type: ignore[no-any-return]
    row = list[Any](_numbers(found.fill_null(0)))
    for at in compute.indices_nonzero(found.is_null()).to_pylist():
        row[at] = None
    return row


def _numbers(found: Any) -> list[int]:
    """Return the values of an array of 64-bit integers without nulls."""
    return array("q", bytes(_bytes_of(found))).tolist()


def _pieces(found: Any) -> list[bytes]:
    """Return the values of an array of byte strings that are all as long, without nulls."""
    raw, size = bytes(found.buffers()[1]), found.type.byte_width
    begin = found.offset * size
    return [raw[at : at + size] for at in range(begin, begin + len(found) * size, size)]


def _whole(column: Any) -> Any:
    """Return a column as one array."""
    if not hasattr(column, "num_chunks"):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _bytes_of(found: Any) -> memoryview:
    """Return the bytes of an array of 64-bit integers without nulls, where they are."""
    begin = found.offset * _WIDTH
    return memoryview(found.buffers()[1])[begin : begin + len(found) * _WIDTH]


def stored_rows(table: Any, prev_hash: bytes) -> Iterator[Stored]:
    """Yield the rows of an events table as a journal has them, without their checks.

    Args:
        table: Ascending by version.
        prev_hash: The chain hash of the event before the first.
    """
    columns = {name: values_of(table, name) for name in EVENT_COLUMNS}
    columns["prev_hash"] = [prev_hash, *columns["hash"][:-1]]
    columns["checks"] = [b""] * len(table)
    return map(Stored._make, zip(*(columns[name] for name in Stored._fields), strict=True))


def posting_rows(table: Any) -> list[Row]:
    """Return the postings of an events table."""
    columns = [values_of(table, name) for name in Posting._fields]
    at = Posting._fields.index("deal")
    columns[at] = [NO_DEAL if deal is None else deal for deal in columns[at]]
    return list(zip(*columns, strict=True))


# ---- packed


def packs_of(table: Any) -> Iterator[Packed]:
    """Yield the rows of an events table as packed postings: in the columns as they are, the few irregular ones whole."""
    for begin in range(0, len(table), ROWS_MAX):
        yield _packed(table.slice(begin, ROWS_MAX).combine_chunks())


def _packed(table: Any) -> Packed:
    from pyarrow import compute

    regular = _regular(table)
    whole = array("I", compute.indices_nonzero(compute.invert(regular)).to_pylist())
    symbols, codes = _symbols(table)
    columns = [_column(name, codes if name == "symbol" else table.column(name), regular) for name in COLUMNS]
    rows = posting_rows(table.take(list(whole))) if whole else []
    return Packed.of_columns(len(table), columns, symbols, whole, rows)


def _regular(table: Any) -> Any:
    """Return which rows are fills of which everything is known that the columns have."""
    from pyarrow import compute

    found = compute.and_(compute.equal(table.column("kind"), _FILL), table.column("data").is_null())
    found = compute.and_(found, compute.equal(table.column("schema"), DEAL_SCHEMA))
    found = compute.and_(found, compute.greater_equal(table.column("volume").fill_null(-1), 0))
    for name in _NEEDED:
        column = table.column(name)
        if column.null_count:
            found = compute.and_(found, column.is_valid())
        if name not in TEXT_COLUMNS and compute.min(column).as_py() == _LOWEST:
            found = compute.and_(found, compute.not_equal(column.fill_null(0), _LOWEST))
    for name in NULLABLE:
        if compute.min(table.column(name)).as_py() == _LOWEST:  # what the packed form writes for null
            found = compute.and_(found, compute.not_equal(table.column(name).fill_null(0), _LOWEST))
    return found


def _symbols(table: Any) -> tuple[tuple[str, ...], Any]:
    """Return the symbols of a table, and the numbers of the rows' symbols in them."""
    import pyarrow as pa

    column = _whole(table.column("symbol"))
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts = column.dictionary.to_pylist() or [""]
    return tuple(texts), column.indices.cast(pa.int64()).fill_null(0)


def _column(name: str, column: Any, regular: Any) -> Column:
    """Return a column as it is in the buffers of Arrow; what rows that are stored whole have in it means nothing."""
    from pyarrow import compute

    least, most = compute.min_max(column).as_py().values()
    nulls = False
    if column.null_count:
        nulls = name in NULLABLE and compute.any(compute.and_(column.is_null(), regular)).as_py()
        if least is None:
            return Column(0, nulls=nulls, base=0, step=0, data=b"")
        column = column.fill_null(_LOWEST) if nulls else column
    if least == most and not nulls:
        return Column(0, nulls=False, base=least, step=0, data=b"")
    return Column(_WIDTH, nulls=nulls, base=0, step=0, data=_bytes_of(_whole(column)))
