"""Answers as JSON, read piece by piece: never more than a part of the text, and one element of a list, at a time.

Strict, as an answer decides about money: UTF-8, every key once, numbers exact and of a size that a broker has. What ends an
answer of a terminal written in C is taken off: NUL characters behind the text, and behind texts in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from ledger.errors import SnapshotRefused
from ledger.values import UINT64_MAX

#: Bytes of an answer that are decoded at once; an answer up to this size is decoded whole.
PART_BYTES: Final = 1 << 20
#: Characters that one element of a list, or one field outside of them, may have. A position has 300.
ELEMENT_MAX: Final = 1 << 20
#: Fields that an answer may have, and elements of its lists that nobody reads: far more than any has, and few enough to hold.
KEYS_MAX: Final = 200_000
#: Fields of a row that is read with all rows of its list at once.
_REGULAR_MAX: Final = 64
#: Characters behind what reads as a whole number, if a part ends within it: ``1.``, ``1e``, ``1e+``.
_NUMBER_CUT_MAX: Final = 2
_WHY_MAX: Final = 60

_SHOWN_MAX: Final = 60

_space: Final = re.compile(r"[ \t\n\r]*").match
#: No number of a broker's has more digits or another size; whatever has is refused by the decoder.
_NUMBERS: Final = Context(prec=64, Emin=-400, Emax=400, traps=[InvalidOperation, Inexact, Overflow])


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _object_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(_twice(twice))
    return found


def _twice(key: str) -> str:
    return f"key {shown(key)} is twice in one object"


def shown(value: object) -> str:
    """Write what was found for an error, short and harmless whatever it is."""
    if isinstance(value, (dict, list)):
        return f"a JSON {'object' if isinstance(value, dict) else 'list'}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > UINT64_MAX:
        return "a whole number beyond 64 bits"
    text = str(value) if isinstance(value, Decimal) else ascii(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


Scan = Callable[[str, int], tuple[Any, int]]
_number: Final = lru_cache(maxsize=4096)(_NUMBERS.create_decimal)  # volumes and charges come again and again
_decoder: Final = json.JSONDecoder(parse_float=_number, parse_constant=_no_constant)
_strict: Final = json.JSONDecoder(parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_object_once)
_scan: Final[Scan] = _decoder.scan_once  # type: ignore[attr-defined]  # what its raw_decode calls
_scan_each_key: Final[Scan] = _strict.scan_once  # type: ignore[attr-defined]


class Columns(NamedTuple):
    """What is read of the elements of a list. A list of elements that have one of ``others`` is read one by one."""

    names: tuple[str, ...]
    others: frozenset[str] = frozenset()


class AnswerParts:
    """The content of an answer: its fields, and the elements of one of its lists as they were read.

    ``rows`` is None where the list is missing or something else; ``found`` is what is there instead. ``refused`` is why its
    first bad element could not be read: the rest of the answer is read all the same, because it may name its request.
    """

    __slots__ = ("fields", "found", "refused", "rows")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.rows: list[Any] | None = None
        self.found: object = None
        self.refused: SnapshotRefused | None = None


def read_answer(
    raw: bytes,
    key: str,
    read_row: Callable[[Any, int], Any],
    is_wanted: Callable[[str], bool],
    columns: Columns | None = None,
) -> AnswerParts:
    """Read an answer.

    Args:
        raw: The answer as it came in.
        key: Name of its list.
        read_row: Reads an element of that list, with its number from 1 on; may raise SnapshotRefused.
        is_wanted: Whether a field is wanted, by its name; what is not is checked and left alone.
        columns: What is read of an element. If all of a list are alike, ``read_row`` gets tuples of these in place of objects,
            with None for what is not there.

    Raises:
        SnapshotRefused: It is no JSON object, or one that no gateway writes.
    """
    try:
        return _Reader(raw, key, read_row, is_wanted, columns).answer()
    except ArithmeticError:
        why = "it holds a number that is none of a broker's"
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except (ValueError, RecursionError, MemoryError) as error:
        why = ascii(str(error))[1:-1][:_WHY_MAX]
    raise SnapshotRefused(f"the answer is no JSON: {why} (it begins {shown(raw[:24])})")


class _Reader:
    """One answer on its way from bytes to values."""

    def __init__(
        self,
        raw: bytes,
        key: str,
        read_row: Callable[[Any, int], Any],
        is_wanted: Callable[[str], bool],
        columns: Columns | None,
    ) -> None:
        end = len(raw)
        while end and raw[end - 1] in b"\x00 \t\r\n":
            end -= 1
        self._raw, self._end, self._next = memoryview(raw), end, 0
        self._has_nul = raw.find(b"\\u0000") >= 0 or raw.find(b"\x00", 0, end) >= 0
        self._text, self._at = "", 0
        self._key, self._read_row, self._is_wanted, self._columns = key, read_row, is_wanted, columns
        self._answer = AnswerParts()

    def answer(self) -> AnswerParts:
        """Read all of it."""
        if self._peek() != "{":
            value = self._value()
            raise SnapshotRefused(f"expected the answer to be a JSON object, found {shown(value)}")
        self._at += 1
        keys: set[str] = set()
        is_first = True
        while self._peek() != "}":
            if not is_first:
                self._expect(",")
            is_first = False
            if self._peek() != '"':
                raise ValueError("the name of a field is missing")
            key = self._value()
            if key in keys:
                raise ValueError(_twice(key))
            keys.add(key)
            if len(keys) > KEYS_MAX:
                raise ValueError(f"it has more than {KEYS_MAX} fields")
            self._expect(":")
            self._field(key)
        self._at += 1
        if self._peek():
            raise ValueError("something follows its end")
        return self._answer

    def _field(self, key: str) -> None:
        if self._peek() == "[":
            self._list(key)
            value: Any = []
        else:
            value = self._value()
        if key == self._key:
            self._answer.found = value
        elif self._is_wanted(key):
            self._answer.fields[key] = value

    def _list(self, key: str) -> None:
        """Read a list: the rows, or what nobody reads, only to check it."""
        if key == self._key:
            answer, read_row, unread = self._answer, self._read_row, 0
            rows = answer.rows = []
            for number, row in enumerate(self._regular() or self._elements(), 1):
                if answer.refused is None:
                    try:
                        rows.append(read_row(row, number))
                    except SnapshotRefused as error:
                        answer.refused, unread = error, number
                        rows.clear()
                elif number - unread > KEYS_MAX:
                    raise answer.refused
        else:
            for number, _ in enumerate(self._elements()):
                if number > KEYS_MAX:
                    raise ValueError(f"field {shown(key)} lists more than {KEYS_MAX} values")

    def _regular(self) -> Iterable[tuple[Any, ...]] | None:
        """Read the list that begins here at once, as tuples of the columns; None where its elements are not all alike.

        They are alike if all are objects with the fields of the first, and the same of them are texts. Each field and each text
        brings two quotes. If there are no more quotes than that, nothing else is in them: no field twice, no text with a quote.
        """
        columns = self._columns
        if columns is None or self._has_nul or self._next < self._end:
            return None
        begin, end = self._at, self._text.rfind("]") + 1
        try:
            first, _ = _scan(self._text, begin + 1)
            names, texts = tuple(first), tuple([name for name, value in first.items() if type(value) is str])
            if len(names) > _REGULAR_MAX or not columns.others.isdisjoint(names):
                return None
            decoder, values = _alike(names, texts, columns.names)
            rows = decoder.decode(self._text[begin:end])
        except (StopIteration, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return None  # read one by one, it is shown what is wrong
        if self._text.count('"', begin, end) != 2 * (len(names) + len(texts)) * len(rows):
            return None
        self._at = end
        return map(values, rows)

    def _elements(self) -> Iterator[Any]:
        """Return the elements of a list: all at once where the rest of the answer is decoded already, else one by one."""
        return iter(self._value()) if self._next >= self._end else self._each()

    def _each(self) -> Iterator[Any]:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self._value()
            if self._peek() == "]":
                self._at += 1
                return
            self._expect(",")

    # ---- the text

    def _value(self) -> Any:
        """Read one value, whole; every key in it is there once."""
        value, end = self._scanned()
        begin, text = self._at, self._text
        if not _keys_of(value) == text.count('":', begin, end) == text.count(":", begin, end):
            value, end = _scan_each_key(text, begin)
        self._at = end
        return _without_nul(value) if self._has_nul else value

    def _scanned(self) -> tuple[Any, int]:
        """Return the value that begins here and where it ends, decoding more of the answer until it is there whole."""
        while True:
            is_last = self._next >= self._end
            try:
                value, end = _scan(self._text, self._at)
            except StopIteration:
                if is_last:
                    raise ValueError("a value is missing, or is none of JSON's") from None
            except ValueError:
                if is_last:
                    raise
            else:
                if is_last or end + _NUMBER_CUT_MAX < len(self._text):  # else it may go on in the next part
                    return value, end
            if len(self._text) - self._at > ELEMENT_MAX:
                raise ValueError(f"one of its values has more than {ELEMENT_MAX} characters")
            self._more()

    def _peek(self) -> str:
        """Go on to the next character that is no space, and return it; nothing at the end."""
        while True:
            found = _space(self._text, self._at)
            assert found is not None, "nothing is a space too"
            self._at = found.end()
            if self._at < len(self._text) or self._next >= self._end:
                return self._text[self._at : self._at + 1]
            self._more()

    def _expect(self, letter: str) -> None:
        if self._peek() != letter:
            raise ValueError(f"expected {letter!r}, found {shown(self._text[self._at : self._at + 1])}")
        self._at += 1
        self._peek()

    def _more(self) -> None:
        """Decode the next part of the answer behind what is not read yet."""
        begin = self._next
        end = min(begin + PART_BYTES, self._end)
        while end < self._end and self._raw[end] & 0xC0 == 0x80:  # not between the bytes of one character
            end += 1
        part = bytes(self._raw[begin:end])
        if self._has_nul:
            part = part.replace(b"\x00", b"\\u0000")  # JSON has no other way to write it in a text
        self._next = end
        self._text = self._text[self._at :] + part.decode()
        self._at = 0


@lru_cache(maxsize=16)
def _alike(
    names: tuple[str, ...], texts: tuple[str, ...], columns: tuple[str, ...]
) -> tuple[msgspec.json.Decoder[list[Any]], Callable[[Any], tuple[Any, ...]]]:
    """Return what decodes a list of objects with some fields, some of them texts, and what returns the columns of one."""
    ours = {name: name if name in columns else f"other_{number}" for number, name in enumerate(names)}
    fields: list[Any] = [(ours[name], str if name in texts else Any) for name in names]
    fields += [(name, Any, None) for name in columns if name not in ours]
    rename = {our: name for name, our in ours.items()}
    row = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True, gc=False)
    return msgspec.json.Decoder(list[row], float_hook=_number), attrgetter(*columns)  # type: ignore[valid-type]


def _keys_of(value: Any) -> int:
    """Return how many keys were read of a value and of the objects that it lists.

    Every key brings a colon right behind a quote. If all colons in the text of the value do so, and there are no more than
    keys were read, no key is there twice. Deeper objects and colons in texts make it uncertain.
    """
    if type(value) is dict:
        return len(value)
    if type(value) is list:
        return sum([len(one) for one in value if type(one) is dict])
    return 0


def _without_nul(value: Any) -> Any:
    """Return a value without the NUL characters that fill up its texts, as arrays of characters in C are filled up."""
    if isinstance(value, str):
        return value.rstrip("\x00")
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    if isinstance(value, dict):
        return _object_once([(_without_nul(key), _without_nul(one)) for key, one in value.items()])
    return value
