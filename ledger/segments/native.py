"""The native loop: packed postings folded by a shared library, if it is installed, with the same result to the last unit.

The library knows the three things that nearly every posting does (``Portfolio.fold``), and nothing else. It holds the open
positions while it folds. A posting that is none of the three it gives back, and the rules in Python apply it: what they ask for
among the open positions is checked out of the library, one by one, and checked in again before it goes on. A position of which
a number is beyond the library's integers stays checked out.

``LEDGER_NATIVE=0`` in the environment switches it off. Without it everything works, and the results are the same.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from array import array
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from importlib import import_module
from operator import itemgetter
from struct import Struct, error
from typing import Any, Final, NamedTuple, TypeGuard

from ledger.holdings import Holdings, TradeSink
from ledger.portfolio import QuickRows, Run
from ledger.positions import BASIS_FILLS, OpenPosition
from ledger.postings import FoldKey, Posting
from ledger.segments.packed import COLUMNS, DamagedColumns, Packed, PackedSlice
from ledger.values import INT64_MAX

#: What the functions of the library expect and return; it states the same number, and so does its version: 0.ABI.x.
ABI: Final = 2
#: Off if this is "0" in the environment.
SWITCH: Final = "LEDGER_NATIVE"
_PACKAGE: Final = "mt5_position_ledger_native"

#: A position as the library has it: its words, in their order there.
_POSITION: Final = Struct("=18qQqQqQq")
#: What a call came to.
_RUN: Final = Struct("=7qQqQqQqQq")
#: The columns that the library reads, in its order.
_READ: Final = (
    "time_msc", "deal_type", "entry", "position_id", "symbol", "volume", "price", "commission", "fee", "swap", "profit",
    "magic",
)  # fmt: skip
_READ_AT: Final = tuple(map(COLUMNS.index, _READ))
_GIVEN_BACK, _DAMAGED = 1, 3
_CLOSED_ROOM: Final = 1024
#: With more closes of what was never held than this, finding out which they are takes longer than it saves.
_LOOSE_MOST: Final = 256
#: So many postings for each open position make it worth it to give those to the library.
_WORTH_IT: Final = 10
_KIND: Final = Posting._fields.index("kind")
#: The kind of the rows that move money only, and change no position: the library passes over them.
_CASH: Final = ("CashMoved",)
_WIDTH: Final = 64
_order: Final = itemgetter(17)


class _Column(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_uint32),
        ("nulls", ctypes.c_uint32),
        ("base", ctypes.c_int64),
        ("step", ctypes.c_int64),
    )


_Columns: Final = _Column * len(_READ)


class _Buffer(ctypes.Structure):
    """Python's own ``Py_buffer``."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.py_object),
        ("length", ctypes.c_ssize_t),
        ("item_size", ctypes.c_ssize_t),
        ("is_readonly", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("rest", ctypes.c_void_p * 5),
    )


def _address(data: bytes | memoryview) -> int:
    """Return where bytes are in memory: for as long as somebody refers to them."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(buffer), 0)
    address: int | None = buffer.address
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address or 0


@cache
def library() -> ctypes.CDLL | None:
    """Return the library; None where it is not installed, of another version, or switched off."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        # While it runs no other thread of Python does: it may be called from any of them.
        found = ctypes.PyDLL(str(import_module(_PACKAGE).LIBRARY))
        abi = found.ledger_native_abi
        abi.restype = ctypes.c_uint32
        if abi() != ABI:
            return None
    except (ImportError, OSError, AttributeError):
        return None
    word, count, pointer, flag = ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint32
    found.ledger_native_new.argtypes = (flag,)
    found.ledger_native_new.restype = pointer
    found.ledger_native_free.argtypes = (pointer,)
    found.ledger_native_free.restype = None
    found.ledger_native_prepare.argtypes = (pointer, pointer, count, pointer, count, pointer, pointer, count)
    found.ledger_native_prepare.restype = None
    found.ledger_native_fold.argtypes = (pointer, count, count, pointer, count, flag, pointer, count, pointer)
    found.ledger_native_count.argtypes = (pointer,)
    found.ledger_native_count.restype = count
    found.ledger_native_check_out.argtypes = (pointer, word, pointer)
    found.ledger_native_put.argtypes = (pointer, word)
    found.ledger_native_put.restype = None
    found.ledger_native_check_in.argtypes = (pointer, pointer, count)
    found.ledger_native_check_in.restype = None
    found.ledger_native_remove.argtypes = (pointer, word)
    found.ledger_native_all.argtypes = (pointer, pointer)
    found.ledger_native_all.restype = count
    found.ledger_native_id_of.argtypes = (pointer, word, pointer)
    found.ledger_native_set_id.argtypes = (pointer, word, word, flag)
    found.ledger_native_set_id.restype = None
    return found


def native_loop() -> str:
    """Name the native loop that is in use, for people; where one is installed and is not in use, why."""
    try:
        version = str(import_module(_PACKAGE).__version__)
    except (ImportError, AttributeError):
        return "no native loop"
    if library() is not None:
        return f"native loop {version}"
    if os.environ.get(SWITCH) == "0":
        return f"no native loop ({version} is switched off)"
    expected = f"0.{ABI}."
    why = "cannot be loaded" if version.startswith(expected) else f"is of another version: install {expected}x"
    return f"no native loop ({version} {why})"


def quick_slice(packed: Packed, begin: int = 0, end: int | None = None) -> PackedSlice:
    """Return the rows of a pack from one index to another, for a portfolio to fold: by the native loop, if there is one."""
    return PackedSlice(packed, begin, end) if library() is None else NativeSlice(packed, begin, end)


class NativeSlice(PackedSlice, QuickRows):
    """Rows of a pack that the native loop folds."""

    __slots__ = ()

    def runs(self, holdings: Holdings, trades: TradeSink | None) -> Iterator[Run]:
        """Fold the rows, run by run: see ``QuickRows``."""
        found = library()
        assert found is not None, "only made where there is a library"
        at, held = self.begin, holdings.open
        if not isinstance(held, NativeOpen):
            if len(self) < _WORTH_IT * len(held):
                yield Run(0, 0, (0, 0, 0, 0), self.packed.each(at, self.end))
                return
            held = NativeOpen(found, holdings)
            holdings.open, holdings.ids = held, held.ids
        while at < self.end:
            if len(holdings.loose) > _LOOSE_MOST or not held.check_in():
                held.check_out_all()
                yield Run(0, 0, (0, 0, 0, 0), self.packed.each(at, self.end))
                return
            at, run = held.fold(self.packed, at, self.end, holdings.loose, trades)
            yield run

    @property
    def last_place(self) -> FoldKey | None:
        """The place of the last row, None without any."""
        return self.packed.place(self.end - 1) if len(self) else None


class _Prepared(NamedTuple):
    """A pack as the library reads it: what has to be there for as long as it does."""

    packed: Packed
    columns: Any
    stops: bytes
    symbols: array[int]


class _Book:
    """The positions in the library, as long as somebody refers to them; and the numbers of symbols there."""

    def __init__(self, found: ctypes.CDLL, *, nets: bool) -> None:
        self.library = found
        self.pointer = found.ledger_native_new(nets)
        # At exit, threads that nobody waits for may still fold: only what nobody refers to any more is freed.
        weakref.finalize(self, found.ledger_native_free, self.pointer).atexit = False
        self.numbers: dict[str, int] = {}
        self.names: list[str] = []

    def number(self, symbol: str) -> int:
        """Return the number of a symbol in the library."""
        number = self.numbers.setdefault(symbol, len(self.names))
        if number == len(self.names):
            self.names.append(symbol)
        return number


class NativeOpen(MutableMapping[int, OpenPosition]):
    """Position id -> open position, in the order they were opened, held by the library; what is asked for is checked out.

    Once somebody asks for all of them, or one has an id that the library cannot hold, they are in a dictionary (``_plain``),
    until the library folds again.
    """

    def __init__(self, found: ctypes.CDLL, holdings: Holdings) -> None:
        self._book = _Book(found, nets=holdings.terms.opened.mode.nets)
        self._library, self._fold = found, self._book.pointer
        self._plain: dict[int, OpenPosition] | None = {key: holdings.open[key] for key in holdings.open}  # none that is shared
        self._out: dict[int, OpenPosition] = {}
        self._more: dict[int, OpenPosition] = {}  # those that are checked in, of which Python has more than the library
        self.ids = NativeIds(self._book, dict(holdings.ids))
        self._buffer = ctypes.create_string_buffer(_POSITION.size)
        self._run = ctypes.create_string_buffer(_RUN.size)
        self._closed = ctypes.create_string_buffer(_POSITION.size * _CLOSED_ROOM)
        self._prepared: _Prepared | None = None
        self._loose: tuple[tuple[int | str, int], ...] = ()
        self._loose_ids = array("q")

    # ---- folding

    def fold(
        self, packed: Packed, begin: int, end: int, loose: Mapping[tuple[int | str, int], object], trades: TradeSink | None
    ) -> tuple[int, Run]:
        """Fold rows until one is given back; return where to go on, and what it came to.

        Args:
            packed: What has the rows.
            begin: The first row.
            end: The row behind the last.
            loose: Closes of what was never held, by id and side.
            trades: Called with each position that went flat, None if nobody asks for them.

        Raises:
            DamagedColumns: The rows cannot be read.
        """
        if self._prepared is None or self._prepared.packed is not packed:
            self._prepared = self._prepare(packed)
        ids = self._ids_of(loose)
        outcome = self._library.ledger_native_fold(
            self._fold, begin, end, *ids, trades is not None, self._closed, _CLOSED_ROOM, self._run
        )
        at, first, whole_at, whole_end, folded, filled_msc, closed, *money = _RUN.unpack(self._run)
        if outcome == _DAMAGED:
            raise DamagedColumns(f"packed postings name {len(packed.symbols)} symbols, found another one: pack them again")
        if closed:
            for words in _POSITION.iter_unpack(memoryview(self._closed)[: closed * _POSITION.size]):
                position = self._position(words, self._more.pop(words[0], None))
                if trades is not None:
                    trades(position)
        left = tuple(packed.whole_rows[first:whole_end])  # a list would have the positions gathered
        go_on = at + whole_end - whole_at
        if outcome == _GIVEN_BACK and whole_end == whole_at:
            left, go_on = (*left, packed.row(at)), at + 1
        commission, fee, swap, profit = map(_wide, money[::2], money[1::2])
        return go_on, Run(folded, filled_msc, (commission, fee, swap, profit), left)

    def _ids_of(self, loose: Mapping[tuple[int | str, int], object]) -> tuple[int | None, int]:
        """Return where the ids of closes of what was never held are, ascending, and how many."""
        keys = tuple(loose)
        if keys != self._loose:  # seldom
            ids = sorted({key for key, _ in keys if _fits(key)})
            self._loose, self._loose_ids = keys, array("q", [*ids, INT64_MAX])  # never empty: that would be nowhere
        return self._loose_ids.buffer_info() if keys else (None, 0)

    def _prepare(self, packed: Packed) -> _Prepared:
        columns = _Columns()
        for column, at in zip(columns, _READ_AT, strict=True):
            stored = packed.columns[at]
            assert len(stored.data) >= stored.width * len(packed)
            column.data, column.width, column.nulls = _address(stored.data), stored.width, stored.nulls
            column.base, column.step = stored.base, stored.step
        stops = bytes(row[_KIND : _KIND + 1] != _CASH for row in packed.whole_rows)
        prepared = _Prepared(packed, columns, stops, array("q", map(self._book.number, packed.symbols)))
        self._library.ledger_native_prepare(
            self._fold, columns, len(packed), *packed.whole.buffer_info(), stops, *prepared.symbols.buffer_info()
        )
        return prepared

    # ---- between the library and Python

    def check_in(self) -> bool:
        """Have the library hold what was checked out; return whether it can hold them all by their ids."""
        if self._plain is not None and not self._check_in_plain(self._plain):
            return False
        if self._out:
            words = {key: self._words(key, position) for key, position in self._out.items()}
            text = b"".join(filter(None, words.values()))
            self._library.ledger_native_check_in(self._fold, text, len(text) // _POSITION.size)
            for key, found in words.items():
                if found is not None:
                    position = self._out.pop(key)
                    if _has_more(key, position):
                        self._more[key] = position
        return True

    def _check_in_plain(self, plain: dict[int, OpenPosition]) -> bool:
        if not all(map(_fits, plain)):
            return False
        for key in plain:
            self._library.ledger_native_put(self._fold, key)
        self._plain, self._out = None, plain
        self.ids.check_in()
        return True

    def check_out_all(self) -> dict[int, OpenPosition]:
        """Have all positions in a dictionary, and none in the library; return it."""
        if self._plain is None:
            buffer = ctypes.create_string_buffer(_POSITION.size * len(self))
            self._library.ledger_native_all(self._fold, buffer)
            found = sorted(_POSITION.iter_unpack(buffer.raw), key=_order)
            out, more = self._out, self._more
            plain = {words[0]: out.get(words[0]) or self._position(words, more.get(words[0])) for words in found}
            for key in plain:
                self._library.ledger_native_remove(self._fold, key)
            self.ids.check_out_all()
            self._plain, self._out, self._more = plain, {}, {}
        return self._plain

    def _words(self, key: int, position: OpenPosition) -> bytes | None:
        """Return a position as the library has it; None where a number does not fit."""
        magic = position.magic
        try:
            return _POSITION.pack(
                key, self._book.number(position.symbol), position.side, position.volume, position.cost_volume,
                position.volume_in, position.volume_out, position.commission, position.fee, position.swap, position.profit,
                position.opened_msc, position.closed_msc, magic or 0, magic is not None, _has_more(key, position), 0, 0,
                *_halves(position.cost), *_halves(position.cost_in), *_halves(position.cost_out),
            )  # fmt: skip
        except error:
            return None

    def _position(self, words: Sequence[int], more: OpenPosition | None) -> OpenPosition:
        """Return a position of what the library has of it, and of what Python has more of it."""
        position_id, symbol, side, volume = words[:4]
        position = more or OpenPosition(
            position_id, self._book.names[symbol], side, volume, 0, words[11], words[13] if words[14] else None
        )
        position.volume = volume
        position.cost_volume, position.volume_in, position.volume_out = words[4:7]
        position.commission, position.fee, position.swap, position.profit = words[7:11]
        position.closed_msc = words[12]
        position.cost, position.cost_in, position.cost_out = map(_wide, words[18::2], words[19::2])
        return position

    # ---- as a dictionary

    def __getitem__(self, key: int) -> OpenPosition:
        position: OpenPosition | None = self.get(key)
        if position is None:
            raise KeyError(key)
        return position

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the position with an id, checked out; the default if there is none."""
        if self._plain is not None:
            return self._plain.get(key, default)
        position = self._out.get(key)
        if position is None:
            if not _fits(key) or not self._library.ledger_native_check_out(self._fold, key, self._buffer):
                return default
            self._out[key] = position = self._position(_POSITION.unpack(self._buffer), self._more.pop(key, None))
        return position

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None

    def __setitem__(self, key: int, position: OpenPosition) -> None:
        if self._plain is None and not _fits(key):
            self.check_out_all()
        if self._plain is not None:
            self._plain[key] = position
            return
        self._library.ledger_native_put(self._fold, key)
        self._more.pop(key, None)
        self._out[key] = position

    def __delitem__(self, key: int) -> None:
        if self._plain is not None:
            del self._plain[key]
        elif not _fits(key) or not self._library.ledger_native_remove(self._fold, key):
            raise KeyError(key)
        else:
            self._out.pop(key, None)
            self._more.pop(key, None)

    def __iter__(self) -> Iterator[int]:
        return iter(self.check_out_all())

    def __len__(self) -> int:
        return int(self._library.ledger_native_count(self._fold)) if self._plain is None else len(self._plain)


class NativeIds(MutableMapping[str, int]):
    """Symbol -> id of its one open position, where the account nets, held by the library while it holds those."""

    def __init__(self, book: _Book, plain: dict[str, int]) -> None:
        self._book = book
        self._plain: dict[str, int] | None = plain
        self._id = ctypes.c_int64()

    def check_in(self) -> None:
        """Have the library hold them."""
        plain, self._plain = self._plain or {}, None
        for symbol, key in plain.items():
            self[symbol] = key

    def check_out_all(self) -> dict[str, int]:
        """Have them in a dictionary, and none in the library; return it."""
        if self._plain is None:
            plain = {symbol: key for symbol in self._book.names if (key := self.get(symbol)) is not None}
            for symbol in plain:
                del self[symbol]
            self._plain = plain
        return self._plain

    def __getitem__(self, symbol: str) -> int:
        if self._plain is not None:
            return self._plain[symbol]
        book = self._book
        if not book.library.ledger_native_id_of(book.pointer, book.number(symbol), ctypes.byref(self._id)):
            raise KeyError(symbol)
        return self._id.value

    def __setitem__(self, symbol: str, key: int) -> None:
        if self._plain is not None:
            self._plain[symbol] = key
        else:
            self._book.library.ledger_native_set_id(self._book.pointer, self._book.number(symbol), key, 1)

    def __delitem__(self, symbol: str) -> None:
        if self._plain is not None:
            del self._plain[symbol]
        else:
            key = self[symbol]
            self._book.library.ledger_native_set_id(self._book.pointer, self._book.number(symbol), key, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.check_out_all())

    def __len__(self) -> int:
        return len(self.check_out_all())


def _fits(key: object) -> TypeGuard[int]:
    """Return whether something is an id that the library can hold."""
    return isinstance(key, int) and abs(key) <= INT64_MAX


def _has_more(key: int, position: OpenPosition) -> bool:
    """Return whether Python has more of a position than the library can: whatever a fill alone does not make of one."""
    return not (
        position.position_id == position.ticket == key
        and position.basis == BASIS_FILLS
        and position.comment is None
        and position.is_money_known
        and position.is_id_known
        and position.is_opening_known
        and not position.volume_unexplained
        and not position.closed_msc
    )


def _halves(number: int) -> tuple[int, int]:
    return number & (1 << _WIDTH) - 1, number >> _WIDTH


def _wide(low: int, high: int) -> int:
    return low + (high << _WIDTH)
