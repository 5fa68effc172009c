"""Packed postings: up to 65,536 rows as columns of narrow integers, and back to exactly the rows that they were.

A fill of which everything is known is in the columns alone. Any other row (an event, a cash movement, a fill without some of
its money, a number beyond 63 bits) is stored whole beside them, as JSON, and its index is listed; what the columns have in its
place means nothing, but for ``time_msc`` and ``version``, which are its own.

One buffer, little-endian: head, directory of the columns, columns, indexes of the rows stored whole, symbols, those rows. A
value of a column is ``base + step * index + stored``: ``width`` bytes are stored, none where a column is the same all along or
grows evenly. A base is used only where it saves half of eight bytes, so that most columns are read without adding anything.
Where ``nulls`` is 1 the lowest integer of the width is an unknown value; with width 0 all are unknown.
"""

from __future__ import annotations

import json
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from struct import Struct
from typing import Any, Final, NamedTuple, cast, overload

from ledger.postings import DEAL_SCHEMA, NO_DEAL, FoldKey, PackedRows, Posting, Row, dump_json, place_of, second_of
from ledger.values import INT64_MAX

#: How many rows one has at most.
ROWS_MAX: Final = 65_536

_MAGIC: Final = b"LDGPACK1"
#: Magic, rows, rows stored whole, bytes of the symbols, bytes of the rows stored whole.
_HEAD: Final = Struct("<8sIIII")
#: Width, nulls, offset, base, step.
_COLUMN: Final = Struct("<BB2xIqq")
_TYPES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_ALIGNED: Final = 8

#: The columns of a posting that are stored, in this order; a symbol as its number in the table of the symbols.
COLUMNS: Final = (
    "time_msc", "deal", "version", "deal_type", "entry", "position_id", "order_ticket", "symbol", "volume", "price",
    "commission", "fee", "swap", "profit", "magic",
)  # fmt: skip
#: Those that may be unknown of a fill that is in the columns.
NULLABLE: Final = frozenset({"order_ticket", "magic"})
#: Those that are a row's own where it is stored whole, too.
_ALWAYS: Final = frozenset({"time_msc", "version"})

_FIELDS: Final = Posting._fields
_AT: Final = {name: _FIELDS.index(name) for name in _FIELDS}
_NO_ROW: Final = (None,) * len(_FIELDS)
_FILL: Final = "FillRecorded"
_TIME, _DEAL, _VERSION, _SYMBOL = map(COLUMNS.index, ("time_msc", "deal", "version", "symbol"))
_DIRECTORY_END: Final = _HEAD.size + _COLUMN.size * len(COLUMNS)


class DamagedColumns(ValueError):
    """A buffer is not what ``Packed.to_bytes`` returned: what was packed has to be packed again from the journal."""


class Column(NamedTuple):
    """How one column is stored: see the module. ``data`` has ``width`` bytes for each row."""

    width: int
    nulls: bool
    base: int
    step: int
    data: bytes | memoryview

    def values(self, begin: int, end: int) -> Iterable[int | None]:
        """Return the values of the rows from one index to another."""
        if not self.width:
            if self.nulls:
                return repeat(None, end - begin)
            if not self.step:
                return repeat(self.base, end - begin)
            return range(self.base + begin * self.step, self.base + end * self.step, self.step)
        stored: array[int] = array(_TYPES[self.width], bytes(self.data[begin * self.width : end * self.width]))
        if sys.byteorder == "big":
            stored.byteswap()
        if self.nulls:
            unknown, base = _lowest(self.width), self.base
            return [None if value == unknown else base + value for value in stored]
        return map(self.base.__add__, stored) if self.base else stored

    def value(self, at: int) -> int | None:
        """Return the value of one row."""
        width = self.width
        stored = int.from_bytes(self.data[at * width : (at + 1) * width], "little", signed=True)
        if self.nulls and (not width or stored == _lowest(width)):
            return None
        return self.base + self.step * at + stored


class Packed:
    """Rows as columns. Made by ``pack`` and ``from_buffer``, and frozen.

    Attributes:
        columns: How each of ``COLUMNS`` is stored.
        symbols: Symbols by their number.
        whole: Indexes of the rows that are stored whole, ascending.
    """

    __slots__ = ("_count", "_whole_json", "_whole_rows", "columns", "symbols", "whole")

    def __init__(self, count: int, columns: Sequence[Column], symbols: Sequence[str], whole: array[int], rows: bytes) -> None:
        self._count = count
        self.columns = columns
        self.symbols = symbols
        self.whole = whole
        self._whole_json = rows
        self._whole_rows: Sequence[Row] | None = None  # made when the first is asked for

    def __len__(self) -> int:
        return self._count

    @classmethod
    def pack(cls, rows: Sequence[Row]) -> Packed:
        """Return rows as columns.

        Args:
            rows: At most ``ROWS_MAX`` postings, in any order.

        Raises:
            ValueError: There are more.
        """
        if len(rows) > ROWS_MAX:
            raise ValueError(f"{len(rows):,} rows do not fit one pack of {ROWS_MAX:,}: pack them in parts")
        whole = _irregular(rows)
        texts = [rows[at] for at in whole]
        rows = [row if len(row) == len(_FIELDS) else _NO_ROW for row in rows] if whole else rows
        symbols: dict[str, int] = {}
        columns = []
        for name in COLUMNS:
            values = [row[_AT[name]] for row in rows]
            _fill(values, [at for at in whole if name not in _ALWAYS or not _is_number(values[at])])
            if name == "symbol":
                values = [symbols.setdefault(symbol, len(symbols)) for symbol in values]
            columns.append(_stored(values))
        if len(whole) == len(rows):
            symbols = {}
        text = dump_json(texts).encode("utf-8", "surrogatepass")
        return cls(len(rows), columns, tuple(symbols), array("I", whole), text)

    @classmethod
    def of_columns(
        cls, count: int, columns: Sequence[Column], symbols: Sequence[str], whole: array[int], rows: Sequence[Row]
    ) -> Packed:
        """Return columns that are in memory already as packed rows; ``to_bytes`` is for those that ``pack`` returned.

        Args:
            count: How many rows.
            columns: As the attribute.
            symbols: As the attribute.
            whole: As the attribute.
            rows: The rows that are stored whole.
        """
        packed = cls(count, columns, symbols, whole, b"[]")
        packed._whole_rows = rows
        return packed

    # ---- as bytes

    def to_bytes(self) -> bytes:
        """Return it as one buffer. The same rows give the same bytes."""
        symbols = dump_json(list(self.symbols)).encode("utf-8", "surrogatepass")
        directory, parts = b"", bytearray(_DIRECTORY_END)
        for column in self.columns:
            parts += bytes(-len(parts) % _ALIGNED)
            directory += _COLUMN.pack(column.width, column.nulls, len(parts), column.base, column.step)
            parts += column.data
        parts += bytes(-len(parts) % _ALIGNED) + _little(self.whole) + symbols + self._whole_json
        head = _HEAD.pack(_MAGIC, self._count, len(self.whole), len(symbols), len(self._whole_json))
        parts[:_DIRECTORY_END] = head + directory
        return bytes(parts)

    @classmethod
    def from_buffer(cls, buffer: memoryview | bytes) -> Packed:
        """Return what was packed, read where it is: the buffer has to stay as it is for as long as this is used.

        Raises:
            DamagedColumns: It is not such a buffer. What only a digest can find is not found.
        """
        view = memoryview(buffer).cast("B")
        if len(view) < _DIRECTORY_END:
            raise DamagedColumns(f"packed postings have {_DIRECTORY_END} bytes or more, found {len(view)}: pack them again")
        magic, count, whole_count, symbols_size, rows_size = _HEAD.unpack_from(view)
        if magic != _MAGIC or count > ROWS_MAX or whole_count > count:
            raise DamagedColumns(
                f"packed postings begin with {_MAGIC!r} and their sizes, found something else: pack them again"
            )
        columns, end = _columns(view, count)
        whole: array[int] = array("I")
        if len(view) != end + whole_count * whole.itemsize + symbols_size + rows_size:
            raise DamagedColumns(f"packed postings of {count:,} rows have another size than {len(view)} bytes: pack them again")
        whole.frombytes(view[end : end + whole_count * whole.itemsize])
        whole = array("I", _little(whole))
        end += whole_count * whole.itemsize
        symbols = _list(view[end : end + symbols_size])
        if not all(isinstance(symbol, str) for symbol in symbols) or not _ascends(whole, count):
            raise DamagedColumns("the lists beside the columns of packed postings are not what was written: pack them again")
        return cls(count, columns, symbols, whole, bytes(view[end + symbols_size :]))

    # ---- reading

    def rows(self, begin: int = 0, end: int | None = None) -> list[Row]:
        """Return the rows from one index to another: those that were packed.

        Raises:
            DamagedColumns: They cannot be read.
        """
        return list(self.each(begin, self._count if end is None else end))

    def row(self, at: int) -> Row:
        """Return one row."""
        index = bisect_left(self.whole, at)
        if index < len(self.whole) and self.whole[index] == at:
            return self.whole_rows[index]
        (
            time_msc, deal, version, side, entry, position_id, order, symbol, volume, price, commission, fee, swap, profit,
            magic,
        ) = [column.value(at) for column in self.columns]  # fmt: skip
        if not 0 <= cast("int", symbol) < len(self.symbols):
            raise DamagedColumns(f"packed postings name {len(self.symbols)} symbols, found another one: pack them again")
        return (
            time_msc, deal, version, _FILL, side, entry, position_id, order, self.symbols[cast("int", symbol)], volume, price,
            commission, fee, swap, profit, magic, None, DEAL_SCHEMA,
        )  # fmt: skip

    def each(self, begin: int, end: int) -> Iterator[Row]:
        """Return an iterator over ``rows``, which makes each when it is asked for.

        Raises:
            DamagedColumns: They cannot be read.
        """
        first, last = bisect_left(self.whole, begin), bisect_left(self.whole, end)
        if last - first == end - begin:
            return iter(self.whole_rows[first:last])
        count = end - begin
        values: dict[str, Iterable[Any]] = {
            name: column.values(begin, end) for name, column in zip(COLUMNS, self.columns, strict=True)
        }
        values["symbol"] = self._symbols(begin, end)
        values |= {"kind": repeat(_FILL, count), "data": repeat(None, count), "schema": repeat(DEAL_SCHEMA, count)}
        found = zip(*[values[name] for name in _FIELDS], strict=False)  # all are as long: checking it costs a tenth of this
        return chain.from_iterable(self._parts(found, begin, first, last)) if first < last else found

    def _parts(self, found: Iterator[Row], begin: int, first: int, last: int) -> Iterator[Iterable[Row]]:
        """Yield what is in the columns, run by run, and between the runs what is stored whole."""
        for row, at in zip(self.whole_rows[first:last], self.whole[first:last], strict=True):
            yield islice(found, at - begin)
            next(found)  # what is in its place
            yield (row,)
            begin = at + 1
        yield found

    def _symbols(self, begin: int, end: int) -> Iterable[str]:
        table, column = self.symbols, self.columns[_SYMBOL]
        codes = cast("set[int]", set(column.values(begin, end)))
        if not codes <= set(range(len(table))):
            raise DamagedColumns(f"packed postings name {len(table)} symbols, found another one: pack them again")
        if not column.width and not column.step:
            return repeat(table[column.base], end - begin)
        return map(table.__getitem__, cast("Iterable[int]", column.values(begin, end)))

    @property
    def whole_rows(self) -> Sequence[Row]:
        """The rows that are stored whole, in the order of ``whole``.

        Raises:
            DamagedColumns: They cannot be read.
        """
        if self._whole_rows is None:
            rows = _list(self._whole_json)
            if len(rows) != len(self.whole) or not all(isinstance(row, list) for row in rows):
                raise DamagedColumns(f"packed postings have {len(self.whole)} rows stored whole, found others: pack them again")
            self._whole_rows = list(map(tuple, rows))
        return self._whole_rows

    def place(self, at: int) -> FoldKey:
        """Return the place of one row, as ``postings.place_of``, without making the row: to search in them."""
        index = bisect_left(self.whole, at)
        is_whole = index < len(self.whole) and self.whole[index] == at
        deal = NO_DEAL if is_whole else cast("int", self.columns[_DEAL].value(at))
        return place_of(self.row(at)) if deal == NO_DEAL else (second_of(self.time_msc(at)), deal, 0)

    def time_msc(self, at: int) -> int:
        """Return the broker time of one row."""
        return cast("int", self.columns[_TIME].value(at))

    def version(self, at: int) -> int:
        """Return the version of one row."""
        return cast("int", self.columns[_VERSION].value(at))

    def times(self, begin: int, end: int) -> Iterable[int]:
        """Return the broker times of the rows from one index to another."""
        return cast("Iterable[int]", self.columns[_TIME].values(begin, end))


class PackedSlice(PackedRows):
    """The rows of a pack from one index to another, made when they are asked for.

    Attributes:
        packed: The pack.
        begin: The first index.
        end: The index behind the last.
    """

    __slots__ = ("begin", "end", "packed")

    def __init__(self, packed: Packed, begin: int = 0, end: int | None = None) -> None:
        self.packed, self.begin, self.end = packed, begin, len(packed) if end is None else end

    def place(self, at: int) -> FoldKey:
        """Return the place of a row."""
        return self.packed.place(self.begin + at)

    def version(self, at: int) -> int:
        """Return the version of a row."""
        return self.packed.version(self.begin + at)

    def __len__(self) -> int:
        return self.end - self.begin

    def __iter__(self) -> Iterator[Row]:
        return self.packed.each(self.begin, self.end)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> PackedSlice: ...
    def __getitem__(self, at: int | slice) -> Row | PackedSlice:
        if isinstance(at, slice):
            begin, end, step = at.indices(len(self))
            assert step == 1, "a part of a pack is a run of its rows"
            return type(self)(self.packed, self.begin + begin, self.begin + max(begin, end))
        return self.packed.row(range(self.begin, self.end)[at])


# ---- packing


def _irregular(rows: Sequence[Row]) -> list[int]:
    """Return the indexes of the rows that have to be stored whole, ascending."""
    kind, data, schema, symbol = _AT["kind"], _AT["data"], _AT["schema"], _AT["symbol"]
    length = len(_FIELDS)
    candidates = [
        at
        for at, row in enumerate(rows)
        if len(row) == length
        and row[kind] == _FILL
        and row[data] is None
        and row[schema] == DEAL_SCHEMA
        and row[symbol].__class__ is str
    ]
    found = set(range(len(rows))).difference(candidates)
    for name in COLUMNS:
        if name != "symbol":
            at_name = _AT[name]
            found.update(candidates[at] for at in _unfit(name, [rows[at][at_name] for at in candidates]))
    return sorted(found)


def _unfit(name: str, values: list[Any]) -> Iterable[int]:
    """Return the indexes of the values of a column that are no integer of 63 bits, and no volume."""
    least = 0 if name == "volume" else -INT64_MAX
    if name in NULLABLE and None in values:
        values = [0 if value is None else value for value in values]
    try:
        if not values or min(array("q", values)) >= least:
            return ()
    except (TypeError, OverflowError):
        pass
    return [at for at, value in enumerate(values) if not _is_number(value) or value < least]


def _is_number(value: object) -> bool:
    return isinstance(value, int) and abs(value) <= INT64_MAX


def _fill(values: list[Any], gaps: list[int]) -> None:
    """Put something into the places of a column that mean nothing: what is before it, so that it costs no width."""
    if not gaps:
        return
    known = set(range(len(values))).difference(gaps)
    before = values[min(known)] if known else 0
    for at in gaps:
        values[at] = before = values[at - 1] if at else before


def _stored(values: list[int | None]) -> Column:
    known = cast("list[int]", [value for value in values if value is not None] if None in values else values)
    if not known:
        return Column(0, nulls=bool(values), base=0, step=0, data=b"")
    nulls = len(known) < len(values)
    step = known[1] - known[0] if len(known) > 1 else 0
    if not nulls and abs(step) <= INT64_MAX and _is_even(known, step):
        return Column(0, nulls=False, base=known[0], step=step, data=b"")
    low, high = min(known) - nulls, max(known)
    width, base = _width(low, high), 0
    if width == max(_TYPES):
        base = (low + high) // 2
        width = _width(low - base, high - base)
        base = base if width < max(_TYPES) else 0
    unknown = _lowest(width)
    numbers = [unknown if value is None else value - base for value in values] if base or nulls else known
    return Column(width, nulls, base, 0, _little(array(_TYPES[width], numbers)))


def _is_even(values: list[int], step: int) -> bool:
    first = values[0]
    if not step:
        return values.count(first) == len(values)
    return values[-1] == first + step * (len(values) - 1) and values == list(range(first, values[-1] + step, step))


def _width(low: int, high: int) -> int:
    """Return the fewest bytes that hold all integers from one to another."""
    return next(width for width in _TYPES if _lowest(width) <= low and high < -_lowest(width))


def _lowest(width: int) -> int:
    return -(1 << (8 * width - 1))


# ---- bytes


def _columns(view: memoryview, count: int) -> tuple[list[Column], int]:
    """Read the directory; return the columns and where they end."""
    columns = []
    end = _DIRECTORY_END
    for number, name in enumerate(COLUMNS):
        width, nulls, offset, base, step = _COLUMN.unpack_from(view, _HEAD.size + number * _COLUMN.size)
        end += -end % _ALIGNED
        if width not in (0, *_TYPES) or offset != end or nulls > (name in NULLABLE):
            raise DamagedColumns(f"column {name} of packed postings is not stored as their format states: pack them again")
        end += width * count
        columns.append(Column(width, bool(nulls), base, step, view[offset:end]))
    return columns, end + -end % _ALIGNED


def _list(text: memoryview | bytes) -> list[Any]:
    try:
        found = json.loads(bytes(text).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as exc:
        raise DamagedColumns(f"the lists beside the columns of packed postings are not JSON ({exc}): pack them again") from exc
    if not isinstance(found, list):
        raise DamagedColumns("the lists beside the columns of packed postings are something else: pack them again")
    return found


def _ascends(indexes: array[int], count: int) -> bool:
    return not indexes or (indexes[-1] < count and all(map(int.__lt__, indexes, indexes[1:])))


def _little(numbers: array[int]) -> bytes:
    """Return integers as bytes, little-endian."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()
